"""What a plan is made from on a master: nodes at two revisions, who is there, what is served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import salt.fileserver

from saltern.adapters.master import Site
from saltern.adapters.modelcompare import touched
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.previews import Previews
from saltern.digest import sha256_of
from saltern.model.cluster import CompiledNode
from saltern.model.store import Revision
from saltern.rollout import facts, questions
from saltern.rollout.facts import Observed
from saltern.rollout.load import RevisionSource
from saltern.rollout.ports import Bus, Call, JobBus, Return

#: Seconds a minion has to say that it is there.
PRESENCE = 15.0
#: In place of the hash of an artifact that is not there.
_MISSING = "missing"
#: What hosts get of the master's plugins, each from the directory ``_<kind>``.
_PLUGINS = ("modules", "states", "grains", "executors")


class FleetBus(Bus, JobBus, Protocol):
    """A bus that can do both, as :class:`~saltern.adapters.salt_bus.SaltBus`."""


def served(model: ModelSite) -> dict[str, CompiledNode]:
    """Return a cluster's nodes, each as it is at the revision that it is served now.

    :param model: the master's model, with the name of the cluster
    :raises ModelError: such a revision cannot be read
    """
    cluster = model.site.cluster
    deployed = model.journal.deployed(cluster).get(cluster, "")
    if not deployed:
        return {}
    base = model.find(deployed)
    found = RevisionSource(base).nodes(cluster)
    opened = {deployed: base}
    for pin in model.journal.pins(cluster):
        if pin.revision not in opened:
            opened[pin.revision] = model.find(pin.revision)
        if pin.node in opened[pin.revision].nodes():
            found[pin.node] = opened[pin.revision].node(pin.node)
    return found


class Observer:
    """Looks at one cluster.

    :param model: the master's model
    :param bus: where nodes are asked
    :param opts: the master's options
    """

    def __init__(self, model: ModelSite, bus: FleetBus, opts: Mapping[str, Any]) -> None:
        self.model = model
        self.site: Site = model.site
        self.bus = bus
        self.opts = opts

    # -- what is served ------------------------------------------------------------------

    def pins(self) -> dict[str, str]:
        """Return node to revision of the cluster's pinned nodes."""
        return {pin.node: pin.revision for pin in self.model.journal.pins(self.site.cluster)}

    def deployed(self) -> str:
        """Return the deployed revision of the cluster; empty for none."""
        cluster = self.site.cluster
        return self.model.journal.deployed(cluster).get(cluster, "")

    def served(self) -> dict[str, CompiledNode]:
        """Return the cluster's nodes, each as it is at the revision that it is served now.

        :raises ModelError: such a revision cannot be read
        """
        return served(self.model)

    def open(self, revision: str) -> Revision:
        """Open a revision by its full id; one that left the store is compiled again."""
        return self.model.find(revision)

    # -- who is there, and well ----------------------------------------------------------

    def presence(self, nodes: Iterable[str]) -> Observed:
        """Ask nodes whether they are there.

        :raises BusError: the master cannot publish
        """
        return facts.presence(self.bus.present(sorted({*nodes}), PRESENCE))

    def health(
        self, seen: Observed, nodes: Mapping[str, CompiledNode], asked: Iterable[str]
    ) -> Observed:
        """Ask nodes that are there whether their roles work.

        :param seen: who is there
        :param nodes: as they are served now
        :param asked: whom to ask
        :raises BusError: the master cannot publish
        """
        checks = facts.checks(nodes, {*asked} & {*seen.present})
        return facts.observe(seen, checks, questions.ask(self.bus, checks, facts.ASK_LIMIT))

    def outdated(self, nodes: Iterable[str]) -> list[str]:
        """Return the nodes that have other plugins than the master serves.

        One that does not answer is not among them.

        :param nodes: whom to ask
        :raises BusError: the master cannot publish
        """
        return [node for node, same in self._plugged(nodes).items() if same is False]

    def equipped(self, nodes: Iterable[str]) -> frozenset[str]:
        """Return the nodes that have the plugins that the master serves.

        :param nodes: whom to ask
        :raises BusError: the master cannot publish
        """
        return frozenset(node for node, same in self._plugged(nodes).items() if same)

    def _plugged(self, nodes: Iterable[str]) -> dict[str, bool | None]:
        """Whether nodes have the master's plugins; None for one that does not answer."""
        wanted, asked = self.plugins(), tuple(sorted({*nodes}))
        if not wanted or not asked:
            return {}
        call = Call(asked, "plugins.digest", (sorted(wanted),), timeout=PRESENCE, again=True)
        expected = facts.fingerprint(wanted.items())
        (answers,) = self.bus.call_all([call])
        return {
            node: None if answer.silent else answer.ok and answer.data == expected
            for node, answer in sorted(answers.items())
        }

    # -- what changes --------------------------------------------------------------------

    def touched(
        self, target: Revision, nodes: Sequence[str], say: Callable[[str], None]
    ) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Say what moving nodes from what they are served to a revision touches.

        :param target: where to
        :param nodes: minion ids
        :param say: takes a line for each role that counts as touched because it is not known
        :returns: node to (roles, restarts); nodes that are touched in nothing are left out
        :raises SalternError: a revision cannot be read or rendered
        """
        deployed, pins = self.deployed(), self.pins()
        compiled = RevisionSource(target).nodes(self.site.cluster)
        groups: dict[str, list[str]] = {}
        for node in nodes:
            groups.setdefault(pins.get(node, deployed), []).append(node)
        found = {}
        for before, members in sorted(groups.items()):
            if before != target.id:
                impact = touched(self.site, before, target.id, members)
                found.update(facts.touched_roles(impact, compiled))
                for line in facts.unrendered(impact):
                    say(line)
        return {node: found[node] for node in sorted(found)}

    def foresee(
        self, target: Revision, roles: Mapping[str, Sequence[str]]
    ) -> dict[str, dict[str, tuple[str, ...]]]:
        """Let nodes foresee what they would change under the pillar of a revision.

        Nothing is changed, and no pin is moved; nodes with equal roles share a job.

        :param target: the revision
        :param roles: node to the roles that would be applied there
        :returns: node to role to names of states
        :raises PlanError: a node cannot foresee it
        :raises BusError: the master cannot publish
        """
        return facts.foresight(self.predictions(target, roles), roles)

    def predictions(
        self, target: Revision, roles: Mapping[str, Sequence[str]]
    ) -> dict[str, Return]:
        """Return what nodes answer to the question behind :meth:`foresee`, whatever it is.

        :param target: the revision
        :param roles: node to the roles that would be applied there
        :raises BusError: the master cannot publish
        """
        groups: dict[tuple[str, ...], list[str]] = {}
        for node, names in sorted(roles.items()):
            groups.setdefault(tuple(names), []).append(node)
        with Previews(Path(self.site.store)).granted(target.id, roles) as environment:
            kwarg = {"test": True, "pillarenv": environment}
            calls = [
                Call(tuple(nodes), "state.apply", kwarg={"mods": list(names), **kwarg}, timeout=15)
                for names, nodes in groups.items()
            ]
            answers = self.bus.call_all(calls)
        return {node: answer for found in answers for node, answer in sorted(found.items())}

    # -- fingerprints --------------------------------------------------------------------

    def artifacts(self, nodes: Mapping[str, CompiledNode]) -> str:
        """Return a fingerprint of the artifact files that some nodes name."""
        top = self.site.artifacts
        return facts.fingerprint((name, _digest(top / name)) for name in facts.artifacts(nodes))

    def plugins(self) -> dict[str, str]:
        """Return the plugins that hosts get: ``modules/health.py`` to the hash of its content.

        Of the file server's own directories; what another backend serves is not looked at.
        """
        ignored = {key: self.opts.get(key) for key in ("file_ignore_regex", "file_ignore_glob")}
        found: dict[str, str] = {}
        for top in (self.opts.get("file_roots") or {}).get("base") or []:
            for kind in _PLUGINS:
                for path in sorted(Path(top, f"_{kind}").glob("*.py")):
                    if not salt.fileserver.is_file_ignored(ignored, f"_{kind}/{path.name}"):
                        found.setdefault(f"{kind}/{path.name}", _digest(path))
        return found

    def formulas(self) -> str:
        """Return a fingerprint of all files that the master serves to minions."""
        roots = (self.opts.get("file_roots") or {}).get("base") or []
        parts = [
            (f"{number}/{path.relative_to(top)}", _digest(path))
            for number, top in enumerate(map(Path, roots))
            for path in _files(top)
        ]
        backends = self.opts.get("fileserver_backend") or []
        if {*backends} - {"roots"}:
            server = salt.fileserver.Fileserver(dict(self.opts))
            for name in server.file_list({"saltenv": "base"}):
                found = server.file_hash({"saltenv": "base", "path": name})
                parts.append((name, str(found.get("hsum", "")) if found else _MISSING))
        return facts.fingerprint(parts)


def _files(top: Path) -> Iterator[Path]:
    """Every file below a directory, links followed once; what Python leaves behind is none."""
    seen = set()
    for folder, below, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if name not in ("__pycache__", ".git")]
        for name in names:
            yield Path(folder, name)


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return _MISSING
