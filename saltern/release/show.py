"""Paths, refusals and the catalogue as text for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from saltern.release.lifecycle import Catalogue, Product, Rule
from saltern.release.observe import Request
from saltern.release.refusal import Reason, needs
from saltern.release.solve import Answer, Hop


def comment(catalogue: Catalogue, answer: Answer) -> str:
    """Return an answer in one line."""
    if answer.refusal:
        return f"There is no such path: {answer.refusal}."
    if not answer.hops:
        return "There is nothing to do: all is as wanted."
    steps = ", ".join(
        f"{catalogue.products[hop.change.product].title} {hop.change.after}" for hop in answer.hops
    )
    count = len(answer.hops)
    return f"{count} {'hop' if count == 1 else 'hops'}: {steps}."


def text(catalogue: Catalogue, request: Request, answer: Answer) -> str:
    """Return an answer as text: what runs, the hops with their notes, or what is in the way."""
    parts = [f"now: {_versions(request.now)}", f"to:  {_versions(request.goal)}"]
    if answer.hops:
        parts += ["", _hop_table(catalogue, answer.hops), *_notes(catalogue, answer.hops)]
    if answer.refusal:
        parts += ["", "in the way:", *_listed(answer.refusal.reasons)]
        if answer.refusal.further:
            parts += ["and after that:", *_listed(answer.refusal.further)]
        if answer.refusal.cures:
            parts += ["what may be said:", *(f"  {cure}" for cure in answer.refusal.cures)]
    elif not answer.hops:
        parts += ["", comment(catalogue, answer)]
    return "\n".join(parts)


def data(request: Request, answer: Answer) -> dict[str, Any]:
    """Return an answer as plain data."""
    refusal = answer.refusal
    return {
        "now": dict(request.now),
        "to": dict(request.goal),
        "hops": [
            {
                **asdict(hop.change),
                "along": [asdict(change) for change in hop.along],
                "why": hop.why,
                "notes": [asdict(note) for note in hop.notes],
            }
            for hop in answer.hops
        ],
        "reasons": [asdict(reason) for reason in refusal.reasons] if refusal else [],
        "further": [asdict(reason) for reason in refusal.further] if refusal else [],
        "cures": list(refusal.cures) if refusal else [],
    }


def matrix(catalogue: Catalogue, product: str | None = None) -> str:
    """Return the catalogue as tables: all products, or the versions of one.

    :raises ReleaseError: there is no such product
    """
    if product:
        return "\n".join(_one(catalogue, catalogue.product(product)))
    head = ("PRODUCT", "WHAT", "OLDEST", "NEWEST", "HOPS")
    rows = [
        (one.name, one.title, next(iter(one.versions)), list(one.versions)[-1], one.reason)
        for one in catalogue.products.values()
    ]
    rules = [(rule.name, _products(rule), rule.reason) for rule in _once(catalogue.rules)]
    return "\n\n".join((table(head, rows), table(("RULE", "BETWEEN", "REASON"), rules)))


def matrix_data(catalogue: Catalogue, product: str | None = None) -> dict[str, Any]:
    """Return the catalogue as plain data.

    :raises ReleaseError: there is no such product
    """
    names = [catalogue.product(product).name] if product else list(catalogue.products)
    return {
        "products": {name: _product_data(catalogue.products[name]) for name in names},
        "rules": [
            {
                **asdict(rule),
                "allowed": {version: sorted(found) for version, found in rule.allowed.items()},
                "open_ended": sorted(rule.open_ended),
            }
            for rule in catalogue.rules
            if not product or product in (rule.product, rule.needs)
        ],
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table of plain text; the last column may be of any width."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    )


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _listed(reasons: Sequence[Reason]) -> Iterator[str]:
    for reason in reasons:
        yield f"  {reason}"
        if reason.source:
            yield f"    {reason.source}"


def _hop_table(catalogue: Catalogue, hops: Sequence[Hop]) -> str:
    rows = []
    for number, hop in enumerate(hops, 1):
        for change in hop.changes:
            own = change is hop.change
            title = catalogue.products[change.product].title
            rows.append(
                (
                    str(number) if own else "",
                    title if own else f"+ {title}",
                    change.before,
                    change.after,
                    change.way,
                    (hop.why or "wanted") if own else "",
                )
            )
    return table(("HOP", "WHAT", "FROM", "TO", "WAY", "WHY"), rows)


def _notes(catalogue: Catalogue, hops: Sequence[Hop]) -> Iterator[str]:
    for number, hop in enumerate(hops, 1):
        told = [f"  {note.when}: {note.text}" for note in hop.notes]
        for change in hop.changes:
            special = catalogue.products[change.product].exception
            if special and change.way == special.name:
                title = catalogue.products[change.product].title
                told.append(f"  {title}, {special.name}: {special.what}")
        if told:
            yield f"hop {number}"
            yield from told


def _one(catalogue: Catalogue, product: Product) -> Iterator[str]:
    """The versions of a product, its rules and notes."""
    rows = [
        (
            version.name,
            ", ".join(version.aka),
            version.kind,
            version.released,
            version.ended,
            ", ".join(version.successors),
        )
        for version in product.versions.values()
    ]
    yield f"{product.title}: {product.reason}"
    yield f"  {product.source}"
    if product.exception:
        special = product.exception
        yield f"or, with allow={product.name}, `{special.name}`: {special.what}; {special.reason}"
        yield f"  {special.source}"
    yield ""
    yield table(("VERSION", "OR", "KIND", "RELEASED", "ENDS", "MAY BECOME"), rows)
    for version in product.versions.values():
        if version.provides:
            yield f"{version.name} has {_versions(version.provides)}"
    for version in product.versions.values():
        for note in version.notes:
            yield f"{version.name}, {note.when}: {note.text}"
    for rule in catalogue.rules:
        if product.name in (rule.product, rule.needs):
            yield ""
            yield f"{rule.name}: {rule.reason}"
            yield f"  {rule.source}"
            yield from (f"  {needs(catalogue, rule, name)}" for name in rule.allowed)


def _products(rule: Rule) -> str:
    return f"{rule.product}, {rule.needs}"


def _once(rules: Sequence[Rule]) -> list[Rule]:
    """A rule that asks several products is one."""
    return list({rule.name: rule for rule in reversed(rules)}.values())[::-1]


def _product_data(product: Product) -> dict[str, Any]:
    found = asdict(product)
    for version in found["versions"].values():
        version["line"] = [name for name in product.versions if name in version["line"]]
    return found
