"""What is wrong with the cluster before a rollout refuses it, with the code and the sentence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab_ceph.storage import Storage
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

RESTART = ("restart", "roles=ceph.osd", "nodes=osd01")


@pytest.fixture
def dead(cluster: Cluster, storage: Storage) -> Iterator[str]:
    """A store of another host that does not run."""
    (store, *_) = storage.call("osd03", "ceph_store.stores")
    cluster.run("osd03", "systemctl", "stop", store["unit"])
    try:
        assert eventually(lambda: "OSD_DOWN" in storage.health()[1], 60)
        yield f"osd.{store['id']}"
    finally:
        cluster.run("osd03", "systemctl", "start", store["unit"])
        assert storage.becomes_healthy(), storage.health()


def test_a_dead_store_refuses_a_restart_until_it_is_accepted_where_that_is_safe(
    cluster: Cluster, storage: Storage, dead: str
) -> None:
    assert f"{dead} is down since " in storage.refused(*RESTART)
    for code in ("OSD_DOWN", "PG_DEGRADED"):
        assert eventually(lambda code=code: code in storage.health()[1], 60)
        number, _, printed = cluster.salt_run("ceph.accept", code, "ttl=30m")
        assert number == 0, printed
    # on another host lies the second of the copies of which one is dead
    assert "cannot stop" in storage.refused(*RESTART)
    # the host of the dead one takes nothing more away, and starts it
    storage.applied("restart", "roles=ceph.osd", "nodes=osd03")
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])


def test_a_nearly_full_cluster_refuses_a_restart(cluster: Cluster, storage: Storage) -> None:
    ratio = storage.ask("osd", "dump")["nearfull_ratio"]
    cluster.run("mon01", "ceph", "osd", "set-nearfull-ratio", "0.001")
    try:
        assert eventually(lambda: "OSD_NEARFULL" in storage.health()[1], 60)
        told = storage.refused(*RESTART)
        assert "OSD_NEARFULL" in told
    finally:
        cluster.run("mon01", "ceph", "osd", "set-nearfull-ratio", str(ratio))
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])
