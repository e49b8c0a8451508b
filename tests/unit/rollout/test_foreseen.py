"""What a stage would change, put together from what nodes and forms foresee."""

from __future__ import annotations

from saltern.rollout.foreseen import Foreseen, roles_of
from saltern.rollout.returns import judge
from saltern.rollout.stages import make_plan

from .fakes import FakeNode, state_return

NODES = ["inf01.x", "inf02.x"]


def test_a_node_takes_all_its_roles_of_a_stage_in_their_order() -> None:
    lifecycle = {
        "a.x": {"stage": "control", "after": ["b.y"]},
        "b.y": {"stage": "control", "start": "serial"},
        "c.z": {"stage": "foundation"},
    }
    nodes = {NODES[0]: FakeNode(("a.x", "b.y", "c.z"), lifecycle)}
    nodes[NODES[1]] = FakeNode(("b.y",), lifecycle)
    found = roles_of(make_plan("c", nodes).stage("control"))
    assert found == {NODES[0]: ("b.y", "a.x"), NODES[1]: ("b.y",)}


def test_changes_are_counted_by_host() -> None:
    found = Foreseen("control")
    changes = state_return(("conf", None, {"diff": "x"}), ("more", True, {}))
    found.take(judge(NODES[0], changes, 0))
    found.take(judge(NODES[1], state_return(("conf", True, {})), 0))
    found.take_form("b.y", "b.form", {"result": None, "changes": {"members": 2}})
    told = found.to_json()
    assert told["result"] is None
    assert told["comment"] == (
        "Stage control: 1 states would change on 2 hosts (inf01 1, inf02 0); would form b.y."
    )
    assert told["changes"] == {NODES[0]: ["conf (file.managed)"], "formed": {"b.y": {"members": 2}}}
    assert told["counts"] == {NODES[0]: 1, NODES[1]: 0}


def test_nothing_to_change_is_true() -> None:
    found = Foreseen("control")
    found.take(judge(NODES[0], state_return(("conf", True, {})), 0))
    found.take_form("b.y", "b.form", {"result": True, "changes": {}})
    assert found.to_json()["result"] is True
    assert Foreseen("control").comment == "Stage control: nothing to do."


def test_who_cannot_foresee_it_is_named_and_the_others_are_kept() -> None:
    found = Foreseen("control")
    found.take(judge(NODES[0], ["Rendering SLS 'base:a.x' failed: no such key"], 1))
    found.take(judge(NODES[1], state_return(("conf", None, {"diff": "x"})), 0))
    found.take_form("b.y", "b.form", {"result": False, "comment": "two members differ"})
    told = found.to_json()
    assert (told["result"], told["retcode"]) == (False, 1)
    assert told["failures"] == [
        "inf01.x: Rendering SLS 'base:a.x' failed: no such key.",
        "b.form: two members differ",
    ]
    assert set(told["changes"]) == {NODES[1]}
