"""Packages of a cluster that serves are replaced: RabbitMQ and Galera by phases, a host's by plan.

The lab's repository has one version of each package. A later one is made on each host by packing
the same files anew (tests/support/repacked.py): all that apt, dpkg, maintainer scripts, daemons and
the members of a cluster do in an upgrade is done. That a later release behaves differently is not
shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.test_refusals import appended
from tests.support.cluster import Cluster
from tests.support.repacked import SUFFIX, offer, withdraw

pytestmark = pytest.mark.full

INFRASTRUCTURE = "classes/cluster/demo-core/infrastructure.yml"
#: below the `parameters:galera:server` that the file ends with
VERSIONS = f"""      version: '*{SUFFIX}'
  rabbitmq:
    server:
      version: '*{SUFFIX}'
"""
PACKAGES = ["rabbitmq-server", "mariadb-server", "mariadb-server-core", "galera-4"]
#: Seconds in which clients of the member that they write to find another one.
GAP_MS = 15_000


def version(cluster: Cluster, host: str, package: str) -> str:
    done = cluster.run(host, "dpkg-query", "-W", "-f", "${Version}", package)
    return done.stdout.strip()


def started(cluster: Cluster, host: str, unit: str) -> str:
    shown = ("--value", "--property=ActiveEnterTimestampMonotonic")
    return cluster.run(host, "systemctl", "show", *shown, unit).stdout.strip()


def planned(cluster: Cluster, *words: str) -> dict[str, Any]:
    code, data, printed = cluster.salt_run("rollout.plan", *words, "data=True")
    assert code == 0, printed[-4000:]
    return dict(data)


def waves(plan: dict[str, Any]) -> list[list[str]]:
    found = [wave["nodes"] for stage in plan["stages"] for wave in stage["waves"]]
    return [[node.split(".")[0] for node in nodes] for nodes in found if nodes]


@pytest.fixture
def newer(cluster: Cluster) -> Iterator[list[str]]:
    """Hosts whose apt finds a later version of what they run."""

    def runs(host: str) -> Any:
        return lambda text: cluster.run(host, "sh", "-c", text)

    hosts = cluster.named("inf")
    for host in hosts:
        offer(runs(host), PACKAGES)
    yield hosts
    for host in hosts:
        withdraw(runs(host))
    cluster.salt_run("rollout.abort")


def test_rabbitmq_and_galera_are_replaced_member_by_member(
    cluster: Cluster, newer: list[str]
) -> None:
    before = {host: version(cluster, host, "rabbitmq-server") for host in newer}
    booted = {host: started(cluster, host, "mariadb") for host in newer}
    with appended(cluster, INFRASTRUCTURE, VERSIONS):
        # a change writes what apt prefers, and would replace nothing
        change = planned(cluster, "change", "revision=worktree")
        kinds = [
            s["kind"] for g in change["plan"]["stages"] for w in g["waves"] for s in w["steps"]
        ]
        assert "drain" not in kinds
        found = planned(cluster, "upgrade", "revision=worktree", "soak=5")
        plan = found["plan"]
        # clients write to the first by name, so it is the last one
        assert waves(plan) == [[host] for host in sorted(newer, reverse=True)]
        final = next(stage for stage in plan["stages"] if stage["name"] == "finalize")
        assert final["reversible"] == "never"
        code, report, printed = cluster.salt_run("rollout.apply", found["hash"])
    assert code == 0, printed[-6000:]
    for host in newer:
        assert version(cluster, host, "rabbitmq-server") == before[host] + SUFFIX
        assert version(cluster, host, "mariadb-server").endswith(SUFFIX)
        assert started(cluster, host, "mariadb") != booted[host]
        # it came back with what it had missed; a whole copy leaves its mark in the log
        log = cluster.run(host, "journalctl", "-u", "mariadb", "--since=-2h", "-o", "cat").stdout
        since = log[log.rfind("Starting mariadb.service") :]
        assert "mariadb-backup SST" not in since, since[-3000:]
    for probe in report["probes"]:
        print(probe["sentence"])
        # the last wave moves the clients of the database
        assert probe["gap_ms"] <= GAP_MS, probe
    told = cluster.salt("rabbitmq_upkeep.disabled")
    assert [told[f"{host}.{cluster.name}.test"] for host in newer] == [[]] * len(newer)
    code, _, printed = cluster.salt_run("sanity.run", f"cluster={cluster.name}")
    assert code == 0, printed[-3000:]
    # the versions leave the model again; nothing is replaced by that
    back = planned(cluster, "change", "revision=worktree")
    code, _, printed = cluster.salt_run("rollout.apply", back["hash"])
    assert code == 0, printed[-4000:]
    assert version(cluster, newer[0], "rabbitmq-server").endswith(SUFFIX)


def test_the_packages_of_a_host_are_replaced_and_it_restarts(cluster: Cluster) -> None:
    host = cluster.named("ctl")[-1]

    def run(text: str) -> Any:
        return cluster.run(host, "sh", "-c", text)

    offer(run, ["ssl-cert", "haproxy"])
    booted = cluster.run(host, "cat", "/proc/1/stat").stdout.split()[21]
    haproxy = version(cluster, host, "haproxy")
    try:
        found = planned(
            cluster,
            "operation",
            "operation=linux.system.packages",
            f"nodes={host}",
            "args={reboot: always}",
        )
        assert waves(found["plan"]) == [[host], [host]]
        code, report, printed = cluster.salt_run("rollout.apply", found["hash"])
        assert code == 0, printed[-6000:]
    finally:
        withdraw(run)
        cluster.salt_run("rollout.abort")
    assert version(cluster, host, "ssl-cert").endswith(SUFFIX)
    # HAProxy replaces it by itself
    assert version(cluster, host, "haproxy") == haproxy
    assert cluster.run(host, "cat", "/proc/1/stat").stdout.split()[21] != booted
    for probe in report["probes"]:
        print(probe["sentence"])
        assert probe["failed"] <= 2, probe
    away = cluster.run(host, "test", "-e", "/run/saltern-keepalived-away", check=False)
    assert away.returncode == 1
