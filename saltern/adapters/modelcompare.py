"""Comparisons on a master: what is served now against what would be, and what was at a time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from saltern.adapters import sitekey
from saltern.adapters.formulas import differ, formulas_at
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite, formulas_beside
from saltern.adapters.modeltools import inventory_at
from saltern.adapters.render import available, both_sides
from saltern.adapters.serving import site_key_file
from saltern.errors import ModelError, SecretError
from saltern.model import drawing, generate, graph, redact
from saltern.model import impact as library
from saltern.model.diff import Difference, compare
from saltern.model.impact import Impact
from saltern.model.schema import formulas_path, role_schema
from saltern.model.store import Revision

#: in place of a ref: what a cluster is served now
DEPLOYED = "deployed"


def pair(
    model: ModelSite, before: str | None, after: str | None, cluster: str
) -> tuple[Revision, Revision]:
    """Return the two revisions that are meant.

    :param before: git ref, or ``deployed`` (the default): what the cluster is served now
    :param after: git ref; default ``saltern:revision``, what a deployment would take
    :raises ModelError: there is no such revision, or the cluster has none deployed
    """
    return _revision(model, before or DEPLOYED, cluster), _revision(
        model, after or model.site.revision, cluster
    )


def difference(
    site: Site, before: str | None, after: str | None, nodes: Sequence[str] | None = None
) -> Difference:
    """Compare a cluster at two revisions; see :func:`saltern.model.diff.compare`.

    Secrets are hashed with a key made from the site's, so that two outputs of one site compare.
    """
    one, two = pair(ModelSite(site), before, after, site.cluster)
    formulas = _formulas(site)
    return compare(
        one,
        two,
        key=_key(site),
        schemas=lambda role: role_schema(formulas, role),
        cluster=site.cluster,
        only=nodes,
    )


def touched(
    site: Site, before: str | None, after: str | None, nodes: Sequence[str] | None = None
) -> Impact:
    """Say what moving a cluster between two revisions would touch.

    See :func:`saltern.model.impact.impact`; states are rendered in processes of their own.
    """
    one, two = pair(ModelSite(site), before, after, site.cluster)
    key = redact.process_key()
    found = compare(one, two, key=key, cluster=site.cluster, only=nodes)
    why_not = available()
    if why_not:
        return library.impact(one, two, found, None, key=key, note=why_not)
    with formulas_at(site.model, one.id) as old, formulas_at(site.model, two.id) as new:
        other = differ(old, new)
        render = both_sides(old, new if other else old)
        return library.impact(one, two, found, render, key=key, formulas_differ=other)


@dataclass(frozen=True)
class Moment:
    """What was true at a time: the commit of the branch, and what was served."""

    commit: str
    subject: str
    served: dict[str, str | None]


def moment(
    model: ModelSite, when: datetime, node: str | None = None, cluster: str | None = None
) -> Moment:
    """Say what was served at a time, from the journal, and which commit was current.

    :param when: an aware time
    :param node: a minion id, or
    :param cluster: a cluster; default all that have a deployed revision now
    :returns: ``served``: node or cluster to revision id, None when nothing was served
    :raises SalternError: the journal cannot be read
    """
    if node is not None:
        served = {node: model.journal.at(when, node=node)}
    else:
        names = [cluster] if cluster else sorted(model.journal.deployed())
        served = {name: model.journal.at(when, cluster=name) for name in names}
    try:
        repo = model.repo
        commit, subject, _ = repo.commit_info(repo.before(when.timestamp()))
    except ModelError:  # the branch is younger, or the model is in no repository
        commit, subject = "", ""
    return Moment(commit, subject, served)


def picture(site: Site, node: str, revision: str | None = None) -> str:
    """Return the class graph of a node as SVG."""
    with inventory_at(site, revision) as inventory:
        found = graph.class_graph(inventory, node)
    return drawing.to_svg(found, note=f"revision {revision}" if revision else "")


def generated(site: Site, answers: str, *, test: bool = False) -> list[str]:
    """Write a new cluster into the master's model; see :func:`saltern.model.generate.write`.

    :param answers: path of the file of answers on the master
    :param test: write nothing
    :returns: paths of what was written, or would be
    """
    path = Path(answers)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ModelError(f"cannot read the answers: {err}", where=str(path)) from None
    found = generate.read(text, path.name)
    if test:
        return [file.path for file in generate.changes(site.model, found)]
    return generate.write(site.model, found)


def _revision(model: ModelSite, ref: str, cluster: str) -> Revision:
    if ref != DEPLOYED:
        return model.find(str(ref))
    found = model.journal.deployed(cluster).get(cluster)
    if found is None:
        raise ModelError(
            f"cluster {cluster} has no deployed revision",
            cure="Name both revisions, or deploy it first",
        )
    return model.find(found)


def _formulas(site: Site) -> Path:
    with inventory_at(site, "worktree") as inventory:
        return formulas_path(inventory, formulas_beside(site))


def _key(site: Site) -> bytes:
    """A key of the site's own that gives away nothing of the site key."""
    path = site_key_file(site.journal, site.site_key)
    if path is None:
        return redact.process_key()
    try:
        return hmac.new(sitekey.read(path), b"hashes of secrets", hashlib.sha256).digest()
    except SecretError:
        return redact.process_key()
