"""The lifecycle part of the release catalogue, read, checked and compiled.

The files are ``releases/<product>.yaml``; docs/reference/releases.md describes every key.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from saltern.artifact.catalogue import releases_dir
from saltern.errors import ReleaseError

SCHEMA = Path(__file__).with_name("data") / "lifecycle.json"
#: libyaml parses ten times faster; both are safe loaders
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Note:
    """What holds before a hop to a version, or is done after it.

    :param when: ``before`` or ``after``
    """

    when: str
    text: str
    source: str


@dataclass(frozen=True)
class Version:
    """One version of a product.

    :param kind: ``SLURP``, ``LTS`` or empty
    :param released: ISO 8601 day, or empty
    :param ended: ISO 8601 day on which its makers stop(ped) to mend it, or empty
    :param successors: versions that it may become in one hop, in the catalogue's order
    :param line: versions that hops join it to, in either direction, and itself
    :param provides: of a distribution: product -> version that it has
    """

    name: str
    aka: tuple[str, ...]
    kind: str
    released: str
    ended: str
    successors: tuple[str, ...]
    line: frozenset[str]
    notes: tuple[Note, ...]
    provides: Mapping[str, str]


@dataclass(frozen=True)
class Exceptional:
    """A way around a product's hops, to any later version: it costs what ``what`` says."""

    name: str
    what: str
    reason: str
    source: str


@dataclass(frozen=True)
class Product:
    """One product, or a part of one that is upgraded on its own.

    :param roles: a cluster has the product when a node has one of them; none: always, when the
        distribution has it
    :param key: where a node's data says the version, parts joined by colons
    :param default: the version where the model says none, or empty
    :param after: products whose hops come first where nothing else decides
    :param comes_with: product whose makers' packages bring it along, or empty
    :param whole: the product that it is a part of, or empty
    :param versions: by name, oldest first
    """

    name: str
    title: str
    roles: tuple[str, ...]
    key: str
    default: str
    after: tuple[str, ...]
    comes_with: str
    whole: str
    reason: str
    source: str
    exception: Exceptional | None
    versions: Mapping[str, Version]

    def later(self, version: str) -> list[str]:
        """Return the versions that come after one in the catalogue's order."""
        names = list(self.versions)
        return names[names.index(version) + 1 :]

    def find(self, value: Any) -> str:
        """Return the version that a text or number means, by its name or another one.

        :param value: ``2026.1``, ``squid``, ``19``; a number out of a command line is one that lost
            its zeros (``1.3`` for ``1.30``)
        :raises ReleaseError: the catalogue has no such version
        """
        text = str(value)
        for version in self.versions.values():
            if text == version.name or text in version.aka:
                return version.name
        if isinstance(value, float):
            same = [name for name in self.versions if _number(name) == value]
            if len(same) == 1:
                return same[0]
        raise ReleaseError(
            f"{self.title} has no version {text!r}; known are {', '.join(self.versions)}",
            where=f"releases/{self.whole or self.name}.yaml",
            cure="Name one of these, or add it to the catalogue with its source",
        )


@dataclass(frozen=True)
class Rule:
    """Versions of one product that another one needs.

    :param product: whose version asks
    :param needs: whose version is asked for
    :param allowed: version of ``product`` -> versions of ``needs``; a version without an entry
        asks for nothing
    :param open_ended: versions of ``product`` with which later versions of ``needs`` go, too
    """

    name: str
    product: str
    needs: str
    allowed: Mapping[str, frozenset[str]]
    reason: str
    source: str
    open_ended: frozenset[str] = frozenset()

    def holds(self, version: str, other: str) -> bool:
        """Tell whether two versions go together."""
        return other in self.allowed.get(version, (other,))


@dataclass(frozen=True)
class Catalogue:
    """All products, in the order in which independent hops are made, and the rules between them.

    :param provider: the product whose versions provide others (the distribution), or empty
    """

    products: Mapping[str, Product]
    rules: tuple[Rule, ...]
    provider: str

    def product(self, name: str) -> Product:
        """Return a product.

        :raises ReleaseError: there is none of that name
        """
        if name not in self.products:
            raise ReleaseError(
                f"there is no product {name!r}; known are {', '.join(sorted(self.products))}",
                where="releases/",
            )
        return self.products[name]

    def parts(self, name: str) -> list[str]:
        """Return the names of the parts of a product."""
        return [part.name for part in self.products.values() if part.whole == name]


def load(folder: Path | None = None) -> Catalogue:
    """Read the catalogue.

    :param folder: directory with ``<product>.yaml``; default that of this distribution
    :raises ReleaseError: a file cannot be read or contradicts itself or another one
    """
    top = folder or releases_dir()
    stamps = tuple((path, path.stat().st_mtime_ns) for path in sorted(top.glob("*.yaml")))
    return _load(stamps)


@lru_cache(maxsize=8)
def _load(stamps: tuple[tuple[Path, int], ...]) -> Catalogue:
    data = {}
    for path, _ in stamps:
        found = _read(path)
        if found is not None:
            data[path.stem] = found
    return build(data)


def build(data: Mapping[str, Mapping[str, Any]]) -> Catalogue:
    """Make a catalogue of plain data.

    :param data: product -> its ``lifecycle``
    :raises ReleaseError: it does not fit the schema, or contradicts itself
    """
    products: dict[str, Product] = {}
    for name, entry in data.items():
        _check(name, entry)
        main = _product(name, entry)
        parts = {part: _part(part, main, own) for part, own in entry.get("parts", {}).items()}
        for one in (main, *parts.values()):
            if one.name in products:
                raise _fault(name, f"the name {one.name} is taken twice")
            products[one.name] = one
    _check_names(products)
    ranked = _ranked(products)
    rules = [rule for name, entry in data.items() for rule in _rules(name, entry, ranked)]
    taken: dict[str, str] = {}
    for rule in rules:
        if taken.setdefault(rule.name, rule.needs) != rule.needs:
            raise _fault(rule.product, f"the rule {rule.name} is there twice")
    providers = [p.name for p in ranked.values() if any(v.provides for v in p.versions.values())]
    if len(providers) > 1:
        raise _fault(providers[1], f"{providers[0]} provides products already")
    return Catalogue(ranked, tuple(rules), providers[0] if providers else "")


def _fault(name: str, sentence: str) -> ReleaseError:
    return ReleaseError(sentence, where=f"releases/{name}.yaml", cure="Correct the catalogue")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return the lifecycle of a file, None where it has none."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except (OSError, yaml.YAMLError) as err:
        raise _fault(path.stem, f"it cannot be read: {str(err).splitlines()[0]}") from None
    if not isinstance(data, dict) or data.get("product") != path.stem:
        raise _fault(path.stem, f"product must be {path.stem}")
    found: Mapping[str, Any] | None = _plain(data.get("lifecycle"))
    return found


def _plain(value: Any) -> Any:
    """Days as text: that is what the schema describes, and what is shown."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


@lru_cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _check(name: str, entry: Mapping[str, Any]) -> None:
    """Check a lifecycle by the schema.

    :raises ReleaseError: one sentence about the first fault, with its path
    """
    names = [*entry.get("versions", {})] if isinstance(entry, Mapping) else []
    loose = [key for key in names if not isinstance(key, str)]
    if loose:
        raise _fault(name, f"lifecycle:versions: {loose[0]!r} must be a text: write quotes")
    error = jsonschema.exceptions.best_match(_validator().iter_errors(entry))
    if error is not None:
        path = ":".join(["lifecycle", *map(str, error.absolute_path)])
        raise _fault(name, f"{path}: {error.message}")


def _product(name: str, entry: Mapping[str, Any]) -> Product:
    reach = entry["hops"]["reach"]
    order = list(entry["versions"])
    exception = entry.get("exception")
    follow: dict[str, tuple[str, ...]] = {}
    for index, (version, row) in enumerate(entry["versions"].items()):
        if (reach == "listed") != ("next" in row):
            must = "must say" if reach == "listed" else "must not say"
            raise _fault(name, f"version {version} {must} `next`, as hops:reach is {reach}")
        after = order[index + 1 :]
        successors = {"listed": row.get("next", []), "any": after}.get(reach) or (
            after[:reach] if isinstance(reach, int) else []
        )
        wrong = [one for one in successors if one not in after]
        if wrong:
            raise _fault(name, f"version {version} is followed by {wrong[0]}, which is not later")
        follow[version] = tuple(successors)
    lines = _lines(follow)
    versions = {
        version: Version(
            name=version,
            aka=tuple(row.get("aka", ())),
            kind=row.get("kind", ""),
            released=row.get("released", ""),
            ended=row.get("ended") or "",
            successors=follow[version],
            line=lines[version],
            notes=tuple(
                Note(when, note[when], note["source"])
                for note in row.get("notes", ())
                for when in ("before", "after")
                if when in note
            ),
            provides=row.get("provides", {}),
        )
        for version, row in entry["versions"].items()
    }
    if entry.get("default", order[0]) not in order:
        raise _fault(name, f"default {entry['default']} is no version")
    return Product(
        name=name,
        title=entry["title"],
        roles=tuple(entry["roles"]),
        key=entry.get("key", f"_param:{name}_release"),
        default=entry.get("default", ""),
        after=tuple(entry.get("after", ())),
        comes_with=entry.get("comes_with", ""),
        whole="",
        reason=entry["hops"]["reason"],
        source=entry["hops"]["source"],
        exception=Exceptional(**exception) if exception else None,
        versions=versions,
    )


def _lines(follow: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Version -> all that hops join it to: a distribution has a line for each of its makers."""
    lines = {version: frozenset((version,)) for version in follow}
    for version, successors in follow.items():
        for other in successors:
            joined = lines[version] | lines[other]
            lines |= dict.fromkeys(joined, joined)
    return lines


def _part(name: str, main: Product, row: Mapping[str, Any]) -> Product:
    """A part goes through the same versions at its own time, and after the whole by choice."""
    versions = main.versions
    if "reach" in row:
        versions = {
            version.name: replace(
                version, successors=tuple(main.later(version.name)[: row["reach"]])
            )
            for version in versions.values()
        }
    return replace(
        main,
        name=name,
        title=row["title"],
        roles=tuple(row["roles"]),
        after=(main.name, *row.get("after", ())),
        whole=main.name,
        versions=versions,
    )


def _check_names(products: Mapping[str, Product]) -> None:
    """Every product and version that is named is there."""
    for product in products.values():
        file = product.whole or product.name
        named = [*product.after, *([product.comes_with] if product.comes_with else [])]
        for other in named:
            if other not in products:
                raise _fault(file, f"it names the product {other}, which there is none of")
        for version in product.versions.values():
            for other, provided in version.provides.items():
                if provided not in getattr(products.get(other), "versions", ()):
                    raise _fault(
                        file,
                        f"{version.name} provides {other} {provided}, which there is none of",
                    )


def _ranked(products: Mapping[str, Product]) -> dict[str, Product]:
    """The products in an order that keeps every ``after``; by name where that leaves a choice."""
    sorter = TopologicalSorter({name: products[name].after for name in sorted(products)})
    try:
        sorter.prepare()
    except CycleError as err:
        circle: list[str] = err.args[1]
        raise _fault(circle[0], f"`after` goes in a circle: {' '.join(circle)}") from None
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return {name: products[name] for name in order}


def _rules(name: str, entry: Mapping[str, Any], products: Mapping[str, Product]) -> Iterable[Rule]:
    """The rules of a file: those of its parts, and those it lists."""
    for part, row in entry.get("parts", {}).items():
        yield Rule(
            name=f"{part}-behind-{name}",
            product=name,
            needs=part,
            allowed=_behind(name, products[name], row),
            reason=row["reason"],
            source=row["source"],
        )
    for row in entry.get("rules", ()):
        of = [row["of"]] if isinstance(row["of"], str) else row["of"]
        for one in (*of, row["needs"]):
            if one not in products:
                raise _fault(name, f"the rule {row['name']} names {one}, which is no product")
        other = products[row["needs"]]
        for one in of:
            for version in row["rows"]:
                if version not in products[one].versions:
                    raise _fault(name, f"the rule {row['name']}: {one} has no version {version}")
            yield Rule(
                name=row["name"],
                product=one,
                needs=other.name,
                allowed={
                    version: _range(name, f"rule {row['name']}", other, wanted)
                    for version, wanted in row["rows"].items()
                },
                reason=row["reason"],
                source=row["source"],
                open_ended=frozenset(
                    version
                    for version, wanted in row["rows"].items()
                    if isinstance(wanted, Mapping) and "to" not in wanted
                ),
            )


def _behind(name: str, main: Product, row: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Version of the whole -> versions that its part may have beside it."""
    order = list(main.versions)
    allowed = {}
    for index, version in enumerate(order):
        first = max(0, index - row["behind"]) if "behind" in row else 0
        oldest = row.get("oldest", {}).get(version)
        if oldest is not None:
            if oldest not in order[: index + 1]:
                raise _fault(name, f"oldest:{version}: {oldest} is no version up to it")
            first = order.index(oldest)
        allowed[version] = frozenset(order[first : index + 1])
    return allowed


def _range(name: str, where: str, product: Product, wanted: Any) -> frozenset[str]:
    """Versions that a row of a rule means: a list, or from and to, both included."""
    order = list(product.versions)
    ends = list(wanted.values()) if isinstance(wanted, Mapping) else list(wanted)
    for version in ends:
        if version not in order:
            raise _fault(name, f"{where}: {product.name} has no version {version}")
    if not isinstance(wanted, Mapping):
        return frozenset(wanted)
    first = order.index(wanted.get("from", order[0]))
    last = order.index(wanted.get("to", order[-1]))
    if last < first:
        raise _fault(name, f"{where}: {wanted['from']} is later than {wanted['to']}")
    return frozenset(order[first : last + 1])
