"""
Open vSwitch of this host: what its database holds, and a few things that it is told
====================================================================================

Everything goes through ``ovs-vsctl`` as JSON. The state ``ovs_switch``, the module ``ovn_chassis``
and health checks use it.
"""

import json
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = "ovs_switch"

_TIMEOUT = 30


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
            f"{command[0]} is not installed: apply openvswitch.switch first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {_TIMEOUT} s.") from err
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "failed"
        raise CommandExecutionError(f"{' '.join(command[:1])}: {reason[:300]}")
    return done.stdout


def plain(value):
    """
    Turn a value of a database of OVSDB into one of Python.

    value
        As JSON has it: ``["map", [[k, v]]]``, ``["set", [v]]``, ``["uuid", "…"]`` or a scalar

    Returns a mapping, a list, a string or a scalar.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.plain '["set", []]'
    """
    if isinstance(value, list) and len(value) == 2:
        kind, inner = value
        if kind == "map":
            return {plain(key): plain(one) for key, one in inner}
        if kind == "set":
            return [plain(one) for one in inner]
        if kind == "uuid":
            return inner
    return value


def table(text):
    """
    Turn what ``--format=json`` printed into rows.

    text
        The output of ``ovs-vsctl``, ``ovn-nbctl`` or ``ovn-sbctl``

    Returns a list of ``{column: value}``.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.table '{"headings": ["a"], "data": [[1]]}'
    """
    found = json.loads(text)
    return [
        dict(zip(found["headings"], map(plain, row), strict=True)) for row in found["data"]
    ]  # fmt: skip


def rows(name, record=None, columns=None):
    """
    Return rows of a table of the switch's database as ``[{column: value}]``.

    name
        Of the table, such as ``Interface``
    record
        Only this one: name or UUID; ``.`` is the one of ``Open_vSwitch``. None of this name: no row
    columns
        Only these, a list

    Raises CommandExecutionError when the switch does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.rows Interface columns='[name, error]'
    """
    command = ["ovs-vsctl", "--timeout=10", "--format=json"]
    command += [f"--columns={','.join(columns)}"] if columns else []
    command += ["--if-exists"] if record else []
    return table(_run(*command, "list", name, *([record] if record else [])))


def bridges():
    """
    Return the bridges of this host by name: ``{"datapath", "ports", "fail_mode", "external_ids"}``.

    Ports are without the one that every bridge has of its own. Raises CommandExecutionError when
    the switch does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.bridges
    """
    ports = {row["_uuid"]: row["name"] for row in rows("Port", columns=["_uuid", "name"])}
    found = {}
    for row in rows("Bridge"):
        # a set of one is written without its brackets
        mine = row["ports"] if isinstance(row["ports"], list) else [row["ports"]]
        found[row["name"]] = {
            "datapath": row["datapath_type"] or "system",
            "ports": sorted({ports[one] for one in mine if one in ports} - {row["name"]}),
            "fail_mode": row["fail_mode"] or None,
            "external_ids": row["external_ids"],
        }
    return found


def settings():
    """
    Return ``{"external_ids": {}, "other_config": {}}`` of the switch.

    Raises CommandExecutionError when it does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.settings
    """
    columns = ["external_ids", "other_config"]
    (row,) = rows("Open_vSwitch", ".", columns)
    return {column: row[column] for column in columns}


def write(name, record, column, values):
    """
    Set and remove keys of a column that is a mapping; others stay.

    name, record
        Of the table and in it, as in :py:func:`rows`
    column
        Such as ``external_ids``
    values
        ``{key: text}``; None removes the key

    Raises CommandExecutionError when the switch refuses.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.write Open_vSwitch . external_ids '{a: b}'
    """
    command = ["ovs-vsctl", "--timeout=20"]
    for key, value in sorted(values.items()):
        if value is None:
            command += ["--", "remove", name, record, column, key]
        else:
            command += [
                "--",
                "set",
                name,
                record,
                f"{column}:{json.dumps(key)}={json.dumps(value)}",
            ]
    if values:
        _run(*command)


def add_bridge(name, datapath):
    """
    Make a bridge unless it is there, and give it its datapath.

    name
        Of the bridge
    datapath
        ``system`` or ``netdev``

    Raises CommandExecutionError when the switch refuses, or cannot make its device.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.add_bridge br-phy netdev
    """
    _run(
        "ovs-vsctl", "--timeout=20", "--may-exist", "add-br", name,
        "--", "set", "Bridge", name, f"datapath_type={datapath}",
    )  # fmt: skip


def add_port(bridge, port):
    """
    Put a device on a bridge, and set it up.

    bridge
        Name of the bridge
    port
        Name of the device; it must not be on another bridge

    Raises CommandExecutionError when the switch refuses.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.add_port br-phy eth1
    """
    _run("ovs-vsctl", "--timeout=20", "--may-exist", "add-port", bridge, port)
    _run("ip", "link", "set", "dev", port, "up")


def set_bridge(name, mtu=None, fail_mode=None):
    """
    Set what a bridge is asked for; what is None stays.

    name
        Of the bridge
    mtu
        Bytes, of its own device
    fail_mode
        ``standalone`` or ``secure``

    Raises CommandExecutionError when the switch refuses.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.set_bridge br-phy mtu=1500
    """
    command = []
    if mtu:
        command += ["--", "set", "Interface", name, f"mtu_request={int(mtu)}"]
    if fail_mode:
        command += ["--", "set-fail-mode", name, fail_mode]
    if command:
        _run("ovs-vsctl", "--timeout=20", *command)


def device(name):
    """
    Tell ``{"mtu", "up", "addresses", "checksum_offload"}`` of a device, as the kernel has it.

    name
        Of the device

    Returns None when there is none; addresses are such as ``10.0.0.1/24``.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.device br-phy
    """
    try:
        (link,) = json.loads(_run("ip", "-j", "address", "show", "dev", name))
    except CommandExecutionError:
        return None
    shown = _run("ethtool", "-k", name)
    offload = next(
        (line.split()[1] for line in shown.splitlines() if line.startswith("tx-checksumming:")),
        "off",
    )
    return {
        "mtu": link["mtu"],
        "up": "UP" in link["flags"],
        "addresses": [f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"]],
        "checksum_offload": offload == "on",
    }


def set_device(name, address=None, checksum_offload=True):
    """
    Set a device up, give it an address, take its checksum offload.

    name
        Of the device
    address
        Such as ``10.0.0.1/24``
    checksum_offload
        False turns it off; True leaves it

    Raises CommandExecutionError when the kernel refuses.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test ovs_switch.set_device br-phy 10.0.1.11/24
    """
    _run("ip", "link", "set", "dev", name, "up")
    if address:
        _run("ip", "address", "replace", address, "dev", name)
    if not checksum_offload:
        _run("ethtool", "-K", name, "tx", "off")


def healthy():
    """
    Check that both daemons answer, and that the bridges of the model are as they should be.

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt 'cmp*' ovs_switch.healthy
    """
    switch = (__pillar__.get("openvswitch") or {}).get("switch") or {}
    datapath = switch.get("datapath", "system")
    wrong = []
    try:
        _run("ovs-appctl", "--timeout=10", "-t", "ovs-vswitchd", "version")
        found = bridges()
        interfaces = rows("Interface", columns=["name", "error"])
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    for name, spec in sorted((switch.get("bridge") or {}).items()):
        bridge = found.get(name)
        if bridge is None:
            wrong.append(f"bridge {name} is missing")
            continue
        if bridge["datapath"] != datapath:
            wrong.append(f"bridge {name} has the datapath {bridge['datapath']}, not {datapath}")
        lost = sorted({*((spec or {}).get("ports") or ())} - {*bridge["ports"]})
        if lost:
            wrong.append(f"bridge {name} is without {', '.join(lost)}")
    # an instance that is gone leaves its port behind for a moment; ports of the model must work
    named = {name for name, spec in (switch.get("bridge") or {}).items()}
    named |= {
        one
        for spec in (switch.get("bridge") or {}).values()
        for one in (spec or {}).get("ports") or ()
    }
    wrong += [
        f"{row['name']}: {row['error']}"
        for row in interfaces
        if row["error"] and row["name"] in named
    ]
    if wrong:
        return {"ok": False, "sentence": f"{'; '.join(wrong)}."}
    return {
        "ok": True,
        "sentence": f"The switch answers; bridges: {', '.join(sorted(found)) or 'none'}.",
    }
