"""What the roles of Ceph declare makes the plans that it should."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from saltern.errors import PlanError
from saltern.model.cluster import CompiledNode
from saltern.plan.make import make
from saltern.plan.operation import offers
from saltern.plan.request import Request
from saltern.plan.roles import Roles
from saltern.plan.types import Plan
from saltern.rollout.load import TreeSource
from tests.model import golden
from tests.unit.plan.clusters import facts

CLUSTER = "demo-ceph"
OSD1, OSD3, MON3 = (f"{name}.{CLUSTER}.test" for name in ("osd01", "osd03", "mon03"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TreeSource:
    top = tmp_path_factory.mktemp("model")
    golden.prepare(top, CLUSTER)
    return TreeSource(top)


@pytest.fixture(scope="module")
def nodes(source: TreeSource) -> dict[str, CompiledNode]:
    return source.nodes(CLUSTER)


def planned(source: TreeSource, current: dict[str, Any], workflow: str, /, **options: Any) -> Plan:
    now, target = options.pop("now", None), options.pop("target", current)
    request = Request.read(workflow, CLUSTER, options)
    return make(request, target, current, now or facts(current), {}, source.roles())


def calls(plan: Plan) -> list[tuple[str, tuple[str, ...], tuple[Any, ...]]]:
    """Function, short names of those who are called, arguments."""
    return [
        (call.fun, tuple(node.split(".")[0] for node in call.nodes), call.arg)
        for _, _, step in plan.steps()
        for call in step.calls
    ]


def gates(plan: Plan) -> list[set[tuple[str, str]]]:
    """Per wave: who is asked which function before it."""
    return [
        {
            (check.node.split(".")[0], str(item["call"]))
            for check in step.checks
            for item in check.checks
            if "call" in item
        }
        for _, _, step in plan.steps()
        if step.kind == "gate"
    ]


def test_what_is_offered(nodes: dict[str, CompiledNode], source: TreeSource) -> None:
    names = {offer.name for offer in offers(CLUSTER, Roles(nodes, source.roles()))}
    assert {"ceph.osd.replace-store", "ceph.osd.fill", "ceph.mgr.rotate-key"} <= names


def test_the_cluster_is_asked_before_a_host_restarts(
    source: TreeSource, nodes: dict[str, CompiledNode]
) -> None:
    plan = planned(source, nodes, "restart", roles="ceph.osd", nodes="osd01")
    (asked,) = gates(plan)
    monitors = {function for node, function in asked if node.startswith("mon")}
    assert {"ceph_gate.cluster", "ceph_gate.hosts_ok_to_stop"} <= monitors
    (question,) = [
        item
        for _, _, step in plan.steps()
        for check in step.checks
        for item in check.checks
        if item.get("call") == "ceph_gate.hosts_ok_to_stop"
    ]
    assert question["args"] == [["osd01"]]


def test_a_store_is_replaced_step_by_step_and_no_healthy_cluster_is_asked_for(
    source: TreeSource, nodes: dict[str, CompiledNode]
) -> None:
    now = replace(facts(nodes), down={"ceph.osd": frozenset({OSD3})})
    arguments = json.dumps({"store": 5, "accept": True})
    plan = planned(
        source, nodes, "operation", operation="ceph.osd.replace-store", nodes="osd03",
        args=arguments, now=now,
    )  # fmt: skip
    done = [call for call in calls(plan) if call[0].startswith(("ceph_", "state."))]
    assert [call[0] for call in done] == [
        "ceph_data.evacuate",
        "ceph_disk.stop",
        "ceph_data.destroy",
        "ceph_disk.forget",
        "state.apply",
        "ceph_data.take_in",
    ]
    where = [call[1] for call in done]
    assert all(hosts == ("osd03",) for hosts in (where[1], where[3], where[4]))
    assert all(hosts[0].startswith("mon") for hosts in (where[0], where[2], where[5]))
    assert all(arguments == (5,) for _, _, arguments in (*done[:4], done[5]))
    # the store is down: asking for a cluster without fault would keep it from being mended
    assert not any(
        "ceph_gate.cluster" in function for asked in gates(plan) for _, function in asked
    )
    assert plan.no_return


@pytest.mark.parametrize(
    "given", [{}, {"store": -1}, {"store": "three"}, {"store": 1, "sure": True}]
)
def test_wrong_arguments_are_refused(
    source: TreeSource, nodes: dict[str, CompiledNode], given: dict[str, Any]
) -> None:
    with pytest.raises(PlanError):
        planned(
            source, nodes, "operation", operation="ceph.osd.replace-store", nodes="osd03",
            args=json.dumps(given),
        )  # fmt: skip


def test_a_host_leaves_empty_and_a_monitor_leaves_the_map(
    source: TreeSource, nodes: dict[str, CompiledNode]
) -> None:
    left = {node: one for node, one in nodes.items() if node != OSD3}
    plan = planned(source, nodes, "scale-in", nodes="osd03", target=left)
    done = [call for call in calls(plan) if call[0].startswith(("ceph_data", "ceph_disk"))]
    assert [call[0] for call in done] == [
        "ceph_data.empty",
        "ceph_disk.stop",
        "ceph_data.purge",
        "ceph_disk.forget",
    ]
    assert [call[2] for call in done[::2]] == [("osd03",), ("osd03",)]
    left = {node: one for node, one in nodes.items() if node != MON3}
    plan = planned(source, nodes, "scale-in", nodes="mon03", target=left)
    assert ("ceph_monitor.leave", ("mon03",), ()) in calls(plan)


def test_a_new_host_joins_and_nobody_else_is_worked_on(
    source: TreeSource, nodes: dict[str, CompiledNode]
) -> None:
    before = {node: one for node, one in nodes.items() if node != OSD3}
    plan = planned(source, before, "scale-out", nodes="osd03", target=nodes, now=facts(nodes))
    steps = [step for _, _, step in plan.steps() if step.calls]
    assert {node for step in steps for call in step.calls for node in call.nodes} == {OSD3}
    assert not [step for step in steps if step.kind == "drain"]
    # it has nothing yet that could be missed
    assert not [asked for wave in gates(plan) for asked in wave if asked[0] != "osd03"]
    assert not [call for call in calls(plan) if call[0].startswith("ceph_data")]


def test_data_move_to_a_new_host_only_when_asked(
    source: TreeSource, nodes: dict[str, CompiledNode]
) -> None:
    plan = planned(source, nodes, "operation", operation="ceph.osd.fill", nodes="osd01")
    (call,) = [call for call in calls(plan) if call[0] == "ceph_data.fill"]
    assert call[2] == ("osd01",)
    (pace,) = [c.kwarg for _, _, s in plan.steps() for c in s.calls if c.fun == "ceph_data.fill"]
    assert pace == {"pace": 8}
