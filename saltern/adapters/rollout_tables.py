"""Tables of rollouts, and how what they hold becomes a row and back.

Times are seconds since the epoch. Nothing that a function returned is kept, for it may hold
secrets: of an answer only whether it was good, why not, and which states changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from saltern.adapters.journal import meta
from saltern.errors import PlanError
from saltern.plan.types import Plan, PlannedCall
from saltern.rollout.ports import Lease, NodeResult, StepRecord, Wishes

#: what one probe measured in ``width`` seconds from ``second`` on:
#: ``{probe, second, requests, failed, max_ms, gap_ms, width}``
Row = Mapping[str, Any]

plans = sa.Table(
    "plan",
    meta,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("cluster", sa.String(255), nullable=False, index=True),
    sa.Column("workflow", sa.String(32), nullable=False),
    sa.Column("revision", sa.String(64), nullable=False),
    sa.Column("at", sa.Double(), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("body", sa.Text(), nullable=False),
)
rollouts = sa.Table(
    "rollout",
    meta,
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("plan", sa.String(64), nullable=False),
    sa.Column("cluster", sa.String(255), nullable=False, index=True),
    sa.Column("workflow", sa.String(32), nullable=False),
    sa.Column("revision", sa.String(64), nullable=False),
    sa.Column("undoes", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("approved_by", sa.String(255), nullable=False),
    sa.Column("why", sa.Text(), nullable=False),
    sa.Column("begun", sa.Double(), nullable=False),
    sa.Column("ended", sa.Double()),
    sa.Column("pause", sa.Boolean(), nullable=False),
    sa.Column("abort", sa.Boolean(), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
)
steps = sa.Table(
    "step",
    meta,
    sa.Column("rollout", sa.String(32), primary_key=True),
    sa.Column("step", sa.String(255), primary_key=True),
    sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("jids", sa.Text(), nullable=False),
    sa.Column("begun", sa.Double(), nullable=False),
    sa.Column("ended", sa.Double()),
    sa.Column("results", sa.Text(), nullable=False),
    sa.Column("sentence", sa.Text(), nullable=False),
)
locks = sa.Table(
    "lock",
    meta,
    sa.Column("cluster", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("rollout", sa.String(32), nullable=False, index=True),
)
leases = sa.Table(
    "lease",
    meta,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("owner", sa.String(32), nullable=False, index=True),
    sa.Column("step", sa.String(255), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("what", sa.Text(), nullable=False),
    sa.Column("undo", sa.Text(), nullable=False),
    sa.Column("taken", sa.Double(), nullable=False),
    sa.Column("expires", sa.Double(), nullable=False),
    sa.Column("released", sa.Double()),
)
keeps = sa.Table(
    "keep",
    meta,
    sa.Column("rollout", sa.String(32), primary_key=True),
    sa.Column("revision", sa.String(64), primary_key=True),
)
samples = sa.Table(
    "sample",
    meta,
    sa.Column("rollout", sa.String(32), primary_key=True),
    sa.Column("probe", sa.String(64), primary_key=True),
    sa.Column("second", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("requests", sa.Integer(), nullable=False),
    sa.Column("failed", sa.Integer(), nullable=False),
    sa.Column("max_ms", sa.Double(), nullable=False),
    sa.Column("gap_ms", sa.Double(), nullable=False),
    sa.Column("width", sa.Integer(), nullable=False, server_default="1"),
)
verdicts = sa.Table(
    "verdict",
    meta,
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
    sa.Column("rollout", sa.String(32), nullable=False, index=True),
    sa.Column("step", sa.String(255), nullable=False),
    sa.Column("at", sa.Double(), nullable=False),
    sa.Column("node", sa.String(255), nullable=False),
    sa.Column("role", sa.String(255), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("sentence", sa.Text(), nullable=False),
)
evidence = sa.Table(
    "evidence",
    meta,
    sa.Column("rollout", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("at", sa.Double(), nullable=False),
    sa.Column("text", sa.Text(), nullable=False),
)


@dataclass(frozen=True)
class StoredPlan:
    """A plan as a list shows it.

    :param at: when it was stored first
    :param by: who had it made
    """

    hash: str
    cluster: str
    workflow: str
    revision: str
    at: float
    by: str


@dataclass(frozen=True)
class Rollout:
    """A rollout as a list shows it.

    :param plan: hash of its plan
    :param undoes: the rollout that it takes back, empty for none
    :param reason: why it is paused, failed or aborted
    :param by: who began it
    :param approved_by: who approved the plan, empty for nobody
    :param why: what for, in words
    :param begun: seconds since the epoch
    :param ended: the same, None while it is not over
    :param owner: who works on it, empty for nobody
    """

    id: str
    plan: str
    cluster: str
    workflow: str
    revision: str
    undoes: str
    state: str
    reason: str
    by: str
    approved_by: str
    why: str
    begun: float
    ended: float | None
    wishes: Wishes
    owner: str


@dataclass(frozen=True)
class Evidence:
    """A text that was saved before something was undone.

    :param key: what it is: ``ctl01/journal/keystone-api``
    :param at: seconds since the epoch
    """

    key: str
    at: float
    text: str


def plan_of(digest: str, body: str) -> Plan:
    """Read a stored plan.

    :raises PlanError: it is not the plan of that hash, or of another format
    """
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        raise PlanError(f"the stored plan {digest[:12]} is damaged", cure="Plan again")
    return Plan.from_json(json.loads(body))


def rollout_of(row: sa.Row[Any]) -> Rollout:
    """Read a row of ``rollout``."""
    found = {
        item.name: getattr(row, item.name) for item in fields(Rollout) if item.name != "wishes"
    }
    return Rollout(**found, wishes=Wishes(bool(row.pause), bool(row.abort)))


def record_of(row: sa.Row[Any]) -> StepRecord:
    """Read a row of ``step``."""
    return StepRecord(
        row.step, row.attempt, row.phase, tuple(json.loads(row.jids)), row.begun, row.ended,
        results_of(row.results), row.sentence,
    )  # fmt: skip


def results_text(results: Mapping[str, NodeResult]) -> str:
    """Write results; what is as usual is left out."""
    return text_of({node: _result(result) for node, result in results.items()})


def _result(result: NodeResult) -> dict[str, Any]:
    found: dict[str, Any] = {"ok": result.ok}
    if result.sentence:
        found["sentence"] = result.sentence
    if result.changed:
        found["changed"] = list(result.changed)
    if result.silent:
        found["silent"] = True
    if result.code:
        found["code"] = result.code
    return found


def results_of(text: str) -> dict[str, NodeResult]:
    """Read what :func:`results_text` wrote."""
    return {
        node: NodeResult(**{**item, "changed": tuple(item.get("changed", ()))})
        for node, item in json.loads(text).items()
    }


def lease_of(row: sa.Row[Any]) -> Lease:
    """Read a row of ``lease``."""
    return Lease(
        row.id, row.owner, row.step, row.node, row.what, calls_of(row.undo), row.taken,
        row.expires, row.released,
    )  # fmt: skip


def lease_row(lease: Lease) -> dict[str, Any]:
    """Return the row of a lease."""
    found = {item.name: getattr(lease, item.name) for item in fields(lease)}
    return {**found, "undo": calls_text(lease.undo)}


def calls_text(calls: Sequence[PlannedCall]) -> str:
    """Write calls as JSON."""
    return text_of(
        [{item.name: getattr(call, item.name) for item in fields(call)} for call in calls]
    )


def calls_of(text: str) -> tuple[PlannedCall, ...]:
    """Read what :func:`calls_text` wrote."""
    tuples = ("nodes", "arg", "serves")
    return tuple(
        PlannedCall(**{**item, **{name: tuple(item[name]) for name in tuples}})
        for item in json.loads(text)
    )


def text_of(value: Any) -> str:
    """Write plain data as JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
