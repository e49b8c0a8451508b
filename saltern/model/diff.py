"""What differs between two revisions of the model, in what the nodes are served.

Rendered data is compared, not files: a class that moved and changed nothing makes no difference,
and one line in a class that reaches 80 nodes is told once, with the 80.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import msgpack

from saltern.model import redact
from saltern.model.cluster import CompiledNode, assemble
from saltern.model.redact import KeyPath, Schemas
from saltern.model.store import Revision

#: keys that the compiler writes; they are told in other words
_AUTOMATIC = ("__reclass__", "_reclass_", "topology")
_ABSENT: Any = object()


class Side(Protocol):
    """One revision, as :class:`saltern.model.store.Revision` offers it."""

    @property
    def id(self) -> str:
        """Id of the revision."""

    def nodes(self, cluster: str | None = None) -> list[str]:
        """Ids of its nodes."""

    def cluster_of(self, node_id: str) -> str:
        """Cluster of a node."""

    def node(self, node_id: str) -> CompiledNode:
        """A compiled node; secrets are still ciphertext."""

    def digest(self, node_id: str) -> str:
        """Hash of what it is served, topology and revision aside."""

    def topology(self, cluster: str) -> dict[str, Any] | None:
        """Who is where in a cluster."""


@dataclass(frozen=True)
class Snapshot:
    """A revision that is at hand as compiled nodes; a :class:`Side`.

    :param compiled: cluster -> node id -> compiled node
    """

    id: str
    compiled: Mapping[str, Mapping[str, CompiledNode]]

    def nodes(self, cluster: str | None = None) -> list[str]:
        """Return the ids of its nodes, sorted."""
        return sorted(
            node
            for name, nodes in self.compiled.items()
            if cluster in (None, name)
            for node in nodes
        )

    def cluster_of(self, node_id: str) -> str:
        """Return the cluster of a node."""
        return next(name for name, nodes in self.compiled.items() if node_id in nodes)

    def node(self, node_id: str) -> CompiledNode:
        """Return a compiled node."""
        return self.compiled[self.cluster_of(node_id)][node_id]

    def digest(self, node_id: str) -> str:
        """Return a hash of what a node is served, topology and revision aside."""
        node = self.node(node_id)
        pillar = {name: value for name, value in node.pillar.items() if name not in _AUTOMATIC}
        rest = [node.applications, node.classes, node.environment, node.host]
        return hashlib.sha256(_text([pillar, *rest]).encode()).hexdigest()

    def topology(self, cluster: str) -> dict[str, Any] | None:
        """Return who is where in a cluster."""
        for node in self.compiled.get(cluster, {}).values():
            found: dict[str, Any] | None = node.pillar.get("topology")
            return found
        return None


@dataclass(frozen=True)
class Change:
    """One key that differs; secrets are hashes.

    ``kind``: ``added``, ``removed``, ``changed``; for lists ``items`` (``before`` holds the items
    that went, ``after`` those that came) or ``order``. ``hidden``: ``ciphertext`` or ``secret``
    when that is what changed, else empty. ``<id>``, ``<name>`` and ``<address>`` in a value stand
    for those of each node.
    """

    path: str
    kind: str
    before: Any
    after: Any
    hidden: str = ""


@dataclass(frozen=True)
class Group:
    """The same change on some nodes of a cluster; ``role`` is empty for keys of no role."""

    cluster: str
    role: str
    nodes: tuple[str, ...]
    change: Change


@dataclass(frozen=True)
class Membership:
    """Nodes that got (``added``) or lost (``removed``) a role or a class.

    ``order``: they have the same ones in another order; the name is empty.
    """

    cluster: str
    kind: str
    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class NodeChange:
    """A node that came or went, with the roles that it has or had."""

    cluster: str
    node: str
    roles: tuple[str, ...]


@dataclass
class Difference:
    """Everything that differs between two revisions. False when nothing does."""

    before: str
    after: str
    #: cluster -> nodes on either side
    everyone: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nodes_added: list[NodeChange] = field(default_factory=list)
    nodes_removed: list[NodeChange] = field(default_factory=list)
    roles: list[Membership] = field(default_factory=list)
    classes: list[Membership] = field(default_factory=list)
    environments: list[Membership] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.nodes_added
            or self.nodes_removed
            or self.roles
            or self.classes
            or self.environments
            or self.groups
        )

    def nodes(self) -> list[str]:
        """Return the ids of all nodes that came, went or differ, sorted."""
        found = {change.node for change in self.nodes_added + self.nodes_removed}
        for some in (self.roles, self.classes, self.environments):
            found.update(node for membership in some for node in membership.nodes)
        found.update(node for group in self.groups for node in group.nodes)
        return sorted(found)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the nodes that do not differ."""
        data = asdict(self)
        del data["everyone"]
        return {**data, "nodes": self.nodes()}


def compare(
    before: Side,
    after: Side,
    *,
    key: bytes,
    schemas: Schemas = lambda role: None,
    cluster: str | None = None,
    only: Iterable[str] | None = None,
) -> Difference:
    """Compare what the nodes of two revisions are served.

    :param before: the earlier revision
    :param after: the later one
    :param key: secrets are hashed with it, see :func:`saltern.model.redact.read_key`
    :param schemas: role to its JSON schema, which says what is secret
    :param cluster: compare this cluster only
    :param only: compare these nodes only
    """
    old, new = set(before.nodes(cluster)), set(after.nodes(cluster))
    if only is not None:
        wanted = set(only)
        old, new = old & wanted, new & wanted
    found = Difference(before.id, after.id)
    clusters: dict[str, set[str]] = {}
    for node in old | new:
        clusters.setdefault((after if node in new else before).cluster_of(node), set()).add(node)
    found.everyone = {name: tuple(sorted(clusters[name])) for name in sorted(clusters)}
    for name, nodes in found.everyone.items():
        collector = _Collector(found, name, key, schemas)
        for node_id in nodes:
            if node_id in old and node_id in new:
                collector.members.append(node_id)
                if before.digest(node_id) != after.digest(node_id):
                    collector.both(_bare(before, node_id), _bare(after, node_id))
            elif node_id in new:
                collector.one(_bare(after, node_id), found.nodes_added)
            else:
                collector.one(_bare(before, node_id), found.nodes_removed)
        collector.close(before.topology(name), after.topology(name))
    return found


def _bare(side: Side, node_id: str) -> CompiledNode:
    """A node whose topology is not asked for: the bigger the cluster, the more it costs."""
    if isinstance(side, Revision):
        return assemble(side.record(node_id), None, side.id)
    return side.node(node_id)


def differences(before: Any, after: Any, path: KeyPath = ()) -> Iterator[RawChange]:
    """Yield what differs between two trees of plain data: the smallest parts, secrets as they are.

    Lists of equal length are compared item by item where both items are containers; else the
    items that went and came are told. ``1``, ``true`` and ``"1"`` differ.

    :param path: where the data lies
    """
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in _differing(before, after):
            here = (*path, str(name))
            if name not in before:
                yield from _whole(here, "added", after[name])
            elif name not in after:
                yield from _whole(here, "removed", before[name])
            else:
                yield from differences(before[name], after[name], here)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(before, after, path)
    elif type(before) is not type(after) or before != after:
        yield RawChange(path, "changed", before, after)


def _differing(before: dict[Any, Any], after: dict[Any, Any]) -> list[Any]:
    """Return the keys at which two dictionaries may differ, sorted; most are equal, so quickly."""
    names = [name for name in after if name not in before]
    for name, one in before.items():
        two = after.get(name, _ABSENT)
        kind = type(one)
        if kind is dict or kind is list:
            # packed data is equal only when types are, too; another order of keys is looked into
            if kind is type(two) and _packed(one) == _packed(two):
                continue
        elif kind is type(two) and one == two:
            continue
        names.append(name)
    return sorted(names, key=str)


def _packed(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, default=str)
    except (ValueError, OverflowError):  # very deep, or a very large number
        return _text(value).encode()
    return packed


@dataclass(frozen=True)
class RawChange:
    """One key that differs, secrets as they are: for comparing, never for showing."""

    path: KeyPath
    kind: str
    before: Any
    after: Any


def joined(path: KeyPath) -> str:
    """Return a key path as people write it: ``a:b``, a colon inside a key as ``\\:``."""
    return ":".join(part.replace(":", "\\:") for part in path)


def role_of(path: KeyPath, roles: Iterable[str]) -> str:
    """Return the role that a key of a pillar belongs to, or nothing.

    :param path: key path
    :param roles: applications of the node, ``service.role`` (or ``service``)
    """
    if path[:1] == ("lifecycle",) and len(path) > 1:
        return path[1]
    best = ""
    for role in roles:
        own = tuple(role.split("."))
        if path[: len(own)] == own and len(role) > len(best):
            best = role
    return best


def _whole(path: KeyPath, kind: str, value: Any) -> Iterator[RawChange]:
    """A key that came or went; the first level is opened, so that it finds its role."""
    if len(path) == 1 and isinstance(value, dict) and value:
        for name in sorted(value, key=str):
            yield from _whole((*path, str(name)), kind, value[name])
    elif kind == "added":
        yield RawChange(path, kind, None, value)
    else:
        yield RawChange(path, kind, value, None)


def _lists(before: list[Any], after: list[Any], path: KeyPath) -> Iterator[RawChange]:
    containers = (dict, list)
    if len(before) == len(after):
        pairs = list(zip(before, after, strict=True))
        differing = [n for n, (one, two) in enumerate(pairs) if _text(one) != _text(two)]
        # an item that was replaced by another one is no edit of it
        edited = all(
            type(pairs[n][0]) is type(pairs[n][1]) and isinstance(pairs[n][0], containers)
            for n in differing
        )
        if edited and sorted(map(_text, before)) != sorted(map(_text, after)):
            for n in differing:
                yield from differences(*pairs[n], (*path, str(n)))
            return
    came, went = list(after), []
    left = [_text(item) for item in after]
    for item in before:
        text = _text(item)
        if text in left:
            n = left.index(text)
            del left[n], came[n]
        else:
            went.append(item)
    if came or went:
        yield RawChange(path, "items", went, came)
    elif [_text(item) for item in before] != [_text(item) for item in after]:
        yield RawChange(path, "order", before, after)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _shown(
    raw: RawChange, key: bytes, known: tuple[frozenset[KeyPath], frozenset[KeyPath]]
) -> Change:
    """The change without secrets."""
    hidden = ""
    before = redact.masked(raw.before, key, raw.path, known[0])
    after = redact.masked(raw.after, key, raw.path, known[1])
    if raw.kind == "changed":
        if redact.is_hash(before) or redact.is_hash(after):
            both = redact.encrypted(raw.before) and redact.encrypted(raw.after)
            hidden = "ciphertext" if both else "secret"
        elif redact.encrypted(raw.before) and redact.encrypted(raw.after):
            # text around ciphertext: the same text means that only the ciphertext differs
            same = _HASH.sub("", str(before)) == _HASH.sub("", str(after))
            hidden = "ciphertext" if same else ""
    return Change(joined(raw.path), raw.kind, before, after, hidden)


_HASH = re.compile(r"secret:[0-9a-f]{8}")


class _Collector:
    """Gathers the changes of one cluster and tells those that are alike once."""

    def __init__(self, found: Difference, cluster: str, key: bytes, schemas: Schemas) -> None:
        self.found = found
        self.cluster = cluster
        self.key = key
        self.schemas = schemas
        self.members: list[str] = []
        self._roles: dict[tuple[str, str], list[str]] = {}
        self._classes: dict[tuple[str, str], list[str]] = {}
        self._environments: dict[tuple[str, str], list[str]] = {}
        # (role, path) -> node -> the change, and what leaves the node's own names out of it
        self._changes: dict[tuple[str, str], dict[str, tuple[Change, _Neutral]]] = {}

    def one(self, node: CompiledNode, target: list[NodeChange]) -> None:
        """A node that is on one side only."""
        target.append(NodeChange(self.cluster, node.id, tuple(node.applications)))

    def both(self, before: CompiledNode, after: CompiledNode) -> None:
        """A node that is on both sides."""
        node = after.id
        _membership(self._roles, before.applications, after.applications, node)
        _membership(self._classes, before.classes, after.classes, node)
        if before.environment != after.environment:
            name = f"{before.environment} -> {after.environment}"
            self._environments.setdefault(("changed", name), []).append(node)
        raws = list(
            differences(
                {name: value for name, value in before.pillar.items() if name not in _AUTOMATIC},
                {name: value for name, value in after.pillar.items() if name not in _AUTOMATIC},
            )
        )
        if not raws:
            return
        known = (
            redact.marked(before.pillar, before.applications, self.schemas),
            redact.marked(after.pillar, after.applications, self.schemas),
        )
        roles = [*after.applications, *before.applications]
        neutral = _Neutral(before.id, before.host, after.host)
        for raw in raws:
            change = _shown(raw, self.key, known)
            table = self._changes.setdefault((role_of(raw.path, roles), change.path), {})
            table[node] = (change, neutral)

    def close(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        """Write what was gathered into the difference.

        :param before: the cluster's topology, the same on all of its nodes
        """
        found = self.found
        if self.members:
            for raw in differences(before or {}, after or {}, ("topology",)):
                change = _shown(raw, self.key, (frozenset(), frozenset()))
                found.groups.append(Group(self.cluster, "", tuple(self.members), change))
        for table, target in (
            (self._roles, found.roles),
            (self._classes, found.classes),
            (self._environments, found.environments),
        ):
            for (kind, name), nodes in table.items():
                target.append(Membership(self.cluster, kind, name, tuple(nodes)))
        for (role, _), table_ in sorted(self._changes.items()):
            for change, nodes in _alike(table_):
                found.groups.append(Group(self.cluster, role, tuple(nodes), change))


def _alike(table: Mapping[str, tuple[Change, _Neutral]]) -> Iterator[tuple[Change, list[str]]]:
    """Join equal changes: as they are, else with each node's own names left out."""
    plain: dict[str, list[str]] = {}
    for node, (change, _) in table.items():
        plain.setdefault(_text([change.kind, change.before, change.after]), []).append(node)
    if len(plain) == 1:
        yield table[next(iter(table))][0], list(table)
        return
    neutral: dict[str, tuple[Change, list[list[str]]]] = {}
    for nodes in plain.values():
        change, leave_out = table[nodes[0]]
        changed = leave_out(change)
        entry = neutral.setdefault(
            _text([changed.kind, changed.before, changed.after]), (changed, [])
        )
        entry[1].append(nodes)
    for changed, groups in neutral.values():
        nodes = sorted(node for group in groups for node in group)
        yield table[nodes[0]][0] if len(groups) == 1 else changed, nodes


def _membership(
    table: dict[tuple[str, str], list[str]], before: list[str], after: list[str], node: str
) -> None:
    for kind, names, others in (("added", after, before), ("removed", before, after)):
        for name in names:
            if name not in others:
                table.setdefault((kind, name), []).append(node)
    if before != after and sorted(before) == sorted(after):
        table.setdefault(("order", ""), []).append(node)


@dataclass(frozen=True)
class _Neutral:
    """Puts ``<id>``, ``<address>`` and ``<name>`` for a node's own, on either side."""

    node: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    def __call__(self, change: Change) -> Change:
        """Return the change without them, unless those are what changed."""
        one = _mapped(change.before, _names(self.node, self.before))
        two = _mapped(change.after, _names(self.node, self.after))
        if _text(one) == _text(two):
            return change
        return Change(change.path, change.kind, one, two, change.hidden)


def _names(node: str, host: Mapping[str, Any]) -> Callable[[str], str]:
    places = {node: "<id>"}
    if host.get("address"):
        places[str(host["address"])] = "<address>"
    name = str(host.get("name") or node.partition(".")[0])
    # a name without a number may be any word
    if any(letter.isdigit() for letter in name):
        places.setdefault(name, "<name>")
    either = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w.-])(?:{either})(?![\w-])(?!\.\d)")
    return lambda text: pattern.sub(lambda found: places[found.group()], text)


def _mapped(value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, dict):
        return {replace(str(name)): _mapped(item, replace) for name, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, replace) for item in value]
    return value
