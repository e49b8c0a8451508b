"""Limits of the machine that many systemd hosts need, raised for labs and put back after."""

from __future__ import annotations

import json
from pathlib import Path

from saltern.lab.paths import state_dir

#: Every host's systemd, journald and dbus take inotify instances of one common pool.
LIMITS = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}
PROC = Path("/proc/sys")


def _record() -> Path:
    return state_dir() / "machine-limits.json"


def raise_limits(proc: Path = PROC) -> dict[str, int]:
    """Raise what is below :data:`LIMITS` and remember the old values; return those changed.

    :param proc: where sysctls are files
    """
    old: dict[str, int] = {}
    for key, wanted in LIMITS.items():
        path = proc / key
        value = int(path.read_text(encoding="ascii"))
        if value < wanted:
            path.write_text(str(wanted), encoding="ascii")
            old[key] = value
    if old:
        record = _record()
        record.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        record.write_text(json.dumps(old | known), encoding="utf-8")
    return old


def restore_limits(proc: Path = PROC) -> None:
    """Put the remembered values back (called when the last lab is down)."""
    record = _record()
    if not record.exists():
        return
    for key, value in json.loads(record.read_text(encoding="utf-8")).items():
        (proc / key).write_text(str(value), encoding="ascii")
    record.unlink()
