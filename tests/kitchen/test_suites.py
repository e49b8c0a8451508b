"""Every suite of the Kitchenfile converges, and the second time it changes nothing."""

from __future__ import annotations

import pytest

from tests.kitchen.conftest import SUITES, Instance
from tests.support import TREE


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


def test_every_suite_has_its_verifier() -> None:
    names = {suite.name for suite in SUITES}
    directories = {path.parent.name for path in (TREE / "tests/kitchen").glob("*/test_*.py")}
    assert names == directories


def test_every_role_with_a_formula_is_in_a_suite() -> None:
    """openstack.resources and the master's roles need a cluster: the lab tests cover them."""
    covered = {state for suite in SUITES for state in suite.states}
    roles = {
        f"{path.parent.name}.{path.stem}"
        for path in (TREE / "classes/service").glob("*/*.yml")
        if path.stem != "init"
    }
    by_the_lab = {"openstack.resources", "salt.master", "salt.api", "keystone.keys"}
    assert roles - by_the_lab <= covered
