"""
A shadow of the control plane, for the rehearsal of an upgrade
==============================================================

Copies of the databases lie in a server of their own, which this host alone reaches, through a
socket. What works on them runs as a user of its own in a network namespace that has a loopback and
nothing else: whatever a configuration says by mistake, production cannot be reached from there.
Nothing of it is enabled, and all of it is gone when a rehearsal ends or the next one begins.

``salt-run rehearse.run`` calls these functions in their order.
"""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "rehearsal"

#: What ``rehearsal.shadow`` writes; the minion option ``rehearsal_settings`` names another file.
SETTINGS = "/etc/saltern/rehearsal/settings.json"
#: Behind the name of a database, of its copy.
SUFFIX = "_rehearsal"
#: The server of the copies, as a unit of systemd; processes beside it are ``<unit>-api-<service>``.
UNIT = "saltern-rehearsal"
SOCKET = "/run/saltern-rehearsal/mariadb.sock"
#: Directories of a rehearsal, below that of the role.
_MADE = ("data", "services", "work")
_NOTE = "rehearsal.json"
# Seconds that the server has to start.
_START = 180


def __virtual__():
    if not hasattr(os, "fork") or not os.path.exists("/proc/self/ns"):
        return False, "rehearsal needs a Linux host"
    return __virtualname__


def settings():
    """
    Return what this host's role says: ``{"directory", "user", "backup": file}``. Raises
    CommandExecutionError when it has no such role.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.settings
    """
    path = __opts__.get("rehearsal_settings", SETTINGS)
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        raise CommandExecutionError(
            f"{path} cannot be read: this host is no shadow for rehearsals. Apply rehearsal.shadow."
        ) from None


def healthy():
    """
    Check that a rehearsal could begin on this host: user, programs, backup server; and that no
    copies are left that no rehearsal works with.

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.healthy
    """
    try:
        told = settings()
        _user(told)
        for program in ("mariadbd", "mariadb-install-db", "mariadb", "ip", "systemd-run"):
            _program(program)
        with __salt__["backup_client.using"](told["backup"]):
            found = __salt__["backup_client.healthy"]()
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    if not found["ok"]:
        return found
    return {"ok": True, "sentence": f"Upgrades can be rehearsed here. {found['sentence']}"}


def status():
    """
    Return which rehearsal this host works on: ``{"rehearsal": id or None, "databases": [copies],
    "server": whether it runs}``.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.status
    """
    told = settings()
    runs = _runs()
    return {"rehearsal": _noted(told), "server": runs, "databases": copies() if runs else []}


def begin(rehearsal):
    """
    Begin a rehearsal: an empty server of its own, a namespace, a user. What one before has left,
    which was killed, is removed first.

    rehearsal
        Its id, to be told apart

    Returns ``{"seconds", "removed": id of the one before or None, "sentence"}``. Raises
    CommandExecutionError; nothing is left then.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    told, began = settings(), time.monotonic()
    _apart(told)
    removed = _noted(told)
    end()
    user = _user(told)
    top = told["directory"]
    os.makedirs(top, mode=0o711, exist_ok=True)
    os.chmod(top, 0o711)  # noqa: S103 - the rehearsal's user has to pass
    with open(f"{top}/{_NOTE}", "w", encoding="utf-8") as stream:
        json.dump({"rehearsal": str(rehearsal)}, stream)
    try:
        os.makedirs(f"{top}/services", mode=0o711)
        os.chmod(f"{top}/services", 0o711)  # noqa: S103
        _run(
            [_program("mariadb-install-db"), "--no-defaults", f"--datadir={top}/data",
             f"--user={user.pw_name}", "--skip-test-db", "--skip-name-resolve",
             "--auth-root-authentication-method=socket"],
            "The directory of the copies cannot be made",
        )  # fmt: skip
        shutil.rmtree(f"{top}/data/test", ignore_errors=True)
        __salt__["rehearsal_room.make"]()
        _run(["systemctl", "start", f"{UNIT}.service"], "The server of the copies does not start")
        _answers()
        # by its id alone, through the socket: there is no password that could leak. The installer
        # gave it all rights
        query(
            f"CREATE OR REPLACE USER `{user.pw_name}`@localhost IDENTIFIED VIA unix_socket;"
            f" GRANT ALL PRIVILEGES ON `%\\{SUFFIX}`.* TO `{user.pw_name}`@localhost"
        )
    except BaseException:
        end()
        raise
    seconds = round(time.monotonic() - began, 1)
    sentence = f"A server of its own is ready in {seconds} s."
    if removed:
        sentence += f" What {removed} left was removed."
    return {"seconds": seconds, "removed": removed, "sentence": sentence}


def load(bundle, databases):
    """
    Load dumps of a bundle as copies, under their names with ``_rehearsal`` behind.

    bundle
        ``galera.server/<host>/<id>``, of the kind ``logical``
    databases
        Names, a list

    Returns what :py:func:`backup_dump.load <backup_dump.load>` does. Raises
    CommandExecutionError, also when there is not three times their room.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    _begun()
    with __salt__["backup_client.using"](settings()["backup"]):
        files = __salt__["backup_bundle.inspect"](bundle)["files"].values()
        # as copies, as they are fetched, and once more beside them when they are put back
        needed = sum(one["size"] for one in files if one["name"] in databases)
        __salt__["backup_client.room"](3 * needed)
        return __salt__["backup_dump.load"](
            bundle, {name: f"{name}{SUFFIX}" for name in databases}, socket=SOCKET
        )


def restore(bundle, databases):
    """
    Put the copies back to what a bundle has, as the databases are when an upgrade is taken back.

    bundle, databases
        As for :py:func:`rehearsal.load <load>`

    Returns what :py:func:`backup_dump.restore <backup_dump.restore>` does. Raises
    CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    _begun()
    with __salt__["backup_client.using"](settings()["backup"]):
        done = __salt__["backup_dump.restore"](
            bundle, list(databases), socket=SOCKET, suffix=SUFFIX
        )
        __salt__["backup_dump.drop"](list(done["before"].values()), socket=SOCKET)
    names = ", ".join(sorted(done["databases"]))
    done["sentence"] = f"{names} were put back in {done['seconds']} s."
    return done


def copies():
    """
    Return the names of the copies that the rehearsal's server has.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.copies
    """
    return sorted(row[0] for row in query("SHOW DATABASES") if row[0].endswith(SUFFIX))


def query(statement):
    """
    Run statements on the server of the copies, and return the rows of the last one.

    statement
        SQL

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.query 'SHOW DATABASES'
    """
    with __salt__["backup_client.using"](settings()["backup"]):
        return __salt__["backup_mariadb.query"](statement, SOCKET)


def end():
    """
    End a rehearsal: its processes and its server stop, copies and configurations are removed.

    Runs again without harm. Returns a sentence. Raises CommandExecutionError when something of it
    is left.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.end
    """
    told = settings()
    _apart(told)
    for unit in (f"{UNIT}-api-*.service", f"{UNIT}.service"):
        # one that is not there is no mistake
        subprocess.run(["systemctl", "stop", unit], capture_output=True, check=False)
        subprocess.run(["systemctl", "reset-failed", unit], capture_output=True, check=False)
    with contextlib.suppress(KeyError):
        # a migration may outlive the job that began it
        __salt__["rehearsal_room.kill"](pwd.getpwnam(told["user"]).pw_uid)
    __salt__["rehearsal_room.remove"]()
    for name in _MADE:
        shutil.rmtree(f"{told['directory']}/{name}", ignore_errors=True)
    left = [name for name in _MADE if os.path.exists(f"{told['directory']}/{name}")]
    if left or _runs():
        what = f"{told['directory']}/{left[0]}" if left else f"{UNIT}.service"
        raise CommandExecutionError(f"{what} of the rehearsal cannot be removed.")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{told['directory']}/{_NOTE}")
    return "Nothing of a rehearsal is left."


def socket():
    """
    Return the socket of the server that has the copies.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.socket
    """
    return SOCKET


def user():
    """
    Return the user that everything of a rehearsal runs as.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal.user
    """
    return _user(settings()).pw_name


def _noted(told):
    try:
        with open(f"{told['directory']}/{_NOTE}", encoding="utf-8") as stream:
            return json.load(stream)["rehearsal"]
    except (OSError, ValueError, KeyError):
        return None


def _begun():
    if not _runs():
        raise CommandExecutionError(
            "The server of the copies does not run. Begin a rehearsal with rehearse.run."
        )


def _runs():
    done = subprocess.run(["systemctl", "--quiet", "is-active", f"{UNIT}.service"], check=False)
    return done.returncode == 0


def _apart(told):
    """Refuse a user or a directory that something else might have, too."""
    top = os.path.normpath(told["directory"])
    if told["user"] in ("root", "mysql") or len(top.split("/")) < 4:
        raise CommandExecutionError(
            f"User {told['user']} and directory {top} cannot be a rehearsal's alone. Set others in"
            " rehearsal:shadow."
        )


def _user(told):
    try:
        found = pwd.getpwnam(told["user"])
    except KeyError:
        raise CommandExecutionError(
            f"There is no user {told['user']}. Apply rehearsal.shadow."
        ) from None
    if not found.pw_uid:
        raise CommandExecutionError(f"User {told['user']} is root, and a rehearsal never is.")
    return found


def _program(name):
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        raise CommandExecutionError(f"There is no {name} on this host. Apply rehearsal.shadow.")
    return found


def _answers():
    end_, told = time.monotonic() + _START, ""
    while time.monotonic() < end_:
        try:
            query("SELECT 1")
        except CommandExecutionError as err:
            told = str(err)
            time.sleep(0.3)
        else:
            return
    raise CommandExecutionError(f"The server of the copies does not answer: {told}")


def _run(command, what, limit=600):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{what}: {type(err).__name__} of {command[0]}.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise CommandExecutionError(f"{what}: {lines[-1][:300] if lines else 'no word why'}.")
    return done.stdout
