"""Whether members of OVN's control plane begin, join, or must not be touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from saltern.errors import GateError
from saltern.rollout.ovn import DATABASES, WAITS, Database, Member, converge, decide
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import silent
from tests.unit.rollout.fakes import FakeBus

NODES = ["ntw01", "ntw02", "ntw03"]
PORTS = {"northbound": 6643, "southbound": 6644}


def raft(node: str, name: str) -> str:
    return f"ssl:10.0.0.{node[-1]}:{PORTS[name]}"


def fresh(node: str, **more: Any) -> Member:
    return Member(node, {name: Database(raft=raft(node, name)) for name in DATABASES}, **more)


def serving(node: str, members: Sequence[str] = NODES, **more: Any) -> Member:
    """A member of both clusters; the first one leads."""
    return Member(
        node,
        {
            name: Database(
                held=f"cid-{name}",
                running=True,
                raft=raft(node, name),
                sid=f"s{node[-1]}",
                status="cluster member",
                role="leader" if node == members[0] else "follower",
                leader=f"s{members[0][-1]}",
                members={f"s{one[-1]}": raft(one, name) for one in members},
            )
            for name in DATABASES
        },
        **{"northd": True, **more},
    )


def but(member: Member, *names: str, **more: Any) -> Member:
    """The member with other values in some of its databases, in all without names."""
    return replace(
        member,
        databases={
            name: replace(database, **more) if name in names or not names else database
            for name, database in member.databases.items()
        },
    )


def of(*members: Member, **silent_ones: None) -> dict[str, Member | None]:
    return {**{member.node: member for member in members}, **silent_ones}


WHOLE = [serving(node) for node in NODES]
LOST = {"held": None, "running": False, "status": "", "leader": "", "members": {}}


@pytest.mark.parametrize(
    ("facts", "kind", "word"),
    [
        pytest.param({}, "refuse", "No node", id="nobody"),
        pytest.param(
            of(WHOLE[0], WHOLE[1], ntw03=None), "refuse", "ntw03 did not answer", id="silent"
        ),
        pytest.param(
            of(*(fresh(node) for node in NODES)), "begin", "ntw01 begins", id="nothing is there"
        ),
        pytest.param(
            of(fresh("ntw01"), fresh("ntw02"), but(fresh("ntw03"), "southbound", held="")),
            "refuse",
            "southbound database on ntw03 is of no cluster",
            id="a database of a package's start",
        ),
        pytest.param(
            of(WHOLE[0], WHOLE[1], but(WHOLE[2], "northbound", held="another")),
            "refuse",
            "more than one cluster of northbound",
            id="two clusters",
        ),
        pytest.param(
            of(*(but(member, "northbound", **LOST) for member in WHOLE)),
            "refuse",
            "it existed, and was lost",
            id="the northbound database is nowhere",
        ),
        pytest.param(
            of(but(serving("ntw01", ["ntw01"]), "southbound", **LOST), *map(fresh, NODES[1:])),
            "begin",
            "ntw01 begins",
            id="the begin was cut between the two databases",
        ),
        pytest.param(
            of(fresh("ntw01"), but(fresh("ntw02"), "northbound", held="joining"), fresh("ntw03")),
            "refuse",
            "that nobody holds",
            id="one waits for a cluster that is gone",
        ),
        pytest.param(
            of(serving("ntw01", ["ntw01"]), fresh("ntw02"), fresh("ntw03")),
            "join",
            "ntw02 joins",
            id="the first has begun",
        ),
        pytest.param(
            of(WHOLE[0], but(WHOLE[1], running=False), WHOLE[2]),
            "start",
            "Start ntw02: northbound, southbound",
            id="one is down",
        ),
        pytest.param(
            of(WHOLE[0], replace(WHOLE[1], northd=False), WHOLE[2]),
            "start",
            "Start ntw02: northd",
            id="northd is down",
        ),
        pytest.param(
            of(WHOLE[0], but(WHOLE[1], "southbound", leader=""), WHOLE[2]),
            "wait",
            "ntw02 found no leader of southbound",
            id="an election",
        ),
        pytest.param(
            of(WHOLE[0], WHOLE[1], but(WHOLE[2], **LOST)),
            "kick",
            "ntw01 takes the former member out",
            id="one lost its disk",
        ),
        pytest.param(
            of(WHOLE[0], but(WHOLE[1], **LOST), but(WHOLE[2], **LOST)),
            "refuse",
            "no majority of 3",
            id="two lost their disks",
        ),
        pytest.param(
            of(but(WHOLE[0], "southbound", unsettled=("election timer",)), *WHOLE[1:]),
            "settle",
            "election timer of southbound",
            id="a setting differs",
        ),
        pytest.param(
            of(WHOLE[0], replace(WHOLE[1], stale=("ovn-northd",)), WHOLE[2]),
            "restart",
            "Restart ntw02: ovn-northd",
            id="one is configured anew",
        ),
        pytest.param(of(*WHOLE), "done", "3 of 3 members", id="all is well"),
        pytest.param(
            of(*(serving(node, [*NODES, "ntw04"]) for node in NODES)),
            "done",
            "also know ssl:10.0.0.4:6643, ssl:10.0.0.4:6644",
            id="a stranger",
        ),
    ],
)
def test_the_next_step(facts: Mapping[str, Member | None], kind: str, word: str) -> None:
    step = decide(facts)
    assert step.kind == kind, step.sentence
    assert word in step.sentence


def test_the_lost_member_is_named_to_the_leader() -> None:
    """Its identity in each cluster, and the one database whose cluster still knows it."""
    step = decide(of(WHOLE[0], WHOLE[1], but(WHOLE[2], "southbound", **LOST)))
    assert (step.node, step.arg) == ("ntw01", ("southbound", "s3"))


def test_a_newcomer_is_told_of_members_that_serve_alone() -> None:
    step = decide(of(serving("ntw01", ["ntw01"]), fresh("ntw02"), fresh("ntw03")))
    (remotes,) = step.arg
    assert remotes == {name: [raft("ntw01", name)] for name in DATABASES}


class Cluster:
    """Members that do what they are told."""

    def __init__(self, *, deaf: bool = False, away: str = "") -> None:
        self.members: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.deaf, self.away = deaf, away

    def __call__(self, node: str, call: Call) -> Return:
        if node == self.away:
            return silent(node, "is away")
        if call.fun == "ovn_cluster.facts":
            here = serving(node, self.members) if node in self.members else fresh(node)
            return Return(node, True, as_facts(here))
        self.calls.append((node, call.fun))
        if not self.deaf:
            self.members.append(node)
        return Return(node, True, "Done.")


def as_facts(member: Member) -> dict[str, Any]:
    return {
        "northd": member.northd,
        "stale": list(member.stale),
        **{
            name: {**vars(one), "unsettled": list(one.unsettled)}
            for name, one in member.databases.items()
        },
    }


def run(answer: Callable[[str, Call], Return], **more: Any) -> tuple[dict[str, Any], FakeBus, int]:
    bus, slept = FakeBus(answer), []
    ret = converge(bus, NODES, sleep=slept.append, **more)
    return ret, bus, len(slept)


def test_a_cluster_is_begun_once_and_joined_one_by_one() -> None:
    cluster = Cluster()
    ret, _, _ = run(cluster)
    assert cluster.calls == [
        ("ntw01", "ovn_cluster.begin"),
        ("ntw02", "ovn_cluster.join"),
        ("ntw03", "ovn_cluster.join"),
    ]
    assert ret["result"] is True
    assert ret["changes"] == {"ntw01": "begun", "ntw02": "joined", "ntw03": "joined"}
    again, _, _ = run(cluster)
    assert (again["result"], again["changes"]) == (True, {})
    assert len(cluster.calls) == 3


def test_a_silent_member_stops_everything() -> None:
    cluster = Cluster(away="ntw02")
    ret, _, _ = run(cluster)
    assert (ret["result"], ret["retcode"], cluster.calls) == (False, 2, [])
    assert "ntw02" in ret["comment"]


def test_a_step_without_effect_is_not_repeated() -> None:
    cluster = Cluster(deaf=True)
    ret, _, _ = run(cluster)
    assert (ret["result"], ret["retcode"]) == (False, 1)
    assert cluster.calls == [("ntw01", "ovn_cluster.begin")]
    assert "without effect" in ret["comment"]


def test_waiting_ends() -> None:
    split = but(WHOLE[1], "northbound", leader="")
    facts = {"ntw01": WHOLE[0], "ntw02": split, "ntw03": WHOLE[2]}
    ret, bus, slept = run(lambda node, call: Return(node, True, as_facts(facts[node])))
    assert (ret["result"], slept) == (False, WAITS)
    assert set(bus.functions()) == {"ovn_cluster.facts"}


def test_a_preview_changes_nothing() -> None:
    cluster = Cluster()
    ret, _, _ = run(cluster, test=True)
    assert (ret["result"], ret["changes"]) == (None, {"ntw01": "would be begun"})
    assert cluster.calls == []


def test_a_failure_ends_with_its_sentence() -> None:
    def answer(node: str, call: Call) -> Return:
        if call.fun == "ovn_cluster.facts":
            return Return(node, True, as_facts(fresh(node)))
        return Return(node, False, sentence="ovsdb-tool is not installed.")

    ret, _, _ = run(answer)
    assert ret["result"] is False
    assert "ovsdb-tool is not installed." in ret["comment"]


def test_facts_of_another_shape_are_told_with_their_node() -> None:
    with pytest.raises(GateError, match="ntw01"):
        run(lambda node, call: Return(node, True, "Traceback …"))
