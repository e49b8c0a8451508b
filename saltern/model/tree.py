"""The merged tree of one class list: tokens for references, layers for what cannot merge yet.

A tree is plain data (dict, list, scalar) in which a string with references is a :class:`Text`
or :class:`Ref`, and a key whose value needs references before it can be merged is a
:class:`Layers`. Trees are never changed in place: merging copies the touched dicts only, so
merged prefixes of class lists can be shared between nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: how a layer joins what lies below it
MERGE, OVERRIDE, CONSTANT = 0, 1, 2

_PREFIX = {"~": OVERRIDE, "=": CONSTANT}
# A run of plain text ends before an (escaped, doubly escaped) opening mark.
_TEXT = re.compile(r"(?:(?!\\{0,2}\$[{\[]).)+", re.DOTALL)
_REF_TEXT = re.compile(r"(?:(?!\\{0,2}(?:\$\{|\})).)+", re.DOTALL)
_DOUBLE = re.compile(r"\\\\(?=\$\{|\}|\$\[|\])")


class TreeError(Exception):
    """A value that cannot be read or merged; ``path`` is the key path inside the tree."""

    def __init__(self, sentence: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path


class Ref:
    """``${…}``: parts are text and nested references."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[str | Ref, ...]) -> None:
        self.parts = parts

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


def tokenise(text: str) -> str | Ref | Text:
    """Split a string into text and references.

    :param text: a string as written in a class file
    :returns: the string itself when it has no reference (escapes removed), a :class:`Ref`
        when it is exactly one reference, else a :class:`Text`
    :raises TreeError: an unclosed or empty reference, or an inventory query ``$[…]``

    The text is in no error: it may be a password that nobody has encrypted yet.

    Source: the grammar of kapicorp-reclass 2.0 (``reclass/values/parser_funcs.py``).
    """
    if "${" not in text and "$[" not in text:
        return text
    parts: list[str | Ref] = []
    at, end = 0, len(text)
    while at < end:
        if text.startswith("${", at):
            ref, at = _reference(text, at)
            parts.append(ref)
        elif text.startswith("$[", at):
            raise TreeError("inventory queries are not supported; write \\$[ for a plain $[")
        else:
            piece, at = _escape_or_text(text, at, ("\\${", "\\$["), _TEXT)
            parts.append(piece)
    parts = _joined(parts)
    if len(parts) == 1:
        return parts[0]
    return Text(tuple(parts))


def _joined(parts: list[str | Ref]) -> list[str | Ref]:
    """Join neighbouring text."""
    joined: list[str | Ref] = []
    for part in parts:
        if joined and isinstance(part, str) and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _escape_or_text(
    text: str, at: int, escaped: tuple[str, ...], run: re.Pattern[str]
) -> tuple[str, int]:
    if _DOUBLE.match(text, at):
        return "\\", at + 2
    for mark in escaped:
        if text.startswith(mark, at):
            return mark[1:], at + len(mark)
    match = run.match(text, at)
    if match is None:  # a backslash before a closing brace pair that is no escape
        return text[at], at + 1
    return match.group(), match.end()


def _reference(text: str, start: int) -> tuple[Ref, int]:
    at = start + 2
    parts: list[str | Ref] = []
    while at < len(text):
        if text[at] == "}":
            if not parts:
                raise TreeError("empty reference; write \\${ for a plain ${")
            return Ref(tuple(_joined(parts))), at + 1
        if text.startswith("${", at):
            nested, at = _reference(text, at)
            parts.append(nested)
        else:
            piece, at = _escape_or_text(text, at, ("\\${", "\\}"), _REF_TEXT)
            parts.append(piece)
    raise TreeError("reference without closing brace; write \\${ for a plain ${")


def split_path(text: str) -> tuple[str, ...]:
    """Split ``a:b:c`` at colons; ``\\:`` is a colon inside a key."""
    if "\\:" not in text:
        return tuple(text.split(":"))
    return tuple(part.replace("\\:", ":") for part in re.split(r"(?<!\\):", text))


def build(data: Any, *, strict: bool, path: tuple[str, ...] = ()) -> Any:
    """Turn parsed YAML into a tree: references tokenised, prefixes read, keys made strings.

    :param data: what the YAML loader returned for ``parameters`` or ``exports``
    :param strict: refuse keys that are neither string nor number
    :raises TreeError: with the key path of what cannot be read
    """
    if isinstance(data, str):
        try:
            return tokenise(data)
        except TreeError as err:
            raise TreeError(err.sentence, path) from None
    if isinstance(data, dict):
        out: dict[str, Any] = {}
        spelt: dict[str, Any] = {}
        for raw, value in data.items():
            key = _key(raw, strict, path)
            kind = _PREFIX.get(key[0], MERGE)
            if strict and key in spelt:
                raise TreeError(f"keys {spelt[key]!r} and {raw!r} are the same key", (*path, key))
            spelt[key] = raw
            if kind != MERGE:
                key = key[1:]
                if not key:
                    raise TreeError(f"key {raw!r} is a prefix without a name", path)
            here = (*path, key)
            node = build(value, strict=strict, path=here)
            if kind != MERGE:
                node = Layers(((kind, node),))
            out[key] = merge(out[key], node) if key in out else node
        return out
    if isinstance(data, list):
        return [_build_item(item, (*path, str(n))) for n, item in enumerate(data)]
    return data


def _build_item(data: Any, path: tuple[str, ...]) -> Any:
    """Inside a list nothing merges: keys stay as they are, as in reclass."""
    if isinstance(data, str):
        try:
            return tokenise(data)
        except TreeError as err:
            raise TreeError(err.sentence, path) from None
    if isinstance(data, dict):
        return {key: _build_item(value, (*path, str(key))) for key, value in data.items()}
    if isinstance(data, list):
        return [_build_item(item, (*path, str(n))) for n, item in enumerate(data)]
    return data


def _key(raw: Any, strict: bool, path: tuple[str, ...]) -> str:
    if isinstance(raw, bool) or raw is None or not isinstance(raw, str | int | float):
        if strict:
            raise TreeError(f"key {raw!r} is not a string; quote it", path)
        raw = str(raw)
    key = raw if isinstance(raw, str) else str(raw)
    if not key:
        raise TreeError("a key is empty", path)
    return key


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
    if is_scalar(low) and is_scalar(high):
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
    return not isinstance(node, dict | list | Ref | Text | Layers)


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
