"""Pillars of the lab's clusters, and renderers that are made once per node and platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import formula_roles, model
from tests.support.render import Renderer

Pillars = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def model_trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Cluster -> a copy of the model with everything that a deploy generates."""
    top = tmp_path_factory.mktemp("model")
    clusters = (*model.CLUSTERS, model.MODELLED)
    return {cluster: model.prepare(top / cluster, cluster) for cluster in clusters}


@pytest.fixture(scope="session")
def pillars(model_trees: dict[str, Path]) -> Pillars:
    """Node id -> pillar of the compiled example clusters.

    Of the large one that no lab deploys there are the nodes with roles that the others lack.
    """
    found: Pillars = {}
    for cluster in model.CLUSTERS:
        found.update(model.served(model_trees[cluster], cluster))
    have = {role for pillar in found.values() for role in pillar["__reclass__"]["applications"]}
    missing = {f"{service}.{role}" for service, role in formula_roles()} - have
    found.update(model.carriers(model_trees[model.MODELLED], model.MODELLED, frozenset(missing)))
    return found


@pytest.fixture(scope="session")
def clear_text(model_trees: dict[str, Path]) -> set[str]:
    """Clear text of every secret and key of the example clusters."""
    texts = (model.clear_text(tree, cluster) for cluster, tree in model_trees.items())
    return set().union(*texts)


@pytest.fixture(scope="session")
def node_of(pillars: Pillars) -> Callable[[str], str]:
    """First node that carries a role; the test fails when no node does."""

    def find(role: str) -> str:
        for node, pillar in pillars.items():
            if role in pillar["__reclass__"]["applications"]:
                return node
        raise AssertionError(f"no node of the example clusters has the role {role}")

    return find


@pytest.fixture(scope="session")
def salt_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all renderers: within a process, Salt keeps the first file client it made."""
    return tmp_path_factory.mktemp("salt")


@pytest.fixture(scope="session")
def renderer(pillars: Pillars, salt_cache: Path) -> Iterator[Callable[[str, str], Renderer]]:
    """Renderer of a node on a platform."""
    made: dict[tuple[str, str], Renderer] = {}

    def get(node: str, platform: str) -> Renderer:
        if (node, platform) not in made:
            made[node, platform] = Renderer(pillars[node], platform, salt_cache)
        return made[node, platform]

    yield get
    for each in made.values():
        each.close()
