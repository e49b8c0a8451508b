"""The package is replaced: the new program takes over by a reload, and the port never closes."""

from __future__ import annotations

from testinfra.host import Host

from tests.support.phases import applied, call, changed, offer_newer, upgraded


def pid(host: Host) -> str:
    return host.check_output("systemctl show --value --property=MainPID haproxy")


def test_a_reload_brings_the_new_program(host: Host) -> None:
    for phase in ("prefetch", "install", "start"):
        assert not changed(applied(host, f"haproxy.upgrade.{phase}"))
    offer_newer(host, ["haproxy"])
    before = pid(host)
    found = upgraded(host, ["haproxy.upgrade.prefetch", "haproxy.upgrade.install"])
    assert found["haproxy.upgrade.install"] == {"haproxy-upgrade-install"}
    # no package restarts a daemon: the old program runs on
    assert pid(host) == before
    assert call(host, "package_upgrade.replaced haproxy") is True
    assert not changed(applied(host, "haproxy.proxy"))
    found = upgraded(host, ["haproxy.upgrade.start"])
    assert found["haproxy.upgrade.start"] == {"haproxy-upgrade-start"}
    assert call(host, "package_upgrade.replaced haproxy") is False
    # the master went on under its number, with the new program
    assert pid(host) == before
    assert call(host, "haproxy_admin.running")["ok"] is True
