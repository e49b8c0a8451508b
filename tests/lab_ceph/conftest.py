"""The cluster of Ceph alone, deployed from nothing by the command that an operator runs.

Test files run in the order of :data:`ORDER`: what disturbs the cluster comes last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab_ceph.storage import UPGRADE, Storage
from tests.support.cluster import Cluster
from tests.support.deployed import arrange, deployed

CLUSTER = "demo-ceph"
ORDER = (
    "test_deploy",
    "test_restart",
    "test_store",
    "test_refusals",
    "test_clock",
    "test_hosts",
    "test_users",
    "test_upgrade",
)

#: what a test found worth telling, printed at the end
told: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    arrange(items, Path(__file__).parent, ORDER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in told:
        terminalreporter.write_line(f"{CLUSTER}: {line}")


@pytest.fixture(scope="session")
def tell() -> list[str]:
    """Lines that are printed when all tests are done."""
    return told


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The deployed cluster; taken down at the end."""
    yield from deployed(CLUSTER)


@pytest.fixture
def storage(cluster: Cluster) -> Iterator[Storage]:
    """What a test asks of Ceph; it begins and ends with a healthy cluster and nothing held."""
    made = Storage(cluster)
    assert made.becomes_healthy(beside=[UPGRADE]), made.health()
    yield made
    # a test that fails in the middle of a rollout leaves none in the way of the next one
    cluster.salt_run("rollout.abort")
