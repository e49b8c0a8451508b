"""Rows of probes over hours: kept by the second while they are fresh, coarser as they age.

A *row* is what one probe saw in ``width`` seconds that begin at ``second``; requests and failures
are added up, so no failure is ever lost, only the second in which it was. A rollout of two days
keeps some 6,500 rows of a probe, and 144 for each day more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: (width of a row, age up to which rows may be narrower), both in seconds
LADDER = ((10, 1800), (60, 6 * 3600), (600, 48 * 3600))
#: Points of a plot at most, and what one of them may stand for, in seconds.
POINTS = 240
_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)

Row = Mapping[str, Any]


def width(row: Row) -> int:
    """Return for how many seconds a row stands."""
    return int(row.get("width") or 1)


def merged(rows: Iterable[Row], wide: int) -> list[dict[str, Any]]:
    """Put rows together in rows of some seconds, by probe and time.

    :param rows: none of them wider than that
    :param wide: seconds; rows begin at multiples of it
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        begin = int(row["second"]) // wide * wide
        into = found.get((row["probe"], begin))
        if into is None:
            found[row["probe"], begin] = {**row, "second": begin, "width": wide}
            continue
        for name in ("requests", "failed"):
            into[name] += row[name]
        for name in ("max_ms", "gap_ms"):
            into[name] = max(into[name], row[name])
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]


def edges(newest: int) -> list[tuple[int, int]]:
    """Return (width, second): rows that begin before the second are at least so wide."""
    return [(wide, (newest - age) // wide * wide) for wide, age in LADDER]


def coarser(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the old ones put together, oldest first; each probe has an age of its own.

    :param rows: of any probes and widths
    """
    newest: dict[str, int] = {}
    for row in rows:
        newest[row["probe"]] = max(newest.get(row["probe"], 0), int(row["second"]))
    limits = {probe: edges(second) for probe, second in newest.items()}
    found: list[Row] = list(rows)
    for step, (wide, _) in enumerate(LADDER):
        old: list[Row] = []
        kept: list[Row] = []
        for row in found:
            aged = width(row) < wide and row["second"] < limits[row["probe"]][step][1]
            (old if aged else kept).append(row)
        found = [*merged(old, wide), *kept]
    return sorted(found, key=lambda row: (row["second"], row["probe"]))


@dataclass(frozen=True)
class Series:
    """One probe over the time of a rollout, in steps of one width.

    :param width: seconds of a step
    :param begin: of the first step, seconds since the epoch
    :param requests: per step; a step without a row has none
    :param failed: the same
    :param worst: begin of the row with the longest gap, None without any
    :param worst_ms: that gap, in milliseconds
    """

    width: int
    begin: int
    requests: tuple[int, ...]
    failed: tuple[int, ...]
    worst: int | None = None
    worst_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "width": self.width,
            "begin": self.begin,
            "requests": list(self.requests),
            "failed": list(self.failed),
            "worst": self.worst,
            "worst_ms": self.worst_ms,
        }


def series(rows: Iterable[Row], points: int = POINTS) -> dict[str, Series]:
    """Return what each probe saw, in at most so many steps; all probes have the same steps."""
    known = list(rows)
    if not known:
        return {}
    first = min(int(row["second"]) for row in known)
    last = max(int(row["second"]) + width(row) - 1 for row in known)
    least = max(width(row) for row in known)
    wide = next((w for w in _WIDTHS if w >= least and last // w - first // w < points), _WIDTHS[-1])
    begin = first // wide * wide
    steps = last // wide - first // wide + 1
    found: dict[str, Series] = {}
    for probe in sorted({str(row["probe"]) for row in known}):
        mine = [row for row in known if row["probe"] == probe]
        requests, failed = [0] * steps, [0] * steps
        for row in mine:
            at = (int(row["second"]) - begin) // wide
            requests[at] += int(row["requests"])
            failed[at] += int(row["failed"])
        worst = max(mine, key=lambda row: row["gap_ms"])
        found[probe] = Series(
            wide, begin, tuple(requests), tuple(failed),
            int(worst["second"]) if worst["gap_ms"] else None, int(worst["gap_ms"]),
        )  # fmt: skip
    return found
