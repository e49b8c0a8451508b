"""
Refuse writes to an API at HAProxy, and let reads go on
=======================================================

Every listen in mode ``http`` asks a map (``/etc/haproxy/fence.map``, made by the formula) whether
it is fenced: others than GET, HEAD and OPTIONS get 503 with ``Retry-After`` then. The map is
changed through the admin socket, without a reload and without losing a connection, and in its
file, so that a reload or a restart meanwhile keeps the fence.

:depends: HAProxy with an admin socket (``/run/haproxy/admin.sock``)
"""

import contextlib
import fcntl
import os
import re
import socket
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "haproxy_fence"

#: The map: a listen and the seconds after which a client may ask again.
MAP = "/etc/haproxy/fence.map"

_SOCKET = "/run/haproxy/admin.sock"
_TIMEOUT = 5
# Seconds between two looks at requests that are waited for.
_LOOK = 0.5
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_SESSION = re.compile(r"\bfe=(\S+) .*?\bage=(\S+)")
_AGE = re.compile(r"(\d+)([dhms])")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def __virtual__():
    return __virtualname__


def _ask(command):
    path = ((__pillar__.get("haproxy") or {}).get("proxy") or {}).get("socket", _SOCKET)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_TIMEOUT)
            client.connect(path)
            client.sendall(command.encode() + b"\n")
            chunks = []
            while chunk := client.recv(65536):
                chunks.append(chunk)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CommandExecutionError(f"HAProxy does not answer on {path}: {reason}") from error
    return b"".join(chunks).decode().strip()


def _stopped(error):
    return isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError)


def fenced(name=MAP):
    """
    Return the listens whose writes are refused: ``{listen: seconds of Retry-After}``.

    name
        The map.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_fence.fenced
    """
    found = {}
    for line in _ask(f"show map {name}").splitlines():
        # "0x55d0… keystone 30"
        words = line.split()
        if len(words) == 3 and words[0].startswith("0x"):
            found[words[1]] = int(words[2])
        elif line:
            raise CommandExecutionError(f"HAProxy has no map {name}: {line}")
    return found


def raise_(listen, wait=60, again=30, name=MAP):
    """
    Refuse writes to a listen, and wait until the requests have ended that began before.

    Returns a sentence. A listen that this HAProxy does not have needs no fence. Raises
    ``CommandExecutionError`` when it cannot be fenced (mode tcp), when HAProxy refuses, and when
    requests are left after ``wait`` seconds: they may still write. The fence stays then.

    listen
        Its name, as :py:func:`haproxy_admin.servers` shows it.
    wait
        Seconds that requests under way may take; 0 does not look at them.
    again
        Seconds after which clients are told to ask again.
    name
        The map.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_fence.raise keystone wait=60
    """
    _check(listen)
    known = {row.split(",")[0] for row in _ask("show stat").splitlines()}
    if listen not in known:
        return f"{listen} is not in this HAProxy: nothing to fence."
    wanted = ((__pillar__.get("haproxy") or {}).get("proxy") or {}).get("listen") or {}
    if (wanted.get(listen) or {}).get("mode", "http") != "http":
        raise CommandExecutionError(f"{listen} is no listen of HTTP, its writes cannot be told")
    begun = time.monotonic()
    with _file(name) as rows:
        rows[listen] = str(int(again))
    _change(f"set map {name} {listen} {int(again)}" if listen in fenced(name) else
            f"add map {name} {listen} {int(again)}")  # fmt: skip
    if listen not in fenced(name):
        raise CommandExecutionError(f"HAProxy does not say that {listen} is fenced")
    left = _older(listen, begun)
    while left and wait and time.monotonic() - begun < float(wait):
        time.sleep(_LOOK)
        left = _older(listen, begun)
    if left and wait:
        raise CommandExecutionError(
            f"{left} requests to {listen} that began before its fence last for more than {wait} s"
        )
    return f"Writes to {listen} are refused."


def lower(listen, name=MAP):
    """
    Take writes to a listen again. One that is not fenced is left as it is.

    Returns a sentence. Where HAProxy does not run only the file of its map is changed. Raises
    ``CommandExecutionError`` when HAProxy refuses.

    listen, name
        As for :py:func:`haproxy_fence.raise <raise_>`.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_fence.lower keystone
    """
    _check(listen)
    with _file(name) as rows:
        rows.pop(listen, None)
    try:
        if listen in fenced(name):
            _change(f"del map {name} {listen}")
        if listen in fenced(name):
            raise CommandExecutionError(f"HAProxy says that {listen} is still fenced")
    except CommandExecutionError as error:
        if not _stopped(error):
            raise
    return f"Writes to {listen} are taken."


__func_alias__ = {"raise_": "raise"}


def _check(listen):
    if not _NAME.fullmatch(str(listen)):
        raise SaltInvocationError(f"{listen} is not a name HAProxy could have")


def _change(command):
    answer = _ask(command)
    if answer:
        raise CommandExecutionError(f"HAProxy refused `{command}`: {answer}")


@contextlib.contextmanager
def _file(name):
    """Rows of the map's file, to change; they are written back in one step."""
    if not os.path.isdir(os.path.dirname(name)):
        yield {}
        return
    with open(f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = {}
        with contextlib.suppress(FileNotFoundError), open(name, encoding="utf-8") as stream:
            rows = dict(line.split() for line in stream if len(line.split()) == 2)
        before = dict(rows)
        yield rows
        if rows != before or not os.path.exists(name):
            partial = f"{name}.new"
            with open(partial, "w", encoding="utf-8") as stream:
                stream.writelines(f"{key} {value}\n" for key, value in sorted(rows.items()))
            os.chmod(partial, 0o644)
            os.replace(partial, name)


def _older(listen, begun):
    """How many requests of a listen began before a moment."""
    since = time.monotonic() - begun
    ages = [age for front, age in _SESSION.findall(_ask("show sess")) if front == listen]
    # ages are whole seconds, rounded down: one more may be of before
    return sum(_seconds(age) + 1 > since for age in ages)


def _seconds(age):
    return sum(int(number) * _UNITS[unit] for number, unit in _AGE.findall(age))
