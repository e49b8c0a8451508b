"""The hosts themselves: isolation, power cuts, and that nothing stays behind.

Small labs of their own; the cluster of the other tests is not touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern.errors import LabError, PreflightError
from saltern.lab import names
from saltern.lab.cgroups import Cgroups
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.provider import Bind, HostSpec, Link
from tests.support.cluster import eventually
from tests.support.hosts import why_no_hosts

HOSTS = ("one", "two")


def specs(*binds: Bind) -> list[HostSpec]:
    return [
        HostSpec(
            name,
            f"{name}.hosts.test",
            f"10.77.7.{number}",
            binds=binds,
            links=(Link("eth1", "tenant", f"10.77.6.{number}/24"), Link("eth2", "provider")),
        )
        for number, name in enumerate(HOSTS, start=1)
    ]


def locks() -> set[str]:
    """Lock files that nspawn keeps per directory; they carry no name."""
    return {str(path) for path in Path("/run/systemd/nspawn/locks").glob("inode-*")}


LOCKS_BEFORE = locks()


def traces(lab: str) -> list[str]:
    """Everything on the machine that carries the lab's name."""
    tag = names.lab_tag(lab)
    found = [f"netns {path.name}" for path in Path("/run/netns").glob(f"{tag}-*")]
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    found += [f"mount {line}" for line in mounts.splitlines() if tag in line]
    found += [f"cgroup {name}" for name in Cgroups().names(f"{tag}-")]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"--machine={tag}" in command:
            found.append(f"process {command}")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    found += [f"link {line}" for line in links.stdout.splitlines() if tag in line]
    found += [str(path) for path in Path("/run/systemd/nspawn").glob(f"*/{tag}-*")]
    found += sorted(locks() - LOCKS_BEFORE)
    if NspawnProvider(lab).directory.exists():
        found.append(str(NspawnProvider(lab).directory))
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[NspawnProvider]:
    """Two hosts."""
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    provider = NspawnProvider("hosts-test")
    provider.down()
    try:
        provider.up(specs())
        yield provider
    finally:
        provider.down()


def ping(lab: NspawnProvider, source: str, target: str) -> bool:
    argv = ["ping", "-c", "1", "-W", "2", target]
    return lab.exec(source, argv, check=False).returncode == 0


def test_hosts_boot_whole_and_know_each_other(lab: NspawnProvider) -> None:
    assert [host.state for host in lab.status()] == ["running", "running"]
    assert ping(lab, "one", "two")
    assert ping(lab, "two", "one.hosts.test")
    assert lab.exec("one", ["hostname"]).stdout == "one\n"
    ids = {lab.exec(name, ["cat", "/etc/machine-id"]).stdout for name in HOSTS}
    assert len(ids) == 2


def test_hosts_have_no_route_out(lab: NspawnProvider) -> None:
    assert lab.exec("one", ["ip", "route", "show", "default"]).stdout == ""
    assert not ping(lab, "one", "192.0.2.1")


def test_the_machine_gets_no_interface_and_no_address(lab: NspawnProvider) -> None:
    links = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    assert "10.77.7." not in links
    assert "10.77.6." not in links
    assert names.BRIDGE not in links


def test_further_networks_are_networks_of_their_own(lab: NspawnProvider) -> None:
    assert ping(lab, "one", "10.77.6.2")
    # what uses a card without an address gives it one
    for number, name in enumerate(HOSTS, start=1):
        lab.exec(name, ["ip", "addr", "add", f"10.77.5.{number}/24", "dev", "eth2"])
    assert ping(lab, "two", "10.77.5.1")
    # the other networks do not stand in for one that is cut
    lab.exec("two", ["ip", "link", "set", "eth1", "down"])
    assert not ping(lab, "one", "10.77.6.2")
    assert ping(lab, "one", "10.77.5.2")
    lab.exec("two", ["ip", "link", "set", "eth1", "up"])


def test_up_again_changes_nothing(lab: NspawnProvider) -> None:
    before = [lab.leader(name) for name in HOSTS]
    assert lab.up(specs()) == []
    assert [lab.leader(name) for name in HOSTS] == before


def test_a_host_that_restarts_itself_comes_back(lab: NspawnProvider) -> None:
    before = lab.leader("one")
    lab.exec("one", ["touch", "/root/kept", "/run/lost"])
    lab.exec("one", ["systemctl", "reboot"], check=False)
    assert eventually(lambda: lab.leader("one") not in (0, before), 60)
    # its address answers before it is there: the network outlives a restart
    assert eventually(lambda: [host.state for host in lab.status()] == ["running", "running"], 60)
    assert ping(lab, "two", "one")
    assert lab.exec("one", ["ls", "/root/kept", "/run/lost"], check=False).stdout == "/root/kept\n"


def test_a_power_cut_keeps_the_disk_and_nothing_else(lab: NspawnProvider) -> None:
    lab.exec("one", ["sh", "-c", "echo kept > /var/tmp/disk; echo gone > /run/memory"])
    lab.exec("one", ["systemd-run", "-q", "--unit=work", "sleep", "600"])
    lab.stop("one", hard=True)
    states = {host.name: host.state for host in lab.status()}
    assert states == {"one": "stopped", "two": "running"}
    with pytest.raises(LabError, match=r"host one is stopped\. Start it with"):
        lab.exec("one", ["true"])
    assert "work.service" in lab.journal("one", lines=200)
    lab.start("one")
    assert lab.exec("one", ["cat", "/var/tmp/disk"]).stdout == "kept\n"
    assert lab.exec("one", ["test", "-e", "/run/memory"], check=False).returncode == 1
    assert ping(lab, "two", "one")


def test_an_orderly_stop_lets_services_finish(lab: NspawnProvider) -> None:
    unit = (
        "[Service]\nExecStart=/bin/sleep infinity\nExecStopPost=/bin/sh -c 'date >/var/tmp/end'\n"
    )
    lab.exec("two", ["tee", "/etc/systemd/system/last.service"], input=unit)
    lab.exec("two", ["systemctl", "start", "last"])
    lab.stop("two")
    lab.start("two")
    assert lab.exec("two", ["test", "-s", "/var/tmp/end"], check=False).returncode == 0


def test_a_failed_program_names_host_and_next_command(lab: NspawnProvider) -> None:
    with pytest.raises(LabError) as caught:
        lab.exec("one", ["sh", "-c", "echo no space left >&2; exit 3"])
    told = str(caught.value)
    assert "host one" in told
    assert "exit code 3" in told
    assert "no space left" in told
    assert "saltern lab exec --lab hosts-test one" in told


def test_memory_is_measured(lab: NspawnProvider) -> None:
    before = lab.memory("one")
    assert 1 << 20 < before < 1 << 30
    hold = "head -c 64M /dev/zero | tail -c 64M | sleep 30"
    lab.exec("one", ["systemd-run", "-q", "sh", "-c", hold])
    grown = subprocess.run(["sleep", "2"], check=True) and lab.memory("one")
    assert grown > before + (32 << 20)


def test_two_labs_with_one_subnet_do_not_meet(lab: NspawnProvider) -> None:
    other = NspawnProvider("hosts-test-2")
    try:
        other.up([HostSpec("three", "three.hosts.test", "10.77.7.1")])
        # 10.77.7.2 is `two` of the first lab; here nobody has it
        assert not ping(other, "three", "10.77.7.2")
        other.down()
        assert ping(lab, "one", "two")
    finally:
        other.down()
    assert traces("hosts-test-2") == []


def test_a_host_leaves_without_a_trace_and_the_others_stay(lab: NspawnProvider) -> None:
    third = HostSpec("three", "three.hosts.test", "10.77.7.3", links=(Link("eth1", "storage"),))
    before = {name: lab.leader(name) for name in HOSTS}
    assert lab.up([*specs(), third]) == ["three"]
    assert ping(lab, "one", "10.77.7.3")
    key = lab.directory / "pki/three.hosts.test.pem"
    key.parent.mkdir(exist_ok=True)
    key.touch()
    lab.remove("three")
    assert [trace for trace in traces("hosts-test") if "three" in trace] == []
    assert not (lab.directory / "hosts/three").exists()
    assert not key.exists()
    assert sorted(lab.specs()) == sorted(HOSTS)
    assert {name: lab.leader(name) for name in HOSTS} == before
    with pytest.raises(LabError, match="no host 'three'"):
        lab.remove("three")
    # its name and its address are free for another one
    assert lab.up([*specs(), third]) == ["three"]
    lab.remove("three")


def test_an_address_twice_is_refused_before_anything_is_touched() -> None:
    if why_no_hosts():
        pytest.skip(why_no_hosts())
    other = NspawnProvider("hosts-test-3")
    twice = [HostSpec("a", "a.x", "10.77.8.1"), HostSpec("b", "b.x", "10.77.8.1")]
    with pytest.raises(PreflightError, match="a and b have the same address"):
        other.up(twice)
    assert traces("hosts-test-3") == []


def test_down_after_a_crash_leaves_nothing() -> None:
    """The supervisor is gone, the record is damaged, a mount was left: found by name alone."""
    if why_no_hosts():
        pytest.skip(why_no_hosts())
    lab = NspawnProvider("hosts-test-4")
    lab.up(specs())
    supervisor = int((lab.directory / "hosts/one/nspawn.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    (lab.directory / "lab.json").write_text("{ not json")
    (lab.directory / "hosts/two/nspawn.pid").unlink()
    assert traces("hosts-test-4")
    NspawnProvider("hosts-test-4").down()
    assert traces("hosts-test-4") == []
    NspawnProvider("hosts-test-4").down()
