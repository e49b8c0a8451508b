"""
What a router and a security group of the network API hold: gateway, interfaces and rules.

Needs what ``openstack_api`` needs. ``openstack_resource`` compares and writes the objects
themselves; their parts are objects of their own in the API.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import openstack  # noqa: F401

    HAS_SDK = True
except ImportError:
    HAS_SDK = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    __salt__: dict[str, Callable[..., Any]]

#: A rule of a security group: what is compared.
RULE = (
    *("direction", "ether_type", "protocol", "port_range_min", "port_range_max"),
    *("remote_ip_prefix", "remote_group"),
)
#: Ports that join a router and a subnet.
INTERFACES = (
    *("network:router_interface", "network:ha_router_replicated_interface"),
    "network:router_interface_distributed",
)


def __virtual__() -> bool | tuple[bool, str]:
    if HAS_SDK:
        return True
    return False, "openstack_network needs openstacksdk in the Python that runs Salt"


def _network(cloud: str) -> Any:
    return __salt__["openstack_api.connection"](cloud).network


def _spoken(doing: str) -> Any:
    return __salt__["openstack_api.spoken"](doing)


def _only(found: list[Any], what: str) -> Any:
    if not found:
        error = CommandExecutionError(f"There is no {what}")
        error.pending = True  # an earlier step of the same run may make it
        raise error
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        raise CommandExecutionError(f"{len(found)} objects are {what}: {ids}; the name must do")
    return found[0]


def gateway(router: str, cloud: str = "admin") -> dict[str, Any]:
    """
    Return the external network of a router by name (None for none) and whether it translates.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.gateway 6f1c9e52-…

    router
        Its id.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API cannot be asked
    """
    network = _network(cloud)
    with _spoken(f"look up the gateway of router {router}"):
        info = network.get_router(router).external_gateway_info
        if not info:
            return {"gateway": None, "is_snat_enabled": None}
        name = network.get_network(info["network_id"]).name
    return {"gateway": name, "is_snat_enabled": info.get("enable_snat")}


def set_gateway(
    router: str, name: str | None, snat: bool | None = None, cloud: str = "admin"
) -> bool:
    """
    Give a router an external network, or none. Returns True.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.set_gateway 6f1c9e52-… public

    router, cloud
        As in :py:func:`gateway`.
    name
        Name of the network; empty for none.
    snat
        Whether it translates addresses; as the API has it when not given.

    :raises CommandExecutionError: no such network, or the API refuses
    """
    network = _network(cloud)
    with _spoken(f"set the gateway of router {router}"):
        info = None
        if name:
            found = [*network.networks(name=name, is_router_external=True)]
            info = {"network_id": _only(found, f"external network {name!r}").id}
            if snat is not None:
                info["enable_snat"] = snat
        network.update_router(router, external_gateway_info=info)
    return True


def interfaces(router: str, cloud: str = "admin") -> dict[str, str]:
    """
    Return the subnets that a router is in: name -> id.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.interfaces 6f1c9e52-…

    router, cloud
        As in :py:func:`gateway`.

    :raises CommandExecutionError: the API cannot be asked
    """
    network = _network(cloud)
    with _spoken(f"look up the interfaces of router {router}"):
        ids = [
            address["subnet_id"]
            for port in network.ports(device_id=router)
            if port.device_owner in INTERFACES
            for address in port.fixed_ips
        ]
        return {network.get_subnet(ident).name: ident for ident in ids}


def set_interfaces(router: str, names: list[str], cloud: str = "admin") -> bool:
    """
    Have a router in these subnets of its own project and in no other. Returns True.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.set_interfaces 6f1c9e52-… '[inside]'

    router, cloud
        As in :py:func:`gateway`.
    names
        Names of subnets.

    :raises CommandExecutionError: no such subnet, or the API refuses
    """
    network, held = _network(cloud), interfaces(router, cloud)
    with _spoken(f"set the interfaces of router {router}"):
        owner = network.get_router(router).project_id
        for name in sorted(set(names) - set(held)):
            found = [*network.subnets(name=name, project_id=owner)]
            network.add_interface_to_router(router, subnet_id=_only(found, f"subnet {name!r}").id)
        for name in sorted(set(held) - set(names)):
            network.remove_interface_from_router(router, subnet_id=held[name])
    return True


def cidr(text: str) -> str:
    """
    Return a network in the spelling that is compared.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.cidr 10.1.0.7/24

    text
        An address with the length of its prefix.

    :raises SaltInvocationError: it is none
    """
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise SaltInvocationError(f"{text!r} is no network; write it as 10.1.0.0/24") from None


def rule(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a rule in the spelling that is compared.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.rule '{protocol: TCP, port_range_min: 22}'

    given
        ``direction`` (``ingress``), ``ether_type`` (``IPv4``), ``protocol``, ``port_range_min``,
        ``port_range_max`` (the same port when not given), ``remote_ip_prefix`` or
        ``remote_group``.

    :raises SaltInvocationError: another field
    """
    unknown = set(given) - set(RULE)
    if unknown:
        raise SaltInvocationError(
            f"A rule has no field {', '.join(sorted(unknown))}; it has {', '.join(RULE)}"
        )
    full = {"direction": "ingress", "ether_type": "IPv4", **given}
    if full.get("protocol") is not None:
        full["protocol"] = str(full["protocol"]).lower()
        if full["protocol"] in ("tcp", "udp", "sctp") and full.get("port_range_max") is None:
            full["port_range_max"] = full.get("port_range_min")
    if full.get("remote_ip_prefix"):
        full["remote_ip_prefix"] = cidr(full["remote_ip_prefix"])
    return {key: full[key] for key in RULE if full.get(key) is not None}


def rules(group: str, cloud: str = "admin") -> dict[str, dict[str, Any]]:
    """
    Return the rules of a security group: id -> rule, with names for the ids of groups.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.rules 0b52e1d4-…

    group
        Its id.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API cannot be asked
    """
    network = _network(cloud)
    found = {}
    with _spoken(f"look up the rules of security group {group}"):
        for item in network.security_group_rules(security_group_id=group):
            shown = {key: getattr(item, key) for key in RULE if key != "remote_group"}
            if item.remote_group_id:
                shown["remote_group"] = network.get_security_group(item.remote_group_id).name
            found[item.id] = rule(shown)
    return found


def set_rules(group: str, wanted: list[Mapping[str, Any]], cloud: str = "admin") -> bool:
    """
    Give a security group these rules and no other. Returns True.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_network.set_rules 0b52e1d4-… '[{protocol: icmp}]'

    group, cloud
        As in :py:func:`rules`.
    wanted
        Rules as :py:func:`rule` takes them; a ``remote_group`` is of the same project.

    :raises CommandExecutionError: no such group, or the API refuses
    """
    network, held = _network(cloud), rules(group, cloud)
    asked = [rule(one) for one in wanted]
    with _spoken(f"set the rules of security group {group}"):
        owner = network.get_security_group(group).project_id
        for one in asked:
            if one in held.values():
                continue
            given = dict(one)
            remote = given.pop("remote_group", None)
            if remote:
                found = [*network.security_groups(name=remote, project_id=owner)]
                given["remote_group_id"] = _only(found, f"security group {remote!r}").id
            network.create_security_group_rule(security_group_id=group, project_id=owner, **given)
        for ident, one in held.items():
            if one not in asked:
                network.delete_security_group_rule(ident)
    return True
