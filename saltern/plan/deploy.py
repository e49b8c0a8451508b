"""The plan of a deploy: every role of every node, in the order of the model's stages.

Nothing is drained, as nothing need be in service yet. The waves are the steps of the stage plan
(:mod:`saltern.rollout.stages`): ``start`` says how the members of a role come up. Each phase ends
with the health checks of all its roles, the whole with a look at the cloud as its users see it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern.plan import steps as make_steps
from saltern.plan.basis import Facts, basis, moved
from saltern.plan.choose import choose
from saltern.plan.make import History, dressed, minutes
from saltern.plan.request import Request
from saltern.plan.roles import Node, Roles, worst_reversible
from saltern.plan.scope import locks
from saltern.plan.steps import Steps
from saltern.plan.types import APPLY, COMMIT, PIN, RUNNER, VERIFY, Basis, Plan, Stage, Step, Wave
from saltern.plan.waves import Candidate, Fleet
from saltern.rollout import stages as staging
from saltern.rollout.ports import BROKEN, OK, StepRecord
from saltern.rollout.show import short

#: runner function that uses the cloud as its users do
SANITY = "sanity.run"
#: words of a request that change nothing of what is done
_MANNER = ("revision", "resume")


def deploy(
    request: Request,
    target: Mapping[str, Node],
    facts: Facts,
    known: Collection[str] = (),
    history: History | None = None,
) -> Plan:
    """Make the plan of a deploy; see :func:`saltern.plan.make.make` for the arguments.

    :raises PlanError: a node is absent
    :raises ModelError: the roles of the model contradict each other
    """
    roles = Roles(target, known)
    work = choose(request, roles, facts, {node: roles.of(node) for node in target})
    steps = Steps(
        request.cluster,
        facts.revision,
        roles,
        roles,
        Fleet(roles, facts),
        sync=True,
        equipped=facts.equipped,
    )
    found: list[Stage] = []
    for stage in staging.make_plan(request.cluster, target, known).stages:
        found += _phase(stage, set(work.roles), roles, steps, request)
    sanity = make_steps.runner(
        "use the cloud as its users do", SANITY, {"cluster": request.cluster}
    )
    wave = make_steps.wave("sanity", 1, request.cluster, (), [sanity])
    found.append(Stage("sanity", "sanity", "use the cloud as its users do", (), (wave,)))
    commit = make_steps.commit(request.cluster, facts.revision)
    wave = make_steps.wave("commit", 1, request.cluster, (), [commit])
    title = f"revision {facts.revision[:12]} becomes the one of {request.cluster}"
    found.append(Stage("commit", "commit", title, (), (wave,)))
    found = [replace(dressed(s, request), minutes=minutes(history or {}, s.name)) for s in found]
    plan = Plan(
        "deploy",
        request.cluster,
        basis(facts),
        tuple(found),
        limits=request.words(),
        resume=request.resume,
        lease_ttl=request.lease_ttl,
    )
    return replace(plan, locks=locks(plan, roles, roles))


def _phase(
    stage: staging.Stage, nodes: set[str], roles: Roles, steps: Steps, request: Request
) -> list[Stage]:
    """The stages of one phase: its levels, each cut where a node would come twice."""
    found: list[Stage] = []

    def close(waves: Sequence[Wave], names: Iterable[str]) -> None:
        name = stage.name if not found else f"{stage.name}.{len(found) + 1}"
        numbered = tuple(_renamed(wave, name, n) for n, wave in enumerate(waves, 1))
        touched = tuple(dict.fromkeys(names))
        there = short({node for wave in waves for node in wave.nodes})
        title = f"{' '.join(touched)} on {there}" if there else " ".join(touched)
        worst = worst_reversible(s.reversible for wave in waves for s in wave.steps)
        found.append(Stage(name, stage.name, title, touched, numbered, reversible=worst))

    for level in stage.levels:
        waves: list[Wave] = []
        names: list[str] = []
        seen: set[str] = set()
        for step in level.steps:
            members = [
                Candidate(node, group.roles, group.roles)
                for group in step
                for node in group.nodes
                if node in nodes
            ]
            here = {one.node for one in members}
            if seen & here:
                close(waves, names)
                waves, names, seen = [], [], set()
            if members:
                done = [*steps.take(here), steps.apply(members), make_steps.soak(request.soak)]
                waves.append(make_steps.wave("", 0, short(here), here, done))
                names += [role for group in step for role in group.roles]
                seen |= here
        for form in level.forms:
            run, _ = steps.form(form.role)
            waves.append(make_steps.wave("", 0, f"{make_steps.FORM}{form.role}", (), [run]))
        if waves:
            close(waves, names)
    checks = _checks(stage, nodes, steps)
    if checks is not None and found:
        last = found.pop()
        close([*last.waves, make_steps.wave("", 0, "checks", (), [checks])], last.roles)
    return found


def _checks(stage: staging.Stage, nodes: set[str], steps: Steps) -> Step | None:
    asked = [(check.node, check.role) for check in stage.checks if check.node in nodes]
    return steps.verified(asked) if asked else None


def _renamed(wave: Wave, stage: str, number: int) -> Wave:
    named = make_steps.wave(stage, number, wave.name, wave.nodes, wave.steps, wave.domains)
    return replace(named, domains=wave.domains)


# -- a deploy that was interrupted -----------------------------------------------------------------


def unfit(
    plan: Plan, records: Mapping[str, StepRecord], now: Facts, wanted: Mapping[str, Any]
) -> list[str]:
    """Say why an interrupted deploy cannot be gone on with, one sentence each; empty: it can.

    :param plan: of the deploy
    :param records: its latest record of each step that was begun, by step id
    :param now: what was observed a moment ago; ``revision`` is the wanted one
    :param wanted: the request in words, as in ``plan.limits``
    """
    then = {key: value for key, value in plan.limits.items() if key not in _MANNER}
    asked = {key: value for key, value in wanted.items() if key not in _MANNER}
    other = [key for key in sorted({*then, *asked}) if then.get(key) != asked.get(key)]
    found = [f"It was asked for with other options: {', '.join(other)}."] if other else []
    return found + moved(_left(plan, records, now), now)


def _left(plan: Plan, records: Mapping[str, StepRecord], now: Facts) -> Basis:
    """What a deploy left behind: of a step that was only begun, either outcome is its own."""
    pins, deployed = dict(plan.basis.pins), plan.basis.deployed
    for _, _, step in plan.steps():
        record = records.get(step.id)
        if record is None:
            continue
        if step.kind == PIN:
            done = record.phase == OK
            mine = [n for n in step.nodes if done or now.pins.get(n) == step.revision]
            pins.update(dict.fromkeys(mine, step.revision))
        elif step.kind == COMMIT:
            if now.deployed == step.revision:
                deployed = step.revision
            pins = {n: r for n, r in pins.items() if r != step.revision or n in now.pins}
    return replace(plan.basis, pins=pins, deployed=deployed)


def applied_again(plan: Plan, records: Mapping[str, StepRecord]) -> tuple[str, ...]:
    """List the steps that come once more before a health check that failed is asked again.

    They are all that its phase did: asking alone would not mend anything.

    :param records: the latest record of each step that was begun, by step id
    """
    failed = {
        stage.phase
        for stage, _, step in plan.steps()
        if step.kind == VERIFY and step.id in records and records[step.id].phase == BROKEN
    }
    return tuple(
        step.id
        for stage, _, step in plan.steps()
        if stage.phase in failed and step.kind in (APPLY, RUNNER) and step.id in records
    )
