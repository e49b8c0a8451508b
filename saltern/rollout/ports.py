"""What rollouts need of the world, as protocols: bus, journal, event sink and clock.

The engine is written against these; ``saltern.adapters`` has the ones that speak Salt, the
unit tests have ones that replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from saltern.plan.types import Plan, PlannedCall


@dataclass(frozen=True)
class Call:
    """One function to run on an explicit list of nodes.

    :param nodes: minion ids, no globs
    :param fun: execution module function, ``state.apply``
    :param arg: positional arguments
    :param kwarg: keyword arguments
    :param timeout: seconds of silence after which a node is asked whether it still works on it
    :param limit: seconds after which a node that still works on it is counted as failed
    :param chase: whether to ask at all; False counts a node as silent once ``timeout`` is over
    :param again: a node that is there, but neither works on it nor returned anything, lost it (its
        minion was restarting) and is sent it once more; only for what may run twice
    :param fresh: each node takes its pillar anew before it runs the function
    """

    nodes: tuple[str, ...]
    fun: str
    arg: tuple[Any, ...] = ()
    kwarg: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 60
    limit: float = 3600
    chase: bool = True
    again: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Return:
    """What one node answered; a node that did not answer has one too.

    :param node: minion id
    :param ok: the function ran and succeeded (for states: every state did)
    :param data: what the function returned, None when silent
    :param retcode: Salt's return code, 1 when silent
    :param silent: the node did not answer
    :param jid: Salt job id, empty when nothing was published to the node
    :param sentence: why it is not ok, in one sentence that names the node; empty when ok
    """

    node: str
    ok: bool
    data: Any = None
    retcode: int = 0
    silent: bool = False
    jid: str = ""
    sentence: str = ""


class Bus(Protocol):
    """Publish to explicit lists of nodes and get an answer for each of them."""

    def call(
        self,
        nodes: Sequence[str],
        fun: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
        timeout: float = 60,
    ) -> dict[str, Return]:
        """Run one function on ``nodes``; the result has exactly one entry per node."""
        ...

    def call_all(self, calls: Sequence[Call]) -> list[dict[str, Return]]:
        """Publish every call at once, then collect; one result per call, in the same order."""
        ...


class Events(Protocol):
    """Where progress goes: the event bus for machines, a line for people."""

    def emit(self, tag: str, data: Mapping[str, Any], line: str = "") -> None:
        """Tell that something happened.

        :param tag: below the project's prefix, ``deploy/control/begin``
        :param data: plain data without secrets
        :param line: the same for a person; empty shows nothing
        """
        ...


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


# -- what the rollout engine needs ---------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One call and the job id it has, whether it was published yet or not."""

    jid: str
    call: Call


#: called again and again while answers are waited for; raises to stop waiting
Tick = Callable[[], None]


class JobBus(Protocol):
    """A bus whose jobs have their id before they are published, so that they can be found again.

    The engine notes the id, publishes, and collects. After a crash between any two of these
    :meth:`known` says whether the job was published, and :meth:`collect` takes up the returns that
    came meanwhile.
    """

    def new_jid(self) -> str:
        """Return a job id that no other job has."""
        ...

    def publish(self, job: Job) -> None:
        """Publish; nodes without an accepted key are left for :meth:`collect` to report.

        :raises BusError: the master cannot publish
        """
        ...

    def known(self, jid: str) -> bool:
        """Whether a job was published: the master's job cache has it."""
        ...

    def collect(self, jobs: Sequence[Job], tick: Tick | None = None) -> list[dict[str, Return]]:
        """Wait until every node of every job has answered, or is known not to.

        Takes returns from the event bus and from the job cache, asks silent nodes whether they
        still work on it, and gives each node of each job exactly one Return, a failed one when it
        keeps silent. Works for jobs of an engine that is no more.

        :param tick: called about once a second; what it raises ends the waiting
        """
        ...

    def present(self, nodes: Sequence[str], timeout: float = 15) -> dict[str, Return]:
        """Ask nodes whether they are there; one Return each."""
        ...


# States of a rollout.
PLANNED, RUNNING, PAUSED, FAILED, ABORTED, DONE, UNDONE = (
    "planned",  # begun, no step yet
    "running",
    "paused",  # by people, between two steps
    "failed",  # over budget, or a step's outcome is unknown: retry, roll back or abort
    "aborted",
    "done",
    "undone",  # a later rollback took it back
)
#: states of a rollout that is over
OVER = (ABORTED, DONE, UNDONE)

# Phases of a step's record.
INTENT, OK, BROKEN, UNKNOWN = (
    "intent",  # noted before anything is published
    "ok",
    "failed",
    "unknown",  # a step that may not run twice, and nobody knows whether it ran
)


@dataclass(frozen=True)
class NodeResult:
    """What one node made of one step; never what a function returned, which may hold secrets.

    :param ok: it succeeded
    :param sentence: why not
    :param changed: names of changed states
    :param silent: it did not answer
    :param code: of a verdict: from the closed list of ``docs/reference/codes.md``
    """

    ok: bool
    sentence: str = ""
    changed: tuple[str, ...] = ()
    silent: bool = False
    code: str = ""


@dataclass(frozen=True)
class StepRecord:
    """The latest attempt of a step as the journal has it.

    :param step: id in the plan
    :param attempt: from 1
    :param phase: :data:`INTENT`, :data:`OK`, :data:`BROKEN`, :data:`UNKNOWN`
    :param jids: of its calls, in their order; noted with the intent
    :param begun: seconds since the epoch
    :param ended: the same, None until then
    :param results: by node
    :param sentence: what went wrong as a whole
    """

    step: str
    attempt: int
    phase: str
    jids: tuple[str, ...] = ()
    begun: float = 0.0
    ended: float | None = None
    results: Mapping[str, NodeResult] = field(default_factory=dict)
    sentence: str = ""


@dataclass(frozen=True)
class Wishes:
    """What people asked of a running rollout."""

    pause: bool = False
    abort: bool = False


@dataclass(frozen=True)
class Lease:
    """Something that is out of service.

    :param id: unique
    :param owner: id of the rollout that took it
    :param step: id of its step that did
    :param node: the node that is out of service
    :param what: for people: ``ctl01 drained in haproxy keystone``
    :param undo: what gives it back
    :param taken: seconds since the epoch
    :param expires: the same; after that anybody may give it back
    :param released: when it was given back, None until then
    """

    id: str
    owner: str
    step: str
    node: str
    what: str
    undo: tuple[PlannedCall, ...]
    taken: float
    expires: float
    released: float | None = None


@dataclass(frozen=True)
class RolloutState:
    """A rollout as the journal has it.

    :param records: latest attempt of each step that was begun, by step id
    :param reason: why it is paused, failed or aborted
    """

    id: str
    plan: Plan
    state: str
    reason: str
    records: Mapping[str, StepRecord]
    wishes: Wishes
    leases: tuple[Lease, ...]


class RolloutJournal(Protocol):
    """Where the engine notes what it is about to do and what came of it.

    Every method is one transaction that is on the disk when it returns. A database that is locked
    for a moment is waited for; ``JournalError`` when it cannot be written, and nothing was then.
    """

    def load(self, rollout: str) -> RolloutState:
        """Return all there is about a rollout."""
        ...

    def wishes(self, rollout: str) -> Wishes:
        """Return what people asked for meanwhile; asked between steps and while waiting."""
        ...

    def intent(self, rollout: str, step: str, jids: Sequence[str], at: float) -> StepRecord:
        """Note that a step is about to be done: a new attempt."""
        ...

    def result(
        self,
        rollout: str,
        step: str,
        phase: str,
        results: Mapping[str, NodeResult],
        at: float,
        sentence: str = "",
    ) -> StepRecord:
        """Note how the latest attempt of a step ended."""
        ...

    def move(self, rollout: str, state: str, at: float, reason: str = "") -> None:
        """Note the state of the rollout; the locks go when it is over."""
        ...

    def lease(self, lease: Lease) -> None:
        """Note a lease, before what it stands for is done."""
        ...

    def returned(self, lease: str, at: float) -> None:
        """Note that a lease was given back."""
        ...

    def pin(self, rollout: str, nodes: Sequence[str], revision: str) -> None:
        """Pin nodes to a revision, or take their pins off (``revision`` empty); may run twice."""
        ...

    def commit(self, rollout: str, cluster: str, revision: str) -> None:
        """Make a revision the deployed one of its cluster and take off the pins to it."""
        ...
