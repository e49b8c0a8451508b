"""The stages of a small cluster on real daemons: deploy, again, preview, and what goes wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import CLUSTER, NODES, Trial

STAGES = ("foundation", "infrastructure", "control", "resources")


def stage(run: Any, name: str, *args: str) -> dict[str, Any]:
    """Run one stage; the return with its exit code."""
    done = run("deploy.stage", name, *args)
    assert isinstance(done.data, dict), done
    assert done.data["retcode"] == done.returncode
    return done.data


def written(trial: Trial) -> set[str]:
    return {str(path.relative_to(trial.work)) for path in trial.work.rglob("*") if path.is_file()}


ALL_FILES = {f"{node}/{name}" for node in NODES for name in ("base", "store", "app")} | {"formed"}


def test_a_cluster_is_deployed_and_a_second_run_changes_nothing(run: Any, fresh: Trial):
    first = stage(run, "foundation")
    assert first["result"] is True, first
    assert first["counts"] == dict.fromkeys(NODES, 1)
    assert first["changes"] == {node: ["trial-base-file (file.managed)"] for node in NODES}

    stores = stage(run, "infrastructure")
    assert stores["result"] is True, stores
    assert stores["changes"]["formed"] == {"trial.store": {"members": 2}}
    assert json.loads((fresh.work / "formed").read_text()) == {
        "cluster": CLUSTER,
        "nodes": list(NODES),
    }

    control = stage(run, "control")
    assert control["result"] is True, control
    assert "4 health checks are content" in control["comment"]
    assert written(fresh) == ALL_FILES

    for name in STAGES:
        again = stage(run, name)
        assert again["result"] is True, again
        assert again["changes"] == {}
        assert not any(again["counts"].values())


def test_test_mode_predicts_and_touches_nothing(run: Any, fresh: Trial):
    for name in ("foundation", "infrastructure"):
        preview = stage(run, name, "test=True")
        assert preview["result"] is None, preview
        assert preview["counts"] == dict.fromkeys(NODES, 1)
    assert preview["changes"]["formed"] == {"trial.store": {"members": 2}}
    assert written(fresh) == set()


def test_a_failed_state_stops_the_stage_with_host_and_reason(run: Any, fresh: Trial):
    fresh.switch(f"fail-{NODES[1]}")
    failed = stage(run, "control")
    assert failed["result"] is False
    assert failed["retcode"] == 1
    assert failed["failures"] == [
        f"{NODES[1]}: state trial-app-switch (test.fail_without_changes) failed:"
        " the disk of this host is full."
    ]


def test_a_refusing_form_stops_the_stage(run: Any, fresh: Trial):
    fresh.switch("refuse-form")
    failed = stage(run, "infrastructure")
    assert failed["failures"] == ["trial.form: two members have different data"]
    assert failed["retcode"] == 1


def test_a_failed_health_check_stops_the_stage(run: Any, fresh: Trial):
    assert stage(run, "foundation")["result"] is True
    (fresh.work / NODES[0] / "base").chmod(0o600)
    failed = run("deploy.validate", "foundation")
    assert failed.returncode == 1
    assert failed.data["failures"] == [
        f"{NODES[0]}: trial.base: {fresh.work}/{NODES[0]}/base has mode 0600, not 0644."
    ]


def test_a_silent_minion_stops_the_stage_by_name(run: Any, fresh: Trial, minions: Any):
    gone = minions[NODES[1]]
    gone.terminate()
    try:
        refused = run("deploy.stage", "preflight")
        assert refused.returncode == 2
        assert f"{NODES[1]}: did not answer test.ping within" in refused.data["comment"]

        failed = stage(run, "infrastructure")
        assert failed["retcode"] == 1
        assert failed["failures"][0].startswith(f"{NODES[1]}: did not answer")
        assert NODES[0] not in " ".join(failed["failures"])
        assert written(fresh) == set()
    finally:
        gone.start()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["fundament"], "there is no stage 'fundament'"),
        (["control", "cluster=nowhere"], "no node belongs to cluster nowhere"),
    ],
)
def test_what_is_not_there_is_refused(run: Any, args: list[str], sentence: str):
    refused = stage(run, *args)
    assert refused["retcode"] == 2
    assert sentence in refused["comment"]


def test_a_model_that_does_not_compile_is_refused_before_any_minion_is_asked(
    run: Any, trial: Trial, master: Any
):
    broken = trial.model / "classes/service/trial/app.yml"
    text = broken.read_text()
    broken.write_text(text.replace("classes:", "").replace("${_param:port}", "${_param:prot}"))
    try:
        with_listener = master.event_listener
        del with_listener
        refused = run("deploy.stage", "foundation")
    finally:
        broken.write_text(text)
    assert refused.returncode == 2
    assert "_param:prot" in refused.data["comment"]
    assert "classes/service/trial/app.yml" in refused.data["comment"]


def test_the_plan_is_shown(run: Any):
    shown = run("deploy.plan").stdout
    for text in ("foundation", "trial.store: trial.form", "app01", "sanity.run"):
        assert text in shown
    data = run("deploy.plan", "data=True").data["plan"]
    assert data["cluster"] == CLUSTER
    assert [s["name"] for s in data["stages"]] == ["preflight", *STAGES, "sanity"]


def test_preflight_finds_the_hosts_fit_or_says_why_not(run: Any, fresh: Trial):
    done = run("deploy.preflight")
    assert done.returncode in (0, 2)
    assert (done.returncode == 0) is (done.data["findings"] == [])
    assert written(fresh) == set()
