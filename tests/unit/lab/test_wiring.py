"""Further network cards of hosts: what the model says, and what is refused."""

from __future__ import annotations

import pytest

from saltern.errors import PreflightError
from saltern.lab import names, wiring
from saltern.lab.provider import HostSpec, Link


def test_links_are_those_of_the_model() -> None:
    facts = {
        "links": {
            "eth2": {"network": "provider", "address": "10.77.5.1/24"},
            "eth1": {"network": "tenant"},
        }
    }
    assert wiring.links_of(facts) == (
        Link("eth1", "tenant"),
        Link("eth2", "provider", "10.77.5.1/24"),
    )
    assert wiring.links_of({}) == ()


def test_an_address_twice_in_a_network_is_a_problem() -> None:
    def host(name: str, network: str) -> HostSpec:
        link = Link("eth1", network, "10.1.0.1/24")
        return HostSpec(name, f"{name}.x", "10.0.0.1", links=(link,))

    (problem,) = wiring.link_problems([host("one", "tenant"), host("two", "tenant")])
    assert problem == "hosts one and two have the same address 10.1.0.1 in network tenant"
    assert wiring.link_problems([host("one", "tenant"), host("two", "provider")]) == []


@pytest.mark.parametrize("bad", ["", "lab", "Tenant", "a-network-too-long", "../x", "9tenant"])
def test_a_network_is_never_a_path_nor_the_lab(bad: str) -> None:
    with pytest.raises(PreflightError, match="no name of a network"):
        names.bridge_name(bad)


def test_ports_have_short_names_of_their_own() -> None:
    ports = [names.port_name(host, card) for host in ("cmp01", "a" * 32) for card in ("", "eth1")]
    assert len(set(ports)) == 4
    assert all(len(port) <= names.INTERFACE_MAX for port in ports)
