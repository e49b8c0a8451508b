"""Choose the nodes and roles of a plan: what there is to do, within what was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from saltern.errors import PlanError
from saltern.plan.basis import Facts
from saltern.plan.request import Request
from saltern.plan.roles import Roles
from saltern.rollout.show import short

#: keys of ``host`` that name a failure domain though no role may ask for it
DOMAINS = ("parent", "rack")


@dataclass(frozen=True)
class Work:
    """What a plan works on.

    :param roles: node to the roles that are touched on it, in their order
    :param absent: nodes that are left out because they do not answer, sorted
    :param partial: there is more to do, which was not asked for
    """

    roles: Mapping[str, tuple[str, ...]]
    absent: tuple[str, ...] = ()
    partial: bool = False


def choose(
    request: Request,
    roles: Roles,
    facts: Facts,
    wanted: Mapping[str, tuple[str, ...]],
    *,
    limits: bool = True,
) -> Work:
    """Take of what there is to do what was asked for.

    :param request: its ``nodes``, ``domains``, ``roles`` and ``count`` limit the work
    :param wanted: node to the roles that are touched on it
    :param limits: whether the request's nodes are a limit; some workflows are about them
    :raises PlanError: a limit names what does not exist or leaves nothing, or a node is absent
    """
    found = {node: names for node, names in wanted.items() if names}
    if request.nodes and limits:
        named = set(resolve(request.nodes, roles))
        found = {node: names for node, names in found.items() if node in named}
    if request.domains:
        inside = _inside(request.domains, roles)
        found = {node: names for node, names in found.items() if node in inside}
    if request.roles:
        asked = set(request.roles)
        for role in sorted(asked - set(roles.by_name) - roles.known):
            raise PlanError(f"role {role} does not exist", where="roles")
        kept = {n: tuple(role for role in names if role in asked) for n, names in found.items()}
        found = {node: names for node, names in kept.items() if names}
    absent = tuple(sorted(node for node in found if _silent(node, facts)))
    if absent and not request.allow_absent:
        why = [facts.absent.get(node) or f"{node} did not answer" for node in absent]
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise PlanError(
            f"{why[0].rstrip('.')}{more}",
            where=short(absent),
            cure="Bring them back, or leave them out by allow_absent=True",
        )
    found = {node: names for node, names in sorted(found.items()) if node not in absent}
    if request.count is not None:
        found = dict(list(found.items())[: request.count])
    partial = any(
        node not in absent and found.get(node) != names for node, names in wanted.items() if names
    )
    if request.limited and limits and not found:
        raise PlanError(
            "there is nothing to do within these limits",
            where=", ".join(sorted(set(request.words()) & {"nodes", "domains", "roles", "count"})),
            cure="Plan without them to see what there is to do",
        )
    return Work(found, absent, partial)


def resolve(names: Iterable[str], roles: Roles) -> tuple[str, ...]:
    """Turn ids and first labels into ids of nodes, sorted.

    :raises PlanError: there is no such node, or more than one
    """
    labels: dict[str, list[str]] = {}
    for node in roles.nodes:
        labels.setdefault(node.split(".")[0], []).append(node)
    found = set()
    for name in names:
        if name in roles.nodes:
            found.add(name)
            continue
        fitting = labels.get(name, [])
        if len(fitting) > 1:
            raise PlanError(
                f"{name} fits several nodes",
                where="nodes",
                cure=f"Name one in full: {', '.join(sorted(fitting))}",
            )
        if not fitting:
            raise PlanError(
                f"{name} is no node of the cluster", where="nodes", cure="Name it as the model does"
            )
        found.add(fitting[0])
    return tuple(sorted(found))


def _inside(domains: Collection[str], roles: Roles) -> set[str]:
    keys = {roles.limit(r, n).domain for n in roles.nodes for r in roles.of(n)} | {*DOMAINS}
    values: dict[str, set[str]] = {}
    for node in roles.nodes:
        for key in keys:
            value = roles.domain(node, key)
            if value:
                values.setdefault(value, set()).add(node)
    for name in sorted(set(domains) - set(values)):
        raise PlanError(
            f"no node is in a failure domain {name}",
            where="domains",
            cure=f"There are {', '.join(sorted(values))}" if values else "The nodes name none",
        )
    return {node for name in domains for node in values[name]}


def _silent(node: str, facts: Facts) -> bool:
    return node in facts.absent or node not in facts.present
