"""From a model on disk to the plan of one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saltern.model import Inventory
from saltern.model.cluster import compile_cluster
from saltern.rollout.stages import StagePlan, make_plan


def load_plan(model: Path, cluster: str, options: Mapping[str, Any] | None = None) -> StagePlan:
    """Compile a cluster and make its plan.

    :param model: directory of the model (``classes``, ``nodes``)
    :param cluster: name of the cluster
    :param options: settings of the merge engine
    :raises ModelError: the model does not compile, or the roles' lifecycles do not fit
    """
    nodes = compile_cluster(Inventory(model, **(options or {})), cluster)
    return make_plan(cluster, nodes)
