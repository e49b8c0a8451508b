"""What the roles of a cluster declare about being worked on: limits, drain, impact, probes.

Order, health and quorum are read by :mod:`saltern.rollout.stages`; here is what only a plan asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from saltern.errors import PlanError, PreflightError
from saltern.plan import actions
from saltern.plan.actions import Action, Operation, Question, fill
from saltern.plan.types import ALWAYS, NEVER, REVERSIBLE, UNTIL_WRITE, Impact, PlannedCall
from saltern.rollout import keeping, stages

#: carries the master; whatever stops it stops the rollout
MASTER = "salt.master"
#: of a drain: only where daemons stop; of an order: the last name first
STOP, REVERSE = "stop", "reverse"


class Node(stages.Node, Protocol):
    """What is read of a compiled node; :class:`saltern.model.cluster.CompiledNode` has it."""

    @property
    def host(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Limit:
    """How many members of a role may be out of service at once.

    :param amount: a number of nodes, or a share in percent
    :param domain: key of the node's ``host`` that names its failure domain; empty: the cluster
    :param domains: in how many of them nodes may be out of service at the same time
    """

    amount: int = 1
    percent: bool = False
    domain: str = ""
    domains: int = 1

    def of(self, members: int) -> int:
        """Return how many of so many members that is; a share is one node at least."""
        if not self.percent:
            return self.amount
        return max(1, members * self.amount // 100) if self.amount else 0

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(self.amount)


@dataclass(frozen=True)
class Drain:
    """One thing that takes a node out of service, and what gives it back.

    :param on: members of this role are called; empty: the node itself
    :param what: for people, with the placeholders of :func:`saltern.plan.actions.names_of`
    :param only: :data:`STOP`: only where a wave stops what runs, not where it configures it
    :param closes: clients cannot reach the role until it is given back
    """

    call: str
    undo: str
    on: str = ""
    only: str = ""
    closes: bool = False
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    undo_args: tuple[Any, ...] = ()
    undo_kwargs: Mapping[str, Any] = field(default_factory=dict)
    what: str = ""


@dataclass(frozen=True)
class ProbeSpec:
    """A measurement that a role declares; see :class:`saltern.plan.types.Probe`.

    :param on: measured by a member of this role; empty: by any node
    """

    name: str
    kind: str
    target: str
    on: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    interval: float = 0.25
    timeout: float = 5.0


class Roles:
    """What all roles of a cluster declare.

    :param nodes: compiled nodes by id
    :param known: roles that exist, see :func:`saltern.rollout.stages.read_roles`
    :raises ModelError: see there
    """

    def __init__(self, nodes: Mapping[str, Node], known: Collection[str] = ()) -> None:
        self.nodes = nodes
        self.known = frozenset(known)
        self.by_name = stages.read_roles(nodes, known)
        self._limits: dict[tuple[str, str], Limit] = {}
        self._machines: dict[str, list[str]] | None = None
        self._behind: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}

    def __contains__(self, role: object) -> bool:
        return role in self.by_name

    def of(self, node: str) -> tuple[str, ...]:
        """Roles of a node in the order of its classes, each once; none of an unknown node."""
        found = self.nodes.get(node)
        return tuple(dict.fromkeys(found.applications)) if found else ()

    def members(self, role: str) -> tuple[str, ...]:
        """Nodes that carry a role, sorted; none of an unknown role."""
        found = self.by_name.get(role)
        return found.members if found else ()

    def checks(self, role: str, node: str) -> tuple[Mapping[str, Any], ...]:
        """Health checks of a role on a node."""
        found = self.by_name.get(role)
        return found.checks.get(node, ()) if found else ()

    def limit(self, role: str, node: str) -> Limit:
        """Return ``max_unavailable`` of a role as a node declares it; one node without any."""
        found = self._limits.get((role, node))
        if found is None:
            found = self._limits[role, node] = self._read_limit(role, node)
        return found

    def domain(self, node: str, key: str) -> str:
        """Return the failure domain of a node; nodes without one share the nameless one."""
        return str(self.nodes[node].host.get(key) or "") if key else ""

    def carried(self, node: str) -> tuple[str, ...]:
        """Return the nodes that are machines of a node, sorted: their ``host:parent`` names it."""
        names = {node, node.split(".")[0]}
        return tuple(sorted(n for n, one in self.nodes.items() if one.host.get("parent") in names))

    def dependents(self, node: str, roles: Iterable[str]) -> tuple[str, ...]:
        """List the roles of a node that run on these ones: they wait for them on the node itself.

        :param roles: of the node; they are not in the result
        :returns: directly or through others, in the order of the node's roles
        """
        mine = self.of(node)
        behind = self._behind.get(mine)
        if behind is None:
            here = set(mine)
            behind = {
                name: tuple(o for o in self.by_name[name].after_here if o in here) for name in mine
            }
            self._behind[mine] = behind
        start = set(roles)
        reached = set(start)
        grown = True
        while grown:
            more = {name for name in mine if name not in reached and reached & {*behind[name]}}
            grown = bool(more)
            reached |= more
        return tuple(name for name in mine if name in reached and name not in start)

    def drains(self, role: str, node: str) -> tuple[Drain, ...]:
        """Return how a node is taken out of service for a role; nothing when it need not be.

        :raises PlanError: what is declared is no drain, or nothing gives the node back
        """
        data = self._lifecycle(role, node)
        drain, where = data.get("drain"), f"{node}: lifecycle:{role}:drain"
        if not drain:
            return ()
        if isinstance(drain, str):
            undo = data.get("release")
            if not isinstance(undo, str) or not undo:
                raise PlanError(
                    f"{drain} takes the node out of service and nothing gives it back",
                    where=where,
                    cure=f"Declare lifecycle:{role}:release",
                )
            return (Drain(drain, undo),)
        if not isinstance(drain, list | tuple):
            raise PlanError("is neither a function nor a list", where=where)
        return tuple(_drain(entry, where) for entry in drain)

    def backwards(self, role: str, node: str) -> bool:
        """Whether waves take the members of a role from the last name to the first.

        :raises PlanError: what is declared is no order
        """
        told, where = self._declared(role, node, "order")
        if told not in (None, "name", REVERSE):
            raise PlanError(f"{told!r} is not name or {REVERSE}", where=where)
        return bool(told == REVERSE)

    def fences(self, role: str, node: str) -> tuple[Drain, ...]:
        """Return what refuses writes to a role and what takes them again; nothing without any.

        :raises PlanError: what is declared is none, or nothing takes them again
        """
        told, where = self._declared(role, node, "fence")
        if not told:
            return ()
        if not isinstance(told, list | tuple):
            raise PlanError("is no list", where=where)
        return tuple(_drain(entry, where) for entry in told)

    def units(self, role: str, node: str) -> tuple[str, ...]:
        """Units to restart: ``restart`` of the lifecycle, else those of the health checks."""
        named = self._lifecycle(role, node).get("restart")
        if isinstance(named, list | tuple):
            return tuple(str(unit) for unit in named)
        units = [str(check["unit"]) for check in self.checks(role, node) if "unit" in check]
        return tuple(dict.fromkeys(units))

    def probes(self, role: str, node: str) -> tuple[ProbeSpec, ...]:
        """Measurements that a role declares.

        :raises PlanError: what is declared is none
        """
        where = f"{node}: lifecycle:{role}:probes"
        found = []
        for entry in self._lifecycle(role, node).get("probes") or ():
            if not isinstance(entry, Mapping) or not {"name", "kind", "target"} <= set(entry):
                raise PlanError("a probe needs name, kind and target", where=where)
            found.append(
                ProbeSpec(
                    name=str(entry["name"]),
                    kind=str(entry["kind"]),
                    target=str(entry["target"]),
                    on=str(entry.get("on") or ""),
                    options=dict(entry.get("options") or {}),
                    interval=float(entry.get("interval", 0.25)),
                    timeout=float(entry.get("timeout", 5)),
                )
            )
        return tuple(found)

    def impact(self, role: str, node: str) -> Impact:
        """Say what users may notice while one node of a role is worked on.

        Without a declared one: an only member is down meanwhile, one of several leaves the
        service degraded; a role that runs no unit, or makes a host a host, does nothing to users.
        """
        declared = self._lifecycle(role, node).get("impact")
        told = declared if isinstance(declared, Mapping) else {}
        if "control" in told or "data" in told:
            return actions.read_impact(told, f"{node}: lifecycle:{role}:impact")
        if not self.serves(role, node):
            return Impact()
        members = self.members(role)
        if len(members) == 1:
            return Impact("down", "none", f"{role} runs on {members[0]} alone")
        if self.drains(role, node):
            return Impact("none", "none", f"a node is drained before its {role} is touched")
        return Impact("degraded", "none", f"{role} runs on the other nodes meanwhile")

    def serves(self, role: str, node: str) -> bool:
        """Whether a role runs a unit for others; what makes a host a host does not."""
        if self.by_name[role].stage == stages.ROLE_STAGES[0]:
            return False
        return any("unit" in check for check in self.checks(role, node))

    def reversible(self, role: str, node: str, phase: str = "config") -> str:
        """Return until when a phase of a role can be undone.

        :param phase: of the upgrade; a plain change is ``config``
        """
        told = self._lifecycle(role, node).get("reversible", ALWAYS)
        if isinstance(told, Mapping):
            told = told.get(phase, ALWAYS)
        if told not in REVERSIBLE:
            raise PlanError(
                f"{told!r} is not one of {', '.join(REVERSIBLE)}",
                where=f"{node}: lifecycle:{role}:reversible",
            )
        return str(told)

    def phases(self, role: str, node: str) -> tuple[str, ...]:
        """Phases of an upgrade, none when the role is simply applied."""
        return tuple(str(phase) for phase in self._lifecycle(role, node).get("upgrade") or ())

    def stateful(self, role: str, node: str) -> bool:
        """Whether a role keeps data on its node."""
        return self._lifecycle(role, node).get("stateful") is True

    def before(self, role: str, node: str) -> tuple[Question, ...]:
        """Return what is asked before a wave that disturbs a role, and only then.

        :raises PlanError: what is declared is no check
        """
        return actions.read_questions(*self._declared(role, node, "before"))

    def leave(self, role: str, node: str) -> tuple[Action, ...]:
        """Return what takes a node out of the service of a role for good; nothing without any.

        :raises PlanError: what is declared is none
        """
        kinds = (actions.CALLS, actions.RUNS)
        return actions.read_actions(*self._declared(role, node, "leave"), kinds)

    def prefetch(self, role: str, node: str) -> tuple[Action, ...]:
        """Return what a node fetches before an upgrade touches the first one.

        :raises PlanError: what is declared is none
        """
        return actions.read_actions(*self._declared(role, node, "prefetch"), (actions.CALLS,))

    def precheck(self, role: str, node: str) -> tuple[Mapping[str, Any], ...]:
        """Return what one member is asked before an upgrade touches the first one.

        :raises PlanError: what is declared is no check
        """
        data, where = self._declared(role, node, "precheck")
        asked = actions.read_questions(data, where)
        if any(question.on for question in asked):
            raise PlanError("a member of the role itself is asked, never another one", where=where)
        return tuple(question.check for question in asked)

    def finalize(self, role: str, node: str) -> tuple[Action, ...]:
        """Return what ends an upgrade once every member of a role has it.

        :raises PlanError: what is declared is none
        """
        kinds = (actions.CALLS, actions.RUNS)
        return actions.read_actions(*self._declared(role, node, "finalize"), kinds)

    def operations(self, role: str, node: str) -> dict[str, Operation]:
        """Return the named work that a role offers on a node, by its name within the role.

        :raises PlanError: what is declared is none
        """
        return actions.read_operations(*self._declared(role, node, "operations"))

    def keep(self, role: str, node: str) -> tuple[str, ...] | None:
        """Return the directories of a role that outlive a new image; None: it does not say.

        :raises PlanError: what is declared are no directories
        """
        told, where = self._declared(role, node, "keep")
        if told is None:
            return None
        if not isinstance(told, list | tuple) or not all(isinstance(path, str) for path in told):
            raise PlanError("is no list of directories", where=where)
        try:
            return keeping.checked(told)
        except PreflightError as err:
            raise PlanError(err.sentence, where=where, cure=err.cure) from None

    def _declared(self, role: str, node: str, key: str) -> tuple[Any, str]:
        return self._lifecycle(role, node).get(key), f"{node}: lifecycle:{role}:{key}"

    def _lifecycle(self, role: str, node: str) -> Mapping[str, Any]:
        found = self.nodes[node].lifecycle.get(role)
        return found if isinstance(found, Mapping) else {}

    def _read_limit(self, role: str, node: str) -> Limit:
        data = self._lifecycle(role, node)
        value, domain = data.get("max_unavailable", 1), str(data.get("domain") or "")
        text = str(value)
        number = text.removesuffix("%")
        if isinstance(value, bool) or not number.isdecimal():
            raise PlanError(
                f"{value!r} is neither a number of nodes nor a share in percent",
                where=f"{node}: lifecycle:{role}:max_unavailable",
            )
        several = data.get("domains", 1)
        if isinstance(several, bool) or not isinstance(several, int) or several < 1:
            raise PlanError(
                f"{several!r} is not a number of failure domains, 1 or more",
                where=f"{node}: lifecycle:{role}:domains",
            )
        return Limit(int(number), text.endswith("%"), domain, several)


def worst(values: Iterable[str], order: Sequence[str]) -> str:
    """Return the value that comes last in an order; the first one of it without values."""
    return max(values, key=order.index, default=order[0])


def worst_reversible(values: Iterable[str]) -> str:
    """Return the least reversible of some."""
    return worst(values, (ALWAYS, UNTIL_WRITE, NEVER))


def drain_calls(
    drain: Drain, node: str, host: Mapping[str, Any], on: tuple[str, ...]
) -> tuple[PlannedCall, PlannedCall]:
    """Return the call that takes a node out of service and the one that gives it back.

    :param on: the nodes that are called
    """
    serves = () if on == (node,) else (node,)
    names = actions.names_of(node, host)
    what = fill(drain.what, names) or f"{node.split('.')[0]}: {drain.call}"

    def call(fun: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> PlannedCall:
        filled = fill(list(args), names)
        return PlannedCall(on, fun, tuple(filled), fill(kwargs, names), serves, what)

    return (
        call(drain.call, drain.args, drain.kwargs),
        call(drain.undo, drain.undo_args, drain.undo_kwargs),
    )


def _drain(entry: Any, where: str) -> Drain:
    undo = entry.get("undo") if isinstance(entry, Mapping) else None
    if not isinstance(undo, Mapping) or not entry.get("call") or not undo.get("call"):
        raise PlanError(
            "an entry needs call, and undo with a call of its own that gives the node back",
            where=where,
        )
    if entry.get("only") not in (None, STOP):
        raise PlanError(f"only is {STOP} or left out", where=where)
    return Drain(
        call=str(entry["call"]),
        undo=str(undo["call"]),
        on=str(entry.get("on") or ""),
        only=str(entry.get("only") or ""),
        closes=entry.get("closes") is True,
        args=tuple(entry.get("args") or ()),
        kwargs=dict(entry.get("kwargs") or {}),
        undo_args=tuple(undo.get("args") or ()),
        undo_kwargs=dict(undo.get("kwargs") or {}),
        what=str(entry.get("what") or ""),
    )
