"""
Rehearse an upgrade: its migrations on copies of the databases, with production live
=====================================================================================

The last dumps of the databases are loaded into a server of their own, on the host with the role
``rehearsal.shadow``. There each service is taken to the next release by the functions that the
upgrade itself calls; each API of that release is asked; then the databases are put back, as when
an upgrade is taken back. Thin: :mod:`saltern.rehearsal` decides and carries out.

Exit codes: 0 green, 1 red, 2 refused.
"""

from saltern.adapters.journal import open_journal
from saltern.adapters.master import Site, who
from saltern.adapters.members import listed
from saltern.adapters.rehearsals import Rehearsals
from saltern.adapters.rehearsing import Rehearser, told
from saltern.adapters.runner import salt_runner
from saltern.errors import PlanError, RehearsalRefusedError
from saltern.rehearsal import outcome

__virtualname__ = "rehearse"


def __virtual__():
    return __virtualname__


@salt_runner
def run(cluster=None, revision=None, bundle=None, take=False, test=False, quiet=False):
    """
    Rehearse the upgrade to a revision. Production is only read from: nothing of it can be reached
    from where the migrations run.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    revision
        Git ref of the upgrade, or several, one for each hop; default ``saltern:revision``
    bundle
        Dumps to rehearse with, ``galera.server/<host>/<id>``; default: the newest
    take
        Take new dumps first: writes of the member that they are of are held meanwhile
    test
        Only say what would be rehearsed
    quiet
        No progress lines on standard error

    Returns ``{result, comment, id, state: green | red, releases: {service: [before, after]},
    steps: [{title, service, phase, result, seconds, sentence, warnings}], …}``; ``retcode`` 1 when
    something failed, 2 refused.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run revision=v2026.1
        salt-run rehearse.run revision=worktree take=True
    """
    site = Site.of(__opts__, cluster)
    by = who(__opts__, globals().get("__user__", ""))
    rehearser = Rehearser(__opts__, site, by, bool(quiet))
    return rehearser.run(
        listed(str(revision) if revision else None),
        str(bundle or ""),
        take=bool(take),
        test=bool(test),
    )


@salt_runner
def status(cluster=None, limit=10):
    """
    List rehearsals of a cluster, the latest first, and say of the latest how it stands.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    limit
        How many at most

    Returns ``{result, comment, rehearsals: [{id, state, releases, begun, sentence}]}``.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.status
    """
    site, known = _known(cluster)
    found = known.list(site.cluster, int(limit))
    if not found:
        return {"result": True, "comment": f"Nothing was rehearsed in {site.cluster}.",
                "rehearsals": []}  # fmt: skip
    last = known.get(found[0].id)
    comment = f"Rehearsal {last.id} is {last.state}. {last.sentence}".strip()
    if last.state == outcome.RUNNING and last.records:
        comment += f" Done: {len(last.records)} steps, the last one {last.records[-1].title}."
    keys = ("id", "state", "releases", "node", "bundle", "by", "begun", "ended", "sentence")
    rows = [{key: outcome.to_json(one)[key] for key in keys} for one in found]
    return {"result": True, "comment": comment, "rehearsals": rows}


@salt_runner
def report(rehearsal=None, cluster=None, format="markdown"):
    """
    Tell what a rehearsal found: each service with its durations, failures, warnings.

    rehearsal
        Its id; default the latest
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    format
        ``markdown`` or ``json``

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.report --out=newline_values_only
    """
    site, known = _known(cluster)
    if format not in ("markdown", "json"):
        raise PlanError(f"there is no format {format}", cure="Say markdown or json")
    name = str(rehearsal or "")
    if not name:
        found = known.list(site.cluster, 1)
        if not found:
            raise RehearsalRefusedError(
                "nothing was rehearsed", where=site.cluster, cure="`salt-run rehearse.run`"
            )
        name = found[0].id
    one = known.get(name)
    return outcome.report(one) if format == "markdown" else told(one)


def _known(cluster):
    site = Site.of(__opts__, cluster)
    if not site.journal:
        raise RehearsalRefusedError(
            "this master has no journal, so nothing of a rehearsal would be kept",
            cure="Set saltern:store and saltern:journal as etc/master.d/20-saltern-model.conf",
        )
    return site, Rehearsals(open_journal(site.journal))
