"""What the stage runner needs of the world, as protocols: a bus, an event sink and a clock.

The engine is written against these; ``saltern.adapters`` has the ones that speak Salt, the
unit tests have ones that replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


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
    """

    nodes: tuple[str, ...]
    fun: str
    arg: tuple[Any, ...] = ()
    kwarg: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 60
    limit: float = 3600
    chase: bool = True
    again: bool = False


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
