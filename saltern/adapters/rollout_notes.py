"""What a rollout has besides its steps: its plan, seconds of probes, verdicts and evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import sqlalchemy as sa

from saltern.adapters import rollout_tables as tables
from saltern.adapters.journal import Journal
from saltern.adapters.rollout_tables import Evidence, Row, StoredPlan
from saltern.errors import JournalError, PlanError
from saltern.plan.types import Plan
from saltern.rollout import series
from saltern.rollout.outcome import Finding

#: Seconds to wait for another process that writes.
WAIT = 10.0
#: Seconds of samples after which old ones are put together again.
THIN = 300
#: How much of a plan's hash names it at least.
SHORTEST = 6


class Notes:
    """Plans, samples, verdicts and evidence in a journal.

    :param journal: the journal of pins
    :param now: seconds since the epoch
    """

    def __init__(self, journal: Journal, now: Callable[[], float] = time.time) -> None:
        self.journal = journal
        self.now = now
        self._plans: dict[str, Plan] = {}
        self._thinned: dict[str, int] = {}  # rollout -> second up to which its rows were looked at

    # -- plans ---------------------------------------------------------------------------

    def store(self, plan: Plan, by: str) -> str:
        """Keep a plan and return its hash; an equal one is there once.

        :param by: who had it made
        :raises JournalError: the journal cannot be written
        """
        body = plan.canonical()
        digest = plan.hash
        with self._writing() as connection:
            add_plan(connection, plan, digest, body, by, self.now())
        self._plans[digest] = plan
        return digest

    def plan(self, name: str) -> Plan:
        """Return a stored plan.

        :param name: its hash, or at least :data:`SHORTEST` digits of its beginning
        :raises PlanError: no plan, or more than one, has it
        :raises JournalError: the journal cannot be read
        """
        if name in self._plans:
            return self._plans[name]
        if len(name) < SHORTEST or not set(name) <= set("0123456789abcdef"):
            raise PlanError(
                f"{name!r} is no plan's hash",
                cure=f"Give at least {SHORTEST} digits, as `salt-run rollout.plan` shows them",
            )
        with self.journal.reading() as connection:
            return self._plan(connection, name)

    def _plan(self, connection: sa.Connection, name: str) -> Plan:
        table = tables.plans
        statement = sa.select(table.c.hash, table.c.body).where(table.c.hash.startswith(name))
        rows = connection.execute(statement.limit(2)).all()
        if not rows:
            raise PlanError(
                f"there is no plan {name}", cure="Make one with `salt-run rollout.plan`"
            )
        if len(rows) > 1:
            raise PlanError(f"several plans begin with {name}", cure="Give more of its digits")
        (digest, body) = rows[0]
        if digest not in self._plans:
            self._plans[digest] = tables.plan_of(digest, body)
        return self._plans[digest]

    def plans(self, cluster: str | None = None, limit: int = 50) -> tuple[StoredPlan, ...]:
        """Return the stored plans, the latest first.

        :param cluster: only of this one
        :param limit: how many at most
        :raises JournalError: the journal cannot be read
        """
        table = tables.plans
        statement = sa.select(
            table.c.hash,
            table.c.cluster,
            table.c.workflow,
            table.c.revision,
            table.c.at,
            table.c.by,
        ).order_by(table.c.at.desc(), table.c.hash)
        if cluster is not None:
            statement = statement.where(table.c.cluster == cluster)
        with self.journal.reading() as connection:
            return tuple(StoredPlan(*row) for row in connection.execute(statement.limit(limit)))

    # -- what was measured, found and saved ----------------------------------------------

    def sample(self, rollout: str, rows: Iterable[Row]) -> None:
        """Note what probes measured; a second that is there already stays as it is.

        Rows that are old are put together meanwhile, see :mod:`saltern.rollout.series`: hours of
        a rollout do not fill the journal.

        :param rows: ``{probe, second, requests, failed, max_ms, gap_ms}``: what one probe
            measured in one second since the epoch
        :raises JournalError: the journal cannot be written
        """
        table = tables.samples
        names = [column.name for column in table.c if column.name not in ("rollout", "width")]
        found = [
            {"rollout": rollout, "width": 1, **{name: row[name] for name in names}} for row in rows
        ]
        if not found:
            return
        probes = sorted({row["probe"] for row in found})
        newest = max(row["second"] for row in found)
        due = newest - self._thinned.get(rollout, 0) >= THIN
        with self._writing() as connection:
            for probe in probes:
                covered = _covered(connection, rollout, probe)
                found = [r for r in found if r["probe"] != probe or r["second"] >= covered]
            if found:
                statement = _insert(connection, table).on_conflict_do_nothing()
                connection.execute(statement, found)
            for probe in probes if due else ():
                _thin(connection, rollout, probe)
        if due:
            self._thinned[rollout] = newest

    def samples(self, rollout: str, probe: str | None = None) -> tuple[Row, ...]:
        """Return what probes measured, the oldest first; each row tells its ``width`` in seconds.

        :param probe: only of this one
        :raises JournalError: the journal cannot be read
        """
        table = tables.samples
        columns = [column for column in table.c if column.name != "rollout"]
        statement = sa.select(*columns).where(table.c.rollout == rollout)
        if probe is not None:
            statement = statement.where(table.c.probe == probe)
        with self.journal.reading() as connection:
            rows = connection.execute(statement.order_by(table.c.second, table.c.probe))
            return tuple(dict(row._mapping) for row in rows)

    def verdict(self, rollout: str, rows: Iterable[Finding]) -> None:
        """Note what gates found.

        :raises JournalError: the journal cannot be written
        """
        found = [{"rollout": rollout, **vars(row)} for row in rows]
        if found:
            with self._writing() as connection:
                connection.execute(sa.insert(tables.verdicts), found)

    def verdicts(self, rollout: str) -> tuple[Finding, ...]:
        """Return what gates found, in order.

        :raises JournalError: the journal cannot be read
        """
        table = tables.verdicts
        columns = [column for column in table.c if column.name not in ("number", "rollout")]
        statement = sa.select(*columns).where(table.c.rollout == rollout).order_by(table.c.number)
        with self.journal.reading() as connection:
            return tuple(Finding(*row) for row in connection.execute(statement))

    def evidence(self, rollout: str, key: str, text: str) -> None:
        """Save a text that must outlive an undoing; the same key once more replaces it.

        :param key: what it is: ``ctl01/journal/keystone-api``
        :param text: without secrets
        :raises JournalError: the journal cannot be written
        """
        row = {"rollout": rollout, "key": key, "at": self.now(), "text": text}
        with self._writing() as connection:
            row_of(connection, rollout)
            put(connection, tables.evidence, [row], ("rollout", "key"))

    def saved(self, rollout: str) -> tuple[Evidence, ...]:
        """Return the evidence of a rollout, by key.

        :raises JournalError: the journal cannot be read
        """
        table = tables.evidence
        statement = sa.select(table.c.key, table.c.at, table.c.text)
        statement = statement.where(table.c.rollout == rollout).order_by(table.c.key)
        with self.journal.reading() as connection:
            return tuple(Evidence(*row) for row in connection.execute(statement))

    # -- connections ---------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self.journal.writing(WAIT) as connection:
            yield connection

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        """Several statements that see the same state."""
        with self.journal.reading() as connection:
            sqlite_file = self.journal.path is not None
            begin = "BEGIN" if sqlite_file else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            connection.exec_driver_sql(begin)
            yield connection
            connection.exec_driver_sql("COMMIT")


def add_plan(
    connection: sa.Connection, plan: Plan, digest: str, body: str, by: str, at: float
) -> None:
    """Keep a plan inside a transaction, once."""
    table = tables.plans
    found = connection.execute(sa.select(table.c.hash).where(table.c.hash == digest)).first()
    if found is None:
        row = {
            "hash": digest, "cluster": plan.cluster, "workflow": plan.workflow,
            "revision": plan.basis.revision, "at": at, "by": by, "body": body,
        }  # fmt: skip
        connection.execute(sa.insert(table), row)


def _of_probe(rollout: str, probe: str) -> sa.ColumnElement[bool]:
    table = tables.samples
    return sa.and_(table.c.rollout == rollout, table.c.probe == probe)


def _covered(connection: sa.Connection, rollout: str, probe: str) -> int:
    """The first second that rows which were put together do not stand for."""
    table = tables.samples
    statement = (
        sa.select(table.c.second + table.c.width)
        .where(_of_probe(rollout, probe), table.c.width > 1)
        .order_by(table.c.second.desc())
        .limit(1)
    )
    return int(connection.execute(statement).scalar() or 0)


def _thin(connection: sa.Connection, rollout: str, probe: str) -> None:
    """Put the old rows of a probe together, inside a transaction."""
    table, mine = tables.samples, _of_probe(rollout, probe)
    newest = connection.execute(sa.select(sa.func.max(table.c.second)).where(mine)).scalar()
    for wide, edge in series.edges(int(newest or 0)):
        aged = sa.and_(mine, table.c.width < wide, table.c.second < edge)
        rows = [dict(row._mapping) for row in connection.execute(sa.select(table).where(aged))]
        if rows:
            connection.execute(sa.delete(table).where(aged))
            connection.execute(sa.insert(table), series.merged(rows, wide))


def row_of(connection: sa.Connection, rollout: str) -> sa.Row[Any]:
    """Return the row of a rollout.

    :raises JournalError: there is none of that id
    """
    table = tables.rollouts
    row = connection.execute(sa.select(table).where(table.c.id == rollout)).first()
    if row is None:
        raise missing(rollout)
    return row


def missing(rollout: str) -> JournalError:
    """Return the error of a rollout that is not there."""
    return JournalError(
        f"there is no rollout {rollout}", cure="`salt-run rollout.history` lists them"
    )


def put(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
) -> None:
    """Insert rows; those that are there are replaced."""
    statement = _insert(connection, table)
    others = {
        column.name: statement.excluded[column.name]
        for column in table.c
        if column.name not in keys
    }
    statement = statement.on_conflict_do_update(index_elements=list(keys), set_=others)
    connection.execute(statement, list(rows))


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An insert of the kind of database, which knows what to do about a row that is there."""
    # of the kind in use only: the other one takes a tenth of a second to read
    dialect = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    return dialect.insert(table)
