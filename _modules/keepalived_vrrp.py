"""
Who holds the virtual address of a load balancer.
"""

from __future__ import annotations

import json
import os
import socket
import time

from salt.exceptions import CommandExecutionError

_TIMEOUT = 3
# While it lies there the check of HAProxy fails here; in memory, so that a boot forgets it.
_AWAY = "/run/saltern-keepalived-away"
# Seconds between two looks at who holds the address.
_LOOK = 0.5


def __virtual__():
    return True


def _pillar(*keys):
    data = __pillar__
    for key in keys:
        data = (data or {}).get(key)
    return data


def _address():
    address = _pillar("keepalived", "vrrp", "address")
    if not address:
        raise CommandExecutionError("The pillar has no keepalived:vrrp:address for this host")
    return address


def state():
    """
    Return ``{"address": str, "holder": bool, "interface": str or None}``: whether this host
    carries the virtual address right now. The kernel is asked, not keepalived.

    Raises CommandExecutionError when the pillar names no address.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' keepalived_vrrp.state
    """
    address = _address()
    answer = __salt__["cmd.run_all"](["ip", "-j", "address", "show"], python_shell=False)
    if answer["retcode"] != 0:
        raise CommandExecutionError(f"ip address show failed: {answer['stderr']}")
    for link in json.loads(answer["stdout"]):
        if any(info.get("local") == address for info in link.get("addr_info", [])):
            return {"address": address, "holder": True, "interface": link["ifname"]}
    return {"address": address, "holder": False, "interface": None}


def healthy():
    """
    Tell whether the virtual address can be reached from this host, held here or elsewhere: the
    HAProxy behind it accepts a connection on one of the listens of the model. That exactly one
    host holds it can only be told by asking all of them (the runner ``keepalived.form``).

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' keepalived_vrrp.healthy
    """
    found = state()
    where = "this host" if found["holder"] else "another host"
    listens = _pillar("haproxy", "proxy", "listen") or {}
    ports = sorted(
        data["port"]
        for data in listens.values()
        if data and data.get("enabled", True) and data.get("bind_address") in (None, _address())
    )
    if not ports:
        if found["holder"]:
            return {"ok": True, "sentence": f"{found['address']} is held by this host"}
        return {"ok": True, "sentence": f"{found['address']} is not held here; nothing to ask it"}
    port = ports[0]
    try:
        socket.create_connection((found["address"], port), timeout=_TIMEOUT).close()
    except OSError as error:
        where = "held by this host" if found["holder"] else "not held here"
        sentence = f"{found['address']}:{port}, {where}, cannot be reached: {error}"
        return {"ok": False, "sentence": sentence}
    return {
        "ok": True,
        "sentence": f"{found['address']} is held by {where} and accepts connections",
    }


def away(wait=20):
    """
    Give the virtual address up and leave it to another host until :py:func:`back`, while keepalived
    and HAProxy run on.

    wait
        Seconds that the address may take to be reachable on another host

    Returns a sentence. A host that is alone, or that holds the address whatever HAProxy does
    (``keepalived:vrrp:check`` is null), keeps it. Raises CommandExecutionError when nobody else
    takes it; it is taken back then.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test keepalived_vrrp.away
    """
    vrrp = _pillar("keepalived", "vrrp") or {}
    members = _pillar("topology", "roles", vrrp.get("role") or "keepalived.vrrp") or []
    if len(members) < 2:
        return f"{_address()} stays here: no other host could hold it."
    if vrrp.get("check", {}) is None:
        return f"{_address()} stays here: without keepalived:vrrp:check it cannot be given up."
    held = state()["holder"]
    with open(_AWAY, "w", encoding="utf-8") as file:
        file.write("Taken out of service by a rollout.\n")
    begin = time.monotonic()
    while True:
        now = healthy()
        gone = not state()["holder"]
        if gone and now["ok"]:
            took = f" after {time.monotonic() - begin:.0f} s" if held else ""
            return f"{_address()} is held by another host{took}."
        if time.monotonic() - begin > float(wait):
            back()
            told = now["sentence"] if gone else "this host still holds it: look at keepalived here"
            raise CommandExecutionError(f"{_address()} did not move within {wait} s: {told}")
        time.sleep(_LOOK)


def back():
    """
    Let this host hold the virtual address again, when another one loses it.

    Returns a sentence.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test keepalived_vrrp.back
    """
    try:
        os.unlink(_AWAY)
    except FileNotFoundError:
        return "This host was not taken out."
    return "This host may hold the virtual address again."
