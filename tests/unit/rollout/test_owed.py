"""What rollouts began on nodes and did not end there."""

from __future__ import annotations

from dataclasses import replace

from saltern.plan.types import Plan, Step
from saltern.rollout.owed import Owed, owed
from saltern.rollout.ports import (
    ABORTED,
    BROKEN,
    DONE,
    FAILED,
    OK,
    RUNNING,
    UNDONE,
    NodeResult,
    RolloutState,
    StepRecord,
    Wishes,
)
from tests.unit.rollout import engine_plans as plans

NODES = ("cmp01", "cmp02", "cmp03")


def upgrade(*names: str) -> Plan:
    """Each node in a wave of its own."""
    steps = [((node,), [plans.pin((node,)), plans.apply((node,), "nova")]) for node in names]
    return replace(plans.plan(plans.stage("nova", *steps)), workflow="upgrade")


def state(plan: Plan, ident: str, bad: str = "", until: str = "", ended: str = DONE):
    """A rollout in which one node failed to apply, and which went up to a node."""
    records = {}
    for _, _, step in plan.steps():
        (node,) = step.nodes
        if until and node > until:
            break
        records[step.id] = _record(step, node, ok=node != bad or step.kind == "pin")
    return RolloutState(ident, plan, ended, "", records, Wishes(), ())


def _record(step: Step, node: str, *, ok: bool) -> StepRecord:
    result = NodeResult(ok, "" if ok else "broken")
    return StepRecord(step.id, 1, OK if ok else BROKEN, (), 5.0, 6.0, {node: result})


def test_a_node_that_failed_within_the_budget_is_owed_its_roles() -> None:
    assert owed([state(upgrade(*NODES), "r1", "cmp02")]) == {"cmp02": Owed("r1", ("nova",), 5.0)}
    assert owed([state(upgrade(*NODES), "r1")]) == {}


def test_nodes_that_were_not_reached_are_served_what_they_have() -> None:
    for ended in (FAILED, ABORTED):
        found = owed([state(upgrade(*NODES), "r1", "cmp02", "cmp02", ended)])
        assert {*found} == {"cmp02"}


def test_a_later_rollout_ends_it_or_a_rollback_does() -> None:
    first = state(upgrade(*NODES), "r1", "cmp02")
    assert owed([first, state(upgrade("cmp02"), "r2")]) == {}
    assert owed([first, state(upgrade("cmp01"), "r2")]) == owed([first])
    assert owed([first, state(upgrade("cmp02"), "r2", "cmp02")]) == {
        "cmp02": Owed("r2", ("nova",), 5.0)
    }
    back = replace(upgrade("cmp02"), workflow="rollback")
    assert owed([first, state(back, "r2")]) == {}
    assert owed([replace(first, state=UNDONE)]) == {}
    # what is under way tells nothing yet
    assert owed([replace(first, state=RUNNING)]) == {}
    restart = replace(upgrade("cmp02"), workflow="restart")
    assert owed([first, state(restart, "r2")]) == owed([first])
