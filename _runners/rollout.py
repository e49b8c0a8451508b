"""
Plan a change of a cluster, apply exactly that plan, watch it, take it back
===========================================================================

A plan is made from the model, from what nodes are served and from how they are; it is shown, stored
under its hash and changes nothing. ``rollout.apply`` carries it out in waves, with a journal of
every step: a rollout goes on after a crash where it stopped.

Exit codes: 0 done, 1 failed, 2 refused (nothing was touched), 3 paused.

Configuration (master)::

    saltern:
      cluster: demo-core              # the default of every function here
      model: /srv/saltern/model
      store: /srv/saltern/store
      journal: sqlite:////srv/saltern/journal/journal.db
      artifacts: /srv/saltern/artifacts
"""

import sys

from saltern.adapters.deploying import Deploying
from saltern.adapters.master import Site, who
from saltern.adapters.rolling import Rolling
from saltern.adapters.runner import salt_runner
from saltern.errors import PlanError, RolloutError
from saltern.plan.request import Request
from saltern.plan.schedule import schedule

__virtualname__ = "rollout"


def __virtual__():
    return __virtualname__


def _called(function, kwargs):
    if function not in __salt__:
        raise RolloutError(f"{function} is not a runner function of this master")
    return __salt__[function](**kwargs)


def _rolling(cluster=None, quiet=False):
    by = who(__opts__, globals().get("__user__", ""))
    return Rolling.of(__opts__, cluster, _called, by, quiet=quiet)


def _request(workflow, cluster, options):
    given = {key: value for key, value in options.items() if not key.startswith("__")}
    given["domains"] = given.pop("racks", given.get("domains"))
    return Request.read(str(workflow), Site.of(__opts__, cluster).cluster, given)


def _line(text):
    print(text, file=sys.stderr, flush=True)


@salt_runner
def plan(workflow, cluster=None, revision=None, data=False, quiet=False, **options):
    """
    Make a plan and show it: stages, waves, impact, gates, the point of no return. Nothing changes.

    workflow
        ``change`` (only what the model's change touches), ``deploy``, ``upgrade``, ``restart``,
        ``reboot``, ``reimage``, ``scale-out``, ``scale-in``, ``replace`` or ``operation``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    revision
        Git ref to move to; default ``saltern:revision``. Restarts and reboots move nothing
    data
        Return plain data in place of a table
    quiet
        No progress lines on standard error
    options
        ``roles``, ``nodes``, ``racks``, ``count``: only these (lists, or separated by commas).
        ``canary``: how many nodes go first; ``percent``: shares that follow; ``rate``: nodes per
        hour; ``soak``: seconds after each wave; ``budget``: how many nodes of a stage may fail;
        ``on_failure``: ``stop`` or ``rollback`` of the wave; ``slo``: ``probe=share`` of failed
        requests that stops a stage; ``probes``: measure; ``predict``: let the nodes foresee their
        changes; ``allow_absent``: leave out nodes that do not answer; ``resume``: go on by itself
        after a restart of the master; ``lease_ttl``: after what time anybody may give back what is
        out of service (``90m``, ``4h``); ``accept_outage``: roles that may lose their majority;
        ``own``: products with packages of their own, ``allow``: products that may take the
        exceptional way of the release catalogue, both as in ``release.path``;
        ``operation`` and ``args``: what ``rollout.operations`` lists, and its arguments

    CLI Example:

    .. code-block:: bash

        salt-run rollout.plan change revision=HEAD
        salt-run rollout.plan restart roles=keystone.server canary=1
        salt-run rollout.plan change nodes=ctl01.demo-core.test data=True --out=json
        salt-run rollout.plan operation operation=ceph.osd.rebuild nodes=osd01 args='{store: 3}'
    """
    request = _request(workflow, cluster, options)
    planned = _rolling(cluster, quiet).plan(request, str(revision) if revision else None)
    if not data:
        return planned.text
    comment = f"Plan {planned.hash[:12]} has {len(planned.plan.stages)} stages."
    found = {
        "hash": planned.hash,
        "plan": planned.plan.to_json(),
        "schedule": [slot.to_json() for slot in schedule(planned.plan)],
    }
    return {"result": True, "comment": comment, "retcode": 0, **found}


@salt_runner
def apply(plan, approved_by="", reason="", test=False, quiet=False):
    """
    Carry out a stored plan, if all that it was made from is still so.

    Refused (exit code 2, with the command to plan again) when the revision, the pins, the nodes
    that answer, the artifacts or the formulas have moved since; an upgrade also when the cluster
    wants a rehearsal of it and there is none (``rehearsal:shadow:policy``). Ctrl-C lets it finish
    its wave and pause; a second one ends this process, and the rollout can be resumed.

    plan
        Its hash, or the first digits of it
    approved_by
        Who approved it, for the history
    reason
        Why, for the history
    test
        Only say whether it could be applied
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run rollout.apply 1f0c9a3b77de approved_by=oncall reason='ticket 4711'
    """
    rolling = _rolling(quiet=quiet)
    if test:
        found = rolling.rollouts.plan(str(plan))
        reasons = rolling.moved(found)
        if not reasons:
            rolling.demand(found)
        told = " ".join(reasons) or f"Plan {found.hash[:12]} can be applied."
        return {"result": not reasons, "comment": told, "retcode": 2 if reasons else 0}
    return rolling.run(rolling.begin(str(plan), str(approved_by), str(reason)))


@salt_runner
def begin(
    plan=None, workflow=None, cluster=None, revision=None, approved_by="", reason="", test=False,
    quiet=False, **options,
):  # fmt: skip
    """
    Begin a rollout without doing any step; ``rollout.phase`` does them. For orchestrations.

    A plan whose rollout is under way already is gone on with, and so is a ``deploy`` that stopped.

    plan
        Hash of a stored plan; without one it is made here, of
    workflow
        as in ``rollout.plan``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    revision
        Git ref to move to, as in ``rollout.plan``
    approved_by
        Who approved it, for the history
    reason
        Why, for the history
    test
        Make and show the plan only
    quiet
        No progress lines on standard error
    options
        As in ``rollout.plan``

    CLI Example:

    .. code-block:: bash

        salt-run rollout.begin plan=1f0c9a3b77de
        salt-run rollout.begin workflow=change revision=HEAD
    """
    rolling = _rolling(cluster, quiet)
    if plan and (workflow or revision):
        raise PlanError("a plan says itself what it does", cure="Drop workflow= and revision=")
    if not plan:
        if not workflow:
            raise PlanError("nothing is named", cure="Give plan=HASH or workflow=NAME")
        request, ref = _request(workflow, cluster, options), str(revision) if revision else None
        if request.workflow == "deploy":
            deploying = Deploying(_rolling(request.cluster, quiet))
            return deploying.begin(request, ref, str(approved_by), str(reason), test=test)
        plan = rolling.plan(request, ref).hash
    return rolling.started(str(plan), str(approved_by), str(reason), test=test)


@salt_runner
def phase(name, plan=None, cluster=None, test=False, quiet=False):
    """
    Carry a rollout on to the end of one phase of its plan. For orchestrations.

    name
        ``preflight``, ``foundation``, ``infrastructure``, ``control``, ``resources``, ``sanity`` or
        ``commit``
    plan
        Hash of its plan, or its id; default the only rollout under way in the cluster
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Only say what it would do, by the latest plan of the cluster
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run rollout.phase control
    """
    rolling = _rolling(cluster, quiet)
    if test:
        return rolling.foretold(str(name), plan)
    return rolling.phase(str(name), plan, (lambda text: None) if quiet else _line)


@salt_runner
def pause(rollout=None, cluster=None):
    """
    Let a rollout stop after the wave that it is at, with everything back in service.

    rollout
        Its id; default the only one under way
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run rollout.pause
    """
    rolling = _rolling(cluster)
    return rolling.pause(rolling.find(rollout).id)


@salt_runner
def resume(rollout=None, cluster=None, quiet=False):
    """
    Go on with a rollout that is paused, or whose process is gone.

    rollout
        Its id; default the only one under way
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run rollout.resume r20261122-1
    """
    rolling = _rolling(cluster, quiet)
    return rolling.resume(rolling.find(rollout).id)


@salt_runner
def retry(rollout=None, cluster=None, assume=None, quiet=False):
    """
    Go on with a rollout that failed: what failed is done once more, by whoever mended it.

    rollout
        Its id; default the only one under way
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    assume
        Of steps that may not run twice and whose outcome nobody knows: ``ran`` takes them as done,
        ``not`` has them run
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run rollout.retry r20261122-1
        salt-run rollout.retry r20261122-1 assume=ran
    """
    rolling = _rolling(cluster, quiet)
    return rolling.retry(rolling.find(rollout).id, str(assume or ""))


@salt_runner
def abort(rollout=None, cluster=None, reason="", quiet=False):
    """
    End a rollout after its present step; all that it took out of service is given back.

    What was done stays: ``rollout.rollback`` takes it back.

    rollout
        Its id; default the only one under way
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    reason
        Why, for the history
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run rollout.abort r20261122-1 reason='the window is over'
    """
    rolling = _rolling(cluster, quiet)
    return rolling.abort(rolling.find(rollout).id, str(reason))


@salt_runner
def rollback(
    rollout, accept_loss=False, approved_by="", reason="", test=False, data=False, quiet=False
):
    """
    Take a rollout back: what it did, in reverse order, and the pins as they were.

    Refused past the point of no return. What the nodes say about the services is saved first.

    rollout
        Its id
    accept_loss
        Also past the point of no return; ``test=True`` says what would be lost
    approved_by
        Who approved it, for the history
    reason
        Why, for the history
    test
        Make and show the plan only
    data
        In test mode return plain data in place of a table
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run rollout.rollback r20261122-1 test=True
        salt-run rollout.rollback r20261122-1
    """
    rolling = _rolling(quiet=quiet)
    given = str(rollout)
    if not test:
        return rolling.rollback(
            given,
            accept_loss=bool(accept_loss),
            approved_by=str(approved_by),
            reason=str(reason),
        )
    planned, lost = rolling.undoing(given, accept_loss=bool(accept_loss))
    if not data:
        return "\n".join([planned.text, *(f"Would be lost: {sentence}" for sentence in lost)])
    told = "\n".join([f"Plan {planned.hash[:12]} would be applied:", planned.table, *lost])
    found = {"hash": planned.hash, "plan": planned.plan.to_json(), "losses": lost}
    return {"result": None, "comment": told, "changes": {"plan": planned.hash}, **found}


@salt_runner
def unlock(rollout=None, cluster=None, force=False):
    """
    Take the locks off a rollout whose process is gone and that nobody will go on with.

    rollout
        Its id; default the only one under way
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    force
        Also when that process may still be there (it was on another host)

    CLI Example:

    .. code-block:: bash

        salt-run rollout.unlock r20261122-1
    """
    rolling = _rolling(cluster)
    return rolling.unlock(rolling.find(rollout).id, force=bool(force))
