"""A world for the rollout engine that replays: bus, clock, journal, events, probes.

What a rollout leaves behind (jobs, effects on nodes, the journal) is kept apart from what a process
is (the objects that hold a :class:`Crash`), so that a process may die at any point and another one
goes on with the same world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from saltern.errors import BusError, JournalError, LockedError
from saltern.plan.types import Plan
from saltern.rollout.ports import (
    INTENT,
    OVER,
    PLANNED,
    Call,
    Job,
    Lease,
    NodeResult,
    Return,
    RolloutState,
    StepRecord,
    Tick,
    Wishes,
)
from saltern.rollout.returns import judge, silent


class Killed(BaseException):
    """The process is no more; nothing catches it."""


@dataclass
class Crash:
    """Counts the points at which a process can die, and lets it die at one of them.

    :param at: number of the point, from 0; None for never
    :param passed: names of the points that were passed
    """

    at: int | None = None
    passed: list[str] = field(default_factory=list)
    dead: bool = False

    def __call__(self, name: str) -> None:
        if self.dead:
            raise Killed(name)
        if self.at == len(self.passed):
            self.dead = True
            self.die(name)
        self.passed.append(name)

    def die(self, name: str) -> None:
        """End the process; one that is real does not come back from here."""
        raise Killed(name)


# -- time and telling ----------------------------------------------------------------------------


@dataclass
class FakeClock:
    """A clock that stands still until someone sleeps."""

    time: float = 1_000_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.time += seconds


@dataclass
class FakeEvents:
    """Keeps what was told."""

    told: list[tuple[str, Mapping[str, Any], str]] = field(default_factory=list)

    def emit(self, tag: str, data: Mapping[str, Any], line: str = "") -> None:
        self.told.append((tag, data, line))

    def tags(self) -> list[str]:
        """Tags in their order, without ``rollout/<id>/``."""
        return [tag.split("/", 2)[2] for tag, _, _ in self.told]

    def lines(self) -> list[str]:
        return [line for _, _, line in self.told if line]


@dataclass
class FakeWatch:
    """Probes that miss their limits from some reading on.

    :param misses: number of the reading of limits, from 0, to the sentences
    """

    misses: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    limits: list[Mapping[str, float]] = field(default_factory=list)

    def start(self) -> tuple[str, ...]:
        self.calls.append("start")
        return ()

    def poll(
        self, slo: Mapping[str, float] | None = None, since: float = 0.0, *, force: bool = False
    ) -> tuple[str, ...]:
        del since, force
        self.calls.append("poll")
        if not slo:
            return ()
        self.limits.append(slo)
        return self.misses.get(len(self.limits) - 1, ())

    def stop(self) -> tuple[str, ...]:
        self.calls.append("stop")
        return ()


# -- the fleet -----------------------------------------------------------------------------------

# What a node makes of a call.
WORKS = "works"
FAILS = "fails"  # it runs, and says that it did not work
SAYS_NO = "says no"  # it runs and returns False
UNWELL = "unwell"  # it works, and says that something is not well all the same
MUTE = "mute"  # it runs, but its return gets lost for good
LOSES = "loses"  # it never runs, though the node is there
GONE = "gone"  # it never runs, and the node is not there

#: of node and call, and how often the node was called with that function before
Script = Callable[[str, Call, int], str]


def works(node: str, call: Call, before: int) -> str:
    """Everything works."""
    del node, call, before
    return WORKS


def scripted(*faults: tuple[str, str, str] | tuple[str, str, str, int]) -> Script:
    """A script of ``(function, node, what happens)``; a fourth item limits it to so many times."""

    def script(node: str, call: Call, before: int) -> str:
        for fun, whom, what, *times in faults:
            if fun == call.fun and whom == node and (not times or before < int(times[0])):
                return what
        return WORKS

    return script


@dataclass
class World:
    """What is there whether an engine runs or not.

    :param jobs: every published job
    :param returns: what is in the job cache, by job id
    :param ran: how often each ``(job id, node)`` was carried out
    :param out: ``(server, proxy)`` that are drained
    :param roles: node to what was applied on it last
    :param away: nodes that are not there
    :param told: how often each ``(function, node)`` was published
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    returns: dict[str, dict[str, Return]] = field(default_factory=dict)
    ran: Counter[tuple[str, str]] = field(default_factory=Counter)
    out: set[tuple[str, str]] = field(default_factory=set)
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    ids: int = 0

    def executions(self) -> Counter[tuple[str, str, str]]:
        """How often each function ran on each node, by ``(function, arguments, node)``."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (jid, node), times in self.ran.items():
            call = self.jobs[jid].call
            found[call.fun, repr((call.arg, dict(call.kwarg))), node] += times
        return found


def questions_of(node: str, call: Call) -> list[Mapping[str, Any]]:
    """What ``health.check`` asks one node: a list for all, or the node's part of a mapping."""
    (asked,) = call.arg
    return list(asked[node] if isinstance(asked, Mapping) else asked)


def answer_of(node: str, call: Call) -> Any:
    """What a node returns for a call that works."""
    if call.fun == "health.check":
        fine = {"ok": True, "verdict": "ok", "code": "ok", "sentence": "fine."}
        return [{"check": check, **fine} for check in questions_of(node, call)]
    if call.fun == "state.apply":
        return {
            f"file_|-{role}_|-/etc/{role}_|-managed": {
                "result": True,
                "changes": {"diff": "secret"},
                "comment": "",
                "__run_num__": number,
            }
            for number, role in enumerate(call.kwarg["mods"])
        }
    return True


@dataclass
class FakeBus:
    """A bus over a :class:`World`; what is published is carried out at once.

    :param script: what nodes make of calls
    :param clock: moves on while a silent node is waited for
    :param limit: most nodes of one wave that may be drained at the same time; asserted
    """

    world: World = field(default_factory=World)
    script: Script = works
    clock: FakeClock = field(default_factory=FakeClock)
    crash: Crash = field(default_factory=Crash)
    refuses: Callable[[Call], bool] = field(default=lambda call: False)
    published: list[Call] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    on_publish: Callable[[Call], None] = field(default=lambda call: None)

    def new_jid(self) -> str:
        self.world.ids += 1
        return f"{self.world.ids:020d}"

    def publish(self, job: Job) -> None:
        assert job.jid, "a job without an id cannot be found again"
        assert job.call.nodes, "a job without nodes"
        if self.refuses(job.call):
            raise BusError(f"{job.call.fun} was refused by the master")
        self.crash(f"publish {job.call.fun}")
        self.carry_out(job)
        self.published.append(job.call)
        self.on_publish(job.call)
        self.crash(f"published {job.call.fun}")

    def carry_out(self, job: Job) -> None:
        """Let the nodes do what they are told."""
        call, world = job.call, self.world
        assert job.jid not in world.jobs, f"{job.jid} was published twice"
        world.jobs[job.jid] = job
        found = world.returns.setdefault(job.jid, {})
        for node in call.nodes:
            before = world.told[call.fun, node]
            world.told[call.fun, node] += 1
            what = GONE if node in world.away else self.script(node, call, before)
            if what in (LOSES, GONE):
                continue
            world.ran[job.jid, node] += 1
            if what == FAILS:
                found[node] = judge(node, f"{call.fun} did not work", 1, job.jid)
            elif what == SAYS_NO:
                found[node] = judge(node, False, 0, job.jid)
            else:
                self.effect(node, call)
                if what == UNWELL:
                    data = {"ok": False, "sentence": f"{call.fun} sees it down"}
                    found[node] = judge(node, data, 0, job.jid)
                elif what != MUTE:
                    found[node] = judge(node, answer_of(node, call), 0, job.jid)

    def effect(self, node: str, call: Call) -> None:
        """Change the world as a function does."""
        if call.fun == "proxy.drain":
            self.world.out.add((str(call.arg[0]), node))
        elif call.fun == "proxy.ready":
            self.world.out.discard((str(call.arg[0]), node))
        elif call.fun == "state.apply":
            self.world.roles[node] = tuple(call.kwarg["mods"])

    def known(self, jid: str) -> bool:
        return jid in self.world.jobs

    def collect(self, jobs: Sequence[Job], tick: Tick | None = None) -> list[dict[str, Return]]:
        self.crash("collect")
        if tick:
            tick()
        found = []
        for job in jobs:
            assert job.jid in self.world.jobs, f"{job.jid} was never published"
            cached = self.world.returns[job.jid]
            answers = {}
            for node in job.call.nodes:
                if node not in cached:
                    self.clock.time += job.call.timeout
                answers[node] = cached.get(node) or silent(node, "did not answer", job.jid)
            found.append(answers)
        self.crash("collected")
        return found

    def present(self, nodes: Sequence[str], timeout: float = 15) -> dict[str, Return]:
        self.asked.append(tuple(nodes))
        found = {}
        for node in nodes:
            gone = node in self.world.away
            gone = gone or self.script(node, Call((node,), "test.ping"), 0) == GONE
            if gone:
                self.clock.time += timeout
            found[node] = silent(node, "is not there") if gone else judge(node, True, 0)
        return found

    def functions(self) -> list[str]:
        """The functions in the order in which they were published by this process."""
        return [call.fun for call in self.published]


# -- the journal ---------------------------------------------------------------------------------


@dataclass
class Rows:
    """What a journal has on its disk."""

    plans: dict[str, Plan] = field(default_factory=dict)
    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    moves: list[tuple[str, str]] = field(default_factory=list)
    attempts: dict[tuple[str, str], list[StepRecord]] = field(default_factory=dict)
    wishes: dict[str, Wishes] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    verdicts: list[tuple[str, str, str]] = field(default_factory=list)
    pins: dict[str, str] = field(default_factory=dict)
    deployed: dict[str, str] = field(default_factory=dict)


@dataclass
class MemoryJournal:
    """A journal that is as strict as the one on the disk.

    :param rows: what is stored; another journal may go on with it
    :param crash: asked before and after each change
    :param gone: owners whose processes are no more
    """

    rows: Rows = field(default_factory=Rows)
    crash: Crash = field(default_factory=Crash)
    gone: set[str] = field(default_factory=set)
    broken: Callable[[str], bool] = field(default=lambda change: False)

    def begin(self, plan: Plan) -> str:
        """Note a new rollout and return its id."""
        rollout = f"r{len(self.rows.plans) + 1}"
        self.rows.plans[rollout] = plan
        self.rows.states[rollout] = (PLANNED, "")
        self.rows.wishes[rollout] = Wishes()
        return rollout

    def wish(self, rollout: str, **wishes: bool) -> None:
        """Note what people ask for."""
        self.rows.wishes[rollout] = replace(self.rows.wishes[rollout], **wishes)

    def _change(self, name: str, change: Callable[[], None]) -> None:
        if self.broken(name):
            raise JournalError("the disk is full")
        self.crash(f"before {name}")
        change()
        self.crash(f"after {name}")

    def claim(self, rollout: str, owner: str) -> None:
        held = self.rows.owners.get(rollout, "")
        if held not in ("", owner) and held not in self.gone:
            raise LockedError(f"{held} works on rollout {rollout}")
        self._change("claim", lambda: self.rows.owners.update({rollout: owner}))

    def release_claim(self, rollout: str, owner: str) -> None:
        if self.rows.owners.get(rollout) == owner:
            self._change("release", lambda: self.rows.owners.update({rollout: ""}))

    def load(self, rollout: str) -> RolloutState:
        state, reason = self.rows.states[rollout]
        records = {
            step: made[-1] for (owner, step), made in self.rows.attempts.items() if owner == rollout
        }
        leases = tuple(held for held in self.rows.leases.values() if held.owner == rollout)
        plan, wishes = self.rows.plans[rollout], self.rows.wishes[rollout]
        return RolloutState(rollout, plan, state, reason, records, wishes, leases)

    def wishes(self, rollout: str) -> Wishes:
        return self.rows.wishes[rollout]

    def intent(self, rollout: str, step: str, jids: Sequence[str], at: float) -> StepRecord:
        made = self.rows.attempts.get((rollout, step), [])
        record = StepRecord(step, len(made) + 1, INTENT, tuple(jids), at)
        self._change(
            f"intent {step}",
            lambda: self.rows.attempts.update({(rollout, step): [*made, record]}),
        )
        return record

    def result(
        self,
        rollout: str,
        step: str,
        phase: str,
        results: Mapping[str, NodeResult],
        at: float,
        sentence: str = "",
    ) -> StepRecord:
        made = self.rows.attempts.get((rollout, step))
        assert made, f"{step} was never begun"
        assert made[-1].phase == INTENT, f"{step} has its result already"
        kept = dict(results)
        record = replace(made[-1], phase=phase, results=kept, ended=at, sentence=sentence)
        self._change(
            f"result {step}",
            lambda: self.rows.attempts.update({(rollout, step): [*made[:-1], record]}),
        )
        return record

    def move(self, rollout: str, state: str, at: float, reason: str = "") -> None:
        del at
        if self.rows.states[rollout][0] in OVER:
            raise JournalError(f"rollout {rollout} is over")

        def change() -> None:
            self.rows.states[rollout] = (state, reason)
            self.rows.moves.append((rollout, state))

        self._change(f"move {state}", change)

    def lease(self, lease: Lease) -> None:
        assert lease.id not in self.rows.leases, f"{lease.id} was taken already"
        self._change(f"lease {lease.node}", lambda: self.rows.leases.update({lease.id: lease}))

    def returned(self, lease: str, at: float) -> None:
        back = replace(self.rows.leases[lease], released=at)
        self._change(f"returned {back.node}", lambda: self.rows.leases.update({lease: back}))

    def pin(self, rollout: str, nodes: Sequence[str], revision: str) -> None:
        del rollout

        def change() -> None:
            for node in nodes:
                self.rows.pins.pop(node, None)
                if revision:
                    self.rows.pins[node] = revision

        self._change(f"pin {len(nodes)} nodes", change)

    def commit(self, rollout: str, cluster: str, revision: str) -> None:
        del rollout

        def change() -> None:
            self.rows.deployed[cluster] = revision
            self.rows.pins = {n: held for n, held in self.rows.pins.items() if held != revision}

        self._change("commit", change)

    def verdict(self, rollout: str, rows: Iterable[Any]) -> None:
        del rollout
        found = [(row.node, row.verdict, row.code) for row in rows]
        self._change("verdict", lambda: self.rows.verdicts.extend(found))

    def held(self) -> list[str]:
        """Nodes that are out of service, as the journal has it."""
        return sorted(lease.node for lease in self.rows.leases.values() if lease.released is None)


@dataclass
class FakeRunners:
    """Functions of the master that work, unless told otherwise."""

    crash: Crash = field(default_factory=Crash)
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    called: list[str] = field(default_factory=list)

    def __call__(self, fun: str, kwarg: Mapping[str, Any]) -> Mapping[str, Any]:
        del kwarg
        self.crash(f"runner {fun}")
        self.called.append(fun)
        self.crash(f"ran {fun}")
        return self.answers.get(fun, {"result": True, "comment": "formed", "changes": {}})


def names(stem: str, count: int) -> tuple[str, ...]:
    """``ctl01.cloud.test``, ``ctl02.cloud.test`` …"""
    return tuple(f"{stem}{number:02d}.cloud.test" for number in range(1, count + 1))


def picked(nodes: Iterable[str], *numbers: int) -> tuple[str, ...]:
    """Nodes by their place, from 1."""
    found = list(nodes)
    return tuple(found[number - 1] for number in numbers)
