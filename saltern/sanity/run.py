"""Run the checks that a cluster's roles ask for, and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import keystoneauth1.exceptions
import openstack.exceptions
import requests

from saltern.errors import PreflightError, SalternError
from saltern.sanity.checks import CHECKS, Check
from saltern.sanity.client import Context, Deadline, sentence
from saltern.sanity.target import Target

#: Seconds to remove what a check made, after its own time.
CLEAN_UP = 60.0
#: Where a check went that is not about one member.
THROUGH = "VIP"


@dataclass(frozen=True)
class Row:
    """The outcome of one check.

    :param where: short name of the member it asked, or ``VIP``
    :param sentence: what was seen, or what is wrong
    """

    role: str
    check: str
    where: str
    ok: bool
    seconds: float
    sentence: str


@dataclass(frozen=True)
class Report:
    """The outcome of a run.

    :param seconds: how long it took
    """

    cluster: str
    rows: tuple[Row, ...]
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """One sentence per failed check."""
        return [
            f"{row.role}: {row.check} ({row.where}): {row.sentence}"
            for row in self.rows
            if not row.ok
        ]

    @property
    def comment(self) -> str:
        """The report in one line."""
        if self.failures:
            return f"Sanity of {self.cluster} failed: {'. '.join(self.failures)}."
        return f"Sanity of {self.cluster}: {len(self.rows)} checks passed in {self.seconds:.1f} s."

    def table(self) -> str:
        """Return the report as a plain text table."""
        head = ("ROLE", "CHECK", "WHERE", "RESULT", "SECONDS", "WHAT")
        lines = [head] + [
            (
                row.role,
                row.check,
                row.where,
                "ok" if row.ok else "FAILED",
                f"{row.seconds:.2f}",
                row.sentence,
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
        return "\n".join(
            "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
            for line in lines
        )

    def data(self) -> list[dict[str, Any]]:
        """Return the rows as plain data."""
        return [{**asdict(row), "seconds": round(row.seconds, 3)} for row in self.rows]


def planned(target: Target, checks: Sequence[Check] = CHECKS) -> list[tuple[Check, str]]:
    """List the checks that apply, with the member that each asks (empty: the virtual address).

    :raises PreflightError: none applies, or a check's name is not known
    """
    plan = [
        (check, member)
        for check in checks
        if target.members.get(check.role) and not target.members.get(check.unless)
        for member in (target.members[check.role] if check.each else ("",))
    ]
    if not plan:
        raise PreflightError(
            "no role of the cluster has a sanity check", where=f"cluster {target.cluster}"
        )
    return plan


def run(
    target: Target,
    checks: Sequence[Check] = CHECKS,
    connect: Callable[[Target, Deadline], Context] = Context,
) -> Report:
    """Run the checks; none is tried twice, none takes longer than its time.

    One after another, but for those that wait more than they work: these are a row of their own
    beside the others.

    :param target: the cloud
    :param checks: rows to choose from by the cluster's roles
    :param connect: makes a check's context
    :returns: the report; what a check raises is in it
    :raises PreflightError: no check applies
    """
    begin = time.monotonic()
    plan = planned(target, checks)
    rows: dict[int, Row] = {}

    def row(beside: bool) -> None:
        for number, (check, member) in enumerate(plan):
            if check.beside is beside:
                rows[number] = _run(target, check, member, connect)

    with ThreadPoolExecutor(2, "sanity") as pool:
        # what a row raises ends the run
        list(pool.map(row, (True, False)))
    found = tuple(rows[number] for number in range(len(plan)))
    return Report(target.cluster, found, time.monotonic() - begin)


def _run(
    target: Target, check: Check, member: str, connect: Callable[[Target, Deadline], Context]
) -> Row:
    begin = time.monotonic()
    context = connect(target, Deadline(check.seconds))
    try:
        said, ok = check.run(context, member), True
    except SalternError as err:
        said, ok = str(err).rstrip("."), False
    except (
        keystoneauth1.exceptions.ClientException,
        openstack.exceptions.SDKException,
        requests.RequestException,
        OSError,
    ) as err:
        said, ok = sentence(err), False
    except Exception as err:  # an answer of a shape nobody expected must not end the run
        said, ok = f"{type(err).__name__}: {sentence(err)}", False
    finally:
        left = context.clean_up(CLEAN_UP)
    if left:
        said, ok = "; ".join([said, *left]), False
    where = member.partition(".")[0] or THROUGH
    return Row(check.role, check.name, where, ok, time.monotonic() - begin, said)
