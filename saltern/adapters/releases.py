"""What a master's cluster runs and shall run, and the hops between: for the runner ``release``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite, source_of
from saltern.adapters.observing import served
from saltern.adapters.rollouts import HISTORY, Rollouts
from saltern.errors import PreflightError, SalternError
from saltern.model.cluster import CompiledNode
from saltern.release import mixed as between
from saltern.release import observe, show
from saltern.release.lifecycle import Catalogue, load
from saltern.release.moves import versions
from saltern.release.solve import Answer, solve
from saltern.rollout.load import RevisionSource
from saltern.rollout.owed import Owed, owed

#: Changes of pins and deployments that are looked back at.
CHANGES = 20000


def path(
    site: Site,
    to: Any = None,
    now: Any = None,
    own: Any = None,
    allow: Any = None,
    *,
    direct: bool = False,
) -> tuple[Catalogue, observe.Request, Answer]:
    """Find the hops of a cluster.

    :param site: with the name of the cluster
    :param to: as in :func:`saltern.release.observe.request`; None: what ``saltern:revision`` says,
        where that differs from what nodes are served
    :param now: versions that are right where the model is not
    :param own: products with packages of their own
    :param allow: products that may take the exceptional way
    :param direct: each wanted product in one hop, and no other
    :raises ReleaseError: unknown product or version, or the catalogue is broken
    :raises SalternError: the model cannot be read
    """
    catalogue = load()
    nodes = source_of(site).nodes(site.cluster)
    if to is None:
        to = _wanted(catalogue, site, nodes, now)
        if not to:
            request = observe.Request(observe.running(catalogue, nodes, {}), {})
            return catalogue, request, Answer()
    request = observe.request(catalogue, nodes, to, now, own, allow)
    return catalogue, request, solve(catalogue, request, direct=direct)


def mixed(
    model: ModelSite, rollouts: Rollouts, now: float
) -> tuple[list[between.Mixed], dict[str, Owed]]:
    """Find what a cluster has of two releases, and what rollouts left to do.

    :param model: the master's model, with the name of the cluster
    :param rollouts: their journal
    :param now: seconds since the epoch
    :raises SalternError: model or journal cannot be read
    """
    cluster, catalogue = model.site.cluster, load()
    left = left_to_do(rollouts, cluster)

    @cache
    def has(node: str, revision: str) -> Mapping[str, str]:
        try:
            return versions(catalogue, model.find(revision).node(node))
        except SalternError:
            return {}  # neither in the store nor in git any more, or without this node

    def since(family: Collection[str], nodes: Collection[str], version: str) -> float | None:
        history = model.journal.history(cluster=cluster, limit=CHANGES)

        def newest(node: str, revision: str) -> bool:
            told = has(node, revision)
            return any(told.get(name) == version for name in family)

        changes = [(change.at.timestamp(), change) for change in reversed(history)]
        return between.first(changes, nodes, newest)

    unfinished = {node: (one.roles, one.since) for node, one in left.items()}
    return between.mixed(catalogue, served(model), since, now, unfinished), left


def left_to_do(rollouts: Rollouts, cluster: str) -> dict[str, Owed]:
    """Return node to what the latest rollouts of a cluster began there and did not end.

    :raises JournalError: the journal cannot be read
    """
    latest = rollouts.list(cluster, limit=HISTORY)
    return owed(rollouts.load(one.id) for one in reversed(latest))


def _wanted(
    catalogue: Catalogue, site: Site, nodes: Mapping[str, CompiledNode], now: Any
) -> dict[str, str]:
    """What the wanted revision says that is not so already."""
    if not site.journal:
        raise PreflightError(
            "this master keeps no revisions, so nothing says what is wanted",
            cure="Give to=VERSION, or to='openstack=2026.1,ceph=squid'",
        )
    said = observe.known(catalogue, now, "now")
    present = observe.running(catalogue, nodes, said)
    revision = ModelSite(site).find(site.revision)
    later = observe.running(catalogue, RevisionSource(revision).nodes(site.cluster), {})
    return {
        name: version
        for name, version in later.items()
        if name in present and present[name] != version
    }


def matrix(product: str | None = None, *, data: bool = False) -> str | dict[str, Any]:
    """Return the catalogue as text, or as plain data.

    :param product: only this one
    :raises ReleaseError: there is no such product, or the catalogue is broken
    """
    catalogue = load()
    return show.matrix_data(catalogue, product) if data else show.matrix(catalogue, product)
