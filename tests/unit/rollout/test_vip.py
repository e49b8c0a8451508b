"""A virtual address has exactly one holder, judged from all hosts at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from saltern.rollout import vip
from saltern.rollout.ports import Call, Return
from tests.unit.rollout.fakes import FakeBus

NODES = ("ctl01", "ctl02", "ctl03")


def answers(*holders: str, address: str = "192.0.2.1") -> dict[str, Return]:
    return {
        node: Return(node, True, {"address": address, "holder": node in holders}) for node in NODES
    }


def test_one_holder_is_good() -> None:
    assert vip.judge(answers("ctl02")) == (True, "ctl02 holds 192.0.2.1")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (answers(), "no host holds 192.0.2.1"),
        (answers("ctl01", "ctl03"), "ctl01 and ctl03 hold 192.0.2.1 at the same time"),
        (
            answers("ctl01") | {"ctl03": Return("ctl03", False, sentence="ctl03 is silent")},
            "ctl03 is silent",
        ),
        (
            answers("ctl01")
            | {"ctl03": Return("ctl03", True, {"address": "192.0.2.9", "holder": False})},
            "the hosts do not share one address but have 192.0.2.1, 192.0.2.9",
        ),
    ],
    ids=["none", "two", "silent", "two addresses"],
)
def test_anything_else_is_not(found: dict[str, Return], sentence: str) -> None:
    assert vip.judge(found) == (False, sentence)


class Rounds:
    """A bus whose hosts agree on the next of some holders at each round."""

    def __init__(self, *holders: str) -> None:
        self.left: Iterator[str] = iter(holders)
        self.now = ""

    def __call__(self, node: str, call: Call) -> Return:
        assert call.fun == "keepalived_vrrp.state"
        if node == NODES[0]:
            self.now = next(self.left)
        return Return(node, True, {"address": "192.0.2.1", "holder": node == self.now})


def settle(*holders: str) -> tuple[bool, str]:
    waited: list[float] = []
    return vip.settle(FakeBus(Rounds(*holders)), NODES, attempts=len(holders), sleep=waited.append)


def test_it_waits_for_the_election() -> None:
    assert settle("", "", "ctl01", "ctl01") == (True, "ctl01 holds 192.0.2.1")


def test_a_holder_seen_once_may_still_lose() -> None:
    assert settle("ctl01", "ctl02", "ctl02")[0] is True
    good, sentence = settle("ctl01", "ctl02", "ctl01")
    assert not good
    assert sentence == "the holder keeps changing; last ctl01 holds 192.0.2.1"


def test_it_gives_up() -> None:
    assert settle("", "", "") == (False, "no host holds 192.0.2.1")
