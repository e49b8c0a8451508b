"""
Bundles of a monitor
====================
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_backup"


def __virtual__():
    return __virtualname__


def taken(name, keep=7, interrupt=False):
    """
    A new bundle of this host's monitor is there. Each time that this is applied one is made.

    name
        Directory of the bundles
    keep
        How many of this monitor stay
    interrupt
        The only monitor of a cluster: accept that nobody is served meanwhile
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    if __opts__["test"]:
        ret.update(result=None, comment="The monitor would be stopped for some seconds and copied.")
        return ret
    try:
        done = __salt__["ceph_backup.take"](name, keep=keep, interrupt=interrupt)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret
    ret["changes"] = {"taken": done["path"], "removed": done["removed"]}
    ret["comment"] = done["sentence"]
    return ret


def restored(name, newest_map, replace=False):
    """
    This host's monitor has the store of a bundle; it is not started.

    name
        The bundle
    newest_map
        The highest number that ``ceph_rescue.newest`` gives on any host of object stores
    replace
        Set a store that is there aside
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        if __opts__["test"]:
            about = __salt__["ceph_backup.inspect"](name)
            ret.update(result=None, comment=f"The store of {about['taken']} would be restored.")
            return ret
        ret["comment"] = __salt__["ceph_rescue.restore"](name, newest_map, replace=replace)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret
    ret["changes"] = {"restored": name}
    return ret
