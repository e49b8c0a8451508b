"""What a cluster runs, as its compiled nodes say, and what is asked for, as people write it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from saltern.errors import ReleaseError
from saltern.model.cluster import CompiledNode
from saltern.release.lifecycle import Catalogue, Product

#: nodes that one sentence names before it counts the rest
_SHOWN = 3


@dataclass(frozen=True)
class Request:
    """From what, to what.

    :param now: product -> version, of every product that the cluster has
    :param goal: product -> version wanted in the end; others move only where a rule asks for it
    :param own: products whose packages do not come from the distribution
    :param allow: products that may take the exceptional way of the catalogue
    """

    now: Mapping[str, str]
    goal: Mapping[str, str]
    own: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()


def pairs(given: Any, what: str) -> dict[str, Any]:
    """Return products and versions of an argument.

    :param given: a mapping, ``openstack=2026.1,ceph=squid``, or nothing
    :param what: name of the argument, for the sentence
    :raises ReleaseError: it is neither
    """
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    found = {}
    for item in names(given):
        name, equals, version = item.partition("=")
        if not (name and equals and version):
            raise ReleaseError(
                f"{item!r} is no product and version",
                where=what,
                cure=f"Write {what}='openstack=2026.1,ceph=squid'",
            )
        found[name.strip()] = version.strip()
    return found


def names(given: Any) -> list[str]:
    """Return the texts of a list, or of one text with commas."""
    if given is None or given == "":
        return []
    items = given.split(",") if isinstance(given, str) else given
    if not isinstance(items, Iterable) or isinstance(items, Mapping):
        items = [items]
    return [str(item).strip() for item in items if str(item).strip()]


def request(
    catalogue: Catalogue,
    nodes: Mapping[str, CompiledNode],
    to: Any,
    now: Any = None,
    own: Any = None,
    allow: Any = None,
) -> Request:
    """Make a request of what a cluster runs and of what is asked for.

    :param catalogue: the release catalogue
    :param nodes: the cluster's compiled nodes by id; none: only what ``now`` says is there
    :param to: a version, ``product=version`` pairs or a mapping; a part of a product that is not
        named goes where its whole goes
    :param now: pairs that are right where the model is not
    :param own: products with packages of their own
    :param allow: products that may take the exceptional way
    :raises ReleaseError: unknown product or version, or nothing says what the cluster runs
    """
    said = known(catalogue, now, "now")
    own_names = {catalogue.product(name).name for name in names(own)}
    allowed = {catalogue.product(name).name for name in names(allow)}
    without = sorted(name for name in allowed if not catalogue.products[name].exception)
    if without:
        raise ReleaseError(
            f"{catalogue.products[without[0]].title} has no exceptional way",
            where="allow",
            cure="Leave it out",
        )
    versions = running(catalogue, nodes, said)
    goal = _goal(catalogue, to, versions)
    return Request(versions, goal, _own(catalogue, versions, own_names), frozenset(allowed))


def known(catalogue: Catalogue, given: Any, what: str) -> dict[str, str]:
    """Return product -> version of an argument; a part goes with its whole unless it is named.

    :param given: as in :func:`pairs`
    :param what: name of the argument, for the sentence
    :raises ReleaseError: unknown product or version
    """
    found = {
        name: catalogue.product(name).find(value) for name, value in pairs(given, what).items()
    }
    parts = {part: version for name, version in found.items() for part in catalogue.parts(name)}
    return {**parts, **found}


def running(
    catalogue: Catalogue, nodes: Mapping[str, CompiledNode], said: Mapping[str, str]
) -> dict[str, str]:
    """Return product -> version of a cluster, in the catalogue's order.

    The model says it (``key`` of the product); else the distribution has one; else there is a
    default.

    :param said: versions that are right whatever the model says
    :raises ReleaseError: nodes contradict each other, or nothing says a version
    """
    found = dict(said)
    provider = catalogue.products.get(catalogue.provider)
    if provider and provider.name not in found and nodes:
        image = _declared(provider, nodes)
        if image:
            found[provider.name] = image
    for product in catalogue.products.values():
        has = {name: n for name, n in nodes.items() if set(product.roles) & set(n.applications)}
        provided = _provided(catalogue, found, product.name)
        if product.name in found or not (has or (provided and not product.roles)):
            continue
        version = (_declared(product, has) if has else "") or provided or product.default
        if not version:
            raise ReleaseError(
                f"nothing says which {product.title} the cluster has",
                where=_some(has),
                cure=f"Set {product.key} in the model, or say now={product.name}=VERSION",
            )
        found[product.name] = version
    return {name: found[name] for name in catalogue.products if name in found}


def follows(catalogue: Catalogue, request: Request) -> frozenset[str]:
    """Return the products that change together with the distribution."""
    return frozenset(
        name
        for name, version in request.now.items()
        if name not in request.own and version == _provided(catalogue, request.now, name)
    )


def _declared(product: Product, nodes: Mapping[str, CompiledNode]) -> str:
    """The version that nodes' data has under the product's key; empty where it has none."""
    by_value: dict[str, list[str]] = {}
    for name, node in nodes.items():
        value: Any = node.pillar
        for part in product.key.split(":"):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            by_value.setdefault(product.find(value), []).append(name)
    if len(by_value) > 1:
        told = " and ".join(f"{value} on {_some(on)}" for value, on in sorted(by_value.items()))
        raise ReleaseError(
            f"{product.title} is {told}",
            where=product.key,
            cure=f"Finish that change first, or say what counts: now={product.name}=VERSION",
        )
    return next(iter(by_value), "")


def _some(nodes: Iterable[str]) -> str:
    listed = sorted(nodes)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _provided(catalogue: Catalogue, found: Mapping[str, str], product: str) -> str:
    """The version of a product that the cluster's distribution has; empty for none."""
    version = found.get(catalogue.provider)
    if not version:
        return ""
    return catalogue.products[catalogue.provider].versions[version].provides.get(product, "")


def _own(catalogue: Catalogue, versions: Mapping[str, str], given: set[str]) -> frozenset[str]:
    """Products with packages of their own: named, unlike the distribution's, or brought along."""
    own = set(given)
    for name, version in versions.items():
        if version != _provided(catalogue, versions, name):
            own.add(name)
    own |= {name for name in versions if catalogue.products[name].comes_with in own}
    return frozenset(own & set(versions))


def _goal(catalogue: Catalogue, to: Any, versions: Mapping[str, str]) -> dict[str, str]:
    bare = not isinstance(to, Mapping) and "=" not in str(to)
    wanted = {_meant(catalogue, to, versions): to} if bare else pairs(to, "to")
    missing = [catalogue.product(name) for name in wanted if name not in versions]
    if missing or not wanted:
        raise ReleaseError(
            f"the cluster has no {missing[0].title}" if missing else "nothing is asked for",
            where="to",
            cure=f"Name one of {', '.join(versions)}",
        )
    goal = known(catalogue, wanted, "to")
    return {name: goal[name] for name in versions if name in goal}


def _meant(catalogue: Catalogue, to: Any, versions: Mapping[str, str]) -> str:
    """The one product of the cluster that a bare version belongs to."""
    found = []
    for name in versions:
        product = catalogue.products[name]
        if not product.whole:
            try:
                product.find(to)
            except ReleaseError:
                continue
            found.append(name)
    if len(found) != 1:
        said = f"may be one of {', '.join(found)}" if found else "is no version of any product here"
        raise ReleaseError(f"{to} {said}", where="to", cure="Write to=PRODUCT=VERSION")
    return found[0]
