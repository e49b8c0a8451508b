"""The lab's networks on the machine: bridges in a namespace of their own, cards of the hosts.

No bridge has an address: hosts have no route out, and the machine's own network is not touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from saltern.lab import names
from saltern.lab.provider import HostSpec, Link
from saltern.lab.shell import run


def namespaces() -> set[str]:
    """Return the names of all network namespaces of the machine.

    :raises LabError: they cannot be listed
    """
    listed = run(["ip", "-json", "netns", "list"], what="listing network namespaces")
    return {entry["name"] for entry in json.loads(listed or "[]")}


def links_of(host: Mapping[str, object]) -> tuple[Link, ...]:
    """Return the further network cards of a host.

    :param host: its facts; ``links`` maps a device to ``{network, address}``
    """
    links = host.get("links")
    if not isinstance(links, Mapping):
        return ()
    return tuple(
        Link(str(device), str(data["network"]), str(data.get("address") or ""))
        for device, data in sorted(links.items())
    )


def link_problems(specs: Iterable[HostSpec]) -> list[str]:
    """Return one sentence per two hosts that have the same address in a further network."""
    problems: list[str] = []
    taken: dict[tuple[str, str], str] = {}
    for spec in specs:
        for link in spec.links:
            names.bridge_name(link.network)
            if link.address:
                place = str(names.interface(link.address).ip)
                other = taken.setdefault((link.network, place), spec.name)
                if other != spec.name:
                    told = f"hosts {other} and {spec.name} have the same address {place}"
                    problems.append(f"{told} in network {link.network}")
    return problems


def switch(lab: str, specs: Iterable[HostSpec]) -> None:
    """Make the bridges that hosts are connected to; those that are there stay.

    :raises LabError: one cannot be made
    """
    namespace = names.switch_namespace(lab)
    if namespace not in namespaces():
        run(["ip", "netns", "add", namespace], what="creating the lab's switch namespace")
    wanted = {names.bridge_name(link.network) for spec in specs for link in spec.links}
    there = _devices(namespace)
    for bridge in [names.BRIDGE, *sorted(wanted)]:
        if bridge not in there:
            what = f"creating the lab's bridge {bridge}"
            ip = ["ip", "-n", namespace, "link"]
            run([*ip, "add", bridge, "type", "bridge", "forward_delay", "0"], what=what)
            run([*ip, "set", bridge, "up"], what=what)


def connect(lab: str, spec: HostSpec) -> None:
    """Give a host its namespace and its network cards; what is there already stays.

    :raises LabError: a card cannot be made
    """
    namespace = names.host_namespace(lab, spec.name)
    if namespace not in namespaces():
        run(["ip", "netns", "add", namespace], what=f"creating the namespace of {spec.name}")
        what = f"starting the loopback of {spec.name}"
        run(["ip", "-n", namespace, "link", "set", "lo", "up"], what=what)
    there = _devices(namespace)
    address = str(names.interface(spec.address))
    first = ("eth0", names.port_name(spec.name), names.BRIDGE, address)
    more = [
        (
            link.device,
            names.port_name(spec.name, link.device),
            names.bridge_name(link.network),
            link.address,
        )
        for link in spec.links
    ]
    for device, port, bridge, place in [first, *more]:
        if device not in there:
            _plug(lab, namespace, device, port, bridge, place)
            if device != first[0]:
                _write_sums(namespace, device)


def _plug(lab: str, namespace: str, device: str, port: str, bridge: str, address: str) -> None:
    switch = names.switch_namespace(lab)
    what = f"connecting {device} of {namespace} to {bridge}"
    pair = ["link", "add", port, "netns", switch, "type", "veth"]
    run(["ip", *pair, "peer", "name", device, "netns", namespace], what=what)
    run(["ip", "-n", switch, "link", "set", port, "master", bridge, "up"], what=what)
    inside = ["ip", "-n", namespace]
    if address:
        run([*inside, "addr", "add", address, "dev", device], what=what)
    run([*inside, "link", "set", device, "up"], what=what)


def _write_sums(namespace: str, device: str) -> None:
    """Have the sender write checksums: a virtual card leaves them out, and who takes frames past
    the kernel, such as a switch in user space, would drop what has none."""
    ethtool = ["ethtool", "-K", device, "tx", "off"]
    what = f"turning off checksum offload of {device} in {namespace}"
    run(["ip", "netns", "exec", namespace, *ethtool], what=what)


def _devices(namespace: str) -> set[str]:
    listed = run(["ip", "-n", namespace, "-json", "link", "show"], what="listing network cards")
    return {entry["ifname"] for entry in json.loads(listed or "[]")}
