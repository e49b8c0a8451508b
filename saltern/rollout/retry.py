"""Let what failed be done once more, when people ask for it.

What is to be done again gets a new intent in the journal, with the ids of the jobs to come; the
next run of the engine finds these intents like those of a run that crashed, and does them. A node
that failed goes through its wave again from where it is taken out of service; nodes that came
through are left alone, and a question that was answered well before anything was touched is not
asked again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from saltern.errors import RolloutError
from saltern.plan.types import COMMIT, GATE, PIN, RELEASE, RUNNER, SOAK, Step, Wave
from saltern.rollout.handlers import calls_of
from saltern.rollout.ports import BROKEN, FAILED, INTENT, OK, UNKNOWN, RolloutState, StepRecord
from saltern.rollout.progress import Ports
from saltern.rollout.recovery import about, further_jids, parts

#: What people may say of a step whose outcome nobody knows.
RAN, NOT_RAN = "ran", "not"

Records = Mapping[str, StepRecord]


def retry(
    ports: Ports, state: RolloutState, *, step: str = "", assume: str = ""
) -> tuple[str, ...]:
    """Note new intents for what failed in the stage at which a rollout stopped.

    :param state: the rollout as the journal has it
    :param step: id of a step: only what failed in its wave
    :param assume: ``ran`` or ``not``, of steps that may not run twice
    :returns: titles of the steps that the next run does
    :raises RolloutError: it did not fail, there is no such step, or ``assume`` is needed
    """
    if assume not in ("", RAN, NOT_RAN):
        raise RolloutError(f"assume is {assume!r}", cure=f"Say {RAN} or {NOT_RAN}")
    if state.state != FAILED:
        raise RolloutError(f"rollout {state.id} is {state.state}, not failed")
    again: list[tuple[Step, tuple[str, ...]]] = []
    unclear: list[str] = []
    for wave in _waves(state, step):
        undone = unfinished(wave, state.records)
        for other in wave.steps:
            record = state.records.get(other.id)
            if record is None:
                continue
            if _unclear(other, record):
                unclear.append(f"{other.title!r}")
            jids = _jids(ports, other, record, undone, assume)
            if jids is not None:
                again.append((other, jids))
    if unclear and not assume:
        raise RolloutError(
            f"nobody knows whether {', '.join(unclear)} ran, and it may not run twice",
            cure=f"Look, then retry with assume={RAN} or assume={NOT_RAN}",
        )
    if not again and all(lease.released is not None for lease in state.leases):
        raise RolloutError(f"rollout {state.id} has nothing that could be done again")
    for other, jids in again:
        ports.journal.intent(state.id, other.id, jids, ports.clock.now())
    return tuple(other.title for other, _ in again)


def unfinished(wave: Wave, records: Records) -> frozenset[str]:
    """Return the nodes of a wave that did not come through all its steps."""
    found: set[str] = set()
    for step in wave.steps:
        if step.kind not in (RUNNER, SOAK, COMMIT, RELEASE):
            record = records.get(step.id)
            for node in step.nodes or wave.nodes:
                result = record.results.get(node) if record else None
                if result is None or not result.ok:
                    found.add(node)
    return frozenset(found)


def _waves(state: RolloutState, step: str) -> Iterator[Wave]:
    """The waves that were begun of the stage that stopped, or the one of a step."""
    last = step
    if not last:
        begun = [other.id for _, _, other in state.plan.steps() if other.id in state.records]
        last = begun[-1] if begun else ""
    for stage in state.plan.stages:
        for wave in stage.waves:
            if any(other.id == last for other in wave.steps):
                yield from [wave] if step else stage.waves
                return
    if step:
        raise RolloutError(f"rollout {state.id} has no step {step}")


def _unclear(step: Step, record: StepRecord) -> bool:
    """Whether nobody knows what came of a step that may not run twice."""
    if step.idempotent:
        return False
    silent = any(result.silent for result in record.results.values())
    return record.phase == UNKNOWN or (record.phase == BROKEN and silent)


def _jids(
    ports: Ports, step: Step, record: StepRecord, undone: Collection[str], assume: str
) -> tuple[str, ...] | None:
    """The ids of the next attempt of a step that was begun; None when it needs none."""
    wrong = record.phase not in (OK, INTENT)
    if step.kind == RUNNER:
        return (("",) if record.phase == UNKNOWN and assume == RAN else ()) if wrong else None
    if step.kind in (PIN, COMMIT, SOAK, RELEASE):
        return () if wrong or undone else None
    calls = calls_of(step)
    if not step.idempotent and record.phase == INTENT:
        return None  # it goes on with the ids that it has
    known = _known(step, record)
    again = set()
    for index, call in enumerate(calls):
        for node in call.nodes:
            whom = about(call, node)
            good = known.get((index, node), False)
            if step.kind == GATE or not step.idempotent:
                due = not good and not (assume == RAN and _lost(record, whom))
            else:
                due = not good or any(other in undone for other in whom)
            if due:
                again.add((index, node))
    if not again and not wrong:
        return None
    return further_jids(calls, again, {}, ports.bus)


def _known(step: Step, record: StepRecord) -> dict[tuple[int, str], bool]:
    """Which answers of a step were good."""
    calls = calls_of(step)
    if record.phase == INTENT:
        return {
            (part.index, node): not part.jid
            for part in parts(calls, record.jids, ())
            for node in part.nodes
            if record.jids
        }
    return {
        (index, node): all(
            other in record.results and record.results[other].ok for other in about(call, node)
        )
        for index, call in enumerate(calls)
        for node in call.nodes
    }


def _lost(record: StepRecord, whom: Collection[str]) -> bool:
    """Whether it is of these nodes that nobody knows the outcome."""
    return any(node in record.results and record.results[node].silent for node in whom)
