"""A request as numbers, and the search for a shortest path through the states."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass

from saltern.release.lifecycle import Catalogue, Product, Rule
from saltern.release.observe import Request

ROLLING = "rolling"
_FAR = float("inf")

#: the version of a product in a state where what it rides on has a version
Value = Callable[[str, str], str]
#: a place in the list of versions per variable
State = tuple[int, ...]


@dataclass
class Problem:
    """The request as numbers: variables are what moves on its own, values are places in lists."""

    names: list[str]
    domains: list[list[str]]
    edges: list[list[dict[int, str]]]
    start: tuple[int, ...]
    goals: list[frozenset[int] | None]
    #: variable -> value -> the value alone breaks a rule
    alone: list[frozenset[int]]
    #: variable -> (other variable, (value, value of the other) that break a rule)
    pairs: list[list[tuple[int, frozenset[tuple[int, int]]]]] = 


def follows(catalogue: Catalogue, request: Request) -> frozenset[str]:
    """Return the products that change together with the distribution."""
    if catalogue.provider not in request.now:
        return frozenset()
    version = request.now[catalogue.provider]
    provided = catalogue.products[catalogue.provider].versions[version].provides
    return frozenset(
        name
        for name, at in request.now.items()
        if provided.get(name) == at and name not in request.own
    )


def way(product: Product, request: Request, before: str, after: str) -> str:
    """How a product gets from one version to another in one hop; empty: not at all."""
    if before == after or after in product.versions[before].successors:
        return ROLLING
    if product.name in request.allow and product.exception and after in product.later(before):
        return product.exception.name
    return ""


def compile_request(
    catalogue: Catalogue, request: Request, dropped: Collection[tuple[str, str]] = ()
) -> Problem:
    """Number a request, without the rules, hops and goals that are dropped."""
    riding = follows(catalogue, request)
    names = [n for n in catalogue.products if n in request.now and n not in riding]
    domains = [list(catalogue.products[name].versions) for name in names]
    place = {name: names.index(catalogue.provider if name in riding else name)
             for name in request.now}  # fmt: skip

    def value(product: str, version: str) -> str:
        """The version of a product in a state where what it rides on has that version."""
        if product not in riding:
            return version
        return catalogue.products[catalogue.provider].versions[version].provides.get(product, "")

    def free(product: str) -> bool:
        return ("hops", product) in dropped

    edges: list[list[dict[int, str]]] = []
    for name, domain in zip(names, domains, strict=True):
        product = catalogue.products[name]
        rows: list[dict[int, str]] = []
        for before in domain:
            row = {}
            for index, after in enumerate(domain):
                if before == after:
                    continue
                way = way(product, request, before, after) or (ROLLING if free(name) else "")
                if way and name == catalogue.provider:
                    way = way if all(
                        (old := value(one, before)) and (new := value(one, after))
                        and (free(one) or way(catalogue.products[one], request, old, new))
                        for one in riding
                    ) else ""  # fmt: skip
                if way:
                    row[index] = way
            rows.append(row)
        edges.append(rows)

    goals: list[frozenset[int] | None] = [None] * len(names)
    for name, version in request.goal.items():
        if ("goal", name) not in dropped:
            at = place[name]
            fit = frozenset(i for i, v in enumerate(domains[at]) if value(name, v) == version)
            known = goals[at]
            goals[at] = fit if known is None else fit & known
    start = tuple(domain.index(request.now[name])
                  for name, domain in zip(names, domains, strict=True))  # fmt: skip
    problem = Problem(names, domains, edges, start, goals, [frozenset()] * len(names))
    problem.pairs = [[] for _ in names]
    for rule in catalogue.rules:
        if {rule.product, rule.needs} <= set(request.now) and ("rule", rule.name) not in dropped:
            _add(problem, rule, place[rule.product], place[rule.needs], value)
    return problem


def _add(problem: Problem, rule: Rule, one: int, other: int, value: object) -> None:
    """Note which values break a rule."""
    version = value
    assert callable(version)  # noqa: S101
    first, second = problem.domains[one], problem.domains[other]
    if one == other:
        bad = {i for i, v in enumerate(first)
               if not rule.holds(version(rule.product, v), version(rule.needs, v))}  # fmt: skip
        problem.alone[one] |= bad
        return
    broken = frozenset(
        (i, j)
        for i, v in enumerate(first)
        for j, w in enumerate(second)
        if not rule.holds(version(rule.product, v), version(rule.needs, w))
    )
    problem.pairs[one].append((other, broken))
    problem.pairs[other].append((one, frozenset((j, i) for i, j in broken)))


def _broken(problem: Problem, state: tuple[int, ...], at: int) -> set[int] | None:
    """The other variables with which a variable's value breaks a rule; None: it does so alone."""
    if state[at] in problem.alone[at]:
        return None
    return {j for j, bad in problem.pairs[at] if (state[at], state[j]) in bad}


def _distances(problem: Problem, at: int) -> list[float]:
    """Hops from each value of a variable to its goal, rules aside."""
    goal = problem.goals[at]
    if goal is None:
        return [0.0] * len(problem.domains[at])
    far = [0.0 if i in goal else float("inf") for i in range(len(problem.domains[at]))]
    changed = True
    while changed:
        changed = False
        for i, row in enumerate(problem.edges[at]):
            for j in row:
                if far[j] + 1 < far[i]:
                    far[i], changed = far[j] + 1, True
    return far


def search(problem: Problem) -> list[tuple[int, ...]] | None:
    """Return the states of a shortest path, None when there is no path.

    Only the wanted products move at first. Where rules with others stood in the way of states that
    are not farther than the path found, these may move, too, and it is searched again: a product
    that no such rule names cannot make a path shorter, for leaving its hops out of a path leaves a
    path.
    """
    for at in range(len(problem.names)):
        if _broken(problem, problem.start, at) != set():
            return None
    far = [_distances(problem, at) for at in range(len(problem.names))]
    movable = {at for at, goal in enumerate(problem.goals) if goal is not None}
    while True:
        states, blockers = _astar(problem, movable, far)
        if blockers <= movable:
            return states
        movable |= blockers


def _astar(
    problem: Problem, movable: set[int], far: list[list[float]]
) -> tuple[list[tuple[int, ...]] | None, set[int]]:
    """Search with some variables; return the states and whom rules named that stood in the way."""

    def left(state: tuple[int, ...]) -> float:
        return sum(far[at][value] for at, value in enumerate(state))

    order = sorted(movable)
    blockers: set[int] = set()
    begin = problem.start
    best = {begin: 0}
    came: dict[tuple[int, ...], tuple[int, ...]] = {}
    heap: list[tuple[float, int, tuple[tuple[int, int], ...], tuple[int, ...]]] = []
    if left(begin) < float("inf"):
        heap.append((left(begin), 0, (), begin))
    while heap:
        _, depth, steps, state = heapq.heappop(heap)
        if -depth > best[state]:
            continue
        if left(state) == 0:
            states = [state]
            while states[-1] != begin:
                states.append(came[states[-1]])
            return states[::-1], blockers
        for at in order:
            for value in problem.edges[at][state[at]]:
                after = (*state[:at], value, *state[at + 1 :])
                rest = left(after)
                if rest == float("inf") or best.get(after, 1 << 30) <= 1 - depth:
                    continue
                broken = _broken(problem, after, at)
                if broken is None or broken:
                    blockers |= broken or set()
                    continue
                best[after] = 1 - depth
                came[after] = state
                heapq.heappush(heap, (1 - depth + rest, depth - 1, (*steps, (at, value)), after))
    return None, blockers


