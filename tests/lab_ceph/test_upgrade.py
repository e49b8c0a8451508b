"""From one release of the operating system and of Ceph to the next, by new images of the hosts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from saltern.lab.cluster import MODEL
from saltern.lab.image import ensure_image
from saltern.lab.repo import ensure_repo
from tests.lab_ceph.storage import CLIENT, Storage, waves
from tests.support.cluster import Cluster

pytestmark = pytest.mark.full

OLD, NEW = "16.2", "18.2"
#: writes what is read again after the upgrade: objects and an image with a snapshot
FILL = """set -e
cd /root; head -c 33554432 /dev/urandom > known
rados -n client.probe -p probe put known known
rbd -n client.probe import known probe/known 2>/dev/null
rbd -n client.probe snap create probe/known@before 2>/dev/null
sha256sum < known
"""
READ = """set -e
cd /root
rados -n client.probe -p probe get known read; sha256sum < read
rbd -n client.probe export probe/known@before - 2>/dev/null | sha256sum
"""
#: checksum of what was written; the client's own host is made anew, too
known: list[str] = []
#: where users are measured, and checksums of their objects, images and buckets; it stays as it is
FROM = "cfg01"
seeded: list[dict[str, Any]] = []


def move(cluster: Cluster, release: str, image: str, *hosts: str) -> None:
    """Commit other images, and the release that they bring, to the model on the master."""
    files = " ".join(f"nodes/{cluster.name}/{host}.{cluster.name}.test.yml" for host in hosts)
    parameters = f"classes/cluster/{cluster.name}/init.yml"
    script = f"""set -e
cd {MODEL}
sed -i 's/^    image: .*/    image: {image}/' {files}
sed -i 's/^    ceph_release: .*/    ceph_release: {release}/' {parameters}
chown -R salt: nodes classes
as="runuser -u salt -- git -c user.name=operator -c user.email=operator@example.test"
$as diff --quiet || $as commit -q -a -m 'Hosts from image {image}'
"""
    cluster.run(cluster.master, "sh", "-c", script)


def versions(storage: Storage) -> dict[str, dict[str, int]]:
    """Kind of daemon -> version -> how many."""
    return {
        kind: {text.split()[2]: number for text, number in told.items()}
        for kind, told in storage.ask("versions").items()
    }


def image(cluster: Cluster, host: str) -> str:
    """Which release a host runs."""
    told = cluster.run(host, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME")
    return str(told.stdout.strip())


def reimaged(storage: Storage, tell: list[str]) -> dict[str, Any]:
    """Plan and carry out a re-image; how long it took is told."""
    begin = time.monotonic()
    plan = storage.applied("reimage")
    hosts = [host for wave in waves(plan) for host in wave]
    tell.append(f"re-image of {', '.join(hosts)}: {time.monotonic() - begin:.0f} s")
    assert {"rados", "rbd"} <= {probe["name"] for probe in storage.probes}
    for probe in storage.probes:
        tell.append(probe["sentence"])
        assert (probe["failed"], probe["requests"] > 0) == (0, True), probe
    return plan


@pytest.fixture(scope="module", autouse=True)
def new_image() -> None:
    """The image that the hosts go to, with its packages."""
    ensure_repo(ensure_image("trixie"))


def test_a_monitor_from_a_new_image_joins_with_its_store(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    made = ["stat", "-c", "%W %i", "/var/lib/ceph/mon/ceph-mon03/keyring"]
    before = cluster.run("mon03", *made).stdout
    known.append(cluster.run(CLIENT, "sh", "-c", FILL).stdout.split()[0])
    seeded.append(storage.call(FROM, "ceph_client.seed"))
    move(cluster, "reef", "trixie", "mon03")
    with storage.writing() as writes:
        plan = reimaged(storage, tell)
    tell.append(f"while one monitor went: {writes}")
    assert waves(plan)[0] == ("mon03",)
    assert (image(cluster, "mon03"), image(cluster, "mon02")) == ("trixie", "bookworm")
    assert cluster.run("mon03", *made).stdout == before
    assert storage.ask("quorum_status")["quorum_names"] == ["mon01", "mon02", "mon03"]
    assert {text[:4] for text in versions(storage)["mon"]} == {OLD, NEW}
    assert (writes.failed, writes.wrong) == ([], [])


def test_the_others_follow_and_nothing_is_lost(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    hosts = ["mon01", "mon02", "osd01", "osd02", "osd03"]
    move(cluster, "reef", "trixie", *hosts)
    plan = reimaged(storage, tell)
    order = [host for wave in waves(plan) for host in wave if host in hosts]
    assert order.index("mon02") < order.index("osd01")
    assert {image(cluster, host) for host in hosts} == {"trixie"}
    assert {text[:4] for told in versions(storage).values() for text in told} == {NEW}
    assert storage.ask("osd", "dump")["require_osd_release"] == "reef"
    assert storage.becomes_healthy(300), storage.health()
    assert storage.held() == ({}, [], [])
    code, _, printed = cluster.salt_run("provision.status")
    assert code == 0, printed
    sums = cluster.run(CLIENT, "sh", "-c", READ).stdout.splitlines()
    assert [line.split()[0] for line in sums] == known * 2
    assert storage.call(FROM, "ceph_client.manifest") == seeded[0]
