"""The bus against real daemons: an answer for every node that was asked."""

from __future__ import annotations

import time
from typing import Any

import pytest

from saltern.adapters.salt_bus import SaltBus
from saltern.rollout.ports import Call

from .conftest import NODES


@pytest.fixture
def bus(master: Any, minions: Any) -> SaltBus:
    del minions
    return SaltBus(master.config)


def test_every_node_answers(bus: SaltBus):
    returns = bus.call(NODES, "test.ping")
    assert list(returns) == list(NODES)
    assert all(r.ok and r.data is True and r.jid and not r.silent for r in returns.values())


def test_arguments_arrive(bus: SaltBus):
    returns = bus.call(NODES[:1], "test.arg", ["a", {"b": 1}], {"c": [2], "d": "e"})
    assert returns[NODES[0]].data["args"] == ["a", {"b": 1}]
    assert returns[NODES[0]].data["kwargs"]["c"] == [2]


def test_a_node_without_key_is_named_at_once(bus: SaltBus):
    begin = time.monotonic()
    returns = bus.call([NODES[0], "ghost.trial.test"], "test.ping")
    assert returns[NODES[0]].ok
    ghost = returns["ghost.trial.test"]
    assert ghost.silent
    assert ghost.sentence == "ghost.trial.test: has no accepted key on this master."
    assert time.monotonic() - begin < 15


def test_only_nodes_without_key(bus: SaltBus):
    assert bus.call(["ghost.trial.test"], "test.ping")["ghost.trial.test"].silent


def test_nobody_asked_nothing_published(bus: SaltBus):
    assert bus.call([], "test.ping") == {}


@pytest.mark.parametrize(
    ("fun", "arg", "sentence"),
    [
        ("no.such", [], "app01.trial.test: 'no.such' is not available."),
        ("test.exception", ["it broke"], "it broke"),
        ("test.retcode", [3], "app01.trial.test: returned code 3."),
    ],
)
def test_a_function_that_fails(bus: SaltBus, fun, arg, sentence):
    answer = bus.call(NODES[:1], fun, arg)[NODES[0]]
    assert not answer.ok
    assert not answer.silent
    assert sentence in answer.sentence


def test_a_node_that_still_works_is_waited_for(bus: SaltBus):
    returns = bus.call(NODES[:1], "test.sleep", [12], timeout=2)
    assert returns[NODES[0]].ok, returns


def test_a_node_that_works_too_long_fails(bus: SaltBus):
    begin = time.monotonic()
    (returns,) = bus.call_all([Call(NODES[:1], "test.sleep", (20,), timeout=60, limit=3)])
    assert returns[NODES[0]].sentence == "app01.trial.test: still works on test.sleep after 3 s."
    assert time.monotonic() - begin < 15


def test_calls_are_published_together(bus: SaltBus):
    begin = time.monotonic()
    calls = [Call((node,), "test.sleep", (6,)) for node in NODES]
    first, second = bus.call_all(calls)
    assert first[NODES[0]].ok
    assert second[NODES[1]].ok
    # one after another would take 12 s and more
    assert time.monotonic() - begin < 11


def test_a_failed_state_is_named(bus: SaltBus):
    answer = bus.call(
        NODES[:1], "state.single", ["test.fail_without_changes"], {"name": "x", "comment": "why"}
    )[NODES[0]]
    assert answer.sentence == ("app01.trial.test: state x (test.fail_without_changes) failed: why.")
