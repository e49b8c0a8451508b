"""Which rollouts the master goes on with by itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from saltern.adapters import processes
from saltern.adapters.journal import Journal
from saltern.adapters.resuming import Resumer
from saltern.adapters.rollouts import Rollouts
from saltern.plan.types import APPLY, Basis, Plan, Stage, Step, Wave
from saltern.rollout.ports import FAILED, OK, PAUSED, RUNNING
from tests.support.fakes import FakeClock

STEP = Step("control/1/1-apply", APPLY, "apply", ("web01",))
STAGE = Stage("control", "control", "", ("web.server",), (Wave(1, "canary", ("web01",), (STEP,)),))
PLAN = Plan("change", "shop", Basis("b" * 40), (STAGE,))


@dataclass
class Child:
    """A process that runs for as long as it is told to."""

    alive: bool = True

    def is_alive(self) -> bool:
        return self.alive


@dataclass
class Site:
    """A journal, a clock and what was spawned."""

    rollouts: Rollouts
    clock: FakeClock = field(default_factory=FakeClock)
    spawned: list[tuple[str, Child]] = field(default_factory=list)

    def resumer(self, grace: float = 30.0) -> Resumer:
        return Resumer(self.rollouts, self.clock, self.spawn, grace)

    def spawn(self, rollout: str) -> Child:
        self.spawned.append((rollout, Child()))
        return self.spawned[-1][1]

    def begin(self, state: str = RUNNING, **plan: object) -> str:
        rollout = self.rollouts.begin(replace(PLAN, **plan), "operator")  # type: ignore[arg-type]
        self.rollouts.move(rollout, state, 1.0)
        return rollout

    def looks(self, resumer: Resumer, times: int, seconds: float = 10.0) -> list[list[str]]:
        """Look so many times; what each look went on with."""
        found = []
        for _ in range(times):
            found.append(resumer.look())
            self.clock.time += seconds
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    journal = Journal(f"sqlite:///{tmp_path}/journal.db")
    journal.prepare()
    return Site(Rollouts(journal))


def test_a_running_rollout_without_a_process_is_gone_on_with_after_a_while(site: Site) -> None:
    rollout = site.begin()
    assert site.looks(site.resumer(), 5) == [[], [], [], [rollout], []]
    assert [name for name, _ in site.spawned] == [rollout]


def test_one_whose_process_lives_is_left_alone(site: Site) -> None:
    rollout = site.begin()
    site.rollouts.claim(rollout, processes.me())
    assert site.looks(site.resumer(), 5) == [[]] * 5


@pytest.mark.parametrize("state", [PAUSED, FAILED])
def test_one_that_people_have_to_decide_about_is_left_alone(site: Site, state: str) -> None:
    site.begin(state)
    assert site.looks(site.resumer(), 5) == [[]] * 5


def test_one_whose_plan_says_no_is_left_alone(site: Site) -> None:
    site.begin(resume=False)
    assert site.looks(site.resumer(), 5) == [[]] * 5


def test_an_orchestration_between_two_phases_is_not_overtaken(site: Site) -> None:
    rollout = site.begin()
    resumer = site.resumer()
    for n in range(4):
        # every time it was looked at, another step had been done meanwhile
        site.rollouts.intent(rollout, STEP.id, [], float(n))
        assert site.looks(resumer, 2) == [[], []]
        site.rollouts.result(rollout, STEP.id, OK, {}, float(n))
        assert site.looks(resumer, 2) == [[], []]
    assert site.looks(resumer, 2) == [[], [rollout]]


def test_a_process_that_died_again_is_followed_by_another(site: Site) -> None:
    rollout = site.begin()
    resumer = site.resumer(grace=0)
    assert site.looks(resumer, 3) == [[rollout], [], []]
    site.spawned[0][1].alive = False
    assert site.looks(resumer, 2) == [[rollout], []]


def test_several_are_gone_on_with_side_by_side(site: Site) -> None:
    one, two = site.begin(), site.begin(cluster="other")
    assert site.looks(site.resumer(grace=0), 1) == [[one, two]]
