"""Names of processes that outlive them, so that another one can tell whether they are gone."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_PROC = Path("/proc")


def me() -> str:
    """Return the name of this process: ``<pid>@<host>/<boot>/<start>``."""
    return f"{os.getpid()}@{platform.node()}/{_boot()}/{_started(os.getpid()) or 0}"


def alive(name: str) -> bool | None:
    """Tell whether a process still runs.

    :param name: from :func:`me`
    :returns: None when nobody here can know: the name has another form, or is of another host, or
        the process is hidden from this user
    """
    pid, at, rest = name.partition("@")
    parts = rest.rsplit("/", 2)
    if not at or len(parts) != 3 or not pid.isdigit() or parts[0] != platform.node():
        return None
    if parts[1] != _boot():
        return False
    started = _started(int(pid))
    if started is None and _hidden(int(pid)):
        return None
    return started == parts[2]


def named(name: str) -> str:
    """Return a process for people: ``process 4711 on cfg01``; other names as they are."""
    pid, at, rest = name.partition("@")
    parts = rest.rsplit("/", 2)
    if not at or len(parts) != 3 or not pid.isdigit():
        return name
    return f"process {pid} on {parts[0]}"


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _hidden(pid: int) -> bool:
    """Whether there is such a process, of another user, that ``/proc`` does not show."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _started(pid: int) -> str | None:
    """When a process was started, in ticks since the boot; None for no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # the name of the program, in brackets, may hold anything
    state, *fields = text.rpartition(")")[2].split()
    return None if state in ("Z", "X") else fields[18]
