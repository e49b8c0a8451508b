"""Power cuts: the cluster goes on, and mends itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.support.cluster import Cluster, eventually

On = Callable[[str], Host]
#: seconds without a token after a power cut; a promise of the README
OUTAGE = 10.0
#: seconds until a host that was started again is a full member
REJOIN = 180.0


def members(on: On, name: str) -> tuple[str, str]:
    """Members that Galera and RabbitMQ count, asked on one host."""
    sql = (
        "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS"
        " WHERE VARIABLE_NAME = 'WSREP_CLUSTER_SIZE'"
    )
    galera = on(name).run("mariadb -N -B -e %s", sql).stdout.strip()
    status = on(name).run("rabbitmqctl -q cluster_status --formatter json")
    running = json.loads(status.stdout)["running_nodes"] if status.rc == 0 else []
    return galera, str(len(running))


def whole(on: On, names: list[str]) -> bool:
    """Whether every member counts three and Galera calls itself Synced."""
    for name in names:
        if members(on, name) != ("3", "3"):
            return False
        state = on(name).run("mariadb -N -B -e \"SHOW STATUS LIKE 'wsrep_local_state_comment'\"")
        if "Synced" not in state.stdout:
            return False
    return True


def power_cut(cluster: Cluster, name: str) -> float:
    """Cut a host's power while tokens are asked for; return the longest outage in seconds."""
    return cluster.longest_outage(45, lambda: cluster.provider.stop(name, hard=True))


@pytest.mark.parametrize(
    "name",
    # the first is HAProxy's active database back end: the hardest case
    ["inf01", pytest.param("inf02", marks=pytest.mark.full),
     pytest.param("inf03", marks=pytest.mark.full)],
)  # fmt: skip
def test_power_cut_of_an_infrastructure_host(cluster: Cluster, on: On, name: str) -> None:
    try:
        assert power_cut(cluster, name) <= OUTAGE
    finally:
        cluster.provider.start(name)
    assert eventually(lambda: whole(on, cluster.named("inf")), REJOIN, 3)


def test_power_cut_of_the_holder_of_the_virtual_address(cluster: Cluster, on: On) -> None:
    controllers = cluster.named("ctl")
    (holder,) = [n for n in controllers if "10.87.10.10" in on(n).run("ip -4 -br addr").stdout]
    try:
        assert power_cut(cluster, holder) <= OUTAGE
    finally:
        cluster.provider.start(holder)
    assert eventually(
        lambda: (
            on(holder).service("keystone-api").is_running
            and on(holder).service("haproxy").is_running
        ),
        REJOIN,
        3,
    )


def test_power_loss_of_the_whole_site(cluster: Cluster, on: On) -> None:
    """Everything stops at once; one command brings it back, and nothing is lost."""
    sql = "CREATE DATABASE IF NOT EXISTS drill; CREATE TABLE IF NOT EXISTS drill.t (n INT PRIMARY"
    on("inf02").check_output("mariadb -e %s", f"{sql} KEY); REPLACE INTO drill.t VALUES (7)")
    cluster.provider.stop_all(hard=True)
    for name in cluster.hosts:
        cluster.provider.start(name)
    assert eventually(cluster.all_answer, REJOIN, 5)
    cluster.orchestrate("recover")
    assert eventually(lambda: whole(on, cluster.named("inf")), REJOIN, 3)
    for name in cluster.named("inf"):
        assert on(name).check_output("mariadb -N -B -e 'SELECT n FROM drill.t'") == "7"
    on("inf01").check_output("mariadb -e 'DROP DATABASE drill'")
    code, _, printed = cluster.salt_run("sanity.run", f"cluster={cluster.name}")
    assert code == 0, printed[-4000:]


@pytest.mark.full
def test_orderly_stop_of_the_whole_site(cluster: Cluster, on: On) -> None:
    cluster.provider.stop_all()
    for name in cluster.hosts:
        cluster.provider.start(name)
    assert eventually(cluster.all_answer, REJOIN, 5)
    cluster.orchestrate("recover")
    assert eventually(lambda: whole(on, cluster.named("inf")), REJOIN, 3)


def test_after_all_that_a_deployment_changes_nothing(cluster: Cluster) -> None:
    states = cluster.orchestrate("deploy")
    assert not {key for key, state in states.items() if state["changes"]}
