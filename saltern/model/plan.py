"""How to copy a tree fast: what in it is more than a scalar is found once.

Most containers of a merged tree are the very same objects in every node of a group. A
:class:`Plan` says of one of them which values a copy has to replace, so that copying touches
nothing else.
"""

from __future__ import annotations

from typing import Any

from saltern.model.query import Query
from saltern.model.tree import NODES, Layers, Ref, Text

#: id of a container -> its plan; the plan keeps the container, so the id stays its own
Plans = dict[int, "Plan"]


class Plan:
    """The values of one container that are no scalars.

    :ivar node: the container
    :ivar flats: (key, container) of those that hold scalars only
    :ivar deep: (key, plan) of other containers without references
    :ivar mixed: (key, plan) of containers with references
    :ivar refs: (key, text, path) of references without a nested one
    :ivar tokens: (key, token) of all other tokens
    :ivar pure: whether there is no reference in it or below
    :ivar size: values in it and below
    """

    __slots__ = ("deep", "flats", "mixed", "node", "pure", "refs", "size", "tokens")

    node: Any
    flats: tuple[tuple[Any, Any], ...]
    deep: tuple[tuple[Any, Plan], ...]
    mixed: tuple[tuple[Any, Plan], ...]
    refs: tuple[tuple[Any, str, tuple[str, ...]], ...]
    tokens: tuple[tuple[Any, Text | Layers | Query | Ref], ...]
    pure: bool
    size: int

    def copy(self) -> Any:
        """Return a fresh copy of a container without references."""
        out = self.node.copy()
        for key, node in self.flats:
            out[key] = node.copy()
        for key, plan in self.deep:
            out[key] = plan.copy()
        return out


def learn(node: dict[Any, Any] | list[Any], plans: Plans) -> Plan:
    """Return the plan of a container; it and those below are added to ``plans``."""
    plan = plans.get(id(node))
    if plan is not None:
        return plan
    plan = Plan()
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
            below = learn(value, plans)
            size += below.size
            if not below.pure:
                mixed.append((key, below))
            elif below.flats or below.deep:
                deep.append((key, below))
            else:
                flats.append((key, value))
        elif kind is Ref and value.text is not None:
            refs.append((key, value.text, value.path))
        else:
            tokens.append((key, value))
    plan.node, plan.size, plan.pure = node, size, not (mixed or refs or tokens)
    plan.flats, plan.deep, plan.mixed = tuple(flats), tuple(deep), tuple(mixed)
    plan.refs, plan.tokens = tuple(refs), tuple(tokens)
    plans[id(node)] = plan
    return plan
