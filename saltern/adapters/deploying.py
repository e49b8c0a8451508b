"""Deploy a cluster: look first, begin or go on with its rollout, carry it on stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saltern.adapters import processes, rollout_locks
from saltern.adapters.modelsite import pillar_settings, served_sentence, short
from saltern.adapters.rolling import UNDER_WAY, Rolling
from saltern.adapters.rollout_tables import Rollout
from saltern.errors import LockedError, RolloutError
from saltern.plan.deploy import SANITY, applied_again, unfit
from saltern.plan.request import Request
from saltern.rollout import preflight as checks
from saltern.rollout import report
from saltern.rollout.foreseen import Foreseen, roles_of
from saltern.rollout.load import RevisionSource, load_plan
from saltern.rollout.ports import ABORTED, FAILED, OVER, RUNNING, RolloutState
from saltern.rollout.returns import denied

WORKFLOW = "deploy"


@dataclass(frozen=True)
class Deploying:
    """The deployments of one cluster.

    :param rolling: its rollouts
    """

    rolling: Rolling

    @property
    def cluster(self) -> str:
        """Its name."""
        return self.rolling.site.cluster

    def _ref(self, ref: str | None) -> str:
        return str(ref or self.rolling.site.revision)

    # -- before --------------------------------------------------------------------------

    def preflight(self, ref: str | None, *, test: bool = False) -> dict[str, Any]:
        """Look for everything that would stop a deployment; no service is touched.

        :param ref: what to deploy, a git ref; default ``saltern:revision``
        :param test: do not even send modules to the minions
        :returns: a runner's answer with all findings
        :raises SalternError: model, journal or bus do not do their part
        """
        me = self.rolling
        me.events.emit("deploy/preflight/begin", {"cluster": self.cluster}, "stage preflight")
        findings = self._others()
        nodes: tuple[str, ...] = ()
        settings = pillar_settings(me.opts)
        target, faults = me.model.check(self._ref(ref), settings, me.by, test=test)
        findings += faults
        # what is wrong on the master is refused before any minion is asked
        if target is not None and not findings:
            nodes = load_plan(RevisionSource(target), self.cluster).nodes
            findings = checks.check_hosts(nodes, me.bus, me.clock, sync=not test)
        told = checks.report(findings, len(nodes))
        if target is not None and not findings:
            told["revision"] = target.id
            told["comment"] += f" {self._told(target.id)}"
        what = "fail" if findings else "end"
        data = {"cluster": self.cluster, **told}
        me.events.emit(f"deploy/preflight/{what}", data, told["comment"])
        return told

    def _told(self, revision: str) -> str:
        deployed = self.rolling.observer.deployed()
        if deployed == revision:
            return f"Revision {short(revision)} is deployed already."
        before = short(deployed) or "none"
        return f"Revision {short(revision)} is to take the place of {before}."

    def _unfinished(self) -> list[Rollout]:
        """The deployments of the cluster that are not over, the latest first."""
        found = self.rolling.rollouts.list(self.cluster, UNDER_WAY, 1000)
        return [one for one in found if one.workflow == WORKFLOW]

    def _others(self) -> list[str]:
        """Say which rollouts keep a deployment from beginning, one sentence each."""
        found = []
        for one in self.rolling.rollouts.list(self.cluster, UNDER_WAY, 1000):
            if one.workflow != WORKFLOW:
                see = f"See `salt-run rollout.status {one.id}`."
                cure = report.next_step(one.state, one.id) or see
                found.append(f"Rollout {one.id} ({one.workflow}) is {one.state}. {cure}")
            elif rollout_locks.held(one.owner) and one.owner != processes.me():
                found.append(str(rollout_locks.claimed(one.id, one.owner)))
        return found

    # -- begin ---------------------------------------------------------------------------

    def begin(
        self,
        request: Request,
        ref: str | None,
        approved_by: str = "",
        reason: str = "",
        *,
        test: bool = False,
    ) -> dict[str, Any]:
        """Go on with the deployment that was interrupted, or begin one.

        One that does not fit any more ends as aborted, with the reason: it has another revision or
        other options, or pins, nodes, artifacts or formulas have moved, not by its own doing. This
        process keeps the claim until :meth:`stage` ends it.

        :param request: of the workflow ``deploy``
        :param ref: what to deploy, a git ref; default ``saltern:revision``
        :param approved_by: who approved it
        :param reason: why, for the history
        :param test: only say what would be done
        :returns: a runner's answer with the id
        :raises LockedError: another process deploys, or another rollout has the cluster
        :raises SalternError: the revision is not fit, or model, journal or bus fail
        """
        me = self.rolling
        busy = self._others()
        if busy:
            raise LockedError(" ".join(busy))
        wanted = me.model.find(self._ref(ref)).id
        fitting: Rollout | None = None
        ended: list[str] = []
        for one in self._unfinished():
            state = me.rollouts.load(one.id)
            why = self._unfit(state, wanted, request)
            if fitting is not None:
                why = [f"Rollout {fitting.id} is gone on with."]
            if not why and not test:
                why = self._again(state)
            if not why:
                fitting = one
                continue
            ended.append(f"Rollout {one.id} {'would be' if test else 'is'} ended: {' '.join(why)}")
            if not test:
                self._end(one.id, f"Ended for a new deployment: {' '.join(why)}")
        if test:
            return self._foretold(fitting, ended, wanted)
        if fitting is not None:
            me.rollouts.claim(fitting.id, processes.me())
            me.rollouts.wish(fitting.id, pause=False)
            steps = me.report(fitting.id)["steps"]
            begun = fitting.id
            told = f"Rollout {begun} of plan {fitting.plan[:12]} was {fitting.state} and is gone on"
            told += f" with: {steps['done']} of {steps['all']} steps are done."
        else:
            plan = me.plan(request, ref).plan
            begun = me.rollouts.begin(plan, me.by, approved_by, reason, owner=processes.me())
            steps = sum(1 for _ in plan.steps())
            told = f"Rollout {begun} of plan {plan.hash[:12]} is begun: {steps} steps in"
            told += f" {len(plan.stages)} stages, revision {short(wanted)}."
        answer = {"result": True, "comment": " ".join([*ended, told]), "changes": {}}
        return answer | {"rollout": begun, "state": me.rollouts.get(begun).state, "retcode": 0}

    def _foretold(
        self, fitting: Rollout | None, ended: Sequence[str], wanted: str
    ) -> dict[str, Any]:
        told = f"A rollout of revision {short(wanted)} would be begun."
        if fitting is not None:
            told = f"Rollout {fitting.id} is {fitting.state} and would be gone on with."
        return {"result": True, "comment": " ".join([*ended, told]), "changes": {}, "retcode": 0}

    def _unfit(self, state: RolloutState, wanted: str, request: Request) -> list[str]:
        """Say why a deployment cannot be gone on with."""
        me, plan = self.rolling, state.plan
        if state.wishes.abort:
            return ["People aborted it."]
        now = me.now(plan.basis.revision, {*plan.basis.present, *plan.basis.absent})
        pins = {
            pin.node: pin.revision
            for pin in me.model.journal.pins()
            if pin.cluster == self.cluster or pin.node in plan.nodes
        }
        return unfit(plan, state.records, replace(now, revision=wanted, pins=pins), request.words())

    def _again(self, state: RolloutState) -> list[str]:
        """Let what failed be done once more; say why that is not possible."""
        if state.state != FAILED:
            return []
        me = self.rolling
        me.rollouts.claim(state.id, processes.me())
        try:
            for step in applied_again(state.plan, state.records):
                me.rollouts.intent(state.id, step, (), me.clock.now())
            me.engine(state, me.rollouts).retry(state.id)
        except RolloutError as err:
            return [str(err)]
        me.rollouts.move(state.id, RUNNING, me.clock.now())
        return []

    def _end(self, rollout: str, why: str) -> None:
        rollouts = self.rolling.rollouts
        self.rolling.abort(rollout, why)
        found = rollouts.get(rollout)
        if found.state not in OVER and not rollout_locks.held(found.owner):
            # without its locks it cannot run; a deployment takes nothing out of service
            rollouts.move(rollout, ABORTED, self.rolling.clock.now(), why)
        elif found.state not in OVER:
            raise RolloutError(
                f"rollout {rollout} could not be ended",
                cure=f"See `salt-run rollout.status {rollout}`",
            )

    # -- stage by stage ------------------------------------------------------------------

    def stage(self, name: str, show: Callable[[str], None]) -> dict[str, Any]:
        """Carry the deployment under way on to the end of one stage.

        :param name: of the stage; ``commit`` ends the deployment
        :param show: takes a line for what another process does
        :returns: a runner's answer about this stage: what it changed, or what failed where
        :raises RolloutError: no deployment is under way
        """
        me = self.rolling
        unfinished = self._unfinished()
        if not unfinished:
            raise RolloutError(
                f"no deployment of cluster {self.cluster} is under way",
                cure="Begin one with `salt-run state.orch deploy`",
            )
        found = unfinished[0]
        before = report.passed(me.rollouts.load(found.id), name)
        told = me.phase(name, found.id, show, keep=True)
        if told["result"] and before:
            told |= {"comment": f"{told['comment']} That was before.", "changes": {}}
        elif told["result"] and name == "commit":
            told |= self._moved(found)
        return self._with_reasons(told)

    def _moved(self, found: Rollout) -> dict[str, Any]:
        basis = self.rolling.rollouts.plan(found.plan).basis
        told = f"Revision {short(basis.revision)} is the deployed one of {self.cluster}."
        if basis.deployed == basis.revision:
            return {"comment": told, "changes": {}}
        changes = {"revision": {"old": basis.deployed, "new": basis.revision}}
        return {"comment": f"{told} It was {short(basis.deployed) or 'none'}.", "changes": changes}

    def _with_reasons(self, told: dict[str, Any]) -> dict[str, Any]:
        """Add why nodes got no pillar; they do not know it themselves."""
        sentences = [str(item["sentence"]) for item in told.get("failures", ())]
        for node in denied(sentences):
            why, fault = served_sentence(pillar_settings(self.rolling.opts), node)
            if fault:
                told["comment"] += f" {why}"
        return told

    # -- what it would do ----------------------------------------------------------------

    def foresee(self, name: str, ref: str | None) -> dict[str, Any]:
        """Let the nodes say what a stage would change; nothing is.

        Each node gets the pillar of the wanted revision for that one question alone.

        :param name: of the stage
        :param ref: what to deploy, a git ref; default ``saltern:revision``
        :returns: a runner's answer; ``result`` is None when something would change
        :raises SalternError: model or bus do not do their part, or there is no such stage
        """
        if name == "sanity":
            comment = f"{SANITY} would use the cloud as its users do."
            return {"result": True, "comment": comment, "changes": {}, "retcode": 0}
        me = self.rolling
        target = me.model.find(self._ref(ref))
        if name == "commit":
            deployed = me.observer.deployed()
            changes = {"revision": {"old": deployed, "new": target.id}}
            changes = {} if deployed == target.id else changes
            comment = self._told(target.id)
            result = None if changes else True
            return {"result": result, "comment": comment, "changes": changes, "retcode": 0}
        stage = load_plan(RevisionSource(target), self.cluster).stage(name)
        me.events.emit(f"deploy/{name}/foresee", {"cluster": self.cluster}, f"stage {name}")
        roles = roles_of(stage)
        found = Foreseen(name)
        for answer in me.observer.predictions(target, roles).values() if roles else ():
            found.take(answer)
        for level in stage.levels:
            for form in level.forms:
                kwarg = {"cluster": self.cluster, "nodes": list(form.nodes), "test": True}
                found.take_form(form.role, form.function, me.runners(form.function, kwarg))
        if denied(found.failures):
            settings = pillar_settings(me.opts)
            found.failures += me.model.unservable(target, self.cluster, settings)
        told = found.to_json()
        me.events.emit(f"deploy/{name}/foreseen", {"cluster": self.cluster, **told}, found.comment)
        return told
