"""Carry a rehearsal out over the bus: one step after another, each told when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.rehearsal.outcome import (
    BEGIN,
    CHECK,
    CONTRACT,
    CURRENT,
    END,
    EXPAND,
    FAILED,
    LOAD,
    OK,
    PREPARE,
    RESTORE,
    SKIPPED,
    SMOKE,
    Record,
)
from saltern.rehearsal.services import IDENTITY, Service
from saltern.rollout.ports import Bus, Call, Clock, Return

#: Seconds the shadow may be silent before the bus asks whether it still works; most for one step.
PATIENCE, LIMIT = 60.0, 8 * 3600.0
#: Functions of the shadow.
_FUNCTIONS = {
    BEGIN: "rehearsal.begin",
    LOAD: "rehearsal.load",
    RESTORE: "rehearsal.restore",
    END: "rehearsal.end",
    SMOKE: "rehearsal_api.smoke",
}


class StepFailedError(Exception):
    """A step failed, and what follows makes no sense without it."""


@dataclass
class Rehearsing:
    """One rehearsal in the making.

    :param bus: where the shadow answers
    :param node: minion id of the shadow
    :param clock: for durations
    :param note: takes each step when it is over
    :param tell: hears a sentence before each step
    """

    bus: Bus
    node: str
    clock: Clock
    note: Callable[[Record], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None
    records: list[Record] = field(default_factory=list)

    def run(
        self, rehearsal: str, bundle: str, hops: Sequence[Sequence[Service]]
    ) -> tuple[Record, ...]:
        """Rehearse; whatever happens, the shadow is empty afterwards, or the last step says why.

        :param rehearsal: its id
        :param bundle: path of a logical bundle
        :param hops: the services of each hop, in their order
        :returns: what was done
        """
        databases = list(dict.fromkeys(name for one in hops[0] for name in one.databases))
        try:
            self._step(BEGIN, [rehearsal])
            self._step(LOAD, [bundle, databases])
            for services in hops:
                self._hop(services)
            self._do(f"{self.node}: the APIs are stopped", "rehearsal_api.stop")
            self._step(RESTORE, [bundle, databases])
            self._again(hops)
        except StepFailedError:
            pass
        finally:
            self._try(END, [])
        return tuple(self.records)

    def _hop(self, services: Sequence[Service]) -> None:
        usable = True
        for one in services:
            ready = self._try(PREPARE, [dict(one.spec)], one) and self._try(EXPAND, [one.name], one)
            if not ready:
                for phase in (CHECK, CONTRACT, SMOKE):
                    self._skip(phase, one, "the step before failed")
                usable = usable and one.name != IDENTITY
                continue
            self._try(CHECK, [one.name], one)
            if not self._try(CONTRACT, [one.name], one):
                self._skip(SMOKE, one, "the step before failed")
                usable = usable and one.name != IDENTITY
            elif not one.has_api:
                continue
            elif not usable:
                self._skip(SMOKE, one, f"{IDENTITY} gives no tokens")
            elif not self._try(SMOKE, [one.name], one):
                usable = one.name != IDENTITY

    def _again(self, hops: Sequence[Sequence[Service]]) -> None:
        """The databases are back: does what runs now find in them what it needs?"""
        for one in hops[0]:
            # code and configuration of the first hop, where there were more
            if len(hops) > 1 and not self._try(PREPARE, [dict(one.spec)], one):
                continue
            self._try(CURRENT, [one.name], one)

    # -- steps ---------------------------------------------------------------------------

    def _step(self, phase: str, arg: Sequence[Any]) -> None:
        if not self._try(phase, arg):
            raise StepFailedError

    def _try(self, phase: str, arg: Sequence[Any], service: Service | None = None) -> bool:
        name = service.name if service else ""
        release = ""
        if service:
            release = service.before if phase == CURRENT else service.after
        begun = self.clock.now()
        function = _FUNCTIONS.get(phase, f"rehearsal_service.{phase}")
        answer = self._do(Record(phase, OK, 0.0, name, release).title, function, arg)
        took = round(self.clock.now() - begun, 1)
        data = answer.data if isinstance(answer.data, dict) else {}
        told = str(data.get("sentence") or "")
        if not answer.ok:
            told = (answer.sentence or "it failed").removeprefix(f"{answer.node}: ").strip()
        record = Record(
            phase,
            OK if answer.ok else FAILED,
            # without what the bus takes
            float(data.get("seconds", took)),
            name,
            release,
            told,
            tuple(str(text) for text in data.get("warnings") or ()),
        )
        self._keep(record)
        return answer.ok

    def _skip(self, phase: str, service: Service, why: str) -> None:
        self._keep(Record(phase, SKIPPED, 0.0, service.name, service.after, f"skipped: {why}"))

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        self.note(record)

    def _do(self, title: str, function: str, arg: Sequence[Any] = ()) -> Return:
        self.tell(title)
        call = Call((self.node,), function, tuple(arg), {}, PATIENCE, LIMIT)
        return self.bus.call_all([call])[0][self.node]
