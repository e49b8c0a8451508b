"""Rehearsals of upgrades in the journal: each step is kept when it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from saltern.adapters import processes
from saltern.adapters.journal import Journal, meta
from saltern.errors import JournalError, LockedError
from saltern.plan.types import Plan
from saltern.rehearsal import policy, predict
from saltern.rehearsal.outcome import BROKEN, RUNNING, Record, Rehearsal
from saltern.rehearsal.services import Nodes

#: Rehearsals that are looked back at.
HISTORY = 50

rehearsals = sa.Table(
    "rehearsal",
    meta,
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("cluster", sa.String(255), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("revision", sa.String(64), nullable=False),
    sa.Column("deployed", sa.String(64), nullable=False),
    sa.Column("artifacts", sa.String(64), nullable=False),
    sa.Column("releases", sa.Text(), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("bundle", sa.Text(), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("begun", sa.Double(), nullable=False),
    sa.Column("ended", sa.Double()),
    sa.Column("sentence", sa.Text(), nullable=False),
    sa.Column("notes", sa.Text(), nullable=False),
)
steps = sa.Table(
    "rehearsal_step",
    meta,
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("rehearsal", sa.String(32), nullable=False, index=True),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("result", sa.String(16), nullable=False),
    sa.Column("seconds", sa.Double(), nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("release", sa.String(32), nullable=False),
    sa.Column("sentence", sa.Text(), nullable=False),
    sa.Column("warnings", sa.Text(), nullable=False),
)


class Rehearsals:
    """Rehearsals in a journal.

    :param journal: the journal of pins
    :param now: seconds since the epoch
    """

    def __init__(self, journal: Journal, now: Callable[[], float] = time.time) -> None:
        self.journal = journal
        self.now = now

    def begin(
        self,
        cluster: str,
        by: str,
        *,
        revision: str,
        deployed: str,
        artifacts: str,
        releases: Mapping[str, Sequence[str]],
        node: str,
        bundle: str,
        notes: Sequence[str] = (),
    ) -> str:
        """Note that a rehearsal begins, and return its id.

        One whose process is gone ended there: it is told so.

        :param cluster: whose upgrade
        :param by: who began it
        :raises LockedError: one of this cluster is under way
        :raises JournalError: the journal cannot be written
        """
        now = self.now()
        with self.journal.writing() as connection:
            for row in connection.execute(
                sa.select(rehearsals).where(
                    rehearsals.c.cluster == cluster, rehearsals.c.state == RUNNING
                )
            ).all():
                if processes.alive(row.owner) is not False:
                    raise LockedError(
                        f"rehearsal {row.id} is under way ({processes.named(row.owner)})",
                        where=cluster,
                        cure="Wait for it: `salt-run rehearse.status`",
                    )
                self._end(connection, row.id, BROKEN, "Its process ended before it did.", now)
            day = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%d")
            like = sa.select(sa.func.count()).where(rehearsals.c.id.like(f"e{day}-%"))
            found = f"e{day}-{int(connection.execute(like).scalar_one()) + 1}"
            connection.execute(
                rehearsals.insert().values(
                    id=found,
                    cluster=cluster,
                    state=RUNNING,
                    revision=revision,
                    deployed=deployed,
                    artifacts=artifacts,
                    releases=json.dumps({key: list(pair) for key, pair in releases.items()}),
                    node=node,
                    bundle=bundle,
                    by=by,
                    owner=processes.me(),
                    begun=now,
                    ended=None,
                    sentence="",
                    notes=json.dumps(list(notes)),
                )
            )
        return found

    def step(self, rehearsal: str, record: Record) -> None:
        """Keep a step.

        :raises JournalError: the journal cannot be written
        """
        row = {**vars(record), "warnings": json.dumps(list(record.warnings))}
        with self.journal.writing() as connection:
            connection.execute(steps.insert().values(rehearsal=rehearsal, **row))

    def end(self, rehearsal: str, state: str, sentence: str) -> None:
        """Note what came of a rehearsal.

        :param state: of :mod:`saltern.rehearsal.outcome`
        :raises JournalError: the journal cannot be written
        """
        with self.journal.writing() as connection:
            self._end(connection, rehearsal, state, sentence, self.now())

    @staticmethod
    def _end(
        connection: sa.Connection, rehearsal: str, state: str, sentence: str, now: float
    ) -> None:
        values = {"state": state, "sentence": sentence, "ended": now}
        connection.execute(rehearsals.update().where(rehearsals.c.id == rehearsal).values(**values))

    def list(self, cluster: str, limit: int = HISTORY) -> tuple[Rehearsal, ...]:
        """Return the rehearsals of a cluster without their steps, the latest first.

        One whose process is gone is told as such.

        :raises JournalError: the journal cannot be read
        """
        query = (
            sa.select(rehearsals)
            .where(rehearsals.c.cluster == cluster)
            .order_by(rehearsals.c.number.desc())
            .limit(limit)
        )
        with self.journal.reading() as connection:
            return tuple(_read(row) for row in connection.execute(query).all())

    def get(self, rehearsal: str) -> Rehearsal:
        """Return a rehearsal with its steps.

        :param rehearsal: its id
        :raises JournalError: there is none of that id
        """
        query = sa.select(rehearsals).where(rehearsals.c.id == rehearsal)
        mine = sa.select(steps).where(steps.c.rehearsal == rehearsal).order_by(steps.c.number)
        with self.journal.reading() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise JournalError(
                    f"there is no rehearsal {rehearsal}", cure="See `salt-run rehearse.status`"
                )
            found = connection.execute(mine).all()
        records = tuple(
            Record(
                one.phase, one.result, one.seconds, one.service, one.release, one.sentence,
                tuple(json.loads(one.warnings)),
            )
            for one in found
        )  # fmt: skip
        return _read(row, records)


def demanded(journal: Journal, plan: Plan, models: Sequence[Nodes], now: float) -> None:
    """Refuse to begin an upgrade that must be rehearsed and was not.

    :param journal: where rehearsals are kept
    :param plan: that is to begin
    :param models: nodes of its cluster as they are served, and as they are wanted
    :param now: seconds since the epoch
    :raises RehearsalRefusedError: see :func:`saltern.rehearsal.policy.check`
    """
    if policy.concerns(plan):
        known = Rehearsals(journal).list(plan.cluster)
        policy.check(plan, policy.Policy.of(*models), known, now)


def told(journal: Journal, plan: Plan, models: Sequence[Nodes]) -> Plan:
    """Return a plan with what its newest green rehearsal tells of it.

    :param journal: where rehearsals are kept
    :param plan: in the making
    :param models: as in :func:`demanded`
    :raises JournalError: the journal cannot be read
    """
    if not policy.concerns(plan):
        return plan
    store = Rehearsals(journal)
    found = policy.latest(plan, store.list(plan.cluster))
    rules = policy.Policy.of(*models)
    return predict.predicted(plan, store.get(found.id) if found else None, rules)


def _read(row: Any, records: tuple[Record, ...] = ()) -> Rehearsal:
    gone = row.state == RUNNING and processes.alive(row.owner) is False
    return Rehearsal(
        id=row.id,
        cluster=row.cluster,
        state=BROKEN if gone else row.state,
        revision=row.revision,
        deployed=row.deployed,
        artifacts=row.artifacts,
        releases={key: tuple(pair) for key, pair in json.loads(row.releases).items()},
        node=row.node,
        bundle=row.bundle,
        by=row.by,
        begun=row.begun,
        ended=row.ended,
        sentence="Its process ended before it did." if gone else row.sentence,
        owner=row.owner,
        notes=tuple(json.loads(row.notes)),
        records=records,
    )
