"""Ask the health checks of one stage of a deployment; nothing is changed."""

from __future__ import annotations

from typing import Any

from saltern.plan.steps import CHECK_LIMIT
from saltern.rollout import questions
from saltern.rollout.ports import Bus
from saltern.rollout.stages import Stage


def validate(stage: Stage, bus: Bus) -> dict[str, Any]:
    """Ask every check of every role of a stage: all hosts at once.

    :param stage: what to ask
    :param bus: where nodes are asked
    :returns: a runner's answer: ``result``, ``comment``, ``failures`` (one sentence each)
    :raises BusError: the master cannot publish
    """
    answers = questions.ask(bus, stage.checks, CHECK_LIMIT)
    failures = [
        str(verdict)
        for node, checks in questions.by_node(stage.checks).items()
        for verdict in questions.verdicts(checks, answers[node])
        if not verdict.passes
    ]
    total = sum(len(check.checks) for check in stage.checks)
    told = f"{total} health checks are content" if total else "nothing to ask"
    comment = f"Stage {stage.name}: {told}."
    if failures:
        comment = f"Stage {stage.name} failed: {' '.join(failures)}"
    return {
        "result": not failures,
        "comment": comment,
        "changes": {},
        "failures": failures,
        "retcode": 1 if failures else 0,
    }
