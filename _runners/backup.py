"""
Backups of a cluster: take, look, verify, restore, expire
=========================================================

Thin: :mod:`saltern.backup` decides and carries out. What is backed up and how, the lifecycles of
the roles say that the model calls stateful.
"""

from __future__ import annotations

import logging
from datetime import timezone

from saltern.adapters.master import MasterEvents, Site
from saltern.adapters.members import listed
from saltern.adapters.modelsite import ModelSite, source_of
from saltern.adapters.rollouts import Rollouts
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.backup import bundles, retention, run, sources
from saltern.errors import BackupRefusedError, LockedError
from saltern.rollout.ports import RUNNING

log = logging.getLogger(__name__)

__virtualname__ = "backup"

GALERA = "galera.server"


def __virtual__():
    return __virtualname__


@salt_runner
def take(
    roles=None, kinds=None, databases=None, cluster=None, interrupt=False, idle=False, label=None,
    test=False,
):  # fmt: skip
    """
    Make bundles of everything that the model calls stateful.

    roles
        Only these, ``galera.server,pki.ca``
    kinds
        ``full``, ``logical``, ``incremental``; default: the first two. A role without one of them
        is left out
    databases
        Of logical bundles: only these, ``nova,nova_api``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    interrupt
        Hold what clients write where only the member that they write to is left
    idle
        Not while a rollout is under way, as for a schedule
    label
        What logical bundles are taken for, ``before-2026.1``: ``backup.restore`` finds them by it
    test
        Only say what would be taken

    Returns ``{result, comment, changes: {role: {path: kind}}, bundles}``; ``retcode`` 1 when one
    was not taken, 2 refused.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take
        salt-run backup.take roles=galera.server kinds=logical databases=nova,nova_api
    """
    backups, settings = _backups(cluster)
    if idle:
        _refuse_beside_a_rollout(backups.cluster)
    done = backups.take(
        listed(roles),
        listed(kinds) or run.KINDS,
        databases=listed(databases),
        interrupt=bool(interrupt),
        longest=int(settings.get("incrementals", run.LONGEST)),
        label=str(label or ""),
        test=bool(test),
    )
    return done.to_ret(test=bool(test))


@salt_runner
def list_(role=None, kind=None, cluster=None):
    """
    List the bundles that there are, the oldest first.

    role
        Only of this role
    kind
        Only of this kind
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    Returns ``{result, comment, bundles: [{path, finished, bytes, position, restores: whether all
    that it builds on is there}], unfinished: {path: age}, damaged: {path: why}}``.

    CLI Example:

    .. code-block:: bash

        salt-run backup.list
        salt-run backup.list role=galera.server kind=logical
    """
    store = _backups(cluster)[0].store()
    shown = [
        {
            "path": one.path,
            "finished": bundles.shown(one.finished),
            "bytes": one.size,
            "position": one.position,
            "restores": run.choose.whole(store.bundles, one),
        }
        for one in store.bundles
        if role in (None, one.role) and kind in (None, one.kind)
    ]
    size = sum(one["bytes"] for one in shown)
    return {
        "result": not store.damaged,
        "comment": f"{len(shown)} bundles with {size / 1e9:.1f} GB on {store.node}, which has"
        f" {store.free / 1e9:.1f} GB of free space.",
        "bundles": shown,
        "unfinished": dict(store.unfinished),
        "damaged": dict(store.damaged),
    }


@salt_runner
def status(cluster=None):
    """
    Say for each role what its newest bundles are, and how old.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    Returns ``{result, comment, roles: {role: {kind: {path, age: hours}}}, words: {role: what its
    class says}, silent: [stateful roles without a backup]}``; ``result`` is False when a role that
    is backed up has no bundle, or one is damaged.

    CLI Example:

    .. code-block:: bash

        salt-run backup.status
    """
    backups, _ = _backups(cluster)
    store, found = backups.store(), {}
    for one in store.bundles:
        age = round((store.now - one.finished).total_seconds() / 3600, 1)
        found.setdefault(one.role, {})[one.kind] = {"path": one.path, "age": age}
    lost = sorted(set(backups.sources.found) - set(found))
    text = f"{', '.join(lost)} has no bundle." if lost else "Everything has a bundle."
    return {
        "result": not lost and not store.damaged,
        "comment": f"{text} {store.node} has {store.free / 1e9:.1f} GB of free space.",
        "roles": found,
        "words": dict(backups.sources.told),
        "silent": list(backups.sources.silent),
        "damaged": dict(store.damaged),
    }


@salt_runner
def inspect(bundle, cluster=None):
    """
    Show the manifest of a bundle, as a host of its role reads it: its seal is checked.

    bundle
        ``<role>/<host>/<id>``
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    CLI Example:

    .. code-block:: bash

        salt-run backup.inspect galera.server/inf03…/20260101T0Z-logical-1a2b
    """
    return _backups(cluster)[0].inspect(str(bundle)).to_ret()


@salt_runner
def verify(bundle=None, roles=None, cluster=None):
    """
    Restore bundles aside, on a host of their role, and compare what comes out.

    Databases are restored into a server of their own: dumps are dumped again and must be the same,
    of copies every table is checked.

    bundle
        ``<role>/<host>/<id>``; default: the newest of each role and kind
    roles
        Only of these
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master

    Returns ``{result, comment, verified: [paths]}``; ``retcode`` 1 when one is not as it was.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify
        salt-run backup.verify roles=galera.server
    """
    return _backups(cluster)[0].verify(str(bundle or ""), listed(roles)).to_ret()


@salt_runner
def restore(
    role=GALERA, bundle=None, point=None, databases=None, suffix=None, kind=None, host=None,
    replace=False, label=None, cluster=None, test=False,
):  # fmt: skip
    """
    Restore from a bundle; without ``replace`` nothing that is there is touched.

    role
        Whose data
    bundle
        ``<role>/<host>/<id>``; default: the newest, or the newest of ``point``
    point
        Time that the data shall be of at the latest, ``2026-01-01T12:00:00Z``
    databases
        Only these, from dumps: ``nova,nova_api``
    suffix
        They are loaded under their names with this behind, ``_rehearsal``
    kind
        Of ``galera.server``: ``logical`` (default) for databases, ``full`` for the whole cluster
    host
        Of roles whose hosts have data of their own: whose, and where
    replace
        Put the data in the place of those that are there, whose services must be stopped
    label
        Of ``logical``: only a bundle that was taken for this
    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Only say what would be done

    Returns ``{result, comment, changes, bundle}``; ``retcode`` 1 failed, 2 refused.

    CLI Example:

    .. code-block:: bash

        salt-run backup.restore databases=nova,nova_api suffix=_rehearsal
        salt-run backup.restore databases=nova,nova_api replace=True
        salt-run backup.restore kind=full point=2026-01-01T12:00:00Z replace=True test=True
        salt-run backup.restore pki.ca
    """
    backups, _ = _backups(cluster)
    bundle, test, replace = str(bundle or ""), bool(test), bool(replace)
    when = _moment(point)
    if role != GALERA:
        done = backups.place(role, str(host or ""), bundle, when, replace=replace, test=test)
    elif kind in (None, bundles.LOGICAL):
        names = listed(databases)
        if bool(suffix) == replace:
            raise BackupRefusedError(
                "it must be said whether databases are replaced",
                cure="Say suffix=_rehearsal to load them beside, or replace=True",
            )
        done = backups.load(
            role,
            {name: f"{name}{suffix or ''}" for name in names},
            bundle,
            when,
            label=str(label or ""),
            test=test,
        )
    elif kind == bundles.FULL:
        if not replace or databases:
            raise BackupRefusedError(
                "a full bundle replaces the data of the whole cluster",
                cure="Say replace=True and no databases, or kind=logical",
            )
        done = backups.rebuild(role, bundle, when, test=test)
    else:
        raise BackupRefusedError(f"there is no kind {kind}", cure="Say logical or full")
    return done.to_ret(test=test)


@salt_runner
def expire(cluster=None, test=False):
    """
    Remove the bundles that ``backup:scheduler:retention`` does not keep.

    cluster
        Name of the cluster; default ``saltern:cluster`` of the master
    test
        Only say which

    CLI Example:

    .. code-block:: bash

        salt-run backup.expire test=True
    """
    backups, settings = _backups(cluster)
    try:
        policy = retention.Policy.of(settings.get("retention"))
    except (TypeError, ValueError) as err:
        raise BackupRefusedError(f"backup:scheduler:retention is none: {err}") from None
    return backups.expire(policy, test=bool(test)).to_ret(test=bool(test))


def _backups(cluster):
    """Return the backups of a cluster, and what its model says of the schedule."""
    site = Site.of(__opts__, cluster)
    nodes = source_of(site).nodes(site.cluster)
    settings = {}
    for node in nodes.values():
        settings = ((node.pillar.get("backup") or {}).get("scheduler")) or settings
    return run.Backups(SaltBus(__opts__), site.cluster, sources.read(nodes), _tell), settings


def _refuse_beside_a_rollout(cluster):
    site = Site.of(__opts__, cluster)
    if not site.journal:
        return
    found = Rollouts(ModelSite(site).journal, lambda ref: None).list(cluster, RUNNING, 1)
    if found:
        raise LockedError(
            f"rollout {found[0].id} is under way, so nothing is backed up by schedule",
            where=cluster,
            cure="The next time comes; `salt-run backup.take` without idle= takes one now",
        )


def _moment(point):
    if not point:
        return None
    if hasattr(point, "tzinfo"):
        # a command line's time is a time already
        return point if point.tzinfo else point.replace(tzinfo=timezone.utc)
    try:
        return bundles.moment(str(point))
    except ValueError:
        raise BackupRefusedError(
            f"{point} is no time", cure="Write it as 2026-01-01T12:00:00Z"
        ) from None


def _tell(sentence):
    log.info("backup: %s", sentence)
    MasterEvents(__opts__).emit("backup", {"message": sentence}, sentence)


__func_alias__ = {"list_": "list"}
