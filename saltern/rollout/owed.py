"""What rollouts began on nodes and did not bring to an end there.

A node that failed within the budget, or in a rollout that was given up, is served the wanted
revision already: the model alone no longer tells that something is left to do there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from saltern.plan.request import STAY
from saltern.plan.types import PIN, Plan
from saltern.rollout.ports import DONE, PLANNED, RUNNING, UNDONE, RolloutState
from saltern.rollout.retry import unfinished


@dataclass(frozen=True)
class Owed:
    """Roles of a node that are left to do.

    :param rollout: that began it
    :param roles: in their order
    :param since: when it was begun, seconds since the epoch
    """

    rollout: str
    roles: tuple[str, ...]
    since: float


def owed(states: Iterable[RolloutState]) -> dict[str, Owed]:
    """Return node to what is left to do there.

    :param states: rollouts of one cluster, the oldest first. One that was taken back, or is under
        way, leaves nothing
    """
    found: dict[str, Owed] = {}
    for state in states:
        plan = state.plan
        if state.state in (PLANNED, RUNNING, UNDONE) or plan.workflow in STAY:
            continue
        if plan.workflow == "rollback":
            if state.state == DONE:
                for node in plan.nodes:
                    found.pop(node, None)
            continue
        pinned = _pinned(state)
        for node in plan.nodes:
            roles, since = _left(plan, state, node)
            if node not in pinned:
                continue  # it is served what it has: the model tells
            before = found.pop(node, None)
            if before is not None:
                done = {r for stage in plan.stages if node in stage.nodes for r in stage.roles}
                older = tuple(r for r in before.roles if r not in {*roles} and r not in done)
                roles, since = (*older, *roles), before.since if older else since
            if roles:
                found[node] = Owed(state.id, roles, since)
    return found


def _pinned(state: RolloutState) -> set[str]:
    found = set()
    for _, _, step in state.plan.steps():
        record = state.records.get(step.id)
        if step.kind == PIN and step.revision == state.plan.basis.revision and record:
            found |= {*step.nodes}
    return found


def _left(plan: Plan, state: RolloutState, node: str) -> tuple[tuple[str, ...], float]:
    """Roles of a node whose waves did not come to their end there, and when the first one began."""
    roles: dict[str, None] = {}
    times = []
    for stage in plan.stages:
        for wave in stage.waves:
            if node in wave.nodes and node in unfinished(wave, state.records):
                roles |= dict.fromkeys(stage.roles)
                times += [state.records[s.id].begun for s in wave.steps if s.id in state.records]
    return tuple(roles), min(times, default=0.0)
