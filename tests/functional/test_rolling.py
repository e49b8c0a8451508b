"""A rollout from the plan to the report: model in git, journal on the disk, nodes that replay."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt._logging
import salt.config
import salt.pillar

from saltern.adapters import observing, releases
from saltern.adapters import rolling as rolling_module
from saltern.adapters.modelcompare import pair
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rehearsals import Rehearsals
from saltern.adapters.rolling import replan
from saltern.errors import (
    HopError,
    LockedError,
    PlanError,
    RehearsalRefusedError,
    RolloutError,
    SalternError,
)
from saltern.model import impact as library
from saltern.model import redact
from saltern.model.diff import compare
from saltern.plan.request import Request
from saltern.plan.types import Basis, Plan
from saltern.rehearsal import policy
from saltern.rehearsal.outcome import Record
from saltern.release.lifecycle import build
from saltern.rollout import report
from saltern.rollout.facts import fingerprint
from saltern.rollout.ports import ABORTED, DONE, FAILED, PAUSED, RUNNING, UNDONE, Call
from saltern.rollout.returns import judge
from tests.model.trees import write_tree
from tests.support import TREE
from tests.support.fakes import FAILS, WORKS
from tests.support.rolling import CLUSTER, DB, WEBS, Master
from tests.unit.release.catalogues import lifecycle

CHANGE = Request("change", CLUSTER)


@pytest.fixture(autouse=True, scope="module")
def _quiet_exit() -> None:
    """Salt keeps records for a log that is never set up, and prints them when Python ends."""
    salt._logging.shutdown_temp_handler()


@pytest.fixture
def rendered(tmp_path: Path) -> Master:
    """States are rendered by Salt to see what a change touches, which takes seconds."""
    return Master(tmp_path)


@pytest.fixture
def master(rendered: Master, monkeypatch: pytest.MonkeyPatch) -> Master:
    """What a change touches is judged by the data alone."""

    def touched(site: Any, before: str, after: str, nodes: Any) -> library.Impact:
        one, two = pair(ModelSite(site), before, after, site.cluster)
        key = redact.process_key()
        found = compare(one, two, key=key, cluster=site.cluster, only=nodes)
        return library.impact(one, two, found, None, key=key)

    monkeypatch.setattr(observing, "touched", touched)
    return rendered


def begun(master: Master, request: Request = CHANGE) -> str:
    """Plan and begin; returns the rollout's id."""
    rolling = master.rolling()
    return rolling.begin(rolling.plan(request).hash)


def changed(master: Master) -> set[str]:
    """Functions that were called and change something."""
    return {call.fun for call in master.bus.published} - {"health.check", "test.ping"}


def test_a_plan_shows_what_a_change_touches_and_changes_nothing(rendered: Master) -> None:
    before = rendered.deployed
    after = rendered.commit(8080)
    planned = rendered.rolling().plan(CHANGE)
    (control, commit) = planned.plan.stages
    assert control.roles == ("web.server",)
    assert [wave.nodes for wave in control.waves] == [(web,) for web in WEBS]
    assert dict(control.restarts) == dict.fromkeys(WEBS, ("restart web",))
    assert commit.phase == "commit"
    assert planned.plan.basis.revision == after
    assert planned.plan.limits["revision"] == "HEAD"
    assert "restart web on web01-03" in planned.text
    assert planned.hash in planned.text
    assert rendered.rolling().rollouts.plan(planned.hash[:8]) == planned.plan
    assert (rendered.pins, rendered.deployed) == ({}, before)
    assert changed(rendered) == set()


def test_apply_moves_nodes_wave_by_wave_and_the_cluster_in_the_end(master: Master) -> None:
    old, new = master.deployed, master.commit(8080)
    seen: list[tuple[str, dict[str, str]]] = []

    def look(call: Call) -> None:
        if call.fun == "state.apply":
            assert master.deployed == old
            seen.append((call.nodes[0], master.pins))

    master.bus.on_publish = look
    answer = master.rolling().run(begun(master))
    assert (answer["state"], answer["retcode"], answer["result"]) == (DONE, 0, True)
    assert seen == [(web, dict.fromkeys(WEBS[: n + 1], new)) for n, web in enumerate(WEBS)]
    assert (master.pins, master.deployed) == ({}, new)
    assert master.bus.world.out == set()
    assert "3 states changed on web01 1, web02 1, web03 1" in answer["comment"]


def _commit(master: Master) -> None:
    master.commit(9090)


def _pin(master: Master) -> None:
    master.rolling().model.pin([DB], master.deployed, "bob", "by hand")


def _deploy(master: Master) -> None:
    model = master.rolling().model
    model.deploy(model.find("HEAD"), CLUSTER, "bob", "by hand")


def _vanish(master: Master) -> None:
    master.bus.world.away.add(WEBS[2])


def _edit(master: Master) -> None:
    (master.served / "new.sls").write_text("{}\n")


def _artifact(master: Master) -> None:
    path = master.root / "artifacts/web.tar.zst"
    path.write_bytes(path.read_bytes() + b"other")


@pytest.mark.parametrize("move", [_commit, _pin, _deploy, _vanish, _edit, _artifact])
def test_a_plan_is_refused_once_anything_it_was_made_from_has_moved(
    master: Master, move: Callable[[Master], None]
) -> None:
    artifact = master.root / "artifacts/web.tar.zst"
    artifact.parent.mkdir()
    artifact.write_bytes(b"one")
    master.commit(8080, source={"url": "https://x/artifacts/web.tar.zst"})
    rolling = master.rolling()
    planned = rolling.plan(CHANGE)
    assert rolling.moved(planned.plan) == []
    move(master)
    pins, deployed = master.pins, master.deployed
    with pytest.raises(PlanError, match="no longer fits") as refused:
        master.rolling().begin(planned.hash)
    assert refused.value.exit_code == 2
    assert "`salt-run rollout.plan change cluster=shop revision=HEAD`" in str(refused.value)
    assert (master.pins, master.deployed) == (pins, deployed)
    assert master.rolling().rollouts.list() == ()
    assert changed(master) == set()


def test_a_revision_that_is_not_fit_is_no_plan(master: Master) -> None:
    master.content["classes/service/web/server.yml"]["parameters"]["x"] = "${no:where}"
    master.commit(8080)
    with pytest.raises(PlanError, match=r"revision HEAD is not fit: .*no:where"):
        master.rolling().plan(CHANGE)


def test_who_is_unwell_is_told_when_that_leaves_nobody_to_work_on(master: Master) -> None:
    master.commit(8080)
    master.bus.unwell[WEBS[1]] = "unit web is dead"
    master.bus.unwell[WEBS[2]] = "unit web is failed"
    with pytest.raises(PlanError) as refused:
        master.rolling().plan(Request("change", CLUSTER, nodes=WEBS[:1]))
    assert f"{WEBS[1]}: web.server: unit web is dead" in str(refused.value)


def test_nodes_foresee_their_changes_under_a_pillar_that_only_they_get(master: Master) -> None:
    old, new = master.deployed, master.commit(8080)
    served: list[Any] = []

    def compiled(node: str, environment: str) -> Any:
        opts = salt.config.master_config(None)
        opts.update(
            cachedir=str(master.root / "cache"),
            extension_modules=str(master.root / "extmods"),
            module_dirs=[str(TREE)],
            pillar_roots={"base": []},
            file_client="local",
            id=node,
            ext_pillar=master.opts["ext_pillar"],
        )
        found = salt.pillar.Pillar(opts, {}, node, "base", pillarenv=environment)
        return found.compile_pillar()

    def ask(call: Call) -> None:
        if call.fun == "state.apply":
            assert call.kwarg["test"] is True
            environment = call.kwarg["pillarenv"]
            served.append(compiled(WEBS[0], environment)["web"]["server"]["port"])
            served.append(compiled(WEBS[0], "")["web"]["server"]["port"])
            # denied: the database is not asked to foresee anything
            with pytest.raises(TypeError):
                compiled(DB, environment)
            assert (master.pins, master.deployed) == ({}, old)

    master.bus.on_publish = ask
    planned = master.rolling().plan(Request("change", CLUSTER, predict=True))
    assert served == [8080, 80]
    assert planned.plan.basis.revision == new
    expected = planned.plan.stages[0].expected
    assert dict(expected) == dict.fromkeys(WEBS, ("web.server (file.managed)",))
    master.bus.script = lambda node, call, n: FAILS if call.fun == "state.apply" else WORKS
    with pytest.raises(PlanError, match="not every node can foresee"):
        master.rolling().plan(Request("change", CLUSTER, predict=True))


def test_nodes_with_plugins_of_another_release_are_not_planned_for(master: Master) -> None:
    content = {
        "_modules/health.py": "def check(): ...\n",
        "_states/web.py": "",
        "_modules/x.txt": "",
    }
    write_tree(master.served, content)
    had = {"modules/health.py", "states/web.py"}
    told: dict[str, Any] = {}
    good = master.bus.collect

    def collect(jobs: Any, tick: Any = None) -> Any:
        found = good(jobs, tick)
        for job, answers in zip(jobs, found, strict=True):
            if job.call.fun == "plugins.digest":
                assert {*job.call.arg[0]} == had
                told["asked"] = job.call.nodes
                for node in answers:
                    data = "f" * 64 if node in told["old"] else told["same"]
                    answers[node] = judge(node, data, 0, job.jid)
        return found

    master.bus.collect = collect  # type: ignore[method-assign]
    master.commit(8080)
    told |= {"old": {WEBS[1]}, "same": fingerprint(master.rolling().observer.plugins().items())}
    with pytest.raises(PlanError) as caught:
        master.rolling().plan(CHANGE)
    assert str(caught.value).startswith("web02: other modules than the master serves")
    assert f"Run `salt -L {WEBS[1]} saltutil.sync_all`" in str(caught.value)
    told["old"] = set(WEBS)
    with pytest.raises(PlanError, match="web01-03: other modules"):
        master.rolling().plan(Request("restart", CLUSTER, roles=("web.server",)))
    told["old"] = set()
    assert master.rolling().plan(CHANGE).plan.stages
    # a deploy brings them to whom it must
    told["old"] = {WEBS[1]}
    steps = master.rolling().plan(Request("deploy", CLUSTER)).plan.steps()
    calls = [call for _, _, step in steps for call in step.calls]
    assert [c.nodes for c in calls if c.fun == "saltutil.sync_all"] == [(WEBS[1],)]


def test_restarts_stay_at_the_deployed_revision(master: Master) -> None:
    old = master.deployed
    master.commit(8080)
    request = Request("restart", CLUSTER, roles=("web.server",))
    with pytest.raises(PlanError, match="restart moves no revision"):
        master.rolling().plan(request, "HEAD")
    answer = master.rolling().run(begun(master, request))
    assert answer["state"] == DONE
    assert "service.restart" in changed(master)
    assert "state.apply" not in changed(master)
    assert (master.pins, master.deployed) == ({}, old)


def test_a_bad_canary_stops_it_and_the_others_are_untouched(master: Master) -> None:
    old, new = master.deployed, master.commit(8080)
    good = master.bus.script
    master.bus.script = lambda node, call, n: FAILS if call.fun == "state.apply" else WORKS
    rollout = begun(master)
    answer = master.rolling().run(rollout)
    assert (answer["state"], answer["retcode"], answer["result"]) == (FAILED, 1, False)
    assert f"salt-run rollout.retry {rollout}" in answer["comment"]
    assert (master.pins, master.deployed) == ({WEBS[0]: new}, old)
    assert master.bus.world.out == set()
    with pytest.raises(RolloutError, match="is failed"):
        master.rolling().resume(rollout)
    master.bus.script = good
    assert master.rolling().retry(rollout)["state"] == DONE
    assert (master.pins, master.deployed) == ({}, new)


def test_a_wave_over_its_budget_is_taken_back_when_the_plan_says_so(master: Master) -> None:
    old = master.deployed
    master.commit(8080)
    master.bus.script = lambda node, call, n: (
        FAILS if call.fun == "state.apply" and node == WEBS[1] and n == 0 else WORKS
    )
    answer = master.rolling().run(begun(master, Request("change", CLUSTER, on_failure="rollback")))
    assert (answer["state"], answer["retcode"]) == (FAILED, 1)
    assert answer["rolled_back"]["state"] == DONE
    assert "Its wave was taken back" in answer["comment"]
    assert set(master.pins) == {WEBS[0]}
    assert master.deployed == old
    # the rollout itself is still there to be gone on with, or taken back
    assert master.rolling().rollouts.get(answer["rollout"]).state == FAILED


def test_a_rollback_restores_revision_and_pins(master: Master) -> None:
    old = master.deployed
    master.rolling().model.pin([DB], old, "bob", "by hand")
    master.commit(8080)
    rollout = begun(master)
    master.rolling().run(rollout)
    planned, lost = master.rolling().undoing(rollout)
    assert planned.plan.undoes == rollout
    assert lost == []
    assert master.rolling().rollouts.get(rollout).state == DONE
    assert "evidence.collect" not in changed(master)
    answer = master.rolling().rollback(rollout)
    assert answer["state"] == DONE
    assert (master.pins, master.deployed) == ({DB: old}, old)
    # what the nodes said of themselves was kept before
    order = master.bus.functions()
    assert order.index("evidence.collect") < len(order) - order[::-1].index("state.apply") - 1
    assert set(master.rolling().report(rollout)["evidence"]) == set(WEBS)
    assert master.rolling().rollouts.get(rollout).state == UNDONE


def test_a_rollback_gives_back_what_the_rollout_could_not(master: Master) -> None:
    master.commit(8080)
    master.bus.script = lambda node, call, n: (
        FAILS if call.fun in ("state.apply", "proxy.ready") else WORKS
    )
    rollout = begun(master)
    answer = master.rolling().run(rollout)
    assert "Still out of service: web01 drained." in answer["comment"]
    (lease,) = master.rolling().rollouts.leases()
    assert lease.owner == rollout
    # as long as it cannot be given back the rollback says so
    master.bus.script = lambda node, call, n: (
        FAILS if call.fun == "proxy.ready" and n > 3 else WORKS
    )
    answer = master.rolling().rollback(rollout)
    assert (answer["state"], answer["result"], answer["retcode"]) == (DONE, False, 1)
    assert "web01 drained is not undone" in answer["comment"]
    assert [left.id for left in master.rolling().rollouts.leases()] == [lease.id]


def test_after_a_rollback_nothing_is_out_of_service(master: Master) -> None:
    master.commit(8080)
    master.bus.script = lambda node, call, n: (
        FAILS if call.fun in ("state.apply", "proxy.ready") else WORKS
    )
    rollout = begun(master)
    master.rolling().run(rollout)
    assert master.rolling().rollouts.leases()
    master.bus.script = lambda node, call, n: WORKS
    answer = master.rolling().rollback(rollout)
    assert (answer["state"], answer["retcode"]) == (DONE, 0)
    assert master.rolling().rollouts.leases() == ()
    assert master.bus.world.out == set()


def test_a_running_rollout_is_not_taken_back(master: Master) -> None:
    master.commit(8080)
    rollout = begun(master)
    with pytest.raises(RolloutError, match="is planned"):
        master.rolling().rollback(rollout)


def test_pause_resume_and_abort(master: Master) -> None:
    master.commit(8080)
    rollout = begun(master)
    assert "pauses after the wave" in master.rolling().pause(rollout)["comment"]
    answer = master.rolling().run(rollout)
    assert (answer["state"], answer["retcode"], answer["result"]) == (PAUSED, 3, False)
    assert "paused already" in master.rolling().pause(rollout)["comment"]
    answer = master.rolling().abort(rollout, "the window is over")
    assert (answer["state"], answer["result"], answer["retcode"]) == (ABORTED, True, 0)
    assert "the window is over" in answer["comment"]
    with pytest.raises(RolloutError, match="is aborted"):
        master.rolling().resume(rollout)
    with pytest.raises(SalternError, match="is over"):
        master.rolling().pause(rollout)


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Ctrl-C raises, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_the_first_interrupt_from_the_keyboard_pauses_after_the_wave(master: Master) -> None:
    master.commit(8080)
    rollout = begun(master)

    def interrupt(call: Call) -> None:
        if call.fun == "state.apply" and call.nodes == WEBS[:1]:
            os.kill(os.getpid(), signal.SIGINT)

    master.bus.on_publish = interrupt
    before = signal.getsignal(signal.SIGINT)
    answer = master.rolling().run(rollout)
    assert signal.getsignal(signal.SIGINT) == before
    assert (answer["state"], answer["retcode"]) == (PAUSED, 3)
    assert set(master.bus.world.roles) == set(WEBS[:1])
    assert master.bus.world.out == set()
    assert any("then the rollout pauses" in line for line in master.events.lines())
    # that was a wish of this run only
    assert master.rolling().resume(rollout)["state"] == DONE


@pytest.mark.usefixtures("keyboard")
def test_a_second_interrupt_ends_at_once_and_nothing_is_lost(master: Master) -> None:
    master.commit(8080)
    rollout = begun(master)

    def interrupt(call: Call) -> None:
        if call.fun == "state.apply":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    master.bus.on_publish = interrupt
    with pytest.raises(KeyboardInterrupt):
        master.rolling().run(rollout)
    assert master.rolling().rollouts.get(rollout).state == RUNNING
    assert [found.id for found in master.rolling().rollouts.interrupted()] == [rollout]
    master.bus.on_publish = lambda call: None
    assert master.rolling().resume(rollout)["state"] == DONE
    assert master.bus.world.out == set()
    assert max(master.bus.world.ran.values()) == 1


def test_in_the_background_an_interrupt_stays_ignored(master: Master) -> None:
    master.commit(8080)
    rollout = begun(master)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    master.bus.on_publish = lambda call: os.kill(os.getpid(), signal.SIGINT)
    try:
        assert master.rolling().run(rollout)["state"] == DONE
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_rollout_is_refused_and_names_the_first(master: Master) -> None:
    master.commit(8080)
    rolling = master.rolling()
    one = rolling.plan(CHANGE)
    two = rolling.plan(Request("restart", CLUSTER, roles=("web.server",)))
    rollout = rolling.begin(one.hash)
    with pytest.raises(LockedError, match=rollout):
        rolling.begin(two.hash)
    rolling.rollouts.release_claim(rollout, rolling.rollouts.get(rollout).owner)
    assert "has no lock any more" in rolling.unlock(rollout)["comment"]
    assert rolling.begin(two.hash) != rollout


def test_an_orchestration_goes_phase_by_phase(master: Master) -> None:
    new = master.commit(8080)
    hash = master.rolling().plan(CHANGE).hash
    seen: list[str] = []
    preview = master.rolling().started(hash, test=True)
    assert (preview["result"], preview["changes"]) == (None, {"plan": hash})
    foretold = master.rolling().foretold("control", None)
    assert foretold["result"] is None
    assert len(foretold["changes"]["steps"]) == 18
    assert master.rolling().foretold("foundation", None)["result"] is True
    first = master.rolling().started(hash, "approver")
    assert first["result"]
    # run again, it goes on with what is under way
    assert master.rolling().started(hash)["rollout"] == first["rollout"]
    answers = {
        name: master.rolling().phase(name, None, seen.append)
        for name in ("preflight", "foundation", "control", "resources", "commit", "sanity")
    }
    assert {name: answer["result"] for name, answer in answers.items()} == dict.fromkeys(
        answers, True
    )
    assert answers["foundation"]["comment"] == "Phase foundation: nothing to do."
    told = answers["control"]["comment"]
    assert told.startswith("Phase control: 18 steps in 3 waves; 3 states changed (web01 1, ")
    assert answers["commit"]["state"] == DONE
    assert master.deployed == new
    with pytest.raises(PlanError, match="there is no phase fundation"):
        master.rolling().phase("fundation", None, seen.append)


def test_a_phase_that_fails_stops_the_orchestration(master: Master) -> None:
    master.commit(8080)
    master.bus.script = lambda node, call, n: FAILS if call.fun == "state.apply" else WORKS
    rolling = master.rolling()
    rolling.started(rolling.plan(CHANGE).hash)
    for _ in range(2):  # asked again, it is still so
        answer = rolling.phase("control", None, print)
        assert (answer["result"], answer["retcode"]) == (False, 1)
    with pytest.raises(RolloutError, match="no rollout of plan"):
        rolling.phase("control", rolling.plan(Request("change", CLUSTER, canary=2)).hash, print)


def test_following_tells_what_happens_until_it_ends(master: Master) -> None:
    master.commit(8080)
    rollout = begun(master)
    lines: list[str] = []
    sleep = master.clock.sleep

    def carried_out_meanwhile(seconds: float) -> None:
        sleep(seconds)
        master.rolling().run(rollout)

    follower = master.rolling()
    follower.clock.sleep = carried_out_meanwhile  # type: ignore[method-assign]
    assert follower.follow(rollout, lines.append).state == DONE
    assert any(line.startswith("apply web.server on web01: done after") for line in lines)
    assert lines[-1] == f"rollout {rollout} is done."


def test_a_rollout_is_found_by_id_by_plan_or_because_it_is_the_only_one(master: Master) -> None:
    with pytest.raises(RolloutError, match=r"no rollout of cluster shop is under way"):
        master.rolling().find(None)
    master.commit(8080)
    rollout = begun(master)
    plan = master.rolling().rollouts.get(rollout).plan
    for name in (None, rollout, plan, plan[:8]):
        assert master.rolling().find(name).id == rollout
    master.rolling().run(rollout)
    assert master.rolling().latest(None) == rollout
    with pytest.raises(SalternError, match="there is no rollout r1-1"):
        master.rolling().find("r1-1")


def test_a_report_of_a_rollout_is_whole(master: Master) -> None:
    master.commit(8080)
    rolling = master.rolling()
    rollout = rolling.begin(rolling.plan(CHANGE).hash, "approver", "ticket 7")
    rolling.run(rollout)
    data = rolling.report(rollout)
    assert (data["by"], data["approved_by"], data["why"]) == ("operator", "approver", "ticket 7")
    assert data["steps"] == {"done": 19, "all": 19}
    assert len(data["leases"]) == 3
    assert all(lease["released"] for lease in data["leases"])
    assert "| web01 drained |" in report.markdown(data)
    (row,) = rolling.listed()
    assert (row["id"], row["state"], row["by"]) == (rollout, DONE, "operator")


def test_the_command_to_plan_again_asks_for_the_same() -> None:
    limits = {
        "revision": "v2",
        "nodes": ["a", "b"],
        "canary": 2,
        "slo": {"k": 0.0},
        "probes": False,
    }
    plan = Plan("change", "shop", Basis("b"), (), limits=limits)
    assert replan(plan) == (
        "salt-run rollout.plan change cluster=shop canary=2 nodes=a,b probes=False revision=v2"
        " slo=k=0.0"
    )
    undoing = Plan("rollback", "shop", Basis("b"), (), undoes="r1-1")
    assert replan(undoing) == "salt-run rollout.rollback r1-1 test=True"


# -- releases --------------------------------------------------------------------------------------


def releasing(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """The web servers are a product of four versions, each followed by the next one."""
    product = lifecycle(4, title="Web", roles=["web.server"], key="web:server:version")
    monkeypatch.setattr(rolling_module, "load", lambda: build({"web": product}))
    first = master.commit(80, version="v1")
    model = master.rolling().model
    model.deploy(model.find(first), CLUSTER, "bob", "the first release")


def test_an_upgrade_shows_its_path_and_one_that_is_no_hop_is_refused(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    releasing(master, monkeypatch)
    before = changed(master)
    master.commit(80, version="v3")
    with pytest.raises(HopError) as refused:
        master.rolling().plan(Request("upgrade", CLUSTER), "main")
    told = str(refused.value)
    assert "Web v1 cannot become v3 in one hop: v2 is missing between them" in told
    assert f"`salt-run release.path cluster={CLUSTER} to=web=v3`" in told
    assert (refused.value.code, refused.value.exit_code) == ("hop", 2)
    assert (changed(master), master.pins) == (before, {})
    master.commit(80, version="v2")
    with pytest.raises(HopError, match=r"`salt-run rollout\.plan upgrade cluster=shop .*main`"):
        master.rolling().plan(CHANGE, "main")
    planned = master.rolling().plan(Request("upgrade", CLUSTER), "main")
    assert "Web: v1 -> v2 on web01-03" in planned.text
    assert [(one.product, one.before, one.after) for one in planned.plan.releases] == [
        ("web", "v1", "v2")
    ]
    done = master.rolling().run(master.rolling().begin(planned.hash))
    back, _ = master.rolling().undoing(done["rollout"])
    assert [(one.before, one.after) for one in back.plan.releases] == [("v2", "v1")]


def test_an_upgrade_that_must_be_rehearsed_is_refused_until_it_was(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    releasing(master, monkeypatch)
    monkeypatch.setattr(policy, "rows", lambda: {"web": {}})
    monkeypatch.setattr(policy, "OPENSTACK", "web")
    monkeypatch.setattr(policy.Policy, "of", lambda *models: policy.Policy(True, 7))
    file = master.rolling().site.artifacts / "web.tar.zst"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"web")
    digest = hashlib.sha256(b"web").hexdigest()
    source = {"engine": "venv", "url": f"https://x/artifacts/{file.name}", "sha256": digest}
    master.commit(80, version="v2", source=source)
    rolling = master.rolling()
    planned = rolling.plan(Request("upgrade", CLUSTER), "main")
    assert "It must be rehearsed before it is applied" in planned.plan.notes[0]
    with pytest.raises(RehearsalRefusedError, match="nobody has rehearsed it") as refused:
        rolling.begin(planned.hash)
    assert (refused.value.code, refused.value.exit_code) == ("rehearsal-refused", 2)
    assert f"salt-run rehearse.run cluster={CLUSTER} revision=main" in str(refused.value)
    assert (changed(master), rolling.rollouts.list()) == (set(), ())
    known = Rehearsals(rolling.model.journal, master.clock.now)
    for state, good in (("red", False), ("green", True)):
        name = known.begin(
            CLUSTER, "ann", revision=planned.plan.basis.revision, deployed="",
            artifacts=planned.plan.basis.artifacts, releases={"web": ("v1", "v2")}, node="cfg01",
            bundle="b",
        )  # fmt: skip
        known.step(name, Record("contract", "ok", 90.0, "web", "v2"))
        known.end(name, state, "")
        if not good:
            with pytest.raises(RehearsalRefusedError, match=f"its rehearsal {name} is red"):
                rolling.begin(planned.hash)
    again = rolling.plan(Request("upgrade", CLUSTER), "main")
    assert "ending their upgrade 1 min 30 s" in again.plan.notes[0]
    # the plan that was refused is good now, too
    assert rolling.run(rolling.begin(planned.hash))["state"] == DONE


def test_what_failed_within_the_budget_is_ended_by_the_next_upgrade(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    releasing(master, monkeypatch)
    monkeypatch.setattr(releases, "load", rolling_module.load)
    master.commit(80, version="v2")
    master.bus.script = lambda node, call, before: (
        FAILS if call.fun == "state.apply" and node == WEBS[1] else WORKS
    )
    planned = master.rolling().plan(Request("upgrade", CLUSTER, budget=1, canary=0), "main")
    done = master.rolling().run(master.rolling().begin(planned.hash))
    assert done["state"] == DONE
    rolling = master.rolling()
    ((found,), left) = releases.mixed(rolling.model, rolling.rollouts, master.clock.now())
    assert (found.unfinished, found.behind, {*left}) == ((WEBS[1],), {}, {WEBS[1]})
    assert report.status_text(rolling.report(done["rollout"])).count("2 of 3 nodes have it") == 1
    # a change is about what the model changes; it says what waits, and does it where it is named
    with pytest.raises(PlanError, match="nothing to do"):
        rolling.plan(CHANGE, "main")
    master.bus.script = lambda node, call, before: WORKS
    planned = rolling.plan(Request("upgrade", CLUSTER), "main")
    assert planned.plan.nodes == (WEBS[1],)
    told = f"{WEBS[1]}: web.server was begun by rollout {done['rollout']} and not finished."
    assert planned.plan.notes == (told,)
    assert told in planned.text
    assert rolling.run(rolling.begin(planned.hash))["state"] == DONE
    assert releases.mixed(rolling.model, rolling.rollouts, master.clock.now()) == ([], {})


def test_a_cluster_between_two_releases_has_an_age(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    releasing(master, monkeypatch)
    monkeypatch.setattr(releases, "load", rolling_module.load)
    master.commit(80, version="v2")
    rolling = master.rolling()
    planned = rolling.plan(Request("upgrade", CLUSTER, nodes=("web01",)), "main")
    assert [one.left for one in planned.plan.releases] == [(WEBS[1], WEBS[2])]
    assert "Web: v1 -> v2 on web01; web02-03 keep an older one" in planned.text
    rolling.run(rolling.begin(planned.hash))
    # pins are dated by the clock of the machine
    ((found,), _) = releases.mixed(rolling.model, rolling.rollouts, time.time() + 15 * 86400)
    assert ({*found.behind}, found.newest, found.verdict) == ({WEBS[1], WEBS[2]}, "v2", "fail")
    assert found.age == pytest.approx(15, abs=0.1)
    ((found,), _) = releases.mixed(rolling.model, rolling.rollouts, time.time() + 86400)
    assert found.verdict == "ok"
    planned = rolling.plan(Request("upgrade", CLUSTER), "main")
    rolling.run(rolling.begin(planned.hash))
    assert releases.mixed(rolling.model, rolling.rollouts, time.time()) == ([], {})


def test_a_rollout_over_its_budget_says_why_with_a_code(master: Master) -> None:
    master.commit(8080)
    master.bus.script = lambda node, call, before: (
        FAILS if call.fun == "state.apply" and node == WEBS[1] else WORKS
    )
    answer = master.rolling().run(begun(master))
    assert (answer["state"], answer["retcode"], answer["code"]) == (FAILED, 1, "rollout")
    assert "rollout.retry" in answer["comment"]
