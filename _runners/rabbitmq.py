"""Make sure that the members of a RabbitMQ cluster are one cluster and run what is configured.

Thin: :mod:`saltern.rollout.rabbitmq` decides and acts.
"""

from __future__ import annotations

from saltern.adapters.members import members_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import rabbitmq

ROLE = "rabbitmq.server"


@salt_runner
def form(cluster=None, nodes=None, test=False):
    """Wait until all members are in one cluster; restart, one at a time, those with old settings.

    Idempotent; changes nothing when members are missing or there are two clusters.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of **all** its members; by default those of the model
    :param test: only say what would be done
    :returns: ``{result, comment, changes}``; ``retcode`` 1 when it failed

    CLI Example:

    .. code-block:: bash

        salt-run rabbitmq.form cluster=demo-core
    """
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    return rabbitmq.converge(SaltBus(__opts__), nodes, test=bool(test))
