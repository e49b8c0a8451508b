"""Whether members of OVN's control plane begin their clusters, join, or must not be touched.

The northbound and the southbound database are a RAFT cluster each, of the same members. Each begins
exactly once. A member without a database may be new, or may have lost it: the clusters of the
others know. After every step all are asked anew, so a decision is never older than the state it was
made for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.rollout.members import failed, gather, reading
from saltern.rollout.ports import Bus

#: What a member is asked.
FACTS = "ovn_cluster.facts"
DATABASES = ("northbound", "southbound")
#: Seconds between two looks while members find each other, and how many looks.
WAIT_INTERVAL, WAITS = 3.0, 20
#: Seconds that a member may take to be in its clusters.
ACT = 300
#: What a member holds that was not admitted yet.
JOINING = "joining"
#: Kind of step -> function of the member, and what became of it.
CALLS = {
    "begin": ("ovn_cluster.begin", "begun"),
    "start": ("ovn_cluster.start", "started"),
    "join": ("ovn_cluster.join", "joined"),
    "kick": ("ovn_database.kick", "took the lost member out"),
    "settle": ("ovn_database.settle", "settled"),
    "restart": ("ovn_cluster.restart", "restarted"),
}


@dataclass(frozen=True)
class Database:
    """What one member says of one database.

    :param held: its cluster; None without a file, empty for a file of no cluster
    :param raft: address by which members know this one
    :param sid: name of this member in its cluster
    :param status: ``cluster member``, ``joining cluster`` …; empty when the server does not run
    :param leader: name of the member that leads, empty when nobody does
    :param members: name of each member that the cluster knows -> its address
    :param unsettled: settings that differ from the configured ones
    """

    held: str | None = None
    running: bool = False
    raft: str = ""
    sid: str = ""
    status: str = ""
    role: str = ""
    leader: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    unsettled: tuple[str, ...] = ()

    @property
    def serving(self) -> bool:
        """Whether it takes part in a cluster that can write."""
        return self.running and self.status == "cluster member" and bool(self.leader)


@dataclass(frozen=True)
class Member:
    """What one member says: its databases, whether northd runs, units that are configured anew."""

    node: str
    databases: Mapping[str, Database]
    northd: bool = False
    stale: tuple[str, ...] = ()

    @classmethod
    def from_facts(cls, node: str, facts: Any) -> Member:
        """Read what ``ovn_cluster.facts`` returned.

        :raises GateError: it is something else
        """
        with reading(node, FACTS):
            return cls(
                node,
                {
                    name: Database(
                        held=None if facts[name]["held"] is None else str(facts[name]["held"]),
                        running=bool(facts[name]["running"]),
                        raft=str(facts[name]["raft"]),
                        sid=str(facts[name]["sid"]),
                        status=str(facts[name]["status"]),
                        role=str(facts[name]["role"]),
                        leader=str(facts[name]["leader"]),
                        members=dict(facts[name]["members"]),
                        unsettled=tuple(facts[name]["unsettled"]),
                    )
                    for name in DATABASES
                },
                bool(facts["northd"]),
                tuple(facts["stale"]),
            )


@dataclass(frozen=True)
class Step:
    """What comes next.

    :param kind: ``done``, ``wait``, ``refuse``, or one of :data:`CALLS` on ``node``
    :param sentence: why
    :param arg: of the call
    """

    kind: str
    sentence: str
    node: str = ""
    arg: tuple[Any, ...] = ()


Facts = Mapping[str, Member | None]


def decide(facts: Facts) -> Step:
    """Decide the next step towards one cluster of each database, of all members of the model.

    :param facts: every node of the role by minion id; None for one that did not answer
    """
    if not facts:
        return Step("refuse", "No node of this cluster carries the role ovn.central.")
    silent = sorted(node for node, member in facts.items() if member is None)
    if silent:
        return Step("refuse", f"{', '.join(silent)} did not answer.")
    members = [member for _, member in sorted(facts.items()) if member is not None]
    wrong = _foreign(members)
    if wrong:
        return Step("refuse", wrong)
    holders = {
        name: [m for m in members if m.databases[name].held not in (None, JOINING)]
        for name in DATABASES
    }
    if not all(holders.values()):
        return _begin(members, holders)
    whole = [m for m in members if all(m.databases[name].held is not None for name in DATABASES)]
    for member in whole:
        down = [name for name in DATABASES if not member.databases[name].running]
        if down or not member.northd:
            told = ", ".join(down) or "northd"
            return Step("start", f"Start {member.node}: {told} does not run.", member.node)
    for name in DATABASES:
        outside = [m.node for m in holders[name] if not m.databases[name].serving]
        if outside:
            return Step("wait", f"{', '.join(outside)} found no leader of {name}.")
    fresh = [member for member in members if member not in whole]
    if fresh:
        return _join(fresh[0], holders)
    return _settled(members)


def _foreign(members: Sequence[Member]) -> str:
    """Name databases of no cluster, and clusters that are more than one."""
    for name in DATABASES:
        loose = [member.node for member in members if member.databases[name].held == ""]
        if loose:
            return (
                f"The {name} database on {', '.join(loose)} is of no cluster. Nothing was touched:"
                " move it out of /var/lib/ovn, or restore from it."
            )
        found: dict[str, list[str]] = {}
        for member in members:
            held = member.databases[name].held
            if held and held != JOINING:
                found.setdefault(held, []).append(member.node)
        if len(found) > 1:
            told = "; ".join(f"{', '.join(nodes)} in {cid[:8]}" for cid, nodes in found.items())
            return (
                f"There is more than one cluster of {name}: {told}. Stop the one that has to go,"
                " and move its databases out of /var/lib/ovn there. Nothing was touched."
            )
    return ""


def _begin(members: Sequence[Member], holders: Mapping[str, Sequence[Member]]) -> Step:
    """At least one database is nowhere: it was never made, or all of it was lost."""
    first = members[0]
    missing = [name for name in DATABASES if not holders[name]]
    joining = sorted(
        m.node for m in members for name in missing if m.databases[name].held == JOINING
    )
    if joining:
        return Step(
            "refuse",
            f"{', '.join(joining)} would join a cluster of {' and '.join(missing)} that nobody"
            " holds: it was lost. Restore it from a backup, or move /var/lib/ovn away on all"
            " members.",
        )
    others = [
        m for name in DATABASES for m in holders[name]
        if m is not first or len(m.databases[name].members) > 1
    ]  # fmt: skip
    if others:
        return Step(
            "refuse",
            f"No member holds the {missing[0]} database, and {others[0].node} is in the cluster of"
            " the other one: it existed, and was lost. Restore it from a backup, or move"
            " /var/lib/ovn away on all members.",
        )
    return Step("begin", f"{first.node} begins the clusters.", first.node)


def _join(fresh: Member, holders: Mapping[str, Sequence[Member]]) -> Step:
    """One at a time: each newcomer raises the number that a majority needs."""
    for name in DATABASES:
        mine = fresh.databases[name]
        if mine.held is not None:
            continue
        known = holders[name][0].databases[name].members
        lost = [sid for sid, address in sorted(known.items()) if address == mine.raft]
        if not lost:
            continue
        serving = {m.databases[name].sid for m in holders[name] if m.databases[name].serving}
        if len(serving & {*known}) <= len(known) // 2:
            return Step(
                "refuse",
                f"{fresh.node} lost its {name} database, and the members that serve are no majority"
                f" of {len(known)}. Bring another one back first.",
            )
        leads = [m for m in holders[name] if m.databases[name].role == "leader"]
        if not leads:
            return Step("wait", f"Nobody says that it leads {name}.")
        return Step(
            "kick",
            f"{fresh.node} lost its {name} database: {leads[0].node} takes the former member out.",
            leads[0].node,
            (name, lost[0]),
        )
    remotes = {
        name: sorted(m.databases[name].raft for m in holders[name] if m is not fresh)
        for name in DATABASES
    }
    return Step("join", f"{fresh.node} joins.", fresh.node, (remotes,))


def _settled(members: Sequence[Member]) -> Step:
    """All hold and run both databases: admission, settings, restarts."""
    for name in DATABASES:
        for member in members:
            mine = member.databases[name]
            if not mine.serving or len(mine.members) < len(members):
                return Step(
                    "wait",
                    f"{member.node} sees {len(mine.members)} of {len(members)} members of {name}.",
                )
        leader = next((m for m in members if m.databases[name].role == "leader"), None)
        if leader is None:
            return Step("wait", f"Nobody says that it leads {name}.")
        unsettled = leader.databases[name].unsettled
        if unsettled:
            told = f"Set {' and '.join(unsettled)} of {name}."
            return Step("settle", told, leader.node, (name,))
    for member in members:
        if member.stale:
            told = f"Restart {member.node}: {', '.join(member.stale)} is configured anew."
            return Step("restart", told, member.node)
    known = {
        address for m in members for d in m.databases.values() for address in d.members.values()
    }
    strangers = sorted(known - {d.raft for m in members for d in m.databases.values()})
    told = f"{len(members)} of {len(members)} members are in both clusters."
    if strangers:
        told += f" The clusters also know {', '.join(strangers)}, which the model does not."
    return Step("done", told)


def converge(
    bus: Bus,
    nodes: Sequence[str],
    *,
    test: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Decide and act until both clusters have all members, or it must not go on.

    :param bus: where the members answer
    :param nodes: minion ids of all members
    :param test: only say what would be done
    :param sleep: waits some seconds
    :returns: ``{result, comment, changes}``, ``retcode`` 2 when it refused, 1 failed
    """
    changes: dict[str, str] = {}
    said: list[str] = []
    done: set[Step] = set()
    waits = 0
    while True:
        facts, problems = gather(bus, nodes, FACTS, Member.from_facts)
        step = decide(facts)
        if test:
            return _foreseen(step, problems)
        if step.kind == "wait" and waits < WAITS:
            waits += 1
            sleep(WAIT_INTERVAL)
            continue
        said.append(step.sentence)
        if step.kind not in CALLS:
            said += problems
            break
        # a step that is decided again had no effect
        plain = Step(step.kind, step.sentence, step.node)
        if plain in done:
            said.append("It was done before, without effect.")
            break
        done.add(plain)
        function, verb = CALLS[step.kind]
        answers = bus.call([step.node], function, arg=step.arg, timeout=ACT)
        wrong = failed(answers.values())
        if wrong:
            said += wrong
            break
        changes[step.node] = ", ".join(_once(changes.get(step.node, ""), verb))
        waits = 0
    good = step.kind == "done"
    ret: dict[str, Any] = {"result": good, "comment": " ".join(said), "changes": changes}
    if not good:
        ret["retcode"] = 2 if step.kind == "refuse" and not changes else 1
    return ret


def _once(before: str, verb: str) -> Iterable[str]:
    return dict.fromkeys([*filter(None, before.split(", ")), verb])


def _foreseen(step: Step, problems: Sequence[str]) -> dict[str, Any]:
    result = {"done": True, "refuse": False}.get(step.kind)
    comment = " ".join([step.sentence, *problems])
    changes = {step.node: f"would be {CALLS[step.kind][1]}"} if step.kind in CALLS else {}
    return {"result": result, "comment": comment, "changes": changes}
