"""The gate in front of a plan: which releases it moves, and whether it may."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from saltern.errors import HopError, ReleaseError
from saltern.model.cluster import CompiledNode
from saltern.plan.request import Request
from saltern.plan.types import Basis, Plan, Stage, Wave
from saltern.release.lifecycle import load
from saltern.release.moves import Asked, Moves, gated, versions
from saltern.release.solve import broken

CATALOGUE = load()
CTL, CMP, MSG = ("ctl01", "ctl02"), ("cmp01", "cmp02", "cmp03"), ("msg01",)
ROLES = {
    **dict.fromkeys(CTL, ("keystone.server", "nova.api")),
    **dict.fromkeys(CMP, ("nova.compute", "libvirt.server")),
    **dict.fromkeys(MSG, ("rabbitmq.server", "galera.server")),
}
ALL = frozenset(ROLES)


def node(name: str, release: str, image: str = "bookworm", **params: Any) -> CompiledNode:
    pillar = {"_param": {"openstack_release": release, **params}, "host": {"image": image}}
    return CompiledNode(name, pillar, list(ROLES[name]), [], "base", {}, pillar["host"], "c1")


def cloud(release: str, image: str = "bookworm", **other: Any) -> dict[str, CompiledNode]:
    """All nodes at one release, but for those that are named."""
    return {name: node(name, *_told(other.get(name, release)), image=image) for name in ROLES}


def _told(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def moves(
    before: dict[str, CompiledNode], after: dict[str, CompiledNode], workflow: str = "upgrade",
    nodes: Any = ALL, **more: Any,
) -> Moves:  # fmt: skip
    return Moves(CATALOGUE, before, after, Asked(workflow, "c1", "v2", frozenset(nodes), **more))


def refused(*args: Any, **more: Any) -> str:
    with pytest.raises(HopError) as caught:
        moves(*args, **more).check()
    assert (caught.value.code, caught.value.exit_code) == ("hop", 2)
    return str(caught.value)


def test_a_node_has_what_its_data_says_or_its_distribution_has() -> None:
    assert versions(CATALOGUE, node("cmp01", "2025.1")) == {
        "python": "3.11", "libvirt": "9.0", "qemu": "7.2", "distribution": "bookworm",
        "openstack-compute": "2025.1",
    }  # fmt: skip
    assert "openstack" not in versions(CATALOGUE, node("msg01", "2025.1"))
    # what the catalogue does not know is told as it is written
    assert versions(CATALOGUE, node("ctl01", "master"))["openstack"] == "master"


def test_an_upgrade_tells_its_path() -> None:
    found = moves(cloud("2024.1"), cloud("2025.1"))
    found.check()
    told = [(one.product, one.before, one.after, one.nodes) for one in found.releases()]
    assert told == [
        ("openstack", "2024.1", "2025.1", CTL),
        ("openstack-compute", "2024.1", "2025.1", CMP),
    ]
    assert [one.roles for one in found.releases()] == [
        ("keystone.server", "nova.api"), ("nova.compute",),
    ]  # fmt: skip


def test_what_is_left_behind_is_told() -> None:
    found = moves(cloud("2024.1"), cloud("2025.1"), nodes={*CTL, "cmp01"})
    found.check()
    assert [one.left for one in found.releases()] == [(), ("cmp02", "cmp03")]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("2023.2", "2025.1", "OpenStack 2023.2 cannot become 2025.1 in one hop: 2024.1 is missing"),
        ("2024.1", "2026.1", "OpenStack 2024.1 cannot become 2026.1 in one hop: 2025.1 is missing"),
        ("2025.1", "2024.1", "OpenStack 2025.1 does not go back to 2024.1"),
        ("2025.1", "master", "OpenStack has no version 'master'"),
    ],
)
def test_a_hop_that_is_none_is_refused_with_what_is_missing(
    old: str, new: str, sentence: str
) -> None:
    told = refused(cloud(old), cloud(new))
    assert sentence in told
    assert f"`salt-run release.path cluster=c1 to=openstack={new}` shows the ordered hops" in told


def test_computes_never_come_before_the_control_plane() -> None:
    told = refused(cloud("2024.1"), cloud("2025.1"), nodes=CMP)
    assert "OpenStack has to go from 2024.1 to 2025.1, too" in told
    moves(cloud("2024.1"), cloud("2025.1"), nodes=CTL).check()
    # and once it is there, they follow in as many plans as it takes
    ahead = {**cloud("2024.1"), **{name: node(name, "2025.1") for name in CTL}}
    for left in ((), CMP[:1], CMP[1:]):
        moves(ahead, cloud("2025.1"), nodes={*CMP} - {*left}).check()


def test_a_release_that_was_left_behind_holds_the_next_one_up() -> None:
    mixed = {**cloud("2025.1"), "cmp03": node("cmp03", "2024.1")}
    told = refused(mixed, cloud("2026.1"), nodes=CTL)
    assert "nova-compute 2025.1 to 2026.1" in told
    # in one plan with the others it would be two hops
    assert "nova-compute" in refused(mixed, cloud("2026.1"))
    moves(mixed, cloud("2025.1"), nodes={"cmp03"}).check()


def test_a_rule_between_products_is_held_on_every_node() -> None:
    old = cloud("2025.1", image="jammy")
    assert "nova-libvirt" not in refused(old, cloud("2025.1", image="noble"), workflow="change")
    old, new = cloud("2025.1", image="bullseye"), cloud("2026.1", image="bullseye")
    assert "OpenStack 2026.1 needs Python 3.10 to 3.13" in refused(old, new, nodes=CTL)


@pytest.mark.parametrize("workflow", ["change", "deploy", "scale-in", "scale-out", "replace"])
def test_only_an_upgrade_moves_a_release(workflow: str) -> None:
    told = refused(cloud("2024.1"), cloud("2025.1"), workflow=workflow)
    assert (
        f"{workflow} of c1: it takes OpenStack from 2024.1 to 2025.1, and only an upgrade" in told
    )
    assert "`salt-run rollout.plan upgrade cluster=c1 revision=v2`" in told
    # what moves none is no matter of this gate, whatever there is
    moves(cloud("master"), cloud("master"), workflow=workflow).check()


def test_a_node_that_is_built_anew_comes_from_no_release() -> None:
    mixed = {**cloud("2024.1"), **{name: node(name, "2025.1") for name in CTL}}
    anew = moves(mixed, cloud("2025.1"), "replace", {"cmp01"}, anew=frozenset({"cmp01"}))
    anew.check()
    assert anew.releases() == ()


def test_another_distribution_comes_with_a_new_image_only() -> None:
    old, new = cloud("2025.1"), cloud("2025.1", image="trixie")
    told = refused(old, new)
    assert "only a new image brings another distribution" in told
    assert "`salt-run rollout.plan reimage cluster=c1 revision=v2`" in told
    # the hops of what it brings count, and what has a price must be asked for
    told = refused(old, new, workflow="reimage", nodes=MSG)
    assert "allow=rabbitmq permits the way `rebuild`" in told
    allowed = frozenset({"rabbitmq", "mariadb"})
    found = moves(old, new, "reimage", MSG, allow=allowed)
    found.check()
    ways = {one.product: one.way for one in found.releases() if one.way != "rolling"}
    assert ways == {"rabbitmq": "rebuild", "mariadb": "stopped"}
    moves(old, new, "reimage", {"cmp01"}).check()


def test_a_parameter_of_the_cluster_runs_ahead_of_hosts_that_keep_their_image() -> None:
    """Ceph comes from the distribution; its release is said for all hosts at once."""
    osd = {f"osd0{n}": ["ceph.osd"] for n in (1, 2)}

    def made(release: str, **images: str) -> dict[str, CompiledNode]:
        found = {}
        for name, roles in osd.items():
            pillar = {"_param": {"ceph_release": release}, "host": {"image": images[name]}}
            found[name] = CompiledNode(name, pillar, roles, [], "base", {}, pillar["host"], "c1")
        return found

    old = made("pacific", osd01="bookworm", osd02="bookworm")
    new = made("reef", osd01="trixie", osd02="bookworm")
    found = moves(old, new, "reimage", osd)
    found.check()
    assert [(one.title, one.nodes) for one in found.releases() if one.product == "ceph"] == [
        ("Ceph", ("osd01",))
    ]
    # without an image that brings it, it is a move
    assert "Ceph" in refused(old, made("reef", osd01="bookworm", osd02="bookworm"), "reimage", osd)


def test_the_gate_agrees_with_the_catalogue_on_every_pair_of_releases() -> None:
    """From every release to every other one, of both parts: as the data says it, written anew."""
    line = CATALOGUE.products["openstack"].versions
    for old, new in itertools.permutations(list(line), 2):
        legal = new in line[old].successors and not broken(
            CATALOGUE, {"openstack": new, "openstack-compute": old, "python": "3.11",
                        "libvirt": "9.0", "qemu": "7.2"},
        )  # fmt: skip
        try:
            moves(cloud(old), cloud(new)).check()
            found = True
        except HopError:
            found = False
        assert found is legal, (old, new)


def test_a_plan_keeps_path_and_artifacts_and_shows_them() -> None:
    def pinned(release: str, digest: str) -> dict[str, CompiledNode]:
        found = cloud(release)
        for name in CTL:
            url = f"https://user:secret@cfg01/artifacts/keystone-{release}.tar.zst"
            found[name].pillar["keystone"] = {"server": {"source": {"url": url, "sha256": digest}}}
        return found

    wave = Wave(1, "1 of 1", CTL, ())
    plan = Plan("upgrade", "c1", Basis("b"), (Stage("control", "control", "", (), (wave,)),))
    request = Request("upgrade", "c1")
    one, two = "1" * 64, "2" * 64
    found = gated(CATALOGUE, request, plan, pinned("2024.1", one), pinned("2025.1", two), "v2")
    assert found.hash != plan.hash
    assert Plan.from_json(found.to_json()) == found
    (swap,) = found.artifacts
    assert (swap.role, swap.before_sha256, swap.after_sha256, swap.nodes) == (
        "keystone.server", one, two, 2,
    )  # fmt: skip
    assert swap.after == "keystone-2025.1.tar.zst"
    assert "secret" not in found.canonical()
    # a plan that moves nothing is written as ever
    assert {"releases", "artifacts", "notes"}.isdisjoint(plan.to_json())
    with pytest.raises(ReleaseError, match="there is no product 'nothing'"):
        gated(
            CATALOGUE, Request("upgrade", "c1", allow=("nothing",)), plan,
            cloud("2024.1"), cloud("2024.1"),
        )  # fmt: skip
