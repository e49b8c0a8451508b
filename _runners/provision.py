"""
Start hosts of a cluster from another image, with the state of their roles kept.

Thin: :mod:`saltern.adapters.provisioning` asks whoever can do it and waits for the minions.
"""

from __future__ import annotations

from saltern.adapters import provisioning
from saltern.adapters.master import MonotonicClock, Site
from saltern.adapters.modelsite import source_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus

__virtualname__ = "provision"


def __virtual__():
    return __virtualname__


@salt_runner
def reimage(nodes, image, keep=None, cluster=None, test=False):
    """
    Stop hosts, start them from another image and wait until their minions answer.

    What makes a host this host is always kept (Salt's keys and settings, its certificates and SSH
    keys, the machine id). Nothing is drained and no role is applied: the workflow ``reimage`` of
    ``rollout.plan`` does that around this call. A host that runs on the image already is left
    alone, and one that an interrupted call left half done is finished.

    nodes
        Minion ids, a list or separated by commas
    image
        Name of the image, such as ``trixie``
    keep
        Minion id to a list of directories whose content outlives the image; by default what the
        roles of each node declare (``lifecycle:<role>:keep``)
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Only say which hosts run on another image

    Returns ``{result, comment, nodes: {id: {result, changed, comment, seconds}}}``; ``retcode`` 1
    when a host does not come back, 2 when nothing was touched.

    CLI Example:

    .. code-block:: bash

        salt-run provision.reimage nodes=mon01.example.test image=trixie
    """
    site = Site.of(__opts__, cluster)
    driver = provisioning.driver(site.provision)
    named = provisioning.named(nodes, image)
    kept = provisioning.kept(lambda: source_of(site), site.cluster, named, keep)
    if test:
        return provisioning.status(driver, image, named)
    hosts = provisioning.reimage(driver, SaltBus(__opts__), MonotonicClock(), image, kept)
    return provisioning.to_ret(hosts)


@salt_runner
def status(nodes=None):
    """
    Say which image each host runs on.

    nodes
        Minion ids, a list or separated by commas; by default all

    Returns ``{result, comment, nodes: {id: {image, state, unfinished}}}``; ``result`` is False when
    a host is on its way to an image and did not get there.

    CLI Example:

    .. code-block:: bash

        salt-run provision.status
    """
    site = Site.of(__opts__, any_cluster=True)
    wanted = [node.strip() for node in nodes.split(",")] if isinstance(nodes, str) else nodes
    return provisioning.status(provisioning.driver(site.provision), nodes=list(wanted or ()))
