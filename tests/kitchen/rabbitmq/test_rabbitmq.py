"""A broker that speaks TLS, keeps messages in quorum queues and knows its accounts."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host


def ctl(host: Host, command: str) -> str:
    return host.check_output(f"rabbitmqctl -q {command}")


def test_it_runs_as_a_cluster_of_one(host: Host) -> None:
    status = json.loads(ctl(host, "cluster_status --formatter json"))
    assert len(status["running_nodes"]) == 1
    assert not status["partitions"]
    assert not status["alarms"]


def test_a_message_goes_through_a_quorum_queue_over_tls(host: Host) -> None:
    """The role's own health check: publishes and reads back, as a client does."""
    said = host.run(
        "salt-call --local --config-dir=/srv/kitchen/etc --out=json rabbitmq_cluster.healthy"
    )
    assert said.rc == 0, said.stdout + said.stderr
    answer = json.loads(said.stdout)["local"]
    assert answer is True or answer["ok"] is True, answer


@pytest.mark.parametrize("port", [5671, 25672])
def test_a_port_speaks_verified_tls(host: Host, port: int) -> None:
    """Members ask each other for a certificate, so the host's own is shown."""
    pki = "/etc/saltern/pki"
    shaken = host.run(
        f"openssl s_client -connect host.kitchen.test:{port} -verify_return_error"
        f" -verify_hostname host.kitchen.test -CAfile {pki}/ca.crt"
        f" -cert {pki}/host.crt -key {pki}/host.key </dev/null"
    )
    assert "Verify return code: 0 (ok)" in shaken.stdout


def test_members_refuse_a_stranger(host: Host) -> None:
    """Without a certificate nobody gets as far as the cookie."""
    shaken = host.run(
        "(sleep 2) | openssl s_client -connect host.kitchen.test:25672"
        " -CAfile /etc/saltern/pki/ca.crt 2>&1"
    )
    assert "alert" in shaken.stdout


def test_no_port_is_plain(host: Host) -> None:
    """4369 is Erlang's port mapper: names and ports, no data."""
    lines = host.check_output("ss -Hlntp | awk '/beam/ {print $4}'").splitlines()
    assert {line.rpartition(":")[2] for line in lines} == {"5671", "25672"}


def test_accounts_are_those_of_the_model(host: Host) -> None:
    users = {
        row["user"]: row["tags"] for row in json.loads(ctl(host, "list_users --formatter json"))
    }
    assert "guest" not in users
    assert users["app"] == []
    permissions = json.loads(ctl(host, "list_user_permissions app --formatter json"))
    assert [row["vhost"] for row in permissions] == ["app"]


def test_a_password_is_checked(host: Host) -> None:
    # from a file: the journal keeps the command lines of those who write to it, and
    # `authenticate_user` of RabbitMQ 4 waits for ever for a password that is no terminal's
    def login(password: str) -> str:
        ask = f'rabbit_access_control:check_user_pass_login(<<"app">>, <<"{password}">>).'
        return str(
            host.check_output(
                f"umask 077; echo '{ask}' >/run/ask; chown rabbitmq /run/ask;"
                " rabbitmqctl -q eval_file /run/ask; rm /run/ask"
            )
        )

    assert login("kitchen-password-of-app").startswith("{ok,")
    assert login("wrong-password").startswith("{refused,")


def test_a_queue_without_a_type_becomes_a_quorum_queue(host: Host) -> None:
    assert "quorum" in ctl(host, "eval 'rabbit_vhost:lookup(<<\"app\">>).'")


def test_no_password_lies_on_the_disk(host: Host) -> None:
    assert host.run("journalctl -q -o json | grep kitchen-password").stdout == ""
    places = "/etc/rabbitmq /etc/systemd /var/lib/rabbitmq /var/log"
    assert host.run(f"grep -rl kitchen-password {places}").stdout == ""


def test_the_cookie_is_guarded(host: Host) -> None:
    cookie = host.file("/var/lib/rabbitmq/.erlang.cookie")
    assert (cookie.user, cookie.mode) == ("rabbitmq", 0o400)


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("rabbitmq-server").is_enabled
    assert host.service("rabbitmq-server").is_running
