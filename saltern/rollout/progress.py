"""What one run of the engine knows and shares: ports, records, leases in force, waiting.

Everything here comes from the journal and goes there before it counts, so that a run that ends at
any point leaves behind what the next one needs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.plan.types import Plan, Stage, Step, Wave
from saltern.rollout.outcome import EngineJournal, Finding, Runners, Watch
from saltern.rollout.ports import (
    Clock,
    Events,
    JobBus,
    Lease,
    NodeResult,
    RolloutState,
    StepRecord,
    Wishes,
)

log = logging.getLogger(__name__)

#: Seconds between two looks at the wishes of people while time has to pass.
LOOK = 1.0


@dataclass(frozen=True)
class Ports:
    """The world as the engine sees it."""

    bus: JobBus
    journal: EngineJournal
    clock: Clock
    events: Events
    runners: Runners
    probes: Watch | None = None


@dataclass(frozen=True)
class Done:
    """What a handler made of a step.

    :param phase: ``ok``, ``failed`` or ``unknown``
    :param results: by node
    :param sentence: what went wrong with the step as a whole; not empty stops the stage
    :param findings: verdicts that are not simply ok
    """

    phase: str
    results: Mapping[str, NodeResult] = field(default_factory=dict)
    sentence: str = ""
    findings: tuple[Finding, ...] = ()


class Stopped(Exception):
    """The rollout goes no further.

    :param state: what it becomes
    :param reason: why, in sentences
    """

    def __init__(
        self, state: str, reason: str, stage: str = "", wave: int = 0, *, undo_wave: bool = False
    ) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.stage = stage
        self.wave = wave
        self.undo_wave = undo_wave


class Progress:
    """One run of one rollout.

    :param ports: the world
    :param state: the rollout as the journal has it
    """

    def __init__(self, ports: Ports, state: RolloutState) -> None:
        self.bus = ports.bus
        self.journal = ports.journal
        self.clock = ports.clock
        self.events = ports.events
        self.runners = ports.runners
        self.probes = ports.probes
        self.id = state.id
        self.plan: Plan = state.plan
        self.records: dict[str, StepRecord] = dict(state.records)
        self.leases: dict[str, Lease] = {
            lease.id: lease for lease in state.leases if lease.released is None
        }
        self._began: dict[str, float] = {}  # stage to when it was begun

    # -- journal -------------------------------------------------------------------------------

    def intent(self, step: Step, jids: Sequence[str] = ()) -> StepRecord:
        """Note that a step is about to be done."""
        record = self.journal.intent(self.id, step.id, tuple(jids), self.clock.now())
        self.records[step.id] = record
        return record

    def result(self, step: Step, done: Done) -> StepRecord:
        """Note what a step found, and how it ended."""
        if done.findings:
            self.journal.verdict(self.id, done.findings)
        record = self.journal.result(
            self.id, step.id, done.phase, done.results, self.clock.now(), done.sentence
        )
        self.records[step.id] = record
        return record

    def take(self, lease: Lease) -> None:
        """Note a lease, before what it stands for is done."""
        self.journal.lease(lease)
        self.leases[lease.id] = lease

    def returned(self, lease: Lease) -> None:
        """Note that a lease was given back."""
        self.journal.returned(lease.id, self.clock.now())
        self.leases.pop(lease.id, None)

    def wishes(self) -> Wishes:
        """Return what people asked for meanwhile."""
        return self.journal.wishes(self.id)

    # -- time ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do what is due while something else is waited for."""
        if self.probes is not None:
            self.probes.poll()

    def pause(self, seconds: float) -> float:
        """Let at most ``seconds`` pass, and no more than until the next look at the wishes.

        :returns: the seconds that passed at least: a clock that is put back does not tell
        """
        self.tick()
        slept = min(seconds, LOOK)
        self.clock.sleep(slept)
        return slept

    def missed(self, stage: Stage, *, force: bool = False) -> tuple[str, ...]:
        """Return a sentence for each limit of a stage that its probes missed since it began."""
        if self.probes is None or not stage.slo:
            return ()
        if stage.name not in self._began:
            began = [
                self.records[step.id].begun
                for wave in stage.waves
                for step in wave.steps
                if step.id in self.records
            ]
            self._began[stage.name] = min(began, default=self.clock.now())
        since = self._began[stage.name]
        return tuple(self.probes.poll(stage.slo, since, force=force))

    # -- telling -------------------------------------------------------------------------------

    def tell(self, tag: str, data: Mapping[str, Any] | None = None, line: str = "") -> None:
        """Tell that something happened; ``tag`` is below ``rollout/<id>``.

        That nobody hears it (the terminal is gone, the master restarts) is no reason to stop.
        """
        where = {"rollout": self.id, "cluster": self.plan.cluster}
        try:
            self.events.emit(f"rollout/{self.id}/{tag}", {**where, **(data or {})}, line)
        except Exception as err:
            log.info("%s of rollout %s could not be told: %s", tag, self.id, type(err).__name__)


def begun(records: Mapping[str, StepRecord], wave: Wave) -> bool:
    """Whether anything of a wave was begun."""
    return any(step.id in records for step in wave.steps)
