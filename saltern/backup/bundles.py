"""Bundles as the backup server lists them: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from saltern.rollout.members import reading

FULL, INCREMENTAL, LOGICAL = "full", "incremental", "logical"
#: What the server is asked.
FACTS = "backup_store.facts"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def moment(text: str) -> datetime:
    """Read a time, ``2026-01-01T12:00:00Z`` or with another offset; without one it is UTC.

    :raises ValueError: it is none
    """
    found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def shown(when: datetime) -> str:
    """Write a time as manifests do."""
    return when.astimezone(timezone.utc).strftime(_TIME)


@dataclass(frozen=True)
class Bundle:
    """One whole bundle.

    :param path: ``<role>/<host>/<id>``
    :param cluster: whose it is
    :param role: whose data it has
    :param kind: ``full``, ``incremental`` or ``logical``
    :param host: minion id of the host that made it
    :param id: its name below that host
    :param finished: when its data were as they are in it, at the latest
    :param size: bytes on the server
    :param plain: bytes unpacked
    :param base: id of the bundle that an incremental one builds on
    :param lsn: where an incremental one begins, and where either ends; None for other kinds
    :param position: what a Galera cluster had committed, ``uuid:seqno``
    :param key: name of the key that it is encrypted with
    :param databases: names of those in it
    :param label: what it was taken for
    """

    path: str
    cluster: str
    role: str
    kind: str
    host: str
    id: str
    finished: datetime
    size: int = 0
    plain: int = 0
    base: str = ""
    lsn: tuple[int, int] | None = None
    position: str = ""
    key: str = ""
    databases: tuple[str, ...] = ()
    label: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Bundle:
        """Read a row of ``backup_store.facts``.

        :raises KeyError: a part is missing
        :raises ValueError: a part is something else
        """
        lsn = row.get("lsn")
        return cls(
            path=row["path"],
            cluster=row["cluster"],
            role=row["role"],
            kind=row["kind"],
            host=row["host"],
            id=row["id"],
            finished=moment(row["finished"]),
            size=int(row["bytes"]),
            plain=int(row["plain"]),
            base=row.get("base") or "",
            lsn=(int(lsn["from"]), int(lsn["to"])) if lsn else None,
            position=(row.get("position") or {}).get("wsrep") or "",
            key=row.get("key") or "",
            databases=tuple(row.get("databases") or ()),
            label=row.get("label") or "",
        )

    @property
    def lineage(self) -> str:
        """``logical``, or ``full`` for a copy and what builds on it."""
        return FULL if self.kind == INCREMENTAL else self.kind


@dataclass(frozen=True)
class Store:
    """What the backup server has.

    :param node: its minion id
    :param bundles: the whole ones, the oldest first
    :param unfinished: path to age in seconds
    :param damaged: path to what is wrong with it
    :param free: bytes
    :param size: bytes of its disk
    :param now: its clock
    """

    node: str
    bundles: tuple[Bundle, ...]
    unfinished: Mapping[str, float]
    damaged: Mapping[str, str]
    free: int
    size: int
    now: datetime

    @classmethod
    def from_facts(cls, node: str, facts: Mapping[str, Any], cluster: str) -> Store:
        """Read what ``backup_store.facts`` returned; bundles of other clusters are left out.

        :param node: minion id of the server
        :raises GateError: the return has another shape
        """
        with reading(node, FACTS):
            bundles = (Bundle.from_row(row) for row in facts["bundles"])
            return cls(
                node=node,
                bundles=tuple(
                    sorted(
                        (one for one in bundles if one.cluster == cluster),
                        key=lambda one: (one.finished, one.path),
                    )
                ),
                unfinished={path: float(age) for path, age in facts["unfinished"].items()},
                damaged=dict(facts["damaged"]),
                free=int(facts["free"]),
                size=int(facts["size"]),
                now=datetime.fromtimestamp(float(facts["now"]), timezone.utc),
            )
