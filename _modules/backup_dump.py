"""
Databases one by one: dumped together, restored alone
=====================================================

A bundle of the kind ``logical`` has one dump for each database, all of the same moment: writes
are held on this one member while it is dumped. So the databases of one service can go back
without the others, under their own names or under other ones.

``load`` puts dumps under other names. ``restore`` puts them under their own: each is loaded
beside the present one first, and only when all are whole their tables change places. What was
there before stays as ``<name>__before_<time>``.
"""

import contextlib
import os
import shutil
import tempfile
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_dump"

KIND = "logical"
# The same rows give the same text: that is how a restored database is compared.
_DUMP = (
    "--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob",
    "--skip-comments", "--skip-dump-date", "--skip-add-locks", "--skip-lock-tables",
    "--default-character-set=utf8mb4", "--max-allowed-packet=1G", "--net-buffer-length=1M",
)  # fmt: skip
_ACCOUNTS = "accounts"


def __virtual__():
    return __virtualname__


def take(role, only=None, base=None, label=None):
    """
    Make a bundle with a dump of every database of this server, all of one moment.

    role
        Whose data it is, ``galera.server``
    only
        Names of databases; None: all
    base
        Of kinds that build on another one; not of this
    label
        What it is taken for, ``before-2026.1``

    Writes are held on this server meanwhile. Returns what ``backup_bundle.finish`` does. Raises
    CommandExecutionError; the server then has no such bundle.

    CLI Example:

    .. code-block:: bash

        salt inf03.example.test backup_dump.take galera.server
    """
    del base
    known = __salt__["backup_mariadb.databases"]()
    names = sorted(known if only is None else only)
    missing = sorted(set(names) - set(known))
    if missing or not names:
        raise CommandExecutionError(f"There is no database {', '.join(missing)} on this server.")
    dump = [*__salt__["backup_mariadb.options"]("mariadb-dump"), *_DUMP]
    bundle = __salt__["backup_bundle.begin"](role, KIND, databases={}, label=label or "")
    began = time.monotonic()
    held = __salt__["backup_mariadb.pause"]()
    try:
        # within the pause: a table may have come since the names were asked
        known = __salt__["backup_mariadb.databases"]()
        for name in names:
            __salt__["backup_bundle.add"](bundle, name, [*dump, "--", name])
            bundle["databases"][name] = known[name]
        # to read, or to load by hand: the model makes the accounts of services
        __salt__["backup_bundle.add"](bundle, _ACCOUNTS, [*dump, "--system=users"])
    finally:
        lasted = __salt__["backup_mariadb.resume"](held)
    if not lasted:
        raise CommandExecutionError(
            "The server gave up the pause while it was dumped, so the dumps may not be of one"
            " moment. Take it again."
        )
    done = __salt__["backup_bundle.finish"](
        bundle, position=held["position"], exact=True, held=round(time.monotonic() - began, 1)
    )
    done["sentence"] += f" {len(names)} databases at {held['position']['wsrep'] or 'one moment'}."
    return done


def load(bundle, databases, socket=None):
    """
    Load dumps of a bundle under other names.

    bundle
        ``galera.server/<host>/<id>``, of the kind ``logical``
    databases
        ``{name in the bundle: new name}``; a new name that exists must be one of a rehearsal
        (``…_rehearsal``), and is made anew
    socket
        Of another server on this host; None: the host's own

    Returns ``{"databases": {new name: tables}, "position", "seconds", "sentence"}``. Raises
    CommandExecutionError; databases that were begun are removed.

    CLI Example:

    .. code-block:: bash

        salt inf03… backup_dump.load galera.server/… '{nova: nova_rehearsal}'
    """
    about = _about(bundle, databases)
    there = _there(socket)
    for new in databases.values():
        if new in there and not __salt__["backup_mariadb.spare"](new):
            raise CommandExecutionError(
                f"There is a database {new}; only one whose name ends with _rehearsal is made anew."
            )
    began = time.monotonic()
    found = _load(about, databases, socket)
    seconds = round(time.monotonic() - began, 1)
    names = ", ".join(f"{old} as {new}" for old, new in sorted(databases.items()))
    return {
        "databases": found, "position": about["position"], "seconds": seconds,
        "sentence": f"{names} of {about['taken']} loaded in {seconds} s.",
    }  # fmt: skip


def restore(bundle, databases, socket=None, suffix=""):
    """
    Put databases back to what a bundle has; their services must be stopped.

    bundle
        ``galera.server/<host>/<id>``, of the kind ``logical``
    databases
        Names, a list or a text with commas; all others stay as they are
    socket
        Of another server on this host; None: the host's own
    suffix
        Of their names there: ``_rehearsal`` for copies that this is rehearsed on

    Returns ``{"databases": {name: tables}, "before": {name: where the present one is put},
    "position", "seconds", "sentence"}``. Raises CommandExecutionError; nothing was changed then,
    unless the sentence says so.

    CLI Example:

    .. code-block:: bash

        salt inf03… backup_dump.restore galera.server/… nova,nova_api
    """
    names = databases.split(",") if isinstance(databases, str) else list(databases)
    about = _about(bundle, names)
    there = _there(socket)
    for name in names:
        if f"{name}{suffix}" in there:
            _movable(f"{name}{suffix}", socket)
    began = time.monotonic()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    new = {name: f"{name}{suffix}__restoring" for name in names}
    old = {name: f"{name}{suffix}__before_{stamp}" for name in names}
    found = _load(about, new, socket)
    done = []
    try:
        for name in names:
            _movable(new[name], socket)
        for name in names:
            told = about["databases"][name]
            _exchange(f"{name}{suffix}", new[name], old[name], told, socket)
            done.append(name)
    except CommandExecutionError as err:
        told = f"{', '.join(done)} were restored, " if done else ""
        raise CommandExecutionError(
            f"{told}{name} was not: {err} What was loaded is in {new[name]}."
        ) from None
    drop([new[name] for name in names], socket)
    seconds = round(time.monotonic() - began, 1)
    return {
        "databases": {name: found[new[name]] for name in names},
        "before": old,
        "position": about["position"],
        "seconds": seconds,
        "sentence": f"{', '.join(names)} are as of {about['taken']}, restored in {seconds} s. What"
        f" was there before is {', '.join(old.values())}; remove it with backup_dump.drop.",
    }


def drop(databases, socket=None):
    """
    Remove databases of rehearsals, and those that a restore has put aside; no other ones.

    databases
        Names, a list or a text with commas; one that is not there is no mistake
    socket
        Of another server on this host; None: the host's own

    CLI Example:

    .. code-block:: bash

        salt inf03.example.test backup_dump.drop nova_rehearsal
    """
    names = databases.split(",") if isinstance(databases, str) else list(databases)
    for name in names:
        if not __salt__["backup_mariadb.spare"](name):
            raise CommandExecutionError(
                f"{name} is nobody's copy: only …_rehearsal, …__restoring and …__before_… go."
            )
    for name in names:
        quoted = __salt__["backup_mariadb.identifier"](name)
        __salt__["backup_mariadb.query"](f"DROP DATABASE IF EXISTS {quoted}", socket)
    return names


def verify(bundles):
    """
    Load every dump of a bundle into a server of its own, dump it again, and compare.

    bundles
        A list of one: ``galera.server/<host>/<id>``

    Returns ``{"path", "databases": {name: tables}, "seconds", "sentence"}``. Raises
    CommandExecutionError with the first that differs.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf03…/20260101T0Z-logical-1a2b
    """
    (bundle,) = bundles
    about = __salt__["backup_bundle.inspect"](bundle, kinds=[KIND])
    names = sorted(about["databases"])
    needed = sum(item["size"] for item in about["files"].values())
    __salt__["backup_client.room"](3 * needed)
    began = time.monotonic()
    directory = tempfile.mkdtemp(prefix="verify-", dir=__salt__["backup_client.scratch"]())
    os.chmod(directory, 0o711)  # noqa: S103 - the scratch server's user has to pass
    held = None
    try:
        held = __salt__["backup_mariadb.start"](f"{directory}/server")
        socket = held["socket"]
        found = _load(about, {name: name for name in names}, socket)
        dump = [*__salt__["backup_mariadb.options"]("mariadb-dump", socket), *_DUMP]
        for name in names:
            told = __salt__["backup_stream.digest"]([*dump, "--", name])
            (wanted,) = (one for one in about["files"].values() if one["name"] == name)
            if (told["size"], told["sha256"]) != (wanted["size"], wanted["sha256"]):
                raise CommandExecutionError(
                    f"{bundle}: {name} is another one when it is dumped again"
                    f" ({wanted['size']} and {told['size']} bytes). Take another bundle."
                )
    finally:
        if held:
            __salt__["backup_mariadb.stop"](held)
        shutil.rmtree(directory, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    return {
        "path": bundle, "databases": found, "seconds": seconds,
        "sentence": f"{bundle}: {len(found)} databases with {sum(found.values())} tables,"
        " loaded and"
        f" dumped again in {seconds} s, are the same.",
    }  # fmt: skip


def _about(bundle, names):
    about = __salt__["backup_bundle.inspect"](bundle, kinds=[KIND])
    missing = sorted(set(names) - set(about["databases"]))
    if missing or not names:
        raise CommandExecutionError(
            f"{bundle} has no database {', '.join(missing)}; it has"
            f" {', '.join(sorted(about['databases']))}."
        )
    return about


def _load(about, databases, socket=None):
    """Load each into a database that is new; those are removed when one of them fails."""
    sql, quoted = __salt__["backup_mariadb.query"], __salt__["backup_mariadb.identifier"]
    client = [*__salt__["backup_mariadb.options"]("mariadb", socket), "--max-allowed-packet=1G"]
    directory = tempfile.mkdtemp(prefix="load-", dir=__salt__["backup_client.scratch"]())
    found, begun = {}, []
    try:
        # whole before anything is made
        files = __salt__["backup_bundle.fetch"](about, list(databases), directory)
        for name, new in databases.items():
            told = about["databases"][name]
            begun.append(new)
            sql(
                f"DROP DATABASE IF EXISTS {quoted(new)}; CREATE DATABASE {quoted(new)}"
                " CHARACTER SET"
                f" {told['charset']} COLLATE {told['collation']}",
                socket,
            )
            __salt__["backup_bundle.feed"](about, name, files[name], [*client, new])
            found[new] = len(_tables(new, socket))
            if found[new] != told["tables"]:
                raise CommandExecutionError(
                    f"{new} has {found[new]} tables, and {name} had {told['tables']}."
                )
            os.unlink(files[name])
    except BaseException:
        for new in begun:
            with contextlib.suppress(CommandExecutionError):
                sql(f"DROP DATABASE IF EXISTS {quoted(new)}", socket)
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return found


def _there(socket):
    return {row[0] for row in __salt__["backup_mariadb.query"]("SHOW DATABASES", socket)}


def _literal(database):
    """Return the name of a database as a text of SQL; refuse what is no name."""
    return f"'{__salt__['backup_mariadb.identifier'](database)[1:-1]}'"


def _tables(database, socket=None):
    rows = __salt__["backup_mariadb.query"](
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA ="  # noqa: S608
        f" {_literal(database)} ORDER BY 1",
        socket,
    )
    return [row[0] for row in rows]


#: What belongs to a database and stays when its tables go: kind, its name, where it is listed.
_BOUND = (
    ("trigger", "TRIGGER_NAME", "TRIGGERS", "TRIGGER_SCHEMA"),
    ("view", "TABLE_NAME", "VIEWS", "TABLE_SCHEMA"),
    ("routine", "ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA"),
)


def _movable(database, socket=None):
    """Refuse what a table cannot take along to another database."""
    rows = __salt__["backup_mariadb.query"](
        " UNION ".join(
            f"SELECT '{kind}', {name} FROM information_schema.{where}"  # noqa: S608
            f" WHERE {schema} = {_literal(database)}"
            for kind, name, where, schema in _BOUND
        ),
        socket,
    )
    if rows:
        kind, name = rows[0]
        raise CommandExecutionError(
            f"{database} has the {kind} {name}, which cannot change its database. Load the bundle"
            " under another name with backup_dump.load, and move it by hand."
        )


def _exchange(name, new, old, told, socket=None):
    """Move present tables aside and new ones in: one statement, so all of them or none."""
    quoted = __salt__["backup_mariadb.identifier"]
    sql = __salt__["backup_mariadb.query"]
    how = f"CHARACTER SET {told['charset']} COLLATE {told['collation']}"
    made = f"CREATE DATABASE IF NOT EXISTS {quoted(name)} {how}"
    sql(f"{made}; CREATE DATABASE {quoted(old)} {how}", socket)
    moves = [(table, name, old) for table in _tables(name, socket)]
    moves += [(table, new, name) for table in _tables(new, socket)]
    text = ", ".join(
        f"{quoted(source)}.{quoted(table)} TO {quoted(target)}.{quoted(table)}"
        for table, source, target in moves
    )
    if text:
        sql(f"SET SESSION foreign_key_checks = 0; RENAME TABLE {text}", socket, limit=3600)
