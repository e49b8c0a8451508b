"""What users notice while hosts lose their power and rollouts are hit: nothing fails or is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab_ceph.storage import Storage
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

#: measures and writes the set of data; no test works on its host
FROM = "cfg01"
PROBES = ("rados", "rbd", "s3")
#: those that object stores declare
OF_STORES = ("rados", "rbd")
#: milliseconds that no request of a user may take longer; a goal of the project
LONGEST = 5000


@pytest.fixture
def data(storage: Storage) -> Iterator[None]:
    """A known set of data: at the end it is there as it was written."""
    written = storage.call(FROM, "ceph_client.seed")
    assert written["digest"]
    yield
    assert storage.call(FROM, "ceph_client.manifest") == written
    assert storage.call(FROM, "ceph_client.unseed") is True


@contextmanager
def measured(storage: Storage) -> Iterator[dict[str, dict[str, int]]]:
    """What three kinds of users see meanwhile; known after the block."""
    given = [
        {"name": "rados", "kind": "rados", "target": "probe", "timeout": 30},
        {"name": "rbd", "kind": "rbd", "target": "probe", "timeout": 30},
        {"name": "s3", "kind": "s3", "target": "saltern-probe", "timeout": 10},
    ]
    found = {name: {"requests": 0, "failed": 0, "max_ms": 0} for name in PROBES}
    storage.call(FROM, "probe.start", "drill", str(given).replace("'", '"'))
    first = storage.call(FROM, "probe.read", "drill")["rows"]
    since = max((row["second"] for row in first), default=0)
    try:
        yield found
    finally:
        rows = storage.call(FROM, "probe.stop", "drill", f"since={since}")["rows"]
    for row in rows:
        one = found[row["probe"]]
        one["requests"] += row["requests"]
        one["failed"] += row["failed"]
        one["max_ms"] = max(one["max_ms"], row["max_ms"])


def none_failed(probes: Mapping[str, Mapping[str, int]], names: Sequence[str] = PROBES) -> bool:
    """Whether these probes asked, and none failed."""
    counted = {name: one["failed"] for name, one in probes.items() if one["requests"]}
    return counted == dict.fromkeys(names, 0)


def seen(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What the probes of a rollout saw."""
    return {probe["name"]: dict(probe) for probe in data["probes"]}


def lines(what: str, probes: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"{what}: {name}: {one['requests']} requests, {one['failed']} failed,"
        f" the longest took {one['max_ms'] / 1000:.1f} s"
        for name, one in probes.items()
    ]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("host", ["osd02", "mon02"])
def test_a_power_cut_is_a_short_wait_for_users(
    cluster: Cluster, storage: Storage, tell: list[str], host: str
) -> None:
    """A host of two object stores; a host with a monitor and a gateway."""
    with measured(storage) as probes:
        try:
            cluster.provider.stop(host, hard=True)
            assert eventually(lambda: storage.health()[0] != "HEALTH_OK", 60)
        finally:
            cluster.provider.start(host)
        assert storage.becomes_healthy(), storage.health()
    tell += lines(f"power cut of {host}", probes)
    assert none_failed(probes), probes
    assert max(one["max_ms"] for one in probes.values()) <= LONGEST


def applying(cluster: Cluster, plan: Mapping[str, Any]) -> tuple[threading.Thread, list[Any]]:
    """Carry out a plan beside the test; the answer comes into the list."""
    answer: list[Any] = []
    thread = threading.Thread(
        target=lambda: answer.append(cluster.salt_run("rollout.apply", plan["hash"]))
    )
    thread.start()
    return thread, answer


def done(cluster: Cluster, hosts: Sequence[str], before: Mapping[str, str]) -> list[str]:
    """Hosts whose object stores run since later than before."""
    return [host for host in hosts if since(cluster, host) != before[host]]


def since(cluster: Cluster, host: str) -> str:
    ask = ("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", "ceph-osd@*")
    return cluster.run(host, *ask, check=False).stdout


@pytest.mark.usefixtures("data")
def test_a_rollout_stops_when_a_host_loses_power_and_goes_on_when_it_is_back(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    hosts = cluster.named("osd")
    before = {host: since(cluster, host) for host in hosts}
    plan = storage.planned("restart", "roles=ceph.osd")
    thread, answer = applying(cluster, plan)
    try:
        assert eventually(lambda: done(cluster, hosts, before) != [], 120, 0.2)
        (first, *_) = done(cluster, hosts, before)
        last = [host for host in hosts if host != first][-1]
        cluster.provider.stop(last, hard=True)
        try:
            thread.join()
        finally:
            cluster.provider.start(last)
        code, data, printed = answer[0]
        assert code == 1, printed[-4000:]
        assert "osd" in data["comment"], data["comment"]
    finally:
        thread.join()
    tell.append(f"a host lost power in a rollout: {data['comment']}")
    assert eventually(cluster.all_answer, 120, 2)
    assert storage.becomes_healthy(), storage.health()
    assert storage.held()[2] == []
    code, data, printed = cluster.salt_run("rollout.retry")
    assert (code, data["state"]) == (0, "done"), printed[-4000:]
    assert done(cluster, hosts, before) == hosts
    tell += lines("with a power cut in the middle", seen(data))
    assert none_failed(seen(data), OF_STORES), data["probes"]
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])


@pytest.mark.usefixtures("data")
def test_a_rollout_whose_engine_is_killed_goes_on(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    hosts = cluster.named("osd")
    before = {host: since(cluster, host) for host in hosts}
    plan = storage.planned("restart", "roles=ceph.osd")
    thread, _ = applying(cluster, plan)
    assert eventually(lambda: done(cluster, hosts, before) != [], 120, 0.2)
    code, data, printed = cluster.salt_run("rollout.history", "data=True")
    assert code == 0, printed
    # the runner, by the process that the journal names as the one who works on it
    runner = data["rollouts"][0]["owner"].partition("@")[0]
    cluster.run(cluster.master, "kill", "-KILL", runner)
    thread.join()
    code, data, printed = cluster.salt_run("rollout.resume")
    assert (code, data["state"]) == (0, "done"), printed[-4000:]
    assert done(cluster, hosts, before) == hosts
    tell += lines("with the engine killed in the middle", seen(data))
    assert none_failed(seen(data), OF_STORES), data["probes"]
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])
