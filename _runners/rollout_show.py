"""
Look at plans and rollouts: how it stands, what was done, the report
====================================================================

Functions of ``rollout`` that only read. All of it comes from the journal, so it can be asked from
anywhere and at any time, also while another process carries the rollout out.
"""

import sys

from saltern.adapters.master import who
from saltern.adapters.rolling import Rolling
from saltern.adapters.runner import salt_runner
from saltern.errors import PlanError
from saltern.plan.operation import offers, offers_text
from saltern.plan.roles import Roles
from saltern.rollout import report as telling

# Salt gives the functions of several files with one virtual name together
__virtualname__ = "rollout"


def __virtual__():
    return __virtualname__


def _rolling(cluster=None):
    by = who(__opts__, globals().get("__user__", ""))
    return Rolling.of(__opts__, cluster, lambda function, kwargs: {}, by, quiet=True)


def _line(text):
    print(text, file=sys.stderr, flush=True)


@salt_runner
def plans(cluster=None, limit=20):
    """
    List the stored plans, the latest first.

    cluster
        Only of this cluster
    limit
        How many at most

    CLI Example:

    .. code-block:: bash

        salt-run rollout.plans
    """
    return [
        {**vars(item), "at": telling.moment(item.at)}
        for item in _rolling().rollouts.plans(cluster, int(limit))
    ]


@salt_runner
def operations(cluster=None, data=False):
    """
    List the named work that the roles of a cluster offer, with arguments and a sample command.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    data
        Return plain data in place of text

    CLI Example:

    .. code-block:: bash

        salt-run rollout.operations cluster=demo-ceph
    """
    rolling = _rolling(cluster)
    found = offers(rolling.site.cluster, Roles(rolling.observer.served()))
    return {"operations": [offer.to_json() for offer in found]} if data else offers_text(found)


@salt_runner
def status(rollout=None, cluster=None, follow=False, data=False):
    """
    Tell how it stands with a rollout.

    rollout
        Its id; default the one under way, else the latest
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    follow
        Show what happens on standard error, until it ends or stops
    data
        Return plain data in place of text

    CLI Example:

    .. code-block:: bash

        salt-run rollout.status
        salt-run rollout.status r20261122-1 follow=True
    """
    rolling = _rolling(cluster)
    found = rolling.latest(rollout)
    if follow:
        rolling.follow(found, _line)
    told = rolling.report(found)
    return told if data else telling.status_text(told)


@salt_runner
def history(cluster=None, state=None, limit=20, data=False):
    """
    List rollouts, the latest first.

    cluster
        Only of this cluster
    state
        Only in this state: ``running``, ``paused``, ``failed``, ``aborted``, ``done``, ``undone``
    limit
        How many at most
    data
        Return plain data in place of a table

    CLI Example:

    .. code-block:: bash

        salt-run rollout.history
        salt-run rollout.history cluster=demo-core state=failed
    """
    rows = _rolling().listed(cluster, state, int(limit))
    if data:
        return {"rollouts": rows}
    return telling.history_text(rows)


@salt_runner
def show(name=None, cluster=None, data=False):
    """
    Show a plan, or how it stands with a rollout.

    name
        Hash of a plan (its first digits), or id of a rollout; default the one under way, else the
        latest
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    data
        Return plain data in place of text

    CLI Example:

    .. code-block:: bash

        salt-run rollout.show 1f0c9a3b77de
        salt-run rollout.show r20261122-1
    """
    rolling = _rolling(cluster)
    given = str(name) if name else rolling.latest(None)
    if given.startswith("r"):
        told = rolling.report(given)
        return told if data else telling.status_text(told)
    planned = rolling.stored(given)
    return {"hash": planned.hash, "plan": planned.plan.to_json()} if data else planned.text


@salt_runner
def stages(name=None, cluster=None):
    """
    List the stages of a plan or a rollout: roles, nodes of each wave, impact, steps.

    name
        Hash of a plan (its first digits), or id of a rollout; default the one under way, else the
        latest
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run rollout.stages 1f0c9a3b77de --out=json
    """
    rolling = _rolling(cluster)
    given = str(name) if name else rolling.latest(None)
    found = (
        rolling.rollouts.load(given).plan if given.startswith("r") else rolling.rollouts.plan(given)
    )
    return [
        {
            **{key: stage[key] for key in ("name", "phase", "title", "roles", "impact", "minutes")},
            "waves": [
                {"name": w["name"], "nodes": w["nodes"], "steps": [s["title"] for s in w["steps"]]}
                for w in stage["waves"]
            ],
        }
        for stage in found.to_json()["stages"]
    ]


@salt_runner
def report(rollout=None, format="markdown", cluster=None):
    """
    Return the report of a rollout: stages, times, changes, gates, what users noticed, evidence.

    rollout
        Its id; default the one under way, else the latest
    format
        ``markdown``, ``html`` or ``json``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run rollout.report
        salt-run rollout.report r20261122-1 --out=newline_values_only > report.md
    """
    rolling = _rolling(cluster)
    told = rolling.report(rolling.latest(rollout))
    forms = {"markdown": telling.markdown, "html": telling.page, "json": dict}
    if format not in forms:
        raise PlanError(f"a report is no {format}", cure=f"Give one of {', '.join(forms)}")
    return forms[format](told)
