"""What is wrong with the cluster before a rollout refuses it, with the code and the sentence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab_ceph.model import commit
from tests.lab_ceph.storage import Storage
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

RESTART = ("restart", "roles=ceph.osd", "nodes=osd01")
#: identity of a cluster that is nowhere
OTHER = "0b5a1c77-2f0e-4c54-8a39-7d1be6f0a9c2"
MONITOR = "mon03"
#: puts the store of a monitor aside, and one of another cluster in its place
FOREIGN = """set -e
systemctl stop ceph-mon@{name}
cd /var/lib/ceph/mon
mv ceph-{name} .kept
made=$(mktemp -d)
monmaptool --create --fsid {other} --add {name} 192.0.2.1 $made/monmap
ceph-authtool --create-keyring $made/keyring --gen-key -n mon. --cap mon 'allow *'
mkdir -m 0750 ceph-{name}
chown -R ceph: $made ceph-{name}
ceph-mon --mkfs -i {name} -c /dev/null --fsid {other} --monmap $made/monmap \
    --keyring $made/keyring --setuser ceph --setgroup ceph
rm -r $made
"""
BACK = """set -e
cd /var/lib/ceph/mon
[ ! -d .kept ] || {{ rm -rf ceph-{name}; mv .kept ceph-{name}; }}
systemctl reset-failed ceph-mon@{name}
systemctl start ceph-mon@{name}
"""


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
        # that one does not end by itself
        cluster.run("mon01", "ceph", "health", "unmute", "PG_DEGRADED")


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


@pytest.fixture
def stranger(cluster: Cluster, storage: Storage) -> Iterator[str]:
    """A host whose monitor is of another cluster."""
    try:
        cluster.run(MONITOR, "sh", "-c", FOREIGN.format(name=MONITOR, other=OTHER))
        yield f"{MONITOR}.{cluster.name}.test"
    finally:
        cluster.run(MONITOR, "sh", "-c", BACK.format(name=MONITOR))
        assert storage.becomes_healthy(), storage.health()


def test_a_monitor_of_another_cluster_is_not_touched(
    cluster: Cluster, storage: Storage, stranger: str
) -> None:
    ours = storage.ask("fsid")["fsid"]
    number, _, printed = cluster.salt_run("ceph.form")
    assert number == 2, printed
    told = f"holds mon.{MONITOR} of cluster {OTHER}; the model says {ours}. Nothing was touched."
    assert f"{stranger} {told}" in printed
    # nor do its roles start it
    states = storage.call(MONITOR, "state.apply", "ceph.common,ceph.mon").values()
    assert f"This host {told}" in "".join(state["comment"] for state in states)
    found = storage.call(MONITOR, "ceph_monitor.facts")
    assert (found["fsids"], found["running"]) == ({f"mon.{MONITOR}": OTHER}, False)
    left = ["mon01", "mon02"]
    assert eventually(lambda: storage.ask("quorum_status")["quorum_names"] == left, 60)


def test_a_model_of_another_cluster_stops_at_the_first_host(
    cluster: Cluster, storage: Storage
) -> None:
    (ours, host), before = (storage.ask("fsid")["fsid"], "osd01"), configured(cluster)
    commit(cluster, f"s/ceph_fsid: .*/ceph_fsid: {OTHER}/", "another cluster")
    try:
        told = storage.refused("change", f"nodes={host}")
        stores = [f"osd.{number} of cluster {ours}" for number in storage.stores(host)]
        assert f"{', '.join(stores)}; the model says {OTHER}. Nothing was touched." in told
    finally:
        commit(cluster, f"s/ceph_fsid: .*/ceph_fsid: {ours}/", "the cluster that it is")
        code, data, _ = cluster.salt_run("rollout.history", "data=True")
        assert code == 0
        code, _, printed = cluster.salt_run("rollout.rollback", data["rollouts"][0]["id"])
        assert code == 0, printed[-4000:]
    assert configured(cluster) == before
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])


def configured(cluster: Cluster) -> dict[str, str]:
    """Host -> checksum of its ceph.conf."""
    hosts = [*cluster.named("mon"), *cluster.named("osd")]
    return {host: cluster.run(host, "sha256sum", "/etc/ceph/ceph.conf").stdout for host in hosts}
