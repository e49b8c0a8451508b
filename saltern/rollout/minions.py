"""Restart the agents whose configuration changed, at a moment that nobody waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saltern.rollout.ports import Bus, Clock

#: The unit that waits on a host to restart its agent (``formulas/salt/restart.jinja``).
WAITING = "salt-restart-salt-minion"
AGENT = "salt-minion"
#: Later than the answer to the call that asks for it.
RESTART = (
    f"systemctl stop {WAITING}.service; "
    f"systemd-run --quiet --collect --on-active=2 systemctl restart {AGENT}.service"
)
#: Seconds until a restarted agent must have answered.
LIMIT = 120.0
PAUSE = 2.0


@dataclass(frozen=True)
class Settled:
    """How it ended: all agents answer with their present configuration, or why not."""

    ok: bool
    restarted: tuple[str, ...]
    sentence: str


def waiting(bus: Bus, nodes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Ask which agents wait for a restart.

    :param bus: what reaches the hosts
    :param nodes: minion ids
    :returns: (nodes that wait, sentences of nodes that could not be asked)
    """
    answers = bus.call(nodes, "service.status", (WAITING,))
    broken = [answer.sentence for _, answer in sorted(answers.items()) if not answer.ok]
    return sorted(node for node, answer in answers.items() if answer.ok and answer.data), broken


def _processes(bus: Bus, nodes: Sequence[str]) -> dict[str, str]:
    """Return the main process of each agent that answers."""
    answers = bus.call(nodes, "service.show", (AGENT,), timeout=15)
    return {
        node: str(answer.data.get("MainPID", ""))
        for node, answer in answers.items()
        if answer.ok and isinstance(answer.data, dict)
    }


def settle(bus: Bus, clock: Clock, nodes: Sequence[str], *, limit: float = LIMIT) -> Settled:
    """Restart the agents that wait for it, and wait until each answers as a new process.

    :param bus: what reaches the hosts
    :param clock: time
    :param nodes: minion ids of all hosts that have just been converged
    :param limit: seconds until all must be back
    """
    due, broken = waiting(bus, nodes)
    if broken:
        return Settled(False, (), "; ".join(broken))
    if not due:
        return Settled(True, (), "no agent waits for a restart")
    before = _processes(bus, due)
    asked = bus.call(due, "cmd.run", (RESTART,))
    refused = [answer.sentence for _, answer in sorted(asked.items()) if not answer.ok]
    if refused:
        return Settled(False, (), "; ".join(refused))
    deadline = clock.now() + limit
    left = list(due)
    while left:
        clock.sleep(PAUSE)
        now = _processes(bus, left)
        left = [node for node in left if now.get(node, before.get(node)) == before.get(node)]
        if left and clock.now() > deadline:
            back = tuple(node for node in due if node not in left)
            late = ", ".join(left)
            return Settled(False, back, f"{late} did not come back within {limit:.0f} s")
    return Settled(True, tuple(due), f"restarted the agents of {', '.join(due)}")
