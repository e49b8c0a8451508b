"""One member of a RabbitMQ cluster while it is worked on: out of service and back, feature flags.

A feature flag is what members of two releases agree on. The server of a release refuses to start
where a flag that it takes for granted is not enabled, and a flag that is enabled stays so.

Sources: https://www.rabbitmq.com/docs/rolling-upgrade, https://www.rabbitmq.com/docs/feature-flags
"""

from __future__ import annotations

import json
import re
import time

from salt.exceptions import CommandExecutionError

PACKAGE = "rabbitmq-server"
#: Seconds between two looks at members that are coming.
LOOK = 2


def flags():
    """Return the feature flags as this member sees them.

    :returns: ``{name: {state, stability}}``; ``state`` is ``enabled``, ``disabled``,
        ``unavailable`` (a member of the release before is there) or ``state_changing``,
        ``stability`` ``stable``, ``required``, ``experimental``
    :raises CommandExecutionError: the member does not answer

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_upkeep.flags
    """
    columns = ("name", "state", "stability")
    rows = json.loads(_ctl("list_feature_flags", *columns, "--formatter", "json"))
    return {str(row["name"]): {key: str(row[key]) for key in columns[1:]} for row in rows}


def disabled():
    """List the stable feature flags that are not enabled.

    :returns: names, sorted
    :raises CommandExecutionError: the member does not answer

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_upkeep.disabled
    """
    return sorted(
        name
        for name, flag in flags().items()
        if flag["stability"] in ("stable", "required")
        and flag["state"] in ("disabled", "state_changing")
    )


def enable_flags():
    """Enable every stable feature flag; the release before cannot join any more, for good.

    :returns: a sentence
    :raises CommandExecutionError: RabbitMQ refuses, as it does while a member is of the release
        before

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test rabbitmq_upkeep.enable_flags
    """
    names = disabled()
    for name in names:
        _ctl("enable_feature_flag", name, timeout=600)
    left = sorted({*disabled()} | {n for n, f in _stable().items() if f == "unavailable"})
    if left:
        raise CommandExecutionError(
            f"Feature flags that are not enabled: {', '.join(left)}. Is every member of the new"
            " release? See journalctl -u rabbitmq-server."
        )
    return f"Enabled {', '.join(names)}." if names else "All stable feature flags are enabled."


def may_stop():
    """Check that every quorum queue has its majority without this member.

    :returns: ``{ok, sentence}``

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_upkeep.may_stop
    """
    try:
        if len(__salt__["rabbitmq_cluster.status"]()["members"]) < 2:
            return {"ok": True, "sentence": "It is alone: nobody could do without it anyway."}
        _tool("rabbitmq-queues", "check_if_node_is_quorum_critical", timeout=120)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"Queues would lose their majority with it: {err}"}
    return {"ok": True, "sentence": "Every quorum queue has its majority without it."}


def drain(deadline=300):
    """Put this member into maintenance mode: others lead its queues, its clients go to others.

    It listens to no client until it is revived or restarted.

    :param deadline: seconds that queues have to get their other members in line
    :returns: a sentence
    :raises CommandExecutionError: it cannot be spared

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test rabbitmq_upkeep.drain
    """
    if len(__salt__["rabbitmq_cluster.status"]()["members"]) < 2:
        return "It is alone: not drained, as nobody could take its clients."
    deadline = int(deadline)
    _tool("rabbitmq-upgrade", "await_online_quorum_plus_one", "-t", str(deadline))
    # without it the tool waits for seconds only, which a busy host does not do with
    _tool("rabbitmq-upgrade", "drain", "-t", str(deadline), timeout=deadline + 60)
    return "In maintenance mode: others lead its queues and have its clients."


def revive():
    """Take this member out of maintenance mode; one that was restarted is out of it already.

    :returns: a sentence
    :raises CommandExecutionError: RabbitMQ refuses

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test rabbitmq_upkeep.revive
    """
    try:
        __salt__["rabbitmq_cluster.status"]()
    except CommandExecutionError:
        # what does not run is broken, and not drained
        return "RabbitMQ does not answer; it leaves maintenance mode when it starts."
    _tool("rabbitmq-upgrade", "revive", "-t", "240", timeout=300)
    return "In service."


def rejoined(deadline=600):
    """Wait until this member runs what is installed, with all members, and queues are in line.

    :param deadline: seconds
    :returns: a sentence
    :raises CommandExecutionError: not in time, or it runs another version

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test rabbitmq_upkeep.rejoined
    """
    end = time.monotonic() + deadline
    _ctl("await_startup", timeout=deadline)
    versions = running(), installed()
    if versions[0] != versions[1]:
        raise CommandExecutionError(
            f"RabbitMQ {versions[0]} runs and {versions[1]} is installed: restart rabbitmq-server."
        )
    while True:
        seen = __salt__["rabbitmq_cluster.status"]()
        away = sorted({*seen["members"]} - {*seen["running"]})
        if not away and not seen["partitions"]:
            break
        if time.monotonic() > end:
            told = f"{', '.join(away)} do not run" if away else "the cluster is partitioned"
            raise CommandExecutionError(
                f"It did not rejoin its cluster within {deadline} s: {told}."
            )
        time.sleep(LOOK)
    if len(seen["members"]) > 1:
        left = max(int(end - time.monotonic()), 30)
        _tool(
            "rabbitmq-upgrade", "await_online_quorum_plus_one", "-t", str(left), timeout=left + 60
        )
    return f"RabbitMQ {versions[0]} runs in a cluster of {len(seen['members'])}."


def rebalance():
    """Spread the leaders of queues over the members, after all of them were away once.

    :returns: a sentence
    :raises CommandExecutionError: RabbitMQ refuses

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test rabbitmq_upkeep.rebalance
    """
    _tool("rabbitmq-queues", "rebalance", "quorum", timeout=1800)
    return "The leaders of quorum queues are spread over the members."


def running():
    """Return the version that runs, such as ``3.13.7``.

    :raises CommandExecutionError: the member does not answer

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_upkeep.running
    """
    return _tool("rabbitmq-diagnostics", "--silent", "server_version", timeout=60).strip()


def installed():
    """Return the version of the package without the distribution's part, such as ``3.13.7``.

    CLI Example:

    .. code-block:: bash

        salt 'inf*' rabbitmq_upkeep.installed
    """
    version = __salt__["pkg.version"](PACKAGE)
    found = re.match(r"(?:\d+:)?([0-9]+(?:\.[0-9]+)*)", str(version))
    return found[1] if found else ""


def _stable():
    return {n: f["state"] for n, f in flags().items() if f["stability"] in ("stable", "required")}


def _ctl(*arguments, timeout=60):
    return _tool("rabbitmqctl", "--silent", *arguments, timeout=timeout)


def _tool(*words, timeout=600):
    return __salt__["rabbitmq_cluster.tool"](*words, timeout=timeout)
