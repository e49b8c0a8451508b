"""An inventory: nodes, the classes they include, and what each node's data becomes."""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from saltern.errors import ModelError
from saltern.model import mapping, source
from saltern.model.options import Options
from saltern.model.plan import Plans, learn
from saltern.model.prepare import Outline, outline, prepared
from saltern.model.query import ExportEntry, ExportIndex
from saltern.model.resolve import Fault, Resolver
from saltern.model.source import Source
from saltern.model.tree import Layers, build, legible, merge
from saltern.model.walk import State, Walk, Walked, applied, via

log = logging.getLogger(__name__)

#: how many faults one sentence lists before it counts the rest
_SHOWN = 20
#: characters that they may take
_LENGTH = 1500
#: merged prefixes of class lists that are kept
_STATES_KEPT = 20_000
#: containers of them that have a plan
_PLANS_KEPT = 500_000
#: nodes of one kind that are resolved each for itself: preparing pays from the next one on
_FEW = 4


@dataclass(frozen=True)
class Member:
    """One file in a node's merge order, and what led to it: the node id, then classes."""

    source: Source
    chain: tuple[str, ...]


@dataclass
class Merged:
    """A node before its references are resolved.

    ``classes`` is in merge order; ``missed`` are the classes that were looked up and do not
    exist (ignored, or optional): the node changes when one of them appears.
    """

    id: str
    path: str
    classes: list[str]
    applications: list[str]
    environment: str
    exports: dict[str, Any]
    missed: tuple[str, ...]
    own: Source
    walked: Walked
    automatic: dict[str, Any]

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """The merged tree, with every reference as it is written."""
        return self.over(self.walked.state.parameters)

    def over(self, classes: dict[str, Any]) -> dict[str, Any]:
        """Merge what is the node's own over the parameters of its classes."""
        out: dict[str, Any] = merge(merge(self.automatic, classes), self.own.parameters)
        return out

    @functools.cached_property
    def members(self) -> list[Member]:
        """Every file in merge order, the node's own last."""
        members = [Member(step.source, (self.id, *step.chain)) for step in self.walked.steps]
        return [*members, Member(self.own, (self.id,))]


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


class Merges:
    """Merged prefixes of class lists: the same step from the same state gives the same object.

    What a step comes to depends on nothing but the state and the file, so inventories of a tree
    and of its later versions may share them, and the plans of what is in them.
    """

    def __init__(self) -> None:
        #: where every walk begins
        self.empty = State({}, {})
        # (id of the state before, id of the file) -> both, kept so that their ids stay unique,
        # and the state after
        self._after: dict[tuple[int, int], tuple[State, Source, State]] = {}
        #: how to copy the containers of the states; most come unchanged out of one file
        self.plans: Plans = {}

    def __len__(self) -> int:
        return len(self._after)

    def after(self, state: State, entry: Source) -> State:
        """Return the state after one more class."""
        key = (id(state), id(entry))
        known = self._after.get(key)
        if known is None:
            after = State(
                merge(state.parameters, entry.parameters) if entry.parameters else state.parameters,
                merge(state.exports, entry.exports) if entry.exports else state.exports,
            )
            known = self._after[key] = (state, entry, after)
        return known[2]


class Inventory:
    """A model tree on disk, read with reclass semantics.

    A snapshot: file names are listed once, and each file is read once; make a new one when the
    tree has changed (parsed files are cached across instances).

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
        self._exports: ExportIndex | None = None
        self._loaded: dict[tuple[str, str], Source] = {}
        self._told: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        #: what classes come to; of an earlier version of the tree when :meth:`share` was called
        self.merges = Merges()
        # (mapped classes, the node's classes) -> where they lead
        self._walks: dict[tuple[tuple[str, ...], tuple[str, ...]], Walked] = {}
        # (id of where classes lead, keys of the node's file) -> that, which is kept, and its
        # parameters, resolved for all such nodes; how many there were as long as they are few
        self._prepared: dict[tuple[int, Outline], tuple[Walked, dict[str, Any] | int]] = {}

    def nodes(self) -> list[str]:
        """Return all node ids, sorted."""
        return sorted(self.node_files)

    def share(self, merges: Merges) -> None:
        """Go on with what an inventory of an earlier version of this tree has merged.

        :param merges: of an inventory with the same options; grows
        """
        self._forget()
        self.merges = merges

    def lenient(self, classes: Iterable[str]) -> Inventory:
        """Return this inventory with some generated classes optional.

        :param classes: class names that are treated as empty when no file defines them
        """
        other = copy.copy(self)
        other.optional = frozenset(classes)
        other._forget()
        return other

    def with_exports(self, index: ExportIndex) -> Inventory:
        """Return this inventory with the exports of its nodes known.

        :param index: what queries are answered from, in place of rendering all exports
        """
        other = copy.copy(self)
        other._exports = index
        return other

    @property
    def exports(self) -> ExportIndex:
        """The exports of all nodes: rendered when they are asked for first."""
        if self._exports is None:
            self._exports = ExportIndex({name: self.export_entry(name) for name in self.nodes()})
        return self._exports

    def export_entry(self, node_id: str) -> ExportEntry:
        """Render what one node exports; a failure is part of the entry.

        Only what the exports refer to is resolved.

        :raises ModelError: unknown node
        """
        try:
            own = self._own(node_id)
        except ModelError as err:
            if node_id not in self.node_files:
                raise
            return ExportEntry("", None, f"{err.where}: {err.sentence}")
        environment = own.environment or self.options.default_environment
        try:
            merged = self._merge(own)
        except ModelError as err:
            return ExportEntry(environment, None, f"{err.where}: {err.sentence}")
        exports, faults = self._render_exports(merged)
        for path in sorted((fault.path for fault in faults), key=_last_first, reverse=True):
            _remove(exports, path)
        return ExportEntry(
            environment, exports, faults=tuple((fault.path, fault.sentence) for fault in faults)
        )

    def _render_exports(self, merged: Merged) -> tuple[dict[str, Any], list[Fault]]:
        if not merged.exports:
            return {}, []
        # its own resolver: exports see no query, nor what the parameters made of one
        resolver = Resolver(self._root(merged), self.options, plans=self.merges.plans)
        return resolver.plain(merged.exports), resolver.faults

    def ignores(self, name: str) -> bool:
        """Whether a class may be missing; told once in the log."""
        if not self._ignored.match(name):
            return False
        if self.options.ignore_class_notfound_warning and name not in self._told:
            self._told.add(name)
            log.info("class %s does not exist and is ignored", name)
        return True

    def load_class(self, name: str) -> Source:
        """Parse one class.

        :raises ModelError: no such class, or its file cannot be read
        """
        return self._load(self.options.classes_path, self.class_files[name], name)

    def _load(self, folder: str, below: str, name: str) -> Source:
        key = (folder, name)
        found = self._loaded.get(key)
        if found is None:
            found = source.load(self.path / folder, below, name, self.options)
            self._loaded[key] = found
        return found

    def node(self, node_id: str, environment: str | None = None) -> Node:
        """Compile one node.

        :param node_id: file name in ``nodes/`` without extension
        :param environment: compile as if the node's file named this environment; one of option
            ``allow_adapter_env_override``
        :raises ModelError: one sentence with file, class chain, node and key; all missing
            references of the node are named at once, unless option ``group_errors`` is false
        """
        merged = self.merged(node_id, environment)
        resolver = self.resolver(merged)
        parameters = resolver.plain(resolver.root)
        exports, faults = self._render_exports(merged)
        self.check(merged, resolver.faults)
        self.check(merged, faults, "exports")
        return Node(
            id=node_id,
            path=merged.path,
            classes=merged.classes,
            applications=merged.applications,
            environment=merged.environment,
            parameters=parameters,
            exports=exports,
        )

    def merged(self, node_id: str, environment: str | None = None) -> Merged:
        """Walk a node's classes and merge them; references stay unresolved.

        :param environment: as for :meth:`node`
        :raises ModelError: unknown node or class, class cycle, unreadable file, an environment
            that may not be asked for
        """
        own = self._own(node_id)
        if environment is not None and environment != (
            own.environment or self.options.default_environment
        ):
            if environment not in self.options.allow_adapter_env_override:
                raise ModelError(
                    f"environment {legible(environment)} may not be asked for",
                    where=f"node {node_id}",
                    cure="List it in model option allow_adapter_env_override",
                )
            own = replace(own, environment=environment)
        return self._merge(own)

    def _own(self, node_id: str) -> Source:
        if node_id not in self.node_files:
            raise ModelError(
                f"node {legible(node_id)} has no entry in the model",
                where=str(self.options.nodes_path),
                cure="Add its host to the cluster class and run `saltern model nodes`",
            )
        return self._load(self.options.nodes_path, self.node_files[node_id], node_id)

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
            Source(name, f"(node {name})", tuple(classes), (), tree, {}, None), mapped=False
        )

    def resolver(
        self,
        merged: Merged,
        default: Callable[[str], Any] | None = None,
        *,
        root: dict[str, Any] | None = None,
    ) -> Resolver:
        """Return a resolver over a merged node's parameters.

        :param default: see :class:`~saltern.model.resolve.Resolver`
        :param root: a tree to resolve in place of the node's parameters
        """
        return Resolver(
            self._root(merged) if root is None else root,
            self.options,
            default,
            exports=lambda: self.exports,
            environment=merged.environment,
            plans=self.merges.plans,
        )

    def _root(self, merged: Merged) -> dict[str, Any]:
        """A node's parameters, as far resolved as those of its like are."""
        walked = merged.walked
        key = (id(walked), outline(merged.own.parameters))
        known = self._prepared.get(key)
        tree = known[1] if known else 0
        if isinstance(tree, int) and tree < _FEW:
            if walked.repeatable:
                self._prepared[key] = (walked, tree + 1)
                learn(walked.state.parameters, self.merges.plans)
            return merged.parameters
        if isinstance(tree, int):
            written = (*outline(merged.automatic), *key[1])
            tree = prepared(walked.state.parameters, written, self.options)
            self._prepared[key] = (walked, tree)
            learn(tree, self.merges.plans)
        return merged.over(tree)

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

    def check(self, merged: Merged, faults: list[Fault], section: str = "parameters") -> None:
        """Raise one ModelError for all faults of a node; do nothing when there are none.

        :param section: what the paths of the faults lead through, ``parameters`` or ``exports``
        """
        if not faults:
            return
        unique = list(
            {(fault.path, fault.ref or fault.sentence): fault for fault in faults}.values()
        )
        if not self.options.group_errors:
            del unique[1:]
        sentences = [
            f"{fault.sentence} at {self.place(merged, fault.path, fault.ref, section)}"
            for fault in unique[:_SHOWN]
        ]
        while len(sentences) > 1 and sum(map(len, sentences)) > _LENGTH:
            sentences.pop()
        if len(unique) > len(sentences):
            sentences.append(f"and {len(unique) - len(sentences)} more")
        cure = ""
        if any(fault.ref.startswith("_secret:") for fault in unique):
            cure = "Run `saltern model secrets init` to create missing secrets"
        raise ModelError("; ".join(sentences), where=f"node {merged.id}", cure=cure)

    def sets(self, merged: Merged, path: tuple[str, ...]) -> bool:
        """Return whether a file of the node itself writes exactly this key."""
        return any(_has(member.source.parameters, path) for member in merged.members)

    def place(
        self,
        merged: Merged,
        path: tuple[str, ...],
        ref: str = "",
        section: str = "parameters",
    ) -> str:
        """Say where a key was set: ``key a:b in file (class chain)``."""
        key = legible(":".join(path)) or "(top)"
        setters = _setters(merged.members, path, section)
        if ref:
            # the file that wrote the reference, if the key's own text shows it
            text = f"${{{ref}}}"
            setters = [
                m for m in setters if text in _written(getattr(m.source, section), path)
            ] or setters
        what = "key" if section == "parameters" else f"{section} key"
        if not setters:
            return f"{what} {key}"
        member = setters[-1]
        return f"{what} {key} in {via(member.source, member.chain[1:])}"

    def _merge(self, own: Source, *, mapped: bool = True) -> Merged:
        environment = own.environment or self.options.default_environment
        automatic = self._automatic(own.name, environment)
        classes = self._mapped(own.name) if mapped and self.options.class_mappings else ()
        if len(self.merges) > _STATES_KEPT or len(self.merges.plans) > _PLANS_KEPT:
            self._forget()
        walked = self._walks.get((classes, own.classes))
        if walked is None:
            walked = self._walk(own, classes, automatic)
        exports = walked.state.exports
        return Merged(
            id=own.name,
            path=own.path,
            classes=list(walked.classes),
            applications=list(applied(walked.applications, own.applications)),
            environment=environment,
            exports=merge(exports, own.exports) if own.exports else exports,
            missed=walked.missed,
            own=own,
            walked=walked,
            automatic=automatic,
        )

    def _walk(self, own: Source, mapped: tuple[str, ...], automatic: dict[str, Any]) -> Walked:
        walk = Walk(self, own.name, automatic)
        if mapped:
            walk.include(Source("", "class_mappings", mapped, (), {}, {}, None))
        walk.include(own)
        walked = walk.result()
        if walked.repeatable:
            self._walks[(mapped, own.classes)] = walked
        return walked

    def _mapped(self, node_id: str) -> tuple[str, ...]:
        name = node_id
        if self.options.class_mappings_match_path:
            name = self.node_files[node_id].rsplit(".", 1)[0]
        try:
            return mapping.classes(self.options.mappings, name)
        except ModelError as err:
            raise ModelError(err.sentence, where=f"node {node_id}") from None

    def _automatic(self, name: str, environment: str) -> dict[str, Any]:
        if not self.options.automatic_parameters:
            return {}
        labels = name.split(".")
        names = {"full": name, "short": labels[0], "parts": labels, "path": "/".join(labels)}
        return {"_reclass_": {"name": names, "environment": environment}}


def _last_first(path: tuple[str, ...]) -> list[tuple[int, str]]:
    """Sort key under which list item 10 comes after item 9."""
    return [(len(part), part) for part in path]


def _remove(tree: Any, path: tuple[str, ...]) -> None:
    """Take a value out of plain data; what is left of a list moves up."""
    *above, last = path
    for part in above:
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    if isinstance(tree, list):
        del tree[int(last)]
    else:
        del tree[last]


def _setters(
    members: list[Member], path: tuple[str, ...], section: str = "parameters"
) -> list[Member]:
    """Members whose file sets ``path``; when none does, those that set its nearest parent."""
    for length in range(len(path), 0, -1):
        found = [m for m in members if _has(getattr(m.source, section), path[:length])]
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
