"""
Ask and steer the HAProxy of a host over its admin socket.

:depends: HAProxy with an admin socket (``/run/haproxy/admin.sock``)
"""

from __future__ import annotations

import csv
import os
import re
import socket
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

_SOCKET = "/run/haproxy/admin.sock"
_TIMEOUT = 5
# Seconds between two looks at a server that is waited for.
_LOOK = 0.5
# Seconds between two checks where the model does not say; the formula's default.
_CHECK = {"interval": 2}
# Bits of srv_admin_state. Maintenance: by an administrator, of a server that this one tracks, for
# want of an address. Drained: by an administrator.
_MAINTAINED = 0x01 | 0x02 | 0x20
_DRAINED = 0x08
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


def _names(listen, server):
    for name in (listen, server):
        if not _NAME.fullmatch(str(name)):
            raise SaltInvocationError(f"{name} is not a name HAProxy could have")


def _flags(listen, server):
    # What an administrator set; the status tells it only of a server that is up.
    lines = _ask(f"show servers state {listen}").splitlines()
    head = next((line.lstrip("# ").split() for line in lines if line.startswith("# ")), [])
    for line in lines:
        row = dict(zip(head, line.split(), strict=False))
        if row.get("srv_name") == server and row.get("be_name") == listen:
            return int(row["srv_admin_state"])
    raise CommandExecutionError(f"HAProxy does not tell the state of {listen}/{server}")


def _set(listen, server, state, drained):
    answer = _ask(f"set server {listen}/{server} state {state}")
    if answer:
        raise CommandExecutionError(f"HAProxy refused to set {listen}/{server}: {answer}")
    # Read back: an empty answer alone proves nothing.
    if bool(_flags(listen, server) & _DRAINED) is not drained:
        status = servers(listen).get(listen, {}).get(server, {}).get("status", "unknown")
        raise CommandExecutionError(f"HAProxy says {listen}/{server} is {status}, not {state}")


def _watch(listen, server, wait, done):
    """Look at a server until ``done(data)`` or the time is over; its last data, and the seconds."""
    begin = time.monotonic()
    while True:
        found = servers(listen).get(listen, {}).get(server)
        took = time.monotonic() - begin
        if found is None or done(found) or took >= wait:
            return found, took
        time.sleep(min(_LOOK, max(wait - took, 0)))


def drain(listen, server, wait=0, least=1, force=False):
    """
    Give a server no new sessions and wait until its present ones have ended.

    Returns a sentence. A listen or a server that this HAProxy does not have is drained already, and
    so is a server that is alone in its listen: nobody could take its requests. Raises
    CommandExecutionError when HAProxy refuses, when the server is in maintenance (somebody else
    took it out), when too few of the others are up, and when sessions are left after ``wait``
    seconds; the server stays drained in that last case. HAProxy forgets it at its next reload.

    listen, server
        Names as :py:func:`servers` shows them.

    wait
        Seconds that its sessions may take; 0 does not look at them.

    least
        How many other servers of the listen must be up.

    force
        Close the sessions that are left in place of raising.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.drain keystone ctl02 wait=60
    """
    _names(listen, server)
    members = servers(listen).get(listen, {})
    if server not in members:
        return f"{listen}/{server} is not in this HAProxy: nothing to drain."
    others = [name for name in members if name != server]
    if not others:
        return f"{server} is alone in {listen}: not drained, as nobody could take its requests."
    flags = _flags(listen, server)
    if flags & _MAINTAINED:
        raise CommandExecutionError(
            f"{listen}/{server} is in maintenance: somebody else took it out of service"
        )
    up = [name for name in others if _serves(members[name])]
    if len(up) < int(least) and (_serves(members[server]) or not flags & _DRAINED):
        raise CommandExecutionError(
            f"{listen}/{server} stays in service: {len(up)} of the others are up, {least} must be"
        )
    if not flags & _DRAINED:
        _set(listen, server, "drain", True)
    data, took = _watch(listen, server, float(wait), lambda found: not found["sessions"])
    left = data["sessions"] if data and wait else 0
    if left and force:
        _ask(f"shutdown sessions server {listen}/{server}")
        return f"{listen}/{server} is drained; {left} sessions were closed after {took:.0f} s."
    if left:
        raise CommandExecutionError(
            f"{listen}/{server} is drained and still has {left} sessions after {took:.0f} s"
        )
    return f"{listen}/{server} is drained" + (
        f", no session is left after {took:.0f} s." if wait else "."
    )


def _serves(data):
    return data["status"].startswith("UP") or data["status"] == "no check"


def _await_check(listen, server, wait):
    """
    Wait until the last check of a drained server is of now: one that broke a moment ago looks well
    until HAProxy asks it again, and would be given requests until then. One that is down already
    gets none before its checks pass.
    """
    proxy = (__pillar__.get("haproxy") or {}).get("proxy") or {}
    given = ((proxy.get("listen") or {}).get(listen) or {}).get("check") or {}
    interval = float({**_CHECK, **(proxy.get("check") or {}), **given}["interval"])
    well = time.monotonic()

    def done(found):
        nonlocal well
        if found["status"] not in ("DRAIN", "no check"):
            well = time.monotonic()
        return found["status"].startswith("DOWN") or time.monotonic() - well > 1.5 * interval

    _watch(listen, server, wait, done)


def ready(listen, server, wait=0):
    """
    Take a drained server into service again and wait until its checks pass.

    It gets no request before a check that was made after this call began has passed.

    Returns a sentence. A listen or a server that this HAProxy does not have, an HAProxy that does
    not run (it starts without drained servers), and a server that somebody else has put in
    maintenance meanwhile are left as they are. Raises CommandExecutionError when HAProxy refuses.
    A server that is not up after ``wait`` seconds is no longer drained, but broken: the answer is
    ``{"ok": False, "sentence": str}`` then.

    listen, server
        Names as :py:func:`servers` shows them.

    wait
        Seconds that its checks may take; 0 does not wait for them.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' haproxy_admin.ready keystone ctl02 wait=60
    """
    _names(listen, server)
    try:
        known = server in servers(listen).get(listen, {})
    except CommandExecutionError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return f"HAProxy does not run on this host: {listen}/{server} is not drained in it."
        raise
    if not known:
        return f"{listen}/{server} is not in this HAProxy: nothing to give back."
    flags = _flags(listen, server)
    if flags & _MAINTAINED:
        return f"{listen}/{server} is in maintenance: left to who took it out of service."
    begin = time.monotonic()
    if flags & _DRAINED:
        if wait:
            _await_check(listen, server, float(wait))
        _set(listen, server, "ready", False)
    # "UP 1/3" fails its checks already
    left = max(float(wait) - (time.monotonic() - begin), _LOOK if wait else 0)
    data, _ = _watch(listen, server, left, lambda found: found["status"] in ("UP", "no check"))
    took = time.monotonic() - begin
    if wait and (data is None or data["status"] not in ("UP", "no check")):
        told = f"{data['status']} ({data['check']})" if data else "gone"
        sentence = f"{listen}/{server} is {told}, not up, after {took:.0f} s"
        return {"ok": False, "sentence": f"{sentence}; it is no longer drained."}
    return f"{listen}/{server} is in service" + (f", up after {took:.0f} s." if wait else ".")
