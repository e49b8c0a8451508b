"""What is remembered of canaries, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from saltern.errors import SalternError
from saltern.rollout.report import table

#: Every canary is called this and its kind.
PREFIX = "canary-"

#: How far a canary is: planned, perhaps there (whoever comes next looks for it), there and whole.
WANTED, MAKING, MADE = "wanted", "making", "made"

#: What a row says of a canary.
OK, FAILED, SKIPPED = "ok", "failed", "skipped"

LOST, REPLACED = "canary-lost", "canary-replaced"
STATE, DATA = "canary-state", "canary-data"
UNREACHED, UNKNOWN = "canary-unreached", "canary-unknown"
UNFINISHED, LEFT = "canary-unfinished", "canary-left"
#: Every code that a failed row may carry. Each has a heading with its cure in
#: ``docs/reference/codes.md``.
CODES = (LOST, REPLACED, STATE, DATA, UNREACHED, UNKNOWN, UNFINISHED, LEFT)


class CanaryError(SalternError):
    """A canary is not what it was, or cannot be made.

    :param verdict: one of :data:`CODES`
    """

    code = "canary"

    def __init__(self, verdict: str, sentence: str, *, where: str = "", cure: str = "") -> None:
        super().__init__(sentence, where=where, cure=cure)
        self.verdict = verdict


class NotOursError(CanaryError):
    """A thing of a canary's name is there, and not ours."""


@dataclass(frozen=True)
class Flock:
    """The canaries of one cloud.

    :param cluster: name of the cluster
    :param cloud: whose administrator makes them
    :param seed: hexadecimal; what their data and the user's password are made from. It is no
        secret: the password takes the site key too
    :param url: Keystone's, when they were made; for people
    :param at: when they were begun, seconds since the epoch
    :param by: who began them
    """

    cluster: str
    cloud: str
    seed: str
    url: str
    at: float
    by: str

    @property
    def mark(self) -> str:
        """What each carries in a description, in metadata or in its name."""
        return f"saltern-canary-{self.seed}"


@dataclass(frozen=True)
class Canary:
    """One canary as it is remembered.

    :param kind: name of a kind
    :param id: as its service calls it; empty while it is not known to be there
    :param facts: what must stay as it is; plain data without secrets
    :param state: :data:`WANTED`, :data:`MAKING` or :data:`MADE`
    """

    kind: str
    id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: str = WANTED

    @property
    def name(self) -> str:
        """What it is called in the cloud."""
        return name_of(self.kind)


def name_of(kind: str) -> str:
    """Return the name of a canary.

    >>> name_of("security group")
    'canary-security-group'
    """
    return PREFIX + kind.replace(" ", "-")


class Book(Protocol):
    """Remembers the canaries of one cloud; each call is on the disk when it returns."""

    def flock(self) -> Flock | None:
        """Return the flock, or None where there is none."""
        ...

    def begin(self, seed: str, url: str) -> Flock:
        """Write a flock down; the one that is there stays."""
        ...

    def canaries(self) -> dict[str, Canary]:
        """Return what is remembered, by kind."""
        ...

    def put(self, canary: Canary) -> None:
        """Write a canary down in place of what was known of its kind."""
        ...

    def drop(self, kind: str) -> None:
        """Forget a canary."""
        ...

    def end(self) -> None:
        """Forget the flock."""
        ...


@dataclass(frozen=True)
class Row:
    """What was done with one canary, or seen of it.

    :param result: :data:`OK`, :data:`FAILED` or :data:`SKIPPED`
    :param code: of :data:`CODES` when it failed, else empty
    :param seconds: how long that took
    :param sentence: what was seen, or what is wrong; without a full stop
    """

    canary: str
    id: str
    result: str
    code: str
    seconds: float
    sentence: str


@dataclass(frozen=True)
class Report:
    """The outcome of a run over the canaries of a cloud.

    :param verb: past participle for the sentence: ``made``
    """

    cluster: str
    verb: str
    rows: tuple[Row, ...]

    @property
    def failures(self) -> list[str]:
        """One sentence with its code per canary that failed."""
        return [
            f"{row.canary}: {row.sentence} ({row.code})"
            for row in self.rows
            if row.result == FAILED
        ]

    @property
    def comment(self) -> str:
        """The report in one line."""
        failures = self.failures
        if failures:
            failed = f"{len(failures)} of {len(self.rows)}"
            return f"Canaries of {self.cluster}: {failed} not {self.verb}: {'. '.join(failures)}."
        counts = {kind: sum(row.result == kind for row in self.rows) for kind in (OK, SKIPPED)}
        skipped = f", {counts[SKIPPED]} skipped" if counts[SKIPPED] else ""
        return f"Canaries of {self.cluster}: {counts[OK]} {self.verb}{skipped}."

    def table(self) -> str:
        """Return the report as a plain text table."""
        head = ("CANARY", "ID", "RESULT", "CODE", "SECONDS", "WHAT")
        lines = [
            (row.canary, row.id, row.result, row.code, f"{row.seconds:.1f}", row.sentence)
            for row in self.rows
        ]
        return table([head, *lines])

    def data(self) -> list[dict[str, Any]]:
        """Return the rows as plain data."""
        return [{**asdict(row), "seconds": round(row.seconds, 3)} for row in self.rows]
