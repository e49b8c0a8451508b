"""Inventory queries: what one node asks of the exports of the others.

Two steps, without a fixed point: every node's exports are rendered first (they hold no query),
then the nodes that ask are answered from the index of all of them.

Source: kapicorp-reclass 2.0 (``reclass/values/invitem.py`` and ``parser_funcs.py``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]

_OPTION = re.compile(r"\s*(\+IgnoreErrors|\+AllEnvs)", re.IGNORECASE)
_IF = re.compile(r"\s*if", re.IGNORECASE)
_WORD = re.compile(r"\s*([!-~]+)")  # as there: printable ASCII
_COMPARE = re.compile(r"\s*(==|!=)")
_LOGIC = re.compile(r"\s*(and|or)", re.IGNORECASE)
_END = re.compile(r"\s*$")
_INTEGER = re.compile(r"-?\d+$")
_REAL = re.compile(r"-?(\d+\.\d*|\.\d+)$")
_USAGE = (
    "write $[ exports:KEY ], $[ exports:KEY if exports:KEY == VALUE ] or "
    "$[ if exports:KEY == self:KEY ]"
)


class QueryError(Exception):
    """A query that cannot be read or answered; the text is one sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, order=True)
class Asked:
    """What a node's data depends on: one top-level export key of the nodes of an environment.

    ``environment`` is None when the nodes of all environments were asked (``+AllEnvs``).
    """

    key: str
    environment: str | None


@dataclass(frozen=True)
class ExportEntry:
    """What one node exports.

    :param environment: the node's environment; empty when its file cannot be read
    :param exports: plain data without the values that fail, or None when the node's classes
        cannot be merged at all
    :param error: why ``exports`` is None
    :param faults: (path inside the exports, sentence) of each value that fails
    """

    environment: str
    exports: dict[str, Any] | None
    error: str = ""
    faults: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class ExportIndex:
    """The exports of every node of an inventory."""

    entries: Mapping[str, ExportEntry]

    @functools.cached_property
    def _sorted(self) -> list[tuple[str, ExportEntry]]:
        return sorted(self.entries.items())

    def visible(self, environment: str | None) -> Iterator[tuple[str, ExportEntry]]:
        """Yield (node id, entry) of the nodes that a query sees, sorted by id.

        A node without an environment cannot be read: it counts as one of every environment,
        so that it is missed by whoever asks.

        :param environment: None for all
        """
        for node_id, entry in self._sorted:
            if environment is None or entry.environment in (environment, ""):
                yield node_id, entry

    def seen(self, asked: Asked) -> list[tuple[str, Any]]:
        """Return what an answer about one key can depend on, to compare two indexes.

        :returns: (node id, value or error) of every node that has the key or fails
        """
        found: list[tuple[str, Any]] = []
        for node_id, entry in self.visible(asked.environment):
            faults = [fault for fault in entry.faults if fault[0][:1] == (asked.key,)]
            if entry.exports is None:
                found.append((node_id, [entry.error]))
            elif faults or asked.key in entry.exports:
                found.append((node_id, [entry.exports.get(asked.key), faults]))
        return found


@dataclass(frozen=True)
class Test:
    """``exports:PATH == VALUE``, or ``== self:PATH`` when ``own`` is set."""

    path: Path
    equal: bool
    own: Path | None
    value: Any

    def holds(self, exports: dict[str, Any], wanted: Any) -> bool:
        """Return whether a node's exports pass; a node without the key never does."""
        found = _find(exports, self.path)
        return found is not _ABSENT and (found == wanted) is self.equal


@dataclass(frozen=True)
class Query:
    """A parsed ``$[ … ]``; ``path`` is None when it asks for the list of nodes.

    ``joins`` are the words between the tests: True for ``and``, read from left to right
    without precedence, as in reclass.
    """

    text: str
    path: Path | None
    tests: tuple[Test, ...] = ()
    joins: tuple[bool, ...] = ()
    all_environments: bool = False
    ignore_errors: bool = False
    paths: tuple[Path, ...] = field(init=False)

    def __post_init__(self) -> None:
        own = () if self.path is None else (self.path,)
        object.__setattr__(self, "paths", (*own, *(test.path for test in self.tests)))

    def __str__(self) -> str:
        return f"$[{self.text}]"

    def asked(self, environment: str) -> set[Asked]:
        """Return what the answer depends on for a node of an environment."""
        seen = None if self.all_environments else environment
        return {Asked(path[0], seen) for path in self.paths}

    def answer(
        self,
        index: ExportIndex,
        environment: str,
        own: Callable[[Path], Any],
        *,
        ignore_failed_node: bool = False,
        ignore_failed_render: bool = False,
    ) -> Any:
        """Answer the query from the exports of the nodes it may see.

        :param environment: environment of the asking node
        :param own: gives the asking node's resolved parameter at a path (``self:``)
        :param ignore_failed_node: leave out nodes whose file cannot be read
        :param ignore_failed_render: leave out values that fail, as ``+IgnoreErrors`` does
        :returns: {node id: value}, or the list of node ids, both sorted; the values belong to
            the index and must not be changed
        :raises QueryError: a node that fails what is asked for
        """
        wanted = [self._wanted(test, own) for test in self.tests]
        lenient = self.ignore_errors or ignore_failed_render
        values: dict[str, Any] = {}
        for node_id, entry in index.visible(None if self.all_environments else environment):
            exports = entry.exports
            if exports is None:
                if ignore_failed_node and not entry.environment:
                    continue
                raise QueryError(f"node {node_id} cannot be asked: {entry.error}")
            if entry.faults and not lenient:
                self._require(node_id, entry)
            if self._holds(exports, wanted):
                found = True if self.path is None else _find(exports, self.path)
                if found is not _ABSENT:
                    values[node_id] = found
        return list(values) if self.path is None else values

    def _wanted(self, test: Test, own: Callable[[Path], Any]) -> Any:
        if test.own is None:
            return test.value
        value = own(test.own)
        if value is None:
            raise QueryError(f"self:{':'.join(test.own)} is null, nothing to compare with")
        return value

    def _holds(self, exports: dict[str, Any], wanted: list[Any]) -> bool:
        result = True
        for number, test in enumerate(self.tests):
            one = test.holds(exports, wanted[number])
            if number == 0:
                result = one
            else:
                result = result and one if self.joins[number - 1] else result or one
        return result

    def _require(self, node_id: str, entry: ExportEntry) -> None:
        """Refuse when a value that fails is above, at or below one of the paths."""
        for at, sentence in entry.faults:
            for path in self.paths:
                if all(a == b for a, b in zip(at, path, strict=False)):
                    key = ":".join(at)
                    raise QueryError(f"export {key} of node {node_id} fails: {sentence}")


_ABSENT = object()


def _find(exports: Any, path: Path) -> Any:
    for part in path:
        if type(exports) is not dict or part not in exports:
            return _ABSENT
        exports = exports[part]
    return exports


def parse(text: str) -> Query:
    """Read the text between ``$[`` and ``]``.

    :raises QueryError: not a query; its text is in no error, since it may be a password
    """
    at, options = 0, set()
    while match := _OPTION.match(text, at):
        options.add(match[1].lower())
        at = match.end()
    path, at = _subject(text, at)
    tests: list[Test] = []
    joins: list[bool] = []
    while not _END.match(text, at):
        if tests:
            logic = _LOGIC.match(text, at)
            if logic is None:
                raise QueryError(f"not an inventory query; {_USAGE}")
            joins.append(logic[1].lower() == "and")
            at = logic.end()
        test, at = _test(text, at)
        tests.append(test)
    if path is None and not tests:
        raise QueryError(f"not an inventory query; {_USAGE}")
    return Query(
        text,
        path,
        tuple(tests),
        tuple(joins),
        all_environments="+allenvs" in options,
        ignore_errors="+ignoreerrors" in options,
    )


def _subject(text: str, at: int) -> tuple[Path | None, int]:
    """The path whose values are asked for, None for a list of nodes; then where tests start."""
    word = _WORD.match(text, at)
    if word is None:
        raise QueryError(f"empty inventory query; {_USAGE}")
    condition = _IF.match(text, word.end())
    if condition or _END.match(text, word.end()):
        path = _exports(_split(word[1]))
        if path is None:
            raise QueryError(f"an inventory query asks for exports:KEY; {_USAGE}")
        end = condition.end() if condition else word.end()
        if condition and _END.match(text, end):
            raise QueryError(f"not an inventory query; {_USAGE}")
        return path, end
    condition = _IF.match(text, at)
    if condition is None:
        raise QueryError(f"not an inventory query; {_USAGE}")
    return None, condition.end()


def _test(text: str, at: int) -> tuple[Test, int]:
    left = _WORD.match(text, at)
    compare = _COMPARE.match(text, left.end()) if left else None
    right = _WORD.match(text, compare.end()) if compare else None
    if left is None or compare is None or right is None:
        raise QueryError(f"a test needs two sides with == or != between; {_USAGE}")
    one, two = _exports(_split(left[1])), _exports(_split(right[1]))
    path = one or two
    if path is None or (one and two):
        raise QueryError("one side of a test, and one only, is exports:KEY")
    other = right[1] if one else left[1]
    first, *rest = _split(other)
    own = tuple(rest) if first.lower() == "self" else None
    if own == ():
        raise QueryError("self: in a test names no key")
    return Test(path, compare[1] == "==", own, None if own else _literal(other)), right.end()


def _literal(word: str) -> Any:
    if _INTEGER.match(word):
        return int(word)
    if _REAL.match(word):
        return float(word)
    first = _split(word)[0].lower()
    return {"true": True, "false": False}.get(first, word)


def _exports(parts: Path) -> Path | None:
    if parts[0].lower() != "exports":
        return None
    if len(parts) == 1:
        raise QueryError("exports: in a query names no key")
    return parts[1:]


def _split(word: str) -> Path:
    return tuple(re.split(r"(?<!\\):", word))
