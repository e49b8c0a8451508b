"""Turn what the roles declare about themselves into stages, levels, steps and groups.

Everything here is a pure function of the compiled model: who runs which role, and each role's
``lifecycle``. The words:

- a **stage** ends with a validation; the roles name theirs;
- a **level** holds the roles of a stage whose predecessors are done (order has one home:
  ``lifecycle:<role>:after``);
- a **step** is what is published at once within a level; the next one waits for it. ``start``
  says how the members of a role may converge, and a quorum is never restarted as a whole;
- a **group** is one published call: nodes that take the same roles in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from saltern.errors import ModelError
from saltern.plan.types import Check

#: The stages of a deployment in their order. Preflight and sanity carry no roles: the first
#: looks before anything is touched, the last uses the cloud as its users do.
STAGES = ("preflight", "foundation", "infrastructure", "control", "resources", "sanity")

#: The stages that roles may name.
ROLE_STAGES = STAGES[1:-1]

#: How the members of a role may converge.
STARTS = ("together", "first_then_rest", "serial")

#: An ``after`` entry waits for the role everywhere, or only on the node itself.
SCOPES = ("cluster", "node")


class Node(Protocol):
    """What is read of a compiled node; :class:`saltern.model.cluster.CompiledNode` has it."""

    @property
    def applications(self) -> Sequence[str]: ...

    @property
    def lifecycle(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Role:
    """One role of the cluster and its members.

    :param after: roles that must be done on all their nodes
    :param after_here: roles that must be done on the same node only
    :param form: runner function called once the role was applied on all members, or empty
    :param checks: health checks by node
    """

    name: str
    stage: str
    members: tuple[str, ...]
    after: tuple[str, ...] = ()
    after_here: tuple[str, ...] = ()
    start: str = "together"
    quorum: str = "none"
    form: str = ""
    checks: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)

    @property
    def at_once(self) -> int:
        """How many members may converge at the same time once the first is up."""
        if self.start == "serial":
            return 1
        if self.quorum == "majority" and self.start != "together":
            # what a majority can spare: 1 of 3, 2 of 5
            return max(1, (len(self.members) - 1) // 2)
        return len(self.members)


@dataclass(frozen=True)
class Group:
    """Nodes that take the same roles in the same order: one published call."""

    nodes: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """A runner function that makes one cluster of a role's members."""

    role: str
    function: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """Steps, one after another, and the forms that follow them."""

    steps: tuple[tuple[Group, ...], ...]
    forms: tuple[Form, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of this level, sorted."""
        return tuple(sorted({r for step in self.steps for group in step for r in group.roles}))


@dataclass(frozen=True)
class Stage:
    """What one stage does, and what must be true at its end."""

    name: str
    levels: tuple[Level, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes that this stage touches, sorted."""
        found = {n for lv in self.levels for st in lv.steps for group in st for n in group.nodes}
        return tuple(sorted(found))

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles of this stage in the order of the levels."""
        return tuple(role for level in self.levels for role in level.roles)


@dataclass(frozen=True)
class StagePlan:
    """The stages of one cluster in their order."""

    cluster: str
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage:
        """Return one stage by name.

        :raises ModelError: there is no stage of that name
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ModelError(f"there is no stage {name!r}", cure=f"The stages are {', '.join(STAGES)}")

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the plan, sorted."""
        return tuple(sorted({node for stage in self.stages for node in stage.nodes}))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data (mappings, lists, strings)."""
        return {
            "cluster": self.cluster,
            "stages": [
                {
                    "name": stage.name,
                    "levels": [
                        {
                            "steps": [
                                [{k: list(v) for k, v in asdict(g).items()} for g in step]
                                for step in level.steps
                            ],
                            "forms": [
                                {"role": f.role, "function": f.function, "nodes": list(f.nodes)}
                                for f in level.forms
                            ],
                        }
                        for level in stage.levels
                    ],
                    "checks": [
                        {"node": c.node, "role": c.role, "checks": [dict(i) for i in c.checks]}
                        for c in stage.checks
                    ],
                }
                for stage in self.stages
            ],
        }


def read_roles(nodes: Mapping[str, Node], known: Collection[str] = ()) -> dict[str, Role]:
    """Read the roles of a cluster and hold what they declare against each other.

    :param nodes: compiled nodes by minion id
    :param known: roles that exist though they need not run in this cluster; to wait for one that
        does not is to wait for nothing
    :returns: roles by name
    :raises ModelError: a role without lifecycle, a value that is not one, two nodes that
        disagree about a role, an ``after`` that names an unknown or a later role, or one of the
        same node that does not run there
    """
    members: dict[str, list[str]] = {}
    for node in sorted(nodes):
        for name in dict.fromkeys(nodes[node].applications):
            members.setdefault(name, []).append(node)
    roles = {name: _read_role(name, ids, nodes) for name, ids in sorted(members.items())}
    return {role.name: _held_against(role, roles, known) for role in roles.values()}


def _held_against(role: Role, roles: Mapping[str, Role], known: Collection[str]) -> Role:
    """Check whom a role waits for; leave out what exists but does not run in this cluster."""
    where = f"lifecycle:{role.name}:after"
    for other in (*role.after, *role.after_here):
        if other not in roles and other not in known:
            raise ModelError(
                f"role {other!r} does not exist",
                where=where,
                cure="Name a role that does, or drop the entry",
            )
        if other in roles and STAGES.index(roles[other].stage) > STAGES.index(role.stage):
            raise ModelError(
                f"{other} belongs to the later stage {roles[other].stage}", where=where
            )
    for other in role.after_here:
        here = roles[other].members if other in roles else ()
        without = [node for node in role.members if node not in here]
        if without:
            raise ModelError(
                f"{role.name} waits for {other} on the same node, which {', '.join(without)}"
                " does not run",
                where=where,
                cure=f"Add {other} to the classes of the node",
            )
    return replace(role, after=tuple(other for other in role.after if other in roles))


def _read_role(name: str, members: Sequence[str], nodes: Mapping[str, Node]) -> Role:
    found: list[tuple[str, Role]] = []
    checks: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for node in members:
        data = nodes[node].lifecycle.get(name)
        if not isinstance(data, Mapping):
            raise ModelError(
                f"role {name} has no lifecycle",
                where=node,
                cure=f"Declare lifecycle:{name} in its service class",
            )
        where = f"{node}: lifecycle:{name}"
        after, here = _read_after(data.get("after") or (), where)
        role = Role(
            name=name,
            stage=_one_of(data.get("stage"), ROLE_STAGES, f"{where}:stage"),
            members=tuple(members),
            after=after,
            after_here=here,
            start=_one_of(data.get("start", "together"), STARTS, f"{where}:start"),
            quorum=_one_of(data.get("quorum", "none"), ("none", "majority"), f"{where}:quorum"),
            form=str(data.get("form") or ""),
        )
        if found and role != found[0][1]:
            raise ModelError(
                f"{found[0][0]} and {node} declare the lifecycle of {name} differently",
                cure="Only the health checks of a role may differ from node to node",
            )
        found.append((node, role))
        health = data.get("health") or ()
        if isinstance(health, str | Mapping) or not all(isinstance(c, Mapping) for c in health):
            raise ModelError("must be a list of mappings", where=f"{where}:health")
        checks[node] = tuple(dict(check) for check in health)
    return replace(found[0][1], checks=checks)


def _one_of(value: Any, allowed: Sequence[str], where: str) -> str:
    if value not in allowed:
        raise ModelError(f"{value!r} is not one of {', '.join(allowed)}", where=where)
    return str(value)


def _read_after(entries: Any, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split ``after`` into what must be done everywhere and what only on the node itself."""
    everywhere: list[str] = []
    here: list[str] = []
    if isinstance(entries, str | Mapping):
        raise ModelError("must be a list", where=f"{where}:after")
    for entry in entries:
        if isinstance(entry, str):
            everywhere.append(entry)
        elif isinstance(entry, Mapping) and set(entry) <= {"role", "scope"} and "role" in entry:
            scope = _one_of(entry.get("scope", "cluster"), SCOPES, f"{where}:after:scope")
            (here if scope == "node" else everywhere).append(str(entry["role"]))
        else:
            raise ModelError(
                f"{entry!r} is neither a role nor {{role: …, scope: cluster|node}}",
                where=f"{where}:after",
            )
    return tuple(sorted(set(everywhere))), tuple(sorted(set(here) - set(everywhere)))


def make_plan(cluster: str, nodes: Mapping[str, Node], known: Collection[str] = ()) -> StagePlan:
    """Make the plan of a cluster.

    :param cluster: its name
    :param nodes: compiled nodes by minion id
    :param known: roles that exist, see :func:`read_roles`
    :raises ModelError: see :func:`read_roles`; also a circle in ``after``
    """
    roles = read_roles(nodes, known)
    return StagePlan(cluster, tuple(_make_stage(name, roles) for name in STAGES))


def _make_stage(name: str, roles: Mapping[str, Role]) -> Stage:
    mine = {role.name: role for role in roles.values() if role.stage == name}
    order = order_levels(mine)
    checks = tuple(
        Check(node, role.name, role.checks[node])
        for level in order
        for role in level
        for node in role.members
        if role.checks.get(node)
    )
    return Stage(name, tuple(_make_level(level) for level in order), checks)


def order_levels(roles: Mapping[str, Role]) -> list[list[Role]]:
    """Put roles of one stage in levels; within a level, in an order that holds on a node.

    A predecessor everywhere must be in an earlier level; a predecessor on the same node may
    share the level if it comes before.

    :param roles: by name; predecessors that are not among them are taken as done
    :raises ModelError: they wait for each other
    """
    done: dict[str, int] = {}
    order: list[Role] = []
    while len(order) < len(roles):
        ready = [
            role
            for name, role in sorted(roles.items())
            if name not in done
            and all(o in done for o in (*role.after, *role.after_here) if o in roles)
        ]
        if not ready:
            left = [name for name in sorted(roles) if name not in done]
            circle = " -> ".join(_circle(left, roles))
            raise ModelError(f"the roles wait for each other: {circle}", where="lifecycle:after")
        for role in ready:
            earlier = [done[o] + 1 for o in role.after if o in roles]
            beside = [
                # a role that is only complete once it is formed cannot share its level
                done[o] + (1 if roles[o].form else 0)
                for o in role.after_here
                if o in roles
            ]
            done[role.name] = max([0, *earlier, *beside])
            order.append(role)
    depth = max(done.values(), default=-1) + 1
    return [[role for role in order if done[role.name] == level] for level in range(depth)]


def _circle(left: Iterable[str], roles: Mapping[str, Role]) -> list[str]:
    """Find one circle among roles that all wait for another one of them."""
    waiting = set(left)
    path = [min(waiting)]
    while True:
        role = roles[path[-1]]
        following = min(o for o in (*role.after, *role.after_here) if o in waiting)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _make_level(roles: Sequence[Role]) -> Level:
    """Lay out the steps of one level; ``roles`` come in an order that holds on a node."""
    at: dict[tuple[str, str], int] = {}  # (role, node) -> step
    present = {role.name for role in roles}
    # Roles that restrict how their members converge come first: the others follow them on the
    # same node, so that a node takes as few applies as can be.
    for role in _restricted_first(roles):
        lowest = 0
        for wave in _waves(role):
            for node in wave:
                here = [at[o, node] for o in role.after_here if o in present and (o, node) in at]
                others = [step for (_, n), step in at.items() if n == node]
                earliest = max([lowest, *here])
                if role.start == "together" and others:
                    later = [step for step in others if step >= earliest]
                    earliest = min(later) if later else earliest
                at[role.name, node] = earliest
            lowest = max(at[role.name, node] for node in wave) + 1
    depth = max(at.values(), default=-1) + 1
    steps = []
    for step in range(depth):
        groups: dict[tuple[str, ...], list[str]] = {}
        for node in sorted({n for (_, n), s in at.items() if s == step}):
            names = tuple(role.name for role in roles if at.get((role.name, node)) == step)
            groups.setdefault(names, []).append(node)
        steps.append(tuple(Group(tuple(ids), names) for names, ids in groups.items()))
    forms = tuple(Form(role.name, role.form, role.members) for role in roles if role.form)
    return Level(tuple(steps), forms)


def _restricted_first(roles: Sequence[Role]) -> list[Role]:
    """Order by predecessors on the node, and before that: restricted ones early."""
    left = list(roles)
    names = {role.name for role in roles}
    placed: set[str] = set()
    ordered: list[Role] = []
    while left:
        ready = [r for r in left if all(o in placed for o in r.after_here if o in names)]
        role = next((r for r in ready if r.start != "together"), ready[0])
        left.remove(role)
        placed.add(role.name)
        ordered.append(role)
    return ordered


def _waves(role: Role) -> list[tuple[str, ...]]:
    """Split the members of a role into what may converge at the same time, in order."""
    first = len(role.members) if role.start == "together" else 1
    waves = [role.members[:first]]
    rest = role.members[first:]
    size = role.at_once
    waves += [rest[i : i + size] for i in range(0, len(rest), size)]
    return waves
