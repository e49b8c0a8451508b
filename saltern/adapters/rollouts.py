"""The journal of rollouts: plans, steps before and after they are done, locks, leases, evidence.

It lies in the database of the pins (:mod:`saltern.adapters.journal`) and shares its writers: one
at a time, one transaction each, on the disk when the call returns. A rollout moves pins in the
same transaction in which it says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from saltern.adapters import rollout_tables as tables
from saltern.adapters.journal import Journal, members_of, pinned_to, set_deployed, set_pins
from saltern.adapters.processes import alive, named
from saltern.adapters.rollout_tables import Evidence, Finding, Rollout, Row, StoredPlan
from saltern.errors import JournalError, LockedError, PlanError
from saltern.plan.types import COMMIT, PIN, Plan
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

#: Seconds to wait for another process that writes.
WAIT = 10.0
#: How much of a plan's hash names it at least.
SHORTEST = 6
#: How many of the latest rollouts say how long a stage takes.
HISTORY = 10

#: The lock of a plan that names none: it excludes every other one of the cluster.
WHOLE = "cluster"
#: The lock of a plan that moves what nodes are served.
SERVED = "served revision"

_SECONDS_PER_MINUTE = 60.0

# a method of the class is called list, so the type has other names inside it
_Minutes = dict[str, list[float]]
_Texts = list[str]
_Conditions = list[sa.ColumnElement[bool]]


class Stored(Protocol):
    """A revision in the store."""

    def nodes(self, cluster: str | None = None) -> Iterable[str]:
        """Return the nodes of a cluster."""
        ...


class Rollouts:
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
        self.journal = journal
        self.revisions = revisions
        self.now = now
        self._plans: dict[str, Plan] = {}

    # -- plans ---------------------------------------------------------------------------

    def store(self, plan: Plan, by: str) -> str:
        """Keep a plan and return its hash; an equal one is there once.

        :param by: who had it made
        :raises JournalError: the journal cannot be written
        """
        body = plan.canonical()
        digest = plan.hash
        with self._writing() as connection:
            _add_plan(connection, plan, digest, body, by, self.now())
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
            _add_plan(connection, plan, digest, body, by, at)
            day = time.strftime("%Y%m%d", time.gmtime(at))
            begun = connection.execute(
                sa.select(table.c.id).where(table.c.id.startswith(f"r{day}-"))
            ).scalars()
            number = max((int(found.rpartition("-")[2]) for found in begun), default=0) + 1
            rollout = f"r{day}-{number}"
            self._lock(connection, rollout, plan)
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
            return tables.rollout_of(_row(connection, rollout))

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
        return tuple(found for found in reversed(running) if not _held(found.owner))

    def load(self, rollout: str) -> RolloutState:
        """Return all there is about a rollout, its leases given back included.

        :raises JournalError: there is none of that id, or the journal cannot be read
        """
        with self._snapshot() as connection:
            row = _row(connection, rollout)
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
            row = _row(connection, rollout)
            if row.state in OVER and state not in (row.state, UNDONE):
                raise JournalError(
                    f"rollout {rollout} is over ({row.state}) and cannot be {state} any more",
                    cure="Make a new plan",
                )
            values: dict[str, Any] = {"state": state, "reason": reason}
            if state in OVER:
                values["ended"] = at if row.ended is None else row.ended
                _unlock(connection, rollout)
            _update(connection, rollout, **values)

    def wish(self, rollout: str, *, pause: bool | None = None, abort: bool | None = None) -> Wishes:
        """Note what people ask of a rollout; it stands until they take it back.

        :param pause: stop between two waves; False lets it go on
        :param abort: stop after the present step
        :returns: what is wished now
        :raises JournalError: it is over, or the journal cannot be written
        """
        with self._writing() as connection:
            row = _row(connection, rollout)
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
            raise _missing(rollout)
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
            row = _row(connection, rollout)
            if row.owner != owner and _held(row.owner):
                raise _claimed(rollout, row.owner)
            if row.state not in OVER:
                plan = self._plans.get(row.plan) or self._plan(connection, row.plan)
                self._lock(connection, rollout, plan)
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
            row = _row(connection, rollout)
            if not force and _held(row.owner):
                raise _claimed(rollout, row.owner)
            names = _locks(connection, tables.locks.c.rollout == rollout)
            _unlock(connection, rollout)
            _update(connection, rollout, owner="")
        return tuple(sorted(name for name, _ in names))

    def locks(self, cluster: str | None = None) -> Mapping[str, str]:
        """Return ``{lock: rollout that has it}``.

        :param cluster: only of this one
        :raises JournalError: the journal cannot be read
        """
        where = sa.true() if cluster is None else tables.locks.c.cluster == cluster
        with self.journal.reading() as connection:
            return dict(sorted(_locks(connection, where)))

    def _lock(self, connection: sa.Connection, rollout: str, plan: Plan) -> None:
        """Take what is missing of a plan's locks, or raise and name who has one."""
        wanted = _names(plan)
        taken: dict[str, _Texts] = {}
        mine = set()
        for name, holder in _locks(connection, tables.locks.c.cluster == plan.cluster):
            if holder == rollout:
                mine.add(name)
            elif name in wanted or WHOLE in wanted or name == WHOLE:
                taken.setdefault(holder, []).append(name)
        for holder, names in sorted(taken.items()):
            row = _row(connection, holder)
            if holder != plan.undoes:
                raise LockedError(
                    f"rollout {holder} ({row.state}) works on {_several(names)}",
                    cure=f"Wait for it, or see `salt-run rollout.status {holder}`",
                )
            if _held(row.owner):
                raise _claimed(holder, row.owner)
            for name in wanted & set(names):
                _free(connection, plan.cluster, name)
        missing = sorted(wanted - mine)
        if missing:
            connection.execute(
                sa.insert(tables.locks),
                [{"cluster": plan.cluster, "name": name, "rollout": rollout} for name in missing],
            )

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
            _row(connection, rollout)
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
        steps = tables.steps
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
            minutes: _Minutes = {}
            for rollout in done.all():
                seconds: dict[str, float] = {}
                rows = connection.execute(
                    sa.select(steps.c.step, steps.c.begun, steps.c.ended).where(
                        steps.c.rollout == rollout, steps.c.phase == OK, steps.c.ended.is_not(None)
                    )
                )
                for step, begun, ended in rows:
                    stage = step.rsplit("/", 2)[0]
                    seconds[stage] = seconds.get(stage, 0.0) + max(0.0, ended - begun)
                for stage, took in seconds.items():
                    minutes.setdefault(stage, []).append(took / _SECONDS_PER_MINUTE)
        return minutes

    # -- leases --------------------------------------------------------------------------

    def lease(self, lease: Lease) -> None:
        """Note a lease, before what it stands for is done; the same id once more renews it.

        :raises JournalError: another rollout has a lease of that id, or the journal cannot be
            written
        """
        table = tables.leases
        with self._writing() as connection:
            _row(connection, lease.owner)
            owner = connection.execute(
                sa.select(table.c.owner).where(table.c.id == lease.id)
            ).scalar_one_or_none()
            if owner not in (None, lease.owner):
                raise JournalError(f"lease {lease.id} belongs to rollout {owner}")
            _put(connection, table, [tables.lease_row(lease)], ("id",))

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
            by = _row(connection, rollout).by
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
            row = _row(connection, rollout)
            if self.revisions is not None:
                members = set(self.revisions(revision).nodes(cluster))
            else:
                plan = self._plans.get(row.plan) or self._plan(connection, row.plan)
                members = {*members_of(connection, cluster), *plan.nodes}
            reason = f"rollout {rollout}"
            set_deployed(connection, cluster, revision, members, row.by, reason)
            pinned = pinned_to(connection, cluster, revision)
            set_pins(connection, pinned, "", row.by, reason)

    # -- what was measured, found and saved ----------------------------------------------

    def sample(self, rollout: str, rows: Iterable[Row]) -> None:
        """Note what probes measured; a second that is there already stays as it is.

        :param rows: ``{probe, second, requests, failed, max_ms, gap_ms}``: what one probe
            measured in one second since the epoch
        :raises JournalError: the journal cannot be written
        """
        table = tables.samples
        names = [column.name for column in table.c if column.name != "rollout"]
        found = [{"rollout": rollout, **{name: row[name] for name in names}} for row in rows]
        if found:
            with self._writing() as connection:
                statement = _insert(connection, table).on_conflict_do_nothing()
                connection.execute(statement, found)

    def samples(self, rollout: str, probe: str | None = None) -> tuple[Row, ...]:
        """Return what probes measured, as :meth:`sample` took it, the oldest second first.

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
            _row(connection, rollout)
            _put(connection, tables.evidence, [row], ("rollout", "key"))

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


def _row(connection: sa.Connection, rollout: str) -> sa.Row[Any]:
    table = tables.rollouts
    row = connection.execute(sa.select(table).where(table.c.id == rollout)).first()
    if row is None:
        raise _missing(rollout)
    return row


def _missing(rollout: str) -> JournalError:
    return JournalError(
        f"there is no rollout {rollout}", cure="`salt-run rollout.history` lists them"
    )


def _claimed(rollout: str, owner: str) -> LockedError:
    return LockedError(
        f"{named(owner)} works on rollout {rollout}",
        cure=f"See `salt-run rollout.status {rollout}`; when that process is gone for certain, run"
        f" `salt-run rollout.unlock {rollout}`",
    )


def _held(owner: str) -> bool:
    """Whether an owner works, or may work, on its rollout."""
    return bool(owner) and alive(owner) is not False


def _update(connection: sa.Connection, rollout: str, **values: Any) -> None:
    table = tables.rollouts
    connection.execute(sa.update(table).where(table.c.id == rollout).values(**values))


def _add_plan(
    connection: sa.Connection, plan: Plan, digest: str, body: str, by: str, at: float
) -> None:
    table = tables.plans
    found = connection.execute(sa.select(table.c.hash).where(table.c.hash == digest)).first()
    if found is None:
        row = {
            "hash": digest, "cluster": plan.cluster, "workflow": plan.workflow,
            "revision": plan.basis.revision, "at": at, "by": by, "body": body,
        }  # fmt: skip
        connection.execute(sa.insert(table), row)


def _names(plan: Plan) -> set[str]:
    """Everything that a plan needs for itself alone."""
    names = {*(plan.locks or (WHOLE,)), *(f"node {node}" for node in plan.nodes)}
    if any(step.kind in (PIN, COMMIT) for _, _, step in plan.steps()):
        names.add(SERVED)
    return names


def _several(names: Sequence[str]) -> str:
    """The first names; those that the plan gave come before those of nodes."""
    ordered = sorted(names, key=lambda name: (name.startswith("node "), name))
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + more


def _locks(connection: sa.Connection, where: sa.ColumnElement[bool]) -> Sequence[tuple[str, str]]:
    table = tables.locks
    rows = connection.execute(sa.select(table.c.name, table.c.rollout).where(where))
    return [(name, rollout) for name, rollout in rows]


def _free(connection: sa.Connection, cluster: str, name: str) -> None:
    table = tables.locks
    connection.execute(sa.delete(table).where(table.c.cluster == cluster, table.c.name == name))


def _unlock(connection: sa.Connection, rollout: str) -> None:
    connection.execute(sa.delete(tables.locks).where(tables.locks.c.rollout == rollout))


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


def _attempts(connection: sa.Connection, rollout: str) -> Iterator[StepRecord]:
    table = tables.steps
    statement = sa.select(table).where(table.c.rollout == rollout)
    for row in connection.execute(statement.order_by(table.c.step, table.c.attempt)):
        yield tables.record_of(row)


def _leases(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> tuple[Lease, ...]:
    table = tables.leases
    statement = sa.select(table).where(*where).order_by(table.c.taken, table.c.id)
    return tuple(tables.lease_of(row) for row in connection.execute(statement))


def _put(
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
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name](
        table
    )
