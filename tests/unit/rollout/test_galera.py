"""Who may begin a Galera cluster: tables of situations, and histories nobody thought of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltern.errors import GateError
from saltern.rollout import galera_run
from saltern.rollout.galera import (
    ZERO_UUID,
    Bootstrap,
    Join,
    Measure,
    Member,
    Nothing,
    Position,
    Refuse,
    Restart,
    Wait,
    decide_form,
    decide_recover,
    describe,
    outcome,
    sentence,
)
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import silent
from tests.unit.rollout.fakes import FakeBus

A, B, C = "inf01", "inf02", "inf03"
U = "6b2c4c1e-0000-11f0-8000-000000000001"
OTHER = "6b2c4c1e-0000-11f0-8000-000000000002"


def fresh(node: str, **more: Any) -> Member:
    return Member(node, **more)


def synced(node: str, size: int = 3, **more: Any) -> Member:
    return replace(
        Member(
            node,
            data=True,
            saved=Position(U, -1),
            running=True,
            wsrep=True,
            primary=True,
            state=4,
            cluster_uuid=U,
            size=size,
        ),
        **more,
    )


def down(node: str, seqno: int | None = None, uuid: str = U, **more: Any) -> Member:
    """A stopped member with data; with a seqno, its position was measured."""
    recovered = None if seqno is None else Position(uuid, seqno)
    return replace(Member(node, data=True, saved=Position(uuid, -1), recovered=recovered), **more)


def of(*members: Member, **silent_ones: None) -> dict[str, Member | None]:
    return {**{member.node: member for member in members}, **silent_ones}


# --- form -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "kind", "node"),
    [
        pytest.param(of(fresh(A), fresh(B), fresh(C)), Bootstrap, A, id="all fresh"),
        pytest.param(
            of(
                fresh(A, saved=Position(ZERO_UUID, -1), safe=True),
                fresh(B, saved=Position(ZERO_UUID, -1), running=True),
                fresh(C),
            ),
            Bootstrap,
            A,
            id="fresh ones that already tried to join",
        ),
        pytest.param(of(synced(A, 1), fresh(B), fresh(C)), Join, B, id="formation broke off"),
        pytest.param(of(synced(A, 2), synced(B, 2), fresh(C)), Join, C, id="one left to join"),
        pytest.param(of(synced(A, 2), down(B), synced(C, 2)), Join, B, id="one stopped"),
        pytest.param(
            of(synced(A, 2), down(B, saved=Position(ZERO_UUID, -1), transfer=True), synced(C, 2)),
            Join,
            B,
            id="a transfer that broke off is repeated",
        ),
        pytest.param(of(synced(A), synced(B, state=1), synced(C)), Join, B, id="one is joining"),
        pytest.param(of(synced(A), synced(B), synced(C)), Nothing, "", id="all is well"),
        pytest.param(of(synced(A), synced(B, state=2), synced(C)), Nothing, "", id="a donor"),
        pytest.param(
            of(synced(A), synced(B, stale=True), synced(C, stale=True)), Restart, B, id="stale"
        ),
        pytest.param(
            of(synced(A, 2, stale=True), fresh(B), synced(C, 2)), Join, B, id="join before restart"
        ),
        pytest.param(of(synced(A, 1)), Nothing, "", id="one member"),
    ],
)
def test_form_goes_on(facts: dict[str, Member | None], kind: type, node: str) -> None:
    decision = decide_form(facts)
    assert isinstance(decision, kind), sentence(decision)
    assert getattr(decision, "node", "") == node


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        pytest.param({}, "no node", id="no members"),
        pytest.param(of(fresh(A), fresh(B), inf03=None), "inf03 did not say", id="silent"),
        pytest.param(of(synced(A, 2), synced(B, 2), inf03=None), "inf03", id="silent, others run"),
        pytest.param(of(down(A), fresh(B), fresh(C)), "galera.recover", id="data, nobody runs"),
        pytest.param(of(down(A), down(B), down(C)), "inf01, inf02, inf03 hold", id="full outage"),
        pytest.param(
            of(down(A, saved=Position(U, 7), safe=True), fresh(B), fresh(C)),
            "never bootstrapped over data",
            id="safe to bootstrap is no reason for form",
        ),
        pytest.param(
            of(synced(A, primary=False), synced(B, primary=False), synced(C, primary=False)),
            "galera.recover",
            id="all run, none Primary",
        ),
        pytest.param(
            of(synced(A, 1), synced(B, 1, cluster_uuid=OTHER), fresh(C)),
            "two clusters",
            id="two histories",
        ),
        pytest.param(
            of(synced(A, 2), synced(B, 2), down(C, uuid=OTHER)), "another cluster", id="stranger"
        ),
        pytest.param(
            of(synced(A, 2), synced(B, 2), down(C, saved=None)),
            "never part of a Galera cluster",
            id="a plain server with data",
        ),
        pytest.param(
            of(fresh(A, running=True, wsrep=True), fresh(B), fresh(C)),
            "without a Primary component though",
            id="runs, holds nothing, not Primary",
        ),
    ],
)
def test_form_refuses(facts: dict[str, Member | None], word: str) -> None:
    decision = decide_form(facts)
    assert isinstance(decision, Refuse), decision
    assert word in sentence(decision)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(of(synced(A, 3), synced(B, 2), fresh(C)), id="views differ"),
        pytest.param(of(synced(A, 2), synced(B, 2), synced(C, 2)), id="more than they see"),
        pytest.param(of(synced(A, 4), synced(B, 4), synced(C, 4)), id="a stranger among them"),
    ],
)
def test_form_waits(facts: dict[str, Member | None]) -> None:
    assert isinstance(decide_form(facts), Wait)


# --- recover ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "arguments", "node"),
    [
        pytest.param(of(down(A, 5), down(B, 9), down(C, 7)), {}, B, id="most advanced"),
        pytest.param(of(down(A, 9), down(B, 9), down(C, 9, safe=True)), {}, C, id="tie: safe one"),
        pytest.param(of(down(A, 9), down(B, 9), down(C, 9)), {}, A, id="tie: by name"),
        pytest.param(of(down(A, 0), fresh(B), fresh(C)), {}, A, id="only one ever had data"),
        pytest.param(
            of(down(A, 4), down(B, 2), inf03=None), {"without": [C]}, A, id="one given up"
        ),
        pytest.param(
            of(down(A, 4), down(B, 3, saved=Position(ZERO_UUID, -1), safe=True), down(C, 2)),
            {},
            A,
            id="the zero uuid trap",
        ),
        pytest.param(of(down(A, 4), down(B, 3, transfer=True), down(C, 2)), {}, A, id="half copy"),
        pytest.param(
            of(down(A, 4, safe=True), down(B, 6), down(C, 5)),
            {"bootstrap_from": B},
            B,
            id="contradiction, decided by the operator",
        ),
        pytest.param(
            of(down(A, 4), down(B, 6), down(C, 5)), {"bootstrap_from": A}, A, id="operator's choice"
        ),
    ],
)
def test_recover_begins_with(
    facts: dict[str, Member | None], arguments: Mapping[str, Any], node: str
) -> None:
    decision = decide_recover(facts, **arguments)
    assert isinstance(decision, Bootstrap), sentence(decision)
    assert decision.node == node
    member = facts[node]
    assert member is not None
    assert decision.position == member.recovered


def test_recover_measures_before_it_decides() -> None:
    facts = of(down(A, 5), synced(B, primary=False), down(C))
    assert decide_recover(facts) == Measure(
        (B, C), "nobody is Primary, so the last committed positions decide"
    )


def test_recover_also_stops_a_fresh_member_that_keeps_trying() -> None:
    decision = decide_recover(of(down(A, 5), fresh(B, running=True), fresh(C)))
    assert isinstance(decision, Measure)
    assert decision.nodes == (B,)


def test_recover_joins_the_rest_to_a_primary() -> None:
    decision = decide_recover(of(synced(A, 1), down(B), inf03=None), without=[C])
    assert isinstance(decision, Join)
    assert decision.node == B


def test_recover_is_done_when_all_that_answer_are_in() -> None:
    assert isinstance(
        decide_recover(of(synced(A, 2), synced(B, 2), inf03=None), without=[C]), Nothing
    )


@pytest.mark.parametrize(
    ("facts", "arguments", "word"),
    [
        pytest.param(of(down(A, 5), down(B, 5), inf03=None), {}, "newest data", id="silent"),
        pytest.param(
            of(down(A, 5), down(B, 5), down(C, 5)), {"without": [C]}, "answers", id="not lost"
        ),
        pytest.param(of(down(A, 5)), {"without": ["inf09"]}, "no member", id="unknown lost"),
        pytest.param(
            of(down(A, 5)), {"bootstrap_from": "inf09"}, "no member", id="unknown beginner"
        ),
        pytest.param({A: None}, {"without": [A]}, "no member answers", id="all lost"),
        pytest.param(of(fresh(A), fresh(B), fresh(C)), {}, "galera.form", id="nothing there"),
        pytest.param(
            of(down(A, 5), down(B, 5, uuid=OTHER), fresh(C)), {}, "different histories", id="uuids"
        ),
        pytest.param(
            of(
                down(A, 5, saved=Position(ZERO_UUID, -1), safe=True),
                down(B, 4, saved=Position(ZERO_UUID, -1), safe=True),
            ),
            {},
            "undefined position",
            id="only zero uuids",
        ),
        pytest.param(of(down(A, -1), fresh(B)), {}, "undefined position", id="no position"),
        pytest.param(
            of(down(A, 5, transfer=True), fresh(B)), {}, "undefined position", id="only half copies"
        ),
        pytest.param(
            of(down(A, 4, safe=True), down(B, 6), down(C, 5)), {}, "bootstrap_from", id="safe lags"
        ),
        pytest.param(
            of(down(A, 4), down(B, 6, saved=Position(ZERO_UUID, -1)), down(C, 3)),
            {},
            "further than",
            id="a shut out member is ahead",
        ),
        pytest.param(
            of(down(A, 4, saved=Position(OTHER, -1)), down(B, 3)),
            {},
            "grastate.dat",
            id="file lies",
        ),
        pytest.param(
            of(down(A, 4, saved=None), down(B, 3)), {}, "never part", id="plain server with data"
        ),
        pytest.param(
            of(down(A, 4), down(B, 6, saved=Position(ZERO_UUID, -1))),
            {"bootstrap_from": B},
            "cannot begin",
            id="operator chose the trap",
        ),
    ],
)
def test_recover_refuses(
    facts: dict[str, Member | None], arguments: Mapping[str, Any], word: str
) -> None:
    decision = decide_recover(facts, **arguments)
    assert isinstance(decision, Refuse), decision
    assert word in sentence(decision)


# --- properties -------------------------------------------------------------------------------

positions = st.one_of(
    st.none(),
    st.builds(
        Position, st.sampled_from([ZERO_UUID, U, OTHER]), st.integers(min_value=-1, max_value=4)
    ),
)


def members(node: str) -> st.SearchStrategy[Member | None]:
    return st.one_of(
        st.none(),
        st.builds(
            Member,
            node=st.just(node),
            data=st.booleans(),
            saved=positions,
            safe=st.booleans(),
            transfer=st.booleans(),
            running=st.booleans(),
            wsrep=st.booleans(),
            foreign=st.booleans(),
            primary=st.booleans(),
            state=st.integers(min_value=0, max_value=4),
            cluster_uuid=st.sampled_from(["", U, OTHER]),
            size=st.integers(min_value=0, max_value=4),
            recovered=positions,
            stale=st.booleans(),
        ),
    )


anything = st.fixed_dictionaries({A: members(A), B: members(B), C: members(C)})


@given(anything)
def test_form_bootstraps_only_where_nobody_could_lose_anything(
    facts: dict[str, Member | None],
) -> None:
    decision = decide_form(facts)
    if isinstance(decision, Bootstrap):
        assert all(m is not None and not m.data and not m.primary for m in facts.values())
        assert decision.position is None


@given(anything)
def test_form_touches_nobody_while_a_member_is_silent(facts: dict[str, Member | None]) -> None:
    if None in facts.values():
        assert isinstance(decide_form(facts), Refuse)


@given(anything, st.sets(st.sampled_from([A, B, C])), st.sampled_from([None, A, B, C]))
def test_recover_bootstraps_only_what_is_most_advanced(
    facts: dict[str, Member | None], without: set[str], chosen: str | None
) -> None:
    decision = decide_recover(facts, tuple(without), chosen)
    if not isinstance(decision, Bootstrap):
        return
    answered = [m for m in facts.values() if m is not None]
    assert {n for n, m in facts.items() if m is None} <= without
    assert not any(m.primary or m.running for m in answered)
    beginner = facts[decision.node]
    assert beginner is not None
    assert beginner.usable
    assert decision.position == beginner.recovered
    usable = [m for m in answered if m.usable]
    assert len({m.recovered.uuid for m in usable if m.recovered}) == 1
    if chosen is None:
        assert decision.position is not None
        assert all(
            m.recovered is None
            or m.recovered.uuid != decision.position.uuid
            or m.recovered.seqno <= decision.position.seqno
            for m in answered
            if m.data
        )


@given(anything)
def test_every_decision_is_a_sentence(facts: dict[str, Member | None]) -> None:
    for decision in (decide_form(facts), decide_recover(facts)):
        assert sentence(decision).endswith(".")
        assert ".." not in sentence(decision)


@given(anything)
def test_nobody_is_ever_joined_over_data_of_another_cluster(
    facts: dict[str, Member | None],
) -> None:
    decision = decide_form(facts)
    if isinstance(decision, Join):
        joiner = facts[decision.node]
        assert joiner is not None
        histories = {m.cluster_uuid for m in facts.values() if m is not None and m.primary}
        if joiner.data and not joiner.primary:
            assert joiner.saved is not None
            assert joiner.saved.uuid in {ZERO_UUID, *histories}


# --- carrying it out --------------------------------------------------------------------------


class Cluster:
    """Three servers that do what the decisions say, with a log of what they were told."""

    def __init__(self, *members: Member, silent: tuple[str, ...] = ()) -> None:
        self.members = {member.node: member for member in members}
        self.hidden = {
            m.node: m.recovered for m in members if m.recovered is not None
        }  # known only when measured
        self.members = {n: replace(m, recovered=None) for n, m in self.members.items()}
        self.silent = silent
        self.told: list[tuple[str, str]] = []
        self.broken: dict[str, str] = {}

    def answer(self, node: str, call: Call) -> Return:
        if node in self.silent:
            return silent(node, "did not answer")
        verb = call.fun.removeprefix("galera_cluster.")
        if verb == "facts":
            return Return(node, True, self._facts(node, bool(call.kwarg["measure"])))
        self.told.append((verb, node))
        if node in self.broken:
            return Return(node, False, None, 1, sentence=f"{node}: {self.broken[node]}")
        if verb == "stop":
            self.members[node] = replace(
                self.members[node], running=False, wsrep=False, primary=False, state=0
            )
            return Return(node, True, "Stopped.")
        if verb == "bootstrap":
            position = Position(call.kwarg["uuid"], call.kwarg["seqno"]) if call.kwarg else None
            assert position == self.hidden.get(node)
            decision = Bootstrap(node, "", position)
        else:
            assert any(m.primary for m in self.members.values())
            decision = Join(node, "") if verb == "join" else Restart(node, "")
        after = outcome(decision, self.members)
        self.members = {n: m for n, m in after.items() if m is not None}
        return Return(node, True, "Done.")

    def _facts(self, node: str, measure: bool) -> dict[str, Any]:
        m = self.members[node]
        found = self.hidden.get(node) if measure and m.data and not m.running else None
        return {
            "data": m.data,
            "grastate": {
                "uuid": m.saved.uuid,
                "seqno": m.saved.seqno,
                "safe_to_bootstrap": int(m.safe),
            }
            if m.saved
            else None,
            "transfer": m.transfer,
            "running": m.running,
            "wsrep": {
                "wsrep_on": "ON",
                "wsrep_cluster_status": "Primary" if m.primary else "non-Primary",
                "wsrep_local_state": str(m.state),
                "wsrep_cluster_state_uuid": m.cluster_uuid,
                "wsrep_cluster_size": str(m.size),
            }
            if m.wsrep
            else None,
            "recovered": {"uuid": found.uuid, "seqno": found.seqno} if found else None,
            "stale": ["/etc/x"] if m.stale else [],
        }


def run(
    cluster: Cluster, decide: galera_run.Decide = decide_form, **options: Any
) -> dict[str, Any]:
    naps: list[float] = []
    return galera_run.converge(
        FakeBus(cluster.answer), sorted(cluster.members), decide, sleep=naps.append, **options
    ).to_ret()


def test_a_new_cluster_is_bootstrapped_once_and_joined_one_by_one() -> None:
    cluster = Cluster(fresh(A), fresh(B), fresh(C))
    ret = run(cluster)
    assert cluster.told == [("bootstrap", A), ("join", B), ("join", C)]
    assert ret["result"] is True
    assert ret["changes"] == {A: "bootstrapped", B: "joined", C: "joined"}
    assert run(cluster) == {
        "result": True,
        "comment": "3 of 3 members are Synced in new:inf01.",
        "changes": {},
    }


def test_a_preview_tells_and_does_nothing() -> None:
    cluster = Cluster(fresh(A), fresh(B), fresh(C))
    ret = run(cluster, test=True)
    assert cluster.told == []
    assert ret["result"] is None
    assert ret["changes"] == {
        A: "would be bootstrapped",
        B: "would be joined",
        C: "would be joined",
    }


def test_a_preview_of_a_whole_cluster_foresees_nothing() -> None:
    assert run(Cluster(synced(A), synced(B), synced(C)), test=True)["result"] is True


def test_a_preview_of_a_recovery_says_what_it_depends_on() -> None:
    ret = run(Cluster(down(A, 1), down(B, 2), down(C, 3)), decide_recover, test=True)
    assert ret["result"] is None
    assert "depends on these positions" in ret["comment"]


def test_members_with_new_configuration_restart_one_after_the_other() -> None:
    cluster = Cluster(*(synced(node, stale=True) for node in (A, B, C)))
    assert run(cluster)["result"] is True
    assert cluster.told == [("restart", A), ("restart", B), ("restart", C)]


def test_a_full_outage_begins_with_the_most_advanced_member() -> None:
    cluster = Cluster(
        down(A, 21, running=True), down(B, 22, running=True), down(C, 23, running=True)
    )
    ret = run(cluster, decide_recover)
    assert cluster.told[:3] == [("stop", A), ("stop", B), ("stop", C)]
    assert cluster.told[3:] == [("bootstrap", C), ("join", A), ("join", B)]
    assert ret["changes"][C] == f"bootstrapped at {U}:23"


def test_a_refusal_changes_nothing_and_has_its_own_exit_code() -> None:
    cluster = Cluster(down(A, 1), fresh(B), fresh(C))
    ret = run(cluster)
    assert cluster.told == []
    assert (ret["result"], ret["retcode"]) == (False, 2)


def test_a_silent_member_is_never_left_out() -> None:
    cluster = Cluster(fresh(A), fresh(B), fresh(C), silent=(C,))
    ret = run(cluster)
    assert cluster.told == []
    assert "inf03 did not say what it holds" in ret["comment"]
    assert ret["comment"].endswith("inf03: did not answer.")


def test_a_member_that_cannot_join_ends_the_run_with_its_reason() -> None:
    cluster = Cluster(fresh(A), fresh(B), fresh(C))
    cluster.broken[B] = "MariaDB gave up: last error: disk full."
    ret = run(cluster)
    assert cluster.told == [("bootstrap", A), ("join", B)]
    assert (ret["result"], ret["retcode"]) == (False, 1)
    assert "disk full" in ret["comment"]
    assert ret["changes"] == {A: "bootstrapped"}
    del cluster.broken[B]
    assert run(cluster)["changes"] == {B: "joined", C: "joined"}


def test_members_between_states_are_waited_for_but_not_for_ever() -> None:
    cluster = Cluster(synced(A, 2), synced(B, 2), synced(C, 2))
    naps: list[float] = []
    bus = FakeBus(cluster.answer)
    ret = galera_run.converge(bus, [A, B, C], decide_form, sleep=naps.append).to_ret()
    assert ret["result"] is False
    assert len(naps) == galera_run.WAITS
    assert "inf01 sees 2 members where 3 run" in ret["comment"]


def test_a_step_without_effect_is_not_repeated() -> None:
    cluster = Cluster(synced(A, 2), down(B), synced(C, 2))
    bus = FakeBus(
        lambda node, call: (
            Return(node, True, "Done.")
            if call.fun == "galera_cluster.join"
            else cluster.answer(node, call)
        )
    )
    ret = galera_run.converge(bus, [A, B, C], decide_form).to_ret()
    assert ret["result"] is False
    assert "without effect" in ret["comment"]


@given(
    st.lists(
        st.one_of(
            st.just("fresh"), st.integers(min_value=0, max_value=9), st.just("zero"), st.just("on")
        ),
        min_size=1,
        max_size=5,
    )
)
def test_recovery_never_loses_the_newest_transaction(states: list[Any]) -> None:
    found = []
    for number, state in enumerate(states):
        node = f"n{number}"
        if state == "fresh":
            found.append(fresh(node))
        elif state == "zero":
            found.append(down(node, 3, saved=Position(ZERO_UUID, -1), safe=True))
        elif state == "on":
            found.append(synced(node, primary=False, recovered=Position(U, 5)))
        else:
            found.append(down(node, state))
    cluster = Cluster(*found)
    ret = run(cluster, decide_recover)
    held = [position.seqno for position in cluster.hidden.values()]
    if ret["result"]:
        (beginner,) = [node for verb, node in cluster.told if verb == "bootstrap"]
        assert cluster.hidden[beginner].seqno == max(held)
        assert all(member.serving for member in cluster.members.values())
    else:
        assert not [node for verb, node in cluster.told if verb in ("bootstrap", "join")]


# --- reading what nodes say -------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [None, "Passed invalid arguments", {}, {"data": True}, {"data": 1, "grastate": "x"}]
)
def test_what_is_no_facts_is_refused(answer: Any) -> None:
    with pytest.raises(GateError, match=r"inf01: galera_cluster\.facts"):
        Member.from_facts(A, answer)


def test_a_server_without_galera_is_foreign() -> None:
    member = Member.from_facts(
        A,
        {
            "data": False,
            "grastate": None,
            "transfer": False,
            "running": True,
            "wsrep": {"wsrep_on": "OFF", "wsrep_cluster_status": "Disconnected"},
        },
    )
    assert member.foreign
    assert not member.wsrep
    # the package started it before it was configured; nothing is lost by forming over it
    assert isinstance(decide_form({A: member, B: fresh(B)}), Bootstrap)


def test_status_says_it_in_words() -> None:
    assert describe(None) == {"state": "silent"}
    assert describe(synced(A))["state"] == "Primary, state 4 (synced)"
    assert describe(down(A, safe=True, transfer=True)) == {
        "state": "stopped",
        "data": True,
        "saved": f"{U}:-1",
        "safe_to_bootstrap": True,
        "transfer": "unfinished",
    }
