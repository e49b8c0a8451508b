"""Phases of an upgrade of one RabbitMQ member."""

from __future__ import annotations

from salt.exceptions import CommandExecutionError


def ready(name):
    """Succeed when the release that is installed has nothing left to enable.

    A server of a later release would refuse to start otherwise.

    name
        for the log
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        off = __salt__["rabbitmq_upkeep.disabled"]()
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Feature flags", err, __opts__["test"])
    ret["result"] = not off
    ret["comment"] = (
        f"Feature flags that are not enabled, without which a later release refuses to start:"
        f" {', '.join(off)}. Enable them: salt-run rollout.plan operation"
        " operation=rabbitmq.server.enable-feature-flags."
        if off
        else "All stable feature flags are enabled."
    )
    return ret


def rejoined(name, deadline=600):
    """Succeed when the member runs what is installed in its cluster, its queues in line.

    name
        for the log
    deadline
        seconds that it may take
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    if __opts__["test"]:
        ret["comment"] = "Looked at in a real run."
        return ret
    try:
        ret["comment"] = __salt__["rabbitmq_upkeep.rejoined"](deadline)
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
