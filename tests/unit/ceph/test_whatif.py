"""What a loss would mean is said before anything is lost."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from saltern.ceph import ask
from saltern.ceph.whatif import answer, read, whatif
from saltern.errors import BusError, GateError, PreflightError
from saltern.rollout.returns import judge, silent
from tests.unit.rollout.fakes import FakeBus

GIB = 2**30


def store(number: int, rack: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "up": True, "in": True, "weight": 1.0, "class": "hdd",
        "bytes": 100 * GIB, "used": 30 * GIB,
        "location": {"host": f"osd0{number // 2 + 1}", "rack": rack, "root": "default"}, **more,
    }  # fmt: skip


POOL = {"size": 3, "min_size": 2, "domain": "host", "root": "default", "class": ""}
FACTS: dict[str, Any] = {
    # osd01 and osd02 in r1, osd03 and osd04 in r2
    "stores": {f"osd.{n}": store(n, "r1" if n < 4 else "r2") for n in range(8)},
    "pools": {"rbd": POOL, "scratch": {**POOL, "size": 2, "min_size": 1}},
    "groups": [["rbd", [0, 2, 4]], ["rbd", [1, 5, 6]], ["scratch", [0, 2]]],
    "monitors": ["mon01", "mon02", "mon03"],
    "quorum": ["mon01", "mon02", "mon03"],
    "ratios": {"nearfull": 0.85, "backfillfull": 0.9, "full": 0.95},
}


def facts(**more: Any) -> dict[str, Any]:
    return copy.deepcopy({**FACTS, **more})


def test_a_host_can_be_lost() -> None:
    loss = whatif(FACTS, "osd01")
    assert loss.lost == ("osd.0", "osd.1")
    assert (loss.available, loss.heals, loss.quorate) == (True, True, True)
    assert loss.pools["rbd"] == {"all": 2, "degraded": 2, "inactive": 0, "gone": 0}
    told = answer(loss)["comment"]
    assert told.startswith(
        "Without osd.0, osd.1: Everything stays available, and the cluster heals"
    )


def test_a_rack_cannot_and_it_is_said_why() -> None:
    loss = whatif(FACTS, "rack=r1")
    assert (loss.available, loss.heals) == (False, False)
    assert loss.pools["rbd"]["inactive"] == 1
    assert loss.pools["scratch"]["gone"] == 1
    # what is worst comes first
    assert "have no copy left: their data would be lost (1 of 1 of scratch)" in loss.why[0]
    assert "could not be used meanwhile (1 of 2 of rbd)" in loss.why[1]
    assert "Pool rbd wants 3 of host and 2 would be left" in " ".join(loss.why)


def test_monitors_count_too() -> None:
    assert whatif(FACTS, "mon01").quorum == (2, 3)
    loss = whatif(FACTS, "mon01,mon02")
    assert (loss.quorate, loss.available) == (False, False)
    assert loss.lost == ("mon.mon01", "mon.mon02")
    assert "no majority, everything would stop" in loss.why[0]
    # one that is away already is not lost twice
    assert whatif(facts(quorum=["mon01", "mon02"]), "mon03").quorum == (2, 3)


def test_what_is_down_already_counts() -> None:
    found = facts(groups=[["rbd", [2, 4]]])
    found["stores"]["osd.0"]["up"] = False
    loss = whatif(found, "osd.2")
    assert loss.pools["rbd"]["inactive"] == 1
    assert loss.why[-1] == "osd.0 is down already."


def test_a_full_cluster_does_not_heal() -> None:
    found = facts()
    for one in found["stores"].values():
        one["used"] = 80 * GIB
    loss = whatif(found, "osd01")
    assert (loss.available, loss.heals) == (True, False)
    assert "What is left would be 107% full, more than 85%." in loss.why


def test_a_failure_domain_is_counted_in_its_own_buckets() -> None:
    found = facts(pools={"rbd": {**POOL, "size": 2, "domain": "rack"}}, groups=[["rbd", [0, 4]]])
    assert whatif(found, "osd01").heals is True
    assert "Pool rbd wants 2 of rack and 1 would be left" in whatif(found, "rack=r2").why[-1]
    fast = facts(pools={"rbd": {**POOL, "class": "ssd"}}, groups=[])
    assert whatif(fast, "osd01").heals is False


@pytest.mark.parametrize("lose", ["", " , ", "rack="])
def test_nothing_named_is_refused(lose: str) -> None:
    with pytest.raises(PreflightError, match="nothing is named"):
        whatif(FACTS, lose)


@pytest.mark.parametrize(
    ("lose", "word"), [("osd09", "no host osd09"), ("rack=r9", "no rack r9"), ("osd.9", "no osd")]
)
def test_what_is_not_there_is_refused(lose: str, word: str) -> None:
    with pytest.raises(PreflightError, match=word):
        whatif(FACTS, lose)


def test_what_is_lost_is_read() -> None:
    assert read("osd01, rack=r1,osd.3") == [("host", "osd01"), ("rack", "r1"), ("osd", "osd.3")]
    assert read(["osd01"]) == [("host", "osd01")]


def test_other_facts_are_no_facts() -> None:
    for wrong in ({}, {**FACTS, "groups": [["gone", [0]]]}, {**FACTS, "stores": None}):
        with pytest.raises(GateError, match="something else than facts"):
            whatif(wrong, "osd01")


def test_the_first_monitor_that_is_there_is_asked() -> None:
    asked: list[tuple[str, str]] = []

    class Bus(FakeBus):
        def call(self, nodes: Any, fun: str, *more: Any, **manner: Any) -> Any:
            found = {}
            for node in nodes:
                if node == "mon01":
                    found[node] = silent(node, "did not answer", "1")
                else:
                    asked.append((node, fun))
                    found[node] = judge(node, {"x": 1}, 0 if fun != "bad.one" else 1)
            return found

    names = ["mon02", "mon01", "mon03"]
    assert ask.first(Bus(), names, "ceph_map.facts") == {"x": 1}
    assert asked[-1] == ("mon02", "ceph_map.facts")
    with pytest.raises(GateError):
        ask.first(Bus(), names, "bad.one")
    with pytest.raises(BusError, match="no host of a monitor answers"):
        ask.first(Bus(), ["mon01"], "ceph_map.facts")


def test_what_is_accepted_ends_when_it_is_worse_but_not_by_writes() -> None:
    assert ask.mute("OSD_DOWN", "1h") == {"code": "OSD_DOWN", "ttl": "1h"}
    assert ask.mute("PG_DEGRADED", "1h") == {"code": "PG_DEGRADED", "ttl": "1h", "sticky": True}
