"""The plan of a change: which nodes in which waves, and what is done to each."""

from __future__ import annotations

import pytest

from saltern.errors import PlanError
from saltern.plan.make import Touched, make
from saltern.plan.request import Request
from saltern.plan.scope import is_guest
from saltern.plan.types import Plan, Stage

from .clusters import KNOWN, NEW, OLD, example, facts, small, touched

CTL = [f"ctl0{number}.demo-core.test" for number in (1, 2, 3)]


def change(nodes, told, now=None, /, **options) -> Plan:
    """The plan of a change of a cluster whose model differs by ``told``."""
    request = Request.read("change", "demo-core", options)
    return make(request, nodes, nodes, now or facts(nodes), told, KNOWN)


def kinds(stage: Stage) -> list[list[str]]:
    """Kinds of the steps of each wave."""
    return [[step.kind for step in wave.steps] for wave in stage.waves]


@pytest.fixture(scope="module")
def demo():
    return example("demo-core")


def test_a_keystone_setting_rolls_over_the_controllers_one_at_a_time(demo):
    plan = change(demo, touched(demo, "keystone.server"))
    control, commit = plan.stages
    assert (control.name, control.phase, control.roles) == (
        "control",
        "control",
        ("keystone.server",),
    )
    assert [wave.nodes for wave in control.waves] == [(node,) for node in CTL]
    assert kinds(control) == [["gate", "drain", "pin", "apply", "verify", "release"]] * 3
    assert (commit.phase, kinds(commit)) == ("commit", [["commit"]])
    assert [step.id for _, _, step in plan.steps()][:6] == [
        "control/1/1-gate",
        "control/1/2-drain",
        "control/1/3-pin",
        "control/1/4-apply",
        "control/1/5-verify",
        "control/1/6-release",
    ]


def test_the_steps_of_a_keystone_wave(demo):
    plan = change(demo, touched(demo, "keystone.server"))
    gate, drain, pin, apply, verify, release = plan.stages[0].waves[1].steps
    node = CTL[1]
    # the others carry on: their Keystone and all majorities of the node
    assert {(c.node, c.role) for c in gate.checks if c.role == "keystone.server"} == {
        (n, "keystone.server") for n in CTL
    }
    assert {c.role for c in gate.checks} == {
        "keystone.server",
        "nginx.server",
        "haproxy.proxy",
        "keepalived.vrrp",
    }
    (call,), (back,) = drain.calls, drain.undo
    assert (call.nodes, call.serves) == (tuple(CTL), (node,))
    assert (call.fun, call.arg) == ("haproxy_admin.drain", ("keystone", "ctl02"))
    assert (back.nodes, back.serves) == (tuple(CTL), (node,))
    assert (back.fun, back.arg) == ("haproxy_admin.ready", ("keystone", "ctl02"))
    assert call.what == "ctl02 drained in HAProxy listen keystone"
    assert (pin.nodes, pin.revision) == ((node,), NEW)
    (call,) = apply.calls
    # the pillar of the revision is taken in the job that applies it
    assert (call.nodes, call.fun, call.fresh) == ((node,), "state.apply", True)
    assert call.kwarg == {"mods": ["keystone.server"]}
    assert [(c.node, c.role) for c in verify.checks] == [(node, "keystone.server")]
    assert release.nodes == (node,)


def test_what_is_measured_and_locked(demo):
    plan = change(demo, touched(demo, "keystone.server"))
    assert [(p.name, p.node) for p in plan.probes] == [
        ("keystone", "cfg01.demo-core.test"),
        ("token", "cfg01.demo-core.test"),
    ]
    assert "demo-core: pins" in plan.locks
    assert "demo-core: role keystone.server" in plan.locks
    assert "demo-core: role haproxy.proxy" in plan.locks


def test_guests_are_measured_where_anything_is(demo):
    told = touched(demo, "keystone.server")
    request = Request("change", "demo-core")
    now = facts(demo, guests=("203.0.113.9:7",))
    plan = make(request, demo, demo, now, told, KNOWN)
    (guest,) = [probe for probe in plan.probes if is_guest(probe.name)]
    assert (guest.name, guest.node, guest.kind, guest.target) == (
        "guest", "cfg01.demo-core.test", "tcp", "203.0.113.9:7",
    )  # fmt: skip
    now = facts(demo, guests=("203.0.113.9:7", "203.0.113.10:7"))
    plan = make(request, demo, demo, now, told, KNOWN)
    assert sum(is_guest(probe.name) for probe in plan.probes) == 2
    plan = make(Request("change", "demo-core", probes=False), demo, demo, now, told, KNOWN)
    assert plan.probes == ()


def test_a_plan_survives_json_and_keeps_its_hash(demo):
    plan = change(demo, touched(demo, "keystone.server", "glance.server", "galera.server"))
    again = Plan.from_json(plan.to_json())
    assert (again, again.hash) == (plan, plan.hash)


def test_a_change_of_nothing_is_refused(demo):
    now = facts(demo, revision=OLD)
    with pytest.raises(PlanError, match="nothing to do"):
        change(demo, {}, now)


def test_a_revision_that_changes_no_node_is_only_committed(demo):
    plan = change(demo, {})
    assert [(stage.name, kinds(stage)) for stage in plan.stages] == [("commit", [["commit"]])]


def test_a_part_of_a_change_commits_nothing(demo):
    plan = change(demo, touched(demo, "keystone.server"), nodes="ctl01")
    assert [wave.nodes for stage in plan.stages for wave in stage.waves] == [(CTL[0],)]
    assert "commit" not in {step.kind for _, _, step in plan.steps()}


def test_restarts_are_told_in_the_stage_that_causes_them():
    nodes = small(
        {"a.db": ["n1"], "b.api": ["n1"]},
        {"a.db": {"stage": "infrastructure"}, "b.api": {"after": ["a.db"]}},
    )
    told = {"n1": Touched(("a.db", "b.api"), ("restart a-db", "restart b-api", "reload cron"))}
    plan = change(nodes, told)
    assert [(stage.name, dict(stage.restarts)) for stage in plan.stages[:2]] == [
        ("infrastructure", {"n1": ("restart a-db", "reload cron")}),
        ("control", {"n1": ("restart b-api",)}),
    ]


def applied(plan: Plan) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Node to its applies in their order: stage and roles."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for stage, _, step in plan.steps():
        for call in step.calls if step.kind == "apply" else ():
            for node in call.nodes:
                found.setdefault(node, []).append((stage.name, tuple(call.kwarg["mods"])))
    return found


SHARED = {
    # it has no unit: the code that the others run
    "nova.common": {"health": []},
    "nova.database": {"health": [], "after": [{"role": "nova.common", "scope": "node"}]},
    "nova.conductor": {"after": ["nova.database", {"role": "nova.common", "scope": "node"}]},
    "nova.compute": {"after": ["nova.conductor", {"role": "nova.common", "scope": "node"}]},
}


def test_shared_code_comes_to_a_node_with_the_first_role_that_runs_it():
    """A hypervisor must not run newer code than the control plane."""
    nodes = small(
        {
            "nova.common": ["ctl01", "cmp01"],
            "nova.database": ["ctl01"],
            "nova.conductor": ["ctl01"],
            "nova.compute": ["cmp01"],
        },
        SHARED,
    )
    found = applied(change(nodes, touched(nodes, *SHARED)))
    assert found["cmp01"] == [("control.3", ("nova.common", "nova.compute"))]
    first, second = found["ctl01"]
    assert first == ("control", ("nova.common", "nova.database"))
    assert second == ("control.2", ("nova.conductor",))
    # where nothing that runs it is touched, it comes at its own time
    alone = applied(change(nodes, touched(nodes, "nova.common")))
    assert alone == {node: [("control", ("nova.common",))] for node in nodes}
