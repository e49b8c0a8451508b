"""Rows of probes: put together as they age, and in steps for a plot; nothing is lost or doubled."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from saltern.rollout.series import LADDER, POINTS, coarser, series, width


def row(second: int, probe: str = "a", requests: int = 1, failed: int = 0, gap: int = 0) -> Any:
    numbers = {"requests": requests, "failed": failed, "max_ms": 5, "gap_ms": gap}
    return {"probe": probe, "second": second, **numbers}


@given(st.sets(st.tuples(st.sampled_from("ab"), st.integers(0, 4 * 86400)), max_size=60))
def test_putting_together_loses_nothing_and_may_be_done_again(seconds: Any) -> None:
    rows = [row(second, probe, 3, second % 2, second % 7) for probe, second in sorted(seconds)]
    found = coarser(rows)
    assert coarser(found) == found
    for probe in "ab":
        mine, told = ([r for r in some if r["probe"] == probe] for some in (rows, found))
        for name in ("requests", "failed"):
            assert sum(r[name] for r in mine) == sum(r[name] for r in told)
        assert max((r["gap_ms"] for r in mine), default=0) == max(
            (r["gap_ms"] for r in told), default=0
        )
        covered = [second for r in told for second in range(r["second"], r["second"] + width(r))]
        assert len(covered) == len(set(covered)), "no second is in two rows"
        assert {r["second"] for r in mine} <= set(covered)
        newest = max((r["second"] for r in mine), default=0)
        for one in told:
            wide = max([1, *(w for w, age in LADDER if newest - one["second"] > age + w)])
            assert width(one) >= wide


@given(st.lists(st.integers(0, 30 * 86400), unique=True, min_size=1, max_size=50))
def test_a_plot_has_few_steps_and_every_request(seconds: list[int]) -> None:
    rows = coarser([row(second, "ab"[second % 2], failed=second % 3 == 0) for second in seconds])
    found = series(rows)
    assert sum(sum(one.requests) for one in found.values()) == len(seconds)
    assert sum(sum(one.failed) for one in found.values()) == sum(s % 3 == 0 for s in seconds)
    assert len({(one.width, one.begin, len(one.requests)) for one in found.values()}) == 1
    assert all(len(one.requests) <= POINTS for one in found.values())


def test_the_worst_moment_is_told() -> None:
    found = series([row(10), row(11, failed=1, gap=900), row(12, failed=1, gap=300)])["a"]
    assert (found.worst, found.worst_ms, found.failed) == (11, 900, (0, 1, 1))
    assert series([row(10)])["a"].worst is None
    assert series([]) == {}
