"""From a revision to a kept rehearsal: what is refused, what is asked, what is noted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saltern.adapters import rehearsing
from saltern.adapters.journal import Journal
from saltern.adapters.master import Site
from saltern.adapters.rehearsals import Rehearsals
from saltern.adapters.rehearsing import Rehearser
from saltern.errors import BackupRefusedError, BusError, PlanError, RehearsalRefusedError
from saltern.rollout.ports import Call, Return
from tests.unit.backup.test_run import row
from tests.unit.rehearsal.test_decisions import Node, fleet
from tests.unit.rollout.fakes import FakeBus

GALERA = {
    "galera.server": {"stateful": True, "backup": {"what": "x", "from": "galera", "kinds": {
        "logical": {"call": "backup_dump.take", "verify": "backup_dump.verify"}}}},
}  # fmt: skip


class Model(Node):
    """A node that says how it lives, too."""

    @property
    def lifecycle(self) -> dict[str, Any]:
        return GALERA


def cloud(release: str) -> dict[str, Any]:
    found = {
        name: Model((*node.applications, "backup.client"), node.pillar)
        for name, node in fleet(release).items()
    }
    found["inf03"] = Model(("galera.server", "backup.client"))
    found["cfg01"] = Model(("rehearsal.shadow", "backup.server", "backup.client"))
    return found


class World:
    """A master whose hosts replay."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(f"sqlite:///{path}/j/journal.db")
        self.lines: list[str] = []
        self.fails: set[str] = set()
        names = ["identity", "nova", "nova2", "nova_api", "nova_cell0"]
        self.rows = [row("logical", "l", "2026-05-28T00:00:00Z", databases=names)]
        self.outdated: list[str] = []
        self.models = {"v2026.1": cloud("2026.1"), "HEAD": cloud("2025.1")}
        self.findings: list[str] = []
        self.bus = FakeBus(self.answer)

    def answer(self, name: str, call: Call) -> Return:
        if call.fun in self.fails:
            return Return(name, False, sentence=f"{name}: it broke.")
        if call.fun == "backup_store.facts":
            room = {"free": 1 << 40, "size": 1 << 41, "now": 1780315200.0}
            rest = {"bundles": self.rows, "unfinished": {}, "damaged": {}}
            return Return(name, True, {**room, **rest})
        return Return(name, True, {"seconds": 1.0, "sentence": "fine"})

    def rehearser(self) -> Rehearser:
        made: Any = object.__new__(Rehearser)
        made.opts = {"ext_pillar": [{"saltern_model": {}}]}
        made.site, made.by, made.quiet = Site(cluster="demo"), "ann", True
        made.bus, made.rehearsals = self.bus, Rehearsals(self.journal, lambda: 1_780_000_000.0)
        made.events = SimpleNamespace(emit=lambda tag, data, line="": self.lines.append(line))
        made.model = SimpleNamespace(check=self.check)
        made.observer = SimpleNamespace(
            served=lambda: cloud("2025.1"), outdated=lambda nodes: self.outdated,
            deployed=lambda: "d" * 40, artifacts=lambda nodes: f"of {len(nodes)} nodes",
        )  # fmt: skip
        rehearser: Rehearser = made
        return rehearser

    def check(self, ref: str, *_: Any) -> tuple[Any, list[str]]:
        return SimpleNamespace(id=ref.ljust(40, "0"), nodes_=self.models[ref]), self.findings


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    source = lambda revision: SimpleNamespace(nodes=lambda cluster: revision.nodes_)  # noqa: E731
    monkeypatch.setattr(rehearsing, "RevisionSource", source)
    monkeypatch.setattr(rehearsing, "check_artifacts", lambda nodes, top: [])
    return World(tmp_path)


def test_a_green_rehearsal_is_kept_with_what_it_was_of(world: World) -> None:
    told = world.rehearser().run(["v2026.1"])
    assert (told["result"], told["retcode"], told["state"]) == (True, 0, "green")
    found = Rehearsals(world.journal).get(told["id"])
    assert found.artifacts == f"of {len(cloud('2026.1'))} nodes"
    assert found.releases == {"keystone": ("2025.1", "2026.1"), "nova": ("2025.1", "2026.1")}
    assert (found.node, found.bundle) == ("cfg01", "galera.server/inf03/l")
    assert (found.revision, found.deployed) == ("v2026.1".ljust(40, "0"), "d" * 40)
    assert len(found.records) == 16
    assert "nova 2026.1: the schema is expanded: ok, 1.0 s" in world.lines


def test_only_the_shadow_and_the_backup_server_are_asked(world: World) -> None:
    world.rehearser().run(["v2026.1"])
    calls = [call for calls in world.bus.published for call in calls]
    assert {node for call in calls for node in call.nodes} == {"cfg01"}
    assert {call.fun.partition(".")[0] for call in calls} == {
        "backup_store", "rehearsal", "rehearsal_service", "rehearsal_api",
    }  # fmt: skip


def test_a_red_one_says_why(world: World) -> None:
    world.fails.add("rehearsal_service.contract")
    told = world.rehearser().run(["v2026.1"])
    assert (told["result"], told["retcode"], told["state"]) == (False, 1, "red")
    assert "keystone 2026.1: the upgrade of the schema is ended: it broke." in told["comment"]


def test_in_test_mode_nothing_is_touched(world: World) -> None:
    told = world.rehearser().run(["v2026.1"], test=True)
    assert told["result"] is None
    assert "nova 2025.1 -> 2026.1" in told["comment"]
    assert Rehearsals(world.journal).journal.path
    calls = [call.fun for calls in world.bus.published for call in calls]
    assert calls == ["backup_store.facts"]


def test_what_cannot_be_rehearsed_is_refused_before(world: World) -> None:
    with pytest.raises(RehearsalRefusedError, match="brings no service another environment"):
        world.rehearser().run(["HEAD"])
    world.rows[0]["databases"] = ["nova"]
    with pytest.raises(BackupRefusedError, match="has identity, nova, nova2"):
        world.rehearser().run(["v2026.1"])
    world.outdated = ["cfg01"]
    with pytest.raises(PlanError):
        world.rehearser().run(["v2026.1"])
    world.findings = ["It does not compile."]
    with pytest.raises(RehearsalRefusedError, match="It does not compile"):
        world.rehearser().run(["v2026.1"])


def test_one_that_is_ended_is_no_green_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise BusError("the master is gone")

    monkeypatch.setattr(rehearsing.Rehearsing, "run", gone)
    with pytest.raises(BusError):
        world.rehearser().run(["v2026.1"])
    (found,) = Rehearsals(world.journal).list("demo")
    assert (found.state, found.sentence) == ("broken", "It was ended before its end.")
