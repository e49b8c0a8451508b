"""Which bundle for which point in time, which member for which work: decisions on values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from saltern.backup.bundles import FULL, INCREMENTAL, LOGICAL, Bundle, shown
from saltern.backup.sources import EACH, FIRST, GALERA, Source
from saltern.errors import BackupRefusedError
from saltern.rollout.galera import Member

#: What a bundle may be larger than the last of its kind, and what stays free whatever it is.
GROWTH, RESERVE = 1.25, 1 << 30


# -- bundles -------------------------------------------------------------------------------------


def chain(bundles: Sequence[Bundle], last: Bundle) -> tuple[Bundle, ...]:
    """Return what restores a bundle: the full one, then each incremental one up to it.

    :param bundles: all that there are
    :param last: the one that is wanted
    :raises BackupRefusedError: one that it builds on is missing
    """
    by_id = {(one.role, one.host, one.id): one for one in bundles}
    found = [last]
    while found[0].kind == INCREMENTAL:
        above = found[0]
        base = by_id.get((above.role, above.host, above.base))
        if base is None:
            raise BackupRefusedError(
                f"{above.base} is missing, which it builds on",
                where=above.path,
                cure="Restore to a point before it, or after the next full bundle",
            )
        joined = above.lsn and base.lsn and above.lsn[0] == base.lsn[1]
        if base in found or base.lineage != FULL or not joined:
            raise BackupRefusedError(
                f"it does not follow {base.id}", where=above.path, cure="Take another bundle"
            )
        found.insert(0, base)
    return tuple(found)


def whole(bundles: Sequence[Bundle], one: Bundle) -> bool:
    """Whether all that a bundle builds on is there."""
    try:
        chain(bundles, one)
    except BackupRefusedError:
        return False
    return True


def at(
    bundles: Sequence[Bundle],
    role: str,
    lineage: str,
    point: datetime | None = None,
    *,
    host: str = "",
    databases: Sequence[str] = (),
    label: str = "",
) -> Bundle:
    """Return the newest bundle that holds the data of a point in time, or what was before it.

    :param bundles: all that there are
    :param role: whose data
    :param lineage: ``logical``, or ``full`` for a copy with what builds on it
    :param point: not later than this; None: the newest
    :param host: only of this one, where each has data of its own
    :param databases: that it must have
    :param label: what it must have been taken for; empty: whatever for
    :raises BackupRefusedError: there is none
    """
    mine = [one for one in bundles if one.role == role and one.lineage == lineage]
    mine = [one for one in mine if not host or one.host == host]
    mine = [one for one in mine if not label or one.label == label]
    named = [one for one in mine if set(databases) <= set(one.databases)]
    fits = [one for one in named if point is None or one.finished <= point]
    usable = [one for one in fits if whole(bundles, one)]
    if usable:
        return max(usable, key=lambda one: (one.finished, one.path))
    what = f"{lineage} bundle of {role}{f' of {host}' if host else ''}"
    what += f" with the label {label}" if label else ""
    if not mine:
        raise BackupRefusedError(f"there is no {what}", cure="Take one with `salt-run backup.take`")
    if not named:
        raise BackupRefusedError(
            f"no {what} has {', '.join(sorted(databases))}", cure="See `salt-run backup.list`"
        )
    if not fits:
        oldest = min(one.finished for one in named)
        raise BackupRefusedError(
            f"no {what} is as old as {shown(point) if point else 'that'}; the oldest one is of"
            f" {shown(oldest)}",
            cure="Choose a later point",
        )
    raise BackupRefusedError(
        f"no {what} up to there has all that it builds on", cure="See `salt-run backup.list`"
    )


def named(bundles: Sequence[Bundle], path: str) -> Bundle:
    """Return the bundle of a path.

    :raises BackupRefusedError: there is no such bundle
    """
    for one in bundles:
        if one.path == path:
            return one
    raise BackupRefusedError(f"there is no bundle {path}", cure="See `salt-run backup.list`")


def bases(bundles: Sequence[Bundle], role: str, longest: int) -> dict[str, Bundle]:
    """Return, by host, the bundle that its next incremental one builds on.

    :param bundles: all that there are
    :param role: whose data
    :param longest: incremental ones that a chain may have; with so many a full one is due
    """
    found: dict[str, Bundle] = {}
    for one in bundles:
        if one.role == role and one.lineage == FULL and one.lsn and whole(bundles, one):
            newest = found.get(one.host)
            if newest is None or (newest.finished, newest.path) < (one.finished, one.path):
                found[one.host] = one
    return {host: one for host, one in found.items() if len(chain(bundles, one)) <= longest}


def room(bundles: Sequence[Bundle], wanted: Sequence[tuple[Source, str]], free: int) -> None:
    """Refuse what will not fit on the server, as far as the last bundles tell.

    :param bundles: all that there are
    :param wanted: sources and kinds that will be taken
    :param free: bytes
    :raises BackupRefusedError: it will not fit
    """
    need = 0.0
    for source, kind in wanted:
        last: dict[str, int] = {}
        for one in bundles:
            if one.role == source.role and one.kind == kind:
                last[one.host if source.order == EACH else ""] = one.size
        need += GROWTH * sum(last.values())
    if free < need + RESERVE:
        raise BackupRefusedError(
            f"its disk has {free / 1e9:.1f} GB of free space, and about"
            f" {(need + RESERVE) / 1e9:.1f} GB are needed",
            where="backup server",
            cure="Free some, or keep less (backup:scheduler:retention) and run backup.expire",
        )


# -- members -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """Members that may do a work, the best first.

    :param nodes: minion ids
    :param writer: the one that clients write to, empty when unknown
    """

    nodes: tuple[str, ...]
    writer: str = ""


def members(source: Source, facts: Mapping[str, Member | None] | None = None) -> Candidates:
    """Return who may be backed up, the one that is missed least first.

    HAProxy lets clients write to the first member, by name, that serves; so the last one is taken.

    :param source: the role
    :param facts: of Galera's members, None for one that did not answer
    :raises BackupRefusedError: no member of a Galera cluster serves
    """
    nodes = sorted(source.nodes)
    if source.order in (EACH, FIRST):
        return Candidates(tuple(nodes))
    if source.order != GALERA:
        return Candidates(tuple(reversed(nodes)))
    known = facts or {}
    serving = [node for node in nodes if (one := known.get(node)) is not None and one.serving]
    if not serving:
        raise BackupRefusedError(
            "no member of the cluster serves",
            where=source.role,
            cure="See `salt-run galera.status`",
        )
    return Candidates(tuple(reversed(serving)), serving[0])


def takers(
    candidates: Candidates, kind: str, based: Mapping[str, Bundle], *, interrupt: bool = False
) -> tuple[str, ...]:
    """Return the members that a bundle may be taken of, in order.

    One that an incremental bundle can build on comes first. Dumps hold writes, so the member that
    clients write to is left out of them.

    :param candidates: the members
    :param kind: of the bundle
    :param based: host to the bundle that an incremental one builds on
    :param interrupt: hold the writes of clients where there is no other way
    :raises BackupRefusedError: only that member is left
    """
    nodes = [node for node in candidates.nodes if node != candidates.writer]
    if kind == INCREMENTAL:
        nodes.sort(key=lambda node: node not in based)
    if kind != LOGICAL or interrupt or not candidates.writer:
        nodes += [node for node in candidates.nodes if node == candidates.writer]
    if not nodes:
        raise BackupRefusedError(
            f"only {candidates.writer} serves, and a dump would hold what clients write",
            where=candidates.writer,
            cure="Bring another member back, or say interrupt=True",
        )
    return tuple(nodes)
