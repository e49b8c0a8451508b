"""Drains that only a stop needs, members in reverse, and operations that disturb whole hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saltern.errors import PlanError
from saltern.plan.make import make
from saltern.plan.request import Request
from saltern.plan.types import Plan, Step
from saltern.plan.undo import undo

from .clusters import KNOWN, OLD, example, facts, small, touched
from .test_undo import records

THREE = ["n1", "n2", "n3"]
LEAVE = {"call": "v.away", "undo": {"call": "v.back"}, "only": "stop"}
CLOSE = {"call": "q.drain", "undo": {"call": "q.revive"}, "only": "stop", "closes": True}


def cluster(more: dict[str, Any] | None = None) -> dict[str, Any]:
    """An address on a balancer, a queue with a form, on three nodes of a base."""
    told: dict[str, dict[str, Any]] = {
        "s.base": {"stage": "foundation", "health": [{"file": "/etc/base"}]},
        "b.proxy": {"upgrade": ["install", "apply"]},
        "b.address": {"after": [{"role": "b.proxy", "scope": "node"}], "drain": [LEAVE]},
        "q.server": {
            "form": "q.form",
            "quorum": "majority",
            "drain": [CLOSE],
            "after": [{"role": "s.base", "scope": "node"}],
            "upgrade": ["prefetch", "stop", "install", "apply"],
        },
        **(more or {}),
    }
    return small(dict.fromkeys(told, THREE), told)


def plan_of(workflow: str, target: dict[str, Any], *roles: str, **options: Any) -> Plan:
    request = Request.read(workflow, "c", {"canary": 0, **options})
    now = facts(target, **({"revision": OLD} if workflow == "operation" else {}))
    return make(request, target, target, now, touched(target, *roles), KNOWN)


def first(plan: Plan) -> list[Step]:
    return list(plan.stages[0].waves[0].steps)


def drained(plan: Plan) -> list[str]:
    return sorted({c.fun for _, _, s in plan.steps() if s.kind == "drain" for c in s.calls})


@pytest.mark.parametrize(
    ("workflow", "options", "taken"),
    [
        ("change", {}, []),
        ("upgrade", {}, ["q.drain", "v.away"]),
        ("restart", {"roles": "b.proxy,q.server"}, ["q.drain", "v.away"]),
        ("reboot", {}, ["q.drain", "v.away"]),
    ],
)
def test_a_drain_may_be_for_waves_that_stop_daemons(workflow, options, taken):
    plan = plan_of(workflow, cluster(), "b.proxy", "q.server", **options)
    assert drained(plan) == taken


def test_an_upgrade_stops_what_has_phases_and_what_runs_on_it():
    assert drained(plan_of("upgrade", cluster(), "b.proxy")) == ["v.away"]
    # its phases are what stops a daemon: the base has none, so what runs on it goes on
    assert drained(plan_of("upgrade", cluster(), "s.base")) == []


def test_what_is_closed_to_clients_is_proven_after_it_was_given_back():
    steps = first(plan_of("upgrade", cluster(), "q.server"))
    assert [step.kind for step in steps][-4:] == ["apply", "verify", "release", "verify"]
    before, _, after = steps[-3:]
    assert not before.checks
    assert [(c.node, c.role) for c in after.checks] == [("n1", "q.server")]
    steps = first(plan_of("reboot", cluster()))
    assert [step.kind for step in steps][-3:] == ["verify", "release", "verify"]
    assert "q.server" not in {check.role for check in steps[-3].checks}


def test_phases_prove_a_member_of_what_is_formed_and_a_plain_change_leaves_it_to_the_form():
    told = {"q.server": {"form": "q.form", "upgrade": ["stop", "apply"]}}
    nodes = small({"q.server": THREE}, told)
    for workflow, roles in (("upgrade", {"q.server"}), ("change", set())):
        proof = next(s for s in first(plan_of(workflow, nodes, "q.server")) if s.kind == "verify")
        assert {check.role for check in proof.checks if check.checks} == roles


def test_the_first_member_by_name_may_come_last():
    nodes = cluster({"q.server": {"order": "reverse"}})
    waves = [w.nodes for w in plan_of("upgrade", nodes, "q.server").stages[0].waves if w.nodes]
    assert waves == [("n3",), ("n2",), ("n1",)]
    # nobody else is turned round by it
    waves = [w.nodes for w in plan_of("upgrade", nodes, "b.proxy").stages[0].waves if w.nodes]
    assert waves == [("n1",), ("n2",), ("n3",)]


PACKAGES = {
    "what": "packages (restart {reboot})",
    "host": True,
    "arguments": {"reboot": {"type": "string", "default": "needed"}},
    "prefetch": [{"call": "p.fetch", "what": "{node} fetch"}],
    "steps": [
        {"call": "p.install", "what": "packages on {node}"},
        {"call": "p.restart", "args": ["{reboot}"]},
        {"check": {"call": "p.settled"}, "away": 1800},
    ],
}


def packages(master: str = "", **options: Any) -> Plan:
    more: dict[str, Any] = {"s.base": {"stage": "foundation", "operations": {"packages": PACKAGES}}}
    nodes = cluster({**more, "salt.master": {}} if master else more)
    for name, node in nodes.items():
        if name != master:
            roles = tuple(role for role in node.applications if role != "salt.master")
            nodes[name] = replace(node, applications=roles)
    return plan_of("operation", nodes, operation="s.base.packages", **options)


def test_an_operation_may_take_the_whole_host_as_a_reboot_does():
    plan = packages()
    fetch, work = plan.stages
    assert (fetch.name, [w.nodes for w in fetch.waves]) == ("prefetch", [("n1", "n2", "n3")])
    (call,) = fetch.waves[0].steps[0].calls
    assert (call.fun, call.nodes) == ("p.fetch", ("n1", "n2", "n3"))
    assert fetch.reversible == "always"
    # by the last stage of its roles, as a reboot
    assert (work.name, work.phase) == ("s.base.packages", "control")
    assert [wave.nodes for wave in work.waves] == [("n1",), ("n2",), ("n3",)]
    steps = work.waves[0].steps
    assert [step.kind for step in steps] == [
        *("gate", "drain", "call", "call", "verify", "verify", "release", "verify")
    ]
    assert {call.fun for call in steps[1].calls} == {"q.drain", "v.away"}
    assert steps[3].calls[0].arg == ("needed",)
    # who restarts is waited for
    assert steps[4].seconds == 1800
    assert [check.role for check in steps[-1].checks] == ["q.server"]
    assert plan.no_return == steps[2].id


def test_an_operation_on_hosts_leaves_the_master_alone_and_says_so():
    plan = packages("n1")
    assert {n for stage in plan.stages for w in stage.waves for n in w.nodes} == {"n2", "n3"}
    with pytest.raises(PlanError, match="n1 carries the master"):
        packages("n1", nodes="n1")


@pytest.mark.parametrize(
    ("role", "more", "sentence"),
    [
        ("q.server", {"order": "random"}, "'random' is not name or reverse"),
        ("b.address", {"drain": [{**LEAVE, "only": "reboot"}]}, "only is stop or left out"),
    ],
)
def test_what_is_badly_declared_is_refused(role, more, sentence):
    with pytest.raises(PlanError, match=sentence):
        plan_of("reboot" if "drain" in more else "upgrade", cluster({role: more}), role)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"host": "yes"}, "'yes' is not true or false"),
        ({"prefetch": [{"apply": True}]}, "an entry has one of call"),
        ({"steps": [{"call": "p.x", "away": 5}]}, "unknown key away"),
        ({"steps": [{"check": {"call": "p.x"}, "away": 0}]}, "0 is not seconds"),
    ],
)
def test_an_operation_on_hosts_that_is_badly_declared_is_refused(more, sentence):
    told = {"stage": "foundation", "operations": {"packages": {**PACKAGES, **more}}}
    with pytest.raises(PlanError, match=sentence):
        plan_of("operation", cluster({"s.base": told}), operation="s.base.packages")


# -- as the example clusters declare it ------------------------------------------------------------


def upgraded(name: str, *roles: str, **options: Any) -> Plan:
    nodes = example(name)
    request = Request.read("upgrade", name, options)
    return make(request, nodes, nodes, facts(nodes), touched(nodes, *roles), KNOWN)


def waves_of(plan: Plan) -> list[list[str]]:
    return [[n.split(".")[0] for n in w.nodes] for s in plan.stages for w in s.waves if w.nodes]


def calls(step: Step) -> set[str]:
    return {call.fun for call in step.calls}


def test_the_member_of_galera_that_clients_write_to_comes_last():
    plan = upgraded("demo-core", "galera.server")
    assert waves_of(plan) == [["inf03"], ["inf02"], ["inf01"]]
    steps = first(plan)
    gate = next(s for s in steps if s.kind == "gate")
    asked = [q["call"] for c in gate.checks for q in c.checks if "call" in q]
    assert "galera_upkeep.quiet" in asked
    mods = [m for s in steps if s.kind == "apply" for c in s.calls for m in c.kwarg["mods"]]
    assert mods == [
        *("galera.upgrade.prefetch", "galera.upgrade.check", "galera.upgrade.stop"),
        *("galera.upgrade.install", "galera.server", "galera.upgrade.migrate"),
    ]
    drain = next(s for s in steps if s.kind == "drain")
    assert calls(drain) == {"haproxy_admin.drain"}
    # fetched and checked while it serves
    assert [s.kind for s in steps][4:8] == ["apply", "apply", "drain", "apply"]
    proof = next(s for s in steps if s.kind == "verify")
    assert {(c.node.split(".")[0], c.role) for c in proof.checks} == {("inf03", "galera.server")}


def test_rabbitmq_ends_with_the_flags_of_its_new_release_which_is_the_point_of_no_return():
    plan = upgraded("demo-core", "rabbitmq.server")
    assert [calls(s) for _, _, s in plan.steps() if s.kind == "drain"] == [
        {"rabbitmq_upkeep.drain"}
    ] * 3
    final = next(stage for stage in plan.stages if stage.name == "finalize")
    assert [c.fun for s in final.waves[0].steps for c in s.calls] == [
        "rabbitmq_upkeep.enable_flags",
        "rabbitmq_upkeep.rebalance",
    ]
    assert plan.no_return == final.waves[0].steps[1].id
    # a change configures: nobody is sent away for it
    nodes = example("demo-core")
    request = Request.read("change", "demo-core", {})
    change = make(request, nodes, nodes, facts(nodes), touched(nodes, "rabbitmq.server"), KNOWN)
    assert drained(change) == []


def test_the_virtual_address_leaves_before_haproxy_is_replaced():
    plan = upgraded("demo-core", "haproxy.proxy")
    assert waves_of(plan) == [["ctl03"], ["ctl02"], ["ctl01"]]
    steps = first(plan)
    kinds = [calls(s) for s in steps if s.kind == "drain"]
    assert kinds == [{"keepalived_vrrp.away"}]
    mods = [m for s in steps if s.kind == "apply" for c in s.calls for m in c.kwarg["mods"]]
    assert mods == [
        *("haproxy.upgrade.prefetch", "haproxy.upgrade.install", "haproxy.proxy"),
        "haproxy.upgrade.start",
    ]


def test_an_upgrade_of_libvirt_moves_the_servers_of_a_compute_away_as_nova_does():
    def taken(role: str) -> set[str]:
        plan = upgraded("demo", role, nodes="cmp01")
        return {c.fun for _, _, s in plan.steps() if s.kind == "drain" for c in s.calls}

    assert "nova_host.drain" in taken("nova.compute")
    assert taken("nova.compute") <= taken("libvirt.server")
    plan = upgraded("demo", "libvirt.server", nodes="cmp01")
    gate = next(s for s in first(plan) if s.kind == "gate")
    asked = [q["call"] for c in gate.checks for q in c.checks if "call" in q]
    assert "nova_host.fits" in asked


def test_packages_of_hosts_go_over_a_cloud_as_a_reboot_does():
    nodes = example("demo")
    request = Request.read("operation", "demo", {"operation": "linux.system.packages"})
    plan = make(request, nodes, nodes, facts(nodes, revision=OLD), {}, KNOWN)
    reboot = Request.read("reboot", "demo", {})
    other = make(reboot, nodes, nodes, facts(nodes, revision=OLD), {}, KNOWN)
    assert plan.stages[0].name == "prefetch"
    assert waves_of(plan)[1:] == waves_of(other)
    assert drained(plan) == drained(other)
    assert {"nova_host.drain", "rabbitmq_upkeep.drain", "keepalived_vrrp.away"} <= {*drained(plan)}


def test_a_rollback_proves_what_was_closed_after_it_was_given_back():
    plan = plan_of("upgrade", cluster(), "q.server", nodes="n1")
    stages = [stage for stage in plan.stages if stage.name != "commit"]
    until = stages[0].waves[0].steps[-1].id
    back = undo(plan, records(plan, until=until), accept_loss=True)
    wave = next(w for s in back.stages for w in s.waves if w.nodes == ("n1",))
    kinds = [step.kind for step in wave.steps]
    assert kinds[-3:] == ["verify", "release", "verify"]
    assert [(c.node, c.role) for c in wave.steps[-1].checks] == [("n1", "q.server")]


def test_infrastructure_is_measured_by_what_uses_it():
    names = {probe.name for probe in upgraded("demo-core", "galera.server").probes}
    assert {"keystone", "token", "glance", "placement"} <= names
    # a part that is a service of its own measures itself
    nodes = example("demo-core")
    request = Request.read("change", "demo-core", {})
    change = make(request, nodes, nodes, facts(nodes), touched(nodes, "placement.server"), KNOWN)
    assert "glance" not in {probe.name for probe in change.probes}


def test_an_operation_on_a_hypervisor_locks_its_machines():
    nodes = example("iaas")
    named = {"operation": "linux.system.packages", "nodes": "kvm01"}
    request = Request.read("operation", "iaas", named)
    plan = make(request, nodes, nodes, facts(nodes, revision=OLD), {}, KNOWN)
    reboot = Request.read("reboot", "iaas", {"nodes": "kvm01"})
    other = make(reboot, nodes, nodes, facts(nodes, revision=OLD), {}, KNOWN)
    assert {*other.locks} <= {*plan.locks}
