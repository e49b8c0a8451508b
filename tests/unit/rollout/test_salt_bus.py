"""How long the bus waits for whom: replayed against a master that only counts seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import salt.exceptions

from saltern.adapters import salt_bus
from saltern.adapters.salt_bus import (
    AWAY,
    ENDINGS,
    FRESH,
    GRACE,
    PROBE_WAIT,
    PROBES,
    SAMPLE,
    SaltBus,
)
from saltern.errors import BusError
from saltern.rollout.ports import Call, Job

A, B = "a.x", "b.x"
#: a job id, and its time in seconds since the epoch
JID, EPOCH = "20261122000000000000", 1795305600.0


class Minion:
    """One scripted minion.

    :param after: seconds from a publish to its return; None = never
    :param hears: from which second of the clock on it hears publishes and questions
    :param running: whether it says that it works on the job while it has not returned
    :param cached: its return reaches the job cache, but no event tells of it
    :param cut: from when to when it hears nothing, and what it returns waits
    """

    def __init__(
        self, after=None, *, hears=0.0, running=True, cached=False, retcode=0, cut=(0.0, 0.0)
    ):
        self.after, self.hears, self.running, self.cut = after, hears, running, cut
        self.cached, self.retcode = cached, retcode
        self.got: list[tuple[float, str]] = []


class Master(SaltBus):
    """The bus over scripted minions and a clock that every look at the events moves."""

    def __init__(self, **minions: Minion) -> None:
        self.time = 0.0
        super().__init__(
            {"master_job_cache": "fake", "keep_jobs_seconds": 86400},
            clock=lambda: self.time,
            wall=lambda: EPOCH + self.time,
            sleep=self.rest,
        )
        self.minions = {f"{name}.x": minion for name, minion in minions.items()}
        self.queue: list[tuple[float, dict[str, Any]]] = []
        self.cache: dict[str, dict[str, Any]] = {}
        self.published: list[tuple[str, str, tuple[str, ...]]] = []
        self.loads: set[str] = set()
        self.returners = {
            "fake.get_jid": lambda jid: self.cache.get(jid, {}),
            "fake.get_load": lambda jid: {"jid": jid} if jid in self.loads else {},
            "fake.prep_jid": lambda: JID,
        }
        self.refuse = False
        #: executors of each publish
        self.around: list[tuple[str, ...]] = []
        #: until which second of the clock nobody can publish; and whether a publish goes out then
        self.away, self.deaf = 0.0, True

    @contextmanager
    def _client(self) -> Iterator[Any]:
        yield self

    @contextmanager
    def _events(self) -> Iterator[Any]:
        yield self

    def rest(self, seconds: float) -> None:
        self.time += seconds

    def forget(self) -> None:
        """What the death of a collector leaves: the master's cache, the minions, no events."""
        self._published, self._listening = {}, None
        for when, event in self.queue:
            if when <= self.time:
                answer = {"return": event["return"], "retcode": event["retcode"]}
                self.cache.setdefault(event["jid"], {})[event["id"]] = answer
        self.queue = [item for item in self.queue if item[0] > self.time]

    def gather_minions(self, nodes, kind):
        assert kind == "list"
        return [node for node in nodes if node in self.minions]

    def run_job(self, nodes, fun, arg, tgt_type, kwarg, listen, jid="", module_executors=()):
        assert (tgt_type, listen) == ("list", False)
        if self.refuse:
            return {}
        away = self.time < self.away
        if away and self.deaf:
            raise salt.exceptions.SaltClientError("The salt master could not be contacted.")
        jid = jid or f"j{len(self.published)}"
        self.loads.add(jid)
        self.published.append((jid, fun, tuple(nodes)))
        self.around.append(tuple(module_executors))
        for node in nodes:
            minion = self.minions[node]
            if self.time < minion.hears or minion.cut[0] <= self.time < minion.cut[1]:
                continue
            if fun == "saltutil.find_job":
                busy = minion.running and any(known == arg[0] for _, known in minion.got)
                self._later(1.0, jid, node, {"jid": arg[0]} if busy else {}, 0)
                continue
            if any(known == jid for _, known in minion.got):
                continue  # a minion starts an id once
            minion.got.append((self.time, jid))
            if minion.after is not None and minion.cached:
                self.cache[jid] = {node: {"return": "cached", "retcode": minion.retcode}}
            elif minion.after is not None:
                self._later(minion.after, jid, node, fun, minion.retcode)
        if away:
            raise salt.exceptions.SaltReqTimeoutError("Salt request timed out.")
        return {"jid": jid, "minions": list(nodes)}

    def _later(self, seconds, jid, node, data, retcode):
        event = {"jid": jid, "id": node, "return": data, "retcode": retcode, "success": not retcode}
        when = self.time + seconds
        begin, end = self.minions[node].cut
        self.queue.append((end if begin <= when < end else when, event))

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
    # since the other one answered
    assert master.time == pytest.approx(5 + 15 + PROBES * PROBE_WAIT, abs=5)
    # only the silent one is asked
    assert {nodes for _, fun, nodes in master.published if fun == "saltutil.find_job"} == {(B,)}


@pytest.mark.parametrize("begin", range(1, 34, 4))
def test_a_network_that_is_cut_for_a_minute_is_waited_for(begin):
    """Whenever between two questions that is, and though TCP holds back what comes after it."""
    master = Master(a=Minion(begin + 10, cut=(begin, begin + 60 + 45)))
    assert one(master, timeout=15).ok
    assert master.time == pytest.approx(begin + 105, abs=2)


def test_nobody_is_asked_while_answers_come_in():
    master = Master(**{f"n{number}": Minion(10.0 * number) for number in range(1, 10)})
    nodes = tuple(master.minions)
    (returns,) = master.call_all([Call(nodes, "state.apply", timeout=15)])
    assert all(answer.ok for answer in returns.values())
    assert master.asked() == ["state.apply"]


def questions(master: Master) -> list[tuple[str, ...]]:
    return [nodes for _, fun, nodes in master.published if fun == "saltutil.find_job"]


def test_of_a_busy_fleet_some_are_asked_for_all_in_turns():
    master = Master(**{f"n{number:02}": Minion(100.0) for number in range(40)})
    nodes = tuple(master.minions)
    (returns,) = master.call_all([Call(nodes, "state.apply", timeout=15)])
    assert all(answer.ok for answer in returns.values())
    asked = questions(master)
    assert {len(one) for one in asked} == {SAMPLE}
    # nobody twice while others were not asked
    assert len({node for one in asked for node in one}) == sum(map(len, asked))
    assert master.time == pytest.approx(100, abs=2)


def test_all_are_asked_when_those_that_were_asked_for_them_keep_silent():
    work = 30 + (PROBES + 1) * PROBE_WAIT
    dead = {f"a{number}": Minion(hears=1e9) for number in range(SAMPLE)}
    master = Master(**dead, **{f"b{number}": Minion(work) for number in range(20)})
    nodes = tuple(master.minions)
    (returns,) = master.call_all([Call(nodes, "state.apply", timeout=15)])
    assert {node for node, answer in returns.items() if answer.silent} == {f"{n}.x" for n in dead}
    first, second = questions(master)[:2]
    assert set(first) == {f"{name}.x" for name in dead}
    assert set(second) == set(nodes)
    # the dead are given up while the others work
    assert master.time == pytest.approx(work, abs=2)


def test_a_dead_minion_of_a_big_fleet_is_found_when_the_others_are_done():
    master = Master(z=Minion(hears=1e9), **{f"b{number}": Minion(30.0) for number in range(20)})
    nodes = tuple(master.minions)
    (returns,) = master.call_all([Call(nodes, "state.apply", timeout=15)])
    assert [node for node, answer in returns.items() if not answer.ok] == ["z.x"]
    assert returns["z.x"].silent
    assert master.time < 30 + 15 + (PROBES + 1) * PROBE_WAIT


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


# -- jobs that have their id before they are published --------------------------------------


def job_of(*nodes: str, **options) -> Job:
    return Job(JID, Call(nodes or (A,), "state.apply", **{"timeout": 15, **options}))


def collected(master: Master, job: Job, tick=None):
    (returns,) = master.collect([job], tick)
    return returns


def test_a_job_is_published_and_returned_under_its_id():
    master = Master(a=Minion(5), b=Minion(8, retcode=1))
    job = job_of(A, B, "ghost.x")
    assert not master.known(JID)
    master.publish(job)
    assert master.known(JID)
    returns = collected(master, job)
    assert list(returns) == [A, B, "ghost.x"]
    assert (returns[A].ok, returns[A].jid, returns[B].ok) == (True, JID, False)
    assert returns["ghost.x"].sentence == "ghost.x: has no accepted key on this master."
    assert master.published == [(JID, "state.apply", (A, B))]


def test_a_fresh_pillar_is_taken_within_the_job():
    master = Master(a=Minion(5))
    job = job_of(fresh=True)
    master.publish(job)
    assert collected(master, job)[A].ok
    master.call_all([job.call, Call((A,), "test.ping")])
    assert master.around == [FRESH, FRESH, ()]
    # the last one runs the function
    assert FRESH[-1] == "direct_call"


def test_a_job_for_nobody_is_never_published():
    master = Master(a=Minion(5))
    job = job_of("ghost.x")
    master.publish(job)
    assert not master.known(JID)
    assert collected(master, job)["ghost.x"].silent
    assert master.published == []


def test_a_job_that_returned_meanwhile_needs_no_question():
    master = Master(a=Minion(5), b=Minion(7))
    master.publish(job_of(A, B))
    master.time = 100.0
    master.forget()
    returns = collected(master, job_of(A, B))
    assert all(answer.ok and answer.jid == JID for answer in returns.values())
    assert master.asked() == ["state.apply"]
    assert master.time == 100


def test_a_job_that_still_runs_is_asked_after_at_once():
    master = Master(a=Minion(400), b=Minion(20))
    master.publish(job_of(A, B))
    master.time = 100.0
    master.forget()
    returns = collected(master, job_of(A, B))
    assert returns[A].ok
    assert returns[B].ok
    asked = [(nodes, fun) for _, fun, nodes in master.published][1]
    assert asked == ((A,), "saltutil.find_job")
    assert master.time == pytest.approx(400, abs=2)


def test_who_lost_a_job_is_silent_soon_after_it_is_taken_up():
    master = Master(a=Minion(None, running=False))
    master.publish(job_of())
    master.time = 100.0
    master.forget()
    answer = collected(master, job_of())[A]
    assert answer.silent
    assert answer.sentence == "a.x: is there, but neither works on state.apply nor returned it."
    assert master.asked().count("state.apply") == 1
    assert master.time < 100 + ENDINGS * 10


def test_a_limit_that_passed_meanwhile_leaves_time_for_an_answer():
    master = Master(a=Minion(2000), b=Minion(None))
    master.publish(job_of(A, B, limit=100))
    master.time = 1960.0
    master.forget()
    returns = collected(master, job_of(A, B, limit=100))
    assert returns[A].ok
    assert returns[B].sentence == f"b.x: still works on state.apply after {1960 + GRACE:.0f} s."


def test_a_return_that_was_cut_short_in_the_cache_is_none():
    master = Master(a=Minion(None, running=False))
    master.publish(job_of())
    # what a job cache makes of an empty file
    master.cache[JID] = {A: {"return": None}}
    master.forget()
    assert collected(master, job_of())[A].silent


def test_a_job_older_than_the_cache_may_have_been_published():
    master = Master(a=Minion(5))
    master.time = 86300.0
    assert not master.known(JID)
    master.time = 86500.0
    assert master.known(JID)
    master.opts["keep_jobs_seconds"] = 0  # nothing is ever forgotten
    assert not master.known(JID)


def test_what_was_lost_is_sent_once_more_under_the_same_id():
    master = Master(a=Minion(4, hears=20), b=Minion(4))
    job = job_of(A, B, again=True)
    master.publish(job)
    returns = collected(master, job)
    assert (returns[A].ok, returns[A].jid, returns[B].ok) == (True, JID, True)
    sent = [(jid, nodes) for jid, fun, nodes in master.published if fun == "state.apply"]
    assert sent == [(JID, (A, B)), (JID, (A,))]


def test_what_was_lost_twice_is_given_up():
    master = Master(a=Minion(None, running=False))
    job = job_of(again=True)
    master.publish(job)
    assert collected(master, job)[A].silent
    assert master.asked().count("state.apply") == 2


def test_a_tick_comes_every_second_and_may_end_the_waiting():
    master = Master(a=Minion(60))
    job = job_of(timeout=100)
    master.publish(job)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(master.time)
        if len(ticks) == 10:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        collected(master, job, tick)
    pauses = {after - before for before, after in pairwise(ticks)}
    assert pauses == {1.0}
    # and whoever asks again gets the answer
    assert collected(master, job)[A].ok


def test_a_master_that_restarts_is_waited_for():
    master = Master(a=Minion(5))
    master.away = 30.0
    job = job_of()
    master.publish(job)
    assert 30 <= master.time < 35
    assert collected(master, job)[A].ok
    assert master.asked() == ["state.apply"]


def test_a_master_that_stays_away_is_an_error():
    master = Master(a=Minion(5))
    master.away = 1e9
    with pytest.raises(BusError, match="could not be contacted"):
        master.publish(job_of())
    assert master.time == pytest.approx(AWAY, abs=5)
    assert not master.known(JID)


def test_a_job_that_went_out_without_a_word_is_not_published_again():
    master = Master(a=Minion(5))
    master.away, master.deaf = 1e9, False
    job = job_of()
    master.publish(job)
    assert (master.time, master.asked()) == (0, ["state.apply"])
    assert collected(master, job)[A].ok


def test_a_master_that_refuses_is_not_asked_twice():
    master = Master(a=Minion(5))
    master.refuse = True
    with pytest.raises(BusError, match="was refused"):
        master.publish(job_of())
    assert master.time == 0


def test_whoever_waits_outlasts_a_restart_of_the_master():
    master = Master(a=Minion(50))
    job = job_of()
    master.publish(job)
    master.away = 60.0
    assert collected(master, job)[A].ok
    master = Master(a=Minion(None))
    master.publish(job)
    master.away = 1e9
    with pytest.raises(BusError):
        collected(master, job)
    assert master.time == pytest.approx(15 + AWAY, abs=10)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"job_cache": False}, "keeps no returns of its own"),
        ({"ext_job_cache": "mysql"}, "keeps no returns of its own"),
        ({"keep_jobs_seconds": 600}, "forgets jobs after 600 s, but state.apply may take 3600 s"),
    ],
)
def test_a_master_that_forgets_jobs_gets_none(option, sentence):
    master = Master(a=Minion(5))
    master.opts.update(option)
    with pytest.raises(BusError, match=sentence):
        master.publish(job_of())
    assert master.published == []
    # what nobody takes up again it may have
    assert master.call([A], "x.y")[A].ok


def test_an_id_has_no_more_digits_than_a_queue_of_a_minion_can_take():
    master = Master(a=Minion(5))
    master.returners["fake.prep_jid"] = lambda: f"{JID}_4711"
    assert master.new_jid() == JID


def test_presence_is_asked_for_once():
    master = Master(a=Minion(5), b=Minion(hears=1e9))
    returns = master.present([A, B], timeout=10)
    assert [answer.ok for answer in returns.values()] == [True, False]
    assert master.asked() == ["test.ping"]
    assert master.time == pytest.approx(10, abs=2)
