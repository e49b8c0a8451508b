"""The process beside a lab is found by whose it is, never by a number alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern.errors import LabError
from saltern.lab import background

SERVES = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "labs/demo"
    directory.mkdir(parents=True)
    yield directory
    background.end(directory, hard=True)


def start(lab: Path, program: str = SERVES) -> None:
    ready = lab / "socket"
    background.start(lab, [sys.executable, "-c", program, str(ready)], ready)


@pytest.mark.parametrize("hard", [False, True])
def test_it_is_started_found_and_ended(lab: Path, hard: bool) -> None:
    assert background.find(lab) is None
    start(lab)
    found = background.find(lab)
    assert found is not None
    background.end(lab, hard=hard)
    assert background.find(lab) is None
    assert not (lab / background.PID).exists()
    background.end(lab)


def test_a_number_that_is_somebody_elses_is_left_alone(lab: Path) -> None:
    (lab / background.PID).write_text(str(os.getpid()))
    assert background.find(lab) is None
    background.end(lab, hard=True)


def test_the_process_of_a_lab_with_a_longer_name_is_another(lab: Path) -> None:
    other = lab.with_name("demo-ceph")
    other.mkdir()
    start(other)
    try:
        (lab / background.PID).write_text((other / background.PID).read_text())
        assert background.find(lab) is None
    finally:
        background.end(other, hard=True)


def test_one_that_does_not_start_says_why(lab: Path) -> None:
    with pytest.raises(LabError, match="no such lab"):
        start(lab, "raise SystemExit('no such lab')")
