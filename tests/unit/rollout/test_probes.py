"""Probes of a rollout: started where the plan says, read while it runs, judged fail closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from saltern.errors import BusError
from saltern.plan.types import Probe
from saltern.rollout import probes
from saltern.rollout.ports import Call, Job, Return
from saltern.rollout.probes import AGAIN, EVERY, SILENCE, ProbeWatch, missed, summaries
from tests.unit.rollout.fakes import FakeClock

KEYSTONE = Probe("keystone", "cfg01", "http", "https://api:5000/v3", {"title": "Keystone API"})
TOKEN = Probe("token", "cfg01", "token", "https://api:5000/v3", {"cloud": "admin"})
PING = Probe("ping", "inf01", "icmp", "192.0.2.1")


def row(
    second: int, name: str = "keystone", requests: int = 4, failed: int = 0, **more: int
) -> Any:
    numbers = {"max_ms": 20, "gap_ms": 0, **more}
    return {"probe": name, "second": second, "requests": requests, "failed": failed, **numbers}


class Nodes:
    """A job bus whose nodes measure: what each has got, and what it was asked."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}
        self.running: set[str] = set()
        self.silent: set[str] = set()
        self.down = False
        self.asked: list[Call] = []
        self.jids = 0

    def new_jid(self) -> str:
        self.jids += 1
        return str(self.jids)

    def publish(self, job: Job) -> None:
        if self.down:
            raise BusError("probe.read could not be published")

    def known(self, jid: str) -> bool:
        return True

    def present(self, nodes: Sequence[str], timeout: float = 15) -> dict[str, Return]:
        raise NotImplementedError

    def collect(self, jobs: Sequence[Job], tick: Any = None) -> list[dict[str, Return]]:
        return [{node: self.answer(node, job.call) for node in job.call.nodes} for job in jobs]

    def answer(self, node: str, call: Call) -> Return:
        self.asked.append(call)
        if node in self.silent:
            return Return(node, False, silent=True, sentence=f"{node}: did not answer.")
        verb = call.fun.removeprefix("probe.")
        if verb == "start":
            self.running.add(node)
            return Return(node, True, {"running": True, "started": True})
        if verb == "stop":
            self.running.discard(node)
        since = call.arg[1]
        rows = [
            r for r in self.rows.get(node, []) if not isinstance(r, dict) or r["second"] > since
        ]
        return Return(node, True, {"running": node in self.running, "rows": rows})

    def functions(self) -> list[tuple[str, str]]:
        return [(call.fun.removeprefix("probe."), call.nodes[0]) for call in self.asked]


class Kept:
    """Samples in memory; a second that is there stays as it is."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], Mapping[str, Any]] = {}

    def sample(self, rollout: str, rows: Sequence[Mapping[str, Any]]) -> None:
        for given in rows:
            self.found.setdefault((given["probe"], given["second"]), given)

    def samples(self, rollout: str) -> Sequence[Mapping[str, Any]]:
        return [self.found[key] for key in sorted(self.found, key=lambda key: key[1])]


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


@pytest.fixture
def watch(nodes: Nodes, kept: Kept, clock: FakeClock) -> ProbeWatch:
    return ProbeWatch(nodes, kept, clock, "r20261122-1", (KEYSTONE, TOKEN, PING))


def test_each_node_starts_its_own_probes(watch: ProbeWatch, nodes: Nodes) -> None:
    watch.start()
    assert nodes.functions() == [("start", "cfg01"), ("start", "inf01")]
    name, specs, ttl = nodes.asked[0].arg
    assert (name, ttl) == ("r20261122-1", probes.TTL)
    assert [spec["name"] for spec in specs] == ["keystone", "token"]
    assert specs[1] == {
        "name": "token",
        "kind": "token",
        "target": "https://api:5000/v3",
        "options": {"cloud": "admin"},
        "interval": 0.25,
        "timeout": 5.0,
    }
    assert watch.troubles == {}


def test_without_probes_nothing_is_asked(nodes: Nodes, kept: Kept, clock: FakeClock) -> None:
    watch = ProbeWatch(nodes, kept, clock, "r1", ())
    watch.start()
    watch.poll(force=True)
    watch.stop()
    assert (nodes.asked, watch.summary(), watch.broken({})) == ([], (), [])


def test_only_new_seconds_are_read_and_kept(
    watch: ProbeWatch, nodes: Nodes, kept: Kept, clock: FakeClock
) -> None:
    watch.start()
    nodes.rows["cfg01"] = [row(1000), row(1000, "token"), row(1001)]
    watch.poll()
    assert [r["second"] for r in kept.samples("")] == [1000, 1000, 1001]
    watch.poll()
    assert len(nodes.asked) == 4, "two readings are some seconds apart"
    clock.sleep(EVERY)
    nodes.rows["cfg01"].append(row(1002))
    watch.poll()
    assert nodes.asked[4].arg == ("r20261122-1", 1001)
    assert len(kept.samples("")) == len(watch.rows) == 4


def test_what_a_node_should_not_tell_is_not_kept(
    watch: ProbeWatch, nodes: Nodes, kept: Kept
) -> None:
    watch.start()
    strange = {**row(1001), "body": "secret"}
    nodes.rows["cfg01"] = [strange, row(1002, "ping"), row(1003, "other"), {"second": 1004}]
    nodes.rows["cfg01"] += [None, {**row(1005), "requests": "many"}]
    watch.poll()
    assert kept.samples("") == [row(1001)]


def test_a_watch_after_a_crash_goes_on_where_the_journal_ends(
    watch: ProbeWatch, nodes: Nodes, kept: Kept, clock: FakeClock
) -> None:
    watch.start()
    nodes.rows["cfg01"] = [row(1000), row(1001, failed=1, gap_ms=900)]
    watch.poll()
    nodes.rows["cfg01"] += [row(1002), row(1003)]
    later = ProbeWatch(nodes, kept, clock, "r20261122-1", (KEYSTONE, TOKEN, PING))
    later.start()
    later.poll()
    assert nodes.asked[-2].arg == ("r20261122-1", 1001)
    assert later.summary()[0].sentence == (
        "Keystone API: 16 requests, 1 failed, longest gap 900 ms, slowest 20 ms."
    )


def test_a_measurement_that_ended_is_started_again(watch: ProbeWatch, nodes: Nodes) -> None:
    watch.start()
    nodes.running.discard("cfg01")
    nodes.rows["cfg01"] = [row(1000)]
    watch.poll()
    assert nodes.functions()[-1] == ("start", "cfg01")
    assert nodes.running == {"cfg01", "inf01"}
    assert watch.rows == [row(1000)]


def test_stop_takes_the_last_rows(watch: ProbeWatch, nodes: Nodes) -> None:
    watch.start()
    nodes.rows["inf01"] = [row(1000, "ping")]
    watch.stop()
    assert nodes.running == set()
    assert watch.rows == [row(1000, "ping")]
    assert nodes.functions()[-2:] == [("stop", "cfg01"), ("stop", "inf01")], "and none is started"


def test_a_bus_that_fails_is_no_end_of_the_rollout(
    watch: ProbeWatch, nodes: Nodes, clock: FakeClock
) -> None:
    assert watch.start() == ()
    nodes.down = True
    assert watch.poll(force=True) == ()
    assert watch.stop() == tuple(watch.troubles.values())
    assert set(watch.troubles) == {"cfg01", "inf01"}
    nodes.down = False
    nodes.rows["cfg01"] = [row(1000)]
    watch.poll(force=True)
    assert watch.rows == [row(1000)]


def test_a_node_that_keeps_silent_is_not_asked_all_the_time(
    watch: ProbeWatch, nodes: Nodes, clock: FakeClock
) -> None:
    watch.start()
    nodes.silent = {"inf01"}
    for _ in range(4):
        watch.poll()
        clock.sleep(EVERY)
    asked = nodes.functions()[2:]
    assert (asked.count(("read", "cfg01")), asked.count(("read", "inf01"))) == (4, 1)
    assert not nodes.asked[-1].chase
    nodes.silent = set()
    clock.sleep(AGAIN)
    watch.poll()
    assert nodes.functions()[-1] == ("read", "inf01")


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "failed", "broken"),
    [(0.0, 0, False), (0.0, 1, True), (0.01, 4, False), (0.01, 5, True), (1.0, 400, False)],
)
def test_a_limit_is_a_share_of_requests(limit: float, failed: int, broken: bool) -> None:
    rows = [row(s, failed=1 if s < failed else 0) for s in range(100)]
    if failed > 100:
        rows = [row(s, failed=4) for s in range(100)]
    assert bool(missed({"keystone": limit}, (KEYSTONE,), rows)) is broken


def test_a_missed_limit_is_told_with_its_numbers(watch: ProbeWatch, nodes: Nodes) -> None:
    watch.start()
    nodes.rows["cfg01"] = [row(1000), row(1001, failed=2, gap_ms=1500)]
    sentence = "Keystone API: 2 of 8 requests failed (25.00 %, allowed 10 %), longest gap 1,500 ms."
    assert watch.poll({"keystone": 0.1, "ping": 0.0}) == (sentence,)
    assert watch.broken({"keystone": 0.1, "ping": 0.0}) == [sentence]
    assert watch.poll() == ()
    assert watch.broken({}) == watch.broken({"token": 0.0}) == []


def test_a_limit_is_about_its_own_time(watch: ProbeWatch, nodes: Nodes) -> None:
    watch.start()
    nodes.rows["cfg01"] = [row(1000, failed=4), row(1005)]
    assert watch.poll({"keystone": 0.0}, 1001.0) == ()
    assert watch.broken({"keystone": 0.0}, since=1000.7)
    assert watch.broken({"keystone": 0.0}, since=1001.0) == []


def test_a_limit_that_nobody_watches_does_not_hold(
    watch: ProbeWatch, nodes: Nodes, clock: FakeClock
) -> None:
    watch.start()
    clock.sleep(SILENCE)
    assert watch.broken({"ping": 0.0}) == []
    clock.sleep(1)
    assert watch.broken({"ping": 0.0}) == [f"ping: nothing was measured for {SILENCE:.0f} s."]
    nodes.rows["inf01"] = [row(1100, "ping")]
    watch.poll()
    assert watch.broken({"ping": 0.0}) == []


def test_a_probe_that_did_not_start_breaks_its_limit_at_once(
    watch: ProbeWatch, nodes: Nodes
) -> None:
    nodes.silent = {"inf01"}
    watch.start()
    assert watch.broken({"ping": 0.5}) == ["ping: cannot be measured: inf01: did not answer."]
    assert watch.broken({"keystone": 0.0}) == [], "the others go on"


# --- summaries --------------------------------------------------------------------------------


def test_a_summary_adds_up_and_keeps_the_worst() -> None:
    rows = [
        row(1, requests=2400, max_ms=80),
        row(2, requests=2412, failed=3, max_ms=5000, gap_ms=1250),
        row(3, "token", requests=1),
        row(3, "gone", requests=9),
    ]
    first, second, third = summaries((KEYSTONE, TOKEN, PING), rows)
    assert first.sentence == (
        "Keystone API: 4,812 requests, 3 failed, longest gap 1,250 ms, slowest 5,000 ms."
    )
    assert (first.max_ms, first.seconds) == (5000, 2)
    assert second.sentence == "token: 1 requests, 0 failed, longest gap 0 ms, slowest 20 ms."
    assert third.sentence == "ping: nothing was measured."
    assert third.to_json()["sentence"] == third.sentence
