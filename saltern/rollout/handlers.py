"""What each kind of step does: one handler each, from an intent in the journal to a result.

A handler may be called for a step that was not begun, and for one whose intent is in the journal
already because an earlier run ended there. Both lead to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from saltern.errors import SalternError
from saltern.plan.types import (
    APPLY,
    CALL,
    COMMIT,
    DRAIN,
    GATE,
    PIN,
    REFRESH,
    RELEASE,
    RUNNER,
    SOAK,
    VERIFY,
    Check,
    PlannedCall,
    Step,
    Wave,
)
from saltern.rollout import gates, questions
from saltern.rollout.outcome import Finding
from saltern.rollout.ports import (
    BROKEN,
    OK,
    PAUSED,
    UNKNOWN,
    NodeResult,
    Return,
    StepRecord,
)
from saltern.rollout.progress import Done, Progress, Stopped
from saltern.rollout.recovery import (
    Given,
    about,
    first_jids,
    good,
    parts,
    patience,
    perform,
    sentence_of,
)
from saltern.rollout.returns import changed_states, clip
from saltern.rollout.undo import give_back, leases_of, same_lease

#: reads the answer of one node to one call
Reader = Callable[[int, str, Return], NodeResult]


@dataclass(frozen=True)
class Work:
    """One step that is to be done.

    :param dropped: nodes of the wave that failed earlier
    :param record: what the journal has of it; None or an intent
    :param closing: the rollout ends here: what was published is collected, and nothing else is done
    """

    run: Progress
    wave: Wave
    step: Step
    dropped: Collection[str]
    record: StepRecord | None
    closing: bool = False

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of the step that are still in."""
        return tuple(node for node in self.step.nodes if node not in self.dropped)


def do(work: Work) -> Done:
    """Do a step; its result is left to the caller to note.

    :raises Stopped: people want a pause, and the step can be interrupted
    :raises SalternError: bus or journal cannot be used; the step is left as it is
    """
    return _HANDLERS[work.step.kind](work)


# -- steps that publish ------------------------------------------------------------------------


def _publish(work: Work, calls: Sequence[PlannedCall], read: Reader) -> Done:
    record, fresh = _intent(work, calls)
    given = perform(
        work.run, work.step, calls, work.dropped, record, fresh=fresh, publish=not work.closing
    )
    return _done(work, calls, given, read)


def _intent(work: Work, calls: Sequence[PlannedCall]) -> tuple[StepRecord, bool]:
    """Return the intent of a step, and whether it was noted just now."""
    record = work.record
    if record is not None and (record.jids or not calls):
        return record, False
    jids = first_jids(calls, work.dropped, work.run.bus)
    return work.run.intent(work.step, jids), True


def _done(work: Work, calls: Sequence[PlannedCall], given: Given, read: Reader) -> Done:
    results: dict[str, NodeResult] = {}
    for index, found in enumerate(given.answers):
        for node, answer in found.items():
            result = NodeResult(True) if answer is None else read(index, node, answer)
            for whom in about(calls[index], node):
                if whom not in work.dropped:
                    results[whom] = _both(results.get(whom), result)
    for node in work.nodes:
        results.setdefault(node, NodeResult(True))
    if given.lost and not work.step.idempotent:
        nodes = ", ".join(sorted({node for _, node in given.lost}))
        return Done(
            UNKNOWN,
            results,
            f"Nobody knows whether {work.step.title!r} ran on {nodes}, and it may not run twice.",
        )
    return Done(_phase(results.values()), results)


def _call(work: Work) -> Done:
    return _publish(work, work.step.calls, _reader(work.step.calls))


def _apply(work: Work) -> Done:
    plain = _reader(work.step.calls)

    def read(index: int, node: str, answer: Return) -> NodeResult:
        result = plain(index, node, answer)
        return replace(result, changed=tuple(changed_states(answer.data)))

    return _publish(work, work.step.calls, read)


def _drain(work: Work) -> Done:
    """Take nodes out of service; each lease is in the journal before anything is published."""
    run, step = work.run, work.step
    if len(step.undo) != len(step.calls):
        if work.record is None:
            run.intent(step)
        return Done(BROKEN, {}, f"{step.title}: the plan does not say how to undo each of it.")
    record, fresh = _intent(work, step.calls)
    asked = [part for part in parts(step.calls, record.jids, work.dropped) if part.jid]
    if work.closing:
        # what was never published took nothing out of service
        unsent = [part for part in asked if not run.bus.known(part.jid)]
        for lease in leases_of(run, step, record, unsent, work.dropped):
            if lease.id in run.leases:
                run.returned(lease)
    else:
        held = {same_lease(lease) for lease in run.leases.values()}
        for lease in leases_of(run, step, record, asked, work.dropped):
            if same_lease(lease) not in held:
                held.add(same_lease(lease))
                run.take(lease)
    given = perform(
        run, step, step.calls, work.dropped, record, fresh=fresh, publish=not work.closing
    )
    return _done(work, step.calls, given, _reader(step.calls))


def calls_of(step: Step) -> tuple[PlannedCall, ...]:
    """Return what a step publishes, in the order of the ids in its record."""
    return (*step.calls, *questions.jobs(step.checks))


def _checks(work: Work) -> Done:
    """Ask all questions; a node about which there are none is only asked whether it is there."""
    asked: dict[str, list[Check]] = {}
    for check in work.step.checks:
        asked.setdefault(check.node, []).extend([check] if check.checks else [])
    calls = calls_of(work.step)
    plain = _reader(calls)
    findings: list[Finding] = []

    def read(index: int, node: str, answer: Return) -> NodeResult:
        if index < len(work.step.calls):
            return plain(index, node, answer)
        verdicts = questions.verdicts(asked[node], answer)
        at = work.run.clock.now()
        findings.extend(
            Finding(work.step.id, at, node, found.role, found.level, found.code, found.sentence)
            for found in verdicts
            if found.level != gates.OK
        )
        return _judged(verdicts, answer)

    done = _publish(work, calls, read)
    done = replace(done, findings=tuple(findings))
    told = {node for call in calls for node in call.nodes} | set(work.dropped)
    rest = [node for node in dict.fromkeys((*work.nodes, *asked)) if node not in told]
    if not rest or work.closing:
        return done
    results = dict(done.results)
    for node, answer in _there(work, rest).items():
        result = _read(answer, answer.sentence)
        code = "ok" if result.ok else "no-answer"
        results[node] = _both(results.get(node), replace(result, code=code))
    return replace(done, phase=_phase(results.values()), results=results)


def _there(work: Work, nodes: Sequence[str]) -> dict[str, Return]:
    """Ask nodes whether they are there, for as long as the step waits for silent ones."""
    run, found = work.run, work.run.bus.present(nodes)
    begun, waited = run.records[work.step.id].begun, 0.0
    while silent := [node for node, answer in found.items() if not answer.ok]:
        left = patience(work.step) - max(waited, run.clock.now() - begun)
        if left <= 0:
            break
        waited += run.pause(left)
        found |= run.bus.present(silent)
    return found


def _judged(verdicts: Sequence[gates.Verdict], answer: Return) -> NodeResult:
    worst = gates.worst(verdicts)
    return NodeResult(
        all(verdict.passes for verdict in verdicts),
        " ".join(str(verdict) for verdict in verdicts if verdict.level != gates.OK),
        silent=answer.silent,
        code=worst.code if worst else "",
    )


# -- steps of the master -----------------------------------------------------------------------


def _pin(work: Work) -> Done:
    if work.record is None:
        work.run.intent(work.step)
    work.run.journal.pin(work.run.id, work.nodes, work.step.revision)
    return Done(OK, {node: NodeResult(True) for node in work.nodes})


def _commit(work: Work) -> Done:
    if work.record is None:
        work.run.intent(work.step)
    work.run.journal.commit(work.run.id, work.run.plan.cluster, work.step.revision)
    return Done(OK, {node: NodeResult(True) for node in work.nodes})


def _runner(work: Work) -> Done:
    """Call a function of the master; its job id only says that it was begun."""
    run, step, record = work.run, work.step, work.record
    if record is not None and record.jids == ("",):
        return Done(OK)  # people said that it ran
    if record is not None and record.jids and not step.idempotent:
        sentence = f"Nobody knows whether {step.runner} ran to its end, and it may not run twice."
        return Done(UNKNOWN, {}, sentence)
    run.intent(step, (run.bus.new_jid(),))
    try:
        answer = run.runners(step.runner, dict(step.kwarg))
    except SalternError as err:
        return Done(BROKEN, {}, f"{step.runner}: {err}")
    if answer.get("result") is True:
        # what a form changed is a change of each of its members
        changed = (f"{step.runner} (runner)",) if answer.get("changes") else ()
        return Done(OK, {node: NodeResult(True, changed=changed) for node in step.nodes})
    told = clip(str(answer.get("comment") or "")) or "failed without a reason"
    return Done(BROKEN, {}, f"{step.runner}: {told}.")


def _soak(work: Work) -> Done:
    """Let time pass since the step was begun, whoever began it; its id says that it was."""
    run, step, record = work.run, work.step, work.record
    if record is None or not record.jids:
        record = run.intent(step, (run.bus.new_jid(),))
    waited = 0.0
    while True:
        # a clock that is put back makes it no longer than it was meant to be
        left = step.seconds - max(waited, run.clock.now() - record.begun)
        if left <= 0:
            return Done(OK, {node: NodeResult(True) for node in work.nodes})
        wishes = run.wishes()
        if wishes.abort:
            return Done(BROKEN, {}, f"{step.title}: cut short, as the rollout ends here.")
        if wishes.pause and not run.leases:
            raise Stopped(PAUSED, f"Paused by people while wave {work.wave.name!r} soaks.")
        waited += run.pause(left)


def _release(work: Work) -> Done:
    """Give back what this wave took; a node of it that failed gets its own back as well."""
    run = work.run
    if work.record is None:
        run.intent(work.step)
    results = {node: NodeResult(True) for node in work.step.nodes}
    failed = give_back_of(run, work.wave)
    for node, sentence in failed.items():
        results[node] = NodeResult(False, sentence)
    return Done(_phase(results.values()), results, " ".join(failed.values()))


def give_back_of(run: Progress, wave: Wave) -> dict[str, str]:
    """Give back the leases of a wave.

    :returns: node to the sentence why it is still out of service
    """
    order = {step.id: number for number, step in enumerate(wave.steps)}
    leases = [lease for lease in run.leases.values() if lease.step in order]
    failed = give_back(run, leases, order) if leases else {}
    found: dict[str, str] = {}
    for lease in leases:
        if lease.id in failed:
            found[lease.node] = " ".join(filter(None, (found.get(lease.node), failed[lease.id])))
    return found


# -- results -----------------------------------------------------------------------------------


def _reader(calls: Sequence[PlannedCall]) -> Reader:
    def read(index: int, node: str, answer: Return) -> NodeResult:
        return _read(answer, sentence_of(node, calls[index], answer))

    return read


def _read(answer: Return, sentence: str) -> NodeResult:
    if good(answer):
        return NodeResult(True)
    return NodeResult(False, sentence, silent=answer.silent)


def _both(first: NodeResult | None, second: NodeResult) -> NodeResult:
    """One result of two about the same node; the first that is not good gives its code."""
    if first is None:
        return second
    sentences = dict.fromkeys(filter(None, (first.sentence, second.sentence)))
    return NodeResult(
        first.ok and second.ok,
        " ".join(sentences),
        (*first.changed, *second.changed),
        first.silent or second.silent,
        second.code if first.ok and second.code else first.code,
    )


def _phase(results: Iterable[NodeResult]) -> str:
    return OK if all(result.ok for result in results) else BROKEN


_HANDLERS: Mapping[str, Callable[[Work], Done]] = {
    GATE: _checks,
    DRAIN: _drain,
    PIN: _pin,
    REFRESH: _call,
    APPLY: _apply,
    CALL: _call,
    RUNNER: _runner,
    VERIFY: _checks,
    RELEASE: _release,
    SOAK: _soak,
    COMMIT: _commit,
}
