"""
MariaDB as a backup needs it: statements, a pause, a scratch server
===================================================================

Statements go to the local server over its unix socket, as root, with the ``mariadb`` client; they
are on its input, so the process list shows none.
"""

import contextlib
import os
import pwd
import re
import select
import shutil
import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_mariadb"

SOCKET = "/run/mysqld/mysqld.sock"
#: Databases of the server itself; a dump of them cannot be loaded elsewhere.
OWN = ("information_schema", "mysql", "performance_schema", "sys")
#: A database that may be thrown away: a rehearsal's, one that is being restored, one put aside.
SPARE = re.compile(r"^\w+(_rehearsal|__restoring|__before_\d{8}T\d{6}Z)$")
#: Seconds that a pause waits for statements that run.
PAUSE = 60
# Seconds that a scratch server has to start or stop.
_START = 120


def __virtual__():
    return __virtualname__


def options(program, socket=None):
    """
    Return a program of MariaDB with what it needs to reach the local server, as a list.

    program
        ``mariadb``, ``mariadb-dump``, ``mariadb-backup``
    socket
        Of a scratch server; None: the host's own, with its configuration

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.options mariadb-dump
    """
    told = __salt__["backup_client.settings"]().get("mariadb") or {}
    if socket:
        return [program, "--no-defaults", "--user=root", f"--socket={socket}"]
    defaults = told.get("defaults_file")
    return [
        program,
        *([f"--defaults-file={defaults}"] if defaults else []),
        "--user=root",
        f"--socket={told.get('socket') or SOCKET}",
    ]


def query(statement, socket=None, database=None, limit=600):
    """
    Run statements and return the rows of the last one, each a list of texts.

    statement
        SQL; a value in it is the caller's to quote
    socket
        Of a scratch server
    database
        That it is about
    limit
        Seconds

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.query 'SELECT @@version'
    """
    command = [*options("mariadb", socket), "--batch", "--skip-column-names"]
    try:
        done = subprocess.run(
            [*command, *([database] if database else [])],
            input=statement, capture_output=True, text=True, check=False, timeout=limit,
        )  # fmt: skip
    except OSError as err:
        raise CommandExecutionError(f"mariadb cannot be run: {err.strerror}.") from None
    except subprocess.TimeoutExpired:
        raise CommandExecutionError(f"MariaDB did not answer in {limit} s.") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise CommandExecutionError(f"MariaDB: {lines[-1][:300] if lines else 'no word why'}")
    return [line.split("\t") for line in done.stdout.splitlines()]


def databases(socket=None):
    """
    Return the databases that hold services' data: ``{name: {"charset", "collation", "tables"}}``.

    socket
        Of a scratch server

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.databases
    """
    own = ", ".join(f"'{name}'" for name in OWN)
    rows = query(
        "SELECT s.SCHEMA_NAME, s.DEFAULT_CHARACTER_SET_NAME, s.DEFAULT_COLLATION_NAME,"  # noqa: S608
        " COUNT(t.TABLE_NAME) FROM information_schema.SCHEMATA s"
        " LEFT JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = s.SCHEMA_NAME"
        f" WHERE s.SCHEMA_NAME NOT IN ({own}) GROUP BY 1, 2, 3",
        socket,
    )
    return {
        name: {"charset": charset, "collation": collation, "tables": int(tables)}
        for name, charset, collation, tables in rows
        if not SPARE.match(name)
    }


def identifier(name):
    """
    Quote a name of a database, and refuse what is none.

    name
        Letters, digits and underscores

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.identifier nova_api
    """
    if not re.fullmatch(r"\w{1,64}", str(name), re.ASCII):
        raise CommandExecutionError(f"{name} is no name of a database.")
    return f"`{name}`"


def spare(name):
    """
    Return whether a database is a copy that may be thrown away, by its name.

    name
        ``nova_rehearsal``, ``nova__restoring``, ``nova__before_20260101T000000Z``

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.spare nova_rehearsal
    """
    return bool(SPARE.match(str(name)))


def position(socket=None):
    """
    Return what the server has committed: ``{"wsrep": "uuid:seqno" or None, "gtid": text}``.

    socket
        Of a scratch server

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.position
    """
    return _position(query(_POSITION, socket))


_POSITION = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid',"
    " 'wsrep_last_committed');"
    " SELECT 'gtid', @@GLOBAL.gtid_current_pos;"
)


def _position(rows):
    told = {row[0].lower(): row[1] if len(row) > 1 else "" for row in rows}
    uuid, number = told.get("wsrep_cluster_state_uuid"), told.get("wsrep_last_committed")
    return {"wsrep": f"{uuid}:{number}" if uuid and number else None, "gtid": told.get("gtid", "")}


def pause():
    """
    Hold all writes on the local server, until :py:func:`resume`; others of a cluster go on.

    A member of a Galera cluster is desynced meanwhile by itself: it holds nobody up, and catches
    up afterwards. It ends with the connection, so also when this process dies.

    Returns ``{"session": for resume, "position": as position() says, exact}``. Raises
    CommandExecutionError when a statement runs for longer than a minute.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take kinds=logical
    """
    command = [*options("mariadb"), "--batch", "--skip-column-names", "--unbuffered"]
    try:
        session = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            bufsize=0,
        )  # fmt: skip
    except OSError as err:
        raise CommandExecutionError(f"mariadb cannot be run: {err.strerror}.") from None
    try:
        session.stdin.write(
            f"SET SESSION lock_wait_timeout = {PAUSE}; FLUSH TABLES WITH READ LOCK;\n{_POSITION}\n"
            "SELECT 'held';\n".encode()
        )
        session.stdin.flush()
        # read by itself: what a buffer holds already, select does not see
        told, end = b"", time.monotonic() + PAUSE + 30
        while b"held\n" not in told:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([session.stdout], [], [], left)
            part = os.read(session.stdout.fileno(), 65536) if ready else b""
            if not part:
                why = told.decode(errors="replace").strip()[-300:] or "it does not answer"
                raise CommandExecutionError(
                    f"Writes cannot be held on this server: {why}. See what runs on it for so long"
                    " with SHOW PROCESSLIST."
                )
            told += part
        lines = [line.split("\t") for line in told.decode().splitlines()]
    except BaseException:
        resume({"session": session})
        raise
    return {"session": session, "position": _position(lines[:-1])}


def resume(held):
    """
    End a pause.

    held
        What :py:func:`pause` returned

    Returns whether it lasted until now.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take kinds=logical
    """
    session = held["session"]
    lasted = session.poll() is None
    with contextlib.suppress(OSError):
        session.stdin.close()
    try:
        session.wait(10)
    except subprocess.TimeoutExpired:
        session.kill()
        session.wait()
    session.stdout.close()
    return lasted


def start(directory, data=None, memory="64M"):
    """
    Start a server of its own on files of its own: no network, no cluster, nobody but root.

    directory
        For its socket and log; made when it is not there
    data
        Directory of its data; None: an empty one is made
    memory
        Its buffer pool

    Returns ``{"socket", "process", "directory"}``, for :py:func:`stop`.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf01…/20260101T000000Z-full-1a2b
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    user = _user()
    shutil.chown(directory, user)
    fresh = data is None
    data = data or f"{directory}/data"
    log = f"{directory}/error.log"
    if fresh:
        _run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}",
             "--skip-test-db", "--auth-root-authentication-method=socket", *_basedir()],
            "The scratch server's directory cannot be made",
        )  # fmt: skip
    # names of sockets are short: the directory may have a long one
    socket = f"/run/saltern-scratch-{os.getpid()}-{time.monotonic_ns() % 10**6}/s"
    os.makedirs(os.path.dirname(socket), mode=0o700)
    shutil.chown(os.path.dirname(socket), user)
    with open(log, "ab") as sink:
        process = subprocess.Popen(
            [
                "nice", "-n", "10", _server(), "--no-defaults", f"--user={user}",
                f"--datadir={data}", f"--socket={socket}", f"--pid-file={directory}/pid",
                "--skip-networking", "--skip-log-bin", "--wsrep-on=OFF", "--performance-schema=OFF",
                f"--innodb-buffer-pool-size={memory}", "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=OFF", "--sync-frm=OFF", *_basedir(),
            ],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
        )  # fmt: skip
    held = {"socket": socket, "process": process, "directory": directory}
    end = time.monotonic() + _START
    while time.monotonic() < end and process.poll() is None:
        try:
            query("SELECT 1", socket, limit=10)
        except CommandExecutionError:
            time.sleep(0.2)
        else:
            return held
    stop(held)
    with open(log, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip() for line in stream if "[ERROR]" in line] or ["no error in its log"]
    raise CommandExecutionError(f"The scratch server does not start: {lines[-1][-300:]}.")


def stop(held):
    """
    End a scratch server; its files stay.

    held
        What :py:func:`start` returned

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf01…/20260101T000000Z-full-1a2b
    """
    held["process"].terminate()
    try:
        held["process"].wait(_START)
    except subprocess.TimeoutExpired:
        held["process"].kill()
        held["process"].wait()
    shutil.rmtree(os.path.dirname(held["socket"]), ignore_errors=True)


def owner():
    """
    Return the user that files of the database belong to.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_mariadb.owner
    """
    return _user()


def _user():
    told = __salt__["backup_client.settings"]().get("mariadb") or {}
    name = told.get("user") or "mysql"
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise CommandExecutionError(
            f"There is no user {name}: this host has no MariaDB server. Apply galera.server."
        ) from None


def _basedir():
    told = __salt__["backup_client.settings"]().get("mariadb") or {}
    return [f"--basedir={told['basedir']}"] if told.get("basedir") else []


def _server():
    for name in ("mariadbd", "/usr/sbin/mariadbd"):
        found = shutil.which(name)
        if found:
            return found
    raise CommandExecutionError("There is no mariadbd on this host. Apply galera.server.")


def _run(command, what, limit=600):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except OSError as err:
        raise CommandExecutionError(f"{what}: {command[0]}: {err.strerror}.") from None
    except subprocess.TimeoutExpired:
        raise CommandExecutionError(f"{what}: {command[0]} took longer than {limit} s.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise CommandExecutionError(f"{what}: {lines[-1][:300] if lines else 'no word why'}.")
    return done
