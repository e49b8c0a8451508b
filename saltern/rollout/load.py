"""From a model on disk to the plan of one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saltern.errors import PreflightError
from saltern.model import Inventory
from saltern.model.cluster import CompiledNode, compile_cluster
from saltern.rollout.stages import StagePlan, make_plan


def load_plan(model: Path, cluster: str, options: Mapping[str, Any] | None = None) -> StagePlan:
    """Compile a cluster and make its plan.

    :param model: directory of the model (``classes``, ``nodes``)
    :param cluster: name of the cluster
    :param options: settings of the merge engine
    :raises ModelError: the model does not compile, or the roles' lifecycles do not fit
    """
    inventory = Inventory(model, **(options or {}))
    return plan_of(inventory, cluster, compile_cluster(inventory, cluster))


def plan_of(inventory: Inventory, cluster: str, nodes: Mapping[str, CompiledNode]) -> StagePlan:
    """Make the plan of a compiled cluster; a role exists when it has a service class.

    :param inventory: the model tree
    :param cluster: name of the cluster
    :param nodes: its compiled nodes
    :raises ModelError: the roles' lifecycles do not fit
    """
    prefix = "service."
    known = {name.removeprefix(prefix) for name in inventory.class_files if name.startswith(prefix)}
    return make_plan(cluster, nodes, known)


def load_members(
    model: Path, cluster: str, role: str, options: Mapping[str, Any] | None = None
) -> list[str]:
    """Compile a cluster and list the nodes that carry a role.

    :param role: ``service.role``
    :returns: node ids, sorted; never empty
    :raises ModelError: the model does not compile
    :raises PreflightError: no node carries the role
    """
    nodes = compile_cluster(Inventory(model, **(options or {})), cluster)
    found = sorted(name for name, node in nodes.items() if role in node.applications)
    if not found:
        raise PreflightError(
            f"no node carries the role {role}",
            where=f"cluster {cluster}",
            cure="Give it to some nodes in the model, or name them by nodes=",
        )
    return found
