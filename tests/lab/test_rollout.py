"""One setting of Keystone, rolled through the controllers while tokens are asked for, and back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.test_refusals import appended
from tests.support.cluster import Cluster, eventually

CONTROL = "classes/cluster/demo-core/control.yml"
CONF = "/etc/keystone/keystone.conf"
SETTING = "parameters:\n  keystone:\n    server:\n      config:\n        {}\n"
LONGER = SETTING.format("token: {expiration: 7200}")
#: Keystone does not start with it
BROKEN = SETTING.format("token: {provider: nowhere}")
ROLE = "keystone.server"


def controllers(cluster: Cluster) -> list[str]:
    return [f"{name}.{cluster.name}.test" for name in cluster.named("ctl")]


def planned(cluster: Cluster, *words: str) -> dict[str, Any]:
    """Plan the change of the tree as it lies on the master; return hash and plan."""
    code, data, printed = cluster.salt_run(
        "rollout.plan", "change", "revision=worktree", "data=True", *words
    )
    assert code == 0, printed[-4000:]
    return dict(data)


def configured(cluster: Cluster, text: str) -> list[str]:
    """Controllers whose keystone.conf has a text."""
    found = []
    for name in cluster.named("ctl"):
        if text in cluster.run(name, "cat", CONF).stdout:
            found.append(name)
    return found


def deployed(cluster: Cluster) -> str:
    code, data, printed = cluster.salt_run("model.status")
    assert code == 0, printed
    return json.dumps(data)


def pins(cluster: Cluster) -> list[str]:
    code, data, printed = cluster.salt_run("model.pins")
    assert code == 0, printed
    return sorted(data or {})


@pytest.fixture(autouse=True)
def nothing_under_way(cluster: Cluster) -> Iterator[None]:
    """A test that fails in the middle of a rollout leaves none in the way of the next one."""
    yield
    cluster.salt_run("rollout.abort")


def test_a_plan_names_exactly_the_nodes_and_restarts(cluster: Cluster) -> None:
    with appended(cluster, CONTROL, LONGER):
        found = planned(cluster)
        code, _, table = cluster.salt_run("rollout.plan", "change", "revision=worktree")
    plan = found["plan"]
    touched = [stage for stage in plan["stages"] if any(wave["nodes"] for wave in stage["waves"])]
    assert [stage["roles"] for stage in touched] == [[ROLE]]
    waves = [wave["nodes"] for wave in touched[0]["waves"]]
    assert sorted(map(tuple, waves)) == [(node,) for node in controllers(cluster)]
    assert touched[0]["restarts"] == {n: ["restart keystone-api"] for n in controllers(cluster)}
    kinds = [step["kind"] for step in touched[0]["waves"][0]["steps"]]
    assert kinds == ["gate", "drain", "pin", "apply", "verify", "release"]
    assert code == 0
    assert "keystone" in table


def test_a_plan_is_refused_once_the_model_has_moved(cluster: Cluster) -> None:
    with appended(cluster, CONTROL, LONGER):
        found = planned(cluster)
    with appended(cluster, CONTROL, SETTING.format("token: {expiration: 1800}")):
        code, data, printed = cluster.salt_run("rollout.apply", found["hash"])
    assert code == 2, printed[-3000:]
    assert "rollout.plan" in data["comment"]
    assert configured(cluster, "expiration = 1800") == []


def test_a_change_rolls_one_by_one_without_a_failed_request(cluster: Cluster) -> None:
    first, *rest = cluster.named("ctl")
    before = deployed(cluster)
    with appended(cluster, CONTROL, LONGER):
        plan = planned(cluster)
        waves = [w["nodes"] for s in plan["plan"]["stages"] for w in s["waves"] if w["nodes"]]
        canary = waves[0][0].split(".")[0]
        others = [name for name in (first, *rest) if name != canary]
        answer: list[tuple[int, Any, str]] = []
        applying = threading.Thread(
            target=lambda: answer.append(cluster.salt_run("rollout.apply", plan["hash"]))
        )
        applying.start()

        # before its first wave it would pause at once; within it, it stops after it
        assert eventually(lambda: pins(cluster) != [], 60)
        code, _, printed = cluster.salt_run("rollout.pause")
        assert code == 0, printed
        applying.join()
        code, data, printed = answer[0]
        assert code == 3, printed[-4000:]
        assert configured(cluster, "expiration = 7200") == [canary]

        # whoever was not reached keeps what it has, whatever is applied there
        for name in others:
            done = cluster.run(
                cluster.master, "salt", "--out=json", f"{name}*", "state.apply", check=False
            )
            assert done.returncode == 0, done.stdout[-3000:]
        assert configured(cluster, "expiration = 7200") == [canary]

        code, data, printed = cluster.salt_run("rollout.resume")
        assert code == 0, printed[-4000:]
        assert data["state"] == "done"
    assert configured(cluster, "expiration = 7200") == [first, *rest]
    assert pins(cluster) == []
    probes = {probe["name"]: probe for probe in data["probes"]}
    assert probes
    for name, probe in probes.items():
        # in the shortest rollout on a busy machine; a token takes a second there
        assert probe["requests"] > 50, (name, probe)
        assert probe["failed"] == 0, (name, probe)

    code, back, printed = cluster.salt_run("rollout.rollback", data["rollout"])
    assert code == 0, printed[-4000:]
    assert configured(cluster, "expiration = 7200") == []
    assert pins(cluster) == []
    assert deployed(cluster) == before
    for probe in back["probes"]:
        assert probe["failed"] == 0, probe


def test_a_bad_setting_stops_at_the_canary(cluster: Cluster) -> None:
    with appended(cluster, CONTROL, BROKEN):
        plan = planned(cluster)
        code, data, printed = cluster.salt_run("rollout.apply", plan["hash"])
    assert code == 1, printed[-4000:]
    hit = configured(cluster, "provider = nowhere")
    assert len(hit) == 1
    assert hit[0] in data["comment"]
    assert pins(cluster) == [f"{hit[0]}.{cluster.name}.test"]
    code, leases, printed = cluster.salt_run("lease.list", "data=True")
    assert code == 0, printed
    assert leases == []

    code, _, printed = cluster.salt_run("rollout.rollback", data["rollout"])
    assert code == 0, printed[-4000:]
    assert configured(cluster, "provider = nowhere") == []
    assert pins(cluster) == []
    # what the host said before it was undone: its log stays there, the rest is in the report
    code, told, printed = cluster.salt_run("rollout.report", data["rollout"], "format=json")
    assert code == 0, printed
    text = told["evidence"][f"{hit[0]}.{cluster.name}.test"]
    assert "keystone-api: " in text
    assert f"\n{CONF} " in text
    log = f"/var/lib/saltern/evidence/{data['rollout']}/keystone-api.log"
    assert cluster.run(hit[0], "stat", "-c", "%U %a", log).stdout.split() == ["root", "600"]
    assert cluster.run(hit[0], "test", "-s", log, check=False).returncode == 0
    code, _, printed = cluster.salt_run("sanity.run", f"cluster={cluster.name}")
    assert code == 0, printed[-3000:]


def began(cluster: Cluster, *of: str) -> dict[str, str]:
    """Since when something of each controller runs, as systemd says it."""
    names = cluster.named("ctl")
    return {name: cluster.run(name, "systemctl", "show", "--value", *of).stdout for name in names}


def test_a_service_is_restarted_one_by_one_without_a_failed_request(cluster: Cluster) -> None:
    started = ("-p", "ActiveEnterTimestampMonotonic", "keystone-api")
    before = began(cluster, *started)
    code, found, printed = cluster.salt_run("rollout.plan", "restart", f"roles={ROLE}", "data=True")
    assert code == 0, printed[-4000:]
    waves = [wave["nodes"] for stage in found["plan"]["stages"] for wave in stage["waves"]]
    assert sorted(map(tuple, waves)) == [(node,) for node in controllers(cluster)]
    code, data, printed = cluster.salt_run("rollout.apply", found["hash"])
    assert code == 0, printed[-4000:]
    after = began(cluster, *started)
    assert all(after[name] != before[name] for name in before)
    for probe in data["probes"]:
        assert (probe["failed"], probe["requests"] > 0) == (0, True), probe
    assert pins(cluster) == []


@pytest.mark.full
def test_a_host_is_restarted_by_plan_and_serves_again(cluster: Cluster) -> None:
    last = cluster.named("ctl")[-1]
    booted = ("-p", "UserspaceTimestampMonotonic")
    before = began(cluster, *booted)
    code, found, printed = cluster.salt_run("rollout.plan", "reboot", f"nodes={last}", "data=True")
    assert code == 0, printed[-4000:]
    code, data, printed = cluster.salt_run("rollout.apply", found["hash"])
    assert code == 0, printed[-4000:]
    after = began(cluster, *booted)
    assert {name for name in before if after[name] != before[name]} == {last}
    for probe in data["probes"]:
        assert (probe["failed"], probe["requests"] > 0) == (0, True), probe
    code, _, printed = cluster.salt_run("sanity.run", f"cluster={cluster.name}")
    assert code == 0, printed[-3000:]


@pytest.mark.full
def test_a_restart_of_the_master_does_not_end_a_rollout(cluster: Cluster) -> None:
    with appended(cluster, CONTROL, LONGER):
        plan = planned(cluster)
        answer: list[tuple[int, Any, str]] = []
        applying = threading.Thread(
            target=lambda: answer.append(cluster.salt_run("rollout.apply", plan["hash"]))
        )
        applying.start()
        assert eventually(lambda: len(configured(cluster, "expiration = 7200")) > 0, 120)
        # the runner, by the process that the journal names as the one who works on it
        code, data, printed = cluster.salt_run("rollout.history", "data=True")
        assert code == 0, printed
        runner = data["rollouts"][0]["owner"].partition("@")[0]
        cluster.run(cluster.master, "systemctl", "kill", "-s", "KILL", "salt-master")
        cluster.run(cluster.master, "kill", "-KILL", runner)
        applying.join()
        cluster.run(cluster.master, "systemctl", "restart", "salt-master")
        assert eventually(lambda: len(configured(cluster, "expiration = 7200")) == 3, 300)
        code, data, printed = cluster.salt_run("rollout.history", "data=True")
        assert code == 0, printed
        assert data["rollouts"][0]["state"] == "done"
    code, _, printed = cluster.salt_run("rollout.rollback", data["rollouts"][0]["id"])
    assert code == 0, printed[-4000:]
