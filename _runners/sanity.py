"""
Use a cloud as its users do
===========================

Real clients through the virtual address: tokens on every controller, projects and users, an image
up and down, an inventory. Which checks run depends on the roles that the cluster has. Everything
that a check makes is removed again, also when it fails. ``sanity.tempest`` runs the API suite.

Configuration (master)::

    saltern:
      cluster: demo-core              # the default
      model: /srv/saltern/model
"""

from saltern.adapters.journal import open_journal
from saltern.adapters.master import MasterEvents, MonotonicClock, Site, who
from saltern.adapters.modelsite import source_of
from saltern.adapters.openstack import sanity_target
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.errors import PreflightError
from saltern.sanity.target import ROLE

__virtualname__ = "sanity"


def __virtual__():
    return __virtualname__


@salt_runner
def run(cluster=None, data=False):
    """
    Run the sanity checks of a cluster; exit code 1 when one fails.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    data
        Return the rows as plain data in place of a table

    Returns ``result``, ``comment`` (one line, with every failure), ``failures``, ``seconds``,
    ``table`` or ``data``, ``retcode``.

    CLI Example:

    .. code-block:: bash

        salt-run sanity.run cluster=demo-core
        salt-run sanity.run cluster=demo-core data=True --out=json
    """
    try:
        from saltern.sanity.nodes import run as on_nodes
        from saltern.sanity.run import Report
        from saltern.sanity.run import run as run_checks
    except ImportError as err:
        raise PreflightError(
            f"{err.name} cannot be imported", where="master", cure="Install saltern[master]"
        ) from None
    site = Site.of(__opts__, cluster)
    members = _members(site)
    rows = on_nodes(SaltBus(__opts__), members)
    # a cluster without a cloud has none to ask; one without anything to use is no success
    if ROLE in members or not rows:
        rows = [*run_checks(sanity_target(__opts__, site)).rows, *rows]
    report = Report(site.cluster, tuple(rows))
    failures = report.failures
    return {
        "result": not failures,
        "comment": report.comment,
        "failures": failures,
        "seconds": round(sum(row.seconds for row in report.rows), 1),
        "retcode": 1 if failures else 0,
        **({"data": report.data()} if data else {"table": report.table()}),
    }


@salt_runner
def tempest(
    regex="smoke", concurrency=2, exclude=(), cluster=None, limit=7200, data=False, quiet=False
):
    r"""
    Run OpenStack's API suite, Tempest; exit code 1 when a test fails or none passes.

    It runs on the node with the role ``tempest.client``, with ``tempest.conf`` and
    ``accounts.yaml`` of the model. What it found is kept: as JUnit XML beside the journal, counts
    and failures in the journal (``sanity.history``).

    regex
        Tests whose name or tags match run; a list: one of them; default what upstream tags smoke
    concurrency
        Workers. Each takes up to two accounts of ``tempest:client:accounts``
    exclude
        Expressions of tests to leave out, beside ``tempest:client:exclude`` of the model
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    limit
        Seconds after which the run is stopped
    data
        Return every test as plain data in place of a table
    quiet
        Print no progress on standard error

    Returns ``result``, ``comment`` (one line, with every failure), ``run``, ``junit`` (path on the
    master), ``passed``, ``failed``, ``skipped``, ``seconds``, ``table`` or ``data``, ``retcode``.

    CLI Example:

    .. code-block:: bash

        salt-run sanity.tempest
        salt-run sanity.tempest regex='tempest\.api\.image' concurrency=1
    """
    from dataclasses import asdict

    from saltern.adapters import suites
    from saltern.sanity import suite

    site = Site.of(__opts__, cluster)
    asked = {"regex": _texts(regex), "concurrency": concurrency, "exclude": _texts(exclude)}
    outcome, junit = suite.run(
        SaltBus(__opts__),
        MonotonicClock(),
        MasterEvents(__opts__, quiet=quiet),
        sorted(_members(site).get(suite.ROLE, ())),
        limit=limit,
        **asked,
    )
    journal = open_journal(site.journal)
    path = suites.keep(journal, site.cluster, outcome, junit)
    by = who(__opts__, globals().get("__user__", ""))
    suites.Suites(journal).note(site.cluster, outcome, asked, by, path)
    tests = [asdict(case) for case in outcome.cases]
    return {
        "result": outcome.ok,
        "comment": outcome.comment,
        "run": outcome.run,
        "junit": str(path),
        **{word: outcome.count(word) for word in ("passed", "failed", "skipped")},
        "seconds": round(outcome.seconds, 1),
        "retcode": 0 if outcome.ok else 1,
        **({"data": tests} if data else {"table": outcome.table()}),
    }


@salt_runner
def history(cluster=None, limit=20):
    """
    List runs of suites against a cluster's cloud, newest first.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    limit
        How many at most

    CLI Example:

    .. code-block:: bash

        salt-run sanity.history limit=5
    """
    from saltern.adapters.suites import Suites

    site = Site.of(__opts__, cluster)
    return {"result": True, "runs": Suites(open_journal(site.journal)).history(site.cluster, limit)}


def _texts(value):
    """A text or a list of them as a list."""
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _members(site):
    """Minion ids of the cluster by role."""
    found = {}
    for node_id, node in source_of(site).nodes(site.cluster).items():
        for role in node.applications:
            found.setdefault(role, []).append(node_id)
    return found
