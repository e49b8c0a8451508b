"""The bus: Salt's LocalClient, published to explicit lists, with an answer for every node.

Salt's ``batch`` drops a minion that is down and calls it success, and its own waiting loop
declares a minion dead when one ``find_job`` stays unanswered, which a busy host easily does.
So this module publishes itself and collects the returns from the event bus: a node that keeps
silent is asked whether it still works on the job, is waited for while it says so, and gets a
failed :class:`~saltern.rollout.ports.Return` when it does not.

A job of a rollout has its id before it is published. The master notes a job in its cache before it
sends it out, and a minion never starts an id twice, so after a crash the id says whether the job
went out, and publishing it once more does no harm.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import salt.client
import salt.exceptions
import salt.utils.event

from saltern.errors import BusError
from saltern.rollout.ports import Call, Job, Return, Tick
from saltern.rollout.returns import judge, silent

#: Seconds a node has for saying whether it still works on a job.
PROBE_WAIT = 15.0
#: So many unanswered questions in a row make a node silent: two minutes. A network that is cut for
#: a minute takes four of them, and what TCP holds back until then may need as long again.
PROBES = 8
#: Seconds between asking again when a node says that it does not work on the job. A minion repeats
#: a return that the master did not acknowledge, so the return may take longer than the job's end.
SETTLE = 8.0
#: So many times in a row must it say so before the job counts as lost.
ENDINGS = 3
#: Of more silent nodes than this only so many are asked at first: a busy fleet that has to answer a
#: hundred questions works the longer for it.
SAMPLE = 4
#: Seconds one look at the event bus may take.
TICK = 0.5
#: Seconds between two calls of a tick.
SECOND = 1.0
#: Seconds a master that restarts may be away.
AWAY = 90.0
#: Seconds between two tries to reach it.
RETRY = 3.0
#: Seconds in which a node that was asked for the first time is heard, whatever the limit is.
GRACE = PROBES * PROBE_WAIT
#: What a minion does around a function whose call is to have the pillar anew; the last one runs it.
FRESH = ("fresh_pillar", "direct_call")
#: Seconds that a master keeps jobs when nothing is set (``keep_jobs_seconds``).
KEEP = 86400
#: Digits of a job id; with more of them a minion cannot put a job in its queue.
DIGITS = 20


class AwayError(BusError):
    """The master could not be reached; it may be back in a moment."""


@dataclass
class Pending:
    """One node that owes an answer to one published job."""

    heard: float  # when it last gave a sign of life about this job
    probe_sent: float | None = None  # when it was asked; None = no question is open
    unanswered: int = 0
    ended: int = 0  # how often it said that the job is over


@dataclass
class Work:
    """One published call and what is still missing of it."""

    index: int
    call: Call
    jid: str
    started: float
    deadline: float
    pending: dict[str, Pending] = field(default_factory=dict)
    last: bool = True  # a node that lost it is not sent it again
    fixed: bool = False  # who lost it is sent it under the same id, once
    resent: set[str] = field(default_factory=set)
    sampled: float | None = None  # when some were asked for all


@dataclass
class Published:
    """A job that this process published and did not collect yet."""

    at: float
    unknown: frozenset[str]  # nodes without an accepted key


@dataclass
class Open:
    """A client, or a subscription, that one thread of one process keeps.

    :param owner: process and thread
    :param what: the client, or the events
    :param stack: closes it
    """

    owner: tuple[int, int]
    what: Any
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def mine(self) -> bool:
        """Whether it may be used here."""
        return self.owner == _here()


@dataclass
class Gathering:
    """What one waiting for answers has in its hands."""

    events: Any
    returns: list[dict[str, Return]]
    jobs: dict[str, Work] = field(default_factory=dict)
    probes: dict[str, Work] = field(default_factory=dict)  # jid of a find_job -> what it is about
    away: float | None = None  # since when the master does not publish
    heard: float = 0.0  # when anybody returned, or said that it works


class SaltBus:
    """Calls functions on minions; implements :class:`saltern.rollout.ports.Bus` and ``JobBus``.

    :param opts: the master's options (``__opts__`` of a runner)
    :param clock: seconds of a monotonic clock
    :param wall: seconds since the epoch
    :param sleep: waits for some seconds
    """

    def __init__(
        self,
        opts: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.opts = dict(opts)
        self.clock = clock
        self.wall = wall
        self.sleep = sleep
        self._published: dict[str, Published] = {}
        self._kept: Open | None = None
        self._listening: Open | None = None

    # -- calls ---------------------------------------------------------------------------

    def call(
        self,
        nodes: Sequence[str],
        fun: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
        timeout: float = 60,
    ) -> dict[str, Return]:
        """Run ``fun`` on ``nodes`` and wait; see :class:`~saltern.rollout.ports.Call`.

        :param nodes: minion ids; an empty list publishes nothing
        :param timeout: seconds of silence after which a node is asked whether it still works
        :returns: one Return per node of ``nodes``
        :raises BusError: the master cannot publish
        """
        return self.call_all([Call(tuple(nodes), fun, tuple(arg), dict(kwarg or {}), timeout)])[0]

    def call_all(self, calls: Sequence[Call]) -> list[dict[str, Return]]:
        """Publish every call at once and collect all answers.

        :returns: for each call, in order, one Return per node asked
        :raises BusError: the master cannot publish
        """
        returns: list[dict[str, Return]] = [{} for _ in calls]
        with self._events() as events:
            gathering = Gathering(events, returns)
            for index, call in enumerate(calls):
                work = self._call(index, call, returns[index])
                if work:
                    gathering.jobs[work.jid] = work
            self._collect(gathering, None)
        return _in_order(calls, returns)

    def present(self, nodes: Sequence[str], timeout: float = 15) -> dict[str, Return]:
        """Ask nodes whether they are there.

        :param nodes: minion ids
        :param timeout: seconds that they have for an answer
        :returns: one Return per node
        :raises BusError: the master cannot publish
        """
        call = Call(tuple(nodes), "test.ping", timeout=timeout, chase=False)
        return self.call_all([call])[0]

    # -- jobs ----------------------------------------------------------------------------

    def new_jid(self) -> str:
        """Return a job id that no other job of this master has.

        The master's job cache reserves it, as it does for the ids that it gives itself.

        :raises BusError: the job cache cannot be written
        """
        with self._client() as client:
            try:
                jid: str = client.returners[f"{self._cache}.prep_jid"]()
            except (salt.exceptions.SaltException, OSError) as err:
                raise BusError(
                    f"no job id can be reserved: {err}", where=f"job cache {self._cache}"
                ) from err
        return jid[:DIGITS]

    def publish(self, job: Job) -> None:
        """Publish a job under its id; nodes without an accepted key are left for :meth:`collect`.

        A master that restarts is waited for. Publishing an id once more does no harm: a minion
        that has started it does not start it again.

        :raises BusError: the master cannot publish, or does not keep jobs long enough to take one
            up again
        """
        self._refuse_short_memory(job.call)
        nodes = list(dict.fromkeys(job.call.nodes))
        accepted = self._accepted(nodes)
        reachable = [node for node in nodes if node in accepted]
        # subscribed before anything is published, so that no return can come too early
        self._listen()
        if reachable:
            self._publish_surely(job, reachable)
        self._published[job.jid] = Published(self.clock(), frozenset(nodes) - accepted)

    def known(self, jid: str) -> bool:
        """Whether a job was published: the master's job cache has it.

        A job that is older than what the cache keeps may have been published, so it counts as
        known; whoever collects it then gets no return from nodes that do not work on it.

        :raises BusError: the job cache cannot be read
        """
        if self._noted(jid):
            return True
        keep = self._keep
        return bool(keep) and self._age(jid) > keep

    def collect(self, jobs: Sequence[Job], tick: Tick | None = None) -> list[dict[str, Return]]:
        """Wait until every node of every job has answered, or is known not to.

        Jobs that this process did not publish are taken up: first what the job cache has of them,
        then the nodes are asked whether they still work on it.

        :param jobs: published ones; a node of one that never was keeps silent
        :param tick: called about once a second; what it raises ends the waiting
        :returns: for each job, in order, one Return per node
        :raises BusError: the master is away for longer than a restart takes
        """
        returns: list[dict[str, Return]] = [{} for _ in jobs]
        with ExitStack() as stack:
            events = self._take_listening(stack) or stack.enter_context(self._events())
            gathering = Gathering(events, returns)
            for index, job in enumerate(jobs):
                gathering.jobs[job.jid] = self._take_up(index, job, returns[index])
            self._collect(gathering, tick)
        return _in_order([job.call for job in jobs], returns)

    # -- connections ---------------------------------------------------------------------

    @property
    def _keep(self) -> float:
        """Seconds that the master remembers a job; 0 for ever."""
        return float(self.opts.get("keep_jobs_seconds", KEEP))

    @property
    def _cache(self) -> str:
        return str(self.opts["master_job_cache"])

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Give the client of this thread; the next one is new when this one cannot publish.

        A client knows the key of the master that ran when it was made, and each start of the
        master makes another key.
        """
        if self._kept is None or not self._kept.mine:
            stack = ExitStack()
            client = stack.enter_context(salt.client.get_local_client(mopts=self.opts))
            self._kept = Open(_here(), client, stack)
        try:
            yield self._kept.what
        except BusError:
            kept, self._kept = self._kept, None
            if kept is not None:
                kept.stack.close()
            raise

    @contextmanager
    def _events(self) -> Iterator[Any]:
        # Subscribed before anything is published, so that no return can come too early.
        with salt.utils.event.get_event(
            "master", sock_dir=self.opts["sock_dir"], opts=self.opts, listen=True
        ) as events:
            yield events

    def _listen(self) -> None:
        """Subscribe, and stay subscribed until the next collecting."""
        if self._listening is None or not self._listening.mine:
            stack = ExitStack()
            self._listening = Open(_here(), stack.enter_context(self._events()), stack)

    def _take_listening(self, stack: ExitStack) -> Any:
        """Give what :meth:`_listen` opened, None for nothing; ``stack`` closes it."""
        found, self._listening = self._listening, None
        if found is None or not found.mine:
            return None
        stack.push(found.stack)
        return found.what

    # -- publishing ----------------------------------------------------------------------

    def _accepted(self, nodes: Sequence[str]) -> frozenset[str]:
        if not nodes:
            return frozenset()
        with self._client() as client:
            return frozenset(client.gather_minions(list(nodes), "list"))

    def _call(self, index: int, call: Call, found: dict[str, Return]) -> Work | None:
        nodes = list(dict.fromkeys(call.nodes))
        accepted = self._accepted(nodes)
        for node in nodes:
            if node not in accepted:
                found[node] = _keyless(node)
        reachable = [node for node in nodes if node in accepted]
        if not reachable:
            return None
        jid = self._send_call(reachable, call)
        now = self.clock()
        pending = {node: Pending(now) for node in reachable}
        return Work(index, call, jid, now, now + call.limit, pending, last=not call.again)

    def _send_call(self, nodes: list[str], call: Call, **own: str) -> str:
        around = {"module_executors": list(FRESH)} if call.fresh else {}
        return self._send(nodes, call.fun, call.arg, call.kwarg, **own, **around)

    def _send(
        self,
        nodes: list[str],
        fun: str,
        arg: Sequence[Any],
        kwarg: Mapping[str, Any],
        **own: Any,
    ) -> str:
        """Publish.

        :param own: ``jid`` to publish it under, ``module_executors`` around the function
        """
        with self._client() as client:
            try:
                published = client.run_job(
                    nodes, fun, arg=list(arg), tgt_type="list", kwarg=dict(kwarg), listen=False,
                    **own,
                )  # fmt: skip
            except salt.exceptions.AuthorizationError:
                raise BusError(
                    f"this user may not publish {fun}", cure="Run it as the master's user"
                ) from None
            except salt.exceptions.SaltException as err:
                raise AwayError(
                    f"{fun} could not be published: {err}", cure="Check that salt-master is running"
                ) from err
            if not published:
                raise BusError(
                    f"{fun} was refused by the master",
                    where=", ".join(nodes),
                    cure="Check that salt-master is running and that this user may publish",
                )
        jid: str = published["jid"]
        return jid

    def _publish_surely(self, job: Job, nodes: list[str]) -> None:
        """Publish under the job's id; go on when the job went out though an answer is missing."""
        begun = self.clock()
        while True:
            try:
                call = job.call
                jid = self._send_call(nodes, call, jid=job.jid)
            except AwayError:
                if self._noted(job.jid):
                    return
                if self.clock() - begun > AWAY:
                    raise
                self.sleep(RETRY)
                continue
            if jid != job.jid:
                raise BusError(
                    f"the job cache {self._cache} gave {job.call.fun} another job id",
                    cure="Use a master_job_cache that keeps the id of a job, such as local_cache",
                )
            return

    def _refuse_short_memory(self, call: Call) -> None:
        """A rollout can only be taken up when the master remembers its jobs."""
        if not self.opts.get("job_cache", True) or self.opts.get("ext_job_cache"):
            raise BusError(
                "the master keeps no returns of its own",
                where="master configuration",
                cure="Set job_cache: True and no ext_job_cache",
            )
        keep = self._keep
        if keep and keep <= call.limit:
            raise BusError(
                f"the master forgets jobs after {keep:.0f} s, but {call.fun} may take"
                f" {call.limit:.0f} s",
                where="master configuration",
                cure="Set keep_jobs_seconds to 86400",
            )

    def _noted(self, jid: str) -> bool:
        with self._client() as client:
            try:
                return bool(client.returners[f"{self._cache}.get_load"](jid))
            except (salt.exceptions.SaltException, OSError, ValueError) as err:
                raise BusError(
                    f"job {jid} cannot be looked up: {err}", where=f"job cache {self._cache}"
                ) from err

    def _cached(self, jid: str) -> dict[str, Mapping[str, Any]]:
        """The returns that the job cache has; a file that was cut short has no return code."""
        with self._client() as client:
            found = client.returners[f"{self._cache}.get_jid"](jid)
        return {node: answer for node, answer in found.items() if "retcode" in answer}

    def _age(self, jid: str) -> float:
        """Seconds since a job id was made, 0 for one that does not say."""
        try:
            made = datetime.strptime(jid[:DIGITS], "%Y%m%d%H%M%S%f")
        except ValueError:
            return 0.0
        return max(0.0, self.wall() - made.replace(tzinfo=timezone.utc).timestamp())

    # -- collecting ----------------------------------------------------------------------

    def _take_up(self, index: int, job: Job, found: dict[str, Return]) -> Work:
        call, now = job.call, self.clock()
        nodes = list(dict.fromkeys(call.nodes))
        published = self._published.pop(job.jid, None)
        if published is not None:
            unknown, started = published.unknown, published.at
            cached: Mapping[str, Mapping[str, Any]] = {}
            deadline, heard = started + call.limit, started
        else:
            unknown = frozenset(nodes) - self._accepted(nodes)
            started = now - self._age(job.jid)
            cached = self._cached(job.jid)
            deadline = max(started + call.limit, now + GRACE)
            # nobody knows when they were heard, so they are asked at once
            heard = now - call.timeout - SECOND if call.chase else now
        work = Work(
            index, call, job.jid, started, deadline, last=not call.again, fixed=True
        )  # fmt: skip
        for node in nodes:
            if node in cached:
                found[node] = _judged(node, cached[node], job.jid)
            elif node in unknown:
                found[node] = _keyless(node)
            else:
                work.pending[node] = Pending(heard)
        return work

    def _collect(self, gathering: Gathering, tick: Tick | None) -> None:
        ticked = chased = self.clock() - SECOND
        while any(work.pending for work in gathering.jobs.values()):
            looked = self.clock()
            event = gathering.events.get_event(
                wait=TICK, tag="salt/job/", full=True, auto_reconnect=True
            )
            if event and "/ret/" in event["tag"]:
                self._take(event["data"], gathering)
            elif event is None and self.clock() - looked < TICK / 2:
                # a publisher that is away answers at once
                self.sleep(TICK)
            now = self.clock()
            if tick is not None and now - ticked >= SECOND:
                tick()
                ticked = now
            # a burst of returns needs no question after each of them
            if event is None or now - chased >= TICK:
                chased = now
                for work in list(gathering.jobs.values()):
                    if work.pending:
                        self._chase(gathering, work)

    def _take(self, data: Mapping[str, Any], gathering: Gathering) -> None:
        jid, node = data.get("jid", ""), data.get("id", "")
        jobs, probes = gathering.jobs, gathering.probes
        if jid in jobs and node in jobs[jid].pending and "return" in data:
            work = jobs[jid]
            del work.pending[node]
            gathering.heard = self.clock()
            gathering.returns[work.index][node] = _judged(node, data, jid)
        elif jid in probes and node in probes[jid].pending:
            waiting = probes[jid].pending[node]
            waiting.heard = self.clock()
            waiting.probe_sent, waiting.unanswered = None, 0
            # a dict that describes the job while it runs, an empty one when it does not
            if data.get("return"):
                waiting.ended = 0
                gathering.heard = waiting.heard
            else:
                waiting.ended += 1

    def _chase(self, gathering: Gathering, work: Work) -> None:
        """Ask nodes that keep silent; give up those that are lost, or send it to them again."""
        now = self.clock()
        call = work.call
        ask: list[str] = []
        lost: dict[str, str] = {}
        for node, waiting in work.pending.items():
            if now > work.deadline:
                seconds = max(call.limit, work.deadline - work.started)
                lost[node] = f"still works on {call.fun} after {seconds:.0f} s"
            elif waiting.probe_sent is not None:
                if now - waiting.probe_sent > PROBE_WAIT:
                    waiting.probe_sent = None
                    waiting.unanswered += 1
                    if waiting.unanswered >= PROBES:
                        lost[node] = _silence(work, now)
                    else:
                        ask.append(node)
            elif waiting.ended >= ENDINGS:
                lost[node] = f"is there, but neither works on {call.fun} nor returned it"
            elif now - _quiet_since(gathering, work, waiting) > _patience(work, waiting):
                if call.chase:
                    ask.append(node)
                else:
                    lost[node] = _silence(work, now)
        ask = _some(gathering, work, ask, now)
        if not ask and not lost:
            return
        # An event can be lost (a full socket, a restarted publisher); the job cache has the return.
        cached = self._cached(work.jid)
        found = gathering.returns[work.index]
        again = []
        for node in [*ask, *lost]:
            if node in cached:
                del work.pending[node]
                found[node] = _judged(node, cached[node], work.jid)
            elif node in lost:
                ended = work.pending.pop(node).ended >= ENDINGS
                if ended and not work.last and node not in work.resent:
                    again.append(node)
                else:
                    found[node] = silent(node, lost[node], work.jid)
        self._ask(gathering, work, [node for node in ask if node in work.pending], now)
        if again:
            self._send_again(gathering, work, again)

    def _ask(self, gathering: Gathering, work: Work, nodes: list[str], now: float) -> None:
        if not nodes:
            return
        try:
            jid = self._send(nodes, "saltutil.find_job", [work.jid], {})
        except AwayError:
            # whoever works goes on without the master, and returns to it when it is back
            now = self.clock()
            gathering.away = now if gathering.away is None else gathering.away
            if now - gathering.away > AWAY:
                raise
            for node in nodes:
                waiting = work.pending[node]
                waiting.heard = now - _patience(work, waiting) + RETRY
            return
        gathering.away = None
        gathering.probes[jid] = work
        for node in nodes:
            work.pending[node].probe_sent = now

    def _send_again(self, gathering: Gathering, work: Work, nodes: list[str]) -> None:
        """Send nodes what they lost once more."""
        call, found = work.call, gathering.returns[work.index]
        if work.fixed:
            # the same id, so that it is found after a crash too
            try:
                self._send_call(nodes, call, jid=work.jid)
            except AwayError:
                why = f"lost {call.fun}, and the master is away"
                found.update({node: silent(node, why, work.jid) for node in nodes})
                return
            work.resent.update(nodes)
            now = self.clock()
            work.deadline = max(work.deadline, now + call.limit)
            work.pending.update({node: Pending(now) for node in nodes})
            return
        once = replace(call, nodes=tuple(nodes), again=False)
        anew = self._call(work.index, once, found)
        if anew:
            gathering.jobs[anew.jid] = anew


def _here() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _quiet_since(gathering: Gathering, work: Work, waiting: Pending) -> float:
    """Since when there was no sign that a node still works.

    While answers of others come in nobody is asked, nor given up whose answer may be on its way:
    the caller waits for those anyway, and a hundred questions keep a busy fleet from answering.
    """
    return max(waiting.heard, gathering.heard) if work.call.chase else waiting.heard


def _some(gathering: Gathering, work: Work, nodes: list[str], now: float) -> list[str]:
    """Of many nodes that are to be asked for the first time pick some, in turns.

    While one of these says that it works, the fleet is busy and the others are left alone: the
    caller waits anyway. When none of them says so, all are asked.
    """
    fresh = [n for n in nodes if not (work.pending[n].unanswered or work.pending[n].ended)]
    if len(fresh) <= SAMPLE:
        return nodes
    chosen = fresh
    if work.sampled is None or gathering.heard > work.sampled:
        chosen = sorted(fresh, key=lambda node: work.pending[node].heard)[:SAMPLE]
        work.sampled = now
    elif now - work.sampled <= PROBE_WAIT:
        chosen = []
    return [node for node in nodes if node in chosen or node not in fresh]


def _patience(work: Work, waiting: Pending) -> float:
    """Seconds of silence after which a node is asked."""
    return SETTLE if waiting.ended else work.call.timeout


def _in_order(
    calls: Sequence[Call], returns: Sequence[Mapping[str, Return]]
) -> list[dict[str, Return]]:
    return [
        {node: found[node] for node in dict.fromkeys(call.nodes)}
        for call, found in zip(calls, returns, strict=True)
    ]


def _keyless(node: str) -> Return:
    return silent(node, "has no accepted key on this master")


def _silence(work: Work, now: float) -> str:
    return f"did not answer {work.call.fun} within {now - work.started:.0f} s"


def _judged(node: str, answer: Mapping[str, Any], jid: str) -> Return:
    return judge(node, answer.get("return"), _retcode(answer), jid)


def _retcode(data: Mapping[str, Any]) -> int:
    """Read the return code; a return that says it was no success never counts as code 0."""
    code = int(data.get("retcode") or 0)
    return code or (0 if data.get("success", True) else 1)
