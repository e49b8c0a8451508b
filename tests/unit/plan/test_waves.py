"""What bounds a wave, and the sentence when nobody can be taken."""

from __future__ import annotations

import pytest

from saltern.errors import PlanError
from saltern.plan.make import make
from saltern.plan.request import Request

from .clusters import KNOWN, example, facts, small, touched

FIVE = [f"n{number}" for number in range(1, 6)]
TEN = [f"n{number:02}" for number in range(1, 11)]


def waves(nodes, *roles, down=None, absent=None, allow_absent=False, **options):
    """Nodes of the waves of a change of some roles."""
    now = facts(nodes, down=down or {}, absent=dict.fromkeys(absent or (), "no answer"))
    request = Request("change", "c", allow_absent=allow_absent, **options)
    plan = make(request, nodes, nodes, now, touched(nodes, *roles))
    return [[wave.nodes for wave in stage.waves] for stage in plan.stages if stage.roles]


def names(nodes, *roles, **options):
    request = Request("change", "c", **options)
    plan = make(request, nodes, nodes, facts(nodes), touched(nodes, *roles))
    return [wave.name for wave in plan.stages[0].waves]


def test_canary_then_shares_then_the_rest():
    nodes = small({"a.x": TEN}, {"a.x": {"max_unavailable": "50%"}})
    assert waves(nodes, "a.x", percent=(30,)) == [
        [("n01",), ("n02", "n03"), ("n04", "n05", "n06", "n07", "n08"), ("n09", "n10")]
    ]
    assert names(nodes, "a.x", percent=(30,)) == ["canary", "30 %", "3 of 4", "4 of 4"]


def test_no_canary():
    nodes = small({"a.x": TEN}, {"a.x": {"max_unavailable": "100%"}})
    assert waves(nodes, "a.x", canary=0, percent=()) == [[tuple(TEN)]]


def test_a_share_is_rounded_down_but_is_one_node_at_least():
    nodes = small({"a.x": FIVE}, {"a.x": {"max_unavailable": "10%"}})
    assert waves(nodes, "a.x") == [[(node,) for node in FIVE]]
    nodes = small({"a.x": FIVE}, {"a.x": {"max_unavailable": "59%"}})
    assert waves(nodes, "a.x", canary=0, percent=()) == [[("n1", "n2"), ("n3", "n4"), ("n5",)]]


def test_the_majority_of_a_role_that_is_not_touched_counts():
    nodes = small(
        {"a.x": FIVE, "q.db": FIVE},
        {"a.x": {"max_unavailable": "100%"}, "q.db": {"quorum": "majority"}},
    )
    assert waves(nodes, "a.x", canary=0, percent=()) == [[("n1", "n2"), ("n3", "n4"), ("n5",)]]


def test_a_member_that_is_down_counts_for_the_majority():
    nodes = small(
        {"a.x": FIVE, "q.db": FIVE},
        {"a.x": {"max_unavailable": "100%"}, "q.db": {"quorum": "majority"}},
    )
    # n5 takes nothing more away, so it may come with another one
    found = waves(nodes, "a.x", canary=0, percent=(), down={"q.db": frozenset({"n5"})})
    assert found == [[("n1", "n5"), ("n2",), ("n3",), ("n4",)]]


def test_two_domains_are_never_touched_at_once():
    racks = {node: {"rack": f"r{number % 2}"} for number, node in enumerate(TEN)}
    nodes = small({"a.x": TEN}, {"a.x": {"max_unavailable": "50%", "domain": "rack"}}, racks)
    (found,) = waves(nodes, "a.x", canary=0, percent=())
    assert [{racks[node]["rack"] for node in wave} for wave in found] == [{"r0"}] * 3 + [{"r1"}] * 3
    assert [len(wave) for wave in found] == [2, 2, 1, 2, 2, 1]


def test_a_number_holds_over_all_domains():
    racks = {node: {"rack": node} for node in FIVE}
    nodes = small({"a.x": FIVE}, {"a.x": {"max_unavailable": 1, "domain": "rack"}}, racks)
    assert waves(nodes, "a.x", canary=0, percent=()) == [[(node,) for node in FIVE]]
    with pytest.raises(PlanError, match="n5 is down or absent already"):
        waves(nodes, "a.x", absent=["n5"], allow_absent=True)


def test_a_broken_node_is_mended_before_others_leave():
    nodes = small({"a.x": FIVE})
    found = waves(nodes, "a.x", down={"a.x": frozenset({"n4"})})
    assert found == [[("n4",), ("n1",), ("n2",), ("n3",), ("n5",)]]


def test_roles_that_run_on_a_touched_one_are_disturbed_with_it():
    nodes = small(
        {"w.web": TEN, "k.api": TEN[:3]},
        {
            "w.web": {"stage": "foundation", "max_unavailable": "100%"},
            "k.api": {"after": [{"role": "w.web", "scope": "node"}], "max_unavailable": 1},
        },
    )
    (found,) = waves(nodes, "w.web", canary=0, percent=())
    assert found == [("n01", *TEN[3:]), ("n02",), ("n03",)]


def test_limits_may_differ_from_node_to_node():
    iaas = example("iaas")
    request = Request("change", "iaas", nodes=("cmp001", "cmp002", "cmp003", "dbs01"))
    plan = make(request, iaas, iaas, facts(iaas), touched(iaas, "linux.system"), KNOWN)
    # computes: 10 % of a rack; the others: one node of all
    assert [[n.split(".")[0] for n in wave.nodes] for wave in plan.stages[0].waves] == [
        ["cmp001"],
        ["cmp002"],
        ["cmp003", "dbs01"],
    ]


def test_eighty_computes_go_rack_by_rack():
    iaas = example("iaas")
    plan = make(
        Request("change", "iaas"), iaas, iaas, facts(iaas), touched(iaas, "nova.compute"), KNOWN
    )
    (stage, _) = plan.stages
    assert len(stage.nodes) == 80
    assert all(len(wave.nodes) <= 2 and len(wave.domains) == 1 for wave in stage.waves)
    order = [wave.domains[0] for wave in stage.waves]
    assert order == sorted(order)
    assert stage.waves[0].name == "canary"


@pytest.mark.parametrize(
    ("lifecycle", "state", "sentence"),
    [
        (
            {"max_unavailable": 0},
            {},
            (
                "a.x: n1 cannot be taken: a.x allows 0 of its 5 nodes to be out of service"
                " (max_unavailable 0). Raise lifecycle:a.x:max_unavailable."
            ),
        ),
        (
            {"max_unavailable": "20%"},
            {"absent": ["n2"]},
            (
                "a.x: n1 cannot be taken: a.x allows 1 of its 5 nodes to be out of service"
                " (max_unavailable 20%), and n2 is down or absent already. Mend those first."
            ),
        ),
        (
            {"quorum": "majority", "max_unavailable": 5},
            {"absent": ["n4", "n5"]},
            (
                "a.x: n1 cannot be taken: a.x would lose its majority: it has 5 nodes, and n4-5 are"
                " down or absent already. Mend those first."
            ),
        ),
    ],
)
def test_nobody_can_be_taken(lifecycle, state, sentence):
    nodes = small({"a.x": FIVE}, {"a.x": lifecycle})
    with pytest.raises(PlanError) as caught:
        waves(nodes, "a.x", allow_absent=True, **state)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("role", ["galera.server", "rabbitmq.server"])
def test_a_member_that_is_down_can_be_worked_on_alone(role):
    demo = example("demo-core")
    node, others = "inf02.demo-core.test", {"inf01.demo-core.test", "inf03.demo-core.test"}
    now = facts(demo, down={role: frozenset({node})})

    def plan(**options):
        request = Request.read("change", "demo-core", options)
        return make(request, demo, demo, now, touched(demo, role), KNOWN)

    # it is proven by its form only, when all of them were touched
    with pytest.raises(PlanError) as caught:
        plan()
    assert f"or by this alone if that is what mends them: nodes={node}." in str(caught.value)
    (stage,) = plan(nodes=node).stages
    wave, formed = stage.waves
    assert wave.nodes == (node,)
    # the others carry on, and it itself is not asked whether it works
    asked = {check.node for check in wave.steps[0].checks if check.role == role}
    assert asked == others
    assert {check.node for check in formed.steps[-1].checks} == {node, *others}
    # no other one can be taken
    with pytest.raises(PlanError, match=r"inf01\S* cannot be taken"):
        plan(nodes="inf01")


def test_a_member_that_is_absent_is_not_offered_to_be_worked_on():
    nodes = small({"a.x": FIVE}, {"a.x": {"quorum": "majority", "form": "a.form"}})
    with pytest.raises(PlanError, match=r"Mend those first, or by this .*: nodes=n1,n2\.$"):
        waves(nodes, "a.x", down={"a.x": frozenset({"n1", "n2"})})
    with pytest.raises(PlanError, match=r"Mend those first, or by this .*: nodes=n1\.$"):
        waves(nodes, "a.x", down={"a.x": frozenset({"n1"})}, absent=["n2"], allow_absent=True)


def test_two_members_have_no_majority_to_spare():
    nodes = small({"a.x": ["n1", "n2"]}, {"a.x": {"quorum": "majority"}})
    with pytest.raises(PlanError, match=r"odd number of nodes.*or accept .* accept_outage=a\.x"):
        waves(nodes, "a.x")


def test_an_outage_that_is_accepted_is_told_as_one():
    nodes = small({"a.x": ["n1", "n2"]}, {"a.x": {"quorum": "majority"}})
    request = Request("change", "c", accept_outage=("a.x",))
    plan = make(request, nodes, nodes, facts(nodes), touched(nodes, "a.x"))
    stage = plan.stages[0]
    assert [wave.nodes for wave in stage.waves] == [("n1",), ("n2",)]
    assert stage.impact.control == "down"
    assert stage.impact.why == "a.x loses its majority meanwhile, as was accepted"
    assert plan.limits["accept_outage"] == ["a.x"]
    # where the majority can be kept nothing is lost, and other limits hold as ever
    five = small({"a.x": FIVE}, {"a.x": {"quorum": "majority", "max_unavailable": 1}})
    plan = make(request, five, five, facts(five), touched(five, "a.x"))
    assert [len(wave.nodes) for wave in plan.stages[0].waves] == [1] * 5
    assert plan.stages[0].impact.control == "degraded"
    # another role of the node keeps its own
    both = {"a.x": {"quorum": "majority"}, "b.y": {"quorum": "majority"}}
    nodes = small({"a.x": ["n1", "n2"], "b.y": ["n1", "n2"]}, both)
    with pytest.raises(PlanError, match=r"b\.y would lose its majority"):
        make(request, nodes, nodes, facts(nodes), touched(nodes, "a.x"))
    with pytest.raises(PlanError, match=r"accept_outage: no node carries the role z\.z"):
        waves(nodes, "a.x", accept_outage=("z.z",))


RACKED = {f"n{number:02}": {"rack": f"r{number % 4}"} for number in range(1, 41)}


@pytest.mark.parametrize(("several", "most", "racks"), [(1, 2, 1), (2, 4, 2), (9, 8, 4)])
def test_as_many_failure_domains_at_once_as_the_role_says(several, most, racks):
    told = {"max_unavailable": "20%", "domain": "rack", "domains": several}
    nodes = small({"a.x": sorted(RACKED)}, {"a.x": told}, RACKED)
    found = waves(nodes, "a.x", canary=0, percent=())[0]
    assert max(len(wave) for wave in found) == most
    for wave in found:
        names = [RACKED[node]["rack"] for node in wave]
        assert len({*names}) <= racks
        # a share of each rack, and of all of them
        assert all(names.count(name) <= 2 for name in names)


def test_a_number_of_failure_domains_that_is_none_is_refused():
    nodes = small({"a.x": ["n1"]}, {"a.x": {"domain": "rack", "domains": 0}})
    with pytest.raises(PlanError, match=r"n1: lifecycle:a\.x:domains: 0 is not a number of"):
        waves(nodes, "a.x")


def test_an_only_member_is_taken_and_the_plan_says_so():
    nodes = small({"a.x": ["n1"]}, {"a.x": {"quorum": "majority"}})
    plan = make(Request("change", "c"), nodes, nodes, facts(nodes), touched(nodes, "a.x"))
    assert plan.stages[0].impact.control == "down"
    assert plan.stages[0].impact.why == "a.x runs on n1 alone"


def test_an_unreadable_limit_is_refused_with_its_place():
    nodes = small({"a.x": ["n1"]}, {"a.x": {"max_unavailable": "some"}})
    with pytest.raises(PlanError, match=r"n1: lifecycle:a\.x:max_unavailable: 'some' is neither"):
        waves(nodes, "a.x")


def test_how_members_come_up_bounds_a_change():
    free = {"max_unavailable": "100%"}
    nodes = small({"a.x": FIVE}, {"a.x": {**free, "start": "serial"}})
    assert waves(nodes, "a.x", canary=0, percent=()) == [[(node,) for node in FIVE]]
    nodes = small({"a.x": FIVE}, {"a.x": {**free, "start": "first_then_rest"}})
    assert waves(nodes, "a.x", canary=0, percent=()) == [[("n1",), tuple(FIVE[1:])]]
