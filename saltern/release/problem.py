"""A request as numbers, and the search for a shortest path through its states."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise

from saltern.release.lifecycle import Catalogue, Product, Rule
from saltern.release.observe import Request, follows

ROLLING = "rolling"
_FAR = float("inf")

#: per variable, the place of its value in its domain
State = tuple[int, ...]
#: (product, version of what it rides on) -> its own version, empty where there is none
Value = Callable[[str, str], str]
#: (variable, value) per hop: orders paths of the same length
Steps = tuple[tuple[int, int], ...]


@dataclass
class Problem:
    """Variables are the products that move on their own; the distribution takes others along.

    :param edges: per variable and value: the values that may follow, with the way there
    :param goals: per variable: the values wanted in the end, None for any
    :param alone: per variable: values that break a rule whatever the others are
    :param pairs: per variable: another one, and the pairs of values that break a rule
    """

    names: list[str]
    domains: list[list[str]]
    edges: list[list[dict[int, str]]]
    start: State
    goals: list[frozenset[int] | None]
    alone: list[frozenset[int]]
    pairs: list[list[tuple[int, frozenset[tuple[int, int]]]]]


def way(product: Product, request: Request, before: str, after: str) -> str:
    """Return how a product gets from one version to another in one hop; empty: not at all."""
    if before == after or after in product.versions[before].successors:
        return ROLLING
    if product.name in request.allow and product.exception and after in product.later(before):
        return product.exception.name
    return ""


def numbered(
    catalogue: Catalogue, request: Request, dropped: Collection[tuple[str, str]] = ()
) -> Problem:
    """Make the problem of a request.

    :param dropped: what does not count: ``("rule", name)``, ``("goal", product)``, or ``("hops",
        product)``, which lets the product go from any version to any that hops join it to
    """
    riding = follows(catalogue, request)
    names = [name for name in catalogue.products if name in request.now and name not in riding]
    domains = [list(catalogue.products[name].versions) for name in names]
    place = {
        name: names.index(catalogue.provider if name in riding else name) for name in request.now
    }

    def value(product: str, version: str) -> str:
        if product not in riding:
            return version
        return catalogue.products[catalogue.provider].versions[version].provides.get(product, "")

    def hop(name: str, before: str, after: str) -> str:
        product = catalogue.products[name]
        found = way(product, request, before, after)
        if not found and ("hops", name) in dropped and after in product.versions[before].line:
            found = ROLLING
        if found and name == catalogue.provider:
            for one in riding:
                old, new = value(one, before), value(one, after)
                if not (old and new and hop(one, old, new)):
                    return ""
        return found

    problem = Problem(
        names,
        domains,
        edges=[
            [
                {
                    place: how
                    for place, after in enumerate(domain)
                    if after != before and (how := hop(name, before, after))
                }
                for before in domain
            ]
            for name, domain in zip(names, domains, strict=True)
        ],
        start=tuple(
            domain.index(request.now[name]) for name, domain in zip(names, domains, strict=True)
        ),
        goals=[None] * len(names),
        alone=[frozenset()] * len(names),
        pairs=[[] for _ in names],
    )
    for name, version in request.goal.items():
        if ("goal", name) not in dropped:
            at = place[name]
            fit = frozenset(
                place for place, one in enumerate(domains[at]) if value(name, one) == version
            )
            other = problem.goals[at]
            problem.goals[at] = fit if other is None else fit & other
    for rule in catalogue.rules:
        if {rule.product, rule.needs} <= set(request.now) and ("rule", rule.name) not in dropped:
            _add(problem, rule, place[rule.product], place[rule.needs], value)
    return problem


def _add(problem: Problem, rule: Rule, one: int, other: int, value: Value) -> None:
    """Note which values break a rule."""
    first, second = problem.domains[one], problem.domains[other]
    if one == other:
        problem.alone[one] |= {
            i
            for i, version in enumerate(first)
            if not rule.holds(value(rule.product, version), value(rule.needs, version))
        }
        return
    broken = frozenset(
        (i, j)
        for i, version in enumerate(first)
        for j, beside in enumerate(second)
        if not rule.holds(value(rule.product, version), value(rule.needs, beside))
    )
    problem.pairs[one].append((other, broken))
    problem.pairs[other].append((one, frozenset((j, i) for i, j in broken)))


def search(problem: Problem) -> list[State] | None:
    """Return the states of a shortest path, always the same one; None when there is no path.

    Variables that no rule joins are searched apart, and their hops are put together in the order of
    the variables.
    """
    for at in range(len(problem.names)):
        if _broken(problem, problem.start, at) != set():
            return None
    values = _reachable(problem)
    if not _ends(problem, values):
        return None
    far = [_distances(problem, at, found) for at, found in enumerate(values)]
    found = []
    for together in _joined(problem, values):
        path = _search(problem, together, far)
        if path is None:
            return None
        found.append([_step(*pair) for pair in pairwise(path)])
    states = [problem.start]
    while any(found):
        at, place = min(filter(None, found), key=lambda steps: steps[0]).pop(0)
        states.append((*states[-1][:at], place, *states[-1][at + 1 :]))
    return states


def _search(problem: Problem, together: set[int], far: list[list[float]]) -> list[State] | None:
    """Search among variables that rules join.

    Only what has a goal moves at first. Where a rule with another variable stood in the way of a
    state that is no farther than the path found, that one may move, too, and it is searched again.
    The end is a shortest path among all: a variable that no such rule names cannot shorten one, for
    a path without its hops is a path still.
    """
    movable = {at for at in together if problem.goals[at] is not None}
    while True:
        states, blockers = _astar(problem, movable, far)
        if blockers <= movable:
            return states
        movable |= blockers


def _joined(problem: Problem, values: list[set[int]]) -> list[set[int]]:
    """Sets of variables that rules join, of those values that they might ever have."""
    groups = {at: {at} for at in range(len(problem.names))}
    for at, relations in enumerate(problem.pairs):
        for other, bad in relations:
            # who has one value only stands in nobody's way: what does not go with it is gone
            both = len(values[at]) > 1 and len(values[other]) > 1
            if both and any(i in values[at] and j in values[other] for i, j in bad):
                joined = groups[at] | groups[other]
                groups |= dict.fromkeys(joined, joined)
    return [group for at, group in groups.items() if at == min(group)]


def _step(before: State, after: State) -> tuple[int, int]:
    """The variable in which two states differ, and its value in the second one."""
    return next((at, new) for at, new in enumerate(after) if new != before[at])


def _broken(problem: Problem, state: State, at: int) -> set[int] | None:
    """The variables with which a variable's value breaks a rule; None: it does so by itself."""
    if state[at] in problem.alone[at]:
        return None
    return {j for j, bad in problem.pairs[at] if (state[at], state[j]) in bad}


def _reachable(problem: Problem) -> list[set[int]]:
    """Per variable, the values it might ever have: each goes with some value of every other one.

    Whatever is not among them is on no path; that alone tells most requests without one.
    """
    values = [{place} for place in problem.start]
    todo = True
    while todo:
        todo = False
        for at, found in enumerate(values):
            near = {place for one in found for place in problem.edges[at][one]}
            for place in near - found - problem.alone[at]:
                if all(_supported(place, values[j], bad) for j, bad in problem.pairs[at]):
                    found.add(place)
                    todo = True
    return values


def _ends(problem: Problem, values: list[set[int]]) -> bool:
    """Whether the goals go together, as far as pairs of variables tell."""
    ends = [
        set(found) if goal is None else found & goal
        for found, goal in zip(values, problem.goals, strict=True)
    ]
    todo = True
    while todo:
        todo = False
        for at, found in enumerate(ends):
            kept = {
                place
                for place in found
                if all(_supported(place, ends[j], bad) for j, bad in problem.pairs[at])
            }
            todo |= kept != found
            ends[at] = kept
    return all(ends)


def _supported(place: int, others: set[int], bad: frozenset[tuple[int, int]]) -> bool:
    """Whether a value goes with one of another variable's values."""
    return any((place, other) not in bad for other in others)


def _distances(problem: Problem, at: int, values: set[int]) -> list[float]:
    """Hops from each value of a variable to its goal, rules aside; what is on no path is far."""
    goal = problem.goals[at]
    ends = values if goal is None else goal & values
    far = [0.0 if place in ends else _FAR for place in range(len(problem.domains[at]))]
    changed = goal is not None
    while changed:
        changed = False
        for place in values:
            for after in problem.edges[at][place]:
                if far[after] + 1 < far[place]:
                    far[place], changed = far[after] + 1, True
    return far


def _astar(
    problem: Problem, movable: set[int], far: list[list[float]]
) -> tuple[list[State] | None, set[int]]:
    """Search with some variables; return the states, and whom rules that refused a hop named."""

    def left(state: State) -> float:
        return sum(far[at][state[at]] for at in movable)

    begin = problem.start
    best, came, blockers = {begin: 0}, {begin: begin}, set[int]()
    heap: list[tuple[float, int, Steps, State]] = [(left(begin), 0, (), begin)]
    while heap:
        length, minus, steps, state = heapq.heappop(heap)
        done = -minus
        if length == _FAR or done > best[state]:
            continue
        if length == done:
            path = [state]
            while path[-1] != begin:
                path.append(came[path[-1]])
            return path[::-1], blockers
        for at in sorted(movable):
            for place in problem.edges[at][state[at]]:
                after = (*state[:at], place, *state[at + 1 :])
                rest = left(after)
                if rest == _FAR or best.get(after, done + 2) <= done + 1:
                    continue
                broken = _broken(problem, after, at)
                if broken == set():
                    best[after], came[after] = done + 1, state
                    entry = (done + 1 + rest, minus - 1, (*steps, (at, place)), after)
                    heapq.heappush(heap, entry)
                blockers |= broken or set()
    return None, blockers
