"""A control plane of one member over TLS, and a chassis that carries a logical network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

PKI = "/etc/saltern/pki"


def asked(host: Host, *words: str) -> Any:
    """What a function of Salt answers on the host."""
    said = host.run("salt-call --local --config-dir=/srv/kitchen/etc --out=json " + " ".join(words))
    assert said.rc == 0, said.stdout + said.stderr
    return json.loads(said.stdout)["local"]


def over_tls(host: Host, program: str, port: int, command: str) -> str:
    """What a database answers to a client with the certificate of the host."""
    where = f"--db=ssl:host.kitchen.test:{port} --timeout=20"
    return host.check_output(f"{program} {where} -p {PKI}/host.key -c {PKI}/host.crt"
                             f" -C {PKI}/ca.crt {command}")  # fmt: skip


@pytest.fixture
def ports(host: Host) -> Iterator[tuple[str, str]]:
    """Two guests on one logical switch: network namespaces with a port each."""
    nb = "ovn-nbctl --timeout=20 --wait=hv"
    names = ("one", "two")
    host.check_output(f"{nb} ls-add net")
    for number, name in enumerate(names, 1):
        mac = f"02:00:00:00:00:0{number}"
        host.check_output(
            f"{nb} lsp-add net {name} -- lsp-set-addresses {name} '{mac} 203.0.113.{number}'"
            f" -- lsp-set-port-security {name} '{mac} 203.0.113.{number}'"
        )
        host.check_output(
            f"ip netns add {name} && ip link add v-{name} type veth peer name eth0 netns {name}"
            f" && ip -n {name} link set eth0 address {mac} && ip link set v-{name} up"
            f" && ovs-vsctl add-port br-int v-{name}"
            f" -- set Interface v-{name} external_ids:iface-id={name}"
            f" && ip -n {name} address add 203.0.113.{number}/24 dev eth0"
            f" && ip -n {name} link set eth0 up"
        )
        host.check_output(f"ovn-nbctl --timeout=30 wait-until Logical_Switch_Port {name} up=true")
    yield names
    for name in names:
        host.check_output(f"ovs-vsctl --if-exists del-port v-{name}; ip netns del {name}")
    host.check_output(f"{nb} ls-del net")


def test_the_control_plane_says_that_it_is_healthy(host: Host) -> None:
    answer = asked(host, "ovn_cluster.healthy")
    assert answer["ok"] is True, answer
    assert "1 of 1 members, this member leads" in answer["sentence"]


def test_the_chassis_says_that_it_is_registered(host: Host) -> None:
    answer = asked(host, "ovn_chassis.connected")
    assert answer["ok"] is True, answer
    assert "geneve 198.51.100.1" in answer["sentence"]


def test_guests_reach_each_other_through_a_logical_network(
    host: Host, ports: tuple[str, str]
) -> None:
    one, two = ports
    assert host.run(f"ip netns exec {one} ping -c 3 -W 5 203.0.113.2").rc == 0
    # port security is OVN's work: with another address nobody hears it
    host.check_output(f"ip -n {two} address add 203.0.113.99/24 dev eth0")
    assert host.run(f"ip netns exec {one} ping -c 2 -W 1 203.0.113.99").rc != 0


def test_databases_are_clusters_with_the_model_s_settings(host: Host) -> None:
    for name, timer in (("northbound", 1000), ("southbound", 4000)):
        found = asked(host, "ovn_database.status", name)
        assert (found["status"], found["role"]) == ("cluster member", "leader")
        assert found["timer"] == timer
        assert found["address"].startswith("ssl:")
    probe = over_tls(host, "ovn-sbctl", 6642, "get Connection . inactivity_probe")
    assert probe.strip() == "30000"


@pytest.mark.parametrize("port", [6641, 6642, 6643, 6644])
def test_a_stranger_is_refused(host: Host, port: int) -> None:
    """Without a certificate of the authority, for clients and for members."""
    shaken = host.run(
        f"(sleep 2) | openssl s_client -connect host.kitchen.test:{port}"
        f" -CAfile {PKI}/ca.crt -verify_return_error 2>&1"
    )
    assert "alert" in shaken.stdout


def test_no_port_is_plain(host: Host) -> None:
    lines = host.check_output("ss -Hlntp | awk '/ovsdb-server/ {print $4}'").splitlines()
    assert {line.rpartition(":")[2] for line in lines} == {"6641", "6642", "6643", "6644"}


def test_the_integration_bridge_has_the_datapath_of_the_model(host: Host) -> None:
    shown = host.check_output("ovs-vsctl --timeout=10 get Bridge br-int datapath_type")
    assert shown.strip() == "netdev"


def test_a_member_without_its_database_does_not_begin_another_one(host: Host) -> None:
    """Neither does its unit: the cluster would have a twin."""
    path = "/var/lib/ovn/ovnnb_db.db"
    host.check_output(f"systemctl stop ovn-ovsdb-server-nb && mv {path} {path}.away")
    try:
        host.run("systemctl start ovn-ovsdb-server-nb")
        assert not host.file(path).exists
        assert not host.service("ovn-ovsdb-server-nb").is_running
        assert asked(host, "ovn_cluster.healthy")["ok"] is False
    finally:
        host.check_output(f"mv {path}.away {path} && systemctl start ovn-ovsdb-server-nb")
    asked(host, "ovn_cluster.start")
    assert asked(host, "ovn_cluster.healthy")["ok"] is True


def test_a_copy_can_be_read(host: Host) -> None:
    found = asked(host, "ovn_upkeep.backup", "/run/ovn-copy")
    for path in found:
        assert host.file(path).mode == 0o600
        assert host.run(f"ovsdb-tool show-log {path}").rc == 0
        assert host.run(f"ovsdb-tool db-is-standalone {path}").rc == 0


def test_it_comes_back_after_a_boot(host: Host) -> None:
    for unit in ("ovn-central", "ovn-host"):
        assert host.service(unit).is_enabled, unit
    for unit in ("ovn-ovsdb-server-nb", "ovn-ovsdb-server-sb", "ovn-northd", "ovn-controller"):
        assert host.service(unit).is_running, unit
