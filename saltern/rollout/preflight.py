"""Everything that would stop a deployment, found before any host is touched, in one report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saltern.digest import sha256_of
from saltern.errors import ModelError, PreflightError
from saltern.model import Inventory, lint
from saltern.model.cluster import CompiledNode
from saltern.rollout.load import Source, load_plan
from saltern.rollout.ports import Bus, Call, Clock, Return

#: Seconds a minion has to answer the first ping; a host that just booted needs some.
PING_TIMEOUT = 30.0
#: Seconds of silence after which a minion is asked whether it still works on what it was given.
ASK_AFTER = 15.0
#: Kinds of plugins that minions get. ``sync_all`` asks for fifteen, each of which costs a second.
PLUGINS = ("modules", "states", "executors")
#: Seconds by which a host's clock may differ: certificates, tokens and Galera need less.
CLOCK_SKEW = 5.0

#: What a role's artifact must be pinned by.
SHA256 = re.compile(r"[0-9a-f]{64}")


def check_site(
    source: Source,
    inventory: Inventory,
    cluster: str,
    artifacts: Path,
    formulas: Path | None = None,
) -> list[str]:
    """Look at what is on the master: the model is sound, the artifacts it pins are there.

    :param source: the compiled nodes, from the same model as
    :param inventory: the model tree
    :param cluster: name of the cluster
    :param artifacts: directory that the deployment node serves artifacts from
    :param formulas: as for :func:`saltern.model.lint.check`
    :returns: findings, one sentence each; empty when all is well
    """
    try:
        findings = [str(finding) for finding in lint.check(inventory, cluster, formulas)]
        if findings:
            return findings
        load_plan(source, cluster)
        nodes = source.nodes(cluster)
    except (ModelError, PreflightError) as err:
        return [str(err)]
    return check_artifacts(nodes, artifacts)


def check_artifacts(nodes: Mapping[str, CompiledNode], artifacts: Path) -> list[str]:
    """Find the roles whose pinned artifact is not on the master, or is another one.

    :param nodes: compiled nodes; a role's pin is at ``<service>:<role>:source`` with ``engine``,
        ``url`` and ``sha256``; only the engine ``venv`` is served from the master
    :param artifacts: directory of the artifacts
    """
    pins: dict[tuple[str, str], str] = {}  # (file, checksum) -> first role that wants it
    findings: list[str] = []
    for node in sorted(nodes):
        for role in nodes[node].applications:
            service, _, name = role.partition(".")
            source = _get(nodes[node].pillar, service, name, "source")
            if not isinstance(source, Mapping) or source.get("engine") != "venv":
                continue
            url, checksum = str(source.get("url") or ""), str(source.get("sha256") or "")
            if not url or not SHA256.fullmatch(checksum):
                findings.append(
                    f"{role}: no artifact is pinned at {service}:{name}:source;"
                    " write the pins with `saltern artifact pin`."
                )
            elif "/artifacts/" in url:
                pins.setdefault((url.rpartition("/artifacts/")[2], checksum), role)
    for (file, checksum), role in sorted(pins.items()):
        path = artifacts / file
        if not path.is_file():
            findings.append(f"{role}: artifact {path} is missing.")
        elif (found := sha256_of(path)) != checksum:
            findings.append(f"{role}: artifact {path} has sha256 {found}, pinned is {checksum}.")
    return list(dict.fromkeys(findings))


def _get(data: Any, *path: str) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


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
        steps = [(f"saltutil.sync_{kind}", {"refresh": False}) for kind in PLUGINS]
        for fun, kwarg in (*steps, ("saltutil.refresh_modules", {"async": False})):
            answers = bus.call(there, fun, (), kwarg, timeout=ASK_AFTER)
            findings += [answer.sentence for answer in answers.values() if not answer.ok]
            there = [node for node, answer in answers.items() if answer.ok]
    if not there:
        return findings
    before = clock.now()
    answers = bus.call(there, "health.preflight", timeout=ASK_AFTER)
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
