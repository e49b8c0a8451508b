"""A switch with its bridges, in a datapath that needs no module of the kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host


def asked(host: Host, *words: str) -> Any:
    """What a function of Salt answers on the host."""
    said = host.run("salt-call --local --config-dir=/srv/kitchen/etc --out=json " + " ".join(words))
    assert said.rc == 0, said.stdout + said.stderr
    return json.loads(said.stdout)["local"]


def vsctl(host: Host, command: str) -> str:
    return host.check_output(f"ovs-vsctl --timeout=10 {command}").strip()


@pytest.fixture
def guests(host: Host) -> Iterator[tuple[str, str]]:
    """Two network namespaces, each with a port on the provider's bridge."""
    names = ("one", "two")
    for number, name in enumerate(names, 1):
        host.check_output(
            f"ip netns add {name} && ip link add v-{name} type veth peer name eth0 netns {name}"
            f" && ip link set v-{name} up && ovs-vsctl add-port br-provider v-{name}"
            f" && ip -n {name} address add 203.0.113.{number}/24 dev eth0"
            f" && ip -n {name} link set eth0 up"
        )
    yield names
    for name in names:
        host.check_output(f"ovs-vsctl --if-exists del-port v-{name}; ip netns del {name}")


def test_the_role_says_that_it_is_healthy(host: Host) -> None:
    answer = asked(host, "ovs_switch.healthy")
    assert answer["ok"] is True, answer


def test_a_bridge_that_is_missing_is_told(host: Host) -> None:
    """The health check looks: it is no echo of the model."""
    host.check_output("ovs-vsctl del-br br-provider")
    try:
        answer = asked(host, "ovs_switch.healthy")
        assert answer["ok"] is False
        assert "br-provider" in answer["sentence"]
    finally:
        host.check_output("salt-call --local --config-dir=/srv/kitchen/etc state.apply"
                          " openvswitch.switch --retcode-passthrough")  # fmt: skip
    assert asked(host, "ovs_switch.healthy")["ok"] is True


def test_bridges_have_their_datapath_and_settings(host: Host) -> None:
    assert vsctl(host, "get Bridge br-phy datapath_type") == "netdev"
    assert vsctl(host, "get-fail-mode br-provider") == "standalone"
    assert vsctl(host, "get Bridge br-provider external_ids:network") == "provider"
    assert vsctl(host, "get Open_vSwitch . other_config:max-idle") == '"20000"'
    assert vsctl(host, "get Open_vSwitch . external_ids:rack") == "rack1"


def test_the_bridge_is_a_device_of_the_host(host: Host) -> None:
    assert "198.51.100.1" in host.interface("br-phy").addresses
    (link,) = json.loads(host.check_output("ip -j link show dev br-phy"))
    assert link["mtu"] == 1400
    assert "tx-checksumming: off" in host.check_output("ethtool -k br-phy")


def test_frames_go_through_a_bridge(host: Host, guests: tuple[str, str]) -> None:
    one, _ = guests
    assert host.run(f"ip netns exec {one} ping -c 3 -W 5 203.0.113.2").rc == 0


def test_the_address_outlives_the_daemon(host: Host) -> None:
    """A user space bridge is a device of the daemon: it is made anew with it."""
    host.check_output("systemctl restart ovs-vswitchd")
    assert "198.51.100.1" in host.interface("br-phy").addresses
    assert asked(host, "ovs_switch.healthy")["ok"] is True


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("openvswitch-switch").is_enabled
    assert host.service("openvswitch-switch").is_running
