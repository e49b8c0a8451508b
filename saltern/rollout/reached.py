"""How far a rollout has come with the releases that it moves: who has them, and who waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saltern.plan.types import APPLY, CALL, RUNNER, Plan, Release, Wave
from saltern.rollout.ports import OK, RolloutState, StepRecord

#: kinds of steps that bring a release
_BRINGING = (APPLY, CALL, RUNNER)


def releases(state: RolloutState) -> list[dict[str, Any]]:
    """Return what a rollout moves, and on which nodes that is done.

    :returns: of each product ``product``, ``title``, ``before``, ``after``, ``way``, ``nodes``;
        ``reached`` and ``waiting``, which they are together; ``left``, who keeps an older one
    """
    found = []
    for one in state.plan.releases:
        done = [node for node in one.nodes if _has(state.plan, state.records, one, node)]
        found.append(
            {
                "product": one.product,
                "title": one.title,
                "before": one.before,
                "after": one.after,
                "way": one.way,
                "nodes": len(one.nodes),
                "reached": done,
                "waiting": [node for node in one.nodes if node not in done],
                "left": list(one.left),
            }
        )
    return found


def _has(plan: Plan, records: Mapping[str, StepRecord], release: Release, node: str) -> bool:
    """Whether everything that brings a release to a node was done there."""
    waves = [
        wave
        for stage in plan.stages
        if {*stage.roles} & {*release.roles} or not (stage.roles and release.roles)
        for wave in stage.waves
        if node in wave.nodes
    ]
    return bool(waves) and all(_done(wave, records, node) for wave in waves)


def _done(wave: Wave, records: Mapping[str, StepRecord], node: str) -> bool:
    for step in wave.steps:
        if step.kind not in _BRINGING or (step.nodes and node not in step.nodes):
            continue
        record = records.get(step.id)
        result = record.results.get(node) if record else None
        if record is None or (result is not None and not result.ok):
            return False
        if record.phase != OK and result is None:
            return False
    return True
