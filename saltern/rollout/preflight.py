"""Everything that would stop a deployment, found before any host is touched, in one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saltern.errors import PreflightError
from saltern.rollout.ports import Bus, Call, Clock, Return
from saltern.rollout.run import CALL_TIMEOUT

#: Seconds a minion has to answer the first ping; a host that just booted needs some.
PING_TIMEOUT = 20.0
#: Seconds by which a host's clock may differ: certificates, tokens and Galera need less.
CLOCK_SKEW = 5.0


def check_hosts(nodes: Sequence[str], bus: Bus, clock: Clock, *, sync: bool = True) -> list[str]:
    """Ask all hosts whether they are there and fit for a deployment.

    :param nodes: minion ids
    :param clock: the master's wall clock in seconds since the epoch
    :param sync: send the modules first; without, a host that never had them is not asked
        (a preview must leave it as it is)
    :returns: findings, one sentence each; empty when all is well
    """
    present = bus.call_all([Call(tuple(nodes), "test.ping", timeout=PING_TIMEOUT, chase=False)])[0]
    findings = [answer.sentence for answer in present.values() if not answer.ok]
    there = [node for node, answer in present.items() if answer.ok]
    if sync and there:
        for fun, kwarg in (
            ("saltutil.sync_all", {"refresh": False}),
            ("saltutil.refresh_modules", {"async": False}),
        ):
            answers = bus.call(there, fun, (), kwarg, timeout=CALL_TIMEOUT)
            findings += [answer.sentence for answer in answers.values() if not answer.ok]
            there = [node for node, answer in answers.items() if answer.ok]
    if not there:
        return findings
    before = clock.now()
    answers = bus.call(there, "health.preflight", timeout=CALL_TIMEOUT)
    after = clock.now()
    for node, answer in sorted(answers.items()):
        if not sync and not answer.ok and "is not available" in str(answer.data):
            continue
        findings += judge_host(node, answer, before, after)
    return findings


def judge_host(node: str, answer: Return, before: float, after: float) -> list[str]:
    """Judge one host's answer to ``health.preflight``.

    :param before: the master's clock when it was asked, seconds since the epoch
    :param after: the same when all answers were there
    """
    if not answer.ok:
        return [answer.sentence]
    data: Any = answer.data
    if not isinstance(data, Mapping) or "facts" not in data:
        return [f"{node}: health.preflight gave no facts."]
    findings = [f"{node}: {sentence}" for sentence in data.get("findings", ())]
    there = float(data["facts"].get("time", 0))
    # the host took its time somewhere between the question and the last answer
    skew = max(before - there, there - after, 0.0)
    if skew > CLOCK_SKEW:
        findings.append(
            f"{node}: its clock is {skew:.0f} s off the master's; let both follow a time server."
        )
    return findings


def report(findings: Sequence[str], hosts: int) -> dict[str, Any]:
    """Shape the findings as a runner's return: refused (exit code 2) when there are any."""
    if not findings:
        return {
            "result": True,
            "comment": f"Stage preflight: {hosts} hosts are fit for the deployment.",
            "changes": {},
            "findings": [],
            "retcode": 0,
        }
    what = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    return {
        "result": False,
        "comment": f"Stage preflight refused, {what}: " + " ".join(findings),
        "changes": {},
        "findings": list(findings),
        "retcode": PreflightError.exit_code,
    }
