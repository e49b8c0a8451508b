"""A run of the API suite: begun, followed over lost answers, fetched in pieces, counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from saltern.adapters.journal import Journal
from saltern.adapters.suites import Suites, keep
from saltern.errors import PreflightError
from saltern.rollout.ports import Return
from saltern.sanity import suite

NODE = "cfg01.test"
RUN = "20260131T120000Z"
JUNIT = """<testsuite tests="4">
<testcase classname="tempest.api.image.Images" name="test_index[id-1,smoke]" time="1.5"/>
<testcase classname="tempest.api.image.Images" name="test_up[id-2]" time="0.5">
<failure type="MismatchError">Traceback
  File "x"
testtools.MismatchError: 1 != 2
</failure></testcase>
<testcase classname="tempest.api.volume.Backups" name="setUpClass" time="0">
<skipped>Cinder backup feature disabled</skipped></testcase>
<testcase classname="" name="setUpClass (tempest.api.Other)" time="0">
<error>Broken.</error></testcase>
</testsuite>"""
GOOD = '<testsuite><testcase classname="a.B" name="test_c" time="1"/></testsuite>'


class Node:
    """A bus with the one node of the suite."""

    def __init__(self, junit: str = JUNIT, looks: Sequence[Any] = ()) -> None:
        self.junit, self.looks = junit, list(looks)
        self.called: list[tuple[str, tuple[Any, ...]]] = []
        self.fault = ""

    def call(
        self,
        nodes: Sequence[str],
        fun: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
        timeout: float = 60,
    ) -> dict[str, Return]:
        (node,) = nodes
        verb = fun.removeprefix("tempest_suite.")
        self.called.append((verb, tuple(arg)))
        if self.fault:
            return {node: Return(node, False, f"ERROR: {self.fault}", 1)}
        answer: Callable[..., Any] = getattr(self, verb)
        found = answer(*arg, **(kwarg or {}))
        if found is None:
            return {node: Return(node, False, silent=True, sentence=f"{node} did not answer")}
        return {node: Return(node, True, found)}

    def start(self, regex: list[str], concurrency: int, exclude: list[str]) -> Any:
        return {"run": RUN, "excluded": [{"regex": "slow", "reason": "an hour"}]}

    def status(self, run: str) -> Any:
        found = {"passed": 0, "failed": 0, "skipped": 0, "bytes": None, "log": ""}
        if self.looks:
            look = self.looks.pop(0)
            return None if look is None else {**found, **look}
        return {**found, "active": False, "bytes": len(self.junit)}

    def result(self, run: str, offset: int) -> str:
        return self.junit[offset : offset + 100]

    def stop(self, run: str) -> bool:
        return True


class Clock:
    """A clock that is moved by waiting."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Told:
    """What was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def emit(self, tag: str, data: Mapping[str, Any], line: str = "") -> None:
        self.lines.append(line)


def run(node: Node, told: Told | None = None, **keywords: Any) -> tuple[suite.Outcome, str]:
    return suite.run(node, Clock(), told or Told(), [NODE, "other"], **keywords)


def test_a_run_is_followed_and_counted() -> None:
    node, told = Node(looks=[{"active": True, "passed": 3}] * 7), Told()
    outcome, junit = run(node, told)
    assert junit == JUNIT
    assert (outcome.ok, outcome.seconds, outcome.run) == (False, 40.0, RUN)
    counts = {word: outcome.count(word) for word in ("passed", "failed", "skipped")}
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert outcome.failures == [
        "tempest.api.image.Images.test_up: testtools.MismatchError: 1 != 2",
        "setUpClass (tempest.api.Other): Broken",
    ]
    assert outcome.skips() == [("Cinder backup feature disabled", 1)]
    assert "left out      slow: an hour" in outcome.table()
    assert told.lines == [f"API suite, run {RUN}", "API suite: 3 passed, 0 failed, 0 skipped"]


@pytest.mark.parametrize(
    ("junit", "ok", "word"),
    [
        (GOOD, True, "1 passed"),
        ("<testsuite/>", False, "No test was chosen"),
        (
            '<testsuite><testcase name="x"><skipped>no</skipped></testcase></testsuite>',
            False,
            "1 s",
        ),
    ],
)
def test_only_a_pass_is_a_success(junit: str, ok: bool, word: str) -> None:
    outcome, _ = run(Node(junit))
    assert outcome.ok is ok
    assert word in outcome.comment


def test_a_broken_result_is_told() -> None:
    with pytest.raises(suite.SuiteError, match="no JUnit XML"):
        run(Node("<testsuite>"))


def test_lost_answers_do_not_end_it_but_a_lost_node_does() -> None:
    lost = [None] * (suite.MISSES - 1)
    assert run(Node(GOOD, [*lost, {"active": True}, *lost]))[0].ok
    with pytest.raises(suite.SuiteError, match="did not answer"):
        run(Node(GOOD, [*lost, None]))


def test_a_run_without_result_shows_the_end_of_its_log() -> None:
    with pytest.raises(suite.SuiteError, match=r"no result: boom\. Read /var/lib/tempest"):
        run(Node(looks=[{"active": False, "log": "one\nboom\n"}]))


def test_a_run_that_takes_too_long_is_stopped() -> None:
    node = Node(looks=[{"active": True}] * 9)
    with pytest.raises(suite.SuiteError, match="longer than 20 s"):
        run(node, limit=20)
    assert node.called[-1] == ("stop", (RUN,))


def test_a_refusal_of_the_node_is_its_sentence() -> None:
    node = Node()
    node.fault = "Run 1 goes on."
    with pytest.raises(suite.SuiteError, match=r"^cfg01.test: Run 1 goes on\.$"):
        run(node)


def test_a_cluster_without_the_suite_is_refused() -> None:
    with pytest.raises(PreflightError, match=r"no node carries tempest\.client"):
        suite.run(Node(), Clock(), Told(), [])


def test_history_is_kept(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/journal/journal.db")
    journal.prepare()
    outcome, junit = run(Node())
    path = keep(journal, "c1", outcome, junit)
    assert path == tmp_path / "journal/suites/c1" / f"{RUN}.xml"
    assert path.read_text() == JUNIT
    asked = {"regex": ["smoke"], "concurrency": 2, "exclude": []}
    store = Suites(journal, now=lambda: 5.0)
    store.note("c1", outcome, asked, "ann", path)
    store.note("c2", outcome, asked, "ann", path)
    (row,) = store.history("c1")
    assert row["failures"] == outcome.failures
    assert (row["passed"], row["failed"], row["skipped"]) == (1, 2, 1)
    assert (row["by"], row["at"], row["asked"], row["junit"]) == ("ann", 5.0, asked, str(path))
