"""
Use a cloud as its users do
===========================

Real clients through the virtual address: tokens on every controller, projects and users, an image
up and down, an inventory. Which checks run depends on the roles that the cluster has. Everything
that a check makes is removed again, also when it fails.

Configuration (master)::

    saltern:
      cluster: demo-core              # the default
      model: /srv/saltern/model
"""

from saltern.adapters.master import Site
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


def _members(site):
    """Minion ids of the cluster by role."""
    found = {}
    for node_id, node in source_of(site).nodes(site.cluster).items():
        for role in node.applications:
            found.setdefault(role, []).append(node_id)
    return found
