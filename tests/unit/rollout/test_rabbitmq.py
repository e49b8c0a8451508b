"""Whether RabbitMQ members are one cluster, and who may restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from saltern.errors import GateError
from saltern.rollout.ports import Call, Return
from saltern.rollout.rabbitmq import WAITS, Member, converge, decide
from saltern.rollout.returns import silent
from tests.unit.rollout.fakes import FakeBus

NODES = ["inf01", "inf02", "inf03"]
ALL = frozenset(f"rabbit@{node}" for node in NODES)


def up(node: str, **more: Any) -> Member:
    return replace(Member(node, True, ALL, ALL), **more)


def of(*members: Member, **silent_ones: None) -> dict[str, Member | None]:
    return {**{member.node: member for member in members}, **silent_ones}


@pytest.mark.parametrize(
    ("facts", "kind", "word"),
    [
        pytest.param({}, "refuse", "No node", id="nobody"),
        pytest.param(of(up("inf01"), inf02=None), "refuse", "inf02 did not answer", id="silent"),
        pytest.param(
            of(up("inf01"), Member("inf02", False)), "wait", "not up on inf02", id="one is down"
        ),
        pytest.param(
            of(
                *(
                    up(
                        n,
                        members=frozenset({f"rabbit@{n}"}),
                        running=frozenset({f"rabbit@{n}"}),
                    )
                    for n in NODES
                )
            ),
            "refuse",
            "more than one cluster",
            id="everybody alone",
        ),
        pytest.param(
            of(
                up("inf01", members=ALL - {"rabbit@inf03"}, running=ALL - {"rabbit@inf03"}),
                up("inf02"),
                up("inf03"),
            ),
            "wait",
            "sees 2 running of 2 members where there should be 3",
            id="one is just joining",
        ),
        pytest.param(
            of(up("inf01", running=ALL - {"rabbit@inf03"}), up("inf02"), up("inf03")),
            "wait",
            "2 running of 3",
            id="one is not running",
        ),
        pytest.param(
            of(up("inf01", partitioned=True), up("inf02"), up("inf03")),
            "wait",
            "partitioned",
            id="partition",
        ),
        pytest.param(
            of(up("inf01"), up("inf02", stale=True), up("inf03", stale=True)),
            "restart",
            "Restart inf02",
            id="stale",
        ),
        pytest.param(of(*map(up, NODES)), "done", "3 of 3 members", id="well"),
    ],
)
def test_the_next_step(facts: dict[str, Member | None], kind: str, word: str) -> None:
    step = decide(facts)
    assert step.kind == kind
    assert word in step.sentence
    assert step.sentence.endswith(".")


class Cluster:
    """Members that become current when they are restarted."""

    def __init__(self, stale: Sequence[str] = (), silent: Sequence[str] = ()) -> None:
        self.stale, self.silent = set(stale), set(silent)
        self.restarted: list[str] = []
        self.answers: dict[str, Any] = {}

    def answer(self, node: str, call: Call) -> Return:
        if node in self.silent:
            return silent(node, "did not answer")
        if call.fun == "rabbitmq_cluster.restart":
            self.restarted.append(node)
            if node in self.answers:
                return Return(node, False, None, 1, sentence=self.answers[node])
            self.stale.discard(node)
            return Return(node, True, "Restarted.")
        assert call.fun == "rabbitmq_cluster.facts"
        data = {
            "up": True,
            "members": sorted(ALL),
            "running": sorted(ALL),
            "partitions": {},
            "stale": ["/etc/rabbitmq/rabbitmq.conf"] if node in self.stale else [],
        }
        return Return(node, True, self.answers.get(f"facts {node}", data))


def run(cluster: Cluster, **options: Any) -> dict[str, Any]:
    return converge(FakeBus(cluster.answer), NODES, sleep=lambda _: None, **options)


def test_a_whole_cluster_is_left_alone() -> None:
    cluster = Cluster()
    assert run(cluster) == {
        "result": True,
        "comment": "3 of 3 members run in one cluster.",
        "changes": {},
    }
    assert cluster.restarted == []


def test_stale_members_restart_one_after_the_other() -> None:
    cluster = Cluster(stale=NODES)
    assert run(cluster)["changes"] == dict.fromkeys(NODES, "restarted")
    assert cluster.restarted == NODES


def test_a_preview_restarts_nobody() -> None:
    cluster = Cluster(stale=["inf02"])
    ret = run(cluster, test=True)
    assert (ret["result"], ret["changes"]) == (None, {"inf02": "would be restarted"})
    assert cluster.restarted == []


def test_a_member_that_cannot_be_spared_ends_the_run() -> None:
    cluster = Cluster(stale=NODES)
    cluster.answers["inf01"] = "inf01: quorum would be lost."
    ret = run(cluster)
    assert ret["result"] is False
    assert "quorum would be lost" in ret["comment"]
    assert cluster.restarted == ["inf01"]


def test_a_silent_member_stops_everything() -> None:
    cluster = Cluster(stale=["inf01"], silent=["inf03"])
    assert run(cluster)["result"] is False
    assert cluster.restarted == []


def test_members_that_never_come_up_are_not_waited_for_for_ever() -> None:
    cluster = Cluster()
    down = {"up": False, "members": [], "running": [], "partitions": {}, "stale": []}
    cluster.answers["facts inf02"] = down
    bus = FakeBus(cluster.answer)
    naps: list[float] = []
    ret = converge(bus, NODES, sleep=naps.append)
    assert (ret["result"], len(naps)) == (False, WAITS)
    assert "not up on inf02" in ret["comment"]


def test_what_is_no_facts_is_refused() -> None:
    cluster = Cluster()
    cluster.answers["facts inf02"] = "Passed invalid arguments"
    with pytest.raises(GateError, match="inf02"):
        run(cluster)
