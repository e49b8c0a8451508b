"""Ask the health checks of one stage of a deployment; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from saltern.plan.steps import CHECK_LIMIT
from saltern.plan.types import Check
from saltern.rollout import gates
from saltern.rollout.ports import Bus, Call, Return
from saltern.rollout.stages import Stage

#: Seconds of silence after which a node is asked whether it still works on its checks.
ASK_AFTER = 15.0


def validate(stage: Stage, bus: Bus) -> dict[str, Any]:
    """Ask every check of every role of a stage: all hosts at once, one call each.

    :param stage: what to ask
    :param bus: where nodes are asked
    :returns: a runner's answer: ``result``, ``comment``, ``failures`` (one sentence each)
    :raises BusError: the master cannot publish
    """
    asked: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for item in stage.checks:
        asked.setdefault(item.node, []).extend((item.role, check) for check in item.checks)
    calls = [
        Call(
            (node,),
            "health.check",
            ([dict(check) for _, check in asked[node]],),
            timeout=ASK_AFTER,
            limit=CHECK_LIMIT,
            again=True,
        )
        for node in sorted(asked)
    ]
    failures = [
        str(verdict)
        for call, answers in zip(calls, bus.call_all(calls) if calls else (), strict=True)
        for node in call.nodes
        for verdict in _verdicts(node, asked[node], answers[node])
        if not verdict.passes
    ]
    total = sum(len(items) for items in asked.values())
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


def _verdicts(
    node: str, items: list[tuple[str, Mapping[str, Any]]], answer: Return
) -> list[gates.Verdict]:
    """Read the answer of a node; one that is none as a whole is about no role."""
    found = gates.read_all(Check(node, "", tuple(check for _, check in items)), answer)
    if not answer.ok or len(found) != len(items):
        return list(found)
    return [replace(one, role=role) for one, (role, _) in zip(found, items, strict=True)]
