"""From nothing to a healthy cluster of Ceph with one command, and nothing to do the second time."""

from __future__ import annotations

import json

import pytest

from tests.lab_ceph.storage import Storage
from tests.support.cluster import Cluster

MIB = 1024**2
#: promised memory of the whole lab; `make bench-deploy` asks for the time, with nothing beside
PEAK = 2048 * MIB


def test_the_cost_is_told(cluster: Cluster, tell: list[str]) -> None:
    if not cluster.deploy_output:
        pytest.skip("the lab was up before (SALTERN_KEEP_LAB)")
    record = json.loads((cluster.provider.directory / "deploy.json").read_text())
    tell.append(
        f"deployed in {record['seconds']:.0f} s, {record['peak_bytes'] / MIB:.0f} MiB at most"
    )
    assert record["code"] == 0
    assert 0 < record["peak_bytes"] <= PEAK


def test_it_is_as_the_model_says(storage: Storage) -> None:
    found = storage.ask("status")
    assert sorted(found["quorum_names"]) == ["mon01", "mon02", "mon03"]
    assert (found["osdmap"]["num_up_osds"], found["osdmap"]["num_in_osds"]) == (6, 6)
    # a pool may just be split
    assert storage.becomes_healthy(60), storage.health()
    assert storage.held() == ({}, [], [])


@pytest.mark.parametrize(
    ("host", "unit"),
    [
        ("mon01", "ceph-mon@mon01"),
        ("mon01", "ceph-mgr@mon01"),
        ("mon01", "ceph-mds@mon01"),
        ("osd01", "ceph-osd@0"),
    ],
)
def test_a_daemon_may_start_often_in_half_an_hour(cluster: Cluster, host: str, unit: str) -> None:
    """Several rollouts restart it; the packages' units refuse its fourth start."""
    ask = ("systemctl", "show", "--value", "-p", "StartLimitIntervalUSec", unit)
    assert cluster.run(host, *ask).stdout.strip() == "2min"


def test_a_second_deployment_changes_nothing(cluster: Cluster) -> None:
    states = cluster.orchestrate("deploy")
    assert not {key for key, state in states.items() if state["result"] is not True}
    assert not {key: state["changes"] for key, state in states.items() if state["changes"]}


def test_what_would_stay_available_is_foretold(cluster: Cluster) -> None:
    code, found, printed = cluster.salt_run("ceph.whatif", "lose=osd01")
    assert code == 0, printed
    told = found["available"], found["heals"], len(found["lost"])
    assert told == (True, False, 2), found["comment"]
    code, found, printed = cluster.salt_run("ceph.whatif", "lose=osd01,osd02")
    assert (code, found["available"]) == (0, False), printed
    code, found, printed = cluster.salt_run("ceph.whatif", "lose=mon01,mon02")
    assert "no majority" in found["comment"]
