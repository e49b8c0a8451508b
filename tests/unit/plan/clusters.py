"""Clusters for the tests of plans: the example clusters, and small ones made by hand."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from saltern.model.cluster import CompiledNode, compile_cluster
from saltern.plan.basis import Facts
from saltern.plan.make import Touched
from tests.model import golden
from tests.support import service_roles

OLD, NEW = "a" * 40, "b" * 40
#: every role that the model has a class of
KNOWN = {f"{service}.{role}" for service, role in service_roles()}


@dataclass(frozen=True)
class FakeNode:
    """What a plan reads of a compiled node."""

    applications: tuple[str, ...]
    lifecycle: Mapping[str, Any]
    host: Mapping[str, Any] = field(default_factory=dict)


@lru_cache
def example(cluster: str) -> dict[str, CompiledNode]:
    """An example cluster, compiled once."""
    top = Path(tempfile.mkdtemp())
    try:
        return compile_cluster(golden.prepare(top, cluster), cluster)
    finally:
        shutil.rmtree(top)


def small(
    members: Mapping[str, Sequence[str]],
    lifecycle: Mapping[str, Mapping[str, Any]] | None = None,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, FakeNode]:
    """Nodes from ``role -> nodes``, ``role -> lifecycle`` and ``node -> host``.

    Without more a role has one unit and may lose one member.
    """
    told = {role: _lifecycle(role, (lifecycle or {}).get(role, {})) for role in members}
    return {
        node: FakeNode(
            tuple(role for role, ids in members.items() if node in ids),
            told,
            {"name": node, "address": f"10.0.0.{number}", **(hosts or {}).get(node, {})},
        )
        for number, node in enumerate(sorted({n for ids in members.values() for n in ids}), 1)
    }


def _lifecycle(role: str, more: Mapping[str, Any]) -> dict[str, Any]:
    unit = role.replace(".", "-")
    return {"stage": "control", "max_unavailable": 1, "health": [{"unit": unit}], **more}


def facts(nodes: Mapping[str, Any], **more: Any) -> Facts:
    """All nodes answer, all of them follow the deployed revision; ``more`` differs."""
    absent = more.get("absent", {})
    present = tuple(node for node in sorted(nodes) if node not in absent)
    return Facts(**{"revision": NEW, "deployed": OLD, "present": present, **more})


def touched(nodes: Mapping[str, Any], *roles: str) -> dict[str, Touched]:
    """What a change of some roles touches: all of their members."""
    found = {
        name: tuple(role for role in node.applications if role in roles)
        for name, node in nodes.items()
    }
    return {name: Touched(names) for name, names in found.items() if names}
