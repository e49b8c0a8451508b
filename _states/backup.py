"""
Backups as states of an orchestration
=====================================

For ``salt-run state.orch``: each state calls a function of the runner ``backup`` on the master,
also in test mode, and shows its answer as a state's.
"""

__virtualname__ = "backup"


def __virtual__():
    if "saltutil.runner" not in __salt__:
        return False, "backup needs saltutil.runner"
    return __virtualname__


def _called(name, function, /, **kwargs):
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    answer = __salt__["saltutil.runner"](function, kwarg=kwargs, full_return=True)
    data = answer.get("return") if isinstance(answer, dict) else answer
    if not isinstance(data, dict) or "result" not in data:
        # a traceback or "Passed invalid arguments": text, whatever it claims about success
        ret["comment"] = f"Runner function {function} failed: {data}"
        return ret
    ret["comment"] = str(data.get("comment", ""))
    ret["changes"] = data.get("changes") or {}
    good = data["result"] in (True, None) and not data.get("retcode")
    if good and answer.get("success", True):
        ret["result"] = None if __opts__.get("test") and ret["changes"] else True
    return ret


def taken(name, cluster=None, roles=None, kinds=None, databases=None, interrupt=None):
    """
    There are new bundles of what the model calls stateful, see the runner function ``backup.take``.

    name
        Any text
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    roles, kinds, databases, interrupt
        As for the runner
    """
    return _called(
        name, "backup.take", cluster=cluster, roles=roles, kinds=kinds, databases=databases,
        interrupt=interrupt, test=bool(__opts__.get("test")),
    )  # fmt: skip


def verified(name, cluster=None, roles=None):
    """
    The newest bundles are whole, see the runner function ``backup.verify``.

    name
        Any text
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    roles
        Only of these
    """
    if __opts__.get("test"):
        comment = "The newest bundles would be restored aside."
        return {"name": name, "changes": {}, "result": True, "comment": comment}
    return _called(name, "backup.verify", cluster=cluster, roles=roles)


def expired(name, cluster=None):
    """
    There are no bundles but those that are kept, see the runner function ``backup.expire``.

    name
        Any text
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    """
    return _called(name, "backup.expire", cluster=cluster, test=bool(__opts__.get("test")))


def restored(
    name, cluster=None, bundle=None, point=None, databases=None, suffix=None, kind=None, host=None,
    replace=None,
):  # fmt: skip
    """
    The data of a role are those of a bundle, see the runner function ``backup.restore``.

    name
        The role
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    bundle, point, databases, suffix, kind, host, replace
        As for the runner
    """
    return _called(
        name, "backup.restore", role=name, cluster=cluster, bundle=bundle, point=point,
        databases=databases, suffix=suffix, kind=kind, host=host, replace=replace,
        test=bool(__opts__.get("test")),
    )  # fmt: skip
