"""Why a node's key has the value it has: every line that writes it, and where references lead.

``explain(...)`` walks a node's files in merge order and keeps a ledger of what each of them
writes at a key, above it and below it. The values come from the compiler itself; the ledger
only says who wrote them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saltern.errors import ModelError
from saltern.model import lines, redact
from saltern.model.cluster import INTERNAL, CompiledNode, cluster_of, try_compile_cluster
from saltern.model.inventory import Inventory, Member, Merged
from saltern.model.lines import SIGN, Entry
from saltern.model.resolve import MissingReference, Resolver
from saltern.model.schema import formulas_path, role_schema
from saltern.model.sensitive import REFERENCE, is_protected
from saltern.model.serve import PGP_MESSAGE
from saltern.model.tree import CONSTANT, OVERRIDE, Ref, Text, TreeError, split_path, tokenise

KeyPath = tuple[str, ...]

ENCRYPTED, SECRET = "(encrypted)", "(secret)"
#: references are followed this far
_DEPTH = 20
#: how many keys elsewhere with the same name are shown
_NEAR = 5
_HASH = re.compile(r"secret:[0-9a-f]{8}")
#: a shorter text is part of many words: it is not hidden inside other texts
_SHORTEST = 4


@dataclass(frozen=True)
class Touch:
    """One line that writes the key, or something above or below it.

    ``effect`` is what it did when its turn came: ``set``, ``replaced`` (a scalar, or ``~``),
    ``appended`` (to a list), ``merged`` (a dictionary), ``removed`` (``~`` above, without the
    key), ``published`` (by the nodes in ``by``, before the node's own files), ``ignored`` (over a
    constant). ``overridden_by`` is the line that undid it; ``winner`` says that it is in the
    final value.
    """

    key: str
    file: str
    line: int
    chain: tuple[str, ...]
    says: Any
    effect: str
    constant: bool = False
    overridden_by: str = ""
    winner: bool = False
    by: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Step:
    """One reference followed: what it refers to, its value, and who wrote that."""

    reference: str
    key: str
    value: Any
    note: str = ""
    nested: tuple[Step, ...] = ()
    origins: tuple[Touch, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Everything about one key of one node.

    ``value`` is final and without secrets; ``fault`` says why there is none. When the key does
    not exist, ``parent`` is its nearest parent that does, and ``near`` names similar keys.
    """

    node: str
    key: str
    cluster: str
    found: bool
    value: Any = None
    fault: str = ""
    touches: tuple[Touch, ...] = ()
    parent: str = ""
    near: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        if not self.found:
            parent = f"{self.parent} exists" if self.parent else "no parent of it exists"
            near = f"; did you mean {', '.join(self.near)}?" if self.near else "."
            return f"{self.node} has no key {self.key}; {parent}{near}"
        if self.fault:
            return f"{self.key} of {self.node} has no value: {self.fault}."
        writers = len({(t.file, t.line) for t in self.touches if t.winner})
        who = "1 line says" if writers == 1 else f"{writers} lines say"
        return f"{self.key} of {self.node} is what {who}."

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as plain data."""
        return asdict(self)


@dataclass
class _Write:
    """One line of the ledger.

    ``cut`` is where a ``~`` is that it stands below (or at): what other files wrote there is gone.
    ``shape`` is ``scalar``, ``null``, ``list`` or ``mapping``; of a reference, what it leads to.
    """

    path: KeyPath
    entry: Entry
    member: Member
    cut: KeyPath | None = None
    constant: bool = False
    removes: bool = False
    shape: str = "scalar"
    effect: str = "set"
    overridden_by: str = ""
    by: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.member.source.path}:{self.entry.line}"

    @property
    def counts(self) -> bool:
        """True as long as it is part of the value."""
        return not (self.overridden_by or self.removes or self.effect == "ignored")


def explain(
    inventory: Inventory,
    node_id: str,
    key: str | Iterable[str],
    formulas_dir: str | Path | None = None,
) -> Explanation:
    """Explain one key of a node.

    :param inventory: the model tree
    :param node_id: id of the node
    :param key: ``a:b:c`` (``\\:`` is a colon inside a part) or the list of its parts
    :param formulas_dir: formulas whose schemas say what is secret; default as the linter's
    :raises ModelError: unknown node, or its classes cannot be read
    """
    path = split_path(key) if isinstance(key, str) else tuple(key)
    site = _Site(inventory, node_id, formulas_dir)
    view = site.own
    notes = list(site.notes)
    asked = path
    path, in_list = _above_lists(view, path)
    if in_list:
        notes.append(
            f"{':'.join(asked)} is in a list: everything that writes to {':'.join(path)} is shown"
        )
    touches = site.touches(view, path, published=True)
    found, value, fault = view.value(asked)
    parent, near = ("", ()) if found or fault else _near(view, asked)
    return Explanation(
        node=node_id,
        key=":".join(asked),
        cluster=site.cluster,
        found=found,
        value=view.hide(value, asked),
        fault=view.hide_text(fault),
        touches=touches,
        parent=parent,
        near=near,
        notes=tuple(notes),
    )


class _View:
    """One node: its files, its final data, and what of it is secret."""

    def __init__(
        self,
        inventory: Inventory,
        merged: Merged,
        pillar: Mapping[str, Any] | None,
        formulas: Path | None,
    ) -> None:
        self.inventory = inventory
        self.merged = merged
        resolver = inventory.resolver(merged)
        if pillar is not None:
            internal = {key: merged.parameters[key] for key in INTERNAL if key in merged.parameters}
            resolver.root = {**internal, **pillar}
        self.resolver: Resolver = resolver
        self._known: frozenset[KeyPath] = frozenset()
        if formulas is not None and pillar is not None:
            self._known = redact.marked(
                pillar, merged.applications, lambda role: _schema(formulas, role)
            )
        self._texts = sorted(self._secret_texts(), key=len, reverse=True)

    def value(self, path: KeyPath) -> tuple[bool, Any, str]:
        """Return (exists, value, why it has none)."""
        try:
            return True, self.resolver.value(*path), ""
        except MissingReference as err:
            if err.ref == ":".join(path):
                return False, None, ""
            return True, None, f"reference ${{{err.ref}}} has no value"
        except TreeError as err:
            return True, None, err.sentence

    def hide(self, value: Any, path: KeyPath, *, written: bool = False) -> Any:
        """Return a value with its secrets hidden.

        :param written: the value is as a file says it: references in it are no secret
        """
        if isinstance(value, dict):
            return {
                key: self.hide(item, (*path, str(key).lstrip("~=")), written=written)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [
                self.hide(item, (*path, str(n)), written=written) for n, item in enumerate(value)
            ]
        if value is None or isinstance(value, bool) or value == "":
            return value
        if not self._is_secret(path):
            return self.hide_text(value) if isinstance(value, str) else value
        if not isinstance(value, str):
            return SECRET
        if REFERENCE.match(value):
            return value
        if PGP_MESSAGE.search(value):
            return ENCRYPTED
        return _references_only(value) if written else SECRET

    def hide_text(self, text: str) -> str:
        """Return a text with the secrets inside it hidden."""
        for secret in self._texts:
            text = text.replace(secret, SECRET)
        key = redact.process_key()
        closed = redact.redact(ENCRYPTED, key)
        text = redact.text(PGP_MESSAGE.sub(closed, text), key)
        return _HASH.sub(SECRET, text.replace(closed, ENCRYPTED))

    def _is_secret(self, path: KeyPath) -> bool:
        names = [part for part in path if not part.isdigit()]
        return bool(
            path in self._known
            or (path and path[0] == "_secret")
            or (names and redact.is_secret_name(names[-1]))
        )

    def _secret_texts(self) -> Iterator[str]:
        """Plain text at secret keys: it may occur again inside other texts."""
        plain = self.resolver.plain(self.resolver.root)
        del self.resolver.faults[:]
        todo: list[tuple[KeyPath, Any]] = [((), plain)]
        while todo:
            path, value = todo.pop()
            if isinstance(value, dict):
                todo += [((*path, str(key)), item) for key, item in value.items()]
            elif isinstance(value, list):
                todo += [((*path, str(n)), item) for n, item in enumerate(value)]
            elif (
                isinstance(value, str)
                and len(value) >= _SHORTEST
                and self._is_secret(path)
                and not is_protected(value)
            ):
                yield value


def _schema(formulas: Path, role: str) -> dict[str, Any] | None:
    try:
        return role_schema(formulas, role)
    except ModelError:
        return None


def _references_only(text: str) -> str:
    """Of what is written at a secret key, the references."""
    try:
        token = tokenise(text)
    except TreeError:
        return SECRET
    if isinstance(token, Ref):
        return text
    parts = token.parts if isinstance(token, Text) else (SECRET,)
    return "".join(str(part) if isinstance(part, Ref) else SECRET for part in parts)


class _Site:
    """The cluster around a node, compiled as far as it compiles."""

    def __init__(self, inventory: Inventory, node_id: str, formulas_dir: str | Path | None) -> None:
        self.inventory = inventory
        self.notes: list[str] = []
        merged = inventory.merged(node_id)
        try:
            self.formulas: Path | None = formulas_path(inventory, formulas_dir)
        except ModelError:
            self.formulas = None
        self.cluster = ""
        self.nodes: Mapping[str, CompiledNode] = {}
        errors: Mapping[str, ModelError] = {}
        pillar: Mapping[str, Any] | None = None
        try:
            self.cluster = cluster_of(inventory, node_id)
            if self.cluster:
                self.nodes, errors = try_compile_cluster(inventory, self.cluster)
                pillar = self.nodes[node_id].pillar if node_id in self.nodes else None
            else:
                pillar = inventory.node(node_id).parameters
        except ModelError as err:
            errors = {node_id: err}
        if node_id in errors:
            self.notes.append(f"the node does not compile: {errors[node_id]}")
        others = sorted(set(errors) - {node_id})
        if others:
            self.notes.append(
                f"not compiled, so nothing they publish is shown: {', '.join(others)}"
            )
        self.own = _View(inventory, merged, pillar, self.formulas)
        self._views: dict[str, _View] = {node_id: self.own}

    def view(self, node_id: str) -> _View:
        """Return the view of a node that publishes something."""
        if node_id not in self._views:
            merged = self.inventory.merged(node_id)
            pillar = self.nodes[node_id].pillar
            self._views[node_id] = _View(self.inventory, merged, pillar, self.formulas)
        return self._views[node_id]

    def touches(
        self,
        view: _View,
        path: KeyPath,
        *,
        published: bool = False,
        seen: tuple[tuple[str, KeyPath], ...] = (),
    ) -> tuple[Touch, ...]:
        """Return what writes a key of a node, in merge order."""
        ledger = self._received(view, path) if published else []
        for write in self._written(view.merged, path):
            _enter(ledger, write, path, view)
        return tuple(self._touch(view, write, seen) for write in ledger)

    def _written(self, merged: Merged, path: KeyPath) -> list[_Write]:
        """What the files of a node write at a key, in merge order."""
        found: list[_Write] = []
        for member in merged.members:
            if path and path[0] not in member.source.parameters:
                continue
            parameters = lines.of(self.inventory, member.source.path).sections.get("parameters")
            if parameters is not None:
                found += _writes(parameters, path, (), member, None, False)
        return found

    def _received(self, view: _View, path: KeyPath) -> list[_Write]:
        """What other roles publish to this key, each line once with its publishers."""
        found: dict[tuple[str, KeyPath], _Write] = {}
        for role in view.merged.applications:
            own = tuple(role.split(".", 1))
            depth = min(len(own), len(path))
            if depth and path[:depth] == own[:depth]:
                for write in self._published(role, path[2:]):
                    write.path = (*own, *write.path[2:])
                    known = found.setdefault((write.place, write.path), write)
                    if known is not write:
                        known.by = tuple(sorted((*known.by, *write.by)))
        return list(found.values())

    def _published(self, role: str, below: KeyPath) -> Iterator[_Write]:
        """What nodes publish to a role; nodes that publish by the same lines go together."""
        path = ("publish", role, *below)
        groups: dict[tuple[tuple[str, KeyPath], ...], tuple[list[_Write], list[str]]] = {}
        for publisher in sorted(self.nodes):
            merged = self.inventory.merged(publisher)
            if "publish" in merged.parameters:
                written = self._written(merged, path)
                mark = tuple((write.place, write.path) for write in written)
                groups.setdefault(mark, (written, []))[1].append(publisher)
        for written, publishers in groups.values():
            ledger: list[_Write] = []
            for write in written:
                _enter(ledger, write, path, self.view(publishers[0]))
            for write in ledger:
                if write.counts:
                    write.effect, write.by = "published", tuple(publishers)
                    yield write

    def _touch(self, view: _View, write: _Write, seen: tuple[tuple[str, KeyPath], ...]) -> Touch:
        context = self.view(write.by[0]) if write.by else view
        data = write.entry.data()
        return Touch(
            key=_shown(write),
            file=write.member.source.path,
            line=write.entry.line,
            chain=write.member.chain[1:],
            says=view.hide(data, write.path, written=True),
            effect=write.effect,
            constant=write.constant,
            overridden_by=write.overridden_by,
            winner=write.counts,
            by=write.by,
            steps=tuple(self._steps(context, data, seen)),
        )

    def _steps(
        self, view: _View, data: Any, seen: tuple[tuple[str, KeyPath], ...]
    ) -> Iterator[Step]:
        """Follow every reference in what a file says."""
        if isinstance(data, dict):
            for value in data.values():
                yield from self._steps(view, value, seen)
        elif isinstance(data, list):
            for value in data:
                yield from self._steps(view, value, seen)
        elif isinstance(data, str) and ("${" in data or "$[" in data):
            try:
                token = tokenise(data)
            except TreeError:
                return
            if isinstance(token, Ref):
                yield self._step(view, token, seen)
            elif isinstance(token, Text):
                for part in token.parts:
                    if isinstance(part, Ref):
                        yield self._step(view, part, seen)
            elif not isinstance(token, str):
                value = view.resolver.plain(token)
                del view.resolver.faults[:]
                yield Step(data, "", view.hide(value, ()), "asked of the exports of the nodes")

    def _step(self, view: _View, ref: Ref, seen: tuple[tuple[str, KeyPath], ...]) -> Step:
        nested = tuple(self._step(view, part, seen) for part in ref.parts if isinstance(part, Ref))
        text = view.resolver.plain(Text(ref.parts)) if nested else "".join(map(str, ref.parts))
        del view.resolver.faults[:]
        if not isinstance(text, str):
            return Step(str(ref), "", None, "a reference inside it has no value", nested)
        path = split_path(text)
        found, value, fault = view.value(path)
        note = fault if found else "has no value"
        mark = (view.merged.id, path)
        origins: tuple[Touch, ...] = ()
        if path[0] in ("_reclass_", "__reclass__", "topology"):
            note = "set by the compiler"
        elif mark in seen or len(seen) >= _DEPTH:
            note = note or "followed above"
        else:
            above, _ = _above_lists(view, path)
            own = view is self.own
            origins = tuple(
                touch
                for touch in self.touches(view, above, published=own, seen=(*seen, mark))
                if touch.winner
            )
        return Step(str(ref), text, view.hide(value, path), view.hide_text(note), nested, origins)


def _writes(
    entry: Entry,
    path: KeyPath,
    here: KeyPath,
    member: Member,
    cut: KeyPath | None,
    constant: bool,
) -> Iterator[_Write]:
    """Yield what one file writes: on the way to a key (a reference), at it, every leaf below it."""
    if entry.shape != "mapping" or (len(here) >= len(path) and not entry.children):
        if entry.shape != "list" or len(here) >= len(path):
            yield _Write(here, entry, member, cut, constant, shape=entry.shape)
        return
    wanted = path[len(here)] if len(here) < len(path) else None
    reached = False
    for child in entry.children:
        if wanted is not None and child.key != wanted:
            continue
        reached = True
        below = (*here, child.key)
        yield from _writes(
            child,
            path,
            below,
            member,
            below if cut is None and child.kind == OVERRIDE else cut,
            constant or child.kind == CONSTANT,
        )
    if cut is not None and not reached:
        # it replaces a parent, and the key is not in what it puts there
        yield _Write(here, entry, member, cut, removes=True, shape="mapping")


def _enter(ledger: list[_Write], write: _Write, asked: KeyPath, view: _View) -> None:
    """Add a write to the ledger, and note what it does to those before it."""
    write.shape = _shape(write, view)
    above = len(write.path) < len(asked) and write.shape in ("mapping", "list")
    if above and not write.removes and not _leads_to(write, asked, view):
        return
    earlier = [other for other in ledger if other.counts]
    gone: list[_Write] = []
    if any(w.constant and w.member is not write.member and _related(w, write) for w in earlier):
        write.effect = "ignored"
    elif write.cut is not None:
        for w in earlier:
            below = _is_prefix(write.cut, w.path) or _is_prefix(write.cut, asked)
            if below and (w.member is not write.member or w.cut != write.cut):
                gone.append(w)
    else:
        plain = ("scalar", "null")
        gone = [
            w
            for w in earlier
            if (write.shape in plain and _is_prefix(write.path, w.path))
            or (w.shape in plain and _is_prefix(w.path, write.path))
        ]
    for w in gone:
        w.overridden_by = write.place
    if write.removes:
        if not gone:
            return
        write.effect = "removed"
    elif gone:
        write.effect = "replaced"
    elif write.effect != "ignored" and any(
        w.path == write.path and w.shape == write.shape for w in earlier
    ):
        write.effect = "appended" if write.shape == "list" else "merged"
    ledger.append(write)


def _leads_to(write: _Write, asked: KeyPath, view: _View) -> bool:
    """Return whether a reference above the key gives a value that has the key."""
    value: Any = view.resolver.plain(tokenise(write.entry.value))
    del view.resolver.faults[:]
    for part in asked[len(write.path) :]:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _shape(write: _Write, view: _View) -> str:
    """``scalar``, ``null``, ``list`` or ``mapping``: for a reference, what it leads to."""
    if write.shape != "scalar":
        return write.shape
    value = write.entry.value
    if value is None:
        return "null"
    if isinstance(value, str) and "$" in value:
        try:
            token = tokenise(value)
        except TreeError:
            return "scalar"
        if not isinstance(token, str | Text):
            value = view.resolver.plain(token)
            del view.resolver.faults[:]
            return {dict: "mapping", list: "list", type(None): "null"}.get(type(value), "scalar")
    return "scalar"


def _related(one: _Write, other: _Write) -> bool:
    return _is_prefix(one.path, other.path) or _is_prefix(other.path, one.path)


def _is_prefix(one: KeyPath, other: KeyPath) -> bool:
    return other[: len(one)] == one


def _shown(write: _Write) -> str:
    *above, last = write.path
    return ":".join([*above, SIGN[write.entry.kind] + last])


def _above_lists(view: _View, path: KeyPath) -> tuple[KeyPath, bool]:
    """Cut a key path at the first list on it: items of several files are counted together."""
    for length in range(1, len(path)):
        found, value, fault = view.value(path[:length])
        if not found or fault:
            break
        if isinstance(value, list):
            return path[:length], True
    return path, False


def _near(view: _View, path: KeyPath) -> tuple[str, tuple[str, ...]]:
    """Return the nearest parent that exists, and keys that may be meant."""
    parent: KeyPath = ()
    data: Any = view.resolver.root
    for length in range(1, len(path)):
        found, value, fault = view.value(path[:length])
        if not found or fault or not isinstance(value, dict):
            break
        parent, data = path[:length], value
    missing = path[len(parent)] if len(parent) < len(path) else ""
    names = [str(key) for key in data if str(key) not in INTERNAL]
    close = difflib.get_close_matches(missing, names, n=_NEAR, cutoff=0.5)
    near = [":".join((*parent, name)) for name in close]
    near += [":".join(other) for other in _named(view, path[-1]) if other != path]
    return ":".join(parent), tuple(dict.fromkeys(near))[: 2 * _NEAR]


def _named(view: _View, name: str) -> Iterator[KeyPath]:
    """Key paths elsewhere in the pillar that end with a name."""
    count = 0
    todo: list[tuple[KeyPath, Any]] = [
        ((str(key),), value)
        for key, value in view.resolver.root.items()
        if key not in INTERNAL and key not in ("topology", "__reclass__")
    ]
    while todo and count < _NEAR:
        path, value = todo.pop(0)
        if path[-1] == name:
            count += 1
            yield path
        if isinstance(value, dict):
            todo += [((*path, str(key)), item) for key, item in value.items()]
