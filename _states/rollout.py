"""
Stages of a deployment and phases of a rollout as states of an orchestration
============================================================================

For ``salt-run state.orch``: each state calls a runner function on the master, also in test mode
(Salt's own ``salt.runner`` state does nothing then), and shows its answer as a state's.

.. code-block:: yaml

    deploy-foundation:
      rollout.stage:
        - name: foundation
        - failhard: True
"""

__virtualname__ = "rollout"


def __virtual__():
    if "saltutil.runner" not in __salt__:
        return False, "rollout needs saltutil.runner"
    return __virtualname__


def _called(name, function, /, **kwargs):
    """Call a runner function; shape its answer as a state's return."""
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    if __opts__.get("test"):
        kwargs["test"] = True
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
        # None says "test mode, and something would change", and nothing else
        ret["result"] = None if __opts__.get("test") and ret["changes"] else True
    return ret


def stage(name, cluster=None, revision=None):
    """
    Carry the deployment on to the end of one stage, see the runner function ``deploy.stage``.

    name
        Name of the stage
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    revision
        Of ``preflight`` and of test mode: what to deploy, a git ref; default ``saltern:revision``

    The comment counts the changes of each host; ``changes`` names the changed states by host. In
    test mode the result is None when the minions foresee changes.
    """
    return _called(name, "deploy.stage", name=name, cluster=cluster, revision=revision)


def validated(name, cluster=None):
    """
    Ask the health checks of one stage again, see the runner function ``deploy.validate``.

    name
        Name of the stage
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    """
    if __opts__.get("test"):
        comment = f"The health checks of stage {name} would be asked."
        return {"name": name, "changes": {}, "result": True, "comment": comment}
    return _called(name, "deploy.validate", name=name, cluster=cluster)


def recovered(name, cluster=None):
    """
    Bring a clustered role back after all of its members were down.

    name
        Runner function that does it and takes ``cluster`` and ``test``, such as
        ``galera.recover``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    """
    return _called(name, name, cluster=cluster)


def begun(name, cluster=None, plan=None, approved_by=None, reason=None, options=None):
    """
    Begin a rollout, or find the one of the same plan that is under way; see ``rollout.begin``.

    name
        Workflow to plan and apply at once (``change``, ``reboot`` …); looked at without ``plan``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    plan
        Hash of a stored plan
    approved_by
        Who approved it, for the history
    reason
        Why, for the history
    options
        Of the plan, as in ``rollout.plan``: ``revision``, ``nodes``, ``canary`` …

    In test mode the plan is made and shown; the result is None when it has anything to do.
    """
    given = {} if plan else {"workflow": name, **(options or {})}
    return _called(
        name,
        "rollout.begin",
        cluster=cluster,
        plan=plan,
        approved_by=approved_by,
        reason=reason,
        **given,
    )


def phase(name, cluster=None, plan=None):
    """
    Carry the rollout of the cluster on to the end of one phase; see ``rollout.phase``.

    name
        Name of the phase
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    plan
        Hash of its plan; default the only rollout under way

    The comment counts the changes of each host; ``changes`` names the changed states by host.
    """
    return _called(name, "rollout.phase", name=name, cluster=cluster, plan=plan)


def undone(name, accept_loss=None, approved_by=None, reason=None):
    """
    Take a rollout back; see ``rollout.rollback``.

    name
        Id of the rollout
    accept_loss
        Also past the point of no return
    approved_by
        Who approved it, for the history
    reason
        Why, for the history
    """
    return _called(
        name,
        "rollout.rollback",
        rollout=name,
        accept_loss=accept_loss,
        approved_by=approved_by,
        reason=reason,
        data=True if __opts__.get("test") else None,
    )
