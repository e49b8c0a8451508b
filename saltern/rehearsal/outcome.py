"""What came of a rehearsal: its steps, whether it is green, and it in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.rollout.report import moment, span

#: Phases of a rehearsal as a whole, and of each service.
BEGIN, LOAD, RESTORE, END = "begin", "load", "restore", "end"
PREPARE, EXPAND, CHECK, CONTRACT, SMOKE, CURRENT = (
    "prepare",
    "expand",
    "check",
    "contract",
    "smoke",
    "current",
)
#: What a phase is called where people read it.
TITLES = {
    BEGIN: "a server of its own",
    LOAD: "the databases are loaded",
    PREPARE: "code and configuration",
    EXPAND: "the schema is expanded",
    CHECK: "the release's own check",
    CONTRACT: "the upgrade of the schema is ended",
    SMOKE: "the API is asked",
    RESTORE: "the databases are put back",
    CURRENT: "the present release finds its schema",
    END: "everything is removed",
}
#: Results of a step.
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
#: States of a rehearsal: under way, good, not good, and ended by nobody.
RUNNING, GREEN, RED, BROKEN = "running", "green", "red", "broken"


@dataclass(frozen=True)
class Record:
    """One step of a rehearsal that is over.

    :param phase: see :data:`TITLES`
    :param result: :data:`OK`, :data:`FAILED` or :data:`SKIPPED`
    :param seconds: that it took
    :param service: empty for the rehearsal as a whole
    :param release: of the code, where it is of a service
    :param sentence: what it said
    :param warnings: of the release's own check
    """

    phase: str
    result: str
    seconds: float = 0.0
    service: str = ""
    release: str = ""
    sentence: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """It for people: ``nova 2026.1: the schema is expanded``."""
        who = f"{self.service} {self.release}: " if self.service else ""
        return f"{who}{TITLES.get(self.phase, self.phase)}"


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal as the journal has it.

    :param id: ``e20261122-1``
    :param cluster: whose upgrade
    :param state: :data:`RUNNING`, :data:`GREEN`, :data:`RED` or :data:`BROKEN`
    :param revision: the wanted one, full id
    :param deployed: what was served then, full id
    :param artifacts: fingerprint of what the wanted revision names, as plans have it
    :param releases: service to the releases before and after
    :param node: where it was
    :param bundle: whose databases
    :param by: who began it
    :param begun: seconds since the epoch
    :param ended: the same, None while it runs
    :param sentence: what came of it
    :param owner: the process that carries it out
    :param notes: what is not rehearsed, one sentence each
    :param records: its steps, where they were asked for
    """

    id: str
    cluster: str
    state: str
    revision: str
    deployed: str
    artifacts: str
    releases: Mapping[str, Sequence[str]]
    node: str
    bundle: str
    by: str
    begun: float
    ended: float | None = None
    sentence: str = ""
    owner: str = ""
    notes: tuple[str, ...] = ()
    records: tuple[Record, ...] = field(default=())

    def seconds(self, phase: str) -> float:
        """Return how long a phase took, of all services together."""
        return sum(one.seconds for one in self.records if one.phase == phase)


def verdict(records: Iterable[Record]) -> str:
    """Return whether a rehearsal is green: it came to its end, and nothing failed.

    :param records: all of its steps
    """
    known = list(records)
    ended = any(one.phase == END and one.result == OK for one in known)
    restored = any(one.phase == RESTORE and one.result == OK for one in known)
    return GREEN if ended and restored and all(one.result == OK for one in known) else RED


def sentence(records: Sequence[Record], state: str) -> str:
    """Say in one sentence how a rehearsal went.

    :param records: its steps
    :param state: :func:`verdict` of them
    """
    failed = [one for one in records if one.result == FAILED]
    warned = sum(len(one.warnings) for one in records)
    services = {one.service for one in records if one.service}
    took = span(sum(one.seconds for one in records))
    if state == GREEN:
        more = f", {warned} warnings" if warned else ""
        return f"{len(services)} services were rehearsed in {took}, nothing failed{more}."
    if not failed:
        return f"It did not come to its end ({took})."
    first = failed[0]
    more = f" {len(failed) - 1} more steps failed." if len(failed) > 1 else ""
    return f"{first.title}: {first.sentence.rstrip('.')}.{more}"


def to_json(one: Rehearsal) -> dict[str, Any]:
    """Return a rehearsal as plain data."""
    found = {key: value for key, value in vars(one).items() if key not in ("records", "owner")}
    return {
        **found,
        "releases": {name: list(pair) for name, pair in one.releases.items()},
        "notes": list(one.notes),
        "begun": moment(one.begun),
        "ended": moment(one.ended),
        "seconds": round(one.ended - one.begun, 1) if one.ended else None,
        "steps": [
            {**vars(record), "warnings": list(record.warnings), "title": record.title}
            for record in one.records
        ],
    }


def report(one: Rehearsal) -> str:
    """Return a rehearsal as Markdown.

    :param one: with its records
    """
    pairs = sorted({f"{before} -> {after}" for before, after in one.releases.values()})
    lines = [
        f"# Rehearsal {one.id}: {one.state}",
        "",
        one.sentence or "It is under way.",
        "",
        f"- Cluster {one.cluster}: {', '.join(pairs)}, revision {one.revision[:12]}",
        f"- On {one.node}, with {one.bundle}",
        f"- By {one.by}, {moment(one.begun)}" + (f" to {moment(one.ended)}" if one.ended else ""),
        *(f"- {note}" for note in one.notes),
        "",
        "| Service | Expand | Check | Contract | API | Present release again |",
        "|---|---|---|---|---|---|",
    ]
    for service in dict.fromkeys(r.service for r in one.records if r.service):
        cells = [_cell(one.records, service, p) for p in (EXPAND, CHECK, CONTRACT, SMOKE, CURRENT)]
        lines.append(f"| {service} | {' | '.join(cells)} |")
    whole = {r.phase: r for r in one.records if not r.service}
    told = [f"{TITLES[p]}: {span(whole[p].seconds)}" for p in (LOAD, RESTORE) if p in whole]
    lines += ["", *(f"- {text[0].upper()}{text[1:]}" for text in told)]
    failed = [r for r in one.records if r.result == FAILED]
    if failed:
        lines += ["", "## What failed", "", *(f"- {r.title}: {r.sentence}" for r in failed)]
    warned = [(r.service, text) for r in one.records for text in r.warnings]
    if warned:
        lines += ["", "## Warnings", "", *(f"- {service}: {text}" for service, text in warned)]
    asked = [r for r in one.records if r.phase == SMOKE and r.result == OK]
    if asked:
        lines += ["", "## What was asked", "", *(f"- {r.service}: {r.sentence}" for r in asked)]
    return "\n".join([*lines, ""])


def _cell(records: Sequence[Record], service: str, phase: str) -> str:
    mine = [one for one in records if one.service == service and one.phase == phase]
    if not mine:
        return ""
    if any(one.result != OK for one in mine):
        return next(one.result for one in mine if one.result != OK)
    return f"{sum(one.seconds for one in mine):.1f} s"
