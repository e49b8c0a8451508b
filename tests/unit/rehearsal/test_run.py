"""A rehearsal over a bus that replays: what follows what, what is left out, how it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern.adapters import processes
from saltern.adapters import rehearsals as module
from saltern.adapters.journal import Journal
from saltern.adapters.rehearsals import Rehearsals
from saltern.adapters.rehearsing import told
from saltern.errors import BusError, JournalError, LockedError
from saltern.rehearsal import outcome
from saltern.rehearsal.outcome import Record
from saltern.rehearsal.run import Rehearsing
from saltern.rehearsal.services import Service
from saltern.rollout.ports import Call, Return
from tests.unit.rollout.fakes import FakeBus, FakeClock

SERVICES = tuple(
    Service(name, "2025.1", "2026.1", (name,), True, True, {"service": name})
    for name in ("keystone", "nova")
)
#: of one service, when all is well
EACH = ("prepare", "expand", "check", "contract", "smoke")


def rehearsed(
    *fails: str, hops: int = 1
) -> tuple[list[tuple[str, str, str]], list[Call], Rehearsing]:
    """Rehearse while some calls fail: ``function`` or ``function service``."""

    def answer(name: str, call: Call) -> Return:
        what = {call.fun, f"{call.fun} {call.arg[0] if call.arg else ''}"}
        if call.fun == "rehearsal_service.prepare":
            what = {f"{call.fun} {call.arg[0]['service']}"}
        if what & {*fails}:
            return Return(name, False, sentence=f"{name}: it broke.")
        return Return(name, True, {"seconds": 2.0, "sentence": "fine", "warnings": []})

    bus = FakeBus(answer)
    made = Rehearsing(bus, "cfg01", FakeClock())
    records = made.run("e1", "galera.server/inf03/l", [SERVICES] * hops)
    calls = [call for calls in bus.published for call in calls]
    return [(one.service, one.phase, one.result) for one in records], calls, made


def test_everything_is_rehearsed_in_its_order() -> None:
    done, calls, made = rehearsed()
    assert [(service, phase) for service, phase, _ in done] == [
        ("", "begin"), ("", "load"),
        *(("keystone", phase) for phase in EACH), *(("nova", phase) for phase in EACH),
        ("", "restore"), ("keystone", "current"), ("nova", "current"), ("", "end"),
    ]  # fmt: skip
    assert {result for *_, result in done} == {"ok"}
    assert outcome.verdict(made.records) == "green"
    assert {call.nodes for call in calls} == {("cfg01",)}
    assert calls[1].arg == ("galera.server/inf03/l", ["keystone", "nova"])
    # the APIs are gone before the databases go back
    functions = [call.fun for call in calls]
    assert functions.index("rehearsal_api.stop") < functions.index("rehearsal.restore")
    assert {one.seconds for one in made.records} == {2.0}
    assert made.records[-2].release == "2025.1"


def test_two_hops_go_over_the_same_copies() -> None:
    done, calls, _ = rehearsed(hops=2)
    assert [call.fun for call in calls].count("rehearsal.load") == 1
    assert done.count(("nova", "expand", "ok")) == 2
    # the code of the first one again, before it is asked
    assert done[-3:] == [
        ("nova", "prepare", "ok"), ("nova", "current", "ok"), ("", "end", "ok"),
    ]  # fmt: skip


@pytest.mark.parametrize("function", ["rehearsal.begin", "rehearsal.load"])
def test_without_copies_nothing_is_migrated(function: str) -> None:
    done, calls, made = rehearsed(function)
    assert not [call for call in calls if call.fun.startswith("rehearsal_service")]
    assert done[-1] == ("", "end", "ok")
    assert outcome.verdict(made.records) == "red"


def test_a_service_that_fails_does_not_hold_up_the_others() -> None:
    done, _, made = rehearsed("rehearsal_service.expand nova")
    assert ("nova", "expand", "failed") in done
    left = {phase for service, phase, result in done if service == "nova" and result == "skipped"}
    assert left == {"check", "contract", "smoke"}
    assert ("keystone", "smoke", "ok") in done
    assert ("", "restore", "ok") in done
    assert outcome.verdict(made.records) == "red"


def test_a_failed_check_is_no_reason_to_stop() -> None:
    done, _, made = rehearsed("rehearsal_service.check nova")
    assert ("nova", "check", "failed") in done
    assert ("nova", "smoke", "ok") in done
    assert outcome.verdict(made.records) == "red"


@pytest.mark.parametrize("function", ["rehearsal_api.smoke", "rehearsal_service.contract"])
def test_without_tokens_nobody_is_asked(function: str) -> None:
    done, _, _ = rehearsed(f"{function} keystone")
    assert ("nova", "contract", "ok") in done
    assert ("nova", "smoke", "skipped") in done


def test_the_shadow_is_emptied_whatever_happens() -> None:
    seen: list[str] = []

    def answer(name: str, call: Call) -> Return:
        seen.append(call.fun)
        if call.fun == "rehearsal_service.expand":
            raise BusError("the master is gone")
        return Return(name, True, {})

    with pytest.raises(BusError):
        Rehearsing(FakeBus(answer), "cfg01", FakeClock()).run("e1", "b", [SERVICES])
    assert seen[-1] == "rehearsal.end"


# -- journal ---------------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path: Path) -> Rehearsals:
    return Rehearsals(Journal(f"sqlite:///{tmp_path}/j/journal.db"), lambda: 1_780_000_000.0)


def begin(known: Rehearsals, cluster: str = "demo", **more: Any) -> str:
    return known.begin(
        cluster, "ann", revision="r" * 40, deployed="d" * 40, artifacts="f",
        releases={"nova": ("2025.1", "2026.1")}, node="cfg01", bundle="b", **more,
    )  # fmt: skip


def test_a_rehearsal_is_kept_step_by_step(known: Rehearsals) -> None:
    name = begin(known, notes=["octavia is not rehearsed."])
    assert name == "e20260528-1"
    one = Record("check", "ok", 1.5, "nova", "2026.1", "fine", ("a: b",))
    known.step(name, one)
    assert known.get(name).records == (one,)
    assert known.get(name).state == "running"
    known.end(name, "green", "It is well.")
    found = known.get(name)
    assert (found.state, found.sentence, found.ended) == ("green", "It is well.", 1_780_000_000.0)
    assert found.releases == {"nova": ("2025.1", "2026.1")}
    assert found.notes == ("octavia is not rehearsed.",)
    assert told(found)["retcode"] == 0
    assert [item.id for item in known.list("demo")] == [name]
    assert known.list("other") == ()
    with pytest.raises(JournalError, match="there is no rehearsal e1"):
        known.get("e1")


def test_one_at_a_time_in_a_cluster(known: Rehearsals) -> None:
    name = begin(known)
    with pytest.raises(LockedError, match=f"rehearsal {name} is under way"):
        begin(known)
    assert begin(known, "other") == "e20260528-2"
    known.end(name, "red", "It broke.")
    assert told(known.get(name))["retcode"] == 1
    assert begin(known) == "e20260528-3"


def test_one_that_was_killed_is_told_and_does_not_stand_in_the_way(
    known: Rehearsals, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = begin(known)
    monkeypatch.setattr(processes, "alive", lambda owner: False)
    assert module.processes is processes
    assert known.get(name).state == "broken"
    assert begin(known) == "e20260528-2"
    monkeypatch.undo()
    assert known.get(name).state == "broken"
