"""A hop to the next release of OpenStack, under measurement, with guests and canaries that stay."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lab_demo.test_servers import GAP, NAME, call, meanwhile
from tests.support import hops
from tests.support.cluster import Cluster

#: What the model moves to; its artifacts are built when the cache lacks them.
WANTED = "2026.1"
#: Seconds that the guest is watched at most.
WATCHED = "3600"
#: Probes of APIs that never go away in a hop; the plan announces no window for the others either.
SERVING = {
    *("keystone", "token", "glance", "placement", "nova"),
    *("neutron", "cinder", "heat", "horizon"),
}


@pytest.fixture(scope="module")
def guest(cluster: Cluster) -> dict[str, Any]:
    """A server that is reached from outside its network."""
    found: dict[str, Any] = call(cluster, "make", NAME)
    return found


def test_a_hop_costs_no_request_and_no_guest(cluster: Cluster, guest: dict[str, Any]) -> None:
    code, _, printed = cluster.salt_run("canary.create")
    assert code == 0, printed[-3000:]
    before = hops.move(cluster, WANTED)
    assert before != WANTED
    code, plan, printed = cluster.salt_run(
        "rollout.plan", "upgrade", "revision=worktree", "data=True"
    )
    assert code == 0, printed[-4000:]
    done: list[tuple[int, Any, str]] = []

    def upgrade() -> None:
        begin = time.monotonic()
        done.append(cluster.salt_run("rollout.apply", plan["hash"]))
        print(f"{before} -> {WANTED}: {time.monotonic() - begin:.0f} s")

    seen = meanwhile(cluster, "echo", guest["address"], WATCHED, do=upgrade)
    print(f"guest: {seen}")
    code, report, printed = done[0]
    assert code == 0, printed[-6000:]
    told = {probe["name"]: probe for probe in report["probes"]}
    for probe in told.values():
        print(probe["sentence"])
    assert set(told) >= SERVING
    assert {name: told[name]["failed"] for name in SERVING} == dict.fromkeys(SERVING, 0)
    assert (seen["broken"], seen["gap"] <= GAP) == (0, True)
    assert call(cluster, "where", NAME)["id"] == guest["id"]
    code, _, printed = cluster.salt_run("canary.verify")
    assert code == 0, printed[-3000:]
