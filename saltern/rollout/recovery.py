"""Publish the calls of a step so that a crash at any point loses nothing and repeats nothing.

The ids of all jobs are in the journal before the first of them is published. Whoever takes the
step up again asks the bus for each id: a job that it knows is collected, one that it does not know
is published under that same id. What a step may not do twice is therefore never done twice.

The ids of an attempt are noted in one of two forms. The first attempt has one id for each call. A
further attempt has one for each call and each node of it, in their order: nodes that are asked anew
share a new id, the others keep the id under which they answered, or have none when people settled
them; an empty id means that there is nothing left to ask.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from saltern.errors import BusError
from saltern.plan.types import VERIFY, PlannedCall, Step
from saltern.rollout.ports import INTENT, Call, Clock, Job, JobBus, Return, StepRecord
from saltern.rollout.returns import silent

#: Seconds between asking a node anew that is restarting.
PAUSE = 1.0

#: An answer is None for a node that need not be asked any more.
Answers = list[dict[str, Return | None]]


class Notes(Protocol):
    """What is needed of the run: its bus and clock, and where intents are noted."""

    @property
    def bus(self) -> JobBus: ...

    @property
    def clock(self) -> Clock: ...

    def intent(self, step: Step, jids: Sequence[str]) -> StepRecord:
        """Note an attempt of a step."""
        ...

    def tick(self) -> None:
        """Do what is due while answers are waited for."""
        ...

    def pause(self, seconds: float) -> float:
        """Let some time pass, ``seconds`` at most; return how much."""
        ...


@dataclass(frozen=True)
class Part:
    """Nodes of one call that share a job.

    :param index: of the call in its step
    :param nodes: who is asked; without a ``jid``, who is not
    """

    index: int
    call: PlannedCall
    nodes: tuple[str, ...]
    jid: str


@dataclass
class Given:
    """What came of the calls of a step.

    :param answers: by node, for each call; nodes that were left out have none
    :param lost: ``(index of the call, node)`` whose outcome nobody knows
    """

    answers: Answers = field(default_factory=list)

    @property
    def lost(self) -> list[tuple[int, str]]:
        return [
            (index, node)
            for index, found in enumerate(self.answers)
            for node, answer in found.items()
            if answer is not None and answer.silent
        ]


def same(value: Any) -> str:
    """Equal for equal plain data, whether it comes from a plan or was read back from a journal."""
    return json.dumps(value, sort_keys=True, default=str)


def about(call: PlannedCall, node: str) -> tuple[str, ...]:
    """Return the nodes about which the answer of ``node`` tells."""
    return call.serves or (node,)


def wanted(call: PlannedCall, dropped: Collection[str]) -> tuple[str, ...]:
    """Return the nodes of a call that are asked when some nodes dropped out of their wave."""
    if call.serves and all(node in dropped for node in call.serves):
        return ()
    return tuple(node for node in call.nodes if node not in dropped)


def first_jids(
    calls: Sequence[PlannedCall], dropped: Collection[str], bus: JobBus
) -> tuple[str, ...]:
    """Return the ids of a first attempt, one for each call."""
    return tuple(bus.new_jid() if wanted(call, dropped) else "" for call in calls)


def further_jids(
    calls: Sequence[PlannedCall],
    again: Collection[tuple[int, str]],
    kept: Mapping[tuple[int, str], str],
    bus: JobBus,
) -> tuple[str, ...]:
    """Return the ids of a further attempt, one for each call and node.

    :param again: ``(index of the call, node)`` that are asked anew
    :param kept: the same to the id under which they answered, where that is worth looking up
    """
    found = []
    for index, call in enumerate(calls):
        fresh = bus.new_jid() if any((index, node) in again for node in call.nodes) else ""
        for node in call.nodes:
            found.append(fresh if (index, node) in again else kept.get((index, node), ""))
    return tuple(found)


def parts(
    calls: Sequence[PlannedCall], jids: Sequence[str], dropped: Collection[str]
) -> Iterator[Part]:
    """Read back which nodes of which call have which id.

    :param jids: of the attempt, in either form
    :param dropped: nodes that are left out
    """
    if len(jids) == len(calls):
        pairs = [[jid] * len(call.nodes) for call, jid in zip(calls, jids, strict=True)]
    else:
        rest = iter(jids)
        pairs = [[next(rest, "") for _ in call.nodes] for call in calls]
    for index, call in enumerate(calls):
        live = set(wanted(call, dropped))
        groups: dict[str, list[str]] = {}
        for node, jid in zip(call.nodes, pairs[index], strict=True):
            if node in live:
                groups.setdefault(jid, []).append(node)
        for jid, nodes in groups.items():
            yield Part(index, call, tuple(nodes), jid)


def perform(
    run: Notes,
    step: Step,
    calls: Sequence[PlannedCall],
    dropped: Collection[str],
    record: StepRecord,
    *,
    fresh: bool,
    publish: bool = True,
) -> Given:
    """Publish what was not published yet and collect all answers.

    A step that may run twice is sent once more to nodes that are there, but lost it. One that has
    patience waits for silent nodes to come back, and asks them anew until they answer.

    :param calls: of the step, with all their nodes
    :param dropped: nodes that are left out
    :param record: its intent, with the ids in it
    :param fresh: the intent was noted just now, so that nothing can be published
    :param publish: False takes up only what was published before
    """
    begin = run.clock.now()
    given = ask(run, step, calls, dropped, record.jids, fresh=fresh, publish=publish)
    if not publish or not step.idempotent:
        return given
    sent_again, waited = False, 0.0
    while lost := given.lost:
        now = run.clock.now()
        waits = max(waited, now - record.begun) < patience(step)
        # one that did not end in time may still work on it
        if not waits and (sent_again or now - begin >= step.limit):
            break
        there = run.bus.present(sorted({node for _, node in lost}))
        again = {pair for pair in lost if there[pair[1]].ok}
        if again:
            jids = further_jids(calls, again, _jids(given), run.bus)
            run.intent(step, jids)
            more = ask(run, step, calls, dropped, jids, fresh=True, only=again)
            for index, found in enumerate(more.answers):
                given.answers[index].update(found)
            sent_again = True
        elif not waits:
            break
        if waits:
            waited += run.pause(PAUSE)
    return given


def patience(step: Step) -> float:
    """Return for how many seconds after its begin a step waits for nodes that are silent."""
    return step.seconds if step.kind == VERIFY else 0.0


def _jids(given: Given) -> dict[tuple[int, str], str]:
    """The id under which each node answered which call."""
    return {
        (index, node): answer.jid
        for index, found in enumerate(given.answers)
        for node, answer in found.items()
        if answer is not None
    }


def ask(
    run: Notes,
    step: Step,
    calls: Sequence[PlannedCall],
    dropped: Collection[str],
    jids: Sequence[str],
    *,
    fresh: bool,
    publish: bool = True,
    only: Collection[tuple[int, str]] | None = None,
) -> Given:
    """Publish the jobs of one attempt that were not published yet, and collect them all.

    :param jids: of the attempt, in either form
    :param fresh: none can have been published
    :param publish: False takes up only what was published before
    :param only: ``(index of the call, node)`` to which this is limited
    """
    given = Given([{} for _ in calls])
    jobs: list[tuple[Part, Job]] = []
    for part in parts(calls, jids, dropped):
        if only is not None and not any((part.index, node) in only for node in part.nodes):
            continue
        if not part.jid:
            given.answers[part.index].update(dict.fromkeys(part.nodes))
            continue
        job = Job(part.jid, _call(step, part))
        why = ""
        if fresh or not run.bus.known(part.jid):
            why = (
                _publish(run.bus, job) if publish else "was not published, as the rollout ends here"
            )
        if not why:
            jobs.append((part, job))
            continue
        # whether a publish that failed came through all the same, nobody knows
        unclear = publish and not step.idempotent
        for node in part.nodes:
            answer = silent(node, f"{part.call.fun} {why}", part.jid)
            given.answers[part.index][node] = replace(answer, silent=unclear)
    if jobs:
        found = run.bus.collect([job for _, job in jobs], run.tick)
        for (part, job), returns in zip(jobs, found, strict=True):
            for node in part.nodes:
                answer = returns.get(node) or silent(node, f"gave no answer to {part.call.fun}")
                given.answers[part.index][node] = replace(answer, jid=answer.jid or job.jid)
    return given


def _publish(bus: JobBus, job: Job) -> str:
    """Publish one job; return why that was not possible, empty when it was."""
    try:
        bus.publish(job)
    except BusError as err:
        # refused after all it may be there: the answer of the master got lost
        return "" if bus.known(job.jid) else f"could not be published: {err.sentence}"
    return ""


def _call(step: Step, part: Part) -> Call:
    call = part.call
    return Call(
        *(part.nodes, call.fun, call.arg, dict(call.kwarg), step.timeout, step.limit),
        fresh=call.fresh,
    )


def good(answer: Return) -> bool:
    """Whether a function did what it was called for; many say False where they did not."""
    return answer.ok and answer.data is not False


def sentence_of(node: str, call: PlannedCall, answer: Return) -> str:
    """Say in one sentence why an answer is not good."""
    return answer.sentence or f"{node}: {call.fun} returned False."


def settled(record: StepRecord | None) -> bool:
    """Whether a step was done, for good or ill."""
    return record is not None and record.phase != INTENT
