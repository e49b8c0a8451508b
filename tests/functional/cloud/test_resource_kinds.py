"""Flavors, networks, volume types and the rest: predicted, written, read back, and quiet after.

Against the real APIs of Nova, Neutron and Cinder; nothing is behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from saltern.errors import SalternError
from tests.functional.cloud.conftest import Minion, apply, model
from tests.support.cloud import SERVICE_PASSWORD, Cloud

pytestmark = pytest.mark.full

#: service -> type in the catalogue, what follows the base URL
APIS = {
    "nova": ("compute", "/v2.1"),
    "neutron": ("network", ""),
    "cinder": ("block-storage", "/v3"),
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFrGTYVWwyyGkJGAnmhvoFPW4DCTcRxcNwZ9qkBGAwGD someone"
WEB = {"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}


@pytest.fixture(scope="module")
def wide_cloud(bare_cloud: Cloud) -> Cloud:
    """The cloud with the APIs that it has locks of."""
    for service in APIS:
        try:
            bare_cloud.add(service)
        except SalternError as err:
            bare_cloud.ports.pop(service, None)
            print(f"without {service}: {err}")
    return bare_cloud


def pillar(running: Cloud, **resources: Any) -> dict[str, Any]:
    """Pillar of a minion that keeps these APIs and these objects."""
    found = model(running)
    identity = found["identity"]
    identity["project"]["t-tenant"] = {}
    for name, (kind, path) in APIS.items():
        if name in running.ports:
            url = running.urls[name] + path
            identity["service"][name] = {"type": kind}
            identity["endpoint"][name] = {"service": name, "url": {"public": url}}
            identity["user"][name] = {"password": SERVICE_PASSWORD, "default_project": "service"}
            for role in ("admin", "service"):
                assigned = {"user": name, "project": "service", "role": role}
                identity["role_assignment"][f"{name}-{role}"] = assigned
    return {"openstack": {**found, "resources": resources}}


@pytest.fixture
def keep(
    wide_cloud: Cloud, minion: Minion, make_minion: Callable[..., Minion]
) -> Callable[..., Minion]:
    """Return a function that gives the minion of a pillar; accounts and endpoints are there."""

    def build(**resources: Any) -> Minion:
        clouds = {"openstack.clouds_file": minion.opts["openstack.clouds_file"]}
        return make_minion(pillar(wide_cloud, **resources), **clouds)

    done = apply(build(), "openstack.identity")
    assert all(answer["result"] for _, answer in done), done
    return build


@pytest.fixture
def api(wide_cloud: Cloud) -> Callable[[str], None]:
    """Return a function that skips a test where there is no such service."""

    def need(service: str) -> None:
        if service not in wide_cloud.ports:
            pytest.skip(f"there is no lock of {service}")

    return need


def changed(minion: Minion, test: bool = False) -> dict[str, Any]:
    """Apply the role; return the changes by state."""
    done = apply(minion, "openstack.resources", test)
    bad = [(name, answer) for name, answer in done if answer["result"] is False]
    assert not bad, bad
    assert test or all(answer["result"] is True for _, answer in done), done
    return {name: answer["changes"] for name, answer in done if answer["changes"]}


def refused(minion: Minion) -> str:
    """Apply the role; return the comment of the one state that failed."""
    done = apply(minion, "openstack.resources")
    (comment,) = [answer["comment"] for _, answer in done if answer["result"] is False]
    return str(comment)


def follows(
    keep: Callable[..., Minion], first: dict[str, Any], second: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """From nothing to ``first``, to ``second``, to nothing: each predicted, done and then quiet."""
    seen = []
    gone = {
        kind: {
            label: {"ensure": "absent", **{k: v for k, v in given.items() if k in ("network",)}}
            for label, given in entries.items()
        }
        for kind, entries in first.items()
    }
    for step in (first, second, gone):
        minion = keep(**step)
        predicted = changed(minion, test=True)
        assert predicted
        done = changed(minion)
        assert set(done) == set(predicted)
        assert changed(minion) == {}
        assert changed(minion, test=True) == {}
        seen.append(done)
    return seen[0], seen[1]


def test_flavors(keep: Callable[..., Minion], api: Callable[[str], None]) -> None:
    api("nova")
    small = {"ram": 256, "vcpus": 1, "disk": 1, "extra_specs": {"hw:mem_page_size": "any"}}
    more = {"description": "Small", "extra_specs": {"hw:cpu_policy": "shared"}}
    made, changes = follows(
        keep, {"flavor": {"t-small": small}}, {"flavor": {"t-small": {**small, **more}}}
    )
    assert made["openstack-resources-flavor-t-small"]["ensure"]["new"] == "present"
    # the key that is not named any more stays: it is not managed
    assert changes == {
        "openstack-resources-flavor-t-small": {
            "description": {"old": None, "new": "Small"},
            "extra_specs hw:cpu_policy": {"old": None, "new": "shared"},
        }
    }


def test_a_flavor_of_another_size_is_refused(
    keep: Callable[..., Minion], api: Callable[[str], None]
) -> None:
    api("nova")
    changed(keep(flavor={"t-fixed": {"ram": 256, "vcpus": 1}}))
    told = refused(keep(flavor={"t-fixed": {"ram": 512, "vcpus": 1}}))
    assert "has ram 256, not 512 as asked, and that can never be changed" in told
    changed(keep(flavor={"t-fixed": {"ensure": "absent"}}))


def test_keypairs_of_a_user(keep: Callable[..., Minion], api: Callable[[str], None]) -> None:
    api("nova")
    minion = keep(
        keypair={"t-key": {"public_key": KEY}, "t-own": {"user": "nova", "public_key": KEY}}
    )
    assert len(changed(minion)) == 2
    assert changed(minion) == {}
    where = {"name": "t-own", "user": "nova"}
    assert minion.call("openstack_resource.find", "keypair", where)["public_key"] == KEY
    assert minion.call("openstack_resource.find", "keypair", {"name": "t-own"}) is None
    gone = {"t-key": {"ensure": "absent"}, "t-own": {"ensure": "absent", "user": "nova"}}
    assert len(changed(keep(keypair=gone))) == 2
    assert changed(keep(keypair=gone)) == {}


@pytest.mark.parametrize(
    ("service", "name", "limit"),
    [
        ("nova", "compute", "cores"),
        ("neutron", "network", "ports"),
        ("cinder", "volume", "volumes"),
    ],
)
def test_quotas(
    keep: Callable[..., Minion], api: Callable[[str], None], service: str, name: str, limit: str
) -> None:
    api(service)
    before = keep().call("openstack_quota.show", name, "t-tenant")
    state = f"openstack-resources-quota-t-tenant-{name}"
    minion = keep(quota={"t-tenant": {name: {limit: 7}}})
    assert changed(minion, test=True) == {state: {limit: {"old": before[limit], "new": 7}}}
    assert changed(minion) == {state: {limit: {"old": before[limit], "new": 7}}}
    assert changed(minion) == {}
    assert minion.call("openstack_quota.show", name, "t-tenant") == {**before, limit: 7}
    gone = keep(quota={"t-tenant": {"ensure": "absent", name: {}}})
    assert changed(gone) == {state: {limit: {"old": 7, "new": before[limit]}}}
    assert changed(gone) == {}
    assert "has no limit elephants" in refused(keep(quota={"t-tenant": {name: {"elephants": 1}}}))


def test_a_network_from_nothing_to_nothing(
    keep: Callable[..., Minion], api: Callable[[str], None]
) -> None:
    api("neutron")
    outside = {
        "is_router_external": True,
        "provider_network_type": "flat",
        "provider_physical_network": "provider",
    }
    first = {
        "network": {"t-outside": outside, "t-inside": {"mtu": 1400}},
        "subnet": {
            "t-pool": {
                "network": "t-outside",
                "cidr": "203.0.113.0/24",
                "is_dhcp_enabled": False,
                "allocation_pools": [{"start": "203.0.113.50", "end": "203.0.113.99"}],
            },
            "t-one": {
                "network": "t-inside",
                "cidr": "10.1.0.0/24",
                "gateway_ip": "",
                "allocation_pools": [{"start": "10.1.0.9", "end": "10.1.0.99"}],
            },
            "t-two": {"network": "t-inside", "cidr": "10.2.0.0/24"},
        },
        "router": {"t-router": {"gateway": "t-outside", "interfaces": ["t-two"]}},
    }
    second = {
        "network": {"t-outside": outside, "t-inside": {"description": "Tenant"}},
        "subnet": {
            "t-pool": {"network": "t-outside"},
            "t-one": {"network": "t-inside", "gateway_ip": "10.1.0.1"},
            "t-two": {"network": "t-inside", "dns_nameservers": ["10.2.0.3", "10.2.0.2"]},
        },
        "router": {"t-router": {"is_snat_enabled": False, "interfaces": ["t-two", "t-one"]}},
    }
    made, changes = follows(keep, first, second)
    assert len(made) == 6
    assert changes == {
        "openstack-resources-network-t-inside": {"description": {"old": None, "new": "Tenant"}},
        "openstack-resources-router-t-router": {
            "is_snat_enabled": {"old": True, "new": False},
            "interfaces": {"old": ["t-two"], "new": ["t-one", "t-two"]},
        },
        "openstack-resources-subnet-t-one": {"gateway_ip": {"old": None, "new": "10.1.0.1"}},
        "openstack-resources-subnet-t-two": {
            "dns_nameservers": {"old": None, "new": ["10.2.0.3", "10.2.0.2"]}
        },
    }


def test_a_network_of_another_project(
    keep: Callable[..., Minion], api: Callable[[str], None]
) -> None:
    api("neutron")
    mine = {"network": {"t-net": {}}}
    theirs = {"network": {"theirs": {"name": "t-net", "project": "t-tenant"}}}
    assert len(changed(keep(**mine))) == 1
    assert len(changed(keep(**theirs))) == 1
    assert changed(keep(**mine)) == changed(keep(**theirs)) == {}
    theirs["network"]["theirs"]["ensure"] = "absent"
    assert len(changed(keep(**theirs))) == 1
    assert keep().call("openstack_resource.find", "network", {"name": "t-net"})
    assert changed(keep(network={"t-net": {"ensure": "absent"}}))


def test_security_groups(keep: Callable[..., Minion], api: Callable[[str], None]) -> None:
    api("neutron")
    group = {"project": "t-tenant", "description": "Web"}
    out = {"direction": "egress"}
    minion = keep(security_group={"t-web": {**group, "rules": [WEB, out]}})
    assert changed(minion)
    assert changed(minion) == {}
    where = {"name": "t-web", "project": "t-tenant"}
    # what Neutron puts into a new group (IPv6 out) is not asked for, so it is gone
    found = minion.call("openstack_resource.find", "security_group", where)["rules"]
    assert sorted(one["direction"] for one in found) == ["egress", "ingress"]
    inside = {"protocol": "ICMP", "remote_group": "t-web"}
    near = {**WEB, "remote_ip_prefix": "10.1.0.9/24"}
    minion = keep(security_group={"t-web": {**group, "rules": [near, out, inside]}})
    done = changed(minion)["openstack-resources-security_group-t-web"]
    assert set(done) == {"rules"}
    assert changed(minion) == {}
    found = minion.call("openstack_resource.find", "security_group", where)["rules"]
    assert {one.get("remote_ip_prefix") for one in found} == {None, "10.1.0.0/24"}
    assert {one.get("remote_group") for one in found} == {None, "t-web"}
    # without rules they are not managed
    assert changed(keep(security_group={"t-web": group})) == {}
    gone = {"t-web": {"ensure": "absent", "project": "t-tenant"}}
    assert changed(keep(security_group=gone))
    assert changed(keep(security_group=gone)) == {}


def test_volume_types(keep: Callable[..., Minion], api: Callable[[str], None]) -> None:
    api("cinder")
    first = {"extra_specs": {"volume_backend_name": "ceph"}}
    second = {"description": "Fast", "extra_specs": {"volume_backend_name": "fast"}}
    _, changes = follows(
        keep, {"volume_type": {"t-ceph": first}}, {"volume_type": {"t-ceph": second}}
    )
    assert changes == {
        "openstack-resources-volume_type-t-ceph": {
            "description": {"old": None, "new": "Fast"},
            "extra_specs volume_backend_name": {"old": "ceph", "new": "fast"},
        }
    }


def test_what_is_named_but_missing(keep: Callable[..., Minion], api: Callable[[str], None]) -> None:
    api("neutron")
    lost = {"subnet": {"t-lost": {"network": "t-none", "cidr": "10.9.0.0/24"}}}
    assert "There is no network 't-none'" in refused(keep(**lost))
    # a preview cannot know whether an earlier step makes it
    assert changed(keep(**lost), test=True)
    # absent with its network: nothing to do
    assert changed(keep(subnet={"t-lost": {"network": "t-none", "ensure": "absent"}})) == {}
    bad = {"router": {"t-lost": {"gateway": "t-none"}}}
    assert "There is no external network 't-none'" in refused(keep(**bad))
    changed(keep(router={"t-lost": {"ensure": "absent"}}))


def test_states_refuse_bad_input_in_one_sentence(keep: Callable[..., Minion]) -> None:
    minion = keep()
    done = minion.run("openstack_resource.present", name="x", kind="elephant", fields={})
    assert done["result"] is False
    assert "Unknown kind 'elephant'" in done["comment"]
    done = minion.run("openstack_resource.present", name="x", kind="network", fields={"mut": 1})
    assert done["comment"] == "A network has no field mut."
    done = minion.run("openstack_resource.quota", name="t-tenant", api="elephants", limits={})
    assert "Unknown API 'elephants'" in done["comment"]
