"""When each wave of a plan begins, as far as rate and earlier rollouts tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from saltern.plan.types import Plan


@dataclass(frozen=True)
class Slot:
    """A wave in time.

    :param stage: its stage
    :param wave: its number in there
    :param name: of the wave
    :param nodes: its nodes
    :param domains: their failure domains
    :param begin: minutes after the begin of the rollout
    :param minutes: how long it works, None when no earlier rollout tells
    :param least: whether it may begin later, as a wave before it takes a time that nobody knows
    """

    stage: str
    wave: int
    name: str
    nodes: tuple[str, ...]
    domains: tuple[str, ...]
    begin: float
    minutes: float | None
    least: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"nodes": list(self.nodes), "domains": list(self.domains)}


def schedule(plan: Plan) -> tuple[Slot, ...]:
    """Lay the waves of a plan out in time, the way the engine does.

    A wave begins when the one before it has ended and, with a rate, not before that one's nodes
    have had their share of the hour; between stages nothing waits. What people do meanwhile
    (pauses), and failures, are not in it.

    :returns: all waves in their order; none when neither rate nor history tells anything
    """
    found = []
    at, least = 0.0, False
    for stage in plan.stages:
        for place, wave in enumerate(stage.waves):
            found.append(
                Slot(
                    stage.name, wave.number, wave.name, wave.nodes, wave.domains,
                    round(at, 1), wave.minutes, least,
                )
            )  # fmt: skip
            takes = wave.minutes or 0.0
            # the last wave of a stage holds nobody up
            if stage.rate > 0 and any(later.nodes for later in stage.waves[place + 1 :]):
                takes = max(takes, len(wave.nodes) * 60.0 / stage.rate)
            at, least = at + takes, least or wave.minutes is None
    known = any(slot.minutes is not None for slot in found)
    return tuple(found) if known or any(slot.begin for slot in found) else ()


def total(slots: tuple[Slot, ...]) -> float:
    """Return the minutes until the last wave is over, at least."""
    return round(slots[-1].begin + (slots[-1].minutes or 0.0), 1) if slots else 0.0
