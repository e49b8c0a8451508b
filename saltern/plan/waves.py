"""Split the nodes of a stage into waves that never take too much away at once.

A wave is bounded by two things that every node counts against:

- ``max_unavailable`` of every role that a wave disturbs. It holds over all members that declare the
  same limit and, where the limit names a failure domain, in each domain too; a wave then takes
  nodes of one domain only, as a second domain may hold what the first one lacks, or of as many as
  ``domains`` says.
- ``quorum: majority`` of every role that lives on a node, whether the wave touches it or not.

Members that are down or absent count as taken away already. A node whose role is down takes nothing
more away by being worked on: it comes first, so that it is mended before others leave.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from saltern.errors import PlanError
from saltern.plan.basis import Facts
from saltern.plan.roles import Limit, Roles
from saltern.plan.types import CANARY
from saltern.rollout.show import short

#: what one wave adds to, by one for each node: ("limit", role, limit, domain), ("quorum", role, …)
Key = tuple[str, str, Limit | None, str]


@dataclass(frozen=True)
class Candidate:
    """A node that a stage works on.

    :param touched: roles that are applied or restarted, in their order
    :param disturbed: these and the roles of the node that run on them
    :param start: whether ``start`` of the roles matters: they may come up for the first time
    :param carried: nodes that go down with it: machines of a host that restarts
    """

    node: str
    touched: tuple[str, ...]
    disturbed: tuple[str, ...]
    start: bool = True
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pace:
    """How fast a stage goes: see :class:`saltern.plan.request.Request`."""

    canary: int = 1
    percent: tuple[int, ...] = ()

    def marks(self, total: int) -> list[tuple[str, int]]:
        """Return names of parts, and how many nodes are reached when each of them is done."""
        found: list[tuple[str, int]] = []
        if 0 < self.canary < total:
            found.append((CANARY, self.canary))
        for share in self.percent:
            upto = math.ceil(total * share / 100)
            if upto < total and upto > (found[-1][1] if found else 0):
                found.append((f"{share} %", upto))
        return [*found, ("", total)]


class Fleet:
    """Who is in service of what, as far as it is known while a plan is made.

    :param roles: what the roles declare
    :param facts: who is absent, and what is down
    :param outside: (role, node) of members that never ran the role: they are part of no quorum
        until :meth:`proved`
    :param accepted: roles whose majority need not be kept
    :ivar lost: of those, the ones that lose it in the stage that was split last
    """

    def __init__(
        self,
        roles: Roles,
        facts: Facts,
        outside: Collection[tuple[str, str]] = (),
        accepted: Collection[str] = (),
    ) -> None:
        self.roles = roles
        self.accepted = frozenset(accepted)
        self.lost: set[str] = set()
        self.outside = set(outside)
        answered = set(facts.present) - set(facts.absent)
        self.absent = frozenset(node for node in roles.nodes if node not in answered)
        self.down: dict[str, set[str]] = {
            name: ({*facts.down.get(name, ())} & {*role.members}) | (self.absent & {*role.members})
            for name, role in roles.by_name.items()
        }
        self._members: dict[Key, frozenset[str]] = {}
        self._taken: dict[Key, int] = {}

    def take_down(self, role: str, node: str) -> None:
        """Note that a role does not work on a node."""
        self.down[role].add(node)
        self._taken.clear()

    def left(self, node: str) -> None:
        """Note that a node is no member of anything any more."""
        self.outside |= {(role, node) for role in self.roles.of(node)}
        self._members.clear()
        self._taken.clear()

    def proved(self, nodes: Iterable[str], roles: Collection[str]) -> None:
        """Note that some roles are known to work on some nodes: a wave verified them."""
        for node in nodes:
            for role in roles:
                if (role, node) in self.outside:
                    self.outside.discard((role, node))
                    self._members.clear()
                    self._taken.clear()
                if node in self.down.get(role, ()) and node not in self.absent:
                    self.down[role].discard(node)
                    self._taken.clear()

    def keys(self, candidate: Candidate) -> tuple[Key, ...]:
        """Return what a node counts against; nothing for a role that is down on it anyway.

        A bound that it counts against twice, with a node that it carries, is there twice.
        """
        found = self._bounds(candidate.node, candidate.disturbed)
        for node in candidate.carried:
            # what makes a host a host, or only lies there, is no service that others would miss
            served = [r for r in self.roles.of(node) if self.roles.serves(r, node)]
            found += self._bounds(node, served)
        for role in candidate.touched if candidate.start else ():
            start = self.roles.by_name[role].start
            if start != "together":
                found.append((start, role, None, ""))
        return tuple(found)

    def _bounds(self, node: str, disturbed: Collection[str]) -> list[Key]:
        found: list[Key] = []
        for role in self.roles.of(node):
            if node in self.down[role] or (role, node) in self.outside:
                continue
            if role in disturbed:
                limit = self.roles.limit(role, node)
                found.append(("limit", role, limit, ""))
                if limit.domain:
                    domain = self.roles.domain(node, limit.domain)
                    found.append(("domain", role, limit, domain))
            if self.roles.by_name[role].quorum == "majority" and role not in self.accepted:
                found.append(("quorum", role, None, ""))
        return found

    def note_lost(self, wave: Iterable[Candidate]) -> None:
        """Note which of the accepted roles have no majority while a wave is worked on."""
        away = {node for one in wave for node in (one.node, *one.carried)}
        for role in self.accepted & {*self.roles.by_name}:
            members = self.members(("quorum", role, None, ""))
            if self.roles.by_name[role].quorum != "majority" or not members & away:
                continue
            if len(members & (away | self.down[role])) > (len(members) - 1) // 2:
                self.lost.add(role)

    def room(self, key: Key) -> int:
        """Return how many members a wave may take away, those that are down counted already."""
        kind, role, limit, _ = key
        if kind in ("serial", "first_then_rest"):
            return 1
        members = self.members(key)
        if key not in self._taken:
            self._taken[key] = len(members & self.down[role])
        taken = self._taken[key]
        if limit is not None:
            return limit.of(len(members)) - taken
        # an only member has no majority to keep: that it goes is in the plan's impact
        return len(members) if len(members) == 1 else (len(members) - 1) // 2 - taken

    def members(self, key: Key) -> frozenset[str]:
        """Return the members of a role that a bound is about."""
        found = self._members.get(key)
        if found is None:
            kind, role, limit, domain = key
            found = frozenset(
                node
                for node in self.roles.members(role)
                if (role, node) not in self.outside
                and (limit is None or self.roles.limit(role, node) == limit)
                and (
                    kind != "domain"
                    or limit is None
                    or self.roles.domain(node, limit.domain) == domain
                )
            )
            self._members[key] = found
        return found

    def why_not(
        self, node: str, key: Key, count: int = 1, worked_on: Collection[str] = ()
    ) -> PlanError:
        """Say why a node cannot be taken though nothing else is.

        :param count: how many members go with it
        :param worked_on: nodes on which the stage works on the role; what is down of them may be
            mended by that very work
        """
        kind, role, limit, domain = key
        members = self.members(key)
        down = sorted(members & self.down[role])
        are = f"{short(down)} {'is' if len(down) == 1 else 'are'} down or absent already"
        mend = "Mend those first"
        alone = sorted({*down} & {*worked_on} - self.absent)
        if alone:
            mend += f", or by this alone if that is what mends them: nodes={','.join(alone)}"
        if count > 1:
            node = f"{node} with its machines, {count} of them for {role},"
        if limit is None:
            sentence = f"{role} would lose its majority: it has {_nodes(len(members))}"
            told = f", and {are}" if down else ", and each of them is needed"
            more = "Give the role an odd number of nodes, 3 at least, or accept that it is down"
            cure = mend if down else f"{more} meanwhile: accept_outage={role}"
            return PlanError(f"{node} cannot be taken: {sentence}{told}", where=role, cure=cure)
        where = f" of {limit.domain} {domain or '(none)'}" if kind == "domain" else ""
        allowed = limit.of(len(members))
        sentence = (
            f"{role} allows {allowed} of its {_nodes(len(members))}{where} to be out of service"
            f" (max_unavailable {limit})"
        )
        told = f", and {are}" if down else ""
        cure = mend if down else f"Raise lifecycle:{role}:max_unavailable"
        return PlanError(f"{node} cannot be taken: {sentence}{told}", where=role, cure=cure)


def split(
    candidates: Sequence[Candidate],
    fleet: Fleet,
    pace: Pace,
    after: Callable[[Candidate], None] | None = None,
) -> list[tuple[str, tuple[Candidate, ...]]]:
    """Split the nodes of a stage into waves.

    :param candidates: each node once
    :param fleet: changes with the waves: what one has verified works for the next
    :param pace: canary, then shares, then the rest
    :param after: what is true of a node once its wave is over; default: what was touched works
    :returns: name and members of each wave, in their order
    :raises PlanError: a node can never be taken, with the role that forbids it
    """
    queues: dict[tuple[bool, tuple[Key, ...]], deque[Candidate]] = {}
    # first what takes nothing away: nodes that are new, and nodes that are to be mended
    spare = {
        c.node: any(c.node in fleet.down[r] or (r, c.node) in fleet.outside for r in c.touched)
        for c in candidates
    }
    for one in sorted(_in_turn(candidates, fleet.roles), key=lambda c: not spare[c.node]):
        queues.setdefault((spare[one.node], fleet.keys(one)), deque()).append(one)
    order = [(keys, queue) for (_, keys), queue in queues.items()]
    fleet.lost = set()
    started: set[str] = set()
    waves: list[tuple[str, tuple[Candidate, ...]]] = []
    reached = 0
    for name, upto in pace.marks(len(candidates)):
        while reached < upto:
            wave = _pick(order, fleet, upto - reached, started, candidates)
            fleet.note_lost(wave)
            for one in wave:
                started.update(one.touched)
                if after is not None:
                    after(one)
                else:
                    # a role that is formed is proven at the end of the stage, not here
                    works = [r for r in one.touched if not fleet.roles.by_name[r].form]
                    fleet.proved((one.node,), works)
            order = [(keys, queue) for keys, queue in order if queue]
            reached += len(wave)
            waves.append((name, tuple(sorted(wave, key=lambda c: c.node))))
    return [
        (name or f"{number} of {len(waves)}", wave) for number, (name, wave) in enumerate(waves, 1)
    ]


def _in_turn(candidates: Iterable[Candidate], roles: Roles) -> list[Candidate]:
    """Put nodes in the order of their names; last those of a role that wants it in reverse.

    The first member by name may be the one that others prefer: all clients of a database write to
    it. Then the others come before it, and clients move once.
    """
    named = sorted(candidates, key=lambda one: one.node)
    last = [one for one in named if any(roles.backwards(r, one.node) for r in one.touched)]
    return [*(one for one in named if one not in last), *reversed(last)]


def _pick(
    order: Sequence[tuple[tuple[Key, ...], deque[Candidate]]],
    fleet: Fleet,
    most: int,
    started: Collection[str],
    candidates: Sequence[Candidate],
) -> list[Candidate]:
    """Take what fits together off the queues: nodes of one queue count alike."""
    taken: dict[Key, int] = {}
    domains: dict[tuple[str, Limit | None], set[str]] = {}
    wave: list[Candidate] = []
    for keys, queue in order:
        bounds = Counter(k for k in keys if not (k[0] == "first_then_rest" and k[1] in started))
        while (
            queue
            and len(wave) < most
            and all(taken.get(key, 0) + count <= fleet.room(key) for key, count in bounds.items())
            and _near(bounds, domains)
        ):
            for key, count in bounds.items():
                taken[key] = taken.get(key, 0) + count
                if key[0] == "domain":
                    domains.setdefault(key[1:3], set()).add(key[3])
            wave.append(queue.popleft())
    if not wave:
        keys, queue = order[0]
        counts = Counter(keys)
        blocking = next((k for k in keys if fleet.room(k) < counts[k]), None)
        if blocking is None:
            # a node that carries others spans two domains of one of their roles
            blocking = next(k for k in keys if k[0] == "domain")
        worked_on = [one.node for one in candidates if blocking[1] in one.touched]
        raise fleet.why_not(queue[0].node, blocking, counts[blocking], worked_on)
    return wave


def _near(bounds: Iterable[Key], taken: Mapping[tuple[str, Limit | None], set[str]]) -> bool:
    """Whether a node may join a wave as far as failure domains are concerned.

    One that spans more of them than may be taken, with the nodes that it carries, goes alone.

    :param taken: role and limit to the domains in which the wave takes nodes already
    """
    mine: dict[tuple[str, Limit | None], set[str]] = {}
    for kind, role, limit, domain in bounds:
        if kind == "domain":
            mine.setdefault((role, limit), set()).add(domain)
    return all(
        not taken.get(key) or key[1] is None or len(found | taken[key]) <= key[1].domains
        for key, found in mine.items()
    )


def gone_with(candidates: Iterable[Candidate], roles: Roles) -> list[Candidate]:
    """Return some nodes and those that they carry, these with all of their roles, each once."""
    found = {one.node: one for one in candidates}
    for one in list(found.values()):
        for node in one.carried:
            names = roles.of(node)
            found.setdefault(node, Candidate(node, names, names, start=False))
    return list(found.values())


def domains_of(candidates: Iterable[Candidate], roles: Roles) -> tuple[str, ...]:
    """Name the failure domains that some nodes are in: ``rack r1``."""
    found = set()
    for one in candidates:
        for role in one.disturbed:
            key = roles.limit(role, one.node).domain
            value = roles.domain(one.node, key)
            if value:
                found.add(f"{key} {value}")
    return tuple(sorted(found))


def by_roles(candidates: Iterable[Candidate]) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Group nodes by the roles that are touched on them: roles to nodes, both in order."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in sorted(candidates, key=lambda c: c.node):
        groups.setdefault(one.touched, []).append(one.node)
    return {roles: tuple(nodes) for roles, nodes in groups.items()}


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
