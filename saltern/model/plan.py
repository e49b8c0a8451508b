"""How to copy a tree fast: what is plain in it is found once, and shared between nodes.

Most containers of a merged tree are the very same objects in every node with the same classes.
A :class:`Plan` says of one container which of its values are more than a scalar, so that a copy
touches nothing else.
"""

from __future__ import annotations

from typing import Any

from saltern.model.query import Query
from saltern.model.tree import NODES, Layers, Ref, Text

Container = dict[Any, Any] | list[Any]


class Plan:
    """The values of one container that a copy of it has to replace.

    :ivar node: the container; kept, so that its id stays unique
    :ivar flats: (key, container) of plain containers that hold scalars only
    :ivar deep: (key, plan) of other containers without references
    :ivar mixed: (key, plan) of containers with references
    :ivar refs: (key, text, path) of references without a nested one
    :ivar tokens: (key, token) of all other tokens
    :ivar size: values in it and below
    """

    __slots__ = ("deep", "flats", "mixed", "node", "refs", "size", "tokens")

    node: Any
    flats: tuple[tuple[Any, Any], ...]
    deep: tuple[tuple[Any, Plan], ...]
    mixed: tuple[tuple[Any, Plan], ...]
    refs: tuple[tuple[Any, str, tuple[str, ...]], ...]
    tokens: tuple[tuple[Any, Text | Layers | Query | Ref], ...]
    size: int

    @property
    def pure(self) -> bool:
        """Whether there is no reference in it."""
        return not (self.refs or self.tokens or self.mixed)

    def copy(self) -> Any:
        """Return a fresh copy of a container without references."""
        out = self.node.copy()
        for key, node in self.flats:
            out[key] = node.copy()
        for key, plan in self.deep:
            out[key] = plan.copy()
        return out


class Plans:
    """The plans of the containers of one or more trees.

    :param known: plans of what this table's trees share with others
    """

    def __init__(self, known: Plans | None = None) -> None:
        self._known: dict[int, Plan] = known._plans if known is not None else {}
        self._plans: dict[int, Plan] = {}

    def of(self, node: Container) -> Plan:
        """Return the plan of a container, made when it is asked for first."""
        mark = id(node)
        return self._known.get(mark) or self._plans.get(mark) or self._make(node)

    def _make(self, node: Container) -> Plan:
        plan = Plan()
        plan.node = node
        flats: list[tuple[Any, Any]] = []
        deep: list[tuple[Any, Plan]] = []
        mixed: list[tuple[Any, Plan]] = []
        refs: list[tuple[Any, str, tuple[str, ...]]] = []
        tokens: list[tuple[Any, Any]] = []
        size = len(node) + 1
        pairs = node.items() if type(node) is dict else enumerate(node)
        for key, value in [pair for pair in pairs if type(pair[1]) in NODES]:
            kind = type(value)
            if kind is dict or kind is list:
                below = self.of(value)
                size += below.size
                if below.refs or below.tokens or below.mixed:
                    mixed.append((key, below))
                elif below.flats or below.deep:
                    deep.append((key, below))
                else:
                    flats.append((key, value))
            elif kind is Ref and value.text is not None:
                refs.append((key, value.text, value.path))
            else:
                tokens.append((key, value))
        plan.flats, plan.deep, plan.mixed = tuple(flats), tuple(deep), tuple(mixed)
        plan.refs, plan.tokens, plan.size = tuple(refs), tuple(tokens), size
        self._plans[id(node)] = plan
        return plan
