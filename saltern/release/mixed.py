"""Two releases beside each other: which nodes are still on the older one, since when, how long yet.

Between the control plane and the last compute a cloud has two releases. It works so, and is meant
to: but new features wait, servers do not move back, the next upgrade cannot begin, and it is a
state that nobody tests for long. So it has an age, and a limit that the model sets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from saltern.errors import GateError, ModelError
from saltern.plan.types import Plan
from saltern.release.lifecycle import Catalogue
from saltern.release.moves import older, versions
from saltern.rollout.show import short

#: Days that two releases may be beside each other where the model does not say: two weekly
#: maintenance windows, and the rest of a week to see what went wrong in them.
DAYS = 14.0
#: Share of the limit after which it is told.
TOLD = 0.5
#: The key of a role's lifecycle that says otherwise.
KEY = "mixed_days"
#: Verdicts, and their codes in ``docs/reference/codes.md``.
OK, WARN, FAIL = "ok", "warn", "fail"
CODES = {OK: "ok", WARN: "release-mixed", FAIL: "release-overdue"}

_DAY = 86400.0


class Node(Protocol):
    """What is read of a compiled node; :class:`saltern.model.cluster.CompiledNode` has it."""

    @property
    def applications(self) -> list[str]: ...

    @property
    def pillar(self) -> dict[str, Any]: ...

    @property
    def lifecycle(self) -> dict[str, Any]: ...


class Moved(Protocol):
    """A change of what is served; :class:`saltern.adapters.journal.Change` has it."""

    @property
    def kind(self) -> str: ...

    @property
    def node(self) -> str: ...

    @property
    def after(self) -> str: ...


@dataclass(frozen=True)
class Mixed:
    """A product of which a cluster has two versions or more.

    :param product: its name
    :param family: it and its parts
    :param title: for people
    :param newest: the latest version that a node has
    :param behind: node -> the older version that it has, by node
    :param unfinished: nodes that are served the newest one, and whose rollout did not come to its
        end there
    :param nodes: how many nodes have the product
    :param since: when the first node got the newest one, seconds since the epoch; None where
        nobody knows
    :param days: the limit
    :param age: days since then, None without ``since``
    """

    product: str
    family: tuple[str, ...]
    title: str
    newest: str
    behind: Mapping[str, str]
    unfinished: tuple[str, ...]
    nodes: int
    since: float | None
    days: float
    age: float | None

    @property
    def verdict(self) -> str:
        """``ok``; ``warn`` past half of the limit; ``fail`` past it, or when nobody knows."""
        if self.age is None or self.age > self.days:
            return FAIL
        return WARN if self.age > self.days * TOLD else OK

    @property
    def code(self) -> str:
        """Of the verdict."""
        return CODES[self.verdict]

    @property
    def waiting(self) -> tuple[str, ...]:
        """Nodes that do not have the newest version, or not wholly, sorted."""
        return tuple(sorted({*self.behind, *self.unfinished}))

    def sentence(self, moment: Callable[[float], str]) -> str:
        """Say it in one sentence that is the same from day to day.

        :param moment: writes a time
        """
        told = [
            f"{short([n for n, v in self.behind.items() if v == version])} on {version}"
            for version in dict.fromkeys(self.behind.values())
        ]
        if self.unfinished:
            told.append(f"{short(self.unfinished)} not finished")
        since = (
            f"since {moment(self.since)}" if self.since is not None else "nobody knows since when"
        )
        limit = f"the limit of {self.days:g} days"
        end = {OK: f"within {limit}", WARN: f"more than half of {limit}", FAIL: f"past {limit}"}
        if self.since is None:
            end[FAIL] = f"so {limit} may be over"
        return (
            f"{self.title} is on its way to {self.newest}: {', '.join(told)}, {since},"
            f" {end[self.verdict]}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        found = asdict(self) | {"behind": dict(self.behind), "unfinished": list(self.unfinished)}
        found["family"] = list(self.family)
        return found | {"verdict": self.verdict, "code": self.code}


def mixed(
    catalogue: Catalogue,
    nodes: Mapping[str, Node],
    since: Callable[[Collection[str], Collection[str], str], float | None],
    now: float,
    unfinished: Mapping[str, tuple[Collection[str], float]] | None = None,
) -> list[Mixed]:
    """Find the products of a cluster that are between two releases, in the catalogue's order.

    :param catalogue: products
    :param nodes: nodes of the cluster as they are served now
    :param since: of products, nodes and a version: when the first of these nodes got it
    :param now: seconds since the epoch
    :param unfinished: node to roles that a rollout began there and did not end, and when it began
    :raises ModelError: a limit is no number of days
    """
    has = {name: versions(catalogue, node) for name, node in nodes.items()}
    found = []
    for product in catalogue.products.values():
        if product.whole or not (product.roles or product.name == catalogue.provider):
            continue  # parts go with their whole, what has no role with the distribution
        family = [product.name, *catalogue.parts(product.name)]
        mine = {
            node: next(told[name] for name in family if name in told)
            for node, told in has.items()
            if {*family} & {*told} and not _brought(catalogue, told, family)
        }
        known = [name for name in product.versions if name in mine.values()]
        if not known:
            continue
        newest = known[-1]
        behind = {
            node: version
            for node, version in sorted(mine.items())
            if older(catalogue, product.name, version, newest)
        }
        roles = {role for name in family for role in catalogue.products[name].roles}
        left = {
            node: begun
            for node, (names, begun) in (unfinished or {}).items()
            if roles & {*names} and mine.get(node) == newest
        }
        if not (behind or left):
            continue
        begun = since(family, sorted(mine), newest) if behind else min(left.values())
        found.append(
            Mixed(
                product.name, tuple(family), product.title, newest, behind, tuple(sorted(left)),
                len(mine), begun, _limit(nodes, roles),
                None if begun is None else max(0.0, now - begun) / _DAY,
            )
        )  # fmt: skip
    return found


def _brought(catalogue: Catalogue, told: Mapping[str, str], family: Iterable[str]) -> bool:
    """Whether a node has a product from its distribution: then that one is what is mixed."""
    provider = catalogue.products.get(catalogue.provider)
    image = told.get(catalogue.provider, "")
    if provider is None or image not in provider.versions:
        return False
    provides = provider.versions[image].provides
    return any(name in told and provides.get(name) == told[name] for name in family)


def _limit(nodes: Mapping[str, Node], roles: Collection[str]) -> float:
    found = []
    for name, node in sorted(nodes.items()):
        for role in sorted({*roles} & {*node.applications}):
            declared = node.lifecycle.get(role)
            value = declared.get(KEY) if isinstance(declared, Mapping) else None
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ModelError(
                    f"{value!r} is no number of days", where=f"{name}: lifecycle:{role}:{KEY}"
                )
            found.append(float(value))
    return min(found, default=DAYS)


def text(found: Iterable[Mixed], moment: Callable[[float], str]) -> str:
    """Return what is mixed as text, a line for each product and version; a sentence for none.

    :param moment: writes a time
    """
    rows = [("PRODUCT", "HAS", "BECOMES", "NODES", "WHICH", "SINCE", "DAYS", "LIMIT", "VERDICT")]
    for one in found:
        groups = [
            (version, [n for n, v in one.behind.items() if v == version])
            for version in dict.fromkeys(one.behind.values())
        ]
        groups += [("not finished", list(one.unfinished))] if one.unfinished else []
        for version, nodes in groups:
            rows.append(
                (
                    one.title, version, one.newest, f"{len(nodes)} of {one.nodes}", short(nodes),
                    "unknown" if one.since is None else moment(one.since),
                    "?" if one.age is None else f"{one.age:.1f}", f"{one.days:g}", one.verdict,
                )
            )  # fmt: skip
    if len(rows) == 1:
        return "Every product has one release."
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def worst(found: Iterable[Mixed]) -> str:
    """Return the worst verdict; ``ok`` for none."""
    order = (OK, WARN, FAIL)
    return max((one.verdict for one in found), key=order.index, default=OK)


def first(
    changes: Iterable[tuple[float, Moved]],
    nodes: Collection[str],
    has: Callable[[str, str], bool],
) -> float | None:
    """Return when the first of some nodes got what it has, if another one has not.

    :param changes: when and what, the oldest first: pins, their ends, deployments
    :param nodes: minion ids
    :param has: of node and revision, whether that is it
    :returns: None when it is not so now, or was so before the first change
    """
    pins: dict[str, str] = {}
    deployed, since = "", None
    for at, change in changes:
        if change.kind == "deploy":
            deployed = change.after
        elif change.node in nodes:
            pins[change.node] = change.after
        got = {n for n in nodes if (r := pins.get(n) or deployed) and has(n, r)}
        if not got or got == {*nodes}:
            since = None
        elif since is None:
            since = at
    return since


def check(plan: Plan, found: Iterable[Mixed], moment: Callable[[float], str]) -> tuple[str, ...]:
    """Refuse a plan that goes on elsewhere while a release is overdue; return what is to be said.

    :param plan: with its releases
    :param found: what is mixed before it
    :param moment: writes a time
    :returns: a sentence for each product whose limit is half over or past
    :raises GateError: the plan moves the product, and leaves all nodes that wait as they are
    """
    notes = []
    for one in found:
        if one.verdict == OK:
            continue
        told = one.sentence(moment)
        mine = [release for release in plan.releases if release.product in one.family]
        if one.verdict == FAIL and mine and not {*plan.nodes} & {*one.waiting}:
            raise GateError(
                told,
                where=f"{plan.workflow} of {plan.cluster}",
                cure=f"Bring those first: nodes={','.join(one.waiting[:8])}"
                f"{' and so on' if len(one.waiting) > 8 else ''};"
                f" `salt-run release.mixed cluster={plan.cluster}` lists them",
            )
        notes.append(told)
    return tuple(notes)
