"""
Settings and bridges of Open vSwitch
====================================

What the model names is kept and read back; what others made stays: bridges and ports of OVN, taps
of instances, keys of settings.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "ovs_switch"


def __virtual__():
    return __virtualname__


def _texts(values):
    """Keys and values as the database has them, texts; None stays None."""

    def text(value):
        return str(value).lower() if isinstance(value, bool) else str(value)

    return {
        str(key): None if value is None else text(value) for key, value in (values or {}).items()
    }  # fmt: skip


def settings(name, external_ids=None, other_config=None):
    """
    Keep keys of the switch's own settings.

    name
        For the log
    external_ids, other_config
        ``{key: value}``; None removes a key, keys that are not named stay
    """
    columns = {"external_ids": _texts(external_ids), "other_config": _texts(other_config)}
    wanted = {
        f"{column}:{key}": value
        for column, values in columns.items()
        for key, value in values.items()
    }

    def look():
        found = __salt__["ovs_switch.settings"]()
        return {
            f"{column}:{key}": found[column].get(key)
            for column, values in columns.items()
            for key in values
        }

    def act(now):
        for column, values in columns.items():
            changed = {key: one for key, one in values.items() if now[f"{column}:{key}"] != one}
            __salt__["ovs_switch.write"]("Open_vSwitch", ".", column, changed)

    return __salt__["readback.present"](name, "Settings", wanted, look, act, __opts__["test"])


def bridge(
    name,
    datapath="system",
    ports=(),
    mtu=None,
    fail_mode=None,
    external_ids=None,
    address=None,
    checksum_offload=True,
):
    """
    Keep a bridge, its datapath and its ports.

    name
        Of the bridge, and of the device that the host has on it
    datapath
        ``system`` or ``netdev``
    ports
        Names of devices that must be on it; one that is on another bridge is refused
    mtu
        Bytes, of the bridge's own device; None leaves it
    fail_mode
        ``standalone`` or ``secure``; None leaves it
    external_ids
        ``{key: value}``; None removes a key, keys that are not named stay
    address
        Of the host on this bridge, such as ``10.0.1.11/24``; other addresses stay
    checksum_offload
        False turns it off, on the bridge and its ports; True leaves it
    """
    ids = _texts(external_ids)
    wanted = {"datapath": datapath, "ports": sorted(ports)}
    wanted.update({f"external_ids:{key}": value for key, value in ids.items()})
    wanted.update({"mtu": mtu} if mtu else {})
    wanted.update({"fail_mode": fail_mode} if fail_mode else {})
    wanted.update({"address": address} if address else {})
    wanted.update({} if checksum_offload else {"checksum_offload": []})

    def look():
        known = __salt__["ovs_switch.bridges"]()
        for other, spec in sorted(known.items()):
            taken = sorted({*ports} & {*spec["ports"]}) if other != name else []
            if taken:
                raise CommandExecutionError(
                    f"{', '.join(taken)} is on the bridge {other}. Take it from there first:"
                    f" ovs-vsctl del-port {other} {taken[0]}."
                )
        mine = known.get(name)
        if mine is None:
            return None
        own = __salt__["ovs_switch.device"](name) or {"mtu": None, "up": False, "addresses": []}
        found = {"datapath": mine["datapath"], "ports": sorted({*ports} & {*mine["ports"]})}
        found.update({f"external_ids:{key}": mine["external_ids"].get(key) for key in ids})
        if mtu:
            found["mtu"] = own["mtu"]
        if fail_mode:
            found["fail_mode"] = mine["fail_mode"]
        if address:
            found["address"] = address if own["up"] and address in own["addresses"] else None
        if not checksum_offload:
            devices = {one: __salt__["ovs_switch.device"](one) for one in (name, *sorted(ports))}
            found["checksum_offload"] = [
                one for one, seen in devices.items() if seen and seen["checksum_offload"]
            ]
        return found

    def act(now):
        __salt__["ovs_switch.add_bridge"](name, datapath)
        there = (now or {}).get("ports", [])
        for port in sorted({*ports} - {*there}):
            __salt__["ovs_switch.add_port"](name, port)
        __salt__["ovs_switch.set_bridge"](name, mtu=mtu, fail_mode=fail_mode)
        __salt__["ovs_switch.write"]("Bridge", name, "external_ids", ids)
        if address or not checksum_offload:
            __salt__["ovs_switch.set_device"](name, address, checksum_offload)
        if not checksum_offload:
            for port in sorted(ports):
                __salt__["ovs_switch.set_device"](port, None, checksum_offload)

    label = f"Bridge {name}"
    return __salt__["readback.present"](name, label, wanted, look, act, __opts__["test"])
