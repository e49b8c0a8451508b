"""How a run of the engine ended, and what the engine needs besides the common ports.

The engine itself is :class:`saltern.rollout.engine.Engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from saltern.rollout.ports import DONE, PAUSED, RUNNING, Lease, RolloutJournal

#: ``runners("galera.form", {"cluster": "demo-core"})`` -> ``{"result", "changes", "comment"}``;
#: whatever is not ``result: True`` counts as failed
Runners = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Finding:
    """A verdict that is worth a line in the report: whatever is not simply ok.

    :param step: id of the step that asked
    :param at: seconds since the epoch
    :param node: who was asked
    :param role: what about, empty for the host itself
    :param verdict: ``warn``, ``fail`` or ``unknown``
    :param code: from the closed list
    :param sentence: what was seen
    """

    step: str
    at: float
    node: str
    role: str
    verdict: str
    code: str
    sentence: str


class EngineJournal(RolloutJournal, Protocol):
    """A journal in which a rollout is claimed by one engine at a time."""

    def claim(self, rollout: str, owner: str) -> None:
        """Note who works on a rollout; an owner whose process is gone is taken over.

        :raises LockedError: another engine works on it
        """
        ...

    def release_claim(self, rollout: str, owner: str) -> None:
        """Give up a claim; nothing happens when ``owner`` does not have it."""
        ...

    def verdict(self, rollout: str, rows: Iterable[Any]) -> None:
        """Note what a gate or a check found: rows with the fields of :class:`Finding`."""
        ...


class Watch(Protocol):
    """The probes of one rollout, see :class:`saltern.rollout.probes.ProbeWatch`."""

    def start(self) -> tuple[str, ...]:
        """Let them begin; those that measure already go on.

        :returns: a sentence for each node that could not
        """
        ...

    def poll(
        self, slo: Mapping[str, float] | None = None, since: float = 0.0, *, force: bool = False
    ) -> tuple[str, ...]:
        """Take what was measured since the last time; it is no cost to ask too often.

        :param slo: probe name to the share of failed requests that is allowed
        :param since: begin of the time that the shares are about, seconds since the epoch
        :param force: read now, however short ago the last reading was
        :returns: a sentence for each limit that was missed
        """
        ...

    def stop(self) -> tuple[str, ...]:
        """Let them end.

        :returns: a sentence for each node that did not
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    :param state: one of the states of a rollout (:mod:`saltern.rollout.ports`); ``running`` when
        the run went as far as it was told to by ``until``
    :param reason: why it is paused, failed or aborted, in sentences
    :param stage: name of the stage at which it stopped, empty when it did not
    :param wave: number of the wave at which it stopped, 0 for none
    :param undo_wave: the stage wants that wave to be rolled back: plan the rollback of this wave
        alone and run it
    :param leases: what could not be given back and is still out of service
    """

    state: str
    reason: str = ""
    stage: str = ""
    wave: int = 0
    undo_wave: bool = False
    leases: tuple[Lease, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 for done and for as far as told, 3 for paused, 1 for the rest."""
        return {DONE: 0, RUNNING: 0, PAUSED: 3}.get(self.state, 1)
