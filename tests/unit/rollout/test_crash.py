"""The engine dies at every point at which it can, and the next one ends where it would have."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from saltern.plan.types import Plan
from saltern.rollout.engine import Engine
from saltern.rollout.outcome import Outcome
from saltern.rollout.ports import DONE, FAILED
from tests.support.fakes import (
    FAILS,
    MUTE,
    Crash,
    FakeBus,
    FakeClock,
    FakeEvents,
    FakeRunners,
    Killed,
    MemoryJournal,
    Rows,
    Script,
    World,
    scripted,
    works,
)
from tests.unit.rollout import engine_plans as plans

#: functions that give back what a drain took; these may be asked for twice
BACK = "proxy.ready"


@dataclass
class Site:
    """What outlives the engine, and the engines that work on it one after another."""

    plan: Plan
    script: Script = works
    world: World = field(default_factory=World)
    rows: Rows = field(default_factory=Rows)
    clock: FakeClock = field(default_factory=FakeClock)
    engines: int = 0
    runners: list[str] = field(default_factory=list)
    rollout: str = ""

    def __post_init__(self) -> None:
        self.rollout = MemoryJournal(self.rows).begin(self.plan)

    def engine(self, journal: Crash, elsewhere: Crash) -> Engine:
        self.engines += 1
        gone = {f"engine {number}" for number in range(self.engines)}
        return Engine(
            FakeBus(self.world, self.script, self.clock, elsewhere),
            MemoryJournal(self.rows, journal, gone),
            self.clock,
            FakeEvents(),
            FakeRunners(elsewhere, called=self.runners),
            None,
            f"engine {self.engines}",
        )

    def run(self, journal: Crash | None = None, elsewhere: Crash | None = None) -> Outcome | None:
        """Let one more engine work; None when it was killed."""
        journal = journal or Crash()
        try:
            return self.engine(journal, elsewhere or journal).run(self.rollout)
        except Killed:
            return None

    def wish(self, **wishes: bool) -> None:
        """Note what people ask for."""
        MemoryJournal(self.rows).wish(self.rollout, **wishes)

    def end(self) -> dict[str, Any]:
        """Everything that is to be the same however often the engine died."""
        state, reason = self.rows.states[self.rollout]
        return {
            "state": state,
            "reason": reason,
            "pins": self.rows.pins,
            "deployed": self.rows.deployed,
            "out of service": sorted(self.world.out),
            "leases": sorted(
                (lease.node, lease.released is not None) for lease in self.rows.leases.values()
            ),
            "roles": self.world.roles,
            "steps": {
                step: (made[-1].phase, made[-1].sentence, dict(made[-1].results))
                for (_, step), made in self.rows.attempts.items()
            },
        }

    def ran(self) -> Mapping[Any, int]:
        return {key: n for key, n in self.world.executions().items() if key[0] != BACK}


@cache
def points(plan: Callable[[], Plan], script: Script = works) -> tuple[Site, list[str]]:
    """Run without a crash; return the site, and all points at which a crash can happen."""
    site, crash = Site(plan(), script), Crash()
    assert site.run(crash) is not None
    return site, crash.passed


UNHARMED, POINTS = points(plans.whole)
CHANGES = [number for number, name in enumerate(POINTS) if name.startswith(("before ", "after "))]


def test_run_without_a_crash_does_each_step_once() -> None:
    assert UNHARMED.end()["state"] == DONE
    assert set(UNHARMED.rows.states) == {UNHARMED.rollout}
    steps = {step.id for _, _, step in UNHARMED.plan.steps()}
    assert {step for _, step in UNHARMED.rows.attempts} == steps
    assert all(len(made) == 1 for made in UNHARMED.rows.attempts.values())
    assert len(UNHARMED.plan.nodes) == 12
    assert UNHARMED.end()["out of service"] == []
    # both sides of every change of the journal, and of everything that is published
    assert len(CHANGES) > 200
    assert {name.split()[0] for name in POINTS} >= {"publish", "published", "collect", "runner"}


@pytest.mark.parametrize("at", range(len(POINTS)), ids=lambda at: f"{at} {POINTS[at]}")
def test_killed_at_any_point_the_next_engine_ends_the_same(at: int) -> None:
    site = Site(UNHARMED.plan)
    # the last point of all is after the end: the claim is given up there
    assert site.run(Crash(at)) is None
    outcome = site.run()
    assert outcome is not None
    assert outcome.state == DONE
    assert site.end() == UNHARMED.end()
    assert site.ran() == UNHARMED.ran()
    again = [name for name in site.runners if name == "galera.form"]
    assert 1 <= len(again) <= 2


@pytest.mark.parametrize("changes", [2, 3, 5, 8, 13])
def test_killed_again_and_again_it_still_ends_the_same(changes: int) -> None:
    """Each engine claims the rollout, brings a few changes to the journal and dies.

    One is too few: a pin that is noted in the journal and its result are two.
    """
    site = Site(UNHARMED.plan)
    outcome = None
    while outcome is None and site.engines < len(CHANGES):
        outcome = site.run(Crash(2 + 2 * changes - 1), Crash())
    assert outcome is not None
    assert outcome.state == DONE
    assert site.engines > len(CHANGES) // (2 * changes + 2)
    assert site.end() == UNHARMED.end()
    assert site.ran() == UNHARMED.ran()


BAD = scripted(("state.apply", plans.CONTROL[1], FAILS))


@pytest.mark.parametrize("at", range(len(points(plans.whole, BAD)[1])))
def test_killed_while_it_fails_it_fails_the_same(at: int) -> None:
    unharmed, _ = points(plans.whole, BAD)
    assert unharmed.end()["state"] == FAILED
    site = Site(unharmed.plan, BAD)
    assert site.run(Crash(at)) is None
    outcome = site.run()
    assert outcome is not None
    assert outcome.state == FAILED
    assert outcome.stage == "control"
    assert outcome.wave == 2
    assert outcome.leases == ()
    assert site.end() == unharmed.end()
    assert site.ran() == unharmed.ran()


UNCLEAR = scripted(("keystone.migrate", plans.CONTROL[0], MUTE))


@pytest.mark.parametrize("at", range(len(points(plans.whole, UNCLEAR)[1])))
def test_what_may_not_run_twice_does_not_though_its_return_is_lost(at: int) -> None:
    unharmed, _ = points(plans.whole, UNCLEAR)
    site = Site(unharmed.plan, UNCLEAR)
    assert site.run(Crash(at)) is None
    outcome = site.run()
    assert outcome is not None
    assert outcome.state == FAILED
    assert "Nobody knows whether 'keystone.migrate' ran on ctl01" in outcome.reason
    assert site.end() == unharmed.end()
    assert site.ran() == unharmed.ran()
    assert site.world.out == set()


@pytest.mark.parametrize("made", [plans.reimaged, plans.worked])
def test_what_roles_declare_is_gone_on_with_wherever_the_engine_was_killed(
    made: Callable[[], Plan],
) -> None:
    unharmed, passed = points(made)
    assert unharmed.end()["state"] == DONE
    assert unharmed.end()["out of service"] == []
    for at in range(len(passed)):
        site = Site(unharmed.plan)
        assert site.run(Crash(at)) is None
        outcome = site.run()
        assert outcome is not None, passed[at]
        assert outcome.state == DONE, passed[at]
        assert site.end() == unharmed.end(), passed[at]
        assert site.ran() == unharmed.ran(), passed[at]
        # a runner that was under way is called once more, and never out of its order
        runs = [name for name, _ in itertools.groupby(site.runners)]
        assert runs == [name for name, _ in itertools.groupby(unharmed.runners)], passed[at]
