"""
Things in a cloud that must survive every rollout, with their data
==================================================================

Canaries live in a project of their own: a user who logs in with its password, a credential, an
image, a network with a router, a server behind a floating address, a volume attached to it, an
object in the object store. Make them once, prove them after each rollout.

Configuration (master)::

    saltern:
      cluster: demo                   # the default
      model: /srv/saltern/model
      journal: sqlite:////srv/saltern/journal/journal.db
      site_key: /srv/saltern/journal/site.key
"""

from saltern.adapters.master import Site, who
from saltern.adapters.runner import salt_runner
from saltern.errors import PreflightError

__virtualname__ = "canary"
__func_alias__ = {"list_": "list"}


def __virtual__():
    return __virtualname__


@salt_runner
def create(cluster=None, cloud="admin", data=False, quiet=False):
    """
    Make the canaries of a cloud, of all that its catalogue offers; exit code 1 when one fails.

    What is there already stays as it is; what a run that was ended began is finished.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    cloud
        ``admin``: the administrator of the model; else an entry of the master's clouds.yaml
    data
        Return the rows as plain data in place of a table
    quiet
        No progress lines on standard error

    Returns ``result``, ``comment`` (one line, with every failure), ``failures``, ``seconds``,
    ``table`` or ``data``, ``retcode``.

    CLI Example:

    .. code-block:: bash

        salt-run canary.create cluster=demo
        salt-run canary.create cluster=demo data=True --out=json
    """
    return _run("create", cluster, cloud, data, quiet)


@salt_runner
def verify(cluster=None, cloud="admin", data=False, quiet=False):
    """
    Prove that each canary is the one that was made, with the same data; exit code 1 when not.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    cloud
        As it was given to ``create``
    data
        Return the rows as plain data in place of a table
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run canary.verify cluster=demo
        salt-run canary.verify cluster=demo data=True quiet=True --out=json
    """
    return _run("verify", cluster, cloud, data, quiet)


@salt_runner
def destroy(cluster=None, cloud="admin", data=False, quiet=False):
    """
    Remove the canaries of a cloud; exit code 1 when something is left, and it is named.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    cloud
        As it was given to ``create``
    data
        Return the rows as plain data in place of a table
    quiet
        No progress lines on standard error

    CLI Example:

    .. code-block:: bash

        salt-run canary.destroy cluster=demo
    """
    return _run("destroy", cluster, cloud, data, quiet)


@salt_runner
def list_(cluster=None, cloud="admin", data=False):
    """
    List what is remembered of the canaries; the cloud is not asked.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    cloud
        As it was given to ``create``
    data
        Return plain data, with all facts, in place of a table

    CLI Example:

    .. code-block:: bash

        salt-run canary.list cluster=demo
        salt-run canary.list cluster=demo data=True --out=json
    """
    canaries, _, book = _book(cluster, cloud)
    return canaries.listed_of(book) if data else canaries.text(book)


def _book(cluster, cloud):
    """The adapter, the site, and what is remembered of the cloud."""
    try:
        from saltern.adapters import canaries
    except ImportError as err:
        raise PreflightError(
            f"{err.name} cannot be imported", where="master", cure="Install saltern[master]"
        ) from None
    site = Site.of(__opts__, cluster)
    by = who(__opts__, globals().get("__user__", ""))
    return canaries, site, canaries.book_of(site, str(cloud), by)


def _run(verb, cluster, cloud, data, quiet):
    canaries, site, book = _book(cluster, cloud)
    keeper = canaries.keeper(__opts__, site, book, quiet=bool(quiet))
    with book.claimed():
        report = getattr(keeper, verb)()
    failures = report.failures
    return {
        "result": not failures,
        "comment": report.comment,
        "failures": failures,
        "seconds": round(sum(row.seconds for row in report.rows), 1),
        "retcode": 1 if failures else 0,
        **({"data": report.data()} if data else {"table": report.table()}),
    }
