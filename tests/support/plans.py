"""Plans made by hand, for tests and measurements of what carries them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern.plan.steps import joined
from saltern.plan.types import (
    APPLY,
    COMMIT,
    GATE,
    PIN,
    REFRESH,
    RELEASE,
    VERIFY,
    Basis,
    Check,
    Plan,
    PlannedCall,
    Stage,
    Step,
    Wave,
)

#: of a node's short name: the questions about it
Questions = Callable[[str], Sequence[Mapping[str, Any]]]


def apply(nodes: Sequence[str], roles: Sequence[str], **kwarg: Any) -> Step:
    """Apply roles on nodes, as one job."""
    call = PlannedCall(tuple(nodes), "state.apply", kwarg={"mods": list(roles), **kwarg})
    return Step("", APPLY, f"apply {' '.join(roles)}", tuple(nodes), (call,))


def asked(kind: str, nodes: Sequence[str], role: str, questions: Questions) -> Step:
    """Ask each node its questions, before (``gate``) or after (``verify``)."""
    checks = tuple(Check(node, role, tuple(questions(node.split(".")[0]))) for node in nodes)
    return Step("", kind, kind, tuple(nodes), checks=checks)


def moved(nodes: Sequence[str], revision: str) -> Iterator[Step]:
    """Pin nodes to a revision and let them take its pillar."""
    yield Step("", PIN, f"pin to {revision[:12]}", tuple(nodes), revision=revision)
    call = PlannedCall(tuple(nodes), "saltutil.refresh_pillar", kwarg={"wait": True, "timeout": 60})
    yield Step("", REFRESH, "refresh", tuple(nodes), (call,))


def whole(
    nodes: Sequence[str],
    role: str,
    revision: str,
    questions: Questions,
    also: Sequence[str] = (),
) -> list[Step]:
    """All steps of a wave of a change that takes nothing out of service.

    :param questions: about ``role``
    :param also: roles that are applied after it
    """
    return [
        asked(GATE, nodes, role, questions),
        *moved(nodes, revision),
        apply(nodes, [role, *also]),
        asked(VERIFY, nodes, role, questions),
        Step("", RELEASE, "release", tuple(nodes)),
    ]


def wave(stage: str, number: int, nodes: Sequence[str], steps: Sequence[Step]) -> Wave:
    """A wave whose steps have their ids."""
    named = tuple(
        replace(step, id=f"{stage}/{number}/{count}-{step.kind}")
        for count, step in enumerate(joined(steps), start=1)
    )
    return Wave(number, f"wave {number}", tuple(nodes), named)


def stage(
    name: str,
    waves: Sequence[tuple[Sequence[str], Sequence[Step]]],
    roles: Sequence[str] = (),
    **more: Any,
) -> Stage:
    """A stage of waves, each given as its nodes and its steps."""
    made = tuple(wave(name, number, *one) for number, one in enumerate(waves, start=1))
    return Stage(name, more.pop("phase", name), name, tuple(roles), made, **more)


def committed(revision: str) -> Stage:
    """The last stage: the revision becomes the deployed one."""
    step = Step("", COMMIT, f"deploy {revision[:12]}", revision=revision)
    return stage("commit", [((), [step])])


def plan(cluster: str, basis: Basis, stages: Sequence[Stage], **more: Any) -> Plan:
    """A plan of a change."""
    return Plan("change", cluster, basis, tuple(stages), locks=(cluster,), **more)
