"""The cloud on Ceph, deployed from nothing by the command that an operator runs: 15 hosts, so long.

Test files run in the order of :data:`ORDER`: what disturbs the cluster comes last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.deployed import arrange, deployed

CLUSTER = "demo"
ORDER = ("test_servers", "test_users", "test_rehearsal", "test_upgrade", "test_rescue")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    arrange(items, here, ORDER)
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.full)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The deployed cluster; taken down at the end."""
    yield from deployed(CLUSTER)
