"""The whole example cluster, deployed from nothing by the command that an operator runs.

Test files run in the order of :data:`ORDER`: what disturbs the cluster comes last.
``SALTERN_KEEP_LAB=1`` leaves the lab up, and takes one that is up as it is (to write tests).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.support.cluster import Cluster
from tests.support.hosts import testinfra_host, why_no_hosts

CLUSTER = "demo-core"
ORDER = (
    "test_deploy",
    "test_services",
    "test_secrets",
    "test_refusals",
    "test_rollout",
    "test_drills",
)
KEEP = bool(os.environ.get("SALTERN_KEEP_LAB"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.lab)
    places = [n for n, item in enumerate(items) if here in item.path.parents]
    ours.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else -1)
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The deployed cluster; taken down at the end."""
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    made = Cluster(CLUSTER)
    if KEEP and made.provider.specs():
        yield made
        return
    made.provider.down()
    command = [str(Path(sys.executable).with_name("saltern")), "deploy", CLUSTER]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    made.deploy_output = done.stdout
    try:
        if done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-6000:]}", pytrace=False)
        yield made
    finally:
        if not KEEP:
            made.provider.down()


@pytest.fixture(scope="session")
def on(cluster: Cluster) -> Callable[[str], Host]:
    """Testinfra's host object for a host of the cluster."""
    return lambda name: testinfra_host(cluster.provider, name)
