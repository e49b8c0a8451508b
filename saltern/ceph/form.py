"""Whether the monitors of a cluster begin it, join it, or must not be touched.

A cluster begins exactly once. A monitor without a store may be new, or may have lost it: the other
monitors tell, and the hosts of object stores tell when all monitors have none. After every step
all are asked anew, so a decision is never older than the state it was made for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.rollout.members import PATIENCE, failed, gather, reading
from saltern.rollout.ports import Bus

#: What the host of a monitor is asked.
FACTS = "ceph_monitor.facts"
#: Seconds between two looks while monitors find each other, and how many looks.
WAIT_INTERVAL, WAITS = 2.0, 30


@dataclass(frozen=True)
class Monitor:
    """What the host of one monitor says.

    :param node: minion id
    :param name: of the monitor
    :param address: where it listens; empty when the host did not say
    :param wanted: fsid of the model
    :param fsids: cluster of everything of Ceph on the host, by name of the part
    :param fresh: it was never made, or never was in a quorum
    :param state: ``leader``, ``peon``, ``probing`` …, ``stopped``
    :param members: names in the map that it knows
    :param object_hosts: minion ids of the hosts of object stores
    """

    node: str
    name: str
    wanted: str = ""
    address: str = ""
    fsids: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    running: bool = False
    state: str = "stopped"
    quorum: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    object_hosts: tuple[str, ...] = ()

    @property
    def serving(self) -> bool:
        """Whether it takes part in a quorum."""
        return self.running and self.name in self.quorum

    @classmethod
    def from_facts(cls, node: str, facts: Any) -> Monitor:
        """Read what ``ceph_monitor.facts`` returned.

        :raises GateError: it is something else
        """
        with reading(node, FACTS):
            return cls(
                node=node,
                name=str(facts["name"]),
                wanted=str(facts["wanted"]),
                address=str(facts["address"]),
                fsids=dict(facts["fsids"]),
                fresh=bool(facts["fresh"]),
                running=bool(facts["running"]),
                state=str(facts["state"]),
                quorum=frozenset(facts["quorum"]),
                members=frozenset(facts["members"]),
                object_hosts=tuple(facts["object_hosts"]),
            )


Facts = Mapping[str, Monitor | None]


@dataclass(frozen=True)
class Step:
    """What comes next.

    :param kind: ``done``, ``wait``, ``refuse``, ``look`` (at the hosts of object stores), ``begin``
        (all ``nodes`` together), ``start`` or ``join`` (``nodes``)
    :param sentence: why
    :param nodes: minion ids, in order
    """

    kind: str
    sentence: str
    nodes: tuple[str, ...] = ()


def decide(facts: Facts, stores: Mapping[str, Mapping[str, str] | None] | None = None) -> Step:
    """Decide the next step towards one quorum of all monitors of the model.

    :param facts: every monitor's host by minion id; None for one that did not answer
    :param stores: minion id of each host of object stores -> cluster of each store on it, None for
        one that did not answer; None when they were not asked
    """
    if not facts:
        return Step("refuse", "No node of this cluster carries the role ceph.mon.")
    silent = sorted(node for node, member in facts.items() if member is None)
    if silent:
        return Step("refuse", f"{', '.join(silent)} did not answer.")
    members = [member for _, member in sorted(facts.items()) if member is not None]
    wrong = _foreign(members)
    if wrong:
        return Step("refuse", wrong)
    fresh = [member for member in members if member.fresh]
    if len(fresh) == len(members):
        return _begin(members, stores)
    kept = [member for member in members if not member.fresh]
    stopped = [member for member in kept if not member.running]
    if stopped:
        return Step("start", f"Start {_names(stopped)}.", _nodes(stopped))
    quorums = {member.quorum for member in kept if member.serving}
    if len(quorums) > 1:
        told = "; ".join(", ".join(sorted(quorum)) for quorum in sorted(quorums, key=sorted))
        return Step("wait", f"There is more than one quorum: {told}.")
    if not quorums:
        return Step(
            "wait",
            f"{_names(kept)} run and are no quorum of"
            f" {', '.join(sorted(frozenset().union(*(m.members for m in kept))))}.",
        )
    outside = [member for member in kept if not member.serving]
    if outside:
        return Step("wait", f"{_names(outside)} are not in the quorum.")
    if fresh:
        # one at a time: each newcomer raises the number that a majority needs
        first = fresh[0]
        return Step("join", f"{first.name} joins {_names(kept)}.", (first.node,))
    (quorum,) = quorums
    strangers = sorted(frozenset().union(*(m.members for m in kept)) - {m.name for m in members})
    told = f"{len(quorum)} of {len(members)} monitors are in the quorum."
    if strangers:
        told += f" The cluster also knows {', '.join(strangers)}, which the model does not."
    return Step("done", told)


def _foreign(members: Iterable[Monitor]) -> str:
    """Name everything of another cluster than the model wants, and models that disagree."""
    members = list(members)
    wanted = {member.wanted for member in members}
    if len(wanted) != 1 or not all(wanted):
        return f"The monitors do not agree on ceph:common:fsid: {', '.join(sorted(wanted))}."
    found = [
        f"{member.node} holds {part} of cluster {fsid}"
        for member in members
        for part, fsid in sorted(member.fsids.items())
        if fsid != member.wanted
    ]
    (fsid,) = wanted
    if not found:
        return ""
    return f"{'; '.join(found)}; the model says {fsid}. Nothing was touched."


def _begin(
    members: Sequence[Monitor], stores: Mapping[str, Mapping[str, str] | None] | None
) -> Step:
    """No monitor was ever made: there is nothing yet, or everything was lost."""
    if stores is None:
        return Step("look", "No monitor was ever made.")
    silent = sorted(node for node, found in stores.items() if found is None)
    if silent:
        return Step(
            "refuse",
            f"No monitor was ever made, and {', '.join(silent)} did not say whether object stores"
            " are there: a cluster that lost its monitors must not be begun anew.",
        )
    beside = (f"{m.node} ({part})" for m in members for part in m.fsids if part[:4] == "osd.")
    mine = sorted(beside)
    held = sorted(node for node, found in stores.items() if found)
    if held or mine:
        return Step(
            "refuse",
            f"No monitor has a store, and object stores are on {', '.join([*held, *mine])}:"
            " the cluster existed. Restore a monitor's store from its backup, or from the object"
            " stores.",
        )
    return Step("begin", f"{_names(members)} begin the cluster.", _nodes(members))


def _names(members: Iterable[Monitor]) -> str:
    return ", ".join(member.name for member in members)


def _nodes(members: Iterable[Monitor]) -> tuple[str, ...]:
    return tuple(member.node for member in members)


def converge(
    bus: Bus,
    nodes: Sequence[str],
    *,
    test: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Decide and act until all monitors are one quorum, or it must not go on.

    :param bus: where the hosts answer
    :param nodes: minion ids of all monitors
    :param test: only say what would be done
    :param tell: hears a sentence before each step
    :param sleep: waits some seconds
    :returns: ``{result, comment, changes}``, ``retcode`` 2 when it refused, 1 failed
    """
    changes: dict[str, str] = {}
    said: list[str] = []
    waits = 0
    while True:
        facts, problems = gather(bus, nodes, FACTS, Monitor.from_facts)
        step = decide(facts)
        if step.kind == "look":
            step = decide(facts, _stores(bus, facts))
        if test:
            return _foreseen(step, problems)
        if step.kind == "wait" and waits < WAITS:
            waits += 1
            sleep(WAIT_INTERVAL)
            continue
        said.append(step.sentence)
        if step.kind not in ("begin", "start", "join"):
            said += problems
            break
        verb = {"begin": "begun", "start": "started", "join": "joined"}[step.kind]
        again = [node for node in step.nodes if changes.get(node) == verb]
        if again:
            said.append(f"{', '.join(again)} was {verb} before, without effect.")
            break
        tell(step.sentence)
        wrong = _act(bus, step, facts)
        if wrong:
            said += wrong
            break
        changes.update(dict.fromkeys(step.nodes, verb))
        waits = 0
    good = step.kind == "done"
    ret: dict[str, Any] = {"result": good, "comment": " ".join(said), "changes": changes}
    if not good:
        ret["retcode"] = 2 if step.kind == "refuse" and not changes else 1
    return ret


def _foreseen(step: Step, problems: Sequence[str]) -> dict[str, Any]:
    verbs = {"begin": "would begin", "start": "would start", "join": "would join"}
    changes = dict.fromkeys(step.nodes, verbs.get(step.kind, ""))
    result = {"done": True, "refuse": False}.get(step.kind)
    comment = " ".join([step.sentence, *problems])
    return {"result": result, "comment": comment, "changes": changes}


def _act(bus: Bus, step: Step, facts: Facts) -> list[str]:
    """Carry out a step on all its nodes at once; return the sentences of what failed."""
    nodes = list(step.nodes)
    if step.kind != "start":
        members = {member.name: member.address for member in facts.values() if member is not None}
        kwarg = {"members": members} if step.kind == "begin" else {}
        made = bus.call(nodes, "ceph_monitor.create", kwarg=kwarg, timeout=PATIENCE)
        wrong = failed(made.values())
        if wrong:
            return wrong
    return failed(bus.call(nodes, "ceph_monitor.start", timeout=PATIENCE).values())


def _stores(bus: Bus, facts: Facts) -> dict[str, Mapping[str, str] | None]:
    """Ask the hosts of object stores which clusters their stores are of."""
    hosts = sorted({node for m in facts.values() if m is not None for node in m.object_hosts})
    if not hosts:
        return {}
    returns = bus.call(hosts, "ceph_store.fsids", timeout=PATIENCE)
    return {
        node: dict(answer.data) if answer.ok and isinstance(answer.data, Mapping) else None
        for node, answer in returns.items()
    }
