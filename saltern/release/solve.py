"""Find the ordered hops from what runs to what is wanted, or the smallest reason why not.

A state is a version per product. A hop takes one product to a version that may follow its own; what
comes from the distribution changes together with it. Every state on the way keeps every rule.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from saltern.release.lifecycle import Catalogue, Note, Product, Rule
from saltern.release.observe import Request

ROLLING = "rolling"


@dataclass(frozen=True)
class Change:
    """One product from one version to another.

    :param kind: ``rolling``, or the name of the catalogue's exceptional way
    """

    product: str
    before: str
    after: str
    kind: str


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


@dataclass(frozen=True)
class Reason:
    """One member of the smallest set of facts that exclude each other.

    :param kind: ``hops``, ``rule`` or ``goal``
    :param name: of the product or the rule
    """

    kind: str
    name: str
    sentence: str
    source: str = ""


@dataclass(frozen=True)
class Answer:
    """Hops in order, or reasons.

    :param ok: whether there is a path; without hops: there is nothing to do
    """

    ok: bool
    hops: tuple[Hop, ...] = ()
    reasons: tuple[Reason, ...] = ()
    cures: tuple[str, ...] = ()


@dataclass
class _Problem:
    """The request as numbers: variables are what moves on its own, values are places in lists."""

    names: list[str]
    domains: list[list[str]]
    edges: list[list[dict[int, str]]]
    start: tuple[int, ...]
    goals: list[frozenset[int] | None]
    #: variable -> value -> the value alone breaks a rule
    alone: list[frozenset[int]]
    #: variable -> (other variable, (value, value of the other) that break a rule)
    pairs: list[list[tuple[int, frozenset[tuple[int, int]]]]] = field(default_factory=list)


def solve(catalogue: Catalogue, request: Request, *, direct: bool = False) -> Answer:
    """Return the shortest path, always the same one, or the smallest reason.

    :param catalogue: products and rules
    :param request: from what, to what
    :param direct: only the wanted products may move, each in one hop
    """
    problem = _compile(catalogue, request)
    states = _search(problem)
    if states is None:
        return _refusal(catalogue, request)
    hops = tuple(_hops(catalogue, request, problem, states))
    missing = tuple(_indirect(catalogue, request, hops)) if direct else ()
    return Answer(not missing, hops, missing)


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


def _way(product: Product, request: Request, before: str, after: str) -> str:
    """How a product gets from one version to another in one hop; empty: not at all."""
    if before == after or after in product.versions[before].successors:
        return ROLLING
    if product.name in request.allow and product.exception and after in product.later(before):
        return product.exception.name
    return ""


def _compile(
    catalogue: Catalogue, request: Request, dropped: Collection[tuple[str, str]] = ()
) -> _Problem:
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
                way = _way(product, request, before, after) or (ROLLING if free(name) else "")
                if way and name == catalogue.provider:
                    way = way if all(
                        (old := value(one, before)) and (new := value(one, after))
                        and (free(one) or _way(catalogue.products[one], request, old, new))
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
    problem = _Problem(names, domains, edges, start, goals, [frozenset()] * len(names))
    problem.pairs = [[] for _ in names]
    for rule in catalogue.rules:
        if {rule.product, rule.needs} <= set(request.now) and ("rule", rule.name) not in dropped:
            _add(problem, rule, place[rule.product], place[rule.needs], value)
    return problem


def _add(problem: _Problem, rule: Rule, one: int, other: int, value: object) -> None:
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


def _broken(problem: _Problem, state: tuple[int, ...], at: int) -> set[int] | None:
    """The other variables with which a variable's value breaks a rule; None: it does so alone."""
    if state[at] in problem.alone[at]:
        return None
    return {j for j, bad in problem.pairs[at] if (state[at], state[j]) in bad}


def _distances(problem: _Problem, at: int) -> list[float]:
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


def _search(problem: _Problem) -> list[tuple[int, ...]] | None:
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
    problem: _Problem, movable: set[int], far: list[list[float]]
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


def _hops(
    catalogue: Catalogue, request: Request, problem: _Problem, states: list[tuple[int, ...]]
) -> Iterator[Hop]:
    riding = [name for name in request.now if name in follows(catalogue, request)]
    for place, (state, after) in enumerate(zip(states, states[1:], strict=False)):
        at = next(i for i, (a, b) in enumerate(zip(state, after, strict=True)) if a != b)
        name = problem.names[at]
        product = catalogue.products[name]
        old, new = (problem.domains[at][s[at]] for s in (state, after))
        change = Change(name, old, new, problem.edges[at][state[at]][after[at]])
        along = []
        if name == catalogue.provider:
            for one in riding:
                a, b = (product.versions[v].provides[one] for v in (old, new))
                if a != b:
                    way = _way(catalogue.products[one], request, a, b)
                    along.append(Change(one, a, b, way))
        notes = [
            note
            for one in (change, *along)
            for note in catalogue.products[one.product].versions[one.after].notes
            # who starts empty has nothing to prepare for the version
            if one.kind == ROLLING or note.when == "after"
        ]
        why = ""
        if name not in request.goal:
            brought = [one for one in along if one.product in request.goal]
            why = (
                f"{catalogue.products[brought[0].product].title} {brought[0].after} comes with it"
                if brought
                else _why(catalogue, request, problem, states[place + 1 :], at, state[at])
            )
        yield Hop(change, tuple(along), why, tuple(notes))


def _versions(
    catalogue: Catalogue, request: Request, problem: _Problem, state: tuple[int, ...]
) -> dict[str, str]:
    """Product -> version of a state."""
    found = {
        name: domain[value]
        for name, domain, value in zip(problem.names, problem.domains, state, strict=True)
    }
    for name in follows(catalogue, request):
        version = found[catalogue.provider]
        found[name] = catalogue.products[catalogue.provider].versions[version].provides[name]
    return found


def _why(
    catalogue: Catalogue,
    request: Request,
    problem: _Problem,
    later: list[tuple[int, ...]],
    at: int,
    value: int,
) -> str:
    """The first rule of a later state that a variable would break, had it not moved."""
    for state in later:
        versions = _versions(
            catalogue, request, problem, (*state[:at], value, *state[at + 1 :])
        )
        for rule in catalogue.rules:
            if {rule.product, rule.needs} <= set(versions) and not rule.holds(
                versions[rule.product], versions[rule.needs]
            ):
                return needs(catalogue, rule, versions[rule.product])
    return ""


def needs(catalogue: Catalogue, rule: Rule, version: str) -> str:
    """Say what a version needs by a rule, as ``OpenStack 2025.2 needs Python 3.10 to 3.12``."""
    other = catalogue.products[rule.needs]
    order = list(other.versions)
    wanted = [name for name in order if name in rule.allowed[version]]
    text = " or ".join(wanted)
    if len(wanted) > 1 and order[order.index(wanted[0]) :][: len(wanted)] == wanted:
        text = f"{wanted[0]} to {wanted[-1]}"
        if wanted[-1] == order[-1] and catalogue.products[rule.product].name != other.whole:
            text = f"{wanted[0]} or later"
    return f"{catalogue.products[rule.product].title} {version} needs {other.title} {text}"


def _indirect(
    catalogue: Catalogue, request: Request, hops: tuple[Hop, ...]
) -> Iterator[Reason]:
    """Why hops are more than one change of what was asked for."""
    moved: dict[str, list[Change]] = {}
    for hop in hops:
        for change in (hop.change, *hop.along):
            moved.setdefault(change.product, []).append(change)
    whole = {catalogue.products[name].whole for name in moved if len(moved[name]) > 1}
    for name, changes in moved.items():
        product = catalogue.products[name]
        begin, end = changes[0].before, changes[-1].after
        if len(changes) > 1 and not (product.whole and product.whole in whole):
            between = ", ".join(change.after for change in changes[:-1])
            yield Reason(
                "hops",
                name,
                f"{product.title} {begin} cannot become {end} in one hop: {between} is missing"
                f" between them; {product.reason}",
                product.source,
            )
    for hop in hops:
        if hop.why and not any(one.product in request.goal for one in hop.along):
            change = hop.change
            title = catalogue.products[change.product].title
            yield Reason(
                "hops",
                change.product,
                f"{title} has to go from {change.before} to {change.after} as well: {hop.why}",
                catalogue.products[change.product].source,
            )


def _refusal(catalogue: Catalogue, request: Request) -> Answer:
    """The smallest set of goals, hops and rules that cannot be had together.

    Each is left out in turn, and stays out when there is no path all the same. What is left is
    minimal: without any one of it there would be a path. Two orders are tried.
    """
    rules = list(dict.fromkeys(("rule", rule.name) for rule in catalogue.rules
                               if {rule.product, rule.needs} <= set(request.now)))  # fmt: skip
    hops = [("hops", name) for name in request.now]
    goals = [("goal", name) for name, version in request.goal.items()
             if request.now[name] != version]  # fmt: skip
    cores = []
    for order in ([*rules, *hops, *goals], [*hops, *rules, *goals]):
        dropped: set[tuple[str, str]] = set()
        for one in order:
            if _search(_compile(catalogue, request, {*dropped, one})) is None:
                dropped.add(one)
        cores.append([one for one in order if one not in dropped])
    core = min(cores, key=len)
    reasons = [_reason(catalogue, request, kind, name) for kind, name in core]
    # what is wanted is known; it is told only where nothing else is left to tell
    told = [reason for reason in reasons if reason.kind != "goal"] or reasons
    return Answer(False, (), tuple(told), tuple(_cures(catalogue, request, core)))


def _reason(catalogue: Catalogue, request: Request, kind: str, name: str) -> Reason:
    if kind == "rule":
        rules = [rule for rule in catalogue.rules if rule.name == name]
        rule, sentence = rules[0], ""
        for rule in rules:
            sentence = _rule_sentence(catalogue, request, rule)
            if sentence:
                break
        return Reason(kind, name, f"{sentence or name}: {rule.reason}", rule.source)
    product = catalogue.products[name]
    if kind == "goal":
        return Reason(kind, name, f"{product.title} {request.goal[name]} is wanted")
    return Reason(
        kind, name, f"{_hop_sentence(catalogue, request, product)}: {product.reason}",
        product.source,
    )  # fmt: skip


def _rule_sentence(catalogue: Catalogue, request: Request, rule: Rule) -> str:
    """What a rule asks of the wanted version, or of the present one."""
    if not {rule.product, rule.needs} <= set(request.now):
        return ""
    asked = [request.goal.get(rule.product), request.now[rule.product]]
    has = request.now[rule.needs]
    wants = request.goal.get(rule.needs, has)
    for version in [*asked, *rule.allowed]:
        if version in rule.allowed and not (rule.holds(version, has) and rule.holds(version, wants)):
            told = f"the cluster has {has}"
            if wants != has:
                told += f" and {wants} is wanted"
            return f"{needs(catalogue, rule, version)}, and {told}"
    return ""


def _hop_sentence(catalogue: Catalogue, request: Request, product: Product) -> str:
    """Why a product's hops do not lead where they should."""
    before = request.now[product.name]
    successors = ", ".join(product.versions[before].successors) or "no release"
    if product.name in follows(catalogue, request):
        provider = catalogue.products[catalogue.provider]
        for step in provider.versions[request.now[provider.name]].successors:
            brought = provider.versions[step].provides.get(product.name, "")
            if not brought:
                return f"{product.title} {before} comes from the distribution, and {step} has none"
            if not _way(product, request, before, brought):
                return (
                    f"{product.title} comes from the distribution, {step} has {brought},"
                    f" and {before} is followed by {successors} only"
                )
        return f"{product.title} {before} comes from {request.now[provider.name]}"
    wanted = request.goal.get(product.name, "")
    if wanted and wanted not in product.later(before) and wanted != before:
        return f"{product.title} {before} does not go back to {wanted}"
    return f"{product.title} {before} is followed by {successors} only"


def _cures(
    catalogue: Catalogue, request: Request, core: list[tuple[str, str]]
) -> Iterator[str]:
    riding = follows(catalogue, request)
    for kind, name in core:
        product = catalogue.products.get(name)
        if kind != "hops" or product is None:
            continue
        wanted = request.goal.get(name, "")
        backwards = bool(wanted) and wanted not in product.later(request.now[name])
        if product.exception and name not in request.allow and not backwards:
            yield f"allow={name} permits the way {product.exception.name}: {product.exception.what}"
        if name in riding:
            yield f"own={name} says that its packages do not come from the distribution"


def states_of(request: Request, answer: Answer) -> Iterator[Mapping[str, str]]:
    """Yield product -> version before the first hop and after each one."""
    state = dict(request.now)
    yield dict(state)
    for hop in answer.hops:
        for change in (hop.change, *hop.along):
            state[change.product] = change.after
        yield dict(state)
