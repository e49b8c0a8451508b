"""Draw a class graph as SVG: layers in columns, few crossings, no program but this one.

The layout is Sugiyama's: columns, one bend per column that an edge passes, an order in each
column that crosses few edges, then coordinates that pull neighbours together.

Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system
structures" (1981); coordinates by pooling adjacent violators (isotonic regression).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from saltern.model.graph import LAYERS, Box, ClassGraph, Edge

_FONT = "DejaVu Sans, Verdana, Helvetica, sans-serif"
_SIZE, _SMALL, _TINY = 12, 9.5, 8.5
#: average width of a character in units of the font size
_WIDE = 0.62
_ROW, _PORT, _GAP, _COLUMN = 26, 13, 12, 96
_BEND = 6
_MARGIN, _TOP, _LEGEND = 28, 92, 74
_SWEEPS = 24

#: layer -> (frame and edges, fill)
_COLOURS = {
    "node": ("#343a46", "#e7e9ee"),
    "cluster": ("#2364aa", "#e3eefa"),
    "system": ("#1f7a5a", "#e2f4ec"),
    "service": ("#b3541e", "#fcecdf"),
    "other": ("#6d597a", "#f0eaf3"),
}
_INK, _FAINT, _PAPER = "#1d2129", "#66707f", "#ffffff"


@dataclass
class _Item:
    """A box, or a bend of an edge that passes a column."""

    column: int
    height: float
    box: Box | None = None
    edge: Edge | None = None
    ports: list[Edge] = field(default_factory=list)
    right: list[_Item] = field(default_factory=list)
    left: list[_Item] = field(default_factory=list)
    y: float = 0.0
    x: float = 0.0
    width: float = 0.0


def to_svg(graph: ClassGraph, *, note: str = "") -> str:
    """Draw the class graph of a node.

    :param graph: see :func:`saltern.model.graph.class_graph`
    :param note: one line below the title, for example the revision
    :returns: an SVG document; the same graph gives the same text
    """
    items, routes = _items(graph)
    columns = _columns(items.values(), routes)
    _arrange(columns, routes)
    _place(columns)
    width = max(item.x + item.width for column in columns for item in column) + _MARGIN
    bottom = max(item.y + item.height for column in columns for item in column)
    title = f"Classes of {graph.node}"
    width = max(width, _text_width(title, 18) + 2 * _MARGIN, 760)
    height = bottom + _LEGEND
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{_FONT}" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
        _text(_MARGIN, 36, title, 18, weight="bold"),
        _text(_MARGIN, 56, _summary(graph, note), 11, _FAINT),
        *_headings(columns),
        # the fainter ones first: what was merged is drawn over what was merged already
        *(_edge(route) for route in routes if not route[0].merged),
        *(_edge(route) for route in routes if route[0].merged),
        *(_box(item) for column in columns for item in column if item.box),
        *_legend(graph, bottom + 34),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


_Route = tuple[Edge, list[_Item]]


def _items(graph: ClassGraph) -> tuple[dict[str, _Item], list[_Route]]:
    """Boxes with their column, and each edge's way from parent to child."""
    ranks = _ranks(graph)
    numbers = {rank: n for n, rank in enumerate(sorted(set(ranks.values())))}
    items: dict[str, _Item] = {}
    for box in graph.boxes:
        ports = [edge for edge in graph.edges if edge.parent == box.key]
        tall = _ROW + (12 if box.roles else 0)
        height = max(tall, len(ports) * _PORT + 8)
        items[box.key] = _Item(numbers[ranks[box.key]], height, box, ports=ports)
    routes: list[_Route] = []
    for edge in graph.edges:
        start, end = items[edge.parent], items[edge.child]
        step = 1 if end.column > start.column else -1
        bends = [
            _Item(column, _BEND, edge=edge)
            for column in range(start.column + step, end.column, step)
        ]
        way = [start, *bends, end]
        routes.append((edge, way))
        for one, two in pairwise(way):
            low, high = (one, two) if one.column <= two.column else (two, one)
            low.right.append(high)
            high.left.append(low)
    return items, routes


def _ranks(graph: ClassGraph) -> dict[str, tuple[int, int]]:
    """(layer, longest way within the layer) of each box; a circle counts once."""
    layers = {box.key: LAYERS.index(box.layer) for box in graph.boxes}
    parents: dict[str, list[str]] = {}
    for edge in graph.edges:
        if layers[edge.parent] == layers[edge.child]:
            parents.setdefault(edge.child, []).append(edge.parent)
    depths: dict[str, int] = {}

    def depth(key: str, way: tuple[str, ...]) -> int:
        if key not in depths:
            above = [depth(p, (*way, key)) for p in parents.get(key, ()) if p not in way]
            depths[key] = 1 + max(above, default=-1)
        return depths[key]

    return {box.key: (layers[box.key], depth(box.key, ())) for box in graph.boxes}


def _columns(boxes: Iterable[_Item], routes: list[_Route]) -> list[list[_Item]]:
    """Items by column, first in the order in which the node's includes reach them."""
    count = 1 + max(item.column for item in boxes)
    columns: list[list[_Item]] = [[] for _ in range(count)]
    seen: set[int] = set()

    def add(item: _Item) -> None:
        if id(item) not in seen:
            seen.add(id(item))
            columns[item.column].append(item)

    ordered = sorted(boxes, key=lambda item: item.box.order if item.box else 0)
    for item in ordered:
        add(item)
    for _, way in routes:
        for item in way[1:-1]:
            add(item)
    return columns


def _arrange(columns: list[list[_Item]], routes: list[_Route]) -> None:
    """Order each column by the mean of its neighbours; keep the order that crosses least."""
    best, fewest = [list(column) for column in columns], _crossings(columns, routes)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            places = {
                id(item): (n + 0.5) / len(other)
                for other in columns
                for n, item in enumerate(other)
            }
            around: Callable[[_Item], list[_Item]] = (
                (lambda item: item.left) if forward else (lambda item: item.right)
            )
            wanted = {
                id(item): sum(_port_place(item, other, places) for other in around(item))
                / len(around(item))
                if around(item)
                else places[id(item)]
                for item in column
            }
            column.sort(key=lambda item: wanted[id(item)])
        crossings = _crossings(columns, routes)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    for column, order in zip(columns, best, strict=True):
        column[:] = order


def _port_place(item: _Item, other: _Item, places: dict[int, float]) -> float:
    """Place of a neighbour; a child of a box with many includes stands beside its own port."""
    place = places[id(other)]
    if other.box:
        for n, edge in enumerate(other.ports):
            if edge is item.edge or (item.box and edge.child == item.box.key):
                return place + 0.01 * (n - len(other.ports) / 2)
    return place


def _crossings(columns: list[list[_Item]], routes: list[_Route]) -> int:
    """Pairs of lines that cross, the order of the ports of a box included."""
    places = {id(item): float(n) for column in columns for n, item in enumerate(column)}
    between: dict[int, list[tuple[float, float]]] = {}
    for edge, way in routes:
        for one, two in pairwise(way):
            left, right = (one, two) if one.column <= two.column else (two, one)
            start = places[id(left)]
            if left is way[0]:
                start += left.ports.index(edge) / (len(left.ports) + 1)
            between.setdefault(left.column, []).append((start, places[id(right)]))
    total = 0
    for lines in between.values():
        lines.sort()
        for n, (start, end) in enumerate(lines):
            total += sum(1 for other, to in lines[n + 1 :] if other > start and to < end)
    return total


def _place(columns: list[list[_Item]]) -> None:
    x: float = _MARGIN
    for column in columns:
        wide = max([_box_width(item.box) for item in column if item.box] or [0.0])
        for item in column:
            item.x, item.width = x, wide
        x += wide + _COLUMN
        y: float = 0.0
        for item in column:
            item.y = y
            y += item.height + _GAP
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = []
            for item in column:
                around = item.left + item.right
                middle = (
                    sum(other.y + other.height / 2 for other in around) / len(around)
                    if around
                    else item.y + item.height / 2
                )
                wanted.append(middle - item.height / 2)
            for item, value in zip(column, _spaced(column, wanted), strict=True):
                item.y = value
    lowest = min(item.y for column in columns for item in column)
    for column in columns:
        for item in column:
            item.y += _TOP - lowest


def _spaced(column: Sequence[_Item], wanted: Sequence[float]) -> list[float]:
    """Positions nearest to the wanted ones that keep the order and the distances."""
    offsets, total = [], 0.0
    for item in column:
        offsets.append(total)
        total += item.height + (_GAP if item.box else _GAP / 2)
    pools: list[tuple[float, int]] = []
    for target, offset in zip(wanted, offsets, strict=True):
        value, size = target - offset, 1
        while pools and pools[-1][0] > value:
            before, count = pools.pop()
            value = (before * count + value * size) / (count + size)
            size += count
        pools.append((value, size))
    levels = [value for value, size in pools for _ in range(size)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _edge(route: _Route) -> str:
    edge, way = route
    start, end = way[0], way[-1]
    colour = _COLOURS[end.box.layer if end.box else "other"][0]
    backward = end.column <= start.column
    x, y = start.x + start.width, _port_y(start, edge)
    path = [f"M{x:.1f} {y:.1f}"]
    for item in way[1:]:
        middle = item.y + item.height / 2
        if item.box:
            middle = item.y + min(item.height / 2, _ROW / 2 + (6 if item.box.roles else 0))
        to = item.x - (5 if item.box else 0)
        if backward:
            far = 60.0
            path.append(f"C{x + far:.1f} {y:.1f} {to - far:.1f} {middle:.1f} {to:.1f} {middle:.1f}")
        else:
            half = (to - x) * 0.5
            path.append(
                f"C{x + half:.1f} {y:.1f} {to - half:.1f} {middle:.1f} {to:.1f} {middle:.1f}"
            )
        x, y = to, middle
        if not item.box:
            x = item.x + item.width
            path.append(f"L{x:.1f} {y:.1f}")
    look = f'stroke="{colour}" stroke-width="1.4" stroke-opacity="0.8"'
    if not edge.merged:
        look = f'stroke="{_FAINT}" stroke-width="1" stroke-opacity="0.55" stroke-dasharray="4 3"'
    tip = colour if edge.merged else _FAINT
    return (
        f'<path d="{" ".join(path)}" fill="none" {look}/>'
        f'<path d="M{x:.1f} {y - 3.2:.1f} L{x + 5:.1f} {y:.1f} L{x:.1f} {y + 3.2:.1f} Z" '
        f'fill="{tip}"{"" if edge.merged else " fill-opacity=" + chr(34) + "0.6" + chr(34)}/>'
    )


def _port_y(item: _Item, edge: Edge) -> float:
    first = item.y + (item.height - len(item.ports) * _PORT) / 2 + _PORT / 2
    return first + item.ports.index(edge) * _PORT


def _box(item: _Item) -> str:
    box = item.box
    assert box is not None  # noqa: S101  # the caller draws boxes only
    frame, fill = _COLOURS[box.layer]
    x, y, width, height = item.x, item.y, item.width, item.height
    tip = f"{box.name}\n{box.path or 'does not exist, ignored'}"
    if box.order:
        tip += f"\nnumber {box.order} in the merge order"
    dashed = "" if box.order else ' stroke-dasharray="4 3"'
    lines = 2 if box.roles else 1
    base = y + height / 2 + (4 if lines == 1 else -2)
    order = str(box.order or "-")
    parts = [
        "<g>",
        f"<title>{escape(tip)}</title>",
        _rect(x, y, width, height, f'rx="5" fill="{fill}" stroke="{frame}"{dashed}'),
        _rect(x + 6, y + height / 2 - 8, 22, 16, f'rx="8" fill="{frame}"'),
        _text(x + 17, y + height / 2 + 3.2, order, _SMALL, _PAPER, anchor="middle", weight="bold"),
        _text(x + 34, base, box.name, _SIZE, weight="bold" if box.layer == "node" else ""),
    ]
    if box.roles:
        parts.append(_text(x + 34, base + 13, _roles(box), _SMALL, frame))
    for edge in item.ports:
        number = str(edge.order) if edge.order else "m"
        parts.append(
            _text(x + width - 5, _port_y(item, edge) + 3, number, _TINY, frame, anchor="end")
        )
    parts.append("</g>")
    return "".join(parts)


def _roles(box: Box) -> str:
    return ("role " if len(box.roles) == 1 else "roles ") + ", ".join(box.roles)


def _headings(columns: list[list[_Item]]) -> list[str]:
    """Name of the layer above the first of its columns, a rule over all of them."""
    spans: dict[str, tuple[float, float]] = {}
    for column in columns:
        for item in column:
            if item.box:
                left, right = spans.get(item.box.layer, (item.x, item.x + item.width))
                spans[item.box.layer] = (min(left, item.x), max(right, item.x + item.width))
    parts = []
    for layer, (left, right) in spans.items():
        colour = _COLOURS[layer][0]
        parts.append(_text(left, _TOP - 18, layer, 10.5, colour, weight="bold"))
        parts.append(
            f'<path d="M{left:.1f} {_TOP - 12:.1f} H{right:.1f}" stroke="{colour}" '
            'stroke-width="1.5" stroke-opacity="0.5"/>'
        )
    return parts


def _summary(graph: ClassGraph, note: str) -> str:
    classes = sum(1 for box in graph.boxes if box.order and box.layer != "node")
    roles = len({role for box in graph.boxes for role in box.roles})
    told = f"{classes} class{'' if classes == 1 else 'es'}, {roles} role{'' if roles == 1 else 's'}"
    return f"{told}, {note}" if note else told


def _legend(graph: ClassGraph, y: float) -> list[str]:
    x: float = _MARGIN
    parts = [
        f'<path d="M{x} {y - 16:.1f} h{700}" stroke="{_FAINT}" stroke-opacity="0.25"/>',
        _rect(x, y - 8, 22, 16, f'rx="8" fill="{_FAINT}"'),
        _text(x + 11, y + 3.2, "7", _SMALL, _PAPER, anchor="middle", weight="bold"),
        _text(x + 28, y + 4, "merge order: the last one has the last word", _SMALL + 0.5, _FAINT),
        _text(x + 300, y + 4, "1 2 3", _TINY, _INK),
        _text(x + 328, y + 4, "order of the includes", _SMALL + 0.5, _FAINT),
    ]
    y += 22
    parts += [
        f'<path d="M{x} {y} h22" stroke="{_COLOURS["cluster"][0]}" stroke-width="1.4"/>',
        _text(x + 28, y + 4, "includes, and it is merged here", _SMALL + 0.5, _FAINT),
        f'<path d="M{x + 300} {y} h22" stroke="{_FAINT}" stroke-dasharray="4 3"/>',
        _text(x + 328, y + 4, "includes, but it was merged before", _SMALL + 0.5, _FAINT),
    ]
    if any(edge.order == 0 for edge in graph.edges):
        parts.append(_text(x + 560, y + 4, "m  by a class mapping", _SMALL + 0.5, _FAINT))
    if any(box.order == 0 for box in graph.boxes):
        frame = f'rx="4" fill="none" stroke="{_FAINT}" stroke-dasharray="4 3"'
        parts.append(
            _rect(x + 560, y - 29, 22, 14, frame)
            + _text(x + 588, y - 18, "does not exist, ignored", _SMALL + 0.5, _FAINT)
        )
    return parts


def _box_width(box: Box) -> float:
    text = _text_width(box.name, _SIZE * (1.1 if box.layer == "node" else 1))
    return 34 + max(text, _text_width(_roles(box), _SMALL) if box.roles else 0.0) + 24


def _text_width(text: str, size: float) -> float:
    return len(text) * size * _WIDE


def _rect(x: float, y: float, width: float, height: float, look: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {look}/>'


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    colour: str = _INK,
    *,
    anchor: str = "",
    weight: str = "",
) -> str:
    more = f' text-anchor="{anchor}"' if anchor else ""
    more += f' font-weight="{weight}"' if weight else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{more}>'
        f"{escape(text)}</text>"
    )
