"""The packages of a member are replaced: it leaves in order, comes back, and its tables follow."""

from __future__ import annotations

from testinfra.host import Host

from tests.support.phases import applied, call, changed, offer_newer, upgraded
from tests.support.repacked import SUFFIX

PACKAGES = ["mariadb-server", "mariadb-server-core", "mariadb-backup", "galera-4"]


def version(host: Host, package: str) -> str:
    return host.check_output(f"dpkg-query -W -f '${{Version}}' {package}")


def test_nothing_is_to_be_done_without_a_newer_version(host: Host) -> None:
    for phase in ("prefetch", "check", "install", "migrate"):
        assert not changed(applied(host, f"galera.upgrade.{phase}"))


def test_a_member_may_go_while_nobody_copies(host: Host) -> None:
    assert call(host, "galera_upkeep.quiet")["ok"] is True
    assert call(host, "galera_upkeep.cache_holds")["ok"] is True
    # what holds for a quarter of an hour need not hold for a hundred years
    host.check_output("mariadb -e 'CREATE TABLE app.late (a INT PRIMARY KEY); DROP TABLE app.late'")
    told = call(host, "galera_upkeep.cache_holds seconds=3153600000")
    assert told["ok"] is False
    assert "Raise galera:server:gcache" in told["sentence"]


def test_a_backup_is_not_disturbed(host: Host) -> None:
    """Something of that name runs: what it reads is not looked at."""
    host.check_output("cp /bin/sleep /tmp/mariadb-backup")
    host.check_output("systemd-run --quiet --unit=fake-backup /tmp/mariadb-backup 60")
    try:
        told = call(host, "galera_upkeep.quiet")
        assert told == {
            "ok": False,
            "sentence": "mariadb-backup runs on this member: wait until it is done.",
        }
    finally:
        host.check_output("systemctl stop fake-backup; rm /tmp/mariadb-backup")


def test_the_packages_of_a_stopped_member_are_replaced(host: Host) -> None:
    host.check_output("mariadb -e 'CREATE TABLE app.kept (a INT PRIMARY KEY)'")
    host.check_output("mariadb -e 'INSERT INTO app.kept VALUES (7)'")
    offer_newer(host, PACKAGES)
    before = {name: version(host, name) for name in PACKAGES}
    states = applied(host, "galera.upgrade.install", test=True)
    assert changed(states) == {"galera-upgrade-install"}
    phases = [f"galera.upgrade.{one}" for one in ("prefetch", "check", "stop", "install")]
    found = upgraded(host, phases)
    assert found["galera.upgrade.stop"] == {"galera-upgrade-stop"}
    assert found["galera.upgrade.install"] == {"galera-upgrade-install"}
    assert {name: version(host, name) for name in PACKAGES} == {
        name: told + SUFFIX for name, told in before.items()
    }
    # no package starts a daemon
    assert not host.service("mariadb").is_running
    assert "galera-server-running" in changed(applied(host, "galera.server"))
    applied(host, "galera.upgrade.migrate")
    assert not changed(applied(host, "galera.upgrade.migrate"))
    assert host.check_output("mariadb -BN -e 'SELECT a FROM app.kept'") == "7"
    assert call(host, "galera_cluster.healthy")["ok"] is True
    assert "The members agreed on protocol" in call(host, "galera_upkeep.finalize")
    assert not changed(applied(host, "galera.server"))


def test_tables_of_an_earlier_version_are_upgraded(host: Host) -> None:
    """As after a hop: the note of the last upgrade names an earlier series."""
    note = host.check_output("ls /var/lib/mysql | grep upgrade_info").split()[0]
    host.check_output(f"printf 10.6.1-MariaDB >/var/lib/mysql/{note}")
    assert call(host, "galera_upkeep.outdated") is True
    found = upgraded(host, ["galera.upgrade.migrate"])
    assert found["galera.upgrade.migrate"] == {"galera-upgrade-migrate"}
    assert call(host, "galera_upkeep.outdated") is False
