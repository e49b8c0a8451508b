"""
May a service be upgraded?
==========================

Asked before anything is touched, with the code of the wanted release that lies beside the present
one already (:py:func:`artifact.prefetch`) and the configuration of the present one:

- the service's own check, ``<service>-status upgrade check``
  (https://docs.openstack.org/oslo.upgradecheck/latest/user/usage.html): 0 is fine, 1 are warnings,
  2 speaks against it. Any other end, and an end without its table of results, is no answer: an
  option that it does not know ends it with 2 as well, and a directory that is not there with 1;
- whether the upgrade before was brought to its end: the schema is that of the present code, with
  nothing left to contract, and its data migrations have nothing left to write. Heads of alembic are
  compared (:py:mod:`openstack_db`), no ``--check`` of a service is believed. For data migrations
  upstream offers no look that changes nothing, so the present release's own command runs with each
  commit made a rollback: what it would have moved is what is left.

What programs log goes to their error output, which is not read.
"""

import os
import re

from salt.exceptions import CommandExecutionError

__virtualname__ = "openstack_upgrade"

#: Where environments lie, by release and service; ``current`` links to those that run.
RELEASES = "/opt/openstack"

# Ends a table cell of oslo.upgradecheck, and begins what is told in it.
_FIELD = re.compile(r"^(Check|Result|Details): ?(.*)$")

# Line of a command that moves data: rows it found, by which function, rows it moved.
_MOVED = re.compile(r"(\d+) rows matched query (\w+), (\d+) migrated")

# Reads the program and its arguments from standard input; runs in the service's Python. What it
# writes is rolled back where it would be committed; what a database commits by itself is refused.
_REHEARSED = """
import contextlib, io, json, logging, re, runpy, sys
want = json.load(sys.stdin)
logging.disable(logging.CRITICAL)
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
lasting = re.compile(r'\\s*(?:COMMIT|CREATE|ALTER|DROP|TRUNCATE|RENAME|LOCK|GRANT|'
                     r'SET\\s+AUTOCOMMIT)\\b', re.I)
def rolled_back(self, connection):
    connection.rollback()
DefaultDialect.do_commit = rolled_back
@event.listens_for(Engine, 'do_connect')
def rehearse(dialect, record, args, options):
    if type(dialect).do_commit is not rolled_back or options.get('autocommit'):
        raise RuntimeError('its connections commit in a way of their own')
@event.listens_for(Engine, 'before_cursor_execute')
def refuse(connection, cursor, statement, parameters, context, executemany):
    if lasting.match(statement):
        raise RuntimeError(f'{statement.split()[0]} is refused')
code, out = 0, io.StringIO()
sys.argv = want
try:
    with contextlib.redirect_stdout(out):
        runpy.run_path(want[0], run_name='__main__')
except SystemExit as err:
    code = err.code if isinstance(err.code, int) else int(err.code is not None)
except Exception as err:
    code = 255
    out.write(type(err).__name__)
print(json.dumps({'code': code, 'said': out.getvalue()}))
"""


def __virtual__():
    return __virtualname__


def check(service, source, config, schemas=(), online=(), user=None, root=RELEASES):
    """
    Tell whether a service may be upgraded to a release whose code lies on this host.

    service
        Name of the service, of its program ``<service>-status`` and of its environment.
    source
        ``source`` of its pillar at the wanted revision: ``release``, and ``engine`` where it is no
        virtual environment. Other engines have nothing that could be asked.
    config
        Its present configuration files, in the order in which they are read; what is not there
        is left out, but for the first one.
    schemas
        What its databases are compared with: a list of ``{"migrations": directory of alembic
        revisions below site-packages, "config": file with ``connection``, default the first one,
        "section": section of it, default ``database``}``.
    online
        Commands of the present release that move data, each a list: a program below its ``bin`` and
        arguments. What they write is rolled back.
    user
        The service's user; default its name.
    root
        Where environments lie.

    Returns ``{"ok": bool, "verdict": "ok" | "warn" | "fail" | "unknown", "code": str,
    "sentence": str}`` with a code of ``docs/reference/codes.md``: ``upgrade-refused`` and
    ``upgrade-warned`` with the check's own words, ``upgrade-unfinished``, ``schema-differs``,
    ``not-asked``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_upgrade.check keystone '{release: "2026.1"}' \\
            /etc/keystone/keystone.conf '[{migrations: keystone/common/sql/migrations}]'
    """
    user = user or service
    files = [config] if isinstance(config, str) else list(config)
    files = [file for file in files if file == files[0] or os.path.exists(file)]
    if source.get("engine", "venv") != "venv":
        return _verdict("ok", "ok", f"{service} has no environment that could be asked")
    target = f"{root}/{source['release']}/{service}"
    if not os.path.isdir(target):
        return _verdict("unknown", "not-asked", f"{target} was not fetched, so nobody can be asked")
    try:
        found = [*_before(service, files, schemas, online, user, root, target)]
        found.append(status(service, target, files, user))
    except CommandExecutionError as err:
        return _verdict("unknown", "not-asked", f"{service}: {err}")
    order = ("fail", "unknown", "warn", "ok")
    found.sort(key=lambda one: order.index(one["verdict"]))
    told = [one["sentence"] for one in found if one["verdict"] == found[0]["verdict"]]
    return {**found[0], "sentence": "; ".join(dict.fromkeys(told))}


def status(service, venv, config, user=None):
    """
    Run a service's own check of an environment's code and read its table.

    service, config, user
        As for :py:func:`openstack_upgrade.check <check>`.
    venv
        The environment whose ``<service>-status`` is run.

    Returns what :py:func:`openstack_upgrade.check <check>` does. A release without such a program
    has nothing to say.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_upgrade.status keystone \\
            /opt/openstack/2026.1/keystone /etc/keystone/keystone.conf
    """
    files = [config] if isinstance(config, str) else list(config)
    program, release = f"{venv}/bin/{service}-status", _release(venv)
    if not os.path.exists(program):
        return _verdict("ok", "ok", f"{service} of {release} has no check of its own")
    options = [word for file in files for word in ("--config-file", file)]
    done = __salt__["openstack_db.execute"](
        [program, *options, "upgrade", "check"], user or service
    )
    rows = results(done["stdout"])
    what = f"{service}-status of {release}"
    if done["retcode"] not in (0, 1, 2) or not rows:
        said = f": {done['said']}" if done["said"] else ""
        told = f"{what} ended with exit code {done['retcode']} and no results{said}"
        return _verdict("unknown", "not-asked", told)
    said = "; ".join(
        f"{row['check']}: {row['details'] or row['result'].lower()}".rstrip(".")
        for row in rows
        if row["result"] == ("Failure" if done["retcode"] == 2 else "Warning")
    )
    if done["retcode"] == 2:
        return _verdict("fail", "upgrade-refused", f"{what} speaks against the upgrade: {said}")
    if done["retcode"] == 1:
        return _verdict("warn", "upgrade-warned", f"{what} warns: {said}")
    return _verdict("ok", "ok", f"{what} is content with {len(rows)} checks")


def results(text):
    """
    Read the table of ``<service>-status upgrade check``.

    text
        Its standard output.

    Returns ``[{"check": str, "result": "Success" | "Warning" | "Failure", "details":
    str}]``; nothing where there is no table. Lines that were folded are joined; what is around the
    table is passed over.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_upgrade.results '| Check: A |\\n| Result: Success |'
    """
    found, field = [], ""
    for line in text.splitlines():
        line = line.strip()
        if not (len(line) > 1 and line.startswith("|") and line.endswith("|")):
            # a rule ends a cell, and whatever is printed between is none of it
            field = ""
            continue
        told = line[1:-1].strip()
        # what was folded is indented
        named = None if line.startswith("|  ") else _FIELD.match(told)
        if named and (named[1] == "Check" or found):
            field = named[1].lower()
            if field == "check":
                found.append({"check": "", "result": "", "details": ""})
            found[-1][field] = named[2]
        elif field and told:
            found[-1][field] = f"{found[-1][field]} {told}".strip()
    for row in found:
        row["details"] = "" if row["details"] == "None" else row["details"]
    return found


def unmoved(commands, venv, config, user):
    """
    Run an environment's commands that move data, with what they write rolled back at each commit.

    commands
        Each a list: a program below ``bin`` and arguments, as ``nova-manage db
        online_data_migrations --max-count 50``: 0 is the end of one that had nothing to move, 1 of
        one that moved something.
    venv
        The environment.
    config
        Configuration files that are given to each, in their order.
    user
        Who runs it.

    Returns ``{command: [migration, ...]}`` of the commands that have something to move. Raises
    ``CommandExecutionError`` when one of them failed. What upstream finds and cannot move (the
    compute of an instance is gone) does not count: its own command ends well with it.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test openstack_upgrade.unmoved \\
            '[[nova-manage, db, online_data_migrations, --max-count, "50"]]' \\
            /opt/openstack/current/nova '[/etc/nova/nova.conf, /etc/nova/nova-control.conf]' nova
    """
    options = [word for file in config for word in ("--config-file", file)]
    found = {}
    for program, *words in commands:
        want = [f"{venv}/bin/{program}", *options, *words]
        told = __salt__["openstack_db.ask"](_REHEARSED, user, venv, want)
        name = " ".join([program, *words])
        moved = [what for _, what, count in _MOVED.findall(told["said"]) if int(count)]
        if moved:
            found[name] = moved
        elif told["code"]:
            said = " ".join(told["said"].split()[-12:]) or "without a word"
            raise CommandExecutionError(f"{name} ended with exit code {told['code']}: {said}")
    return found


def _before(service, files, schemas, online, user, root, target):
    """Verdicts on whether the upgrade to the present release was brought to its end."""
    present = __salt__["artifact.current"](f"{root}/current/{service}")
    if not present or os.path.realpath(present) == os.path.realpath(target):
        # nothing runs, or this upgrade reached the host already and is gone on with
        return
    release = _release(present)
    for schema in schemas:
        section = schema.get("section", "database")
        found = __salt__["openstack_db.status"](
            schema.get("config", files[0]),
            schema["migrations"],
            user,
            venv=present,
            section=section,
        )
        named = service if len(schemas) == 1 else f"{service} [{section}]"
        missing = sorted(set(found["pending"]) - set(found["contract"]))
        if found["contract"]:
            left = ", ".join(found["contract"])
            told = (
                f"the upgrade to {release} was never finished on {named}: contract first ({left})"
            )
            yield _verdict("fail", "upgrade-unfinished", told)
        if missing:
            told = f"the schema of {named} lacks {', '.join(missing)} of {release}, which runs"
            yield _verdict("fail", "schema-differs", told)
        if found["ahead"] and os.path.realpath(found["ahead"]) != os.path.realpath(target):
            other = _release(found["ahead"])
            told = (
                f"the schema of {named} was expanded by {other}: {release} is followed by that one"
            )
            yield _verdict("fail", "schema-differs", told)
    for command, left in unmoved(online, present, files, user).items():
        told = f"the upgrade to {release} was never finished on {service}: `{command}` first"
        yield _verdict("fail", "upgrade-unfinished", f"{told} ({', '.join(left)})")


def _release(venv):
    return os.path.basename(os.path.dirname(os.path.normpath(venv)))


def _verdict(verdict, code, sentence):
    return {
        "ok": verdict in ("ok", "warn"),
        "verdict": verdict,
        "code": code,
        "sentence": " ".join(sentence.split()),
    }
