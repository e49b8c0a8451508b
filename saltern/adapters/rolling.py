"""Plan, apply, follow and undo rollouts on one master: planner, engine, journal and bus joined."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from saltern.adapters import processes
from saltern.adapters.canaries import known_guests
from saltern.adapters.leasing import Leasing
from saltern.adapters.master import MasterEvents, Site, WallClock
from saltern.adapters.modelsite import ModelSite, pillar_settings
from saltern.adapters.observing import FleetBus, Observer
from saltern.adapters.rehearsals import demanded
from saltern.adapters.rehearsals import told as rehearsed
from saltern.adapters.releases import left_to_do, mixed
from saltern.adapters.rollout_tables import Rollout
from saltern.adapters.rollouts import Rollouts
from saltern.adapters.salt_bus import SaltBus
from saltern.errors import LockedError, PlanError, RolloutError
from saltern.model.cluster import CompiledNode
from saltern.model.store import Revision
from saltern.plan.basis import Facts, moved
from saltern.plan.make import Touched, make
from saltern.plan.request import ARGS, STAY, Request
from saltern.plan.show import show
from saltern.plan.types import Plan
from saltern.plan.undo import losses, undo
from saltern.release.lifecycle import load
from saltern.release.mixed import check as check_mixed
from saltern.release.moves import gated
from saltern.rollout import facts, report
from saltern.rollout.engine import PHASES, Engine
from saltern.rollout.load import RevisionSource
from saltern.rollout.outcome import Outcome, Runners
from saltern.rollout.owed import Owed
from saltern.rollout.ports import (
    DONE,
    FAILED,
    OVER,
    PAUSED,
    PLANNED,
    RUNNING,
    UNDONE,
    Call,
    Clock,
    Events,
    RolloutState,
    Wishes,
)
from saltern.rollout.preflight import check_artifacts
from saltern.rollout.probes import ProbeWatch, summaries
from saltern.rollout.series import series

#: A rollout that is not over.
UNDER_WAY = (PLANNED, RUNNING, PAUSED, FAILED)
#: Seconds between two looks at a rollout that somebody else carries out.
LOOK = 2.0


@dataclass(frozen=True)
class Planned:
    """A plan that is stored.

    :param hash: by which it is applied
    :param table: it, for people
    """

    hash: str
    plan: Plan
    table: str

    @property
    def text(self) -> str:
        """It for people, with its whole hash."""
        return f"{self.table.rstrip()}\nIts whole hash is {self.hash}"


@dataclass
class Rolling:
    """The rollouts of one cluster.

    :param site: the master's settings, with the name of the cluster
    :param opts: the master's options
    :param model: the master's model
    :param rollouts: their journal
    :param bus: where functions are called
    :param events: where progress is told
    :param clock: seconds since the epoch
    :param runners: calls a runner function of the master
    :param by: who asks
    """

    site: Site
    opts: Mapping[str, Any]
    model: ModelSite
    rollouts: Rollouts
    bus: FleetBus
    events: Events
    clock: Clock
    runners: Runners
    by: str

    @classmethod
    def of(
        cls,
        opts: Mapping[str, Any],
        cluster: str | None,
        runners: Runners,
        by: str,
        *,
        quiet: bool = False,
    ) -> Rolling:
        """Join what a master has.

        :param opts: ``__opts__`` of a runner or an engine
        :param cluster: the cluster that a command names, if it does
        :param quiet: no lines on standard error
        :raises PreflightError: no cluster is named, or the master keeps no revisions
        """
        site = Site.of(opts, cluster, any_cluster=True)
        model = ModelSite(site)
        return cls(
            site=site,
            opts=opts,
            model=model,
            rollouts=Rollouts(model.journal, model.find),
            bus=SaltBus(opts),
            events=MasterEvents(opts, quiet=quiet),
            clock=WallClock(),
            runners=runners,
            by=by,
        )

    def at(self, cluster: str) -> Rolling:
        """Return the same for another cluster."""
        if cluster == self.site.cluster:
            return self
        site = replace(self.site, cluster=cluster)
        return replace(self, site=site, model=ModelSite(site))

    @property
    def observer(self) -> Observer:
        """Who looks at the cluster."""
        return Observer(self.model, self.bus, self.opts)

    # -- plan ----------------------------------------------------------------------------

    def plan(self, request: Request, ref: str | None = None) -> Planned:
        """Make a plan from what is now, and store it.

        :param request: what is wanted
        :param ref: git ref that nodes are moved to; default ``saltern:revision``. Workflows that
            move nothing take the deployed revision
        :raises PlanError: it cannot be made
        :raises SalternError: model, journal or bus do not do their part
        """
        me = self.at(request.cluster)
        ref, target = me._target(request, ref)
        plan = me._made(request, target, ref)
        if ref:
            plan = replace(plan, limits={**plan.limits, "revision": ref})
        return self._stored(plan)

    def _target(self, request: Request, ref: str | None) -> tuple[str, Revision]:
        """The name and the revision that nodes are moved to; refused when it is not sound."""
        observer = self.observer
        if request.workflow in STAY:
            if ref:
                raise PlanError(f"{request.workflow} moves no revision", cure="Leave out revision=")
            deployed = observer.deployed()
            if not deployed:
                raise PlanError(f"cluster {request.cluster} has no deployed revision")
            return "", observer.open(deployed)
        ref = str(ref or self.site.revision)
        self._say(f"checking revision {ref}")
        revision, findings = self.model.check(ref, pillar_settings(self.opts), self.by)
        if revision is None or findings:
            raise PlanError(
                f"revision {ref} is not fit: {' '.join(findings)}",
                cure="Mend the model, or name another revision",
            )
        return ref, revision

    def _made(self, request: Request, target: Revision, ref: str) -> Plan:
        observer, cluster = self.observer, request.cluster
        source = RevisionSource(target)
        wanted, current = source.nodes(cluster), observer.served()
        touched: dict[str, Touched] = {}
        if request.workflow not in (*STAY, "deploy") and current:
            self._say("rendering what the change touches")
            both = sorted({*wanted} & {*current})
            touched = {
                node: Touched(roles, restarts)
                for node, (roles, restarts) in observer.touched(target, both, self._say).items()
            }
        notes: tuple[str, ...] = ()
        if request.workflow in ("upgrade", "change"):
            notes = _finish(request, left_to_do(self.rollouts, cluster), wanted, touched)
        everyone = sorted({*wanted, *current})
        self._say(f"asking {len(everyone)} nodes how they are")
        seen = observer.presence(everyone)
        equipped: frozenset[str] = frozenset()
        if request.workflow == "deploy":
            # preflight brought them, or an earlier deployment
            equipped = observer.equipped(seen.present)
        else:
            # a host may need a new image though nothing else of it is touched
            whole = not touched or request.workflow == "reimage"
            chosen = {*everyone} if whole else {*touched} | {*request.nodes}
            peers = facts.peers(current, chosen)
            # whoever is built anew gets its modules by the plan
            anew = {*request.nodes} if request.workflow == "replace" else set()
            known = [n for n in peers if n in seen.present and not anew & {n, n.split(".")[0]}]
            facts.same_plugins(observer.outdated(known))
            seen = observer.health(seen, current, peers)
        if request.predict and touched:
            self._say("letting the nodes foresee their changes")
            there = {node: one.roles for node, one in touched.items() if node in seen.present}
            for node, expected in observer.foresee(target, there).items():
                touched[node] = replace(touched[node], expected=expected)
        found = Facts(
            revision=target.id,
            deployed=observer.deployed(),
            pins=observer.pins(),
            present=seen.present,
            absent=seen.absent,
            down=seen.down,
            equipped=equipped,
            guests=known_guests(self.model.journal, cluster) if request.probes else (),
            artifacts=observer.artifacts(wanted),
            formulas=observer.formulas(),
        )
        try:
            plan = make(
                request,
                wanted,
                current,
                found,
                touched,
                source.roles(),
                self.rollouts.durations(cluster, request.workflow),
                self.rollouts.paces(cluster, request.workflow),
            )
        except PlanError as err:
            raise _with_reasons(err, seen) from None
        if request.workflow not in STAY and found.deployed:
            plan = gated(load(), request, plan, current, wanted, ref)
            between, _ = mixed(self.model, self.rollouts, self.clock.now())
            told = check_mixed(plan, between, report.moment)
            plan = replace(plan, notes=(*notes, *told))
            plan = rehearsed(self.model.journal, plan, (current, wanted))
        here = {node: wanted[node] for node in plan.nodes if node in wanted}
        missing = check_artifacts(here, self.site.artifacts)
        if missing and request.workflow not in STAY:
            raise PlanError(" ".join(missing).rstrip("."), cure="Build them, or copy them there")
        return plan

    def moved(self, plan: Plan) -> list[str]:
        """Say what moved since a plan was made, one sentence each.

        :raises SalternError: model, journal or bus do not do their part
        """
        me, then = self.at(plan.cluster), plan.basis
        now = me.now(then.revision, {*then.present, *then.absent})
        ref = str(plan.limits.get("revision") or "")
        return moved(then, replace(now, revision=me.model.repo.resolve(ref)) if ref else now)

    def demand(self, plan: Plan) -> None:
        """Refuse an upgrade that its cluster wants to be rehearsed first, and that was not.

        :raises RehearsalRefusedError: there is no green rehearsal of it that is young enough
        :raises SalternError: model or journal cannot be read
        """
        me = self.at(plan.cluster)
        if plan.workflow != "upgrade" or not plan.artifacts:
            return
        wanted = RevisionSource(me.observer.open(plan.basis.revision)).nodes(plan.cluster)
        models = (me.observer.served(), wanted)
        demanded(self.model.journal, plan, models, self.clock.now())

    def now(self, revision: str, nodes: Iterable[str]) -> Facts:
        """What a plan for a revision is held against: all of the facts but who is well."""
        observer = self.observer
        wanted = (
            RevisionSource(observer.open(revision)).nodes(self.site.cluster) if revision else {}
        )
        seen = observer.presence(nodes)
        return Facts(
            revision=revision,
            deployed=observer.deployed(),
            pins=observer.pins(),
            present=seen.present,
            absent=seen.absent,
            artifacts=observer.artifacts(wanted),
            formulas=observer.formulas(),
        )

    # -- apply ---------------------------------------------------------------------------

    def begin(self, name: str, approved_by: str = "", reason: str = "") -> str:
        """Begin a rollout of a stored plan that still fits; return its id.

        :param name: hash of the plan, or its first digits
        :param approved_by: who approved it
        :param reason: why, for the history
        :raises PlanError: there is no such plan, or what it was made from has moved
        :raises RehearsalRefusedError: the cluster wants it to be rehearsed first
        :raises LockedError: another rollout works on the same nodes
        """
        plan = self.rollouts.plan(name)
        self._say(f"holding plan {plan.hash[:12]} against what is now")
        reasons = self.moved(plan)
        if reasons:
            raise PlanError(
                f"plan {plan.hash[:12]} no longer fits: {' '.join(reasons)}",
                cure=f"Plan again: `{replan(plan)}`",
            )
        self.demand(plan)
        return self.rollouts.begin(plan, self.by, approved_by, reason, owner=processes.me())

    def started(
        self, name: str, approved_by: str = "", reason: str = "", *, test: bool = False
    ) -> dict[str, Any]:
        """Begin a rollout of a stored plan, or find the one of it that is under way.

        :param name: hash of the plan, or its first digits
        :param test: only say that it would be
        :returns: a runner's answer with the id
        :raises SalternError: as :meth:`begin`
        """
        planned = self.stored(name)
        short = planned.hash[:12]
        if test:
            comment = f"Plan {short} would be applied:\n{planned.table}"
            changes = {"plan": planned.hash} if planned.plan.stages else {}
            result = None if changes else True
            return {"result": result, "comment": comment, "changes": changes, "retcode": 0}
        for found in self.rollouts.list(planned.plan.cluster, UNDER_WAY):
            if found.plan == planned.hash:
                if found.state == PAUSED:
                    self.rollouts.wish(found.id, pause=False)
                told = f"Rollout {found.id} of plan {short} is {found.state} and is gone on with."
                return self._asked(found.id, told) | {"plan": planned.hash}
        begun = self.begin(planned.hash, approved_by, reason)
        # who does its steps comes later
        self.rollouts.release_claim(begun, processes.me())
        told = f"Rollout {begun} of plan {short} is begun.\n{planned.table}"
        what: dict[str, Any] = {"plan": planned.hash, "changes": {"rollout": begun}}
        return self._asked(begun, told) | what

    def phase(
        self, name: str, rollout: str | None, show: Callable[[str], None], *, keep: bool = False
    ) -> dict[str, Any]:
        """Carry a rollout on to the end of one phase, or watch the one who does.

        :param name: of the phase; the last one of the plan ends the rollout
        :param rollout: id, or hash of its plan; None for the only one under way
        :param show: takes a line for what another process does
        :param keep: as in :meth:`run`
        :returns: a runner's answer about this phase
        :raises RolloutError: there is no such rollout
        """
        _check_phase(name)
        found = self.rollouts.get(self.latest(rollout))
        state = self.rollouts.load(found.id)
        if not any(stage.phase == name for stage in state.plan.stages):
            return self._asked(found.id, f"Phase {name}: nothing to do.")
        last = state.plan.stages[-1].phase == name
        if not report.passed(state, name) or (last and state.state != DONE):
            if state.state == FAILED:
                return self.told(found.id)
            try:
                self.run(found.id, "" if last else name, keep=keep)
            except LockedError:
                self.follow(found.id, show, "" if last else name)
        told = self.told(found.id)
        about = report.phase(self.report(found.id), name)
        if told["retcode"]:
            return told | {"changes": about["changes"]}
        return told | about

    def foretold(self, name: str, plan: str | None) -> dict[str, Any]:
        """Say what a phase of a plan would do.

        :param name: of the phase
        :param plan: its hash; None for the latest one of the cluster
        """
        _check_phase(name)
        if not plan:
            stored = self.rollouts.plans(self.site.cluster or None, 1)
            if not stored:
                raise PlanError("no plan is stored", cure="Make one with `salt-run rollout.plan`")
            plan = stored[0].hash
        waves = [
            f"{stage.title}: {wave.name}: {step.title}"
            for stage, wave, step in self.rollouts.plan(plan).steps()
            if stage.phase == name
        ]
        if not waves:
            return {"result": True, "comment": f"Phase {name}: nothing to do.", "changes": {}}
        comment = f"Phase {name} would do {len(waves)} steps."
        return {"result": None, "comment": comment, "changes": {"steps": waves}, "retcode": 0}

    def run(self, rollout: str, until: str = "", *, keep: bool = False) -> dict[str, Any]:
        """Carry a rollout on until it ends, or a phase does.

        :param rollout: its id
        :param until: name of the phase to stop after, empty for all of it
        :param keep: this process goes on with it later: nobody else may between two phases
        :returns: how it stands, see :meth:`told`
        :raises LockedError: another process carries it out
        """
        state = self.rollouts.load(rollout)
        with _patient(self._say) as asked:
            journal = _Attended(self.rollouts, asked, keep=keep)
            outcome = self.engine(state, journal).run(rollout, until)
        if keep and outcome.state != RUNNING:
            self.rollouts.release_claim(rollout, processes.me())
        plan = state.plan
        if outcome.state == DONE and plan.undoes and not plan.limits.get("only"):
            self.rollouts.move(plan.undoes, UNDONE, self.clock.now(), f"by rollout {rollout}")
        told = self.told(rollout, outcome)
        if outcome.state == DONE and plan.undoes:
            told = self._given_back(plan.undoes, told)
        if outcome.undo_wave:
            told = self._undo_wave(rollout, outcome, told)
        return told

    def _given_back(self, undone: str, told: dict[str, Any]) -> dict[str, Any]:
        """Give back what a rollout could not when it failed, now that it is undone."""
        held = self.rollouts.leases(rollout=undone)
        if not held:
            return told
        answer = Leasing(self.rollouts, self.bus, self.clock).release(rollout=undone)
        failures = " ".join(answer["failures"])
        if not failures:
            comment = f"{told['comment']} Given back: {'; '.join(answer['released'])}."
            return {**told, "comment": comment}
        comment = (
            f"{told['comment']} {failures} `salt-run lease.release rollout={undone}` tries again."
        )
        return {**told, "comment": comment, "result": False, "retcode": 1}

    def engine(self, state: RolloutState, journal: Rollouts) -> Engine:
        """Return what carries a rollout out, or lets it do once more what failed."""
        probes = state.plan.probes
        watch = ProbeWatch(self.bus, journal, self.clock, state.id, probes) if probes else None
        me = processes.me()
        return Engine(self.bus, journal, self.clock, self.events, self.runners, watch, me)

    def told(self, rollout: str, outcome: Outcome | None = None) -> dict[str, Any]:
        """Say how it stands with a rollout, as a runner's answer.

        :param outcome: of the run that just ended
        """
        data = self.report(rollout)
        code = (outcome or Outcome(data["state"])).exit_code
        sentence = report.sentence(data)
        for lease in outcome.leases if outcome else ():
            sentence += f" Still out of service: {lease.what.rstrip('.')}."
        if code:
            cure = report.next_step(data["state"], rollout, data["workflow"])
            sentence = " ".join([sentence, cure]).strip()
        kept = ("rollout", "state", "plan", "changes", "failures", "probes", "seconds")
        answer: dict[str, Any] = {"result": code == 0, "comment": sentence, "retcode": code}
        if data["state"] == FAILED:
            answer["code"] = RolloutError.code
        return answer | {name: data[name] for name in kept}

    # -- while it runs, and after it stopped ----------------------------------------------

    def resume(self, rollout: str) -> dict[str, Any]:
        """Go on with a rollout that is paused, or whose process is gone.

        :raises RolloutError: it stopped for another reason
        :raises LockedError: a process works on it
        """
        state = self.rollouts.get(rollout).state
        if state in OVER or state == FAILED:
            cure = report.next_step(state, rollout) or "Make a new plan"
            raise RolloutError(f"rollout {rollout} is {state}", cure=cure)
        self.rollouts.wish(rollout, pause=False)
        return self.run(rollout)

    def retry(self, rollout: str, assume: str = "") -> dict[str, Any]:
        """Go on with a rollout that failed, once it is mended.

        :param assume: of steps that may not run twice and whose outcome nobody knows: ``ran`` or
            ``not``; empty when there is none
        :raises RolloutError: it did not fail, or it must be said what became of a step
        """
        state = self.rollouts.load(rollout)
        if state.state != FAILED:
            cure = report.next_step(state.state, rollout) or "Make a new plan"
            raise RolloutError(f"rollout {rollout} is {state.state} and did not fail", cure=cure)
        titles = self.engine(state, self.rollouts).retry(rollout, assume=assume)
        self._say(f"rollout {rollout} does once more: {', '.join(titles)}")
        return self.run(rollout)

    def pause(self, rollout: str) -> dict[str, Any]:
        """Let a rollout stop after the wave that it is at.

        :raises JournalError: it is over
        """
        self.rollouts.wish(rollout, pause=True)
        found = self.rollouts.get(rollout)
        if found.state in (PAUSED, FAILED):
            return self._asked(rollout, f"Rollout {rollout} is {found.state} already.")
        return self._asked(rollout, f"Rollout {rollout} pauses after the wave that it is at.")

    def abort(self, rollout: str, reason: str = "") -> dict[str, Any]:
        """End a rollout after its present step, with everything back in service.

        :param reason: why, for the history
        :raises JournalError: it is over
        """
        self.rollouts.wish(rollout, abort=True)
        try:
            self.run(rollout)
        except LockedError:
            return self._asked(rollout, f"Rollout {rollout} ends after its present step.")
        found = self.rollouts.get(rollout)
        if reason and found.state in OVER:
            self.rollouts.move(rollout, found.state, self.clock.now(), reason)
        return {**self.told(rollout), "result": found.state in OVER, "retcode": 0}

    def unlock(self, rollout: str, *, force: bool = False) -> dict[str, Any]:
        """Take the locks off a rollout that nobody works on any more.

        :param force: also when its process may still be there
        :raises LockedError: somebody works on it
        """
        names = self.rollouts.unlock(rollout, force=force)
        held = self.rollouts.leases(rollout=rollout)
        sentence = f"Rollout {rollout} has no lock any more ({len(names)} taken off)."
        if held:
            sentence += f" It left out of service: {'; '.join(lease.what for lease in held)}."
            sentence += " `salt-run lease.release` gives them back."
        return self._asked(rollout, sentence)

    def follow(self, rollout: str, show: Callable[[str], None], until: str = "") -> RolloutState:
        """Watch a rollout that another process carries out, until it ends or stops.

        :param show: takes a line for each thing that happens
        :param until: name of the phase after which to stop watching, empty for the end
        """
        before = None
        while True:
            state = self.rollouts.load(rollout)
            for line in report.news(before, state):
                show(line)
            if state.state not in (PLANNED, RUNNING) or report.passed(state, until):
                return state
            before = state
            self.clock.sleep(LOOK)

    def _asked(self, rollout: str, sentence: str) -> dict[str, Any]:
        state = self.rollouts.get(rollout).state
        return {"result": True, "comment": sentence, "rollout": rollout, "state": state}

    # -- back ----------------------------------------------------------------------------

    def undoing(self, rollout: str, *, accept_loss: bool = False) -> tuple[Planned, list[str]]:
        """Make and store the plan that takes a rollout back.

        :param accept_loss: also past the point of no return
        :returns: the plan, and what would be lost, one sentence each
        :raises PlanError: it is past the point of no return, or nothing was done
        :raises RolloutError: it still runs
        """
        state = self._at_rest(rollout)
        lost = losses(state.plan, state.records, leases=state.leases)
        return self._undo(state, accept_loss=accept_loss), lost

    def _undo(self, state: RolloutState, *, only: str = "", accept_loss: bool = False) -> Planned:
        me, then = self.at(state.plan.cluster), state.plan.basis
        plan = undo(
            state.plan,
            state.records,
            rollout=state.id,
            only=only,
            accept_loss=accept_loss,
            facts=me.now(then.deployed, {*then.present, *then.absent}),
        )
        return me._stored(plan)

    def rollback(
        self, rollout: str, *, accept_loss: bool = False, approved_by: str = "", reason: str = ""
    ) -> dict[str, Any]:
        """Take a rollout back: what was done, in reverse order, and the pins as they were.

        :param accept_loss: also past the point of no return
        :param approved_by: who approved it
        :param reason: why, for the history
        :raises PlanError: it is past the point of no return, or nothing was done
        """
        planned, _ = self.undoing(rollout, accept_loss=accept_loss)
        self._keep_evidence(rollout, planned.plan)
        begun = self.begin(planned.hash, approved_by, reason or f"rollback of {rollout}")
        return self.run(begun)

    def _keep_evidence(self, rollout: str, plan: Plan) -> None:
        """Let the nodes keep what they say of their services before it is undone.

        What cannot be kept is noted as well: it is no reason to leave a broken service as it is.
        """
        nodes = self.at(plan.cluster).observer.served()
        asked = {
            node: facts.evidence(nodes[node], stage.roles)
            for stage in plan.stages
            for node in stage.nodes
            if node in nodes
        }
        self._say(f"keeping the evidence of {len(asked)} nodes")
        calls = [
            Call((node,), "evidence.collect", (rollout, *names), timeout=15, limit=120)
            for node, names in asked.items()
        ]
        for node, answers in zip(asked, self.bus.call_all(calls), strict=True):
            text = facts.evidence_text(answers[node])
            self.rollouts.evidence(rollout, node, text)

    def _at_rest(self, rollout: str) -> RolloutState:
        state = self.rollouts.load(rollout)
        if state.state in (PLANNED, RUNNING):
            raise RolloutError(
                f"rollout {rollout} is {state.state}",
                cure=f"Stop it first: `salt-run rollout.abort {rollout}`",
            )
        return state

    def _undo_wave(self, rollout: str, outcome: Outcome, told: dict[str, Any]) -> dict[str, Any]:
        """Take back the wave at which a stage went over its budget."""
        state = self.rollouts.load(rollout)
        self._say(f"rolling back wave {outcome.wave} of stage {outcome.stage}")
        planned = self._undo(state, only=f"{outcome.stage}/{outcome.wave}")
        self._keep_evidence(rollout, planned.plan)
        reason = f"wave {outcome.wave} of {outcome.stage} went over its budget"
        begun = self.rollouts.begin(planned.plan, self.by, "", reason, owner=processes.me())
        back = self.run(begun)
        comment = f"{told['comment']} Its wave was taken back: {back['comment']}"
        return {**told, "comment": comment, "rolled_back": back}

    # -- telling -------------------------------------------------------------------------

    def report(self, rollout: str) -> dict[str, Any]:
        """Return everything that the journal knows of a rollout, see :mod:`..rollout.report`."""
        state = self.rollouts.load(rollout)
        found = self.rollouts.get(rollout)
        about = report.About(found.by, found.approved_by, found.why, found.begun, found.ended)
        rows = self.rollouts.samples(rollout) if state.plan.probes else ()
        extras = report.Extras(
            series=series(rows),
            probes=[item.to_json() for item in summaries(state.plan.probes, rows)],
            evidence={item.key: item.text for item in self.rollouts.saved(rollout)},
            verdicts=[vars(item) for item in self.rollouts.verdicts(rollout)],
        )
        return report.build(state, about, extras)

    def find(self, name: str | None, states: Sequence[str] = ()) -> Rollout:
        """Return a rollout by its id; without one the only one under way in the cluster.

        :param name: its id, or the hash of its plan
        :param states: those that count without a name; default all that are not over
        :raises RolloutError: there is none, or more than one
        """
        if name and str(name).startswith("r"):
            return self.rollouts.get(str(name))
        wanted = states or UNDER_WAY
        cluster = self.site.cluster or None
        if name:
            plan = self.rollouts.plan(str(name)).hash
            found = [r for r in self.rollouts.list(limit=1000) if r.plan == plan][:1]
        else:
            found = list(self.rollouts.list(cluster, wanted))
        if len(found) == 1:
            return found[0]
        where = f" of cluster {cluster}" if cluster and not name else ""
        if found:
            names = ", ".join(f"{item.id} ({item.workflow})" for item in found)
            raise RolloutError(f"several rollouts{where} are under way: {names}", cure="Name one")
        raise RolloutError(
            f"no rollout of plan {name} was begun" if name else f"no rollout{where} is under way",
            cure="`salt-run rollout.history` lists those that were",
        )

    def listed(
        self, cluster: str | None = None, state: str | None = None, limit: int = 20
    ) -> list[dict[str, Any]]:
        """List rollouts as plain data, the latest first.

        :param cluster: only of this one
        :param state: only in this state
        :param limit: how many at most
        """
        return [
            {
                **{key: value for key, value in vars(item).items() if key != "wishes"},
                "wishes": vars(item.wishes),
                "begun": report.moment(item.begun),
                "ended": report.moment(item.ended),
                "took": report.span(item.ended - item.begun if item.ended else None),
            }
            for item in self.rollouts.list(cluster, state, limit)
        ]

    def latest(self, name: str | None) -> str:
        """Return the id of a rollout; without one that under way, else the latest.

        :param name: its id, or the hash of its plan
        :raises RolloutError: there is none, or more than one is under way
        """
        if name or self.rollouts.list(self.site.cluster or None, UNDER_WAY, 1):
            return self.find(name).id
        found = self.rollouts.list(self.site.cluster or None, limit=1)
        return found[0].id if found else self.find(None).id

    def stored(self, name: str) -> Planned:
        """Return a stored plan.

        :param name: its hash, or the first digits
        :raises PlanError: there is none
        """
        plan = self.rollouts.plan(name)
        return Planned(plan.hash, plan, show(plan))

    def _stored(self, plan: Plan) -> Planned:
        return Planned(self.rollouts.store(plan, self.by), plan, show(plan))

    def _say(self, line: str) -> None:
        self.events.emit("rollout/note", {"cluster": self.site.cluster, "note": line}, line)


def _finish(
    request: Request,
    left: Mapping[str, Owed],
    wanted: Mapping[str, CompiledNode],
    touched: dict[str, Touched],
) -> tuple[str, ...]:
    """Add what earlier rollouts left to do; the model does not tell it any more.

    An upgrade ends all of it, a change what is on nodes that it names: the rest is no matter of it.

    :returns: a sentence for each node
    """
    named = {*request.nodes}
    notes = []
    for node, one in sorted(left.items()):
        mine = (
            tuple(r for r in wanted[node].applications if r in one.roles) if node in wanted else ()
        )
        known = touched.get(node, Touched(()))
        if mine and (request.workflow == "upgrade" or {node, node.split(".")[0]} & named):
            roles = tuple(dict.fromkeys((*known.roles, *mine)))
            touched[node] = replace(known, roles=roles)
            told = f"{node}: {', '.join(mine)} was begun by rollout {one.rollout} and not finished."
            notes.append(told)
    return tuple(notes)


def _check_phase(name: str) -> None:
    if name not in PHASES:
        raise PlanError(f"there is no phase {name}", cure=f"The phases are {', '.join(PHASES)}")


class _Attended(Rollouts):
    """The journal of a rollout that somebody may interrupt from the keyboard."""

    def __init__(
        self, rollouts: Rollouts, asked: Callable[[], bool], *, keep: bool = False
    ) -> None:
        super().__init__(rollouts.journal, rollouts.revisions, now=rollouts.now)
        self._asked = asked
        self._keep = keep

    def release_claim(self, rollout: str, owner: str) -> None:
        """As in :class:`Rollouts`; not when it is kept."""
        if not self._keep:
            super().release_claim(rollout, owner)

    def wishes(self, rollout: str) -> Wishes:
        wishes = super().wishes(rollout)
        return replace(wishes, pause=True) if self._asked() else wishes


@contextmanager
def _patient(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C ask for a pause; the second one ends the process at once.

    :returns: whether a pause was asked for
    """
    asked: list[int] = []

    def first(number: int, frame: Any) -> None:
        del frame
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before: Any = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    # in the background it is ignored, and stays so
    if not main or before in (signal.SIG_IGN, None):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, first)
    told: list[bool] = []

    def ask() -> bool:
        if asked and not told:
            told.append(True)
            say("interrupted: the wave is finished, then the rollout pauses (again: at once)")
        return bool(asked)

    try:
        yield ask
    finally:
        signal.signal(signal.SIGINT, before)


def replan(plan: Plan) -> str:
    """Return the command that makes a plan for the same request anew."""
    if plan.undoes:
        return f"salt-run rollout.rollback {plan.undoes} test=True"
    words = [f"salt-run rollout.plan {plan.workflow} cluster={plan.cluster}"]
    for name, value in sorted(plan.limits.items()):
        if name == ARGS:
            value = f"'{json.dumps(value)}'"
        elif isinstance(value, Mapping):
            value = ",".join(f"{key}={item}" for key, item in sorted(value.items()))
        elif isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        if value not in (None, ""):
            words.append(f"{name}={value}")
    return " ".join(words)


def _with_reasons(err: PlanError, seen: facts.Observed) -> PlanError:
    """Add what the nodes said, which the planner does not know."""
    told = [sentence for sentences in seen.why.values() for sentence in sentences]
    told += [text for text in seen.absent.values() if text not in err.sentence]
    if not told:
        return err
    more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    cure = f"{err.cure}. " if err.cure else ""
    return PlanError(err.sentence, where=err.where, cure=f"{cure}Now: {' '.join(told[:3])}{more}")
