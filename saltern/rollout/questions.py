"""Health questions: one job for many nodes, and what a node's answer says about each of its roles.

Whoever asks ``health.check`` asks through this module: the gates and checks of a rollout, a stage
that is validated alone, and a plan that is made from how the nodes are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern.plan.types import Check, PlannedCall
from saltern.rollout import gates
from saltern.rollout.ports import Bus, Call, Return
from saltern.rollout.recovery import same

#: Characters of questions in one job; each of its nodes gets all of them.
MESSAGE = 65536
#: Seconds of silence after which a node is asked whether it still works on its checks.
ASK_AFTER = 15.0


def by_node(checks: Iterable[Check]) -> dict[str, list[Check]]:
    """Sort checks by node; those that ask nothing are left out.

    :returns: node, in their order, to its checks in the order given
    """
    found: dict[str, list[Check]] = {}
    for check in sorted((one for one in checks if one.checks), key=lambda one: one.node):
        found.setdefault(check.node, []).append(check)
    return found


def jobs(checks: Iterable[Check]) -> tuple[PlannedCall, ...]:
    """Make the jobs that ask all checks; always the same ones for the same checks.

    A node is asked all questions about it at once, and all nodes in one job: a mapping of node to
    questions where these differ. What would be too large for one message goes as several jobs.
    """
    asked: dict[str, list[dict[str, Any]]] = {
        node: [dict(item) for check in mine for item in check.checks]
        for node, mine in by_node(checks).items()
    }
    if asked and len({same(questions) for questions in asked.values()}) == 1:
        return (PlannedCall(tuple(asked), "health.check", (next(iter(asked.values())),)),)
    found: list[PlannedCall] = []
    job: dict[str, list[dict[str, Any]]] = {}
    size = 0
    for node, questions in asked.items():
        length = len(same(questions))
        if job and size + length > MESSAGE:
            found.append(PlannedCall(tuple(job), "health.check", (job,)))
            job, size = {}, 0
        job[node] = questions
        size += length
    if job:
        found.append(PlannedCall(tuple(job), "health.check", (job,)))
    return tuple(found)


def ask(bus: Bus, checks: Sequence[Check], limit: float) -> dict[str, Return]:
    """Ask all checks at once, outside of a rollout.

    :param limit: seconds that all checks of a node may take
    :returns: node to its answer, for :func:`verdicts`; only nodes with checks
    :raises BusError: the master cannot publish
    """
    calls = [
        Call(job.nodes, job.fun, job.arg, timeout=ASK_AFTER, limit=limit, again=True)
        for job in jobs(checks)
    ]
    answers: Sequence[Mapping[str, Return]] = bus.call_all(calls) if calls else ()
    return {node: answer for found in answers for node, answer in found.items()}


def answered(checks: Sequence[Check], answer: Return) -> bool:
    """Whether a node gave an answer to each of its checks."""
    wanted = sum(len(check.checks) for check in checks)
    return answer.ok and isinstance(answer.data, list) and len(answer.data) == wanted


def verdicts(checks: Sequence[Check], answer: Return) -> list[gates.Verdict]:
    """Read the answer of one node to all its checks, role by role.

    :param checks: what it was asked, in the order of :func:`by_node`
    :returns: one verdict for each question; a single one when the node gave no usable answer, which
        is about no role unless there is only one
    """
    if not answered(checks, answer):
        roles = {check.role for check in checks}
        items = tuple(item for check in checks for item in check.checks)
        whole = Check(checks[0].node, roles.pop() if len(roles) == 1 else "", items)
        return list(gates.read_all(whole, answer))
    found: list[gates.Verdict] = []
    begin = 0
    for check in checks:
        end = begin + len(check.checks)
        found += gates.read_all(check, replace(answer, data=answer.data[begin:end]))
        begin = end
    return found
