"""The plan that takes a rollout back: only what was done, in the reverse order.

Pins go back to what they were, the roles that were applied are applied again from there, and what
was called is answered by its inverse. Roles that a node did not have before are cleaned, under the
pillar that brought them: before its pin goes back. Where the rollout passed a point of no return,
that is refused unless the loss is accepted; :func:`losses` says what it is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from saltern.errors import PlanError
from saltern.plan import steps as make_steps
from saltern.plan.basis import Facts, basis
from saltern.plan.types import (
    APPLY,
    CALL,
    COMMIT,
    DRAIN,
    GATE,
    NEVER,
    PIN,
    RELEASE,
    RUNNER,
    SOAK,
    UNTIL_WRITE,
    VERIFY,
    Basis,
    Check,
    Plan,
    PlannedCall,
    Release,
    Stage,
    Step,
    Swap,
    Wave,
)
from saltern.rollout.ports import Lease, StepRecord
from saltern.rollout.show import short

#: kinds that change something
_CHANGING = (PIN, APPLY, CALL, RUNNER, COMMIT)
#: the workflow that moves nothing and whose steps have inverses of their own
OPERATION = "operation"
#: the stage after all was taken back
SETTLE = "settle"
#: phases whose runner functions only look
_LOOKING = ("sanity", "preflight")

Records = Mapping[str, StepRecord]


def undo(
    plan: Plan,
    records: Records,
    *,
    rollout: str = "",
    only: str = "",
    accept_loss: bool = False,
    facts: Facts | None = None,
) -> Plan:
    """Make the plan that takes back what a rollout did.

    :param plan: of the rollout
    :param records: its latest record of each step that was begun, by step id
    :param rollout: its id
    :param only: ``<stage>/<number>``: this wave alone
    :param accept_loss: go past a point of no return
    :param facts: what was observed a moment ago; without, what is known from the rollout itself
    :raises PlanError: nothing was done, nothing was there before, a point of no return was passed,
        nodes were added, or a node that has to be taken back is absent
    """
    if plan.workflow == "rollback":
        raise PlanError(
            "a rollback is not rolled back", where=rollout, cure="Plan the change that is wanted"
        )
    if plan.workflow == "scale-out":
        raise PlanError(
            f"{short(_added(plan))} came with it, and the revision before does not know them",
            where=rollout,
            cure="Take them out of the model, commit, and run `salt-run rollout.plan scale-in"
            f" nodes={','.join(_added(plan))}`",
        )
    waves = _done(plan, records, only)
    lost = [step for _, wave in waves for step in wave.steps if _lost(step, records)]
    if lost and not accept_loss:
        raise PlanError(
            f"the rollout passed its point of no return at {lost[0].id} ({lost[0].title})",
            where=rollout or plan.hash[:12],
            cure=f"Accept the loss by accept_loss=True: {' '.join(losses(plan, records, only))}",
        )
    maker = _Undo(plan, records, waves, facts)
    stages = maker.stages()
    if not stages:
        raise PlanError(
            "the rollout did nothing that can be taken back", where=rollout or plan.hash[:12]
        )
    limits = {"only": only} if only else {}
    if accept_loss:
        limits["accept_loss"] = "true"
    return Plan(
        "rollback",
        plan.cluster,
        maker.basis(),
        tuple(stages),
        probes=plan.probes,
        locks=plan.locks,
        limits=limits,
        undoes=rollout,
        resume=plan.resume,
        lease_ttl=plan.lease_ttl,
        releases=_back(plan, stages),
        artifacts=tuple(_swapped(one) for one in reversed(plan.artifacts)),
    )


def _back(plan: Plan, stages: Iterable[Stage]) -> tuple[Release, ...]:
    """What moved, the other way round, on the nodes that are taken back."""
    reached = {node for stage in stages for node in stage.nodes}
    found = []
    for one in reversed(plan.releases):
        nodes = tuple(node for node in one.nodes if node in reached)
        if nodes:
            found.append(replace(one, before=one.after, after=one.before, nodes=nodes, left=()))
    return tuple(found)


def _swapped(one: Swap) -> Swap:
    return Swap(one.role, one.after, one.after_sha256, one.before, one.before_sha256, one.nodes)


def losses(plan: Plan, records: Records, only: str = "", leases: Iterable[Lease] = ()) -> list[str]:
    """Say what taking a rollout back would lose, one sentence for each step; empty for nothing.

    :param only: ``<stage>/<number>``: this wave alone
    :param leases: what the rollout took out of service, given back or not
    """
    held = tuple(leases)
    found = []
    for _, wave in _done(plan, records, only):
        for step in wave.steps:
            if step.id not in records or step.reversible not in (NEVER, UNTIL_WRITE):
                continue
            if wave.name.startswith(make_steps.FINALIZE) and step.undo:
                found.append(f"{step.title}: {_since(wave, records, held)}")
            elif step.reversible == NEVER:
                found.append(f"{step.title}: this cannot be taken back.")
            else:
                found.append(f"{step.title}: what was written since may not be readable before it.")
    return found


def _since(wave: Wave, records: Records, leases: Sequence[Lease]) -> str:
    """What is lost of what was written since the dump that a wave took."""
    role = wave.name.removeprefix(make_steps.FINALIZE)
    begun = [records[s.id].begun for s in wave.steps if s.id in records and s.kind in _CHANGING]
    since = _at(min(begun))
    fences = {step.id for step in wave.steps if step.kind == DRAIN}
    mine = [lease for lease in leases if lease.step in fences]
    if not mine:
        return f"what was written to {role} since {since} is lost."
    refused = _at(min(lease.taken for lease in mine))
    # taken again once is enough: what came in between is in no dump
    again = [lease.released for lease in mine if lease.released is not None]
    if not again:
        return f"nothing written to {role} since is lost: writes were refused from {refused} on."
    until = _at(min(again))
    return (
        f"what was written to {role} since {until} is lost; from {refused} until then writes were"
        " refused."
    )


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


def _added(plan: Plan) -> list[str]:
    """The nodes that a scale-out was asked for."""
    return sorted(map(str, plan.limits.get("nodes") or plan.nodes))


def _lost(step: Step, records: Records) -> bool:
    return step.reversible == NEVER and step.id in records


def _done(plan: Plan, records: Records, only: str) -> list[tuple[Stage, Wave]]:
    """Waves in which something was changed, or may have been, in their order."""
    found = []
    for stage in plan.stages:
        for wave in stage.waves:
            if only and f"{stage.name}/{wave.number}" != only:
                continue
            if any(step.kind in _CHANGING and step.id in records for step in wave.steps):
                found.append((stage, wave))
    if only and not any(f"{s.name}/{w.number}" == only for s in plan.stages for w in s.waves):
        raise PlanError(f"the plan has no wave {only}", where="only")
    return found


class _Undo:
    """One rollback in the making."""

    def __init__(
        self,
        plan: Plan,
        records: Records,
        waves: Sequence[tuple[Stage, Wave]],
        facts: Facts | None,
    ) -> None:
        self.plan = plan
        self.records = records
        self.waves = waves
        self.facts = facts
        self.committed = any(
            step.kind == COMMIT and step.id in records for _, wave in waves for step in wave.steps
        )
        self.broken = {
            node
            for record in records.values()
            for node, result in record.results.items()
            if not result.ok
        }
        self.moved = {
            node
            for _, wave in waves
            for step in wave.steps
            if step.kind == PIN and step.id in records
            for node in step.nodes
        }
        before = {plan.basis.deployed, *plan.basis.pins.values()}
        first = plan.workflow == "deploy" and before == {plan.basis.revision}
        if (self.moved or self.committed) and (first or not plan.basis.deployed):
            other = "other " if first else ""
            raise PlanError(
                f"cluster {plan.cluster} had no {other}revision before: there is nothing to go"
                " back to",
                cure="Deploy again, or clean the nodes",
            )
        applied = [
            step
            for _, wave in waves
            for step in wave.steps
            # on a host that is built anew all is applied, how ever far the rollout came
            if self._ran(step, APPLY) or (step.kind == APPLY and self._built(wave))
        ]
        #: what takes roles away that came, the latest first
        self.cleaning = [c for s in reversed(applied) for c in s.undo if make_steps.cleans(c)]
        self.gone = _gone(applied)
        self._returned: set[str] = set()
        self._cleaned: set[str] = set()

    def _ran(self, step: Step, kind: str) -> bool:
        return step.kind == kind and step.id in self.records

    def _built(self, wave: Wave) -> list[Step]:
        """The steps of a wave that started hosts from a new image, or may have."""
        begun = [step for step in wave.steps if self._ran(step, RUNNER)]
        return [step for step in begun if step.runner == make_steps.REIMAGE]

    def basis(self) -> Basis:
        """What the rollback is bound to: what was observed, or what the rollout left behind."""
        if self.facts is not None:
            return replace(basis(self.facts), revision=self.plan.basis.deployed)
        then = self.plan.basis
        revision = then.revision
        pins = dict(then.pins)
        if self.committed:
            pins = {node: pin for node, pin in pins.items() if pin != revision}
        else:
            pins.update(dict.fromkeys(self.moved, revision))
        return replace(
            then,
            revision=then.deployed,
            deployed=revision if self.committed else then.deployed,
            pins=dict(sorted(pins.items())),
        )

    def stages(self) -> list[Stage]:
        """Make its stages, the last one first; a commit is taken back at the very end."""
        found = []
        grouped: dict[str, list[Wave]] = {}
        for stage, wave in self.waves:
            grouped.setdefault(stage.name, []).append(wave)
        for stage in reversed(self.plan.stages):
            waves = grouped.get(stage.name, [])
            if waves and stage.phase != COMMIT and stage.phase not in _LOOKING:
                made = self._stage(stage, waves)
                if made is not None:
                    found.append(made)
        settled = self._settled()
        if settled is not None:
            found.append(settled)
        if self.committed or (found and self._loose()):
            found.append(self._last())
        return found

    def _settled(self) -> Stage | None:
        """Bring others in line with data that were loaded; by then the code of before runs."""
        made: list[Wave] = []
        last = None
        for stage in self.plan.stages:
            for wave in stage.waves:
                steps = [
                    Step(
                        "",
                        CALL,
                        f"{call.fun} on {short(call.nodes)}",
                        call.nodes,
                        calls=(call,),
                        limit=step.limit,
                    )
                    for step in wave.steps
                    if step.id in self.records
                    for call in step.settles
                ]
                if steps:
                    last = stage
                    made.append(make_steps.wave(SETTLE, len(made) + 1, wave.name, (), steps))
        if last is None:
            return None
        title = "back: others are brought in line with the data that were loaded"
        return replace(
            last,
            name=SETTLE,
            title=title,
            waves=tuple(made),
            reversible="always",
            expected={},
            restarts={},
            minutes=None,
        )

    def _stage(self, stage: Stage, waves: Sequence[Wave]) -> Stage | None:
        about_nodes = [wave for wave in waves if wave.nodes]
        # what is broken is mended first, then the latest goes first; forms end a stage as ever
        order = sorted(about_nodes, key=lambda w: (not ({*w.nodes} & self.broken), -w.number))
        ends = [wave for wave in waves if wave.name.startswith(make_steps.FINALIZE)]
        order += [wave for wave in waves if not wave.nodes and wave not in ends] + ends[::-1]
        made: list[Wave] = []
        for wave in order:
            if wave.name.startswith(make_steps.FINALIZE):
                steps = self._inverse(step for step in wave.steps if step.id in self.records)
                fenced = [step for step in wave.steps if step.kind == DRAIN]
                if fenced and any(step.kind in _CHANGING for step in steps):
                    # what is written while a dump is loaded would be lost without a word
                    steps = [*fenced, *steps, *(s for s in wave.steps if s.kind == RELEASE)]
            else:
                steps = self._node_steps(wave) if wave.nodes else self._form_steps(wave)
            if any(step.kind in _CHANGING for step in steps):
                number = len(made) + 1
                made.append(
                    make_steps.wave(stage.name, number, wave.name, wave.nodes, steps, wave.domains)
                )
        if not made:
            return None
        stays = [c.what for w in waves for s in w.steps if self._ran(s, APPLY) for c in s.undo]
        told = "; ".join(filter(None, dict.fromkeys(stays)))
        title = f"back: {stage.title}" + (f" ({told})" if told else "")
        return replace(
            stage,
            title=title,
            waves=tuple(made),
            reversible="always",
            expected={},
            restarts={},
            minutes=None,
        )

    def _node_steps(self, wave: Wave) -> list[Step]:
        """Steps of a wave that is taken back, in the order of any wave."""
        begun = [step for step in wave.steps if step.id in self.records]
        built = self._built(wave)
        # a host that its new image left silent comes back by its former one
        silent = self._silent(wave) if built else frozenset()
        if not built:
            self._present(wave)
        found: list[Step] = []
        work = self._work(wave, begun)
        if not work:
            return []
        gates = [step for step in wave.steps if step.kind == GATE]
        for step in wave.steps:
            # only the first one is about the wave; what follows it is asked for the work
            if step in gates[:1]:
                found.append(self._gate(step, wave, silent))
            elif step.kind == DRAIN:
                found += self._drain(step, silent)
        found += work
        kinds = [step.kind for step in wave.steps]
        given = kinds.index(RELEASE) if RELEASE in kinds else len(kinds)
        # the last one before that is about the whole wave; those before it ask what was done on the
        # way, and one after it asks what was closed to clients
        verified = [step for step in wave.steps[:given] if step.kind == VERIFY]
        found += [self._asked(step) for step in verified[-1:]]
        found += [step for step in wave.steps[:given] if step.kind == SOAK]
        for step in wave.steps[given:]:
            if step.kind in (RELEASE, SOAK, VERIFY):
                found.append(self._asked(step) if step.kind == VERIFY else step)
        return found

    def _asked(self, step: Step) -> Step:
        """A check without what is not there any more."""
        checks = tuple(c for c in step.checks if c.role not in self.gone.get(c.node, ()))
        return replace(step, checks=checks)

    def _clean(self, nodes: Iterable[str]) -> list[Step]:
        """Take away what came to nodes, of all stages at once: they still have its pillar."""
        fresh = {*nodes} - self._cleaned
        self._cleaned |= fresh
        mods: dict[str, list[str]] = {}
        for call in self.cleaning:
            for node in fresh & {*call.nodes}:
                mods.setdefault(node, []).extend(call.kwarg["mods"])
        groups: dict[tuple[str, ...], list[str]] = {}
        for node in sorted(mods):
            groups.setdefault(tuple(dict.fromkeys(mods[node])), []).append(node)
        if not groups:
            return []
        calls = tuple(
            PlannedCall(tuple(ids), "state.apply", kwarg={"mods": list(sls)})
            for sls, ids in groups.items()
        )
        title = f"back: what came to {short(mods)} is stopped and cleaned"
        limit = make_steps.APPLY_LIMIT
        return [Step("", APPLY, title, tuple(sorted(mods)), calls=calls, limit=limit)]

    def _work(self, wave: Wave, begun: Sequence[Step]) -> list[Step]:
        """Pins back and roles applied, or the inverses of what was called, the last one first."""
        built = self._built(wave)
        if built:
            begun = [s for s in wave.steps if s.kind in (APPLY, RUNNER)]
        # what came with a new image goes with it
        found = [] if built else self._clean(wave.nodes)
        back = [node for node in wave.nodes if node in self.moved and node not in self._returned]
        self._returned.update(back)
        for revision, nodes in self._before(back).items():
            told = revision[:12] or f"what {self.plan.cluster} has"
            found.append(
                Step("", PIN, f"{short(nodes)} go back to {told}", nodes, revision=revision)
            )
        if built:
            found += self._inverse(built)
            found += [make_steps.back(wave.nodes), make_steps.refresh(wave.nodes, sync=True)]
        if back or built:
            found.append(make_steps.refresh(wave.nodes if built else tuple(sorted(back))))
        if self.plan.workflow == OPERATION:
            # its steps go back one by one; nothing moved under them
            return found + self._inverse(begun)
        for step in begun:
            calls = tuple(call for call in step.undo or step.calls if not make_steps.cleans(call))
            if step.kind == APPLY and calls:
                nodes = tuple(sorted({node for call in calls for node in call.nodes}))
                told = "; ".join(f"{' '.join(c.kwarg['mods'])} on {short(c.nodes)}" for c in calls)
                title = f"back: apply {told}" if step.undo else f"back: {step.title}"
                back_step = replace(step, title=title, nodes=nodes, calls=calls, undo=())
                found.append(replace(back_step, reversible="always"))
        if built:
            # the clusters that the hosts are members of take them back once more
            return found + [s for s in begun if s.kind == RUNNER and s.runner != make_steps.REIMAGE]
        return found + self._inverse([step for step in begun if step.kind != APPLY])

    def _inverse(self, begun: Iterable[Step]) -> list[Step]:
        """The inverses of steps, the last one first; calls of nodes and of the master apart."""
        found: list[Step] = []
        for step in reversed([*begun]):
            told = replace(step, title=f"back: {step.title}", undo=(), reversible="always")
            if step.kind == APPLY:
                found.append(told)
            if step.kind not in (CALL, RUNNER):
                continue
            calls = tuple(call for call in reversed(step.undo) if call.nodes)
            if calls:
                nodes = tuple(sorted({n for call in calls for n in call.serves or call.nodes}))
                found.append(
                    replace(told, kind=CALL, nodes=nodes, calls=calls, runner="", kwarg={})
                )
            for call in reversed(step.undo):
                if not call.nodes:
                    back = make_steps.runner(told.title, call.fun, call.kwarg, call.serves)
                    found.append(replace(back, limit=step.limit))
        return found

    def _before(self, nodes: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Group nodes by the pin that they had; without one they follow the cluster again.

        Once the cluster itself has moved on, they are held at its old revision until it is back.
        """
        found: dict[str, list[str]] = {}
        free = self.plan.basis.deployed if self.committed else ""
        for node in sorted(nodes):
            found.setdefault(self.plan.basis.pins.get(node, free), []).append(node)
        return {revision: tuple(ids) for revision, ids in found.items()}

    def _gate(self, step: Step, wave: Wave, silent: Collection[str]) -> Step:
        """Ask others as before; of the wave's own nodes, which may be broken, only an answer.

        :param silent: of these not even that is asked
        """
        mine = set(wave.nodes)
        others = self._asked(step).checks
        checks = [c for c in others if c.node not in mine and c.node not in self.broken]
        checks += [Check(node, "", ()) for node in sorted(mine.difference(silent))]
        nodes = tuple(node for node in step.nodes if node not in silent)
        return replace(step, nodes=nodes, checks=tuple(checks))

    def _drain(self, step: Step, silent: Collection[str]) -> list[Step]:
        """A drain without what silent nodes would have to do themselves."""
        pairs = [
            (call, back)
            for call, back in zip(step.calls, step.undo, strict=True)
            if not {*call.nodes} & {*silent}
        ]
        if not pairs:
            return []
        calls, undo = zip(*pairs, strict=True)
        nodes = tuple(sorted({n for call in calls for n in call.serves or call.nodes}))
        return [replace(step, nodes=nodes, calls=calls, undo=undo)]

    def _form_steps(self, wave: Wave) -> list[Step]:
        """Form anew those that are left of a role's members; nothing when none is."""
        role = wave.name.removeprefix(make_steps.FORM)
        found = []
        for step in wave.steps:
            nodes = tuple(node for node in step.nodes if role not in self.gone.get(node, ()))
            if step.nodes and not nodes:
                continue
            if step.kind == RUNNER and "nodes" in step.kwarg:
                kwarg = {**step.kwarg, "nodes": [n for n in step.kwarg["nodes"] if n in nodes]}
                found.append(replace(step, nodes=nodes, kwarg=kwarg))
            elif step.kind in (RUNNER, VERIFY):
                found.append(replace(self._asked(step), nodes=nodes))
        return found

    def _silent(self, wave: Wave) -> frozenset[str]:
        """Nodes of a wave that do not answer, as far as it is known."""
        if self.facts is None:
            return frozenset()
        there = {*self.facts.present} - {*self.facts.absent}
        return frozenset(node for node in wave.nodes if node not in there)

    def _present(self, wave: Wave) -> None:
        absent = sorted(self._silent(wave))
        if absent:
            raise PlanError(
                f"{short(absent)} cannot be taken back: no answer",
                where=absent[0],
                cure="Bring them back first",
            )

    def _loose(self) -> bool:
        """Whether pins moved that no wave of nodes takes back."""
        return bool(self.moved - self._returned)

    def _last(self) -> Stage:
        """Put the cluster's own revision back, and the pins that were moved at the very end."""
        steps: list[Step] = []
        if self.committed:
            steps.append(make_steps.commit(self.plan.cluster, self.plan.basis.deployed))
        rest = sorted(self.moved - self._returned)
        after: dict[str, list[str]] = {}
        for node in rest:
            after.setdefault(self.plan.basis.pins.get(node, ""), []).append(node)
        for revision, nodes in after.items():
            told = f"go back to {revision[:12]}" if revision else "lose their pin"
            steps.append(Step("", PIN, f"{short(nodes)} {told}", tuple(nodes), revision=revision))
        title = f"{self.plan.cluster} goes back to {self.plan.basis.deployed[:12]}"
        wave = make_steps.wave("commit", 1, self.plan.cluster, (), steps)
        return Stage("commit", "commit", title, (), (wave,))


def _gone(applied: Iterable[Step]) -> dict[str, set[str]]:
    """Node to the roles that came to it by some steps and are not there once these are undone."""
    found: dict[str, set[str]] = {}
    for step in applied:
        if step.undo:
            again = [call for call in step.undo if not make_steps.cleans(call)]
            for call in step.calls:
                for node in call.nodes:
                    kept = {mod for c in again if node in c.nodes for mod in c.kwarg["mods"]}
                    found.setdefault(node, set()).update({*call.kwarg["mods"]} - kept)
    return found
