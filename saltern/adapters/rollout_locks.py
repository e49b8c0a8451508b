"""Locks of rollouts: what one needs for itself alone, and who has it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from saltern.adapters import rollout_tables as tables
from saltern.adapters.processes import alive, named
from saltern.adapters.rollout_notes import row_of
from saltern.errors import LockedError
from saltern.plan.types import COMMIT, PIN, Plan

#: The lock of a plan that names none: it excludes every other one of the cluster.
WHOLE = "cluster"
#: The lock of a plan that moves what nodes are served.
SERVED = "served revision"
#: How many locks a sentence names.
SHOWN = 3
_NODE = "node "


def take(connection: sa.Connection, rollout: str, plan: Plan) -> None:
    """Take what is missing of a plan's locks, or raise and name who has one."""
    wanted = names_of(plan)
    taken: dict[str, list[str]] = {}
    mine = set()
    for name, holder in read(connection, tables.locks.c.cluster == plan.cluster):
        if holder == rollout:
            mine.add(name)
        elif name in wanted or WHOLE in wanted or name == WHOLE:
            taken.setdefault(holder, []).append(name)
    for holder, names in sorted(taken.items()):
        row = row_of(connection, holder)
        if holder != plan.undoes:
            raise LockedError(
                f"rollout {holder} ({row.state}) works on {_several(names)}",
                cure=f"Wait for it, or see `salt-run rollout.status {holder}`",
            )
        if held(row.owner):
            raise claimed(holder, row.owner)
        for name in wanted & set(names):
            _free(connection, plan.cluster, name)
    missing = sorted(wanted - mine)
    if missing:
        connection.execute(
            sa.insert(tables.locks),
            [{"cluster": plan.cluster, "name": name, "rollout": rollout} for name in missing],
        )


def names_of(plan: Plan) -> set[str]:
    """Everything that a plan needs for itself alone."""
    names = {*(plan.locks or (WHOLE,)), *(f"{_NODE}{node}" for node in plan.nodes)}
    if any(step.kind in (PIN, COMMIT) for _, _, step in plan.steps()):
        names.add(SERVED)
    return names


def _several(names: Sequence[str]) -> str:
    """The first names; those that the plan gave come before those of nodes."""
    ordered = sorted(names, key=lambda name: (name.startswith(_NODE), name))
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more


def read(connection: sa.Connection, where: sa.ColumnElement[bool]) -> Sequence[tuple[str, str]]:
    """Return locks and who has them."""
    table = tables.locks
    rows = connection.execute(sa.select(table.c.name, table.c.rollout).where(where))
    return [(name, rollout) for name, rollout in rows]


def _free(connection: sa.Connection, cluster: str, name: str) -> None:
    table = tables.locks
    connection.execute(sa.delete(table).where(table.c.cluster == cluster, table.c.name == name))


def release(connection: sa.Connection, rollout: str) -> None:
    """Take all its locks off a rollout."""
    connection.execute(sa.delete(tables.locks).where(tables.locks.c.rollout == rollout))


def held(owner: str) -> bool:
    """Whether an owner works, or may work, on its rollout."""
    return bool(owner) and alive(owner) is not False


def claimed(rollout: str, owner: str) -> LockedError:
    """Return the error of a rollout that somebody works on."""
    return LockedError(
        f"{named(owner)} works on rollout {rollout}",
        cure=f"See `salt-run rollout.status {rollout}`; when that process is gone for certain, run"
        f" `salt-run rollout.unlock {rollout}`",
    )
