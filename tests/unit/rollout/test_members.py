"""Members that are asked for their facts: who says nothing is None, who says nonsense is named."""

from __future__ import annotations

from typing import Any

import pytest

from saltern.errors import GateError
from saltern.rollout.members import PATIENCE, failed, gather, reading
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import silent
from tests.unit.rollout.fakes import FakeBus

NODES = ["inf01", "inf02", "inf03"]


def size(node: str, data: Any) -> tuple[str, int]:
    with reading(node, "x.facts"):
        return node, int(data["size"])


def test_everybody_is_asked_at_once() -> None:
    calls: list[Call] = []

    def answer(node: str, call: Call) -> Return:
        calls.append(call)
        return {
            "inf01": Return(node, True, {"size": "3"}),
            "inf02": silent(node, "did not answer"),
            "inf03": Return(node, False, {"size": 3}, 1),
        }[node]

    facts, problems = gather(FakeBus(answer), NODES, "x.facts", size, {"measure": True})
    assert facts == {"inf01": ("inf01", 3), "inf02": None, "inf03": None}
    assert problems == ["inf02: did not answer.", "inf03 failed."]
    assert {(call.fun, call.kwarg["measure"], call.timeout) for call in calls} == {
        ("x.facts", True, PATIENCE)
    }


@pytest.mark.parametrize("data", [None, {}, {"size": "many"}, {"size": None}, "Passed invalid …"])
def test_what_is_no_facts_names_the_node(data: Any) -> None:
    with pytest.raises(GateError, match=r"inf02: x\.facts returned something else") as why:
        gather(FakeBus(lambda node, call: Return(node, True, data)), ["inf02"], "x.facts", size)
    assert "saltutil.sync_modules" in str(why.value)


def test_who_succeeded_says_nothing() -> None:
    answers = [Return("inf01", True), Return("inf02", False, sentence="inf02: no quorum.")]
    assert failed(answers) == ["inf02: no quorum."]
