"""Phases of an upgrade of one Galera member."""

from __future__ import annotations

from salt.exceptions import CommandExecutionError


def ready(name, seconds=900):
    """Succeed when this member may go, and will come back without a whole copy.

    name
        for the log
    seconds
        that it may be away
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    if __salt__["galera_cluster.facts"]()["wsrep"] is None:
        # by an earlier run, or broken: the health checks of the role tell that
        ret["comment"] = "It does not serve."
        return ret
    found = [__salt__["galera_upkeep.quiet"]()]
    if found[0]["ok"]:
        found.append(__salt__["galera_upkeep.cache_holds"](seconds))
    ret["comment"] = " ".join(one["sentence"] for one in found)
    if not all(one["ok"] for one in found):
        # a preview may come while a backup runs
        ret["result"] = None if __opts__["test"] else False
    return ret


def left(name):
    """Keep the member stopped, after it left the cluster in order.

    name
        of the unit
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        runs = __salt__["galera_cluster.facts"]()["running"]
        if not runs:
            ret["comment"] = __salt__["galera_upkeep.left"]()
            return ret
        ret["changes"] = {name: "stopped"}
        if __opts__["test"]:
            ret.update(result=None, comment="Would leave the cluster.")
            return ret
        ret["comment"] = __salt__["galera_upkeep.leave"]()
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Member", err, __opts__["test"])
    return ret


def migrated(name):
    """Keep the member Synced with what is installed, and its system tables of that version.

    name
        of the unit
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        if not __opts__["test"]:
            ret["comment"] = __salt__["galera_upkeep.current"]()
        if not __salt__["galera_upkeep.outdated"]():
            return ret
        ret["changes"] = {"system tables": "upgraded"}
        if __opts__["test"]:
            ret.update(result=None, comment="Would upgrade the system tables.")
            return ret
        ret["comment"] = __salt__["galera_upkeep.upgrade_tables"]()
        left = __salt__["galera_upkeep.outdated"]()
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Member", err, __opts__["test"])
    if left:
        ret.update(
            result=False, comment="mariadb-upgrade says that there is still something to do."
        )
    return ret
