"""Every suite of the Kitchenfile converges, and the second time it changes nothing."""

from __future__ import annotations

import pytest

from tests.kitchen.conftest import Instance


def test_it_converges(instance: Instance) -> None:
    if not instance.runs:
        pytest.skip("Test Kitchen converged this instance itself")
    first = instance.runs[0]
    assert not first.problem
    assert not first.failed()
    assert first.states


def test_the_second_run_changes_nothing(instance: Instance) -> None:
    if not instance.runs:
        pytest.skip("Test Kitchen converged this instance itself")
    assert len(instance.runs) == 2
    second = instance.runs[1]
    assert not second.problem
    assert not second.failed()
    assert not second.changed()
