"""Checks that nodes carry out themselves, and what their answers mean."""

from __future__ import annotations

import pytest

from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge, silent
from saltern.sanity.nodes import run
from tests.unit.rollout.fakes import FakeBus

NODE = "mon01.example.test"


def rows(answer: Return, members: dict[str, list[str]] | None = None) -> list[tuple[bool, str]]:
    def told(node: str, call: Call) -> Return:
        assert call.fun == "ceph_client.sanity"
        return answer

    wanted = {"ceph.client": [NODE], "ceph.mon": [NODE]} if members is None else members
    return [(row.ok, row.sentence) for row in run(FakeBus(told), wanted)]


def test_a_node_that_used_it() -> None:
    answer = judge(NODE, {"ok": True, "sentence": "Wrote and read.", "seconds": 0.2}, 0)
    assert rows(answer) == [(True, "Wrote and read")]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (judge(NODE, {"ok": False, "sentence": "No.", "seconds": 1}, 0), "No"),
        (judge(NODE, "no such function", 1), "no such function"),
        (judge(NODE, True, 0), "The answer is not one"),
        (silent(NODE, "jid"), NODE),
    ],
)
def test_everything_else_failed(answer: Return, word: str) -> None:
    ((ok, sentence),) = rows(answer)
    assert ok is False
    assert word in sentence


def test_without_such_a_role_nobody_is_asked() -> None:
    assert rows(judge(NODE, None, 0), {"galera.server": [NODE]}) == []
