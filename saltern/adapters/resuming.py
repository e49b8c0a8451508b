"""Go on with rollouts whose process is gone: after a restart of the master, or a killed runner."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from saltern.adapters.rolling import Rolling
from saltern.adapters.rollout_tables import Rollout
from saltern.adapters.rollouts import Rollouts
from saltern.errors import LockedError, SalternError
from saltern.rollout.outcome import Runners
from saltern.rollout.ports import Clock

log = logging.getLogger(__name__)


class Child(Protocol):
    """A process that carries a rollout out."""

    def is_alive(self) -> bool:
        """Whether it still runs."""


#: starts a process that goes on with a rollout, by its id
Spawn = Callable[[str], Child]


@dataclass
class Resumer:
    """Looks for rollouts that nobody carries out any more.

    A rollout is left alone for ``grace`` seconds without any step: an orchestration takes a moment
    between two of its phases, and a person who interrupted one has time to decide.

    :param rollouts: their journal
    :param clock: seconds
    :param spawn: starts the process of one
    :param grace: seconds that a rollout may rest without a process
    """

    rollouts: Rollouts
    clock: Clock
    spawn: Spawn
    grace: float = 30.0
    _seen: dict[str, tuple[frozenset[tuple[str, int, str]], float]] = field(default_factory=dict)
    _children: dict[str, Child] = field(default_factory=dict)

    def look(self) -> list[str]:
        """Look once; return the ids of the rollouts that are gone on with from now.

        :raises JournalError: the journal cannot be read
        """
        self._children = {id: child for id, child in self._children.items() if child.is_alive()}
        lost = {found.id: found for found in self.rollouts.interrupted()}
        self._seen = {id: mark for id, mark in self._seen.items() if id in lost}
        return [id for id, found in lost.items() if self._due(found) and self._go_on(id)]

    def _due(self, found: Rollout) -> bool:
        if found.id in self._children:
            return False
        state = self.rollouts.load(found.id)
        if not state.plan.resume:
            return False
        now = self.clock.now()
        steps = frozenset((r.step, r.attempt, r.phase) for r in state.records.values())
        mark = self._seen.get(found.id)
        if mark is None or mark[0] != steps:
            mark = self._seen[found.id] = (steps, now)
        return now - mark[1] >= self.grace

    def _go_on(self, id: str) -> bool:
        self._seen.pop(id, None)
        self._children[id] = self.spawn(id)
        return True


def spawn(opts: Mapping[str, Any], runners: Runners) -> Spawn:
    """Return what starts a process of its own for a rollout: it may take hours.

    :param opts: the master's options
    :param runners: calls a runner function of the master
    """

    def start(rollout: str) -> multiprocessing.process.BaseProcess:
        child = multiprocessing.get_context("fork").Process(
            target=go_on, args=(opts, runners, rollout), name=f"Rollout({rollout})", daemon=True
        )
        child.start()
        return child

    return start


def go_on(opts: Mapping[str, Any], runners: Runners, rollout: str) -> None:
    """Go on with a rollout; how it ends is in the journal, on the event bus and in the log."""
    try:
        rolling = Rolling.of(opts, None, runners, "the master", quiet=True)
        answer = rolling.run(rollout)
    except LockedError as err:
        log.info("rollout %s is left to others: %s", rollout, err)
    except SalternError as err:
        log.error("rollout %s cannot be gone on with: %s", rollout, err)
    else:
        log.log(logging.INFO if answer["result"] else logging.ERROR, "%s", answer["comment"])
