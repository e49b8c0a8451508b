"""
What rollouts took out of service, and how it is given back by hand
===================================================================

A rollout gives back whatever it took when its wave is done, when it fails and when it is aborted;
after a crash whoever resumes it does. These functions are for a rollout that nobody goes on with.
"""

from saltern.adapters import leasing
from saltern.adapters.master import Site, WallClock
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rollouts import Rollouts
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus

__virtualname__ = "lease"
__func_alias__ = {"list_": "list"}


def __virtual__():
    return __virtualname__


def _leasing():
    model = ModelSite(Site.of(__opts__, None, any_cluster=True))
    return leasing.Leasing(Rollouts(model.journal), SaltBus(__opts__), WallClock())


@salt_runner
def list_(cluster=None, rollout=None, gone=False, data=False):
    """
    List what is out of service: node, since when, by which rollout, and whether it is overdue.

    cluster
        Only of this cluster
    rollout
        Only what this rollout took, by its id
    gone
        Also what was given back
    data
        Return plain data in place of a table

    CLI Example:

    .. code-block:: bash

        salt-run lease.list
        salt-run lease.list rollout=r20261122-1 gone=True
    """
    found = _leasing().listed(cluster, rollout, gone=bool(gone))
    return found if data else leasing.text(found)


@salt_runner
def release(lease=None, rollout=None, force=False):
    """
    Give back what is out of service: all that is overdue, or what is named.

    Refused (exit code 2) while a process carries the rollout out; exit code 1 when a node does not
    do it, the lease then stays.

    lease
        Id of one lease
    rollout
        All that this rollout took, by its id
    force
        Also while a process carries the rollout out

    CLI Example:

    .. code-block:: bash

        salt-run lease.release
        salt-run lease.release rollout=r20261122-1
    """
    return _leasing().release(lease, rollout, force=bool(force))
