"""A deployment of the trial cluster, step by step as its orchestration does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from saltern.adapters.journal import Journal
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rollouts import Rollouts
from saltern.rollout.ports import ABORTED, FAILED, PAUSED, PLANNED, RUNNING

from .conftest import CLUSTER, NODES

#: what follows when it was begun
STAGES = ("foundation", "infrastructure", "control", "resources", "sanity", "commit")


def begun(call: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Begin it, or go on with it; it must be possible."""
    answer = call("rollout.begin", workflow="deploy", resume=False, quiet=True, **options)
    assert answer["result"], answer["comment"]
    found: dict[str, Any] = answer
    return found


def gone_through(call: Callable[..., Any], **options: Any) -> dict[str, dict[str, Any]]:
    """Begin and go through the stages until one fails; return their answers."""
    answer = call("deploy.preflight", quiet=True, **options)
    assert answer["result"], answer["comment"]
    begun(call, **options)
    found: dict[str, dict[str, Any]] = {}
    for name in STAGES:
        found[name] = call("deploy.stage", name=name, quiet=True)
        if not found[name]["result"]:
            break
    return found


def put_back(journal: Journal, model: ModelSite | None = None, before: str = "") -> None:
    """End what a test left; nodes get what the cluster has, and that what it had."""
    rollouts = Rollouts(journal)
    for left in rollouts.list(CLUSTER, (PLANNED, RUNNING, PAUSED, FAILED)):
        rollouts.move(left.id, ABORTED, time.time(), "the test is over")
    journal.unpin(NODES, "tests", "as before")
    if model is not None:
        model.deploy(model.find(before), CLUSTER, "tests", "as before")
