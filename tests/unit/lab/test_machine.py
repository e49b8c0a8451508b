"""What the machine must have, its cgroups and its limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from saltern.lab import preflight, sysctl
from saltern.lab.cgroups import Cgroups

MEMORY = "MemTotal: 99 kB\nMemAvailable: {kib} kB\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> preflight.Machine:
    """A machine that has everything."""
    proc = tmp_path / "proc"
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/net").touch()
    (proc / "filesystems").write_text("nodev\ttmpfs\nnodev\toverlay\n")
    (proc / "meminfo").write_text(MEMORY.format(kib=32 * 1024**2))
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup/cgroup.controllers").touch()
    monkeypatch.setenv("SALTERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path / "state"))
    return preflight.Machine(
        uid=lambda: 0,
        which=lambda name: f"/usr/bin/{name}",
        proc=proc,
        cgroup=tmp_path / "cgroup",
        unshare=lambda: True,
        free=lambda path: 100 * preflight.GIB,
    )


def changed(machine: preflight.Machine, **fields: object) -> preflight.Machine:
    return preflight.Machine(**{**vars(machine), **fields})  # type: ignore[arg-type]


def test_nothing_is_missing(machine: preflight.Machine) -> None:
    assert preflight.machine_problems(7, machine) == []


def test_without_root(machine: preflight.Machine) -> None:
    told = preflight.machine_problems(7, changed(machine, uid=lambda: 1000))
    assert told == ["a lab needs root: run it as root or with sudo"]


def test_missing_programs_come_with_the_command_that_installs_them(
    machine: preflight.Machine,
) -> None:
    gone = {"debootstrap", "systemd-nspawn"}
    which = {"which": lambda name: None if name in gone else name}
    (told,) = preflight.machine_problems(7, changed(machine, **which))
    assert told == (
        "debootstrap, systemd-nspawn not found: "
        "run apt-get install -y debootstrap systemd-container"
    )


def test_memory(machine: preflight.Machine) -> None:
    (machine.proc / "meminfo").write_text(MEMORY.format(kib=4 * 1024**2))
    (told,) = preflight.machine_problems(7, machine)
    assert told.startswith("7 hosts want 8 GiB of memory and 4.0 GiB are available")
    assert preflight.machine_problems(2, machine) == []


def test_disk_is_wanted_for_the_cache_only_until_it_is_there(
    machine: preflight.Machine, tmp_path: Path
) -> None:
    small = changed(machine, free=lambda path: preflight.GIB)
    (told,) = preflight.machine_problems(1, small)
    assert "SALTERN_CACHE" in told
    (tmp_path / "cache").mkdir()
    assert preflight.machine_problems(1, small) == []
    (told,) = preflight.machine_problems(2, small)
    assert "SALTERN_STATE" in told


def test_kernel_features(machine: preflight.Machine) -> None:
    (machine.proc / "filesystems").write_text("nodev\ttmpfs\n")
    (machine.proc / "self/ns/net").unlink()
    (machine.cgroup / "cgroup.controllers").unlink()
    told = " ".join(preflight.machine_problems(1, machine))
    assert "no overlayfs" in told
    assert "no network namespaces" in told
    assert "no systemd cgroup tree" in told


def test_a_container_that_may_not_make_namespaces(machine: preflight.Machine) -> None:
    (told,) = preflight.machine_problems(1, changed(machine, unshare=lambda: False))
    assert told.startswith("this root may not make namespaces")


def test_disks_of_hosts_cannot_lie_on_an_overlay(machine: preflight.Machine) -> None:
    mounts = machine.proc / "self/mounts"
    mounts.write_text("overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n")
    (told,) = preflight.machine_problems(1, machine)
    assert "is on overlay, which cannot hold the hosts' disks: set SALTERN_STATE" in told
    mounts.write_text("overlay / overlay rw 0 0\n/dev/vda /tmp ext4 rw 0 0\n")
    assert preflight.filesystem_of(Path("/tmp/x"), mounts.read_text()) == "ext4"
    assert preflight.filesystem_of(Path("/tmpfoo"), mounts.read_text()) == "overlay"


def group(path: Path, procs: str = "") -> Path:
    path.mkdir(parents=True)
    (path / "cgroup.procs").write_text(procs)
    return path


def test_hybrid_cgroups(tmp_path: Path) -> None:
    for name in ("systemd", "unified", "memory", "cpu"):
        group(tmp_path / name)
    groups = Cgroups(tmp_path)
    assert not groups.unified
    groups.create("sltn-1-a")
    created = {path.parent.name for path in tmp_path.glob("*/sltn-1-a")}
    assert created == {"systemd", "unified", "memory"}
    assert groups.names("sltn-1-") == {"sltn-1-a"}
    (tmp_path / "systemd/sltn-1-a/cgroup.procs").write_text("5\n")
    group(tmp_path / "unified/sltn-1-a/payload", "5\n7\n")
    assert groups.processes("sltn-1-a") == {5, 7}
    (tmp_path / "memory/sltn-1-a/memory.stat").write_text(
        "cache 9\nrss 1\ntotal_cache 999\ntotal_rss 300\ntotal_shmem 20\n"
    )
    assert groups.memory("sltn-1-a") == 320


def test_v2_alone(tmp_path: Path) -> None:
    group(tmp_path / "top")
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "cgroup.procs").touch()
    groups = Cgroups(tmp_path)
    assert groups.unified
    assert groups.create("sltn-1-a") == [tmp_path / "sltn-1-a/cgroup.procs"]
    assert groups.memory("sltn-1-a") is None
    (tmp_path / "sltn-1-a/memory.stat").write_text("anon 100\nfile 999\nshmem 5\n")
    assert groups.memory("sltn-1-a") == 105


def test_removing_a_group_says_when_it_is_still_used(tmp_path: Path) -> None:
    group(tmp_path / "systemd")
    groups = Cgroups(tmp_path)
    groups.create("x")
    assert groups.remove("x")
    # a file stands for a process: rmdir refuses
    group(tmp_path / "systemd/x", "1\n")
    assert not groups.remove("x")
    assert groups.remove("y")


def test_limits_are_raised_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path / "state"))
    files = {key: tmp_path / "sys" / key for key in sysctl.LIMITS}
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("128\n")
    big = files["fs/inotify/max_user_watches"]
    big.write_text("99999999\n")
    assert sysctl.raise_limits(tmp_path / "sys") == {"fs/inotify/max_user_instances": 128}
    assert sysctl.raise_limits(tmp_path / "sys") == {}
    assert files["fs/inotify/max_user_instances"].read_text() == "8192"
    sysctl.restore_limits(tmp_path / "sys")
    assert files["fs/inotify/max_user_instances"].read_text() == "128"
    assert big.read_text() == "99999999\n"
    sysctl.restore_limits(tmp_path / "sys")
