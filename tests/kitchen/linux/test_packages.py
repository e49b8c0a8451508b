"""The packages of a host are replaced: what is on hold stays, units follow."""

from __future__ import annotations

from testinfra.host import Host

from tests.support.phases import call, offer_newer
from tests.support.repacked import SUFFIX


def version(host: Host, package: str) -> str:
    return host.check_output(f"dpkg-query -W -f '${{Version}}' {package}")


def test_packages_of_the_host_are_replaced_and_others_stay(host: Host) -> None:
    assert call(host, "package_upgrade.pending") == {}
    assert call(host, "package_upgrade.prefetch").startswith("Nothing to fetch")
    # what the offline repository has and nobody misses
    names = ["pv", "python3-roman"]
    host.check_output(f"apt-get -qq -y install {' '.join(names)}")
    before = {name: version(host, name) for name in names}
    offer_newer(host, names)
    host.check_output("apt-mark hold python3-roman")
    try:
        replaced = {"pv": {"old": before["pv"], "new": before["pv"] + SUFFIX}}
        assert call(host, "package_upgrade.pending") == replaced
        assert call(host, "package_upgrade.install") == replaced
        assert call(host, "package_upgrade.install") == {}
        assert version(host, "python3-roman") == before["python3-roman"]
    finally:
        host.check_output("apt-mark unhold python3-roman")
    assert list(call(host, """package_upgrade.pending '["python3-ro*"]'""")) == ["python3-roman"]


def test_a_unit_that_uses_a_replaced_program_is_restarted(host: Host) -> None:
    """As after a new library: the file that a process runs is another one now."""
    host.check_output("cp /bin/sleep /usr/local/bin/napper")
    host.check_output("systemd-run --quiet --unit=napper /usr/local/bin/napper 3600")
    try:
        assert "napper.service" not in call(host, "host_restart.outdated")
        host.check_output(
            "cp /bin/sleep /usr/local/bin/.new && mv /usr/local/bin/.new /usr/local/bin/napper"
        )
        assert "napper.service" in call(host, "host_restart.outdated")
        assert "napper.service" in call(host, "host_restart.restart")
        assert "napper.service" not in call(host, "host_restart.outdated")
    finally:
        host.check_output("systemctl stop napper; rm -f /usr/local/bin/napper")


def test_a_container_is_not_restarted_for_the_kernel_of_its_machine(host: Host) -> None:
    assert call(host, "host_restart.reasons") == []
    assert call(host, "host_restart.settled")["ok"] is True
    host.check_output("touch /run/reboot-required")
    try:
        assert call(host, "host_restart.reasons") == ["Packages ask for it: nobody says which."]
        assert "Left for later" in call(host, "host_restart.restart never")
        assert call(host, "host_restart.settled")["ok"] is False
    finally:
        host.check_output("rm /run/reboot-required")
