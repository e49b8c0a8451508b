"""Plans for tests of the engine, put together by hand from the types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from saltern.plan.make import make
from saltern.plan.request import Request
from saltern.plan.types import (
    APPLY,
    CALL,
    COMMIT,
    DRAIN,
    GATE,
    PIN,
    REFRESH,
    RELEASE,
    RUNNER,
    SOAK,
    VERIFY,
    Basis,
    Check,
    Plan,
    PlannedCall,
    Stage,
    Step,
    Wave,
)
from tests.support.fakes import names
from tests.unit.plan.clusters import facts, small

REVISION = "a" * 40
PROXIES = names("prx", 2)
INFRA, CONTROL, COMPUTE = names("inf", 3), names("ctl", 3), names("cmp", 6)


def short(node: str) -> str:
    return node.split(".")[0]


def checks(nodes: Sequence[str], role: str) -> tuple[Check, ...]:
    """Two questions about a role on each node, the same for all."""
    asked = ({"unit": role}, {"tcp": "localhost:80"})
    return tuple(Check(node, role, asked) for node in nodes)


def gate(nodes: Sequence[str], role: str, *peers: str) -> Step:
    asked = checks((*nodes, *peers), role)
    return Step("", GATE, f"gate {role}", tuple(nodes), checks=asked)


def drain(nodes: Sequence[str], proxies: Sequence[str] = PROXIES) -> Step:
    """Each node is drained on every proxy, and made ready there again."""
    calls, undo = [], []
    for node in nodes:
        calls.append(PlannedCall(tuple(proxies), "proxy.drain", (short(node),), serves=(node,)))
        undo.append(PlannedCall(tuple(proxies), "proxy.ready", (short(node),), serves=(node,)))
    return Step("", DRAIN, "drain", tuple(nodes), tuple(calls), tuple(undo))


def pin(nodes: Sequence[str]) -> Step:
    return Step("", PIN, "pin", tuple(nodes), revision=REVISION)


def refresh(nodes: Sequence[str]) -> Step:
    call = PlannedCall(tuple(nodes), "saltutil.refresh_pillar", kwarg={"wait": True})
    return Step("", REFRESH, "refresh", tuple(nodes), (call,))


def apply(nodes: Sequence[str], *roles: str) -> Step:
    call = PlannedCall(tuple(nodes), "state.apply", kwarg={"mods": list(roles)})
    return Step("", APPLY, f"apply {' '.join(roles)}", tuple(nodes), (call,))


def call(nodes: Sequence[str], fun: str, **more: Any) -> Step:
    planned = PlannedCall(tuple(nodes), fun)
    return Step("", CALL, fun, tuple(nodes), (planned,), **more)


def once(nodes: Sequence[str], fun: str) -> Step:
    """A function that may not run twice."""
    return call(nodes, fun, idempotent=False)


def runner(fun: str, **more: Any) -> Step:
    return Step("", RUNNER, fun, runner=fun, kwarg={"cluster": "demo"}, **more)


def verify(nodes: Sequence[str], role: str, **more: Any) -> Step:
    return Step("", VERIFY, f"verify {role}", tuple(nodes), checks=checks(nodes, role), **more)


def release(nodes: Sequence[str]) -> Step:
    return Step("", RELEASE, "release", tuple(nodes))


def soak(nodes: Sequence[str], seconds: float) -> Step:
    return Step("", SOAK, f"soak {seconds:g} s", tuple(nodes), seconds=seconds)


def commit() -> Step:
    return Step("", COMMIT, "commit", revision=REVISION)


def change(nodes: Sequence[str], role: str, *more: Step) -> list[Step]:
    """The steps of a wave that drains nodes, changes a role on them and gives them back."""
    return [
        gate(nodes, role),
        drain(nodes),
        pin(nodes),
        refresh(nodes),
        apply(nodes, role),
        *more,
        verify(nodes, role),
        release(nodes),
    ]


def stage(name: str, *waves: tuple[Sequence[str], Sequence[Step]], **more: Any) -> Stage:
    """A stage of waves, each given as its nodes and its steps; steps get their ids here."""
    made = []
    for number, (nodes, steps) in enumerate(waves, start=1):
        named = tuple(
            replace(step, id=f"{name}/{number}/{place}-{step.kind}")
            for place, step in enumerate(steps, start=1)
        )
        made.append(Wave(number, f"{number} of {len(waves)}", tuple(nodes), named))
    phase = more.pop("phase", name)
    return Stage(name, phase, f"the {name}", (name,), tuple(made), **more)


def plan(*stages: Stage, **more: Any) -> Plan:
    return Plan("change", "demo", Basis(REVISION), stages, **more)


def committed() -> Stage:
    return stage("commit", ((), [commit()]))


def whole() -> Plan:
    """Twelve nodes in three stages with every kind of step, and the commit.

    Nodes of the infrastructure form a cluster; controllers go one by one, and the first of them
    does something that may not run twice; computes go as a canary and the rest, and each is
    restarted, which may not happen twice either.
    """
    canary, rest = COMPUTE[:1], COMPUTE[1:]
    first, second, third = (CONTROL[i : i + 1] for i in range(3))
    return plan(
        stage(
            "infrastructure",
            (INFRA, [gate(INFRA, "galera"), pin(INFRA), refresh(INFRA), apply(INFRA, "galera")]),
            ((), [runner("galera.form"), verify(INFRA, "galera")]),
        ),
        stage(
            "control",
            (first, change(first, "keystone", once(first, "keystone.migrate"))),
            (second, change(second, "keystone")),
            (third, change(third, "keystone")),
        ),
        stage(
            "resources",
            (canary, [*change(canary, "nova", once(canary, "node.restart")), soak(canary, 3)]),
            (rest, [*change(rest, "nova", once(rest, "node.restart")), soak(rest, 3)]),
            rate=3600.0,
        ),
        committed(),
    )


#: a drain as roles declare it
BALANCED = {
    "call": "proxy.drain",
    "on": "h.proxy",
    "args": ["{short}"],
    "undo": {"call": "proxy.ready", "args": ["{short}"]},
}


def reimaged() -> Plan:
    """Two hosts from a new image, one after another, and what ends the upgrade, in one stage each.

    Their plan is made as any other one is, from what their roles declare.
    """
    told = {
        "q.db": {
            "stage": "infrastructure",
            "drain": [BALANCED],
            "before": [{"call": "q.may_stop", "args": ["{wave}"], "on": "h.proxy"}],
            "form": "galera.form",
            "finalize": [{"call": "q.require", "on": "h.proxy"}],
        }
    }
    hosts = {node: {"image": "old"} for node in INFRA[:2]}
    current = small({"q.db": INFRA[:2], "h.proxy": PROXIES}, told, hosts)
    images = {node: {"image": "new"} for node in INFRA[:2]}
    target = small({"q.db": INFRA[:2], "h.proxy": PROXIES}, told, images)
    return make(Request("reimage", "demo"), target, current, facts(current))


def worked() -> Plan:
    """An operation on three hosts: something that may not run twice, calls on another host."""
    work = {
        "what": "work",
        "arguments": {"store": {"type": "integer"}},
        "drain": True,
        "steps": [
            {"check": {"call": "w.looks", "args": ["{store}"]}},
            {"call": "node.restart", "idempotent": False},
            {"call": "w.weigh", "args": ["{wave}"], "on": "h.proxy"},
            {"runner": "w.settle", "kwargs": {"nodes": "{wave}"}},
            {"apply": True},
        ],
    }
    told = {
        "q.db": {
            "operations": {"work": work},
            "drain": [BALANCED],
        }
    }
    nodes = small({"q.db": INFRA, "h.proxy": PROXIES}, told)
    request = Request("operation", "demo", operation="q.db.work", arguments={"store": 3})
    return make(request, nodes, nodes, facts(nodes))
