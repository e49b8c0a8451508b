"""The states that an orchestration shows: a runner's answer, mapped without believing too much."""

from __future__ import annotations

from typing import Any

import pytest

from saltern.states import rollout


class Runner:
    """Stands for ``saltutil.runner``."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.called: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, function: str, kwarg: dict[str, Any], full_return: bool) -> Any:
        assert full_return
        self.called.append((function, kwarg))
        return self.answer


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Give the module its dunders; returns the runner that it will call."""

    def give(answer: Any, *, test: bool = False) -> Runner:
        runner = Runner(answer)
        monkeypatch.setattr(rollout, "__salt__", {"saltutil.runner": runner}, raising=False)
        monkeypatch.setattr(rollout, "__opts__", {"test": test}, raising=False)
        return runner

    return give


def answered(success: bool = True, **data: Any) -> dict[str, Any]:
    return {"success": success, "return": {"retcode": 0, "changes": {}, "comment": "c", **data}}


CHANGES = {"a.x": ["conf (file.managed)"]}


@pytest.mark.parametrize(
    ("answer", "test", "result"),
    [
        (answered(result=True), False, True),
        (answered(result=True, changes=CHANGES), False, True),
        (answered(result=None, changes=CHANGES), True, None),
        (answered(result=True), True, True),
        # None is for test mode with changes only
        (answered(result=None), True, True),
        (answered(result=False), False, False),
        (answered(result=False), True, False),
        (answered(result=True, retcode=2), False, False),
        (answered(False, result=True), False, False),
        (answered(False, result=None, changes=CHANGES), True, False),
        (answered(result="yes"), False, False),
    ],
)
def test_results(load, answer, test, result):
    load(answer, test=test)
    ret = rollout.stage("control")
    assert ret["result"] is result
    assert ret["comment"] == "c"
    assert ret["changes"] == answer["return"]["changes"]
    assert ret["name"] == "control"


@pytest.mark.parametrize(
    "answer",
    [
        {"success": True, "return": "Exception occurred in runner deploy.stage: Traceback"},
        {"success": True, "return": "Passed invalid arguments"},
        {"success": True, "return": {"no": "result"}},
        {"success": True},
        "text",
        None,
    ],
)
def test_what_is_no_answer_fails(load, answer):
    load(answer)
    ret = rollout.stage("control")
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert ret["comment"].startswith("Runner function deploy.stage failed: ")


def test_arguments(load):
    runner = load(answered(result=True))
    rollout.stage("control", cluster="demo")
    rollout.stage("control")
    rollout.recovered("galera.recover", cluster="demo")
    rollout.validated("control", cluster="demo")
    assert runner.called == [
        ("deploy.stage", {"name": "control", "cluster": "demo"}),
        ("deploy.stage", {"name": "control"}),
        ("galera.recover", {"cluster": "demo"}),
        ("deploy.validate", {"name": "control", "cluster": "demo"}),
    ]


def test_test_mode_is_handed_on_and_validates_nothing(load):
    runner = load(answered(result=True), test=True)
    rollout.stage("control")
    rollout.recovered("galera.recover")
    assert [kwarg["test"] for _, kwarg in runner.called] == [True, True]
    assert rollout.validated("control") == {
        "name": "control",
        "changes": {},
        "result": True,
        "comment": "The health checks of stage control would be asked.",
    }
    assert len(runner.called) == 2


def test_a_rollout_is_begun_by_plan_or_by_workflow(load):
    runner = load(answered(result=True, comment="Rollout r1 is begun."))
    rollout.begun("change", plan="1f0c", approved_by="oncall", options={"canary": 2})
    rollout.begun("scale-out", cluster="demo", options={"nodes": "cmp081", "revision": "v2"})
    assert runner.called == [
        ("rollout.begin", {"plan": "1f0c", "approved_by": "oncall"}),
        (
            "rollout.begin",
            {
                "cluster": "demo",
                "workflow": "scale-out",
                "nodes": "cmp081",
                "revision": "v2",
            },
        ),
    ]


@pytest.mark.parametrize(("code", "result"), [(0, True), (1, False), (2, False), (3, False)])
def test_a_phase_is_done_only_when_its_rollout_says_so(load, code, result):
    runner = load(answered(result=not code, retcode=code))
    assert rollout.phase("control", plan="1f0c")["result"] is result
    assert runner.called == [("rollout.phase", {"name": "control", "plan": "1f0c"})]


def test_a_rollback_previews_in_test_mode(load):
    runner = load(answered(result=None, changes={"plan": "1f0c"}), test=True)
    assert rollout.undone("r1")["result"] is None
    assert runner.called == [
        ("rollout.rollback", {"rollout": "r1", "data": True, "test": True}),
    ]
    runner = load(answered(result=True))
    assert rollout.undone("r1", accept_loss=True)["result"] is True
    assert runner.called == [("rollout.rollback", {"rollout": "r1", "accept_loss": True})]
