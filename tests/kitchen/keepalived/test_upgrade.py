"""The address leaves a host that is taken out of service, while keepalived and HAProxy run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.kitchen.keepalived.test_keepalived import becomes
from tests.support.phases import applied, call, changed, offer_newer, upgraded

MARK = "/run/saltern-keepalived-away"


@pytest.fixture
def away(host: Host) -> Iterator[None]:
    """Taken out of service as `keepalived_vrrp.away` does where another host could take over."""
    assert becomes(host, True)
    host.check_output(f"touch {MARK}")
    yield
    host.check_output(f"rm -f {MARK}")
    assert becomes(host, True)


def test_a_host_that_is_alone_keeps_the_address(host: Host) -> None:
    assert "no other host could hold it" in call(host, "keepalived_vrrp.away")
    assert not host.file(MARK).exists


@pytest.mark.usefixtures("away")
def test_the_address_leaves_while_both_daemons_run(host: Host) -> None:
    assert becomes(host, False)
    assert host.service("keepalived").is_running
    assert host.service("haproxy").is_running
    # a restart with a new program does not bring it back
    host.check_output("systemctl restart keepalived")
    assert not becomes(host, True)
    assert call(host, "keepalived_vrrp.back") == "This host may hold the virtual address again."
    assert becomes(host, True)
    assert call(host, "keepalived_vrrp.back") == "This host was not taken out."


def test_keepalived_runs_the_new_program(host: Host) -> None:
    offer_newer(host, ["keepalived"])
    phases = [f"keepalived.upgrade.{one}" for one in ("prefetch", "install", "start")]
    found = upgraded(host, phases)
    assert found["keepalived.upgrade.install"] == {"keepalived-upgrade-install"}
    assert found["keepalived.upgrade.start"] == {"keepalived-upgrade-start"}
    assert call(host, "package_upgrade.replaced keepalived") is False
    assert not changed(applied(host, "keepalived.vrrp"))
    assert becomes(host, True)
