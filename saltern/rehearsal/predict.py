"""What a rehearsal tells of the upgrade: how long its parts take, where no upgrade told that."""

from __future__ import annotations

from dataclasses import replace

from saltern.plan.types import Plan
from saltern.rehearsal.outcome import CONTRACT, EXPAND, RESTORE, Rehearsal
from saltern.rehearsal.policy import Policy
from saltern.rollout.report import moment, span

#: The stage of a plan that does on production what a rehearsal did last.
FINALIZE = "finalize"
_MINUTE = 60.0


def predicted(plan: Plan, one: Rehearsal | None, policy: Policy) -> Plan:
    """Add to the plan of an upgrade what its rehearsal tells.

    A stage that earlier rollouts told of keeps what they told.

    :param plan: an upgrade
    :param one: the newest green rehearsal of it, with its records; None without any
    :param policy: of the cluster
    """
    if one is None:
        if not policy.required:
            return plan
        told = "It must be rehearsed before it is applied: `salt-run rehearse.run`."
        return replace(plan, notes=(*plan.notes, told))
    minutes = round(one.seconds(CONTRACT) / _MINUTE, 1)
    stages = tuple(
        replace(stage, minutes=minutes)
        if stage.name == FINALIZE and stage.minutes is None
        else stage
        for stage in plan.stages
    )
    return replace(plan, stages=stages, notes=(*plan.notes, note(one)))


def note(one: Rehearsal) -> str:
    """Say in one sentence what a rehearsal took, for those who approve a plan.

    :param one: a green rehearsal, with its records
    """
    parts = (
        ("expanding the schemas", EXPAND),
        ("ending their upgrade", CONTRACT),
        ("putting the databases back", RESTORE),
    )
    told = ", ".join(f"{what} {span(one.seconds(phase))}" for what, phase in parts)
    warned = sum(len(record.warnings) for record in one.records)
    more = f"; {warned} warnings, see `salt-run rehearse.report {one.id}`" if warned else ""
    return f"Rehearsed {moment(one.ended)} ({one.id}): {told}{more}."
