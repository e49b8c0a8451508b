"""Order the roles that a plan touches: stages of the lifecycle, and levels within them."""

from __future__ import annotations

from collections.abc import Collection
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
