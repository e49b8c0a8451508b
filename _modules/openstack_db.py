"""
Schemas of OpenStack services
=============================

Compares the alembic revisions that a service's *code* brings with those its *database* has, with
the service's own Python, so that a schema is migrated only when it must be. The services' own
``--check`` commands are not trusted: some releases compare the database with itself.

The connection is read from the service's configuration inside that Python, as the service's user:
no password is an argument, a return or a log line of Salt.
"""

import glob
import json
import logging
import os
import re

from salt.exceptions import CommandExecutionError
from salt.utils.data import traverse_dict_and_list

log = logging.getLogger(__name__)

__virtualname__ = "openstack_db"

# Reads {"config", "section", "migrations"} from its standard input; runs in the service's Python.
_SCRIPT = """
import json, logging, os, sys, sysconfig
logging.disable(logging.CRITICAL)
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from oslo_config import cfg

want = json.load(sys.stdin)
conf = cfg.ConfigOpts()
conf.register_opt(cfg.StrOpt('connection'), group=want['section'])
conf([], default_config_files=[want['config']], default_config_dirs=[])
url = conf[want['section']].connection
if not url:
    sys.exit(f"{want['config']} has no connection in [{want['section']}]")
for site in (sysconfig.get_path('purelib'), '/usr/lib/python3/dist-packages'):
    root = os.path.join(site, want['migrations'])
    if os.path.isdir(root):
        break
else:
    sys.exit(f"{want['migrations']} is not installed")
versions = [d for d, _, files in os.walk(os.path.join(root, 'versions'))
            if any(f.endswith('.py') for f in files)]
script = ScriptDirectory(root, version_locations=versions)
code = set(script.get_heads())
try:
    with sqlalchemy.create_engine(url).connect() as connection:
        database = set(MigrationContext.configure(connection).get_current_heads())
except sqlalchemy.exc.SQLAlchemyError as err:
    sys.exit(f'the database does not answer: {getattr(err, "orig", None) or err.__class__}')
def known(name):
    try:
        return script.get_revision(name)
    except CommandError:
        return None
unknown, have, queue = [], set(), list(database)
while queue:
    name = queue.pop()
    revision = known(name)
    if revision is None:
        unknown.append(name)
    elif revision.revision not in have:
        have.add(revision.revision)
        for link in (revision.down_revision, revision.dependencies):
            queue += [link] if isinstance(link, str) else list(link or ())
contract = [name for name in code | database
            if known(name) and 'contract' in (known(name).branch_labels or ())]
print(json.dumps({'code': sorted(code), 'database': sorted(database),
                  'pending': sorted(code - have), 'unknown': sorted(unknown),
                  'contract': sorted(contract), 'history': sorted(have)}))
"""

# A service may quote its connection when it fails; what follows the user's name is not shown.
_CREDENTIALS = re.compile(r"://([^:/@\s]*):\S*@")

# Lines of a failed command that are worth showing.
_TAIL = 6


def __virtual__():
    return __virtualname__


def run(argv, user, stdin=None, env=None, timeout=900):
    """
    Run a program as a service's user, with all of its groups, and return its standard output.

    argv
        Program and arguments, a list; no shell is involved.
    user
        Name of the user.
    stdin
        Text for its standard input.
    env
        Variables to add.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` with the last lines of its error output.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.run '[keystone-manage, db_version]' keystone
    """
    done = execute(argv, user, stdin=stdin, env=env, timeout=timeout)
    if done["retcode"]:
        raise CommandExecutionError(
            f"{argv[0]} failed with exit code {done['retcode']}: {done['said']}"
        )
    return done["stdout"]


def execute(argv, user, stdin=None, env=None, timeout=900):
    """
    Run a program as a service's user whose exit code says more than yes or no.

    argv, user, stdin, env, timeout
        As for :py:func:`openstack_db.run <run>`.

    Returns ``{"retcode": int, "stdout": str, "stderr": str, "said": str}``; the last is the end of
    its error output, or of what it told without any, in one line and without passwords of
    connections. Raises ``CommandExecutionError`` when there is no such user.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.execute '[keystone-status, upgrade, check]' keystone
    """
    group = __salt__["user.primary_group"](user)
    if not group:
        raise CommandExecutionError(f"there is no user {user}")
    done = __salt__["cmd.run_all"](
        ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--", *argv],
        stdin=stdin,
        env={"HOME": "/", "PYTHONWARNINGS": "ignore", **(env or {})},
        cwd="/",
        python_shell=False,
        output_loglevel="quiet",
        ignore_retcode=True,
        timeout=timeout,
    )
    lines = [line for line in (done["stderr"] or done["stdout"]).splitlines() if line.strip()]
    said = _CREDENTIALS.sub(r"://\1:***@", "; ".join(lines[-_TAIL:]))
    return {**{key: done[key] for key in ("retcode", "stdout", "stderr")}, "said": said}


def ask(script, user, venv, want):
    """
    Run a script in a service's own Python, as its user, and return what it says.

    script
        Python; it reads ``want`` as JSON from its standard input. Its last line is JSON, too: what
        libraries print before is passed over.
    user
        The service's user.
    venv
        The service's virtual environment; ``/usr`` for distribution packages.
    want
        What the script asks for, a mapping.

    Raises ``CommandExecutionError`` as :py:func:`openstack_db.run <run>` does.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.ask \\
            'import json, sys; print(json.dumps([json.load(sys.stdin), sys.prefix]))' \\
            keystone /opt/openstack/current/keystone '{"a": 1}'
    """
    argv = [f"{venv}/bin/python3", "-W", "ignore", "-B", "-c", script]
    told = run(argv, user, stdin=json.dumps(want))
    return json.loads(told.splitlines()[-1])


def status(config, migrations, user, venv="/usr", section="database"):
    """
    Compare the revisions of a service's code with those of its database.

    config
        Configuration file of the service.
    migrations
        Directory of its alembic revisions, below site-packages.
    user
        The service's user.
    venv
        The service's virtual environment; ``/usr`` for distribution packages.
    section
        Section of the configuration with ``connection``.

    Returns ``{"code", "database", "pending", "contract": [revision, ...], "ahead": path}``:
    heads of the code and of the database, heads that the database lacks, those of them that only
    take away what an older release needs and so wait until none runs any more, and the path of the
    newer release on this host that expanded the schema.
    Raises ``CommandExecutionError`` when the database does not answer, and when it has what the
    code cannot use.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.status /etc/keystone/keystone.conf \\
            keystone/common/sql/migrations keystone venv=/opt/openstack/current/keystone
    """
    want = {"config": config, "section": section, "migrations": migrations}
    found = ask(_SCRIPT, user, venv, want)
    ahead = _ahead(found, want, user, venv) if found["unknown"] else ""
    # a branch that the database does not have at all was never there to be waited with
    begun = set(found["contract"]) & set(found["database"])
    return {
        "code": found["code"],
        "database": found["database"],
        "pending": [] if ahead else found["pending"],
        "contract": sorted(set(found["pending"]) & set(found["contract"])) if begun else [],
        "ahead": ahead,
    }


def _ahead(found, want, user, venv):
    """The environment beside this one that knows the database, when it has only added to it."""
    here = os.path.realpath(venv)
    what = f"the database of {want['config']} has revision {', '.join(found['unknown'])},"
    releases = os.path.dirname(os.path.dirname(here))
    for other in sorted(glob.glob(os.path.join(releases, "*", os.path.basename(here)))):
        if other in (here, venv) or os.path.realpath(other) == here:
            continue
        newer = ask(_SCRIPT, user, other, want)
        if newer["unknown"] or not set(found["code"]) <= set(newer["history"]):
            continue
        if set(newer["contract"]) & set(found["unknown"]):
            raise CommandExecutionError(
                f"{what} with which the release in {other} took away what the code in {venv} needs:"
                " run that release, or restore the database"
            )
        return other
    raise CommandExecutionError(
        f"{what} which the code in {venv} does not know: it was migrated by a newer release"
    )


def current(config, migrations, user, venv="/usr", section="database"):
    """
    Return whether a service's database answers and has all that its code needs.

    A schema that a newer release expanded has that; so has one that is not contracted yet.

    config, migrations, user, venv, section
        As for :py:func:`openstack_db.status <status>`.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.current /etc/keystone/keystone.conf \\
            keystone/common/sql/migrations keystone venv=/opt/openstack/current/keystone
    """
    found = status(config, migrations, user, venv=venv, section=section)
    return set(found["pending"]) <= set(found["contract"])


def contract(config, migrations, user, commands, venv="/usr", section="database"):
    """
    End the upgrade of a schema: move the data that is left, and take away what the release before
    needed. The point of no return: after it the old code cannot run on this database.

    config, migrations, user, venv, section
        As for :py:func:`openstack_db.status <status>`; every member of the service runs this
        environment by now.
    commands
        Commands that do it, each a list; programs below ``venv/bin``. They may run again.

    Returns a sentence. Raises ``CommandExecutionError`` when a command fails, or heads are missing
    afterwards.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.contract /etc/keystone/keystone.conf \\
            keystone/common/sql/migrations keystone '[[keystone-manage, db_sync, --contract]]' \\
            venv=/opt/openstack/current/keystone
    """
    where = {"venv": venv, "section": section}
    before = status(config, migrations, user, **where)
    if before["ahead"]:
        raise CommandExecutionError(
            f"{venv} is older than the schema: the release in {before['ahead']} ends its upgrade"
        )
    sync(commands, user, venv=venv)
    after = status(config, migrations, user, **where)
    if after["pending"]:
        raise CommandExecutionError(f"the schema still lacks {', '.join(after['pending'])}")
    if after["database"] == before["database"]:
        return "the schema is that of the release"
    return f"the schema was contracted to {', '.join(after['database'])}"


def finish(role, config):
    """
    End the upgrade of a service's schema as its pillar says, see
    :py:func:`openstack_db.contract <contract>`.

    role
        Pillar of the service, such as ``keystone:server``: ``source`` has ``release``,
        ``database`` and ``upgrade:contract``.
    config
        Configuration file of the service.

    Returns a sentence.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.finish keystone:server /etc/keystone/keystone.conf
    """
    service = role.partition(":")[0]
    # as it is: what pillar.get says within a job is masked
    source = traverse_dict_and_list(__pillar__, f"{role}:source", {})
    commands = source.get("upgrade", {}).get("contract", [])
    if not commands:
        return f"the release of {service} has nothing to contract"
    database = source["database"]
    return contract(
        config,
        database["migrations"],
        service,
        commands,
        venv=f"/opt/openstack/{source['release']}/{service}",
        section=database["section"],
    )


def sync(commands, user, venv="/usr"):
    """
    Run the commands that bring a schema up to date.

    commands
        List of commands, each a list: the first word is a program below ``venv/bin``.
    user
        The service's user.
    venv
        The service's virtual environment; ``/usr`` for distribution packages.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.sync '[[keystone-manage, db_sync]]' keystone \\
            venv=/opt/openstack/current/keystone
    """
    for program, *arguments in commands:
        run([f"{venv}/bin/{program}", *arguments], user)
    return True
