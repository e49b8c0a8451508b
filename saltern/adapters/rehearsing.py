"""Rehearse an upgrade of a master's cluster: model, backups, journal and bus joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltern.adapters.master import MasterEvents, Site, WallClock
from saltern.adapters.modelsite import ModelSite, pillar_settings
from saltern.adapters.observing import Observer
from saltern.adapters.rehearsals import Rehearsals
from saltern.adapters.salt_bus import SaltBus
from saltern.backup import bundles, sources
from saltern.backup import run as backups
from saltern.errors import RehearsalRefusedError
from saltern.model.store import Revision
from saltern.rehearsal import outcome, services
from saltern.rehearsal.run import Rehearsing
from saltern.rollout import facts
from saltern.rollout.load import RevisionSource
from saltern.rollout.preflight import check_artifacts

GALERA = "galera.server"


@dataclass
class Rehearser:
    """The rehearsals of one cluster.

    :param opts: the master's options
    :param site: its settings, with the name of the cluster
    :param by: who asks
    :param quiet: no lines on standard error
    """

    opts: Mapping[str, Any]
    site: Site
    by: str
    quiet: bool = False

    def __post_init__(self) -> None:
        self.model = ModelSite(self.site)
        self.bus = SaltBus(self.opts)
        self.observer = Observer(self.model, self.bus, self.opts)
        self.rehearsals = Rehearsals(self.model.journal)
        self.events = MasterEvents(self.opts, quiet=self.quiet)

    def run(
        self, refs: Sequence[str] = (), bundle: str = "", *, take: bool = False, test: bool = False
    ) -> dict[str, Any]:
        """Rehearse the way to a revision.

        :param refs: git refs of the revisions, one for each hop; none: ``saltern:revision``
        :param bundle: path of a logical bundle; empty: the newest
        :param take: take a new one first
        :param test: only say what would be done
        :returns: a runner's answer
        :raises RehearsalRefusedError: nothing can be rehearsed, or need be
        :raises LockedError: another rehearsal is under way
        :raises SalternError: model, journal, backups or bus do not do their part
        """
        served = self.observer.served()
        node = services.shadow(served)
        hops, notes, last = self._hops(refs or [self.site.revision], served)
        facts.same_plugins(self.observer.outdated([node]))
        store = backups.Backups(self.bus, self.site.cluster, sources.read(served), self._tell)
        chosen = self._bundle(store, bundle, hops[0], take=take and not test)
        releases = {one.name: (one.before, hops[-1][n].after) for n, one in enumerate(hops[0])}
        if test:
            pairs = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in releases.items())
            comment = f"{pairs} would be rehearsed on {node} with {chosen.path}."
            return {"result": None, "comment": comment, "changes": {"bundle": chosen.path}}
        begun = self.rehearsals.begin(
            self.site.cluster,
            self.by,
            revision=last.id,
            deployed=self.observer.deployed(),
            artifacts=self.observer.artifacts(RevisionSource(last).nodes(self.site.cluster)),
            releases=releases,
            node=node,
            bundle=chosen.path,
            notes=notes,
        )
        self._tell(f"rehearsal {begun} on {node} with {chosen.path}")
        made = Rehearsing(
            self.bus,
            node,
            WallClock(),
            lambda record: self._noted(begun, record),
            self._tell,
        )
        try:
            records = made.run(begun, chosen.path, hops)
        except BaseException:
            self.rehearsals.end(begun, outcome.BROKEN, "It was ended before its end.")
            raise
        state = outcome.verdict(records)
        self.rehearsals.end(begun, state, outcome.sentence(records, state))
        return told(self.rehearsals.get(begun))

    def _hops(
        self, refs: Sequence[str], served: services.Nodes
    ) -> tuple[list[tuple[services.Service, ...]], list[str], Revision]:
        """The services of each hop, what is left out, and the last revision."""
        before: services.Nodes = served
        hops: list[tuple[services.Service, ...]] = []
        notes: list[str] = []
        last: list[Revision] = []
        for ref in refs:
            self._tell(f"checking revision {ref}")
            revision, findings = self.model.check(ref, pillar_settings(self.opts), self.by)
            if revision is None or findings:
                raise RehearsalRefusedError(
                    f"revision {ref} is not fit: {' '.join(findings)}",
                    cure="Mend the model, or name another revision",
                )
            after = RevisionSource(revision).nodes(self.site.cluster)
            missing = check_artifacts(after, self.site.artifacts)
            if missing:
                raise RehearsalRefusedError(
                    " ".join(missing), cure="Build them, or copy them there"
                )
            found, left = services.read(before, after)
            if not any(one.moves for one in found):
                raise RehearsalRefusedError(
                    f"revision {ref} brings no service another environment",
                    where=self.site.cluster,
                    cure="Name the revision of the upgrade by revision=",
                )
            hops.append(found)
            notes += left
            before = after
            last.append(revision)
        names = {tuple(one.name for one in hop) for hop in hops}
        if len(names) > 1:
            raise RehearsalRefusedError(
                "the revisions have different services", cure="Rehearse them one by one"
            )
        return hops, notes, last[-1]

    def _bundle(
        self,
        store: backups.Backups,
        bundle: str,
        wanted: Sequence[services.Service],
        *,
        take: bool,
    ) -> bundles.Bundle:
        (source,) = store.sources.chosen([GALERA])
        if take:
            done = store.take([GALERA], [bundles.LOGICAL])
            if done.failed:
                raise RehearsalRefusedError(" ".join(done.failed))
        names = tuple(name for one in wanted for name in one.databases)
        _, found = store.find(source, bundle, bundles.LOGICAL, None, databases=names)
        return found

    def _noted(self, rehearsal: str, record: outcome.Record) -> None:
        self.rehearsals.step(rehearsal, record)
        shown = f"{record.title}: {record.result}, {record.seconds:.1f} s"
        if record.result != outcome.OK:
            shown = f"{record.title}: {record.result}: {record.sentence}"
        data = {
            "rehearsal": rehearsal,
            "service": record.service,
            "phase": record.phase,
            "result": record.result,
            "seconds": record.seconds,
        }
        self.events.emit(f"rehearsal/{rehearsal}/step", data, shown)

    def _tell(self, sentence: str) -> None:
        self.events.emit(
            "rehearsal/note", {"cluster": self.site.cluster, "note": sentence}, sentence
        )


def told(one: outcome.Rehearsal) -> dict[str, Any]:
    """Return a rehearsal as a runner's answer."""
    good = one.state == outcome.GREEN
    pending = one.state == outcome.RUNNING
    text = f"Rehearsal {one.id} is {one.state}. {one.sentence}".strip()
    return {
        "result": good or pending,
        "comment": text,
        "retcode": 0 if good or pending else 1,
        "changes": {},
        **outcome.to_json(one),
    }
