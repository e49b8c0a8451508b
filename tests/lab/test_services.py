"""What the cluster is for: services that answer, redundantly, over TLS."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.support.cluster import Cluster

On = Callable[[str], Host]
INF = ("inf01", "inf02", "inf03")
CTL = ("ctl01", "ctl02", "ctl03")
API = {"keystone": 5000, "glance": 9292, "placement": 8778}


def test_a_user_gets_what_the_cloud_promises(cluster: Cluster) -> None:
    """Tokens on each controller, projects, users, images, placement; with the real clients."""
    code, _, printed = cluster.salt_run("sanity.run", f"cluster={cluster.name}")
    assert code == 0, printed[-4000:]


@pytest.mark.parametrize("name", INF)
def test_galera_has_three_synced_members(on: On, name: str) -> None:
    sql = (
        "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN"
        " ('WSREP_CLUSTER_SIZE', 'WSREP_LOCAL_STATE_COMMENT') ORDER BY VARIABLE_NAME"
    )
    assert on(name).check_output("mariadb -N -B -e %s", sql).split() == ["3", "Synced"]


@pytest.mark.parametrize("name", INF)
def test_rabbitmq_has_three_running_members(on: On, name: str) -> None:
    status = on(name).check_output("rabbitmqctl -q cluster_status --formatter json")
    running = json.loads(status)["running_nodes"]
    assert sorted(node.partition("@")[2].split(".")[0] for node in running) == sorted(INF)


def test_one_controller_holds_the_virtual_address(on: On) -> None:
    held = [n for n in CTL if on(n).run("ip -4 -br addr show | grep -w 10.87.10.10").rc == 0]
    assert len(held) == 1


@pytest.mark.parametrize("service", API)
@pytest.mark.parametrize("name", CTL)
def test_every_controller_serves_every_api_over_tls(
    on: On, cluster: Cluster, name: str, service: str
) -> None:
    """Past the load balancer: each back end's certificate carries its own name."""
    host = f"{name}.{cluster.name}.test"
    url = f"https://{host}:{API[service]}/healthcheck"
    if service == "placement":
        url = f"https://{host}:{API[service]}/"
    code = on("cfg01").check_output(f"curl -s -m 20 -o /dev/null -w %{{http_code}} {url}")
    assert code == "200"


@pytest.mark.parametrize("service", API)
def test_every_api_answers_at_the_virtual_address(on: On, cluster: Cluster, service: str) -> None:
    url = f"https://api.{cluster.name}.test:{API[service]}/"
    code = on("cfg01").check_output(f"curl -s -m 20 -o /dev/null -w %{{http_code}} {url}")
    assert code in ("200", "300")


@pytest.mark.parametrize(
    ("name", "port"),
    [("inf01", 5671), ("inf02", 25672), ("inf03", 11211), ("inf01", 4567), ("cfg01", 8000),
     ("cfg01", 443), ("ctl01", 5000), ("ctl02", 9292), ("ctl03", 8778)],
)  # fmt: skip
def test_a_port_speaks_verified_tls(on: On, cluster: Cluster, name: str, port: int) -> None:
    """RabbitMQ between its nodes asks for a client certificate, so ours is shown."""
    pki = "/etc/saltern/pki"
    fqdn = f"{name}.{cluster.name}.test"
    shaken = on("ctl01").run(
        f"openssl s_client -connect {fqdn}:{port} -verify_return_error -verify_hostname {fqdn}"
        f" -CAfile {pki}/ca.crt -cert {pki}/host.crt -key {pki}/host.key </dev/null"
    )
    assert "Verify return code: 0 (ok)" in shaken.stdout, shaken.stderr[-500:]


@pytest.mark.parametrize("name", INF)
def test_nothing_listens_in_clear_text_for_clients(on: On, name: str) -> None:
    """5672 (AMQP without TLS) is closed; 4369 (Erlang's port mapper) names ports only."""
    ports = {s.rpartition(":")[2] for s in on(name).socket.get_listening_sockets()}
    assert "5672" not in ports
    assert "15672" not in ports


def test_no_unit_failed(cluster: Cluster) -> None:
    for name in cluster.hosts:
        failed = cluster.run(name, "systemctl", "--failed", "--plain", "--no-legend").stdout
        assert failed == "", name
