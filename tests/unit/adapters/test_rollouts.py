"""The journal of rollouts: nothing is lost, nothing is half written, nobody is in two hands."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from saltern.adapters import journal as journal_module
from saltern.adapters import processes, rollout_notes
from saltern.adapters.canaries import CanaryBook, known_guests
from saltern.adapters.journal import Journal
from saltern.adapters.rollouts import HISTORY, Rollouts
from saltern.canary.types import MADE, Canary
from saltern.errors import JournalError, LockedError, ModelError, PlanError
from saltern.plan.types import APPLY, COMMIT, Basis, Plan, PlannedCall, Stage, Step, Wave
from saltern.rollout.outcome import Finding
from saltern.rollout.ports import (
    ABORTED,
    BROKEN,
    DONE,
    FAILED,
    INTENT,
    OK,
    PAUSED,
    PLANNED,
    RUNNING,
    UNDONE,
    UNKNOWN,
    Lease,
    NodeResult,
    Wishes,
)
from tests.support import TREE

OLD, NEW = "a" * 40, "b" * 40
A, B, C = "a.c1.test", "b.c1.test", "c.c1.test"
#: seconds since the epoch, on 2026-11-22
NOW = 1795305600.0
STEP = "control/1/1-apply"


def plan_of(*nodes: str, kind: str = APPLY, **options: Any) -> Plan:
    """A plan of one stage, one wave and one step."""
    revision = options.pop("revision", NEW)
    step = Step(STEP, kind, "apply", nodes, (PlannedCall(nodes, "state.apply"),))
    stage = Stage("control", "control", "the control plane", (), (Wave(1, "all", nodes, (step,)),))
    options = {"workflow": "change", "cluster": "c1", "locks": ("rack1",), **options}
    return Plan(basis=Basis(revision, OLD, {A: OLD}), stages=(stage,), **options)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        self.time += 1
        return self.time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "journal.db"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a journal with one deployed cluster."""
    path = tmp_path_factory.mktemp("template") / "journal.db"
    assert Journal(f"sqlite:///{path}").deploy("c1", OLD, [A, B], "ann", "first")
    return path


@pytest.fixture
def journal(path: Path, template: Path) -> Journal:
    """A journal with one deployed cluster."""
    path.parent.mkdir()
    shutil.copy(template, path)
    return Journal(f"sqlite:///{path}")


@pytest.fixture
def rollouts(journal: Journal) -> Rollouts:
    return Rollouts(journal, now=Clock())


# -- plans -------------------------------------------------------------------------------


def test_a_plan_is_kept_once_and_found_by_the_beginning_of_its_hash(rollouts: Rollouts) -> None:
    plan = plan_of(A, limits={"nodes": [A]})
    digest = rollouts.store(plan, "ann")
    assert rollouts.store(plan, "bob") == digest == plan.hash
    for name in (digest, digest[:6], digest[:40]):
        assert Rollouts(rollouts.journal).plan(name) == plan
    (told,) = rollouts.plans("c1")
    assert (told.hash, told.workflow, told.revision, told.by) == (digest, "change", NEW, "ann")
    assert rollouts.plans("c2") == ()


def test_a_plan_that_is_not_there_or_not_named_well_is_refused(rollouts: Rollouts) -> None:
    digest = rollouts.store(plan_of(A), "ann")
    for name, sentence in {
        "0" * 12: "there is no plan 000000000000. Make one with `salt-run rollout.plan`",
        digest[:5]: "is no plan's hash. Give at least 6 digits",
        "control%": "is no plan's hash",
        "": "is no plan's hash",
    }.items():
        with pytest.raises(PlanError, match=sentence):
            rollouts.plan(name)


def test_a_beginning_that_two_plans_have_is_refused(rollouts: Rollouts, path: Path) -> None:
    digest = rollouts.store(plan_of(A), "ann")
    other = rollouts.store(plan_of(B), "ann")
    with closing(sqlite3.connect(path)) as raw, raw:
        twin = digest[:6] + other[6:]
        raw.execute("UPDATE plan SET hash = ? WHERE hash = ?", (twin, other))
    with pytest.raises(PlanError, match=f"several plans begin with {digest[:6]}"):
        rollouts.plan(digest[:6])


def test_a_plan_that_was_changed_in_the_database_is_refused(rollouts: Rollouts, path: Path) -> None:
    digest = rollouts.store(plan_of(A), "ann")
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE plan SET body = replace(body, ?, ?)", (A, B))
    with pytest.raises(PlanError, match=f"the stored plan {digest[:12]} is damaged"):
        Rollouts(rollouts.journal).plan(digest)


# -- a rollout from begin to end ----------------------------------------------------------


def test_what_was_noted_is_what_is_loaded(rollouts: Rollouts) -> None:
    plan = plan_of(A, B)
    rollout = rollouts.begin(plan, "ann", "bob", "less noise")
    assert rollout == "r20261122-1"
    rollouts.move(rollout, RUNNING, NOW)
    begun = rollouts.intent(rollout, STEP, ["20261122000000000001"], NOW + 1)
    assert (begun.attempt, begun.phase, begun.jids) == (1, INTENT, ("20261122000000000001",))
    results = {
        A: NodeResult(True, changed=("x (file.managed)", "y (service.running)")),
        B: NodeResult(False, "b: it broke.", silent=True, code="silent"),
    }
    ended = rollouts.result(rollout, STEP, BROKEN, results, NOW + 5, "one failed")
    lease = Lease(
        "l1", rollout, STEP, A, "a drained", (PlannedCall((B,), "f", (1, [2]), {"k": {}}, (A,)),),
        NOW, NOW + 60,
    )  # fmt: skip
    rollouts.lease(lease)
    rollouts.move(rollout, FAILED, NOW + 6, "over the budget")

    found = Rollouts(Journal(f"sqlite:///{rollouts.journal.path}")).load(rollout)
    assert (found.id, found.plan, found.state) == (rollout, plan, FAILED)
    assert found.reason == "over the budget"
    assert found.records == {STEP: ended}
    assert (ended.begun, ended.ended, ended.sentence) == (NOW + 1, NOW + 5, "one failed")
    assert ended.results == results
    assert (found.wishes, found.leases) == (Wishes(), (lease,))
    told = rollouts.get(rollout)
    assert (told.by, told.approved_by, told.why, told.plan) == (
        "ann",
        "bob",
        "less noise",
        plan.hash,
    )
    assert (told.begun, told.ended, told.owner, told.revision) == (NOW + 1, None, "", NEW)


def test_a_new_attempt_leaves_the_old_one_in_the_history(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    rollouts.intent(rollout, STEP, ["1"], NOW)
    rollouts.result(rollout, STEP, UNKNOWN, {}, NOW + 1, "nobody knows")
    second = rollouts.intent(rollout, STEP, ["2"], NOW + 2)
    assert rollouts.load(rollout).records == {STEP: second}
    ended = rollouts.result(rollout, STEP, OK, {A: NodeResult(True)}, NOW + 3)
    assert (ended.attempt, ended.jids, ended.begun) == (2, ("2",), NOW + 2)
    assert [(found.attempt, found.phase) for found in rollouts.attempts(rollout)] == [
        (1, UNKNOWN),
        (2, OK),
    ]


def test_the_result_of_a_step_that_never_began_is_refused(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    with pytest.raises(JournalError, match=f"step {STEP} of rollout {rollout} was never begun"):
        rollouts.result(rollout, STEP, OK, {}, NOW)
    assert rollouts.attempts(rollout) == ()


def test_a_rollout_that_is_not_there_is_refused(rollouts: Rollouts) -> None:
    lease = Lease("l1", "r1", STEP, A, "x", (), NOW, NOW)
    for ask in (
        lambda: rollouts.load("r1"),
        lambda: rollouts.get("r1"),
        lambda: rollouts.wishes("r1"),
        lambda: rollouts.wish("r1", pause=True),
        lambda: rollouts.intent("r1", STEP, [], NOW),
        lambda: rollouts.move("r1", DONE, NOW),
        lambda: rollouts.claim("r1", "x"),
        lambda: rollouts.pin("r1", [A], NEW),
        lambda: rollouts.commit("r1", "c1", NEW),
        lambda: rollouts.lease(lease),
        lambda: rollouts.unlock("r1"),
        lambda: rollouts.evidence("r1", "k", "t"),
    ):
        with pytest.raises(JournalError, match="there is no rollout r1"):
            ask()
    assert rollouts.journal.served(A) == OLD


def test_ids_count_within_a_day_and_lists_begin_with_the_latest(rollouts: Rollouts) -> None:
    found = []
    for _ in range(11):
        found.append(rollouts.begin(plan_of(A), "ann"))
        rollouts.move(found[-1], DONE, NOW)
    assert found == [f"r20261122-{number}" for number in range(1, 12)]
    rollouts.now.time += 86400  # type: ignore[attr-defined]
    found.append(rollouts.begin(plan_of(A), "ann"))
    assert found[-1] == "r20261123-1"
    assert [told.id for told in rollouts.list()] == found[::-1]
    assert [told.id for told in rollouts.list(limit=2)] == found[:-3:-1]
    assert [told.id for told in rollouts.list(state=PLANNED)] == found[-1:]
    assert [told.id for told in rollouts.list("c1", (DONE, PLANNED), 1)] == found[-1:]
    assert rollouts.list("c2") == ()


def test_what_is_over_stays_over_unless_it_is_undone(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    rollouts.move(rollout, DONE, NOW + 9)
    for state in (RUNNING, ABORTED, PAUSED):
        with pytest.raises(JournalError, match="is over"):
            rollouts.move(rollout, state, NOW + 10)
    with pytest.raises(JournalError, match=r"is over \(done\)"):
        rollouts.wish(rollout, pause=True)
    rollouts.move(rollout, UNDONE, NOW + 20)
    told = rollouts.get(rollout)
    assert (told.state, told.ended) == (UNDONE, NOW + 9)


def test_wishes_stand_until_they_are_taken_back(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    assert rollouts.wishes(rollout) == Wishes()
    assert rollouts.wish(rollout, pause=True) == Wishes(pause=True)
    assert rollouts.wish(rollout, abort=True) == Wishes(pause=True, abort=True)
    rollouts.move(rollout, PAUSED, NOW)
    assert rollouts.wishes(rollout) == Wishes(pause=True, abort=True)
    assert rollouts.wish(rollout, pause=False, abort=False) == Wishes()
    assert rollouts.load(rollout).wishes == Wishes()


# -- locks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (plan_of(A), plan_of(B), "rack1"),
        (plan_of(A), plan_of(A, locks=("rack2",)), f"node {A}"),
        (plan_of(A, locks=()), plan_of(B, locks=("rack2",)), "cluster"),
        (plan_of(A, locks=("rack2",)), plan_of(B, locks=()), "rack2"),
        (
            plan_of(A, kind=COMMIT),
            plan_of(B, kind=COMMIT, locks=("rack2",)),
            "served revision",
        ),
    ],
)
def test_a_second_one_is_refused_and_told_the_first(
    rollouts: Rollouts, first: Plan, second: Plan, named: str
) -> None:
    rollout = rollouts.begin(first, "ann")
    rollouts.move(rollout, RUNNING, NOW)
    with pytest.raises(LockedError, match=rf"rollout {rollout} \(running\) works on") as caught:
        rollouts.begin(second, "bob")
    assert named in str(caught.value)
    assert [told.id for told in rollouts.list()] == [rollout]
    # neither a failure nor a pause frees them, the end does
    for state in (PAUSED, FAILED):
        rollouts.move(rollout, state, NOW)
        with pytest.raises(LockedError):
            rollouts.begin(second, "bob")
    rollouts.move(rollout, ABORTED, NOW)
    assert rollouts.locks() == {}
    assert rollouts.begin(second, "bob") != rollout


def test_others_go_on_beside_it(rollouts: Rollouts) -> None:
    first = rollouts.begin(plan_of(A), "ann")
    second = rollouts.begin(plan_of(B, locks=("rack2",)), "ann")
    third = rollouts.begin(plan_of(A, cluster="c2", locks=()), "ann")
    assert rollouts.locks("c1") == {
        "rack1": first, f"node {A}": first, "rack2": second, f"node {B}": second,
    }  # fmt: skip
    rollouts.move(first, DONE, NOW)
    assert set(rollouts.locks("c1").values()) == {second}
    assert set(rollouts.locks("c2").values()) == {third}


def test_of_many_that_begin_together_one_does(path: Path, rollouts: Rollouts) -> None:
    rollouts.store(plan_of(A), "ann")

    def begin(_: int) -> str:
        try:
            return Rollouts(Journal(f"sqlite:///{path}")).begin(plan_of(A), "ann")
        except LockedError:
            return ""

    with ThreadPoolExecutor(6) as pool:
        begun = [found for found in pool.map(begin, range(6)) if found]
    assert len(begun) == 1
    assert [told.id for told in rollouts.list()] == begun


def test_a_rollback_takes_over_the_locks_of_what_it_undoes(rollouts: Rollouts) -> None:
    first = rollouts.begin(plan_of(A, B), "ann")
    rollouts.move(first, FAILED, NOW)
    back = plan_of(A, workflow="rollback", undoes=first)
    rollouts.claim(first, processes.me())
    with pytest.raises(LockedError, match=f"process {os.getpid()} on .* works on rollout {first}"):
        rollouts.begin(back, "bob")
    rollouts.release_claim(first, processes.me())
    second = rollouts.begin(back, "bob")
    assert rollouts.locks() == {"rack1": second, f"node {A}": second, f"node {B}": first}
    # meanwhile nobody may go on with the first
    with pytest.raises(LockedError, match=f"rollout {second}"):
        rollouts.claim(first, "me")
    rollouts.move(second, ABORTED, NOW)
    rollouts.claim(first, "me")
    assert set(rollouts.locks().values()) == {first}
    assert len(rollouts.locks()) == 3


def test_unlocking_takes_claim_and_locks_but_no_lease(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann", owner=processes.me())
    rollouts.move(rollout, FAILED, NOW)
    rollouts.lease(Lease("l1", rollout, STEP, A, "x", (), NOW, NOW))
    with pytest.raises(LockedError, match="works on rollout"):
        rollouts.unlock(rollout)
    assert rollouts.unlock(rollout, force=True) == (f"node {A}", "rack1")
    assert rollouts.get(rollout).owner == ""
    assert [lease.id for lease in rollouts.leases()] == ["l1"]
    second = rollouts.begin(plan_of(A), "ann")
    with pytest.raises(LockedError, match=f"rollout {second}"):
        rollouts.claim(rollout, processes.me())


# -- who works on it ---------------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process, and its name."""
    script = (
        "import sys; from saltern.adapters.processes import me;"
        " print(me(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TREE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_one_engine_at_a_time_and_a_dead_one_is_taken_over(
    rollouts: Rollouts, other: tuple[subprocess.Popen[str], str]
) -> None:
    process, name = other
    rollout = rollouts.begin(plan_of(A), "ann")
    rollouts.move(rollout, RUNNING, NOW)
    assert [found.id for found in rollouts.interrupted()] == [rollout]
    rollouts.claim(rollout, name)
    assert rollouts.interrupted() == ()
    with pytest.raises(LockedError, match=f"process {process.pid} on"):
        rollouts.claim(rollout, processes.me())
    # what another one gives up is not given up
    rollouts.release_claim(rollout, processes.me())
    assert rollouts.get(rollout).owner == name
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert [found.id for found in rollouts.interrupted()] == [rollout]
    rollouts.claim(rollout, processes.me())
    rollouts.claim(rollout, processes.me())
    assert rollouts.interrupted() == ()
    rollouts.release_claim(rollout, processes.me())
    assert rollouts.get(rollout).owner == ""


def test_an_owner_of_whom_nobody_can_tell_is_not_taken_over(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    there = processes.me()
    for name in ("engine", there.replace("@", "@far-"), f"{there}/more"):
        assert processes.alive(name) is None
        rollouts.claim(rollout, name)
        with pytest.raises(LockedError, match=r"rollout\.unlock"):
            rollouts.claim(rollout, there)
        rollouts.release_claim(rollout, name)


def test_a_process_is_told_from_a_later_one_of_the_same_number() -> None:
    mine = processes.me()
    assert processes.alive(mine) is True
    before, _, start = mine.rpartition("/")
    assert processes.alive(f"{before}/{int(start) + 1}") is False
    assert processes.alive(f"{before.rpartition('/')[0]}/another boot/{start}") is False
    assert processes.named(mine) == f"process {os.getpid()} on {os.uname().nodename}"
    assert processes.named("engine") == "engine"


def test_a_process_that_is_hidden_from_this_user_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = processes.me()

    def denied(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), 0)
        raise PermissionError

    monkeypatch.setattr(processes, "_started", lambda _: None)
    monkeypatch.setattr(processes.os, "kill", denied)
    assert processes.alive(mine) is None


# -- leases ------------------------------------------------------------------------------


def test_a_lease_stays_until_it_was_given_back(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    undo = (PlannedCall((B,), "haproxy_admin.ready", ("keystone",), {"server": "a"}, (A,)),)
    first = Lease("l1", rollout, STEP, A, "a drained", undo, NOW, NOW + 60)
    second = replace(first, id="l2", taken=NOW + 1)
    rollouts.lease(second)
    rollouts.lease(first)
    assert rollouts.leases() == (first, second)
    rollouts.returned("l1", NOW + 9)
    rollouts.returned("l1", NOW + 99)
    assert rollouts.leases() == (second,)
    assert rollouts.leases(active=False) == (replace(first, released=NOW + 9), second)
    assert rollouts.leases(rollout="r1") == ()
    # the next attempt of the step takes it once more
    rollouts.lease(replace(first, taken=NOW + 20))
    assert rollouts.load(rollout).leases == (second, replace(first, taken=NOW + 20))


def test_a_lease_has_one_owner_and_must_be_there(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    second = rollouts.begin(plan_of(B, locks=("rack2",)), "ann")
    lease = Lease("l1", rollout, STEP, A, "x", (), NOW, NOW)
    rollouts.lease(lease)
    with pytest.raises(JournalError, match=f"lease l1 belongs to rollout {rollout}"):
        rollouts.lease(replace(lease, owner=second))
    with pytest.raises(JournalError, match="there is no lease l9"):
        rollouts.returned("l9", NOW)


# -- what nodes are served ----------------------------------------------------------------


def test_pins_move_and_a_commit_takes_them_off(rollouts: Rollouts) -> None:
    journal = rollouts.journal
    rollout = rollouts.begin(plan_of(A, B, C), "ann")
    for _ in range(2):
        rollouts.pin(rollout, [A], NEW)
    assert (journal.served(A), journal.served(B)) == (NEW, OLD)
    (pin,) = journal.pins()
    assert (pin.node, pin.by, pin.reason) == (A, "ann", f"rollout {rollout}")
    rollouts.pin(rollout, [A], "")
    assert journal.served(A) == OLD
    rollouts.pin(rollout, [A, B], NEW)
    for _ in range(2):
        rollouts.commit(rollout, "c1", NEW)
    assert journal.deployed() == {"c1": NEW}
    assert journal.pins() == []
    assert journal.members("c1") == [A, B, C]
    deployed = [change for change in journal.history() if change.kind == "deploy"]
    assert [change.after for change in deployed] == [NEW, OLD]


def test_a_commit_leaves_other_pins(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    rollouts.pin(rollout, [A], NEW)
    rollouts.journal.pin([B], OLD, "bob", "not yet")
    rollouts.journal.deploy("c2", OLD, ["x.c2.test"], "bob", "other")
    rollouts.journal.pin(["x.c2.test"], NEW, "bob", "other")
    rollouts.commit(rollout, "c1", NEW)
    assert [(pin.node, pin.revision) for pin in rollouts.journal.pins()] == [
        (B, OLD),
        ("x.c2.test", NEW),
    ]


def test_members_come_from_the_revision_and_a_lost_one_moves_nothing(journal: Journal) -> None:
    class Revision:
        def nodes(self, cluster: str | None = None) -> list[str]:
            assert cluster == "c1"
            return [A, C]

    def opened(revision: str) -> Revision:
        if revision != NEW:
            raise ModelError(f"revision {revision} is not stored")
        return Revision()

    rollouts = Rollouts(journal, opened)
    rollout = rollouts.begin(plan_of(A, B), "ann")
    for move in (
        lambda: rollouts.pin(rollout, [A], "c" * 40),
        lambda: rollouts.commit(rollout, "c1", "c" * 40),
    ):
        with pytest.raises(ModelError, match="not stored"):
            move()
    assert (journal.pins(), journal.deployed()) == ([], {"c1": OLD})
    rollouts.commit(rollout, "c1", NEW)
    assert journal.members("c1") == [A, C]
    # taking pins off needs no revision
    rollouts.pin(rollout, [A], "")


def test_revisions_are_kept_forwards_and_backwards(rollouts: Rollouts) -> None:
    revisions = ["1" * 40, "2" * 40, "3" * 40]
    kept = []
    for revision in revisions:
        plan = replace(plan_of(A), basis=Basis(revision, OLD, {A: "9" * 40}))
        rollout = rollouts.begin(plan, "ann")
        kept.append(rollouts.journal.in_use())
        rollouts.move(rollout, DONE, NOW)
    # of those that are over, the latest
    assert kept == [
        {OLD, "9" * 40, revisions[0]},
        {OLD, "9" * 40, *revisions[:2]},
        {OLD, "9" * 40, *revisions[1:]},
    ]


# -- what was measured, found and saved ----------------------------------------------------


def test_seconds_of_probes_come_once_and_in_order(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")

    def row(probe: str, second: int, requests: int) -> dict[str, Any]:
        numbers = {"requests": requests, "failed": 0, "max_ms": 12.5, "gap_ms": 0.0, "width": 1}
        return {"probe": probe, "second": second, **numbers}

    rollouts.sample(rollout, [row("keystone", 7, 4), row("keystone", 8, 4)])
    rollouts.sample(rollout, [])
    rollouts.sample(rollout, [row("keystone", 8, 99), row("glance", 7, 3), row("keystone", 9, 5)])
    assert rollouts.samples(rollout) == (
        row("glance", 7, 3), row("keystone", 7, 4), row("keystone", 8, 4), row("keystone", 9, 5),
    )  # fmt: skip
    assert rollouts.samples(rollout, "glance") == (row("glance", 7, 3),)
    assert rollouts.samples("r1") == ()


def test_hours_of_seconds_do_not_fill_the_journal(rollouts: Rollouts) -> None:
    """Ten hours of one request a second, one of which failed; read and written every 5 minutes."""
    rollout = rollouts.begin(plan_of(A), "ann")

    def row(second: int) -> dict[str, Any]:
        bad = second == 4321
        numbers = {"requests": 1, "failed": int(bad), "max_ms": 9, "gap_ms": 700 if bad else 0}
        return {"probe": "keystone", "second": second, **numbers}

    hours = 10 * 3600
    for begin in range(0, hours, 300):
        rollouts.sample(rollout, [row(second) for second in range(begin, begin + 300)])
    kept = rollouts.samples(rollout)
    assert sum(found["requests"] for found in kept) == hours
    assert [(r["second"], r["width"], r["gap_ms"]) for r in kept if r["failed"]] == [
        (4320, 60, 700)
    ]
    assert len(kept) < 1800 + 2000 + 300
    assert {found["width"] for found in kept} == {1, 10, 60}
    begins = [(found["second"], found["width"]) for found in kept]
    assert all(a + wide == b for (a, wide), (b, _) in pairwise(begins)), "none twice, none left out"
    # what was put together is there already
    rollouts.sample(rollout, [row(second) for second in range(4300, 4400)])
    assert rollouts.samples(rollout) == kept


def test_guests_are_those_of_canaries_that_were_made_whole(rollouts: Rollouts) -> None:
    journal = rollouts.journal
    assert known_guests(journal, "c1") == ()
    book = CanaryBook(journal, "c1", "admin", "tests")
    book.put(Canary("server", "s1", {"address": "10.0.0.5"}, MADE))
    book.put(Canary("address", "a1", {"address": "203.0.113.9"}, "making"))
    assert known_guests(journal, "c1") == ()
    book.put(Canary("address", "a1", {"address": "203.0.113.9"}, MADE))
    assert known_guests(journal, "c1") == ("203.0.113.9:7",)
    assert known_guests(journal, "c2") == ()


def test_the_pace_of_waves_is_without_forms_and_soaks(rollouts: Rollouts) -> None:
    steps = [
        ("control/1/1-gate", 30), ("control/1/2-apply", 60), ("control/1/3-soak", 600),
        ("control/2/1-gate", 30), ("control/2/2-apply", 120),
        ("control/3/1-runner", 900),
    ]  # fmt: skip
    rollout = rollouts.begin(plan_of(A), "ann")
    for step, seconds in steps:
        rollouts.intent(rollout, step, [], NOW)
        rollouts.result(rollout, step, OK, {}, NOW + seconds)
    assert rollouts.paces("c1", "change") == {}, "only those that were done"
    rollouts.move(rollout, DONE, NOW)
    assert rollouts.paces("c1", "change") == {"control": [1.5, 2.5]}
    assert rollouts.durations("c1", "change") == {"control": [29.0]}


def test_verdicts_and_evidence_are_kept(rollouts: Rollouts) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    found = [
        Finding(STEP, NOW, A, "keystone.server", "ok", "fine", "it answers"),
        Finding(STEP, NOW, B, "", "fail", "disk", "the disk is full"),
    ]
    rollouts.verdict(rollout, found)
    rollouts.verdict(rollout, [])
    assert rollouts.verdicts(rollout) == tuple(found)
    rollouts.evidence(rollout, "b/log", "first")
    rollouts.evidence(rollout, "a/log", "other")
    rollouts.evidence(rollout, "b/log", "second")
    assert [(saved.key, saved.text) for saved in rollouts.saved(rollout)] == [
        ("a/log", "other"),
        ("b/log", "second"),
    ]


def test_durations_are_those_of_steps_in_rollouts_that_were_done(rollouts: Rollouts) -> None:
    def one(state: str, minutes: float, workflow: str = "change") -> None:
        rollout = rollouts.begin(plan_of(A, workflow=workflow), "ann")
        for stage, begin in (("control", 0.0), ("control.2/x", 5000.0)):
            for number in (1, 2):
                # an hour lies between the waves
                at = NOW + begin + 3600 * number
                step = f"{stage}/{number}/1-apply"
                rollouts.intent(rollout, step, [], at)
                rollouts.result(rollout, step, OK, {}, at + minutes * 30)
        rollouts.intent(rollout, "infra/1/1-apply", [], NOW)
        rollouts.result(rollout, "infra/1/1-apply", BROKEN, {}, NOW + 60)
        rollouts.move(rollout, state, NOW)

    one(DONE, 4)
    one(ABORTED, 50)
    one(DONE, 9, "upgrade")
    one(DONE, 6)
    assert rollouts.durations("c1", "change") == {"control": [6, 4], "control.2/x": [6, 4]}
    assert rollouts.durations("c1", "reboot") == {}
    assert rollouts.durations("c2", "change") == {}
    for _ in range(HISTORY):
        one(DONE, 1)
    assert rollouts.durations("c1", "change")["control"] == [1] * HISTORY


# -- when the database fails ----------------------------------------------------------------


def test_a_locked_journal_is_waited_for_and_then_told(
    rollouts: Rollouts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    monkeypatch.setattr(rollout_notes, "WAIT", 0.2)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked by another process"):
            rollouts.intent(rollout, STEP, ["1"], NOW)
        # reading goes on
        assert rollouts.load(rollout).records == {}
        assert rollouts.wishes(rollout) == Wishes()
        holder.execute("ROLLBACK")
    monkeypatch.undo()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(rollouts.intent, rollout, STEP, ["1"], NOW)
            holder.execute("ROLLBACK")
            assert waiting.result(60).attempt == 1


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rollouts:
    """A journal whose disk has room for some hundred kilobytes."""
    journal = Journal(f"sqlite:///{tmp_path}/journal.db")
    journal.prepare()
    engine = journal_module.Journal._engine

    def limited(self: Journal) -> sa.Engine:
        made = engine(self)

        @sa.event.listens_for(made, "connect")
        def limit(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA max_page_count=100")

        return made

    monkeypatch.setattr(journal_module.Journal, "_engine", limited)
    return Rollouts(Journal(f"sqlite:///{tmp_path}/journal.db"), now=Clock())


def test_a_full_disk_is_told_and_nothing_is_half_written(small: Rollouts) -> None:
    rollout = small.begin(plan_of(A), "ann")
    big = {f"n{number}": NodeResult(False, "x" * 500) for number in range(200)}
    steps: list[str] = []

    def fill() -> None:
        for number in range(100):
            step = f"control/{number}/1-apply"
            small.intent(rollout, step, ["1"], NOW)
            steps.append(step)
            small.result(rollout, step, OK, big, NOW)

    with pytest.raises(JournalError, match="the disk that holds the journal is full") as caught:
        fill()
    assert "Make room there" in str(caught.value)
    found = small.load(rollout)
    assert set(found.records) == set(steps)
    # the last one still is what it was before
    *done, last = (found.records[step].phase for step in steps)
    assert set(done) <= {OK}
    assert last == INTENT
    big_commit = [f"n{number}.c1.test" for number in range(5000)]
    with pytest.raises(JournalError, match="is full"):
        small.pin(rollout, big_commit, NEW)
    assert small.journal.pins() == []


def test_a_writer_that_is_killed_leaves_all_or_nothing(rollouts: Rollouts, path: Path) -> None:
    rollout = rollouts.begin(plan_of(A), "ann")
    script = (
        "import os, signal, sys\n"
        "from saltern.adapters.journal import Journal\n"
        "from saltern.adapters.rollouts import Rollouts\n"
        "url, rollout = sys.argv[1:]\n"
        "mine = Rollouts(Journal(url))\n"
        "mine.intent(rollout, 's/1/1-apply', ['1'], 1.0)\n"
        "def dies(revision):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "mine.revisions = dies\n"
        f"mine.pin(rollout, ['{A}'], '{NEW}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{path}", rollout], cwd=TREE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert rollouts.journal.served(A) == OLD
    assert rollouts.load(rollout).records["s/1/1-apply"].jids == ("1",)
    # and the next one is not kept waiting
    rollouts.pin(rollout, [A], NEW)


def test_each_transition_is_synced_to_the_disk(rollouts: Rollouts) -> None:
    with rollouts.journal.writing(1.0) as connection:
        # 2 is FULL
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_journal_of_pins_alone_gets_the_other_tables(path: Path) -> None:
    journal = Journal(f"sqlite:///{path}")
    journal.deploy("c1", OLD, [A], "ann", "first")
    first = {"member", "pin", "deployed", "change", "alembic_version", "sqlite_sequence"}
    with closing(sqlite3.connect(path)) as raw, raw:
        tables = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in first:
                raw.execute(f"DROP TABLE {table}")
        raw.execute("UPDATE alembic_version SET version_num = '0001'")
    older = Journal(f"sqlite:///{path}")
    with pytest.raises(JournalError, match=r"old tables \(0001\)\. Run `saltern master prepare`"):
        older.served(A)
    assert older.prepare()
    assert older.served(A) == OLD
    assert Rollouts(older).begin(plan_of(A), "ann")
