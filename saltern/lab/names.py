"""Names on the machine, derived from the lab's name so that two labs never meet."""

from __future__ import annotations

import hashlib
import ipaddress
import re

from saltern.errors import PreflightError

#: Linux refuses longer interface names (IFNAMSIZ - 1).
INTERFACE_MAX = 15
#: First part of every name the lab gives to something on the machine.
PREFIX = "sltn"
BRIDGE = "br-lab"
_LAB_NAME = re.compile(r"^[a-z][a-z0-9-]{0,40}$")
_NETWORK_NAME = re.compile(r"^[a-z][a-z0-9-]{0,10}$")
_HOST_NAME = re.compile(r"^[a-z][a-z0-9-]{0,31}$")


def check_lab_name(lab: str) -> str:
    """Return ``lab``; it becomes a directory name, so only ``[a-z0-9-]`` is allowed.

    :raises PreflightError: the name has other characters or is too long
    """
    if not _LAB_NAME.match(lab):
        raise PreflightError(
            f"{lab!r} is no lab name",
            cure="Use up to 41 lower-case letters, digits and dashes, a letter first",
        )
    return lab


def lab_tag(lab: str) -> str:
    """Return the tag of a lab in names on the machine, for instance ``sltn-1f9c02ab``."""
    return f"{PREFIX}-{hashlib.sha256(check_lab_name(lab).encode()).hexdigest()[:8]}"


def switch_namespace(lab: str) -> str:
    """Return the network namespace that holds the lab's bridge."""
    return f"{lab_tag(lab)}-switch"


def host_namespace(lab: str, host: str) -> str:
    """Return the network namespace of one host (also its cgroup and machine name).

    :raises PreflightError: the host name has other characters than ``[a-z0-9-]``
    """
    if not _HOST_NAME.match(host) or host == "switch":
        raise PreflightError(f"{host!r} is no host name", where=f"lab {lab}")
    return f"{lab_tag(lab)}-{host}"


def port_name(host: str, device: str = "") -> str:
    """Return the name of a host's port on a bridge, at most 15 characters.

    :param device: the network card; empty: the one with the host's address
    """
    name = f"p-{host}-{device}" if device else f"p-{host}"
    if len(name) <= INTERFACE_MAX:
        return name
    return f"p-{hashlib.sha256(name[2:].encode()).hexdigest()[: INTERFACE_MAX - 2]}"


def bridge_name(network: str) -> str:
    """Return the name of the bridge of a further network.

    :raises PreflightError: the network's name has other characters, or more than eleven
    """
    if not _NETWORK_NAME.match(network) or f"br-{network}" == BRIDGE:
        raise PreflightError(
            f"{network!r} is no name of a network of the lab",
            cure="Use up to 11 lower-case letters, digits and dashes, a letter first; not lab",
        )
    return f"br-{network}"


def interface(address: str) -> ipaddress.IPv4Interface:
    """Return ``address`` with its network; without a prefix it is a /24.

    :raises PreflightError: it is no IPv4 address
    """
    try:
        return ipaddress.IPv4Interface(address if "/" in address else f"{address}/24")
    except ValueError as err:
        raise PreflightError(f"{address!r} is no IPv4 address") from err


def address_problems(addresses: dict[str, str]) -> list[str]:
    """Return one sentence per address that two hosts share or that is outside their network.

    :param addresses: host name -> address, as in the model
    """
    problems: list[str] = []
    seen: dict[str, str] = {}
    networks: dict[ipaddress.IPv4Network, str] = {}
    for host, text in sorted(addresses.items()):
        place = interface(text)
        other = seen.setdefault(str(place.ip), host)
        if other != host:
            problems.append(f"hosts {other} and {host} have the same address {place.ip}")
        networks.setdefault(place.network, host)
    if len(networks) > 1:
        listed = ", ".join(f"{network} ({host})" for network, host in networks.items())
        problems.append(f"the hosts are in different networks: {listed}")
    return problems
