"""The bus: Salt's LocalClient, published to explicit lists, with an answer for every node.

Salt's ``batch`` drops a minion that is down and calls it success, and its own waiting loop
declares a minion dead when one ``find_job`` stays unanswered, which a busy host easily does.
So this module publishes itself and collects the returns from the event bus: a node that keeps
silent is asked whether it still works on the job, is waited for while it says so, and gets a
failed :class:`~saltern.rollout.ports.Return` when it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import salt.client
import salt.exceptions
import salt.utils.event

from saltern.errors import BusError
from saltern.rollout.ports import Call, Return
from saltern.rollout.returns import judge, silent

#: Seconds a node has for saying whether it still works on a job.
PROBE_WAIT = 15.0
#: So many unanswered questions in a row make a node silent: a minion that restarts, or a host with
#: all processors busy, misses one or two.
PROBES = 4
#: Seconds between asking again when a node says that it does not work on the job. A minion repeats
#: a return that the master did not acknowledge, so the return may take longer than the job's end.
SETTLE = 8.0
#: So many times in a row must it say so before the job counts as lost.
ENDINGS = 3
#: Seconds one look at the event bus may take.
TICK = 0.5


@dataclass
class Pending:
    """One node that owes an answer to one published job."""

    heard: float  # when it last gave a sign of life about this job
    probe_sent: float | None = None  # when it was asked; None = no question is open
    unanswered: int = 0
    ended: int = 0  # how often it said that the job is over


@dataclass
class Job:
    """One published call and what is still missing of it."""

    index: int
    call: Call
    jid: str
    started: float
    pending: dict[str, Pending] = field(default_factory=dict)
    last: bool = True  # a node that lost it is not sent it again


class SaltBus:
    """Calls functions on minions; implements :class:`saltern.rollout.ports.Bus`.

    :param opts: the master's options (``__opts__`` of a runner)
    :param clock: seconds of a monotonic clock
    """

    def __init__(
        self, opts: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.opts = dict(opts)
        self.clock = clock

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
        with self._client() as client, self._events() as events:
            jobs: dict[str, Job] = {}
            for index, call in enumerate(calls):
                job = self._publish(client, index, call, returns[index])
                if job:
                    jobs[job.jid] = job
            self._collect(client, events, jobs, returns)
        return [
            {node: found[node] for node in dict.fromkeys(call.nodes)}
            for call, found in zip(calls, returns, strict=True)
        ]

    @contextmanager
    def _client(self) -> Iterator[Any]:
        with salt.client.get_local_client(mopts=self.opts) as client:
            yield client

    @contextmanager
    def _events(self) -> Iterator[Any]:
        # Subscribed before anything is published, so that no return can come too early.
        with salt.utils.event.get_event(
            "master", sock_dir=self.opts["sock_dir"], opts=self.opts, listen=True
        ) as events:
            yield events

    def _publish(self, client: Any, index: int, call: Call, found: dict[str, Return]) -> Job | None:
        nodes = list(dict.fromkeys(call.nodes))
        accepted = set(client.gather_minions(nodes, "list")) if nodes else set()
        for node in nodes:
            if node not in accepted:
                found[node] = silent(node, "has no accepted key on this master")
        reachable = [node for node in nodes if node in accepted]
        if not reachable:
            return None
        jid = self._send(client, reachable, call.fun, call.arg, call.kwarg)
        now = self.clock()
        pending = {node: Pending(now) for node in reachable}
        return Job(index, call, jid, now, pending, last=not call.again)

    def _send(
        self,
        client: Any,
        nodes: list[str],
        fun: str,
        arg: Sequence[Any],
        kwarg: Mapping[str, Any],
    ) -> str:
        try:
            published = client.run_job(
                nodes, fun, arg=list(arg), tgt_type="list", kwarg=dict(kwarg), listen=False
            )
        except salt.exceptions.SaltException as err:
            raise BusError(
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

    def _collect(
        self,
        client: Any,
        events: Any,
        jobs: dict[str, Job],
        returns: list[dict[str, Return]],
    ) -> None:
        probes: dict[str, Job] = {}  # jid of a find_job -> the job it asks about
        while any(job.pending for job in jobs.values()):
            event = events.get_event(wait=TICK, tag="salt/job/", full=True, auto_reconnect=True)
            if event and "/ret/" in event["tag"]:
                self._take(event["data"], jobs, probes, returns)
            for job in list(jobs.values()):
                if job.pending:
                    lost = self._chase(client, job, probes, returns[job.index])
                    if lost:
                        again = replace(job.call, nodes=tuple(lost), again=False)
                        job_again = self._publish(client, job.index, again, returns[job.index])
                        if job_again:
                            jobs[job_again.jid] = job_again

    def _take(
        self,
        data: Mapping[str, Any],
        jobs: Mapping[str, Job],
        probes: Mapping[str, Job],
        returns: list[dict[str, Return]],
    ) -> None:
        jid, node = data.get("jid", ""), data.get("id", "")
        if jid in jobs and node in jobs[jid].pending and "return" in data:
            job = jobs[jid]
            del job.pending[node]
            returns[job.index][node] = judge(node, data["return"], _retcode(data), jid)
        elif jid in probes and node in probes[jid].pending:
            waiting = probes[jid].pending[node]
            waiting.heard = self.clock()
            waiting.probe_sent, waiting.unanswered = None, 0
            # a dict that describes the job while it runs, an empty one when it does not
            waiting.ended = 0 if data.get("return") else waiting.ended + 1

    def _chase(
        self, client: Any, job: Job, probes: dict[str, Job], found: dict[str, Return]
    ) -> list[str]:
        """Ask nodes that keep silent, give up those that are lost; return who gets it again."""
        now = self.clock()
        ask: list[str] = []
        lost: dict[str, str] = {}
        for node, waiting in job.pending.items():
            if now - job.started > job.call.limit:
                lost[node] = f"still works on {job.call.fun} after {job.call.limit:.0f} s"
            elif waiting.probe_sent is not None:
                if now - waiting.probe_sent > PROBE_WAIT:
                    waiting.probe_sent = None
                    waiting.unanswered += 1
                    if waiting.unanswered >= PROBES:
                        lost[node] = _silence(job, now)
                    else:
                        ask.append(node)
            elif waiting.ended >= ENDINGS:
                lost[node] = f"is there, but neither works on {job.call.fun} nor returned it"
            elif now - waiting.heard > (SETTLE if waiting.ended else job.call.timeout):
                if job.call.chase:
                    ask.append(node)
                else:
                    lost[node] = _silence(job, now)
        if not ask and not lost:
            return []
        # An event can be lost (a full socket, a restarted publisher); the job cache has the return.
        cached = client.returners[f"{self.opts['master_job_cache']}.get_jid"](job.jid)
        again = []
        for node in [*ask, *lost]:
            if node in cached:
                del job.pending[node]
                answer = cached[node]
                found[node] = judge(node, answer.get("return"), _retcode(answer), job.jid)
            elif node in lost:
                if job.pending.pop(node).ended >= ENDINGS and not job.last:
                    again.append(node)
                else:
                    found[node] = silent(node, lost[node], job.jid)
        ask = [node for node in ask if node in job.pending]
        if ask:
            probes[self._send(client, ask, "saltutil.find_job", [job.jid], {})] = job
            for node in ask:
                job.pending[node].probe_sent = now
        return again


def _silence(job: Job, now: float) -> str:
    return f"did not answer {job.call.fun} within {now - job.started:.0f} s"


def _retcode(data: Mapping[str, Any]) -> int:
    """Read the return code; a return that says it was no success never counts as code 0."""
    code = int(data.get("retcode") or 0)
    return code or (0 if data.get("success", True) else 1)
