"""What a cluster runs, and what people ask for."""

from __future__ import annotations

from typing import Any

import pytest

from saltern.errors import ReleaseError
from saltern.model.cluster import CompiledNode
from saltern.release.lifecycle import load
from saltern.release.observe import follows, names, pairs, request, running

CATALOGUE = load()


def node(name: str, *roles: str, image: str = "bookworm", **params: Any) -> CompiledNode:
    """A compiled node, as far as it matters here."""
    pillar = {"_param": params, "host": {"image": image}}
    return CompiledNode(name, pillar, list(roles), [], "base", {}, pillar["host"], "c1")


def nodes(*rows: CompiledNode) -> dict[str, CompiledNode]:
    return {row.id: row for row in rows}


CLOUD = nodes(
    node("ctl", "keystone.server", "salt.minion", openstack_release="2025.1"),
    node("cmp", "nova.compute", "libvirt.server", "salt.minion", openstack_release="2025.1"),
    node("msg", "rabbitmq.server", "galera.server", "salt.minion", openstack_release="2025.1"),
    node("mon", "ceph.mon", ceph_release="pacific"),
)


def test_the_model_and_the_distribution_say_what_runs() -> None:
    assert running(CATALOGUE, CLOUD, {}) == {
        "python": "3.11", "salt-minion": "3008", "ceph": "pacific", "distribution": "bookworm",
        "erlang": "25", "libvirt": "9.0", "mariadb": "10.11", "qemu": "7.2", "rabbitmq": "3.10",
        "openstack": "2025.1", "openstack-compute": "2025.1",
    }  # fmt: skip


def test_what_is_said_comes_first() -> None:
    asked = request(CATALOGUE, CLOUD, "2026.1", {"openstack": "2024.1", "distribution": "trixie"})
    # its parts as well, and what another distribution has
    assert (asked.now["openstack-compute"], asked.now["mariadb"]) == ("2024.1", "11.8")
    assert asked.goal == {"openstack": "2026.1", "openstack-compute": "2026.1"}
    # the model says pacific, which is not trixie's: these are packages of its own
    assert asked.own == {"ceph", "distribution", "openstack", "openstack-compute", "salt-minion"}
    asked = request(CATALOGUE, CLOUD, "2026.1", "openstack=2025.1,openstack-compute=2024.1")
    assert asked.now["openstack-compute"] == "2024.1"


def test_packages_of_its_own() -> None:
    asked = request(CATALOGUE, CLOUD, "ceph=reef", own="rabbitmq")
    assert follows(CATALOGUE, asked) == {"python", "ceph", "libvirt", "mariadb", "qemu"}
    # another version than the distribution's says the same of it, and of what comes with it
    asked = request(CATALOGUE, CLOUD, "ceph=reef", now="rabbitmq=3.11")
    assert follows(CATALOGUE, asked) == {"python", "ceph", "libvirt", "mariadb", "qemu"}


def test_a_bare_version_is_that_of_one_product() -> None:
    assert request(CATALOGUE, CLOUD, 2026.1).goal["openstack"] == "2026.1"
    assert request(CATALOGUE, CLOUD, "squid").goal == {"ceph": "squid"}
    with pytest.raises(ReleaseError, match=r"10\.0 may be one of libvirt, qemu"):
        request(CATALOGUE, CLOUD, "10.0")
    with pytest.raises(ReleaseError, match=r"1999\.1 is no version of any product here"):
        request(CATALOGUE, CLOUD, "1999.1")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"to": "kubernetes=1.37"}, "to: the cluster has no Kubernetes"),
        ({"to": "nova=1"}, "there is no product 'nova'"),
        ({"to": {}}, "nothing is asked for"),
        ({"to": "openstack="}, "to: 'openstack=' is no product and version"),
        ({"to": "2026.1", "now": "openstack"}, "now: 'openstack' is no product and version"),
        ({"to": "2026.1", "now": {"openstack": "9"}}, "OpenStack has no version '9'"),
        ({"to": "2026.1", "own": "x"}, "there is no product 'x'"),
        ({"to": "2026.1", "allow": "ceph"}, "allow: Ceph has no exceptional way"),
    ],
)
def test_a_wrong_request_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ReleaseError) as told:
        request(CATALOGUE, CLOUD, **given)
    assert sentence in str(told.value)
    assert told.value.exit_code == 2


def test_hosts_that_contradict_each_other_are_named() -> None:
    mixed = {**CLOUD, "osd": node("osd", "ceph.osd", image="trixie", ceph_release="reef")}
    with pytest.raises(ReleaseError) as told:
        running(CATALOGUE, mixed, {})
    assert str(told.value) == (
        "host:image: the distribution is bookworm on cmp, ctl, mon and 1 more and trixie on osd."
        " Finish that change first, or say what counts: now=distribution=VERSION."
    )
    with pytest.raises(ReleaseError, match="Ceph is pacific on mon and reef on osd"):
        running(CATALOGUE, mixed, {"distribution": "bookworm"})


def test_what_nothing_says_is_refused() -> None:
    alone = nodes(node("wrk", "containerd.server", image="noble"))
    with pytest.raises(ReleaseError, match="wrk: nothing says which containerd the cluster has"):
        running(CATALOGUE, alone, {})
    assert running(CATALOGUE, alone, {"containerd": "2.0"})["containerd"] == "2.0"
    with pytest.raises(ReleaseError, match="the distribution has no version 'forky'"):
        running(CATALOGUE, nodes(node("x", image="forky")), {})


def test_arguments_are_texts_lists_or_mappings() -> None:
    assert pairs("openstack=2026.1, ceph=squid", "to") == {"openstack": "2026.1", "ceph": "squid"}
    assert pairs(None, "now") == {}
    assert names("a, b,") == ["a", "b"]
    assert names(["a"]) == ["a"]
    assert names(None) == []
