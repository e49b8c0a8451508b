"""The monitor of this host: running when there is something to run it for.

A monitor that was never made stays so: only ``salt-run ceph.form``, which has asked all hosts, may
begin a cluster. A topology with one monitor has nobody to ask, so ``standalone`` begins it here.
"""

from __future__ import annotations

from salt.exceptions import CommandExecutionError


def running(name, address=None, standalone=False):
    """Keep a monitor that was made running, now and at boot.

    name
        of the monitor
    address
        where it listens, for ``standalone``
    standalone
        the topology has this monitor only: begin the cluster here, unless an object store of this
        host says that there was one
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        facts = __salt__["ceph_monitor.facts"]()
        if facts["fresh"] and not standalone:
            ret["comment"] = (
                f"Monitor {name} was never made. The cluster is formed by salt-run ceph.form."
            )
            return ret
        stores = sorted(part for part in facts["fsids"] if part.startswith("osd."))
        if facts["fresh"] and stores:
            ret["result"] = False
            ret["comment"] = (
                f"Monitor {name} was never made, and {', '.join(stores)} on this host is of a"
                " cluster that had monitors. Restore their store."
            )
            return ret
        unit = f"ceph-mon@{name}"
        serving = facts["running"] and __salt__["service.enabled"](unit)
        if serving:
            ret["comment"] = f"Monitor {name} is {facts['state']}."
            return ret
        verb = "begun" if facts["fresh"] else "started"
        ret["changes"] = {name: verb}
        if __opts__["test"]:
            ret.update(result=None, comment=f"Monitor {name}: would be {verb}.")
            return ret
        if facts["fresh"]:
            __salt__["ceph_monitor.create"]({name: address})
        ret["comment"] = __salt__["ceph_monitor.start"]()
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
