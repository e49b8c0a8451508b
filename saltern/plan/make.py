"""Make a plan: from a request, the model at two revisions and an observed fleet to waves.

Pure: the same arguments make the same plan, whose hash is what people approve. What a workflow
works on is decided here; the deploy, whose order comes from the stages of the model alone, is
in :mod:`saltern.plan.deploy`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from saltern.errors import PlanError
from saltern.plan import steps as make_steps
from saltern.plan.actions import EFFECTS, Action
from saltern.plan.basis import Facts, basis
from saltern.plan.choose import Work, choose, resolve
from saltern.plan.levels import Level, levels, placed
from saltern.plan.request import STAY, Request
from saltern.plan.roles import MASTER, Node, Roles, worst, worst_reversible
from saltern.plan.scope import locks, probes
from saltern.plan.steps import Steps
from saltern.plan.types import (
    CALL,
    DRAIN,
    SOAK,
    STOP,
    Check,
    Impact,
    Plan,
    PlannedCall,
    Stage,
    Step,
    Wave,
)
from saltern.plan.waves import Candidate, Fleet, Pace, gone_with, split
from saltern.rollout.show import short
from saltern.rollout.stages import ROLE_STAGES

#: units that carry the rollout itself and so cannot be restarted by it
BUS_UNITS = ("salt-master", "salt-minion")

#: what waves of a workflow stop; others stop all that they disturb
STOPS = {
    "upgrade": make_steps.PHASED,
    **dict.fromkeys(("change", "scale-out", "scale-in"), make_steps.NONE),
}

History = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Touched:
    """What a change of the model does on one node.

    :param roles: roles whose states would do something else
    :param restarts: ``restart keystone-api``
    :param expected: role to names of states that would change (``predict``)
    """

    roles: tuple[str, ...]
    restarts: tuple[str, ...] = ()
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def make(
    request: Request,
    target: Mapping[str, Node],
    current: Mapping[str, Node],
    facts: Facts,
    touched: Mapping[str, Touched] | None = None,
    known: Collection[str] = (),
    history: History | None = None,
    paces: History | None = None,
) -> Plan:
    """Make the plan of a workflow.

    :param request: what is asked for
    :param target: compiled nodes of the cluster at the wanted revision
    :param current: the same as they are served now: each at its pin, or at the deployed revision
    :param facts: what was observed a moment ago
    :param touched: node to what moving it from ``current`` to ``target`` does there
    :param known: roles that exist, see :func:`saltern.rollout.stages.read_roles`
    :param history: name of a stage to the minutes that it took in earlier rollouts
    :param paces: name of a stage to the minutes of single waves of it in earlier rollouts
    :raises PlanError: it cannot be done, or not without breaking a limit; says which and why
    :raises ModelError: the roles of the model contradict each other
    """
    if request.workflow == "deploy":
        from saltern.plan.deploy import deploy

        return deploy(request, target, facts, known, history)
    from saltern.plan.operation import Operating
    from saltern.plan.reimage import Reimaging

    makers: dict[str, type[Maker]] = {"operation": Operating, "reimage": Reimaging}
    maker = makers.get(request.workflow, Maker)
    made = maker(request, target, current, facts, touched or {}, known, history or {}, paces or {})
    return made.plan()


class Maker:
    """One plan in the making; see :func:`make`."""

    def __init__(
        self,
        request: Request,
        target: Mapping[str, Node],
        current: Mapping[str, Node],
        facts: Facts,
        touched: Mapping[str, Touched],
        known: Collection[str],
        history: History,
        paces: History,
    ) -> None:
        self.request = request
        self.paces = paces
        self.facts = facts
        self.touched = touched
        self.history = history
        self.target = Roles(target, known)
        self.current = Roles(current, known)
        self.new = sorted(set(target) - set(current))
        self.gone = sorted(set(current) - set(target))
        self.moves = request.workflow not in STAY
        self.pace = Pace(request.canary, request.percent)
        for role in sorted(
            set(request.accept_outage) - {*self.target.by_name, *self.current.by_name}
        ):
            raise PlanError(f"no node carries the role {role}", where="accept_outage")
        if self.moves and not facts.revision:
            raise PlanError("it is not known which revision is wanted", where=request.cluster)
        if not current:
            raise PlanError(
                f"cluster {request.cluster} has no deployed revision",
                cure=f"Deploy it first: salt-run rollout.plan deploy cluster={request.cluster}",
            )

    def plan(self) -> Plan:
        """Make it."""
        workflow = self.request.workflow
        if workflow in ("change", "upgrade"):
            return self._change()
        if workflow == "restart":
            return self._restart()
        if workflow == "reboot":
            return self._reboot()
        if workflow == "scale-out":
            return self._scale_out()
        if workflow == "scale-in":
            return self._scale_in()
        return self._replace()

    # -- workflows -----------------------------------------------------------------------------

    def _change(self) -> Plan:
        self._same_nodes()
        work = choose(self.request, self.target, self.facts, self._touched_roles())
        fleet = self._fleet()
        steps = self._steps(fleet, sync=self.request.workflow == "upgrade")
        first: list[Stage] = []
        if self.request.workflow == "upgrade":
            first = self._prefetched(work.roles, fleet, steps)
            first += self._prechecked(work.roles, fleet, steps)
        stages = [*first, *self._stages(work.roles, fleet, steps)]
        if self.request.workflow == "upgrade":
            stages += self._finalized(self._touched_roles(), work.roles, fleet, steps)
        return self._whole(stages, [*self._commit(work, steps)], work)

    def _restart(self) -> Plan:
        asked = set(self.request.roles)
        nodes = resolve(self.request.nodes, self.target) if self.request.nodes else None
        roles = {
            node: tuple(
                r
                for r in self.target.of(node)
                if (r in asked if asked else self._ordinary(r, node))
            )
            for node in self.target.nodes
            if nodes is None or node in nodes
        }
        for role in sorted(asked - set(self.target.by_name)):
            raise PlanError(f"no node carries the role {role}", where="roles")
        work = choose(self.request, self.target, self.facts, roles)
        if not work.roles:
            raise PlanError("none of the nodes carries a role with a unit", where="nodes")
        units = {
            (role, node): self.target.units(role, node)
            for node, names in work.roles.items()
            for role in names
        }
        self._restartable(units)
        fleet = self._fleet()
        return self._whole(self._stages(work.roles, fleet, self._steps(fleet), units), [], work)

    def _ordinary(self, role: str, node: str) -> bool:
        """Whether a role has units and none of them carries the rollout."""
        units = self.target.units(role, node)
        return bool(units) and not {*units} & {*BUS_UNITS}

    def _restartable(self, units: Mapping[tuple[str, str], Sequence[str]]) -> None:
        for (role, node), names in sorted(units.items()):
            if not names:
                raise PlanError(
                    f"{role} has no unit to restart",
                    where=f"{node}: lifecycle:{role}:restart",
                    cure="Name its units there, or take the role out of roles=",
                )
            for unit in names:
                if unit in BUS_UNITS:
                    raise PlanError(
                        f"{unit} carries the rollout and cannot be restarted by it",
                        where=node,
                        cure="Take the role out of roles=",
                    )

    def _reboot(self) -> Plan:
        work = self._hosts_chosen()
        fleet = self._fleet()
        steps = self._steps(fleet)
        stages = [
            self._reboot_stage(phase, members, fleet, steps)
            for phase, members in self._hosts_by_phase(work)
        ]
        return self._whole(stages, [], work)

    def _hosts_chosen(self, role: str = "") -> Work:
        """Choose nodes that go down as a whole, with all of their roles.

        :param role: only those that carry it
        :raises PlanError: one that is named carries the master
        """
        masters = set(self.target.members(MASTER))
        named = resolve(self.request.nodes, self.target)
        for node in sorted(masters & set(named)):
            raise PlanError(
                f"{node} carries the master, which would end with it",
                where="nodes",
                cure="Reboot it by hand when no rollout runs",
            )
        nodes = self.target.members(role) if role else tuple(self.target.nodes)
        roles = {node: self.target.of(node) for node in nodes if node not in masters}
        return choose(self.request, self.target, self.facts, roles)

    def _hosts_by_phase(self, work: Work) -> list[tuple[str, list[Candidate]]]:
        """Nodes that go down with what they carry, by the last stage of their roles."""
        found = []
        for phase in ROLE_STAGES:
            members = [
                Candidate(node, names, names, start=False, carried=self.target.carried(node))
                for node, names in work.roles.items()
                if self._last_phase(names) == phase
            ]
            if members:
                found.append((phase, members))
        return found

    def _last_phase(self, roles: Iterable[str]) -> str:
        return worst((self.target.by_name[role].stage for role in roles), ROLE_STAGES)

    def _reboot_stage(
        self, phase: str, members: Sequence[Candidate], fleet: Fleet, steps: Steps
    ) -> Stage:
        waves = []
        for number, (name, wave) in enumerate(split(members, fleet, self.pace), 1):
            nodes = tuple(one.node for one in wave)
            away = gone_with(wave, self.target)
            drained = steps.drain(away)
            verify, rest = steps.proven(away, drained, forms=True)
            checks = [Check(node, "", (make_steps.rebooted(),)) for node in nodes]
            verify = replace(
                verify,
                title=f"{short(nodes)} restarted and work",
                checks=(*checks, *verify.checks),
                seconds=make_steps.REBOOT_LIMIT,
            )
            done = [*make_steps.reboots(nodes), verify, *rest, self._soak()]
            all_steps = [steps.gate(away), drained, *done]
            waves.append(
                make_steps.wave(phase, number, name, nodes, all_steps, steps.domains(wave))
            )
        told = short(one.node for one in members)
        away = gone_with(members, self.target)
        return self._stage(phase, phase, f"reboot {told}", (), waves, away, fleet)

    def _scale_out(self) -> Plan:
        named = resolve(self.request.nodes, self.target)
        for node in sorted(set(named) - set(self.new)):
            raise PlanError(
                f"{node} is not new: it is served already",
                where="nodes",
                cure="Use change for it, or replace when its machine is a new one",
            )
        self._all_named(named, self.new, "is new in the model too")
        if self.gone:
            raise PlanError(
                f"{short(self.gone)} left the model at the same revision",
                where="nodes",
                cure="Add and remove nodes in two revisions, each with its own plan",
            )
        roles = {**self._touched_roles(), **{node: self.target.of(node) for node in named}}
        work = choose(self.request, self.target, self.facts, roles, limits=False)
        fleet = self._fleet({(role, node) for node in named for role in self.target.of(node)})
        steps = self._steps(fleet, sync=True)
        stages = self._stages(work.roles, fleet, steps)
        return self._whole(stages, [*self._commit(work, steps)], work)

    def _replace(self) -> Plan:
        self._same_nodes()
        named = resolve(self.request.nodes, self.target)
        others = sorted(set(self._touched_roles()) - set(named))
        if others:
            raise PlanError(
                f"the wanted revision changes {short(others)} as well",
                where="nodes",
                cure="Roll that change out first, or replace at the deployed revision",
            )
        roles = {node: self.target.of(node) for node in named}
        work = choose(self.request, self.target, self.facts, roles, limits=False)
        fleet = self._fleet()
        for node in named:
            for role in self.target.of(node):
                fleet.take_down(role, node)
        steps = self._steps(fleet, sync=True)
        stages = self._stages(work.roles, fleet, steps)
        return self._whole(stages, [*self._commit(work, steps)], work)

    def _scale_in(self) -> Plan:
        named = resolve(self.request.nodes, self.current)
        for node in sorted(set(named) - set(self.gone)):
            raise PlanError(
                f"{node} is still in the model",
                where="nodes",
                cure="Take it out of the cluster's class, generate the nodes and commit",
            )
        self._all_named(named, self.gone, "left the model too")
        if self.new:
            raise PlanError(
                f"{short(self.new)} came into the model at the same revision",
                where="nodes",
                cure="Add and remove nodes in two revisions, each with its own plan",
            )
        roles = {node: self.current.of(node) for node in named}
        leave = choose(self.request, self.current, self.facts, roles, limits=False)
        first = self._leave(leave.roles)
        roles = self._touched_roles()
        work = choose(self.request, self.target, self.facts, roles, limits=False)
        fleet = self._fleet()
        steps = self._steps(fleet)
        stages = [*first, *self._stages(work.roles, fleet, steps)]
        unpin = steps.pin([node for node in named if node in self.facts.pins], "")
        both = Work({**leave.roles, **work.roles}, (*leave.absent, *work.absent), work.partial)
        return self._whole(stages, [*self._commit(work, steps), *([unpin] if unpin else [])], both)

    def _leave(self, roles: Mapping[str, tuple[str, ...]]) -> list[Stage]:
        """Take nodes out of everything, one after another as far as the limits want it."""
        if not roles:
            return []
        fleet = Fleet(self.current, self.facts, accepted=self.request.accept_outage)
        steps = Steps(self.request.cluster, "", self.current, self.current, fleet)
        members = [
            Candidate(node, names, names, start=False) for node, names in sorted(roles.items())
        ]
        waves = []
        plan = split(members, fleet, self.pace, lambda one: fleet.left(one.node))
        for number, (name, wave) in enumerate(plan, 1):
            nodes = tuple(one.node for one in wave)
            drained = steps.drain(wave, leaving=True)
            if drained is not None:
                # nothing gives it back but a rollback: the nodes do not come back
                drained = replace(drained, kind=CALL)
            others = [
                (node, role)
                for role in sorted({r for one in wave for r in one.disturbed})
                if self.current.by_name[role].quorum == "majority"
                for node in self.current.members(role)
                if node not in roles and node not in fleet.down[role]
            ]
            done: list[Step | None] = [steps.gate(wave), drained]
            done += [*self._left(wave, roles, steps), self._clean(wave)]
            done += [steps.verified(others) if others else None, self._soak()]
            waves.append(make_steps.wave("leave", number, name, nodes, done, steps.domains(wave)))
        told = f"{short(roles)} leave the cluster"
        return [self._stage("leave", ROLE_STAGES[0], told, (), waves, members, fleet)]

    def _left(
        self, members: Sequence[Candidate], leaving: Collection[str], steps: Steps
    ) -> list[Step]:
        """What the roles of nodes do before these leave, the last role first."""
        order = [r for level in levels(self.current, self.current.by_name) for r in level.roles]
        found = []
        for role in reversed(order):
            groups: list[tuple[tuple[Action, ...], list[str]]] = []
            for one in members:
                if role not in one.touched:
                    continue
                told = self.current.leave(role, one.node)
                same = next((ids for other, ids in groups if other == told), None)
                if same is None:
                    groups.append((told, [one.node]))
                else:
                    same.append(one.node)
            for told, nodes in groups:
                found += steps.act(role, told, nodes, gone=leaving)
        return found

    def _clean(self, members: Sequence[Candidate]) -> Step | None:
        """Stop and clean what ran on nodes; what makes a host a host stays."""
        calls, undo, stateful = [], [], False
        for one in members:
            mine = [r for r in one.touched if self.current.by_name[r].stage != ROLE_STAGES[0]]
            stateful |= any(self.current.stateful(role, one.node) for role in mine)
            mods = list(make_steps.cleaning(mine))
            if mods:
                calls.append(PlannedCall((one.node,), "state.apply", kwarg={"mods": mods}))
                undo.append(PlannedCall((one.node,), "state.apply", kwarg={"mods": mine}))
        if not calls:
            return None
        nodes = tuple(call.nodes[0] for call in calls)
        return Step(
            "",
            CALL,
            f"stop and clean {short(nodes)}",
            nodes,
            calls=tuple(calls),
            undo=tuple(undo),
            reversible=worst_reversible(["until_write"] if stateful else []),
            limit=make_steps.APPLY_LIMIT,
        )

    # -- parts ---------------------------------------------------------------------------------

    def _touched_roles(self) -> dict[str, tuple[str, ...]]:
        found = {}
        for node, told in self.touched.items():
            mine = tuple(role for role in self.target.of(node) if role in told.roles)
            if mine:
                found[node] = mine
        return found

    def _same_nodes(self) -> None:
        if self.request.limited and self.request.workflow != "replace":
            return
        for nodes, what, cure in (
            (self.new, "in the model and not in service yet", "scale-out"),
            (self.gone, "in service and left the model", "scale-in"),
        ):
            if nodes:
                raise PlanError(
                    f"{short(nodes)} {'is' if len(nodes) == 1 else 'are'} {what}",
                    where=self.request.workflow,
                    cure=f"Plan a {cure} of them, or name the nodes to work on by nodes=",
                )

    def _all_named(self, named: Collection[str], all_: Sequence[str], what: str) -> None:
        left = sorted(set(all_) - set(named))
        if left:
            raise PlanError(
                f"{short(left)} {what}", where="nodes", cure="Name all of them in one plan"
            )

    def _fleet(self, outside: Collection[tuple[str, str]] = ()) -> Fleet:
        new = {
            (role, node)
            for node in self.target.nodes
            if node in self.current.nodes
            for role in set(self.target.of(node)) - set(self.current.of(node))
        }
        return Fleet(self.target, self.facts, {*outside, *new}, self.request.accept_outage)

    def _steps(self, fleet: Fleet, *, sync: bool = False) -> Steps:
        revision = self.facts.revision if self.moves else ""
        cluster = self.request.cluster
        stops = STOPS.get(self.request.workflow, make_steps.ALL)
        return Steps(cluster, revision, self.target, self.current, fleet, sync=sync, stops=stops)

    def _soak(self) -> Step | None:
        return make_steps.soak(self.request.soak)

    def _stages(
        self,
        work: Mapping[str, tuple[str, ...]],
        fleet: Fleet,
        steps: Steps,
        units: Mapping[tuple[str, str], Sequence[str]] | None = None,
    ) -> list[Stage]:
        found = levels(self.target, {r for names in work.values() for r in names})
        mine = placed(found, self.target, work)
        return [
            self._level(level, nodes, fleet, steps, units)
            for level, nodes in zip(found, mine, strict=True)
            if nodes
        ]

    def _level(
        self,
        level: Level,
        work: Mapping[str, tuple[str, ...]],
        fleet: Fleet,
        steps: Steps,
        units: Mapping[tuple[str, str], Sequence[str]] | None,
    ) -> Stage:
        away = steps.away
        members = []
        for node, names in sorted(work.items()):
            behind = self.target.dependents(node, names)
            members.append(Candidate(node, names, (*names, *behind), start=units is None))
        # what waited for one of them comes first, and is told
        here = {role for names in work.values() for role in names}
        waited = sorted(here.difference(level.roles))
        level = replace(level, roles=(*waited, *(role for role in level.roles if role in here)))
        waves: list[Wave] = []
        # gates look at what is down before the stage; splitting notes what it mends
        parts = split(members, fleet, self.pace)
        for number, (name, wave) in enumerate(parts, 1):
            waves.append(self._wave(level, number, name, wave, steps, units))
        if units is None:
            for role in level.roles:
                if self.target.by_name[role].form:
                    number = len(waves) + 1
                    found = steps.form(role)
                    waves.append(
                        make_steps.wave(level.name, number, f"{make_steps.FORM}{role}", (), found)
                    )
        told = f"{'restart ' if units is not None else ''}{' '.join(level.roles)}"
        title = f"{told} on {short(one.node for one in members)}"
        # what did not work before is missed by nobody
        felt = [
            replace(one, disturbed=tuple(r for r in one.disturbed if (one.node, r) not in away))
            for one in members
        ]
        stage = self._stage(level.name, level.phase, title, level.roles, waves, felt, fleet)
        if units is not None:
            named = {
                one.node: tuple(
                    dict.fromkeys(f"restart {u}" for r in one.touched for u in units[r, one.node])
                )
                for one in members
            }
            return replace(stage, restarts=named)
        return stage

    def _wave(
        self,
        level: Level,
        number: int,
        name: str,
        members: Sequence[Candidate],
        steps: Steps,
        units: Mapping[tuple[str, str], Sequence[str]] | None,
    ) -> Wave:
        nodes = [one.node for one in members]
        gate, drained = steps.gate(members), steps.drain(members)
        taken = steps.take(nodes)
        done: list[Step | None]
        if units is not None:
            done = [gate, drained, *make_steps.restarts(members, units)]
        elif self.request.workflow == "upgrade":
            done = [gate, *make_steps.upgrade(steps, members, drained, taken)]
        else:
            done = [gate, drained, *taken, steps.apply(members)]
        verify, rest = steps.proven(members, drained, forms=units is not None)
        done += [verify, *rest, self._soak()]
        return make_steps.wave(level.name, number, name, nodes, done, steps.domains(members))

    def _stage(
        self,
        name: str,
        phase: str,
        title: str,
        roles: tuple[str, ...],
        waves: Sequence[Wave],
        members: Sequence[Candidate],
        fleet: Fleet,
    ) -> Stage:
        declared = fleet.roles
        all_steps = [step for wave in waves for step in wave.steps]
        stage = Stage(
            name,
            phase,
            title,
            roles,
            tuple(self._paced(name, wave) for wave in waves),
            impact=impact(declared, members, fleet.lost),
            reversible=worst_reversible(step.reversible for step in all_steps),
            minutes=minutes(self.history, name),
            expected=self._expected(members),
            restarts=self._restarts(members),
        )
        return dressed(stage, self.request)

    def _paced(self, stage: str, wave: Wave) -> Wave:
        """Add to a wave how long it takes, with the soak that this plan has."""
        worked = minutes(self.paces, stage) if wave.nodes else None
        if worked is None:
            return wave
        soaked = sum(step.seconds for step in wave.steps if step.kind == SOAK)
        return replace(wave, minutes=round(worked + soaked / 60, 1))

    def _expected(self, members: Sequence[Candidate]) -> dict[str, tuple[str, ...]]:
        found = {}
        for one in members:
            told = self.touched.get(one.node)
            names = [
                n for role in one.touched for n in (told.expected.get(role, ()) if told else ())
            ]
            if names:
                found[one.node] = tuple(dict.fromkeys(names))
        return found

    def _restarts(self, members: Sequence[Candidate]) -> dict[str, tuple[str, ...]]:
        """Restarts that a stage causes: of its roles' units; the rest comes with the first role."""
        found = {}
        for one in members:
            told = self.touched.get(one.node)
            if told is None or not self.moves:
                continue
            names = []
            for restart in told.restarts:
                unit = restart.rpartition(" ")[2]
                owners = [r for r in told.roles if unit in self._units(r, one.node)]
                if set(owners or told.roles[:1]) & set(one.touched):
                    names.append(restart)
            if names:
                found[one.node] = tuple(names)
        return found

    def _units(self, role: str, node: str) -> tuple[str, ...]:
        return self.target.units(role, node) if role in self.target.of(node) else ()

    def _prefetched(
        self, work: Mapping[str, tuple[str, ...]], fleet: Fleet, steps: Steps
    ) -> list[Stage]:
        """Fetch on all nodes first: one that lacks it stops the upgrade before anything is touched.

        Nodes whose turn comes later then know the schema that the first one expands.
        """
        found = steps.prefetch(work)
        if not found:
            return []
        nodes = found[-1].nodes
        wave = make_steps.wave("prefetch", 1, "all", nodes, found)
        title = found[-1].title
        stage = self._stage("prefetch", ROLE_STAGES[0], title, (), [wave], (), fleet)
        # nobody is taken out of service: the pace is that of the network
        return [replace(stage, budget=0, on_failure=STOP, rate=0.0)]

    def _prechecked(
        self, work: Mapping[str, tuple[str, ...]], fleet: Fleet, steps: Steps
    ) -> list[Stage]:
        """Ask the new release whether it can follow, while there is nothing yet to take back."""
        asked = steps.precheck(work)
        if asked is None:
            return []
        wave = make_steps.wave("precheck", 1, "services", asked.nodes, [asked])
        stage = self._stage("precheck", ROLE_STAGES[0], asked.title, (), [wave], (), fleet)
        return [replace(stage, budget=0, on_failure=STOP)]

    def _finalized(
        self,
        wanted: Mapping[str, tuple[str, ...]],
        done: Mapping[str, tuple[str, ...]],
        fleet: Fleet,
        steps: Steps,
    ) -> list[Stage]:
        """End the upgrade of each role of which every member has it then.

        :param wanted: node to the roles that there is something to do for
        :param done: the same of what this plan does
        """
        if self.facts.revision == self.facts.deployed and not self.facts.pins:
            return []
        roles: list[str] = []
        waves: list[Wave] = []
        for level in levels(self.target, {r for names in done.values() for r in names}):
            for role in level.roles:
                actions = self.target.finalize(role, self.target.members(role)[0])
                left = [
                    n for n, ids in wanted.items() if role in ids and role not in done.get(n, ())
                ]
                if actions and not left:
                    roles.append(role)
                    name, found = (
                        f"{make_steps.FINALIZE}{role}",
                        steps.final(role, actions, fence=self.request.fence),
                    )
                    number = len(waves) + 1
                    waves.append(make_steps.wave("finalize", number, name, (), found))
        if not waves:
            return []
        told = f"finalize {' '.join(roles)}"
        stage = self._stage("finalize", ROLE_STAGES[-1], told, tuple(roles), waves, (), fleet)
        if any(step.kind == DRAIN for wave in waves for step in wave.steps):
            stage = replace(stage, impact=Impact("degraded", "none", self._window(roles)))
        # it is about the cluster as a whole: no share of it may fail
        return [replace(stage, budget=0, on_failure=STOP)]

    def _window(self, roles: Sequence[str]) -> str:
        """Say how long writes are refused, by what waves of that stage took in earlier rollouts."""
        fenced = [r for r in roles if self.target.fences(r, self.target.members(r)[0])]
        took = minutes(self.paces, "finalize")
        known = "no earlier upgrade tells how long" if took is None else f"{took * 60:.0f} s each"
        return (
            f"writes to {', '.join(fenced)} are refused (503) from the dump until its schema is"
            f" proven, one after another, {known}; reads and tokens go on"
        )

    def _commit(self, work: Work, steps: Steps) -> list[Step]:
        """End with the revision as the cluster's own, unless only a part of it was reached."""
        if work.partial:
            return []
        reached = set(work.roles)
        # a node that is away keeps what it has, and one that nothing changes loses its old pin
        held = [n for n in work.absent if n not in self.facts.pins and self.facts.deployed]
        freed = [
            node
            for node, revision in sorted(self.facts.pins.items())
            if node in self.target.nodes
            and node not in reached
            and node not in work.absent
            and revision != self.facts.revision
        ]
        found = [steps.pin(held, self.facts.deployed), steps.pin(freed, self.facts.revision)]
        commit = make_steps.commit(self.request.cluster, self.facts.revision)
        return [*(step for step in found if step is not None), commit]

    def _whole(self, stages: Sequence[Stage], last: Sequence[Step], work: Work) -> Plan:
        request = self.request
        if not stages and not self._something(last):
            raise PlanError(
                "there is nothing to do: every node has what the model wants",
                where=request.workflow,
            )
        if last:
            title = f"revision {self.facts.revision[:12]} becomes the one of {request.cluster}"
            wave = make_steps.wave("commit", 1, request.cluster, (), last)
            stages = [*stages, Stage("commit", "commit", title, (), (wave,))]
        plan = Plan(
            request.workflow,
            request.cluster,
            basis(self.facts),
            tuple(stages),
            limits=request.words(),
            resume=request.resume,
            lease_ttl=request.lease_ttl,
        )
        measured = probes(plan, self.target, self.facts) if request.probes else ()
        unknown = sorted(set(request.slo) - {probe.name for probe in measured})
        if unknown:
            raise PlanError(
                f"nothing measures {unknown[0]}",
                where="slo",
                cure=f"Measured are {', '.join(p.name for p in measured) or 'no services'}",
            )
        taken = locks(plan, self.target, self.current)
        return replace(plan, probes=measured, locks=taken)

    def _something(self, last: Sequence[Step]) -> bool:
        moved = self.facts.revision != self.facts.deployed
        return bool(last) and (moved or bool(self.facts.pins))


def impact(roles: Roles, members: Iterable[Candidate], lost: Collection[str] = ()) -> Impact:
    """Say what users may notice of a stage: the worst of what it disturbs, with its reason.

    :param lost: roles that lose their majority, as was accepted
    """
    found: dict[str, Impact] = {
        role: Impact("down", "none", f"{role} loses its majority meanwhile, as was accepted")
        for role in sorted(lost)
    }
    for one in members:
        for role in one.disturbed:
            if role not in found:
                found[role] = roles.impact(role, one.node)
    told = list(found.values())
    control = worst((one.control for one in told), EFFECTS)
    data = worst((one.data for one in told), EFFECTS)
    why = [one.why for one in told if one.why and (one.control, one.data) == (control, data)]
    why += [one.why for one in told if one.why and (one.control == control or one.data == data)]
    return Impact(control, data, why[0] if why else "")


def minutes(history: History, name: str) -> float | None:
    """Predict how long a stage takes: the middle one of earlier times, None without any."""
    known = sorted(history.get(name, ()))
    if not known:
        return None
    half = len(known) // 2
    return round(known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2, 1)


def dressed(stage: Stage, request: Request) -> Stage:
    """Add to a stage what was asked for how it goes."""
    return replace(
        stage,
        budget=request.budget,
        on_failure=request.on_failure,
        rate=float(request.rate),
        slo=dict(request.slo),
    )
