"""The runner functions of Galera and RabbitMQ: arguments in, exit codes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from saltern.adapters import members
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import silent
from saltern.runners import galera, rabbitmq
from tests.unit.rollout.fakes import FakeBus

NODES = ["inf01", "inf02", "inf03"]
U = "6b2c4c1e-0000-11f0-8000-000000000001"
STOPPED = {
    "data": True,
    "grastate": {"uuid": U, "seqno": -1, "safe_to_bootstrap": 0},
    "transfer": False,
    "running": False,
    "wsrep": None,
    "recovered": None,
    "stale": [],
}


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, Call], Return]], FakeBus]:
    def install(answer: Callable[[str, Call], Return]) -> FakeBus:
        bus = FakeBus(answer)
        for module in (galera, rabbitmq):
            monkeypatch.setattr(module, "SaltBus", lambda opts: bus)
            monkeypatch.setattr(module, "__opts__", {}, raising=False)
            monkeypatch.setattr(module, "__context__", {}, raising=False)
            told = {"event.send": lambda tag, data: True}
            monkeypatch.setattr(module, "__salt__", told, raising=False)
        monkeypatch.setattr(members, "load_members", lambda source, cluster, role: NODES)
        return bus

    return install


def facts(data: Any) -> Callable[[str, Call], Return]:
    def answer(node: str, call: Call) -> Return:
        assert call.fun.endswith(".facts")
        return Return(node, True, data)

    return answer


def test_form_refuses_over_data_with_exit_code_2(bus: Callable[..., FakeBus]) -> None:
    asked = bus(facts(STOPPED))
    ret = galera.form(cluster="demo", nodes=NODES)
    assert (ret["result"], ret["retcode"], ret["changes"]) == (False, 2, {})
    assert "galera.recover" in ret["comment"]
    assert galera.__context__["retcode"] == 2
    assert asked.published[0][0].nodes == tuple(NODES)


def test_the_members_come_from_the_model(bus: Callable[..., FakeBus]) -> None:
    asked = bus(facts(STOPPED))
    galera.form(cluster="demo")
    assert asked.published[0][0].nodes == tuple(NODES)


@pytest.mark.parametrize("nodes", ["inf02,inf03", " inf02 , inf03,", ["inf02", "inf03"]])
def test_members_that_are_named_are_those(
    bus: Callable[..., FakeBus], nodes: str | list[str]
) -> None:
    asked = bus(facts({"up": True, "members": [], "running": [], "partitions": {}, "stale": []}))
    rabbitmq.form(cluster="demo", nodes=nodes, test=True)
    assert asked.published[0][0].nodes == ("inf02", "inf03")


def test_nobody_is_asked_when_no_cluster_is_meant(bus: Callable[..., FakeBus]) -> None:
    asked = bus(facts(STOPPED))
    ret = galera.form()
    assert (ret["result"], asked.published) == (False, [])
    assert "cluster" in ret["comment"]


def test_recover_takes_lists_as_text(bus: Callable[..., FakeBus]) -> None:
    def answer(node: str, call: Call) -> Return:
        return silent(node, "is away") if node == "inf03" else Return(node, True, STOPPED)

    bus(answer)
    assert galera.recover(cluster="demo", test=True)["retcode"] == 2
    ret = galera.recover(cluster="demo", without="inf03", test=True)
    assert ret["result"] is None
    assert sorted(ret["changes"]) == ["inf01", "inf02"]
    ret = galera.recover(cluster="demo", without="inf03, inf02", test=True)
    assert "inf02 answers" in ret["comment"]


def test_status_is_not_well_unless_all_is(bus: Callable[..., FakeBus]) -> None:
    bus(lambda node, call: silent(node, "is away"))
    ret = galera.status(cluster="demo")
    assert (ret["result"], ret["retcode"]) == (False, 1)
    assert ret["members"] == {node: {"state": "silent"} for node in NODES}
    assert "inf01: is away." in ret["comment"]


def test_facts_that_are_none_are_a_sentence(bus: Callable[..., FakeBus]) -> None:
    bus(facts("Traceback …"))
    ret = galera.form(cluster="demo")
    assert (ret["result"], ret["code"]) == (False, "gate")
    assert "saltutil.sync_modules" in ret["comment"]


def test_rabbitmq_form(bus: Callable[..., FakeBus]) -> None:
    names = [f"rabbit@{node}" for node in NODES]
    bus(facts({"up": True, "members": names, "running": names, "partitions": {}, "stale": []}))
    assert rabbitmq.form(cluster="demo") == {
        "result": True,
        "comment": "3 of 3 members run in one cluster.",
        "changes": {},
    }
    bus(lambda node, call: silent(node, "is away"))
    assert rabbitmq.form(cluster="demo", nodes=NODES)["retcode"] == 1
