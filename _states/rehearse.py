"""
Rehearsals as states of an orchestration
========================================

For ``salt-run state.orch``: a state calls a function of the runner ``rehearse`` on the master,
also in test mode, and shows its answer as a state's.
"""

__virtualname__ = "rehearse"


def __virtual__():
    if "saltutil.runner" not in __salt__:
        return False, "rehearse needs saltutil.runner"
    return __virtualname__


def green(name, cluster=None, bundle=None, take=None):
    """
    The upgrade to a revision was rehearsed and nothing failed, see the runner function
    ``rehearse.run``.

    name
        Git ref of the revision, or several with commas, one for each hop
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    bundle, take
        As for the runner
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    kwargs = {"revision": name, "cluster": cluster, "bundle": bundle, "take": take}
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    kwargs["test"] = bool(__opts__.get("test"))
    answer = __salt__["saltutil.runner"]("rehearse.run", kwarg=kwargs, full_return=True)
    data = answer.get("return") if isinstance(answer, dict) else answer
    if not isinstance(data, dict) or "result" not in data:
        # a traceback or "Passed invalid arguments": text, whatever it claims about success
        ret["comment"] = f"Runner function rehearse.run failed: {data}"
        return ret
    ret["comment"] = str(data.get("comment", ""))
    ret["changes"] = data.get("changes") or {}
    if data["result"] in (True, None) and not data.get("retcode") and answer.get("success", True):
        ret["result"] = None if kwargs["test"] else True
    if data.get("id"):
        ret["changes"] = {"rehearsal": data["id"]}
    return ret
