"""What a plan was made from, and what of it has moved since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saltern.plan.basis import Facts, basis, moved

FACTS = Facts(
    revision="b" * 40,
    deployed="a" * 40,
    pins={"n2": "c" * 40},
    present=("n2", "n1"),
    absent={"n3": "n3: no answer."},
    artifacts="one",
    formulas="two",
)


def test_nothing_moved():
    assert moved(basis(FACTS), FACTS) == []
    assert moved(basis(FACTS), basis(FACTS)) == []


def test_the_order_of_what_was_observed_does_not_matter():
    assert basis(replace(FACTS, present=("n1", "n2"))) == basis(FACTS)


def test_health_alone_does_not_move_a_plan():
    # the gates ask for it, wave by wave
    assert moved(basis(FACTS), replace(FACTS, down={"a.x": frozenset({"n1"})})) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"revision": "d" * 8},
            "The revision to reach was bbbbbbbbbbbb when the plan was made and is dddddddd now.",
        ),
        (
            {"deployed": ""},
            (
                "The deployed revision of the cluster was aaaaaaaaaaaa when the plan was made"
                " and is none now."
            ),
        ),
        (
            {"artifacts": "new"},
            "The content of the artifacts was one when the plan was made and is new now.",
        ),
        (
            {"formulas": "new"},
            "The content of the formulas was two when the plan was made and is new now.",
        ),
        (
            {"pins": {}},
            "n2 was pinned to cccccccccccc when the plan was made and is pinned to none now.",
        ),
        (
            {"present": ("n1",), "absent": {"n2": "", "n3": ""}},
            "n2 answered when the plan was made and does not now.",
        ),
        (
            {"present": ("n1", "n2", "n3"), "absent": {}},
            "n3 did not answer when the plan was made and does now.",
        ),
    ],
)
def test_each_thing_that_moved_is_named(change, sentence):
    assert moved(basis(FACTS), replace(FACTS, **change)) == [sentence]
