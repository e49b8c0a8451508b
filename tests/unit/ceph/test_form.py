"""A Ceph cluster begins exactly once, and never over one that was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltern.ceph.form import WAITS, Monitor, converge, decide
from saltern.errors import GateError
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge, silent
from tests.unit.rollout.fakes import FakeBus

FSID, OTHER = "5d9c4f1e-6b1a-4a55-9a44-0f2a7be0c3d1", "00000000-1111-2222-3333-444444444444"
NODES = ("mon01", "mon02", "mon03")
ALL = frozenset(NODES)
HOSTS = ("osd01", "osd02")


def fresh(node: str, **more: Any) -> Monitor:
    base: dict[str, Any] = {"wanted": FSID, "address": "192.0.2.1", "object_hosts": HOSTS}
    return Monitor(node, node, fresh=True, **{**base, **more})


def kept(node: str, **more: Any) -> Monitor:
    base: dict[str, Any] = {
        "wanted": FSID,
        "fsids": {f"mon.{node}": FSID},
        "running": True,
        "state": "peon",
        "quorum": ALL,
        "members": ALL,
        "object_hosts": HOSTS,
    }
    return Monitor(node, node, **{**base, **more})


def of(*members: Monitor, **silent_ones: None) -> dict[str, Monitor | None]:
    return {**{member.node: member for member in members}, **silent_ones}


EMPTY = {"osd01": {}, "osd02": {}}


@pytest.mark.parametrize(
    ("facts", "stores", "kind", "word"),
    [
        pytest.param({}, None, "refuse", "No node", id="nobody"),
        pytest.param(
            of(fresh("mon01"), mon02=None), EMPTY, "refuse", "mon02 did not answer", id="silent"
        ),
        pytest.param(
            of(*map(fresh, NODES)), None, "look", "No monitor was ever made", id="new, not asked"
        ),
        pytest.param(
            of(*map(fresh, NODES)), EMPTY, "begin", "mon01, mon02, mon03 begin", id="really new"
        ),
        pytest.param(
            of(*map(fresh, NODES)), {}, "begin", "begin", id="no hosts of object stores yet"
        ),
        pytest.param(
            of(*map(fresh, NODES)),
            {"osd01": {}, "osd02": None},
            "refuse",
            "osd02 did not say",
            id="a host of object stores is silent",
        ),
        pytest.param(
            of(*map(fresh, NODES)),
            {"osd01": {}, "osd02": {"osd.3": FSID}},
            "refuse",
            "object stores are on osd02: the cluster existed",
            id="all monitors were lost",
        ),
        pytest.param(
            of(fresh("mon01", fsids={"osd.0": FSID})),
            {},
            "refuse",
            r"mon01 (osd.0): the cluster existed",
            id="all were lost, on one host",
        ),
        pytest.param(
            of(*(fresh(n, fsids={f"mon.{n}": FSID}) for n in NODES)),
            EMPTY,
            "begin",
            "begin",
            id="the beginning was interrupted",
        ),
        pytest.param(
            of(fresh("mon01", fsids={"osd.0": OTHER}), fresh("mon02")),
            EMPTY,
            "refuse",
            f"mon01 holds osd.0 of cluster {OTHER}; the model says {FSID}",
            id="another cluster's object store",
        ),
        pytest.param(
            of(kept("mon01", fsids={"mon.mon01": OTHER}), kept("mon02")),
            EMPTY,
            "refuse",
            "Nothing was touched",
            id="another cluster's monitor",
        ),
        pytest.param(
            of(fresh("mon01"), fresh("mon02", wanted=OTHER)),
            EMPTY,
            "refuse",
            "do not agree on ceph:common:fsid",
            id="two models",
        ),
        pytest.param(
            of(kept("mon01"), kept("mon02", running=False, quorum=frozenset()), fresh("mon03")),
            None,
            "start",
            "Start mon02",
            id="one is stopped",
        ),
        pytest.param(
            of(*(kept(n, quorum=frozenset(), state="probing") for n in NODES)),
            None,
            "wait",
            "no quorum of mon01, mon02, mon03",
            id="no quorum yet",
        ),
        pytest.param(
            of(
                fresh("mon01"),
                fresh("mon02"),
                kept("mon03", quorum=frozenset(), state="probing"),
            ),
            None,
            "wait",
            "no quorum",
            id="two of three lost their stores",
        ),
        pytest.param(
            of(kept("mon01", quorum=ALL - {"mon03"}), kept("mon02", quorum=ALL - {"mon03"}),
               fresh("mon03")),
            None,
            "join",
            "mon03 joins mon01, mon02",
            id="one lost its store",
        ),
        pytest.param(
            of(
                kept("mon01", quorum=frozenset({"mon01"}), members=frozenset({"mon01"})),
                kept("mon02", quorum=frozenset({"mon02"}), members=frozenset({"mon02"})),
            ),
            None,
            "wait",
            "more than one quorum",
            id="two clusters of one fsid",
        ),
        pytest.param(
            of(*map(kept, NODES)), None, "done", "3 of 3 monitors", id="all in the quorum"
        ),
        pytest.param(
            of(kept("mon01"), kept("mon02")),
            None,
            "done",
            "also knows mon03, which the model does not",
            id="one more than the model",
        ),
    ],
)  # fmt: skip
def test_decision(facts: Any, stores: Any, kind: str, word: str) -> None:
    step = decide(facts, stores)
    assert step.kind == kind, step.sentence
    assert word in step.sentence


one = st.builds(
    Monitor,
    node=st.sampled_from(NODES),
    name=st.sampled_from(NODES),
    wanted=st.sampled_from([FSID, FSID, FSID, OTHER]),
    fsids=st.dictionaries(st.sampled_from(["mon.x", "osd.0"]), st.sampled_from([FSID, OTHER])),
    fresh=st.booleans(),
    running=st.booleans(),
    quorum=st.frozensets(st.sampled_from(NODES)),
    members=st.frozensets(st.sampled_from(NODES)),
)
stores_ = st.none() | st.dictionaries(
    st.sampled_from(HOSTS), st.none() | st.dictionaries(st.just("osd.1"), st.just(FSID))
)


@given(st.dictionaries(st.sampled_from(NODES), st.none() | one, max_size=3), stores_)
@settings(max_examples=300)
def test_nothing_begins_where_anything_is_or_is_unknown(facts: Any, stores: Any) -> None:
    step = decide(facts, stores)
    if step.kind == "begin":
        assert all(m is not None and m.fresh for m in facts.values())
        assert stores is not None
        assert all(found == {} for found in stores.values())
        assert not [p for m in facts.values() for p in m.fsids if p.startswith("osd.")]
    if step.kind == "join":
        assert any(m.serving for m in facts.values())
        assert len(step.nodes) == 1


def test_facts_that_are_none_are_told() -> None:
    with pytest.raises(GateError, match=r"mon01.*something else than facts"):
        Monitor.from_facts("mon01", {"name": "mon01"})


@dataclass
class World:
    """Hosts that do what they are told; ``broken`` functions fail, ``mute`` hosts are silent."""

    nodes: tuple[str, ...] = NODES
    stores: dict[str, set[str]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    born: bool = False
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: EMPTY)
    broken: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    done: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, node: str, call: Call) -> Return:
        if node in self.mute:
            return silent(node, "jid")
        if call.fun in self.broken:
            return judge(node, f"{call.fun} says no", 1)
        if call.fun == "ceph_store.fsids":
            return judge(node, dict(self.objects[node]), 0)
        if call.fun == "ceph_monitor.facts":
            return judge(node, self.facts(node), 0)
        self.done.append((call.fun, node))
        if call.fun == "ceph_monitor.create":
            members = set(call.kwarg.get("members") or self.stores)
            self.stores.setdefault(node, members | {node})
        elif call.fun == "ceph_monitor.start":
            self.running.add(node)
            if len(self.running) * 2 > len(self.stores):
                self.born = True
        return judge(node, "Done.", 0)

    def facts(self, node: str) -> dict[str, Any]:
        there = node in self.stores
        quorum = sorted(self.running) if self.born and node in self.running else []
        return {
            "name": node,
            "address": f"192.0.2.{self.nodes.index(node)}",
            "wanted": FSID,
            "fsids": {f"mon.{node}": FSID} if there else {},
            "fresh": not (there and self.born),
            "running": node in self.running,
            "state": "peon" if quorum else "probing" if node in self.running else "stopped",
            "quorum": quorum,
            "members": sorted(self.stores.get(node, ())),
            "object_hosts": list(HOSTS),
        }


def run(world: World, **more: Any) -> tuple[dict[str, Any], list[float]]:
    slept: list[float] = []
    return converge(FakeBus(world), list(world.nodes), sleep=slept.append, **more), slept


def test_a_cluster_is_begun_by_all_together_and_only_once() -> None:
    world = World()
    found, _ = run(world)
    assert found["result"] is True
    assert found["changes"] == dict.fromkeys(NODES, "begun")
    assert world.done == [
        *(("ceph_monitor.create", node) for node in NODES),
        *(("ceph_monitor.start", node) for node in NODES),
    ]
    assert all(store == set(NODES) for store in world.stores.values())
    again, _ = run(world)
    assert (again["result"], again["changes"]) == (True, {})
    assert again["comment"] == "3 of 3 monitors are in the quorum."


def test_a_preview_touches_nothing() -> None:
    world = World()
    found, _ = run(world, test=True)
    assert found == {
        "result": None,
        "comment": "mon01, mon02, mon03 begin the cluster.",
        "changes": dict.fromkeys(NODES, "would begin"),
    }
    assert world.done == []


def test_lost_stores_join_one_after_the_other() -> None:
    world = World(stores={"mon01": set(NODES)}, running={"mon01"}, born=True)
    found, _ = run(world)
    assert found["result"] is True
    assert found["changes"] == {"mon02": "joined", "mon03": "joined"}
    assert [node for fun, node in world.done if fun == "ceph_monitor.create"] == ["mon02", "mon03"]


def test_object_stores_without_monitors_are_never_orphaned() -> None:
    world = World(objects={"osd01": {"osd.0": FSID}, "osd02": {}})
    found, _ = run(world)
    assert (found["result"], found["retcode"], found["changes"]) == (False, 2, {})
    assert "Restore a monitor's store" in found["comment"]
    assert world.done == []


def test_a_silent_host_of_object_stores_stops_it() -> None:
    world = World(mute=("osd02",))
    found, _ = run(world)
    assert (found["result"], found["retcode"]) == (False, 2)
    assert world.done == []


def test_no_quorum_ends_after_a_while_with_who_is_there() -> None:
    world = World(stores={"mon01": set(NODES)}, running={"mon01"})
    world.facts = lambda node: {  # type: ignore[method-assign]
        **World.facts(world, node), "fresh": node != "mon01"}  # fmt: skip
    found, slept = run(world)
    assert (found["result"], found["retcode"]) == (False, 1)
    assert len(slept) == WAITS
    assert "no quorum of mon01, mon02, mon03" in found["comment"]


@pytest.mark.parametrize("function", ["ceph_monitor.create", "ceph_monitor.start"])
def test_a_step_that_fails_ends_the_run(function: str) -> None:
    world = World(broken=(function,))
    found, _ = run(world)
    assert (found["result"], found["retcode"], found["changes"]) == (False, 1, {})
    assert f"{function} says no" in found["comment"]


def test_a_step_without_effect_is_not_repeated() -> None:
    class Deaf(World):
        def __call__(self, node: str, call: Call) -> Return:
            if call.fun == "ceph_monitor.start":
                return judge(node, "Started.", 0)
            return super().__call__(node, call)

    deaf = Deaf(stores={"mon01": set(NODES)}, born=True)
    found, _ = run(deaf)
    assert found["result"] is False
    assert "mon01 was started before, without effect" in found["comment"]
