"""A Galera member that is Synced, speaks TLS only, and is watched by a check that can't lie."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from testinfra.host import Host

CHECK = "http://{address}:9200/"
CLIENT = "mariadb --host=host.kitchen.test --user=app --password=kitchen-password-of-app --batch -N"
TLS = "--ssl-ca=/etc/saltern/pki/ca.crt --ssl-verify-server-cert"


def query(host: Host, sql: str) -> str:
    """Ask the local server as root, over its socket."""
    return host.check_output("mariadb --batch -N -e %s", sql)


def health(host: Host) -> str:
    address = host.interface("eth0").addresses[0]
    url = CHECK.format(address=address)
    return host.run(f"curl -s -m 3 -o /dev/null -w %{{http_code}} {url}").stdout


def becomes(host: Host, wanted: str) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if health(host) == wanted:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_cluster_size", "1"),
        ("wsrep_ready", "ON"),
    ],
)
def test_the_cluster_is_formed(host: Host, variable: str, value: str) -> None:
    assert query(host, f"SHOW STATUS LIKE '{variable}'").split() == [variable, value]


def test_replication_speaks_tls(host: Host) -> None:
    options = query(host, "SHOW VARIABLES LIKE 'wsrep_provider_options'").split("\t")[1]
    parsed = dict(part.split("=", 1) for part in options.replace(" ", "").split(";") if part)
    assert parsed["socket.ssl"] == "YES"
    assert parsed["gmcast.listen_addr"].startswith("ssl://")
    shaken = host.run(
        "openssl s_client -connect host.kitchen.test:4567"
        " -CAfile /etc/saltern/pki/ca.crt -verify_return_error </dev/null"
    )
    assert "Verify return code: 0 (ok)" in shaken.stdout


def test_an_account_works_over_tls(host: Host) -> None:
    sql = (
        "CREATE TABLE IF NOT EXISTS t (n INT PRIMARY KEY); REPLACE INTO t VALUES (42);"
        " SELECT n FROM t; SHOW STATUS LIKE 'Ssl_version'"
    )
    answer = host.check_output(f"{CLIENT} {TLS} app -e %s", sql).split()
    assert answer[0] == "42"
    assert answer[-1].startswith("TLSv1.")


def test_an_account_without_tls_is_refused(host: Host) -> None:
    assert host.run(f"{CLIENT} --skip-ssl app -e 'SELECT 1'").rc != 0


def test_an_account_stays_in_its_database(host: Host) -> None:
    assert host.run(f"{CLIENT} {TLS} mysql -e 'SELECT 1'").rc != 0
    assert host.run(f"{CLIENT} {TLS} -e 'CREATE DATABASE other'").rc != 0


def test_there_is_no_account_without_a_password(host: Host) -> None:
    """Accounts of the packages that log in by socket are not reachable from the network."""
    rows = query(
        host,
        "SELECT CONCAT(User, '@', Host) FROM mysql.global_priv"
        " WHERE Host <> 'localhost' AND User <> 'app'",
    )
    assert rows.split() == []
    assert query(host, "SELECT COUNT(*) FROM mysql.user WHERE User = ''") == "0"


def test_no_password_lies_on_the_disk(host: Host) -> None:
    places = "/etc/mysql /etc/systemd /var/lib/mysql /var/log /usr/local"
    found = host.run(f"grep -rls kitchen-password-of-app {places}")
    assert found.stdout == ""


def test_the_check_is_green_while_synced(host: Host) -> None:
    assert becomes(host, "200")


@pytest.fixture
def hung_server(host: Host) -> Iterator[None]:
    host.check_output("systemctl kill --signal=STOP mariadb")
    yield
    host.check_output("systemctl kill --signal=CONT mariadb")
    assert becomes(host, "200")


@pytest.mark.usefixtures("hung_server")
def test_the_check_answers_when_the_server_hangs(host: Host) -> None:
    assert becomes(host, "503")


def test_it_comes_back_after_a_boot(host: Host) -> None:
    for unit in ("mariadb", "galera-clustercheck"):
        assert host.service(unit).is_enabled
        assert host.service(unit).is_running
