"""Back ends of Neutron are rows of one table: they render, or are refused in one sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import kitchen
from tests.support.render import Low, Renderer

GRAINS = {"ip4_interfaces": {"eth0": ["192.0.2.5"]}, "oscodename": "bookworm"}
UNITS = {"neutron-rpc-server", "neutron-periodic-workers", "neutron-ovn-maintenance-worker"}
DIGEST = "ab" * 32
ML2 = "/etc/neutron/plugins/ml2/ml2_conf.ini"
Render = Callable[..., dict[tuple[str, str, str], Low]]


@pytest.fixture
def render(salt_cache: Path) -> Render:
    """Render a role with changes of the suite's pillar: (state, function, name) -> chunk."""
    (suite,) = [one for one in kitchen.read() if one.name == "neutron"]
    pillar = kitchen.pillar(suite, GRAINS)
    source = {"url": "file:///srv/x.tar.zst", "sha256": DIGEST}

    def made(
        role: str = "server", topology: dict[str, Any] | None = None, **changes: Any
    ) -> dict[tuple[str, str, str], Low]:
        data = copy.deepcopy(pillar)
        data["neutron"]["server"]["source"] = source
        data["neutron"][role] = kitchen.merged(data["neutron"][role], changes)
        if topology is not None:
            data["topology"]["roles"] = topology
        renderer = Renderer(data, "bookworm", salt_cache)
        try:
            low = renderer.low(f"neutron.{role}")
        finally:
            renderer.close()
        return {(chunk["state"], chunk["fun"], str(chunk["name"])): chunk for chunk in low}

    return made


def data(found: dict[tuple[str, str, str], Low], path: str) -> dict[str, Any]:
    result: dict[str, Any] = found["file", "managed", path]["context"]["data"]
    return result


def running(found: dict[tuple[str, str, str], Low]) -> set[str]:
    return {name for state, fun, name in found if (state, fun) == ("service", "running")} & UNITS


def test_ovn_is_reached_over_tls_at_every_member(render: Render) -> None:
    ovn = data(render(), ML2)["ovn"]
    assert ovn["ovn_nb_connection"] == "ssl:192.0.2.5:6641"
    assert ovn["ovn_sb_connection"] == "ssl:192.0.2.5:6642"
    for database in ("nb", "sb"):
        assert ovn[f"ovn_{database}_ca_cert"] == "/etc/saltern/pki/ca.crt"
        assert ovn[f"ovn_{database}_private_key"] == "/etc/saltern/pki/host.key"


def test_physical_networks_and_packet_sizes_come_from_the_pillar(render: Render) -> None:
    physical = {"physical": {"data": {"vlans": ["100:199", "300:300"]}}}
    found = render(backend=physical)
    ml2 = data(found, ML2)
    assert ml2["ml2_type_flat"]["flat_networks"] == "provider"
    assert ml2["ml2_type_vlan"]["network_vlan_ranges"] == "data:100:199,data:300:300"
    assert ml2["ml2"]["physical_network_mtus"] == "provider:1400"
    # what geneve takes of it leaves 1400
    assert ml2["ml2"]["path_mtu"] - 20 - ml2["ml2_type_geneve"]["max_header_size"] == 1400
    assert data(found, "/etc/neutron/neutron.conf")["DEFAULT"]["global_physnet_mtu"] == 1458


@pytest.mark.parametrize(
    ("engine", "release", "drivers", "tenant", "workers"),
    [
        ("ovn", "2025.1", "ovn", "geneve", UNITS),
        ("ovs", "2025.1", "openvswitch,l2population", "vxlan", UNITS),
        ("linuxbridge", "2024.2", "linuxbridge,l2population", "vxlan", UNITS),
    ],
)
def test_a_back_end_is_a_row(
    engine: str, release: str, drivers: str, tenant: str, workers: set[str], render: Render
) -> None:
    source = {"url": "file:///srv/x", "sha256": DIGEST, "release": release}
    found = render(backend={"engine": engine}, source=source)
    ml2 = data(found, ML2)["ml2"]
    assert (ml2["mechanism_drivers"], ml2["tenant_network_types"]) == (drivers, tenant)
    without = set() if engine == "ovn" else {"neutron-ovn-maintenance-worker"}
    assert running(found) == workers - without
    stopped = {name for state, fun, name in found if (state, fun) == ("service", "dead")}
    assert without <= stopped


def test_a_core_plugin_of_its_own_has_no_ml2(render: Render) -> None:
    found = render(backend={"engine": "contrail"}, source={"engine": "pkg"})
    default = data(found, "/etc/neutron/neutron.conf")["DEFAULT"]
    assert default["core_plugin"].startswith("neutron_plugin_contrail.")
    assert ("file", "managed", ML2) not in found


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"backend": {"engine": "linuxbridge"}}, "until 2024.2 only"),
        ({"backend": {"engine": "contrail"}}, "Set neutron:server:source:engine to pkg"),
        ({"backend": {"tenant_network_types": ["gre"]}}, "ovn does not carry"),
        ({"backend": {"tenant_network_types": ["vlan"]}}, "Name their ranges there"),
        ({"topology": {}}, "no node has the role ovn.central"),
    ],
)
def test_what_a_back_end_cannot_is_refused_before_anything_is_written(
    changes: dict[str, Any], word: str, render: Render
) -> None:
    found = render(**changes)
    ((state, fun, sentence),) = found
    assert (state, fun) == ("test", "fail_without_changes")
    assert word in sentence
    assert sentence.endswith(".")


def test_an_agent_runs_what_the_api_is_pinned_to(render: Render) -> None:
    found = render("ovn_metadata")
    assert found["artifact", "deployed", "/opt/openstack/2025.1/neutron"]["sha256"] == DIGEST
    config = data(found, "/etc/neutron/ovn-metadata-agent.ini")
    assert config["ovn"]["ovn_sb_connection"] == "ssl:192.0.2.5:6642"
    assert config["AGENT"]["root_helper"].endswith("neutron-rootwrap /etc/neutron/rootwrap.conf")


def test_sudo_allows_rootwrap_and_nothing_else(render: Render) -> None:
    lines = render("ovn_metadata")["file", "managed", "/etc/sudoers.d/neutron"]["contents"]
    rules = [line for line in lines if not line.startswith("#")]
    program = "/opt/openstack/2025.1/neutron/bin/neutron-rootwrap"
    assert rules == [f"neutron ALL = (root) NOPASSWD: {program} /etc/neutron/rootwrap.conf *"]


def test_an_agent_is_no_container(render: Render) -> None:
    image = {"engine": "container", "image": "x@sha256:" + "0" * 64}
    ((_, fun, sentence),) = render("ovn_metadata", source=image)
    assert fun == "fail_without_changes"
    assert "Set venv or pkg" in sentence
