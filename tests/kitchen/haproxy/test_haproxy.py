"""HAProxy in front of a real TLS server: health decides, certificates are verified."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from testinfra.host import Host

FRONT = "https://host.kitchen.test:9443/licences/GPL-3"
#: seconds within which a stopped or started server must be noticed
NOTICED = 10.0


def status(host: Host, url: str) -> str:
    """HTTP status of a request that verifies TLS against the system's trust store."""
    return host.run(f"curl -s -o /dev/null -w %{{http_code}} {url}").stdout


def becomes(host: Host, url: str, wanted: str) -> bool:
    """Whether the status becomes ``wanted`` in time."""
    end = time.monotonic() + NOTICED
    while time.monotonic() < end:
        if status(host, url) == wanted:
            return True
        time.sleep(0.2)
    return False


@pytest.fixture
def stopped_server(host: Host) -> Iterator[None]:
    host.check_output("systemctl stop nginx")
    yield
    host.check_output("systemctl start nginx")
    assert becomes(host, FRONT, "200")


def test_it_answers_from_the_back_end(host: Host) -> None:
    assert becomes(host, FRONT, "200")
    assert "GNU GENERAL PUBLIC LICENSE" in host.check_output(f"curl -sf {FRONT}")


@pytest.mark.usefixtures("stopped_server")
def test_a_server_that_went_down_is_noticed(host: Host) -> None:
    assert becomes(host, FRONT, "503")


def test_a_back_end_with_the_wrong_name_is_never_used(host: Host) -> None:
    """It is healthy on its port; its certificate says that it is somebody else."""
    assert becomes(host, FRONT, "200")
    assert status(host, FRONT.replace("9443", "9444")) == "503"


def test_plain_text_is_refused(host: Host) -> None:
    assert status(host, FRONT.replace("https", "http")) == "000"


def test_the_admin_socket_is_for_operators(host: Host) -> None:
    socket = host.file("/run/haproxy/admin.sock")
    assert socket.is_socket
    assert (socket.user, socket.mode) == ("root", 0o660)


def test_it_listens_on_nothing_else(host: Host) -> None:
    ports = host.check_output("ss -Hltnp | awk '/haproxy/ {print $4}'").split()
    assert {port.rpartition(":")[2] for port in ports} == {"9443", "9444"}


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("haproxy").is_enabled
    assert host.service("haproxy").is_running
