"""
One member of OVN's control plane: what it holds, and the few things it can be told to do
========================================================================================

Who begins the clusters of its databases, and who joins, is decided where all members are known
(``salt-run ovn.form``); this module reports and obeys. ``ovn_database`` checks again on the spot
before it makes a database.
"""

import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ovn_cluster"

# Database: unit of its server. The order is that of their start.
_UNITS = {"northbound": "ovn-ovsdb-server-nb", "southbound": "ovn-ovsdb-server-sb"}
_NORTHD = "ovn-northd"
_DROPIN = "/etc/systemd/system/{}.service.d/saltern.conf"
# Seconds until a member must be in its clusters, and between two looks.
_LIMIT, _LOOK = 120, 1


def __virtual__():
    return __virtualname__


def _run(*command):
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=90,
        )
    except (OSError, subprocess.SubprocessError) as err:
        reason = " ".join((getattr(err, "stderr", "") or str(err)).split())
        raise CommandExecutionError(f"{' '.join(command)}: {reason[:300]}") from err


def _of(function, *arguments):
    return __salt__[f"ovn_database.{function}"](*arguments)


def facts():
    """
    Say what this member holds and what state it is in.

    Returns ``{"address", "northd", "stale": [unit], "northbound": {}, "southbound": {}}``; of
    a database what ``ovn_database.status`` says, and ``held`` (as ``ovn_database.held`` has it),
    ``running``, ``raft`` (its address) and ``unsettled`` (settings that differ). Raises
    CommandExecutionError when the role was not applied.

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_cluster.facts
    """
    found = {
        "address": _of("config")["address"],
        "northd": __salt__["unit_age.started"](_NORTHD) is not None,
        "stale": stale(),
    }
    for database in _UNITS:
        seen = _of("status", database)
        found[database] = {
            **(seen or _of("parse", "")),
            "held": _of("held", database),
            "running": seen is not None,
            "raft": _of("address", database),
            "unsettled": _of("unsettled", database) if seen else [],
        }
    return found


def stale():
    """
    Return the units of this member that are configured anew since they were started.

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_cluster.stale
    """
    newer = __salt__["unit_age.newer"]
    return [one for one in (*_UNITS.values(), _NORTHD) if newer(one, [_DROPIN.format(one)])]


def begin():
    """
    Begin the clusters of both databases with this member, and start it.

    A database that is there stays as it is. Returns a sentence. Raises CommandExecutionError when
    one is of no cluster, or this member does not come up.

    CLI Example:

    .. code-block:: bash

        salt-run ovn.form cluster=iaas
    """
    for database in _UNITS:
        if _of("held", database) is None:
            _of("create", database)
    start()
    for database in _UNITS:
        _of("settle", database)
    return "Begun."


def join(members):
    """
    Join the clusters of both databases, and start this member.

    members
        ``{"northbound": ["ssl:10.0.0.1:6643"], "southbound": […]}``: members that serve. A database
        that is there stays as it is

    Returns a sentence. Raises CommandExecutionError when it does not get there.

    CLI Example:

    .. code-block:: bash

        salt-run ovn.form cluster=iaas
    """
    for database in _UNITS:
        if _of("held", database) is None:
            _of("admit", database, members[database])
    return start()


def start():
    """
    Start this member and wait until it takes part in both clusters.

    Returns a sentence. Raises CommandExecutionError when a database is missing or of no cluster, or
    it does not get there.

    CLI Example:

    .. code-block:: bash

        salt ntw02.example.test ovn_cluster.start
    """
    for database in _UNITS:
        if not _of("held", database):
            raise CommandExecutionError(
                f"The {database} database on this host is missing or of no cluster:"
                " salt-run ovn.form says what is to be done."
            )
    _run("systemctl", "start", *_UNITS.values())
    for database in _UNITS:
        _wait(database)
    _run("systemctl", "start", _NORTHD)
    return "Started."


def _wait(database):
    end = time.monotonic() + _LIMIT
    seen = None
    while time.monotonic() < end:
        seen = _of("status", database)
        if seen and seen["status"] == "cluster member" and seen["leader"]:
            return
        time.sleep(_LOOK)
    told = f"{seen['status']}, leader {seen['leader'] or 'unknown'}" if seen else "does not answer"
    raise CommandExecutionError(
        f"The member of {database} is not in its cluster after {_LIMIT} s: {told}."
    )


def restart():
    """
    Restart the units of this member that are configured anew, one by one.

    Returns a sentence. Raises CommandExecutionError when one does not come back.

    CLI Example:

    .. code-block:: bash

        salt ntw02.example.test ovn_cluster.restart
    """
    units = stale()
    for unit in units:
        _run("systemctl", "restart", unit)
        for database, mine in _UNITS.items():
            if unit == mine:
                _wait(database)
    return f"Restarted {', '.join(units)}." if units else "Nothing to restart."


def healthy():
    """
    Check that this member takes part in both clusters, that each has a leader and all members of
    the model, and that northd answers.

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_cluster.healthy
    """
    try:
        wanted = _of("config")["members"]
        told = [_judged(database, wanted) for database in _UNITS]
        northd = _of("northd")
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    return {"ok": True, "sentence": f"{' '.join(told)} northd {northd}."}


def _judged(database, wanted):
    """A sentence about a cluster that is whole; one that is not is raised."""
    seen = _of("status", database)
    name = database.capitalize()
    if seen is None:
        raise CommandExecutionError(f"{name}: the server does not answer.")
    if seen["status"] != "cluster member":
        raise CommandExecutionError(f"{name}: this member is {seen['status']}.")
    if not seen["leader"]:
        raise CommandExecutionError(f"{name}: there is no leader, so no majority.")
    if len(seen["members"]) != wanted:
        raise CommandExecutionError(
            f"{name}: {len(seen['members'])} of {wanted} members are in the cluster."
        )
    lost = sorted({*seen["members"]} - {*seen["connected"], seen["sid"]})
    if lost:
        raise CommandExecutionError(
            f"{name}: no connection to {', '.join(seen['members'][one] for one in lost)}."
        )
    leads = "this member" if seen["role"] == "leader" else seen["members"].get(seen["leader"], "?")
    return f"{name}: {wanted} of {wanted} members, {leads} leads."
