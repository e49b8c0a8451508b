"""The history of test suites that were run against a cloud, in the journal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from saltern.adapters.journal import Journal, meta
from saltern.errors import JournalError
from saltern.sanity.suite import Outcome

#: Where results are kept beside a journal that is a file.
RESULTS = "suites"

suites = sa.Table(
    "suite",
    meta,
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("cluster", sa.String(255), nullable=False, index=True),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("at", sa.Double(), nullable=False),
    sa.Column("seconds", sa.Double(), nullable=False),
    sa.Column("revision", sa.String(64), nullable=False),
    sa.Column("asked", sa.Text(), nullable=False),
    sa.Column("passed", sa.Integer(), nullable=False),
    sa.Column("failed", sa.Integer(), nullable=False),
    sa.Column("skipped", sa.Integer(), nullable=False),
    sa.Column("failures", sa.Text(), nullable=False),
    sa.Column("junit", sa.Text(), nullable=False),
)


class Suites:
    """Runs of suites in a journal.

    :param journal: the journal of pins
    :param now: seconds since the epoch
    """

    def __init__(self, journal: Journal, now: Callable[[], float] = time.time) -> None:
        self.journal = journal
        self.now = now

    def note(
        self, cluster: str, outcome: Outcome, asked: Mapping[str, Any], by: str, junit: Path
    ) -> None:
        """Keep what a run found.

        :param asked: how it was begun: ``{regex, concurrency, exclude}``
        :param by: who began it
        :param junit: where its JUnit XML lies
        :raises JournalError: the journal cannot be written
        """
        row = {
            "cluster": cluster,
            "run": outcome.run,
            "by": by,
            "at": self.now(),
            "seconds": outcome.seconds,
            "revision": self.journal.deployed(cluster).get(cluster, ""),
            "asked": json.dumps(dict(asked), sort_keys=True),
            **{word: outcome.count(word) for word in ("passed", "failed", "skipped")},
            "failures": json.dumps(outcome.failures),
            "junit": str(junit),
        }
        with self.journal.writing() as connection:
            connection.execute(suites.insert().values(row))

    def history(self, cluster: str, limit: int = 20) -> list[dict[str, Any]]:
        """Return runs, newest first, as plain data.

        :param limit: how many at most
        :raises JournalError: the journal cannot be read
        """
        query = sa.select(suites).where(suites.c.cluster == cluster).limit(limit)
        with self.journal.reading() as connection:
            rows = connection.execute(query.order_by(suites.c.number.desc())).mappings()
            return [
                {
                    **{key: row[key] for key in row if key not in ("number", "cluster")},
                    "asked": json.loads(row["asked"]),
                    "failures": json.loads(row["failures"]),
                }
                for row in rows
            ]


def keep(journal: Journal, cluster: str, outcome: Outcome, junit: str) -> Path:
    """Write a run's JUnit XML below the master's journal and return where.

    :raises JournalError: it cannot be written
    """
    # beside PostgreSQL there is no folder of the journal's own
    parent = journal.path.parent if journal.path is not None else Path("/srv/saltern")
    path = parent / RESULTS / cluster / f"{outcome.run}.xml"
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        path.write_text(junit, encoding="utf-8")
    except OSError as err:
        raise JournalError(f"the result cannot be kept: {err.strerror}", where=str(path)) from None
    return path
