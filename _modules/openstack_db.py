"""
Schemas of OpenStack services
=============================

Compares the alembic revisions that a service's *code* brings with those its *database* has, with
the service's own Python, so that a schema is migrated only when it must be. The services' own
``--check`` commands are not trusted: some releases compare the database with itself.

The connection is read from the service's configuration inside that Python, as the service's user:
no password is an argument, a return or a log line of Salt.
"""

import json
import logging
import re

from salt.exceptions import CommandExecutionError

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
unknown, have, queue = [], set(), list(database)
while queue:
    name = queue.pop()
    try:
        revision = script.get_revision(name)
    except CommandError:
        revision = None
    if revision is None:
        unknown.append(name)
    elif revision.revision not in have:
        have.add(revision.revision)
        for link in (revision.down_revision, revision.dependencies):
            queue += [link] if isinstance(link, str) else list(link or ())
print(json.dumps({'code': sorted(code), 'database': sorted(database),
                  'pending': sorted(code - have), 'unknown': sorted(unknown)}))
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
    if done["retcode"]:
        lines = [line for line in (done["stderr"] or done["stdout"]).splitlines() if line.strip()]
        said = _CREDENTIALS.sub(r"://\1:***@", "; ".join(lines[-_TAIL:]))
        raise CommandExecutionError(f"{argv[0]} failed with exit code {done['retcode']}: {said}")
    return done["stdout"]


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

    Returns ``{"code": [...], "database": [...], "pending": [...], "unknown": [...]}``: heads of
    the code, heads of the database, heads that the database lacks, and revisions of the database
    that the code does not know. Raises ``CommandExecutionError`` when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.status /etc/keystone/keystone.conf \\
            keystone/common/sql/migrations keystone venv=/opt/openstack/current/keystone
    """
    want = json.dumps({"config": config, "section": section, "migrations": migrations})
    python = f"{venv}/bin/python3"
    found = json.loads(run([python, "-B", "-c", _SCRIPT], user, stdin=want).splitlines()[-1])
    if found["unknown"]:
        raise CommandExecutionError(
            f"the database of {config} has revision {', '.join(found['unknown'])}, which the code"
            f" in {venv} does not know: it was migrated by a newer release"
        )
    return found


def current(config, migrations, user, venv="/usr", section="database"):
    """
    Return whether a service's database answers and has every revision of its code.

    config, migrations, user, venv, section
        As for :py:func:`openstack_db.status <status>`.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_db.current /etc/keystone/keystone.conf \\
            keystone/common/sql/migrations keystone venv=/opt/openstack/current/keystone
    """
    return not status(config, migrations, user, venv=venv, section=section)["pending"]


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
