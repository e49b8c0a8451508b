"""nginx answers over TLS with the host's certificate, and only what a site says."""

from __future__ import annotations

import pytest
from testinfra.host import Host

URL = "https://host.kitchen.test"
LICENCE = "GNU GENERAL PUBLIC LICENSE"


def status(host: Host, url: str, options: str = "") -> str:
    """HTTP status of a request that verifies TLS against the system's trust store."""
    return host.run(f"curl -s -o /dev/null -w %{{http_code}} {options} {url}").stdout


def test_a_file_is_served(host: Host) -> None:
    assert LICENCE in host.check_output(f"curl -sf {URL}/licences/GPL-3")


def test_a_proxied_site_is_served(host: Host) -> None:
    """Its upstream is TLS too, verified against the internal authority."""
    assert LICENCE in host.check_output(f"curl -sf {URL}:8443/licences/GPL-3")


@pytest.mark.parametrize("path", ["/", "/licences/", "/licences/../passwd", "/etc/passwd"])
def test_nothing_else_is_served(host: Host, path: str) -> None:
    assert status(host, f"{URL}{path}", "--path-as-is")[0] == "4"


def test_a_static_site_can_only_be_read(host: Host) -> None:
    assert status(host, f"{URL}/licences/GPL-3", "-X DELETE") in ("403", "405")


def test_plain_text_is_refused(host: Host) -> None:
    assert status(host, "http://host.kitchen.test:443/licences/GPL-3") == "400"


@pytest.mark.parametrize(("version", "accepted"), [("tls1_1", False), ("tls1_2", True)])
def test_old_protocols_are_refused(host: Host, version: str, accepted: bool) -> None:
    shaken = host.run(
        f"openssl s_client -{version} -cipher DEFAULT@SECLEVEL=0"
        " -connect host.kitchen.test:443 </dev/null"
    )
    assert (shaken.rc == 0) is accepted


def test_it_listens_on_the_host_address_alone(host: Host) -> None:
    """A wildcard would take the ports of a virtual address on the same host."""
    address = host.interface("eth0").addresses[0]
    listening = host.socket.get_listening_sockets()
    ours = {s for s in listening if s.rpartition(":")[2] in ("443", "8443")}
    assert ours == {f"tcp://{address}:443", f"tcp://{address}:8443"}


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("nginx").is_enabled
    assert host.service("nginx").is_running
