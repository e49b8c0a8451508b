"""The plan that takes a rollout back: only what was done, in the reverse order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saltern.errors import PlanError
from saltern.plan.make import Touched, make
from saltern.plan.request import Request
from saltern.plan.types import Plan
from saltern.plan.undo import losses, undo
from saltern.rollout.ports import BROKEN, INTENT, OK, NodeResult, StepRecord

from .clusters import KNOWN, NEW, OLD, example, facts, small, touched

CTL = [f"ctl0{number}.demo-core.test" for number in (1, 2, 3)]


def change(nodes, *roles, now=None, **options) -> Plan:
    request = Request.read("change", "demo-core", options)
    return make(request, nodes, nodes, now or facts(nodes), touched(nodes, *roles), KNOWN)


def records(plan: Plan, until: str = "", broken: str = "") -> dict[str, StepRecord]:
    """What the journal has when all steps up to ``until`` were done; ``broken`` failed."""
    found = {}
    for _, _, step in plan.steps():
        fine = step.id != broken
        results = {node: NodeResult(fine, "" if fine else "it failed") for node in step.nodes}
        found[step.id] = StepRecord(step.id, 1, OK if fine else BROKEN, results=results)
        if step.id in (until, broken):
            break
    return found


def done(plan: Plan) -> list[tuple[str, tuple[str, ...], str]]:
    """Kind, nodes and revision of the steps that change something."""
    return [
        (step.kind, step.nodes, step.revision)
        for _, _, step in plan.steps()
        if step.kind in ("pin", "apply", "call", "runner", "commit")
    ]


@pytest.fixture(scope="module")
def demo():
    return example("demo-core")


def test_a_bad_setting_is_taken_back_from_the_canary_alone(demo):
    plan = change(demo, "keystone.server")
    back = undo(plan, records(plan, broken="control/1/5-verify"), rollout="r1")
    assert (back.workflow, back.undoes) == ("rollback", "r1")
    (stage,) = back.stages
    (wave,) = stage.waves
    assert [step.kind for step in wave.steps] == [
        "gate",
        "drain",
        "pin",
        "apply",
        "verify",
        "release",
    ]
    # it had no pin: it follows the cluster again, which never moved
    assert done(back) == [("pin", (CTL[0],), ""), ("apply", (CTL[0],), "")]
    assert back.basis.pins == {CTL[0]: NEW}
    assert (back.basis.revision, back.basis.deployed) == (OLD, OLD)
    # the broken one is only asked whether it answers, the others whether they carry on
    gate = wave.steps[0]
    assert [check.checks for check in gate.checks if check.node == CTL[0]] == [()]
    assert {CTL[1], CTL[2]} <= {check.node for check in gate.checks}


def test_the_latest_wave_goes_first(demo):
    plan = change(demo, "keystone.server")
    back = undo(plan, records(plan, until="control/2/6-release"))
    assert [wave.nodes for wave in back.stages[0].waves] == [(CTL[1],), (CTL[0],)]
    ids = [step.id for _, _, step in back.steps()]
    assert len(set(ids)) == len(ids)


def test_a_broken_node_is_mended_first(demo):
    plan = change(demo, "keystone.server")
    known = records(plan, until="control/3/6-release")
    failed = {CTL[0]: NodeResult(False, "it failed")}
    known["control/1/5-verify"] = replace(known["control/1/5-verify"], results=failed)
    back = undo(plan, known)
    assert [wave.nodes for wave in back.stages[0].waves] == [(CTL[0],), (CTL[2],), (CTL[1],)]


def test_after_the_commit_nodes_are_held_until_the_cluster_is_back(demo):
    pins = {CTL[1]: "c" * 40}
    plan = change(demo, "keystone.server", now=facts(demo, pins=pins))
    back = undo(plan, records(plan))
    assert [item for item in done(back) if item[0] in ("pin", "commit")] == [
        ("pin", (CTL[2],), OLD),
        ("pin", (CTL[1],), "c" * 40),
        ("pin", (CTL[0],), OLD),
        ("commit", (), OLD),
    ]
    assert (back.basis.revision, back.basis.deployed) == (OLD, NEW)


def test_a_node_of_two_stages_goes_back_once_before_the_later_stage_is_applied():
    nodes = small(
        {"a.db": ["n1"], "b.api": ["n1"]},
        {"a.db": {"stage": "infrastructure"}, "b.api": {"after": ["a.db"]}},
    )
    plan = change(nodes, "a.db", "b.api")
    back = undo(plan, records(plan, until="control/1/3-verify"))
    assert [(stage.name, [s.kind for s in stage.waves[0].steps]) for stage in back.stages] == [
        ("control", ["gate", "pin", "apply", "verify"]),
        ("infrastructure", ["gate", "apply", "verify"]),
    ]


def test_a_form_is_called_again_after_the_waves(demo):
    plan = change(demo, "galera.server")
    back = undo(plan, records(plan, until="infrastructure/4/2-verify"))
    *rolled, formed = back.stages[0].waves
    assert [len(wave.nodes) for wave in rolled] == [1, 1, 1]
    assert [step.kind for step in formed.steps] == ["runner", "verify"]


def added(before: dict[str, list[str]], after: dict[str, list[str]], lifecycle=None) -> Plan:
    """A change that gives nodes more roles, carried out to its end."""
    current, target = small(before, lifecycle), small(after, lifecycle)
    told = {
        node: Touched(tuple(r for r in one.applications if r not in current[node].applications))
        for node, one in target.items()
    }
    return make(Request("change", "c"), target, current, facts(target), told)


def applied(plan: Plan) -> list[tuple[str, tuple[str, ...], list[str]]]:
    """Kind, nodes and SLS of what is pinned and applied, in order."""
    found = []
    for _, _, step in plan.steps():
        if step.kind == "pin":
            found.append((step.kind, step.nodes, []))
        elif step.kind == "apply":
            found += [(step.kind, call.nodes, call.kwarg["mods"]) for call in step.calls]
    return found


def test_a_role_that_was_added_is_cleaned_under_the_pillar_that_brought_it():
    plan = added({"a.x": ["n1", "n2"]}, {"a.x": ["n1", "n2"], "b.y": ["n1"]})
    back = undo(plan, records(plan), rollout="r1")
    assert applied(back) == [
        ("apply", ("n1",), ["b.clean"]),
        ("pin", ("n1",), []),
    ]
    # what is not there any more is not asked about
    assert [check for _, _, s in back.steps() if s.kind == "verify" for check in s.checks] == []


def test_what_was_there_before_is_applied_again_beside_what_is_cleaned():
    current, target = small({"a.x": ["n1"]}), small({"a.x": ["n1"], "b.y": ["n1"]})
    told = {"n1": Touched(("a.x", "b.y"))}
    plan = make(Request("change", "c"), target, current, facts(target), told)
    back = undo(plan, records(plan))
    assert applied(back) == [
        ("apply", ("n1",), ["b.clean"]),
        ("pin", ("n1",), []),
        ("apply", ("n1",), ["a.x"]),
    ]
    verify = [check.role for _, _, s in back.steps() if s.kind == "verify" for check in s.checks]
    assert verify == ["a.x"]


def test_a_formula_is_not_cleaned_where_another_role_of_it_stays():
    plan = added({"a.x": ["n1"]}, {"a.x": ["n1"], "a.y": ["n1"]})
    back = undo(plan, records(plan))
    # the one that stays is brought back to what its old pillar says
    assert applied(back) == [("pin", ("n1",), []), ("apply", ("n1",), ["a.x"])]
    (stage,) = [stage for stage in back.stages if stage.phase == "control"]
    assert "a.y stays on n1, as a.clean would take a.x as well" in stage.title


def test_roles_that_were_added_in_two_stages_are_cleaned_before_their_node_goes_back():
    lifecycle = {"a.db": {"stage": "infrastructure"}, "c.z": {"stage": "foundation"}}
    before = {"c.z": ["n1"]}
    plan = added(before, {**before, "a.db": ["n1"], "b.api": ["n1"]}, lifecycle)
    back = undo(plan, records(plan))
    assert applied(back) == [
        ("apply", ("n1",), ["b.clean", "a.clean"]),
        ("pin", ("n1",), []),
    ]


def test_a_form_of_an_added_role_is_called_for_those_that_stay():
    three, told = ["n1", "n2", "n3"], {"q.db": {"form": "q.form"}}
    plan = added({"a.x": three}, {"a.x": three, "q.db": three}, told)
    back = undo(plan, records(plan))
    assert "runner" not in {step.kind for _, _, step in back.steps()}
    before = {"a.x": three, "q.db": ["n1", "n2"]}
    plan = added(before, {"a.x": three, "q.db": three}, told)
    back = undo(plan, records(plan))
    run, verify = back.stages[0].waves[-1].steps
    assert (run.nodes, run.kwarg["nodes"]) == (("n1", "n2"), ["n1", "n2"])
    assert [check.node for check in verify.checks] == ["n1", "n2"]


def test_one_wave_alone(demo):
    plan = change(demo, "keystone.server")
    back = undo(plan, records(plan, until="control/2/5-verify"), only="control/2")
    assert back.nodes == (CTL[1],)
    assert back.limits == {"only": "control/2"}
    with pytest.raises(PlanError, match="the plan has no wave control/9"):
        undo(plan, records(plan), only="control/9")


def test_an_intent_counts_as_done(demo):
    plan = change(demo, "keystone.server")
    known = records(plan, until="control/1/3-pin")
    known["control/1/4-apply"] = StepRecord("control/1/4-apply", 1, INTENT)
    assert ("apply", (CTL[0],), "") in done(undo(plan, known))


def test_nothing_was_done(demo):
    plan = change(demo, "keystone.server")
    with pytest.raises(PlanError, match="did nothing that can be taken back"):
        undo(plan, records(plan, until="control/1/2-drain"))
    restart = make(
        Request("restart", "demo-core", roles=("keystone.server",)), demo, demo, facts(demo)
    )
    with pytest.raises(PlanError, match="did nothing that can be taken back"):
        undo(restart, records(restart))


def test_a_point_of_no_return():
    nodes = small({"a.x": ["n1"]}, {"a.x": {"reversible": "never"}})
    plan = change(nodes, "a.x")
    before = records(plan, until="control/1/2-pin")
    assert losses(plan, before) == []
    assert undo(plan, before).nodes == ("n1",)
    known = records(plan)
    with pytest.raises(PlanError, match=r"passed its point of no return at control/1/3-apply"):
        undo(plan, known)
    assert losses(plan, known) == ["apply a.x on n1: this cannot be taken back."]
    back = undo(plan, known, accept_loss=True)
    assert back.limits == {"accept_loss": "true"}


def test_what_is_written_since_may_be_lost(demo):
    plan = change(demo, "keystone.server")
    (sentence,) = losses(plan, records(plan, until="control/1/6-release"))
    assert sentence == (
        "apply keystone.server on ctl01: what was written since may not be readable before it."
    )


def test_a_first_deploy_has_nothing_to_go_back_to(demo):
    plan = make(Request("deploy", "demo-core"), demo, {}, facts(demo, deployed=""), known=KNOWN)
    with pytest.raises(PlanError, match="had no revision before"):
        undo(plan, records(plan, until="foundation/1/4-apply"))
    # a master serves a cluster its first revision as soon as that is compiled
    now = facts(demo, deployed=NEW)
    plan = make(Request("deploy", "demo-core"), demo, demo, now, known=KNOWN)
    with pytest.raises(PlanError, match="had no other revision before"):
        undo(plan, records(plan, until="foundation/1/4-apply"))


def test_a_rollback_is_bound_to_what_is_observed(demo):
    plan = change(demo, "keystone.server")
    known = records(plan, until="control/1/6-release")
    now = facts(demo, pins={CTL[0]: NEW})
    assert undo(plan, known, facts=now).basis.present == tuple(sorted(demo))
    with pytest.raises(PlanError, match="ctl01 cannot be taken back: no answer"):
        undo(plan, known, facts=facts(demo, absent={CTL[0]: "no answer"}))


def test_a_rollback_is_not_rolled_back(demo):
    plan = change(demo, "keystone.server")
    back = undo(plan, records(plan), rollout="r1")
    with pytest.raises(PlanError, match="a rollback is not rolled back"):
        undo(back, records(back))


def test_nodes_that_left_are_made_anew_by_the_inverse_calls():
    current = small(
        {"a.x": ["n1", "n2", "n3"]}, {"a.x": {"drain": "m.drain", "release": "m.release"}}
    )
    target = {name: current[name] for name in ("n1", "n2")}
    plan = make(Request("scale-in", "c", nodes=("n3",)), target, current, facts(current), {}, KNOWN)
    back = undo(plan, records(plan, until="leave/1/3-call"))
    calls = [
        (call.fun, call.nodes)
        for _, _, step in back.steps()
        if step.kind == "call"
        for call in step.calls
    ]
    assert calls == [("state.apply", ("n3",)), ("m.release", ("n3",))]


def test_nodes_that_were_added_are_taken_out_by_a_plan_of_its_own():
    target = small({"a.x": ["n1", "n2"]})
    current = {"n1": target["n1"]}
    plan = make(Request("scale-out", "c", nodes=("n2",)), target, current, facts(target))
    with pytest.raises(PlanError) as caught:
        undo(plan, records(plan), rollout="r1")
    assert str(caught.value) == (
        "r1: n2 came with it, and the revision before does not know them. Take them out of the"
        " model, commit, and run `salt-run rollout.plan scale-in nodes=n2`."
    )


def test_the_end_of_an_upgrade_goes_back_by_its_dumps():
    """The databases are loaded before the first node gets the old release again."""
    nodes = example("demo")
    request = Request.read("upgrade", "demo", {})
    told = touched(nodes, "keystone.server", "nova.database")
    plan = make(request, nodes, nodes, facts(nodes), told, KNOWN)
    ends = [
        step for stage in plan.stages if stage.name == "finalize" for _, _, step in plan.steps()
    ]
    assert plan.no_return == ""
    assert {"backup.take"} == {step.runner for step in ends if step.runner}
    with_all = records(plan)
    assert any("is contracted" in sentence for sentence in losses(plan, with_all))
    back = undo(plan, with_all, rollout="r1")
    order = [step for _, _, step in back.steps() if step.kind in ("runner", "apply", "pin")]
    first = next(number for number, step in enumerate(order) if step.kind == "pin")
    assert [(step.runner, step.kwarg["databases"]) for step in order[:first]] == [
        ("backup.restore", ["nova", "nova_api", "nova_cell0"]),
        ("backup.restore", ["keystone"]),
    ]
    assert all(step.kwarg["label"] == "before-2025.1" for step in order[:first])


def test_without_dumps_the_end_of_an_upgrade_is_no_way_back():
    contract = {"call": "m.contract", "what": "the schema is contracted"}
    told = {"upgrade": ["apply"], "finalize": [contract], "reversible": {"finalize": "never"}}
    nodes = small({"a.x": ["n1", "n2"]}, {"a.x": told})
    plan = make(Request.read("upgrade", "c", {}), nodes, nodes, facts(nodes), touched(nodes, "a.x"))
    assert plan.no_return.startswith("finalize/1/")
    with pytest.raises(PlanError, match="passed its point of no return"):
        undo(plan, records(plan), rollout="r1")


def test_what_was_loaded_is_what_others_are_brought_in_line_with():
    """At the very end, when the code of before runs on all nodes again."""
    nodes = example("demo")
    told = touched(nodes, "neutron.server")
    plan = make(Request.read("upgrade", "demo", {}), nodes, nodes, facts(nodes), told, KNOWN)
    assert Plan.from_json(plan.to_json()) == plan
    back = undo(plan, records(plan), rollout="r1")
    stages = [stage.name for stage in back.stages]
    assert stages.index("settle") == len(stages) - 2
    ((_, _, step),) = [found for found in back.steps() if found[0].name == "settle"]
    (call,) = step.calls
    assert (call.fun, len(call.nodes)) == ("neutron_ovn.sync", 1)
    # nothing was loaded, so nothing is out of line
    early = {key: one for key, one in records(plan).items() if not key.startswith("finalize/")}
    assert "settle" not in [stage.name for stage in undo(plan, early, rollout="r1").stages]
