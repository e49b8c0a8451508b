"""The stages of a small cluster on real daemons: deploy, again, preview, and what goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import salt.utils.event

from saltern.adapters import salt_bus
from saltern.adapters.gpg import Gpg
from saltern.model import serve
from saltern.rollout import preflight
from saltern.rollout import run as stage_run

from .conftest import CLUSTER, NODES, Trial

STAGES = ("preflight", "foundation", "infrastructure", "control", "resources", "sanity")
ALL_FILES = {f"{node}/{name}" for node in NODES for name in ("base", "store", "app")} | {"formed"}


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


def test_orchestrated(run: Any, fresh: Trial, master: Any, capfd: Any):
    """Preview, deployment, second run; and the secret of the model is in none of their traces."""
    secret = serve.pillar(fresh.model, NODES[0], decrypt=Gpg(fresh.gpg_home).decrypt)["trial"][
        "app"
    ]["password"]
    assert len(secret) >= 12
    told = []
    with listening(master) as heard:
        # a preview shows every stage, changes nothing and says so, whatever it finds
        obstacle = fresh.switch(f"fail-{NODES[1]}")
        preview = run("state.orch", "deploy", "test=True")
        told.append(preview)
        states = steps(preview)
        assert list(states) == list(STAGES)
        assert {name: state["result"] for name, state in states.items()} == {
            "preflight": True,
            "foundation": None,
            "infrastructure": None,
            "control": False,
            "resources": True,
            "sanity": True,
        }
        assert (
            "2 states would change on 2 hosts (app01 1, app02 1)"
            in (states["foundation"]["comment"])
        )
        assert states["infrastructure"]["changes"]["formed"] == {"trial.store": {"members": 2}}
        assert "app02.trial.test: state trial-app-switch" in states["control"]["comment"]
        assert written(fresh) == {obstacle.name}
        assert preview.returncode == 1
        obstacle.unlink()

        # the real run; the trial cluster has no cloud to be sane about, so it ends there
        first = run("state.orch", "deploy")
        told.append(first)
        states = steps(first)
        for name in STAGES[:-1]:
            assert states[name]["result"] is True, states[name]
        assert states["foundation"]["changes"] == {
            node: ["trial-base-file (file.managed)"] for node in NODES
        }
        assert "formed trial.store" in states["infrastructure"]["comment"]
        assert "4 health checks are content" in states["control"]["comment"]
        assert states["sanity"]["result"] is False
        assert first.returncode == 1
        assert written(fresh) == ALL_FILES
        formed = json.loads((fresh.work / "formed").read_text())
        assert formed == {"cluster": CLUSTER, "nodes": list(NODES)}
        assert secret in (fresh.work / NODES[0] / "app").read_text()

        # the second run says that nothing changed
        again = run("state.orch", "deploy")
        told.append(again)
        for name in STAGES[:-1]:
            state = steps(again)[name]
            assert state["result"] is True
            assert state["changes"] == {}
        assert "0 states changed on 2 hosts" in steps(again)["control"]["comment"]

    tags = [event["tag"] for event in heard]
    assert "saltern/deploy/foundation/begin" in tags
    assert tags.count("saltern/deploy/control/fail") == 1
    assert tags.count("saltern/deploy/control/end") == 2
    first_store, second_store = [
        event["data"]["groups"]
        for event in heard
        if event["tag"] == "saltern/deploy/infrastructure/step/begin"
    ][:2]
    assert (first_store, second_store) == ("trial.store on app01", "trial.store on app02")
    # the events were heard: state returns are among them
    assert any("trial-app-config" in repr(event) for event in heard)
    assert not [event["tag"] for event in heard if secret in repr(event)]
    for done in told:
        assert secret not in done.stdout
        assert secret not in done.stderr
    # progress is told to people on standard error, with times
    assert "0:00 stage control (trial.app)" in first.stderr
    assert secret not in capfd.readouterr().out


def test_a_failed_state_stops_the_deployment_with_host_and_reason(run: Any, fresh: Trial):
    fresh.switch(f"fail-{NODES[1]}")
    done = run("deploy.stage", "control")
    sentence = (
        f"{NODES[1]}: state trial-app-switch (test.fail_without_changes) failed:"
        " the disk of this host is full."
    )
    assert done.returncode == 1
    assert done.data["failures"] == [sentence]
    assert done.data["comment"] == f"Stage control failed: {sentence}"


def test_a_refusing_form_stops_the_stage(call: Any, fresh: Trial):
    fresh.switch("refuse-form")
    failed = call("deploy.stage", name="infrastructure")
    assert failed["failures"] == ["trial.form: two members have different data"]
    assert failed["retcode"] == 1


def test_a_failed_health_check_stops_the_stage(call: Any, fresh: Trial):
    assert call("deploy.stage", name="foundation")["result"] is True
    path = fresh.work / NODES[0] / "base"
    path.chmod(0o600)
    failed = call("deploy.validate", name="foundation")
    assert failed["retcode"] == 1
    assert failed["failures"] == [f"{NODES[0]}: trial.base: {path} has mode 0600, not 0644."]
    # and applying the stage cures it
    assert call("deploy.stage", name="foundation")["counts"] == {NODES[0]: 1, NODES[1]: 0}


def test_a_silent_minion_stops_the_stage_by_name(
    call: Any, fresh: Trial, minions: Any, monkeypatch: pytest.MonkeyPatch
):
    # as long as the suite waits for a busy host, this test need not
    monkeypatch.setattr(preflight, "PING_TIMEOUT", 10)
    monkeypatch.setattr(stage_run, "ASK_AFTER", 10)
    monkeypatch.setattr(salt_bus, "PROBES", 1)
    gone = minions[NODES[1]]
    gone.terminate()
    try:
        refused = call("deploy.preflight")
        assert refused["retcode"] == 2
        assert f"{NODES[1]}: did not answer test.ping within" in refused["comment"]

        failed = call("deploy.stage", name="infrastructure")
        assert failed["retcode"] == 1
        assert failed["failures"][0].startswith(f"{NODES[1]}: did not answer")
        assert NODES[0] not in " ".join(failed["failures"])
        assert written(fresh) == set()
    finally:
        gone.start()


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"name": "fundament"}, "there is no stage 'fundament'"),
        ({"name": "control", "cluster": "nowhere"}, "cluster nowhere has no deployed revision"),
    ],
)
def test_what_is_not_there_is_refused(call: Any, kwargs: dict[str, str], sentence: str):
    refused = call("deploy.stage", **kwargs)
    assert refused["retcode"] == 2
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
    assert [stage["name"] for stage in data["stages"]] == list(STAGES)


def test_a_recovery_says_what_there_is_none_of(run: Any):
    done = run("state.orch", "recover", "test=True")
    assert done.returncode == 1
    states = steps(done)
    # the trial cluster has no database; a preview goes on nevertheless
    assert states.pop("galera.recover")["result"] is False
    assert list(states) == list(STAGES[1:-1])
    assert all(state["result"] is True for state in states.values())
    done = run("state.orch", "recover")
    assert done.returncode == 1
    assert "no node carries the role galera.server" in steps(done)["galera.recover"]["comment"]
    assert list(steps(done)) == ["galera.recover"]
