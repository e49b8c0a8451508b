"""Leases: noted before anything is taken out of service, given back however the wave ends.

A lease is given back by the calls that it names and by nothing else, so only what this rollout took
out of service is put back. One whose calls fail stays in the journal, and whoever reads the outcome
learns of it. A call may also answer ``{"ok": False, "sentence": …}``: the lease is given back, and
its node is not well all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from saltern.plan.types import RELEASE, PlannedCall, Step
from saltern.rollout.ports import Lease, Return, StepRecord
from saltern.rollout.progress import Progress
from saltern.rollout.recovery import Part, ask, good, same, sentence_of
from saltern.rollout.show import short

#: So many times a node is told to undo what it did, when it keeps silent but is there.
TRIES = 2


def leases_of(
    run: Progress, step: Step, record: StepRecord, asked: Iterable[Part], dropped: Collection[str]
) -> Iterator[Lease]:
    """Return the leases that jobs of a drain take, one for each call and drained node.

    :param run: of the rollout; its plan says how long a lease holds
    :param step: calls and what undoes each of them, in the same order
    :param record: intent of the attempt
    :param asked: its jobs
    :param dropped: nodes that are left out
    """
    for part in asked:
        call, undo = part.call, step.undo[part.index]
        for node in call.serves or part.nodes:
            if node not in dropped:
                yield Lease(
                    id=f"{run.id}:{step.id}:{record.attempt}.{part.index}:{node}",
                    owner=run.id,
                    step=step.id,
                    node=node,
                    what=call.what or _what(call, node),
                    undo=(undo if call.serves else replace(undo, nodes=(node,)),),
                    taken=record.begun,
                    expires=record.begun + run.plan.lease_ttl,
                )


def same_lease(lease: Lease) -> tuple[str, str, str]:
    """Equal for leases on the same thing, taken by whichever attempt of a step."""
    return lease.step, lease.node, same([(_same(call), call.nodes) for call in lease.undo])


def give_back(run: Progress, leases: Sequence[Lease], order: Mapping[str, int]) -> dict[str, str]:
    """Give leases back, those of the last step first.

    :param leases: what is still out of service
    :param order: step id to its place in the plan
    :returns: lease id to the sentence why it could not be given back, or why its node is not in
        service although it was
    """
    failed: dict[str, str] = {}
    for step in sorted(
        {lease.step for lease in leases}, key=lambda s: order.get(s, 0), reverse=True
    ):
        failed |= _give_back(run, [lease for lease in leases if lease.step == step])
    return failed


def _give_back(run: Progress, leases: Sequence[Lease]) -> dict[str, str]:
    """Give back the leases of one step; nodes that are told the same share a job."""
    told: dict[str, PlannedCall] = {}
    for lease in leases:
        for call in lease.undo:
            first = told.setdefault(_same(call), replace(call, nodes=(), serves=()))
            told[_same(call)] = replace(first, nodes=tuple(sorted({*first.nodes, *call.nodes})))
    step = Step(leases[0].step, RELEASE, "release")
    wrong: dict[tuple[str, str], str] = {}
    unwell: dict[tuple[str, str], str] = {}
    for _ in range(TRIES):
        calls = list(told.values())
        given = ask(run, step, calls, (), [run.bus.new_jid() for _ in calls], fresh=True)
        for key, call, found in zip(told, calls, given.answers, strict=True):
            for node, answer in found.items():
                wrong.pop((key, node), None)
                if answer is not None and not good(answer):
                    wrong[key, node] = sentence_of(node, call, answer)
                elif answer is not None and _refuted(answer):
                    unwell[key, node] = f"{node}: {answer.data.get('sentence', 'not well')}"
        # a minion that was restarting lost it; what gives back may be asked for twice
        lost = given.lost
        there = run.bus.present(sorted({node for _, node in lost})) if lost else {}
        names = list(told)
        again: dict[str, PlannedCall] = {}
        for index, node in lost:
            if there[node].ok:
                call = again.setdefault(names[index], replace(calls[index], nodes=()))
                again[names[index]] = replace(call, nodes=(*call.nodes, node))
        told = again
        if not told:
            break
    failed: dict[str, str] = {}
    for lease in leases:
        pairs = [(_same(call), node) for call in lease.undo for node in call.nodes]
        sentences = [wrong[pair] for pair in pairs if pair in wrong]
        if sentences:
            failed[lease.id] = f"{lease.what} is not undone: {' '.join(sentences)}"
            continue
        run.returned(lease)
        sentences = [unwell[pair] for pair in pairs if pair in unwell]
        if sentences:
            failed[lease.id] = f"{lease.what}, given back and not in service: {' '.join(sentences)}"
    return failed


def _refuted(answer: Return) -> bool:
    return isinstance(answer.data, Mapping) and answer.data.get("ok") is False


def _same(call: PlannedCall) -> str:
    """Equal for calls that differ in their nodes only."""
    return same((call.fun, call.arg, dict(call.kwarg)))


def _what(call: PlannedCall, node: str) -> str:
    """``ctl01 by haproxy_admin.drain keystone ctl01 on ctl01, ctl02``."""
    words = " ".join([call.fun, *(str(arg) for arg in call.arg if isinstance(arg, str | int))])
    where = f" on {short(call.nodes)}" if call.serves else ""
    return f"{short([node])} by {words}{where}"
