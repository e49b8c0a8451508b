"""The plan of an operation: named work that a role declares, wave by wave.

No revision moves. The waves are bounded as those of a restart are: an operation may take away what
its role runs, whatever it says of itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saltern.errors import PlanError
from saltern.plan import steps as make_steps
from saltern.plan.actions import Operation, fill
from saltern.plan.choose import Work, choose
from saltern.plan.make import Maker
from saltern.plan.request import ARGS
from saltern.plan.roles import MASTER, Roles
from saltern.plan.steps import Steps
from saltern.plan.types import ALWAYS, NEVER, STOP, Plan, Stage, Step, Wave
from saltern.plan.waves import Candidate, Fleet, gone_with, split
from saltern.rollout.show import short
from saltern.rollout.stages import ROLE_STAGES


class Operating(Maker):
    """One plan of the workflow ``operation`` in the making."""

    def plan(self) -> Plan:
        """Make it."""
        name = self.request.operation
        role, _, own = name.rpartition(".")
        if role not in self.target.by_name:
            raise PlanError(f"no node carries the role {role}", where="operation")
        wanted = dict.fromkeys(self.target.members(role), (role,))
        work = choose(self.request, self.target, self.facts, wanted)
        if not work.roles:
            raise PlanError(f"no node of {role} is there", where="operation")
        operation = self._declared(role, own, tuple(work.roles))
        if operation.host:
            work = self._hosts_chosen(role)
        values = operation.values(self.request.arguments, name)
        fleet = self._fleet()
        steps = self._steps(fleet)
        phase = self.target.by_name[role].stage
        parts = [(phase, self._members(role, work))]
        if operation.host:
            parts = self._hosts_by_phase(work)
        stages = self._fetched(role, operation, work, values, steps, fleet)
        for phase, members in parts:
            stage = name if len(parts) == 1 else f"{name}.{phase}"
            waves = [
                self._worked(stage, number, title, role, operation, values, wave, steps)
                for number, (title, wave) in enumerate(split(members, fleet, self.pace), 1)
            ]
            what = str(fill(operation.what, values)).rstrip(".")
            told = f"{what} on {short(one.node for one in members)}"
            felt = gone_with(members, self.target)
            made = self._stage(stage, phase, told, (role,), waves, felt, fleet)
            if operation.impact is not None and not fleet.lost:
                made = replace(made, impact=operation.impact)
            stages.append(made)
        return self._whole(stages, [], work)

    def _members(self, role: str, work: Work) -> list[Candidate]:
        return [
            Candidate(node, (role,), (role, *self.target.dependents(node, (role,))), start=False)
            for node in work.roles
        ]

    def _worked(
        self,
        stage: str,
        number: int,
        title: str,
        role: str,
        operation: Operation,
        values: Mapping[str, Any],
        members: Sequence[Candidate],
        steps: Steps,
    ) -> Wave:
        """One wave: what is taken out of service, the steps of the operation, the proof."""
        nodes = tuple(one.node for one in members)
        away = gone_with(members, self.target)
        drained = steps.drain(away) if operation.drain else None
        done: list[Step | None] = [steps.gate(away, questions=operation.drain), drained]
        told = operation.reversible or NEVER
        done += steps.act(role, operation.steps, nodes, values, reversible=told)
        verify, rest = steps.proven(away, drained, forms=True)
        done += [verify, *rest, self._soak()]
        return make_steps.wave(stage, number, title, nodes, done, steps.domains(members))

    def _fetched(
        self,
        role: str,
        operation: Operation,
        work: Work,
        values: Mapping[str, Any],
        steps: Steps,
        fleet: Fleet,
    ) -> list[Stage]:
        """What all nodes fetch first: one that cannot stops it before anything is touched."""
        if not operation.prefetch:
            return []
        nodes = tuple(work.roles)
        done = steps.act(role, operation.prefetch, nodes, values, reversible=ALWAYS)
        wave = make_steps.wave("prefetch", 1, "all", nodes, done)
        title = f"{short(nodes)} fetch what {role} needs"
        stage = self._stage("prefetch", ROLE_STAGES[0], title, (role,), [wave], (), fleet)
        # nobody is taken out of service: the pace is that of the network
        return [replace(stage, budget=0, on_failure=STOP, rate=0.0)]

    def _declared(self, role: str, name: str, nodes: tuple[str, ...]) -> Operation:
        """The operation as all of the nodes declare it."""
        declared = {node: self.target.operations(role, node) for node in nodes}
        for node, known in declared.items():
            if name not in known:
                raise PlanError(
                    f"{role} has no operation {name} on {node}",
                    where="operation",
                    cure=f"It has {', '.join(known)}" if known else "It has none at all",
                )
            if known[name] != declared[nodes[0]][name]:
                raise PlanError(
                    f"{nodes[0]} and {node} declare it differently",
                    where=f"lifecycle:{role}:operations:{name}",
                    cure="Use {node}, {short} and {address} for what differs, or name one of them",
                )
        return declared[nodes[0]][name]


@dataclass(frozen=True)
class Offer:
    """An operation that a role of a cluster offers.

    :param name: as ``operation=`` takes it
    :param nodes: that carry the role, sorted
    :param command: a sample of a command that plans it
    """

    name: str
    operation: Operation
    nodes: tuple[str, ...]
    command: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "operation": self.name,
            "what": self.operation.what,
            "arguments": {name: dict(s) for name, s in self.operation.arguments.items()},
            "drain": self.operation.drain,
            "nodes": list(self.nodes),
            "command": self.command,
        }


def offers(cluster: str, roles: Roles) -> list[Offer]:
    """List what the roles of a cluster offer, by role and name.

    :param cluster: its name
    :param roles: as its nodes are served them
    :raises PlanError: what is declared is no operation
    """
    found = []
    for role in sorted(roles.by_name):
        nodes = roles.members(role)
        known: dict[str, tuple[Operation, list[str]]] = {}
        for node in nodes:
            for name, operation in roles.operations(role, node).items():
                # the master would end with its host
                if operation.host and MASTER in roles.of(node):
                    continue
                known.setdefault(name, (operation, []))[1].append(node)
        for name, (operation, mine) in sorted(known.items()):
            full = f"{role}.{name}"
            words = ["salt-run rollout.plan operation", f"cluster={cluster}", f"operation={full}"]
            words.append(f"nodes={mine[0].split('.')[0]}")
            if operation.arguments:
                sample = {name: _sample(name, s) for name, s in operation.arguments.items()}
                words.append(f"{ARGS}='{json.dumps(sample)}'")
            found.append(Offer(full, operation, tuple(mine), " ".join(words)))
    return found


def offers_text(found: list[Offer]) -> str:
    """Draw what roles offer as text: what it does, its arguments, a sample command."""
    if not found:
        return "The roles of this cluster offer no operations."
    lines: list[str] = []
    for offer in found:
        lines += [f"{offer.name} on {short(offer.nodes)}", f"  {offer.operation.what.rstrip('.')}."]
        for name, schema in offer.operation.arguments.items():
            lines.append(f"  {name}: {_told(schema)}")
        lines += [f"  {offer.command}", ""]
    return "\n".join(lines[:-1])


def _told(schema: Mapping[str, Any]) -> str:
    """Say what an argument may be."""
    kind = schema.get("type", "any value")
    words = [" or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)]
    if "enum" in schema:
        words = [f"one of {', '.join(map(str, schema['enum']))}"]
    for key in ("minimum", "maximum", "pattern"):
        if key in schema:
            words.append(f"{key} {schema[key]}")
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}")
    more = f": {schema['description']}" if schema.get("description") else ""
    return ", ".join(words) + more


def _sample(name: str, schema: Mapping[str, Any]) -> Any:
    """A value that shows what an argument looks like."""
    if "default" in schema:
        return schema["default"]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    samples = {"integer": schema.get("minimum", 0), "number": schema.get("minimum", 0)}
    plain: dict[str, Any] = {"boolean": True, "array": [], "object": {}, "null": None}
    return {**samples, **plain}.get(str(kind), name.upper())
