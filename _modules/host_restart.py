"""
What is left to restart on this host after its packages were replaced
=====================================================================

The host itself, where the kernel that runs is not the newest one that is installed, or where a
package asked for it (``/run/reboot-required``). Else the units that still use files which were
replaced, libraries above all.

:depends: systemd
"""

import glob
import os
import re
import subprocess

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "host_restart"

_BOOT = "/boot"
_PROC = "/proc"
_REQUIRED = "/run/reboot-required"
_CONTAINER = "/run/systemd/container"
#: in memory, so that a restarted host does not have it; the same as in a reboot's plan
_MARK = "/run/saltern-reboot"
_WHEN = ("needed", "always", "never")
#: a host is not told to restart these: the rollout goes through the first, people and guests are in
#: the others
_LEFT = re.compile(r"^(salt-|systemd-logind|dbus|getty@|serial-getty@|user@|sshd?[@.]|machine-)")
_UNIT = re.compile(r"/([^/]+\.service)(?:/|$)")


def __virtual__():
    return __virtualname__


def reasons():
    """
    Say why this host has to be restarted; empty: it need not be.

    A container's kernel is that of its machine, and no reason.

    CLI Example:

    .. code-block:: bash

        salt '*' host_restart.reasons
    """
    found = []
    runs, newest = os.uname().release, _newest()
    if newest and not os.path.exists(_CONTAINER):
        if newest != runs:
            found.append(f"The kernel {runs} runs, and {newest} is installed.")
        elif os.stat(f"{_BOOT}/vmlinuz-{runs}").st_ctime > _booted():
            found.append(f"The kernel {runs} was replaced since the host was started.")
    if os.path.exists(_REQUIRED):
        found.append(f"Packages ask for it: {_asking()}.")
    return found


def outdated():
    """
    List the units of this host that use files which were replaced since they were started.

    Guests, sessions of people, and what the rollout itself goes through are left out.

    CLI Example:

    .. code-block:: bash

        salt '*' host_restart.outdated
    """
    units = set()
    for maps in glob.glob(f"{_PROC}/[0-9]*/maps"):
        directory = os.path.dirname(maps)
        try:
            with open(maps, encoding="utf-8", errors="replace") as file:
                if not any(_replaced(line) for line in file):
                    continue
            with open(f"{directory}/cgroup", encoding="utf-8") as file:
                found = _UNIT.search(file.read().strip())
        except OSError:
            continue  # it ended meanwhile
        if found and not _LEFT.match(found[1]):
            units.add(found[1])
    return sorted(units)


def restart(when="needed"):
    """
    Restart this host within a minute where it needs that, else the units that do.

    when
        ``needed``, ``always`` or ``never``: only the units then

    Returns a sentence. Raises CommandExecutionError when a unit does not come back, or systemd
    refuses. May be called again: a host that was restarted meanwhile has no reason any more.

    CLI Example:

    .. code-block:: bash

        salt cmp001.example.test host_restart.restart
    """
    if when not in _WHEN:
        raise SaltInvocationError(f"{when!r} is not one of {', '.join(_WHEN)}")
    why = reasons()
    if os.path.exists(_MARK):
        return "This host restarts already."
    if when == "always" or (when == "needed" and why):
        with open(_MARK, "w", encoding="utf-8"):
            pass
        # in a minute: the answer is out before the minion ends
        _systemd("shutdown", "-r", "+1")
        return f"This host restarts. {' '.join(why) or 'It was asked for.'}"
    units = outdated()
    if units:
        # PID 1 may use them, too
        _systemd("systemctl", "daemon-reexec")
        _systemd("systemctl", "try-restart", *units)
    told = f"Restarted {', '.join(units)}." if units else "No unit uses a file that was replaced."
    return f"{told} Left for later: {' '.join(why)}" if why else told


def settled(when="needed"):
    """
    Check that nothing is left to restart: the host came back with its newest kernel.

    when
        As :py:func:`restart` was told: with ``never`` only a restart that is under way matters

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt cmp001.example.test host_restart.settled
    """
    if os.path.exists(_MARK):
        return {"ok": False, "sentence": "This host has not restarted yet."}
    why = reasons()
    if why and when != "never":
        told = " ".join(why)
        return {"ok": False, "sentence": f"It was restarted, and has to be again. {told}"}
    return {"ok": True, "sentence": " ".join(why) or "Nothing has to be restarted."}


def _newest():
    """Release of the newest kernel that is installed, empty without any."""
    names = [os.path.basename(p).partition("-")[2] for p in glob.glob(f"{_BOOT}/vmlinuz-*")]
    return max(names, key=_order, default="")


def _order(release):
    """Sort kernels as their packages are sorted: numbers as numbers."""
    return [
        (1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.findall(r"\d+|[a-z]+", release)
    ]


def _booted():
    """When the host was started, in seconds since the epoch."""
    with open(f"{_PROC}/stat", encoding="utf-8") as file:
        for line in file:
            if line.startswith("btime "):
                return int(line.split()[1])
    raise CommandExecutionError("The kernel does not tell when it was started.")


def _asking():
    try:
        with open(f"{_REQUIRED}.pkgs", encoding="utf-8") as file:
            return ", ".join(sorted({line.strip() for line in file} - {""})) or "nobody says which"
    except OSError:
        return "nobody says which"


def _replaced(line):
    """Whether a line of a process's maps is a file of a package that is there no more."""
    parts = line.rstrip("\n").split(None, 5)
    if len(parts) < 6 or not parts[5].endswith(" (deleted)") or "x" not in parts[1]:
        return False
    return parts[5].startswith(("/usr/", "/lib", "/bin/", "/sbin/"))


def _systemd(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(f"{command[0]}: {err}") from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[:300]
        raise CommandExecutionError(f"{' '.join(command)}: {reason or 'failed'}")
