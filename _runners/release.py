"""
Which release may follow which, and the way of a cluster to another one
=======================================================================

The catalogue (``releases/*.yaml``) knows products, their versions, the hops between these, and what
goes together. Nothing here touches a host. ``saltern release`` asks the same without a master.

Configuration (master)::

    saltern:
      cluster: demo                   # the default
      model: /srv/saltern/model
      revision: HEAD                  # what is wanted when nothing is asked for
"""

import time

from saltern.adapters import releases
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rollouts import Rollouts
from saltern.adapters.runner import salt_runner
from saltern.release import mixed as between
from saltern.release import show
from saltern.rollout.report import moment

__virtualname__ = "release"


def __virtual__():
    return __virtualname__


@salt_runner
def path(cluster=None, to=None, now=None, own=None, allow=None, direct=False, data=False):
    """
    Find the ordered hops of a cluster; exit code 1 when there are none, with the smallest reason.

    What it runs is what its nodes are served: releases in ``_param``, the image of the hosts, and
    what that distribution has.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    to
        A version, ``product=version`` pairs with commas, or a mapping; default: what
        ``saltern:revision`` says differently from what is served
    now
        Pairs or a mapping that are right where the model is not
    own
        Products whose packages do not come from the distribution, with commas
    allow
        Products that may take the exceptional way of the catalogue, with commas
    direct
        Every product that is asked for in one hop, and no other: what a change of the model may do
    data
        Return hops and reasons as plain data in place of text

    Returns ``result``, ``comment``, ``table`` or ``data``, ``retcode``.

    CLI Example:

    .. code-block:: bash

        salt-run release.path cluster=demo to=2026.1
        salt-run release.path to='openstack=2026.1,ceph=squid' own=ceph data=True --out=json
        salt-run release.path to=2026.1 now='{"openstack": "2024.1"}'
    """
    catalogue, request, answer = releases.path(
        Site.of(__opts__, cluster), to, now, own, allow, direct=bool(direct)
    )
    found = (
        {"data": show.data(request, answer)}
        if data
        else {"table": show.text(catalogue, request, answer)}
    )
    return {
        "result": answer.ok,
        "comment": show.comment(catalogue, answer),
        "retcode": 0 if answer.ok else 1,
        **found,
    }


@salt_runner
def mixed(cluster=None, data=False):
    """
    Tell which nodes are still on an older release than others, since when, and whether it is time.

    Between the control plane and the last compute of an upgrade that is meant to be so, for a
    while: ``lifecycle:<role>:mixed_days`` of the model says how long, 14 days without it. Nodes
    that a rollout began and did not finish are among them. Exit code 1 past the limit (verdict
    ``fail``, code ``release-overdue``); past half of it the verdict is ``warn``, code
    ``release-mixed``.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    data
        Return plain data in place of text

    Returns ``result``, ``comment``, ``verdict``, ``table`` or ``data``, ``retcode``.

    CLI Example:

    .. code-block:: bash

        salt-run release.mixed cluster=demo
        salt-run release.mixed data=True --out=json
    """
    model = ModelSite(Site.of(__opts__, cluster, any_cluster=True))
    found, _ = releases.mixed(model, Rollouts(model.journal, model.find), time.time())
    verdict = between.worst(found)
    told = " ".join(one.sentence(moment) for one in found)
    return {
        "result": verdict != between.FAIL,
        "comment": told or "Every product has one release.",
        "verdict": verdict,
        "code": between.CODES[verdict],
        "retcode": 1 if verdict == between.FAIL else 0,
        **(
            {"data": [one.to_json() for one in found]}
            if data
            else {"table": between.text(found, moment)}
        ),
    }


@salt_runner
def matrix(product=None, data=False):
    """
    Show the catalogue: all products and rules, or the versions of one and what goes with them.

    product
        Name of a product, such as ``openstack`` or ``rabbitmq``
    data
        Return plain data in place of text

    CLI Example:

    .. code-block:: bash

        salt-run release.matrix
        salt-run release.matrix rabbitmq
        salt-run release.matrix openstack data=True --out=json
    """
    return releases.matrix(str(product) if product else None, data=bool(data))
