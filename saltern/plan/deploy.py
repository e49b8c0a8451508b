"""The plan of a deploy: every role of every node, in the order of the model's stages.

Nothing is drained, as nothing need be in service yet. The waves are the steps of the stage plan
(:mod:`saltern.rollout.stages`): ``start`` says how the members of a role come up. Each phase ends
with the health checks of all its roles, the whole with a look at the cloud as its users see it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from saltern.plan import steps as make_steps
from saltern.plan.basis import Facts, basis
from saltern.plan.choose import choose
from saltern.plan.make import History, dressed, minutes
from saltern.plan.request import Request
from saltern.plan.roles import Node, Roles, worst_reversible
from saltern.plan.scope import locks
from saltern.plan.steps import Steps
from saltern.plan.types import Plan, Stage, Step, Wave
from saltern.plan.waves import Candidate, Fleet
from saltern.rollout import stages as staging
from saltern.rollout.show import short

#: runner function that uses the cloud as its users do
SANITY = "sanity.run"


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
    steps = Steps(request.cluster, facts.revision, roles, roles, Fleet(roles, facts), sync=True)
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
            waves.append(make_steps.wave("", 0, f"form {form.role}", (), [run]))
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
