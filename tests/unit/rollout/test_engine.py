"""What the engine makes of nodes that fail or keep silent, of budgets, and of what people wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from saltern.errors import JournalError, LockedError, RolloutError
from saltern.plan.types import CANARY, ROLL_BACK, Check, Plan, PlannedCall, Step
from saltern.rollout.engine import Engine
from saltern.rollout.handlers import calls_of
from saltern.rollout.outcome import Outcome
from saltern.rollout.ports import (
    ABORTED,
    BROKEN,
    DONE,
    FAILED,
    OK,
    PAUSED,
    RUNNING,
    UNKNOWN,
    Call,
    StepRecord,
)
from saltern.rollout.questions import MESSAGE
from tests.support.fakes import (
    FAILS,
    GONE,
    LOSES,
    MUTE,
    SAYS_NO,
    UNWELL,
    Crash,
    FakeBus,
    FakeClock,
    FakeEvents,
    FakeRunners,
    FakeWatch,
    Killed,
    MemoryJournal,
    Script,
    World,
    names,
    questions_of,
    scripted,
    works,
)
from tests.unit.rollout import engine_plans as plans

NODES = names("ctl", 3)
ONE, TWO, THREE = NODES
MANY = names("cmp", 10)


@dataclass
class Bench:
    """An engine with its world."""

    plan: Plan
    script: Script = works
    watch: FakeWatch | None = None
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    clock: FakeClock = field(default_factory=FakeClock)
    events: FakeEvents = field(default_factory=FakeEvents)
    rollout: str = ""

    def __post_init__(self) -> None:
        self.bus = FakeBus(World(), self.script, self.clock)
        self.runners = FakeRunners(answers=self.answers)
        self.rollout = self.journal.begin(self.plan)
        self.engine = Engine(
            self.bus, self.journal, self.clock, self.events, self.runners, self.watch, "me"
        )

    def run(self, until: str = "") -> Outcome:
        return self.engine.run(self.rollout, until)

    def follow(self, script: Script) -> None:
        """From now on nodes behave otherwise."""
        self.bus.script = script

    def record(self, step: str) -> StepRecord:
        return self.journal.load(self.rollout).records[step]

    def state(self) -> str:
        return self.journal.load(self.rollout).state

    def done_on(self, fun: str) -> list[str]:
        """Nodes on which a function was carried out, sorted, each as often as it was."""
        found = self.bus.world.executions()
        return sorted(n for (f, _, n), times in found.items() for _ in range(times) if f == fun)


def wave_by_wave(**more: Any) -> Plan:
    """Three controllers, one a wave, each drained on the proxies."""
    waves = [((node,), plans.change((node,), "keystone")) for node in NODES]
    return plans.plan(plans.stage("control", *waves, **more), plans.committed())


def at_once(*steps: Step, **more: Any) -> Plan:
    """Ten computes in one wave."""
    found = steps or tuple(plans.change(MANY, "nova"))
    return plans.plan(plans.stage("resources", (MANY, found), **more))


# -- the way of a wave -----------------------------------------------------------------------------


def test_steps_of_a_wave_come_in_their_order_and_waves_one_after_another() -> None:
    bench = Bench(wave_by_wave())
    assert bench.run() == Outcome(DONE)
    one = [
        "health.check",
        "proxy.drain",
        "saltutil.refresh_pillar",
        "state.apply",
        "health.check",
        "proxy.ready",
    ]
    assert bench.bus.functions() == one * 3
    assert bench.journal.rows.deployed == {"demo": plans.REVISION}
    assert bench.journal.rows.pins == {}


def test_node_is_pinned_after_it_was_drained_and_before_it_is_refreshed() -> None:
    bench = Bench(wave_by_wave())
    seen = []
    bench.bus.on_publish = lambda call: seen.append((call.fun, dict(bench.journal.rows.pins)))
    bench.run()
    pins = dict(reversed(seen))
    assert pins["proxy.drain"] == {}
    assert pins["saltutil.refresh_pillar"] == {ONE: plans.REVISION}


def test_names_of_changed_states_are_noted_and_nothing_that_a_function_returned() -> None:
    bench = Bench(wave_by_wave())
    bench.run()
    result = bench.record("control/1/5-apply").results[ONE]
    assert result.changed == ("keystone (file.managed)",)
    assert "secret" not in repr(bench.journal.rows)
    assert "secret" not in repr(bench.events.told)


def test_progress_is_told_to_machines_and_to_people() -> None:
    bench = Bench(plans.plan(plans.stage("control", ((ONE,), [plans.apply((ONE,), "keystone")]))))
    bench.run()
    assert bench.events.tags() == [
        "begin",
        "stage/begin",
        "wave/begin",
        "step/begin",
        "step/end",
        "wave/end",
        "stage/end",
        "end",
    ]
    assert bench.events.told[0][0] == "rollout/r1/begin"
    assert bench.events.lines()[3].strip() == "apply keystone"
    assert bench.events.lines()[4].strip() == "1 states changed on 1 hosts (0 s)"
    ended = bench.events.told[4][1]
    assert ended["changed"] == {ONE: 1}
    assert ended["failures"] == []


def test_rollout_goes_on_though_nobody_can_be_told() -> None:
    class Gone(FakeEvents):
        def emit(self, tag: str, data: Mapping[str, Any], line: str = "") -> None:
            raise BrokenPipeError

    bench = Bench(wave_by_wave(), events=Gone())
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == list(NODES)


def test_rollout_that_is_over_is_not_done_again() -> None:
    bench = Bench(wave_by_wave())
    bench.run()
    published = len(bench.bus.published)
    assert bench.run() == Outcome(DONE)
    assert len(bench.bus.published) == published


def test_one_engine_at_a_time_works_on_a_rollout() -> None:
    bench = Bench(wave_by_wave())
    bench.journal.claim(bench.rollout, "another")
    with pytest.raises(LockedError):
        bench.run()
    bench.journal.gone.add("another")
    assert bench.run().state == DONE
    assert bench.journal.rows.owners[bench.rollout] == ""


# -- failures and the budget -----------------------------------------------------------------------


def test_node_that_fails_stops_the_stage_and_the_rest_stays_untouched() -> None:
    bench = Bench(wave_by_wave(), scripted(("state.apply", ONE, FAILS)))
    outcome = bench.run()
    assert (outcome.state, outcome.stage, outcome.wave) == (FAILED, "control", 1)
    assert outcome.exit_code == 1
    assert f"{ONE}: state.apply did not work" in outcome.reason
    assert bench.done_on("state.apply") == [ONE]
    assert bench.journal.rows.pins == {ONE: plans.REVISION}
    assert bench.bus.world.out == set()
    assert "control/1/6-verify" not in bench.journal.load(bench.rollout).records
    assert bench.record("control/1/7-release").phase == OK


def test_node_that_fails_within_the_budget_drops_out_and_the_others_go_on() -> None:
    bench = Bench(at_once(budget=2), scripted(("state.apply", MANY[3], FAILS)))
    outcome = bench.run()
    assert outcome.state == DONE
    assert bench.record("resources/1/5-apply").phase == BROKEN
    verified = bench.record("resources/1/6-verify").results
    assert sorted(verified) == sorted(set(MANY) - {MANY[3]})
    # what it took out of service is given back for it as well
    assert bench.bus.world.out == set()
    assert bench.journal.held() == []
    assert "without cmp04" in bench.events.lines()[-2]


def test_one_more_than_the_budget_stops_the_stage() -> None:
    faults = scripted(*[("state.apply", node, FAILS) for node in MANY[:3]])
    assert Bench(at_once(budget=3), faults).run().state == DONE
    outcome = Bench(at_once(budget=2), faults).run()
    assert outcome.state == FAILED
    assert "(3 nodes failed, 2 may)" in outcome.reason


def test_reason_names_the_first_few_of_many_failures() -> None:
    bench = Bench(at_once(), scripted(*[("state.apply", node, FAILS) for node in MANY]))
    reason = bench.run().reason
    assert MANY[4] in reason
    assert MANY[5] not in reason
    assert reason.endswith("And 5 more.")


def test_budget_is_of_the_whole_stage_and_a_node_counts_once() -> None:
    waves = [((n,), [plans.apply((n,), "nova"), plans.verify((n,), "nova")]) for n in MANY[:4]]
    all_of_it = ((), [plans.verify(MANY[:4], "nova")])
    plan = plans.plan(plans.stage("resources", *waves, all_of_it, budget=2))
    faults = [("state.apply", MANY[0], FAILS), ("state.apply", MANY[2], FAILS)]
    # the same nodes are unwell at the end, too: these are two nodes, not four
    unwell = [("health.check", MANY[0], FAILS), ("health.check", MANY[2], FAILS)]
    assert Bench(plan, scripted(*faults, *unwell)).run().state == DONE
    third = ("health.check", MANY[3], FAILS)
    assert Bench(plan, scripted(*faults, third)).run().state == FAILED


def test_canary_that_fails_stops_the_stage_whatever_the_budget() -> None:
    first, *rest = MANY
    waves = [
        ((n,), [plans.apply((n,), "nova"), plans.verify((n,), "nova")]) for n in (first, *rest)
    ]
    stage = plans.stage("resources", *waves, budget=3)
    stage = replace(stage, waves=(replace(stage.waves[0], name=CANARY), *stage.waves[1:]))
    fault = scripted(("health.check", first, FAILS))
    bench = Bench(plans.plan(stage), fault)
    outcome = bench.run()
    assert (outcome.state, outcome.wave) == (FAILED, 1)
    assert outcome.reason.endswith("(no node of the canary may fail)")
    assert bench.done_on("state.apply") == [first]
    # the next run finds the same in the journal
    assert bench.run().reason == outcome.reason
    assert bench.done_on("state.apply") == [first]
    # one that comes later is what the budget is for
    fault = scripted(("health.check", rest[0], FAILS))
    assert Bench(plans.plan(stage), fault).run().state == DONE


def test_wave_whose_nodes_all_fail_is_left_and_the_next_begins() -> None:
    bench = Bench(wave_by_wave(budget=1), scripted(("saltutil.refresh_pillar", ONE, FAILS)))
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == [TWO, THREE]
    assert bench.journal.held() == []


def test_silent_node_is_a_failed_node() -> None:
    bench = Bench(at_once(budget=1), scripted(("state.apply", MANY[0], GONE)))
    assert bench.run().state == DONE
    result = bench.record("resources/1/5-apply").results[MANY[0]]
    assert not result.ok
    assert result.silent
    assert Bench(at_once(), scripted(("state.apply", MANY[0], MUTE))).run().state == FAILED


def test_node_that_lost_a_job_is_sent_it_once_more_under_a_new_id() -> None:
    bench = Bench(at_once(), scripted(("state.apply", MANY[0], LOSES, 1)))
    assert bench.run().state == DONE
    record = bench.record("resources/1/5-apply")
    assert record.attempt == 2
    assert record.results[MANY[0]].changed == ("nova (file.managed)",)
    assert bench.done_on("state.apply") == sorted(MANY)
    # nine nodes keep the id under which they answered
    assert len(set(record.jids)) == 2
    assert record.jids.count(record.jids[1]) == 9


def test_node_that_loses_a_job_again_has_failed() -> None:
    bench = Bench(at_once(), scripted(("state.apply", MANY[0], LOSES)))
    assert bench.run().state == FAILED
    assert bench.bus.functions().count("state.apply") == 2


def test_job_that_may_not_run_twice_is_not_sent_again() -> None:
    steps = (plans.once(MANY, "node.restart"), plans.release(MANY))
    bench = Bench(at_once(*steps, budget=5), scripted(("node.restart", MANY[0], LOSES, 1)))
    outcome = bench.run()
    assert outcome.state == FAILED
    assert "Nobody knows whether 'node.restart' ran on cmp01" in outcome.reason
    assert bench.record("resources/1/1-call").phase == UNKNOWN
    assert bench.bus.functions().count("node.restart") == 1


def test_function_that_returns_false_did_not_do_it() -> None:
    steps = (plans.call(MANY, "service.restart"), plans.release(MANY))
    bench = Bench(at_once(*steps), scripted(("service.restart", MANY[0], SAYS_NO)))
    assert bench.run().reason == f"{MANY[0]}: service.restart returned False."


def test_job_that_the_master_refuses_fails_on_its_nodes() -> None:
    bench = Bench(wave_by_wave())
    bench.bus.refuses = lambda call: call.fun == "state.apply"
    outcome = bench.run()
    assert outcome.state == FAILED
    assert "could not be published" in outcome.reason
    assert bench.bus.world.out == set()


def test_roll_back_of_the_wave_is_asked_for_when_the_stage_says_so() -> None:
    bench = Bench(wave_by_wave(on_failure=ROLL_BACK), scripted(("state.apply", TWO, FAILS)))
    outcome = bench.run()
    assert (outcome.undo_wave, outcome.stage, outcome.wave) == (True, "control", 2)
    assert not Bench(wave_by_wave(), scripted(("state.apply", TWO, FAILS))).run().undo_wave


def test_wave_that_its_gate_refused_needs_no_rolling_back() -> None:
    bench = Bench(wave_by_wave(on_failure=ROLL_BACK), scripted(("health.check", ONE, FAILS)))
    outcome = bench.run()
    assert outcome.state == FAILED
    assert not outcome.undo_wave


def test_nothing_is_rolled_back_while_nobody_knows_what_was_done() -> None:
    plan = at_once(plans.once(MANY, "node.restart"), on_failure=ROLL_BACK)
    outcome = Bench(plan, scripted(("node.restart", MANY[0], MUTE))).run()
    assert outcome.state == FAILED
    assert not outcome.undo_wave


# -- gates -----------------------------------------------------------------------------------------


def test_gate_that_refuses_lets_nothing_be_touched() -> None:
    bench = Bench(wave_by_wave(), scripted(("health.check", ONE, FAILS)))
    outcome = bench.run()
    assert outcome.state == FAILED
    assert bench.bus.functions() == ["health.check"]
    assert bench.journal.rows.pins == {}
    assert bench.record("control/1/1-gate").results[ONE].code == "not-asked"


def test_neighbour_that_is_unwell_stops_the_wave_whatever_the_budget() -> None:
    steps = [plans.gate((ONE,), "galera", TWO, THREE), plans.apply((ONE,), "galera")]
    plan = plans.plan(plans.stage("infrastructure", ((ONE,), steps), budget=3))
    bench = Bench(plan, scripted(("health.check", THREE, FAILS)))
    assert bench.run().state == FAILED
    assert bench.done_on("state.apply") == []


def test_answer_to_fewer_questions_than_were_asked_never_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def short(node: str, call: Call) -> object:
        return [] if call.fun == "health.check" else True

    monkeypatch.setattr("tests.support.fakes.answer_of", short)
    bench = Bench(wave_by_wave())
    assert bench.run().state == FAILED
    assert bench.record("control/1/1-gate").results[ONE].code == "bad-answer"


def test_nodes_are_asked_in_one_job_though_each_is_asked_something_else() -> None:
    checks = tuple(Check(node, "nova", ({"file": f"/{node}"},)) for node in MANY)
    gate = Step("", "gate", "gate", MANY, checks=checks)
    bench = Bench(plans.plan(plans.stage("control", (MANY, [gate]))))
    assert bench.run().state == DONE
    (call,) = bench.bus.published
    assert call.nodes == MANY
    assert {node: questions_of(node, call) for node in MANY} == {
        node: [{"file": f"/{node}"}] for node in MANY
    }


def test_questions_that_are_too_long_for_one_message_go_as_several_jobs() -> None:
    long = "x" * (MESSAGE // 4)
    checks = tuple(Check(node, "nova", ({"file": f"/{node}/{long}"},)) for node in MANY)
    gate = Step("", "gate", "gate", MANY, checks=checks)
    jobs = calls_of(gate)
    assert [len(call.nodes) for call in jobs] == [3, 3, 3, 1]
    assert sorted(node for call in jobs for node in call.nodes) == sorted(MANY)
    assert all(set(call.arg[0]) == set(call.nodes) for call in jobs)


def test_answers_are_read_role_by_role_though_they_are_asked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_unwell(node: str, call: Call) -> object:
        bad = {"ok": False, "verdict": "fail", "code": "unit-inactive", "sentence": "It is down."}
        good = {"ok": True, "verdict": "ok", "code": "ok", "sentence": "fine."}
        asked = questions_of(node, call)
        return [bad if item.get("unit") == "glance" else good for item in asked]

    monkeypatch.setattr("tests.support.fakes.answer_of", one_unwell)
    asked = (*plans.checks((ONE,), "keystone"), *plans.checks((ONE,), "glance"))
    gate = Step("", "gate", "gate", (ONE,), checks=asked)
    bench = Bench(plans.plan(plans.stage("control", ((ONE,), [gate]))))
    outcome = bench.run()
    assert outcome.reason == f"{ONE}: glance: It is down."
    assert bench.record("control/1/1-gate").results[ONE].code == "unit-inactive"
    # of each role the unit and the port were asked for; only the one is worth a line
    assert bench.journal.rows.verdicts == [(ONE, "fail", "unit-inactive")]
    assert bench.bus.functions() == ["health.check"]


def test_node_without_questions_is_asked_whether_it_is_there() -> None:
    gate = Step("", "gate", "gate", NODES, checks=plans.checks((ONE,), "keystone"))
    plan = plans.plan(plans.stage("control", (NODES, [gate])))
    bench = Bench(plan, scripted(("test.ping", THREE, GONE)))
    assert bench.run().state == FAILED
    assert bench.bus.asked == [(TWO, THREE)]
    assert bench.record("control/1/1-gate").results[THREE].silent
    assert bench.record("control/1/1-gate").results[THREE].code == "no-answer"


def test_check_waits_for_a_node_that_restarts() -> None:
    steps = (plans.verify(MANY, "nova", seconds=300),)
    bench = Bench(at_once(*steps))

    def back(node: str, call: Call, before: int) -> str:
        gone = bench.clock.time < 1_000_100 and node == MANY[0]
        return GONE if gone else "works"

    bench.follow(back)
    assert bench.run().state == DONE
    assert bench.record("resources/1/1-verify").attempt == 2
    assert Bench(at_once(*steps), scripted(("health.check", MANY[0], LOSES))).run().state == FAILED


def test_check_does_not_wait_for_ever() -> None:
    bench = Bench(at_once(plans.verify(MANY, "nova", seconds=300)))
    bench.bus.world.away.add(MANY[0])
    assert bench.run().state == FAILED
    assert 300 <= bench.clock.time - 1_000_000 < 400


# -- leases ----------------------------------------------------------------------------------------


def test_lease_is_noted_before_the_drain_and_returned_after_the_undoing() -> None:
    bench = Bench(wave_by_wave())
    seen = []
    bench.bus.on_publish = lambda call: seen.append((call.fun, bench.journal.held()))
    bench.run()
    held = dict(reversed(seen))
    assert held["proxy.drain"] == [ONE]
    assert held["state.apply"] == [ONE]
    assert held["proxy.ready"] == [ONE]
    (first, *_) = bench.journal.rows.leases.values()
    assert (first.owner, first.step, first.node) == ("r1", "control/1/2-drain", ONE)
    assert first.what == "ctl01 by proxy.drain ctl01 on prx01-02"
    assert first.expires > first.taken
    assert [len(rest) for _, rest in seen][-1] == 1
    assert bench.journal.held() == []


def test_plan_says_how_long_its_leases_hold() -> None:
    for ttl in (None, 600.0):
        plan = wave_by_wave() if ttl is None else replace(wave_by_wave(), lease_ttl=ttl)
        bench = Bench(plan)
        bench.run()
        spans = {lease.expires - lease.taken for lease in bench.journal.load(bench.rollout).leases}
        assert spans == {ttl or 4 * 3600.0}


def test_lease_that_was_read_back_is_not_taken_a_second_time() -> None:
    """The order of keys is another one in a journal, and lists take the place of tuples."""
    calls = (PlannedCall(NODES[:1], "node.disable", (), {"b": ("x",), "a": {"d": 1, "c": 2}}),)
    undo = (PlannedCall(NODES[:1], "node.enable", (), {"b": ("x",), "a": {"d": 1, "c": 2}}),)
    drain = Step("", "drain", "drain", (ONE,), calls, undo)
    bench = Bench(plans.plan(plans.stage("control", ((ONE,), [drain, plans.release((ONE,))]))))
    bench.journal.crash = bench.bus.crash = Crash(9)
    with pytest.raises(Killed):
        bench.run()
    ((name, held),) = bench.journal.rows.leases.items()
    back = (PlannedCall(NODES[:1], "node.enable", (), {"a": {"c": 2, "d": 1}, "b": ["x"]}),)
    bench.journal.rows.leases[name] = replace(held, undo=back)
    bench.journal.crash = bench.bus.crash = Crash()
    assert bench.run().state == DONE
    assert len(bench.journal.rows.leases) == 1


def test_lease_whose_undoing_fails_stays_and_stops_the_rollout_whatever_the_budget() -> None:
    bench = Bench(wave_by_wave(budget=3), scripted(("proxy.ready", plans.PROXIES[1], FAILS)))
    outcome = bench.run()
    assert outcome.state == FAILED
    assert [lease.node for lease in outcome.leases] == [ONE]
    assert "ctl01 by proxy.drain ctl01 on prx01-02 is not undone" in outcome.reason
    assert bench.journal.held() == [ONE]
    assert bench.done_on("state.apply") == [ONE]
    bench.follow(works)
    assert bench.engine.retry(bench.rollout) == ("release",)
    assert bench.run().state == DONE
    assert bench.journal.held() == []


def test_node_that_is_given_back_and_yet_not_in_service_stops_the_rollout() -> None:
    bench = Bench(wave_by_wave(), scripted(("proxy.ready", plans.PROXIES[1], UNWELL, 1)))
    outcome = bench.run()
    assert outcome.state == FAILED
    assert outcome.leases == ()
    assert bench.journal.held() == []
    assert "given back and not in service: " in outcome.reason
    assert "proxy.ready sees it down" in outcome.reason
    assert bench.done_on("state.apply") == [ONE]


def test_proxy_that_lost_the_undoing_is_told_once_more() -> None:
    bench = Bench(wave_by_wave(), scripted(("proxy.ready", plans.PROXIES[0], LOSES, 1)))
    assert bench.run().state == DONE
    assert bench.bus.world.out == set()


def test_node_that_its_gate_refused_is_neither_drained_nor_pinned_nor_given_back() -> None:
    bench = Bench(at_once(budget=1), scripted(("health.check", MANY[4], FAILS)))
    assert bench.run().state == DONE
    assert sorted(bench.journal.rows.pins) == sorted(set(MANY) - {MANY[4]})
    told = [call.arg[0] for call in bench.bus.published if call.fun == "proxy.ready"]
    assert sorted(told) == sorted(plans.short(node) for node in MANY if node != MANY[4])


def test_node_that_cannot_be_drained_is_not_changed_and_gets_its_place_back() -> None:
    def one_refused(node: str, call: Call, before: int) -> str:
        refused = call.fun == "proxy.drain" and call.arg[0] == plans.short(MANY[2])
        return FAILS if refused and node == plans.PROXIES[1] else "works"

    bench = Bench(at_once(budget=1), one_refused)
    assert bench.run().state == DONE
    assert MANY[2] not in bench.done_on("state.apply")
    assert bench.bus.world.out == set()
    assert not bench.record("resources/1/2-drain").results[MANY[2]].ok


def test_drain_without_a_way_back_is_not_done() -> None:
    steps = [Step("", "drain", "drain", (ONE,), (PlannedCall((ONE,), "node.disable"),))]
    bench = Bench(plans.plan(plans.stage("control", ((ONE,), steps))))
    assert bench.run().state == FAILED
    assert bench.bus.published == []


def test_node_that_drains_itself_is_told_itself() -> None:
    calls = (PlannedCall(NODES, "node.disable"),)
    undo = (PlannedCall(NODES, "node.enable"),)
    steps = [Step("", "drain", "drain", NODES, calls, undo), plans.release(NODES)]
    plan = plans.plan(plans.stage("control", (NODES, steps), budget=1))
    bench = Bench(plan, scripted(("node.enable", TWO, FAILS)))
    outcome = bench.run()
    assert [lease.node for lease in outcome.leases] == [TWO]
    assert bench.bus.functions()[:2] == ["node.disable", "node.enable"]
    assert bench.bus.published[1].nodes == NODES


# -- people ----------------------------------------------------------------------------------------


def wish_at(bench: Bench, fun: str, node: str, **wishes: bool) -> None:
    """People wish for something while a function is published to a node."""

    def ask(call: Call) -> None:
        if call.fun == fun and node in call.nodes:
            bench.journal.wish(bench.rollout, **wishes)

    bench.bus.on_publish = ask


def test_pause_waits_for_the_end_of_the_wave_and_resume_goes_on() -> None:
    bench = Bench(wave_by_wave())
    wish_at(bench, "state.apply", ONE, pause=True)
    outcome = bench.run()
    assert (outcome.state, outcome.exit_code) == (PAUSED, 3)
    assert bench.done_on("state.apply") == [ONE]
    assert bench.journal.held() == []
    assert bench.record("control/1/7-release").phase == OK
    assert bench.run().state == PAUSED
    bench.journal.wish(bench.rollout, pause=False)
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == list(NODES)


def test_abort_waits_for_the_end_of_the_step_and_gives_everything_back() -> None:
    bench = Bench(wave_by_wave())
    wish_at(bench, "saltutil.refresh_pillar", TWO, abort=True)
    outcome = bench.run()
    assert (outcome.state, outcome.exit_code) == (ABORTED, 1)
    assert bench.done_on("saltutil.refresh_pillar") == [ONE, TWO]
    assert bench.done_on("state.apply") == [ONE]
    assert bench.bus.world.out == set()
    assert bench.journal.held() == []
    assert bench.run().state == ABORTED


def test_abort_of_a_failed_rollout_ends_it() -> None:
    bench = Bench(wave_by_wave(), scripted(("state.apply", TWO, FAILS)))
    assert bench.run().state == FAILED
    bench.journal.wish(bench.rollout, abort=True)
    assert bench.run().state == ABORTED


def test_until_ends_after_the_stages_of_a_phase() -> None:
    bench = Bench(plans.whole())
    assert bench.run("preflight") == Outcome(RUNNING)
    assert bench.bus.published == []
    assert bench.run("infrastructure") == Outcome(RUNNING)
    assert set(bench.done_on("state.apply")) == set(plans.INFRA)
    assert bench.run("control").state == RUNNING
    assert bench.run("control").state == RUNNING
    assert sorted(set(bench.done_on("state.apply"))) == sorted(plans.INFRA + plans.CONTROL)
    assert bench.run("resources").exit_code == 0
    assert bench.journal.rows.deployed == {}
    assert bench.run("commit").state == DONE
    assert bench.journal.rows.deployed == {"demo": plans.REVISION}


def test_phase_that_does_not_exist_is_refused() -> None:
    bench = Bench(plans.whole())
    with pytest.raises(RolloutError, match="there is no phase contrl"):
        bench.run("contrl")
    assert bench.bus.published == []


# -- time ------------------------------------------------------------------------------------------


def test_rate_is_kept_between_the_begins_of_waves() -> None:
    waves = [(nodes, [plans.apply(nodes, "nova")]) for nodes in (MANY[:1], MANY[1:4], MANY[4:])]
    bench = Bench(plans.plan(plans.stage("resources", *waves, rate=60.0)))
    times: list[float] = []
    bench.bus.on_publish = lambda call: times.append(bench.clock.time - 1_000_000)
    bench.run()
    # 60 nodes an hour: a minute for the canary, three for the next three
    assert times == [0, 60, 240]


def test_rate_goes_on_from_where_it_was_after_a_crash() -> None:
    waves = [((node,), [plans.apply((node,), "nova")]) for node in MANY[:2]]
    bench = Bench(plans.plan(plans.stage("resources", *waves, rate=60.0)))
    bench.journal.wish(bench.rollout, pause=False)
    wish_at(bench, "state.apply", MANY[0], pause=True)
    assert bench.run().state == PAUSED
    bench.clock.time += 45
    bench.journal.wish(bench.rollout, pause=False)
    before = bench.clock.time
    assert bench.run().state == DONE
    assert bench.clock.time - before == 15


def test_clock_that_was_put_back_does_not_make_waiting_longer() -> None:
    waves = [((node,), [plans.apply((node,), "nova")]) for node in MANY[:2]]
    bench = Bench(plans.plan(plans.stage("resources", *waves, rate=60.0)))
    bench.bus.on_publish = lambda call: setattr(bench.clock, "time", 5000.0)
    assert bench.run().state == DONE
    assert sum(bench.clock.slept) == 60


def soaking() -> Plan:
    steps = [*plans.change((ONE,), "keystone"), plans.soak((ONE,), 100)]
    return plans.plan(plans.stage("control", ((ONE,), steps)), plans.committed())


def test_soak_lasts_its_time_and_pause_and_abort_end_it() -> None:
    bench = Bench(soaking())
    assert bench.run().state == DONE
    assert sum(bench.clock.slept) == 100
    for wish, state in (("pause", PAUSED), ("abort", ABORTED)):
        bench = Bench(soaking())
        wish_at(bench, "proxy.ready", plans.PROXIES[0], **{wish: True})
        assert bench.run().state == state
        assert bench.clock.slept == []


def test_soak_counts_from_its_begin_across_a_pause() -> None:
    bench = Bench(soaking())
    wish_at(bench, "proxy.ready", plans.PROXIES[0], pause=True)
    assert bench.run().state == PAUSED
    bench.clock.time += 70
    bench.journal.wish(bench.rollout, pause=False)
    assert bench.run().state == DONE
    assert sum(bench.clock.slept) == 30


# -- the master's own steps ------------------------------------------------------------------------


def test_runner_that_does_not_say_true_stops_the_stage_whatever_the_budget() -> None:
    for answer in ({"result": False, "comment": "no quorum"}, {}, {"result": None}):
        plan = plans.plan(plans.stage("infrastructure", ((), [plans.runner("g.form")]), budget=9))
        bench = Bench(plan, answers={"g.form": answer})
        assert bench.run().state == FAILED
    assert "g.form: failed without a reason." in bench.run().reason


def test_what_a_form_changed_is_noted_of_its_members() -> None:
    form = replace(plans.runner("g.form"), nodes=("a", "b"))
    plan = plans.plan(plans.stage("infrastructure", ((), [form])))
    for changes in ({"members": 2}, {}):
        bench = Bench(plan, answers={"g.form": {"result": True, "changes": changes}})
        assert bench.run().state == DONE
        results = bench.journal.load(bench.rollout).records["infrastructure/1/1-runner"].results
        changed = ("g.form (runner)",) if changes else ()
        assert {node: result.changed for node, result in results.items()} == {
            "a": changed,
            "b": changed,
        }


def test_runner_that_may_not_run_twice_is_unclear_after_a_crash() -> None:
    step = plans.runner("db.upgrade", idempotent=False)
    bench = Bench(plans.plan(plans.stage("control", ((), [step]))))
    bench.journal.intent(bench.rollout, "control/1/1-runner", ("20",), 1.0)
    outcome = bench.run()
    assert outcome.state == FAILED
    assert "Nobody knows whether db.upgrade ran to its end" in outcome.reason
    assert bench.runners.called == []


def test_journal_that_cannot_be_written_ends_the_run_and_the_next_goes_on() -> None:
    bench = Bench(wave_by_wave())
    bench.journal.broken = lambda change: change == "result control/1/5-apply"
    with pytest.raises(JournalError):
        bench.run()
    assert bench.journal.rows.owners[bench.rollout] == ""
    bench.journal.broken = lambda change: False
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == list(NODES)


# -- probes ----------------------------------------------------------------------------------------


def test_probes_run_from_begin_to_end_and_are_read_while_answers_are_awaited() -> None:
    watch = FakeWatch()
    Bench(wave_by_wave(), watch=watch).run()
    assert watch.calls[0] == "start"
    assert watch.calls[-1] == "stop"
    assert watch.calls.count("poll") > 10


def test_missed_limit_stops_the_stage_and_is_known_after_a_crash() -> None:
    watch = FakeWatch({3: ("Keystone API: 7 of 100 requests failed.",)})
    bench = Bench(wave_by_wave(slo={"keystone": 0.0}, budget=3), watch=watch)
    outcome = bench.run()
    assert outcome.state == FAILED
    assert outcome.reason == "Keystone API: 7 of 100 requests failed."
    assert bench.record("control/1/4-refresh").phase == BROKEN
    assert bench.done_on("state.apply") == []
    assert bench.bus.world.out == set()
    assert bench.run().reason == outcome.reason


def test_stage_without_limits_is_only_measured() -> None:
    watch = FakeWatch({0: ("missed",)})
    assert Bench(wave_by_wave(), watch=watch).run().state == DONE
    assert watch.limits == []


def test_thousand_nodes_take_a_fixed_number_of_changes_each_and_one_look_at_the_whole() -> None:
    many = names("cmp", 1000)
    waves = [(many[i : i + 8], plans.change(many[i : i + 8], "nova")) for i in range(0, 1000, 8)]
    bench = Bench(plans.plan(plans.stage("resources", *waves), plans.committed()))
    loads: list[str] = []
    load = bench.journal.load
    bench.journal.load = lambda rollout: loads.append(rollout) or load(rollout)  # type: ignore
    assert bench.run().state == DONE
    assert len(loads) == 1
    changes = len(bench.journal.crash.passed) // 2
    # intent and result of each step, the pins of each wave, two changes a lease, and a few
    assert changes < 2 * 7 * len(waves) + len(waves) + 2 * len(many) + 20
    assert len(bench.done_on("state.apply")) == 1000
