"""The steps of one wave: what is asked, called, moved and proven, in their order.

The order is the engine's contract: gate, drain, pin, refresh, apply or call, verify, release, soak.
A wave has only those it needs. What a drain took is given back by the release, and the engine gives
it back as well when the wave fails or is aborted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern.errors import PlanError
from saltern.plan.actions import APPLIES, ASKS, RUNS, Action, Question, fill, names_of
from saltern.plan.roles import STOP, Drain, Roles, drain_calls, worst_reversible
from saltern.plan.types import (
    ALWAYS,
    APPLY,
    CALL,
    COMMIT,
    DRAIN,
    GATE,
    NEVER,
    PIN,
    REFRESH,
    RELEASE,
    RUNNER,
    SOAK,
    VERIFY,
    Check,
    PlannedCall,
    Step,
    Wave,
)
from saltern.plan.waves import Candidate, Fleet, by_roles, domains_of
from saltern.rollout.show import short

#: Seconds that small calls may take: sync, refresh.
CALL_LIMIT = 300.0
#: Seconds that the health checks of a node may take, retries included.
CHECK_LIMIT = 900.0
#: Seconds that taking a node out of service may take.
DRAIN_LIMIT = 3600.0
#: Seconds that one state.apply may take.
APPLY_LIMIT = 3600.0
#: Seconds that a runner function of the master may take.
RUNNER_LIMIT = 7200.0
#: Seconds that a node may be away while it restarts.
REBOOT_LIMIT = 1800.0
#: Phases of an upgrade that leave what runs alone, so that they come before the drain; a schema is
#: expanded by what the old code can go on with.
EARLY = ("prefetch", "check", "backup", "expand")
#: Phases about what all members of a role share: the first wave does them for the others.
ONCE = ("expand",)
#: Seconds that all nodes have to fetch what an upgrade needs.
FETCH_LIMIT = 3600.0
#: The phase that is the role itself.
PLAIN = "apply"
#: Phases that the wave does by itself for every role.
WAVE_PHASES = ("drain", "hold", "verify", "release")
#: Begins the name of a wave that forms a cluster of a role's members.
FORM = "form "
#: Ends the SLS by which a formula stops and removes all of its roles.
CLEAN = ".clean"
#: Runner function that starts hosts from an image: ``nodes``, ``image``, ``keep`` by node.
REIMAGE = "provision.reimage"
#: Seconds that it may take.
REIMAGE_LIMIT = 3600.0
#: Begins the name of a wave that ends an upgrade of a role.
FINALIZE = "finalize "
#: Which waves stop the daemons of the roles that they disturb: all; those of an upgrade, for what
#: has phases and what runs on it; none.
ALL, PHASED, NONE = "all", "phased", "none"
#: Lies in memory, so that a restarted host does not have it.
REBOOT_MARK = "/run/saltern-reboot"


def wave(
    stage: str,
    number: int,
    name: str,
    nodes: Iterable[str],
    steps: Iterable[Step | None],
    domains: Iterable[str] = (),
) -> Wave:
    """Number the steps of a wave and leave out those that are none."""
    named = [
        replace(step, id=f"{stage}/{number}/{position}-{step.kind}")
        for position, step in enumerate(joined(s for s in steps if s is not None), 1)
    ]
    return Wave(number, name, tuple(sorted(nodes)), tuple(named), tuple(sorted(domains)))


def joined(steps: Iterable[Step]) -> list[Step]:
    """Let the jobs that apply roles take the pillar anew, where that would be a step before them.

    Not after new modules were sent: a minion loads those with the pillar's refresh, and what does
    it within a job may be one of them.
    """
    found: list[Step] = []
    for step in steps:
        before = [one.kind for one in found[-2:]]
        if step.kind == APPLY and before[-1:] == [REFRESH] and before != [REFRESH, REFRESH]:
            named = [node for call in step.calls for node in call.nodes]
            # each of the nodes in one job of its own, and nobody else
            if sorted(named) == sorted(found[-1].nodes):
                found.pop()
                calls = tuple(replace(call, fresh=True) for call in step.calls)
                step = replace(step, calls=calls)
        found.append(step)
    return found


class Steps:
    """Makes the steps of waves, and keeps in mind what the waves before did.

    :param cluster: its name
    :param revision: what pins are moved to; empty moves none
    :param target: what the roles declare at that revision
    :param current: what they declare as the nodes are served now
    :param fleet: who is in service
    :param sync: send modules before a node's first apply
    :param equipped: nodes that have them already
    :param stops: :data:`ALL`, :data:`PHASED` or :data:`NONE`
    :ivar away: (node, role) of what did not work before the plan
    """

    def __init__(
        self,
        cluster: str,
        revision: str,
        target: Roles,
        current: Roles,
        fleet: Fleet,
        *,
        sync: bool = False,
        equipped: Collection[str] = (),
        stops: str = ALL,
    ) -> None:
        self.cluster = cluster
        self.revision = revision
        self.target = target
        self.current = current
        self.fleet = fleet
        self.sync = sync
        self.equipped = frozenset(equipped)
        self.stops = stops
        self.away = {(node, role) for role, nodes in fleet.down.items() for node in nodes}
        self._new = {(node, role) for role, node in fleet.outside}
        self.away |= self._new
        self._pinned: set[str] = set()
        self._done: set[tuple[str, str]] = set()
        self._once: set[tuple[str, str]] = set()

    # -- before --------------------------------------------------------------------------------

    def gate(self, members: Sequence[Candidate], *, questions: bool = True) -> Step:
        """Ask whether the nodes are there and well, and whether others can carry on meanwhile.

        Of the wave's own nodes: roles that are disturbed and drained, or touched, or that need a
        majority. Of others: the members of those majorities, and of roles that are drained at a
        balancer, which get the requests. What is known to be down is not asked again. Last comes
        what the disturbed roles want to be asked before a wave.

        :param questions: ask these too; what takes nobody out of service need not
        """
        mine = {one.node for one in members}
        asked: dict[tuple[str, str], None] = {}
        for one in members:
            for role in self.target.of(one.node):
                majority = self.target.by_name[role].quorum == "majority"
                balanced = self._balanced(role, one)
                drained = bool(self._drains(role, one))
                if role in one.touched or majority or drained:
                    asked[one.node, role] = None
                if majority or balanced:
                    asked.update(dict.fromkeys((n, role) for n in self.target.members(role)))
        checks = _turns([(node, role, self._before(node, role)) for node, role in sorted(asked)])
        others = {check.node for check in checks} - mine
        checks += self._questions(members) if questions else []
        quiet = mine - {check.node for check in checks}
        checks += [Check(node, "", ()) for node in sorted(quiet)]
        title = f"{short(mine)} can be worked on"
        if others:
            title += f", {short(others)} carry on"
        return Step("", GATE, title, tuple(sorted(mine)), checks=tuple(checks), limit=CHECK_LIMIT)

    def _balanced(self, role: str, one: Candidate) -> bool:
        """Whether others get a node's requests, and each of them counts: no share may be away."""
        if self.target.limit(role, one.node).percent:
            return False
        return any(drain.on for drain in self._drains(role, one))

    def _drains(self, role: str, one: Candidate) -> tuple[Drain, ...]:
        """How a wave takes a role of a node out of service; nothing of what it does not disturb."""
        if role not in one.disturbed:
            return ()
        return tuple(
            drain
            for drain in self.target.drains(role, one.node)
            if drain.only != STOP or self._stopped(role, one)
        )

    def _stopped(self, role: str, one: Candidate) -> bool:
        """Whether a wave stops the daemons of a role, beside configuring them."""
        if self.stops != PHASED:
            return self.stops == ALL
        phased = [name for name in one.touched if self.target.phases(name, one.node)]
        return role in phased or role in self.target.dependents(one.node, phased)

    def _before(self, node: str, role: str) -> tuple[Mapping[str, Any], ...]:
        """Checks that must be content before a wave; none of what is down, absent or not there."""
        if (node, role) in self._done:
            return self.target.checks(role, node)
        return () if self._out(node, role) else self.current.checks(role, node)

    def _questions(self, members: Sequence[Candidate]) -> list[Check]:
        """What roles want to be asked before a wave of some nodes disturbs them.

        A node that never ran a role is no matter of it. One where it is down is, as others may
        have to be spared for what is left there; it cannot be asked itself.
        """
        asked: dict[str, list[tuple[Question, list[str]]]] = {}
        for one in members:
            for role in self.target.of(one.node):
                fresh = (one.node, role) in self._new and (one.node, role) not in self._done
                if role not in one.disturbed or fresh:
                    continue
                for question in self.target.before(role, one.node):
                    known = asked.setdefault(role, [])
                    nodes = next((ids for other, ids in known if other == question), None)
                    if nodes is None:
                        nodes = []
                        known.append((question, nodes))
                    nodes.append(one.node)
        mine = [one.node for one in members]
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for role, entries in sorted(asked.items()):
            for question, nodes in entries:
                by = self.one_of(question.on, role, mine) if question.on else ""
                for node in nodes:
                    if not by and self._out(node, role):
                        continue
                    check = fill(question.check, self._names(node, sorted(nodes)))
                    # what is the same for all nodes of the wave is asked once
                    known_checks = found.setdefault((by or node, role), [])
                    if check not in known_checks:
                        known_checks.append(check)
        return [
            Check(node, role, tuple(checks)) for (node, role), checks in found.items() if checks
        ]

    def _names(
        self, node: str, wave: Iterable[str], more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return names_of(node, self.target.nodes[node].host, wave, more)

    def one_of(self, on: str, role: str, wave: Collection[str], gone: Collection[str] = ()) -> str:
        """Return the member of a role that is called on behalf of others.

        One outside of the wave that works comes first.

        :param on: the role
        :param role: whose declaration names it
        :param wave: nodes that are worked on
        :param gone: nodes that leave the cluster, or left it already
        :raises PlanError: none of its members is there
        """
        members = self.target.members(on)
        able = [
            node
            for node in members
            if node not in self.fleet.absent and (node not in gone or node in wave)
        ]
        if not able:
            are = f"none of {short(members)} is there" if members else "no node carries it"
            cure = "Bring one of them back first" if members else f"Give {on} to a node"
            raise PlanError(f"{role} is asked or done on {on}, and {are}", where=role, cure=cure)
        return min(able, key=lambda node: (node in wave, self._out(node, on), node))

    def _out(self, node: str, role: str) -> bool:
        """Whether a role did not work on a node before the plan, and no wave has changed that."""
        return (node, role) in self.away and (node, role) not in self._done

    def drain(self, members: Sequence[Candidate], *, leaving: bool = False) -> Step | None:
        """Take the nodes out of service for what is disturbed; None when nothing has to be.

        :param leaving: for good: a role that says how its nodes leave is not drained
        :raises PlanError: nobody is there who could do it
        """
        calls: list[PlannedCall] = []
        undo: list[PlannedCall] = []
        for one in members:
            for role in self.current.of(one.node):
                if role not in one.disturbed or self._out(one.node, role):
                    continue
                if leaving and self.target.leave(role, one.node):
                    continue
                for entry in self._drains(role, one):
                    on = self._on(entry.on, role) if entry.on else (one.node,)
                    if not on:
                        continue
                    host = self.target.nodes[one.node].host
                    call, back = drain_calls(entry, one.node, host, on)
                    if call not in calls:
                        calls.append(call)
                        undo.append(back)
        if not calls:
            return None
        drained = tuple(sorted({n for call in calls for n in call.serves or call.nodes}))
        return Step(
            "",
            DRAIN,
            f"take {short(drained)} out of service",
            drained,
            calls=tuple(calls),
            undo=tuple(undo),
            limit=DRAIN_LIMIT,
        )

    def _on(self, on: str, role: str) -> tuple[str, ...]:
        members = self.current.members(on)
        found = tuple(node for node in members if node not in self.fleet.absent)
        if members and not found:
            raise PlanError(
                f"{role} is drained on {on}, and none of its nodes is there",
                where=role,
                cure=f"Bring back {short(members)} first",
            )
        return found

    # -- the work ------------------------------------------------------------------------------

    def pin(self, nodes: Iterable[str], revision: str | None = None) -> Step | None:
        """Move pins; None when there is nobody to move, or nothing to move to."""
        names = tuple(sorted(nodes))
        wanted = self.revision if revision is None else revision
        if not names or (revision is None and not wanted):
            return None
        title = f"{short(names)} get revision {wanted[:12]}" if wanted else f"unpin {short(names)}"
        return Step("", PIN, title, names, revision=wanted)

    def take(self, nodes: Iterable[str]) -> list[Step | None]:
        """Move the pins of nodes that were not moved yet, and let them take what they get."""
        fresh = tuple(sorted(set(nodes) - self._pinned)) if self.revision else ()
        self._pinned.update(fresh)
        if not fresh:
            return []
        found = [self.pin(fresh)]
        bare = tuple(node for node in fresh if node not in self.equipped)
        if self.sync and bare:
            found.append(refresh(bare, sync=True))
        return [*found, refresh(fresh)]

    def apply(self, members: Sequence[Candidate], phase: str = "config") -> Step:
        """Apply the touched roles, one call for all nodes that take the same ones."""
        groups = by_roles(members)
        calls = tuple(
            PlannedCall(nodes, "state.apply", kwarg={"mods": list(roles)})
            for roles, nodes in groups.items()
        )
        told = "; ".join(f"{' '.join(roles)} on {short(ids)}" for roles, ids in groups.items())
        return Step(
            "",
            APPLY,
            f"apply {told}",
            tuple(sorted(one.node for one in members)),
            calls=calls,
            undo=self._way_back(members),
            reversible=self._reversible(members, phase),
            limit=APPLY_LIMIT,
        )

    def _way_back(self, members: Sequence[Candidate]) -> tuple[PlannedCall, ...]:
        """What takes back the apply of roles that their nodes did not have; nothing without any.

        A formula cleans all of its roles at once. Where another one of them was there before it is
        not cleaned: that one is applied again, and what came stays.
        """
        clean: dict[tuple[str, ...], list[str]] = {}
        again: dict[tuple[tuple[str, ...], str], list[str]] = {}
        new: set[str] = set()
        for one in members:
            had = self.current.of(one.node)
            came = [role for role in one.touched if role not in had] if had else []
            new |= {*came}
            kept = {service(role) for role in had}
            stays = [role for role in came if service(role) in kept]
            mods = cleaning(role for role in came if role not in stays)
            if mods:
                clean.setdefault(mods, []).append(one.node)
            services = {service(role) for role in stays}
            roles = tuple(role for role in had if role in one.touched or service(role) in services)
            told = ", and ".join(
                f"{role} stays on {short([one.node])}, as {service(role)}{CLEAN} would take"
                f" {' '.join(r for r in had if service(r) == service(role))} as well"
                for role in stays
            )
            if roles:
                again.setdefault((roles, told), []).append(one.node)
        if not new:
            return ()
        calls = [(mods, "", nodes) for mods, nodes in clean.items()]
        calls += [(roles, told, nodes) for (roles, told), nodes in again.items()]
        return tuple(
            PlannedCall(tuple(sorted(nodes)), "state.apply", kwarg={"mods": list(mods)}, what=told)
            for mods, told, nodes in calls
        )

    def _reversible(self, members: Sequence[Candidate], phase: str) -> str:
        return worst_reversible(
            self.target.reversible(role, one.node, phase) for one in members for role in one.touched
        )

    def form(self, role: str) -> tuple[Step, Step]:
        """Make one cluster of a role's members, and prove it."""
        nodes = tuple(n for n in self.target.members(role) if n not in self.fleet.absent)
        function = self.target.by_name[role].form
        kwarg = {"cluster": self.cluster, "nodes": list(nodes), "test": False}
        run = runner(f"form {role} of {short(nodes)}", function, kwarg, nodes)
        self._done.update((node, role) for node in nodes)
        self.fleet.proved(nodes, (role,))
        return run, self.verified([(node, role) for node in nodes])

    # -- what roles declare --------------------------------------------------------------------

    def act(
        self,
        role: str,
        actions: Sequence[Action],
        nodes: Sequence[str],
        values: Mapping[str, Any] | None = None,
        *,
        gone: Collection[str] = (),
        reversible: str = NEVER,
    ) -> list[Step]:
        """Do what a role declares to the nodes of a wave, one entry after another.

        What comes out the same for several nodes is called once for them; an entry with ``on`` is
        called on one member of that role, on behalf of the nodes. Checks that come first are gates.

        :param nodes: of the wave that carry the role
        :param values: arguments of an operation
        :param gone: nodes that leave the cluster, or left it already
        :param reversible: of what has no undo and does not say
        :raises PlanError: nobody is there who could do it
        """
        found = []
        wave = tuple(sorted(nodes))
        for action in actions:
            kept = action.undo is not None or action.kind in (ASKS, APPLIES)
            # of a sentence about several nodes: their names together
            names = self._names(wave[0], wave, values) | {"node": short(wave), "short": short(wave)}
            step = Step(
                "",
                CALL,
                str(fill(action.what, names))
                or f"{role}: {action.name or action.kind} on {short(wave)}",
                wave,
                idempotent=action.idempotent,
                reversible=action.reversible or (ALWAYS if kept else reversible),
                limit=action.limit,
                seconds=action.away,
            )
            if action.kind == APPLIES:
                call = PlannedCall(wave, "state.apply", kwarg={"mods": [role]})
                found.append(replace(step, kind=APPLY, calls=(call,)))
                continue
            by = self.one_of(action.on, role, wave, gone) if action.on else ""
            if action.kind == ASKS:
                checks: dict[str, list[Mapping[str, Any]]] = {}
                for node in wave:
                    check = fill(action.check, self._names(node, wave, values))
                    if check not in checks.setdefault(by or node, []):
                        checks[by or node].append(check)
                asked = tuple(Check(node, role, tuple(told)) for node, told in checks.items())
                # what is asked before anything is done is not asked again by a retry
                first = all(other.kind == GATE for other in found)
                found.append(replace(step, kind=GATE if first else VERIFY, checks=asked))
                continue
            calls = self._calls(action, wave, by, values)
            undo = self._calls(action.undo, wave, by, values) if action.undo else ()
            if action.kind != RUNS:
                found.append(replace(step, calls=calls, undo=undo))
                continue
            for call in calls:
                back = tuple(u for u in undo if {*(u.serves or u.nodes)} & {*call.serves})
                found.append(
                    replace(
                        step,
                        kind=RUNNER,
                        nodes=call.serves,
                        undo=back,
                        runner=call.fun,
                        kwarg=call.kwarg,
                    )
                )
        return found

    def prefetch(self, work: Mapping[str, Collection[str]]) -> list[Step]:
        """Let all nodes of an upgrade fetch what its roles want, while all of them serve.

        They get the modules of the revision, not its pillar: what to fetch is in the calls.

        :param work: touched roles by node
        """
        groups: dict[str, tuple[PlannedCall, list[str]]] = {}
        for node, roles in sorted(work.items()):
            for role in roles:
                for action in self.target.prefetch(role, node):
                    call = _call(action, node, self._names(node, (node,)))
                    same = json.dumps([call.fun, call.arg, call.kwarg], sort_keys=True, default=str)
                    ids = groups.setdefault(same, (call, []))[1]
                    if node not in ids:
                        ids.append(node)
        if not groups:
            return []
        calls = tuple(replace(call, nodes=tuple(ids)) for call, ids in groups.values())
        nodes = tuple(sorted({node for call in calls for node in call.nodes}))
        title = f"{short(nodes)} fetch what the new release needs"
        found = []
        bare = tuple(node for node in nodes if node not in self.equipped)
        if self.sync and bare:
            found.append(refresh(bare, sync=True))
            self.equipped |= {*bare}
        return [*found, Step("", CALL, title, nodes, calls=calls, limit=FETCH_LIMIT)]

    def precheck(self, work: Mapping[str, Sequence[str]]) -> Step | None:
        """Ask each role on one of its members whether it can be upgraded; None: none wants it.

        Members take turns, so that they are asked at the same time. Where a role does not run yet
        there is nothing to upgrade.

        :param work: touched roles by node
        """
        nodes: dict[str, list[str]] = {}
        for node, roles in sorted(work.items()):
            for role in roles:
                if not self._out(node, role) and self.target.precheck(role, node):
                    nodes.setdefault(role, []).append(node)
        turns: Counter[str] = Counter()
        checks = []
        for role, ids in nodes.items():
            node = min(ids, key=lambda one: turns[one])
            turns[node] += 1
            names = self._names(node, (node,))
            asked = tuple(fill(check, names) for check in self.target.precheck(role, node))
            checks.append(Check(node, role, asked))
        if not checks:
            return None
        title = f"{' '.join(nodes)} can be upgraded, says the new release on {short(turns)}"
        asked_nodes = tuple(sorted(turns))
        return Step("", GATE, title, asked_nodes, checks=tuple(checks), limit=CHECK_LIMIT)

    def fence(self, role: str) -> Step | None:
        """Refuse writes to a role; None: nothing does. Its calls take leases, as a drain's do.

        :raises PlanError: nobody is there who could do it
        """
        # on behalf of who acts: a retry of what failed there refuses them once more
        by = self.one_of(role, role, ())
        calls, undo = [], []
        for entry in self.target.fences(role, by):
            on = self._on(entry.on, role) if entry.on else (by,)
            if on:
                call, back = drain_calls(entry, by, self.target.nodes[by].host, on)
                calls.append(call)
                undo.append(back)
        if not calls:
            return None
        told = "; ".join(dict.fromkeys(call.what for call in calls))
        return Step("", DRAIN, told, (by,), tuple(calls), tuple(undo), limit=DRAIN_LIMIT)

    def final(self, role: str, actions: Sequence[Action], *, fence: bool = False) -> list[Step]:
        """End an upgrade of a role: prove all of its members, act on one, prove them again.

        :param fence: refuse writes to it meanwhile, where it says how
        :raises PlanError: nobody is there who could do it
        """
        members = tuple(n for n in self.target.members(role) if n not in self.fleet.absent)
        verify = self.verified([(node, role) for node in members])
        title = f"all of {role} works on {short(members)}"
        found = [replace(verify, kind=GATE, title=title)]
        fenced = self.fence(role) if fence else None
        found += [fenced] if fenced else []
        for action in actions:
            by = self.one_of(action.on or role, role, ())
            found.append(self._ending(role, action, by, members))
        if fenced is None:
            return [*found, verify]
        back = f"writes to {role} are taken again"
        return [*found, verify, Step("", RELEASE, back, fenced.nodes, limit=DRAIN_LIMIT)]

    def _ending(self, role: str, action: Action, by: str, members: tuple[str, ...]) -> Step:
        """What ends an upgrade of a role, done by one node or by the master."""
        names = self._names(by, members)
        step = Step(
            "",
            CALL,
            str(fill(action.what, names)) or f"finalize {role} by {action.name}",
            (by,),
            idempotent=action.idempotent,
            reversible=action.reversible or self.target.reversible(role, members[0], "finalize"),
            limit=action.limit,
        )
        call = _call(action, by, names)
        if action.kind == RUNS:
            step = replace(step, kind=RUNNER, runner=call.fun, kwarg=call.kwarg)
        else:
            step = replace(step, calls=(call,))
        if action.undo is None:
            return step
        settles = tuple(_call(one, by, names) for one in action.undo.then)
        return replace(step, undo=(_call(action.undo, by, names),), settles=settles)

    def _calls(
        self, action: Action, wave: tuple[str, ...], by: str, values: Mapping[str, Any] | None
    ) -> tuple[PlannedCall, ...]:
        """The calls of an entry; those of a runner name nobody that is called."""
        found: list[tuple[list[Any], Mapping[str, Any], list[str]]] = []
        for node in wave:
            names = self._names(node, wave, values)
            args, kwargs = fill(list(action.args), names), fill(action.kwargs, names)
            same = next((ids for a, k, ids in found if (a, k) == (args, kwargs)), None)
            if same is None:
                found.append((args, kwargs, [node]))
            else:
                same.append(node)
        calls = []
        for args, kwargs, ids in found:
            nodes = (by,) if by else tuple(ids)
            nodes = () if action.kind == RUNS else nodes
            serves = tuple(ids) if nodes != tuple(ids) else ()
            calls.append(PlannedCall(nodes, action.name, tuple(args), kwargs, serves))
        return tuple(calls)

    def due(self, role: str, phase: str) -> bool:
        """Whether no wave before did a phase that one member does for all of its role."""
        return phase not in ONCE or (role, phase) not in self._once

    def did(self, roles: Iterable[str], phase: str) -> None:
        """Keep in mind that a wave does a phase of some roles."""
        self._once.update((role, phase) for role in roles)

    # -- after ---------------------------------------------------------------------------------

    def proven(
        self, members: Sequence[Candidate], drained: Step | None, *, forms: bool = False
    ) -> tuple[Step, list[Step | None]]:
        """Return the proof of a wave, and what gives back what it took.

        What was closed to clients is proven after that.
        """
        closed = [
            (one.node, role)
            for one in members
            for role in self.target.of(one.node)
            if drained is not None
            and any(drain.closes for drain in self._drains(role, one))
            and not self._out(one.node, role)
        ]
        verify = self.verify(members, forms=forms, closed=closed)
        self._done.update(closed)
        return verify, [self.release(drained), self.verified(closed) if closed else None]

    def verify(
        self,
        members: Sequence[Candidate],
        *,
        forms: bool = False,
        closed: Collection[tuple[str, str]] = (),
    ) -> Step:
        """Ask the health of what was touched, and of what was drained for it.

        :param forms: also of roles whose form comes later
        :param closed: (node, role) of what no client reaches before it is given back
        """
        asked = []
        for one in members:
            for role in self.target.of(one.node):
                drained = bool(self._drains(role, one)) and not self._out(one.node, role)
                later = (one.node, role) in closed or not (forms or self._whole(role, one))
                if (role in one.touched or drained) and not later:
                    asked.append((one.node, role))
        self._done.update(asked)
        nodes = tuple(sorted(one.node for one in members))
        step = self.verified(asked)
        # where all is proven after a form, that they answer is still to be seen
        title = step.title if asked else f"{short(nodes)} answer"
        return replace(step, nodes=nodes, title=title)

    def _whole(self, role: str, one: Candidate) -> bool:
        """Whether a wave leaves a role complete: what a form makes is proven after that.

        The phases of an upgrade stop and start a member that was one before by themselves.
        """
        if not self.target.by_name[role].form:
            return True
        member = (one.node, role) not in self._new
        return member and self.stops == PHASED and bool(self.target.phases(role, one.node))

    def verified(self, asked: Sequence[tuple[str, str]]) -> Step:
        """Ask the health of roles on nodes as the wanted revision declares it.

        What is about the cluster, and the same on several nodes, is asked of one of them; nodes
        take turns.
        """
        nodes = tuple(sorted({node for node, _ in asked}))
        checks = _turns([(node, role, self.target.checks(role, node)) for node, role in asked])
        roles = " ".join(dict.fromkeys(role for _, role in asked))
        return Step(
            "",
            VERIFY,
            f"{roles or 'what was done'} works on {short(nodes)}",
            nodes,
            checks=tuple(checks),
            limit=CHECK_LIMIT,
        )

    def release(self, drained: Step | None) -> Step | None:
        """Give back what the wave's drain took; None when it took nothing."""
        if drained is None:
            return None
        title = f"put {short(drained.nodes)} back into service"
        return Step("", RELEASE, title, drained.nodes, limit=DRAIN_LIMIT)

    def domains(self, members: Sequence[Candidate]) -> tuple[str, ...]:
        """Name the failure domains of a wave."""
        return domains_of(members, self.target)


def _shared(check: Mapping[str, Any]) -> str:
    """What makes a check about the cluster the same as another one; empty: it is about a node."""
    if check.get("scope") != "cluster":
        return ""
    return json.dumps(check, sort_keys=True, default=str)


def _turns(told: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> list[Check]:
    """Let each node ask its checks; what is about the cluster is asked by one, in turns.

    :param told: node, role, its checks there
    """
    askers = _askers(told)
    found = []
    for node, role, wanted in told:
        mine = tuple(one for one in wanted if askers.get(_shared(one), node) == node)
        if mine:
            found.append(Check(node, role, mine))
    return found


def _askers(told: Iterable[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> dict[str, str]:
    """Return which node asks each check that is about the cluster."""
    able: dict[str, list[str]] = {}
    for node, _, checks in told:
        for text in filter(None, map(_shared, checks)):
            able.setdefault(text, []).append(node)
    asks: Counter[str] = Counter()
    found = {}
    for text, nodes in able.items():
        found[text] = min(nodes, key=lambda node: asks[node])
        asks[found[text]] += 1
    return found


def _call(action: Action, node: str, names: Mapping[str, Any]) -> PlannedCall:
    """An entry as a call of one node, or of the master."""
    nodes, serves = ((), (node,)) if action.kind == RUNS else ((node,), ())
    args, kwargs = fill(list(action.args), names), fill(action.kwargs, names)
    return PlannedCall(nodes, action.name, tuple(args), kwargs, serves)


def service(role: str) -> str:
    """Return the service that a role is of, the name of its formula."""
    return role.partition(".")[0]


def cleaning(roles: Iterable[str]) -> tuple[str, ...]:
    """Return the SLS that stop and remove some roles, the last one first."""
    return tuple(dict.fromkeys(f"{service(role)}{CLEAN}" for role in reversed(list(roles))))


def cleans(call: PlannedCall) -> bool:
    """Whether a call takes roles away."""
    mods = call.kwarg.get("mods") or ()
    return bool(mods) and all(str(mod).endswith(CLEAN) for mod in mods)


def refresh(nodes: tuple[str, ...], *, sync: bool = False) -> Step:
    """Let nodes take modules, or their pillar, anew; the pillar's refresh loads modules too."""
    call = (
        PlannedCall(nodes, "saltutil.sync_all", kwarg={"refresh": False})
        if sync
        else PlannedCall(nodes, "saltutil.refresh_pillar", kwarg={"wait": True, "timeout": 60})
    )
    what = "modules" if sync else "pillar"
    return Step("", REFRESH, f"{short(nodes)} take {what}", nodes, (call,), limit=CALL_LIMIT)


def soak(seconds: float) -> Step | None:
    """Wait and look at the probes; None for no time."""
    if not seconds:
        return None
    return Step("", SOAK, f"watch for {seconds:g} s", seconds=seconds, limit=seconds + 60)


def runner(
    title: str, function: str, kwarg: Mapping[str, Any], nodes: tuple[str, ...] = ()
) -> Step:
    """Call a function of the master that may run twice."""
    return Step("", RUNNER, title, nodes, runner=function, kwarg=dict(kwarg), limit=RUNNER_LIMIT)


def commit(cluster: str, revision: str) -> Step:
    """Make the revision the cluster's deployed one."""
    return Step("", COMMIT, f"{cluster} has revision {revision[:12]}", revision=revision)


def restarts(
    members: Sequence[Candidate], units: Mapping[tuple[str, str], Sequence[str]]
) -> list[Step]:
    """Restart units: roles in their order, the units of a role one after another.

    :param units: (role, node) to units
    """
    plan: dict[tuple[str, str], list[str]] = {}
    for one in members:
        for role in one.touched:
            for unit in units[role, one.node]:
                plan.setdefault((role, unit), []).append(one.node)
    return [
        Step(
            "",
            CALL,
            f"restart {unit} of {role} on {short(nodes)}",
            tuple(sorted(nodes)),
            calls=(PlannedCall(tuple(sorted(nodes)), "service.restart", (unit,)),),
            limit=CALL_LIMIT,
        )
        for (role, unit), nodes in plan.items()
    ]


def upgrade(
    steps: Steps,
    members: Sequence[Candidate],
    drained: Step | None,
    taken: Sequence[Step | None],
) -> list[Step | None]:
    """Lay out the phases that roles declare for an upgrade; the others are applied.

    What comes before a role's drain (packages and archives are fetched) runs while its node is in
    service. A phase is the SLS ``<service>.upgrade.<phase>``, a backup ``<service>.backup``, and
    ``apply`` the role as ever.

    :param drained: the wave's drain
    :param taken: how the nodes take the revision
    :raises PlanError: two roles declare their phases in opposite orders
    """
    lists = {role: steps.target.phases(role, one.node) for one in members for role in one.touched}
    plain = [replace(one, touched=tuple(r for r in one.touched if not lists[r])) for one in members]
    plain = [one for one in plain if one.touched]
    order = _merged([phases for phases in lists.values() if phases])
    cut = next((i for i, phase in enumerate(order) if phase not in EARLY), len(order))
    early, late = order[:cut], order[cut:]
    first = [step for phase in early if (step := _phase(steps, members, lists, phase))]
    # as ever the drain comes before the pin, but what is done early is that of the new revision
    found: list[Step | None] = [*taken, *first, drained] if first else [drained, *taken]
    if plain:
        found.append(steps.apply(plain))
    return found + [_phase(steps, members, lists, phase) for phase in late]


def _merged(lists: Sequence[tuple[str, ...]]) -> list[str]:
    """Put the phases of several roles in one order that each of them agrees with."""
    left = {phase: None for phases in lists for phase in phases}
    found: list[str] = []
    while left:
        ready = [
            phase
            for phase in left
            if all(p not in left for ps in lists if phase in ps for p in ps[: ps.index(phase)])
        ]
        if not ready:
            raise PlanError(
                f"roles declare the phases {', '.join(left)} in opposite orders",
                where="lifecycle:upgrade",
            )
        # fetching comes first wherever it may
        chosen = next((phase for phase in ready if phase in EARLY), ready[0])
        found.append(chosen)
        del left[chosen]
    return found


def _phase(
    steps: Steps, members: Sequence[Candidate], lists: Mapping[str, tuple[str, ...]], phase: str
) -> Step | None:
    """One phase of all roles of a wave that have it; None for those that the wave does itself."""
    if phase in WAVE_PHASES:
        return None
    if phase == PLAIN:
        touched = {m.node: tuple(r for r in m.touched if phase in lists[r]) for m in members}
        return steps.apply(
            [replace(m, touched=touched[m.node]) for m in members if touched[m.node]]
        )
    groups: dict[tuple[str, ...], list[str]] = {}
    reversible = []
    for one in members:
        roles = [role for role in one.touched if phase in lists[role] and steps.due(role, phase)]
        steps.did(roles, phase)
        services = dict.fromkeys(service(role) for role in roles)
        sls = tuple(
            f"{s}.backup" if phase == "backup" else f"{s}.upgrade.{phase}" for s in services
        )
        if sls:
            groups.setdefault(sls, []).append(one.node)
        reversible += [steps.target.reversible(role, one.node, phase) for role in roles]
    if not groups:
        return None
    calls = tuple(
        PlannedCall(tuple(nodes), "state.apply", kwarg={"mods": list(sls)})
        for sls, nodes in groups.items()
    )
    nodes = tuple(sorted(node for ids in groups.values() for node in ids))
    return Step(
        "",
        APPLY,
        f"{phase} on {short(nodes)}",
        nodes,
        calls=calls,
        reversible=worst_reversible(reversible),
        limit=APPLY_LIMIT,
    )


def back(nodes: tuple[str, ...]) -> Step:
    """Wait until nodes answer that were started anew."""
    checks = tuple(Check(node, "", ()) for node in nodes)
    title = f"{short(nodes)} are back"
    return Step("", VERIFY, title, nodes, checks=checks, seconds=REBOOT_LIMIT, limit=CHECK_LIMIT)


def reboots(nodes: tuple[str, ...]) -> list[Step]:
    """Mark the running system of nodes, then restart them within a minute."""
    return [
        Step(
            "",
            CALL,
            f"mark the running system of {short(nodes)}",
            nodes,
            calls=(PlannedCall(nodes, "file.touch", (REBOOT_MARK,)),),
            limit=CALL_LIMIT,
        ),
        Step(
            "",
            CALL,
            f"reboot {short(nodes)}",
            nodes,
            # in a minute: the answer is out before the minion ends
            calls=(PlannedCall(nodes, "system.reboot", (1,)),),
            idempotent=False,
            limit=CALL_LIMIT,
        ),
    ]


def rebooted() -> Mapping[str, Any]:
    """A check that is content on a host that was restarted since it was marked."""
    return {
        "call": "cmd.retcode",
        "args": [f"test -e {REBOOT_MARK}"],
        "kwargs": {"ignore_retcode": True},
        "retry": {"attempts": 60, "interval": 5},
    }
