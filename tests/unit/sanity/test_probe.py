"""The probe's bookkeeping: rate, failures, and the longest time without a token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("openstack")

from hypothesis import given
from hypothesis import strategies as st

from saltern.sanity import probe as module
from saltern.sanity.probe import Outcome, probe


class Service:
    """A service with a virtual clock: each attempt takes a while and works or not.

    :param down: from when to when it does not answer
    :param takes: seconds of an attempt that works
    :param hangs: seconds of one that does not
    """

    def __init__(self, down: tuple[float, float] = (-1, -1), takes=0.1, hangs=3.0) -> None:
        self.now, self.down, self.takes, self.hangs = 100.0, down, takes, hangs
        self.begun: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def issue(self) -> str:
        start = self.now - 100.0
        self.begun.append(start)
        if self.down[0] <= start < self.down[1]:
            self.now += self.hangs
            raise ConnectionError("no answer")
        self.now += self.takes
        return "token"

    def probe(self, seconds: float, interval: float) -> Outcome:
        return probe(self.issue, seconds, interval, self.clock, self.sleep)


def test_a_service_that_answers() -> None:
    service = Service()
    outcome = service.probe(seconds=10, interval=0.5)
    assert len(service.begun) == 20
    assert service.begun == pytest.approx([n * 0.5 for n in range(20)])
    assert outcome.to_json()["failures"] == 0
    assert outcome.longest_gap == pytest.approx(0.5)


def test_an_outage_is_measured_from_the_last_token_to_the_next() -> None:
    outcome = Service(down=(5.0, 9.0)).probe(seconds=20, interval=0.5)
    # tokens at 4.6 and, after attempts at 5 and 8 that hang for 3 s, at 11.1
    assert outcome.longest_gap == pytest.approx(11.1 - 4.6)
    assert len(outcome.failures) == 2
    shown = outcome.to_json()
    assert (shown["first_failure"], shown["last_failure"]) == (8.0, 11.0)
    assert shown["last_error"] == "no answer"


@pytest.mark.parametrize("down", [(0.0, 99.0), (6.0, 99.0)])
def test_an_outage_without_end_counts_up_to_the_end(down: tuple[float, float]) -> None:
    outcome = Service(down=down).probe(seconds=10, interval=1)
    assert outcome.longest_gap >= 10 - down[0]


@given(
    st.floats(0, 20),
    st.floats(0, 20),
    st.floats(0.01, 2),
    st.floats(0.05, 2),
)
def test_a_gap_is_never_shorter_than_the_outage_it_saw(
    start: float, length: float, hangs: float, interval: float
) -> None:
    service = Service(down=(start, start + length), hangs=hangs)
    outcome = service.probe(seconds=30, interval=interval)
    assert len(outcome.failures) + len(outcome.successes) == len(service.begun)
    if outcome.failures:
        inside = [t for t in service.begun if start <= t < start + length]
        assert outcome.longest_gap >= inside[-1] - inside[0]
    assert outcome.longest_gap <= outcome.seconds + 1e-9
    # the rate is bounded
    gaps = [b - a for a, b in zip(service.begun, service.begun[1:], strict=False)]
    assert all(gap >= interval - 1e-6 for gap in gaps)


def test_no_credentials_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {}}))
    assert module.cli(["--clouds-file", str(file), "--cloud", "nobody"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert "nobody" in shown.err
