"""
Deploy a cluster stage by stage
===============================

``salt-run state.orch deploy`` calls these in order, and ``rollout.begin`` between ``preflight`` and
the stages. What a stage does comes from the model alone: the roles of the nodes and their
``lifecycle``.

A deployment is a rollout: it has a plan and a journal, ``rollout.status`` and ``rollout.report``
show it, and one that was interrupted is gone on with by running the orchestration again. Nodes get
the wanted revision wave by wave; in the end it becomes the cluster's deployed one.

Configuration (master)::

    saltern:
      cluster: demo-core              # the default of every function here
      model: /srv/saltern/model
      revision: HEAD
      artifacts: /srv/saltern/artifacts
"""

import sys

from saltern.adapters.deploying import Deploying
from saltern.adapters.master import Site, who
from saltern.adapters.modelsite import source_of
from saltern.adapters.rolling import Rolling
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.errors import RolloutError
from saltern.rollout.load import load_plan
from saltern.rollout.show import stage_table
from saltern.rollout.validate import validate as ask

__virtualname__ = "deploy"


def __virtual__():
    return __virtualname__


def _called(function, kwargs):
    if function not in __salt__:
        raise RolloutError(f"{function} is not a runner function of this master")
    return __salt__[function](**kwargs)


def _deploying(cluster, quiet):
    name = Site.of(__opts__, cluster).cluster
    by = who(__opts__, globals().get("__user__", ""))
    return Deploying(Rolling.of(__opts__, name, _called, by, quiet=quiet))


def _line(text):
    print(text, file=sys.stderr, flush=True)


@salt_runner
def stage(name, cluster=None, test=False, quiet=False, revision=None):
    """
    Carry the deployment under way on to the end of one stage. For the orchestration.

    It ends at the first wave with a host that fails, or at the first health check that is not
    content, with the host and the reason in ``comment`` and exit code 1.

    name
        ``preflight``, ``foundation``, ``infrastructure``, ``control``, ``resources``, ``sanity`` or
        ``commit``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Foresee only: minions apply in test mode with the pillar of the revision. Nothing is
        changed, and no deployment need be under way
    quiet
        No progress lines on standard error
    revision
        Of ``preflight`` and of test mode: what to deploy, see :func:`preflight`

    Returns ``result`` (True, False, or None when test mode foresees changes), ``comment`` and
    ``changes`` (names of changed states by node).

    CLI Example:

    .. code-block:: bash

        salt-run deploy.stage infrastructure test=True
        salt-run deploy.stage control cluster=demo-core test=True revision=v2.4
    """
    deploying = _deploying(cluster, quiet)
    ref = str(revision) if revision else None
    if name == "preflight":
        return deploying.preflight(ref, test=test)
    if test:
        return deploying.foresee(str(name), ref)
    return deploying.stage(str(name), (lambda text: None) if quiet else _line)


@salt_runner
def validate(name, cluster=None):
    """
    Ask the health checks of one stage; nothing is changed.

    name
        ``foundation``, ``infrastructure``, ``control`` or ``resources``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run deploy.validate infrastructure
    """
    site = Site.of(__opts__, cluster)
    return ask(load_plan(source_of(site), site.cluster).stage(str(name)), SaltBus(__opts__))


@salt_runner
def preflight(cluster=None, test=False, quiet=False, revision=None):
    """
    Look for everything that would stop a deployment, before any service is touched.

    No other rollout has the cluster; the revision compiles and is sound; its artifacts and secrets
    are there; every minion answers; every host has a supported system, disk, memory and the right
    time. All findings in one report.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Do not even send modules to the minions
    quiet
        No progress lines on standard error
    revision
        A git ref, or ``worktree``; default ``saltern:revision`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run deploy.preflight
        salt-run deploy.preflight revision=v2.4
    """
    return _deploying(cluster, quiet).preflight(str(revision) if revision else None, test=test)


@salt_runner
def plan(cluster=None, data=False):
    """
    Show the stages of a cluster: roles, order, what is applied at once, forms and checks.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    data
        Return plain data in place of a table

    CLI Example:

    .. code-block:: bash

        salt-run deploy.plan
        salt-run deploy.plan cluster=demo-core data=True --out=json
    """
    site = Site.of(__opts__, cluster)
    plan_ = load_plan(source_of(site), site.cluster)
    return {"plan": plan_.to_json()} if data else stage_table(plan_)
