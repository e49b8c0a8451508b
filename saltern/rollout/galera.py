"""When a Galera cluster may be bootstrapped, and by whom: the decision, and nothing else.

Facts of *all* members come in, one decision comes out; the caller carries it out, gathers the
facts again and asks again (:mod:`saltern.rollout.galera_run`). Everything here fails closed:
what is not plainly safe is a :class:`Refuse` with the reason.

The traps behind the rules:

- ``grastate.dat`` with a zero uuid, seqno -1 and ``safe_to_bootstrap: 1`` is what a member writes
  that never belonged to a cluster, or whose copy of the data broke off. Bootstrapping from it
  throws the real data away, so such a member can only ever join.
- After an unclean stop every ``grastate.dat`` says seqno -1; only ``mariadbd --wsrep-recover``
  knows the position.
- A member that does not answer may hold the newest data, or run a Primary component of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saltern.errors import GateError
from saltern.rollout.members import reading

#: What a member is asked.
FACTS = "galera_cluster.facts"
ZERO_UUID = "00000000-0000-0000-0000-000000000000"

#: ``wsrep_local_state`` values with which a member holds the cluster's data: donor, synced.
SERVING = frozenset({2, 4})
STATES = {1: "joining", 2: "donor", 3: "joined", 4: "synced"}
RECOVER = "Run salt-run galera.recover"


@dataclass(frozen=True)
class Position:
    """A place in a cluster's history: ``uuid`` names the history, ``seqno`` the transaction."""

    uuid: str
    seqno: int

    @property
    def defined(self) -> bool:
        """Whether it says anything: a zero uuid or a negative seqno is "unknown"."""
        return self.uuid != ZERO_UUID and self.seqno >= 0

    def __str__(self) -> str:
        return f"{self.uuid}:{self.seqno}"


@dataclass(frozen=True)
class Member:
    """What one member says of itself.

    :param node: minion id
    :param data: its data directory holds something that could be lost
    :param saved: position in ``grastate.dat``; None when there is no such file
    :param safe: ``safe_to_bootstrap`` of that file
    :param transfer: a state transfer into it broke off or is under way
    :param running: its server process exists, or its unit keeps trying to start it
    :param wsrep: the server runs with Galera and answers; False with ``running`` may mean "hangs"
    :param foreign: the server answers but runs without Galera
    :param primary: it belongs to a Primary component
    :param state: ``wsrep_local_state`` (4 is Synced), 0 when unknown
    :param cluster_uuid: history of the component it belongs to
    :param size: members that it sees in its component
    :param recovered: last committed position, asked of a stopped server; None when not asked
    :param stale: its configuration is newer than its process
    """

    node: str
    data: bool = False
    saved: Position | None = None
    safe: bool = False
    transfer: bool = False
    running: bool = False
    wsrep: bool = False
    foreign: bool = False
    primary: bool = False
    state: int = 0
    cluster_uuid: str = ""
    size: int = 0
    recovered: Position | None = None
    stale: bool = False

    @property
    def serving(self) -> bool:
        """In a Primary component with the cluster's data."""
        return self.primary and self.state in SERVING

    @property
    def usable(self) -> bool:
        """May be begun from: it left a cluster with its data whole."""
        return (
            self.data
            and not self.transfer
            and self.saved is not None
            and self.saved.uuid != ZERO_UUID
            and self.recovered is not None
            and self.recovered.defined
        )

    @classmethod
    def from_facts(cls, node: str, facts: Mapping[str, Any]) -> Member:
        """Read what ``galera_cluster.facts`` returned.

        :param facts: ``{data, grastate: {uuid, seqno, safe_to_bootstrap} | None, transfer,
            running, wsrep: {status name: value} | None, recovered: {uuid, seqno} | None, stale}``
        :raises GateError: the return has another shape
        """
        with reading(node, FACTS):
            grastate, wsrep = facts["grastate"], facts["wsrep"]
            recovered = facts.get("recovered")
            enabled = bool(wsrep) and wsrep["wsrep_on"] == "ON"
            status = wsrep if enabled else {}
            return cls(
                node=node,
                data=bool(facts["data"]),
                saved=Position(grastate["uuid"], int(grastate["seqno"])) if grastate else None,
                safe=bool(grastate and int(grastate["safe_to_bootstrap"])),
                transfer=bool(facts["transfer"]),
                running=bool(facts["running"]),
                wsrep=enabled,
                foreign=bool(wsrep) and not enabled,
                primary=status.get("wsrep_cluster_status") == "Primary",
                state=int(status.get("wsrep_local_state", 0)),
                cluster_uuid=status.get("wsrep_cluster_state_uuid", ""),
                size=int(status.get("wsrep_cluster_size", 0)),
                recovered=Position(recovered["uuid"], int(recovered["seqno"]))
                if recovered
                else None,
                stale=bool(facts.get("stale")),
            )


@dataclass(frozen=True)
class Nothing:
    """The cluster is as it should be."""

    reason: str


@dataclass(frozen=True)
class Bootstrap:
    """Begin the cluster on ``node``; ``position`` is what it must hold, None for a new cluster."""

    node: str
    reason: str
    position: Position | None = None


@dataclass(frozen=True)
class Join:
    """Start ``node`` and wait until it is Synced."""

    node: str
    reason: str


@dataclass(frozen=True)
class Restart:
    """Restart ``node``, whose configuration is newer than its process."""

    node: str
    reason: str


@dataclass(frozen=True)
class Measure:
    """Stop the servers of ``nodes`` and ask them for their last committed positions."""

    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Wait:
    """The members are between two states; ask again in some seconds, but not for ever."""

    reason: str


@dataclass(frozen=True)
class Refuse:
    """Do nothing: ``reason`` says why, ``cure`` what a person can do."""

    reason: str
    cure: str = ""


Decision = Nothing | Bootstrap | Join | Restart | Measure | Wait | Refuse
Facts = Mapping[str, Member | None]


def decide_form(facts: Facts) -> Decision:
    """Decide the next step towards a whole cluster; never bootstraps over data.

    :param facts: every member of the topology by minion id; None for one that did not answer
    """
    if not facts:
        return Refuse("no node of this cluster carries the role galera.server")
    silent = sorted(node for node, member in facts.items() if member is None)
    if silent:
        return Refuse(
            f"{_list(silent)} did not say what it holds, so nobody may begin a cluster",
            "Bring it back and run this again",
        )
    members = [facts[node] for node in sorted(facts)]
    return _next([member for member in members if member is not None])


def _next(members: Sequence[Member]) -> Decision:
    if any(member.primary for member in members):
        return _with_primary(members)
    holders = [member.node for member in members if member.data]
    if holders:
        return Refuse(
            f"{_list(holders)} hold{'s' if len(holders) == 1 else ''} data but no member is in a"
            " Primary component, and a cluster is never bootstrapped over data",
            RECOVER,
        )
    running = [member.node for member in members if member.wsrep]
    if running:
        return Refuse(
            f"{running[0]} runs without a Primary component though it holds no data",
            "Stop mariadb there and run this again",
        )
    return Bootstrap(members[0].node, "no member holds data, so this is a new cluster")


def _with_primary(members: Sequence[Member]) -> Decision:
    histories = {member.cluster_uuid: member.node for member in members if member.primary}
    if len(histories) > 1:
        text = ", ".join(f"{node} in {uuid}" for uuid, node in sorted(histories.items()))
        return Refuse(
            f"there are two clusters: {text}", "Stop the members of the one that has to go"
        )
    (history,) = histories
    # Members of one component see one size: else somebody is coming or going, or there are two.
    primaries = [member for member in members if member.primary]
    settled = [member.node for member in primaries if member.serving]
    if len({member.size for member in primaries}) > 1:
        views = ", ".join(f"{member.node} sees {member.size}" for member in primaries)
        return Wait(f"the members disagree on how many they are: {views}")
    for member in members:
        if member.primary or not member.data:
            continue
        if member.saved is None:
            return Refuse(
                f"{member.node} holds databases that were never part of a Galera cluster, and"
                " joining would delete them",
                f"Save them and empty /var/lib/mysql on {member.node}",
            )
        if member.saved.uuid not in (ZERO_UUID, history):
            return Refuse(
                f"{member.node} holds data of another cluster ({member.saved.uuid}), and joining"
                f" {history} would delete it",
                f"Save it and empty /var/lib/mysql on {member.node}",
            )
    for member in members:
        if not member.serving:
            verb = "are" if len(settled) > 1 else "is"
            return Join(member.node, f"{_list(settled) or primaries[0].node} {verb} Primary")
    for member in members:
        if member.size != len(members):
            return Wait(f"{member.node} sees {member.size} members where {len(members)} run")
    for member in members:
        if member.stale:
            return Restart(member.node, "its configuration is newer than its process")
    return Nothing(f"{len(members)} of {len(members)} members are Synced in {history}")


def decide_recover(
    facts: Facts, without: Sequence[str] = (), bootstrap_from: str | None = None
) -> Decision:
    """Decide the next step after a full outage: who begins, then who joins.

    :param facts: every member of the topology by minion id; None for one that did not answer
    :param without: members that the operator gives up; each must be silent
    :param bootstrap_from: the member that the operator wants to begin with
    """
    unknown = sorted({*without, *([bootstrap_from] if bootstrap_from else [])} - set(facts))
    if unknown:
        return Refuse(f"{_list(unknown)} is no member of this cluster")
    answering = sorted(node for node in without if facts[node] is not None)
    if answering:
        return Refuse(
            f"{_list(answering)} answers, so it cannot be left out", "Drop it from without="
        )
    silent = sorted(node for node, member in facts.items() if member is None)
    given_up = set(without)
    if set(silent) - given_up:
        return Refuse(
            f"{_list(sorted(set(silent) - given_up))} does not answer and may hold the newest data",
            "Bring it back, or give it up, with what only it holds, by without=",
        )
    members = [member for _, member in sorted(facts.items()) if member is not None]
    if not members:
        return Refuse("no member answers")
    if any(member.primary for member in members):
        return _with_primary(members)
    holders = [member for member in members if member.data]
    if not holders:
        return Refuse(
            "no member holds data, so there is nothing to recover",
            "A new cluster is formed by salt-run galera.form",
        )
    unmeasured = [m.node for m in members if m.running or (m.data and m.recovered is None)]
    if unmeasured:
        return Measure(
            tuple(unmeasured), "nobody is Primary, so the last committed positions decide"
        )
    return _begin(holders, bootstrap_from)


def _begin(holders: Sequence[Member], bootstrap_from: str | None) -> Decision:
    for member in holders:
        if member.saved is None:
            return Refuse(
                f"{member.node} holds databases that were never part of a Galera cluster",
                f"Save them and empty /var/lib/mysql on {member.node}",
            )
    usable = [member for member in holders if member.usable]
    if not usable:
        return Refuse(
            "there is data only at an undefined position (zero uuid, or an unfinished state"
            f" transfer), so none may begin: {_list([member.node for member in holders])}",
            "Restore a backup",
        )
    positions = {member.node: _position(member) for member in usable}
    seen = ", ".join(f"{node} at {position}" for node, position in positions.items())
    for member in usable:
        if member.saved is not None and member.saved.uuid != positions[member.node].uuid:
            return Refuse(
                f"{member.node} says {member.saved.uuid} in grastate.dat but its data is of"
                f" {positions[member.node].uuid}",
                "Restore a backup, or empty /var/lib/mysql there if another member has the data",
            )
    if len({position.uuid for position in positions.values()}) > 1:
        return Refuse(
            f"the members have different histories: {seen}",
            "Save the one that has to go and empty its /var/lib/mysql",
        )
    top = max(position.seqno for position in positions.values())
    if bootstrap_from is not None:
        if bootstrap_from not in positions:
            return Refuse(f"{bootstrap_from} cannot begin: its position is undefined")
        reason = f"chosen by the operator among {seen}"
        return Bootstrap(bootstrap_from, reason, positions[bootstrap_from])
    # A member that was shut out of the cluster, or holds half a copy, must not be ahead either.
    ahead = [
        member.node
        for member in holders
        if member.recovered is not None
        and member.recovered.uuid in {position.uuid for position in positions.values()}
        and member.recovered.seqno > top
    ]
    behind = [m.node for m in usable if m.safe and positions[m.node].seqno < top]
    if ahead or behind:
        text = (
            f"{_list(ahead)} is further than the members that may begin"
            if ahead
            else f"{_list(behind)} is marked safe to bootstrap but is behind"
        )
        return Refuse(f"{text}: {seen}", "Decide by bootstrap_from=")
    best = min(
        (member for member in usable if positions[member.node].seqno == top),
        key=lambda member: (not member.safe, member.node),
    )
    return Bootstrap(best.node, f"most advanced of {seen}", positions[best.node])


def _position(member: Member) -> Position:
    assert member.recovered is not None  # noqa: S101  (only called for usable members)
    return member.recovered


def describe(member: Member | None) -> dict[str, Any]:
    """Say in a few words what a member holds and does; for people, ``galera.status``."""
    if member is None:
        return {"state": "silent"}
    if member.wsrep:
        state = "Primary" if member.primary else "not Primary"
        state += f", state {member.state} ({STATES.get(member.state, 'unknown')})"
    elif member.foreign:
        state = "runs without Galera"
    else:
        state = "does not answer" if member.running else "stopped"
    found: dict[str, Any] = {"state": state, "data": member.data}
    if member.wsrep:
        found |= {"size": member.size, "history": member.cluster_uuid, "stale": member.stale}
    elif member.saved is not None:
        found |= {"saved": str(member.saved), "safe_to_bootstrap": member.safe}
    if member.transfer:
        found["transfer"] = "unfinished"
    return found


def outcome(decision: Decision, facts: Facts) -> dict[str, Member | None]:
    """Say what the facts will be once a decision has been carried out; for previews and tests.

    A Measure cannot be foreseen and leaves the facts as they are.
    """
    after = dict(facts)
    if isinstance(decision, Bootstrap | Join | Restart):
        member = after[decision.node]
        if member is None:
            raise GateError("a silent member cannot be acted upon", where=decision.node)
        primary = next((m for m in facts.values() if m is not None and m.primary), None)
        if isinstance(decision, Bootstrap):
            history = decision.position.uuid if decision.position else f"new:{decision.node}"
        else:
            history = primary.cluster_uuid if primary else ""
        after[decision.node] = replace(
            member,
            data=True,
            saved=Position(history, -1),
            safe=False,
            transfer=False,
            running=True,
            wsrep=True,
            foreign=False,
            primary=True,
            state=4,
            cluster_uuid=history,
            recovered=None,
            stale=False,
        )
        size = sum(1 for m in after.values() if m is not None and m.primary)
        after = {n: replace(m, size=size) if m and m.primary else m for n, m in after.items()}
    return after


def sentence(decision: Decision) -> str:
    """Put a decision into one sentence."""
    if isinstance(decision, Refuse):
        return f"Refused: {decision.reason}." + (f" {decision.cure}." if decision.cure else "")
    if isinstance(decision, Nothing | Wait):
        return f"{decision.reason}."
    if isinstance(decision, Measure):
        return f"Stop and measure {_list(decision.nodes)}: {decision.reason}."
    verb = type(decision).__name__
    return f"{verb} {decision.node}: {decision.reason}."


def _list(nodes: Sequence[str]) -> str:
    return ", ".join(nodes)
