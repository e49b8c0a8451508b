"""Which artifacts run after a plan in place of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from saltern.plan.types import Swap


class Node(Protocol):
    """What is read of a compiled node; :class:`saltern.model.cluster.CompiledNode` has it."""

    @property
    def applications(self) -> list[str]: ...

    @property
    def pillar(self) -> dict[str, Any]: ...


def swaps(
    before: Mapping[str, Node], after: Mapping[str, Node], nodes: Collection[str]
) -> tuple[Swap, ...]:
    """Compare what the roles of nodes are pinned to (``<service>:<role>:source``).

    :param before: nodes as they are served now
    :param after: the same at the wanted revision
    :param nodes: whom the plan takes there
    :returns: what differs, by role; an address is told without host and credentials
    """
    found: Counter[tuple[str, str, str, str, str]] = Counter()
    for node in sorted({*nodes} & {*after}):
        for role in dict.fromkeys(after[node].applications):
            old = _pinned(before[node], role) if node in before else ("", "")
            new = _pinned(after[node], role)
            if new[1] and old != new:
                swap = (role, *old, *new)
                found[swap] += 1
    return tuple(Swap(*row, count) for row, count in sorted(found.items()))


def _pinned(node: Node, role: str) -> tuple[str, str]:
    """File name and SHA-256 of a role's artifact; empty without any."""
    service, _, name = role.partition(".")
    source: Any = node.pillar
    for key in (service, name, "source"):
        source = source.get(key) if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or not source.get("sha256"):
        return "", ""
    url = str(source.get("url") or "").partition("?")[0]
    return url.rpartition("/artifacts/")[2].rpartition("://")[2].rpartition("@")[2], str(
        source["sha256"]
    )
