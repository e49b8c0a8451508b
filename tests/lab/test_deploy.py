"""From nothing to a cluster with one command, and nothing to do the second time."""

from __future__ import annotations

import re
from typing import Any

from tests.support.cluster import Cluster


def test_the_cost_is_printed(cluster: Cluster) -> None:
    """Time and the lab's peak memory; the limit on memory is a promise."""
    peak = re.search(r"(\d+(?:\.\d+)?) ?GiB", cluster.deploy_output)
    assert peak, cluster.deploy_output[-2000:]
    assert float(peak[1]) <= 8
    assert re.search(r"\d+ ?(min|s)\b", cluster.deploy_output)


def test_every_minion_answers(cluster: Cluster) -> None:
    answers = cluster.salt("test.ping")
    assert set(answers) == {f"{name}.{cluster.name}.test" for name in cluster.hosts}
    assert set(answers.values()) == {True}


def test_keys_are_seeded_never_accepted_blindly(cluster: Cluster) -> None:
    code, keys, _ = cluster.salt_run("salt.cmd", "config.get", "auto_accept")
    assert code == 0
    assert keys is False
    listed = cluster.run(cluster.master, "salt-key", "--list=all", "--out=json").stdout
    assert '"minions_pre": []' in listed
    assert '"minions_rejected": []' in listed


def changes(result: dict[str, Any]) -> dict[str, Any]:
    return {key: state["changes"] for key, state in result.items() if state["changes"]}


def test_a_second_deployment_changes_nothing(cluster: Cluster) -> None:
    code, data, printed = cluster.salt_run("state.orch", "deploy")
    assert code == 0, printed[-4000:]
    (states,) = data["data"].values() if "data" in data else data.values()
    assert not {key for key, state in states.items() if state["result"] is not True}
    assert not changes(states)


def test_no_minion_finds_anything_to_do(cluster: Cluster) -> None:
    """The same, asked of the minions themselves."""
    for minion, result in cluster.salt("state.apply", "test=True").items():
        assert isinstance(result, dict), (minion, result)
        assert not {key for key, state in result.items() if state["result"] is not True}, minion
        assert not changes(result), minion


def test_hosts_have_no_way_out(cluster: Cluster) -> None:
    for host in cluster.hosts:
        assert cluster.run(host, "ip", "route", "show", "default").stdout == ""
