"""The journal database: which revision each node is served, and who changed that, when and why.

SQLite by default; PostgreSQL where several masters share one journal. What a node is served is
its pin or, without one, the deployed revision of its cluster.

Reading asks one statement on a connection that each process keeps; it never creates nor migrates
anything. Writing is for runners and the command line: one writer at a time, one transaction per
change, the tables brought up to date first.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from saltern.errors import JournalError, UnknownNodeError

#: The migration that this code reads and writes (``saltern/adapters/migrations/versions``).
SCHEMA = "0006"
#: Seconds to wait for another process that writes.
BUSY = 2.0
#: Any number: what writers of a PostgreSQL journal queue for.
_LOCK = 0x5A17E24

#: How SQLite and PostgreSQL say that a disk is full.
_FULL = ("disk is full", "No space left on device")

#: Bytes that a database and its side files need at least.
_SMALL = 1 << 20

PIN, UNPIN, DEPLOY, JOIN, LEAVE = "pin", "unpin", "deploy", "join", "leave"

#: every table of the database: also those of rollouts (:mod:`saltern.adapters.rollout_tables`), of
#: suites (:mod:`saltern.adapters.suites`) and of canaries (:mod:`saltern.adapters.canaries`)
meta = sa.MetaData()
_member = sa.Table(
    "member",
    meta,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("cluster", sa.String(255), nullable=False, index=True),
)


def _choice(name: str, key: str) -> sa.Table:
    """A table of which revision was chosen for what, by whom and why."""
    return sa.Table(
        name,
        meta,
        sa.Column(key, sa.String(255), primary_key=True),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )


_pin = _choice("pin", "node")
_deployed = _choice("deployed", "cluster")
_change = sa.Table(
    "change",
    meta,
    sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("at", sa.DateTime(), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("node", sa.String(255), nullable=False, index=True),
    sa.Column("cluster", sa.String(255), nullable=False, index=True),
    sa.Column("before", sa.String(255), nullable=False),
    sa.Column("after", sa.String(255), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
)

_node: sa.BindParameter[str] = sa.bindparam("node")
_SERVED = sa.select(
    sa.select(_pin.c.revision).where(_pin.c.node == _node).scalar_subquery().label("pinned"),
    sa.select(_deployed.c.revision)
    .join(_member, _member.c.cluster == _deployed.c.cluster)
    .where(_member.c.node == _node)
    .scalar_subquery()
    .label("deployed"),
)


#: what rollouts need, forwards and backwards (:mod:`saltern.adapters.rollout_tables`)
_keep = sa.table("keep", sa.column("revision", sa.String(64)))
_IN_USE = sa.union(
    sa.select(_deployed.c.revision), sa.select(_pin.c.revision), sa.select(_keep.c.revision)
)

#: Called before a change is written, while nobody else can write; raises to prevent it.
Guard = Callable[[], object]


@dataclass(frozen=True)
class Pin:
    """A node that is held at a revision.

    :param cluster: the cluster it is a member of, empty for none
    :param at: when it was pinned, UTC
    """

    node: str
    revision: str
    cluster: str
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class Change:
    """One line of the history.

    :param kind: ``pin``, ``unpin``, ``deploy``; ``join`` and ``leave`` of a node and a cluster
    :param node: empty for ``deploy``
    :param cluster: empty for ``pin`` and ``unpin``
    :param before: revision before, empty for none (of ``join``: the cluster it left)
    :param after: revision after, empty for none
    :param at: when, UTC
    """

    at: datetime
    kind: str
    node: str
    cluster: str
    before: str
    after: str
    by: str
    reason: str


@dataclass
class _Open:
    """What one process has open.

    :param file: device and inode of the SQLite file
    """

    pid: int
    engine: sa.Engine
    reader: sa.Connection | None = None
    file: tuple[int, int] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Journal:
    """The journal at a URL; opening it touches nothing.

    :param url: of SQLAlchemy, for example ``sqlite:////srv/saltern/journal/journal.db``
    :raises JournalError: it is no URL, or of a database that is not supported
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
            self._open: _Open | None = None
            backend = self.url.get_backend_name()
        except sa.exc.ArgumentError:
            # the text may hold a password
            raise JournalError(
                "the journal's address is no URL",
                cure="Set saltern:journal to one such as sqlite:////srv/saltern/journal/journal.db",
            ) from None
        if backend not in ("sqlite", "postgresql") or not self.url.database:
            raise JournalError(f"the journal cannot be a {backend} database without a name or kind")
        self.where = self.url.render_as_string(hide_password=True)
        self.path = Path(self.url.database) if backend == "sqlite" else None

    # -- reading -------------------------------------------------------------------------

    def served(self, node: str) -> str:
        """Return the revision that a node is served: its pin, else its cluster's.

        :param node: minion id
        :raises UnknownNodeError: it has no pin and is in no deployed cluster
        :raises JournalError: the journal cannot be read
        """
        with self.reading() as connection:
            pinned, deployed = connection.execute(_SERVED, {"node": node}).one()
        if not (pinned or deployed):
            raise UnknownNodeError(
                f"node {node} has no entry in the model: no deployed cluster has it and it is not"
                " pinned",
                cure="Add its host to the cluster class and deploy that revision",
            )
        return str(pinned or deployed)

    def cluster_of(self, node: str) -> str | None:
        """Return the cluster whose deployed revision has a node; None for no cluster.

        :raises JournalError: the journal cannot be read
        """
        with self.reading() as connection:
            statement = sa.select(_member.c.cluster).where(_member.c.node == node)
            return connection.execute(statement).scalar_one_or_none()

    def members(self, cluster: str) -> list[str]:
        """Return the nodes of a cluster's deployed revision, sorted.

        :raises JournalError: the journal cannot be read
        """
        with self.reading() as connection:
            return members_of(connection, cluster)

    def pins(self, cluster: str | None = None) -> list[Pin]:
        """Return the pins, by node.

        :param cluster: only of its nodes
        :raises JournalError: the journal cannot be read
        """
        cluster_name = sa.func.coalesce(_member.c.cluster, "").label("cluster")
        statement = (
            sa.select(_pin, cluster_name)
            .outerjoin(_member, _member.c.node == _pin.c.node)
            .order_by(_pin.c.node)
        )
        if cluster is not None:
            statement = statement.where(cluster_name == cluster)
        with self.reading() as connection:
            rows = connection.execute(statement).all()
        return [
            Pin(row.node, row.revision, row.cluster, _aware(row.at), row.by, row.reason)
            for row in rows
        ]

    def deployed(self, cluster: str | None = None) -> dict[str, str]:
        """Return ``{cluster: deployed revision}``.

        :param cluster: only this one
        :raises JournalError: the journal cannot be read
        """
        statement = sa.select(_deployed.c.cluster, _deployed.c.revision)
        if cluster is not None:
            statement = statement.where(_deployed.c.cluster == cluster)
        with self.reading() as connection:
            rows = connection.execute(statement.order_by(_deployed.c.cluster)).all()
        return {row.cluster: row.revision for row in rows}

    def in_use(self) -> set[str]:
        """Return every revision that is deployed, pinned or of a rollout: what must stay stored.

        :raises JournalError: the journal cannot be read
        """
        with self.reading() as connection:
            return set(connection.execute(_IN_USE).scalars())

    def history(
        self, node: str | None = None, cluster: str | None = None, limit: int = 50
    ) -> list[Change]:
        """Return the latest changes, the latest first.

        :param node: changes of this node, and when it joined or left a cluster
        :param cluster: deployments of this cluster, and the pins of its present nodes
        :param limit: how many at most
        :raises JournalError: the journal cannot be read
        """
        statement = sa.select(_change).order_by(_change.c.id.desc()).limit(limit)
        if node is not None:
            statement = statement.where(_change.c.node == node)
        else:
            statement = statement.where(_change.c.kind.in_((PIN, UNPIN, DEPLOY)))
        if cluster is not None:
            of_nodes = sa.select(_member.c.node).where(_member.c.cluster == cluster)
            statement = statement.where(
                sa.or_(_change.c.cluster == cluster, _change.c.node.in_(of_nodes))
                if node is None
                else _change.c.cluster == cluster
            )
        with self.reading() as connection:
            rows = connection.execute(statement).all()
        return [
            Change(
                _aware(row.at), row.kind, row.node, row.cluster, row.before, row.after, row.by,
                row.reason,
            )
            for row in rows
        ]  # fmt: skip

    def at(
        self, when: datetime, *, node: str | None = None, cluster: str | None = None
    ) -> str | None:
        """Return the revision that a node was served, or a cluster had deployed, at a time.

        :param when: an aware time
        :param node: minion id, or
        :param cluster: name of a cluster
        :returns: None when there was none
        :raises JournalError: the journal cannot be read
        """
        if (node is None) == (cluster is None):
            raise JournalError("name a node or a cluster")
        with self.reading() as connection:
            if node is not None:
                pin = _last(connection, when, (PIN, UNPIN), _change.c.node == node)
                if pin is not None and pin.after:
                    return str(pin.after)
                joined = _last(connection, when, (JOIN, LEAVE), _change.c.node == node)
                if joined is None or joined.kind == LEAVE:
                    return None
                cluster = joined.cluster
            move = _last(connection, when, (DEPLOY,), _change.c.cluster == cluster)
        return None if move is None else str(move.after)

    def schema(self) -> str:
        """Return which migration the database has; empty when it has no tables.

        :raises JournalError: the database cannot be read
        """
        engine = self._mine().engine
        with self._told(), engine.connect() as connection:
            return _schema(connection)

    # -- writing -------------------------------------------------------------------------

    def prepare(self) -> bool:
        """Create the database, or bring its tables up to date; return whether anything was done.

        :raises JournalError: it was written by a newer Saltern, or cannot be written
        """
        before = "" if self.path and not self.path.exists() else self.schema()
        if before == SCHEMA:
            return False
        with self.writing():
            return True

    @contextmanager
    def at_rest(self) -> Iterator[set[str]]:
        """Give the revisions in use; inside the block nothing is pinned or deployed.

        :raises JournalError: the journal cannot be written
        """
        with self.writing() as connection:
            yield set(connection.execute(_IN_USE).scalars())

    def pin(
        self,
        nodes: Iterable[str],
        revision: str,
        by: str,
        reason: str,
        *,
        guard: Guard | None = None,
    ) -> list[str]:
        """Hold nodes at a revision; return those whose pin changed.

        :param nodes: minion ids
        :param revision: full id of a stored revision
        :param by: who asks for it
        :param reason: why, in words
        :param guard: asked before anything is written
        :raises JournalError: the journal cannot be written
        """
        return self._pin(nodes, revision, by, reason, guard)

    def unpin(self, nodes: Iterable[str], by: str, reason: str) -> list[str]:
        """Let nodes follow their cluster again; return those that were pinned.

        :param nodes: minion ids
        :param by: who asks for it
        :param reason: why, in words
        :raises JournalError: the journal cannot be written
        """
        return self._pin(nodes, "", by, reason)

    def _pin(
        self,
        nodes: Iterable[str],
        revision: str,
        by: str,
        reason: str,
        guard: Guard | None = None,
    ) -> list[str]:
        with self.writing() as connection:
            if guard is not None:
                guard()
            return set_pins(connection, nodes, revision, by, reason)

    def deploy(
        self,
        cluster: str,
        revision: str,
        members: Collection[str],
        by: str,
        reason: str,
        *,
        first: bool = False,
        guard: Guard | None = None,
    ) -> bool:
        """Make a revision the deployed one of a cluster; return whether anything changed.

        Every node without a pin is served it from the next request on.

        :param cluster: name of the cluster
        :param revision: full id of a stored revision
        :param members: the cluster's nodes in that revision
        :param by: who asks for it
        :param reason: why, in words
        :param first: only when the cluster has no deployed revision yet
        :param guard: asked before anything is written
        :raises JournalError: the journal cannot be written
        """
        with self.writing() as connection:
            if guard is not None:
                guard()
            return set_deployed(connection, cluster, revision, members, by, reason, first=first)

    # -- connections ---------------------------------------------------------------------

    def _mine(self) -> _Open:
        """What this process has open; a forked child never uses its parent's connections."""
        opened = self._open
        if opened is None or opened.pid != os.getpid():
            opened = self._open = _Open(os.getpid(), self._engine())
        return opened

    def _engine(self) -> sa.Engine:
        if self.path is None:
            return sa.create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

        def connect() -> sqlite3.Connection:
            # mode=rw: a missing file is an error, never a new and empty journal
            address = f"file:{quote(str(self.path))}?mode=rw"
            return sqlite3.connect(
                address, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
            )

        return sa.create_engine(
            "sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give the connection of this process that reads, to one thread at a time.

        :raises JournalError: the journal cannot be read
        """
        opened = self._mine()
        with opened.lock, self._told():
            if self.path is not None:
                status = os.stat(self.path)
                if opened.file != (status.st_dev, status.st_ino):
                    # another file is there than the one that is open
                    _close(opened)
                    opened.file = (status.st_dev, status.st_ino)
            try:
                if opened.reader is None:
                    opened.reader = opened.engine.connect()
                    self._refuse_other(_schema(opened.reader))
                yield opened.reader
            except BaseException:
                _close(opened)
                raise

    @contextmanager
    def writing(self, wait: float | None = None) -> Iterator[sa.Connection]:
        """Give one transaction of one writer; the tables are those of this code.

        It is on the disk when the block ends, and an error in the block leaves nothing of it.

        :param wait: seconds to wait for other writers; None for :data:`BUSY`, and for as long as
            it takes with PostgreSQL
        :raises JournalError: the journal cannot be written, or another one writes for too long
        """
        opened = self._mine()
        self._create_file()
        with opened.lock, self._told(wait), opened.engine.connect() as connection:
            if self.path is not None:
                if wait is not None:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout={int(wait * 1000)}")
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                # on the disk after each transaction, also when the power goes
                connection.exec_driver_sql("PRAGMA synchronous=FULL")
            # the driver is in autocommit mode, so begin and end are said here
            begin = "BEGIN IMMEDIATE" if self.path is not None else "BEGIN"
            connection.exec_driver_sql(begin)
            try:
                if self.path is None:
                    if wait is not None:
                        milliseconds = int(wait * 1000)
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                found = _schema(connection)
                if found != SCHEMA:
                    self._migrate(connection, found)
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                with suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql("ROLLBACK")
                raise

    def _create_file(self) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            # SQLite gives its side files the same mode
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640))
        except FileExistsError:
            pass
        except OSError as err:
            raise JournalError(
                f"the journal cannot be created: {err.strerror}",
                where=str(self.path),
                cure="Run this as the master's user, or make the folder writable for it",
            ) from None

    def _migrate(self, connection: sa.Connection, found: str) -> None:
        # imported where it is needed: serving a pillar never migrates
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
        if found and found not in known:
            self._refuse_other(found, known)
        command.upgrade(config, "head")

    def _refuse_other(self, found: str, known: Collection[str] = ()) -> None:
        if found == SCHEMA:
            return
        # steps are numbered, so that a reader can tell without Alembic
        if found > SCHEMA or known:
            raise JournalError(
                f"the journal was written by a newer Saltern (tables {found}, known {SCHEMA})",
                where=self.where,
                cure="Install that version on this master",
            )
        raise JournalError(
            f"the journal has {f'old tables ({found})' if found else 'no tables'}",
            where=self.where,
            cure="Run `saltern master prepare` as the master's user",
        )

    @contextmanager
    def _told(self, wait: float | None = None) -> Iterator[None]:
        """Faults of the database as one sentence."""
        try:
            yield
        except FileNotFoundError:
            raise JournalError(
                "the journal does not exist",
                where=self.where,
                cure="Run `saltern master prepare` as the master's user",
            ) from None
        except OSError as err:
            raise JournalError(
                f"the journal cannot be opened: {err.strerror}", where=self.where
            ) from None
        except sa.exc.DBAPIError as err:
            text = " ".join(str(err.orig).split())
            if "locked" in text or "lock timeout" in text:
                seconds = BUSY if wait is None else wait
                raise JournalError(
                    f"the journal is locked by another process for more than {seconds:.0f} s",
                    where=self.where,
                    cure="Look who holds it (`fuser` names the process) and try again",
                ) from None
            if any(sign in text for sign in _FULL) or ("I/O" in text and self._no_room()):
                raise JournalError(
                    "the disk that holds the journal is full, nothing was written",
                    where=self.where,
                    cure="Make room there and try again",
                ) from None
            raise JournalError(f"the journal cannot be used: {text}", where=self.where) from None

    def _no_room(self) -> bool:
        """Whether the disk is full; SQLite does not say so when its side files do not fit."""
        if self.path is None:
            return False
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < _SMALL


def _close(opened: _Open) -> None:
    reader, opened.reader = opened.reader, None
    if reader is not None:
        reader.close()


def _schema(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(found or "")


def _now() -> datetime:
    """The databases keep times without zone; all of them are UTC."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def _aware(when: datetime) -> datetime:
    return when.replace(tzinfo=timezone.utc)


def set_pins(
    connection: sa.Connection, nodes: Iterable[str], revision: str, by: str, reason: str
) -> list[str]:
    """Pin nodes inside a transaction; see :meth:`Journal.pin` and :meth:`Journal.unpin`.

    :param revision: empty takes the pins off
    :returns: the nodes whose pin changed, sorted
    """
    changed = []
    for node in sorted(set(nodes)):
        found = connection.execute(
            sa.select(_pin.c.revision).where(_pin.c.node == node)
        ).scalar_one_or_none()
        if (found or "") == revision:
            continue
        connection.execute(sa.delete(_pin).where(_pin.c.node == node))
        now = _now()
        if revision:
            row = {"revision": revision, "at": now, "by": by, "reason": reason}
            connection.execute(sa.insert(_pin), {"node": node, **row})
        kind = PIN if revision else UNPIN
        _note(connection, now, kind, by, reason, node=node, before=found, after=revision)
        changed.append(node)
    return changed


def set_deployed(
    connection: sa.Connection,
    cluster: str,
    revision: str,
    members: Collection[str],
    by: str,
    reason: str,
    *,
    first: bool = False,
) -> bool:
    """Make a revision the deployed one inside a transaction; see :meth:`Journal.deploy`.

    :returns: whether anything changed
    """
    found = connection.execute(
        sa.select(_deployed.c.revision).where(_deployed.c.cluster == cluster)
    ).scalar_one_or_none()
    if first and found is not None:
        return False
    now = _now()
    moved = _move_members(connection, cluster, set(members), now, by, reason)
    if found == revision:
        return moved
    connection.execute(sa.delete(_deployed).where(_deployed.c.cluster == cluster))
    row = {"revision": revision, "at": now, "by": by, "reason": reason}
    connection.execute(sa.insert(_deployed), {"cluster": cluster, **row})
    _note(connection, now, DEPLOY, by, reason, cluster=cluster, before=found, after=revision)
    return True


def pinned_to(connection: sa.Connection, cluster: str, revision: str) -> list[str]:
    """Return the nodes of a cluster that are pinned to a revision, sorted."""
    statement = (
        sa.select(_pin.c.node)
        .join(_member, _member.c.node == _pin.c.node)
        .where(_member.c.cluster == cluster, _pin.c.revision == revision)
    )
    return sorted(connection.execute(statement).scalars())


def members_of(connection: sa.Connection, cluster: str) -> list[str]:
    """Return the nodes of a cluster's deployed revision, sorted."""
    statement = sa.select(_member.c.node).where(_member.c.cluster == cluster)
    return sorted(connection.execute(statement).scalars())


def _move_members(
    connection: sa.Connection, cluster: str, wanted: set[str], now: datetime, by: str, reason: str
) -> bool:
    """Make the members of a cluster the wanted ones; a node has one cluster."""
    there = set(members_of(connection, cluster))
    for node in sorted(there - wanted):
        connection.execute(sa.delete(_member).where(_member.c.node == node))
        _note(connection, now, LEAVE, by, reason, node=node, cluster=cluster)
    for node in sorted(wanted - there):
        here = connection.execute(
            sa.select(_member.c.cluster).where(_member.c.node == node)
        ).scalar_one_or_none()
        connection.execute(sa.delete(_member).where(_member.c.node == node))
        connection.execute(sa.insert(_member), {"node": node, "cluster": cluster})
        _note(connection, now, JOIN, by, reason, node=node, cluster=cluster, before=here)
    return there != wanted


def _note(
    connection: sa.Connection,
    now: datetime,
    kind: str,
    by: str,
    reason: str,
    *,
    node: str = "",
    cluster: str = "",
    before: Any = None,
    after: str = "",
) -> None:
    row = {"at": now, "kind": kind, "node": node, "cluster": cluster, "by": by, "reason": reason}
    connection.execute(sa.insert(_change), {**row, "before": before or "", "after": after})


def _last(
    connection: sa.Connection, when: datetime, kinds: Iterable[str], what: sa.ColumnElement[bool]
) -> sa.Row[Any] | None:
    """The last change of some kinds at a time."""
    utc = when.astimezone(timezone.utc).replace(tzinfo=None)
    statement = (
        sa.select(_change)
        .where(_change.c.kind.in_(tuple(kinds)), _change.c.at <= utc, what)
        .order_by(_change.c.id.desc())
        .limit(1)
    )
    return connection.execute(statement).first()


_journals: dict[str, Journal] = {}


def open_journal(url: str) -> Journal:
    """Return the process's one journal for a URL, so that its connection is kept."""
    if url not in _journals:
        _journals[url] = Journal(url)
    return _journals[url]
