"""
Deploy a cluster stage by stage
===============================

``salt-run state.orch deploy`` calls these in order; each stage can be run by hand as well. What a
stage does comes from the model alone: the roles of the nodes and their ``lifecycle``.

All of them work from one revision, the cluster's deployed one. ``preflight`` moves that, to what
``saltern:revision`` or its own argument names, when it has found nothing; minions get the new
pillar with the next state run.

Configuration (master)::

    saltern:
      cluster: demo-core              # the default of every function here
      model: /srv/saltern/model
      revision: HEAD
      artifacts: /srv/saltern/artifacts
"""

from saltern.adapters.master import MasterEvents, MonotonicClock, Site, WallClock, who
from saltern.adapters.modelsite import (
    ModelSite,
    check_tree,
    pillar_settings,
    served_sentence,
    source_of,
)
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.errors import StageError
from saltern.rollout import preflight as checks
from saltern.rollout.load import RevisionSource, load_plan
from saltern.rollout.returns import denied
from saltern.rollout.run import StageReport, StageRunner
from saltern.rollout.show import stage_table

__virtualname__ = "deploy"


def __virtual__():
    return __virtualname__


def _by():
    return who(__opts__, globals().get("__user__", ""))


def _form(function, cluster, nodes, test):
    if function not in __salt__:
        raise StageError(f"{function} is not a runner function of this master")
    return __salt__[function](cluster=cluster, nodes=list(nodes), test=test)


def _runner(site, quiet):
    events = MasterEvents(__opts__, quiet=quiet)
    return StageRunner(site.cluster, SaltBus(__opts__), events, MonotonicClock(), _form)


@salt_runner
def stage(name, cluster=None, test=False, quiet=False, revision=None):
    """
    Run one stage: apply its roles in their order, then ask their health checks.

    It ends at the first host that fails, or at the first health check that is not content, with
    the host and the reason in ``comment`` and exit code 1. A second run changes nothing.

    name
        ``preflight``, ``foundation``, ``infrastructure``, ``control``, ``resources`` or ``sanity``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Predict only: minions apply in test mode, nothing is changed and nothing is validated
    quiet
        No progress lines on standard error
    revision
        Of ``preflight`` alone: what to deploy, see there

    Returns ``result`` (True, False, or None when test mode predicts changes), ``comment``,
    ``changes`` (names of changed states by node), ``counts``, ``failures``, ``seconds``.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.stage infrastructure
        salt-run deploy.stage control cluster=demo-core test=True
    """
    site = Site.of(__opts__, cluster)
    if name == "preflight":
        return _preflight(site, test, quiet, revision)
    if name == "sanity":
        return _sanity(site, test)
    plan_ = load_plan(source_of(site), site.cluster)
    # modules and states reach the minions with the first stage that needs them
    report = _runner(site, quiet).run(plan_.stage(name), test=test, sync=name == "foundation")
    return _with_reasons(site, report.to_json())


@salt_runner
def validate(name, cluster=None, quiet=False):
    """
    Ask the health checks of one stage; nothing is changed.

    name
        ``foundation``, ``infrastructure``, ``control`` or ``resources``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run deploy.validate infrastructure
    """
    site = Site.of(__opts__, cluster)
    plan_ = load_plan(source_of(site), site.cluster)
    return _runner(site, quiet).validate(plan_.stage(name)).to_json()


@salt_runner
def preflight(cluster=None, test=False, quiet=False, revision=None):
    """
    Look for everything that would stop a deployment, before any service is touched.

    The revision compiles and is sound; its artifacts and secrets are there; every minion answers;
    every host has a supported system, disk, memory and the right time. All findings in one report.
    When there are none, the revision becomes the cluster's deployed one.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Do not even send modules to the minions; the deployed revision stays
    quiet
        No progress lines on standard error
    revision
        A git ref, or ``worktree``; default ``saltern:revision`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run deploy.preflight
        salt-run deploy.preflight revision=v2.4
    """
    return _preflight(Site.of(__opts__, cluster), test, quiet, revision)


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


def _preflight(site, test, quiet, ref):
    events = MasterEvents(__opts__, quiet=quiet)
    events.emit("deploy/preflight/begin", {"cluster": site.cluster}, "stage preflight")
    model = ModelSite(site) if site.journal else None
    nodes, target = (), None
    # a broken site is refused before any minion is asked
    if model is None:
        source, findings = check_tree(site)
    else:
        ref = ref or site.revision
        target, findings = model.check(ref, pillar_settings(__opts__), _by())
        source = RevisionSource(target) if target else None
    if not findings:
        nodes = load_plan(source, site.cluster).nodes
        findings = checks.check_hosts(nodes, SaltBus(__opts__), WallClock(), sync=not test)
    ret = checks.report(findings, len(nodes))
    if target and not findings:
        ret.update(model.move(target, ref, _by(), test=test))
        ret["comment"] += f" {ret.pop('told')}"
    what = "fail" if findings else "end"
    events.emit(f"deploy/preflight/{what}", {"cluster": site.cluster, **ret}, ret["comment"])
    return ret


def _with_reasons(site, ret):
    """Add why nodes got no pillar; the minions do not know it."""
    for node in denied(ret["failures"]) if site.journal else ():
        why, fault = served_sentence(pillar_settings(__opts__), node)
        if fault:
            ret["failures"].append(why)
            ret["comment"] += f" {why}"
    return ret


def _sanity(site, test):
    if "sanity.run" not in __salt__:
        raise StageError("sanity.run is not a runner function of this master")
    if test:
        report = StageReport("sanity", site.cluster, test)
        return {**report.to_json(), "comment": "sanity.run would use the cloud as its users do."}
    return __salt__["sanity.run"](cluster=site.cluster)
