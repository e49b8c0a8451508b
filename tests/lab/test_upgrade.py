"""A hop to the next release of OpenStack, taken back at two points; and one that meets faults.

The controllers of this cluster have Keystone, Glance and Placement, whose databases and clients are
real; Keystone's schema changes in this hop.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from saltern.errors import RolloutError
from tests.support import hops
from tests.support.cluster import Cluster, eventually

#: What the model moves to.
WANTED = "2026.1"
#: Where a node runs a service from; the link names the release.
CURRENT = "/opt/openstack/current"
SERVICES = ("keystone", "glance", "placement")
#: Seconds that taking an upgrade back may take: while expanded, and behind the contraction.
EXPANDED, CONTRACTED = 120.0, 540.0
#: A disk of the backups that is all but full, in the place of the real one.
FILL = (
    "mount -t tmpfs -o size=64k,mode=0700 full /srv/backup"
    " && chown www-data: /srv/backup && head -c 60000 /dev/zero >/srv/backup/other"
)
#: What the balancer's virtual address is asked for meanwhile.
SERVING = {"keystone", "token", "glance", "placement"}


def running(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Return the release that each controller's link of each service names."""
    found = {}
    for name in cluster.named("ctl"):
        links = [f"{CURRENT}/{service}" for service in SERVICES]
        told = cluster.run(name, "readlink", *links).stdout.split()
        assert len(told) == len(SERVICES)
        found[name] = {link.split("/")[4]: link.split("/")[3] for link in told}
    return found


def releases(cluster: Cluster) -> set[str]:
    """Return all releases that run."""
    return {release for found in running(cluster).values() for release in found.values()}


def verified(cluster: Cluster) -> None:
    """What was made before is still there and as it was."""
    code, _, printed = cluster.salt_run("canary.verify")
    assert code == 0, printed[-4000:]


def served(report: dict[str, Any]) -> None:
    """No request failed while it was measured."""
    told = {probe["name"]: probe for probe in report["probes"]}
    for probe in told.values():
        print(probe["sentence"])
    assert set(told) >= SERVING
    assert {name: told[name]["failed"] for name in SERVING} == dict.fromkeys(SERVING, 0)


def taken_back(cluster: Cluster, rollout: str, *words: str) -> float:
    """Take a rollout back; return the seconds that it took."""
    begin = time.monotonic()
    code, report, printed = cluster.salt_run("rollout.rollback", rollout, *words)
    took = time.monotonic() - begin
    print(f"rollback of {rollout}: {took:.0f} s")
    assert code == 0, printed[-6000:]
    served(report)
    return took


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> Iterator[str]:
    """The release that serves; the model names the next one until the end of this module."""
    code, _, printed = cluster.salt_run("canary.create")
    assert code == 0, printed[-4000:]
    release = hops.move(cluster, WANTED)
    assert release != WANTED
    yield release
    hops.move(cluster, release)


@pytest.fixture(autouse=True)
def nothing_under_way(cluster: Cluster) -> Iterator[None]:
    """A test that fails in the middle of a rollout leaves none in the way of the next one."""
    yield
    cluster.salt_run("rollout.abort")


def test_while_the_schemas_are_expanded_the_code_goes_back(cluster: Cluster, before: str) -> None:
    plan = hops.upgrade(cluster)
    first = cluster.named("ctl")[0]

    # asked for within the first controller's wave, so it stops after it
    def stop() -> None:
        code, _, printed = cluster.salt_run("rollout.pause")
        assert code == 0, printed[-2000:]

    code, report, printed = hops.watched(
        cluster, "rollout.apply", plan["hash"], when={rf"expand on {first}": stop}
    )
    assert code == 3, printed[-6000:]
    # two releases of Keystone side by side
    assert {name: found["keystone"] for name, found in running(cluster).items()} == {
        name: WANTED if name == first else before for name in cluster.named("ctl")
    }
    assert taken_back(cluster, report["rollout"]) <= EXPANDED
    assert releases(cluster) == {before}
    verified(cluster)


def test_behind_the_contraction_databases_go_back_too(cluster: Cluster, before: str) -> None:
    plan = hops.upgrade(cluster)
    begin = time.monotonic()
    code, report, printed = cluster.salt_run("rollout.apply", plan["hash"])
    print(f"{before} -> {WANTED}: {time.monotonic() - begin:.0f} s")
    assert code == 0, printed[-6000:]
    assert releases(cluster) == {WANTED}
    served(report)
    verified(cluster)

    rollout = report["rollout"]
    code, told, printed = cluster.salt_run("rollout.rollback", rollout, "test=True", "data=True")
    assert code == 0, printed[-4000:]
    assert told["losses"], "what was written since the dumps is lost, and nobody says so"
    assert taken_back(cluster, rollout) <= CONTRACTED
    assert releases(cluster) == {before}
    verified(cluster)
    code, _, printed = cluster.salt_run("sanity.run")
    assert code == 0, printed[-4000:]


class Fault:
    """Something that is broken for a while.

    :param cluster: where
    :param host: on which host
    :param breaks: command that breaks it
    :param mends: command that mends it
    """

    def __init__(
        self, cluster: Cluster, host: str, breaks: Sequence[str], mends: Sequence[str]
    ) -> None:
        self._run: Callable[..., Any] = lambda argv: cluster.run(host, *argv)
        self._breaks, self._mends = breaks, mends

    def __enter__(self) -> None:
        self._run(self._breaks)

    def __exit__(self, *_: object) -> None:
        self._run(self._mends)


def stopped(cluster: Cluster, answer: tuple[int, Any, str], *words: str, dead: str = "") -> str:
    """The rollout stopped, its sentence has these words, nothing is held; return its id.

    :param dead: a host that cannot give back what it has
    """
    code, report, printed = answer
    assert code == 1, printed[-6000:]
    for word in words:
        assert word in report["comment"], report["comment"]
    assert report["code"] == RolloutError.code
    print(report["comment"], report["failures"])
    code, leases, printed = cluster.salt_run("lease.list", "data=True")
    assert code == 0, printed[-2000:]
    assert not [one for one in leases if not dead or dead not in one["what"]], leases
    return str(report["rollout"])


@pytest.mark.full
def test_a_hop_meets_every_fault_and_ends(cluster: Cluster, before: str) -> None:
    """A damaged archive, a power cut, a full disk of the backups, a killed master: one upgrade."""
    plan = hops.upgrade(cluster)
    master, victim = cluster.master, cluster.named("ctl")[1]
    told = cluster.run(
        master, "sh", "-c", f"ls /srv/saltern/artifacts/openstack/{WANTED}/glance-*.zst"
    )
    archive = told.stdout.split()[0]
    for name in cluster.named("ctl"):
        # a hop before this one left it there
        cluster.run(name, "rm", "-rf", f"/opt/openstack/{WANTED}/glance")
    cut = f"head -c 1000 {archive} >/run/cut.zst && mount --bind /run/cut.zst {archive}"

    # what is served is not what was pinned: nothing begins
    with Fault(cluster, master, ["sh", "-c", cut], ["umount", archive]):
        code, report, printed = cluster.salt_run("rollout.apply", plan["hash"])
    assert (code, report["code"]) == (2, "plan"), printed[-4000:]
    # and if it is damaged after that, before the first node is touched
    with contextlib.ExitStack() as stack:
        fault = Fault(cluster, master, ["sh", "-c", cut], ["umount", archive])
        answer = hops.watched(
            cluster,
            "rollout.apply",
            plan["hash"],
            when={"take modules": lambda: stack.enter_context(fault)},
        )
    rollout = stopped(cluster, answer, "glance", "sha256")
    assert releases(cluster) == {before}

    # a controller loses its power while it is worked on
    answer = hops.watched(
        cluster,
        "rollout.retry",
        rollout,
        when={
            rf"apply .* on {victim}": lambda: cluster.provider.stop(victim, hard=True),
        },
    )
    stopped(cluster, answer, victim, dead=victim)
    cluster.provider.start(victim)
    assert eventually(cluster.all_answer, 180, 3)

    # the disk of the backups is full when the first database is dumped
    with Fault(
        cluster,
        master,
        ["sh", "-c", FILL],
        ["umount", "/srv/backup"],
    ):
        answer = cluster.salt_run("rollout.retry", rollout)
    stopped(cluster, answer, "backup")
    # nothing was contracted without a dump
    assert releases(cluster) == {WANTED}

    # the master dies in the middle of a contraction
    def kill() -> None:
        code, data, printed = cluster.salt_run("rollout.history", "data=True")
        assert code == 0, printed
        owner = data["rollouts"][0]["owner"].partition("@")[0]
        cluster.run(master, "systemctl", "kill", "-s", "KILL", "salt-master")
        cluster.run(master, "kill", "-KILL", owner, check=False)

    hops.watched(
        cluster, "rollout.retry", rollout, when={r"the schema of keystone is contracted": kill}
    )
    cluster.run(master, "systemctl", "restart", "salt-master")

    def done() -> bool:
        code, data, _ = cluster.salt_run("rollout.history", "data=True")
        return code == 0 and data["rollouts"][0]["state"] == "done"

    # it goes on by itself
    assert eventually(done, 400, 5)
    assert releases(cluster) == {WANTED}
    verified(cluster)
    assert taken_back(cluster, rollout) <= CONTRACTED
    assert releases(cluster) == {before}
    verified(cluster)
