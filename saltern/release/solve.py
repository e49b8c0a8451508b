"""Find the ordered hops from what runs to what is wanted.

A state is a version per product. A hop takes one product to a version that may follow its own; what
comes from the distribution changes together with it. Every state on the way keeps every rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from saltern.release.lifecycle import Catalogue, Note, Rule
from saltern.release.observe import Request, follows
from saltern.release.problem import ROLLING, Problem, State, numbered, search, way
from saltern.release.refusal import Reason, Refusal, needs, refusal


@dataclass(frozen=True)
class Change:
    """One product from one version to another.

    :param way: ``rolling``, or the name of the catalogue's exceptional way
    """

    product: str
    before: str
    after: str
    way: str


@dataclass(frozen=True)
class Hop:
    """One step of a path.

    :param along: what the distribution brings with it
    :param why: for a product that was not asked for: what needs the hop
    :param notes: what holds before it, or is done after it
    """

    change: Change
    along: tuple[Change, ...] = ()
    why: str = ""
    notes: tuple[Note, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of its changes."""
        return (self.change, *self.along)


@dataclass(frozen=True)
class Answer:
    """Hops in order, or why not.

    :param hops: none although there is no refusal: all is as wanted
    :param refusal: of a direct request there may be both
    """

    hops: tuple[Hop, ...] = ()
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        """Whether the hops may be gone."""
        return self.refusal is None


def solve(catalogue: Catalogue, request: Request, *, direct: bool = False) -> Answer:
    """Return the shortest path, always the same one, or the smallest reason why there is none.

    :param catalogue: products and rules
    :param request: from what, to what
    :param direct: only the wanted products may move, and each in one hop
    """
    problem = numbered(catalogue, request)
    path = search(problem)
    if path is None:
        return Answer(refusal=refusal(catalogue, request))
    hops = tuple(_hops(catalogue, request, problem, path))
    reasons = tuple(_indirect(catalogue, request, hops)) if direct else ()
    return Answer(hops, Refusal(reasons) if reasons else None)


def states(request: Request, hops: Sequence[Hop]) -> Iterator[Mapping[str, str]]:
    """Yield product -> version before the first hop and after each one."""
    state = dict(request.now)
    yield dict(state)
    for hop in hops:
        state.update({change.product: change.after for change in hop.changes})
        yield dict(state)


def broken(catalogue: Catalogue, versions: Mapping[str, str]) -> list[Rule]:
    """Return the rules that versions break, in the catalogue's order."""
    return [
        rule
        for rule in catalogue.rules
        if {rule.product, rule.needs} <= set(versions)
        and not rule.holds(versions[rule.product], versions[rule.needs])
    ]


def _hops(
    catalogue: Catalogue, request: Request, problem: Problem, path: list[State]
) -> Iterator[Hop]:
    for number, (state, after) in enumerate(pairwise(path)):
        at = next(i for i, (a, b) in enumerate(zip(state, after, strict=True)) if a != b)
        before = _versions(catalogue, request, problem, state)
        later = [_versions(catalogue, request, problem, one) for one in path[number + 1 :]]
        name = problem.names[at]
        change = Change(name, before[name], later[0][name], problem.edges[at][state[at]][after[at]])
        along = tuple(
            Change(one, old, new, way(catalogue.products[one], request, old, new))
            for one, old in before.items()
            if one != name and (new := later[0][one]) != old
        )
        hop = Hop(change, along)
        yield Hop(
            change,
            along,
            "" if name in request.goal else _why(catalogue, request, hop, before, later),
            tuple(
                note
                for one in hop.changes
                for note in catalogue.products[one.product].versions[one.after].notes
                # the exceptional way is for those that cannot be made ready
                if one.way == ROLLING or note.when == "after"
            ),
        )


def _versions(
    catalogue: Catalogue, request: Request, problem: Problem, state: State
) -> dict[str, str]:
    """Product -> version of a state, in the catalogue's order."""
    found = {
        name: domain[place]
        for name, domain, place in zip(problem.names, problem.domains, state, strict=True)
    }
    riding = follows(catalogue, request)
    if riding:
        provider = catalogue.products[catalogue.provider]
        provides = provider.versions[found[catalogue.provider]].provides
        found |= {name: provides[name] for name in riding}
    return {name: found[name] for name in request.now}


def _why(
    catalogue: Catalogue,
    request: Request,
    hop: Hop,
    before: Mapping[str, str],
    later: list[dict[str, str]],
) -> str:
    """What needs a hop: what it brings, or the first rule that a later state would break."""
    for change in hop.along:
        if change.product in request.goal:
            return f"{catalogue.products[change.product].title} {change.after} comes with it"
    for state in later:
        kept = {change.product: before[change.product] for change in hop.changes}
        for rule in broken(catalogue, {**state, **kept}):
            return needs(catalogue, rule, {**state, **kept}[rule.product])
    return ""


def _indirect(catalogue: Catalogue, request: Request, hops: tuple[Hop, ...]) -> Iterator[Reason]:
    """Why hops are more than what was asked for: several of one product, or of another one."""
    moved: dict[str, list[Change]] = {}
    for hop in hops:
        for change in hop.changes:
            moved.setdefault(change.product, []).append(change)
    often = {name for name, changes in moved.items() if len(changes) > 1}
    for name in often - {name for name in often if catalogue.products[name].whole in often}:
        product, changes = catalogue.products[name], moved[name]
        between = ", ".join(change.after for change in changes[:-1])
        verb = "are" if len(changes) > 2 else "is"
        yield Reason(
            "hops",
            name,
            f"{product.title} {changes[0].before} cannot become {changes[-1].after} in one hop:"
            f" {between} {verb} missing between them",
            product.reason,
            product.source,
        )
    for hop in hops:
        if hop.why and not any(change.product in request.goal for change in hop.along):
            product, change = catalogue.products[hop.change.product], hop.change
            yield Reason(
                "hops",
                product.name,
                f"{product.title} has to go from {change.before} to {change.after}, too",
                hop.why,
                product.source,
            )
