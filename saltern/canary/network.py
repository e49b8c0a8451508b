"""Canaries of Neutron: network, subnet, router, security group, and a server's floating address."""

from __future__ import annotations

from typing import Any

from saltern.canary.types import STATE, UNREACHED, Canary, CanaryError
from saltern.canary.work import PROJECT, USER, Kind, Work, named
from saltern.sanity import guest, waiting
from saltern.sanity.client import CheckError

#: Addresses of the network; the same block in other projects is no conflict.
CIDR = "198.51.100.0/28"
#: Seconds for a server to answer through its floating address.
REACH = 60.0


class _Named(Kind):
    """What Neutron calls alike for several kinds."""

    service = "network"
    needs: tuple[str, ...] = (PROJECT, USER)
    #: the SDK's words: ``get_<one>``, ``delete_<one>``, ``<many>``
    one, many = "", ""

    def find(self, work: Work) -> Any:
        """Find it by name among the project's."""
        listed = getattr(work.mine.cloud.network, self.many)
        found = listed(name=Canary(self.name).name, project_id=work.id(PROJECT))
        return named(found, Canary(self.name).name)

    def get(self, work: Work, id: str) -> Any:
        """Read it."""
        return getattr(work.mine.cloud.network, f"get_{self.one}")(id)

    def delete(self, work: Work, id: str) -> None:
        """Remove it."""
        getattr(work.hand.cloud.network, f"delete_{self.one}")(id, ignore_missing=True)


class Network(_Named):
    """A network of the project's own."""

    name, one, many = "network", "network", "networks"
    wanted = "ACTIVE"

    def make(self, work: Work) -> Any:
        """Make it."""
        return work.mine.cloud.network.create_network(
            name=Canary(self.name).name, description=work.described(self.name)
        )

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """When it was made; up."""
        return {
            "created": found.created_at,
            "name": found.name,
            "up": bool(found.is_admin_state_up),
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Nothing more."""
        return "there and active"


class Subnet(_Named):
    """Addresses of the network."""

    name, one, many = "subnet", "subnet", "subnets"
    needs = (PROJECT, USER, "network")

    def make(self, work: Work) -> Any:
        """Make it."""
        return work.mine.cloud.network.create_subnet(
            name=Canary(self.name).name,
            description=work.described(self.name),
            network_id=work.id("network"),
            ip_version=4,
            cidr=CIDR,
        )

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Network, addresses, gateway, DHCP."""
        return {
            "created": found.created_at,
            "network": found.network_id,
            "addresses": found.cidr,
            "gateway": found.gateway_ip,
            "DHCP": bool(found.is_dhcp_enabled),
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Nothing more."""
        return f"{found.cidr} with gateway {found.gateway_ip}"


class Router(_Named):
    """A router between the network and the outside."""

    name, one, many = "router", "router", "routers"
    needs = (PROJECT, USER, "network", "subnet")
    wanted = "ACTIVE"

    def make(self, work: Work) -> Any:
        """Make it, with its side outside."""
        api = work.mine.cloud.network
        return api.create_router(
            name=Canary(self.name).name,
            description=work.described(self.name),
            external_gateway_info={"network_id": guest.external(api).id},
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Give it its side inside."""
        api = work.mine.cloud.network
        if not self._inside(work, found):
            api.add_interface_to_router(found, subnet_id=work.id("subnet"))
        return waiting.status(work.mine, "it", lambda: api.get_router(found.id), self.wanted)

    def _inside(self, work: Work, found: Any) -> list[Any]:
        """Its ports in the network."""
        ports = work.mine.cloud.network.ports(device_id=found.id)
        return [port for port in ports if port.network_id == work.id("network")]

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Its ports inside, network and addresses outside."""
        outside = found.external_gateway_info or {}
        addresses = outside.get("external_fixed_ips") or []
        return {
            "created": found.created_at,
            "ports inside": sorted(port.id for port in self._inside(work, found)),
            "network outside": outside.get("network_id"),
            "addresses outside": sorted(one["ip_address"] for one in addresses),
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Both sides are there; that it routes is proven by the address."""
        if not (canary.facts["ports inside"] and canary.facts["addresses outside"]):
            raise CanaryError(STATE, "it never had both its sides")
        return f"active, outside at {', '.join(canary.facts['addresses outside'])}"

    def delete(self, work: Work, id: str) -> None:
        """Remove its sides inside, then it."""
        api = work.hand.cloud.network
        for port in api.ports(device_id=id):
            if str(port.device_owner).startswith("network:router_interface"):
                api.remove_interface_from_router(id, port_id=port.id)
        super().delete(work, id)


class Group(_Named):
    """A security group that lets ICMP and the echo in."""

    name, one, many = "security group", "security_group", "security_groups"

    def make(self, work: Work) -> Any:
        """Make it, with the rules that each has from the start."""
        return work.mine.cloud.network.create_security_group(
            name=Canary(self.name).name, description=work.described(self.name)
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Add the rules that are missing."""
        api = work.mine.cloud.network
        port = {"port_range_min": guest.ECHO_PORT, "port_range_max": guest.ECHO_PORT}
        there = {rule["protocol"] for rule in found.security_group_rules}
        for protocol, more in (("icmp", {}), ("tcp", port)):
            if protocol not in there:
                api.create_security_group_rule(
                    security_group_id=found.id,
                    direction="ingress",
                    ether_type="IPv4",
                    protocol=protocol,
                    **more,
                )
        return api.get_security_group(found.id)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Its rules, each with its id."""
        return {
            "created": found.created_at,
            "rules": sorted(_rule(rule) for rule in found.security_group_rules),
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Nothing more."""
        return f"{len(found.security_group_rules)} rules"


def _rule(rule: dict[str, Any]) -> str:
    """A rule in words: ``ingress IPv4 tcp 7-7 (its id)``."""
    words = [rule["direction"], rule["ethertype"], rule["protocol"] or "any"]
    if rule["port_range_min"] is not None:
        words.append(f"{rule['port_range_min']}-{rule['port_range_max']}")
    if rule["remote_ip_prefix"]:
        words.append(f"from {rule['remote_ip_prefix']}")
    return f"{' '.join(words)} ({rule['id']})"


class Address(_Named):
    """The server's floating address, through which it must answer."""

    name, one, many = "address", "ip", "ips"
    needs = (PROJECT, USER, "router", "security group", "server")
    seconds = 180.0
    wanted = "ACTIVE"

    def find(self, work: Work) -> Any:
        """Find it by its description: it has no name."""
        found = work.mine.cloud.network.ips(project_id=work.id(PROJECT))
        return next((one for one in found if work.ours(one)), None)

    def make(self, work: Work) -> Any:
        """Make it for the server's port."""
        api = work.mine.cloud.network
        return api.create_ip(
            floating_network_id=guest.external(api).id,
            port_id=server_port(work, work.id("server")).id,
            description=work.described(self.name),
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Wait until the server answers."""
        guest.reached(work.mine, found.floating_ip_address)
        api = work.mine.cloud.network
        return waiting.status(work.mine, "it", lambda: api.get_ip(found.id), self.wanted)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """The address, and what it leads to."""
        return {
            "created": found.created_at,
            "address": found.floating_ip_address,
            "port": found.port_id,
            "address inside": found.fixed_ip_address,
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """The server answers a ping and echoes."""
        address = found.floating_ip_address
        work.within(REACH)
        try:
            guest.reached(work.mine, address)
        except CheckError as err:
            raise CanaryError(UNREACHED, err.sentence) from None
        return f"ping and echo through {address}"


def server_port(work: Work, server: str) -> Any:
    """Return the one port of a server.

    :raises CanaryError: it has none, or several
    """
    found = list(work.mine.cloud.network.ports(device_id=server))
    if len(found) != 1:
        raise CanaryError(STATE, f"it has {len(found)} ports, not one")
    return found[0]
