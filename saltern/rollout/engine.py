"""The rollout engine: carry out a plan, whatever happens meanwhile.

What is done next follows from the journal alone: the plan, the record of each step, the leases in
force and what people wish. So a run goes through the plan from its begin, passes by what is
settled, takes up what was begun, and ends like a run that nobody interrupted.

- A node that fails drops out of its wave and counts against the budget of the stage. One more than
  that stops the stage: nothing is begun any more but giving back the leases. No node of a canary
  may fail: it goes first so that what it meets is kept from the others.
- A step that fails as a whole (a runner, a limit of a probe, a lease that is not given back, a
  neighbour of the wave that is unwell) stops the stage whatever its budget.
- A pause waits for the end of a wave, an abort for the end of a step; both leave nothing out of
  service.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from saltern.errors import RolloutError
from saltern.plan.types import (
    APPLY,
    CALL,
    CANARY,
    PIN,
    RELEASE,
    ROLL_BACK,
    RUNNER,
    Plan,
    Stage,
    Step,
    Wave,
)
from saltern.rollout.handlers import Work, do, give_back_of
from saltern.rollout.outcome import EngineJournal, Outcome, Runners, Watch
from saltern.rollout.ports import (
    ABORTED,
    BROKEN,
    DONE,
    FAILED,
    INTENT,
    OK,
    OVER,
    PAUSED,
    RUNNING,
    UNKNOWN,
    Clock,
    Events,
    JobBus,
    RolloutState,
    StepRecord,
)
from saltern.rollout.progress import Ports, Progress, Stopped, begun
from saltern.rollout.recovery import settled
from saltern.rollout.retry import retry
from saltern.rollout.show import short
from saltern.rollout.stages import STAGES

#: phases that :meth:`Engine.run` may be told to end with, besides those of the plan
PHASES = (*STAGES, "commit")
#: Of so many nodes the reason says what went wrong; the journal has it of all.
SENTENCES = 5
#: what stays when the leases of a wave are back
_LASTING = (PIN, APPLY, CALL, RUNNER)


class Engine:
    """Carries out rollouts, one at a time.

    :param bus: where functions are called
    :param journal: where everything is noted, before and after it is done
    :param clock: seconds since the epoch
    :param events: where progress is told, below ``rollout/<id>``
    :param runners: calls functions of the master
    :param probes: what is measured meanwhile, None for nothing
    :param owner: who works on it, for the claim: one name per process
    """

    def __init__(
        self,
        bus: JobBus,
        journal: EngineJournal,
        clock: Clock,
        events: Events,
        runners: Runners,
        probes: Watch | None,
        owner: str,
    ) -> None:
        self.ports = Ports(bus, journal, clock, events, runners, probes)
        self.owner = owner

    def run(self, rollout: str, until: str = "") -> Outcome:
        """Begin a rollout, or go on with it, until it is done or stops.

        :param rollout: its id
        :param until: name of a phase: end after its stages, with the state ``running``. Nothing is
            done when the plan has no stage of that phase
        :returns: how it ended; failures are in it, not raised
        :raises LockedError: another engine works on it
        :raises RolloutError: there is no phase ``until``
        :raises SalternError: bus or journal cannot be used; run it again when they can
        """
        journal = self.ports.journal
        journal.claim(rollout, self.owner)
        try:
            return self._run(journal.load(rollout), until)
        finally:
            journal.release_claim(rollout, self.owner)

    def retry(self, rollout: str, *, step: str = "", assume: str = "") -> tuple[str, ...]:
        """Let what failed be done once more by the next run; see :mod:`saltern.rollout.retry`.

        :param rollout: its id; it failed
        :param step: id of a step: only what failed in its wave
        :param assume: of steps that may not run twice and whose outcome nobody knows: ``ran`` takes
            them as done, ``not`` has them run
        :returns: titles of the steps that the next run does
        :raises LockedError: an engine works on it
        :raises RolloutError: nothing failed, or ``assume`` is needed
        """
        journal = self.ports.journal
        journal.claim(rollout, self.owner)
        try:
            state = journal.load(rollout)
            return retry(self.ports, state, step=step, assume=assume)
        finally:
            journal.release_claim(rollout, self.owner)

    def _run(self, state: RolloutState, until: str) -> Outcome:
        last = _last(state.plan, until)
        run = Progress(self.ports, state)
        if state.state in OVER:
            return Outcome(state.state, state.reason, leases=tuple(run.leases.values()))
        if state.state != RUNNING:
            run.journal.move(run.id, RUNNING, run.clock.now())
        again = "resume" if state.records else "begin"
        words = "goes on" if state.records else "begins"
        what = f"{run.plan.workflow} of {run.plan.cluster}"
        run.tell(again, {"workflow": run.plan.workflow}, f"rollout {run.id} ({what}) {words}")
        for sentence in self.ports.probes.start() if self.ports.probes else ():
            run.tell("probe/fail", {"sentence": sentence}, f"  {sentence}")
        try:
            for stage in run.plan.stages[:last]:
                self._stage(run, stage)
        except Stopped as stop:
            return self._stop(run, stop)
        if last < len(run.plan.stages):
            return Outcome(RUNNING)
        return self._stop(run, Stopped(DONE, ""))

    def _stop(self, run: Progress, stop: Stopped) -> Outcome:
        """End the run: everything back in service, then the state of the rollout."""
        state, reason = stop.state, stop.reason
        if state == FAILED and run.wishes().abort:
            state = ABORTED
        kept: list[str] = []
        for stage in run.plan.stages if run.leases else ():
            for wave in stage.waves:
                kept += give_back_of(run, wave).values()
        if kept and state == PAUSED:
            state = FAILED
        reason = " ".join([reason, *(text for text in kept if text not in reason)]).strip()
        if self.ports.probes:
            self.ports.probes.stop()
        run.journal.move(run.id, state, run.clock.now(), reason)
        outcome = Outcome(
            state,
            reason,
            stop.stage,
            stop.wave,
            stop.undo_wave and state == FAILED,
            tuple(run.leases.values()),
        )
        line = f"rollout {run.id} is {state}" + (f": {reason}" if reason else "")
        data = {"state": state, "reason": reason, "stage": stop.stage, "wave": stop.wave}
        run.tell("end" if state == DONE else state, data, line)
        return outcome

    def _stage(self, run: Progress, stage: Stage) -> None:
        """Do the waves of a stage; :class:`Stopped` says why it goes no further."""
        tally = _Tally(stage)
        for wave in stage.waves:
            self._ready(run, stage, wave)
            self._wave(run, stage, wave, tally)
        if tally.told:
            failed = sorted(tally.failed)
            words = f", without {short(failed)}" if failed else ""
            data = {"stage": stage.name, "failed": failed}
            run.tell("stage/end", data, f"stage {stage.name} is done{words}")

    def _ready(self, run: Progress, stage: Stage, wave: Wave) -> None:
        """Wait until a wave may begin: people let it, and so does the rate."""
        if begun(run.records, wave):
            return
        where = f"stage {stage.name}, wave {wave.name!r}"
        told, waited = False, 0.0
        while True:
            wishes = run.wishes()
            if wishes.abort:
                raise Stopped(
                    ABORTED, f"Aborted by people before {where}.", stage.name, wave.number
                )
            if wishes.pause:
                raise Stopped(PAUSED, f"Paused by people before {where}.", stage.name, wave.number)
            left = _early(run, stage, wave, waited)
            if left <= 0:
                return
            if not told:
                told = True
                line = f"  {where} begins in {left / 60:.0f} min, at {stage.rate:g} nodes an hour"
                run.tell("wave/wait", {"stage": stage.name, "seconds": round(left)}, line)
            waited += run.pause(left)

    def _wave(self, run: Progress, stage: Stage, wave: Wave, tally: _Tally) -> None:
        where = {"stage": stage.name, "wave": wave.number, "nodes": list(wave.nodes)}
        tally.begin()
        stop: Stopped | None = None
        told = False
        for step in wave.steps:
            record = run.records.get(step.id)
            if not settled(record):
                closing = False
                if stop is None and run.wishes().abort:
                    reason = f"Aborted by people before {step.title!r}."
                    stop = Stopped(ABORTED, reason, stage.name, wave.number)
                    closing = _sent(step, record)
                goes_on = stop is None and tally.left(wave, step)
                if not (closing or goes_on or step.kind == RELEASE):
                    continue
                if not told:
                    told = True
                    self._begin(run, stage, wave, tally)
                work = Work(run, wave, step, frozenset(tally.dropped), record, closing)
                record = self._step(run, stage, work)
            reason = tally.count(wave, record)
            if reason and stop is None:
                undo = tally.undo and _touched(run, wave)
                stop = Stopped(FAILED, reason, stage.name, wave.number, undo_wave=undo)
        kept = give_back_of(run, wave)
        if kept and stop is None:
            stop = Stopped(FAILED, " ".join(kept.values()), stage.name, wave.number)
        data = {**where, "failed": sorted(tally.dropped)}
        if stop is not None:
            if told:
                run.tell("wave/fail", {**data, "reason": stop.reason}, f" wave {wave.name} stops")
            raise stop
        if told:
            run.tell("wave/end", data)

    def _begin(self, run: Progress, stage: Stage, wave: Wave, tally: _Tally) -> None:
        """Tell that a wave, and maybe its stage, begins or goes on."""
        if not tally.told:
            tally.told = True
            data = {"stage": stage.name, "phase": stage.phase, "nodes": list(stage.nodes)}
            run.tell("stage/begin", data, f"stage {stage.name}: {stage.title}")
        where = {"stage": stage.name, "wave": wave.number, "nodes": list(wave.nodes)}
        run.tell("wave/begin", where, f" wave {wave.name} ({short(wave.nodes) or 'cluster'})")

    def _step(self, run: Progress, stage: Stage, work: Work) -> StepRecord:
        """Do one step and note what came of it."""
        step = work.step
        data: dict[str, Any] = {"step": step.id, "kind": step.kind, "nodes": list(work.nodes)}
        run.tell("step/begin", data, f"  {step.title}")
        done = do(work)
        if done.phase == OK:
            missed = run.missed(stage, force=step.id == work.wave.steps[-1].id)
            if missed:
                done = replace(done, phase=BROKEN, sentence=" ".join(missed))
        record = run.result(step, done)
        sentences = [r.sentence for r in done.results.values() if r.sentence and not r.ok]
        if done.sentence and done.sentence not in sentences:
            sentences.append(done.sentence)
        seconds = max(0.0, (record.ended or record.begun) - record.begun)
        changed = {node: len(r.changed) for node, r in done.results.items() if r.changed}
        data |= {
            "phase": done.phase,
            "seconds": round(seconds, 1),
            "changed": changed,
            "failures": sentences,
        }
        line = ""
        if sentences:
            line = f"    {' '.join(sentences[:SENTENCES])}"
        elif changed:
            total = sum(changed.values())
            line = f"    {total} states changed on {len(changed)} hosts ({seconds:.0f} s)"
        run.tell("step/end" if done.phase == OK else "step/fail", data, line)
        return record


@dataclass
class _Tally:
    """Which nodes failed, in the stage and in the present wave.

    :param failed: in the stage so far
    :param dropped: in the present wave
    :param undo: whether the present wave is to be rolled back when it stops
    :param told: that the stage begins
    """

    stage: Stage
    failed: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    undo: bool = False
    told: bool = False

    def begin(self) -> None:
        """Go to the next wave."""
        self.dropped.clear()
        self.undo = self.stage.on_failure == ROLL_BACK

    def left(self, wave: Wave, step: Step) -> bool:
        """Whether anybody is left for a step."""
        nodes = step.nodes or wave.nodes
        return not nodes or any(node not in self.dropped for node in nodes)

    def count(self, wave: Wave, record: StepRecord | None) -> str:
        """Count what a record says; return why the stage stops, empty when it does not."""
        if record is None or record.phase in (INTENT, OK):
            return ""
        failed = {node for node, result in record.results.items() if not result.ok}
        told = _told(record, failed)
        outside = failed.difference(wave.nodes) if wave.nodes else set()
        self.dropped |= failed - outside
        self.failed |= failed - outside
        if record.phase == UNKNOWN:
            self.undo = False  # whether there is something to undo, people find out
            return told
        if record.sentence or outside:
            return told
        if wave.name == CANARY and failed:
            return told + (" (no node of the canary may fail)" if self.stage.budget else "")
        if len(self.failed) > self.stage.budget:
            allowed = f" ({len(self.failed)} nodes failed, {self.stage.budget} may)"
            return told + (allowed if self.stage.budget else "")
        return ""


def _told(record: StepRecord, failed: Iterable[str]) -> str:
    """Say what went wrong with a step: as a whole, and on the first few nodes."""
    found = [record.results[node].sentence for node in sorted(failed)]
    sentences = [text for text in dict.fromkeys(found) if text and text not in record.sentence]
    if len(sentences) > SENTENCES:
        sentences[SENTENCES:] = [f"And {len(sentences) - SENTENCES} more."]
    return " ".join(filter(None, [record.sentence, *sentences])) or f"{record.step} failed."


def _touched(run: Progress, wave: Wave) -> bool:
    """Whether a wave did anything that could be taken back, besides taking nodes out of service."""
    return any(step.kind in _LASTING and step.id in run.records for step in wave.steps)


def _sent(step: Step, record: StepRecord | None) -> bool:
    """Whether jobs of a step may be on their way."""
    return bool(step.calls or step.checks) and record is not None and any(record.jids)


def _early(run: Progress, stage: Stage, wave: Wave, waited: float) -> float:
    """Seconds until a wave may begin: the one before it takes its time at the stage's rate.

    :param waited: seconds that were waited for it already; a clock that is put back does not tell
    """
    before = [other for other in stage.waves if other.number < wave.number and other.nodes]
    if stage.rate <= 0 or not before or not wave.nodes:
        return 0.0
    records = [run.records[step.id] for step in before[-1].steps if step.id in run.records]
    takes = len(before[-1].nodes) * 3600.0 / stage.rate
    began = min((record.begun for record in records), default=run.clock.now() - takes)
    return takes - max(waited, run.clock.now() - began)


def _last(plan: Plan, until: str) -> int:
    """How many stages of a plan are done when a phase ends with ``until``; all without one."""
    if not until:
        return len(plan.stages)
    known = [*dict.fromkeys([*PHASES, *(stage.phase for stage in plan.stages)])]
    if until not in known:
        raise RolloutError(f"there is no phase {until}", cure=f"Use one of: {', '.join(known)}")
    places = [number for number, stage in enumerate(plan.stages, 1) if stage.phase == until]
    return max(places, default=0)
