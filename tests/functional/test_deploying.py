"""A deployment as its orchestration goes through it: model in git, journal, nodes that replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saltern.adapters.deploying import Deploying
from saltern.adapters.rollouts import Rollouts
from saltern.errors import LockedError, RolloutError
from saltern.plan.request import Request
from saltern.rollout.ports import ABORTED, DONE, INTENT, PLANNED, RUNNING, Call
from saltern.rollout.stages import STAGES
from tests.support.fakes import FAILS, WORKS, Killed
from tests.support.rolling import CLUSTER, DB, WEBS, Master

REQUEST = Request("deploy", CLUSTER, resume=False)
AFTER_PREFLIGHT = (*STAGES[1:], "commit")
#: a process that lives, as nobody can tell otherwise
SOMEBODY = "somebody"


@pytest.fixture
def master(tmp_path: Path) -> Master:
    """Nodes that are served a revision and never had it applied; another one is committed."""
    made = Master(tmp_path)
    made.commit(8080)
    return made


def deploying(master: Master) -> Deploying:
    """As each step of an orchestration has it."""
    return Deploying(master.rolling())


def rollouts(master: Master) -> Rollouts:
    return master.rolling().rollouts


def begin(master: Master, **options: Any) -> dict[str, Any]:
    return deploying(master).begin(replace(REQUEST, **options), "HEAD")


def stages(master: Master, names: Sequence[str] = AFTER_PREFLIGHT) -> dict[str, dict[str, Any]]:
    """Go through stages until one fails."""
    found = {}
    for name in names:
        found[name] = deploying(master).stage(name, print)
        if not found[name]["result"]:
            break
    return found


def failing(fun: str, node: str) -> Callable[[str, Call, int], str]:
    return lambda asked, call, n: FAILS if (call.fun, asked) == (fun, node) else WORKS


def killed_at(master: Master, fun: str, node: str) -> None:
    """Let the process die right after it published something to a node."""

    def die(call: Call) -> None:
        if call.fun == fun and node in call.nodes:
            raise Killed(fun)

    master.bus.on_publish = die
    with pytest.raises(Killed):
        stages(master)
    master.bus.on_publish = lambda call: None


def attempts(master: Master, rollout: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in rollouts(master).attempts(rollout):
        found[record.step] = max(found.get(record.step, 0), record.attempt)
    return found


def test_a_deployment_goes_stage_by_stage_and_its_revision_is_deployed_in_the_end(
    master: Master,
) -> None:
    old, new = master.deployed, master.rolling().model.repo.resolve("HEAD")
    begun = begin(master)
    assert begun["result"]
    assert f"Rollout {begun['rollout']} of plan " in begun["comment"]
    assert rollouts(master).get(begun["rollout"]).state == PLANNED
    found = stages(master, AFTER_PREFLIGHT[:-1])
    assert all(told["result"] for told in found.values()), found
    assert found["foundation"]["comment"] == "Phase foundation: nothing to do."
    assert set(found["infrastructure"]["changes"]) == {DB}
    assert set(found["control"]["changes"]) == {*WEBS}
    # nodes have it, the cluster not yet; and nobody takes it over between two stages
    assert (master.pins, master.deployed) == (dict.fromkeys((DB, *WEBS), new), old)
    assert rollouts(master).get(begun["rollout"]).owner
    (last,) = stages(master, ["commit"]).values()
    assert last["changes"] == {"revision": {"old": old, "new": new}}
    assert (master.pins, master.deployed) == ({}, new)
    over = rollouts(master).get(begun["rollout"])
    assert (over.state, over.owner) == (DONE, "")
    assert ("sanity.run", {"cluster": CLUSTER}) in master.called


def test_a_deployment_whose_process_was_killed_is_gone_on_with(master: Master) -> None:
    first = begin(master)["rollout"]
    killed_at(master, "state.apply", WEBS[0])
    phases = {r.phase for r in rollouts(master).load(first).records.values()}
    assert INTENT in phases
    again = begin(master)
    assert again["rollout"] == first
    assert f"Rollout {first} of plan " in again["comment"]
    assert "was running and is gone on with" in again["comment"]
    found = stages(master)
    assert list(found) == list(AFTER_PREFLIGHT)
    assert all(told["result"] for told in found.values()), found
    # what an earlier run did is told, and is no change of this one
    assert found["infrastructure"]["comment"].endswith("That was before.")
    assert found["infrastructure"]["changes"] == {}
    assert set(attempts(master, first).values()) == {1}
    assert set(master.bus.world.ran.values()) == {1}
    assert rollouts(master).get(first).state == DONE


def test_what_failed_is_done_once_more_when_the_deployment_is_run_again(master: Master) -> None:
    first = begin(master)["rollout"]
    master.bus.script = failing("state.apply", WEBS[1])
    stopped = stages(master)
    assert list(stopped)[-1] == "control"
    assert f"{WEBS[1]}: state.apply did not work" in stopped["control"]["comment"]
    assert "run the deployment again" in stopped["control"]["comment"]
    assert stopped["control"]["retcode"] == 1
    assert rollouts(master).get(first).owner == ""
    master.bus.script = lambda node, call, n: WORKS
    assert begin(master)["rollout"] == first
    found = stages(master)
    assert rollouts(master).get(first).state == DONE, found
    ran = master.bus.world.executions()
    applied = {node: n for (fun, _, node), n in ran.items() if fun == "state.apply"}
    # the node that failed had it twice, the others were left alone
    assert applied == {DB: 1, WEBS[0]: 1, WEBS[1]: 2, WEBS[2]: 1}


def test_a_paused_deployment_is_gone_on_with_when_it_is_run_again(master: Master) -> None:
    first = begin(master)["rollout"]
    master.rolling().pause(first)
    (stopped,) = stages(master, ["infrastructure"]).values()
    assert (stopped["state"], stopped["retcode"]) == ("paused", 3)
    assert begin(master)["rollout"] == first
    stages(master)
    assert rollouts(master).get(first).state == DONE


def test_a_stage_is_applied_again_before_a_check_that_failed_is_asked_again(
    master: Master,
) -> None:
    first = begin(master)["rollout"]
    master.bus.unwell[WEBS[2]] = "unit web is dead"
    stopped = stages(master)
    assert f"{WEBS[2]}: web.server: unit web is dead" in stopped["control"]["comment"]
    assert begin(master)["rollout"] == first
    order: list[tuple[str, tuple[str, ...]]] = []

    def mended(call: Call) -> None:
        order.append((call.fun, call.nodes))
        if call.fun == "state.apply":
            master.bus.unwell.clear()

    master.bus.on_publish = mended
    stages(master)
    assert rollouts(master).get(first).state == DONE
    funs = [fun for fun, _ in order]
    assert funs.index("state.apply") < funs.index("health.check")
    assert {node for fun, nodes in order if fun == "state.apply" for node in nodes} == {*WEBS}


def _commit(master: Master) -> None:
    master.commit(9090)


def _pin(master: Master) -> None:
    model = master.rolling().model
    model.pin([WEBS[2]], model.repo.resolve("HEAD~1"), "bob", "by hand")


def _deploy(master: Master) -> None:
    model = master.rolling().model
    model.deploy(model.find("HEAD"), CLUSTER, "bob", "by hand")


def _edit(master: Master) -> None:
    (master.served / "new.sls").write_text("{}\n")


def _wish(master: Master) -> None:
    (one,) = rollouts(master).list(CLUSTER)
    rollouts(master).wish(one.id, abort=True)


@pytest.mark.parametrize(
    ("move", "why"),
    [
        (_commit, "The revision to reach was "),
        (_pin, f"{WEBS[2]} was pinned to "),
        (_deploy, "The deployed revision of the cluster was "),
        (_edit, "The content of the formulas was "),
        (_wish, "People aborted it."),
        (None, "It was asked for with other options: soak."),
    ],
    ids=["revision", "pin", "deployed", "formulas", "aborted", "options"],
)
def test_a_deployment_that_no_longer_fits_is_ended_and_another_one_begun(
    master: Master, move: Callable[[Master], None] | None, why: str
) -> None:
    first = begin(master)["rollout"]
    killed_at(master, "state.apply", WEBS[0])
    if move is not None:
        move(master)
    options = {} if move else {"soak": 5.0}
    foretold = deploying(master).begin(replace(REQUEST, **options), "HEAD", test=True)
    assert f"Rollout {first} would be ended: {why}" in foretold["comment"]
    assert rollouts(master).get(first).state == RUNNING
    again = begin(master, **options)
    assert again["rollout"] != first
    assert f"Rollout {first} is ended: {why}" in again["comment"]
    ended = rollouts(master).get(first)
    assert ended.state == ABORTED
    assert f"Ended for a new deployment: {why}" in ended.reason
    assert first not in rollouts(master).locks(CLUSTER).values()
    found = stages(master)
    assert rollouts(master).get(again["rollout"]).state == DONE, found
    assert master.deployed == master.rolling().model.repo.resolve("HEAD")
    assert master.pins == {}


def test_a_deployment_killed_at_its_commit_is_gone_on_with(master: Master) -> None:
    """Whether the commit came through or not, what it left is its own doing."""
    first = begin(master)["rollout"]
    stages(master, AFTER_PREFLIGHT[:-1])
    found = rollouts(master).load(first)
    (step,) = [step for _, _, step in found.plan.steps() if step.kind == "commit"]
    rollouts(master).intent(first, step.id, (), 1.0)
    rollouts(master).commit(first, CLUSTER, step.revision)
    assert begin(master)["rollout"] == first
    stages(master)
    assert rollouts(master).get(first).state == DONE


def test_a_second_deployment_at_once_is_refused_and_names_the_first(master: Master) -> None:
    first = begin(master)["rollout"]
    mine = rollouts(master).get(first).owner
    rollouts(master).release_claim(first, mine)
    rollouts(master).claim(first, SOMEBODY)
    asked = list(master.bus.published)
    with pytest.raises(LockedError, match=f"{SOMEBODY} works on rollout {first}") as refused:
        begin(master)
    assert refused.value.exit_code == 2
    told = deploying(master).preflight("HEAD")
    assert told["retcode"] == 2
    assert f"{SOMEBODY} works on rollout {first}" in told["comment"]
    assert master.bus.published == asked
    assert [one.id for one in rollouts(master).list(CLUSTER)] == [first]


def test_a_rollout_of_another_kind_is_told_with_the_other_findings(master: Master) -> None:
    rolling = master.rolling()
    change = Request("restart", CLUSTER, roles=("web.server",))
    other = rolling.begin(rolling.plan(change).hash)
    rolling.pause(other)
    rolling.run(other)
    master.content["classes/service/web/server.yml"]["parameters"]["x"] = "${no:where}"
    master.commit(9090)
    told = deploying(master).preflight("HEAD")
    assert f"Rollout {other} (restart) is paused. `salt-run rollout.resume" in told["comment"]
    assert "no:where" in told["comment"]
    assert len(told["findings"]) == 2
    with pytest.raises(LockedError, match=other):
        begin(master)


def test_preflight_sends_modules_and_moves_nothing(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"facts": {"time": master.clock.now()}, "findings": []}
    collect = master.bus.collect

    def collected(jobs: Any, tick: Any = None) -> Any:
        found = collect(jobs, tick)
        for job, answers in zip(jobs, found, strict=True):
            if job.call.fun == "health.preflight":
                for node, answer in answers.items():
                    answers[node] = replace(answer, data=facts)
        return found

    monkeypatch.setattr(master.bus, "collect", collected)
    old = master.deployed
    told = deploying(master).preflight("HEAD", test=True)
    assert told["result"], told
    assert "saltutil.sync_modules" not in master.bus.functions()
    told = deploying(master).preflight("HEAD")
    assert told["result"], told
    assert told["changes"] == {}
    assert f"is to take the place of {old[:12]}." in told["comment"]
    assert "saltutil.sync_modules" in master.bus.functions()
    assert (master.pins, master.deployed) == ({}, old)


def test_a_preview_says_what_each_stage_would_change_and_changes_nothing(master: Master) -> None:
    old, new = master.deployed, master.rolling().model.repo.resolve("HEAD")
    environments = set()

    def look(call: Call) -> None:
        assert call.kwarg["test"] is True
        environments.add(call.kwarg["pillarenv"])

    master.bus.on_publish = look
    told = deploying(master).begin(REQUEST, "HEAD", test=True)
    assert told["result"] is True
    assert "would be begun" in told["comment"]
    found = {name: deploying(master).foresee(name, "HEAD") for name in AFTER_PREFLIGHT}
    assert {name: one["result"] for name, one in found.items()} == {
        "foundation": True,
        "infrastructure": None,
        "control": None,
        "resources": True,
        "sanity": True,
        "commit": None,
    }
    assert found["control"]["comment"] == (
        "Stage control: 3 states would change on 3 hosts (web01 1, web02 1, web03 1)."
    )
    assert found["commit"]["changes"] == {"revision": {"old": old, "new": new}}
    assert len(environments) == 2
    assert master.bus.functions() == ["state.apply", "state.apply"]
    assert (master.pins, master.deployed) == ({}, old)
    assert rollouts(master).list() == ()
    assert rollouts(master).locks() == {}
    # one that cannot foresee it is told with its reason, and what the others foresee
    master.bus.script = failing("state.apply", WEBS[0])
    told = deploying(master).foresee("control", "HEAD")
    assert (told["result"], told["retcode"]) == (False, 1)
    assert f"{WEBS[0]}: state.apply did not work" in told["comment"]
    assert set(told["changes"]) == {*WEBS[1:]}


def test_a_stage_alone_is_none(master: Master) -> None:
    with pytest.raises(RolloutError, match="no deployment of cluster shop is under way"):
        deploying(master).stage("control", print)
    begin(master)
    stages(master)
    with pytest.raises(RolloutError, match="is under way"):
        deploying(master).stage("control", print)


def test_of_several_that_were_left_the_latest_is_gone_on_with(master: Master) -> None:
    first = begin(master)["rollout"]
    killed_at(master, "state.apply", WEBS[0])
    rollouts(master).release_claim(first, rollouts(master).get(first).owner)
    rollouts(master).unlock(first)
    rolling = master.rolling()
    second = rolling.rollouts.begin(rolling.plan(REQUEST, "HEAD").plan, "bob")
    answer = begin(master)
    assert answer["rollout"] == second
    assert f"Rollout {first} is ended: Rollout {second} is gone on with." in answer["comment"]
    assert rollouts(master).get(first).state == ABORTED
    stages(master)
    assert rollouts(master).get(second).state == DONE


def served(source: Any) -> Mapping[str, int]:
    return {n: one.pillar["web"]["server"]["port"] for n, one in source.items() if n != DB}


def test_what_runners_read_is_what_nodes_are_served(master: Master) -> None:
    """Forms and sanity run while the deployed revision is still the old one."""
    model = master.rolling().model
    model.pin([WEBS[0]], "HEAD", "bob", "")
    assert served(model.served().nodes(CLUSTER)) == {WEBS[0]: 8080, WEBS[1]: 80, WEBS[2]: 80}
    assert "web.server" in model.served().roles()
