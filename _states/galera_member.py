"""The server of one Galera member: running when there is something to run it for.

A member that holds no data stays stopped: only ``salt-run galera.form``, which has asked all the
others, may begin a cluster. A topology with one member has nobody to ask, so ``standalone``
forms it here.
"""

from __future__ import annotations

from salt.exceptions import CommandExecutionError


def running(name, standalone=False, deadline=1800):
    """Keep a member that holds data running and Synced.

    name
        name of the unit, for the log
    standalone
        the topology has this member only: form the cluster, begin it again after a stop, and
        restart it when its configuration is newer than its process
    deadline
        seconds that joining may take
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    facts = __salt__["galera_cluster.facts"]()
    wsrep = facts["wsrep"] or {}
    serving = wsrep.get("wsrep_on") == "ON" and wsrep.get("wsrep_cluster_status") == "Primary"
    if not facts["data"] and not standalone:
        ret["comment"] = (
            "Enabled and stopped: this member holds no data yet."
            " The cluster is formed by salt-run galera.form."
        )
        return ret
    if serving and not (standalone and facts["stale"]):
        ret["comment"] = f"{wsrep['wsrep_local_state_comment']}."
        if facts["stale"]:
            ret["comment"] += (
                f" Not in effect yet: {', '.join(facts['stale'])};"
                " salt-run galera.form restarts one member after the other."
            )
        return ret
    what = "restarted" if serving else "started" if facts["data"] else "bootstrapped"
    if __opts__["test"]:
        ret.update(result=None, changes={name: what}, comment=f"Would be {what}.")
        return ret
    try:
        ret["comment"] = _act(standalone, serving, facts["data"], deadline)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret
    ret["changes"] = {name: what}
    return ret


def accounts(name):
    """Keep the accounts that the cluster itself needs, where there is a server to ask.

    name
        for the log
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    wsrep = __salt__["galera_cluster.facts"]()["wsrep"] or {}
    if wsrep.get("wsrep_cluster_status") != "Primary":
        ret["comment"] = "Created when the cluster is formed."
        return ret
    if __opts__["test"]:
        ret["comment"] = "Checked in a real run."
        return ret
    try:
        created = __salt__["galera_cluster.accounts_present"]()
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
        return ret
    ret["changes"] = dict.fromkeys(created, "created")
    ret["comment"] = f"Created {', '.join(created)}." if created else "All there."
    return ret


def _act(standalone, serving, data, deadline):
    """Do what is missing; only a lone member may begin a cluster here."""
    if serving:
        return __salt__["galera_cluster.restart"](deadline)
    if not standalone:
        return __salt__["galera_cluster.join"](deadline)
    if not data:
        return __salt__["galera_cluster.bootstrap"]()
    __salt__["galera_cluster.stop"]()
    position = __salt__["galera_cluster.recover_position"]()
    return __salt__["galera_cluster.bootstrap"](**position)
