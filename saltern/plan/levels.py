"""Order the roles that a plan touches: stages of the lifecycle, and levels within them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from saltern.plan.roles import Roles
from saltern.rollout.stages import ROLE_STAGES, Role, order_levels


@dataclass(frozen=True)
class Level:
    """Roles that may be worked on in the same waves.

    :param name: of the stage of the plan: ``control``, or ``control.2`` for the second level
    :param phase: stage of the lifecycle
    :param roles: in an order that holds on a node
    """

    name: str
    phase: str
    roles: tuple[str, ...]


def levels(roles: Roles, touched: Collection[str]) -> list[Level]:
    """Order touched roles; what is between two of them still keeps them apart.

    :param roles: what all roles declare
    :param touched: those that the plan works on
    :raises ModelError: roles wait for each other
    """
    found = []
    for phase in ROLE_STAGES:
        mine = {
            name: _closed(roles.by_name[name], roles, touched)
            for name in touched
            if roles.by_name[name].stage == phase
        }
        for number, level in enumerate(order_levels(mine), 1):
            name = phase if number == 1 else f"{phase}.{number}"
            found.append(Level(name, phase, tuple(role.name for role in level)))
    return found


def placed(
    found: Sequence[Level], roles: Roles, work: Mapping[str, Collection[str]]
) -> list[dict[str, tuple[str, ...]]]:
    """Say which roles come to which nodes in each level, in an order that holds.

    A role without units of its own (the code that a service's processes share) waits on a node for
    the first touched role there that is behind it: nova.common comes to a compute with
    nova.compute, which is late, and to a controller with nova.database. Else what is behind it
    would be disturbed twice, and run what the rest of the cluster is not ready for.

    :param found: the levels of all touched roles
    :param roles: what all roles declare
    :param work: touched roles by node
    :returns: roles by node, for each level
    """
    index = {role: number for number, level in enumerate(found) for role in level.roles}
    result: list[dict[str, tuple[str, ...]]] = [{} for _ in found]
    for node, mine in sorted(work.items()):
        for role in sorted(mine, key=lambda name: index[name]):
            at = index[role]
            if not roles.units(role, node):
                behind = [index[one] for one in roles.dependents(node, [role]) if one in mine]
                same = [one for one in behind if found[one].phase == found[at].phase]
                at = max(at, min(same, default=at))
            result[at][node] = (*result[at].get(node, ()), role)
    return result


def _closed(role: Role, roles: Roles, touched: Collection[str]) -> Role:
    """The role, waiting for the touched ones that it waits for through others as well."""
    everywhere: set[str] = set()
    here: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    left = [(name, True) for name in role.after] + [(name, False) for name in role.after_here]
    while left:
        name, strict = left.pop()
        if (name, strict) in seen or name not in roles.by_name:
            continue
        seen.add((name, strict))
        if name in touched:
            (everywhere if strict else here).add(name)
            continue
        other = roles.by_name[name]
        left += [(o, True) for o in other.after]
        left += [(o, strict) for o in other.after_here]
    after, after_here = tuple(sorted(everywhere)), tuple(sorted(here - everywhere))
    return replace(role, after=after, after_here=after_here)
