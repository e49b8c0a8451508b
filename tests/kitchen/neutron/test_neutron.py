"""Networks over the API are in OVN's databases; instances of a host are answered for metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.keystone import URL as KEYSTONE
from tests.support.keystone import Client, ensure_service_user, login

URL = "https://host.kitchen.test:9696"
V2 = f"{URL}/v2.0"
PKI = "/etc/saltern/pki"
MAC = "02:00:00:00:00:aa"
#: waits for a line of the databases, without a clock of its own
WAIT = "--timeout=60"


@pytest.fixture(scope="module", autouse=True)
def catalogue(instance: object) -> None:
    """The account of the service, and the endpoint that its clients look for."""
    host: Host = instance.host  # type: ignore[attr-defined]
    ensure_service_user(host, "neutron")
    admin = login(host)
    if admin.ok("GET", f"{KEYSTONE}/services?type=network")["services"]:
        return
    body = {"service": {"type": "network", "name": "neutron"}}
    service = admin.ok("POST", f"{KEYSTONE}/services", body)["service"]["id"]
    if not admin.ok("GET", f"{KEYSTONE}/regions")["regions"]:
        admin.ok("POST", f"{KEYSTONE}/regions", {"region": {"id": "RegionOne"}})
    for interface in ("public", "internal"):
        where = {"service_id": service, "interface": interface, "url": URL}
        admin.ok("POST", f"{KEYSTONE}/endpoints", {"endpoint": {**where, "region_id": "RegionOne"}})


@pytest.fixture(scope="module")
def admin(instance: object, catalogue: None) -> Client:
    return login(instance.host)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def network(admin: Client) -> Iterator[dict[str, Any]]:
    """A network with a subnet."""
    made = admin.ok("POST", f"{V2}/networks", {"network": {"name": "kitchen"}})["network"]
    subnet = {"network_id": made["id"], "ip_version": 4, "cidr": "203.0.113.0/24"}
    found = admin.ok("POST", f"{V2}/subnets", {"subnet": subnet})["subnet"]
    yield {**made, "subnet": found["id"], "gateway": found["gateway_ip"]}
    admin.ok("DELETE", f"{V2}/networks/{made['id']}")


@pytest.fixture(scope="module")
def port(admin: Client, network: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A port of an instance on this host."""
    body = {
        "network_id": network["id"],
        "mac_address": MAC,
        "binding:host_id": "host.kitchen.test",
        "device_owner": "compute:nova",
        "device_id": "4f1d6a0b-8f0e-4f39-a3f5-6f0f1d0c7e52",
    }
    made = admin.ok("POST", f"{V2}/ports", {"port": body})["port"]
    yield made
    admin.ok("DELETE", f"{V2}/ports/{made['id']}")


def northbound(host: Host, command: str) -> str:
    return host.check_output(f"ovn-nbctl {WAIT} {command}").strip()


def test_a_network_is_a_logical_switch(host: Host, network: dict[str, Any]) -> None:
    name = f"neutron-{network['id']}"
    assert name in northbound(host, "--bare --columns=name list Logical_Switch").split()
    assert network["mtu"] == 1400
    assert network["provider:network_type"] == "geneve"
    found = northbound(host, "--bare --columns=cidr find DHCP_Options cidr=203.0.113.0/24")
    assert found == "203.0.113.0/24"


def test_a_port_is_bound_to_its_chassis(host: Host, port: dict[str, Any]) -> None:
    assert (port["binding:vif_type"], port["binding:host_id"]) == ("ovs", "host.kitchen.test")
    addresses = northbound(host, f"get Logical_Switch_Port {port['id']} addresses")
    assert MAC in addresses
    assert port["fixed_ips"][0]["ip_address"] in addresses


def test_a_router_is_one_of_ovn_and_has_its_gateway(
    host: Host, admin: Client, network: dict[str, Any]
) -> None:
    outside = {"name": "outside", "router:external": True, "provider:network_type": "flat",
               "provider:physical_network": "provider"}  # fmt: skip
    external = admin.ok("POST", f"{V2}/networks", {"network": outside})["network"]
    subnet = {"network_id": external["id"], "ip_version": 4, "cidr": "192.0.2.0/24",
              "enable_dhcp": False}  # fmt: skip
    admin.ok("POST", f"{V2}/subnets", {"subnet": subnet})
    body = {"name": "kitchen", "external_gateway_info": {"network_id": external["id"]}}
    router = admin.ok("POST", f"{V2}/routers", {"router": body})["router"]
    place = f"{V2}/routers/{router['id']}"
    admin.ok("PUT", f"{place}/add_router_interface", {"subnet_id": network["subnet"]})
    try:
        assert external["mtu"] == 1400
        shown = northbound(host, f"show neutron-{router['id']}")
        assert f"{network['gateway']}/24" in shown
        assert "snat" in shown
        chassis = northbound(host, "--bare --columns=chassis_name list Gateway_Chassis")
        assert "host.kitchen.test" in chassis.split()
    finally:
        admin.ok("PUT", f"{place}/remove_router_interface", {"subnet_id": network["subnet"]})
        admin.ok("DELETE", place)
        admin.ok("DELETE", f"{V2}/networks/{external['id']}")
    assert f"neutron-{router['id']}" not in northbound(host, "show")


def test_an_instance_is_up_and_asks_for_metadata(host: Host, port: dict[str, Any]) -> None:
    """A namespace stands in for the instance. There is no Nova, which the agent says as 5xx."""
    address = port["fixed_ips"][0]["ip_address"]
    # the checksums of a datapath in user space are not the kernel's
    host.check_output(
        f"ip netns add guest && ip link add v-guest type veth peer name eth0 netns guest"
        f" && ip -n guest link set eth0 address {MAC} mtu 1400 && ip link set v-guest up"
        f" && ip netns exec guest ethtool -K eth0 tx off >/dev/null"
        f" && ovs-vsctl add-port br-int v-guest"
        f" -- set Interface v-guest external_ids:iface-id={port['id']}"
        f" && ip -n guest address add {address}/24 dev eth0 && ip -n guest link set eth0 up"
        f" && ip -n guest route add default via 203.0.113.1"
        f" && ip -n guest route add 169.254.169.254/32 via 203.0.113.2"
    )
    try:
        northbound(host, f"wait-until Logical_Switch_Port {port['id']} up=true")
        space = f"ovnmeta-{port['network_id']}"
        asked = host.run(
            f"for i in $(seq 30); do ip netns list | grep -q {space} && break; sleep 1; done;"
            f" ip netns exec guest curl -s -o /dev/null -w '%{{http_code}}' --retry 10"
            " --retry-delay 2 --retry-connrefused -m 20 http://169.254.169.254/latest/meta-data/"
        )
        assert asked.stdout.startswith("5"), asked.stdout + asked.stderr
        assert space in host.check_output("ip netns list")
    finally:
        host.check_output("ovs-vsctl --if-exists del-port v-guest; ip netns del guest")


def test_neutron_hears_of_the_agent(host: Host) -> None:
    for kind in ("OVN Metadata agent", "OVN Controller Gateway agent"):
        said = host.run(
            f"salt-call --local --config-dir=/srv/kitchen/etc --out=json neutron_agent.up '{kind}'"
        )
        answer = json.loads(said.stdout)["local"]
        assert answer["ok"] is True, answer


def test_a_quota_is_kept_and_a_stranger_refused(host: Host, admin: Client) -> None:
    assert Client(host).request("GET", f"{V2}/networks").status == 401
    assert admin.request("GET", f"{URL}/healthcheck").status == 200
    assert admin.request("POST", f"{V2}/networks", {"network": {"mtu": 9000}}).status == 400


def test_the_workers_run_and_have_stayed_up(host: Host) -> None:
    for unit in ("neutron-api", "neutron-rpc-server", "neutron-periodic-workers",
                 "neutron-ovn-maintenance-worker", "neutron-ovn-metadata-agent"):  # fmt: skip
        assert host.service(unit).is_enabled, unit
        assert host.check_output(f"systemctl show -P NRestarts {unit}") == "0", unit


def test_the_agent_becomes_root_for_its_own_work_only(host: Host) -> None:
    sudo = "setpriv --reuid=neutron --regid=neutron --init-groups -- sudo -n"
    rootwrap = "/opt/openstack/2025.1/neutron/bin/neutron-rootwrap /etc/neutron/rootwrap.conf"
    assert host.run(f"{sudo} {rootwrap} id").rc == 99, "no filter has it"
    for words in (f"{rootwrap} ip netns exec x id", f"{rootwrap} haproxy -f /etc/passwd", "id"):
        assert host.run(f"{sudo} {words}").rc != 0, words
