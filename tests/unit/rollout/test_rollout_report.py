"""The report of a rollout: from the journal's records to sentences, tables and documents."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from saltern.plan.types import APPLY, VERIFY, Basis, Plan, Stage, Step, Wave
from saltern.rollout import report
from saltern.rollout.ports import (
    ABORTED,
    BROKEN,
    DONE,
    FAILED,
    INTENT,
    OK,
    PAUSED,
    RUNNING,
    UNKNOWN,
    Lease,
    NodeResult,
    RolloutState,
    StepRecord,
    Wishes,
)

NODES = ("ctl01.x", "ctl02.x")


def a_step(wave: int, kind: str, node: str) -> Step:
    return Step(f"control/{wave}/{kind}", kind, f"{kind} on {node}", (node,))


WAVES = tuple(
    Wave(n, name, (node,), (a_step(n, APPLY, node), a_step(n, VERIFY, node)))
    for n, name, node in ((1, "canary", NODES[0]), (2, "rest", NODES[1]))
)
STAGE = Stage("control", "control", "Keystone", ("keystone.server",), WAVES, minutes=2.0)
PLAN = Plan("change", "demo", Basis("b" * 40, "a" * 40), (STAGE,))
ABOUT = report.About("operator", "approver", "ticket 7", 1000.0)
CHANGED = NodeResult(True, changed=("/etc/a (file.managed)", "web (service.running)"))


def record(step: str, phase: str, begun: float = 1000.0, **more: Any) -> StepRecord:
    ended = None if phase == INTENT else begun + 30
    return StepRecord(f"control/{step}", 1, phase, ("20261122",), begun, ended, **more)


def rollout(state: str, *records: StepRecord, plan: Plan = PLAN, **more: Any) -> RolloutState:
    kept = {item.step: item for item in records}
    return RolloutState("r1", plan, state, more.pop("reason", ""), kept, Wishes(), **more or LEASES)


LEASES: dict[str, Any] = {"leases": ()}
ALL_OK = (
    record("1/apply", OK, 1000, results={NODES[0]: CHANGED}),
    record("1/verify", OK, 1030, results={NODES[0]: NodeResult(True)}),
    record("2/apply", OK, 1060, results={NODES[1]: CHANGED}),
    record("2/verify", OK, 1090, results={NODES[1]: NodeResult(True)}),
)
BAD = record("1/apply", BROKEN, results={NODES[0]: NodeResult(False, "ctl01.x: web | broke.")})


def test_a_rollout_that_is_done() -> None:
    data = report.build(rollout(DONE, *ALL_OK), replace(ABOUT, ended=1120.0))
    assert report.sentence(data) == (
        "Rollout r1 (change of demo) is done: 4 states changed on ctl01 2, ctl02 2;"
        " it took 2 min 0 s."
    )
    (stage,) = data["stages"]
    assert (stage["state"], stage["done"], stage["all"], stage["seconds"]) == ("done", 4, 4, 120.0)
    assert data["steps"] == {"done": 4, "all": 4}
    assert data["failures"] == []


def test_silence_about_changes_is_said() -> None:
    data = report.build(rollout(DONE), replace(ABOUT, ended=1001.0))
    assert "is done: nothing changed; it took 1 s." in report.sentence(data)


@pytest.mark.parametrize(
    ("state", "records", "stage", "waves"),
    [
        (RUNNING, (), "waiting", ["waiting", "waiting"]),
        (RUNNING, (record("1/apply", INTENT),), "running", ["running", "waiting"]),
        (RUNNING, ALL_OK[:2], "running", ["done", "waiting"]),
        (RUNNING, ALL_OK, "done", ["done", "done"]),
        (PAUSED, ALL_OK[:2], "paused", ["done", "waiting"]),
        (FAILED, (BAD,), "failed", ["failed", "waiting"]),
        (FAILED, (record("1/apply", UNKNOWN),), "unknown", ["unknown", "waiting"]),
        (ABORTED, ALL_OK[:2], "stopped", ["done", "not run"]),
        (ABORTED, (), "not run", ["not run", "not run"]),
        # a failure within the budget does not spoil what was done
        (DONE, (BAD, *ALL_OK[1:]), "done", ["done", "done"]),
    ],
)
def test_the_state_of_a_stage_follows_from_its_steps(
    state: str, records: tuple[StepRecord, ...], stage: str, waves: list[str]
) -> None:
    (found,) = report.build(rollout(state, *records), ABOUT)["stages"]
    assert found["state"] == stage
    assert [wave["state"] for wave in found["waves"]] == waves


def test_a_failure_names_step_node_and_reason_and_what_may_be_done() -> None:
    state = rollout(FAILED, BAD, reason="1 node failed in stage control, its budget is 0")
    text = report.status_text(report.build(state, ABOUT))
    assert "is failed: 0 of 4 steps are done. 1 node failed in stage control, its budget" in text
    assert "control/1/apply: ctl01.x: web | broke." in text
    assert "`salt-run rollout.retry r1`" in text
    assert "`salt-run rollout.rollback r1`" in text


def test_a_step_that_failed_as_a_whole_is_a_failure_too() -> None:
    state = rollout(FAILED, record("1/apply", UNKNOWN, sentence="nobody knows whether it ran"))
    (failure,) = report.build(state, ABOUT)["failures"]
    assert failure["sentence"] == "nobody knows whether it ran"


def test_the_table_of_the_status() -> None:
    text = report.status_text(report.build(rollout(RUNNING, *ALL_OK[:2]), ABOUT))
    head, row = text.splitlines()[2:4]
    assert head.split() == ["STAGE", "STATE", "STEPS", "NODES", "WAVE", "TIME"]
    assert row.split() == ["control", "running", "2/4", "ctl01-02", "1", "min", "0", "s"]


def test_what_is_out_of_service_is_told_until_it_is_given_back() -> None:
    lease = Lease("l1", "r1", "control/1/drain", NODES[0], "ctl01 drained", (), 1000.0, 2000.0)
    held = report.build(rollout(PAUSED, leases=(lease,)), ABOUT)
    assert "Out of service:\n  ctl01 drained" in report.status_text(held)
    given = report.build(rollout(PAUSED, leases=(replace(lease, released=1100.0),)), ABOUT)
    assert "Out of service:" not in report.status_text(given)
    assert "| ctl01 drained | 1970-01-01 00:16:40Z | not given back |" in report.markdown(held)


def test_changes_that_no_plan_announced_stand_out() -> None:
    stage = replace(STAGE, expected={NODES[0]: ("/etc/a (file.managed)",), NODES[1]: ()})
    data = report.build(rollout(DONE, *ALL_OK, plan=replace(PLAN, stages=(stage,))), ABOUT)
    assert data["unexpected"][NODES[0]] == ["web (service.running)"]
    assert len(data["unexpected"][NODES[1]]) == 2
    assert "The plan did not predict these:" in report.markdown(data)
    # without predictions nothing is unexpected
    assert report.build(rollout(DONE, *ALL_OK), ABOUT)["unexpected"] == {}


PROBE = {"name": "keystone", "sentence": "Keystone API: 4,812 requests, 0 failed"}


def test_documents_tell_who_what_and_what_users_noticed() -> None:
    extras = report.Extras(probes=[PROBE], evidence={"ctl01": "web: failed\nweb: log in /var/x"})
    data = report.build(rollout(DONE, *ALL_OK), replace(ABOUT, ended=1120.0), extras)
    text = report.markdown(data)
    assert text.startswith("# Rollout r1: change of demo\n")
    for part in (
        "by operator",
        "| Approved by | approver |",
        "ticket 7",
        "b" * 40,
        "ctl01\n\n- web: failed\n- web: log in /var/x\n",
    ):
        assert part in text
    assert "- Keystone API: 4,812 requests, 0 failed\n" in text
    assert "| control | done | keystone.server | ctl01-02 | 2 |" in text
    assert "2 min 0 s | 2 min 0 s |" in text
    assert "the plan has no probes" in report.markdown(report.build(rollout(DONE), ABOUT))
    assert json.loads(json.dumps(data)) == data


class Tags(HTMLParser):
    """Whether a page closes what it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_nothing_that_was_told_can_break_out_of_a_document() -> None:
    evil = "<script>alert(1)</script> | x\n# y"
    bad = record("1/apply", BROKEN, results={NODES[0]: NodeResult(False, evil)})
    data = report.build(rollout(FAILED, bad, reason=evil), replace(ABOUT, reason=evil))
    page = report.page(data)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    lines = report.markdown(data).splitlines()
    assert not [line for line in lines if "<script" in line or line.startswith("# y")]
    rows = [line for line in lines if "control/1/apply" in line]
    assert rows == [
        "| control/1/apply | ctl01.x |  | &lt;script>alert(1)&lt;/script> \\| x # y |",
    ]
