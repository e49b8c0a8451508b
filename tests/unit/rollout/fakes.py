"""Ports that replay: a bus with scripted answers, an event list, a clock that only counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge


@dataclass(frozen=True)
class FakeNode:
    """What the stage planner reads of a compiled node."""

    applications: tuple[str, ...]
    lifecycle: Mapping[str, Any]


def state_return(*results: tuple[str, bool | None, Mapping[str, Any]]) -> dict[str, Any]:
    """A state return of ``(id, result, changes)`` in the order they ran."""
    return {
        f"file_|-{ident}_|-/etc/{ident}_|-managed": {
            "result": result,
            "changes": dict(changes),
            "comment": f"comment of {ident}",
            "__run_num__": number,
        }
        for number, (ident, result, changes) in enumerate(results)
    }


#: answer(node, call) -> Return
Answer = Callable[[str, Call], Return]


def content(node: str, call: Call) -> Return:
    """Everything works and nothing changes."""
    if call.fun == "health.check":
        (asked,) = call.arg
        checks = asked[node] if isinstance(asked, Mapping) else asked
        return judge(node, [{"check": c, "ok": True, "sentence": "fine."} for c in checks], 0)
    if call.fun == "state.apply":
        return judge(node, state_return((call.kwarg["mods"][0], True, {})), 0)
    return judge(node, True, 0)


@dataclass
class FakeBus:
    """Answers by a function; keeps every call, and which ones were published together."""

    answer: Answer = content
    published: list[list[Call]] = field(default_factory=list)

    def call(
        self,
        nodes: Sequence[str],
        fun: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
        timeout: float = 60,
    ) -> dict[str, Return]:
        return self.call_all([Call(tuple(nodes), fun, tuple(arg), dict(kwarg or {}), timeout)])[0]

    def call_all(self, calls: Sequence[Call]) -> list[dict[str, Return]]:
        self.published.append(list(calls))
        return [{node: self.answer(node, call) for node in call.nodes} for call in calls]

    def functions(self) -> list[str]:
        """The functions in the order they were published."""
        return [call.fun for calls in self.published for call in calls]

    def applied(self) -> list[tuple[str, tuple[str, ...]]]:
        """``(node, roles)`` of every state.apply in order."""
        return [
            (node, tuple(call.kwarg["mods"]))
            for calls in self.published
            for call in calls
            if call.fun == "state.apply"
            for node in call.nodes
        ]


@dataclass
class FakeEvents:
    """Keeps what was told."""

    told: list[tuple[str, Mapping[str, Any], str]] = field(default_factory=list)

    def emit(self, tag: str, data: Mapping[str, Any], line: str = "") -> None:
        self.told.append((tag, data, line))

    def tags(self) -> list[str]:
        return [tag for tag, _, _ in self.told]


@dataclass
class FakeClock:
    """A clock that stands still until someone sleeps."""

    time: float = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
