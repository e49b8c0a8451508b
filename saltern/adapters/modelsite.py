"""A master's model: its repository, the store of compiled revisions, and the journal of pins."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltern.adapters.git import WORKTREE, ModelRepo
from saltern.adapters.journal import Journal, open_journal
from saltern.adapters.master import Site
from saltern.adapters.revisions import compile_revision
from saltern.adapters.serving import Serving
from saltern.errors import ModelError, PreflightError, SalternError
from saltern.model import Inventory
from saltern.model.compiler import Progress
from saltern.model.options import Options
from saltern.model.store import Revision, Store
from saltern.rollout.load import RevisionSource, ServedSource, Source, TreeSource

#: the name of our ext_pillar and top
PLUGIN = "saltern_model"
_STORED = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64}|worktree-[0-9a-f]{12})$")
#: sentences of one kind that a report holds
_SHOWN = 5


def short(revision: str) -> str:
    """Return a revision's id as people read it: a work tree's whole, the start of a commit's."""
    return revision if revision.startswith(f"{WORKTREE}-") else revision[:12]


def pillar_settings(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the master's ext_pillar of ours is configured.

    :param opts: the master's options
    :raises PreflightError: it is not configured, or more than once
    """
    found = [
        entry[PLUGIN]
        for entry in opts.get("ext_pillar") or []
        if isinstance(entry, Mapping) and PLUGIN in entry
    ]
    if len(found) != 1 or not isinstance(found[0], Mapping):
        many = "several" if len(found) > 1 else "no"
        raise PreflightError(
            f"the master has {many} ext_pillar {PLUGIN}",
            where="master configuration",
            cure="Install etc/master.d/20-saltern-model.conf",
        )
    return dict(found[0])


def formulas_beside(site: Site) -> Path | None:
    """Return the formulas that lie beside the model's classes, None where there are none."""
    folder = site.model / "formulas"
    return folder if folder.is_dir() else None


def source_of(site: Site) -> Source:
    """Return the nodes that a cluster's minions are served: each at its revision, or the tree.

    :param site: with the name of the cluster
    :raises PreflightError: the cluster has no deployed revision
    :raises SalternError: journal or store cannot be read
    """
    return ModelSite(site).served() if site.journal else TreeSource(site.model, site.options)


@dataclass(frozen=True)
class Compiled:
    """What :meth:`ModelSite.compile` did.

    :param first: clusters that had no deployed revision and are served this one now
    """

    revision: Revision
    first: tuple[str, ...]


class ModelSite:
    """Everything around the model of one master.

    :param site: its settings
    :raises PreflightError: the settings name no journal
    :raises SalternError: an option of the engine or the journal's address is wrong
    """

    def __init__(self, site: Site) -> None:
        if not site.journal:
            raise PreflightError(
                "this master keeps no revisions",
                where="master configuration",
                cure="Set saltern:store and saltern:journal as etc/master.d/20-saltern-model.conf",
            )
        self.site = site
        self.options = Options.build(site.options)
        self.store = Store(site.store)
        self.journal: Journal = open_journal(site.journal)

    @property
    def repo(self) -> ModelRepo:
        """The model's repository, as it is now."""
        return ModelRepo(self.site.model, self.options)

    # -- revisions -----------------------------------------------------------------------

    def find(self, ref: str) -> Revision:
        """Return the revision of a ref; one that is not stored yet is compiled.

        :param ref: a git ref, ``worktree``, or the full id of a stored revision
        :raises ModelError: there is no such revision, or it does not compile
        """
        if _STORED.match(ref) and self.store.has(ref, options=self.options):
            return self.store.open(ref, options=self.options)
        return compile_revision(self.site.model, ref, self.store, self.options)

    def compile(
        self,
        ref: str,
        by: str,
        reason: str,
        *,
        full: bool = False,
        progress: Progress | None = None,
    ) -> Compiled:
        """Compile a ref; a cluster without deployed revision is served it from now on.

        :param ref: a git ref, or ``worktree``
        :param by: who asks for it
        :param reason: why, for the history
        :param full: compile every node, also of a stored revision
        :raises ModelError: it does not compile; nothing is stored
        :raises JournalError: the journal cannot be written
        """
        revision = compile_revision(
            self.site.model, ref, self.store, self.options, progress, full=full
        )
        first = []
        there = self.journal.deployed() if not self.journal.prepare() else {}
        for cluster in sorted({revision.cluster_of(node) for node in revision.nodes()}):
            if cluster not in there and self.journal.deploy(
                cluster,
                revision.id,
                revision.nodes(cluster),
                by,
                reason,
                first=True,
                guard=self._there(revision),
            ):
                first.append(cluster)
        return Compiled(revision, tuple(first))

    def receive(self, ref: str, remote: str, by: str) -> Compiled:
        """Compile what was pushed to the repository, or to a remote of it.

        :param ref: what was pushed
        :param remote: remote to fetch it from; the branch that is checked out follows only when
            what came compiles. Empty: the ref is here already
        :param by: who asks for it
        :raises ModelError: it cannot be fetched, or does not compile; nothing is stored
        """
        if not remote:
            return self.compile(ref, by, f"received {ref}")
        self._git("fetch", "--quiet", "--no-tags", "--end-of-options", remote, ref)
        commit = self._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        done = self.compile(commit, by, f"received {ref} from {remote}")
        if self._git("rev-parse", "--abbrev-ref", "HEAD").strip() == ref:
            self._git("merge", "--quiet", "--ff-only", commit)
        return done

    def deploy(self, revision: Revision, cluster: str, by: str, reason: str) -> bool:
        """Serve a cluster's nodes a revision from now on; return whether anything changed.

        :raises ModelError: no node of the revision belongs to the cluster
        """
        members = revision.nodes(cluster)
        if not members:
            raise ModelError(
                f"no node belongs to cluster {cluster}", where=f"revision {short(revision.id)}"
            )
        guard = self._there(revision)
        return self.journal.deploy(cluster, revision.id, members, by, reason, guard=guard)

    def _there(self, revision: Revision) -> Callable[[], object]:
        """Whether a revision is still stored, asked when nothing can be collected any more."""
        return lambda: self.store.open(revision.id, options=self.options)

    def gc(self, newest: int, *, dry_run: bool = False) -> list[str]:
        """Remove stored revisions that nobody is served; return their ids.

        :param newest: how many of the newest stay nevertheless
        :param dry_run: only say which
        :raises JournalError: the journal cannot be read, so nothing is removed
        """
        self.journal.in_use()  # a journal that is not there is no empty one
        with self.journal.at_rest() as used:
            return self.store.gc(used, newest, dry_run=dry_run)

    # -- pins ----------------------------------------------------------------------------

    def pin(self, nodes: Iterable[str], ref: str, by: str, reason: str) -> tuple[str, list[str]]:
        """Hold nodes at a revision; return its id and the nodes whose pin changed.

        :param nodes: minion ids, all of them in that revision
        :param ref: as in :meth:`find`
        :raises ModelError: a node is not in the revision; nothing is pinned
        """
        revision = self.find(ref)
        wanted = list(nodes)
        missing = sorted(set(wanted) - set(revision.nodes()))
        if missing:
            raise ModelError(
                f"revision {short(revision.id)} has no node {', '.join(missing[:_SHOWN])}",
                cure="Pin nodes to a revision that has them",
            )
        guard = self._there(revision)
        return revision.id, self.journal.pin(wanted, revision.id, by, reason, guard=guard)

    def status(self, cluster: str | None = None, node: str | None = None) -> dict[str, Any]:
        """Return what is served: by cluster, and the nodes that are pinned.

        :param cluster: only this one
        :param node: one node in place of clusters: its revision, and its cluster
        :raises SalternError: the journal cannot be read, or nothing serves that node
        """
        if node:
            served = self.journal.served(node)
            pins = [pin for pin in self.journal.pins() if pin.node == node]
            return {
                "node": node,
                "cluster": self.journal.cluster_of(node),
                "revision": served,
                "pinned": bool(pins),
                "compiled": self.store.has(served, options=self.options),
            }
        told = {}
        for name, revision in self.journal.deployed(cluster).items():
            told[name] = {
                "revision": revision,
                "nodes": len(self.journal.members(name)),
                "pins": {pin.node: pin.revision for pin in self.journal.pins(name)},
                "compiled": self.store.has(revision, options=self.options),
            }
        return told

    # -- deployment ----------------------------------------------------------------------

    def served(self) -> ServedSource:
        """Return the nodes of the site's cluster as they are served: each one's pin counts.

        :raises PreflightError: the cluster has no deployed revision
        """
        cluster = self.site.cluster
        deployed = self.journal.deployed(cluster).get(cluster)
        if deployed is None:
            raise PreflightError(
                f"cluster {cluster} has no deployed revision",
                cure="Run `salt-run state.orch deploy`; it deploys the first one",
            )
        opened = {deployed: self.store.open(deployed, options=self.options)}
        pins = {}
        for pin in self.journal.pins():
            if pin.cluster not in (cluster, ""):  # a node that is new belongs to none yet
                continue
            if pin.revision not in opened:
                opened[pin.revision] = self.store.open(pin.revision, options=self.options)
            pins[pin.node] = opened[pin.revision]
        return ServedSource(opened[deployed], pins)

    def check(
        self, ref: str, settings: Mapping[str, Any], by: str, *, test: bool = False
    ) -> tuple[Revision | None, list[str]]:
        """Compile the revision that a deployment wants, and look at it from all sides.

        :param ref: git ref, or ``worktree``
        :param settings: of the ext_pillar: what a node's pillar needs beside the model
        :param by: who asks for it
        :param test: a cluster without deployed revision stays without one
        :returns: the revision, None when it does not compile; and findings, one sentence each
        """
        # here, as nobody else needs the rules of the model, and they take long to read
        from saltern.rollout.preflight import check_site

        cluster = self.site.cluster
        try:
            if ref == "HEAD" and self.repo.dirty():
                raise PreflightError(
                    "the model has changes that are in no commit",
                    where=str(self.site.model),
                    cure="Commit them, or take them away with `git stash`",
                )
            revision = (
                self.find(ref)
                if test
                else self.compile(ref, by, f"first compile, of {ref}").revision
            )
            with self.repo.checkout(revision.id) as tree:
                inventory = Inventory(tree, **self.site.options)
                source = RevisionSource(revision)
                findings = check_site(
                    source, inventory, cluster, self.site.artifacts, formulas_beside(self.site)
                )
        except SalternError as err:
            return None, [str(err)]
        return revision, findings or self.unservable(revision, cluster, settings)

    def unservable(
        self, revision: Revision, cluster: str, settings: Mapping[str, Any]
    ) -> list[str]:
        """Return why nodes would get no pillar from a revision, one sentence each.

        :param settings: of the ext_pillar
        """
        findings = []
        try:
            serving = Serving.build(settings)
        except SalternError as err:
            return [str(err)]
        for node in revision.nodes(cluster):
            try:
                serving.pillar_of(revision, node)
            except SalternError as err:
                findings.append(str(err))
        if len(findings) > _SHOWN:
            rest = len(findings) - _SHOWN
            findings[_SHOWN:] = [f"{rest} more nodes would get no pillar."]
        return findings

    def _git(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(self.site.model), *arguments],
                capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as err:
            raise ModelError(
                f"git {arguments[0]} failed: {type(err).__name__}", where=str(self.site.model)
            ) from None
        if done.returncode:
            told = done.stderr.strip().splitlines()
            raise ModelError(
                f"git {arguments[0]} failed: {told[-1] if told else 'no word why'}",
                where=str(self.site.model),
            )
        return done.stdout


def served_sentence(settings: Mapping[str, Any], node: str) -> tuple[str, bool]:
    """Return whether a node gets its pillar now, in words; and True when it does not.

    :param settings: of the ext_pillar
    :param node: minion id
    """
    try:
        serving = Serving.build(settings)
        revision = serving.revision(node)
        pillar = serving.pillar_of(revision, node)
    except SalternError as err:
        return str(err), True
    roles = len(pillar["__reclass__"]["applications"])
    return f"{node} gets its pillar of revision {short(revision.id)}, with {roles} roles.", False


def prepare(site: Site, by: str, settings: Mapping[str, Any] | None = None) -> list[str]:
    """Make what serving needs, and bring it up to date; return what was done, in words.

    The journal's tables, the site key, the store's directory; and after an upgrade of Saltern the
    revisions in use, compiled by the new engine. Where nothing is deployed yet, the site's revision
    is served from now on; with ``saltern:revision: worktree`` a deployed tree that is no more gives
    way to the present one.

    :param site: its settings
    :param by: who asks for it
    :param settings: of the ext_pillar, where the site key may be named
    :raises SalternError: something cannot be made
    """
    from saltern.adapters import sitekey

    model = ModelSite(site)
    done = []
    if model.journal.prepare():
        done.append(f"journal {model.journal.where}")
    key = Serving.build(settings).key_file() if settings else _key_file(site)
    if sitekey.ensure(key):
        done.append(f"site key {key}")
    try:
        if not Path(site.store).is_dir():
            Path(site.store).mkdir(mode=0o750, parents=True)
            done.append(f"store {site.store}")
    except OSError as err:
        raise PreflightError(
            f"the store cannot be made: {err.strerror}", where=str(site.store)
        ) from None
    for revision in sorted(model.journal.in_use()):
        if model.store.has(revision, options=model.options):
            continue
        try:
            compile_revision(site.model, revision, model.store, model.options)
        except ModelError as err:
            done.append(f"not compiled: revision {short(revision)}: {err}")
        else:
            done.append(f"compiled revision {short(revision)}")
    return done + _something_to_serve(model, by)


def _something_to_serve(model: ModelSite, by: str) -> list[str]:
    """Deploy the site's revision where nothing is, or a tree that can no longer be served."""
    ref = model.site.revision
    deployed = model.journal.deployed()
    lost = [
        cluster
        for cluster, revision in deployed.items()
        if ref == WORKTREE and not model.store.has(revision, options=model.options)
    ]
    if deployed and not lost:
        return []
    try:
        compiled = model.compile(ref, by, "the first revision of this master")
        for cluster in lost:
            model.deploy(compiled.revision, cluster, by, "its revision is gone")
    except ModelError as err:
        # a master that serves nothing can still be given a model
        return [f"nothing to serve: {err}"]
    served = [*compiled.first, *lost]
    return [f"cluster {cluster} is served {short(compiled.revision.id)}" for cluster in served]


def _key_file(site: Site) -> Path:
    from saltern.adapters.serving import site_key_file

    found = site_key_file(site.journal, site.site_key)
    if found is None:
        raise PreflightError("no site key is set", cure="Set saltern:site_key to a file")
    return found
