"""A hop to the next release of OpenStack, under measurement, with guests and canaries that stay."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import hops
from tests.support.cluster import Cluster
from tests.support.guest import GAP, NAME, call

#: What the model moves to; its artifacts are built when the cache lacks them.
WANTED = "2026.1"


@pytest.fixture(scope="module")
def guest(cluster: Cluster) -> dict[str, Any]:
    """A server that is reached from outside its network."""
    found: dict[str, Any] = call(cluster, "make", NAME)
    return found


def test_a_hop_costs_no_request_and_no_guest(cluster: Cluster, guest: dict[str, Any]) -> None:
    hops.canaries(cluster, "create")
    done = hops.hop(cluster, WANTED, guest)
    print(f"{done.before} -> {WANTED}: {done.seconds:.0f} s; guest: {done.guest}")
    for probe in done.probes.values():
        print(probe["sentence"])
    assert set(done.probes) >= hops.SERVING
    failed = {name: done.probes[name]["failed"] for name in hops.SERVING}
    assert failed == dict.fromkeys(hops.SERVING, 0)
    assert (done.guest["broken"], done.guest["gap"] <= GAP) == (0, True)
    assert done.same
    hops.canaries(cluster, "verify")
