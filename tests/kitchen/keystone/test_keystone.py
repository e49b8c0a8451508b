"""Keystone issues tokens behind TLS, keeps its keys to itself, and says no."""

from __future__ import annotations

from testinfra.host import Host

from tests.support.keystone import URL, Client, credentials, login


def test_a_token_is_issued_and_accepted(host: Host) -> None:
    admin = login(host)
    check = admin.request("GET", f"{URL}/auth/tokens", headers={"X-Subject-Token": admin.token})
    assert check.status == 200
    assert check.data["token"]["user"]["name"] == "admin"


def test_the_endpoints_are_in_the_catalogue(host: Host) -> None:
    catalogue = login(host).ok("GET", f"{URL}/auth/catalog")["catalog"]
    identity = [service for service in catalogue if service["type"] == "identity"]
    urls = {entry["url"].rstrip("/") for service in identity for entry in service["endpoints"]}
    assert urls == {URL}


def test_a_revoked_token_is_refused(host: Host) -> None:
    admin, other = login(host), login(host)
    subject = {"X-Subject-Token": other.token}
    assert admin.request("DELETE", f"{URL}/auth/tokens", headers=subject).status == 204
    assert other.request("GET", f"{URL}/projects").status == 401


def test_a_wrong_password_is_refused(host: Host) -> None:
    body = credentials("admin", "not-the-password", "admin")
    assert Client(host).request("POST", f"{URL}/auth/tokens", body).status == 401


def test_a_made_up_token_is_refused(host: Host) -> None:
    assert Client(host, "gAAAAABmade-up").request("GET", f"{URL}/projects").status == 401


def test_projects_and_users_come_and_go(host: Host) -> None:
    admin = login(host)
    project = admin.ok("POST", f"{URL}/projects", {"project": {"name": "kitchen-trial"}})
    place = f"{URL}/projects/{project['project']['id']}"
    assert admin.ok("GET", place)["project"]["name"] == "kitchen-trial"
    admin.ok("DELETE", place)
    assert admin.request("GET", place).status == 404


def test_the_health_check_answers(host: Host) -> None:
    assert Client(host).request("GET", URL.replace("/v3", "/healthcheck")).status == 200


def test_tokens_are_cached_over_tls(host: Host) -> None:
    """Through the tunnel: memcached has no plain port, and it holds something now."""
    login(host).ok("GET", f"{URL}/projects")
    assert host.service("keystone-cache").is_running
    stats = host.check_output(
        "printf 'stats\\r\\nquit\\r\\n' | openssl s_client -quiet -connect host.kitchen.test:11211"
        " -CAfile /etc/saltern/pki/ca.crt 2>/dev/null"
    )
    stored = dict(line.split()[1:3] for line in stats.splitlines() if line.startswith("STAT "))
    assert int(stored["cmd_set"]) > 0


def test_keys_are_for_keystone_alone(host: Host) -> None:
    for repository in ("fernet-keys", "credential-keys"):
        folder = host.file(f"/etc/keystone/{repository}")
        assert (folder.user, folder.mode) == ("keystone", 0o700)
        for name in folder.listdir():
            key = host.file(f"/etc/keystone/{repository}/{name}")
            assert (key.user, key.mode) == ("keystone", 0o600)
    config = host.file("/etc/keystone/keystone.conf")
    assert (config.user, config.group, config.mode) == ("root", "keystone", 0o640)


def test_the_database_connection_is_encrypted(host: Host) -> None:
    login(host)
    sql = (
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'keystone'"
        " UNION ALL SELECT COUNT(*) FROM mysql.global_priv WHERE USER = 'keystone'"
        " AND JSON_VALUE(Priv, '$.ssl_type') = 1"
    )
    connections, required = host.check_output("mariadb -N -B -e %s", sql).split()
    assert int(connections) > 0
    assert int(required) == 1


def test_it_comes_back_after_a_boot(host: Host) -> None:
    for unit in ("keystone-api", "keystone-cache", "nginx"):
        assert host.service(unit).is_enabled
        assert host.service(unit).is_running
