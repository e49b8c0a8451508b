"""Which classes a node is made of, who includes whom, and in which order they are merged."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from saltern.errors import ModelError
from saltern.model.inventory import Inventory, Member
from saltern.model.resolve import MissingReference, Resolver
from saltern.model.tree import TreeError, tokenise

#: the layers from the node down; a class of no layer is in the last one
LAYERS = ("node", "cluster", "system", "service", "other")
_REFERENCE = re.compile(r"\\\$\\\{.*\\\}")


@dataclass(frozen=True)
class Box:
    """A class, or the node itself.

    ``order`` is its place in the merge order, from 1; the last one has the last word. 0: the
    class does not exist and the options say to ignore that. ``roles`` are the applications that
    its file adds.
    """

    key: str
    name: str
    layer: str
    order: int
    path: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Edge:
    """``parent`` includes ``child`` as the ``order``-th entry of its list, from 1.

    ``merged``: this include is the one at which the child was merged; at a later one it is
    merged already. ``order`` 0: a class mapping brought it.
    """

    parent: str
    child: str
    order: int
    merged: bool


@dataclass(frozen=True)
class ClassGraph:
    """The classes of one node; boxes in merge order, the node last."""

    node: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def class_graph(inventory: Inventory, node_id: str) -> ClassGraph:
    """Return the class graph of a node.

    :param inventory: the model tree
    :param node_id: id of the node
    :raises ModelError: unknown node, or its classes cannot be merged
    """
    merged = inventory.merged(node_id)
    names = [member.chain[-1] for member in merged.members[:-1]]
    keys = {name: f"class:{name}" for name in names}
    own = f"node:{node_id}"
    boxes = []
    for order, member in enumerate(merged.members, 1):
        is_node = order == len(merged.members)
        name = member.chain[-1]
        boxes.append(
            Box(
                key=own if is_node else keys[name],
                name=name,
                layer="node" if is_node else _layer(name),
                order=order,
                path=member.source.path,
                roles=tuple(a for a in member.source.applications if not a.startswith("~")),
            )
        )
    first = {
        keys[member.chain[-1]]: own if len(member.chain) == 2 else keys[member.chain[-2]]
        for member in merged.members[:-1]
    }
    resolver = inventory.resolver(merged)
    edges: dict[tuple[str, str], Edge] = {}
    missing: dict[str, Box] = {}
    for member, box in zip(merged.members, list(boxes), strict=True):
        for order, written in enumerate(member.source.classes, 1):
            name = _resolved(written, member, merged.members, resolver)
            if name not in keys and name not in missing:
                missing[name] = Box(f"class:{name}", name, _layer(name), 0, "", ())
            child = f"class:{name}"
            edge = Edge(box.key, child, order, first.get(child) == box.key)
            edges.setdefault((box.key, child), edge)
    for child, parent in first.items():
        edges.setdefault((parent, child), Edge(parent, child, 0, True))
    return ClassGraph(
        node_id,
        (*boxes[:-1], *missing.values(), boxes[-1]),
        tuple(sorted(edges.values(), key=lambda edge: (edge.parent, edge.order, edge.child))),
    )


def to_dot(graph: ClassGraph) -> str:
    """Return the graph in the language of Graphviz, for other tools."""
    lines = [
        f"digraph {_quoted(graph.node)} {{",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];',
    ]
    for box in graph.boxes:
        label = "\n".join(filter(None, (f"{box.order or '-'} {box.name}", ", ".join(box.roles))))
        lines.append(f"  {_quoted(box.key)} [label={_quoted(label)}, class={_quoted(box.layer)}];")
    for edge in graph.edges:
        style = "" if edge.merged else ", style=dashed"
        label = _quoted(str(edge.order or ""))
        lines.append(f"  {_quoted(edge.parent)} -> {_quoted(edge.child)} [label={label}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _layer(name: str) -> str:
    layer = name.partition(".")[0]
    return layer if layer in LAYERS[1:-1] else LAYERS[-1]


def _resolved(written: str, member: Member, members: list[Member], resolver: Resolver) -> str:
    """Return the class that an include with references stood for when it was merged."""
    if "${" not in written:
        return written
    like = re.compile(_REFERENCE.sub(".+", re.escape(written)) + r"\Z")
    here = (*member.chain,)
    below = [m.chain[-1] for m in members if m.chain[:-1] == here and like.match(m.chain[-1])]
    if len(below) == 1:
        return below[0]
    try:
        # later classes may have changed what it refers to; the chains above say what was merged
        return str(resolver.top(tokenise(written)))
    except (MissingReference, TreeError, ModelError):
        return written


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
