"""
Networks, subnets, routers, security groups and quotas of the network API, kept as asked.

Compared, written and read back by ``openstack_resource``; fields that are not given are not
managed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    __salt__: dict[str, Callable[..., Any]]
    __states__: dict[str, Callable[..., Any]]

State = dict


def __virtual__() -> bool | tuple[bool, str]:
    if "openstack_resource.find" in __salt__:
        return True
    return False, "openstack_network needs the execution module openstack_resource"


def network_present(
    name: str,
    project: str | None = None,
    project_domain: str = "Default",
    description: str | None = None,
    is_admin_state_up: bool | None = None,
    is_shared: bool | None = None,
    is_router_external: bool | None = None,
    mtu: int | None = None,
    provider_network_type: str | None = None,
    provider_physical_network: str | None = None,
    provider_segmentation_id: int | None = None,
    is_port_security_enabled: bool | None = None,
    dns_domain: str | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a network.

    name
        Its name.
    project, project_domain
        Who owns it; by default the administrator's own project.
    description, is_admin_state_up, is_shared, is_router_external, is_port_security_enabled
        Its fields.
    mtu
        Bytes.
    provider_network_type, provider_physical_network, provider_segmentation_id
        How it is carried, as ``flat`` and ``provider``. They can never be changed.
    dns_domain
        With a trailing dot.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "network",
        {
            "description": description,
            "is_admin_state_up": is_admin_state_up,
            "is_shared": is_shared,
            "is_router_external": is_router_external,
            "mtu": mtu,
            "provider_network_type": provider_network_type,
            "provider_physical_network": provider_physical_network,
            "provider_segmentation_id": provider_segmentation_id,
            "is_port_security_enabled": is_port_security_enabled,
            "dns_domain": dns_domain,
        },
        {"project": project, "project_domain": project_domain},
        cloud,
    )


def subnet_present(
    name: str,
    network: str,
    project: str | None = None,
    project_domain: str = "Default",
    cidr: str | None = None,
    gateway_ip: str | None = None,
    is_dhcp_enabled: bool | None = None,
    dns_nameservers: list[str] | None = None,
    allocation_pools: list[dict[str, Any]] | None = None,
    host_routes: list[dict[str, Any]] | None = None,
    description: str | None = None,
    ipv6_address_mode: str | None = None,
    ipv6_ra_mode: str | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a subnet.

    name
        Its name.
    network
        Name of its network, of the same owner.
    project, project_domain
        Who owns it; by default the administrator's own project.
    cidr
        As ``10.1.0.0/24``. It can never be changed.
    gateway_ip
        An address; an empty text for none.
    is_dhcp_enabled, dns_nameservers, description
        Its fields; the order of name servers counts.
    allocation_pools
        ``{start: address, end: address}`` each.
    host_routes
        ``{destination: cidr, nexthop: address}`` each.
    ipv6_address_mode, ipv6_ra_mode
        As ``slaac``. They can never be changed.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "subnet",
        {
            "cidr": cidr,
            "gateway_ip": gateway_ip,
            "is_dhcp_enabled": is_dhcp_enabled,
            "dns_nameservers": dns_nameservers,
            "allocation_pools": allocation_pools,
            "host_routes": host_routes,
            "description": description,
            "ipv6_address_mode": ipv6_address_mode,
            "ipv6_ra_mode": ipv6_ra_mode,
        },
        {"network": network, "project": project, "project_domain": project_domain},
        cloud,
    )


def router_present(
    name: str,
    project: str | None = None,
    project_domain: str = "Default",
    description: str | None = None,
    is_admin_state_up: bool | None = None,
    gateway: str | None = None,
    is_snat_enabled: bool | None = None,
    interfaces: list[str] | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a router.

    name
        Its name.
    project, project_domain
        Who owns it; by default the administrator's own project.
    description, is_admin_state_up
        Its fields.
    gateway
        Name of an external network; an empty text for none.
    is_snat_enabled
        Whether servers without a floating IP reach the outside; counts with a gateway.
    interfaces
        Names of all subnets that it is in, of its own project; it leaves others.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "router",
        {
            "description": description,
            "is_admin_state_up": is_admin_state_up,
            "gateway": gateway,
            "is_snat_enabled": is_snat_enabled,
            "interfaces": interfaces,
        },
        {"project": project, "project_domain": project_domain},
        cloud,
    )


def security_group_present(
    name: str,
    project: str | None = None,
    project_domain: str = "Default",
    description: str | None = None,
    rules: list[dict[str, Any]] | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a security group.

    name
        Its name.
    project, project_domain
        Who owns it; by default the administrator's own project.
    description
        A text.
    rules
        All its rules, those out of the server too; others are removed. Each has ``direction``
        (``ingress``), ``ether_type`` (``IPv4``), ``protocol``, ``port_range_min``,
        ``port_range_max``, ``remote_ip_prefix`` or ``remote_group`` (a name).
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "security_group",
        {
            "description": description,
            "rules": rules,
        },
        {"project": project, "project_domain": project_domain},
        cloud,
    )


def quota(
    name: str,
    limits: dict[str, int] | None = None,
    domain: str = "Default",
    cloud: str = "admin",
) -> State:
    """
    Keep limits of a project.

    name, domain
        The project and its domain.
    limits
        Name -> number, as ``networks``, ``ports``, ``floating_ips``; -1 is none.
        Without it the project gets the defaults again.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.quota"](name, "network", limits, domain, cloud)
