"""YAML as reclass reads it, with limits: whatever a file holds, it ends soon and in a sentence."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError

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

_STR, _SEQ, _MAP = (f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))
_NULL, _BOOL, _INT, _FLOAT, _MERGE, _VALUE = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "merge", "value")
)
_NOT_MADE = object()
_BEING_MADE = object()

# libyaml parses ten times faster; the Python loader gives the same data.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader(_Base):  # type: ignore[misc]
    """YAML 1.1 as reclass reads it; half the time of the base class, which can do more."""

    #: whether a key may be written once only
    unique = False

    def data(self) -> Any:
        """Return the data of the only document."""
        self._made: dict[yaml.Node, Any] = {}
        node = self.get_single_node()
        return None if node is None else self._value(node)

    def resolve(self, kind: type, value: Any, implicit: Any) -> Any:
        """The tag of a node without one: ``Resolver.resolve`` without what no file needs."""
        if kind is yaml.ScalarNode:
            if implicit[0]:
                for tag, regexp in self.yaml_implicit_resolvers.get(value[:1], ()):
                    if regexp.match(value):
                        return tag
            return _STR
        return _MAP if kind is yaml.MappingNode else _SEQ

    def _value(self, node: yaml.Node) -> Any:
        if type(node) is yaml.ScalarNode:
            return node.value if node.tag == _STR else self._scalar(node)
        made = self._made.get(node, _NOT_MADE)  # an alias stands for the very same node
        if made is _BEING_MADE:
            raise ConstructorError(None, None, "an anchor contains itself", node.start_mark)
        if made is _NOT_MADE:
            self._made[node] = _BEING_MADE
            made = self._made[node] = self._collection(node)
        return made

    def _collection(self, node: yaml.Node) -> Any:
        if node.tag == _MAP and type(node) is yaml.MappingNode:
            return self._mapping(node)
        if node.tag == _SEQ and type(node) is yaml.SequenceNode:
            return [self._value(item) for item in node.value]
        return self.construct_object(node, deep=True)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        tag = node.tag
        if tag == _NULL:
            return None
        if tag == _BOOL:
            return self.bool_values[node.value.lower()]
        if tag in (_INT, _FLOAT) and len(node.value) > _MAX_DIGITS:
            # in base 60 a long one would take for ever
            raise ConstructorError(
                None, None, f"a number of more than {_MAX_DIGITS} characters", node.start_mark
            )
        return self.construct_object(node, deep=True)

    def _mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        pairs = node.value
        for key, _ in pairs:
            if key.tag == _MERGE or key.tag == _VALUE:
                return self._merging(node)
        out = {}
        for key, value in pairs:
            out[self._key(key)] = (
                value.value
                if type(value) is yaml.ScalarNode and value.tag == _STR
                else self._value(value)
            )
        if len(out) != len(pairs) and self.unique:
            self._refuse_twice(pairs)
        return out

    def _merging(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """A mapping with ``<<``; a key of its own rightly wins over it."""
        if self.unique:
            self._refuse_twice(node.value)
        self.flatten_mapping(node)
        return {self._key(key): self._value(value) for key, value in node.value}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_MERGED:
            raise ConstructorError(
                None, None, f"more than {_MAX_MERGED} merged keys", node.start_mark
            )

    def _key(self, node: yaml.Node) -> Any:
        if type(node) is yaml.ScalarNode:
            return node.value if node.tag == _STR else self._scalar(node)
        key = self.construct_object(node, deep=True)
        try:
            hash(key)
        except TypeError:
            raise ConstructorError(None, None, "a key is no scalar", node.start_mark) from None
        return key

    @staticmethod
    def _refuse_twice(pairs: list[tuple[yaml.Node, yaml.Node]]) -> None:
        seen = set()
        for key, _ in pairs:
            mark = (key.tag, key.value) if isinstance(key.value, str) else None
            if mark is None or key.tag == _MERGE:
                continue
            if mark in seen:
                what = legible(repr(key.value))
                raise ConstructorError(None, None, f"key {what} is written twice", key.start_mark)
            seen.add(mark)


class _Unique(_Reader):
    """The same, and a key may be written once only."""

    unique = True


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
        reader = (_Unique if strict else _Reader)(text)
        try:
            return reader.data()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as err:
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        problem = legible(str(err.problem or err.context))
        raise ModelError(problem, where=f"{shown}{line}") from None
    except yaml.YAMLError as err:
        problem = legible(str(err).splitlines()[0])
        raise ModelError(f"not valid YAML: {problem}", where=shown) from None
    except RecursionError:
        raise ModelError("values are nested too deeply", where=shown) from None
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
