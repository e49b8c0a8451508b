"""``salt-run rollout.*`` and ``lease.*`` through Salt's loader, with nodes that replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader

from saltern.adapters import leasing, observing, rolling
from saltern.adapters.master import MasterEvents
from saltern.model import impact as library
from saltern.model import redact
from saltern.model.diff import compare
from saltern.rollout.ports import Call
from tests.support import TREE
from tests.support.fakes import FAILS, WORKS
from tests.support.rolling import CLUSTER, WEBS, Master


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Master:
    built = Master(tmp_path)

    def touched(site: Any, before: str, after: str, nodes: Any) -> library.Impact:
        model = built.rolling().model
        one, two = model.find(before), model.find(after)
        key = redact.process_key()
        found = compare(one, two, key=key, cluster=site.cluster, only=nodes)
        return library.impact(one, two, found, None, key=key)

    def emit(self: MasterEvents, tag: str, data: Any, line: str = "") -> None:
        built.events.emit(tag, data, line)
        if line and self.stream:
            print(line, file=self.stream)

    monkeypatch.setattr(observing, "touched", touched)
    monkeypatch.setattr(rolling, "SaltBus", lambda opts: built.bus)
    monkeypatch.setattr(rolling, "WallClock", lambda: built.clock)
    monkeypatch.setattr(MasterEvents, "emit", emit)
    return built


@pytest.fixture
def run(master: Master, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call a runner function as ``salt-run`` does."""
    opts = salt.config.master_config(None)
    opts.update(
        root_dir=str(master.root),
        cachedir=str(master.root / "cache"),
        extension_modules=str(master.root / "extmods"),
        module_dirs=[str(TREE)],
        **master.opts,
    )
    loaded = salt.loader.runner(opts)

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        answer = loaded[function](*args, **kwargs)
        json.dumps(answer)  # what machines get is plain data
        return answer

    return call


def planned(run: Callable[..., Any], **options: Any) -> str:
    return str(run("rollout.plan", "change", data=True, **options)["hash"])


def test_plan_apply_status_report_in_the_words_of_an_operator(
    master: Master, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    new = master.commit(8080)
    text = run("rollout.plan", "change", revision="main", canary="1", percent="50")
    assert text.startswith("Plan ")
    assert "revision=main" in text
    hash = text.split("salt-run rollout.apply ")[1].split()[0]
    assert run("rollout.apply", hash, test=True)["comment"] == f"Plan {hash} can be applied."
    answer = run("rollout.apply", hash, approved_by="approver", reason="ticket 7")
    assert (answer["result"], answer["retcode"], answer["state"]) == (True, 0, "done")
    assert master.deployed == new
    told = capsys.readouterr()
    assert "stage control: web.server on web01-03" in told.err
    assert told.out == ""
    rollout = answer["rollout"]
    assert run("rollout.status").startswith(f"Rollout {rollout} (change of {CLUSTER}) is done")
    assert run("rollout.status", rollout, data=True)["approved_by"] == "approver"
    assert run("rollout.show", rollout) == run("rollout.status", rollout)
    assert run("rollout.show", hash).startswith(f"Plan {hash}")
    assert run("rollout.show", hash, data=True)["plan"]["workflow"] == "change"
    assert [row["id"] for row in run("rollout.history", data=True)["rollouts"]] == [rollout]
    assert "ticket 7" in run("rollout.history", state="done")
    assert run("rollout.history", state="failed") == "There is no such rollout."
    stages = run("rollout.stages", hash)
    assert [stage["name"] for stage in stages] == ["control", "commit"]
    assert stages == run("rollout.stages", rollout)
    assert [wave["nodes"] for wave in stages[0]["waves"]] == [[web] for web in WEBS]
    assert run("rollout.plans")[0]["hash"].startswith(hash)
    assert run("rollout.report", rollout).startswith(f"# Rollout {rollout}")
    assert "<h1>" in run("rollout.report", rollout, format="html")
    assert run("rollout.report", rollout, format="json")["rollout"] == rollout
    assert run("rollout.report", rollout, format="pdf")["retcode"] == 2


def test_without_a_name_all_look_at_the_one_under_way_or_the_latest(
    master: Master, run: Callable[..., Any]
) -> None:
    master.commit(8080)
    first = run("rollout.apply", planned(run))["rollout"]
    for function in ("status", "show", "report"):
        assert first in run(f"rollout.{function}")
    assert run("rollout.stages") == run("rollout.stages", first)
    master.commit(8081)
    second = run("rollout.begin", planned(run))["rollout"]
    for function in ("status", "show", "report"):
        assert second in run(f"rollout.{function}")
    assert run("rollout.stages") == run("rollout.stages", second)
    assert run("rollout.unlock")["rollout"] == second


def test_quiet_says_nothing_beside_the_answer(
    master: Master, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    master.commit(8080)
    run("rollout.apply", planned(run, quiet=True), quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        ("rollout.plan", {"workflow": "chagne"}, "chagne"),
        ("rollout.plan", {"workflow": "change", "canari": 1}, "'canari' is no option of a plan"),
        ("rollout.plan", {"workflow": "change", "canary": "many"}, "canary"),
        ("rollout.plan", {"workflow": "change", "revision": "no-such-branch"}, "no-such-branch"),
        ("rollout.apply", {"plan": "123abc"}, "there is no plan 123abc"),
        ("rollout.apply", {"plan": "12"}, "is no plan's hash"),
        ("rollout.begin", {}, "nothing is named"),
        ("rollout.begin", {"plan": "123abc", "workflow": "change"}, "a plan says itself"),
        ("rollout.phase", {"name": "contrl"}, "there is no phase contrl"),
        ("rollout.show", {"name": "123abc"}, "there is no plan 123abc"),
        ("rollout.unlock", {"rollout": "r1-1"}, "there is no rollout r1-1"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(
    master: Master, run: Callable[..., Any], function: str, arguments: dict[str, Any], sentence: str
) -> None:
    answer = run(function, **arguments)
    assert (answer["result"], answer["retcode"]) == (False, 2)
    assert sentence in answer["comment"]
    assert "\n" not in answer["comment"]
    assert master.rolling().rollouts.list() == ()


@pytest.mark.parametrize(
    "function",
    ["pause", "resume", "abort", "retry", "unlock", "status", "show", "stages", "report"],
)
def test_without_a_rollout_there_is_nothing_to_act_on(
    master: Master, run: Callable[..., Any], function: str
) -> None:
    answer = run(f"rollout.{function}")
    assert answer["result"] is False
    assert answer["retcode"] in (1, 2)
    assert "no rollout of cluster shop is under way" in answer["comment"]


def test_exit_codes_of_a_paused_a_failed_and_a_refused_rollout(
    master: Master, run: Callable[..., Any]
) -> None:
    master.commit(8080)
    begun = run("rollout.begin", workflow="change", quiet=True)
    assert run("rollout.pause")["result"]
    assert run("rollout.phase", "control", quiet=True)["retcode"] == 3
    good, master.bus.script = (
        master.bus.script,
        lambda node, call, n: FAILS if call.fun == "state.apply" else WORKS,
    )
    assert run("rollout.resume", quiet=True)["retcode"] == 1
    refused = run("rollout.begin", workflow="restart", roles="web.server", quiet=True)
    assert refused["retcode"] == 2
    assert begun["rollout"] in refused["comment"]
    master.bus.script = good
    assert run("rollout.retry", assume="perhaps", quiet=True)["retcode"] in (1, 2)
    assert run("rollout.retry", quiet=True)["retcode"] == 0
    shown = run("rollout.rollback", begun["rollout"], test=True, quiet=True)
    assert f"takes back {begun['rollout']}" in shown
    data = run("rollout.rollback", begun["rollout"], test=True, data=True, quiet=True)
    assert (data["result"], data["losses"]) == (None, [])
    assert run("rollout.rollback", begun["rollout"], quiet=True)["retcode"] == 0


def test_an_aborted_rollout_ends_with_everything_in_service(
    master: Master, run: Callable[..., Any]
) -> None:
    master.commit(8080)
    rollout = run("rollout.begin", workflow="change", quiet=True)["rollout"]
    answer = run("rollout.abort", reason="wrong window", quiet=True)
    assert (answer["state"], answer["retcode"]) == ("aborted", 0)
    assert "wrong window" in run("rollout.status", rollout)


# -- leases --------------------------------------------------------------------------------------


@pytest.fixture
def held(master: Master, run: Callable[..., Any]) -> tuple[Master, str]:
    """A rollout whose process was killed while web01 was out of service."""
    master.commit(8080)
    rollout = run("rollout.begin", workflow="change", quiet=True)["rollout"]

    class Dead(BaseException):
        pass

    def die(call: Call) -> None:
        if call.fun == "state.apply":
            raise Dead

    master.bus.on_publish = die
    with pytest.raises(Dead):
        run("rollout.resume", quiet=True)
    master.bus.on_publish = lambda call: None
    return master, rollout


def leases(master: Master) -> leasing.Leasing:
    return leasing.Leasing(master.rolling().rollouts, master.bus, master.clock)


def test_what_a_dead_rollout_left_out_of_service_is_listed(
    held: tuple[Master, str], run: Callable[..., Any]
) -> None:
    _, rollout = held
    (row,) = run("lease.list", data=True)
    assert (row["rollout"], row["node"], row["what"]) == (rollout, WEBS[0], "web01 drained")
    assert (row["released"], row["cluster"]) == ("", CLUSTER)
    assert "web01 drained" in run("lease.list", rollout=rollout)
    assert run("lease.list", cluster="other") == "Nothing is out of service."


def test_leases_are_given_back_by_their_own_undo_and_only_then_are_gone(
    held: tuple[Master, str],
) -> None:
    master, rollout = held
    assert master.bus.world.out
    found = leases(master)
    # nothing is overdue yet
    assert found.release()["released"] == []
    assert master.bus.world.out
    master.bus.script = lambda node, call, n: FAILS if call.fun == "proxy.ready" else WORKS
    answer = found.release(rollout=rollout)
    assert (answer["result"], answer["retcode"]) == (False, 1)
    assert "web01 drained is not undone: " in answer["comment"]
    assert len(found.listed()) == 1
    master.bus.script = lambda node, call, n: WORKS
    answer = found.release(rollout=rollout)
    assert (answer["result"], answer["released"]) == (True, ["web01 drained"])
    assert master.bus.world.out == set()
    assert found.listed() == []
    assert found.listed(gone=True)[0]["released"]


def test_what_is_overdue_is_given_back_without_a_name(held: tuple[Master, str]) -> None:
    master, _ = held
    master.clock.time += 24 * 3600
    assert leases(master).listed()[0]["expired"]
    assert leases(master).release()["released"] == ["web01 drained"]


def test_a_lease_of_a_rollout_that_is_carried_out_is_left_alone(held: tuple[Master, str]) -> None:
    master, rollout = held
    rollouts = master.rolling().rollouts
    rollouts.claim(rollout, rolling.processes.me())
    with pytest.raises(Exception, match="gives it back itself"):
        leases(master).release(rollout=rollout)
    assert leases(master).release(rollout=rollout, force=True)["result"]
    with pytest.raises(Exception, match="no lease x is in force"):
        leases(master).release("x")
