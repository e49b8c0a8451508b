"""A cgroup per host, on machines with cgroup v1 (hybrid) as on those with v2 alone.

Without a cgroup of its own a host's init would share one with the others and with the shell it
was started from.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
#: v1 hierarchies a host needs: systemd's own tree and, to measure, memory.
V1_HIERARCHIES = ("systemd", "unified", "memory")


@dataclass(frozen=True)
class Cgroups:
    """The cgroups of hosts below ``root``.

    :param root: where cgroups are mounted
    """

    root: Path = ROOT

    @property
    def unified(self) -> bool:
        """Whether the machine has cgroup v2 alone."""
        return (self.root / "cgroup.controllers").is_file()

    def hierarchies(self) -> list[Path]:
        """Return the mounted hierarchies in which a host gets a group."""
        if self.unified:
            return [self.root]
        found = [self.root / name for name in V1_HIERARCHIES]
        return [path for path in found if (path / "cgroup.procs").is_file()]

    def groups(self, name: str) -> list[Path]:
        """Return the directories of host ``name``, whether they exist or not."""
        return [hierarchy / name for hierarchy in self.hierarchies()]

    def create(self, name: str) -> list[Path]:
        """Create the groups of host ``name`` and return their ``cgroup.procs`` files."""
        for group in self.groups(name):
            group.mkdir(exist_ok=True)
        return [group / "cgroup.procs" for group in self.groups(name)]

    def names(self, prefix: str) -> set[str]:
        """Return the names of existing groups that start with ``prefix``."""
        return {
            path.name
            for hierarchy in self.hierarchies()
            for path in hierarchy.glob(f"{prefix}*")
            if path.is_dir()
        }

    def processes(self, name: str) -> set[int]:
        """Return the ids of all processes in host ``name``, its nspawn included."""
        found: set[int] = set()
        for group in self.groups(name):
            for directory, _, _ in os.walk(group):
                with contextlib.suppress(OSError):
                    found |= {
                        int(p) for p in (Path(directory) / "cgroup.procs").read_text().split()
                    }
        return found

    def remove(self, name: str) -> bool:
        """Remove the groups of host ``name``; return False while a process is still in one."""
        gone = True
        for group in self.groups(name):
            for directory, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    continue
                except OSError:
                    gone = False
        return gone

    def memory(self, name: str) -> int | None:
        """Return the bytes of anonymous and shared memory of host ``name``.

        Page cache is not counted: the kernel gives it back. None when the machine has no memory
        controller to ask.
        Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
        """
        place = self.root / name if self.unified else self.root / "memory" / name
        keys = ("anon", "shmem") if self.unified else ("total_rss", "total_shmem")
        try:
            text = (place / "memory.stat").read_text(encoding="ascii")
        except OSError:
            return None
        values = dict(line.split() for line in text.splitlines())
        return sum(int(values.get(key, 0)) for key in keys)
