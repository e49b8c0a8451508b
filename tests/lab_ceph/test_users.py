"""What users notice while hosts lose their power and rollouts are hit: nothing fails or is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab_ceph.storage import Storage
from tests.lab_ceph.users import (
    FROM,
    LONGEST,
    applying,
    kill_engine,
    lines,
    loses_power,
    measured,
    none_failed,
    seen,
)
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

#: those that object stores declare
OF_STORES = ("rados", "rbd")


@pytest.fixture
def data(storage: Storage) -> Iterator[None]:
    """A known set of data: at the end it is there as it was written."""
    written = storage.call(FROM, "ceph_client.seed")
    assert written["digest"]
    yield
    assert storage.call(FROM, "ceph_client.manifest") == written
    assert storage.call(FROM, "ceph_client.unseed") is True


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("host", ["osd02", "mon02"])
def test_a_power_cut_is_a_short_wait_for_users(
    cluster: Cluster, storage: Storage, tell: list[str], host: str
) -> None:
    """A host of two object stores; a host with a monitor and a gateway."""
    with measured(storage) as probes:
        with loses_power(cluster, host):
            assert eventually(lambda: storage.health()[0] != "HEALTH_OK", 60)
        assert storage.becomes_healthy(), storage.health()
    tell += lines(f"power cut of {host}", probes)
    assert none_failed(probes), probes
    assert max(one["max_ms"] for one in probes.values()) <= LONGEST


class Restart:
    """A plan that restarts all object stores, host by host.

    :param cluster: the hosts
    :param storage: their storage
    """

    def __init__(self, cluster: Cluster, storage: Storage) -> None:
        self.cluster, self.storage = cluster, storage
        self.hosts = cluster.named("osd")
        self.before = {host: self._since(host) for host in self.hosts}
        self.plan = storage.planned("restart", "roles=ceph.osd")

    def _since(self, host: str) -> str:
        ask = ("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", "ceph-osd@*")
        return self.cluster.run(host, *ask, check=False).stdout

    def done(self) -> list[str]:
        """Hosts whose object stores run since later than before."""
        return [host for host in self.hosts if self._since(host) != self.before[host]]

    def begun(self) -> bool:
        """Whether a host is done."""
        return self.done() != []

    def ended(self, function: str, what: str, tell: list[str]) -> None:
        """Go on to the end; users saw nothing, and nothing is held any more."""
        code, data, printed = self.cluster.salt_run(function)
        assert (code, data["state"]) == (0, "done"), printed[-4000:]
        assert self.done() == self.hosts
        tell += lines(what, seen(data))
        assert none_failed(seen(data), OF_STORES), data["probes"]
        assert self.storage.becomes_healthy(), self.storage.health()
        assert self.storage.held() == ({}, [], [])


@pytest.fixture
def restart(cluster: Cluster, storage: Storage) -> Restart:
    """A plan, and what ran before it."""
    return Restart(cluster, storage)


@pytest.mark.usefixtures("data")
def test_a_rollout_stops_when_a_host_loses_power_and_goes_on_when_it_is_back(
    cluster: Cluster, storage: Storage, restart: Restart, tell: list[str]
) -> None:
    answer: list[Any] = []
    with applying(cluster, restart.plan, restart.begun, answer):
        last = [host for host in restart.hosts if host not in restart.done()][-1]
        with loses_power(cluster, last):
            eventually(lambda: bool(answer), 600)
    code, data, printed = answer[0]
    assert code == 1, printed[-4000:]
    assert "osd" in data["comment"], data["comment"]
    tell.append(f"a host lost power in a rollout: {data['comment']}")
    assert eventually(cluster.all_answer, 120, 2)
    assert storage.becomes_healthy(), storage.health()
    assert storage.held()[2] == []
    restart.ended("rollout.retry", "with a power cut in the middle", tell)


@pytest.mark.usefixtures("data")
def test_a_rollout_whose_engine_is_killed_goes_on(
    cluster: Cluster, restart: Restart, tell: list[str]
) -> None:
    with applying(cluster, restart.plan, restart.begun, []):
        kill_engine(cluster)
    restart.ended("rollout.resume", "with the engine killed in the middle", tell)
