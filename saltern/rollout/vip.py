"""Whether a virtual address has exactly one holder, judged from what all its hosts answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from saltern.rollout.ports import Bus, Return

#: The question every host is asked.
QUESTION = "keepalived_vrrp.state"


def judge(answers: Mapping[str, Return]) -> tuple[bool, str]:
    """Judge one round of answers to :data:`QUESTION`.

    :param answers: one Return per host that shares the address
    :returns: (exactly one holder and every host answered, one sentence)
    """
    broken = [answer.sentence for _, answer in sorted(answers.items()) if not answer.ok]
    if broken:
        return False, "; ".join(broken)
    holders = sorted(node for node, answer in answers.items() if answer.data["holder"])
    addresses = sorted({str(answer.data["address"]) for answer in answers.values()})
    if len(addresses) > 1:
        return False, f"the hosts do not share one address but have {', '.join(addresses)}"
    address = addresses[0] if addresses else "the address"
    if not holders:
        return False, f"no host holds {address}"
    if len(holders) > 1:
        return False, f"{' and '.join(holders)} hold {address} at the same time"
    return True, f"{holders[0]} holds {address}"


def settle(
    bus: Bus,
    nodes: Sequence[str],
    *,
    attempts: int = 15,
    pause: float = 2,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[bool, str]:
    """Ask until the address has had one and the same holder twice in a row.

    :param bus: what reaches the hosts
    :param nodes: minion ids of all hosts that share the address
    :param attempts: rounds of questions
    :param pause: seconds between two rounds
    :param sleep: how to wait
    :returns: as :func:`judge`, of the last round
    """
    last = ""
    for attempt in range(attempts):
        if attempt:
            sleep(pause)
        good, sentence = judge(bus.call(nodes, QUESTION, timeout=30))
        if good and sentence == last:
            return True, sentence
        last = sentence
    return False, last if not good else f"the holder keeps changing; last {last}"
