"""Where a file says what: keys with their lines, read again only when a person asks.

The merge engine keeps no lines: a file is parsed a second time here, into marked entries. This is
for the linter and for ``explain``; nothing that serves a pillar comes here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import ModelError
from saltern.model.inventory import Inventory, Member, Merged
from saltern.model.tree import CONSTANT, MERGE, OVERRIDE

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = {"~": OVERRIDE, "=": CONSTANT}
SIGN = {MERGE: "", OVERRIDE: "~", CONSTANT: "="}
_EXCEPTION = re.compile(
    r"#\s*saltern:\s*ignore(?P<file>-file)?\[(?P<rules>[a-z0-9, -]+)\]\s*(?P<reason>.*)$"
)


@dataclass(frozen=True)
class Entry:
    """One key of a file, or one item of a list (then ``key`` is its number).

    ``kind`` is how it joins what lies below (see :mod:`saltern.model.tree`), ``line`` counts from
    1, ``value`` is a scalar as YAML reads it; mappings and lists have ``children``.
    """

    key: str
    kind: int
    line: int
    shape: str = "scalar"
    value: Any = None
    children: tuple[Entry, ...] = ()

    def data(self) -> Any:
        """Return what is written here as plain data, prefixes and references included."""
        if self.shape == "list":
            return [child.data() for child in self.children]
        if self.shape == "mapping":
            return {SIGN[child.kind] + child.key: child.data() for child in self.children}
        return self.value

    def lines(self) -> Iterator[int]:
        """Yield the lines of this entry and of all below it."""
        yield self.line
        for child in self.children:
            yield from child.lines()


@dataclass(frozen=True)
class Exemption:
    """``# saltern: ignore[rule]``: these rules are silent about these lines.

    ``lines`` is None for ``ignore-file``, which means the whole file.
    """

    line: int
    rules: tuple[str, ...]
    lines: frozenset[int] | None
    reason: str


@dataclass(frozen=True)
class Lines:
    """One class or node file with the lines of all it says."""

    path: str
    sections: Mapping[str, Entry] = field(default_factory=dict)
    exemptions: tuple[Exemption, ...] = ()

    def find(self, path: tuple[str, ...], section: str = "parameters") -> list[Entry]:
        """Return the entries at a key path, in the order of the file.

        There are several when a key is written plain and with a prefix.
        """
        entries = [self.sections[section]] if section in self.sections else []
        for part in path:
            entries = [child for entry in entries for child in entry.children if child.key == part]
        return entries

    def line(self, path: tuple[str, ...], section: str = "parameters") -> int:
        """Return the line of a key, or of its nearest parent that is written; 0 when none is."""
        for length in range(len(path), -1, -1):
            found = self.find(path[:length], section)
            if found:
                return found[-1].line
        return 0

    def line_of(self, section: str, name: str) -> int:
        """Return the line of an item of ``classes`` or ``applications``.

        :param section: ``classes`` or ``applications``
        :param name: the item as written, or the end of it (a relative class name)
        """
        entry = self.sections.get(section)
        for child in entry.children if entry else ():
            written = str(child.value)
            if written == name or (written[:1] == "." and name.endswith(f".{written.strip('.')}")):
                return child.line
        return entry.line if entry else 0


#: path -> (stamp, its lines); lives as long as the process
_read: dict[str, tuple[tuple[int, int, int], Lines]] = {}


def read(path: Path, shown: str) -> Lines:
    """Read a file with its lines, or return it from the cache when it has not changed.

    :param path: the file
    :param shown: how errors name it
    :raises ModelError: it cannot be read, or is no YAML mapping
    """
    try:
        stat = os.stat(path)
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = _read.get(str(path))
        if known is not None and known[0] == stamp:
            return known[1]
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ModelError("cannot read the file", where=shown) from None
    lines = parse(text, shown)
    _read[str(path)] = (stamp, lines)
    return lines


def parse(text: str, shown: str) -> Lines:
    """Read the lines of a file's text.

    :param text: YAML
    :param shown: how errors name the file
    :raises ModelError: it is no YAML mapping
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None or node.tag == "tag:yaml.org,2002:null":
                return Lines(shown, {}, tuple(_exemptions(text, ())))
            if not isinstance(node, yaml.MappingNode):
                raise ModelError("the file is not a mapping", where=shown)
            top = _mapping(loader, node, prefixes=False)
            sections = {
                entry.key: _entry(
                    loader,
                    entry.key,
                    entry.line,
                    MERGE,
                    value,
                    set(),
                    prefixes=entry.key in ("parameters", "exports"),
                )
                for entry, value in top
            }
        finally:
            loader.dispose()
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f"{shown}:{mark.line + 1}" if mark else shown
        raise ModelError("not valid YAML", where=where) from None
    except (ValueError, RecursionError):
        raise ModelError("the file cannot be read", where=shown) from None
    return Lines(shown, sections, tuple(_exemptions(text, tuple(sections.values()))))


def _mapping(
    loader: Any, node: yaml.MappingNode, *, prefixes: bool
) -> Iterator[tuple[Entry, yaml.Node]]:
    """Yield (entry without its value, value) of each key; of a key written twice, the last."""
    loader.flatten_mapping(node)
    found: dict[tuple[int, str], tuple[Entry, yaml.Node]] = {}
    for key_node, value in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        kind = _PREFIX.get(key[:1], MERGE) if prefixes else MERGE
        if kind != MERGE:
            key = key[1:]
        found[kind, key] = (Entry(key, kind, key_node.start_mark.line + 1), value)
    yield from found.values()


def _entry(
    loader: Any,
    key: str,
    line: int,
    kind: int,
    node: yaml.Node,
    parents: set[int],
    *,
    prefixes: bool,
) -> Entry:
    if isinstance(node, yaml.ScalarNode):
        return Entry(key, kind, line, value=loader.construct_object(node, deep=True))
    if id(node) in parents:
        raise ValueError("an anchor contains itself")
    below = {*parents, id(node)}
    if isinstance(node, yaml.MappingNode):
        children = tuple(
            _entry(loader, entry.key, entry.line, entry.kind, value, below, prefixes=prefixes)
            for entry, value in _mapping(loader, node, prefixes=prefixes)
        )
        return Entry(key, kind, line, "mapping", None, children)
    # inside a list nothing merges: keys stay as they are
    items = tuple(
        _entry(loader, str(n), item.start_mark.line + 1, MERGE, item, below, prefixes=False)
        for n, item in enumerate(node.value)
    )
    return Entry(key, kind, line, "list", None, items)


def _exemptions(text: str, sections: tuple[Entry, ...]) -> Iterator[Exemption]:
    rows = text.splitlines()
    for number, row in enumerate(rows, 1):
        match = _EXCEPTION.search(row) if "saltern:" in row else None
        if match is None:
            continue
        rules = tuple(name.strip() for name in match["rules"].split(",") if name.strip())
        covered = None
        if not match["file"]:
            covered = frozenset(_covered(rows, number, row[: match.start()], sections))
        yield Exemption(number, rules, covered, match["reason"].strip())


def _covered(
    rows: list[str], number: int, before: str, sections: tuple[Entry, ...]
) -> Iterator[int]:
    """Lines an exception is about: its own key, or the next one, with all below it."""
    if not before.strip():
        number += 1
        while number <= len(rows) and (
            not rows[number - 1].strip() or rows[number - 1].lstrip().startswith("#")
        ):
            number += 1
    yield number
    at_line = list(sections)
    while at_line:
        entry = at_line.pop()
        if entry.line == number:
            yield from entry.lines()
        else:
            at_line.extend(entry.children)


@dataclass(frozen=True)
class Spot:
    """A place in a model: ``text`` says it whole, as ``key a:b in file:line (class chain)``."""

    file: str = ""
    line: int = 0
    text: str = ""


def full_path(inventory: Inventory, shown: str) -> Path:
    """Return the file that errors and origins show as ``classes/…`` or ``nodes/…``."""
    options = inventory.options
    for folder in (options.classes_path, options.nodes_path):
        top = inventory.path / folder
        if shown.startswith(f"{top.name}/"):
            path = top / shown.removeprefix(f"{top.name}/")
            if path.exists():
                return path
    return inventory.path / shown


def of(inventory: Inventory, shown: str) -> Lines:
    """Return the lines of a file by the name that a source gives it (``classes/…``).

    :raises ModelError: as :func:`read`
    """
    return read(full_path(inventory, shown), shown)


def locate(inventory: Inventory, merged: Merged, path: tuple[str, ...]) -> Spot:
    """Say which line of a node's files has the last word on a key, or on its nearest parent.

    :param merged: the merged node
    :param path: key path below ``parameters``
    """
    key = ":".join(path) or "(top)"
    files = inventory.origin(merged.id, path) if path else []
    if not files:
        return Spot(text=f"key {key}")
    member = next(m for m in reversed(merged.members) if m.source.path == files[-1])
    return spot(inventory, member, of(inventory, files[-1]).line(path), f"key {key} in ")


def locate_role(inventory: Inventory, merged: Merged, role: str) -> Spot:
    """Say which line gives a role to a node."""
    for member in reversed(merged.members):
        if role in member.source.applications:
            line = of(inventory, member.source.path).line_of("applications", role)
            return spot(inventory, member, line)
    return Spot()


def spot(inventory: Inventory, member: Member, line: int, before: str = "") -> Spot:
    """Make the place of a line in one of a node's files, with the classes that led to it."""
    file = member.source.path
    chain = " -> ".join(member.chain[1:])
    text = f"{before}{file}:{line}" + (f" ({chain})" if chain else "")
    return Spot(file, line, text)
