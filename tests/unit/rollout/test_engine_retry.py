"""What is done once more when people ask for a retry, and what is left alone."""

from __future__ import annotations

import pytest

from saltern.errors import LockedError, RolloutError
from saltern.rollout.ports import BROKEN, DONE, FAILED, OK, Call
from tests.support.fakes import FAILS, LOSES, MUTE, Crash, Killed, scripted, works
from tests.unit.rollout import engine_plans as plans
from tests.unit.rollout.test_engine import (
    MANY,
    ONE,
    THREE,
    TWO,
    Bench,
    at_once,
    wave_by_wave,
)


def unwell_afterwards(node: str, call: Call, before: int) -> str:
    """One node is unwell once it was changed."""
    changed = call.fun == "health.check" and node == MANY[3] and before > 0
    return FAILS if changed else "works"


def test_node_that_failed_goes_through_its_wave_again_and_the_others_do_not() -> None:
    bench = Bench(at_once(), unwell_afterwards)
    assert bench.run().state == FAILED
    bench.follow(works)
    titles = bench.engine.retry(bench.rollout)
    # its gate was content before anything was touched, and is not asked again
    assert titles == ("drain", "pin", "refresh", "apply nova", "verify nova", "release")
    before = len(bench.bus.published)
    assert bench.run().state == DONE
    again = bench.bus.published[before:]
    assert [call.fun for call in again] == [
        "proxy.drain",
        "saltutil.refresh_pillar",
        "state.apply",
        "health.check",
        "proxy.ready",
    ]
    assert again[0].arg == again[4].arg == (plans.short(MANY[3]),)
    assert {call.nodes for call in again[1:4]} == {(MANY[3],)}
    assert bench.bus.world.out == set()
    for step in ("5-apply", "6-verify"):
        results = bench.record(f"resources/1/{step}").results
        assert sorted(results) == sorted(MANY)
        assert all(result.ok for result in results.values())


def test_nodes_that_were_not_looked_at_any_more_go_through_again_as_well() -> None:
    bench = Bench(at_once(), scripted(("state.apply", MANY[3], FAILS)))
    bench.run()
    bench.follow(works)
    bench.engine.retry(bench.rollout)
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == sorted([*MANY, *MANY])
    assert bench.done_on("health.check") == sorted([*MANY, *MANY])


def test_node_that_failed_within_the_budget_is_taken_along() -> None:
    faults = scripted(("state.apply", ONE, FAILS), ("state.apply", TWO, FAILS))
    bench = Bench(wave_by_wave(budget=1), faults)
    assert bench.run().state == FAILED
    bench.follow(works)
    bench.engine.retry(bench.rollout)
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == [ONE, ONE, TWO, TWO, THREE]
    assert all(record.phase == OK for record in bench.journal.load(bench.rollout).records.values())


def test_retry_of_one_step_leaves_other_waves_alone() -> None:
    faults = scripted(("state.apply", ONE, FAILS), ("state.apply", TWO, FAILS))
    bench = Bench(wave_by_wave(budget=1), faults)
    bench.run()
    bench.follow(works)
    bench.engine.retry(bench.rollout, step="control/2/5-apply")
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == [ONE, TWO, TWO, THREE]
    assert bench.record("control/1/5-apply").phase == BROKEN


def test_retry_that_fails_again_fails_again() -> None:
    bench = Bench(wave_by_wave(), scripted(("state.apply", TWO, FAILS)))
    bench.run()
    for _ in range(3):
        bench.engine.retry(bench.rollout)
        outcome = bench.run()
        assert (outcome.state, outcome.wave) == (FAILED, 2)
        assert bench.bus.world.out == set()
        assert bench.journal.held() == []
    bench.follow(works)
    bench.engine.retry(bench.rollout)
    assert bench.run().state == DONE


def test_gate_that_refused_is_asked_again() -> None:
    bench = Bench(wave_by_wave(), scripted(("health.check", ONE, FAILS)))
    bench.run()
    bench.follow(works)
    assert bench.engine.retry(bench.rollout) == ("gate keystone", "release")
    assert bench.run().state == DONE


def once_each() -> Bench:
    steps = (plans.once(MANY, "node.restart"), plans.verify(MANY, "nova"), plans.release(MANY))
    return Bench(at_once(*steps), scripted(("node.restart", MANY[0], MUTE)))


def test_unclear_step_needs_the_word_of_people() -> None:
    bench = once_each()
    assert bench.run().state == FAILED
    attempts = dict(bench.journal.rows.attempts)
    with pytest.raises(RolloutError, match=r"assume=ran or assume=not") as caught:
        bench.engine.retry(bench.rollout)
    assert "'node.restart'" in str(caught.value)
    assert bench.journal.rows.attempts == attempts
    with pytest.raises(RolloutError, match="assume is 'perhaps'"):
        bench.engine.retry(bench.rollout, assume="perhaps")


def test_step_that_people_say_ran_is_taken_as_done() -> None:
    bench = once_each()
    bench.run()
    bench.follow(works)
    bench.engine.retry(bench.rollout, assume="ran")
    assert bench.run().state == DONE
    assert bench.done_on("node.restart") == sorted(MANY)


def test_step_that_people_say_did_not_run_is_run_where_it_is_unclear_only() -> None:
    bench = once_each()
    bench.run()
    bench.follow(works)
    bench.engine.retry(bench.rollout, assume="not")
    assert bench.run().state == DONE
    assert bench.done_on("node.restart") == sorted([*MANY, MANY[0]])


def test_step_that_may_not_run_twice_and_failed_is_run_where_it_failed_only() -> None:
    steps = (plans.once(MANY, "node.restart"), plans.release(MANY))
    bench = Bench(at_once(*steps), scripted(("node.restart", MANY[0], FAILS)))
    bench.run()
    bench.follow(works)
    bench.engine.retry(bench.rollout)
    assert bench.run().state == DONE
    assert bench.done_on("node.restart") == sorted([*MANY, MANY[0]])


def test_runner_whose_end_nobody_saw_needs_the_word_of_people() -> None:
    step = plans.runner("db.upgrade", idempotent=False)
    for assume, times in (("ran", 0), ("not", 1)):
        bench = Bench(plans.plan(plans.stage("control", ((), [step]))))
        bench.journal.intent(bench.rollout, "control/1/1-runner", ("20",), 1.0)
        assert bench.run().state == FAILED
        with pytest.raises(RolloutError):
            bench.engine.retry(bench.rollout)
        bench.engine.retry(bench.rollout, assume=assume)
        assert bench.run().state == DONE
        assert bench.runners.called == ["db.upgrade"] * times


def test_runner_that_failed_runs_again() -> None:
    bench = Bench(plans.whole(), answers={"galera.form": {"result": False, "comment": "no"}})
    assert bench.run().state == FAILED
    bench.runners.answers.clear()
    assert bench.engine.retry(bench.rollout) == ("galera.form",)
    assert bench.run().state == DONE
    assert bench.done_on("state.apply") == sorted(plans.INFRA + plans.CONTROL + plans.COMPUTE)


def test_soak_after_a_retry_lasts_its_whole_time() -> None:
    steps = [*plans.change((ONE,), "keystone"), plans.soak((ONE,), 100)]
    bench = Bench(plans.plan(plans.stage("control", ((ONE,), steps))))
    bench.follow(scripted(("proxy.ready", plans.PROXIES[0], FAILS)))
    assert bench.run().state == FAILED
    bench.follow(works)
    bench.engine.retry(bench.rollout)
    bench.clock.time += 500
    assert bench.run().state == DONE
    assert sum(bench.clock.slept) == 100


def test_only_what_failed_can_be_retried_and_only_by_one() -> None:
    bench = Bench(wave_by_wave())
    with pytest.raises(RolloutError, match="is planned, not failed"):
        bench.engine.retry(bench.rollout)
    bench.follow(scripted(("state.apply", ONE, FAILS)))
    bench.run()
    with pytest.raises(RolloutError, match="has no step control/9"):
        bench.engine.retry(bench.rollout, step="control/9/1-apply")
    bench.journal.claim(bench.rollout, "another")
    with pytest.raises(LockedError):
        bench.engine.retry(bench.rollout)


def test_node_that_lost_a_job_and_a_crash_leave_what_another_node_answered() -> None:
    """Of the further attempt only the node that lost the job takes part, also for the next run."""
    faults = scripted(("state.apply", MANY[0], LOSES, 1), ("state.apply", MANY[1], FAILS))
    unharmed = Bench(at_once(budget=1), faults)
    assert unharmed.run().state == DONE
    wanted = unharmed.record("resources/1/5-apply").results
    assert not wanted[MANY[1]].ok
    for at in range(4, 120):
        bench = Bench(at_once(budget=1), faults)
        bench.journal.crash = bench.bus.crash = Crash(at)
        try:
            bench.run()
        except Killed:
            bench.journal.crash, bench.bus.crash = Crash(), Crash()
        assert bench.run().state == DONE
        assert bench.record("resources/1/5-apply").results == wanted
        assert bench.done_on("state.apply") == sorted(MANY)


def test_crash_during_a_retry_is_taken_up() -> None:
    def failed() -> Bench:
        bench = Bench(at_once(), scripted(("state.apply", MANY[3], FAILS)))
        assert bench.run().state == FAILED
        bench.follow(works)
        return bench

    unharmed = failed()
    unharmed.engine.retry(unharmed.rollout)
    unharmed.run()
    at = 0
    while True:
        bench = failed()
        bench.journal.crash = bench.bus.crash = crash = Crash(at)
        try:
            bench.engine.retry(bench.rollout)
            bench.run()
        except Killed:
            bench.journal.crash, bench.bus.crash = Crash(), Crash()
            if bench.state() == FAILED:
                bench.engine.retry(bench.rollout)
            assert bench.run().state == DONE
        assert bench.done_on("state.apply") == unharmed.done_on("state.apply")
        assert bench.bus.world.out == set()
        assert bench.journal.held() == []
        if not crash.dead:
            break
        at += 1
    assert at > 60
