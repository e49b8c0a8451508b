"""Checks of what a cloud is for: networks, volumes, stacks, and a server that somebody can reach.

The server is started from the image of :mod:`saltern.sanity.guest`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import openstack.exceptions

from saltern.sanity import guest, waiting
from saltern.sanity.client import CheckError, Context, is_leftover

#: Addresses of the networks that are made; nobody is reached from there.
CIDR = "192.0.2.0/28"
#: What a stack of the check is made of: nothing that costs anything.
TEMPLATE = {
    "heat_template_version": "2021-04-16",
    "resources": {"value": {"type": "OS::Heat::RandomString", "properties": {"length": 8}}},
    "outputs": {"value": {"value": {"get_attr": ["value", "value"]}}},
}


# -- what earlier runs left ------------------------------------------------------------------


def _old(found: Iterable[Any], told: str = "name") -> list[Any]:
    return [one for one in found if is_leftover(getattr(one, told), time.time())]


def _sweep_network(network: Any) -> int:
    """Delete what killed runs left of networks; returns how many objects."""
    count = 0
    for address in _old(network.ips(), "description"):
        network.delete_ip(address)
        count += 1
    for router in _old(network.routers()):
        for port in network.ports(device_id=router.id, device_owner="network:router_interface"):
            network.remove_interface_from_router(router, port_id=port.id)
        network.delete_router(router)
        count += 1
    for one in _old(network.networks()):
        network.delete_network(one)
        count += 1
    for group in _old(network.security_groups()):
        network.delete_security_group(group)
        count += 1
    return count


def _swept(count: int) -> str:
    return f"; removed {count} left by an earlier run" if count else ""


# -- networks --------------------------------------------------------------------------------


def _wired(context: Context, name: str) -> tuple[Any, Any]:
    """Make a network with a subnet and a router to the outside; return network and router."""
    network = context.cloud.network
    made = network.create_network(name=name)
    context.undo(f"network {name}", lambda: network.delete_network(made))
    subnet = network.create_subnet(name=name, network_id=made.id, ip_version=4, cidr=CIDR)
    outside = {"network_id": guest.external(network).id}
    router = network.create_router(name=name, external_gateway_info=outside)
    context.undo(f"router {name}", lambda: network.delete_router(router))
    network.add_interface_to_router(router, subnet_id=subnet.id)
    context.undo(
        f"interface of router {name}",
        lambda: network.remove_interface_from_router(router, subnet_id=subnet.id),
    )
    return made, router


def _group(context: Context, name: str) -> Any:
    """Make a security group that lets ICMP and the echo through."""
    network = context.cloud.network
    group = network.create_security_group(name=name, description="Sanity check")
    context.undo(f"security group {name}", lambda: network.delete_security_group(group))
    rule = {"security_group_id": group.id, "direction": "ingress", "ether_type": "IPv4"}
    network.create_security_group_rule(**rule, protocol="icmp")
    ports = {"port_range_min": guest.ECHO_PORT, "port_range_max": guest.ECHO_PORT}
    network.create_security_group_rule(**rule, protocol="tcp", **ports)
    return group


def network(context: Context, _: str) -> str:
    """Make a network, a subnet, a router to the outside, a security group and a port."""
    api = context.cloud.network
    swept = _sweep_network(api)
    name = context.name()
    made, router = _wired(context, name)
    group = _group(context, name)
    port = api.create_port(name=name, network_id=made.id, security_group_ids=[group.id])
    context.undo(f"port {name}", lambda: api.delete_port(port))
    if not port.fixed_ips:
        raise CheckError("the port got no address")
    address = port.fixed_ips[0]["ip_address"]
    outside = api.get_router(router).external_gateway_info["external_fixed_ips"]
    if not outside:
        raise CheckError("the router has no address outside")
    told = f"port {address}, router at {outside[0]['ip_address']}{_swept(swept)}"
    return f"network, router, security group and port made: {told}"


# -- volumes ---------------------------------------------------------------------------------


def _volume(context: Context, name: str) -> Any:
    """Ask for a volume; it is made meanwhile."""
    api = context.cloud.block_storage
    made = api.create_volume(name=name, size=1)
    context.undo(f"volume {name}", lambda: api.delete_volume(made))
    return made


def _available(context: Context, disk: Any, what: str = "the volume") -> Any:
    api = context.cloud.block_storage
    return waiting.status(context, what, lambda: api.get_volume(disk), "AVAILABLE")


def volume(context: Context, _: str) -> str:
    """Make a volume, find it available and delete it."""
    api = context.cloud.block_storage
    old = _old(api.volumes())
    for one in old:
        api.delete_volume(one)
    begin = time.monotonic()
    made = _available(context, _volume(context, context.name()))
    seconds = time.monotonic() - begin
    api.delete_volume(made, ignore_missing=False)
    waiting.gone(context, "the deleted volume", lambda: api.get_volume(made))
    return f"1 GiB of type {made.volume_type} made in {seconds:.1f} s and deleted{_swept(len(old))}"


# -- stacks ----------------------------------------------------------------------------------


def stack(context: Context, _: str) -> str:
    """Make a stack, read its output and delete it."""
    api = context.cloud.orchestration
    old = _old(api.stacks())
    for one in old:
        api.delete_stack(one)
    name = context.name()
    made = api.create_stack(name=name, template=TEMPLATE, timeout_mins=2)
    context.undo(f"stack {name}", lambda: api.delete_stack(made))

    def get() -> Any:
        return api.get_stack(made)

    whole = waiting.status(context, "the stack", get, "CREATE_COMPLETE")
    value = whole.outputs[0]["output_value"] if whole.outputs else ""
    if len(str(value)) != 8:
        raise CheckError(f"the stack's output is {value!r}, not a text of 8 characters")
    api.delete_stack(made, ignore_missing=False)

    def gone() -> bool:
        try:
            return str(get().status).upper() == "DELETE_COMPLETE"
        except openstack.exceptions.NotFoundException:
            return True

    waiting.wait(context, "the deleted stack is still there", gone)
    return f"created, output read, deleted{_swept(len(old))}"


# -- a server --------------------------------------------------------------------------------


def _attached(context: Context, server: Any, disk: Any) -> str:
    """Attach a volume, see it in the guest, and detach it again."""
    compute, storage = context.cloud.compute, context.cloud.block_storage
    _available(context, disk)
    compute.create_volume_attachment(server, volume_id=disk.id)
    waiting.status(context, "the volume", lambda: storage.get_volume(disk), "IN-USE")
    guest.told(context, server, "guest: disk vdb")
    compute.delete_volume_attachment(server, disk.id)
    _available(context, disk, "the detached volume")
    guest.told(context, server, "guest: disk vdb is gone")
    return ", volume attached and detached"


def _console(context: Context, server: Any) -> str:
    """Open the page of the server's screen."""
    url = context.cloud.compute.create_console(server, console_type="novnc")["url"]
    answer = context.session.get(url, authenticated=False)
    return f", console answers {answer.status_code}"


def server(context: Context, _: str) -> str:
    """Start a server; reach it from outside; give it a disk; see its screen; delete it."""
    compute, network = context.cloud.compute, context.cloud.network
    old = _old(compute.servers())
    for one in old:
        compute.delete_server(one, force=True)
    swept = len(old) + (0 if old else _sweep_network(network))
    name = context.name()
    made, _router = _wired(context, name)
    group = _group(context, name)
    begin = time.monotonic()
    started = compute.create_server(
        name=name,
        image_id=guest.image(context).id,
        flavor_id=guest.flavor(context).id,
        networks=[{"uuid": made.id}],
        security_groups=[{"name": group.name}],
    )

    def remove() -> None:
        compute.delete_server(started)
        waiting.gone(context, "the deleted server", lambda: compute.get_server(started))

    context.undo(f"server {name}", remove)
    disk = _volume(context, name) if "cinder.volume" in context.target.members else None
    waiting.status(context, "the server", lambda: compute.get_server(started), "ACTIVE")
    active = time.monotonic() - begin
    (port,) = network.ports(device_id=started.id)
    outside = network.create_ip(
        floating_network_id=guest.external(network).id, port_id=port.id, description=name
    )
    context.undo(f"floating address of {name}", lambda: network.delete_ip(outside))
    address = outside.floating_ip_address
    guest.reached(context, address)
    reached = time.monotonic() - begin
    guest.told(context, started, f"guest: metadata: hostname {name}")
    more = _attached(context, started, disk) if disk else ""
    if "nova.novncproxy" in context.target.members:
        more += _console(context, started)
    inside = port.fixed_ips[0]["ip_address"]
    return (
        f"ACTIVE after {active:.0f} s, {inside} by DHCP, metadata read, ping and echo through"
        f" {address} after {reached:.0f} s{more}{_swept(swept)}"
    )
