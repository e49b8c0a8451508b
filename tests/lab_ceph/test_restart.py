"""All daemons restarted, host by host, under a client that writes."""

from __future__ import annotations

from tests.lab_ceph.storage import Storage, waves
from tests.support.cluster import Cluster


def began(cluster: Cluster) -> dict[str, str]:
    """Since when the daemons of each host run, as systemd says it."""
    ask = ("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic")
    hosts = [*cluster.named("mon"), *cluster.named("osd")]
    return {h: cluster.run(h, *ask, f"ceph-{h[:3]}@*").stdout for h in hosts}


def test_daemons_restart_host_by_host_without_a_failed_write(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    before = began(cluster)
    with storage.writing() as writes:
        plan = storage.applied("restart", "roles=ceph.osd,ceph.mon")
    tell.append(f"rolling restart: {writes}")
    assert sorted(waves(plan)) == [(host,) for host in sorted(before)]
    after = began(cluster)
    assert [host for host in before if after[host] == before[host]] == []
    assert (writes.failed, writes.wrong, writes.done > 100) == ([], [], True)
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])
