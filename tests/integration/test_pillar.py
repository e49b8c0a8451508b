"""The model on the bus: whole pillars for known nodes, none for others."""

from __future__ import annotations

from typing import Any

from saltern.adapters.salt_bus import SaltBus

from .conftest import CLUSTER, NODES


def test_a_node_gets_its_pillar_with_the_sentinel(master: Any, minions: Any):
    del minions
    bus = SaltBus(master.config)
    answers = bus.call(NODES, "pillar.raw", ["__reclass__"])
    for node, answer in answers.items():
        assert answer.data["nodename"] == node
        assert answer.data["applications"] == ["trial.base", "trial.store", "trial.app"]
    topology = bus.call(NODES[:1], "pillar.raw", ["topology"])[NODES[0]].data
    assert topology["cluster"] == CLUSTER
    assert topology["roles"]["trial.store"] == list(NODES)


def test_secrets_are_masked_where_operators_look(master: Any, minions: Any):
    del minions
    answer = SaltBus(master.config).call(NODES[:1], "pillar.get", ["trial:app:password"])
    assert answer[NODES[0]].data == "**********"


def test_a_node_without_entry_in_the_model_is_refused(master: Any, stranger: Any):
    node = stranger.id
    bus = SaltBus(master.config)
    assert bus.call([node], "pillar.raw", ["trial"])[node].data in (None, {}, "")
    refused = bus.call([node], "state.apply", ["trial.base"])[node]
    assert not refused.ok
    assert f"node {node} has no entry in the model" in refused.sentence
