"""Probes on a real minion: they go on while it is restarted, and are read beside other jobs."""

from __future__ import annotations

import http.server
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from saltern.adapters.salt_bus import SaltBus
from saltern.plan.types import Probe
from saltern.rollout.ports import Call, Job
from saltern.rollout.probes import ProbeWatch
from tests.support.web import served

from .conftest import NODES

NODE = NODES[0]


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers as the server says."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Be quiet."""


class Kept:
    """Samples in memory."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []

    def sample(self, rollout: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows += rows

    def samples(self, rollout: str) -> Sequence[Mapping[str, Any]]:
        return list(self.rows)


class Clock:
    """The wall's."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture
def service() -> Iterator[Any]:
    with served(Answering, status=200) as server:
        yield server


@pytest.fixture
def bus(master: Any, minions: Any) -> SaltBus:
    del minions
    bus = SaltBus(master.config)
    for node in NODES:
        assert bus.call([node], "saltutil.sync_modules")[node].ok
    return bus


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def watch(bus: SaltBus, kept: Kept, service: Any) -> Iterator[ProbeWatch]:
    port = service.server_address[1]
    probe = Probe("web", NODE, "http", f"http://127.0.0.1:{port}/", {"title": "The web"})
    found = ProbeWatch(bus, kept, Clock(), f"trial-{port}", (probe,))
    yield found
    found.stop()


def test_a_probe_is_read_while_other_jobs_are_waited_for(
    bus: SaltBus, watch: ProbeWatch, kept: Kept, service: Any
) -> None:
    watch.start()
    assert watch.troubles == {}
    ticks = []

    def tick() -> None:
        ticks.append(time.time())
        watch.poll(force=True)

    job = Job(bus.new_jid(), Call(NODES, "test.sleep", (6,)))
    bus.publish(job)
    (returns,) = bus.collect([job], tick)
    assert all(answer.ok for answer in returns.values())
    assert ticks
    assert kept.rows, "read from within the waiting"
    assert watch.broken({"web": 0.0}) == []
    service.status = 503
    bus.call([NODE], "test.sleep", (3,))
    watch.stop()
    (told,) = watch.broken({"web": 0.0})
    assert told.startswith("The web: ")
    (summary,) = watch.summary()
    assert 0 < summary.failed < summary.requests
    assert summary.gap_ms > 1000
    seconds = [row["second"] for row in kept.rows]
    assert seconds == sorted(set(seconds)), "no second twice"


def test_a_probe_outlives_its_minion(watch: ProbeWatch, kept: Kept, minions: Any) -> None:
    watch.start()
    minions[NODE].terminate()
    stopped = int(time.time())
    watch.poll(force=True)  # nobody answers: no end of the rollout
    minions[NODE].start()
    watch.poll(force=True)
    assert kept.rows
    seconds = {row["second"] for row in kept.rows}
    assert max(seconds) > stopped
    assert seconds == set(range(min(seconds), max(seconds) + 1)), "measured all the while"
    assert watch.summary()[0].failed == 0
