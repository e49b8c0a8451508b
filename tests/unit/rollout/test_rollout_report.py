"""The report of a rollout: from the journal's records to sentences, tables and documents."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from saltern.plan.types import (
    APPLY,
    VERIFY,
    Basis,
    Plan,
    Probe,
    Release,
    Stage,
    Step,
    Swap,
    Wave,
)
from saltern.rollout import report
from saltern.rollout.plots import spark
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
from saltern.rollout.probes import summaries
from saltern.rollout.series import series

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
        assert tag not in ("script", "img", "link", "iframe", "object", "use")
        assert not [name for name, _ in attrs if name in ("href", "src") or name.startswith("on")]
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


# -- an upgrade ------------------------------------------------------------------------------------

UPGRADED = Release(
    "openstack",
    "OpenStack",
    "2025.1",
    "2026.1",
    NODES,
    roles=("keystone.server",),
    left=("ctl9.x",),
)
SWAP = Swap("keystone.server", "keystone-2025.1.tar.zst", "1" * 64, "k-2026.1.tar.zst", "2" * 64, 2)
UPGRADE = replace(
    PLAN,
    workflow="upgrade",
    releases=(UPGRADED,),
    artifacts=(SWAP,),
    probes=(
        Probe("keystone", "cfg01", "http", "https://api:5000"),
        Probe("guest", "cfg01", "tcp", "203.0.113.9:7"),
    ),
)


def rows_of(probe: str, seconds: range, *bad: int) -> list[dict[str, Any]]:
    return [
        {
            "probe": probe, "second": second, "requests": 4, "failed": 4 if second in bad else 0,
            "max_ms": 20, "gap_ms": 1500 if second in bad else 0,
        }
        for second in seconds
    ]  # fmt: skip


def upgrade_report(*records: StepRecord, state: str = DONE, rows: Any = ()) -> dict[str, Any]:
    found = [item.to_json() for item in summaries(UPGRADE.probes, rows)]
    verdict = {
        "step": "control/1/verify", "node": NODES[0], "verdict": "warn", "code": "disk-low",
        "sentence": "little room",
    }  # fmt: skip
    extras = report.Extras(probes=found, series=series(rows), verdicts=[verdict])
    about = replace(ABOUT, ended=1120.0 if state == DONE else None)
    return report.build(rollout(state, *records, plan=UPGRADE), about, extras)


def test_an_upgrade_tells_its_path_its_artifacts_and_how_far_it_is() -> None:
    half = upgrade_report(*ALL_OK[:2], state=RUNNING)
    (path,) = half["releases"]
    assert (path["reached"], path["waiting"], path["left"]) == (
        [NODES[0]], [NODES[1]], ["ctl9.x"],
    )  # fmt: skip
    told = "OpenStack 2025.1 -> 2026.1: 1 of 2 nodes have it, ctl02 waits; ctl9 not in this plan"
    assert told in report.status_text(half)
    failed = upgrade_report(BAD, state=FAILED)
    assert failed["releases"][0]["reached"] == []
    whole = upgrade_report(*ALL_OK)
    for text in (report.markdown(whole), report.page(whole)):
        for part in ("Path", "2025.1", "2026.1", "2 of 2", "1" * 64, "2" * 64, "+0%", "disk-low"):
            assert part in text
        assert "0 questions before waves and 0 after them; 1 answers were not simply ok" in text
        # it has a probe of a guest, so nothing is missing
        assert "No guest was measured" not in text


def test_requests_and_failures_are_drawn_by_the_second() -> None:
    rows = [*rows_of("keystone", range(1000, 1120), 1042), *rows_of("guest", range(1000, 1120))]
    data = upgrade_report(*ALL_OK, rows=rows)
    assert json.loads(json.dumps(data)) == data
    page = report.page(data)
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert page.count("<svg ") == 2
    assert "up to 4 requests a second, 4 of 480 failed" in page
    assert page.count('class="bad"') == 1
    assert page.count('class="mark"') == 2, "where the stage began, in both"
    # the one bar of failures is where they were: at 42 of 120 seconds
    assert f'<path class="bad" d="M{42 * 720 / 120:.1f} ' in page
    assert "http" not in page, "nothing comes from outside"
    text = report.markdown(data)
    assert "The longest gap was at 1970-01-01 00:17:22Z." in text
    assert "requests |" + "█" * 60 + "| from 1970-01-01 00:16:40Z to 1970-01-01 00:18:40Z" in text
    assert "failed   |" + " " * 21 + "█" + " " * 38 + "| up to 4 a second" in text
    # guests come last
    assert text.index("keystone: 480 requests") < text.index("guest: 480 requests, 0 failed")


def test_hours_of_probes_make_a_page_of_bearable_size() -> None:
    names = [f"probe{number}" for number in range(12)]
    rows = [row for name in names for row in rows_of(name, range(0, 6 * 3600, 7))]
    plan = replace(UPGRADE, probes=tuple(Probe(name, "cfg01", "tcp", "x:1") for name in names))
    found = [item.to_json() for item in summaries(plan.probes, rows)]
    state = rollout(DONE, *ALL_OK, plan=plan)
    data = report.build(state, ABOUT, report.Extras(probes=found, series=series(rows)))
    assert len(report.page(data)) < 200_000
    assert len(report.markdown(data)) < 20_000
    assert "No guest was measured: none is known." in report.markdown(data)


@pytest.mark.parametrize("count", [0, 1, 59, 60, 61, 500])
def test_a_line_of_blocks_shows_whatever_is_not_zero(count: int) -> None:
    line = spark([0] * count + [1] + [0] * count + [1000])
    assert len(line) <= 60
    assert line[-1] == "█"
    assert "▁" in line or count == 0
