"""The virtual address is where a working HAProxy is, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from testinfra.host import Host

ADDRESS = "192.0.2.10"
#: seconds within which the address must follow HAProxy
FOLLOWS = 15.0


def held(host: Host) -> bool:
    return ADDRESS in host.interface("eth0").addresses


def becomes(host: Host, wanted: bool) -> bool:
    end = time.monotonic() + FOLLOWS
    while time.monotonic() < end:
        if held(host) is wanted:
            return True
        time.sleep(0.2)
    return False


@pytest.fixture
def stopped_haproxy(host: Host) -> Iterator[None]:
    host.check_output("systemctl stop haproxy")
    yield
    host.check_output("systemctl start haproxy")
    assert becomes(host, True)


def test_the_address_is_held(host: Host) -> None:
    assert becomes(host, True)


def test_a_service_answers_at_the_address(host: Host) -> None:
    assert becomes(host, True)
    text = host.check_output("curl -sf --retry 10 --retry-all-errors --retry-delay 1"
                             " https://api.kitchen.test/licences/GPL-3")  # fmt: skip
    assert "GNU GENERAL PUBLIC LICENSE" in text


@pytest.mark.usefixtures("stopped_haproxy")
def test_the_address_is_given_up_without_haproxy(host: Host) -> None:
    assert becomes(host, False)


def test_the_check_has_no_privileges(host: Host) -> None:
    assert host.user("keepalived_script").shell == "/usr/sbin/nologin"
    run = host.run("su -s /bin/sh keepalived_script -c 'cat /etc/keepalived/keepalived.conf'")
    assert run.rc != 0


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("keepalived").is_enabled
    assert host.service("keepalived").is_running
