"""
Ask and steer the HAProxy of a host over its admin socket.

:depends: HAProxy with an admin socket (``/run/haproxy/admin.sock``)
"""

from __future__ import annotations

import csv
import os
import re
import socket

from salt.exceptions import CommandExecutionError, SaltInvocationError

_SOCKET = "/run/haproxy/admin.sock"
_TIMEOUT = 5
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def __virtual__():
    return True


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


def _rows():
    # The first line is "# pxname,svname,…"; type 2 is a server, 0 a front end.
    return list(csv.DictReader(_ask("show stat").lstrip("# ").splitlines()))


def info():
    """
    Return what HAProxy says about itself: ``{key: text}`` (``Version``, ``Uptime_sec``,
    ``CurrConns``, ``Stopping`` …).

    Raises CommandExecutionError when it does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.info
    """
    return dict(line.split(": ", 1) for line in _ask("show info").splitlines() if ": " in line)


def servers(listen=None):
    """
    Return the servers by listen:
    ``{listen: {server: {status, backup, address, sessions, check, seconds}}}``. ``status`` is
    ``UP``, ``DOWN``, ``MAINT``, ``DRAIN`` or HAProxy's transitional ``UP 1/3``; ``check`` the last
    check's result in words; ``seconds`` how long it has been so.

    listen
        Only this one.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.servers
        salt 'ctl*' haproxy_admin.servers keystone
    """
    found: dict = {}
    for row in _rows():
        if row["type"] == "0" and (listen is None or row["pxname"] == listen):
            found.setdefault(row["pxname"], {})
        if row["type"] != "2" or (listen is not None and row["pxname"] != listen):
            continue
        found.setdefault(row["pxname"], {})[row["svname"]] = {
            "status": row["status"],
            "backup": row["bck"] == "1",
            "address": row["addr"],
            "sessions": int(row["scur"] or 0),
            "check": " ".join(
                part for part in (row["check_status"], row["check_desc"], row["last_chk"]) if part
            ),
            "seconds": int(row["lastchg"] or 0),
        }
    return found


def running():
    """
    Tell whether HAProxy serves every listen of the model, whatever the state of their servers.

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.running
    """
    wanted = ((__pillar__.get("haproxy") or {}).get("proxy") or {}).get("listen") or {}
    names = {name for name, data in wanted.items() if data and data.get("enabled", True)}
    served = {row["pxname"] for row in _rows() if row["type"] == "0" and row["status"] == "OPEN"}
    missing = sorted(names - served)
    if missing:
        return {"ok": False, "sentence": f"HAProxy does not serve {', '.join(missing)}"}
    return {"ok": True, "sentence": f"HAProxy serves all {len(names)} listens"}


def backends_up(listen=None, minimum=None):
    """
    Tell whether the servers of a listen (of all listens) pass their checks.

    Returns ``{"ok": bool, "sentence": str}``. Raises SaltInvocationError for an unknown listen.

    listen
        Name of the listen; default all.

    minimum
        How many servers of each listen must be up; default all of them.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.backends_up
        salt 'ctl*' haproxy_admin.backends_up galera minimum=2
    """
    found = servers(listen)
    if listen is not None and listen not in found:
        raise SaltInvocationError(f"HAProxy has no listen named {listen}")
    wrong = []
    for name, members in sorted(found.items()):
        up = [server for server, data in members.items() if data["status"].startswith("UP")]
        if len(up) < (len(members) if minimum is None else minimum) or not up:
            down = [
                f"{server} {data['status']} ({data['check']})"
                for server, data in sorted(members.items())
                if server not in up
            ]
            wrong.append(f"{name}: {len(up)} of {len(members)} up, {', '.join(down) or 'none'}")
    if wrong:
        return {"ok": False, "sentence": "; ".join(wrong)}
    return {
        "ok": True,
        "sentence": f"the servers of {', '.join(sorted(found)) or 'no listen'} are up",
    }


def _set_state(listen, server, state, statuses):
    for name in (listen, server):
        if not _NAME.fullmatch(name):
            raise SaltInvocationError(f"{name} is not a name HAProxy could have")
    answer = _ask(f"set server {listen}/{server} state {state}")
    if answer:
        raise CommandExecutionError(f"HAProxy refused to set {listen}/{server}: {answer}")
    # Read back: an empty answer alone proves nothing.
    status = servers(listen).get(listen, {}).get(server, {}).get("status", "unknown")
    if not status.startswith(statuses):
        raise CommandExecutionError(f"HAProxy says {listen}/{server} is {status}, not {state}")
    return status


def drain(listen, server):
    """
    Give a server no new sessions and let its present ones end; returns its status.

    Raises CommandExecutionError when HAProxy refuses. HAProxy forgets it at its next reload.

    listen, server
        Names as :py:func:`servers` shows them.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.drain keystone ctl02
    """
    return _set_state(listen, server, "drain", ("DRAIN", "DOWN"))


def ready(listen, server):
    """
    Take a drained server into service again; returns its status, which its checks decide.

    Raises CommandExecutionError when HAProxy refuses.

    listen, server
        Names as :py:func:`servers` shows them.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.ready keystone ctl02
    """
    return _set_state(listen, server, "ready", ("UP", "DOWN"))
