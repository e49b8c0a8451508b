"""Canaries in the journal, and from the master's configuration to those that keep them.

A table and not only marks in the cloud: what a rollout may lose cannot be what proves that nothing
was lost. No password is in it: the user's is made from the seed and the site key, which is in a
file that the master's user alone can read.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from saltern.adapters import sitekey
from saltern.adapters.journal import Journal, meta, open_journal
from saltern.adapters.master import MasterEvents, Site
from saltern.adapters.openstack import sanity_target
from saltern.adapters.processes import alive, me, named
from saltern.adapters.serving import site_key_file
from saltern.canary.run import Keeper, listed
from saltern.canary.types import MADE, Canary, Flock
from saltern.errors import LockedError, PreflightError
from saltern.rollout.report import moment, table
from saltern.sanity.client import sentence
from saltern.sanity.guest import ECHO_PORT
from saltern.sanity.target import Credentials, Target

#: The cloud whose administrator is the model's.
OWN = "admin"
#: Seconds to wait for another process that writes the journal.
WAIT = 10.0

flocks = sa.Table(
    "flock",
    meta,
    sa.Column("cluster", sa.String(255), primary_key=True),
    sa.Column("cloud", sa.String(255), primary_key=True),
    sa.Column("seed", sa.String(64), nullable=False),
    sa.Column("url", sa.Text(), nullable=False),
    sa.Column("at", sa.Double(), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
)
members = sa.Table(
    "canary",
    meta,
    sa.Column("cluster", sa.String(255), primary_key=True),
    sa.Column("cloud", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("id", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("facts", sa.Text(), nullable=False),
)


@dataclass(frozen=True)
class CanaryBook:
    """Canaries of one cloud in a journal; implements :class:`saltern.canary.types.Book`.

    :param cluster: name of the cluster
    :param cloud: whose administrator makes them
    :param by: who asks
    :param now: seconds since the epoch
    """

    journal: Journal
    cluster: str
    cloud: str
    by: str
    now: Callable[[], float] = time.time

    def _mine(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.cluster == self.cluster, table.c.cloud == self.cloud)

    def _row(self, connection: sa.Connection) -> sa.Row[Any] | None:
        return connection.execute(sa.select(flocks).where(self._mine(flocks))).first()

    def flock(self) -> Flock | None:
        """Return the flock, or None where there is none.

        :raises JournalError: the journal cannot be read
        """
        with self.journal.reading() as connection:
            row = self._row(connection)
        return None if row is None else _flock(row)

    def begin(self, seed: str, url: str) -> Flock:
        """Write a flock down; the one that is there stays.

        :raises LockedError: another process just made one
        :raises JournalError: the journal cannot be written
        """
        with self.journal.writing(WAIT) as connection:
            row = self._row(connection)
            if row is None:
                known = {"seed": seed, "url": url, "at": self.now(), "by": self.by, "owner": me()}
                key = {"cluster": self.cluster, "cloud": self.cloud}
                connection.execute(sa.insert(flocks), {**key, **known})
                row = self._row(connection)
            assert row is not None  # noqa: S101  written above
            _refuse_others(row)
        return _flock(row)

    def canaries(self) -> dict[str, Canary]:
        """Return what is remembered, by kind.

        :raises JournalError: the journal cannot be read
        """
        with self.journal.reading() as connection:
            rows = connection.execute(sa.select(members).where(self._mine(members))).all()
        return {
            row.kind: Canary(row.kind, row.id, json.loads(row.facts), row.state) for row in rows
        }

    def put(self, canary: Canary) -> None:
        """Write a canary down in place of what was known of its kind.

        :raises JournalError: the journal cannot be written
        """
        row = {
            "cluster": self.cluster,
            "cloud": self.cloud,
            "kind": canary.kind,
            "id": canary.id,
            "state": canary.state,
            "facts": json.dumps(dict(canary.facts), sort_keys=True),
        }
        with self.journal.writing(WAIT) as connection:
            self._forget(connection, canary.kind)
            connection.execute(sa.insert(members), row)

    def drop(self, kind: str) -> None:
        """Forget a canary.

        :raises JournalError: the journal cannot be written
        """
        with self.journal.writing(WAIT) as connection:
            self._forget(connection, kind)

    def _forget(self, connection: sa.Connection, kind: str) -> None:
        where = sa.and_(self._mine(members), members.c.kind == kind)
        connection.execute(sa.delete(members).where(where))

    def end(self) -> None:
        """Forget the flock.

        :raises JournalError: the journal cannot be written
        """
        with self.journal.writing(WAIT) as connection:
            connection.execute(sa.delete(members).where(self._mine(members)))
            connection.execute(sa.delete(flocks).where(self._mine(flocks)))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes away from these canaries: two would undo each other's work.

        :raises LockedError: one works on them
        :raises JournalError: the journal cannot be written
        """
        self._claim(me())
        try:
            yield
        finally:
            self._claim("")

    def _claim(self, owner: str) -> None:
        with self.journal.writing(WAIT) as connection:
            row = self._row(connection)
            if row is not None:
                _refuse_others(row)
                change = sa.update(flocks).where(self._mine(flocks)).values(owner=owner)
                connection.execute(change)


def _refuse_others(row: sa.Row[Any]) -> None:
    if row.owner and row.owner != me() and alive(row.owner) is not False:
        raise LockedError(
            f"{named(row.owner)} works on the canaries of {row.cluster}", cure="Wait for it"
        )


def _flock(row: sa.Row[Any]) -> Flock:
    return Flock(row.cluster, row.cloud, row.seed, row.url, row.at, row.by)


def known_guests(journal: Journal, cluster: str) -> tuple[str, ...]:
    """Return ``address:port`` of the canary servers of a cluster that were made whole.

    :raises JournalError: the journal cannot be read
    """
    wanted = sa.and_(members.c.cluster == cluster, members.c.kind == "address")
    with journal.reading() as connection:
        rows = connection.execute(sa.select(members).where(wanted, members.c.state == MADE)).all()
    known = [str(json.loads(row.facts).get("address") or "") for row in rows]
    return tuple(sorted(f"{address}:{ECHO_PORT}" for address in known if address))


def book_of(site: Site, cloud: str, by: str) -> CanaryBook:
    """Return the book of a cluster's cloud.

    :raises PreflightError: the master has no journal
    """
    if not site.journal:
        raise PreflightError(
            "this master has no journal to remember canaries in",
            where="master configuration",
            cure="Set saltern:journal as etc/master.d/20-saltern-model.conf",
        )
    return CanaryBook(open_journal(site.journal), site.cluster, cloud, by)


def keeper(opts: Mapping[str, Any], site: Site, book: CanaryBook, *, quiet: bool = False) -> Keeper:
    """Return who keeps the canaries of a cluster's cloud.

    :param opts: ``__opts__`` of a runner
    :param quiet: no lines of progress, only events
    :raises PreflightError: there are no credentials, or there is no site key
    :raises SalternError: the model does not compile, or a secret cannot be decrypted
    """
    own = book.cloud == OWN
    aim = sanity_target(opts, site) if own else cloud_target(site.cluster, book.cloud)
    file = site_key_file(site.journal, site.site_key)
    if file is None:
        raise PreflightError("no site key is set", cure="Set saltern:site_key to a file")
    return Keeper(aim, book, lambda flock: password(file, flock), MasterEvents(opts, quiet=quiet))


def password(file: Path, flock: Flock) -> str:
    """Return the password of a flock's user; it is stored nowhere.

    :param file: of the site key
    :raises SecretError: the site key cannot be read, or others can read it too
    """
    text = f"canary {flock.cluster} {flock.cloud} {flock.seed}".encode()
    digest = hmac.digest(sitekey.read(file), text, "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def cloud_target(cluster: str, cloud: str) -> Target:
    """Return the administrator that an entry of the master's clouds.yaml names.

    :param cluster: for sentences
    :param cloud: the entry
    :raises PreflightError: there is none, or it lacks something
    """
    import openstack.config
    import openstack.exceptions

    where = f"clouds.yaml of the master, cloud {cloud}"
    try:
        region = openstack.config.OpenStackConfig(load_envvars=False).get_one(cloud)
    except (openstack.exceptions.ConfigException, OSError) as err:
        raise PreflightError(f"it cannot be used: {sentence(err)}", where=where) from None
    auth = region.config.get("auth") or {}
    lacking = [key for key in ("auth_url", "username", "password") if not auth.get(key)]
    if lacking:
        raise PreflightError(f"it has no auth:{lacking[0]}", where=where)
    names = {
        "project": "project_name",
        "user_domain": "user_domain_name",
        "project_domain": "project_domain_name",
    }
    given = {name: str(auth[key]) for name, key in names.items() if auth.get(key)}
    credentials = Credentials(
        url=str(auth["auth_url"]),
        username=str(auth["username"]),
        password=str(auth["password"]),
        cacert=str(region.config.get("cacert") or ""),
        **given,
    )
    interface = str(region.config.get("interface") or "public")
    return Target(cluster, credentials, region.region_name or "RegionOne", interface, {})


def listed_of(book: CanaryBook) -> list[dict[str, Any]]:
    """Return what is remembered as plain data.

    :raises JournalError: the journal cannot be read
    """
    return listed(book.flock(), book.canaries())


def text(book: CanaryBook) -> str:
    """Return what is remembered as a table.

    :raises JournalError: the journal cannot be read
    """
    found = listed_of(book)
    if not found:
        return f"There are no canaries of {book.cluster}."
    head = ("CANARY", "ID", "STATE", "SINCE", "BY")
    rows = [
        (one["canary"], one["id"], one["state"], moment(one["since"]), one["by"]) for one in found
    ]
    return table([head, *rows])
