"""What this machine must have before a lab is touched: one sentence per missing thing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from saltern.lab.paths import cache_dir, state_dir

#: program -> Debian package that has it
PROGRAMS = {
    "apt-ftparchive": "apt-utils",
    "debootstrap": "debootstrap",
    "git": "git",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "journalctl": "systemd",
    "mount": "mount",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "zstd": "zstd",
}
GIB = 1024**3
#: Free space for images, repository, wheels and artifacts, and per host for its changes.
CACHE_BYTES = 6 * GIB
HOST_BYTES = 1 * GIB
#: Memory for one host of a cluster, and for the machine itself beside them.
HOST_MEMORY = 1 * GIB
MACHINE_MEMORY = 1 * GIB


#: File systems that cannot hold the upper layer of an overlay.
NO_UPPER = ("overlay", "aufs", "nfs", "nfs4", "fuse", "vfat")


def may_unshare() -> bool:
    """Whether this process may make mount and network namespaces; makes two and leaves them."""
    command = ["unshare", "--mount", "--net", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Machine:
    """What is asked about the machine; every field can be replaced in a test."""

    uid: Callable[[], int] = os.geteuid
    which: Callable[[str], str | None] = shutil.which
    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    unshare: Callable[[], bool] = may_unshare
    free: Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)


def nearest_directory(path: Path) -> Path:
    """Return ``path`` or its nearest parent that exists."""
    while not path.is_dir():
        path = path.parent
    return path


def filesystem_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds ``path``.

    :param path: a directory that exists
    :param mounts: text of ``/proc/self/mounts``
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, found, *_ = [*line.split(), "", "", ""]
        if len(point) >= len(best) and path.is_relative_to(point):
            best, kind = point, found
    return kind


def available_memory(meminfo: str) -> int:
    """Return ``MemAvailable`` of a ``/proc/meminfo`` text in bytes, 0 when it is not there."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def machine_problems(hosts: int, machine: Machine | None = None) -> list[str]:
    """Return one sentence, with its cure, per thing that a lab of ``hosts`` hosts misses here.

    :param hosts: how many hosts are to run
    :param machine: what to ask; the real one when None
    """
    machine = machine or Machine()
    problems: list[str] = []
    if machine.uid() != 0:
        problems.append("a lab needs root: run it as root or with sudo")
    missing = {program: pkg for program, pkg in PROGRAMS.items() if not machine.which(program)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        problems.append(
            f"{', '.join(sorted(missing))} not found: run apt-get install -y {packages}"
        )
    filesystems = machine.proc / "filesystems"
    known = filesystems.read_text(encoding="ascii").split() if filesystems.is_file() else []
    if "overlay" not in known and not _loadable(machine, "overlay"):
        problems.append("the kernel has no overlayfs: load it with modprobe overlay")
    if not (machine.proc / "self/ns/net").exists():
        problems.append("the kernel has no network namespaces: use one with CONFIG_NET_NS")
    if not (
        (machine.cgroup / "cgroup.controllers").exists() or (machine.cgroup / "systemd").is_dir()
    ):
        problems.append(
            f"no systemd cgroup tree is mounted at {machine.cgroup}: mount cgroup2 there"
        )
    if not missing and machine.uid() == 0 and not machine.unshare():
        problems.append(
            "this root may not make namespaces: use a machine, or a privileged container"
        )
    mounts = machine.proc / "self/mounts"
    if mounts.is_file():
        kind = filesystem_of(
            nearest_directory(state_dir()).resolve(), mounts.read_text(encoding="utf-8")
        )
        if kind in NO_UPPER:
            problems.append(
                f"{state_dir()} is on {kind}, which cannot hold the hosts' disks: "
                "set SALTERN_STATE to a directory on a local disk"
            )
    problems += _space_problems(hosts, machine)
    meminfo = machine.proc / "meminfo"
    if meminfo.is_file():
        wanted = hosts * HOST_MEMORY + MACHINE_MEMORY
        have = available_memory(meminfo.read_text(encoding="ascii"))
        if have < wanted:
            problems.append(
                f"{hosts} hosts want {wanted / GIB:.0f} GiB of memory and {have / GIB:.1f} GiB are "
                "available: stop other work or use a smaller cluster"
            )
    return problems


def _loadable(machine: Machine, module: str) -> bool:
    release = os.uname().release
    listed = Path("/lib/modules") / release / "modules.dep"
    return listed.is_file() and f"/{module}.ko" in listed.read_text(encoding="utf-8")


def _space_problems(hosts: int, machine: Machine) -> list[str]:
    problems = []
    for path, wanted, name in (
        (cache_dir(), 0 if cache_dir().is_dir() else CACHE_BYTES, "SALTERN_CACHE"),
        (state_dir(), hosts * HOST_BYTES, "SALTERN_STATE"),
    ):
        have = machine.free(nearest_directory(path))
        if have < wanted:
            problems.append(
                f"{path} has {have / GIB:.1f} GiB free and wants {wanted / GIB:.0f} GiB: "
                f"make room or set {name} to a larger disk"
            )
    return problems
