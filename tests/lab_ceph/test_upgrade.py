"""From one release of the operating system and of Ceph to the next, by new images of the hosts.

The rollouts are hit on their way: an engine is killed, a host loses its power. Users are measured
all the time, and at the end their data are what they wrote at the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from saltern.lab.cluster import MODEL
from saltern.lab.image import ensure_image
from saltern.lab.repo import ensure_repo
from tests.lab_ceph.storage import CLIENT, UPGRADE, Storage, waves
from tests.lab_ceph.users import (
    FROM,
    LONGEST,
    applying,
    kill_engine,
    lines,
    loses_power,
    measured,
    none_failed,
    watched,
)
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

OLD, NEW = "16.2", "18.2"
#: seconds after each wave of object stores: time to hit the cluster between two waves
SOAK = 20


def move(cluster: Cluster, *hosts: str) -> None:
    """Commit new images, and the release that they bring, to the model on the master."""
    files = " ".join(f"nodes/{cluster.name}/{host}.{cluster.name}.test.yml" for host in hosts)
    parameters = f"classes/cluster/{cluster.name}/init.yml"
    script = f"""set -e
cd {MODEL}
sed -i 's/^    image: .*/    image: trixie/' {files}
sed -i 's/^    ceph_release: .*/    ceph_release: reef/' {parameters}
chown -R salt: nodes classes
as="runuser -u salt -- git -c user.name=operator -c user.email=operator@example.test"
$as diff --quiet || $as commit -q -a -m 'Hosts from new images'
"""
    cluster.run(cluster.master, "sh", "-c", script)


def versions(storage: Storage) -> dict[str, set[str]]:
    """Kind of daemon -> versions that run, such as ``18.2``."""
    return {
        kind: {text.split()[2][:4] for text in told}
        for kind, told in storage.ask("versions").items()
    }


def image(cluster: Cluster, host: str) -> str:
    """Which release a host runs."""
    told = cluster.run(host, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME")
    return str(told.stdout.strip())


@contextmanager
def upgraded(cluster: Cluster, storage: Storage, what: str, tell: list[str]) -> Iterator[None]:
    """While hosts are made anew: no request fails, and never are two of them away at a time."""
    begin = time.monotonic()
    with measured(storage) as probes, watched(cluster) as away:
        yield
    tell.append(f"{what}: {time.monotonic() - begin:.0f} s")
    tell += lines(what, probes)
    assert none_failed(probes), probes
    assert max(len(together) for together in away) == 1, away
    assert max(one["max_ms"] for one in probes.values()) <= LONGEST


@pytest.fixture(scope="module", autouse=True)
def new_image() -> None:
    """The image that the hosts go to, with its packages."""
    ensure_repo(ensure_image("trixie"))


@pytest.fixture(scope="module", autouse=True)
def written(cluster: Cluster) -> dict[str, Any]:
    """Checksums of what users wrote before the first host was made anew."""
    return dict(Storage(cluster).call(FROM, "ceph_client.seed"))


def test_a_monitor_from_a_new_image_joins_with_its_store(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    made = ["stat", "-c", "%W %i", "/var/lib/ceph/mon/ceph-mon03/keyring"]
    before = cluster.run("mon03", *made).stdout
    move(cluster, "mon03")
    with upgraded(cluster, storage, "re-image of mon03", tell):
        plan = storage.applied("reimage")
    assert waves(plan)[0] == ("mon03",)
    assert {"rados", "rbd", "s3"} == {probe["name"] for probe in storage.probes}
    assert (image(cluster, "mon03"), image(cluster, "mon02")) == ("trixie", "bookworm")
    assert cluster.run("mon03", *made).stdout == before
    assert storage.ask("quorum_status")["quorum_names"] == ["mon01", "mon02", "mon03"]
    assert versions(storage)["mon"] == {OLD, NEW}


def test_an_engine_killed_while_a_host_is_made_anew_goes_on(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    hosts = ["mon01", "mon02"]
    move(cluster, *hosts)
    plan = storage.planned("reimage")

    def on_its_way() -> bool:
        return any(cluster.provider.unfinished(host) for host in hosts)

    with upgraded(cluster, storage, "re-image of the monitors, the engine killed", tell):
        with applying(cluster, plan, on_its_way, []):
            kill_engine(cluster)
        code, data, printed = cluster.salt_run("rollout.resume")
    assert (code, data["state"]) == (0, "done"), printed[-6000:]
    assert {image(cluster, host) for host in hosts} == {"trixie"}
    assert storage.ask("quorum_status")["quorum_names"] == ["mon01", "mon02", "mon03"]
    assert versions(storage)["mon"] == versions(storage)["mgr"] == {NEW}
    assert versions(storage)["osd"] == {OLD}
    assert storage.held() == ({}, [], [])


def test_object_stores_follow_also_when_a_host_loses_power_and_nothing_is_lost(
    cluster: Cluster, storage: Storage, written: dict[str, Any], tell: list[str]
) -> None:
    hosts = cluster.named("osd")
    move(cluster, *hosts)
    plan = storage.planned("reimage", f"soak={SOAK}")
    assert [wave for wave in waves(plan) if {*wave} & {*hosts}][:3] == [(host,) for host in hosts]
    answer: list[Any] = []

    def between_waves() -> bool:
        """The first host was made anew and is in service again."""
        if versions(storage)["osd"] != {OLD, NEW}:
            return False
        return not storage.ask("config-key", "dump", "saltern/lease/")

    with upgraded(cluster, storage, "re-image of the object stores, one cut off", tell):
        with (
            applying(cluster, plan, between_waves, answer, 600),
            loses_power(cluster, hosts[-1]),
        ):
            assert eventually(lambda: bool(answer), 600)
        code, data, printed = answer[0]
        assert (code, data["state"]) == (1, "failed"), printed[-6000:]
        assert "ceph-down" in {one["code"] for one in data["failures"]}, data["failures"]
        assert "OSD_DOWN" in data["comment"], data["comment"]
        tell.append(f"a host lost its power in the upgrade: {data['comment']}")
        assert [image(cluster, host) for host in hosts] == ["trixie", "bookworm", "bookworm"]
        assert eventually(cluster.all_answer, 120, 2)
        assert storage.becomes_healthy(beside=[UPGRADE]), storage.health()
        code, data, printed = cluster.salt_run("rollout.retry")
        assert (code, data["state"]) == (0, "done"), printed[-6000:]
    assert {image(cluster, host) for host in hosts} == {"trixie"}
    assert {*map(frozenset, versions(storage).values())} == {frozenset({NEW})}
    assert storage.ask("osd", "dump")["require_osd_release"] == "reef"
    assert storage.becomes_healthy(300), storage.health()
    assert storage.held() == ({}, [], [])
    code, _, printed = cluster.salt_run("provision.status")
    assert code == 0, printed
    # as clients of both releases read it
    assert storage.call(FROM, "ceph_client.manifest") == written
    assert storage.call(CLIENT, "ceph_client.manifest") == written
