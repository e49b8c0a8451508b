"""A Ceph cluster as a whole: begin it once, say what a loss would mean, give flags back.

Thin: :mod:`saltern.ceph` decides; what is asked and told goes through a monitor's host.
"""

from __future__ import annotations

import logging

from saltern.adapters.members import members_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.ceph import ask
from saltern.ceph import form as forming
from saltern.ceph import whatif as foretelling

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
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    return forming.converge(SaltBus(__opts__), nodes, test=bool(test), tell=_tell)


@salt_runner
def whatif(lose, cluster=None):
    """
    Say what would stay available without some hosts, racks or object stores. Nothing is changed.

    lose
        Name of a host, ``rack=NAME`` or any other bucket, ``osd.N``; several separated by commas
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    Returns ``{result, comment, available, heals, quorum: {left, all}, pools: {name: {all, degraded,
    inactive, gone}}, lost}``.

    CLI Example:

    .. code-block:: bash

        salt-run ceph.whatif lose=osd01
        salt-run ceph.whatif lose=rack=r1
    """
    facts = _ask(cluster, "ceph_map.facts")
    return foretelling.answer(foretelling.whatif(facts, lose))


@salt_runner
def leases(cluster=None):
    """
    List the flags of a cluster: who holds them since when, and those that are nobody's lease.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    Returns ``{leases: {flag: {owner, since}}, strays: [flags], idle: [leases without a flag]}``.

    CLI Example:

    .. code-block:: bash

        salt-run ceph.leases
    """
    return _ask(cluster, "ceph_flag.held")


@salt_runner
def release(flag=None, cluster=None, force=False):
    """
    Give flags back that are held as leases, when whoever took them is gone.

    flag
        As ``ceph.leases`` names it, ``noout/osd01``; default: all that are held
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    force
        Also those that somebody else than Saltern holds

    CLI Example:

    .. code-block:: bash

        salt-run ceph.release
        salt-run ceph.release norebalance
    """
    held = _ask(cluster, "ceph_flag.held")["leases"]
    flags = [str(flag)] if flag else sorted(held)
    told = [_ask(cluster, "ceph_flag.give", [one], {"force": bool(force)}) for one in flags]
    return {"result": True, "comment": " ".join(told) or "Nothing is held.", "released": flags}


@salt_runner
def accept(code, ttl="4h", cluster=None):
    """
    Go on over one of Ceph's warnings: it does not count for some time. What makes data unavailable
    is refused all the same, whoever accepts it.

    code
        As Ceph names it: ``OSD_DOWN``, ``PG_DEGRADED``
    ttl
        For how long, ``4h``; it also ends when it becomes worse, but for what counts objects: that
        grows with every write
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run ceph.accept OSD_DOWN ttl=1h
    """
    arguments = ask.mute(str(code), str(ttl))
    _ask(cluster, "ceph_cluster.command", ["health mute"], {"arguments": arguments})
    return {"result": True, "comment": f"{code} is accepted for {ttl}."}


def _ask(cluster, function, arguments=(), kwarg=None):
    nodes = members_of(__opts__, cluster, ROLE)
    return ask.first(SaltBus(__opts__), nodes, function, arguments, kwarg)


def _tell(sentence):
    log.info("ceph: %s", sentence)
    __salt__["event.send"]("saltern/ceph", {"message": sentence})
