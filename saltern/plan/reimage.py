"""The plan of a re-image: hosts are started from a new image, what they declare to keep is kept.

Hosts go in the order of their roles: one whose roles come early (monitors) before one whose roles
come late (object stores). On a host everything is applied at once, as after a first boot; then the
clusters that it is a member of take it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from saltern.errors import PlanError
from saltern.plan import steps as make_steps
from saltern.plan.choose import choose, resolve
from saltern.plan.levels import levels
from saltern.plan.make import Maker
from saltern.plan.roles import MASTER, worst, worst_reversible
from saltern.plan.steps import Steps
from saltern.plan.types import NEVER, Plan, PlannedCall, Stage, Step, Wave
from saltern.plan.waves import Candidate, Fleet, gone_with, split
from saltern.rollout import keeping
from saltern.rollout.show import short
from saltern.rollout.stages import ROLE_STAGES

#: Begins the names of the stages.
STAGE = "reimage"


class Reimaging(Maker):
    """One plan of the workflow ``reimage`` in the making."""

    def plan(self) -> Plan:
        """Make it."""
        self._same_nodes()
        named = resolve(self.request.nodes, self.target)
        chosen = {*named} | {node for node in self.target.nodes if self._differs(node)}
        self._allowed(chosen)
        order = [r for level in levels(self.target, self.target.by_name) for r in level.roles]
        #: an order that holds on a host
        self.order = {role: place for place, role in enumerate(order)}
        wanted = {node: self._ordered(node) for node in sorted(chosen)}
        others = {n: roles for n, roles in self._touched_roles().items() if n not in chosen}
        if not wanted:
            raise PlanError(
                "there is nothing to do: every host has the image that the model wants",
                where=self.request.workflow,
                cure="Name hosts by nodes= where one does not run on it all the same",
            )
        # with limits the rest of the revision is for a later plan, which ends it
        work = choose(self.request, self.target, self.facts, {**others, **wanted})
        fleet = self._fleet()
        steps = self._steps(fleet, sync=True)
        stages: list[Stage] = []
        phase = ROLE_STAGES[0]
        hosts = {node: names for node, names in work.roles.items() if node in chosen}
        for number, nodes in enumerate(self._groups(hosts), 1):
            last = worst(
                (self.target.by_name[r].stage for n in nodes for r in hosts[n]), ROLE_STAGES
            )
            # phases of an orchestration follow one another
            phase = worst((phase, last), ROLE_STAGES)
            name = STAGE if number == 1 else f"{STAGE}.{number}"
            members = [
                Candidate(n, hosts[n], hosts[n], start=False, carried=self.target.carried(n))
                for n in nodes
            ]
            stages.append(self._hosts(name, phase, members, fleet, steps))
        rest = {node: names for node, names in work.roles.items() if node not in chosen}
        stages += self._stages(rest, fleet, steps)
        stages += self._finalized({**others, **wanted}, work.roles, fleet, steps)
        return self._whole(stages, [*self._commit(work, steps)], work)

    # -- who, and in which order -----------------------------------------------------------------

    def _image(self, node: str, *, former: bool = False) -> str:
        nodes = self.current.nodes if former else self.target.nodes
        return str(nodes[node].host.get("image") or "")

    def _differs(self, node: str) -> bool:
        if node not in self.current.nodes:
            return False
        return self._image(node) != self._image(node, former=True)

    def _allowed(self, nodes: set[str]) -> None:
        """Refuse hosts that cannot be built anew, or would lose what they should not.

        :raises PlanError: a host carries the master, has no image, was never deployed, or has a
            role that keeps data and does not say where
        """
        for node in sorted(nodes):
            if MASTER in self.target.of(node):
                raise PlanError(
                    f"{node} carries the master, which would end with it",
                    where="nodes",
                    cure="Leave its image in the model as it is, or name the other hosts by nodes=",
                )
            if node not in self.current.nodes:
                raise PlanError(f"{node} is new", where="nodes", cure="Plan a scale-out of it")
            if not self._image(node):
                raise PlanError(
                    f"{node} names no image", where=f"{node}: host:image", cure="Name one there"
                )
            self._kept(node)

    def _kept(self, node: str) -> list[str]:
        """Directories of a host that outlive the image, of the roles that it has and gets."""
        found: dict[str, None] = {}
        for roles in (self.target, self.current):
            for role in roles.of(node):
                told = roles.keep(role, node)
                if told is None and roles is self.current and role in self.target.of(node):
                    continue  # the wanted revision says it
                if told is None and roles.stateful(role, node):
                    raise PlanError(
                        f"{role} keeps data on {short([node])} and does not say where",
                        where=f"{node}: lifecycle:{role}:keep",
                        cure="Declare its directories, or an empty list where others have it all",
                    )
                found.update(dict.fromkeys(told or ()))
        return list(keeping.checked(found))

    def _ordered(self, node: str) -> tuple[str, ...]:
        return tuple(sorted(self.target.of(node), key=self.order.__getitem__))

    def _groups(self, hosts: Mapping[str, Sequence[str]]) -> list[list[str]]:
        """Hosts whose roles are of the same levels, the earliest first."""
        depth = {
            role: number
            for number, level in enumerate(levels(self.target, self.target.by_name))
            for role in level.roles
        }
        groups: dict[tuple[int, ...], list[str]] = {}
        for node in sorted(hosts):
            groups.setdefault(tuple(sorted({depth[r] for r in hosts[node]})), []).append(node)
        return [nodes for _, nodes in sorted(groups.items())]

    # -- a wave ------------------------------------------------------------------------------------

    def _hosts(
        self, name: str, phase: str, members: Sequence[Candidate], fleet: Fleet, steps: Steps
    ) -> Stage:
        waves: list[Wave] = []
        parts = split(members, fleet, self.pace, lambda one: fleet.proved((one.node,), one.touched))
        for number, (title, wave) in enumerate(parts, 1):
            nodes = tuple(one.node for one in wave)
            away = gone_with(wave, self.target)
            drained = steps.drain(away)
            done: list[Step | None] = [steps.gate(away), drained, steps.pin(nodes)]
            done += self._built(wave)
            done += [make_steps.back(nodes), make_steps.refresh(nodes, sync=True)]
            done += [make_steps.refresh(nodes), steps.apply(wave)]
            done += self._formed(wave, steps)
            verify, rest = steps.proven(away, drained, forms=True)
            done.append(replace(verify, seconds=make_steps.REBOOT_LIMIT))
            done += [*rest, self._soak()]
            waves.append(make_steps.wave(name, number, title, nodes, done, steps.domains(wave)))
        images = sorted({self._image(one.node) for one in members})
        told = f"{short(one.node for one in members)} from {' and '.join(images)}"
        away = gone_with(members, self.target)
        roles = tuple(
            sorted({r for one in members for r in one.touched}, key=self.order.__getitem__)
        )
        return self._stage(name, phase, f"reimage {told}", roles, waves, away, fleet)

    def _built(self, members: Sequence[Candidate]) -> list[Step]:
        """Start hosts from their image, one call for those with the same one before and after."""
        groups: dict[tuple[str, str], list[Candidate]] = {}
        for one in members:
            key = self._image(one.node), self._image(one.node, former=True)
            groups.setdefault(key, []).append(one)
        found = []
        for (image, former), mine in sorted(groups.items()):
            nodes = tuple(one.node for one in mine)
            keep = {node: self._kept(node) for node in nodes}
            cluster = self.request.cluster
            kwarg = {"nodes": list(nodes), "image": image, "keep": keep, "cluster": cluster}
            dirs = sorted({path for paths in keep.values() for path in paths})
            told = f", {' '.join(dirs)} kept" if dirs else ""
            step = make_steps.runner(
                f"start {short(nodes)} from {image}{told}", make_steps.REIMAGE, kwarg, nodes
            )
            back = PlannedCall((), make_steps.REIMAGE, (), {**kwarg, "image": former}, nodes)
            found.append(
                replace(
                    step,
                    undo=(back,) if former else (),
                    limit=make_steps.REIMAGE_LIMIT,
                    # without a former image there is nothing to go back to
                    reversible=NEVER
                    if not former
                    else worst_reversible(
                        self.target.reversible(role, one.node, "install")
                        for one in mine
                        for role in one.touched
                    ),
                )
            )
        return found

    def _formed(self, members: Sequence[Candidate], steps: Steps) -> list[Step]:
        """Let the clusters that the hosts are members of take them back."""
        roles = {role for one in members for role in one.touched}
        return [
            steps.form(role)[0]
            for role in sorted(roles, key=self.order.__getitem__)
            if self.target.by_name[role].form
        ]
