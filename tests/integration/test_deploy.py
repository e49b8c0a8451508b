"""A deployment on real daemons: preview, deployment, again, and what goes wrong meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import salt.utils.event

from saltern.adapters import salt_bus
from saltern.adapters.gpg import Gpg
from saltern.adapters.journal import Journal
from saltern.adapters.rollouts import Rollouts
from saltern.model import serve
from saltern.rollout import preflight, stages
from saltern.rollout.ports import ABORTED, DONE, FAILED, INTENT, OK, RUNNING

from .conftest import CLUSTER, NODES, Trial
from .deployment import STAGES, begun, gone_through, put_back

ALL = ("preflight", "deploy", *STAGES)
ALL_FILES = {f"{node}/{name}" for node in NODES for name in ("base", "store", "app")} | {"formed"}


@pytest.fixture
def journal(trial: Trial) -> Iterator[Journal]:
    """The journal; whatever a test left under way is ended."""
    found = Journal(f"sqlite:///{trial.journal_file}")
    yield found
    put_back(found)


@pytest.fixture
def rollouts(journal: Journal) -> Rollouts:
    return Rollouts(journal)


def written(trial: Trial) -> set[str]:
    return {str(path.relative_to(trial.work)) for path in trial.work.rglob("*") if path.is_file()}


def steps(done: Any) -> dict[str, dict[str, Any]]:
    """The states of an orchestration by stage; shows what it printed when there are none."""
    assert isinstance(done.data, dict), done
    (states,) = done.data["data"].values()
    return {state["name"]: state for state in states.values()}


@contextmanager
def listening(master: Any) -> Iterator[list[dict[str, Any]]]:
    """Hear every event of the master's bus; complete after the block."""
    opts = dict(master.config)
    heard: list[dict[str, Any]] = []
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with salt.utils.event.get_event(
            "master", sock_dir=opts["sock_dir"], opts=opts, listen=True
        ) as bus:
            ready.set()
            while (event := bus.get_event(wait=1, full=True)) or not done.is_set():
                if event:
                    heard.append(event)

    # all the time: the bus does not keep events for those who do not read them
    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(30)
    try:
        yield heard
    finally:
        done.set()
        thread.join()


def test_orchestrated(run: Any, fresh: Trial, master: Any, capfd: Any, rollouts: Rollouts):
    """Preview, deployment, second run; and the secret of the model is in none of their traces."""
    secret = serve.pillar(fresh.model, NODES[0], decrypt=Gpg(fresh.gpg_home).decrypt)["trial"][
        "app"
    ]["password"]
    assert len(secret) >= 12
    told = []
    known = {one.id for one in rollouts.list(CLUSTER, limit=1000)}
    with listening(master) as heard:
        # a preview shows every stage, changes nothing and says so, whatever it finds
        obstacle = fresh.switch(f"fail-{NODES[1]}")
        preview = run("state.orch", "deploy", "test=True")
        told.append(preview)
        states = steps(preview)
        assert list(states) == list(ALL)
        assert {name: state["result"] for name, state in states.items()} == {
            "preflight": True,
            "deploy": True,
            "foundation": None,
            "infrastructure": None,
            "control": False,
            "resources": True,
            "sanity": True,
            "commit": True,
        }
        assert (
            "2 states would change on 2 hosts (app01 1, app02 1)"
            in (states["foundation"]["comment"])
        )
        assert states["infrastructure"]["changes"]["formed"] == {"trial.store": {"members": 2}}
        assert "app02.trial.test: state trial-app-switch" in states["control"]["comment"]
        assert written(fresh) == {obstacle.name}
        assert {one.id for one in rollouts.list(CLUSTER, limit=1000)} == known
        assert rollouts.journal.pins(CLUSTER) == []
        assert preview.returncode == 1
        obstacle.unlink()

        # the real run, up to where the users of the cluster are not content
        ill = fresh.switch("ill")
        first = run("state.orch", "deploy")
        told.append(first)
        states = steps(first)
        assert list(states) == list(ALL[:-1])
        for name in ALL[:-2]:
            assert states[name]["result"] is True, states[name]
        assert states["foundation"]["changes"] == {
            node: ["trial-base-file (file.managed)"] for node in NODES
        }
        assert states["infrastructure"]["changes"] == {
            node: ["trial-store-file (file.managed)", "trial.form (runner)"] for node in NODES
        }
        assert states["sanity"]["result"] is False
        assert "sanity.run: no token of trial." in states["sanity"]["comment"]
        assert first.returncode == 1
        assert written(fresh) == ALL_FILES | {"ill"}
        formed = json.loads((fresh.work / "formed").read_text())
        assert formed == {"cluster": CLUSTER, "nodes": list(NODES)}
        assert secret in (fresh.work / NODES[0] / "app").read_text()
        (left,) = rollouts.list(CLUSTER, FAILED)
        assert {pin.node for pin in rollouts.journal.pins(CLUSTER)} == set(NODES)

        # run again, it goes on there
        ill.unlink()
        again = run("state.orch", "deploy")
        told.append(again)
        states = steps(again)
        assert all(state["result"] is True for state in states.values()), states
        assert list(states) == list(ALL)
        assert f"Rollout {left.id} of plan " in states["deploy"]["comment"]
        assert not [name for name, state in states.items() if state["changes"]]
        assert rollouts.get(left.id).state == DONE
        assert rollouts.journal.pins(CLUSTER) == []

        # and once more, there is nothing to do
        third = run("state.orch", "deploy")
        told.append(third)
        assert third.returncode == 0
        for name, state in steps(third).items():
            assert state["result"] is True
            assert state["changes"] == {}, name
        assert "nothing changed" in steps(third)["control"]["comment"]

    tags = [event["tag"] for event in heard]
    assert "saltern/deploy/preflight/begin" in tags
    assert tags.count(f"saltern/rollout/{left.id}/begin") == 1
    assert tags.count(f"saltern/rollout/{left.id}/end") == 1
    here = f"saltern/rollout/{left.id}/step/begin"
    titles = [event["data"]["step"] for event in heard if event["tag"] == here]
    applied = [step for step in titles if step.startswith("infrastructure/")]
    assert [step.rpartition("-")[2] for step in applied] == ["apply", "apply", "runner"]
    # the events were heard: state returns are among them
    assert any("trial-app-config" in repr(event) for event in heard)
    assert not [event["tag"] for event in heard if secret in repr(event)]
    for done in told:
        assert secret not in done.stdout
        assert secret not in done.stderr
    # progress is told to people on standard error, with times
    assert "stage control: trial.app on app01-02" in first.stderr
    assert secret not in capfd.readouterr().out


def until(condition: Callable[[], Any], what: str, seconds: float = 300) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def test_a_deployment_whose_runner_is_killed_is_gone_on_with_when_it_is_run_again(
    master: Any, run: Any, fresh: Trial, rollouts: Rollouts
) -> None:
    hold = fresh.switch("hold")
    command = [*master.salt_run_cli().cmdline("state.orch", "deploy")]
    runner = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        held = [fresh.work / node / "held" for node in NODES]
        until(lambda: all(path.exists() for path in held), "the applications are applied")
        (under_way,) = rollouts.list(CLUSTER, RUNNING)
        # meanwhile a second one is refused before anything is touched, and names the first
        second = run("state.orch", "deploy")
        assert second.returncode == 1
        assert list(steps(second)) == ["preflight"]
        assert f"process {runner.pid}" in steps(second)["preflight"]["comment"]
        assert f"works on rollout {under_way.id}" in steps(second)["preflight"]["comment"]
    finally:
        os.killpg(runner.pid, signal.SIGKILL)
        runner.wait()
    before = rollouts.load(under_way.id).records
    assert [r.step for r in before.values() if r.phase == INTENT]
    assert {pin.node for pin in rollouts.journal.pins(CLUSTER)} == set(NODES)
    hold.unlink()

    again = run("state.orch", "deploy")
    assert again.returncode == 0, again.stdout
    states = steps(again)
    assert list(states) == list(ALL)
    assert f"Rollout {under_way.id} of plan " in states["deploy"]["comment"]
    assert "was running and is gone on with" in states["deploy"]["comment"]
    after = rollouts.load(under_way.id)
    assert after.state == DONE
    assert {step.id: after.records[step.id].phase for _, _, step in after.plan.steps()} == {
        step.id: OK for _, _, step in after.plan.steps()
    }
    # what was under way was collected, not published again
    assert {record.attempt for record in after.records.values()} == {1}
    assert [path.read_text() for path in held] == ["ran\n", "ran\n"]
    assert written(fresh) == ALL_FILES | {f"{node}/held" for node in NODES}
    assert rollouts.journal.pins(CLUSTER) == []


def test_a_failed_state_stops_the_deployment_with_host_and_reason(
    run: Any, fresh: Trial, rollouts: Rollouts
) -> None:
    obstacle = fresh.switch(f"fail-{NODES[1]}")
    done = run("state.orch", "deploy")
    assert done.returncode == 1
    states = steps(done)
    assert list(states)[-1] == "control"
    assert (
        f"{NODES[1]}: state trial-app-switch (test.fail_without_changes) failed:"
        " the disk of this host is full."
    ) in states["control"]["comment"]
    assert f"{NODES[0]}: " not in states["control"]["comment"]
    (left,) = rollouts.list(CLUSTER, FAILED)
    obstacle.unlink()
    done = run("state.orch", "deploy")
    assert done.returncode == 0, done.stdout
    assert rollouts.get(left.id).state == DONE


@pytest.mark.usefixtures("journal")
def test_a_refusing_form_stops_the_deployment(call: Any, fresh: Trial) -> None:
    fresh.switch("refuse-form")
    failed = gone_through(call)["infrastructure"]
    assert "trial.form: two members have different data." in failed["comment"]
    assert failed["retcode"] == 1


@pytest.mark.usefixtures("journal")
def test_a_failed_health_check_is_told_and_a_new_deployment_mends_it(
    call: Any, fresh: Trial
) -> None:
    assert gone_through(call)["commit"]["result"]
    path = fresh.work / NODES[0] / "base"
    path.chmod(0o600)
    failed = call("deploy.validate", name="foundation")
    assert failed["retcode"] == 1
    assert failed["failures"] == [f"{NODES[0]}: trial.base: {path} has mode 0600, not 0644."]
    mended = gone_through(call)
    assert mended["foundation"]["changes"] == {NODES[0]: ["trial-base-file (file.managed)"]}
    assert mended["commit"]["result"]
    assert call("deploy.validate", name="foundation")["result"]


def test_another_revision_ends_what_was_left_and_is_deployed(
    call: Any, fresh: Trial, rollouts: Rollouts
) -> None:
    before = rollouts.journal.deployed()[CLUSTER]
    fresh.switch(f"fail-{NODES[1]}")
    first = begun(call)["rollout"]
    assert call("deploy.stage", name="foundation", quiet=True)["result"]
    file = fresh.model / "classes/service/trial/app.yml"
    kept = file.read_text()
    file.write_text(f"# another thought\n{kept}")
    try:
        answer = begun(call)
        assert answer["rollout"] != first
        assert f"Rollout {first} is ended: The revision to reach was " in answer["comment"]
        assert rollouts.get(first).state == ABORTED
        stopped = gone_through(call)
        assert stopped["control"]["retcode"] == 1
    finally:
        file.write_text(kept)
    assert rollouts.journal.deployed()[CLUSTER] == before


def test_a_silent_minion_stops_the_deployment_by_name(
    call: Any, fresh: Trial, minions: Any, monkeypatch: pytest.MonkeyPatch, rollouts: Rollouts
) -> None:
    # as long as the suite waits for a busy host, this test need not
    monkeypatch.setattr(preflight, "PING_TIMEOUT", 10)
    monkeypatch.setattr(preflight, "ASK_AFTER", 10)
    monkeypatch.setattr(salt_bus, "PROBES", 1)
    rollout = begun(call)["rollout"]
    gone = minions[NODES[1]]
    gone.terminate()
    try:
        refused = call("deploy.preflight")
        assert refused["retcode"] == 2
        assert f"{NODES[1]}: did not answer test.ping within" in refused["comment"]

        failed = call("deploy.stage", name="foundation", quiet=True)
        assert failed["retcode"] == 1
        assert f"{NODES[1]}: did not answer" in failed["comment"]
        assert f"{NODES[0]}: " not in failed["comment"]
        assert rollouts.get(rollout).state == FAILED
        # who was there may have its first roles already, the same that it would get later
        assert written(fresh) <= {f"{NODES[0]}/base"}
    finally:
        gone.start()


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"name": "fundament", "test": True}, "there is no stage 'fundament'"),
        ({"name": "control"}, "no deployment of cluster trial is under way"),
        ({"name": "control", "cluster": "nowhere"}, "no deployment of cluster nowhere"),
        (
            {"name": "control", "cluster": "nowhere", "test": True},
            "no node belongs to cluster nowhere",
        ),
    ],
)
def test_what_is_not_there_is_refused(call: Any, kwargs: dict[str, Any], sentence: str) -> None:
    refused = call("deploy.stage", **kwargs)
    assert refused["result"] is False
    assert refused["retcode"] in (1, 2)
    assert sentence in refused["comment"]


def test_a_broken_model_is_refused_before_any_minion_is_asked(call: Any, trial: Trial, master: Any):
    broken = trial.model / "classes/service/trial/app.yml"
    text = broken.read_text()
    broken.write_text(text.replace("${_param:port}", "${_param:prot}"))
    try:
        with listening(master) as heard:
            refused = call("deploy.stage", name="preflight")
    finally:
        broken.write_text(text)
    assert refused["retcode"] == 2
    assert "_param:prot" in refused["comment"]
    assert "classes/service/trial/app.yml" in refused["comment"]
    tags = [event["tag"] for event in heard]
    assert "saltern/deploy/preflight/fail" in tags
    assert not [tag for tag in tags if tag.startswith("salt/job/")]


def test_the_plan_is_shown(run: Any, call: Any):
    shown = run("deploy.plan").stdout
    for text in ("foundation", "trial.store: trial.form", "app01", "sanity.run"):
        assert text in shown
    data = call("deploy.plan", data=True)["plan"]
    assert data["cluster"] == CLUSTER
    assert [stage["name"] for stage in data["stages"]] == list(stages.STAGES)


def test_a_recovery_says_what_there_is_none_of(run: Any):
    done = run("state.orch", "recover", "test=True")
    assert done.returncode == 1
    states = steps(done)
    # the trial cluster has no database; a preview goes on nevertheless
    assert states.pop("galera.recover")["result"] is False
    assert list(states) == list(stages.ROLE_STAGES)
    assert all(state["result"] is True for state in states.values())
    done = run("state.orch", "recover")
    assert done.returncode == 1
    assert "no node carries the role galera.server" in steps(done)["galera.recover"]["comment"]
    assert list(steps(done)) == ["galera.recover"]
