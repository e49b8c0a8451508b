"""Two releases beside each other: who waits, since when, and what is said about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from saltern.errors import GateError, ModelError
from saltern.model.cluster import CompiledNode
from saltern.plan.types import Basis, Plan, Release, Stage, Wave
from saltern.release.lifecycle import load
from saltern.release.mixed import (
    CODES,
    DAYS,
    FAIL,
    OK,
    WARN,
    Mixed,
    check,
    first,
    mixed,
    text,
    worst,
)
from tests.support import TREE

CATALOGUE = load()
DAY = 86400.0
NOW = 100 * DAY


def node(name: str, role: str, release: str, image: str = "bookworm", **life: Any) -> CompiledNode:
    pillar = {"_param": {"openstack_release": release}, "host": {"image": image}}
    told = {role: {"stage": "control", **life}}
    return CompiledNode(name, pillar, [role], [], "base", told, pillar["host"], "c1")


def cloud(*computes: str, control: str = "2026.1", **life: Any) -> dict[str, CompiledNode]:
    found = {"ctl01": node("ctl01", "keystone.server", control)}
    for number, release in enumerate(computes, 1):
        name = f"cmp{number:02}"
        found[name] = node(name, "nova.compute", release, **life)
    return found


def look(
    nodes: dict[str, CompiledNode], days: float | None = 1.0, unfinished: Any = None
) -> list[Mixed]:
    """What is mixed, the newest release being there for some days; None: nobody knows."""
    begun = None if days is None else NOW - days * DAY
    return mixed(CATALOGUE, nodes, lambda *_: begun, NOW, unfinished)


def moment(at: float) -> str:
    return f"day {at / DAY:g}"


def test_one_release_everywhere_is_not_mixed() -> None:
    assert look(cloud("2026.1", "2026.1")) == []
    assert text([], moment) == "Every product has one release."
    assert worst([]) == OK


def test_computes_behind_their_control_plane_are_told_with_it() -> None:
    (found,) = look(cloud("2025.1", "2026.1", "2025.1"))
    assert (found.product, found.newest, found.nodes) == ("openstack", "2026.1", 4)
    assert found.behind == {"cmp01": "2025.1", "cmp03": "2025.1"}
    assert found.sentence(moment) == (
        "OpenStack is on its way to 2026.1: cmp01 cmp03 on 2025.1, since day 99, within the limit"
        " of 14 days."
    )
    assert "OpenStack  2025.1  2026.1   2 of 4  cmp01 cmp03  day 99  1.0   14     ok" in text(
        [found], moment
    )


@pytest.mark.parametrize(
    ("days", "verdict", "code"),
    [
        (0, OK, "ok"),
        (DAYS / 2, OK, "ok"),
        (DAYS / 2 + 0.1, WARN, "release-mixed"),
        (DAYS, WARN, "release-mixed"),
        (DAYS + 0.1, FAIL, "release-overdue"),
        # who cannot tell for how long has no limit that holds
        (None, FAIL, "release-overdue"),
    ],
)
def test_the_limit_has_two_marks(days: float | None, verdict: str, code: str) -> None:
    (found,) = look(cloud("2025.1"), days)
    assert (found.verdict, found.code) == (verdict, code)


def test_the_model_sets_the_limit_and_the_shortest_one_counts() -> None:
    nodes = cloud("2025.1", mixed_days=3)
    assert look(nodes, 4)[0].verdict == FAIL
    assert look(nodes, 4)[0].days == 3
    for wrong in (0, -1, "soon", True):
        with pytest.raises(ModelError, match=r"cmp01: lifecycle:nova\.compute:mixed_days"):
            look(cloud("2025.1", mixed_days=wrong))


def test_a_node_that_was_begun_and_not_finished_waits_too() -> None:
    left = {"cmp02": (("nova.compute",), NOW - 20 * DAY), "cmp01": (("linux.system",), 0.0)}
    (found,) = look(cloud("2026.1", "2026.1"), unfinished=left)
    assert (found.behind, found.unfinished, found.waiting) == ({}, ("cmp02",), ("cmp02",))
    assert found.verdict == FAIL
    assert "cmp02 not finished, since day 80, past the limit" in found.sentence(moment)


def test_hosts_that_wait_for_a_new_image_are_a_matter_of_the_distribution() -> None:
    nodes = {
        name: node(name, "rabbitmq.server", "2026.1", image)
        for name, image in (("msg01", "trixie"), ("msg02", "bookworm"))
    }
    (found,) = look(nodes)
    assert (found.product, found.behind) == ("distribution", {"msg02": "bookworm"})


@dataclass(frozen=True)
class Moved:
    kind: str
    node: str
    after: str


def since(*rows: tuple[str, str, str], nodes: str = "ab") -> float | None:
    """When the first node got what begins with "new"; the rows are a second apart."""
    changes = [(float(at), Moved(*row)) for at, row in enumerate(rows)]
    return first(changes, nodes, lambda _, revision: revision.startswith("new"))


def test_the_age_begins_with_the_first_node() -> None:
    deployed = ("deploy", "", "old")
    assert since(deployed) is None
    assert since(deployed, ("pin", "a", "new")) == 1
    # later pins of the same release do not make it younger
    assert since(deployed, ("pin", "a", "new"), ("pin", "a", "newer")) == 1
    # nor does another node of three
    assert since(deployed, ("pin", "a", "new"), ("pin", "b", "new"), nodes="abc") == 1
    # it was taken back, and begun again
    assert since(deployed, ("pin", "a", "new"), ("unpin", "a", ""), ("pin", "b", "new")) == 3
    # once it was whole: what is mixed now began later
    whole = (deployed, ("pin", "a", "new"), ("deploy", "", "new"), ("unpin", "a", ""))
    assert since(*whole) is None
    assert since(*whole, ("pin", "b", "old")) == 4
    # a commit that holds one back
    assert since(deployed, ("pin", "a", "new"), ("pin", "b", "old"), ("deploy", "", "new")) == 1


def plan(*nodes: str, moves: str = "openstack") -> Plan:
    stage = Stage("control", "control", "", (), (Wave(1, "1 of 1", nodes, ()),))
    release = Release(moves, moves, "2026.1", "2026.2", nodes)
    return Plan("upgrade", "c1", Basis("b"), (stage,), releases=(release,) if moves else ())


def test_past_the_limit_an_upgrade_must_bring_those_that_wait() -> None:
    found = look(cloud("2025.1", "2026.1"), 20)
    with pytest.raises(GateError) as refused:
        check(plan("ctl01"), found, moment)
    told = str(refused.value)
    assert "cmp01 on 2025.1, since day 80, past the limit of 14 days" in told
    assert "nodes=cmp01" in told
    assert (refused.value.code, refused.value.exit_code) == ("gate", 2)
    # one that does, and whatever moves no release, is told and let through
    for other in (plan("cmp01", moves="openstack-compute"), plan("ctl01", moves="")):
        (note,) = check(other, found, moment)
        assert "past the limit" in note
    assert check(plan("ctl01"), look(cloud("2025.1"), 1), moment) == ()
    assert check(plan("ctl01"), look(cloud("2025.1"), 8), moment) != ()


def test_every_code_has_a_heading_with_its_cure() -> None:
    page = (TREE / "docs/reference/codes.md").read_text()
    part = page.split("\n## Verdicts of releases\n")[1].split("\n## ")[0]
    sections = dict(
        re.findall(r"^### `([\w-]+)`\n(.*?)(?=^### |\Z)", part, re.MULTILINE | re.DOTALL)
    )
    assert {*sections} == {*CODES.values()} - {"ok"}
    assert all("Cure:" in body for body in sections.values())
