"""Stages from lifecycles: order, what may converge at once, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.rollout.show import short, stage_table
from saltern.rollout.stages import ROLE_STAGES, STAGES, Stage, StagePlan, make_plan, read_roles

from .fakes import FakeNode


def cluster(members: dict[str, list[str]], lifecycle: dict[str, dict[str, Any]]):
    """Nodes from ``role -> nodes`` and ``role -> lifecycle``."""
    nodes = sorted({node for ids in members.values() for node in ids})
    return {
        node: FakeNode(
            tuple(role for role, ids in members.items() if node in ids),
            {role: {"stage": "foundation", **lifecycle.get(role, {})} for role in members},
        )
        for node in nodes
    }


def steps_of(stage: Stage) -> list[list[tuple[str, ...]]]:
    """Levels and steps flattened: for each step its ``(node, role)`` pairs."""
    return [
        [(node, role) for group in step for node in group.nodes for role in group.roles]
        for level in stage.levels
        for step in level.steps
    ]


INF = ["inf01", "inf02", "inf03"]


def test_roles_without_order_share_one_call():
    plan = make_plan("c", cluster({"a.x": INF, "b.y": INF}, {}))
    (level,) = plan.stage("foundation").levels
    ((group,),) = level.steps
    assert group.nodes == tuple(INF)
    assert group.roles == ("a.x", "b.y")


def test_a_role_waits_for_its_predecessor_on_all_nodes():
    nodes = cluster({"a.x": INF, "b.y": ["cfg01"]}, {"b.y": {"after": ["a.x"]}})
    assert steps_of(make_plan("c", nodes).stage("foundation")) == [
        [("inf01", "a.x"), ("inf02", "a.x"), ("inf03", "a.x")],
        [("cfg01", "b.y")],
    ]


def test_a_predecessor_on_the_same_node_shares_the_call_and_comes_before():
    nodes = cluster(
        {"a.late": INF, "b.early": INF},
        {"a.late": {"after": [{"role": "b.early", "scope": "node"}]}},
    )
    (level,) = make_plan("c", nodes).stage("foundation").levels
    ((group,),) = level.steps
    assert group.roles == ("b.early", "a.late")


def test_a_role_that_is_formed_does_not_share_its_level_with_its_successors():
    nodes = cluster(
        {"b.next": INF, "a.db": INF},
        {
            "a.db": {"form": "galera.form"},
            "b.next": {"after": [{"role": "a.db", "scope": "node"}]},
        },
    )
    first, second = make_plan("c", nodes).stage("foundation").levels
    assert first.roles == ("a.db",)
    assert [(f.function, f.nodes) for f in first.forms] == [("galera.form", tuple(INF))]
    assert second.roles == ("b.next",)


def test_first_then_rest():
    nodes = cluster({"a.x": INF}, {"a.x": {"start": "first_then_rest"}})
    assert steps_of(make_plan("c", nodes).stage("foundation")) == [
        [("inf01", "a.x")],
        [("inf02", "a.x"), ("inf03", "a.x")],
    ]


def test_the_rest_of_a_quorum_keeps_a_majority():
    five = [*INF, "inf04", "inf05"]
    nodes = cluster({"a.x": five}, {"a.x": {"start": "first_then_rest", "quorum": "majority"}})
    sizes = [len(step) for step in steps_of(make_plan("c", nodes).stage("foundation"))]
    assert sizes == [1, 2, 2]


def test_serial():
    nodes = cluster({"a.x": INF}, {"a.x": {"start": "serial"}})
    assert [len(s) for s in steps_of(make_plan("c", nodes).stage("foundation"))] == [1, 1, 1]


def test_a_role_that_starts_together_travels_with_a_serial_one():
    nodes = cluster({"a.cache": INF, "b.db": INF}, {"b.db": {"start": "serial"}})
    (level,) = make_plan("c", nodes).stage("foundation").levels
    assert [[(g.nodes, g.roles) for g in step] for step in level.steps] == [
        [((node,), ("a.cache", "b.db"))] for node in INF
    ]


@pytest.mark.parametrize(
    ("lifecycle", "sentence"),
    [
        ({"a.x": {"after": ["z.none"]}}, "role 'z.none' does not exist"),
        ({"a.x": {"after": [{"role": "z.none", "scope": "node"}]}}, "'z.none' does not exist"),
        ({"a.x": {"after": ["b.y"]}, "b.y": {"after": ["a.x"]}}, "a.x -> b.y -> a.x"),
        ({"a.x": {"after": ["a.x"]}}, "a.x -> a.x"),
        ({"a.x": {"after": ["b.y"]}, "b.y": {"stage": "control"}}, "later stage control"),
        ({"a.x": {"stage": "preflight"}}, "'preflight' is not one of"),
        ({"a.x": {"start": "somehow"}}, "'somehow' is not one of"),
        ({"a.x": {"quorum": "most"}}, "'most' is not one of"),
        ({"a.x": {"after": "b.y"}}, "must be a list"),
        ({"a.x": {"after": [{"role": "b.y", "scope": "rack"}]}}, "'rack' is not one of"),
        ({"a.x": {"after": [{"name": "b.y"}]}}, "is neither a role nor"),
        ({"a.x": {"health": {"unit": "x"}}}, "must be a list of mappings"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place(lifecycle, sentence):
    with pytest.raises(ModelError, match="lifecycle") as caught:
        make_plan("c", cluster({"a.x": INF, "b.y": INF}, lifecycle))
    assert sentence in str(caught.value)


def test_a_role_without_lifecycle_is_refused():
    with pytest.raises(ModelError, match=r"n1: role a\.x has no lifecycle"):
        read_roles({"n1": FakeNode(("a.x",), {})})


def test_a_role_that_exists_but_does_not_run_here_is_not_waited_for():
    nodes = cluster({"a.x": INF}, {"a.x": {"after": ["z.other"]}})
    plan = make_plan("c", nodes, known={"a.x", "z.other"})
    assert plan.stage("foundation").roles == ("a.x",)


@pytest.mark.parametrize("members", [["inf01", "inf03"], ["cfg01"], []])
def test_a_predecessor_on_the_same_node_must_run_there(members):
    nodes = cluster(
        {"a.x": INF, "b.y": members}, {"a.x": {"after": [{"role": "b.y", "scope": "node"}]}}
    )
    missing = ", ".join(node for node in INF if node not in members)
    with pytest.raises(ModelError, match=f"on the same node, which {missing} does not run"):
        make_plan("c", nodes, known={"a.x", "b.y"})


def test_nodes_that_disagree_about_a_role_are_both_named():
    nodes = {
        "n1": FakeNode(("a.x",), {"a.x": {"stage": "foundation"}}),
        "n2": FakeNode(("a.x",), {"a.x": {"stage": "control"}}),
    }
    with pytest.raises(ModelError, match="n1 and n2 declare"):
        read_roles(nodes)


def test_health_checks_may_differ_from_node_to_node():
    nodes = {
        node: FakeNode(("a.x",), {"a.x": {"stage": "control", "health": [{"port": port}]}})
        for node, port in (("n1", 1), ("n2", 2))
    }
    checks = make_plan("c", nodes).stage("control").checks
    assert [(c.node, c.role, c.checks) for c in checks] == [
        ("n1", "a.x", ({"port": 1},)),
        ("n2", "a.x", ({"port": 2},)),
    ]


def test_an_unknown_stage_names_the_known_ones():
    with pytest.raises(ModelError, match="preflight, foundation"):
        make_plan("c", {}).stage("fundament")


def test_the_plan_is_plain_data():
    nodes = cluster({"a.x": INF}, {"a.x": {"form": "x.form", "health": [{"unit": "x"}]}})
    data = make_plan("c", nodes).to_json()
    assert json.loads(json.dumps(data)) == data
    foundation = data["stages"][STAGES.index("foundation")]
    assert foundation["levels"] == [
        {
            "steps": [[{"nodes": INF, "roles": ["a.x"]}]],
            "forms": [{"role": "a.x", "function": "x.form", "nodes": INF}],
        }
    ]
    assert foundation["checks"][0] == {"node": "inf01", "role": "a.x", "checks": [{"unit": "x"}]}


def test_the_table_shows_every_step_form_and_check():
    nodes = cluster(
        {"a.x": INF},
        {"a.x": {"start": "first_then_rest", "form": "x.form", "health": [{"unit": "x"}]}},
    )
    table = [line.split() for line in stage_table(make_plan("demo", nodes)).splitlines()]
    assert table[0] == ["Cluster", "demo"]
    assert [row for row in table if row[0] == "foundation"] == [
        ["foundation", "1.1", "inf01", "a.x"],
        ["foundation", "1.2", "inf02-03", "a.x"],
        ["foundation", "form", "inf01-03", "a.x:", "x.form"],
        ["foundation", "check", "inf01-03", "3", "unit"],
    ]


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (["a1.x", "a2.x", "a4.x"], "a1-2 a4"),
        (["cfg.x"], "cfg"),
        (["b01.x", "a01.x", "a02.x"], "a01-02 b01"),
        ([], ""),
    ],
)
def test_short_names(nodes, text):
    assert short(nodes) == text


# --- properties -------------------------------------------------------------------------------


@st.composite
def clusters(draw: st.DrawFn):
    """A cluster whose roles only wait for roles that sort before them: never a circle."""
    nodes = [f"n{i:02d}" for i in range(draw(st.integers(1, 6)))]
    names = [f"s.r{i}" for i in range(draw(st.integers(1, 7)))]
    members, lifecycle = {}, {}
    for index, name in enumerate(names):
        members[name] = draw(st.lists(st.sampled_from(nodes), min_size=1, unique=True))
        before = draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        beside = [o for o in names[:index] if set(members[name]) <= set(members[o])]
        here = draw(st.lists(st.sampled_from(beside), unique=True)) if beside else []
        # never a predecessor of a later stage
        lowest = max([0, *(ROLE_STAGES.index(lifecycle[o]["stage"]) for o in [*before, *here])])
        lifecycle[name] = {
            "stage": draw(st.sampled_from(ROLE_STAGES[lowest:])),
            "after": [*before, *({"role": o, "scope": "node"} for o in here)],
            "start": draw(st.sampled_from(("together", "first_then_rest", "serial"))),
            "quorum": draw(st.sampled_from(("none", "majority"))),
            "form": draw(st.sampled_from(("", "x.form"))),
        }
    return members, lifecycle


def positions(plan: StagePlan) -> dict[tuple[str, str], tuple[int, ...]]:
    """When each role is applied on each node: (stage, level, step, place within the call)."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for s, stage in enumerate(plan.stages):
        for lv, level in enumerate(stage.levels):
            for st_, step in enumerate(level.steps):
                assert step, "a step is never empty"
                busy = [node for group in step for node in group.nodes]
                assert len(busy) == len(set(busy)), "a node is in one group of a step only"
                for group in step:
                    for place, role in enumerate(group.roles):
                        for node in group.nodes:
                            assert (role, node) not in found, "applied twice"
                            found[role, node] = (s, lv, st_, place)
    return found


@settings(deadline=None)
@given(clusters())
def test_every_role_is_applied_once_on_each_of_its_nodes_in_order(data):
    members, lifecycle = data
    found = positions(make_plan("c", cluster(members, lifecycle)))
    assert set(found) == {(role, node) for role, ids in members.items() for node in ids}
    for role, ids in members.items():
        for entry in lifecycle[role]["after"]:
            for node in ids:
                if isinstance(entry, str):
                    # everywhere: an earlier stage or level
                    for other in members[entry]:
                        assert found[entry, other][:2] < found[role, node][:2]
                elif node in members[entry["role"]]:
                    assert found[entry["role"], node] < found[role, node]


@settings(deadline=None)
@given(clusters())
def test_members_converge_as_they_may(data):
    members, lifecycle = data
    found = positions(make_plan("c", cluster(members, lifecycle)))
    for role, ids in members.items():
        start, quorum = lifecycle[role]["start"], lifecycle[role]["quorum"]
        steps: dict[tuple[int, ...], list[str]] = {}
        for node in sorted(ids):
            steps.setdefault(found[role, node][:3], []).append(node)
        order = [steps[key] for key in sorted(steps)]
        if start != "together":
            assert order[0] == [min(ids)]
        if start == "serial":
            assert all(len(step) == 1 for step in order)
        if start == "first_then_rest" and quorum == "majority" and len(ids) > 1:
            assert all(len(ids) - len(step) > len(ids) / 2 or len(step) == 1 for step in order)
            assert len(order) > 1


@settings(deadline=None)
@given(clusters())
def test_forms_follow_their_role_and_precede_what_waits_for_it(data):
    members, lifecycle = data
    plan = make_plan("c", cluster(members, lifecycle))
    found = positions(plan)
    formed = {
        form.role: (s, lv)
        for s, stage in enumerate(plan.stages)
        for lv, level in enumerate(stage.levels)
        for form in level.forms
    }
    assert set(formed) == {role for role in members if lifecycle[role]["form"]}
    for role, level in formed.items():
        assert all(found[role, node][:2] == level for node in members[role])
        for other, policy in lifecycle.items():
            names = [e if isinstance(e, str) else e["role"] for e in policy["after"]]
            if role in names:
                assert all(found[other, node][:2] > level for node in members[other])


@settings(deadline=None)
@given(clusters())
def test_the_plan_depends_on_nothing_but_the_model(data):
    members, lifecycle = data
    nodes = cluster(members, lifecycle)
    backwards = dict(reversed(list(nodes.items())))
    assert make_plan("c", nodes) == make_plan("c", backwards)
