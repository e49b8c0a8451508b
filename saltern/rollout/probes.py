"""Measure all through a rollout: start the probes on their nodes, read their seconds, judge them.

The measuring runs on the nodes in processes of its own (``_modules/probe.py``), so it goes on while
the engine, the master or the minion restarts. What is read is a *row*: one probe in one second,
``{probe, second, requests, failed, max_ms, gap_ms}``, where ``gap_ms`` is how long the target had
been failing, from the begin of its first failed request to its next good one. Rows go to the
journal as they come; nothing else of what a node returns does. Those that are old are put together
there and here (:mod:`saltern.rollout.series`), so a row may stand for several seconds (``width``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from saltern.errors import BusError
from saltern.plan.types import Probe
from saltern.rollout.ports import Call, Clock, Job, JobBus, Return
from saltern.rollout.series import coarser, width

#: Seconds between two readings at least.
EVERY = 10.0
#: A probe that nobody reads for so many seconds ends by itself.
TTL = 3600.0
#: Seconds without a row after which a probe that a limit is set on counts as silent.
SILENCE = 120.0
#: Seconds that a node has for an answer; a reading that fails is repeated, so it is not chased …
PATIENCE, LIMIT = 8.0, 20.0
#: … but only after so many seconds, as the rollout waits meanwhile.
AGAIN = 60.0
#: Seconds that starting and stopping may take.
START_LIMIT = 120.0
#: After so many new rows the old ones in memory are put together.
MANY = 5000
#: numbers of a row
NUMBERS = ("second", "requests", "failed", "max_ms", "gap_ms")

Row = Mapping[str, Any]


class Samples(Protocol):
    """Where rows are kept; the journal has it."""

    def sample(self, rollout: str, rows: Sequence[Row]) -> None:
        """Keep rows; one that is there already (same probe and second) stays as it is."""
        ...

    def samples(self, rollout: str) -> Sequence[Row]:
        """Return all rows of a rollout, oldest first."""
        ...


@dataclass(frozen=True)
class Summary:
    """What one probe saw.

    :param name: of the probe
    :param title: for people
    :param requests: how many ended
    :param failed: how many of them failed
    :param max_ms: the slowest, in milliseconds
    :param gap_ms: the longest time without a good answer, in milliseconds
    :param seconds: for how many seconds there are rows
    """

    name: str
    title: str
    requests: int = 0
    failed: int = 0
    max_ms: int = 0
    gap_ms: int = 0
    seconds: int = 0

    @property
    def sentence(self) -> str:
        """``Keystone API: 4,812 requests, 0 failed, longest gap 0 ms, slowest 80 ms.``"""
        if not self.requests:
            return f"{self.title}: nothing was measured."
        return (
            f"{self.title}: {self.requests:,} requests, {self.failed:,} failed,"
            f" longest gap {self.gap_ms:,} ms, slowest {self.max_ms:,} ms."
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, the sentence included."""
        return {**asdict(self), "sentence": self.sentence}


def summaries(probes: Sequence[Probe], rows: Iterable[Row]) -> tuple[Summary, ...]:
    """Add up rows, one summary for each probe in their order.

    :param probes: of the plan
    :param rows: of its rollout; those of other probes are left out
    """
    found: dict[str, list[Row]] = {probe.name: [] for probe in probes}
    for row in rows:
        if row.get("probe") in found:
            found[str(row["probe"])].append(row)
    return tuple(
        Summary(
            name=probe.name,
            title=_title(probe),
            requests=sum(int(row["requests"]) for row in found[probe.name]),
            failed=sum(int(row["failed"]) for row in found[probe.name]),
            max_ms=max((int(row["max_ms"]) for row in found[probe.name]), default=0),
            gap_ms=max((int(row["gap_ms"]) for row in found[probe.name]), default=0),
            seconds=sum(width(row) for row in found[probe.name]),
        )
        for probe in probes
    )


def missed(slo: Mapping[str, float], probes: Sequence[Probe], rows: Sequence[Row]) -> list[str]:
    """Say which limits were missed, one sentence each.

    :param slo: probe to the share of failed requests that is allowed, 0.0 for none
    :param probes: of the plan
    :param rows: of the time that the limits are about
    """
    return [
        f"{summary.title}: {summary.failed:,} of {summary.requests:,} requests failed"
        f" ({100 * summary.failed / summary.requests:.2f} %, allowed {100 * limit:g} %),"
        f" longest gap {summary.gap_ms:,} ms."
        for summary in summaries(probes, rows)
        for limit in [slo.get(summary.name)]
        if limit is not None and summary.requests and summary.failed > limit * summary.requests
    ]


class ProbeWatch:
    """The probes of one rollout; a :class:`saltern.rollout.outcome.Watch`.

    :param bus: where the nodes are asked
    :param journal: where rows are kept; what it has of the rollout already is counted on
    :param clock: seconds since the epoch
    :param rollout: id of the rollout, the name of the measurement on the nodes
    :param probes: of its plan
    """

    def __init__(
        self, bus: JobBus, journal: Samples, clock: Clock, rollout: str, probes: Sequence[Probe]
    ) -> None:
        self.bus = bus
        self.journal = journal
        self.clock = clock
        self.rollout = rollout
        self.probes = tuple(probes)
        self.rows: list[Row] = list(journal.samples(rollout)) if probes else []
        self._node = {probe.name: probe.node for probe in self.probes}
        self._specs: dict[str, list[dict[str, Any]]] = {}
        for probe in self.probes:
            self._specs.setdefault(probe.node, []).append(_spec(probe))
        self._read: dict[str, int] = {}  # node -> its last second that was read
        for row in self.rows:
            node = self._node.get(str(row["probe"]), "")
            self._read[node] = max(self._read.get(node, 0), int(row["second"]) + width(row) - 1)
        self._readings, self._thinned = 0, 0  # how often rows came; how many there were then
        self._heard: dict[str, float] = {}  # probe -> when a row of it came last
        self._asked = float("-inf")
        self._later: dict[str, float] = {}  # node -> when it may be read again
        self._judged: tuple[Any, list[str]] = (None, [])  # what was asked, which limits were missed
        #: node -> why its probes could not be started or stopped, the last time that was tried
        self.troubles: dict[str, str] = {}

    def start(self) -> tuple[str, ...]:
        """Start what does not run yet; may be called again at any time.

        Nothing raises: a node that does not do it is in :attr:`troubles`, and :meth:`broken` tells
        it when a limit is set on one of its probes.

        :returns: a sentence for each node that could not
        """
        now = self.clock.now()
        self._heard = {probe.name: now for probe in self.probes}
        self._start(self._specs)
        return tuple(self.troubles.values())

    def poll(
        self, slo: Mapping[str, float] | None = None, since: float = 0.0, *, force: bool = False
    ) -> tuple[str, ...]:
        """Read new rows, at most every :data:`EVERY` seconds, and say which limits do not hold.

        A node that does not answer is asked again after :data:`AGAIN` seconds; one whose probes
        ended is told to start them anew.

        :param slo: limits, and
        :param since: begin of their time, as in :meth:`broken`
        :param force: read though the last reading was just now
        :returns: one sentence each
        """
        now = self.clock.now()
        if self.probes and (force or now - self._asked >= EVERY):
            self._asked = now
            asked = [n for n in self._specs if force or now >= self._later.get(n, now)]
            answers = self._ask("probe.read", lambda node: (self._read.get(node, 0),), asked)
            for node, answer in answers.items():
                self._later[node] = now if answer.ok else now + AGAIN
            ended = self._take(answers)
            if ended:
                self._start(ended)
        return tuple(self.broken(slo or {}, since))

    def broken(self, slo: Mapping[str, float], since: float = 0.0) -> list[str]:
        """Say which limits do not hold, from what was read so far.

        A limit that nobody watches does not hold either: a probe that could not be started, or that
        has told nothing for :data:`SILENCE` seconds.

        :param slo: as of :attr:`saltern.plan.types.Stage.slo`
        :param since: begin of the time that the limits are about, seconds since the epoch
        :returns: one sentence each
        """
        if not slo:
            return []
        asked = (tuple(sorted(slo.items())), int(since), self._readings)
        if asked != self._judged[0]:  # asked about once a second, read every ten
            # a row that began before stands for seconds after, too: rather counted than lost
            rows = [row for row in self.rows if row["second"] + width(row) > int(since)]
            self._judged = (asked, missed(slo, self.probes, rows))
        found = list(self._judged[1])
        now = self.clock.now()
        for probe in self.probes:
            if probe.name not in slo:
                continue
            trouble = self.troubles.get(probe.node)
            if trouble:
                found.append(f"{_title(probe)}: cannot be measured: {trouble}")
            elif now - self._heard.setdefault(probe.name, now) > SILENCE:
                found.append(f"{_title(probe)}: nothing was measured for {SILENCE:.0f} s.")
        return found

    def stop(self) -> tuple[str, ...]:
        """Read what is left and end the measuring; may be called again.

        Probes that cannot be ended now (:attr:`troubles`) end by themselves, unread.

        :returns: a sentence for each node that did not end its own
        """
        answers = self._ask(
            "probe.stop", lambda node: (self._read.get(node, 0),), self._specs, START_LIMIT
        )
        self._note(answers)
        self._take(answers)
        return tuple(self.troubles.values())

    def summary(self) -> tuple[Summary, ...]:
        """Add up what was measured so far, one summary a probe."""
        return summaries(self.probes, self.rows)

    def _start(self, nodes: Iterable[str]) -> None:
        self._note(
            self._ask("probe.start", lambda node: (self._specs[node], TTL), nodes, START_LIMIT)
        )

    def _note(self, answers: Mapping[str, Return]) -> None:
        for node, answer in answers.items():
            self.troubles.pop(node, None)
            if not answer.ok:
                self.troubles[node] = answer.sentence

    def _ask(
        self,
        fun: str,
        more: Callable[[str], tuple[Any, ...]],
        nodes: Iterable[str],
        limit: float = LIMIT,
    ) -> dict[str, Return]:
        """Call a function on each node with its own arguments; a bus that fails is an answer."""
        names = list(nodes)
        if not names:
            return {}
        calls = [
            Call(
                (node,),
                fun,
                (self.rollout, *more(node)),
                timeout=PATIENCE,
                limit=limit,
                chase=limit > LIMIT,
                again=limit > LIMIT,
            )
            for node in names
        ]
        try:
            jobs = [Job(self.bus.new_jid(), call) for call in calls]
            for job in jobs:
                self.bus.publish(job)
            answers = self.bus.collect(jobs)
        except BusError as err:
            return {node: Return(node, False, sentence=f"{node}: {err}") for node in names}
        return {node: found[node] for node, found in zip(names, answers, strict=True)}

    def _take(self, answers: Mapping[str, Return]) -> list[str]:
        """Keep the rows of what was answered; return the nodes whose probes run no more."""
        ended, fresh = [], []
        now = self.clock.now()
        for node, answer in answers.items():
            if not answer.ok or not isinstance(answer.data, Mapping):
                continue
            if answer.data.get("running") is not True:
                ended.append(node)
            known = {spec["name"] for spec in self._specs[node]}
            last = self._read.get(node, 0)
            for given in answer.data.get("rows") or ():
                row = _row(given)
                if row and row["probe"] in known and row["second"] > last:
                    fresh.append(row)
                    self._read[node] = max(self._read.get(node, 0), row["second"])
                    self._heard[row["probe"]] = now
        if fresh:
            self.journal.sample(self.rollout, fresh)
            self.rows += fresh
            self._readings += 1
            if len(self.rows) > self._thinned + MANY:
                self.rows = coarser(self.rows)
                self._thinned = len(self.rows)
        return ended


def _title(probe: Probe) -> str:
    return str(probe.options.get("title") or probe.name)


def _spec(probe: Probe) -> dict[str, Any]:
    return {
        "name": probe.name,
        "kind": probe.kind,
        "target": probe.target,
        "options": dict(probe.options),
        "interval": probe.interval,
        "timeout": probe.timeout,
    }


def _row(given: Any) -> dict[str, Any] | None:
    """A row of what a node told; None for what is none."""
    try:
        return {"probe": str(given["probe"])} | {k: int(given[k]) for k in NUMBERS}
    except (TypeError, KeyError, ValueError):
        return None
