"""What is observed of a cluster before a plan is made: who is there, what works, what is served.

Pure: what to ask is made from the compiled nodes, and what it means from the answers; the asking
itself is :mod:`saltern.adapters.rolling`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.errors import PlanError
from saltern.model.impact import Impact
from saltern.plan.types import Check
from saltern.rollout import questions
from saltern.rollout.ports import Return
from saltern.rollout.returns import changed_states, clip
from saltern.rollout.show import short
from saltern.rollout.stages import Node

#: Seconds that all checks of one node may take when they are asked once, without patience.
ASK_LIMIT = 120.0

#: How many nodes a command names at most.
_NAMED = 10
#: What Salt answers when a minion does not have a function.
_MISSING = "is not available"


@dataclass
class Observed:
    """What the nodes answered.

    :param present: nodes that did, sorted
    :param absent: node to the sentence why nothing is known about it
    :param down: role to the nodes where it is known not to work
    :param why: the sentences behind ``down``, by node
    """

    present: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    down: dict[str, frozenset[str]] = field(default_factory=dict)
    why: dict[str, list[str]] = field(default_factory=dict)


def peers(nodes: Mapping[str, Node], chosen: Iterable[str]) -> tuple[str, ...]:
    """List the nodes whose health a plan for some nodes depends on, sorted.

    They are the chosen ones and all that share a role with them: a quorum is made of those.

    :param nodes: compiled nodes of the cluster by id
    :param chosen: ids of those that will be worked on; unknown ones are left out
    """
    mine = {node for node in chosen if node in nodes}
    roles = {role for node in mine for role in nodes[node].applications}
    return tuple(sorted(mine | {n for n, node in nodes.items() if roles & {*node.applications}}))


def checks(nodes: Mapping[str, Node], asked: Iterable[str]) -> list[Check]:
    """Make the health checks of nodes; one without any is not asked.

    A check is asked once: what needs patience after a restart needs none at rest. One of the scope
    ``cluster`` is left out: no node is down for what all of them are asked.

    :param nodes: compiled nodes by id, as they are served now
    :param asked: ids of those to ask
    """
    found = []
    for node in sorted({*asked} & {*nodes}):
        for role in nodes[node].applications:
            lifecycle = nodes[node].lifecycle.get(role)
            health = lifecycle.get("health") if isinstance(lifecycle, Mapping) else None
            items = tuple(
                {key: value for key, value in item.items() if key != "retry"}
                for item in (health if isinstance(health, Sequence) else ())
                if item.get("scope") != "cluster"
            )
            if items:
                found.append(Check(node, role, items))
    return found


def presence(answers: Mapping[str, Return]) -> Observed:
    """Read who is there from the answers to ``test.ping``."""
    return Observed(
        present=tuple(sorted(node for node, answer in answers.items() if answer.ok)),
        absent={n: answer.sentence for n, answer in sorted(answers.items()) if not answer.ok},
    )


def observe(observed: Observed, asked: Iterable[Check], answers: Mapping[str, Return]) -> Observed:
    """Add what the health checks say to who is there.

    A check that was not answered counts as one that failed, and a node that fell silent as absent.

    :param observed: see :func:`presence`; stays as it is
    :param asked: see :func:`checks`
    :param answers: of each node that was asked
    """
    present = set(observed.present)
    absent = dict(observed.absent)
    down: dict[str, set[str]] = {}
    why: dict[str, list[str]] = {}
    for node, mine in questions.by_node(asked).items():
        answer = answers[node]
        if answer.silent:
            absent[node] = answer.sentence
            present.discard(node)
            continue
        for role, sentence in _unwell(mine, answer):
            down.setdefault(role, set()).add(node)
            why.setdefault(node, []).append(f"{node}: {role}: {sentence}")
    return Observed(
        present=tuple(sorted(present)),
        absent=dict(sorted(absent.items())),
        down={role: frozenset(ids) for role, ids in sorted(down.items())},
        why=why,
    )


def _unwell(asked: Sequence[Check], answer: Return) -> list[tuple[str, str]]:
    """Role and sentence of each check of one node that is not content."""
    unwell = [one for one in questions.verdicts(asked, answer) if not one.passes]
    if questions.answered(asked, answer):
        return [(verdict.role, verdict.sentence) for verdict in unwell]
    (told,) = (verdict.sentence for verdict in unwell)
    if _MISSING in answer.sentence:
        told = f"its minion has no health.check, run `salt {answer.node} saltutil.sync_all`."
    return [(check.role, told) for check in asked]


def same_plugins(outdated: Sequence[str]) -> None:
    """Refuse to go by what nodes with other plugins than the master's would say and do.

    :param outdated: nodes that have them
    :raises PlanError: there are some
    """
    if outdated:
        whom = f"-L {','.join(outdated)}" if len(outdated) <= _NAMED else "'*'"
        raise PlanError(
            "other modules than the master serves, which answer and act as another release does",
            where=short(outdated),
            cure=f"Run `salt {whom} saltutil.sync_all`",
        )


# -- what a change touches -----------------------------------------------------------------------


def touched_roles(
    impact: Impact, nodes: Mapping[str, Node]
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """List for each node that a change touches its roles, in their order, and its restarts.

    Roles whose states could not be rendered count as touched when their data differs. A node that
    is new has all of its roles touched; one that leaves the model is not listed.

    :param impact: of a change of the model
    :param nodes: compiled nodes of the target revision
    :returns: node to (roles, ``restart keystone-api`` …)
    """
    found = {}
    for entry in impact.nodes:
        if entry.kind == "removed" or entry.node not in nodes:
            continue
        applications = nodes[entry.node].applications
        if entry.kind == "added":
            roles = {*applications}
        else:
            roles = {item.role for item in entry.roles if item.role}
            if any(not item.role for item in entry.roles):
                roles |= {*applications}  # a state of no role of it: which one runs it is not known
            # what cannot be rendered is judged by its data
            roles |= {*entry.pillar} & ({*impact.unknown} if impact.rendered else {*applications})
            if not impact.rendered and not roles:
                roles = {*applications}
        ordered = tuple(role for role in applications if role in roles)
        restarts = tuple(
            dict.fromkeys(f"{r.action} {r.service}" for item in entry.roles for r in item.restarts)
        )
        if ordered:
            found[entry.node] = (ordered, restarts)
    return found


def unrendered(impact: Impact) -> list[str]:
    """Say which roles count as touched because their states could not be rendered."""
    if not impact.rendered:
        return [f"nothing was rendered, so data alone decides what is touched: {impact.note}"]
    where: dict[tuple[str, str], list[str]] = {}
    for entry in impact.nodes:
        for item in entry.roles:
            if item.error:
                where.setdefault((item.role, clip(item.error)), []).append(entry.node)
    return [
        f"  {role or 'a state of no role'} counts as touched on {short(nodes)}: {why}"
        for (role, why), nodes in sorted(where.items())
    ]


def foresight(
    answers: Mapping[str, Return], roles: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read what nodes foresee to change, from ``state.apply`` in test mode.

    :param answers: by node
    :param roles: node to the roles that were applied there
    :returns: node to role to names of states; a state of no such role counts for the last one
    :raises PlanError: a node cannot foresee it
    """
    failed = [answer.sentence for answer in answers.values() if not answer.ok]
    if failed:
        raise PlanError(
            f"not every node can foresee its changes: {' '.join(failed[:3]).rstrip('.')}",
            cure="Mend that, or plan without predict=True",
        )
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for node, answer in answers.items():
        mine: dict[str, list[str]] = {}
        for key, state in answer.data.items() if isinstance(answer.data, Mapping) else ():
            role = str(state.get("__sls__", ""))
            role = role if role in roles[node] else roles[node][-1]
            mine.setdefault(role, []).extend(changed_states({key: state}))
        found[node] = {role: tuple(names) for role, names in mine.items() if names}
    return found


# -- fingerprints --------------------------------------------------------------------------------


def fingerprint(parts: Iterable[tuple[str, str]]) -> str:
    """Return one hash for names and their hashes; empty for nothing.

    :param parts: (name, hash of its content) in any order; twice the same counts once
    """
    lines = sorted({f"{name}\0{digest}\n" for name, digest in parts})
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def artifacts(nodes: Mapping[str, Any]) -> list[str]:
    """List the artifact files that the roles of some nodes name, below the artifacts' directory.

    :param nodes: compiled nodes; a role's pin is at ``<service>:<role>:source`` with ``url``
    """
    files = set()
    for node in nodes.values():
        for role in node.applications:
            service, _, name = role.partition(".")
            source: Any = node.pillar
            for key in (service, name, "source"):
                source = source.get(key) if isinstance(source, Mapping) else None
            url = str(source.get("url") or "") if isinstance(source, Mapping) else ""
            if "/artifacts/" in url:
                files.add(url.rpartition("/artifacts/")[2])
    return sorted(files)


# -- evidence ------------------------------------------------------------------------------------


def evidence(node: Node, roles: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return whose evidence is kept before roles of a node are undone: units, and services.

    :param node: compiled
    :param roles: those that are undone; roles that the node does not have are left out
    """
    mine = [role for role in node.applications if role in {*roles}]
    units: list[str] = []
    for role in mine:
        lifecycle = node.lifecycle.get(role)
        health = lifecycle.get("health") if isinstance(lifecycle, Mapping) else None
        units += [str(check["unit"]) for check in health or () if "unit" in check]
    return list(dict.fromkeys(units)), list(dict.fromkeys(r.partition(".")[0] for r in mine))


def evidence_text(answer: Return) -> str:
    """Write down what ``evidence.collect`` answered; only what is known to hold no secret."""
    data = answer.data
    if not answer.ok or not isinstance(data, Mapping):
        return f"not kept: {answer.sentence or 'no answer that is one'}"
    lines = []
    for unit, state in sorted((data.get("units") or {}).items()):
        told = f"{state.get('ActiveState', 'unknown')} ({state.get('SubState', 'unknown')})"
        lines.append(f"{unit}: {told} since {state.get('ActiveEnterTimestamp') or 'never'}")
        lines.append(f"{unit}: log in {state.get('log', 'none')}")
    lines += [f"{name} runs {path}" for name, path in sorted((data.get("releases") or {}).items())]
    lines += [f"{path} {digest}" for path, digest in sorted((data.get("files") or {}).items())]
    return "\n".join(lines) or "nothing to keep"
