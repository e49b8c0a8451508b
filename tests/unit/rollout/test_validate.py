"""Health checks of a stage, asked alone: what is published, and what is told of the answers."""

from __future__ import annotations

import pytest

from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge, silent
from saltern.rollout.stages import Stage, make_plan
from saltern.rollout.validate import validate

from .fakes import FakeBus, FakeNode, content

NODES = ["inf01.x", "inf02.x"]
CONTRADICTION = (
    "The answer to port 1 contradicts itself (ok True, verdict fail, code port-closed): shut."
)


def make_stage(**lifecycles: dict[str, object]) -> Stage:
    lifecycle = {
        role.replace("_", "."): {"stage": "infrastructure", **policy}
        for role, policy in lifecycles.items()
    }
    nodes = {node: FakeNode(tuple(lifecycle), lifecycle) for node in NODES}
    return make_plan("c", nodes).stage("infrastructure")


def test_every_check_is_asked_and_nothing_is_applied() -> None:
    stage = make_stage(a_x={"health": [{"unit": "a"}]}, b_y={"health": [{"port": 1}]})
    bus = FakeBus()
    told = validate(stage, bus)
    assert (told["result"], told["retcode"]) == (True, 0)
    assert told["comment"] == "Stage infrastructure: 4 health checks are content."
    assert [(call.fun, call.nodes) for calls in bus.published for call in calls] == [
        ("health.check", tuple(NODES))
    ]


def test_a_stage_without_checks_asks_nobody() -> None:
    bus = FakeBus()
    told = validate(make_stage(a_x={}), bus)
    assert told["comment"] == "Stage infrastructure: nothing to ask."
    assert bus.published == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            judge(
                NODES[0],
                [{"ok": True, "sentence": "yes."}, {"ok": False, "sentence": "nobody."}],
                0,
            ),
            "inf01.x: b.y: nobody.",
        ),
        (silent(NODES[0], "did not answer"), "inf01.x: did not answer."),
        (
            judge(NODES[0], "'health.check' is not available.", 254),
            "inf01.x: 'health.check' is not available.",
        ),
        (judge(NODES[0], [], 0), "inf01.x: health.check did not answer for each of its 2 checks."),
        (
            judge(NODES[0], [{"ok": True, "sentence": "yes."}, {}], 0),
            "inf01.x: b.y: No answer to port 1.",
        ),
        (
            judge(
                NODES[0],
                [
                    {"ok": True, "sentence": "yes."},
                    {"ok": True, "verdict": "fail", "code": "port-closed", "sentence": "shut."},
                ],
                0,
            ),
            f"inf01.x: b.y: {CONTRADICTION}",
        ),
    ],
    ids=["unwell", "silent", "missing", "empty", "no answer", "contradiction"],
)
def test_whatever_is_not_known_to_be_well_fails_with_its_node(
    answer: Return, sentence: str
) -> None:
    stage = make_stage(a_x={"health": [{"unit": "a"}]}, b_y={"health": [{"port": 1}]})

    def give(node: str, call: Call) -> Return:
        return answer if node == NODES[0] else content(node, call)

    told = validate(stage, FakeBus(give))
    assert told["failures"] == [sentence]
    assert told["comment"] == f"Stage infrastructure failed: {sentence}"
    assert told["retcode"] == 1
