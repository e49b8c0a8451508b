"""The journal of rollouts: plans, steps before and after they are done, locks, leases, evidence.

It lies in the database of the pins (:mod:`saltern.adapters.journal`) and shares its writers: one
at a time, one transaction each, on the disk when the call returns. A rollout moves pins in the
same transaction in which it says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from saltern.adapters import rollout_locks, rollout_notes
from saltern.adapters import rollout_tables as tables
from saltern.adapters.journal import Journal, members_of, pinned_to, set_deployed, set_pins
from saltern.adapters.rollout_notes import Notes, put, row_of
from saltern.adapters.rollout_tables import Rollout
from saltern.errors import JournalError
from saltern.plan.types import GATE, SOAK, Plan
from saltern.rollout.ports import (
    DONE,
    INTENT,
    OK,
    OVER,
    PLANNED,
    RUNNING,
    UNDONE,
    Lease,
    NodeResult,
    RolloutState,
    StepRecord,
    Wishes,
)

#: How many of the latest rollouts say how long a stage takes.
HISTORY = 10

_SECONDS_PER_MINUTE = 60.0

# a method of the class is called list, so the type has other names inside it
_Minutes = dict[str, list[float]]
_Times = list[list[tuple[str, float]]]
_Conditions = list[sa.ColumnElement[bool]]


class Stored(Protocol):
    """A revision in the store."""

    def nodes(self, cluster: str | None = None) -> Iterable[str]:
        """Return the nodes of a cluster."""
        ...


class Rollouts(Notes):
    """Rollouts in a journal; implements :class:`saltern.rollout.ports.RolloutJournal`.

    :param journal: the journal of pins
    :param revisions: opens a stored revision by its full id and raises when it is not there; asked
        before a pin or a deployment is moved to it. None: revisions are not looked at, and a
        commit leaves the cluster's members as they are, joined by the nodes of the plan
    :param now: seconds since the epoch
    """

    def __init__(
        self,
        journal: Journal,
        revisions: Callable[[str], Stored] | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(journal, now)
        self.revisions = revisions

    # -- rollouts ------------------------------------------------------------------------

    def begin(
        self, plan: Plan, by: str, approved_by: str = "", reason: str = "", *, owner: str = ""
    ) -> str:
        """Note a new rollout, take its locks and return its id.

        What it needs for itself alone: the locks that the plan names (without any, the cluster),
        each node that it touches, and what the cluster is served when it moves that. A rollback
        takes over the locks of the rollout that it undoes.

        :param by: who begins it
        :param approved_by: who approved the plan
        :param reason: what for, in words
        :param owner: who works on it from now on, as in :meth:`claim`
        :raises LockedError: another rollout has one of the locks; nothing was noted
        :raises JournalError: the journal cannot be written
        """
        body, digest, at = plan.canonical(), plan.hash, self.now()
        table = tables.rollouts
        with self._writing() as connection:
            rollout_notes.add_plan(connection, plan, digest, body, by, at)
            day = time.strftime("%Y%m%d", time.gmtime(at))
            begun = connection.execute(
                sa.select(table.c.id).where(table.c.id.startswith(f"r{day}-"))
            ).scalars()
            number = max((int(found.rpartition("-")[2]) for found in begun), default=0) + 1
            rollout = f"r{day}-{number}"
            rollout_locks.take(connection, rollout, plan)
            row = {
                "id": rollout, "plan": digest, "cluster": plan.cluster, "workflow": plan.workflow,
                "revision": plan.basis.revision, "undoes": plan.undoes, "state": PLANNED,
                "reason": "", "by": by, "approved_by": approved_by, "why": reason, "begun": at,
                "ended": None, "pause": False, "abort": False, "owner": owner,
            }  # fmt: skip
            connection.execute(sa.insert(table), row)
            _keep(connection, rollout, plan)
        self._plans[digest] = plan
        return rollout

    def get(self, rollout: str) -> Rollout:
        """Return a rollout as a list shows it.

        :raises JournalError: there is none of that id, or the journal cannot be read
        """
        with self.journal.reading() as connection:
            return tables.rollout_of(row_of(connection, rollout))

    def list(
        self,
        cluster: str | None = None,
        state: str | Collection[str] | None = None,
        limit: int = 50,
    ) -> tuple[Rollout, ...]:
        """Return rollouts, the latest first.

        :param cluster: only of this one
        :param state: only in this state, or in one of these
        :param limit: how many at most
        :raises JournalError: the journal cannot be read
        """
        table = tables.rollouts
        statement = sa.select(table).order_by(table.c.number.desc()).limit(limit)
        if cluster is not None:
            statement = statement.where(table.c.cluster == cluster)
        if state is not None:
            states = (state,) if isinstance(state, str) else tuple(state)
            statement = statement.where(table.c.state.in_(states))
        with self.journal.reading() as connection:
            return tuple(tables.rollout_of(row) for row in connection.execute(statement))

    def interrupted(self) -> tuple[Rollout, ...]:
        """Return the running rollouts that nobody works on any more, the oldest first.

        :raises JournalError: the journal cannot be read
        """
        running = self.list(state=RUNNING, limit=1000)
        return tuple(found for found in reversed(running) if not rollout_locks.held(found.owner))

    def load(self, rollout: str) -> RolloutState:
        """Return all there is about a rollout, its leases given back included.

        :raises JournalError: there is none of that id, or the journal cannot be read
        """
        with self._snapshot() as connection:
            row = row_of(connection, rollout)
            plan = self._plans.get(row.plan) or self._plan(connection, row.plan)
            records = {found.step: found for found in _attempts(connection, rollout)}
            held = _leases(connection, tables.leases.c.owner == rollout)
        wishes = Wishes(bool(row.pause), bool(row.abort))
        return RolloutState(row.id, plan, row.state, row.reason, records, wishes, held)

    def move(self, rollout: str, state: str, at: float, reason: str = "") -> None:
        """Note the state of a rollout; its locks go when it is over.

        :param at: seconds since the epoch
        :param reason: why it is paused, failed or aborted
        :raises JournalError: it is over already, or the journal cannot be written
        """
        with self._writing() as connection:
            row = row_of(connection, rollout)
            if row.state in OVER and state not in (row.state, UNDONE):
                raise JournalError(
                    f"rollout {rollout} is over ({row.state}) and cannot be {state} any more",
                    cure="Make a new plan",
                )
            values: dict[str, Any] = {"state": state, "reason": reason}
            if state in OVER:
                values["ended"] = at if row.ended is None else row.ended
                rollout_locks.release(connection, rollout)
            _update(connection, rollout, **values)

    def wish(self, rollout: str, *, pause: bool | None = None, abort: bool | None = None) -> Wishes:
        """Note what people ask of a rollout; it stands until they take it back.

        :param pause: stop between two waves; False lets it go on
        :param abort: stop after the present step
        :returns: what is wished now
        :raises JournalError: it is over, or the journal cannot be written
        """
        with self._writing() as connection:
            row = row_of(connection, rollout)
            if row.state in OVER:
                raise JournalError(f"rollout {rollout} is over ({row.state})")
            wishes = Wishes(
                bool(row.pause) if pause is None else pause,
                bool(row.abort) if abort is None else abort,
            )
            _update(connection, rollout, pause=wishes.pause, abort=wishes.abort)
        return wishes

    def wishes(self, rollout: str) -> Wishes:
        """Return what people asked for.

        :raises JournalError: there is no such rollout, or the journal cannot be read
        """
        table = tables.rollouts
        statement = sa.select(table.c.pause, table.c.abort).where(table.c.id == rollout)
        with self.journal.reading() as connection:
            row = connection.execute(statement).first()
        if row is None:
            raise rollout_notes.missing(rollout)
        return Wishes(bool(row.pause), bool(row.abort))

    # -- who works on it -----------------------------------------------------------------

    def claim(self, rollout: str, owner: str) -> None:
        """Note who works on a rollout; an owner whose process is gone is taken over.

        Locks that were taken off the rollout meanwhile are taken again.

        :param owner: from :func:`saltern.adapters.processes.me`; of an owner in another form, or
            on another host, nobody can tell whether it is gone
        :raises LockedError: another engine works on it, or another rollout has its locks
        :raises JournalError: the journal cannot be written
        """
        with self._writing() as connection:
            row = row_of(connection, rollout)
            if row.owner != owner and rollout_locks.held(row.owner):
                raise rollout_locks.claimed(rollout, row.owner)
            if row.state not in OVER:
                plan = self._plans.get(row.plan) or self._plan(connection, row.plan)
                rollout_locks.take(connection, rollout, plan)
            _update(connection, rollout, owner=owner)

    def release_claim(self, rollout: str, owner: str) -> None:
        """Give up a claim; nothing happens when ``owner`` does not have it.

        :raises JournalError: the journal cannot be written
        """
        table = tables.rollouts
        with self._writing() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.id == rollout, table.c.owner == owner)
                .values(owner="")
            )

    def unlock(self, rollout: str, *, force: bool = False) -> tuple[str, ...]:
        """Take its locks and its claim off a rollout that nobody works on; return their names.

        Its leases stay: what it took out of service must be given back first or by hand.

        :param force: also when its owner may still be there
        :raises LockedError: somebody works on it
        :raises JournalError: the journal cannot be written
        """
        with self._writing() as connection:
            row = row_of(connection, rollout)
            if not force and rollout_locks.held(row.owner):
                raise rollout_locks.claimed(rollout, row.owner)
            names = rollout_locks.read(connection, tables.locks.c.rollout == rollout)
            rollout_locks.release(connection, rollout)
            _update(connection, rollout, owner="")
        return tuple(sorted(name for name, _ in names))

    def locks(self, cluster: str | None = None) -> Mapping[str, str]:
        """Return ``{lock: rollout that has it}``.

        :param cluster: only of this one
        :raises JournalError: the journal cannot be read
        """
        where = sa.true() if cluster is None else tables.locks.c.cluster == cluster
        with self.journal.reading() as connection:
            return dict(sorted(rollout_locks.read(connection, where)))

    # -- steps ---------------------------------------------------------------------------

    def intent(self, rollout: str, step: str, jids: Sequence[str], at: float) -> StepRecord:
        """Note that a step is about to be done: a new attempt.

        :param step: id of the step
        :param jids: of the jobs that it will publish
        :param at: seconds since the epoch
        :raises JournalError: there is no such rollout, or the journal cannot be written
        """
        table = tables.steps
        with self._writing() as connection:
            row_of(connection, rollout)
            last = connection.execute(
                sa.select(sa.func.max(table.c.attempt)).where(
                    table.c.rollout == rollout, table.c.step == step
                )
            ).scalar()
            record = StepRecord(step, (last or 0) + 1, INTENT, tuple(jids), at)
            row = {
                "rollout": rollout, "step": step, "attempt": record.attempt, "phase": INTENT,
                "jids": tables.text_of(list(jids)), "begun": at, "ended": None, "results": "{}",
                "sentence": "",
            }  # fmt: skip
            connection.execute(sa.insert(table), row)
        return record

    def result(
        self,
        rollout: str,
        step: str,
        phase: str,
        results: Mapping[str, NodeResult],
        at: float,
        sentence: str = "",
    ) -> StepRecord:
        """Note how the latest attempt of a step ended.

        :param phase: ``ok``, ``failed`` or ``unknown``
        :param results: by node
        :param at: seconds since the epoch
        :param sentence: what went wrong as a whole
        :raises JournalError: the step was never begun, or the journal cannot be written
        """
        table = tables.steps
        of_step = (table.c.rollout == rollout, table.c.step == step)
        with self._writing() as connection:
            row = connection.execute(
                sa.select(table).where(*of_step).order_by(table.c.attempt.desc()).limit(1)
            ).first()
            if row is None:
                raise JournalError(f"step {step} of rollout {rollout} was never begun")
            values = {
                "phase": phase, "results": tables.results_text(results), "ended": at,
                "sentence": sentence,
            }  # fmt: skip
            connection.execute(
                sa.update(table).where(*of_step, table.c.attempt == row.attempt).values(values)
            )
        jids = tables.record_of(row).jids
        return StepRecord(step, row.attempt, phase, jids, row.begun, at, dict(results), sentence)

    def attempts(self, rollout: str) -> tuple[StepRecord, ...]:
        """Return every attempt of every step, in the order in which they began.

        :raises JournalError: the journal cannot be read
        """
        with self.journal.reading() as connection:
            return tuple(sorted(_attempts(connection, rollout), key=lambda found: found.begun))

    def durations(self, cluster: str, workflow: str) -> _Minutes:
        """Return how many minutes each stage took in the latest rollouts that were done.

        The time of its steps, without what lay between them: pauses, and waiting for a rate.

        :returns: stage name to minutes, the latest rollout first
        :raises JournalError: the journal cannot be read
        """
        minutes: _Minutes = {}
        for rollout in self._times(cluster, workflow):
            seconds: dict[str, float] = {}
            for step, took in rollout:
                stage = step.rsplit("/", 2)[0]
                seconds[stage] = seconds.get(stage, 0.0) + took
            for stage, took in seconds.items():
                minutes.setdefault(stage, []).append(took / _SECONDS_PER_MINUTE)
        return minutes

    def paces(self, cluster: str, workflow: str) -> _Minutes:
        """Return how many minutes single waves took in the latest rollouts that were done.

        Of waves that began with a gate: the others are about the cluster, not about nodes. Without
        their soak, which is another one each time.

        :returns: stage name to minutes of each of its waves
        :raises JournalError: the journal cannot be read
        """
        minutes: _Minutes = {}
        for rollout in self._times(cluster, workflow):
            seconds: dict[str, float] = {}
            gated = {step.rsplit("/", 1)[0] for step, _ in rollout if step.endswith(f"-{GATE}")}
            for step, took in rollout:
                wave = step.rsplit("/", 1)[0]
                if wave in gated and not step.endswith(f"-{SOAK}"):
                    seconds[wave] = seconds.get(wave, 0.0) + took
            for wave, took in seconds.items():
                stage = wave.rsplit("/", 1)[0]
                minutes.setdefault(stage, []).append(took / _SECONDS_PER_MINUTE)
        return minutes

    def _times(self, cluster: str, workflow: str) -> _Times:
        """Steps and their seconds of each of the latest rollouts that were done."""
        steps = tables.steps
        found: _Times = []
        with self._snapshot() as connection:
            done = connection.execute(
                sa.select(tables.rollouts.c.id)
                .where(
                    tables.rollouts.c.cluster == cluster,
                    tables.rollouts.c.workflow == workflow,
                    tables.rollouts.c.state == DONE,
                )
                .order_by(tables.rollouts.c.number.desc())
                .limit(HISTORY)
            ).scalars()
            for rollout in done.all():
                rows = connection.execute(
                    sa.select(steps.c.step, steps.c.begun, steps.c.ended).where(
                        steps.c.rollout == rollout, steps.c.phase == OK, steps.c.ended.is_not(None)
                    )
                )
                found.append([(step, max(0.0, ended - begun)) for step, begun, ended in rows])
        return found

    # -- leases --------------------------------------------------------------------------

    def lease(self, lease: Lease) -> None:
        """Note a lease, before what it stands for is done; the same id once more renews it.

        :raises JournalError: another rollout has a lease of that id, or the journal cannot be
            written
        """
        table = tables.leases
        with self._writing() as connection:
            row_of(connection, lease.owner)
            owner = connection.execute(
                sa.select(table.c.owner).where(table.c.id == lease.id)
            ).scalar_one_or_none()
            if owner not in (None, lease.owner):
                raise JournalError(f"lease {lease.id} belongs to rollout {owner}")
            put(connection, table, [tables.lease_row(lease)], ("id",))

    def returned(self, lease: str, at: float) -> None:
        """Note that a lease was given back; one that was stays as it is.

        :param lease: its id
        :param at: seconds since the epoch
        :raises JournalError: there is no such lease, or the journal cannot be written
        """
        table = tables.leases
        with self._writing() as connection:
            found = connection.execute(
                sa.select(table.c.released).where(table.c.id == lease)
            ).first()
            if found is None:
                raise JournalError(f"there is no lease {lease}")
            if found.released is None:
                connection.execute(sa.update(table).where(table.c.id == lease).values(released=at))

    def leases(self, active: bool = True, rollout: str | None = None) -> tuple[Lease, ...]:
        """Return leases, the oldest first.

        :param active: only those that were not given back
        :param rollout: only those that it took
        :raises JournalError: the journal cannot be read
        """
        table = tables.leases
        where: _Conditions = [table.c.released.is_(None)] if active else []
        if rollout is not None:
            where.append(table.c.owner == rollout)
        with self.journal.reading() as connection:
            return _leases(connection, *where)

    # -- what nodes are served -----------------------------------------------------------

    def pin(self, rollout: str, nodes: Sequence[str], revision: str) -> None:
        """Pin nodes to a revision, or take their pins off; may run twice.

        :param nodes: minion ids
        :param revision: full id, empty takes the pins off
        :raises SalternError: the revision is not stored any more
        :raises JournalError: the journal cannot be written
        """
        with self._writing() as connection:
            by = row_of(connection, rollout).by
            if revision and self.revisions is not None:
                self.revisions(revision)
            set_pins(connection, nodes, revision, by, f"rollout {rollout}")

    def commit(self, rollout: str, cluster: str, revision: str) -> None:
        """Make a revision the deployed one of its cluster and take off the pins to it.

        :param revision: full id
        :raises SalternError: the revision is not stored any more
        :raises JournalError: the journal cannot be written
        """
        with self._writing() as connection:
            row = row_of(connection, rollout)
            if self.revisions is not None:
                members = set(self.revisions(revision).nodes(cluster))
            else:
                plan = self._plans.get(row.plan) or self._plan(connection, row.plan)
                members = {*members_of(connection, cluster), *plan.nodes}
            reason = f"rollout {rollout}"
            set_deployed(connection, cluster, revision, members, row.by, reason)
            pinned = pinned_to(connection, cluster, revision)
            set_pins(connection, pinned, "", row.by, reason)


def _update(connection: sa.Connection, rollout: str, **values: Any) -> None:
    table = tables.rollouts
    connection.execute(sa.update(table).where(table.c.id == rollout).values(**values))


def _attempts(connection: sa.Connection, rollout: str) -> Iterator[StepRecord]:
    table = tables.steps
    statement = sa.select(table).where(table.c.rollout == rollout)
    for row in connection.execute(statement.order_by(table.c.step, table.c.attempt)):
        yield tables.record_of(row)


def _leases(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> tuple[Lease, ...]:
    table = tables.leases
    statement = sa.select(table).where(*where).order_by(table.c.taken, table.c.id)
    return tuple(tables.lease_of(row) for row in connection.execute(statement))


def _keep(connection: sa.Connection, rollout: str, plan: Plan) -> None:
    """Keep the revisions that it needs, forwards and backwards, in the store.

    Until it is over, and then until the one after the next begins in its cluster.
    """
    rollouts, keeps = tables.rollouts, tables.keeps
    over = connection.execute(
        sa.select(rollouts.c.id)
        .where(rollouts.c.cluster == plan.cluster, rollouts.c.state.in_(OVER))
        .order_by(rollouts.c.number.desc())
        .offset(1)
    ).scalars()
    connection.execute(sa.delete(keeps).where(keeps.c.rollout.in_(over.all())))
    basis = plan.basis
    needed = {basis.revision, basis.deployed, *basis.pins.values()} - {""}
    if needed:
        rows = [{"rollout": rollout, "revision": revision} for revision in sorted(needed)]
        connection.execute(sa.insert(keeps), rows)
