"""Hosts are started from new images one after another, and an upgrade is ended once all have it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from saltern.errors import PlanError
from saltern.plan.make import Touched, make
from saltern.plan.request import Request
from saltern.plan.show import show
from saltern.plan.steps import REBOOT_LIMIT
from saltern.plan.types import Plan
from saltern.plan.undo import undo

from .clusters import KNOWN, NEW, OLD, example, facts, small, touched
from .test_undo import records

MONS, OSDS = ["m1", "m2", "m3"], ["a1", "a2", "a3"]
OLD_IMAGE, NEW_IMAGE = {"image": "bookworm"}, {"image": "trixie"}
FINAL = {"call": "c.require", "args": ["{wave}"], "on": "c.mon", "what": "the release is required"}
LIFECYCLE: dict[str, dict[str, Any]] = {
    "l.base": {"stage": "foundation", "max_unavailable": "50%"},
    "c.mon": {
        "stage": "infrastructure",
        "after": ["l.base"],
        "quorum": "majority",
        "form": "c.form",
        "stateful": True,
        "keep": ["/var/lib/mon"],
    },
    "c.osd": {
        "stage": "infrastructure",
        "after": ["c.mon"],
        "drain": "h.hold",
        "release": "h.release",
        "before": [{"call": "g.may_stop", "args": ["{wave}"], "on": "c.mon"}],
        "stateful": True,
        "keep": ["/var/lib/osd", "/etc/osd"],
        "reversible": {"install": "until_write", "finalize": "never"},
        "finalize": [FINAL],
    },
}


def cluster(images: dict[str, dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    """Three monitors, three stores and a master; ``images`` differ from bookworm."""
    told = {role: {**entry, **more.get(role[2:], {})} for role, entry in LIFECYCLE.items()}
    nodes = [*MONS, *OSDS, "z1"]
    hosts = {node: {**OLD_IMAGE, **(images or {}).get(node, {})} for node in nodes}
    members = {"l.base": nodes, "c.mon": MONS, "c.osd": OSDS, "salt.master": ["z1"]}
    return small(members, told, hosts)


ALL_NEW = dict.fromkeys([*MONS, *OSDS], NEW_IMAGE)


def plan_of(target, current, /, workflow="reimage", now=None, told=None, **options) -> Plan:
    request = Request.read(workflow, "c", options)
    return make(request, target, current, now or facts(current), told or {}, KNOWN)


@pytest.fixture
def whole() -> Plan:
    return plan_of(cluster(ALL_NEW), cluster())


def waves(plan: Plan) -> list[tuple[str, tuple[str, ...]]]:
    return [(stage.name, wave.nodes) for stage in plan.stages for wave in stage.waves]


def test_hosts_go_one_by_one_in_the_order_of_their_roles(whole):
    assert waves(whole) == [
        *(("reimage", (node,)) for node in MONS),
        *(("reimage.2", (node,)) for node in OSDS),
        ("finalize", ()),
        ("commit", ()),
    ]
    assert [stage.phase for stage in whole.stages[:2]] == ["infrastructure"] * 2
    assert Plan.from_json(json.loads(whole.canonical())) == whole


def test_a_host_is_built_under_its_new_pin_and_takes_all_of_its_roles_at_once(whole):
    steps = whole.stages[1].waves[0].steps
    assert [step.kind for step in steps] == [
        *("gate", "drain", "pin", "runner", "verify", "refresh", "refresh"),
        *("apply", "verify", "release"),
    ]
    gate, _, pin, build, back, sync, pillar, applied, verify, _ = steps
    assert ("m1", "c.osd") in {(check.node, check.role) for check in gate.checks}
    assert (pin.nodes, pin.revision) == (("a1",), NEW)
    assert (build.runner, build.idempotent, build.limit) == ("provision.reimage", True, 3600)
    keep = {"a1": ["/etc/osd", "/var/lib/osd"]}
    asked = {"nodes": ["a1"], "image": "trixie", "keep": keep, "cluster": "c"}
    assert dict(build.kwarg) == asked
    assert build.reversible == "until_write"
    assert [call.kwarg for call in build.undo] == [{**build.kwarg, "image": "bookworm"}]
    assert (back.checks[0].checks, back.seconds) == ((), REBOOT_LIMIT)
    assert [s.calls[0].fun for s in (sync, pillar)] == [
        "saltutil.sync_all",
        "saltutil.refresh_pillar",
    ]
    assert [(c.nodes, c.kwarg) for c in applied.calls] == [(("a1",), {"mods": ["l.base", "c.osd"]})]
    assert [check.role for check in verify.checks] == ["l.base", "c.osd"]
    assert verify.seconds == REBOOT_LIMIT


def test_a_member_of_a_cluster_is_taken_back_by_its_form(whole):
    steps = whole.stages[0].waves[1].steps
    assert [step.runner for step in steps if step.runner] == ["provision.reimage", "c.form"]
    form = next(step for step in steps if step.runner == "c.form")
    assert dict(form.kwarg) == {"cluster": "c", "nodes": MONS, "test": False}
    verify = next(step for step in reversed(steps) if step.kind == "verify")
    assert ("m2", "c.mon") in {(check.node, check.role) for check in verify.checks}


def test_an_upgrade_is_ended_once_every_member_has_it(whole):
    (wave,) = next(stage.waves for stage in whole.stages if stage.name == "finalize")
    gate, final, verify = wave.steps
    assert [(c.fun, c.nodes, c.arg) for c in final.calls] == [("c.require", ("m1",), (OSDS,))]
    assert (final.title, final.reversible) == ("the release is required", "never")
    assert [check.node for check in gate.checks] == OSDS == [c.node for c in verify.checks]
    assert whole.no_return == final.id == "finalize/1/2-call"
    assert next(s for s in whole.stages if s.name == "finalize").phase == "resources"


def test_an_upgrade_is_not_ended_while_a_member_is_left():
    plan = plan_of(cluster(ALL_NEW), cluster(), nodes="a1,a2")
    assert waves(plan) == [("reimage", ("a1",)), ("reimage", ("a2",))]
    images = {**ALL_NEW, "a3": OLD_IMAGE}
    now = facts(cluster(), pins={node: NEW for node in images if node != "a3"})
    rest = plan_of(cluster(ALL_NEW), cluster(images), now=now)
    assert waves(rest) == [("reimage", ("a3",)), ("finalize", ()), ("commit", ())]


def test_an_upgrade_by_packages_ends_the_same():
    nodes = cluster()
    plan = plan_of(nodes, nodes, "upgrade", told=touched(nodes, "c.osd"))
    assert [stage.name for stage in plan.stages] == ["infrastructure", "finalize", "commit"]
    part = plan_of(nodes, nodes, "upgrade", told=touched(nodes, "c.osd"), nodes="a1")
    assert [stage.name for stage in part.stages] == ["infrastructure"]
    change = plan_of(nodes, nodes, "change", told=touched(nodes, "c.osd"))
    assert "finalize" not in [stage.name for stage in change.stages]


def test_no_share_of_the_end_of_an_upgrade_may_fail():
    plan = plan_of(cluster(ALL_NEW), cluster(), budget=2, on_failure="rollback")
    told = {stage.name: (stage.budget, stage.on_failure) for stage in plan.stages}
    assert told["reimage"] == (2, "rollback")
    assert told["finalize"] == (0, "stop")


def test_hosts_that_are_named_are_asked_for_whatever_they_are_served():
    nodes = cluster()
    plan = plan_of(nodes, nodes, now=facts(nodes, revision=OLD), nodes="a2")
    assert waves(plan) == [("reimage", ("a2",)), ("commit", ())]
    (step,) = [s for _, _, s in plan.steps() if s.runner == "provision.reimage"]
    assert (step.kwarg["image"], step.undo[0].kwarg["image"]) == ("bookworm", "bookworm")
    assert "a2: bookworm unless it runs already, kept are /etc/osd, /var/lib/osd" in show(plan)


def test_what_the_revision_changes_elsewhere_comes_after_the_hosts():
    images = {"a1": NEW_IMAGE}
    told = {"m1": Touched(("l.base",)), "a1": Touched(("c.osd",)), "z1": Touched(("l.base",))}
    plan = plan_of(cluster(images), cluster(), told=told)
    assert [stage.name for stage in plan.stages] == ["reimage", "foundation", "finalize", "commit"]
    assert {*plan.stages[1].nodes} == {"m1", "z1"}
    part = plan_of(cluster(images), cluster(), told=told, nodes="a1")
    assert [stage.name for stage in part.stages] == ["reimage", "finalize"]


@pytest.mark.parametrize(
    ("target", "options", "sentence"),
    [
        (cluster(), {}, r"reimage: there is nothing to do: every host has the image"),
        (cluster({"z1": NEW_IMAGE}), {}, r"z1 carries the master, which would end with it"),
        (cluster(), {"nodes": "z1"}, r"z1 carries the master"),
        (cluster({"a1": {"image": ""}}), {}, r"a1: host:image: a1 names no image"),
        (cluster(), {"roles": "c.osd"}, r"a reimage concerns all roles of a node"),
        (cluster(ALL_NEW, mon={"keep": None}), {}, r"m1: lifecycle:c\.mon:keep: c\.mon keeps data"),
        (cluster(ALL_NEW, osd={"keep": "/x"}), {}, r"a1: lifecycle:c\.osd:keep: is no list of dir"),
        (
            cluster(ALL_NEW, osd={"keep": ["/a/../b"]}),
            {},
            r"c\.osd:keep: /a/../b is no absolute path",
        ),
        (
            cluster(ALL_NEW, osd={"keep": ["/var/lib"]}),
            {},
            r"keep: /var/lib is more than the state",
        ),
        (cluster(ALL_NEW, osd={"finalize": {"call": "a.b"}}), {}, r"c\.osd:finalize: is no list"),
    ],
)
def test_a_reimage_that_cannot_be_is_refused(target, options, sentence):
    with pytest.raises(PlanError, match=sentence):
        plan_of(target, cluster(), **options)


def test_the_wanted_revision_may_be_the_first_that_says_what_is_kept():
    before = cluster(mon={"keep": None})
    plan = plan_of(cluster(ALL_NEW), before, nodes="m1")
    (step,) = [s for _, _, s in plan.steps() if s.runner == "provision.reimage"]
    assert step.kwarg["keep"] == {"m1": ["/var/lib/mon"]}
    # of a role that the revision takes away only the one before can say it
    without = cluster(ALL_NEW)
    without["m1"] = replace(without["m1"], applications=("l.base",))
    with pytest.raises(PlanError, match=r"m1: lifecycle:c\.mon:keep: c\.mon keeps data on m1"):
        plan_of(without, before, nodes="m1")


def test_a_majority_and_the_limits_hold_while_hosts_are_built():
    now = facts(cluster(), down={"c.mon": frozenset({"m2"})})
    # the one that is down comes first, and is mended by it
    assert waves(plan_of(cluster(ALL_NEW), cluster(), now=now))[0] == ("reimage", ("m2",))
    with pytest.raises(PlanError, match=r"m1 cannot be taken: c\.mon"):
        plan_of(cluster(ALL_NEW), cluster(), now=now, nodes="m1")


# -- back ------------------------------------------------------------------------------------------


def test_a_host_goes_back_to_its_former_image(whole):
    back = undo(whole, records(whole, broken="reimage/1/9-verify"))
    (stage,) = back.stages
    (wave,) = stage.waves
    assert [step.kind for step in wave.steps] == [
        *("gate", "pin", "runner", "verify", "refresh", "refresh", "apply", "runner"),
        "verify",
    ]
    _, pin, build, there, sync, _, applied, form, _ = wave.steps
    assert (pin.nodes, pin.revision) == (("m1",), "")
    assert (build.kwarg["image"], build.kwarg["keep"]) == ("bookworm", {"m1": ["/var/lib/mon"]})
    assert (there.seconds, sync.calls[0].fun) == (REBOOT_LIMIT, "saltutil.sync_all")
    assert (applied.calls[0].kwarg["mods"], form.runner) == (["l.base", "c.mon"], "c.form")
    assert Plan.from_json(json.loads(back.canonical())) == back


def test_a_host_that_its_new_image_left_silent_goes_back_as_well(whole):
    known = records(whole, broken="reimage.2/1/5-verify")
    now = facts(cluster(), absent={"a1": "no answer"}, pins={"a1": NEW, "m1": NEW})
    back = undo(whole, known, facts=now)
    wave = back.stages[0].waves[0]
    assert wave.nodes == ("a1",)
    # it is neither asked nor drained before its image is back
    kinds = [step.kind for step in wave.steps]
    assert kinds[: kinds.index("runner")] == ["gate", "pin"]
    # and then takes its roles, though the rollout did not come to apply them
    assert kinds[kinds.index("runner") :] == [
        *("runner", "verify", "refresh", "refresh", "apply", "verify", "release")
    ]
    assert "a1" not in {check.node for check in wave.steps[0].checks}
    assert wave.steps[0].nodes == ()
    gone = facts(cluster(), absent={"a1": "no answer", "m1": "no answer"})
    before = records(whole, until="reimage/1/2-pin")
    with pytest.raises(PlanError, match="m1 cannot be taken back: no answer"):
        undo(whole, before, facts=gone)


def test_the_end_of_an_upgrade_is_a_point_of_no_return(whole):
    with pytest.raises(PlanError, match="point of no return at finalize/1/2-call"):
        undo(whole, records(whole))
    back = undo(whole, records(whole), accept_loss=True)
    assert [stage.name for stage in back.stages] == ["reimage.2", "reimage", "commit"]
    undone = {**FINAL, "undo": {"call": "c.forget"}, "reversible": "until_write"}
    plan = plan_of(cluster(ALL_NEW, osd={"finalize": [undone]}), cluster())
    back = undo(plan, records(plan))
    assert [c.fun for s in back.stages[0].waves[0].steps for c in s.calls] == ["c.forget"]


# -- shown -----------------------------------------------------------------------------------------


def test_a_plan_shows_images_what_is_kept_and_where_the_way_back_ends(whole):
    text = show(whole)
    assert "m1: bookworm -> trixie, kept are /var/lib/mon" in text
    assert "finalize/1/2-call: the release is required (never)" in text
    assert "ends at finalize/1/2-call: the release is required" in text


def test_hosts_with_monitors_come_before_hosts_with_object_stores():
    nodes = example("demo-ceph")
    hosts = [node for node in nodes if "salt.master" not in nodes[node].applications]
    plan = plan_of(nodes, nodes, now=facts(nodes, revision=OLD), nodes=",".join(hosts))
    order = [node for stage in plan.stages for node in stage.nodes]
    assert sorted(order) == sorted(hosts)
    # those with monitors come before those with object stores
    assert [node[:3] for node in order] == ["mon"] * 3 + ["osd"] * 3
