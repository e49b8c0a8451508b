"""Engines in processes of their own are killed by SIGKILL; the journal is the one on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern.adapters.processes import me
from saltern.adapters.rollouts import Rollouts
from saltern.rollout.engine import Engine
from saltern.rollout.ports import DONE, FAILED
from tests.support.fakes import FAILS, FakeBus, FakeEvents, FakeRunners, scripted
from tests.support.killed import DiskBus, Place
from tests.unit.rollout import engine_plans as plans

KILLED = -9


def end(place: Place) -> dict[str, Any]:
    """Everything that is to be the same however often the engine was killed."""
    rollouts = Rollouts(place.journal)
    state = rollouts.load(place.rollout)
    bus = DiskBus(place.path / "fleet")
    ran = bus.world.executions()
    return {
        "state": (state.state, state.reason),
        "leases": sorted((lease.node, lease.released is not None) for lease in state.leases),
        "locks": dict(rollouts.locks()),
        "pins": {pin.node: pin.revision for pin in place.journal.pins()},
        "deployed": place.journal.deployed(),
        "steps": {
            name: (record.phase, record.sentence, dict(record.results))
            for name, record in state.records.items()
        },
        "out of service": sorted(bus.world.out),
        "roles": bus.world.roles,
        "ran": {key: times for key, times in ran.items() if key[0] != "proxy.ready"},
        "runners": sorted(set(bus.runners)),
    }


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How a run ends that nobody interrupts."""
    place = Place(tmp_path_factory.mktemp("unharmed"))
    place.begin(plans.whole())
    assert place.run() == 0
    found = end(place)
    assert found["state"] == (DONE, "")
    assert found["locks"] == {}
    assert found["deployed"] == {"demo": plans.REVISION}
    assert all(times == 1 for key, times in found["ran"].items() if key[0] == "node.restart")
    return found


def killed_once(path: Path, at: int) -> dict[str, Any] | None:
    """Kill one process at a point of its journal and let another go on; None past the end."""
    place = Place(path)
    place.begin(plans.whole())
    code = place.run(at)
    assert code in (KILLED, 0)
    if code == 0:
        return None
    assert place.run() == 0
    return end(place)


@pytest.mark.parametrize("at", range(3, 240, 26))
def test_killed_at_a_change_of_the_journal_the_next_process_ends_the_same(
    tmp_path: Path, unharmed: dict[str, Any], at: int
) -> None:
    assert killed_once(tmp_path, at) == unharmed


@pytest.mark.full
def test_killed_at_each_change_of_the_journal_the_next_process_ends_the_same(
    tmp_path: Path, unharmed: dict[str, Any]
) -> None:
    at = 0
    while True:
        path = tmp_path / str(at)
        path.mkdir()
        found = killed_once(path, at)
        if found is None:
            break
        assert found == unharmed, f"killed at point {at}"
        at += 1
    assert at > 200


@pytest.mark.parametrize("changes", [5])
def test_killed_again_and_again_the_last_process_ends_the_same(
    tmp_path: Path, unharmed: dict[str, Any], changes: int
) -> None:
    place = Place(tmp_path)
    place.begin(plans.whole())
    processes, code = 0, KILLED
    while code == KILLED and processes < 200:
        processes += 1
        # the claim is a change too, and dying after a change is dying before the next
        code = place.run(2 * (1 + changes) - processes % 2)
    assert code == 0
    assert processes > 10
    assert end(place) == unharmed


def test_what_a_gate_found_is_in_the_journal_on_the_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.begin(plans.whole())
    bus = FakeBus(script=scripted(("health.check", plans.CONTROL[0], FAILS)))
    rollouts = Rollouts(place.journal)
    engine = Engine(bus, rollouts, bus.clock, FakeEvents(), FakeRunners(), None, me())
    assert engine.run(place.rollout).state == FAILED
    (found,) = rollouts.verdicts(place.rollout)
    assert (found.step, found.node) == ("control/1/1-gate", plans.CONTROL[0])
    assert (found.role, found.verdict, found.code) == ("keystone", "unknown", "not-asked")
