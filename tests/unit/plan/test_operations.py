"""What roles declare beside their states: checks before a wave, how nodes leave, named work."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from saltern.errors import PlanError
from saltern.plan.make import make
from saltern.plan.operation import offers, offers_text
from saltern.plan.request import Request
from saltern.plan.roles import Roles
from saltern.plan.show import show
from saltern.plan.types import Plan
from saltern.plan.undo import losses, undo

from .clusters import KNOWN, OLD, example, facts, small, touched
from .test_undo import records

THREE = ["n1", "n2", "n3"]
MONS = ["m1", "m2", "m3"]
STOP = {"call": "g.may_stop", "args": ["{wave}"], "on": "c.mon", "retry": {"attempts": 2}}
REPLACE = {
    "what": "replace store {store}.",
    "arguments": {
        "store": {"type": "integer", "minimum": 0},
        "device": {"type": "string", "default": "/dev/sdb"},
    },
    "drain": True,
    "reversible": "until_write",
    "steps": [
        {"check": {"call": "d.looks", "args": ["{store}"]}},
        {
            "call": "d.destroy",
            "args": ["{store}", "{short}"],
            "on": "c.mon",
            "what": "{short}: store {store} is destroyed",
            "limit": 60,
            "undo": {"call": "d.restore", "args": ["{store}"]},
        },
        {"call": "d.wipe", "kwargs": {"device": "{device}"}, "idempotent": False},
        {"apply": True},
    ],
}


def cluster(more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Three stores and three monitors; ``more`` is the lifecycle of the stores."""
    told = {
        "c.osd": {"drain": "h.hold", "release": "h.release", **(more or {})},
        "c.mon": {"stage": "infrastructure", "quorum": "majority"},
    }
    return small({"c.osd": THREE, "c.mon": MONS, "a.x": THREE}, told)


def plan_of(workflow, target, /, current=None, now=None, told=None, **options) -> Plan:
    current = target if current is None else current
    request = Request.read(workflow, "c", options)
    return make(request, target, current, now or facts(current), told or {}, KNOWN)


def gates(plan: Plan) -> list[dict[tuple[str, str], tuple[Any, ...]]]:
    """Per wave: who is asked what about which role in its gate."""
    return [
        {(check.node, check.role): check.checks for check in step.checks}
        for _, _, step in plan.steps()
        if step.kind == "gate"
    ]


# -- before ----------------------------------------------------------------------------------------


def test_a_check_before_a_wave_is_asked_once_of_one_member_and_names_the_wave():
    nodes = cluster({"before": [STOP], "max_unavailable": 2})
    plan = plan_of("change", nodes, told=touched(nodes, "c.osd"), percent=())
    asked = {**STOP, "args": [["n1"]]}
    del asked["on"]
    first, second = gates(plan)
    assert first["m1", "c.osd"] == (asked,)
    assert second["m1", "c.osd"] == ({**asked, "args": [["n2", "n3"]]},)
    assert [key for key in second if key[0] in MONS] == [("m1", "c.osd")]
    # it is no check of health
    verify = next(step for _, _, step in plan.steps() if step.kind == "verify")
    assert [check.node for check in verify.checks] == ["n1"]


def test_a_check_before_a_wave_is_asked_of_each_node_without_on():
    nodes = cluster({"before": [{"call": "d.fits", "args": ["{short}", "{address}"]}]})
    (gate, *_) = gates(plan_of("change", nodes, told=touched(nodes, "c.osd")))
    address = nodes["n1"].host["address"]
    assert {"call": "d.fits", "args": ["n1", address]} in [*gate["n1", "c.osd"]] + [
        check for key, checks in gate.items() if key[0] == "n1" for check in checks
    ]


def test_only_what_is_disturbed_asks_before_a_wave():
    nodes = cluster({"before": [STOP]})
    assert ("m1", "c.osd") not in gates(plan_of("change", nodes, told=touched(nodes, "a.x")))[0]
    assert ("m1", "c.osd") in gates(plan_of("reboot", nodes, nodes="n1"))[0]


def test_who_is_asked_before_a_wave_is_there_and_outside_of_it():
    nodes = cluster({"before": [{**STOP, "on": "c.osd"}], "max_unavailable": 2})
    now = facts(nodes, absent={"m1": "no answer"}, down={"c.osd": frozenset({"n2"})})
    plan = plan_of("restart", nodes, now=now, nodes="n1", roles="c.osd", allow_absent=True)
    assert ("n3", "c.osd") in gates(plan)[0]
    nodes = cluster({"before": [STOP]})
    told = touched(nodes, "c.osd")
    gone = facts(nodes, absent=dict.fromkeys(MONS, "no answer"))
    with pytest.raises(PlanError, match=r"c\.osd is asked or done on c\.mon, and none of m1-3"):
        plan_of("change", nodes, now=gone, told=told)
    nodes = cluster({"before": [{**STOP, "on": "z.z"}]})
    with pytest.raises(PlanError, match=r"on z\.z, and no node carries it. Give z\.z to a node"):
        plan_of("change", nodes, told=told)


def test_an_operation_that_drains_nothing_takes_nothing_away_and_asks_nothing_before():
    work = {"what": "work", "steps": [{"call": "w.work"}]}
    told = {"work": work, "away": {**work, "drain": True}}
    nodes = cluster({"before": [STOP], "operations": told})
    assert ("m1", "c.osd") not in gates(operation(nodes, "c.osd.work"))[0]
    assert ("m1", "c.osd") in gates(operation(nodes, "c.osd.away"))[0]


def test_a_new_node_is_no_matter_of_a_check_before_a_wave():
    target = cluster({"before": [STOP, {"call": "d.fits"}]})
    current = {name: node for name, node in target.items() if name != "n3"}
    plan = plan_of("scale-out", target, current, facts(target), nodes="n3")
    wave = next(
        g for (_, w, _), g in zip(_gated(plan), gates(plan), strict=True) if "n3" in w.nodes
    )
    assert ("m1", "c.osd") not in wave
    assert not wave.get(("n3", "c.osd"))


def _gated(plan: Plan) -> list[Any]:
    return [found for found in plan.steps() if found[2].kind == "gate"]


# -- leave -----------------------------------------------------------------------------------------

LEAVE = [
    {
        "call": "d.evacuate",
        "args": ["{short}"],
        "on": "c.mon",
        "what": "{short} is emptied",
        "limit": 7200,
        "undo": {"call": "d.fill", "args": ["{short}"]},
    },
    {"call": "d.purge", "args": ["{wave}"], "on": "c.mon", "reversible": "always"},
]


def left(more: dict[str, Any], members: dict[str, list[str]] | None = None) -> Plan:
    current = cluster(more)
    target = {name: node for name, node in current.items() if name != "n3"}
    return plan_of("scale-in", target, current, nodes="n3")


def test_a_role_that_says_how_nodes_leave_is_not_drained():
    plan = left({"leave": LEAVE})
    (wave,) = plan.stages[0].waves
    assert [(s.kind, [(c.fun, c.nodes, c.arg, c.serves) for c in s.calls]) for s in wave.steps] == [
        ("gate", []),
        ("call", [("d.evacuate", ("m1",), ("n3",), ("n3",))]),
        ("call", [("d.purge", ("m1",), (["n3"],), ("n3",))]),
        ("call", [("state.apply", ("n3",), (), ())]),
    ]
    _, evacuate, purge, _ = wave.steps
    assert (evacuate.title, evacuate.limit, evacuate.reversible) == (
        "n3 is emptied",
        7200,
        "always",
    )
    assert (purge.title, purge.reversible) == ("c.osd: d.purge on n3", "always")
    without = left({})
    assert without.stages[0].waves[0].steps[1].calls[0].fun == "h.hold"


def test_a_role_drains_though_another_one_says_how_it_leaves():
    told = {
        "c.osd": {"leave": LEAVE[1:], "drain": "h.hold", "release": "h.release"},
        "a.x": {"drain": "x.drain", "release": "x.release"},
    }
    current = small({"c.osd": THREE, "c.mon": MONS, "a.x": THREE}, told)
    target = {name: node for name, node in current.items() if name != "n3"}
    plan = plan_of("scale-in", target, current, nodes="n3")
    calls = [call.fun for _, _, step in plan.steps() for call in step.calls]
    assert calls[:2] == ["x.drain", "d.purge"]


def test_leaving_is_taken_back_in_reverse_order():
    plan = left({"leave": LEAVE})
    back = undo(plan, records(plan, until="leave/1/4-call"))
    calls = [
        (c.fun, c.nodes, c.arg) for _, _, s in back.steps() if s.kind == "call" for c in s.calls
    ]
    assert calls == [("state.apply", ("n3",), ()), ("d.fill", ("m1",), ("n3",))]


def test_leaving_without_an_undo_is_a_point_of_no_return():
    plan = left({"leave": [{"call": "d.purge"}]})
    assert plan.no_return == "leave/1/2-call"
    with pytest.raises(PlanError, match="point of no return at leave/1/2-call"):
        undo(plan, records(plan))


# -- operations ------------------------------------------------------------------------------------


def operation(cluster, name="c.osd.replace-store", /, now=None, **options) -> Plan:
    return plan_of(
        "operation", cluster, now=now or facts(cluster, revision=OLD), operation=name, **options
    )


def test_an_operation_runs_its_steps_in_a_wave_of_its_own_kind():
    nodes = cluster({"operations": {"replace-store": REPLACE}, "before": [STOP]})
    plan = operation(nodes, nodes="n1", args="{store: 3}")
    (stage,) = plan.stages
    (wave,) = stage.waves
    assert [step.kind for step in wave.steps] == [
        *("gate", "drain", "gate", "call", "call", "apply", "verify", "release")
    ]
    _, _, looks, destroy, wipe, applied, _, _ = wave.steps
    (call,) = destroy.calls
    assert (call.fun, call.nodes, call.arg, call.serves) == (
        "d.destroy",
        ("m1",),
        (3, "n1"),
        ("n1",),
    )
    assert (destroy.title, destroy.limit) == ("n1: store 3 is destroyed", 60)
    assert [(c.fun, c.nodes, c.arg) for c in destroy.undo] == [("d.restore", ("m1",), (3,))]
    assert (wipe.calls[0].kwarg, wipe.idempotent) == ({"device": "/dev/sdb"}, False)
    assert looks.checks[0].checks == ({"call": "d.looks", "args": [3]},)
    assert applied.calls[0].kwarg == {"mods": ["c.osd"]}
    assert [s.reversible for s in wave.steps[2:6]] == ["always", "always", "until_write", "always"]
    assert ("m1", "c.osd") in gates(plan)[0]
    assert (stage.name, stage.phase) == ("c.osd.replace-store", "control")
    assert plan.limits["args"] == {"store": 3}
    assert not {"pin", "commit"} & {step.kind for _, _, step in plan.steps()}
    text = show(plan)
    assert "replace store {store}" not in text
    assert "args=store:3" in text


def test_an_operation_goes_over_the_members_of_its_role_in_waves():
    nodes = cluster({"operations": {"rotate": {"what": "new keys", "steps": [{"call": "k.new"}]}}})
    plan = operation(nodes, "c.osd.rotate")
    assert [wave.nodes for wave in plan.stages[0].waves] == [("n1",), ("n2",), ("n3",)]
    assert "drain" not in {step.kind for _, _, step in plan.steps()}
    assert plan.no_return == "c.osd.rotate/1/2-call"


def test_what_is_the_same_for_a_wave_is_called_once():
    entry = {
        "what": "weigh",
        "impact": {"control": "none", "data": "none", "why": "nothing moves"},
        "steps": [
            {"call": "w.set", "args": ["{wave}"], "on": "c.mon"},
            {"call": "w.mine"},
            {"runner": "w.all", "kwargs": {"nodes": "{wave}"}, "undo": {"runner": "w.none"}},
            {"runner": "w.one", "kwargs": {"node": "{short}"}, "reversible": "always"},
        ],
    }
    nodes = cluster({"operations": {"weigh": entry}, "max_unavailable": 3})
    plan = operation(nodes, "c.osd.weigh", canary=0, percent=())
    steps = plan.stages[0].waves[0].steps
    assert [(s.runner, s.nodes, dict(s.kwarg)) for s in steps if s.kind == "runner"] == [
        ("w.all", ("n1", "n2", "n3"), {"nodes": THREE}),
        *(("w.one", (node,), {"node": node}) for node in THREE),
    ]
    assert [(c.fun, c.nodes, c.arg) for s in steps for c in s.calls] == [
        ("w.set", ("m1",), (THREE,)),
        ("w.mine", ("n1", "n2", "n3"), ()),
    ]
    assert plan.stages[0].impact.why == "nothing moves"
    back = undo(plan, records(plan), accept_loss=True)
    assert [s.runner for _, _, s in back.steps() if s.runner] == ["w.none"]
    assert Plan.from_json(json.loads(back.canonical())) == back


def test_an_operation_is_taken_back_by_the_inverses_of_its_steps():
    nodes = cluster({"operations": {"replace-store": REPLACE}})
    plan = operation(nodes, nodes="n1", args={"store": 3})
    known = records(plan, until="c.osd.replace-store/1/6-apply")
    assert [text.split(":")[0] for text in losses(plan, known)] == ["c.osd"]
    back = undo(plan, known)
    (wave,) = back.stages[0].waves
    assert [step.kind for step in wave.steps] == [
        *("gate", "drain", "apply", "call", "verify", "release")
    ]
    # what was looked at on the way is not asked again
    assert [check.checks for check in wave.steps[4].checks] == [({"unit": "c-osd"},)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"args": "{}"}, r"replace-store: the argument store is missing. Give it: args='{store"),
        ({"args": "{store: x}"}, r"replace-store:store: must be integer, is string"),
        ({"args": "{store: -1}"}, r"replace-store:store: -1 does not satisfy minimum: 0"),
        ({"args": "{store: 1, x: 2}"}, r"there is no argument x. Its arguments are store, device"),
        ({"args": "store"}, r"args: is no mapping of names to values. Write it as args="),
        ({"operation": "c.osd.explode"}, r"c\.osd has no operation explode on n1. It has replace"),
        ({"operation": "z.z.explode"}, r"no node carries the role z\.z"),
        ({"operation": "explode"}, r"'explode' is no operation of a role. Give operation=service"),
        ({"operation": ""}, r"it must be said which operation"),
        ({"roles": "c.osd"}, r"an operation is one of its role alone"),
        ({"nodes": "m1"}, r"there is nothing to do within these limits"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused(options, sentence):
    nodes = cluster({"operations": {"replace-store": REPLACE}})
    given = {"operation": "c.osd.replace-store", "args": "{store: 3}", **options}
    with pytest.raises(PlanError, match=sentence):
        plan_of("operation", nodes, now=facts(nodes, revision=OLD), **given)


def test_other_workflows_take_no_operation():
    with pytest.raises(PlanError, match="change is no operation, so args cannot be given"):
        Request.read("change", "c", {"args": {"store": 3}})


STEP = {"what": "x", "steps": [{"call": "a.b"}]}


@pytest.mark.parametrize(
    ("lifecycle", "sentence"),
    [
        ({"before": {"call": "a.b"}}, r"n1: lifecycle:c\.osd:before: is no list"),
        ({"before": [{"on": "c.mon"}]}, r"before:0: is no check. Write it as in health"),
        ({"before": [{"call": "a.b", "on": "mon"}]}, r"before:0:on: 'mon' is no role"),
        ({"before": [{"call": "a.b", True: "c.mon"}]}, r"unknown key on \(quote it\)"),
    ],
)
def test_a_check_before_a_wave_that_is_none_is_refused(lifecycle, sentence):
    nodes = cluster(lifecycle)
    with pytest.raises(PlanError, match=sentence):
        plan_of("change", nodes, told=touched(nodes, "c.osd"))


def step(**entry: Any) -> dict[str, Any]:
    return {"operations": {"x": {"what": "x", "steps": [entry]}}}


@pytest.mark.parametrize(
    ("lifecycle", "sentence"),
    [
        ({"operations": [1]}, r"n1: lifecycle:c\.osd:operations: is no mapping of names"),
        ({"operations": {"X": STEP}}, r"operations:X: is no name of lower-case letters"),
        ({"operations": {"x": {"what": "x"}}}, r"operations:x: an operation needs what and steps"),
        ({"operations": {"x": {**STEP, "who": 1}}}, r"operations:x: has an unknown key who"),
        ({"operations": {"x": {**STEP, "drain": "yes"}}}, r"x:drain: 'yes' is not true or false"),
        ({"operations": {"x": {**STEP, "impact": {"data": "bad"}}}}, r"x:impact: an impact is one"),
        ({"operations": {"x": {**STEP, "reversible": "no"}}}, r"x:reversible: 'no' is not one of"),
        ({"operations": {"x": {**STEP, "arguments": {"node": {}}}}}, r"'node' cannot be the name"),
        (
            {"operations": {"x": {**STEP, "arguments": {"a": {"type": "int"}}}}},
            r"is no JSON schema",
        ),
        (step(), r"x:steps:0: an entry has one of call, runner, apply, check"),
        (step(call="a.b", runner="a.b"), r"x:steps:0: an entry has one of call"),
        (step(call="ab"), r"x:steps:0: 'ab' is no function. Write module\.function"),
        (step(call="a.b", args="x"), r"steps:0: args is a list and kwargs a mapping"),
        (step(call="a.b", args=["{stor}"]), r"steps:0: nothing fills {stor}. There are {node}"),
        (step(call="a.b", limit=0), r"steps:0:limit: 0 is not seconds, more than 0"),
        (step(call="a.b", idempotent=1), r"steps:0:idempotent: 1 is not true or false"),
        (step(call="a.b", undo={"args": []}), r"steps:0:undo: an undo has one of call, runner"),
        (step(runner="a.b", args=[1]), r"steps:0: a runner takes kwargs only"),
        (step(runner="a.b", on="c.mon"), r"steps:0: a runner is called on the master"),
        (step(apply=True, undo={"call": "a.b"}), r"steps:0: apply takes no undo"),
        (step(apply="yes"), r"steps:0: apply is true, and done on the node itself"),
        (step(check="x"), r"steps:0: check is no check"),
    ],
)
def test_an_operation_that_is_badly_declared_is_refused(lifecycle, sentence):
    nodes = cluster(lifecycle)
    with pytest.raises(PlanError, match=sentence):
        operation(nodes, "c.osd.x")


@pytest.mark.parametrize(
    ("leave", "sentence"),
    [
        ([{"apply": True}], r"n3: lifecycle:c\.osd:leave:0: an entry has one of call, runner"),
        ([{"call": "a.b", "args": ["{store}"]}], r"leave:0: nothing fills {store}"),
        ("a.b", r"lifecycle:c\.osd:leave: is no list"),
    ],
)
def test_leaving_that_is_badly_declared_is_refused(leave, sentence):
    with pytest.raises(PlanError, match=sentence):
        left({"leave": leave})


def test_nodes_that_declare_an_operation_differently_are_refused_together():
    nodes = cluster({"operations": {"x": STEP}})
    other = cluster({"operations": {"x": {**STEP, "drain": True}}})
    nodes["n2"] = other["n2"]
    with pytest.raises(PlanError, match=r"n1 and n2 declare it differently"):
        operation(nodes, "c.osd.x")
    assert operation(nodes, "c.osd.x", nodes="n2").nodes == ("n2",)


def test_operations_are_listed_with_arguments_and_a_command_that_plans_them():
    nodes = cluster({"operations": {"replace-store": REPLACE}})
    found = offers("c", Roles(nodes))
    (offer,) = found
    assert offer.command == (
        "salt-run rollout.plan operation cluster=c operation=c.osd.replace-store nodes=n1"
        ' args=\'{"store": 0, "device": "/dev/sdb"}\''
    )
    text = offers_text(found)
    assert "c.osd.replace-store on n1-3" in text
    assert "store: integer, minimum 0" in text
    assert 'device: string, default "/dev/sdb"' in text
    assert offer.to_json()["arguments"]["store"] == {"type": "integer", "minimum": 0}
    args = offer.command.partition("args='")[2].rstrip("'")
    assert operation(nodes, nodes="n1", args=args).stages
    assert offers_text(offers("c", Roles(cluster()))).endswith("offer no operations.")


def test_the_operations_that_an_example_cluster_offers_can_be_planned_by_their_samples():
    nodes = example("demo-ceph")
    found = offers("demo-ceph", Roles(nodes))
    assert "ceph.osd.replace-store" in {offer.name for offer in found}
    for offer in found:
        words = shlex.split(offer.command)
        options = dict(word.split("=", 1) for word in words[3:])
        assert options.pop("cluster") == "demo-ceph"
        plan = plan_of("operation", nodes, now=facts(nodes, revision=OLD), **options)
        assert plan.nodes == offer.nodes[:1]
        assert "{" not in show(plan).replace("{}", "")
