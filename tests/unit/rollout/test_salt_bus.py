"""How long the bus waits for whom: replayed against a master that only counts seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from saltern.adapters import salt_bus
from saltern.adapters.salt_bus import ENDINGS, PROBE_WAIT, PROBES, SaltBus
from saltern.errors import BusError
from saltern.rollout.ports import Call

A, B = "a.x", "b.x"


class Minion:
    """One scripted minion.

    :param after: seconds from a publish to its return; None = never
    :param hears: from which second of the clock on it hears publishes and questions
    :param running: whether it says that it works on the job while it has not returned
    :param cached: its return reaches the job cache, but no event tells of it
    """

    def __init__(self, after=None, *, hears=0.0, running=True, cached=False, retcode=0):
        self.after, self.hears, self.running = after, hears, running
        self.cached, self.retcode = cached, retcode
        self.got: list[tuple[float, str]] = []


class Master(SaltBus):
    """The bus over scripted minions and a clock that every look at the events moves."""

    def __init__(self, **minions: Minion) -> None:
        self.time = 0.0
        super().__init__({"master_job_cache": "fake"}, clock=lambda: self.time)
        self.minions = {f"{name}.x": minion for name, minion in minions.items()}
        self.queue: list[tuple[float, dict[str, Any]]] = []
        self.cache: dict[str, dict[str, Any]] = {}
        self.published: list[tuple[str, str, tuple[str, ...]]] = []
        self.returners = {"fake.get_jid": lambda jid: self.cache.get(jid, {})}
        self.refuse = False

    @contextmanager
    def _client(self) -> Iterator[Any]:
        yield self

    _events = _client

    def gather_minions(self, nodes, kind):
        assert kind == "list"
        return [node for node in nodes if node in self.minions]

    def run_job(self, nodes, fun, arg, tgt_type, kwarg, listen):
        assert (tgt_type, listen) == ("list", False)
        if self.refuse:
            return {}
        jid = f"j{len(self.published)}"
        self.published.append((jid, fun, tuple(nodes)))
        for node in nodes:
            minion = self.minions[node]
            if self.time < minion.hears:
                continue
            if fun == "saltutil.find_job":
                busy = minion.running and any(known == arg[0] for _, known in minion.got)
                self._later(1.0, jid, node, {"jid": arg[0]} if busy else {}, 0)
                continue
            minion.got.append((self.time, jid))
            if minion.after is not None and minion.cached:
                self.cache[jid] = {node: {"return": "cached", "retcode": minion.retcode}}
            elif minion.after is not None:
                self._later(minion.after, jid, node, fun, minion.retcode)
        return {"jid": jid, "minions": list(nodes)}

    def _later(self, seconds, jid, node, data, retcode):
        event = {"jid": jid, "id": node, "return": data, "retcode": retcode, "success": not retcode}
        self.queue.append((self.time + seconds, event))

    def get_event(self, wait, tag, full, auto_reconnect):
        assert (tag, full, auto_reconnect) == ("salt/job/", True, True)
        due = [item for item in self.queue if item[0] <= self.time]
        if not due:
            self.time += wait
            return None
        first = min(due, key=lambda item: item[0])
        self.queue.remove(first)
        return {"tag": f"salt/job/{first[1]['jid']}/ret/{first[1]['id']}", "data": first[1]}

    def asked(self) -> list[str]:
        return [fun for _, fun, _ in self.published]


def one(master: Master, **options):
    (returns,) = master.call_all([Call((A,), "state.apply", **options)])
    return returns[A]


def test_an_answer_in_time_needs_no_question():
    master = Master(a=Minion(5), b=Minion(8))
    (returns,) = master.call_all([Call((A, B), "test.ping", timeout=15)])
    assert [(r.node, r.ok, r.data) for r in returns.values()] == [
        (A, True, "test.ping"),
        (B, True, "test.ping"),
    ]
    assert master.asked() == ["test.ping"]


def test_a_long_job_is_asked_after_and_waited_for():
    master = Master(a=Minion(400))
    assert one(master, timeout=15).ok
    assert master.time == pytest.approx(400, abs=2)
    assert master.asked().count("saltutil.find_job") > 10


def test_a_dead_minion_is_silent_after_the_last_question():
    master = Master(a=Minion(5), b=Minion(hears=1e9))
    (returns,) = master.call_all([Call((A, B), "state.apply", timeout=15)])
    assert returns[A].ok
    assert returns[B].silent
    assert returns[B].sentence.startswith("b.x: did not answer state.apply within ")
    assert master.time == pytest.approx(15 + PROBES * PROBE_WAIT, abs=5)
    # only the silent one is asked
    assert {nodes for _, fun, nodes in master.published if fun == "saltutil.find_job"} == {(B,)}


def test_without_chase_silence_is_final():
    master = Master(a=Minion(hears=1e9))
    assert one(master, timeout=30, chase=False).silent
    assert master.time == pytest.approx(30, abs=2)
    assert master.asked() == ["state.apply"]


def test_a_limit_holds_though_the_minion_works():
    master = Master(a=Minion(None))
    answer = one(master, timeout=15, limit=100)
    assert answer.sentence == "a.x: still works on state.apply after 100 s."
    assert master.time == pytest.approx(100, abs=2)


def test_a_return_that_no_event_told_of_is_taken_from_the_cache():
    master = Master(a=Minion(3, cached=True, running=False, retcode=2))
    answer = one(master, timeout=15)
    assert (answer.data, answer.retcode, answer.ok, answer.silent) == ("cached", 2, False, False)


def test_a_job_that_ended_without_a_return_is_not_waited_for():
    master = Master(a=Minion(None, running=False))
    answer = one(master, timeout=15)
    assert answer.silent
    assert answer.sentence == "a.x: is there, but neither works on state.apply nor returned it."
    assert master.asked() == ["state.apply", *["saltutil.find_job"] * ENDINGS]
    assert master.time < 90


def test_a_late_return_is_taken_though_the_minion_said_it_had_ended():
    master = Master(a=Minion(24, running=False))
    assert one(master, timeout=15).ok


def test_what_a_restarting_minion_missed_is_sent_once_more():
    master = Master(a=Minion(4, hears=20))
    answer = one(master, timeout=15, again=True)
    assert answer.ok
    assert master.asked().count("state.apply") == 2
    # it was heard once
    assert len(master.minions[A].got) == 1


def test_what_may_not_run_twice_is_not_sent_again():
    master = Master(a=Minion(4, hears=20))
    assert one(master, timeout=15).silent
    assert master.asked().count("state.apply") == 1


def test_it_is_sent_again_once_only():
    master = Master(a=Minion(None, running=False))
    assert one(master, timeout=15, again=True).silent
    assert master.asked().count("state.apply") == 2


def test_only_the_node_that_missed_it_gets_it_again():
    master = Master(a=Minion(4, hears=20), b=Minion(4))
    (returns,) = master.call_all([Call((A, B), "state.apply", timeout=15, again=True)])
    assert returns[A].ok
    assert returns[B].ok
    assert [nodes for _, fun, nodes in master.published if fun == "state.apply"] == [(A, B), (A,)]


def test_calls_keep_their_order_and_their_answers():
    master = Master(a=Minion(9), b=Minion(1))
    first, second = master.call_all([Call((A,), "x.one"), Call((B,), "x.two")])
    assert (first[A].data, second[B].data) == ("x.one", "x.two")
    assert master.time < 15


def test_a_node_named_twice_is_asked_once():
    master = Master(a=Minion(1))
    (returns,) = master.call_all([Call((A, A), "x.y")])
    assert list(returns) == [A]
    assert master.published == [("j0", "x.y", (A,))]


def test_a_master_that_refuses_is_an_error():
    master = Master(a=Minion(1))
    master.refuse = True
    with pytest.raises(BusError, match=r"x\.y was refused"):
        master.call([A], "x.y")


def test_a_return_without_success_never_counts_as_good():
    assert salt_bus._retcode({"retcode": 0, "success": False}) == 1
    assert salt_bus._retcode({"success": True}) == 0
    assert salt_bus._retcode({"retcode": 2, "success": False}) == 2
