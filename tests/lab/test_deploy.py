"""From nothing to a cluster with one command, and nothing to do the second time."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually

GIB = 1024**3


def test_the_cost_is_told(cluster: Cluster) -> None:
    """Time and the lab's peak memory, printed at the end; the limits are promises."""
    if not cluster.deploy_output:
        pytest.skip("the lab was up before (SALTERN_KEEP_LAB)")
    record = json.loads((cluster.provider.directory / "deploy.json").read_text())
    assert record["code"] == 0
    assert f"{record['peak_bytes'] / GIB:.2f} GiB" in cluster.deploy_output
    assert 0 < record["peak_bytes"] <= 8 * GIB
    assert 0 < record["seconds"] <= 15 * 60


def test_every_minion_answers(cluster: Cluster) -> None:
    answers = cluster.salt("test.ping")
    assert set(answers) == {f"{name}.{cluster.name}.test" for name in cluster.hosts}
    assert set(answers.values()) == {True}


def test_keys_are_seeded_never_accepted_blindly(cluster: Cluster) -> None:
    keys = json.loads(cluster.run(cluster.master, "salt-key", "--list=all", "--out=json").stdout)
    assert set(keys["minions"]) == {f"{name}.{cluster.name}.test" for name in cluster.hosts}
    assert not [key for kind, names in keys.items() if kind != "minions" for key in names]
    asked = ["salt-run", "--out=json", "salt.cmd", "config.get", "auto_accept"]
    assert cluster.run(cluster.master, *asked).stdout.strip().endswith("false")


def changes(result: dict[str, Any]) -> dict[str, Any]:
    return {key: state["changes"] for key, state in result.items() if state["changes"]}


def test_a_second_deployment_changes_nothing(cluster: Cluster) -> None:
    states = cluster.orchestrate("deploy")
    assert not {key for key, state in states.items() if state["result"] is not True}
    assert not changes(states)


PID = "/run/interrupted-deploy.pid"


def test_an_interrupted_deployment_is_gone_on_with(cluster: Cluster) -> None:
    """The runner is killed while the control plane is applied; the same command ends it."""
    script = f"echo $$ > {PID}; exec salt-run --out=json state.orch deploy"
    command = cluster.provider.command(cluster.master, ["sh", "-c", script])
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as runner:

        def in_control() -> bool:
            assert runner.poll() is None, "the deployment ended"
            _, told, _ = cluster.salt_run("rollout.status", "data=True")
            stages = told["stages"] if told["workflow"] == "deploy" else ()
            return any(s["phase"] == "control" and s["state"] == "running" for s in stages)

        assert eventually(in_control, 240)
        cluster.run(cluster.master, "sh", "-c", f"kill -9 $(cat {PID}) && rm {PID}")
        runner.wait()
    _, before, _ = cluster.salt_run("rollout.status", "data=True")
    assert before["state"] == "running"
    states = cluster.orchestrate("deploy")
    assert not {key for key, state in states.items() if state["result"] is not True}
    assert not changes(states)
    comments = {state["name"]: state["comment"] for state in states.values()}
    assert f"Rollout {before['rollout']} of plan " in comments["deploy"]
    assert comments["infrastructure"].endswith("That was before.")
    _, after, _ = cluster.salt_run("rollout.status", before["rollout"], "data=True")
    assert after["state"] == "done"
    assert after["steps"]["done"] == after["steps"]["all"]


def test_no_minion_finds_anything_to_do(cluster: Cluster) -> None:
    """The same, asked of the minions themselves."""
    for minion, result in cluster.salt("state.apply", "test=True").items():
        assert isinstance(result, dict), (minion, result)
        assert not {key for key, state in result.items() if state["result"] is not True}, minion
        assert not changes(result), minion


def test_hosts_have_no_way_out(cluster: Cluster) -> None:
    for host in cluster.hosts:
        assert cluster.run(host, "ip", "route", "show", "default").stdout == ""
