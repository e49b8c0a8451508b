"""YAML as reclass reads it, with limits: whatever a file holds, it ends soon and in a sentence."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from saltern.errors import ModelError
from saltern.model.tree import legible

#: bytes of one file; a class with every certificate of a site is a hundredth of that
MAX_SIZE = 12 * 1024 * 1024
#: levels that libyaml's parser is let into: it recurses in C and would overflow the stack
_MAX_LEVELS = 5000
#: characters of a number
_MAX_DIGITS = 100
#: keys that `<<` may bring into one mapping
_MAX_MERGED = 100_000
_OPENERS = ("[", "{", "- ", "-\t", "-\n", "? ", "?\t", "?\n")
_MERGE = "tag:yaml.org,2002:merge"

# libyaml parses ten times faster; the Python loader gives the same data.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _LastWins(_Base):  # type: ignore[misc]
    """YAML 1.1 as reclass reads it."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_MERGED:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {_MAX_MERGED} merged keys", node.start_mark
            )

    def number(self, node: yaml.ScalarNode) -> Any:
        """A number; in base 60 a long one would take for ever."""
        if len(node.value) > _MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of more than {_MAX_DIGITS} characters", node.start_mark
            )
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _LastWins.add_constructor(f"tag:yaml.org,2002:{_tag}", _LastWins.number)


class _Unique(_LastWins):
    """YAML 1.1 in which a key may be written once only."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # `<<` is folded into the pairs by the base class; an explicit key rightly wins over it
        pairs = node.value
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        if len(mapping) != len(pairs) or node.value is not pairs:
            seen = set()
            for key, _ in pairs:
                mark = (key.tag, key.value) if isinstance(key.value, str) else None
                if mark is None or key.tag == _MERGE:
                    continue
                if mark in seen:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"key {legible(repr(key.value))} is written twice",
                        key.start_mark,
                    )
                seen.add(mark)
        return mapping


def parse(text: str, shown: str, *, strict: bool) -> Any:
    """Return the data of a YAML document.

    :param text: the document
    :param shown: its name in errors
    :param strict: refuse a key that is written twice
    :raises ModelError: naming the line of what cannot be read; values are in no error, they may
        be passwords that nobody has encrypted yet
    """
    try:
        _check_levels(text)
        return yaml.load(text, Loader=_Unique if strict else _LastWins)  # noqa: S506
    except yaml.MarkedYAMLError as err:
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        problem = legible(str(err.problem or err.context))
        raise ModelError(problem, where=f"{shown}{line}") from None
    except yaml.YAMLError as err:
        problem = legible(str(err).splitlines()[0])
        raise ModelError(f"not valid YAML: {problem}", where=shown) from None
    except RecursionError:
        raise ModelError("keys or merge keys are nested too deeply", where=shown) from None
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError):
        # what PyYAML lets through of a value that does not fit its type
        raise ModelError("a date, number or tagged value is out of range", where=shown) from None


def _check_levels(text: str) -> None:
    """Refuse what would overflow the parser's stack, at no cost for usual files."""
    if sum(map(text.count, _OPENERS)) <= _MAX_LEVELS:
        return
    level = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
            if level > _MAX_LEVELS:
                raise yaml.YAMLError(f"nested more than {_MAX_LEVELS} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1
