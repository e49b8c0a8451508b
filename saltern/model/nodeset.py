"""Lists of hosts as people write them: ``cmp001-080, ctl01``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_NUMBERED = re.compile(r"(.*?)(\d+)$")


def fold(nodes: Iterable[str], *, domain: bool = False) -> str:
    """Return a list of node ids in short.

    >>> fold(["ctl01.example.com", "ctl02.example.com", "ctl03.example.com", "cfg01.example.com"])
    'cfg01, ctl01-03'

    :param nodes: node ids; the part after the first label is left out while they share it
    :param domain: never leave it out
    """
    domains: dict[str, list[str]] = {}
    for node in sorted(set(nodes)):
        name, _, rest = node.partition(".")
        domains.setdefault(rest, []).append(name)
    shown = domain or len(domains) > 1
    told = []
    for rest, names in domains.items():
        tail = f".{rest}" if shown and rest else ""
        told += [f"{item}{tail}" for item in _ranges(names)]
    return ", ".join(told)


def told(nodes: Collection[str], everyone: Collection[str]) -> str:
    """Return :func:`fold`, or ``all 80 nodes`` when these are all of more than three.

    :param everyone: all nodes that could be meant, for example those of the cluster
    """
    if len(everyone) > 3 and set(nodes) >= set(everyone):
        return f"all {len(everyone)} nodes"
    return fold(nodes)


def _ranges(names: Iterable[str]) -> list[str]:
    runs: dict[tuple[str, int], list[int]] = {}
    order: list[tuple[str, int] | str] = []
    for name in names:
        match = _NUMBERED.match(name)
        if match is None:
            order.append(name)
            continue
        key = (match[1], len(match[2]))
        if key not in runs:
            order.append(key)
        runs.setdefault(key, []).append(int(match[2]))
    out = []
    for item in order:
        if isinstance(item, str):
            out.append(item)
            continue
        prefix, width = item
        numbers = sorted(runs[item])
        parts, start = [], 0
        for n in range(1, len(numbers) + 1):
            if n < len(numbers) and numbers[n] == numbers[n - 1] + 1:
                continue
            first, last = numbers[start], numbers[n - 1]
            parts.append(f"{first:0{width}}" + (f"-{last:0{width}}" if last > first else ""))
            start = n
        out.append(prefix + ",".join(parts))
    return out
