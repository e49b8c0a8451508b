"""What a change of the model would do on the hosts: states, files and restarts.

Nothing here is guessed from names: the states of both sides were rendered by Salt from what each
node is served, and are compared here. From a state that differs the requisites are followed, as
Salt does, to what it triggers.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from saltern.model import redact
from saltern.model.diff import Difference, Side

#: requisites after which a state runs at all, and those after which it does more
_RUNS = ("onchanges", "onchanges_any")
_WATCHES = ("watch", "watch_any", "listen")
#: what a change of ``service.*`` does to the daemon
_SERVICE = {"running": "start", "dead": "stop"}


@dataclass(frozen=True)
class State:
    """One low chunk; values are hashes, so two sides can be compared and nothing is shown.

    ``content`` is the hash of the file that it writes from a source; ``problem`` says why that
    is not known. ``reacts``: it does more when something that it watches has changed.
    ``triggers``: requisite to [state module, id or name].
    """

    sls: str
    id: str
    state: str
    fun: str
    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    problem: str = ""
    reacts: bool = False
    reload: bool = False
    triggers: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)

    @property
    def function(self) -> str:
        """``file.managed``."""
        return f"{self.state}.{self.fun}"

    def same(self, other: State) -> bool:
        """Return whether both do the same."""
        return not self.differs(other)

    def differs(self, other: State) -> tuple[str, ...]:
        """Return what is different: arguments, ``name``, ``function``, ``content``."""
        names = sorted({*self.arguments, *other.arguments})
        found = [n for n in names if self.arguments.get(n) != other.arguments.get(n)]
        if self.name != other.name:
            found.insert(0, "name")
        if self.function != other.function:
            found.insert(0, "function")
        if self.content != other.content or self.problem or other.problem:
            found.append("content" if not (self.problem or other.problem) else "content unknown")
        # the data of a template is what its content is made of
        if "content" in found or (self.content and self.content == other.content):
            found = [name for name in found if name not in ("context", "defaults")]
        return tuple(found)


@dataclass(frozen=True)
class Touch:
    """A state that would do something else than before.

    ``kind``: ``added``, ``changed``, ``removed`` (Salt no longer cares for it; nothing is undone
    on the host) or ``triggered`` by another one. ``what``: what differs, or what triggers it.
    """

    kind: str
    function: str
    name: str
    what: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether it writes or removes a file."""
        return self.function.startswith("file.")


@dataclass(frozen=True)
class Restart:
    """What would happen to a service: ``restart``, ``reload``, ``start`` or ``stop``."""

    action: str
    service: str
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoleImpact:
    """What changes for a role of a node; ``error`` says why that is not known."""

    role: str
    touches: tuple[Touch, ...] = ()
    restarts: tuple[Restart, ...] = ()
    error: str = ""

    def __bool__(self) -> bool:
        return bool(self.touches or self.restarts or self.error)


@dataclass(frozen=True)
class NodeImpact:
    """What changes on a node.

    ``kind``: ``changed``, ``added`` or ``removed``. ``pillar`` are the roles whose own data
    differs; ``roles`` those whose states do, or could not be rendered.
    """

    cluster: str
    node: str
    kind: str
    pillar: tuple[str, ...] = ()
    roles: tuple[RoleImpact, ...] = ()


@dataclass
class Impact:
    """What would be touched between two revisions.

    ``rendered`` is False when states could not be rendered at all, ``note`` says why; then only
    nodes and the roles whose data differs are known. ``unknown`` are roles without a formula.
    """

    before: str
    after: str
    rendered: bool = True
    note: str = ""
    everyone: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nodes: list[NodeImpact] = field(default_factory=list)
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nodes)

    def roles(self) -> list[str]:
        """Return every role that is touched anywhere, sorted."""
        found = {role.role for node in self.nodes for role in node.roles if role.role}
        return sorted(found | {role for node in self.nodes for role in node.pillar})

    def formulas(self) -> list[str]:
        """Return the formulas of those roles, sorted."""
        return sorted({role.partition(".")[0] for role in self.roles()})

    def files(self) -> list[str]:
        """Return the path of every file that would be written, sorted."""
        return sorted(
            {
                touch.name
                for node in self.nodes
                for role in node.roles
                for touch in role.touches
                if touch.is_file and touch.kind != "removed"
            }
        )

    def restarts(self) -> dict[str, list[str]]:
        """Return ``restart NAME`` (or reload, start, stop) to the nodes where it happens."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            for role in node.roles:
                for restart in role.restarts:
                    nodes = found.setdefault(f"{restart.action} {restart.service}", [])
                    if node.node not in nodes:
                        nodes.append(node.node)
        return {name: found[name] for name in sorted(found)}

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = asdict(self)
        del data["everyone"]
        return {
            **data,
            "roles": self.roles(),
            "formulas": self.formulas(),
            "files": self.files(),
            "restarts": self.restarts(),
        }


@dataclass(frozen=True)
class States:
    """What was rendered for a node: states, and errors and roles without a formula."""

    states: tuple[State, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @classmethod
    def build(cls, states: Iterable[Mapping[str, Any]], **more: Any) -> States:
        """Make it from plain data, as :mod:`saltern.adapters.render` gives it."""
        return cls(tuple(State(**entry) for entry in states), **more)


#: (side, node id, roles) of what to render -> what was rendered, by side and node
Job = tuple[str, str, Mapping[str, Any], tuple[str, ...]]
RenderAll = Callable[[list[Job]], Mapping[tuple[str, str], States]]


def impact(
    before: Side,
    after: Side,
    difference: Difference,
    render: RenderAll | None,
    *,
    key: bytes,
    note: str = "",
    formulas_differ: bool = False,
) -> Impact:
    """Say what would be touched.

    A node is rendered with all of its roles when anything differs that one of them could read:
    its own data, the topology of its cluster, or the formulas. Roles are not told apart before
    that, since a formula may read any key and a state may watch one of another role.

    :param before: the revision that is on the hosts
    :param after: the one that would come
    :param difference: what :func:`saltern.model.diff.compare` found between the two
    :param render: renders nodes: (``before`` or ``after``, node id, pillar, roles) each; None when
        that is impossible here, for the reason in ``note``
    :param key: for tokens in place of ciphertext
    :param formulas_differ: the two sides have different formulas: every node is rendered
    """
    found = Impact(difference.before, difference.after, render is not None, note)
    found.everyone = difference.everyone
    old = set(before.nodes()) & {n for nodes in found.everyone.values() for n in nodes}
    new = set(after.nodes()) & {n for nodes in found.everyone.values() for n in nodes}
    data: dict[str, set[str]] = {}
    for group in difference.groups:
        for node_id in group.nodes:
            data.setdefault(node_id, set()).update({group.role} - {""})
    for membership in difference.roles:
        for node_id in membership.nodes:
            data.setdefault(node_id, set()).update({membership.name} - {""})
    affected = set(difference.nodes()) | (old & new if formulas_differ else set())
    jobs: list[Job] = []
    if render is not None:
        for name, side, present in (("before", before, old & new), ("after", after, new)):
            for node_id in sorted(affected & present):
                node = side.node(node_id)
                pillar = redact.opaque(node.pillar, key)
                sentinel = pillar.get("__reclass__")
                if isinstance(sentinel, dict):
                    # another revision alone touches nothing
                    pillar["__reclass__"] = {**sentinel, "revision": ""}
                jobs.append((name, node_id, pillar, tuple(node.applications)))
    rendered = render(jobs) if render is not None and jobs else {}
    unknown: set[str] = set()
    for cluster, members in found.everyone.items():
        for node_id in members:
            if node_id not in affected:
                continue
            one = rendered.get(("before", node_id), States())
            two = rendered.get(("after", node_id), States())
            unknown.update(one.unknown, two.unknown)
            if node_id not in new:
                found.nodes.append(NodeImpact(cluster, node_id, "removed"))
                continue
            kind = "changed" if node_id in old else "added"
            roles = after.node(node_id).applications
            touched = compare_states(one, two, roles) if rendered else ()
            if kind == "added" and not rendered:
                touched = tuple(RoleImpact(role) for role in roles)
            pillar_roles = tuple(sorted(data.get(node_id, ())))
            if kind == "changed" and not touched and node_id not in difference.nodes():
                continue  # its formulas differ in nothing that it uses
            found.nodes.append(NodeImpact(cluster, node_id, kind, pillar_roles, touched))
    found.unknown = tuple(sorted(unknown))
    return found


def compare_states(before: States, after: States, roles: Sequence[str]) -> tuple[RoleImpact, ...]:
    """Compare the states of one node.

    :param roles: its roles afterwards; a state belongs to the one whose SLS it is in
    :returns: one entry per role that is touched, in the order of the roles
    """
    pairs, gone = _pairs(before.states, after.states)
    changed: dict[int, tuple[str, tuple[str, ...]]] = {}
    for n, (old, new) in enumerate(pairs):
        if old is None:
            changed[n] = ("added", ())
        elif old.differs(new):
            changed[n] = ("changed", old.differs(new))
    reached = _reached([new for _, new in pairs], changed)
    touches: dict[str, list[Touch]] = {}
    restarts: dict[str, list[Restart]] = {}
    for n, (old, new) in enumerate(pairs):
        if n not in reached:
            continue
        role = _role(new.sls, roles)
        because = reached[n]
        kind, what = changed.get(n, ("triggered", because))
        if n in changed and any(new.triggers.get(k) for k in _RUNS):
            # it runs only because something triggers it
            what = because
        action = _action(old, new, bool(because), kind)
        if action:
            service = Restart(action, new.name, because)
            if service not in restarts.setdefault(role, []):
                restarts[role].append(service)
        elif new.state != "service" or kind != "triggered":
            touches.setdefault(role, []).append(Touch(kind, new.function, new.name, what))
    for state in gone:
        touches.setdefault(_role(state.sls, roles), []).append(
            Touch("removed", state.function, state.name)
        )
    errors = {**before.errors, **after.errors}
    names = [*roles, *sorted({*touches, *restarts, *errors} - set(roles))]
    found = [
        RoleImpact(
            name,
            tuple(dict.fromkeys(touches.get(name, ()))),
            tuple(restarts.get(name, ())),
            errors.get(name, ""),
        )
        for name in names
    ]
    return tuple(entry for entry in found if entry)


def _pairs(
    before: Sequence[State], after: Sequence[State]
) -> tuple[list[tuple[State | None, State]], list[State]]:
    """Each later state with the earlier one that it follows, and the earlier ones left over."""
    left = dict(enumerate(before))
    found: dict[int, State] = {}
    keys: tuple[Callable[[State], tuple[str, ...]], ...] = (
        lambda s: (s.state, s.id, s.name),
        # a new id or a new name alone is the same state still
        lambda s: (s.state, s.name),
        lambda s: (s.state, s.id),
    )
    for key in keys:
        places: dict[tuple[str, ...], list[int]] = {}
        for n, state in left.items():
            places.setdefault(key(state), []).append(n)
        for n, state in enumerate(after):
            if n not in found and places.get(key(state)):
                found[n] = left.pop(places[key(state)].pop(0))
    return [(found.get(n), state) for n, state in enumerate(after)], list(left.values())


def _reached(
    states: Sequence[State], changed: Mapping[int, tuple[str, tuple[str, ...]]]
) -> dict[int, tuple[str, ...]]:
    """Return the states that act, with what triggers each.

    Source: Salt's requisites: ``onchanges`` runs a state only after a change, ``watch`` and
    ``listen`` call ``mod_watch`` after one.
    """
    targets = [
        (n, kind, _matching(states, entry))
        for n, state in enumerate(states)
        for kind, entries in state.triggers.items()
        if kind in _RUNS or kind in _WATCHES
        for entry in entries
    ]
    waits = {n for n, state in enumerate(states) if any(state.triggers.get(k) for k in _RUNS)}
    reached: dict[int, list[str]] = {n: [] for n in changed if n not in waits}
    grew = True
    while grew:
        grew = False
        for n, kind, sources in targets:
            if kind in _WATCHES and not states[n].reacts:
                continue
            for source in sources:
                if source not in reached or source == n:
                    continue
                because = reached.setdefault(n, [])
                if states[source].name not in because:
                    because.append(states[source].name)
                    grew = True
    return {n: tuple(because) for n, because in reached.items()}


def _matching(states: Sequence[State], entry: Sequence[str]) -> list[int]:
    kind, name = entry
    return [
        n
        for n, state in enumerate(states)
        if (kind == "sls" and state.sls == name)
        or (
            kind in ("", state.state)
            and (state.id == name or state.name == name or fnmatch.fnmatch(state.name, name))
        )
    ]


def _action(old: State | None, new: State, triggered: bool, kind: str) -> str:
    """What happens to the daemon of a service state, if anything."""
    if new.state != "service" or new.fun not in _SERVICE:
        return ""
    if old is None or old.fun != new.fun or old.name != new.name:
        return _SERVICE[new.fun]
    if triggered and new.fun == "running":
        return "reload" if new.reload else "restart"
    return ""


def _role(sls: str, roles: Sequence[str]) -> str:
    if sls in roles:
        return sls
    service = sls.partition(".")[0]
    # an SLS that a role includes
    return next((role for role in roles if role.partition(".")[0] == service), sls)
