"""A stage over replayed ports: what is published, when it stops, and what it reports."""

from __future__ import annotations

import json

import pytest

from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge, silent
from saltern.rollout.run import StageReport, StageRunner
from saltern.rollout.stages import make_plan

from .fakes import FakeBus, FakeClock, FakeEvents, FakeNode, content, state_return

NODES = ["inf01.x", "inf02.x", "inf03.x"]


def make_stage(**lifecycles):
    """The infrastructure stage of three nodes that carry every given role."""
    lifecycle = {
        role.replace("_", "."): {"stage": "infrastructure", **policy}
        for role, policy in lifecycles.items()
    }
    nodes = {node: FakeNode(tuple(lifecycle), lifecycle) for node in NODES}
    return make_plan("c", nodes).stage("infrastructure")


class Forms:
    """Stands for the runner functions that make clusters."""

    def __init__(self, **answer):
        self.answer = answer or {"result": True, "changes": {}, "comment": "is formed"}
        self.called = []

    def __call__(self, function, cluster, nodes, test):
        self.called.append((function, cluster, tuple(nodes), test))
        return self.answer


def run(stage, bus, *, forms=None, **options):
    events = FakeEvents()
    runner = StageRunner("c", bus, events, FakeClock(), forms or Forms())
    return runner.run(stage, **options), events


def when(fun, node, give):
    """Answer one node's call of one function otherwise than content."""

    def answer(asked: str, call: Call) -> Return:
        return give(call) if (call.fun, asked) == (fun, node) else content(asked, call)

    return answer


def test_a_content_stage():
    stage = make_stage(galera_server={"health": [{"unit": "mariadb"}, {"port": 3306}]})
    bus = FakeBus()
    report, events = run(stage, bus)
    assert report.result is True
    assert report.failures == []
    assert report.asked == 6
    assert report.comment == (
        "Stage infrastructure: 0 states changed on 3 hosts; 6 health checks are content."
    )
    assert report.changes == {}
    assert bus.functions() == [
        "saltutil.refresh_pillar",
        "state.apply",
        *["health.check"] * 3,
    ]
    assert events.tags()[0] == "deploy/infrastructure/begin"
    assert events.tags()[-1] == "deploy/infrastructure/end"


def test_modules_are_sent_before_the_pillar_is_refreshed_when_asked_for():
    bus = FakeBus()
    run(make_stage(a_x={}), bus, sync=True)
    assert bus.functions()[:2] == ["saltutil.sync_all", "saltutil.refresh_pillar"]
    # without waiting, the next call would still see the old pillar and the old modules
    assert bus.published[1][0].kwarg["wait"] is True


def test_changes_are_counted_by_host():
    def answer(node, call):
        if call.fun == "state.apply":
            changed = {"diff": "x"} if node == NODES[1] else {}
            states = state_return(("conf", True, changed), ("more", True, changed))
            return judge(node, states, 0)
        return content(node, call)

    report, _ = run(make_stage(a_x={}), FakeBus(answer))
    assert report.changes == {NODES[1]: ["conf (file.managed)", "more (file.managed)"]}
    assert report.to_json()["counts"] == {NODES[0]: 0, NODES[1]: 2, NODES[2]: 0}
    assert "2 states changed on 3 hosts (inf01 0, inf02 2, inf03 0)" in report.comment


@pytest.mark.parametrize(
    ("give", "sentence"),
    [
        (
            lambda c: judge(NODES[1], state_return(("ok", True, {}), ("conf", False, {})), 2),
            "inf02.x: state conf (file.managed) failed: comment of conf.",
        ),
        (
            lambda c: silent(NODES[1], "did not answer state.apply within 90 s"),
            "inf02.x: did not answer state.apply within 90 s.",
        ),
        (
            lambda c: judge(NODES[1], ["Rendering SLS 'base:a.x' failed: no such key"], 1),
            "inf02.x: Rendering SLS 'base:a.x' failed: no such key.",
        ),
    ],
    ids=["failed state", "silent", "render error"],
)
def test_the_first_failed_step_stops_the_stage(give, sentence):
    stage = make_stage(a_x={"start": "serial"}, b_y={"after": ["a.x"]})
    bus, forms = FakeBus(when("state.apply", NODES[1], give)), Forms()
    report, events = run(stage, bus, forms=forms)
    assert report.result is False
    assert report.failures == [sentence]
    assert report.comment == f"Stage infrastructure failed: {sentence}"
    assert report.to_json()["retcode"] == 1
    assert bus.applied() == [(NODES[0], ("a.x",)), (NODES[1], ("a.x",))]
    assert "health.check" not in bus.functions()
    assert events.tags()[-1] == "deploy/infrastructure/fail"


def test_all_failures_of_one_step_are_reported():
    def answer(node, call):
        return silent(node, "is gone") if call.fun == "state.apply" else content(node, call)

    report, _ = run(make_stage(a_x={}), FakeBus(answer))
    assert report.failures == [f"{node}: is gone." for node in NODES]


def test_a_node_that_takes_no_pillar_stops_the_stage_before_anything_is_applied():
    def give(call):
        return silent(NODES[2], "did not answer")

    bus = FakeBus(when("saltutil.refresh_pillar", NODES[2], give))
    report, _ = run(make_stage(a_x={}), bus)
    assert report.failures == ["inf03.x: did not answer."]
    assert bus.applied() == []


def test_nodes_with_the_same_roles_are_published_in_one_call():
    bus = FakeBus()
    run(make_stage(a_x={}, b_y={}), bus)
    (calls,) = [calls for calls in bus.published if calls[0].fun == "state.apply"]
    assert [(call.nodes, call.kwarg) for call in calls] == [
        (tuple(NODES), {"mods": ["a.x", "b.y"]})
    ]


def test_a_form_runs_once_after_all_members_and_before_what_waits_for_it():
    order = []

    def answer(node, call):
        if call.fun == "state.apply":
            order.append((node, *call.kwarg["mods"]))
        return content(node, call)

    def forms(function, cluster, nodes, test):
        order.append((function, cluster, tuple(nodes), test))
        return {"result": True, "changes": {"members": 3}, "comment": "3 members"}

    stage = make_stage(a_db={"form": "galera.form"}, b_y={"after": ["a.db"]})
    report, _ = run(stage, FakeBus(answer), forms=forms)
    assert order == [
        *[(node, "a.db") for node in NODES],
        ("galera.form", "c", tuple(NODES), False),
        *[(node, "b.y") for node in NODES],
    ]
    assert report.changes == {"formed": {"a.db": {"members": 3}}}
    assert "formed a.db" in report.comment


def test_a_form_that_fails_stops_the_stage():
    stage = make_stage(a_db={"form": "galera.form"}, b_y={"after": ["a.db"]})
    bus = FakeBus()
    report, events = run(
        stage, bus, forms=Forms(result=False, comment="inf02.x has other data", retcode=1)
    )
    assert report.failures == ["galera.form: inf02.x has other data"]
    assert [roles for _, roles in bus.applied()] == [("a.db",)] * 3
    assert events.tags()[-1] == "deploy/infrastructure/fail"


def test_a_failed_health_check_stops_with_node_role_and_sentence():
    stage = make_stage(a_x={"health": [{"unit": "a"}]}, b_y={"health": [{"port": 1}]})

    def give(call):
        answers = [{"check": c, "ok": "unit" in c, "sentence": "nobody."} for c in call.arg[0]]
        return judge(NODES[1], answers, 0)

    report, _ = run(stage, FakeBus(when("health.check", NODES[1], give)))
    assert report.failures == ["inf02.x: b.y: nobody."]
    assert report.asked == 5


@pytest.mark.parametrize(
    ("give", "sentence"),
    [
        (lambda c: silent(NODES[0], "did not answer"), "inf01.x: did not answer."),
        (
            lambda c: judge(NODES[0], "'health.check' is not available.", 254),
            "inf01.x: 'health.check' is not available.",
        ),
        (lambda c: judge(NODES[0], [], 0), "inf01.x: health.check did not answer for each"),
        (lambda c: judge(NODES[0], True, 0), "inf01.x: health.check did not answer for each"),
        (lambda c: judge(NODES[0], [{}], 0), "inf01.x: a.x: no sentence"),
    ],
)
def test_no_answer_to_a_health_check_is_no_health(give, sentence):
    stage = make_stage(a_x={"health": [{"unit": "a"}]})
    report, _ = run(stage, FakeBus(when("health.check", NODES[0], give)))
    assert report.result is False
    assert len(report.failures) == 1
    assert report.failures[0].startswith(sentence)


def test_test_mode_only_asks_for_predictions():
    def answer(node, call):
        assert call.kwarg["test"] is True
        return judge(node, state_return(("conf", None, {"diff": "x"})), 0)

    forms = Forms(result=None, changes={"bootstrap": "inf01.x"}, comment="would bootstrap")
    stage = make_stage(a_db={"form": "galera.form", "health": [{"unit": "mariadb"}]})
    bus = FakeBus(answer)
    report, _ = run(stage, bus, forms=forms, test=True, sync=True)
    assert set(bus.functions()) == {"state.apply"}
    assert forms.called == [("galera.form", "c", tuple(NODES), True)]
    assert report.result is None
    assert "3 states would change on 3 hosts" in report.comment
    assert "would form a.db" in report.comment


def test_test_mode_without_predictions_is_true():
    report, _ = run(make_stage(a_x={}), FakeBus(), test=True)
    assert report.result is True


def test_test_mode_predicts_later_levels_after_a_failure_and_fails():
    stage = make_stage(a_x={}, b_y={"after": ["a.x"]})

    def give(call):
        return judge(NODES[0], state_return(("conf", False, {})), 2)

    bus = FakeBus(when("state.apply", NODES[0], give))
    report, _ = run(stage, bus, test=True)
    assert [roles for _, roles in bus.applied()] == [("a.x",)] * 3 + [("b.y",)] * 3
    assert report.result is False


def test_a_stage_without_roles_is_done():
    stage = make_plan("c", {}).stage("control")
    bus = FakeBus()
    report, _ = run(stage, bus)
    assert report.result is True
    assert bus.published == []


def test_events_are_plain_data_and_name_the_cluster():
    stage = make_stage(a_db={"form": "galera.form", "health": [{"unit": "mariadb"}]})
    _, events = run(stage, FakeBus())
    for tag, data, _ in events.told:
        assert tag.startswith("deploy/infrastructure/")
        assert json.loads(json.dumps(data)) == data
        assert data["cluster"] == "c"
    assert [tag.split("/", 2)[2] for tag in events.tags()] == [
        "begin",
        "step/begin",
        "step/end",
        "form/begin",
        "form/end",
        "validate/begin",
        "validate/end",
        "end",
    ]


def test_validate_asks_and_applies_nothing():
    stage = make_stage(a_x={"health": [{"unit": "a"}]})
    bus = FakeBus()
    runner = StageRunner("c", bus, FakeEvents(), FakeClock(), Forms())
    report = runner.validate(stage)
    assert report.comment == "Stage infrastructure: 3 health checks are content."
    assert bus.functions() == ["saltutil.refresh_pillar", *["health.check"] * 3]


def test_an_empty_report_says_so():
    assert StageReport("control", "c").comment == "Stage control: nothing to do."
