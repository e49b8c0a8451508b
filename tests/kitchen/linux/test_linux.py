"""A managed host: names, trust, and packages that start nothing by themselves."""

from __future__ import annotations

from testinfra.host import Host


def test_names_of_the_model_resolve_without_dns(host: Host) -> None:
    address = host.run("getent ahostsv4 api.kitchen.test").stdout.split()[0]
    assert address == "192.0.2.10"
    own = host.run("getent ahostsv4 host.kitchen.test").stdout.split()[0]
    assert own == host.interface("eth0").addresses[0]


def test_a_package_may_not_start_a_daemon(host: Host) -> None:
    """What invoke-rc.d asks: 101 means forbidden."""
    assert host.run("/usr/sbin/policy-rc.d cron start").rc == 101
    assert host.file("/usr/sbin/policy-rc.d").mode == 0o755


def test_kernel_settings_are_applied_and_kept(host: Host) -> None:
    assert host.sysctl("net.ipv4.tcp_keepalive_time") == 300
    assert (
        "net.ipv4.tcp_keepalive_time = 300"
        in host.file("/etc/sysctl.d/90-saltern.conf").content_string
    )


def test_package_sources_are_usable(host: Host) -> None:
    update = host.run("apt-get -q update")
    assert update.rc == 0
    assert "\nE: " not in update.stderr
    assert host.run("apt-cache policy openssl").stdout.count("Candidate: (none)") == 0
