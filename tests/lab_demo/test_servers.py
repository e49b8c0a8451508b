"""Guests: moved while they are used, and none lost with a hypervisor or a controller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually
from tests.support.guest import GAP, NAME, call, meanwhile

#: The same while hypervisors are rebooted: its router goes to the other one and back, too.
ROUTER_GAP = 30.0
#: Servers that are asked for: with those of other drills within the quota of a project.
MANY = 7
#: Seconds until each server that was asked for is up, or says that it failed: lost builds are
#: looked for every minute.
SETTLED = 300.0
CENTRAL = ("ovn-ovsdb-server-nb", "ovn-ovsdb-server-sb", "ovn-northd")
#: Seconds until a host that was started again is a full member.
REJOIN = 180.0


@pytest.fixture(scope="module")
def guest(cluster: Cluster) -> dict[str, Any]:
    """A server that is reached from outside its network."""
    found: dict[str, Any] = call(cluster, "make", NAME)
    assert found["status"] == "ACTIVE"
    return found


def test_a_guest_moves_while_it_is_used(cluster: Cluster, guest: dict[str, Any]) -> None:
    moved: list[dict[str, Any]] = []

    def move() -> None:
        for _ in range(2):
            moved.append(call(cluster, "move", NAME))

    seen = meanwhile(cluster, "echo", guest["address"], "300", do=move)
    print(f"live migration: {moved[0]['seconds']} s and {moved[1]['seconds']} s, {seen}")
    assert [one["id"] for one in moved] == [guest["id"]] * 2
    assert len({one["host"] for one in moved}) == 2
    assert seen["broken"] == 0
    assert seen["gap"] <= GAP


def test_both_hypervisors_are_rebooted_and_no_guest_is_lost(
    cluster: Cluster, guest: dict[str, Any]
) -> None:
    nodes = ",".join(f"{name}.demo.test" for name in cluster.named("cmp"))
    code, plan, printed = cluster.salt_run("rollout.plan", "reboot", f"nodes={nodes}", "data=True")
    assert code == 0, printed[-4000:]
    report: list[tuple[int, Any, str]] = []

    def reboot() -> None:
        begin = time.monotonic()
        report.append(cluster.salt_run("rollout.apply", plan["hash"]))
        print(f"reboot of both hypervisors: {time.monotonic() - begin:.0f} s")

    seen = meanwhile(cluster, "echo", guest["address"], "900", do=reboot)
    print(f"reboot: {seen}")
    code, _, printed = report[0]
    assert code == 0, printed[-6000:]
    now = call(cluster, "where", NAME)
    assert (now["id"], now["status"]) == (guest["id"], "ACTIVE")
    assert seen["broken"] == 0
    assert seen["gap"] <= ROUTER_GAP


@pytest.fixture
def controller(cluster: Cluster) -> Iterator[Callable[[str], None]]:
    """Cut a host's power; it is started again at the end."""
    cut: list[str] = []

    def off(name: str) -> None:
        cut.append(name)
        cluster.provider.stop(name, hard=True)

    yield off
    for name in cut:
        cluster.provider.start(name)
    assert eventually(cluster.all_answer, REJOIN, 5)


def test_a_controller_is_lost_while_servers_are_made(
    cluster: Cluster, guest: dict[str, Any], controller: Callable[[str], None]
) -> None:
    try:
        seen = meanwhile(
            cluster, "many", "many", str(MANY), guest["network"], do=lambda: controller("ctl01")
        )
        print(f"power cut of ctl01: {seen}")
        assert seen["lost"] == []
        assert max(seen["waits"]) <= 15

        def settled() -> bool:
            found = call(cluster, "states", "many")
            print(json.dumps(found))
            return len(found) == MANY and not any("BUILD" in one for one in found.values())

        assert eventually(settled, SETTLED, 5)
    finally:
        call(cluster, "drop", "many")


def test_a_member_of_the_networks_database_is_lost(cluster: Cluster, guest: dict[str, Any]) -> None:
    """Guests are reached all the time, and the API goes on with the two that are left."""
    made: list[float] = []

    def kill() -> None:
        # systemd would start what is killed at once
        cluster.run("ctl02", "systemctl", "mask", "--runtime", *CENTRAL)
        cluster.run("ctl02", "systemctl", "kill", "--signal=KILL", *CENTRAL)
        begin = time.monotonic()
        assert eventually(lambda: bool(call(cluster, "make", "other")), 60)
        made.append(time.monotonic() - begin)

    try:
        seen = meanwhile(cluster, "echo", guest["address"], "300", do=kill)
    finally:
        cluster.run("ctl02", "systemctl", "unmask", "--runtime", *CENTRAL)
        cluster.run("ctl02", "systemctl", "start", *CENTRAL)
    print(f"an OVN central lost: another guest after {made}, {seen}")
    assert seen["broken"] == 0
    assert seen["gap"] <= GAP
