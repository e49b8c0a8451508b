"""
A chassis of OVN: whether it follows the control plane, and how its routers go elsewhere and back
================================================================================================

What is configured is in ``/etc/ovn/host.json``.
"""

import json
import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ovn_chassis"

_CONFIG = "/etc/ovn/host.json"
_TIMEOUT = 60
# Seconds until routers must be elsewhere, and between two looks.
_LIMIT, _LOOK = 60, 2
# Where a priority is kept while a router is not to be here, and what it is until then.
_KEPT, _LAST = "saltern-priority", 0
_GATEWAYS = ("Gateway_Chassis", "HA_Chassis")


def __virtual__():
    return __virtualname__


def _run(*command):
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{command[0]} is not installed: apply ovn.host first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {_TIMEOUT} s.") from err
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "failed"
        raise CommandExecutionError(f"{command[0]}: {reason[:300]}")
    return done.stdout


def _config():
    try:
        with open(_CONFIG, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as err:
        raise CommandExecutionError(f"{_CONFIG} is missing: apply ovn.host first.") from err


def _client(database, *command):
    """Ask a database of the control plane, with the certificate of this host."""
    config = _config()
    tls = config["tls"]
    program = {"northbound": "ovn-nbctl", "southbound": "ovn-sbctl"}[database]
    return _run(
        program, "--timeout=30", f"--db={config[database]}", f"--private-key={tls['key']}",
        f"--certificate={tls['certificate']}", f"--ca-cert={tls['ca']}", *command,
    )  # fmt: skip


def _rows(database, table, *conditions, columns):
    text = _client(
        database, "--format=json", f"--columns={','.join(columns)}", "find", table, *conditions
    )
    return __salt__["ovs_switch.table"](text)


def connected():
    """
    Check that the controller follows the southbound database, and that this chassis is known there
    with the end of its tunnels.

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' ovn_chassis.connected
    """
    try:
        name = _config()["chassis"]
        state = _run("ovn-appctl", "--timeout=15", "-t", "ovn-controller", "connection-status")
        if state.strip() != "connected":
            return {"ok": False, "sentence": f"The controller is {state.strip()}."}
        known = _rows("southbound", "Chassis", f"name={json.dumps(name)}", columns=["hostname"])
        if not known:
            return {"ok": False, "sentence": f"Chassis {name} is not in the southbound database."}
        ends = _rows(
            "southbound", "Encap", f"chassis_name={json.dumps(name)}", columns=["type", "ip"]
        )
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    settings = __salt__["ovs_switch.settings"]()["external_ids"]
    wanted = settings.get("ovn-encap-type"), settings.get("ovn-encap-ip")
    if wanted not in [(end["type"], end["ip"]) for end in ends]:
        told = (
            f"Chassis {name} is registered without its tunnels' end {' '.join(map(str, wanted))}."
        )
        return {"ok": False, "sentence": told}
    return {"ok": True, "sentence": f"Chassis {name} is registered: {wanted[0]} {wanted[1]}."}


def _mine():
    """Rows that let a router's port be on this chassis: ``(table, row)``."""
    name = json.dumps(_config()["chassis"])
    columns = ["_uuid", "priority", "external_ids"]
    return [
        (table, row)
        for table in _GATEWAYS
        for row in _rows("northbound", table, f"chassis_name={name}", columns=columns)
    ]


def _here():
    """Ports of routers that are on this chassis now."""
    name = json.dumps(_config()["chassis"])
    known = _rows("southbound", "Chassis", f"name={name}", columns=["_uuid"])
    if not known:
        return []
    found = _rows(
        "southbound", "Port_Binding", "type=chassisredirect", f"chassis={known[0]['_uuid']}",
        columns=["logical_port"],
    )  # fmt: skip
    return sorted(row["logical_port"] for row in found)


def _alone():
    """Ports of routers that may be on this chassis and on no other."""
    mine = {row["_uuid"] for _, row in _mine()}
    found = []
    for row in _rows("northbound", "Logical_Router_Port", columns=["name", "gateway_chassis"]):
        known = row["gateway_chassis"]
        known = known if isinstance(known, list) else [known]
        if len(known) == 1 and known[0] in mine:
            found.append(row["name"])
    return sorted(found)


def drain():
    """
    Have the routers' ports of this gateway go to other gateways, by the last of all priorities
    here.

    What a priority was is kept beside it, in the database itself. Returns a sentence. Raises
    CommandExecutionError when a port has no other gateway, or ports stay.

    CLI Example:

    .. code-block:: bash

        salt gtw01.example.test ovn_chassis.drain
    """
    alone = _alone()
    if alone:
        raise CommandExecutionError(
            f"{', '.join(alone)} may be on this gateway alone: give them another one first."
        )
    for table, row in _mine():
        if _KEPT not in row["external_ids"]:
            _client(
                "northbound", "set", table, row["_uuid"], f"priority={_LAST}",
                f"external_ids:{_KEPT}={row['priority']}",
            )  # fmt: skip
    end = time.monotonic() + _LIMIT
    left = _here()
    while left:
        if time.monotonic() > end:
            raise CommandExecutionError(f"Still here after {_LIMIT} s: {', '.join(left)}.")
        time.sleep(_LOOK)
        left = _here()
    return "No router is here."


def release():
    """
    Give this gateway back the priorities that a drain took.

    Returns a sentence. Raises CommandExecutionError when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt gtw01.example.test ovn_chassis.release
    """
    given = 0
    for table, row in _mine():
        kept = row["external_ids"].get(_KEPT)
        if kept is not None:
            _client(
                "northbound", "set", table, row["_uuid"], f"priority={kept}",
                "--", "remove", table, row["_uuid"], "external_ids", _KEPT,
            )  # fmt: skip
            given += 1
    return f"{given} priorities were given back."
