"""
The way from a host to the backup server, and back
==================================================

HTTPS with the host's own certificate on both ends. The server lets a host write below its own
name and read what hosts with the same role have written; nothing can be overwritten or removed
from here.

Where the server is, and which key bundles are encrypted with, the role ``backup.client`` writes
to two files, so that a restore needs neither a master nor a pillar.
"""

import contextlib
import http.client
import json
import os
import shutil
import ssl
import stat

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_client"

#: What ``backup.client`` writes; the minion option ``backup_settings`` names another file.
SETTINGS = "/etc/saltern/backup/client.json"
#: Bytes that go through memory at once.
PART = 1 << 20
# Where the file is noted that is worked with for a while.
_USED = "backup_client.using"
# Seconds that the server may be silent.
_PATIENCE = 120
_MEANING = {
    403: "it does not let this host do that. Who carries which role it has from the model: apply"
    " nginx.server there once more",
    404: "it has no such file",
    409: "there is one of that name already, and nothing is overwritten",
    413: "it takes no file of that size",
    500: "it could not store it, most often as its disk is full: see backup.status",
    507: "its disk is full",
}


def __virtual__():
    return __virtualname__


def settings():
    """
    Return what this host's role says: ``{"cluster", "host", "server", "port", "tls", "key_file",
    "directory", "compression", "mariadb"}``. Raises CommandExecutionError when it has no such
    role. Within :py:func:`using` they are those of another file.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_client.settings
    """
    path = __context__.get(_USED) or __opts__.get("backup_settings", SETTINGS)
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise CommandExecutionError(
            f"{path} is not there: this host is no client of a backup server. Give it the role"
            " backup.client."
        ) from None
    except (OSError, ValueError) as err:
        raise CommandExecutionError(
            f"{path} cannot be read ({type(err).__name__}). Apply backup.client."
        ) from None


@contextlib.contextmanager
def using(path):
    """
    Work with the settings of another file for a while: those of a host that reads what hosts of
    another role have written, and has their key for it.

    path
        A file as ``backup.client`` writes it

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    before = __context__.get(_USED)
    __context__[_USED] = path
    try:
        yield
    finally:
        __context__[_USED] = before


def scratch():
    """
    Make and return the directory that work lies in, which only root can list.

    Users of services may pass through it to what is made for them inside.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_client.scratch
    """
    path = settings()["directory"]
    os.makedirs(path, mode=0o711, exist_ok=True)
    os.chmod(path, 0o711)  # noqa: S103 - a scratch server's user has to pass
    return path


def room(wanted):
    """
    Raise CommandExecutionError when the disk of this host's scratch directory has too little
    room.

    wanted
        Bytes that will be written to it

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_client.room 1000000000
    """
    path = scratch()
    free = shutil.disk_usage(path).free
    if free < wanted:
        raise CommandExecutionError(
            f"{path} has {free / 1e9:.1f} GB of free space, and {wanted / 1e9:.1f} GB are"
            " needed. Free"
            " some, or name another disk in backup:client:directory."
        )


def healthy():
    """
    Check that the key is there for root alone, and that the server knows this host.

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt 'inf*' backup_client.healthy
    """
    try:
        told = settings()
        found = os.stat(told["key_file"])
        if found.st_uid or stat.S_IMODE(found.st_mode) & 0o077:
            return {"ok": False, "sentence": f"{told['key_file']} is not root's alone."}
        answer = _ask("GET", "/")
    except OSError as err:
        return {"ok": False, "sentence": f"{err.filename} cannot be read: {err.strerror}."}
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    if answer.status != 204:
        return {"ok": False, "sentence": f"{_name(told)} answers {answer.status}."}
    return {"ok": True, "sentence": f"{_name(told)} knows this host."}


def put(path, parts):
    """
    Store a file on the server; it appears there whole, or not at all.

    path
        ``<role>/<this host>/<bundle>/<file>``
    parts
        Iterable of bytes; what it raises ends the transfer, and the server forgets it

    Raises CommandExecutionError when the server does not take it.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_bundle.check
    """
    answer = _ask("PUT", f"/{path}", parts)
    if answer.status not in (201, 204):
        raise CommandExecutionError(_refused(path, answer.status))


def get(path, write, limit=None):
    """
    Read a file from the server.

    path
        ``<role>/<host>/<bundle>/<file>``
    write
        Is called with each part of it
    limit
        Bytes; more of them are refused

    Raises CommandExecutionError when it cannot be read to its end.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_bundle.inspect galera.server/inf01…/20260101T0Z-full-1a2b
    """
    answer = _ask("GET", f"/{path}")
    if answer.status != 200:
        raise CommandExecutionError(_refused(path, answer.status))
    size = 0
    try:
        for part in iter(lambda: answer.read(PART), b""):
            size += len(part)
            if limit is not None and size > limit:
                raise CommandExecutionError(f"{path} is larger than the {limit} bytes it may have.")
            write(part)
    except (http.client.HTTPException, OSError) as err:
        raise CommandExecutionError(
            f"{path} broke off after {size} bytes ({type(err).__name__}). Try again."
        ) from None
    finally:
        answer.close()


def _name(told):
    return f"The backup server {told['server']}:{told['port']}"


def _refused(path, status):
    why = _MEANING.get(status, f"it answers {status}")
    return f"{_name(settings())} refuses {path}: {why}."


def _ask(method, target, parts=None):
    told = settings()
    tls = told["tls"]
    try:
        context = ssl.create_default_context(cafile=tls["ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tls["certificate"], tls["key"])
    except OSError as err:
        raise CommandExecutionError(
            f"This host's certificate cannot be used ({err.strerror or err}). Apply pki.host."
        ) from None
    server = http.client.HTTPSConnection(
        told["server"], told["port"], timeout=_PATIENCE, context=context
    )
    try:
        headers = {"Transfer-Encoding": "chunked"} if parts is not None else {}
        try:
            server.request(method, target, parts, headers, encode_chunked=parts is not None)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            # a refusal comes while the body is still being sent
            if parts is None:
                raise
        return server.getresponse()
    except (http.client.HTTPException, OSError) as err:
        server.close()
        why = getattr(err, "strerror", None) or type(err).__name__
        raise CommandExecutionError(
            f"{_name(told)} does not answer ({why}). See that nginx runs there and can be reached"
            " from here."
        ) from None
    except BaseException:
        # without the last chunk: whatever was sent is no file
        server.close()
        raise
