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


def test_a_dead_store_refuses_a_restart_until_it_is_accepted(
    cluster: Cluster, storage: Storage, dead: str
) -> None:
    told = storage.refused(*RESTART)
    assert f"{dead} is down since " in told
    for code in ("OSD_DOWN", "PG_DEGRADED"):
        assert eventually(lambda code=code: code in storage.health()[1], 60)
        code_, _, printed = cluster.salt_run("ceph.accept", code, "ttl=30m")
        assert code_ == 0, printed
    # the same stores once more: with the dead one they are copies of the same groups, so the
    # cluster itself is asked whether they may stop, whatever was accepted
    storage.applied(*RESTART)
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
