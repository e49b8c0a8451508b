"""Eighty computes after the control plane: in waves by rack, at a rate, with nodes that fail."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saltern.plan.make import make
from saltern.plan.request import Request
from saltern.plan.schedule import schedule, total
from saltern.plan.show import show
from saltern.plan.types import APPLY, GATE, Plan
from saltern.plan.undo import undo
from saltern.release.lifecycle import load
from saltern.release.moves import gated
from saltern.rollout.ports import DONE, FAILED, PAUSED
from saltern.rollout.reached import releases
from tests.support.fakes import FAILS, FakeClock, Script, scripted, works
from tests.unit.plan.clusters import KNOWN, example, facts, touched
from tests.unit.rollout.test_engine import Bench

CLUSTER = "iaas"
COMPUTES = tuple(f"cmp{number:03}.iaas.test" for number in range(1, 81))
#: what earlier rollouts took, in minutes a wave
PACES = {name: [3.0] for name in ("prefetch", "precheck", "control", "control.2", "control.3")}
COMPUTE = "control.3"


@lru_cache
def upgrade(**options: Any) -> Plan:
    """Of Keystone and Nova on all of their nodes, by the reference model's own limits."""
    nodes = example(CLUSTER)
    paces = PACES if options.pop("known", False) else {}
    told = touched(nodes, "keystone.server", "nova.api", "nova.compute")
    request = Request.read("upgrade", CLUSTER, {"probes": False, **options})
    plan = make(request, nodes, nodes, facts(nodes), told, KNOWN, {}, paces)
    old, new = ({n: _at(one, v) for n, one in nodes.items()} for v in ("2025.1", "2026.1"))
    return gated(load(), request, plan, old, new)


def _at(node: Any, version: str) -> Any:
    params = {**node.pillar["_param"], "openstack_release": version}
    return type(node)(**{**vars(node), "pillar": {**node.pillar, "_param": params}})


def rack(node: str) -> str:
    return str(example(CLUSTER)[node].host["rack"])


def stage(plan: Plan, name: str = COMPUTE) -> Any:
    return next(one for one in plan.stages if one.name == name)


def waiting(bench: Bench) -> list[str]:
    """Computes that still have the older release."""
    told = releases(bench.journal.load(bench.rollout))
    return next(one["waiting"] for one in told if one["product"] == "openstack-compute")


# -- the plan --------------------------------------------------------------------------------------


def test_computes_come_after_the_control_plane_in_waves_by_rack() -> None:
    plan = upgrade()
    assert [one.roles for one in plan.stages] == [
        (), (), ("keystone.server",), ("nova.api",), ("nova.compute",),
        ("keystone.server",), (),
    ]  # fmt: skip
    names = [one.name for one in plan.stages]
    assert (names[:2], names[-2:]) == (["prefetch", "precheck"], ["finalize", "commit"])
    waves = stage(plan).waves
    assert sorted(node for wave in waves for node in wave.nodes) == list(COMPUTES)
    assert waves[0].nodes == COMPUTES[:1], "the canary"
    for wave in waves:
        racks = {rack(node) for node in wave.nodes}
        # 10 % of the twenty in one rack, and never of two racks
        assert len(racks) == 1
        assert len(wave.nodes) <= 2
        assert wave.domains == (f"rack {racks.pop()}",)
    assert [(one.title, len(one.nodes)) for one in plan.releases] == [
        ("OpenStack", 6), ("nova-compute", 80),
    ]  # fmt: skip


def test_a_rate_stretches_the_schedule_and_max_unavailable_alone_is_shorter() -> None:
    slow, quick = upgrade(rate=20, known=True), upgrade(known=True)
    mine = [slot for slot in schedule(slow) if slot.stage == COMPUTE]
    assert [slot.nodes for slot in mine] == [wave.nodes for wave in stage(slow).waves]
    # twenty an hour: each compute has its three minutes
    for one, following in pairwise(mine):
        assert following.begin - one.begin == pytest.approx(3 * len(one.nodes))
    takes = total(schedule(slow)) - mine[0].begin
    assert takes == pytest.approx((80 - len(mine[-1].nodes)) * 3 + 3)
    fast = [slot for slot in schedule(quick) if slot.stage == COMPUTE]
    assert {round(b.begin - a.begin, 1) for a, b in pairwise(fast)} == {3.0}
    assert total(schedule(quick)) < total(schedule(slow)) / 1.7
    text = show(slow)
    assert "WAVE          NODES       WHERE" in text
    assert "rack rack4" in text
    assert "control.3/1   cmp001      rack rack1              +0:24  3" in text
    hours = lambda plan: next(line for line in show(plan).splitlines() if "In all" in line)  # noqa: E731
    assert hours(slow).split()[-2] == "+4:21"
    assert hours(quick).split()[-2] == "+2:27"


def test_what_nobody_measured_is_not_made_up() -> None:
    assert schedule(upgrade()) == ()
    assert "Schedule" not in show(upgrade())
    text = show(upgrade(rate=20))
    assert "at least +0:" in text
    assert "In all at least +4:0" in text
    assert all(slot.minutes is None for slot in schedule(upgrade(rate=20)))


def test_the_engine_keeps_the_schedule() -> None:
    bench = Bench(upgrade(rate=20))
    begin = bench.clock.now()
    assert bench.run().state == DONE
    records = bench.journal.load(bench.rollout).records
    for slot, wave in zip(
        [slot for slot in schedule(bench.plan) if slot.stage == COMPUTE],
        stage(bench.plan).waves,
        strict=True,
    ):
        began = min(records[step.id].begun for step in wave.steps)
        # steps take no time here, so what the schedule says at least is what it is
        assert (began - begin) / 60 == pytest.approx(slot.begin, abs=0.2)


def twice(bench: Bench) -> set[str]:
    """Computes on which a role or a phase was applied more than once."""
    found = bench.bus.world.executions().items()
    return {n for (fun, _, n), times in found if fun == "state.apply" and times > 1} & {*COMPUTES}


# -- nodes that fail -------------------------------------------------------------------------------


def failing(*nodes: str, fun: str = "state.apply") -> Script:
    return scripted(*((fun, node, FAILS) for node in nodes))


@given(st.sets(st.sampled_from(COMPUTES[1:]), min_size=3, max_size=3))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_third_failure_stops_where_two_may(broken: set[str]) -> None:
    bench = Bench(upgrade(budget=2), failing(*broken))
    outcome = bench.run()
    waves = stage(bench.plan).waves
    last = max(n for n, wave in enumerate(waves) if broken & {*wave.nodes})
    assert (outcome.state, outcome.stage, outcome.wave) == (FAILED, COMPUTE, waves[last].number)
    assert outcome.exit_code == 1
    assert "(3 nodes failed, 2 may)" in outcome.reason
    # whoever came through has it, in the wave that stopped too; nobody behind was touched, and
    # nothing is out of service
    came = {node for wave in waves[: last + 1] for node in wave.nodes} - broken
    assert {*waiting(bench)} == {*COMPUTES} - came
    applied = {n for wave in waves[last + 1 :] for n in wave.nodes} & {*bench.bus.world.roles}
    assert applied == set()
    assert bench.journal.held() == []
    # mended, it is finished: those three once more, then the rest, none of the others again
    bench.follow(works)
    bench.engine.retry(bench.rollout)
    assert bench.run().state == DONE
    # of those that failed within the budget in waves before, only this stage's are done once more
    assert waiting(bench) == []
    assert twice(bench) <= broken | {*waves[last].nodes}
    assert {bench.journal.rows.deployed[CLUSTER]} == {bench.plan.basis.revision}


def test_two_failures_are_within_the_budget_and_stay_in_sight() -> None:
    broken = ("cmp017.iaas.test", "cmp064.iaas.test")
    bench = Bench(upgrade(budget=2), failing(*broken))
    assert bench.run().state == DONE
    assert waiting(bench) == list(broken)


def test_the_canary_stops_it_whatever_the_budget() -> None:
    bench = Bench(upgrade(budget=2), failing(COMPUTES[0]))
    outcome = bench.run()
    assert (outcome.state, outcome.stage, outcome.wave) == (FAILED, COMPUTE, 1)
    assert "no node of the canary may fail" in outcome.reason
    assert len(waiting(bench)) == 80


def test_a_pause_in_the_middle_is_a_mixed_state_that_goes_on() -> None:
    bench = Bench(upgrade(rate=20))
    half = stage(bench.plan).waves[20]

    class Clock(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            records = bench.journal.load(bench.rollout).records
            if half.steps[0].id in records and bench.state() != PAUSED:
                bench.journal.wish(bench.rollout, pause=True)

    bench.engine.ports = type(bench.engine.ports)(
        **{**vars(bench.engine.ports), "clock": Clock(bench.clock.time)}
    )
    assert bench.run().state == PAUSED
    left = waiting(bench)
    assert {*left} == {n for wave in stage(bench.plan).waves[21:] for n in wave.nodes}
    assert bench.journal.held() == []
    pins = bench.journal.rows.pins
    assert not {*left} & {*pins}, "who waits is served what it has"
    bench.journal.wish(bench.rollout, pause=False)
    bench.engine.ports = type(bench.engine.ports)(
        **{**vars(bench.engine.ports), "clock": FakeClock(bench.clock.time + 1e6)}
    )
    assert bench.run().state == DONE
    assert waiting(bench) == []
    assert twice(bench) == set()


def test_what_was_done_is_taken_back_rack_by_rack() -> None:
    broken = ("cmp010.iaas.test", "cmp031.iaas.test", "cmp033.iaas.test")
    bench = Bench(upgrade(budget=2), failing(*broken))
    assert bench.run().state == FAILED
    state = bench.journal.load(bench.rollout)
    back = undo(bench.plan, state.records, rollout=bench.rollout, accept_loss=True)
    assert [(one.title, one.before, one.after) for one in back.releases] == [
        ("nova-compute", "2026.1", "2025.1"), ("OpenStack", "2026.1", "2025.1"),
    ]  # fmt: skip
    # the computes go back before the control plane does
    named = [one.name for one in back.stages]
    assert named.index(COMPUTE) < named.index("control.2") < named.index("control")
    undone = Bench(back)
    assert undone.run().state == DONE
    applied = {*undone.bus.world.roles} & {*COMPUTES}
    begun = {
        node
        for wave in stage(bench.plan).waves
        for node in wave.nodes
        if any(step.kind == APPLY and step.id in state.records for step in wave.steps)
    }
    assert applied == begun
    assert all(step.kind != GATE or step.nodes for _, _, step in back.steps())
