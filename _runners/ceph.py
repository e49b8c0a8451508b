"""Begin a Ceph cluster once, and make sure that its monitors are one quorum.

Thin: :mod:`saltern.ceph.form` decides and acts.
"""

from __future__ import annotations

import logging

from saltern.adapters.master import Site
from saltern.adapters.modelsite import source_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.ceph import form as forming
from saltern.rollout.load import load_members

log = logging.getLogger(__name__)

__virtualname__ = "ceph"

ROLE = "ceph.mon"


def __virtual__():
    return __virtualname__


@salt_runner
def form(cluster=None, nodes=None, test=False):
    """
    Bring the monitors of a cluster into one quorum: begin it once, start, join one by one.

    Idempotent. Refuses when a host is silent, when anything of another cluster is on a host, and
    when there are object stores but no monitor has a store.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    nodes
        Minion ids of **all** its monitors; by default those of the model
    test
        Only say what would be done

    Returns ``{result, comment, changes}``; ``retcode`` 1 failed, 2 refused.

    CLI Example:

    .. code-block:: bash

        salt-run ceph.form cluster=demo-ceph
    """
    if not nodes:
        site = Site.of(__opts__, cluster)
        nodes = load_members(source_of(site), site.cluster, ROLE)
    return forming.converge(SaltBus(__opts__), list(nodes), test=bool(test), tell=_tell)


def _tell(sentence):
    log.info("ceph: %s", sentence)
    __salt__["event.send"]("saltern/ceph", {"message": sentence})
