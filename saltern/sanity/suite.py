"""Run the API suite of the community (Tempest) on the node that has it, and read its result."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saltern.errors import PreflightError, SalternError
from saltern.rollout.ports import Bus, Clock, Events

#: The role whose node runs the suite.
ROLE = "tempest.client"
#: What runs when nothing is asked for: what upstream tags so.
SMOKE = "smoke"
#: Seconds between two looks at a run, and between two lines about it.
LOOK, TELL = 5.0, 30.0
#: Looks at a run that may fail one after another: the node's minion may be restarted meanwhile.
MISSES = 12
#: A skip of the suite's own begins with it.
_ID = "[id-"


class SuiteError(SalternError):
    """A run of the suite could not be begun, or ended without a result."""

    code = "stage"


@dataclass(frozen=True)
class Case:
    """One test.

    :param name: ``module.Class.test``, or ``setUpClass (module.Class)`` for one of a whole class
    :param outcome: ``passed``, ``failed`` or ``skipped``
    :param seconds: how long it took
    :param why: of a skip its reason; of a failure its last line
    """

    name: str
    outcome: str
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    :param run: its name on the node
    :param node: minion id
    :param cases: its tests
    :param excluded: ``(regex, reason)`` of what was left out
    :param seconds: from its begin to its end
    """

    run: str
    node: str
    cases: tuple[Case, ...]
    excluded: tuple[tuple[str, str], ...]
    seconds: float

    def count(self, outcome: str) -> int:
        """Return how many tests ended so."""
        return sum(case.outcome == outcome for case in self.cases)

    @property
    def failures(self) -> list[str]:
        """One sentence per failed test."""
        return [f"{case.name}: {case.why}" for case in self.cases if case.outcome == "failed"]

    @property
    def ok(self) -> bool:
        """Whether something passed and nothing failed."""
        return self.count("passed") > 0 and not self.count("failed")

    def skips(self) -> list[tuple[str, int]]:
        """Return why tests were skipped, with how many, most first."""
        found = Counter(case.why for case in self.cases if case.outcome == "skipped")
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    @property
    def comment(self) -> str:
        """The run in one line, with every failure."""
        counts = ", ".join(f"{self.count(word)} {word}" for word in ("passed", "failed", "skipped"))
        line = f"API suite, run {self.run}: {counts} in {self.seconds:.0f} s."
        if not self.cases:
            return f"{line} No test was chosen: look at the regular expression."
        return " ".join([line, *(f"{failure}." for failure in self.failures)])

    def table(self) -> str:
        """Return counts, failures and the reasons of skips as plain text."""
        lines = [self.comment.split(". ", 1)[0].rstrip(".") + "."]
        lines += [f"FAILED  {failure}" for failure in self.failures]
        lines += [f"skipped {count:4d}  {why}" for why, count in self.skips()]
        lines += [f"left out      {regex}: {why}" for regex, why in self.excluded]
        return "\n".join(lines)


def read(junit: str) -> tuple[Case, ...]:
    """Read JUnit XML as the suite's node writes it.

    :param junit: the document
    :raises SuiteError: it is none
    """
    try:
        # written by the cluster's own node, and expat limits what entities expand to
        root = ET.fromstring(junit)  # noqa: S314
    except ET.ParseError as err:
        raise SuiteError(f"the result is no JUnit XML: {err}") from None
    return tuple(_case(element) for element in root.iter("testcase"))


def _case(element: ET.Element) -> Case:
    group, name = element.get("classname", ""), element.get("name", "").partition(_ID)[0]
    full = f"{group}.{name}" if group else name
    seconds = float(element.get("time") or 0)
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = element.find(tag)
        if found is not None:
            lines = [line.strip() for line in (found.text or "").splitlines() if line.strip()]
            why = lines[-1] if lines else found.get("message") or found.get("type") or "no reason"
            return Case(full, outcome, seconds, why.rstrip("."))
    return Case(full, "passed", seconds)


def run(
    bus: Bus,
    clock: Clock,
    events: Events,
    nodes: Sequence[str],
    *,
    regex: Sequence[str] = (SMOKE,),
    concurrency: int = 2,
    exclude: Sequence[str] = (),
    limit: float = 7200,
) -> tuple[Outcome, str]:
    """Begin a run, wait for its end and fetch its result.

    :param nodes: that carry :data:`ROLE`; the first one runs it
    :param regex: tests that match one of these run
    :param concurrency: workers
    :param exclude: further expressions of tests to leave out
    :param limit: seconds after which the run is stopped
    :returns: what it found, and its JUnit XML
    :raises PreflightError: no node has the suite
    :raises SuiteError: it did not begin, took too long, or left no result
    """
    if not nodes:
        raise PreflightError(
            f"no node carries {ROLE}", cure="Include system.openstack.suite for the deploy node"
        )
    suite = _Suite(bus, nodes[0])
    asked = {"regex": list(regex), "concurrency": concurrency, "exclude": list(exclude)}
    begun = suite.ask("start", **asked)
    name, begin = begun["run"], clock.now()
    events.emit("suite/begin", {"run": name, "node": nodes[0], **asked}, f"API suite, run {name}")
    last, told, missed = {"active": True}, begin, 0
    while last["active"]:
        clock.sleep(LOOK)
        try:
            last, missed = suite.ask("status", name), 0
        except SuiteError:
            missed += 1
            if missed >= MISSES:
                raise
        if clock.now() - told >= TELL and not missed:
            told = clock.now()
            counts = {word: last[word] for word in ("passed", "failed", "skipped")}
            line = ", ".join(f"{count} {word}" for word, count in counts.items())
            events.emit("suite/progress", {"run": name, **counts}, f"API suite: {line}")
        if clock.now() - begin > limit:
            suite.ask("stop", name)
            raise SuiteError(
                f"run {name} took longer than {limit:.0f} s and was stopped",
                where=nodes[0],
                cure=f"Read /var/lib/tempest/{name}/run.log there, or give it more time",
            )
    if not last.get("bytes"):
        said = (str(last.get("log") or "").strip().splitlines() or ["its log is empty"])[-1]
        raise SuiteError(
            f"run {name} left no result: {said}",
            where=nodes[0],
            cure=f"Read /var/lib/tempest/{name}/run.log there",
        )
    junit = suite.result(name)
    excluded = tuple((row["regex"], row["reason"]) for row in begun["excluded"])
    return Outcome(name, nodes[0], read(junit), excluded, clock.now() - begin), junit


@dataclass(frozen=True)
class _Suite:
    """The module of the node that has the suite."""

    bus: Bus
    node: str

    def ask(self, verb: str, *arguments: Any, **keywords: Any) -> Any:
        answer = self.bus.call([self.node], f"tempest_suite.{verb}", arguments, keywords)[self.node]
        if not answer.ok:
            if not isinstance(answer.data, str):
                raise SuiteError(answer.sentence or f"{self.node} did not answer")
            raise SuiteError(answer.data.removeprefix("ERROR: "), where=self.node)
        return answer.data

    def result(self, name: str) -> str:
        pieces = [""]
        while piece := self.ask("result", name, sum(map(len, pieces))):
            pieces.append(piece)
        return "".join(pieces)
