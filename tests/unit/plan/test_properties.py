"""Over random clusters, limits and failures: no wave takes more away than the roles allow.

What holds is checked against the definition by a model of its own: it knows nothing of how waves
are split, only who is in service.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from saltern.errors import PlanError
from saltern.plan.make import Touched, make
from saltern.plan.request import Request
from saltern.plan.types import Plan

from .clusters import FakeNode, facts, small

RACKS = ("r1", "r2", "r3")
ROLES = ("a.base", "b.store", "c.api", "d.agent", "e.web")
PHASES = ("foundation", "infrastructure", "control")


@dataclass(frozen=True)
class Case:
    """A cluster, what is down in it, and what is asked for."""

    nodes: dict[str, FakeNode]
    down: dict[str, frozenset[str]]
    absent: frozenset[str]
    touched: dict[str, Touched]
    request: Request


@st.composite
def lifecycles(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, role in enumerate(ROLES):
        earlier = ROLES[:number]
        phases = PHASES[max([PHASES.index(found[r]["stage"]) for r in earlier], default=0) :]
        limit = st.one_of(st.integers(1, 3), st.sampled_from(["10%", "34%", "50%"]))
        found[role] = {
            "stage": draw(st.sampled_from(phases)),
            "after": draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else [],
            "start": draw(st.sampled_from(["together", "first_then_rest", "serial"])),
            "quorum": draw(st.sampled_from(["none", "majority"])),
            "max_unavailable": draw(limit),
            "domain": draw(st.sampled_from(["", "rack"])),
            "domains": draw(st.sampled_from([1, 1, 2])),
        }
        if draw(st.booleans()):
            found[role] |= {"drain": "m.drain", "release": "m.release"}
    return found


@st.composite
def cases(draw: st.DrawFn, failures: bool = True) -> Case:
    names = [f"n{number:02}" for number in range(1, draw(st.integers(1, 14)) + 1)]
    subsets = st.lists(st.sampled_from(names), unique=True, min_size=1)
    members = {role: sorted(draw(subsets)) for role in ROLES}
    hosts = {name: {"rack": draw(st.sampled_from(RACKS))} for name in names}
    nodes = small(members, draw(lifecycles()), hosts)
    few = st.lists(st.sampled_from(sorted(nodes)), unique=True, max_size=2)
    down = {role: frozenset(draw(few)) & {*members[role]} for role in ROLES} if failures else {}
    absent = frozenset(draw(few)) if failures else frozenset()
    changed = draw(st.lists(st.sampled_from(ROLES), unique=True, min_size=1))
    touched = {
        name: Touched(tuple(role for role in node.applications if role in changed))
        for name, node in nodes.items()
    }
    request = Request(
        "change",
        "c",
        canary=draw(st.integers(0, 2)),
        percent=draw(st.sampled_from([(), (10, 50), (25,)])),
        allow_absent=True,
        probes=False,
    )
    return Case(nodes, down, absent, {n: t for n, t in touched.items() if t.roles}, request)


def planned(case: Case) -> Plan:
    now = facts(case.nodes, absent=dict.fromkeys(case.absent, "no answer"), down=case.down)
    return make(case.request, case.nodes, case.nodes, now, case.touched)


def refused_or_planned(case: Case) -> tuple[Plan | None, str]:
    """The plan, or the sentence with which it was refused."""
    try:
        return planned(case), ""
    except PlanError as err:
        return None, str(err)


class World:
    """Who is in service, told from the definition of the limits."""

    left: Collection[str] = ()

    def __init__(self, case: Case) -> None:
        self.nodes = case.nodes
        self.down = {
            role: {
                n for n in self.members(role) if n in case.absent or n in case.down.get(role, ())
            }
            for role in ROLES
        }

    def members(self, role: str) -> list[str]:
        mine = [name for name, node in self.nodes.items() if role in node.applications]
        return [name for name in mine if name not in self.left]

    def rack(self, node: str) -> str:
        return self.nodes[node].host["rack"]

    def check(self, nodes: tuple[str, ...], touched: set[str], *, start: bool = True) -> None:
        """Assert that a wave takes no more away than is allowed.

        :param start: whether its roles are applied in the way in which they first came up
        """
        for role in ROLES:
            mine = [node for node in nodes if role in self.nodes[node].applications]
            members = self.members(role)
            added = set(mine) - self.down[role]
            if not added:
                continue
            away = added | self.down[role]
            declared = self.nodes[mine[0]].lifecycle[role]
            if declared["quorum"] == "majority" and len(members) > 1:
                assert len(members) - len(away) > len(members) / 2, f"{role}: majority"
            if role not in touched:
                continue
            assert len(away) <= self.allowed(declared, len(members)), f"{role}: max_unavailable"
            if declared["domain"]:
                racks = {self.rack(node) for node in added}
                assert len(racks) <= declared["domains"], f"{role}: domains"
                for rack in racks:
                    there = [node for node in members if self.rack(node) == rack]
                    gone = [node for node in away if self.rack(node) == rack]
                    assert len(gone) <= self.allowed(declared, len(there)), f"{role}: domain"
            if start and declared["start"] == "serial":
                assert len(mine) == 1, f"{role}: serial"

    @staticmethod
    def allowed(declared: dict[str, Any], members: int) -> int:
        told = str(declared["max_unavailable"])
        share = int(told.rstrip("%"))
        return max(1, share * members // 100) if told.endswith("%") else share


hard = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@given(cases())
@hard
def test_no_wave_breaks_a_quorum_or_a_limit(case):
    plan, why = refused_or_planned(case)
    event("planned" if plan else "refused")
    if plan is None:
        assert "cannot be taken" in why
        return
    world = World(case)
    for stage in plan.stages:
        for wave in stage.waves:
            world.check(wave.nodes, {*stage.roles})
            # a wave that went well has proven what it touched
            for role in stage.roles:
                world.down[role] -= {*wave.nodes}


@given(cases())
@hard
def test_every_node_is_worked_on_once_a_stage_and_nothing_is_left_out(case):
    plan, _ = refused_or_planned(case)
    if plan is None:
        return
    for stage in plan.stages:
        assert max(Counter(stage.nodes).values(), default=1) == 1
    applied = Counter(
        (node, role)
        for _, _, step in plan.steps()
        if step.kind == "apply"
        for call in step.calls
        for node in call.nodes
        for role in call.kwarg["mods"]
    )
    wanted = {
        (node, role)
        for node, told in case.touched.items()
        if node not in case.absent
        for role in told.roles
    }
    assert applied == dict.fromkeys(wanted, 1)


@given(cases())
@hard
def test_roles_wait_for_those_they_name(case):
    plan, _ = refused_or_planned(case)
    if plan is None:
        return
    at = {role: number for number, stage in enumerate(plan.stages) for role in stage.roles}
    node = next(iter(case.nodes.values()))
    for role in at:
        for other in node.lifecycle[role]["after"]:
            assert other not in at or at[other] < at[role]


@given(cases(failures=False))
@hard
def test_a_healthy_cluster_is_refused_only_where_a_majority_cannot_spare_anybody(case):
    plan, why = refused_or_planned(case)
    if plan is None:
        sizes = [len([n for n in case.nodes.values() if r in n.applications]) for r in ROLES]
        assert "majority" in why
        assert 2 in sizes


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_json_round_trips_and_the_hash_does_not_depend_on_order(case, rng):
    plan, _ = refused_or_planned(case)
    if plan is None:
        return
    again = Plan.from_json(json.loads(plan.canonical()))
    assert (again, again.hash) == (plan, plan.hash)
    assert Plan.from_json(shuffled(plan.to_json(), rng)).hash == plan.hash
    other = Case(
        shuffled(case.nodes, rng),
        shuffled(case.down, rng),
        case.absent,
        shuffled(case.touched, rng),
        case.request,
    )
    assert planned(other).hash == plan.hash


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with the keys of its mappings in another order, at any depth."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(one, rng) for one in value] if isinstance(value, list) else value


# -- what roles declare beside their states --------------------------------------------------------

DECLARED: dict[str, dict[str, Any]] = {
    "b.store": {
        "before": [{"call": "g.may_stop", "args": ["{wave}"], "on": "a.base"}],
        "leave": [
            {"call": "b.empty", "args": ["{short}"], "on": "a.base", "undo": {"call": "b.fill"}},
            {"call": "b.purge", "args": ["{wave}"], "on": "a.base"},
        ],
        "finalize": [{"call": "b.final"}],
    },
}
WORK = {"what": "work", "drain": True, "steps": [{"call": "w.work", "args": ["{short}"]}]}


def declared(
    case: Case, workflow: str, hosts: Mapping[str, Mapping[str, str]], **asked: Any
) -> Any:
    """The case with roles that declare more, hosts of their own, and another request."""
    told = {
        role: {**entry, "operations": {"work": WORK}, **DECLARED.get(role, {})}
        for role, entry in next(iter(case.nodes.values())).lifecycle.items()
    }
    nodes = {
        name: FakeNode(node.applications, told, {**node.host, **hosts.get(name, {})})
        for name, node in case.nodes.items()
    }
    request = replace(case.request, workflow=workflow, **asked)
    return replace(case, nodes=nodes, request=request, touched={})


few = settings(hard, max_examples=40)
#: why a plan may be refused
REFUSED = ("cannot be taken", "is asked or done on", "there is nothing to do", "is there")


def worked(case: Case, target: Mapping[str, FakeNode]) -> Plan | None:
    """The plan; None where it was refused for a reason that is one."""
    now = facts(case.nodes, absent=dict.fromkeys(case.absent, "no answer"), down=case.down)
    plan, why = None, ""
    try:
        plan = make(case.request, target, case.nodes, now, known=ROLES)
    except PlanError as err:
        why = str(err)
    event("planned" if plan else "refused")
    if plan is None:
        assert any(reason in why for reason in REFUSED)
        return None
    again = Plan.from_json(json.loads(plan.canonical()))
    assert (again, again.hash) == (plan, plan.hash)
    return plan


def named_before(plan: Plan) -> None:
    """Assert that each gate asks for exactly those of its wave that carry the role."""
    for _, wave, step in plan.steps():
        told = [c for check in step.checks for c in check.checks if c.get("call") == "g.may_stop"]
        for check in told:
            assert {*check["args"][0]} <= {*wave.nodes}
            assert check["args"][0]
        assert len(told) <= 1


@given(cases(), st.data())
@few
def test_a_reimage_breaks_no_limit_and_builds_every_host_once(case, data):
    new = data.draw(st.sets(st.sampled_from(sorted(case.nodes)), min_size=1))
    before = declared(case, "reimage", {name: {"image": "old"} for name in case.nodes})
    target = declared(
        case, "reimage", {n: {"image": "new" if n in new else "old"} for n in case.nodes}
    )
    plan = worked(before, target.nodes)
    if plan is None:
        return
    named_before(plan)
    world = World(before)
    for stage in plan.stages:
        for wave in stage.waves:
            world.check(wave.nodes, {*ROLES}, start=False)
            for role in ROLES:
                world.down[role] -= {*wave.nodes}
    built = Counter(n for _, _, s in plan.steps() if s.runner for n in s.kwarg["nodes"])
    assert built == dict.fromkeys(new - case.absent, 1)
    applied = Counter(
        (node, role)
        for _, _, step in plan.steps()
        if step.kind == "apply"
        for call in step.calls
        for node in call.nodes
        for role in call.kwarg["mods"]
    )
    wanted = {(node, role) for node in built for role in case.nodes[node].applications}
    assert applied == dict.fromkeys(wanted, 1)
    stores = [n for n, node in case.nodes.items() if "b.store" in node.applications and n in new]
    final = [s for s in plan.stages if s.name == "finalize"]
    assert bool(final) == (bool(stores) and not {*stores} & case.absent)


@given(cases(), st.sampled_from(ROLES))
@few
def test_an_operation_breaks_no_limit_and_does_every_member_once(case, role):
    case = declared(case, "operation", {}, operation=f"{role}.work")
    plan = worked(case, case.nodes)
    if plan is None:
        return
    named_before(plan)
    world = World(case)
    for stage in plan.stages:
        for wave in stage.waves:
            world.check(wave.nodes, {role}, start=False)
            world.down[role] -= {*wave.nodes}
    done = Counter(
        node
        for _, _, step in plan.steps()
        for call in step.calls
        if call.fun == "w.work"
        for node in call.nodes
    )
    assert done == dict.fromkeys({*World(case).members(role)} - case.absent, 1)


@given(cases(), st.data())
@few
def test_nodes_leave_without_breaking_a_limit_and_each_of_them_once(case, data):
    gone = data.draw(st.sets(st.sampled_from(sorted(case.nodes)), min_size=1))
    if len(gone) == len(case.nodes):
        return
    case = declared(case, "scale-in", {}, nodes=tuple(sorted(gone)))
    plan = worked(case, {name: node for name, node in case.nodes.items() if name not in gone})
    if plan is None:
        return
    named_before(plan)
    world = World(case)
    for wave in plan.stages[0].waves if plan.stages[0].name == "leave" else ():
        world.check(wave.nodes, {*ROLES}, start=False)
        world.left = {*world.left, *wave.nodes}
        for role in ROLES:
            world.down[role] -= world.left
    stores = {n for n in gone if "b.store" in case.nodes[n].applications} - case.absent
    emptied = Counter(
        call.arg[0] for _, _, s in plan.steps() for call in s.calls if call.fun == "b.empty"
    )
    assert emptied == dict.fromkeys(stores, 1)
    asked = {n for _, _, s in plan.steps() for c in s.calls if c.fun == "b.empty" for n in c.nodes}
    assert all(node not in gone for node in asked) or {*World(case).members("a.base")} <= gone
