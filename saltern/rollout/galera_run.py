"""Carry out what :mod:`saltern.rollout.galera` decides, one member at a time, over a bus.

After every step the facts of all members are gathered anew: a decision is never older than the
state it was made for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.rollout import members
from saltern.rollout.galera import (
    FACTS,
    Bootstrap,
    Decision,
    Facts,
    Join,
    Measure,
    Member,
    Nothing,
    Refuse,
    Restart,
    Wait,
    outcome,
    sentence,
)
from saltern.rollout.members import PATIENCE
from saltern.rollout.ports import Bus

#: Seconds that a member has for a full copy of the data before joining counts as failed.
JOIN_DEADLINE = 1800
#: Between two looks at members that are between states, in seconds, and how often.
WAIT_INTERVAL, WAITS = 3.0, 20

Decide = Callable[[Facts], Decision]


@dataclass
class Result:
    """What became of a run.

    :param result: True done, False failed or refused, None a preview that would change something
    :param comment: sentences in the order things happened
    :param changes: what was done (would be done) by minion id
    :param refused: nothing was changed because the decision was to refuse
    """

    result: bool | None = True
    comment: list[str] = field(default_factory=list)
    changes: dict[str, str] = field(default_factory=dict)
    refused: bool = False

    def to_ret(self) -> dict[str, Any]:
        """Shape it as a runner returns it: ``{result, comment, changes[, retcode]}``."""
        ret: dict[str, Any] = {
            "result": self.result,
            "comment": " ".join(self.comment),
            "changes": self.changes,
        }
        if self.result is False:
            ret["retcode"] = 2 if self.refused and not self.changes else 1
        return ret


def gather(
    bus: Bus, nodes: Sequence[str], measure: bool = False
) -> tuple[dict[str, Member | None], list[str]]:
    """Ask every node for its facts.

    :param nodes: minion ids of all members
    :param measure: also ask stopped servers for their last committed position
    :returns: a Member by minion id, None for a node that did not answer or failed to say; and a
        sentence for each of those
    :raises GateError: a node returned something that is no facts
    """
    return members.gather(bus, nodes, FACTS, Member.from_facts, {"measure": measure})


def converge(
    bus: Bus,
    nodes: Sequence[str],
    decide: Decide,
    *,
    test: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Decide and act until there is nothing left to do.

    :param bus: where the members answer
    :param nodes: minion ids of all members
    :param decide: facts of all members to a decision
    :param test: only say what would be done
    :param tell: hears a sentence before each step
    :param sleep: waits some seconds
    :returns: what was done; a failed step ends the run
    """
    run = Result()
    if test:
        facts, problems = gather(bus, nodes)
        return _foresee(facts, decide, run, problems)
    measured, waits, steps, last = False, 0, 0, None
    while True:
        facts, problems = gather(bus, nodes, measure=measured)
        decision = decide(facts)
        if isinstance(decision, Wait) and waits < WAITS:
            waits += 1
            sleep(WAIT_INTERVAL)
            continue
        if isinstance(decision, Nothing | Refuse | Wait):
            run.comment += [sentence(decision), *problems]
            run.result = isinstance(decision, Nothing)
            run.refused = isinstance(decision, Refuse)
            return run
        step = (type(decision), _target(decision))
        steps += 1
        if step == last or steps > 3 * len(nodes) + 3:
            run.comment.append(f"{sentence(decision)} That was done before, without effect.")
            run.result = False
            return run
        tell(sentence(decision))
        failed = _act(bus, decision)
        if failed:
            run.comment.append(f"{sentence(decision)} It failed: {failed}")
            run.result = False
            return run
        last, waits = step, 0
        if isinstance(decision, Measure):
            measured = True
        else:
            run.comment.append(sentence(decision))
            run.changes[decision.node] = _done(decision)


def _act(bus: Bus, decision: Bootstrap | Join | Restart | Measure) -> str:
    """Carry out one decision; the answer is why it failed, empty when it did not."""
    kwarg: Mapping[str, Any]
    if isinstance(decision, Measure):
        returns = bus.call(decision.nodes, "galera_cluster.stop", timeout=PATIENCE)
    elif isinstance(decision, Bootstrap):
        position = decision.position
        kwarg = {"uuid": position.uuid, "seqno": position.seqno} if position else {}
        returns = bus.call(
            [decision.node], "galera_cluster.bootstrap", kwarg=kwarg, timeout=PATIENCE
        )
    else:
        fun = "galera_cluster.join" if isinstance(decision, Join) else "galera_cluster.restart"
        returns = bus.call(
            [decision.node], fun, kwarg={"deadline": JOIN_DEADLINE}, timeout=PATIENCE
        )
    return " ".join(members.failed(returns.values()))


def _foresee(
    facts: dict[str, Member | None], decide: Decide, run: Result, problems: Sequence[str]
) -> Result:
    for _ in range(3 * len(facts) + 1):
        decision = decide(facts)
        if isinstance(decision, Nothing | Refuse | Wait):
            if not run.changes or not isinstance(decision, Nothing):
                run.comment += [sentence(decision), *problems]
            run.refused = isinstance(decision, Refuse)
            run.result = None if run.changes else isinstance(decision, Nothing)
            return run
        run.comment.append(sentence(decision))
        if isinstance(decision, Measure):
            run.comment.append("Who begins depends on these positions.")
            run.changes.update(dict.fromkeys(decision.nodes, "would be stopped and measured"))
            run.result = None
            return run
        run.changes[decision.node] = f"would be {_done(decision)}"
        facts = outcome(decision, facts)
    raise RuntimeError("a preview of a Galera cluster does not come to an end")


def _target(decision: Bootstrap | Join | Restart | Measure) -> tuple[str, ...]:
    return decision.nodes if isinstance(decision, Measure) else (decision.node,)


def _done(decision: Bootstrap | Join | Restart) -> str:
    if isinstance(decision, Bootstrap):
        return f"bootstrapped at {decision.position}" if decision.position else "bootstrapped"
    return "joined" if isinstance(decision, Join) else "restarted"
