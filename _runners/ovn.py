"""
Bring the members of OVN's control plane into one cluster of each database.

Thin: :mod:`saltern.rollout.ovn` decides and acts.
"""

from __future__ import annotations

from saltern.adapters.master import Site
from saltern.adapters.modelsite import source_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import ovn
from saltern.rollout.load import load_members

ROLE = "ovn.central"


@salt_runner
def form(cluster=None, nodes=None, test=False):
    """Begin the clusters once, let members join one by one, settle them, restart stale members.

    Idempotent. Refuses when a host is silent, when a database is of no cluster or of another one,
    and when a database is nowhere though its sister is there.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of **all** its members; by default those of the model
    :param test: only say what would be done
    :returns: ``{result, comment, changes}``; ``retcode`` 1 failed, 2 refused

    CLI Example:

    .. code-block:: bash

        salt-run ovn.form cluster=iaas
    """
    if not nodes:
        site = Site.of(__opts__, cluster)
        nodes = load_members(source_of(site), site.cluster, ROLE)
    return ovn.converge(SaltBus(__opts__), list(nodes), test=bool(test))
