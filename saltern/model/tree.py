"""The merged tree of one class list: tokens for references, layers for what cannot merge yet.

A tree is plain data (dict, list, scalar) in which a string with references is a :class:`Text`
or :class:`Ref`, an inventory query is a :class:`~saltern.model.query.Query`, and a key whose
value needs references before it can be merged is a :class:`Layers`. Trees are never changed in
place: merging copies the touched dicts only, so merged prefixes of class lists can be shared
between nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from saltern.model import query
from saltern.model.query import Query, QueryError

#: how a layer joins what lies below it
MERGE, OVERRIDE, CONSTANT = 0, 1, 2

#: limits that no model comes near: beyond them the work would end in a hang or a stack overflow
MAX_DEPTH = 100
MAX_VALUES = 500_000
MAX_NESTED = 20
MAX_REFERENCES = 200_000

_PREFIX = {"~": OVERRIDE, "=": CONSTANT}
# Plain text ends before an (escaped, doubly escaped) mark.
_TEXT_END = re.compile(r"\\{0,2}\$[{\[]")
_REF_TEXT_END = re.compile(r"\\{0,2}(?:\$\{|\})")
_DOUBLE = re.compile(r"\\\\(?=\$\{|\}|\$\[|\])")

# text -> token; the same references are written again and again
_tokens: dict[str, str | Ref | Text | Query] = {}
_TOKENS_KEPT = 200_000


class TreeError(Exception):
    """A value that cannot be read or merged; ``path`` is the key path inside the tree."""

    def __init__(self, sentence: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path


def legible(text: str, length: int = 200) -> str:
    """Return text from a model as an error may show it: cut, without control characters."""
    if len(text) > length:
        text = f"{text[:length]}…"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def chained(names: Iterable[str]) -> str:
    """Return names as ``a -> b -> c``; the middle of a long chain is counted."""
    shown = [legible(name, 100) for name in names]
    if len(shown) > 12:
        shown[6:-5] = [f"({len(shown) - 11} more)"]
    return " -> ".join(shown)


class Ref:
    """``${…}``: parts are text and nested references.

    ``text`` and ``path`` are None as long as they depend on a nested reference.
    """

    __slots__ = ("parts", "path", "text")

    def __init__(self, parts: tuple[str | Ref, ...]) -> None:
        self.parts = parts
        plain = len(parts) == 1 and isinstance(parts[0], str)
        self.text = str(parts[0]) if plain else None
        self.path = split_path(self.text) if self.text is not None else None

    def __str__(self) -> str:
        return "${" + "".join(map(str, self.parts)) + "}"

    __repr__ = __str__


class Text:
    """A string made of text and at least one reference."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[str | Ref, ...]) -> None:
        self.parts = parts

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    __repr__ = __str__


class Layers:
    """Values of one key, lowest first, that can only be merged once references are known."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[tuple[int, Any], ...]) -> None:
        self.items = items


#: everything in a tree that is no scalar
NODES = frozenset({dict, list, Ref, Text, Layers, Query})


def tokenise(text: str) -> str | Ref | Text | Query:
    """Split a string into text and references.

    :param text: a string as written in a class file
    :returns: the string itself when it has no reference (escapes removed), a :class:`Ref`
        when it is exactly one reference, a :class:`Query`, else a :class:`Text`
    :raises TreeError: an unclosed or empty reference, a query that cannot be read or is only
        a part of the text

    The text is in no error: it may be a password that nobody has encrypted yet.

    Source: the grammar of kapicorp-reclass 2.0 (``reclass/values/parser_funcs.py``).
    """
    if "${" not in text and "$[" not in text:
        return text
    token = _tokens.get(text)
    if token is None:
        token = _token(text)
        if len(_tokens) >= _TOKENS_KEPT:
            _tokens.clear()
        _tokens[text] = token
    return token


def _token(text: str) -> str | Ref | Text | Query:
    if text.count("${") > MAX_REFERENCES:
        raise TreeError(f"more than {MAX_REFERENCES} references in one text")
    parts: list[str | Ref] = []
    at, end = 0, len(text)
    while at < end:
        if text.startswith("${", at):
            ref, at = _reference(text, at, 1)
            parts.append(ref)
        elif text.startswith("$[", at):
            return _query(text, at)
        else:
            piece, at = _escape_or_text(text, at, ("\\${", "\\$["), _TEXT_END)
            parts.append(piece)
    joined = _joined(parts)
    return joined[0] if len(joined) == 1 else Text(joined)


def _query(text: str, at: int) -> Query:
    end = text.find("]", at)
    if end < 0:
        raise TreeError("inventory query without closing bracket; write \\$[ for a plain $[")
    if at > 0 or end + 1 < len(text):
        raise TreeError("an inventory query must be the whole value; write \\$[ for a plain $[")
    try:
        return query.parse(text[2:end])
    except QueryError as err:
        raise TreeError(err.sentence) from None


def _joined(parts: list[str | Ref]) -> tuple[str | Ref, ...]:
    """Join neighbouring text."""
    joined: list[str | Ref] = []
    run: list[str] = []
    for part in [*parts, None]:
        if isinstance(part, str):
            run.append(part)
            continue
        if run:
            joined.append("".join(run))
            run = []
        if part is not None:
            joined.append(part)
    return tuple(joined)


def _escape_or_text(
    text: str, at: int, escaped: tuple[str, ...], run_end: re.Pattern[str]
) -> tuple[str, int]:
    if _DOUBLE.match(text, at):
        return "\\", at + 2
    for mark in escaped:
        if text.startswith(mark, at):
            return mark[1:], at + len(mark)
    match = run_end.search(text, at)
    end = match.start() if match else len(text)
    if end == at:  # a backslash before a closing brace pair that is no escape
        end += 1
    return text[at:end], end


def _reference(text: str, start: int, depth: int) -> tuple[Ref, int]:
    if depth > MAX_NESTED:
        raise TreeError(f"references are nested more than {MAX_NESTED} levels deep")
    at = start + 2
    parts: list[str | Ref] = []
    while at < len(text):
        if text[at] == "}":
            if not parts:
                raise TreeError("empty reference; write \\${ for a plain ${")
            return Ref(_joined(parts)), at + 1
        if text.startswith("${", at):
            nested, at = _reference(text, at, depth + 1)
            parts.append(nested)
        else:
            piece, at = _escape_or_text(text, at, ("\\${", "\\}"), _REF_TEXT_END)
            parts.append(piece)
    raise TreeError("reference without closing brace; write \\${ for a plain ${")


def split_path(text: str) -> tuple[str, ...]:
    """Split ``a:b:c`` at colons; ``\\:`` is a colon inside a key."""
    if "\\:" not in text:
        return tuple(text.split(":"))
    return tuple(part.replace("\\:", ":") for part in re.split(r"(?<!\\):", text))


def build(data: Any, *, strict: bool) -> Any:
    """Turn parsed YAML into a tree: references tokenised, prefixes read, keys made strings.

    :param data: what the YAML loader returned for ``parameters`` or ``exports``
    :param strict: refuse keys that are neither string nor number, or hold a reference
    :raises TreeError: with the key path of what cannot be read; nested too deeply; too large,
        which only anchors can make it
    """
    return _Builder(strict).node(data, 0)


class _Builder:
    """Builds one tree and counts what it takes: anchors can make small files huge."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self._left = MAX_VALUES

    def node(self, data: Any, depth: int) -> Any:
        if isinstance(data, str):
            return tokenise(data) if "$" in data else data
        if isinstance(data, dict):
            self._count(len(data), depth)
            return self._mapping(data, depth + 1)
        if isinstance(data, list):
            return self._list(data, depth)
        return data

    def _count(self, values: int, depth: int) -> None:
        self._left -= values + 1
        if self._left < 0:
            raise TreeError(f"more than {MAX_VALUES} values; are anchors nested?")
        if depth >= MAX_DEPTH:
            raise TreeError(f"nested more than {MAX_DEPTH} levels deep")

    def _mapping(self, data: dict[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        spelt: dict[str, Any] = {}
        for raw, value in data.items():
            key = raw if type(raw) is str and raw else _key(raw, self.strict)
            if self.strict:
                if key in spelt:
                    raise TreeError(
                        f"keys {_quoted(spelt[key])} and {_quoted(raw)} are the same key", (key,)
                    )
                spelt[key] = raw
                if "$" in key:
                    _without_marks(key)
            kind = _PREFIX.get(key[0], MERGE)
            if kind != MERGE:
                key = key[1:]
                if not key:
                    raise TreeError(f"key {_quoted(raw)} is a prefix without a name")
            try:
                node = self.node(value, depth)
            except TreeError as err:
                raise TreeError(err.sentence, (key, *err.path)) from None
            if kind != MERGE:
                node = Layers(((kind, node),))
            out[key] = merge(out[key], node) if key in out else node
        return out

    def _list(self, data: list[Any], depth: int) -> list[Any]:
        self._count(len(data), depth)
        out = []
        for number, item in enumerate(data):
            try:
                out.append(self._item(item, depth + 1))
            except TreeError as err:
                raise TreeError(err.sentence, (str(number), *err.path)) from None
        return out

    def _item(self, data: Any, depth: int) -> Any:
        """Inside a list nothing merges: keys stay as they are, as in reclass."""
        if isinstance(data, str):
            return tokenise(data) if "$" in data else data
        if isinstance(data, list):
            return self._list(data, depth)
        if not isinstance(data, dict):
            return data
        self._count(len(data), depth)
        out = {}
        for key, value in data.items():
            if self.strict and isinstance(key, str) and "$" in key:
                _without_marks(key)
            try:
                out[key] = self._item(value, depth + 1)
            except TreeError as err:
                raise TreeError(err.sentence, (str(key), *err.path)) from None
        return out


def _key(raw: Any, strict: bool) -> str:
    if isinstance(raw, bool) or raw is None or not isinstance(raw, str | int | float):
        if strict:
            raise TreeError(f"key {_quoted(raw)} is not a string; quote it")
        raw = str(raw)
    key = raw if isinstance(raw, str) else str(raw)
    if not key:
        raise TreeError("a key is empty")
    return key


def _quoted(raw: Any) -> str:
    return legible(repr(raw))


def _without_marks(key: str) -> None:
    if "${" in key or "$[" in key:
        raise TreeError("a key holds a reference; references in keys are not resolved", (key,))


def merge(low: Any, high: Any) -> Any:
    """Merge two trees; neither is changed.

    Dicts merge key by key, lists append, scalars replace; what depends on a reference or
    differs in type is kept as :class:`Layers` until it is resolved.

    :param low: the tree below
    :param high: the tree that has the last word
    """
    if type(low) is dict and type(high) is dict:
        out = dict(low)
        for key, value in high.items():
            out[key] = merge(out[key], value) if key in out else value
        return out
    if type(low) is list and type(high) is list:
        return low + high
    if type(low) not in NODES and type(high) not in NODES:
        return high
    return Layers(_layers(low) + _layers(high))


def _layers(node: Any) -> tuple[tuple[int, Any], ...]:
    return node.items if isinstance(node, Layers) else ((MERGE, node),)


def seal(node: Any) -> Any:
    """Make the layers of a referenced dictionary one value each.

    A reference gives values: that one of them replaced another, or is constant, stays a matter
    of the place it was written at.
    """
    if isinstance(node, dict):
        return {key: seal(value) for key, value in node.items()}
    return Layers(((MERGE, node),)) if isinstance(node, Layers) else node


def is_scalar(node: Any) -> bool:
    """True for a value without inner structure and without references."""
    return type(node) not in NODES


def references(node: Any) -> Iterator[Ref]:
    """Yield every reference in a tree, outermost first."""
    if isinstance(node, dict):
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
    elif isinstance(node, Layers):
        for _, value in node.items:
            yield from references(value)
    elif isinstance(node, Text):
        for part in node.parts:
            yield from references(part)
    elif isinstance(node, Ref):
        yield node
        for part in node.parts:
            yield from references(part)
