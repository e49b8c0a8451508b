"""Which releases a plan moves, and whether it may: the gate in front of every rollout.

A node has the versions that its data says, or that its distribution has. What a plan moves is
judged twice, by :func:`saltern.release.solve.solve` with ``direct``: on each node, where a product
goes together with its Python, libvirt or Erlang, and over the cluster, where products of different
nodes go together, in every mixture of versions that there is now. Nothing is touched meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as combined
from typing import Any, Protocol

from saltern.errors import HopError, ReleaseError
from saltern.plan.artifacts import swaps
from saltern.plan.request import Request as PlanRequest
from saltern.plan.types import COMMIT, Plan, Release
from saltern.release.lifecycle import Catalogue, Product
from saltern.release.observe import Request
from saltern.release.problem import way
from saltern.release.refusal import Refusal, needs
from saltern.release.solve import solve

#: workflows that run the phases which a release needs
UPGRADE, REIMAGE = "upgrade", "reimage"
#: workflows that build the nodes which they name anew: these come from no version
ANEW = ("replace", "scale-out")

#: version before and after
Pair = tuple[str, str]


class Node(Protocol):
    """What is read of a compiled node; :class:`saltern.model.cluster.CompiledNode` has it."""

    @property
    def applications(self) -> list[str]: ...

    @property
    def pillar(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Asked:
    """What moves nodes.

    :param workflow: of the plan
    :param cluster: its name
    :param revision: what people call the revision, for the cure
    :param nodes: the nodes that it takes to the wanted revision
    :param anew: those of them that are built anew
    :param own: products whose packages do not come from the distribution
    :param allow: products that may take the exceptional way of the catalogue
    """

    workflow: str
    cluster: str
    revision: str = ""
    nodes: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()


def versions(catalogue: Catalogue, node: Node) -> dict[str, str]:
    """Return product -> version of one node, in the catalogue's order.

    A version that the catalogue does not have is returned as it is written; what nothing says is
    left out.
    """
    provider = catalogue.products.get(catalogue.provider)
    image = _declared(provider, node) if provider else ""
    known = provider.versions.get(image) if provider else None
    provides = known.provides if known else {}
    found = {}
    for product in catalogue.products.values():
        if product.name == catalogue.provider:
            version = image
        elif {*product.roles} & {*node.applications}:
            declared = _declared(product, node)
            version = declared or provides.get(product.name, "") or product.default
        else:
            version = "" if product.roles else provides.get(product.name, "")
        if version:
            found[product.name] = version
    return found


def _declared(product: Product, node: Node) -> str:
    value: Any = node.pillar
    for part in product.key.split(":"):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    try:
        return product.find(value)
    except ReleaseError:
        return str(value)


def gated(
    catalogue: Catalogue,
    request: PlanRequest,
    plan: Plan,
    before: Mapping[str, Node],
    after: Mapping[str, Node],
    ref: str = "",
) -> Plan:
    """Return a plan with the releases and artifacts that it moves, if it may.

    :param catalogue: products and rules
    :param request: what the plan was made of
    :param before: nodes of the cluster as they are served now
    :param after: the same at the wanted revision
    :param ref: what people call that revision
    :raises HopError: the plan moves a release as it must not; see :meth:`Moves.check`
    """
    # a commit takes everybody to the revision, whether its states differ or not
    whole = any(step.kind == COMMIT for _, _, step in plan.steps())
    nodes = frozenset(after if whole else plan.nodes)
    named = {*request.nodes}
    anew = [n for n in nodes if request.workflow in ANEW and {n, n.split(".")[0]} & named]
    asked = Asked(
        request.workflow, plan.cluster, ref, nodes, frozenset(anew),
        frozenset(request.own), frozenset(request.allow),
    )  # fmt: skip
    for name in (*request.own, *request.allow):
        catalogue.product(name)
    moves = Moves(catalogue, before, after, asked)
    moves.check()
    return replace(plan, releases=moves.releases(), artifacts=swaps(before, after, nodes))


class Moves:
    """The versions of a cluster's nodes before and after a plan.

    :param catalogue: products and rules
    :param before: nodes as they are served now
    :param after: nodes at the wanted revision
    :param asked: which of them get there, and how
    """

    def __init__(
        self,
        catalogue: Catalogue,
        before: Mapping[str, Node],
        after: Mapping[str, Node],
        asked: Asked,
    ) -> None:
        self.catalogue = catalogue
        self.asked = asked
        self.nodes = {**before, **after}
        self.now = {node: versions(catalogue, one) for node, one in before.items()}
        self.then = {node: versions(catalogue, after[node]) for node in after}
        #: node -> product -> version before and after; what is built anew was never before
        self.pairs: dict[str, dict[str, Pair]] = {}
        for node in sorted({*before, *({*after} & asked.nodes)}):
            mine = self.now.get(node, {})
            reached = self.then.get(node, mine) if node in asked.nodes else mine
            reached = {**reached, **self._kept(mine, reached)}
            first = reached if node in asked.anew or node not in before else mine
            names = [name for name in catalogue.products if name in reached]
            self.pairs[node] = {
                name: (first.get(name, reached[name]), reached[name]) for name in names
            }

    def _kept(self, mine: Mapping[str, str], reached: Mapping[str, str]) -> dict[str, str]:
        """What a node has from its distribution, and keeps as long as it keeps that.

        Hosts get new images one after another, while a parameter of the cluster names at once what
        all of them will have: on a host that is not there yet it says what another image brings.
        """
        provider = self.catalogue.products.get(self.catalogue.provider)
        image = mine.get(self.catalogue.provider, "")
        if provider is None or image not in provider.versions:
            return {}
        if reached.get(provider.name) != image:
            return {}
        others = {
            versions[provider.name] for versions in self.then.values() if provider.name in versions
        } & {*provider.versions}
        return {
            name: old
            for name, old in mine.items()
            if provider.versions[image].provides.get(name) == old != reached.get(name)
            and any(provider.versions[o].provides.get(name) == reached.get(name) for o in others)
        }

    @cached_property
    def moved(self) -> dict[str, dict[Pair, list[str]]]:
        """Product -> versions before and after, where these differ -> nodes."""
        found: dict[str, dict[Pair, list[str]]] = {}
        for name in self.catalogue.products:
            for node, mine in self.pairs.items():
                if name in mine and mine[name][0] != mine[name][1]:
                    found.setdefault(name, {}).setdefault(mine[name], []).append(node)
        return found

    def riding(self, node: str) -> frozenset[str]:
        """Products of a node that the distribution brings, before and after."""
        mine = self.pairs[node]
        provider = self.catalogue.products.get(self.catalogue.provider)
        if provider is None or provider.name not in mine:
            return frozenset()
        first, last = (provider.versions.get(version) for version in mine[provider.name])
        if first is None or last is None:
            return frozenset()
        return frozenset(
            name
            for name, (old, new) in mine.items()
            if name not in self.asked.own
            and first.provides.get(name) == old
            and last.provides.get(name) == new
        )

    def releases(self) -> tuple[Release, ...]:
        """Return what moves, in the catalogue's order."""
        found = []
        for name, rows in self.moved.items():
            product = self.catalogue.products[name]
            order = list(product.versions)
            for (old, new), nodes in rows.items():
                request = Request({}, {}, self.asked.own, self.asked.allow)
                known = {old, new} <= {*order}
                left = [
                    node
                    for node, mine in self.pairs.items()
                    if name in mine and known and _older(order, mine[name][1], new)
                ]
                roles = {r for node in nodes for r in self.nodes[node].applications}
                found.append(
                    Release(
                        name,
                        product.title,
                        old,
                        new,
                        tuple(nodes),
                        (way(product, request, old, new) if known else "") or "rolling",
                        tuple(sorted(roles & {*product.roles})),
                        tuple(left),
                    )
                )
        return tuple(found)

    # -- the gate ------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse what may not be.

        :raises HopError: a move that is no hop, that breaks a rule between products, or that the
            workflow does not make as a release wants it
        """
        if not self.moved:
            return
        self._check_workflow()
        for name in self.moved:
            product = self.catalogue.products[name]
            for pair in self.moved[name]:
                for version in pair:
                    if version not in product.versions:
                        known = ", ".join(product.versions)
                        raise self._refused(
                            f"{product.title} has no version {version!r}; known are {known}"
                        )
        # the cluster first: it tells of a product before it tells of its parts
        for mixture in self._mixtures():
            self._solved(mixture, set(mixture))
        seen = set()
        for node, mine in self.pairs.items():
            key = (tuple(mine.items()), self.riding(node))
            if key not in seen and any(old != new for old, new in mine.values()):
                seen.add(key)
                self._solved(mine, {*mine} - self.riding(node))
        self._check_end()

    def _check_workflow(self) -> None:
        workflow, provider = self.asked.workflow, self.catalogue.provider
        if workflow == UPGRADE and provider not in self.moved:
            return
        for name, rows in self.moved.items():
            for (old, new), nodes in rows.items():
                brought = [node for node in nodes if name == provider or name in self.riding(node)]
                if workflow == REIMAGE and len(brought) == len(nodes):
                    continue
                how = REIMAGE if brought else UPGRADE
                why = (
                    "only a new image brings another distribution"
                    if how == REIMAGE
                    else "only an upgrade runs the phases that a release needs"
                )
                title = self.catalogue.products[name].title
                options = f"cluster={self.asked.cluster}"
                options += f" revision={self.asked.revision}" if self.asked.revision else ""
                raise HopError(
                    f"it takes {title} from {old} to {new}, and {why}",
                    where=f"{workflow} of {self.asked.cluster}",
                    cure=f"Plan it as `salt-run rollout.plan {how} {options}`; what must not wait"
                    " for that goes into a revision of its own",
                )

    def _solved(self, mine: Mapping[str, Pair], own: Collection[str]) -> None:
        """Ask whether one mixture of versions may become what it shall, each in one hop."""
        catalogue = self.catalogue
        known = {
            name: pair for name, pair in mine.items()
            if {*pair} <= {*catalogue.products[name].versions}
        }  # fmt: skip
        now = {name: known[name][0] for name in catalogue.products if name in known}
        goal = {name: new for name, (old, new) in known.items() if old != new and name in own}
        request = Request(now, goal, frozenset(own) & {*now}, self.asked.allow & {*now})
        answer = solve(catalogue, request, direct=True)
        if answer.refusal:
            raise self._refused(str(answer.refusal), answer.refusal)

    def _refused(self, sentence: str, refusal: Refusal | None = None) -> HopError:
        wanted = {name: new for name, rows in self.moved.items() for _, new in rows}
        whole = [
            f"{name}={new}"
            for name, new in wanted.items()
            if wanted.get(self.catalogue.products[name].whole) != new
        ]
        path = f"salt-run release.path cluster={self.asked.cluster} to={','.join(whole)}"
        told = [f"`{path}` shows the ordered hops, each of which is an upgrade of its own"]
        told += refusal.cures if refusal else ()
        where = f"{self.asked.workflow} of {self.asked.cluster}"
        return HopError(sentence, where=where, cure=". ".join(told))

    def _mixtures(self) -> Iterator[dict[str, Pair]]:
        """Versions of products of different nodes that meet, one for each product.

        What comes with a node's distribution is left out: it moves with the node and is judged
        there, and by the end.
        """
        brought = {name for node in self.pairs for name in self.riding(node)} & {*self.moved}
        wanted = {*self.moved} - brought
        for rule in self.catalogue.rules:
            if {rule.product, rule.needs} & {*self.moved}:
                wanted |= {rule.product, rule.needs} - brought
        found: dict[str, list[Pair]] = {}
        for name in self.catalogue.products:
            if name in wanted and self.catalogue.products[name].roles:
                pairs = {mine[name] for mine in self.pairs.values() if name in mine}
                if pairs:
                    found[name] = sorted(pairs)
        for chosen in combined(*found.values()):
            yield dict(zip(found, chosen, strict=True))

    def _check_end(self) -> None:
        """Hold the versions that are there in the end against the rules."""
        for rule in self.catalogue.rules:
            mine = [node for node, pairs in self.pairs.items() if rule.product in pairs]
            # what every node has for itself is that of the node: Python, Erlang, libvirt
            local = all(rule.needs in self.pairs[node] for node in mine)
            there = {p[rule.needs][1] for p in self.pairs.values() if rule.needs in p}
            for node in mine:
                version = self.pairs[node][rule.product][1]
                others = {self.pairs[node][rule.needs][1]} if local else there
                for other in sorted(others):
                    if version in rule.allowed and not rule.holds(version, other):
                        moved = {rule.product, rule.needs} & {*self.moved}
                        if moved:
                            told = needs(self.catalogue, rule, version)
                            title = self.catalogue.products[rule.needs].title
                            raise self._refused(
                                f"{told}, and {title} would be {other} ({rule.reason})"
                            )


def _older(order: Collection[str], one: str, other: str) -> bool:
    """Whether a version comes before another one; of an unknown one nobody knows."""
    names = list(order)
    return one in names and other in names and names.index(one) < names.index(other)


def older(catalogue: Catalogue, product: str, one: str, other: str) -> bool:
    """Return whether a version of a product is older than another one; False of unknown ones."""
    return _older(list(catalogue.products[product].versions), one, other)


def titles(releases: Iterable[Release]) -> str:
    """Say what moves: ``OpenStack 2025.1 -> 2026.1, nova-compute 2025.1 -> 2026.1``."""
    return ", ".join(f"{one.title} {one.before} -> {one.after}" for one in releases)
