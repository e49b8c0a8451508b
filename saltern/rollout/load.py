"""From a model to the plan of one cluster."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from saltern.errors import PreflightError
from saltern.model import Inventory
from saltern.model.cluster import CompiledNode, compile_cluster
from saltern.model.store import Revision
from saltern.rollout.stages import StagePlan, make_plan

#: classes below it are roles
SERVICE = "service"


class Source(Protocol):
    """Where compiled nodes come from."""

    def nodes(self, cluster: str) -> dict[str, CompiledNode]:
        """Return the nodes of a cluster by id.

        :raises ModelError: there is no such cluster, or it cannot be compiled or read
        """

    def roles(self) -> set[str]:
        """Return every ``service.role`` that has a service class."""


class TreeSource:
    """A model tree, compiled as it is.

    :param path: directory with ``classes`` and ``nodes``
    :param options: settings of the merge engine
    """

    def __init__(self, path: Path, options: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.options = dict(options or {})

    @cached_property
    def inventory(self) -> Inventory:
        """The tree, read when it is first asked for.

        :raises ModelError: it cannot be read
        """
        return Inventory(self.path, **self.options)

    def nodes(self, cluster: str) -> dict[str, CompiledNode]:
        """As in :class:`Source`."""
        return compile_cluster(self.inventory, cluster)

    def roles(self) -> set[str]:
        """As in :class:`Source`."""
        prefix = f"{SERVICE}."
        names = self.inventory.class_files
        return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


class RevisionSource:
    """A compiled revision.

    :param revision: open in the store
    """

    def __init__(self, revision: Revision) -> None:
        self.revision = revision

    def nodes(self, cluster: str) -> dict[str, CompiledNode]:
        """As in :class:`Source`."""
        found = {name: self.revision.node(name) for name in self.revision.nodes(cluster)}
        if not found:
            raise PreflightError(
                f"no node belongs to cluster {cluster}",
                where=f"revision {self.revision.id[:12]}",
                cure=f"Run `saltern model nodes --cluster {cluster}` and commit",
            )
        return found

    def roles(self) -> set[str]:
        """As in :class:`Source`."""
        prefix = f"classes/{SERVICE}/"
        found = set()
        for path in self.revision.sources:
            if path.startswith(prefix):
                below = posixpath.splitext(path.removeprefix(prefix))[0]
                found.add(below.removesuffix("/init").replace("/", "."))
        return found


class ServedSource(RevisionSource):
    """What nodes are served now: the deployed revision, or that to which one is pinned.

    :param revision: the deployed one
    :param pins: node to the revision that it is pinned to, open in the store; of any cluster
    """

    def __init__(self, revision: Revision, pins: Mapping[str, Revision]) -> None:
        super().__init__(revision)
        self.pins = dict(pins)

    def nodes(self, cluster: str) -> dict[str, CompiledNode]:
        """As in :class:`Source`."""
        found = super().nodes(cluster)
        for node, revision in self.pins.items():
            if node in revision.nodes(cluster):
                found[node] = revision.node(node)
        return dict(sorted(found.items()))

    def roles(self) -> set[str]:
        """As in :class:`Source`; of all of these revisions."""
        found = super().roles()
        for revision in {one.id: one for one in self.pins.values()}.values():
            found |= RevisionSource(revision).roles()
        return found


def load_plan(source: Source, cluster: str) -> StagePlan:
    """Make the plan of a cluster; a role exists when it has a service class.

    :param source: where the nodes come from
    :param cluster: name of the cluster
    :raises ModelError: the model does not compile, or the roles' lifecycles do not fit
    """
    return make_plan(cluster, source.nodes(cluster), source.roles())


def load_members(source: Source, cluster: str, role: str) -> list[str]:
    """List the nodes of a cluster that carry a role.

    :param source: where the nodes come from
    :param cluster: name of the cluster
    :param role: ``service.role``
    :returns: node ids, sorted; never empty
    :raises ModelError: the model does not compile
    :raises PreflightError: no node carries the role
    """
    nodes = source.nodes(cluster)
    found = sorted(name for name, node in nodes.items() if role in node.applications)
    if not found:
        raise PreflightError(
            f"no node carries the role {role}",
            where=f"cluster {cluster}",
            cure="Give it to some nodes in the model, or name them by nodes=",
        )
    return found
