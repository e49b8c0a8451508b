"""An inventory: nodes, the classes they include, and what each node's data becomes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltern.errors import ModelError
from saltern.model import source
from saltern.model.options import Options
from saltern.model.resolve import Fault, MissingReference, Resolver
from saltern.model.source import Source
from saltern.model.tree import Layers, TreeError, build, merge, tokenise

#: how many faults one sentence lists before it counts the rest
_SHOWN = 20
_GENERATED = re.compile(r"^cluster\.(?P<cluster>[^.]+)\.(?P<what>secrets|artifacts)$")
_CURES = {
    "secrets": "Run `saltern model secrets init --cluster {cluster}` to create it",
    "artifacts": "Run `saltern artifact pin` with --cluster {cluster} to create it",
}


@dataclass(frozen=True)
class Member:
    """One file in a node's merge order, and the classes that led to it."""

    source: Source
    chain: tuple[str, ...]


@dataclass
class Merged:
    """A node before its references are resolved."""

    id: str
    path: str
    members: list[Member]
    classes: list[str]
    applications: list[str]
    environment: str
    parameters: dict[str, Any]
    exports: dict[str, Any]


@dataclass
class Node:
    """A compiled node: plain data, no references left.

    ``classes`` is in merge order, ``applications`` without the removed ones.
    """

    id: str
    path: str
    classes: list[str]
    applications: list[str]
    environment: str
    parameters: dict[str, Any]
    exports: dict[str, Any] = field(default_factory=dict)


class Inventory:
    """A model tree on disk, read with reclass semantics.

    A snapshot: file names are listed once; make a new one when the tree has changed (parsed
    files are cached across instances).

    :param path: directory with ``classes/`` and ``nodes/``
    :param options: see :class:`saltern.model.options.Options`
    :raises ModelError: unknown option, unreadable tree, a name defined twice
    """

    def __init__(self, path: str | Path, **options: Any) -> None:
        self.path = Path(path)
        self.options = Options.build(options)
        self.class_files = source.index_classes(self.path / self.options.classes_path)
        nodes = self.path / self.options.nodes_path
        self.node_files = (
            source.index_nodes(nodes, compose=self.options.compose_node_name)
            if nodes.is_dir()
            else {}
        )
        #: classes that count as empty when they are missing (see :meth:`lenient`)
        self.optional: frozenset[str] = frozenset()
        self._ignored = re.compile("|".join(self.options.ignore_class_notfound_regexp))
        # merged prefixes of class lists: (id of the state before, class) -> state after.
        # The states are kept alive by the values, so an id stays unique.
        self._states: dict[tuple[int, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        self._empty: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def nodes(self) -> list[str]:
        """Return all node ids, sorted."""
        return sorted(self.node_files)

    def lenient(self, classes: Iterable[str]) -> Inventory:
        """Return this inventory with some generated classes optional.

        :param classes: class names that are treated as empty when no file defines them
        """
        other = Inventory.__new__(Inventory)
        other.__dict__.update(self.__dict__)
        other.optional = frozenset(classes)
        other._states = {}
        return other

    def load_class(self, name: str) -> Source:
        """Parse one class.

        :raises ModelError: no such class, or its file cannot be read
        """
        top = self.path / self.options.classes_path
        return source.load(top, self.class_files[name], name, self.options)

    def node(self, node_id: str) -> Node:
        """Compile one node.

        :param node_id: file name in ``nodes/`` without extension
        :raises ModelError: one sentence with file, class chain, node and key; all missing
            references of the node are named at once
        """
        merged = self.merged(node_id)
        resolver = self.resolver(merged)
        parameters = resolver.plain(resolver.root)
        exports = resolver.plain(merged.exports)
        self.check(merged, resolver.faults)
        return Node(
            id=node_id,
            path=merged.path,
            classes=merged.classes,
            applications=merged.applications,
            environment=merged.environment,
            parameters=parameters,
            exports=exports,
        )

    def merged(self, node_id: str) -> Merged:
        """Walk a node's classes and merge them; references stay unresolved.

        :raises ModelError: unknown node or class, class cycle, unreadable file
        """
        if node_id not in self.node_files:
            raise ModelError(
                f"node {node_id} has no entry in the model",
                where=str(self.options.nodes_path),
                cure="Add its host to the cluster class and run `saltern model nodes`",
            )
        top = self.path / self.options.nodes_path
        return self._merge(source.load(top, self.node_files[node_id], node_id, self.options))

    def virtual(
        self, name: str, classes: Iterable[str], parameters: Mapping[str, Any] | None = None
    ) -> Merged:
        """Merge a node that has no file.

        :param name: node id to compile as
        :param classes: class names to include
        :param parameters: the node's own parameters, as they would be written
        :raises ModelError: as :meth:`merged`
        """
        tree = build(dict(parameters or {}), strict=self.options.strict)
        return self._merge(
            Source(name, f"(node {name})", tuple(classes), (), tree, {}, None), virtual=True
        )

    def resolver(self, merged: Merged, default: Callable[[str], Any] | None = None) -> Resolver:
        """Return a resolver over a merged node's parameters."""
        return Resolver(merged.parameters, self.options, default)

    def origin(self, node_id: str, path: str | Iterable[str]) -> list[str]:
        """Return the files that set a key or something below it, in merge order.

        The last one has the final word on a scalar.

        :param node_id: node whose class list is searched
        :param path: ``a:b:c`` or the list of its parts
        :returns: paths as ``classes/…`` and ``nodes/…``
        :raises ModelError: as :meth:`merged`
        """
        parts = tuple(path.split(":")) if isinstance(path, str) else tuple(path)
        return [member.source.path for member in _setters(self.merged(node_id).members, parts)]

    def revision(self) -> str:
        """Return a short hash over names and contents of all files: equal trees, equal hash."""
        digest = hashlib.sha256()
        for folder, files in (
            (self.options.classes_path, self.class_files),
            (self.options.nodes_path, self.node_files),
        ):
            for path in sorted(files.values()):
                full = self.path / folder / path
                try:
                    content = full.read_bytes()
                except OSError as err:
                    raise ModelError(f"cannot read {full}: {err.strerror}") from None
                digest.update(f"{folder}/{path}\0{len(content)}\0".encode())
                digest.update(content)
        return digest.hexdigest()[:12]

    def check(self, merged: Merged, faults: list[Fault]) -> None:
        """Raise one ModelError for all faults of a node; do nothing when there are none."""
        if not faults:
            return
        unique = list(
            {(fault.path, fault.ref or fault.sentence): fault for fault in faults}.values()
        )
        sentences = [
            f"{fault.sentence} at {self.place(merged, fault.path, fault.ref)}"
            for fault in unique[:_SHOWN]
        ]
        if len(unique) > _SHOWN:
            sentences.append(f"and {len(unique) - _SHOWN} more")
        cure = ""
        if any(fault.ref.startswith("_secret:") for fault in unique):
            cure = "Run `saltern model secrets init` to create missing secrets"
        raise ModelError("; ".join(sentences), where=f"node {merged.id}", cure=cure)

    def sets(self, merged: Merged, path: tuple[str, ...]) -> bool:
        """Return whether a file of the node itself writes exactly this key."""
        return any(_has(member.source.parameters, path) for member in merged.members)

    def place(self, merged: Merged, path: tuple[str, ...], ref: str = "") -> str:
        """Say where a key was set: ``key a:b in file (class chain)``."""
        key = ":".join(path) or "(top)"
        setters = _setters(merged.members, path)
        if ref:
            # the file that wrote the reference, if the key's own text shows it
            text = f"${{{ref}}}"
            setters = [m for m in setters if text in _written(m.source.parameters, path)] or setters
        if not setters:
            return f"key {key}"
        member = setters[-1]
        return f"key {key} in {_via(member.source, member.chain)}"

    def _merge(self, own: Source, *, virtual: bool = False) -> Merged:
        environment = own.environment or self.options.default_environment
        automatic = {
            "name": {
                "full": own.name,
                "short": own.name.split(".")[0],
                "parts": own.name.split("."),
                "path": own.name.replace(".", "/"),
            },
            "environment": environment,
        }
        walk = _Walk(self, own, automatic)
        walk.include(own, (own.name,))
        return Merged(
            id=own.name,
            path=own.path,
            members=walk.members,
            classes=list(walk.classes),
            applications=walk.applications,
            environment=environment,
            parameters=walk.parameters(),
            exports=walk.state[1],
        )

    def _advance(
        self, state: tuple[dict[str, Any], dict[str, Any]], entry: Source, *, shared: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if not shared:
            return merge(state[0], entry.parameters), merge(state[1], entry.exports)
        key = (id(state), entry.name)
        if key not in self._states:
            self._states[key] = (
                merge(state[0], entry.parameters),
                merge(state[1], entry.exports),
            )
        return self._states[key]


class _Walk:
    """One node's way through its classes, depth first; each class is merged once."""

    def __init__(self, inventory: Inventory, node: Source, automatic: dict[str, Any]) -> None:
        self.inventory = inventory
        self.node = node
        self.automatic = automatic
        self.members: list[Member] = []
        self.classes: dict[str, None] = {}
        self.applications: list[str] = []
        self.state = inventory._empty
        self._done: set[str] = set()

    def parameters(self) -> dict[str, Any]:
        """Merged parameters so far, over the automatic ones."""
        merged: dict[str, Any] = merge({"_reclass_": self.automatic}, self.state[0])
        return merged

    def include(self, entry: Source, chain: tuple[str, ...]) -> None:
        names = []
        for written in entry.classes:
            name = self._resolve(written, entry, chain)
            names.append(name)
            if name in self._done:
                continue
            if name in chain[1:]:
                cycle = [*chain[chain.index(name, 1) :], name]
                raise ModelError(
                    f"classes include each other: {' -> '.join(cycle)}",
                    where=f"node {self.node.name}, {entry.path}",
                    cure="Remove one of the includes",
                )
            found = self._find(name, entry, chain)
            if found is not None:
                self.include(found, (*chain, name))
                self._done.add(name)
        own = entry is self.node
        self.state = self.inventory._advance(self.state, entry, shared=not own)
        self.members.append(Member(entry, chain))
        self.classes.update(dict.fromkeys(names))
        self._applications(entry)

    def _resolve(self, written: str, entry: Source, chain: tuple[str, ...]) -> str:
        if "${" not in written:
            return written
        try:
            resolver = Resolver(self.parameters(), self.inventory.options)
            return str(resolver.top(tokenise(written)))
        except MissingReference as err:
            sentence = f"reference ${{{err.ref}}} in the class name {written} has no value yet"
        except TreeError as err:
            sentence = f"class name {written}: {err.sentence}"
        raise ModelError(
            sentence,
            where=f"node {self.node.name}, {_via(entry, chain)}, key classes",
        )

    def _find(self, name: str, entry: Source, chain: tuple[str, ...]) -> Source | None:
        inventory = self.inventory
        if name in inventory.class_files:
            try:
                found = inventory.load_class(name)
            except ModelError as err:
                raise ModelError(
                    err.sentence,
                    where=f"node {self.node.name}, {err.where} ({' -> '.join((*chain[1:], name))})",
                    cure=err.cure,
                ) from None
            if found.environment is not None and inventory.options.strict:
                raise ModelError(
                    "environment has no effect in a class",
                    where=f"node {self.node.name}, {_via(found, (*chain, name))}",
                    cure="Set it in the node file",
                )
            return found
        if name in inventory.optional:
            return None
        options = inventory.options
        if options.ignore_class_notfound and inventory._ignored.match(name):
            return None
        generated = _GENERATED.match(name)
        raise ModelError(
            f"class {name} does not exist",
            where=f"node {self.node.name}, {_via(entry, chain)}, key classes",
            cure=_CURES[generated["what"]].format(cluster=generated["cluster"])
            if generated
            else "",
        )

    def _applications(self, entry: Source) -> None:
        # within one file first, as reclass does: `[a, ~a]` leaves nothing, `[~a, a]` leaves a
        own: list[str] = []
        removed: list[str] = []
        for name in entry.applications:
            if name.startswith("~"):
                removed.append(name[1:])
                if name[1:] in own:
                    own.remove(name[1:])
            elif name not in own:
                own.append(name)
        self.applications = [name for name in self.applications if name not in removed]
        self.applications.extend(name for name in own if name not in self.applications)


def _via(entry: Source, chain: tuple[str, ...]) -> str:
    """A file and the classes that lead to it; the chain starts with the node, named elsewhere."""
    return f"{entry.path} ({' -> '.join(chain[1:])})" if len(chain) > 1 else entry.path


def _setters(members: list[Member], path: tuple[str, ...]) -> list[Member]:
    """Members whose file sets ``path``; when none does, those that set its nearest parent."""
    for length in range(len(path), 0, -1):
        found = [m for m in members if _has(m.source.parameters, path[:length])]
        if found:
            return found
    return []


def _has(tree: Any, path: tuple[str, ...]) -> bool:
    if not path:
        return True
    if isinstance(tree, Layers):
        return any(_has(value, path) for _, value in tree.items)
    return isinstance(tree, dict) and path[0] in tree and _has(tree[path[0]], path[1:])


def _written(tree: Any, path: tuple[str, ...]) -> str:
    """Text of what a file says at a path or its nearest parent, to look for a reference in it."""
    for part in path:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            break
    return str(_plain_text(tree))


def _plain_text(tree: Any) -> Any:
    if isinstance(tree, Layers):
        return [_plain_text(value) for _, value in tree.items]
    if isinstance(tree, dict):
        return {key: _plain_text(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain_text(value) for value in tree]
    return tree
