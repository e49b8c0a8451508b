"""Class mappings: classes that nodes get by their names."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from saltern.errors import ModelError
from saltern.model.tree import legible


@dataclass(frozen=True)
class ClassMapping:
    """One line: a glob or a regular expression, and the classes of the nodes it matches."""

    line: str
    glob: str
    regexp: re.Pattern[str] | None
    classes: tuple[str, ...]

    def matching(self, name: str) -> tuple[str, ...]:
        """Return the classes of a node, back references filled in; none when it doesn't match.

        :raises ModelError: a back reference to a group that the expression has not
        """
        if self.regexp is None:
            return self.classes if fnmatch.fnmatchcase(name, self.glob) else ()
        match = self.regexp.search(name)
        if match is None:
            return ()
        try:
            return tuple(match.expand(entry) for entry in self.classes)
        except (re.error, IndexError) as err:
            raise ModelError(f"class mapping {self.line!r}: {err}") from None


def parse(line: str) -> ClassMapping:
    r"""Read ``GLOB CLASS…`` or ``/REGEXP/ CLASS…``, split like a shell command.

    A back reference is written ``\\1`` outside quotes.

    :raises ModelError: a quote or slash that is not closed, or a bad expression

    Source: ``Core._shlex_split`` of kapicorp-reclass 2.0.
    """
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    slashed = line.startswith("/")
    if slashed:
        lexer.quotes += "/"
        lexer.escapedquotes += "/"
    try:
        pattern, *classes = list(lexer)
    except ValueError:
        raise ModelError(
            f"class mapping {legible(repr(line))}: a quote or slash is not closed, or nothing "
            "is there"
        ) from None
    if not slashed:
        return ClassMapping(line, pattern, None, tuple(classes))
    try:
        return ClassMapping(line, "", re.compile(pattern), tuple(classes))
    except re.error as err:
        raise ModelError(f"class mapping {legible(repr(line))}: {err}") from None


def classes(mappings: Iterable[ClassMapping], name: str) -> tuple[str, ...]:
    """Return the classes that all mappings together give a node, each once, in order.

    :param name: node id, or its path with option ``class_mappings_match_path``
    :raises ModelError: what a mapping gives is no class name
    """
    found: dict[str, None] = {}
    for mapping in mappings:
        for entry in mapping.matching(name):
            if not entry or " " in entry or "/" in entry:
                what = f"{legible(repr(entry))} is no class name"
                raise ModelError(f"class mapping {legible(repr(mapping.line))}: {what}")
            found[entry] = None
    return tuple(found)
