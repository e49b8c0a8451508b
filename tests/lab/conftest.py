"""The whole example cluster, deployed from nothing by the command that an operator runs.

Test files run in the order of :data:`ORDER`: what disturbs the cluster comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.support.cluster import Cluster
from tests.support.deployed import arrange, deployed
from tests.support.hosts import testinfra_host

CLUSTER = "demo-core"
ORDER = (
    "test_deploy",
    "test_services",
    "test_secrets",
    "test_refusals",
    "test_rollout",
    "test_upgrade",
    "test_packages",
    "test_drills",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    arrange(items, Path(__file__).parent, ORDER)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The deployed cluster; taken down at the end."""
    yield from deployed(CLUSTER)


@pytest.fixture(scope="session")
def on(cluster: Cluster) -> Callable[[str], Host]:
    """Testinfra's host object for a host of the cluster."""
    return lambda name: testinfra_host(cluster.provider, name)
