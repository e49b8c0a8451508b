"""What a host gets before its first boot on an image: its repository, a Salt that starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from saltern.lab.repo import source_line


def use_offline_repo(suite: str, root: Path) -> None:
    """Make the offline repository the only apt source of a new host.

    :param suite: suite of its image
    :param root: its root file system
    """
    (root / "etc/apt/sources.list").write_text(source_line(suite), encoding="utf-8")
    shutil.rmtree(root / "etc/apt/sources.list.d", ignore_errors=True)
    (root / "etc/apt/sources.list.d").mkdir()


def enable_minion(root: Path) -> None:
    """Have the minion of a host start at boot."""
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / "salt-minion.service"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/systemd/system/salt-minion.service")
