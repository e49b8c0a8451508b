"""Tell whether files are newer than the process of a unit that has read them.

A cluster member must not restart just because its configuration file changed: its neighbours
may be restarting for the same reason. So the states of clustered roles only write files, and the
rollout restarts, one after the other, the members that this module names.
"""

from __future__ import annotations

import os
import subprocess
import time


def started(unit):
    """Return when the main process of ``unit`` was started, in seconds since the epoch.

    :param unit: name of a systemd unit
    :returns: a float; None when it has no running main process

    CLI Example:

    .. code-block:: bash

        salt '*' unit_age.started mariadb
    """
    shown = subprocess.run(
        ["systemctl", "show", unit, "--property=MainPID,ExecMainStartTimestampMonotonic"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if values.get("MainPID", "0") == "0":
        return None
    since_boot = int(values["ExecMainStartTimestampMonotonic"]) / 1_000_000
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since_boot


def newer(unit, files):
    """List which of ``files`` changed after the main process of ``unit`` was started.

    :param unit: name of a systemd unit
    :param files: list of paths; one that does not exist is left out
    :returns: the newer ones, in the given order; empty when the unit does not run

    CLI Example:

    .. code-block:: bash

        salt '*' unit_age.newer mariadb '["/etc/mysql/my.cnf"]'
    """
    start = started(unit)
    if start is None:
        return []
    return [path for path in files if os.path.exists(path) and os.path.getmtime(path) > start]
