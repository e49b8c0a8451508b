"""
A member of OVN's control plane that runs when it holds databases of a cluster
==============================================================================
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "ovn_cluster"

_DATABASES = ("northbound", "southbound")


def __virtual__():
    return __virtualname__


def running(name, standalone=False):
    """
    Start this member, if it holds databases of a cluster; one that holds none waits for
    ``salt-run ovn.form``, which asks all members and lets one of them begin.

    A member that is configured anew is not restarted, as its neighbours may be about to do the
    same; ``ovn.form`` does it, one after the other.

    name
        For the log
    standalone
        It is a cluster of its own: it begins, restarts and gets its settings here
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "It runs."}
    test = __opts__["test"]
    try:
        held = {one: __salt__["ovn_database.held"](one) for one in _DATABASES}
        foreign = [one for one, cluster in held.items() if cluster == ""]
        if foreign:
            ret["result"] = False
            ret["comment"] = (
                f"The {' and '.join(foreign)} database on this host is of no cluster. Nothing was"
                " touched: move it out of /var/lib/ovn, or restore from it."
            )
            return ret
        if None in held.values() and not standalone:
            ret["comment"] = "It holds no databases yet: salt-run ovn.form begins or joins."
            return ret
        now = __salt__["ovn_cluster.facts"]()
        if None in held.values():
            ret["changes"]["clusters"] = "begun"
        elif not (now["northd"] and all(now[one]["running"] for one in _DATABASES)):
            ret["changes"]["member"] = "started"
        elif standalone:
            ret["changes"].update(dict.fromkeys(now["stale"], "restarted"))
            unsettled = (f"{part} of {one}" for one in _DATABASES for part in now[one]["unsettled"])
            ret["changes"].update(dict.fromkeys(unsettled, "set"))
        if not ret["changes"]:
            return ret
        if test:
            told = ", ".join(f"{what} {verb}" for what, verb in sorted(ret["changes"].items()))
            ret.update(result=None, comment=f"Would be: {told}.")
            return ret
        if "clusters" in ret["changes"]:
            __salt__["ovn_cluster.begin"]()
        elif "member" in ret["changes"]:
            __salt__["ovn_cluster.start"]()
        else:
            __salt__["ovn_cluster.restart"]()
            for one in _DATABASES:
                __salt__["ovn_database.settle"](one)
        now = __salt__["ovn_cluster.facts"]()
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Member", err, test)
    down = [one for one in _DATABASES if not now[one]["running"]]
    if down or not now["northd"]:
        ret["result"] = False
        silent = [*down, *([] if now["northd"] else ["northd"])]
        ret["comment"] = f"Not running: {', '.join(silent)}."
        return ret
    ret["comment"] = "It was brought to run in its clusters."
    return ret


def converted(name):
    """
    Keep the schema of the installed version in both databases. There is no way back.

    name
        For the log
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Of the installed version."}
    try:
        outdated = __salt__["ovn_upkeep.outdated"]()
        if not outdated:
            return ret
        ret["changes"] = dict.fromkeys(outdated, "converted")
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would be converted: {', '.join(outdated)}.")
            return ret
        __salt__["ovn_upkeep.convert"]()
        left = __salt__["ovn_upkeep.outdated"]()
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Databases", err, __opts__["test"])
    if left:
        ret.update(result=False, comment=f"Still of the version before: {', '.join(left)}.")
        return ret
    ret["comment"] = f"Converted: {', '.join(outdated)}."
    return ret
