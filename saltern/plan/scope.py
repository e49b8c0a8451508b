"""What a plan needs beside its stages: locks against other rollouts, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from saltern.plan.basis import Facts
from saltern.plan.choose import DOMAINS
from saltern.plan.roles import MASTER, ProbeSpec, Roles
from saltern.plan.types import COMMIT, PIN, Plan, Probe

#: Stage of the roles that others only notice through what they use them for.
INFRASTRUCTURE = "infrastructure"
#: Name of the probe of a guest; with several of them, each ends in ``@`` and a place.
GUEST = "guest"


def is_guest(name: str) -> bool:
    """Whether a probe of this name asks a guest and not a service of the cloud."""
    return name.partition("@")[0] == GUEST


def locks(plan: Plan, target: Roles, current: Roles) -> tuple[str, ...]:
    """Name what a plan needs for itself alone.

    That is each failure domain that it works in (a node without any is one of its own), each role
    that it touches or whose majority its nodes are part of, and the pins of the cluster when it
    moves some. Two plans with a name in common never run at once.
    """
    found = set()
    if any(step.kind in (PIN, COMMIT) for _, _, step in plan.steps()):
        found.add("pins")
    found |= {f"role {role}" for stage in plan.stages for role in stage.roles}
    nodes = set(plan.nodes)
    machines = {machine for node in plan.nodes for machine in target.carried(node)}
    if plan.workflow in ("reboot", "reimage"):
        nodes |= machines
    else:
        # an operation on whole hosts works on their machines, too
        nodes |= machines & {check.node for _, _, step in plan.steps() for check in step.checks}
    for node in sorted(nodes):
        declared = target if node in target.nodes else current
        if node not in declared.nodes:
            continue
        values = [(key, declared.domain(node, key)) for key in DOMAINS]
        found |= {f"{key} {value}" for key, value in values if value} or {f"node {node}"}
        found |= {
            f"role {role}"
            for role in declared.of(node)
            if declared.by_name[role].quorum == "majority"
        }
    return tuple(sorted(f"{plan.cluster}: {name}" for name in found))


def probes(plan: Plan, roles: Roles, facts: Facts) -> tuple[Probe, ...]:
    """List what is measured while a plan runs: what the roles declare that it disturbs.

    A part of the infrastructure that measures nothing itself is measured by what uses it: a
    database by the APIs.
    Where anything is measured, guests that are known are, too: by TCP connections from outside.
    Each is measured by the master's own node, which is worked on but never taken away by a plan and
    has the way to the guests; or by a member of the role that the probe names, one that the plan
    leaves alone where there is one.
    """
    present = set(facts.present) - set(facts.absent)
    found: dict[str, Probe] = {}
    disturbed = list(dict.fromkeys(_disturbed(plan, roles)))
    for role, node in dict.fromkeys([*disturbed, *_users(disturbed, roles)]):
        for spec in roles.probes(role, node):
            by = _observer(spec, plan, roles, present)
            if not by:
                continue
            probe = Probe(
                spec.name, by, spec.kind, spec.target, spec.options, spec.interval, spec.timeout
            )
            name = spec.name
            if name in found and found[name] != probe:
                # two nodes declare different targets under one name: each is measured
                name = f"{spec.name}@{node.split('.')[0]}"
            found[name] = replace(probe, name=name)
    for place in sorted(facts.guests) if found else ():
        name = GUEST if len(facts.guests) == 1 else f"{GUEST}@{place}"
        spec = ProbeSpec(name, "tcp", place, options={"title": f"TCP to the guest at {place}"})
        by = _observer(spec, plan, roles, present)
        if by:
            found[name] = Probe(name, by, spec.kind, spec.target, spec.options)
    return tuple(found[name] for name in sorted(found))


def _disturbed(plan: Plan, roles: Roles) -> Iterable[tuple[str, str]]:
    for node in plan.nodes:
        if node not in roles.nodes:
            continue
        mine = set(roles.of(node))
        touched = {role for stage in plan.stages if node in stage.nodes for role in stage.roles}
        touched = touched & mine or mine
        for role in (*roles.of(node),):
            if role in touched or role in roles.dependents(node, touched):
                yield role, node


def _users(disturbed: Iterable[tuple[str, str]], roles: Roles) -> Iterable[tuple[str, str]]:
    """Roles that wait for disturbed infrastructure, directly or through others, on all members."""
    reached = {
        role
        for role, node in disturbed
        if roles.by_name[role].stage == INFRASTRUCTURE and not roles.probes(role, node)
    }
    grown = True
    while grown:
        more = {
            one.name
            for one in roles.by_name.values()
            if one.name not in reached and reached & {*one.after, *one.after_here}
        }
        grown = bool(more)
        reached |= more
    for role in sorted(reached):
        yield from ((role, node) for node in roles.members(role))


def _observer(spec: ProbeSpec, plan: Plan, roles: Roles, present: set[str]) -> str:
    if spec.on:
        able = [node for node in roles.members(spec.on) if node in present]
    else:
        masters = [node for node in roles.members(MASTER) if node in present]
        able = [*masters, *(node for node in sorted(roles.nodes) if node in present)]
    busy = set(plan.nodes) - {*roles.members(MASTER)}
    return next((node for node in able if node not in busy), able[0] if able else "")
