"""What an upgrade asks of the new release before it touches anything."""

from __future__ import annotations

import pytest

from saltern.errors import PlanError
from saltern.plan.make import make
from saltern.plan.request import Request
from saltern.plan.show import show
from tests.unit.plan.clusters import KNOWN, example, facts, small, touched

ASKED = {"call": "openstack_upgrade.check", "args": ["x", {"release": "2"}]}


def upgrade(nodes, *roles, **more):
    told = touched(nodes, *roles)
    return make(
        Request.read("upgrade", "demo", {}), nodes, nodes, facts(nodes, **more), told, KNOWN
    )


def test_each_service_is_asked_on_one_member_before_anything_is_touched():
    nodes = example("demo")
    plan = upgrade(nodes, "keystone.server", "glance.server", "nova.database")
    stages = [stage.name for stage in plan.stages]
    assert stages.index("precheck") == stages.index("prefetch") + 1 == 1
    (wave,) = plan.stages[1].waves
    (step,) = wave.steps
    assert (step.kind, wave.nodes, step.calls) == ("gate", step.nodes, ())
    asked = {check.role: check for check in step.checks}
    assert {*asked} == {"keystone.server", "glance.server", "nova.database"}
    assert len({check.node for check in step.checks}) == 3, "members take turns"
    (question,) = asked["keystone.server"].checks
    assert question["call"] == "openstack_upgrade.check"
    assert question["args"] == ["keystone", {"release": "2025.1"}]
    assert "can be upgraded, says the new release" in show(plan)


def test_a_change_asks_nobody():
    nodes = example("demo")
    told = touched(nodes, "keystone.server")
    plan = make(Request("change", "demo"), nodes, nodes, facts(nodes), told, KNOWN)
    assert "precheck" not in [stage.name for stage in plan.stages]


def test_another_member_is_asked_where_one_is_down():
    nodes = small({"a.x": ["n1", "n2"]}, {"a.x": {"precheck": [ASKED]}})
    plan = upgrade(nodes, "a.x", down={"a.x": ["n1"]})
    (step,) = plan.stages[0].waves[0].steps
    assert [check.node for check in step.checks] == ["n2"]


def test_what_is_no_check_is_refused():
    nodes = small({"a.x": ["n1"]}, {"a.x": {"precheck": [{**ASKED, "on": "b.y"}]}})
    with pytest.raises(PlanError, match="a member of the role itself is asked"):
        upgrade(nodes, "a.x")
