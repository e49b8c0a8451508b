"""The smallest reason why there is no path, in sentences, and what may be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from saltern.release.lifecycle import Catalogue, Product, Rule
from saltern.release.observe import Request, follows
from saltern.release.problem import numbered, search, way

#: reasons beside the smallest one that are looked for
_FURTHER = 8

#: ``("rule", name)``, ``("hops", product)`` or ``("goal", product)``
Fact = tuple[str, str]


@dataclass(frozen=True)
class Reason:
    """One of the facts that exclude each other.

    :param kind: ``hops``, ``rule`` or ``goal``
    :param name: of the product or the rule
    :param sentence: what is in the way
    :param because: what the fact rests on
    :param source: where that is written
    """

    kind: str
    name: str
    sentence: str
    because: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.sentence} ({self.because})" if self.because else self.sentence


@dataclass(frozen=True)
class Refusal:
    """Why there is no path.

    :param reasons: the smallest set: without any one of them there would be a path, or the next
        reason would show
    :param further: what is in the way beside them
    :param cures: what may be done, one sentence each
    """

    reasons: tuple[Reason, ...]
    further: tuple[Reason, ...] = ()
    cures: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.reasons))


def refusal(catalogue: Catalogue, request: Request) -> Refusal:
    """Say why a request has no path.

    :param request: one for which the search found none
    """
    base: set[Fact] = set()
    cores = [core(catalogue, request)]
    while len(cores) <= _FURTHER:
        # as if that were out of the way: what is left?
        more = {fact for fact in cores[-1] if fact[0] != "goal"}
        more |= {(kind, part) for kind, name in more for part in catalogue.parts(name)}
        base |= more
        if not more or search(numbered(catalogue, request, base)) is not None:
            break
        cores.append(core(catalogue, request, base))
    told = [_reasons(catalogue, request, facts) for facts in cores]
    every = list(dict.fromkeys(fact for one in cores for fact in one))
    return Refusal(
        tuple(told[0]),
        tuple(reason for one in told[1:] for reason in one),
        tuple(_cures(catalogue, request, every)),
    )


def core(catalogue: Catalogue, request: Request, without: set[Fact] | None = None) -> list[Fact]:
    """Return facts that exclude each other, none of which can be left out.

    Each fact is dropped in turn, and stays dropped when there is no path all the same. Two orders
    are tried, the smaller outcome is taken.

    :param without: facts that do not count
    """
    present = set(request.now)
    rules = list(
        dict.fromkeys(
            ("rule", rule.name) for rule in catalogue.rules if {rule.product, rule.needs} <= present
        )
    )
    # what is dropped first is told least: parts before what they are parts of
    order = sorted(request.now, key=lambda name: not catalogue.products[name].whole)
    hops = [("hops", name) for name in order]
    goals = [("goal", name) for name in order if name in request.goal]
    found = []
    for facts in ([*rules, *hops, *goals], [*hops, *rules, *goals]):
        dropped = set(without or ())
        for fact in facts:
            if search(numbered(catalogue, request, {*dropped, fact})) is None:
                dropped.add(fact)
        found.append([fact for fact in facts if fact not in dropped])
    return min(found, key=len)


def needs(catalogue: Catalogue, rule: Rule, version: str) -> str:
    """Say what a version needs by a rule, as ``OpenStack 2025.2 needs Python 3.10 to 3.12``."""
    other = catalogue.products[rule.needs]
    order = list(other.versions)
    wanted = [name for name in order if name in rule.allowed[version]]
    text = " or ".join(wanted)
    if len(wanted) > 1 and order[order.index(wanted[0]) :][: len(wanted)] == wanted:
        text = f"{wanted[0]} to {wanted[-1]}"
    if version in rule.open_ended:
        text = f"{wanted[0]} or later"
    return f"{catalogue.products[rule.product].title} {version} needs {other.title} {text}"


def _reasons(catalogue: Catalogue, request: Request, facts: list[Fact]) -> list[Reason]:
    """The facts in words; what is wanted is told only where there is nothing else to tell."""
    told = [_reason(catalogue, request, fact) for fact in facts if fact[0] != "goal"]
    if told or len(facts) > 1:
        return told or [_reason(catalogue, request, fact) for fact in facts]
    ((_, name),) = facts
    product, wanted = catalogue.products[name], request.goal[name]
    sentence = f"no hops lead from {product.title} {request.now[name]} to {wanted}"
    if name in follows(catalogue, request):
        here = request.now[catalogue.provider]
        sentence = (
            f"{product.title} comes from the distribution,"
            f" and nothing that follows {here} has {product.title} {wanted}"
        )
    return [Reason("goal", name, sentence, product.reason, product.source)]


def _reason(catalogue: Catalogue, request: Request, fact: Fact) -> Reason:
    kind, name = fact
    if kind == "rule":
        rules = [rule for rule in catalogue.rules if rule.name == name]
        for rule in rules:
            sentence = _rule_sentence(catalogue, request, rule)
            if sentence:
                return Reason(kind, name, sentence, rule.reason, rule.source)
        return Reason(kind, name, f"the rule {name} holds on the way", rule.reason, rule.source)
    product = catalogue.products[name]
    if kind == "goal":
        sentence = f"{product.title} {request.goal[name]} is wanted"
        return Reason(kind, name, sentence, product.reason, product.source)
    sentence = _hop_sentence(catalogue, request, product)
    return Reason(kind, name, sentence, product.reason, product.source)


def _wanted(catalogue: Catalogue, request: Request) -> Mapping[str, str]:
    """Product -> version in the end, as far as the request says."""
    found = {**request.now, **request.goal}
    if request.goal.get(catalogue.provider):
        provider = catalogue.products[catalogue.provider]
        provides = provider.versions[request.goal[catalogue.provider]].provides
        found |= {name: provides[name] for name in follows(catalogue, request) & set(provides)}
    return found


def _rule_sentence(catalogue: Catalogue, request: Request, rule: Rule) -> str:
    """What a rule asks of a version on the way, and what is there in its place."""
    if not {rule.product, rule.needs} <= set(request.now):
        return ""
    wanted = _wanted(catalogue, request)
    has, gets = request.now[rule.needs], wanted[rule.needs]
    product = catalogue.products[rule.product]
    if not rule.holds(request.now[product.name], has):
        return f"{needs(catalogue, rule, request.now[product.name])}, and the cluster has {has}"
    order = list(product.versions)
    first, last = order.index(request.now[product.name]), order.index(wanted[product.name])
    for version in (order[last], *order[first:last]):
        if version in rule.allowed and not rule.holds(version, gets):
            told = f"the cluster has {has}"
            if gets != has:
                told = f"{gets} is wanted"
                if rule.needs not in request.goal:
                    told = f"{gets} comes with {request.goal[catalogue.provider]}"
            return f"{needs(catalogue, rule, version)}, and {told}"
    # it holds in the end, and not on the way there
    return needs(catalogue, rule, order[last]) if order[last] in rule.allowed else ""


def _hop_sentence(catalogue: Catalogue, request: Request, product: Product) -> str:
    """Why a product's hops do not lead where they should."""
    before = request.now[product.name]
    successors = ", ".join(product.versions[before].successors) or "no release"
    wanted = request.goal.get(product.name, before)
    if wanted != before and wanted not in product.later(before):
        return f"{product.title} {before} does not go back to {wanted}"
    if product.name not in follows(catalogue, request):
        return f"{product.title} {before} is followed by {successors} only"
    provider = catalogue.products[catalogue.provider]
    for step in provider.versions[request.now[provider.name]].successors:
        brought = provider.versions[step].provides.get(product.name, "")
        if not brought:
            return f"{product.title} {before} comes from the distribution, and {step} has none"
        if not way(product, request, before, brought):
            return (
                f"{product.title} comes from the distribution, {step} has {brought},"
                f" and {before} is followed by {successors} only"
            )
    return f"{product.title} {before} comes from {request.now[provider.name]} and changes with it"


def _cures(catalogue: Catalogue, request: Request, facts: list[Fact]) -> Iterator[str]:
    """The arguments that take reasons out of the way."""
    riding = follows(catalogue, request)
    for kind, name in facts:
        product = catalogue.products.get(name)
        if kind == "rule" or product is None:
            continue
        wanted = request.goal.get(name, request.now[name])
        if wanted != request.now[name] and wanted not in product.later(request.now[name]):
            continue
        if kind == "hops" and product.exception and name not in request.allow:
            special = product.exception
            yield f"allow={name} permits the way `{special.name}`: {special.what}"
        if name in riding:
            yield f"own={name} says that its packages do not come from the distribution"
