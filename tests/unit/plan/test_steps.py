"""What the steps of a wave become when they are put in order."""

from __future__ import annotations

from saltern.plan.roles import Roles
from saltern.plan.steps import Steps, joined, refresh
from saltern.plan.types import APPLY, REFRESH, PlannedCall, Step
from saltern.plan.waves import Fleet
from tests.unit.plan.clusters import facts, small

NODES = ("n1", "n2")


def applied(*groups: tuple[str, ...]) -> Step:
    """Roles applied on groups of nodes, one job for each."""
    calls = tuple(PlannedCall(group, "state.apply", kwarg={"mods": ["a.x"]}) for group in groups)
    return Step("", APPLY, "apply", tuple(sorted({n for g in groups for n in g})), calls)


def test_the_jobs_that_apply_roles_take_the_pillar():
    for step in (applied(NODES), applied(("n2",), ("n1",))):
        (found,) = joined([refresh(NODES), step])
        assert [(call.nodes, call.fresh) for call in found.calls] == [
            (call.nodes, True) for call in step.calls
        ]


def test_modules_that_were_sent_are_loaded_before_the_states():
    steps = [refresh(NODES, sync=True), refresh(NODES), applied(NODES)]
    assert joined(steps) == steps


def test_a_node_that_takes_its_pillar_and_applies_nothing_does_so_by_itself():
    for step in (applied(("n1",)), applied(NODES, ("n1",)), applied(("n1",), ("n3",))):
        assert [one.kind for one in joined([refresh(NODES), step])] == [REFRESH, APPLY]


def test_only_what_follows_at_once_takes_the_pillar():
    other = Step("", "call", "something else", NODES)
    steps = [refresh(NODES), other, applied(NODES)]
    assert joined(steps) == steps


def test_what_is_about_the_cluster_is_asked_of_one_node():
    shared = {"call": "db.current", "scope": "cluster"}
    health = [{"unit": "k"}, shared, {"call": "db.current", "kwargs": {"of": "k"}}]
    nodes = small({"k.api": NODES, "g.api": NODES}, {"k.api": {"health": health}})
    roles = Roles(nodes)
    steps = Steps("c", "", roles, roles, Fleet(roles, facts(nodes)))
    asked = [(node, role) for node in NODES for role in ("k.api", "g.api")]
    found = {(one.node, one.role): [*one.checks] for one in steps.verified(asked).checks}
    assert found["n1", "k.api"] == health
    assert found["n2", "k.api"] == [health[0], health[2]]
    assert found["n1", "g.api"] == found["n2", "g.api"] == [{"unit": "g-api"}]
    # the next question is one of its own
    assert [*steps.verified([("n2", "k.api")]).checks[0].checks] == health


def test_nodes_take_turns_with_what_is_about_the_cluster():
    roles_of = {f"{name}.api": NODES for name in "abc"}
    lifecycle = {
        role: {"health": [{"call": "db.current", "scope": "cluster", "kwargs": {"of": role}}]}
        for role in roles_of
    }
    nodes = small(roles_of, lifecycle)
    roles = Roles(nodes)
    steps = Steps("c", "", roles, roles, Fleet(roles, facts(nodes)))
    asked = [(node, role) for node in NODES for role in roles_of]
    found = [(one.node, one.role) for one in steps.verified(asked).checks]
    assert len(found) == len(roles_of)
    assert len({node for node, _ in found}) == min(len(NODES), len(roles_of))
