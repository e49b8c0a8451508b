"""Agents restart once, when asked, and a host that stays away is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from saltern.rollout import minions
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge
from tests.unit.rollout.fakes import FakeBus, FakeClock

NODES = ["a.x", "b.x", "c.x"]


@dataclass
class Site:
    """Hosts with agents; a restarted one is away for some questions."""

    waiting: set[str] = field(default_factory=set)
    away: int = 2
    never: set[str] = field(default_factory=set)
    pids: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NODES, 100))
    gone: dict[str, int] = field(default_factory=dict)

    def answer(self, node: str, call: Call) -> Return:
        if call.fun == "service.status":
            return judge(node, node in self.waiting, 0)
        if call.fun == "cmd.run":
            assert node in self.waiting, "an agent that does not wait is left alone"
            self.gone[node] = self.away
            return judge(node, "", 0)
        assert call.fun == "service.show"
        if self.gone.get(node, 0) > 0 or (node in self.gone and node in self.never):
            self.gone[node] -= 1
            return Return(node, False, silent=True, retcode=1, sentence=f"{node} is silent.")
        if node in self.gone:
            self.pids[node] = 200
        return judge(node, {"MainPID": str(self.pids[node])}, 0)


def test_nothing_is_restarted_when_nothing_waits() -> None:
    bus = FakeBus(Site().answer)
    done = minions.settle(bus, FakeClock(), NODES)
    assert done == minions.Settled(True, (), "no agent waits for a restart")
    assert [[call.fun for call in calls] for calls in bus.published] == [["service.status"]]


def test_only_those_that_wait_are_restarted_and_all_are_back_then() -> None:
    site = Site(waiting={"a.x", "c.x"})
    done = minions.settle(FakeBus(site.answer), FakeClock(), NODES)
    assert done.ok
    assert done.restarted == ("a.x", "c.x")
    assert site.pids == {"a.x": 200, "b.x": 100, "c.x": 200}


def test_an_agent_that_still_answers_as_the_old_process_is_not_back() -> None:
    site = Site(waiting={"a.x"}, away=0)
    answers = iter([100, 100, 100, 300])

    def answer(node: str, call: Call) -> Return:
        if call.fun == "service.show":
            return judge(node, {"MainPID": str(next(answers))}, 0)
        return site.answer(node, call)

    clock = FakeClock()
    assert minions.settle(FakeBus(answer), clock, NODES).ok
    assert next(answers, None) is None


def test_a_host_that_does_not_come_back_is_named() -> None:
    site = Site(waiting={"a.x", "b.x"}, never={"b.x"})
    done = minions.settle(FakeBus(site.answer), FakeClock(), NODES, limit=30)
    assert not done.ok
    assert done.restarted == ("a.x",)
    assert done.sentence == "b.x did not come back within 30 s"


def test_a_host_that_cannot_be_asked_stops_it_before_any_restart() -> None:
    def answer(node: str, call: Call) -> Return:
        assert call.fun == "service.status"
        if node == "b.x":
            return Return(node, False, silent=True, retcode=1, sentence="b.x did not answer.")
        return judge(node, True, 0)

    done = minions.settle(FakeBus(answer), FakeClock(), NODES)
    assert (done.ok, done.sentence) == (False, "b.x did not answer.")
