"""
The agents of a cluster, seen from the master.

Thin: :mod:`saltern.rollout.minions` decides.
"""

from __future__ import annotations

from saltern.adapters.master import MonotonicClock
from saltern.adapters.members import members_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import minions

ROLE = "salt.minion"


@salt_runner
def settle(cluster=None, nodes=None, test=False):
    """
    Restart the agents whose configuration changed, and wait until they are back.

    A deployment calls it right after ``salt.minion`` was applied, so no agent restarts later,
    while a stage waits for its answer.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    nodes
        Minion ids, a list or separated by commas; by default all of the model
    test
        Only say which would be restarted

    Returns ``result``, ``comment``, ``changes`` (``{"restarted": [minion id, ...]}``); ``retcode``
    1 when one does not come back.

    CLI Example:

    .. code-block:: bash

        salt-run salt_minion.settle
    """
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    bus = SaltBus(__opts__)
    if test:
        due, broken = minions.waiting(bus, nodes)
        told = "; ".join(broken) or f"{len(due)} agents would be restarted"
        return {"result": not broken, "comment": f"{told}.", "changes": {}}
    done = minions.settle(bus, MonotonicClock(), nodes)
    changes = {"restarted": list(done.restarted)} if done.restarted else {}
    return {"result": done.ok, "comment": f"{done.sentence}.", "changes": changes}
