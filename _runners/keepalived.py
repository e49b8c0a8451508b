"""
Look at the virtual address of a cluster from all its hosts at once.

Thin: :mod:`saltern.rollout.vip` decides.
"""

from __future__ import annotations

from saltern.adapters.members import members_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import vip

ROLE = "keepalived.vrrp"


@salt_runner
def form(cluster=None, nodes=None, test=False):
    """Wait until exactly one host holds the virtual address; changes nothing.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of **all** hosts that share it; by default those of the model
    :param test: only say what would be asked
    :returns: ``{result, comment, changes}``; ``retcode`` 1 when none or several hold it

    CLI Example:

    .. code-block:: bash

        salt-run keepalived.form cluster=demo-core
    """
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    if test:
        comment = f"{', '.join(nodes)} would be asked who holds the virtual address."
        return {"result": True, "comment": comment, "changes": {}}
    good, sentence = vip.settle(SaltBus(__opts__), nodes)
    return {"result": good, "comment": f"{sentence}.", "changes": {}}
