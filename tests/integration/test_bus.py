"""The bus against real daemons: an answer for every node that was asked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from saltern.adapters import salt_bus
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout.ports import Call, Job
from tests.support import TREE

from .conftest import NODES


@pytest.fixture
def bus(master: Any, minions: Any) -> SaltBus:
    del minions
    return SaltBus(master.config)


def test_every_node_answers(bus: SaltBus):
    returns = bus.call(NODES, "test.ping")
    assert list(returns) == list(NODES)
    assert all(r.ok and r.data is True and r.jid and not r.silent for r in returns.values())


def test_arguments_arrive(bus: SaltBus):
    returns = bus.call(NODES[:1], "test.arg", ["a", {"b": 1}], {"c": [2], "d": "e"})
    assert returns[NODES[0]].data["args"] == ["a", {"b": 1}]
    assert returns[NODES[0]].data["kwargs"]["c"] == [2]


def test_a_node_without_key_is_named_at_once(bus: SaltBus):
    begin = time.monotonic()
    returns = bus.call([NODES[0], "ghost.trial.test"], "test.ping")
    assert returns[NODES[0]].ok
    ghost = returns["ghost.trial.test"]
    assert ghost.silent
    assert ghost.sentence == "ghost.trial.test: has no accepted key on this master."
    assert time.monotonic() - begin < 15


def test_only_nodes_without_key(bus: SaltBus):
    assert bus.call(["ghost.trial.test"], "test.ping")["ghost.trial.test"].silent


def test_nobody_asked_nothing_published(bus: SaltBus):
    assert bus.call([], "test.ping") == {}


@pytest.mark.parametrize(
    ("fun", "arg", "sentence"),
    [
        ("no.such", [], "app01.trial.test: 'no.such' is not available."),
        ("test.exception", ["it broke"], "it broke"),
        ("test.retcode", [3], "app01.trial.test: returned code 3."),
    ],
)
def test_a_function_that_fails(bus: SaltBus, fun, arg, sentence):
    answer = bus.call(NODES[:1], fun, arg)[NODES[0]]
    assert not answer.ok
    assert not answer.silent
    assert sentence in answer.sentence


def test_a_node_that_still_works_is_waited_for(bus: SaltBus):
    returns = bus.call(NODES[:1], "test.sleep", [12], timeout=2)
    assert returns[NODES[0]].ok, returns


def test_a_node_that_works_too_long_fails(bus: SaltBus):
    begin = time.monotonic()
    (returns,) = bus.call_all([Call(NODES[:1], "test.sleep", (20,), timeout=60, limit=3)])
    assert returns[NODES[0]].sentence == "app01.trial.test: still works on test.sleep after 3 s."
    assert time.monotonic() - begin < 15


def test_calls_are_published_together(bus: SaltBus):
    begin = time.monotonic()
    calls = [Call((node,), "test.sleep", (6,)) for node in NODES]
    first, second = bus.call_all(calls)
    assert first[NODES[0]].ok
    assert second[NODES[1]].ok
    # one after another would take 12 s and more
    assert time.monotonic() - begin < 11


def test_a_failed_state_is_named(bus: SaltBus):
    answer = bus.call(
        NODES[:1], "state.single", ["test.fail_without_changes"], {"name": "x", "comment": "why"}
    )[NODES[0]]
    assert answer.sentence == ("app01.trial.test: state x (test.fail_without_changes) failed: why.")


class Work:
    """A command that counts its runs in a file and ends when it is let go."""

    def __init__(self, folder: Path) -> None:
        self.ran, self.go = folder / "ran", folder / "go"

    def call(self, nodes: tuple[str, ...] = NODES[:1], **options: Any) -> Call:
        command = f"echo ran >> {self.ran}; until [ -e {self.go} ]; do sleep 0.1; done; echo done"
        return Call(nodes, "cmd.run", (f"timeout 90 sh -c '{command}'",), **options)

    @property
    def runs(self) -> int:
        return len(self.ran.read_text().splitlines()) if self.ran.exists() else 0

    def begun(self) -> None:
        """Return when it has begun to run."""
        patiently(lambda: self.runs)

    def end(self) -> None:
        self.go.touch()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    found = Work(tmp_path)
    yield found
    found.end()


def patiently(happened: Callable[[], Any]) -> None:
    """Return when something happened."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.05)


#: another process that publishes a job and collects it
COLLECTOR = """
import json, sys
import salt.config
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout.ports import Call, Job
config, jid, nodes, command = json.loads(sys.stdin.read())
bus = SaltBus(salt.config.master_config(config))
job = Job(jid, Call(tuple(nodes), "cmd.run", (command,)))
bus.publish(job)
print("published", flush=True)
bus.collect([job])
"""


@contextmanager
def collector(master: Any, job: Job) -> Iterator[subprocess.Popen[str]]:
    """Publish and collect a job in a process of its own."""
    config = master.config["conf_file"]
    with subprocess.Popen(
        [sys.executable, "-c", COLLECTOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TREE,
    ) as process:
        try:
            process.stdin.write(json.dumps([config, job.jid, job.call.nodes, job.call.arg[0]]))
            process.stdin.close()
            assert process.stdout.readline() == "published\n"
            yield process
        finally:
            process.kill()


def test_a_job_keeps_the_id_that_it_had_before(bus: SaltBus):
    job = Job(bus.new_jid(), Call(NODES, "test.arg", ("a",), {"b": 1}))
    assert not bus.known(job.jid)
    bus.publish(job)
    assert bus.known(job.jid)
    (returns,) = bus.collect([job])
    assert list(returns) == list(NODES)
    assert {answer.jid for answer in returns.values()} == {job.jid}
    assert returns[NODES[0]].data["args"] == ["a"]


def test_ids_are_never_given_twice(bus: SaltBus, master: Any):
    def some(_: int) -> list[str]:
        mine = SaltBus(master.config)
        return [mine.new_jid() for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        found = [jid for jids in pool.map(some, range(4)) for jid in jids]
    assert len(set(found)) == 800
    # with another form of id, a minion that queues a job gives it another one
    assert {len(jid) for jid in found} == {20}
    assert all(jid.isdigit() for jid in found)


def test_an_id_that_is_published_twice_runs_once(bus: SaltBus, work: Work):
    job = Job(bus.new_jid(), work.call())
    bus.publish(job)
    work.begun()
    bus.publish(job)
    # a job that the minion takes after both: what it would do with the second it has done
    assert bus.call(NODES[:1], "test.ping")[NODES[0]].ok
    work.end()
    (returns,) = bus.collect([job])
    assert (returns[NODES[0]].ok, returns[NODES[0]].data) == (True, "done")
    assert work.runs == 1


def test_a_job_of_a_dead_collector_is_taken_up_while_it_runs(bus: SaltBus, master: Any, work: Work):
    job = Job(bus.new_jid(), work.call())
    with collector(master, job) as process:
        work.begun()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert bus.known(job.jid)
    ticks = []

    def tick() -> None:
        ticks.append(time.monotonic())
        work.end()

    (returns,) = bus.collect([job], tick)
    assert (returns[NODES[0]].ok, returns[NODES[0]].data) == (True, "done")
    assert ticks
    assert work.runs == 1


def test_a_job_that_ended_after_its_collector_died_is_taken_from_the_cache(
    bus: SaltBus, master: Any, work: Work
):
    job = Job(bus.new_jid(), work.call())
    with collector(master, job) as process:
        work.begun()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    work.end()
    patiently(lambda: bus._cached(job.jid))
    (returns,) = bus.collect([job])
    assert (returns[NODES[0]].ok, returns[NODES[0]].data) == (True, "done")
    assert work.runs == 1


def test_a_job_that_was_never_published_is_not_known_and_its_nodes_are_silent(
    bus: SaltBus, work: Work, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(salt_bus, "SETTLE", 0.5)
    job = Job(bus.new_jid(), work.call((NODES[0], "ghost.trial.test")))
    assert not bus.known(job.jid)
    (returns,) = bus.collect([job])
    assert all(answer.silent for answer in returns.values())
    assert returns[NODES[0]].sentence == (
        f"{NODES[0]}: is there, but neither works on cmd.run nor returned it."
    )
    assert returns["ghost.trial.test"].sentence.endswith("has no accepted key on this master.")
    # and it can still be published under that id
    work.end()
    bus.publish(job)
    assert bus.collect([job])[0][NODES[0]].ok
    assert work.runs == 1


def test_a_stopped_minion_is_silent_and_the_others_are_not(
    bus: SaltBus, minions: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(salt_bus, "PROBE_WAIT", 3.0)
    monkeypatch.setattr(salt_bus, "PROBES", 2)
    gone = minions[NODES[1]]
    gone.terminate()
    try:
        assert [answer.ok for answer in bus.present(NODES, timeout=5).values()] == [True, False]
        job = Job(bus.new_jid(), Call(NODES, "test.ping", timeout=2))
        bus.publish(job)
        (returns,) = bus.collect([job])
        assert returns[NODES[0]].ok
        assert returns[NODES[1]].silent
        assert returns[NODES[1]].sentence.startswith(f"{NODES[1]}: did not answer test.ping within")
    finally:
        gone.start()
    patiently(lambda: bus.present(NODES, timeout=5)[NODES[1]].ok)


@pytest.mark.parametrize("again", [False, True])
def test_a_minion_that_died_with_its_job_lost_it(
    bus: SaltBus, minions: Any, work: Work, monkeypatch: pytest.MonkeyPatch, again: bool
):
    monkeypatch.setattr(salt_bus, "SETTLE", 1.0)
    job = Job(bus.new_jid(), work.call(timeout=2, again=again))
    bus.publish(job)
    work.begun()
    minions[NODES[0]].terminate()
    minions[NODES[0]].start()
    work.end()
    (returns,) = bus.collect([job])
    if again:
        assert (returns[NODES[0]].ok, returns[NODES[0]].jid) == (True, job.jid)
        assert work.runs == 2
    else:
        assert returns[NODES[0]].silent
        assert work.runs == 1


def test_a_job_outlives_its_master(bus: SaltBus, master: Any, work: Work):
    job = Job(bus.new_jid(), work.call(timeout=5))
    bus.publish(job)
    work.begun()
    steps = iter([master.terminate, master.start, work.end])

    def tick() -> None:
        next(steps, lambda: None)()

    (returns,) = bus.collect([job], tick)
    assert (returns[NODES[0]].ok, returns[NODES[0]].data) == (True, "done"), returns
    assert work.runs == 1
    # a client that knew the master's last key is made anew
    later = Job(bus.new_jid(), Call(NODES[:1], "test.ping", timeout=5))
    bus.publish(later)
    assert bus.collect([later])[0][NODES[0]].ok
