"""Upgrade, restart, reboot, scale-out, scale-in, replace, deploy: what each does to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saltern.errors import PlanError
from saltern.plan.make import Touched, make
from saltern.plan.request import Request
from saltern.plan.show import show

from .clusters import KNOWN, NEW, OLD, example, facts, small, touched

THREE = ["n1", "n2", "n3"]
NEVER = {"a.x": {"reversible": {"install": "until_write", "finalize": "never"}}}


def plan_of(workflow, target, /, current=None, now=None, told=None, *, cluster="c", **options):
    current = target if current is None else current
    request = Request.read(workflow, cluster, options)
    return make(request, target, current, now or facts(current), told or {}, KNOWN)


def kinds(wave):
    return [step.kind for step in wave.steps]


# -- change: what is refused, what is left out ----------------------------------------------------


def test_a_new_node_is_no_matter_of_a_change():
    target, current = small({"a.x": THREE}), small({"a.x": THREE[:2]})
    with pytest.raises(PlanError, match=r"n3 is in the model and not in service yet.*scale-out"):
        plan_of("change", target, current)
    with pytest.raises(PlanError, match=r"n3 is in service and left the model.*scale-in"):
        plan_of("change", current, target)


def test_an_absent_node_stops_a_change_unless_it_may_be_left_out():
    nodes = small({"a.x": THREE}, {"a.x": {"max_unavailable": 2}})
    now = facts(nodes, absent={"n2": "n2: did not answer within 15 s."}, pins={"n3": "c" * 40})
    told = touched(nodes, "a.x")
    with pytest.raises(PlanError, match=r"n2: did not answer within 15 s. Bring them back"):
        plan_of("change", nodes, now=now, told=told)
    plan = plan_of("change", nodes, now=now, told=told, allow_absent=True)
    assert plan.nodes == ("n1", "n3")
    # it keeps what it has when the cluster moves on
    hold, commit = plan.stages[-1].waves[0].steps
    assert (hold.kind, hold.nodes, hold.revision) == ("pin", ("n2",), OLD)
    assert (commit.kind, commit.revision) == ("commit", NEW)


def test_an_old_pin_of_a_node_that_nothing_changes_goes_with_the_commit():
    nodes = small({"a.x": THREE, "b.y": ["n3"]})
    now = facts(nodes, pins={"n3": OLD})
    told = {"n1": Touched(("a.x",))}
    plan = plan_of("change", nodes, now=now, told=told)
    free, _ = plan.stages[-1].waves[0].steps
    assert (free.kind, free.nodes, free.revision) == ("pin", ("n3",), NEW)


def test_a_role_that_is_formed_is_proven_after_its_form():
    demo = example("demo-core")
    plan = plan_of("change", demo, told=touched(demo, "galera.server"), cluster="demo-core")
    *rolled, formed = plan.stages[0].waves
    assert [kinds(w) for w in rolled] == [["gate", "pin", "apply", "verify"]] * 3
    assert all(not wave.steps[-1].checks for wave in rolled)
    run, verify = formed.steps
    nodes = [f"inf0{n}.demo-core.test" for n in (1, 2, 3)]
    assert run.runner == "galera.form"
    assert dict(run.kwarg) == {"cluster": "demo-core", "nodes": nodes, "test": False}
    assert run.idempotent
    assert (formed.nodes, [c.node for c in verify.checks]) == ((), nodes)


def test_what_is_served_by_a_touched_role_is_drained_with_it():
    demo = example("demo-core")
    plan = plan_of("change", demo, told=touched(demo, "nginx.server"))
    wave = next(w for w in plan.stages[0].waves if "ctl02.demo-core.test" in w.nodes)
    drain = next(step for step in wave.steps if step.kind == "drain")
    assert sorted(call.arg[0] for call in drain.calls) == ["glance", "keystone", "placement"]
    verify = next(step for step in wave.steps if step.kind == "verify")
    assert {"keystone.server", "nginx.server"} <= {check.role for check in verify.checks}


@pytest.mark.parametrize(
    ("lifecycle", "sentence"),
    [
        ({"drain": "m.drain"}, "m.drain takes the node out of service and nothing gives it back"),
        ({"drain": [{"call": "m.drain"}]}, "needs call, and undo with a call of its own"),
        ({"drain": 7}, "is neither a function nor a list"),
    ],
)
def test_a_drain_that_nothing_gives_back_is_refused(lifecycle, sentence):
    nodes = small({"a.x": THREE}, {"a.x": lifecycle})
    with pytest.raises(PlanError, match=sentence):
        plan_of("change", nodes, told=touched(nodes, "a.x"))


def test_a_drain_needs_somebody_who_does_it():
    entry = {"call": "h.drain", "on": "h.proxy", "undo": {"call": "h.ready"}}
    nodes = small({"a.x": THREE, "h.proxy": ["p1"]}, {"a.x": {"drain": [entry]}})
    now = facts(nodes, absent={"p1": "no answer"})
    with pytest.raises(PlanError, match=r"a\.x is drained on h\.proxy, and none of its nodes"):
        plan_of("change", nodes, now=now, told=touched(nodes, "a.x"))


def test_limits_that_name_nothing_are_refused():
    racks = {node: {"rack": "r1"} for node in THREE}
    nodes = small({"a.x": THREE}, {}, racks)
    told = touched(nodes, "a.x")
    for options, sentence in (
        ({"nodes": "n9"}, "n9 is no node of the cluster"),
        ({"domains": "r9"}, "no node is in a failure domain r9. There are r1"),
        ({"roles": "z.z"}, r"role z\.z does not exist"),
        ({"roles": "nova.api"}, "nothing to do within these limits"),
        ({"slo": "keystone=0"}, "nothing measures keystone"),
    ):
        with pytest.raises(PlanError, match=sentence):
            plan_of("change", nodes, told=told, **options)


# -- upgrade -------------------------------------------------------------------------------------


def test_an_upgrade_runs_the_phases_that_a_role_declares():
    phases = ["prefetch", "drain", "stop", "install", "finalize", "verify", "release"]
    told = {**NEVER["a.x"], "upgrade": phases, "drain": "m.drain", "release": "m.release"}
    nodes = small({"a.x": THREE, "a.common": THREE}, {"a.x": told})
    plan = plan_of("upgrade", nodes, told=touched(nodes, "a.x", "a.common"))
    steps = plan.stages[0].waves[0].steps
    assert [s.kind for s in steps] == [
        *("gate", "pin", "refresh", "refresh", "apply", "drain"),
        *("apply", "apply", "apply", "apply", "verify", "release"),
    ]
    applied = [call.kwarg["mods"] for s in steps if s.kind == "apply" for call in s.calls]
    assert applied == [
        ["a.upgrade.prefetch"],
        ["a.common"],
        ["a.upgrade.stop"],
        ["a.upgrade.install"],
        ["a.upgrade.finalize"],
    ]
    assert plan.no_return == "control/1/10-apply"
    assert "ends at control/1/10-apply" in show(plan)


def test_a_schema_is_expanded_while_its_node_is_in_service_and_the_role_applied_after():
    phases = ["prefetch", "expand", "apply"]
    out = {"drain": "m.drain", "release": "m.release"}
    nodes = small(
        {"a.x": THREE, "a.y": THREE, "b.z": THREE},
        {"a.x": {"upgrade": phases, **out}, "a.y": {"upgrade": phases}},
    )
    plan = plan_of("upgrade", nodes, told=touched(nodes, "a.x", "a.y", "b.z"))
    for wave in plan.stages[0].waves:
        done = [s.calls[0].kwarg.get("mods") or s.kind for s in wave.steps if s.calls]
        done = [one for one in done if one not in ("refresh", "pin")]
        assert done == [
            ["a.upgrade.prefetch"],
            # what all members share is done once
            *([["a.upgrade.expand"]] if wave.number == 1 else []),
            "drain",
            ["b.z"],
            ["a.x", "a.y"],
        ], done


def test_all_nodes_fetch_before_the_first_is_touched():
    """Later ones then know the schema that the first one expands, and a missing file stops it."""

    def source(release: str) -> dict[str, object]:
        fetch = {"call": "artifact.prefetch", "args": ["a", {"release": release}]}
        return {"prefetch": [fetch], "upgrade": ["apply"]}

    members = {"a.x": THREE, "a.y": THREE[:1], "b.z": THREE}
    nodes = small(members, {"a.x": source("2"), "a.y": source("2")})
    plan = plan_of("upgrade", nodes, told=touched(nodes, *members))
    first = plan.stages[0]
    ((_, step),) = [(wave, step) for wave in first.waves for step in wave.steps[1:]]
    assert (first.name, [wave.nodes for wave in first.waves]) == ("prefetch", [tuple(THREE)])
    # two roles of a node that want the same ask once
    (call,) = step.calls
    assert (call.fun, call.arg, call.nodes) == (
        "artifact.prefetch", ("a", {"release": "2"}), tuple(THREE)
    )  # fmt: skip
    # modules are sent once, with that: not again when a node's turn comes
    sent = [s.id for _, _, s in plan.steps() for c in s.calls if c.fun == "saltutil.sync_all"]
    assert sent == ["prefetch/1/1-refresh"]
    change = plan_of("change", nodes, told=touched(nodes, "a.x"))
    assert change.stages[0].name == "control"


def test_phases_in_opposite_orders_are_refused():
    nodes = small(
        {"a.x": ["n1"], "b.y": ["n1"]},
        {"a.x": {"upgrade": ["stop", "install"]}, "b.y": {"upgrade": ["install", "stop"]}},
    )
    with pytest.raises(PlanError, match="in opposite orders"):
        plan_of("upgrade", nodes, told=touched(nodes, "a.x", "b.y"))


# -- restart, reboot -----------------------------------------------------------------------------


def test_a_restart_leaves_revisions_alone():
    demo = example("demo-core")
    plan = make(
        Request("restart", "demo-core", roles=("keystone.server",)),
        demo,
        demo,
        facts(demo, revision=OLD),
    )
    (stage,) = plan.stages
    assert [kinds(w) for w in stage.waves] == [
        ["gate", "drain", "call", "call", "verify", "release"]
    ] * 3
    calls = [call for s in stage.waves[0].steps if s.kind == "call" for call in s.calls]
    assert [(call.fun, call.arg) for call in calls] == [
        ("service.restart", ("keystone-cache",)),
        ("service.restart", ("keystone-api",)),
    ]
    assert not {"pin", "commit"} & {step.kind for _, _, step in plan.steps()}


def test_what_carries_the_rollout_is_not_restarted():
    demo = example("demo-core")
    with pytest.raises(PlanError, match="salt-minion carries the rollout"):
        plan_of("restart", demo, roles="salt.minion")
    plan = plan_of("restart", demo, nodes="ctl01")
    assert "salt.minion" not in {role for stage in plan.stages for role in stage.roles}
    with pytest.raises(PlanError, match=r"openstack\.resources has no unit to restart"):
        plan_of("restart", demo, roles="openstack.resources")


def test_a_reboot_is_called_once_and_proven_by_a_new_boot():
    demo = example("demo-core")
    plan = plan_of("reboot", demo)
    assert "cfg01.demo-core.test" not in plan.nodes
    assert sorted(plan.nodes) == sorted(n for n in demo if not n.startswith("cfg01"))
    wave = next(w for s in plan.stages for w in s.waves if w.nodes == ("ctl01.demo-core.test",))
    assert kinds(wave) == ["gate", "drain", "call", "call", "verify", "release"]
    _, _, mark, reboot, verify, _ = wave.steps
    assert (reboot.calls[0].fun, reboot.idempotent) == ("system.reboot", False)
    path = mark.calls[0].arg[0]
    assert path in str(verify.checks[0].checks[0]["args"])
    assert verify.seconds > 0
    with pytest.raises(PlanError, match="carries the master"):
        plan_of("reboot", demo, nodes="cfg01")


def test_machines_go_down_with_their_host():
    hosts = {"m1": {"parent": "kvm1"}, "m2": {"parent": "kvm1"}, "m3": {"parent": "kvm2"}}
    drain = {"drain": "m.drain", "release": "m.release"}
    quorum = {"q.db": {"quorum": "majority"}, "a.x": {**drain, "max_unavailable": 2}}
    nodes = small({"h.v": ["kvm1", "kvm2"], "a.x": ["m1", "m2", "m3"]}, quorum, hosts)
    plan = plan_of("reboot", nodes, nodes="kvm1")
    _, drained, *_ = plan.stages[0].waves[0].steps
    assert drained.nodes == ("m1", "m2")
    more = small({"h.v": ["kvm1", "kvm2"], "q.db": ["m1", "m2", "m3"]}, quorum, hosts)
    with pytest.raises(PlanError, match=r"kvm1 with its machines, 2 of them for q\.db, cannot"):
        plan_of("reboot", more, nodes="kvm1")


# -- scale-out, scale-in, replace ----------------------------------------------------------------


def test_new_nodes_get_all_of_their_roles_and_the_others_what_changes():
    lifecycle = {
        "l.base": {"stage": "foundation", "max_unavailable": "50%"},
        "h.proxy": {"stage": "infrastructure"},
    }
    roles = {"l.base": [*THREE, "n4", "p1"], "h.proxy": ["p1"], "a.x": [*THREE, "n4"]}
    target = small(roles, lifecycle)
    current = {name: node for name, node in target.items() if name != "n4"}
    told = touched(target, "h.proxy")
    plan = plan_of("scale-out", target, current, facts(target), told, nodes="n4")
    assert [(s.name, [w.nodes for w in s.waves]) for s in plan.stages] == [
        ("foundation", [("n4",)]),
        ("infrastructure", [("p1",)]),
        ("control", [("n4",)]),
        ("commit", [()]),
    ]
    gate = plan.stages[0].waves[0].steps[0]
    assert [(check.node, check.role, check.checks) for check in gate.checks] == [("n4", "", ())]
    assert kinds(plan.stages[0].waves[0]) == [
        "gate",
        "pin",
        "refresh",
        "refresh",
        "apply",
        "verify",
    ]
    with pytest.raises(PlanError, match="n1 is not new"):
        plan_of("scale-out", target, current, facts(target), told, nodes="n1")


def test_a_new_member_is_part_of_no_majority_until_it_is_proven():
    roles = {"q.db": [*THREE, "n4", "n5"]}
    target = small(roles, {"q.db": {"quorum": "majority", "max_unavailable": 5}})
    current = {name: target[name] for name in THREE}
    told = touched(target, "q.db")
    plan = plan_of(
        "scale-out", target, current, facts(target), told, nodes="n4,n5", canary=0, percent=""
    )
    # both new ones take nothing away; of the old three one may go at a time
    (stage, _) = plan.stages
    assert [wave.nodes for wave in stage.waves] == [("n1", "n4", "n5"), ("n2", "n3")]


def test_leaving_nodes_are_drained_and_cleaned_before_the_others_change():
    lifecycle = {
        "l.base": {"stage": "foundation"},
        "a.x": {"drain": "m.drain", "release": "m.release", "stateful": True},
        "q.db": {"quorum": "majority", "stage": "infrastructure"},
    }
    five = [*THREE, "n4", "n5"]
    roles = {"l.base": five, "q.db": five, "a.x": five, "h.proxy": ["n1"]}
    current = small(roles, lifecycle)
    target = {name: node for name, node in current.items() if name not in ("n4", "n5")}
    told = {"n1": Touched(("h.proxy",))}
    now = facts(current, pins={"n4": OLD})
    plan = plan_of("scale-in", target, current, now, told, nodes="n4,n5")
    leave, control, commit = plan.stages
    assert [wave.nodes for wave in leave.waves] == [("n4",), ("n5",)]
    gate, drain, clean, verify = leave.waves[0].steps
    assert gate.kind == "gate"
    # no lease: nothing gives it back but a rollback
    assert (drain.kind, drain.calls[0].fun, drain.undo[0].fun) == ("call", "m.drain", "m.release")
    assert clean.calls[0].kwarg == {"mods": ["a.clean", "q.clean"]}
    assert clean.undo[0].kwarg == {"mods": ["q.db", "a.x"]}
    assert clean.reversible == "until_write"
    assert {check.node for check in verify.checks} == set(THREE)
    assert [wave.nodes for wave in control.waves] == [("n1",)]
    assert kinds(commit.waves[0]) == ["commit", "pin"]
    with pytest.raises(PlanError, match="n1 is still in the model"):
        plan_of("scale-in", target, current, now, told, nodes="n1")
    with pytest.raises(PlanError, match="n5 left the model too"):
        plan_of("scale-in", target, current, now, told, nodes="n4")


def test_nodes_that_leave_keep_the_majority_of_those_that_stay():
    five = [*THREE, "n4", "n5"]
    current = small({"q.db": five}, {"q.db": {"quorum": "majority", "max_unavailable": 5}})
    target = {"n1": current["n1"], "n2": current["n2"], "n3": current["n3"]}
    plan = plan_of("scale-in", target, current, nodes="n4,n5", canary=0, percent="")
    assert [wave.nodes for wave in plan.stages[0].waves] == [("n4", "n5")]
    # one by one: each time the majority of those that are left is kept
    two = {"n1": current["n1"], "n2": current["n2"]}
    plan = plan_of("scale-in", two, current, nodes="n3,n4,n5", canary=0, percent="")
    assert [wave.nodes for wave in plan.stages[0].waves] == [("n3", "n4"), ("n5",)]
    one = {"n1": current["n1"]}
    with pytest.raises(PlanError, match="n5 cannot be taken"):
        plan_of("scale-in", one, current, nodes="n2,n3,n4,n5", canary=0, percent="")


def test_a_replaced_machine_is_made_anew_and_asked_only_whether_it_answers():
    demo = example("demo-core")
    plan = plan_of("replace", demo, now=facts(demo, revision=OLD), nodes="ctl02")
    node = "ctl02.demo-core.test"
    assert plan.nodes == (node,)
    applied = [
        role
        for _, _, step in plan.steps()
        if step.kind == "apply"
        for call in step.calls
        for role in call.kwarg["mods"]
    ]
    assert sorted(applied) == sorted(demo[node].applications)
    first = plan.stages[0].waves[0].steps[0]
    assert [check.checks for check in first.checks if check.node == node] == [()]
    with pytest.raises(PlanError, match="the wanted revision changes ctl01"):
        plan_of("replace", demo, told=touched(demo, "keystone.server"), nodes="ctl02")


# -- deploy --------------------------------------------------------------------------------------


def test_a_deploy_goes_through_all_roles_in_the_order_of_the_model():
    demo = example("demo-core")
    now = facts(demo, deployed="")
    plan = make(
        Request("deploy", "demo-core"), demo, {}, now, known=KNOWN, history={"control": [4]}
    )
    phases = [stage.phase for stage in plan.stages]
    order = ["foundation", "infrastructure", "control", "resources", "sanity", "commit"]
    assert list(dict.fromkeys(phases)) == order
    assert [step.kind for step in plan.stages[0].waves[0].steps] == [
        "pin",
        "refresh",
        "refresh",
        "apply",
    ]
    pinned = [step.nodes for _, _, step in plan.steps() if step.kind == "pin"]
    assert pinned == [tuple(sorted(demo))]
    runners = [step.runner for _, _, step in plan.steps() if step.kind == "runner"]
    assert runners[-1] == "sanity.run"
    assert {"pki.form", "galera.form", "rabbitmq.form", "keepalived.form"} <= {*runners}
    assert "drain" not in {step.kind for _, _, step in plan.steps()}
    checked = {stage.phase for stage, _, step in plan.steps() if step.kind == "verify"}
    assert checked == {"foundation", "infrastructure", "control", "resources"}
    for stage in plan.stages:
        assert len(stage.nodes) == len(set(stage.nodes))
    assert next(stage.minutes for stage in plan.stages if stage.name == "control") == 4
    absent = replace(now, absent={"inf01.demo-core.test": "no answer"})
    with pytest.raises(PlanError, match="no answer"):
        make(Request("deploy", "demo-core"), demo, {}, absent, known=KNOWN)


def test_a_deploy_sends_modules_to_those_who_lack_them():
    demo = example("demo-core")
    bare = "inf01.demo-core.test"

    def first(equipped: set[str]) -> list[tuple[str, tuple[str, ...]]]:
        now = replace(facts(demo, deployed=""), equipped=frozenset(equipped))
        plan = make(Request("deploy", "demo-core"), demo, {}, now, known=KNOWN)
        steps = plan.stages[0].waves[0].steps
        return [(call.fun, call.nodes) for step in steps for call in step.calls]

    assert first({*demo} - {bare})[:2] == [
        ("saltutil.sync_all", (bare,)),
        ("saltutil.refresh_pillar", tuple(sorted(demo))),
    ]
    # nobody: their pillar is taken by the job that applies
    assert {fun for fun, _ in first({*demo})} == {"state.apply"}


@pytest.mark.parametrize("cluster", ["demo-core", "demo-ceph", "iaas", "caas"])
@pytest.mark.parametrize("workflow", ["change", "upgrade", "reboot"])
def test_example_clusters_have_plans(cluster, workflow):
    nodes = example(cluster)
    roles = {role for node in nodes.values() for role in node.applications}
    told = {} if workflow == "reboot" else touched(nodes, *roles)
    plan = plan_of(workflow, nodes, told=told)
    assert plan.stages
    for stage in plan.stages:
        assert len(stage.nodes) == len(set(stage.nodes))


def test_only_a_deploy_works_without_a_deployed_revision():
    nodes = small({"a.x": THREE})
    with pytest.raises(PlanError, match=r"has no deployed revision. Deploy it first"):
        plan_of("change", nodes, {}, facts(nodes))
