"""Whether the members of a RabbitMQ cluster have found each other, and who has to restart next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltern.rollout.members import PATIENCE, gather, reading
from saltern.rollout.ports import Bus

#: What a member is asked.
FACTS = "rabbitmq_cluster.facts"
#: Seconds between two looks while members are coming, and how many looks.
WAIT_INTERVAL, WAITS = 5.0, 12


@dataclass(frozen=True)
class Member:
    """What one member says: whether it is up, whom it knows, who of them runs, what is stale."""

    node: str
    up: bool
    members: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    partitioned: bool = False
    stale: bool = False

    @classmethod
    def from_facts(cls, node: str, facts: Any) -> Member:
        """Read what ``rabbitmq_cluster.facts`` returned.

        :raises GateError: it is something else
        """
        with reading(node, FACTS):
            return cls(
                node,
                bool(facts["up"]),
                frozenset(facts["members"]),
                frozenset(facts["running"]),
                bool(facts["partitions"]),
                bool(facts["stale"]),
            )


@dataclass(frozen=True)
class Step:
    """What comes next.

    :param kind: ``done``, ``restart`` (``node``), ``wait`` (may settle) or ``refuse``
    :param sentence: why
    """

    kind: str
    sentence: str
    node: str = ""


def decide(facts: Mapping[str, Member | None]) -> Step:
    """Decide the next step towards one cluster that runs with its present configuration.

    :param facts: every node of the role by minion id; None for one that did not answer
    """
    if not facts:
        return Step("refuse", "No node of this cluster carries the role rabbitmq.server.")
    silent = sorted(node for node, member in facts.items() if member is None)
    if silent:
        return Step("refuse", f"{', '.join(silent)} did not answer.")
    members = [member for _, member in sorted(facts.items()) if member is not None]
    down = [member.node for member in members if not member.up]
    if down:
        return Step("wait", f"RabbitMQ is not up on {', '.join(down)}.")
    clusters = {member.members for member in members}
    if any(not a & b for a in clusters for b in clusters):
        views = "; ".join(f"{m.node} knows {', '.join(sorted(m.members))}" for m in members)
        return Step(
            "refuse",
            f"There is more than one cluster: {views}. Stop the one that has to go, empty"
            " /var/lib/rabbitmq/mnesia there, and apply the role to it again.",
        )
    if any(member.partitioned for member in members):
        return Step("wait", "The cluster is partitioned.")
    for member in members:
        if len(member.members) != len(members) or member.running != member.members:
            return Step(
                "wait",
                f"{member.node} sees {len(member.running)} running of {len(member.members)}"
                f" members where there should be {len(members)}.",
            )
    for member in members:
        if member.stale:
            return Step(
                "restart",
                f"Restart {member.node}: its configuration is newer than its process.",
                member.node,
            )
    return Step("done", f"{len(members)} of {len(members)} members run in one cluster.")


def converge(
    bus: Bus,
    nodes: Sequence[str],
    *,
    test: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Wait until the members are one cluster, then restart stale ones, one at a time.

    :param bus: where the members answer
    :param nodes: minion ids of all members
    :param test: only say what would be done
    :param sleep: waits some seconds
    :returns: ``{result, comment, changes}``
    """
    changes: dict[str, str] = {}
    said: list[str] = []
    waits = 0
    while True:
        facts, problems = gather(bus, nodes, FACTS, Member.from_facts)
        step = decide(facts)
        if test:
            stale = [n for n, m in sorted(facts.items()) if m is not None and m.stale]
            changes = dict.fromkeys(stale, "would be restarted")
            return {
                # before the first apply nobody is up; that is no failure of a preview
                "result": None if changes or step.kind == "wait" else step.kind == "done",
                "comment": " ".join([step.sentence, *problems]),
                "changes": changes,
            }
        if step.kind == "wait" and waits < WAITS:
            waits += 1
            sleep(WAIT_INTERVAL)
            continue
        said += [step.sentence, *problems]
        if step.kind != "restart":
            return {
                "result": step.kind == "done",
                "comment": " ".join(said),
                "changes": changes,
            }
        if step.node in changes:
            said.append("It was restarted before, without effect.")
            return {"result": False, "comment": " ".join(said), "changes": changes}
        answer = bus.call([step.node], "rabbitmq_cluster.restart", timeout=PATIENCE)[step.node]
        if not answer.ok:
            said.append(f"It failed: {answer.sentence}")
            return {"result": False, "comment": " ".join(said), "changes": changes}
        changes[step.node] = "restarted"
        waits = 0
