"""Run one stage over the ports: apply, compare, stop at the first failure, then validate.

Nothing is decided by what a host claims alone: an answer is missing or failed unless it is
there and says otherwise, and a stage is done only when the health checks of its roles agree.
In test mode the minions only predict; no health check is asked, as nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.errors import StageError
from saltern.rollout.ports import Bus, Call, Clock, Events, Return
from saltern.rollout.returns import changed_states
from saltern.rollout.show import short
from saltern.rollout.stages import Form, Group, Stage

#: Seconds of silence after which a node is asked whether it still works on what it was given.
ASK_AFTER = 15.0
#: Seconds that one state.apply may take at most.
APPLY_LIMIT = 3600.0
#: Seconds that the small calls before the first state may take.
CALL_LIMIT = 300.0
#: Seconds that the health checks of a node may take, retries included.
CHECK_LIMIT = 900.0

#: ``form(function, cluster, nodes, test)`` -> ``{"result", "changes", "comment"}``
FormCaller = Callable[[str, str, Sequence[str], bool], Mapping[str, Any]]


@dataclass
class StageReport:
    """What one run of a stage did.

    :param changed: names of changed states by node; a node that was asked is always there
    :param formed: changes that the forms reported, by role
    :param failures: one sentence each; the first one stopped the stage
    :param asked: number of health checks that were content
    """

    stage: str
    cluster: str
    test: bool = False
    changed: dict[str, list[str]] = field(default_factory=dict)
    formed: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    asked: int = 0
    seconds: float = 0.0

    @property
    def result(self) -> bool | None:
        """False = failed; None = test mode with predicted changes; True otherwise."""
        if self.failures:
            return False
        return None if self.test and (any(self.changed.values()) or self.formed) else True

    @property
    def comment(self) -> str:
        """The report in one line: failures, or the number of changes of each host."""
        if self.failures:
            return f"Stage {self.stage} failed: " + " ".join(self.failures)
        parts = []
        if self.changed:
            verb = "would change" if self.test else "changed"
            total = sum(len(names) for names in self.changed.values())
            parts.append(f"{total} states {verb} on {len(self.changed)} hosts")
            if total:
                hosts = (f"{n.split('.')[0]} {len(c)}" for n, c in sorted(self.changed.items()))
                parts[0] += f" ({', '.join(hosts)})"
        if self.formed:
            parts.append(f"{'would form' if self.test else 'formed'} {', '.join(self.formed)}")
        if self.asked:
            parts.append(f"{self.asked} health checks are content")
        return f"Stage {self.stage}: {'; '.join(parts) or 'nothing to do'}."

    @property
    def changes(self) -> dict[str, Any]:
        """What changed, as Salt's ``changes``: state names by node, and forms by role."""
        changes: dict[str, Any] = {n: list(c) for n, c in sorted(self.changed.items()) if c}
        if self.formed:
            changes["formed"] = dict(self.formed)
        return changes

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, in the shape a runner returns."""
        return {
            "result": self.result,
            "comment": self.comment,
            "changes": self.changes,
            "counts": {node: len(names) for node, names in sorted(self.changed.items())},
            "failures": list(self.failures),
            "seconds": round(self.seconds, 1),
            "retcode": 1 if self.failures else 0,
        }


class StageRunner:
    """Runs stages of one cluster.

    :param cluster: its name, handed to the form functions
    :param bus: where functions are called
    :param events: where progress is told
    :param clock: time
    :param form: calls a form function on the master
    """

    def __init__(
        self, cluster: str, bus: Bus, events: Events, clock: Clock, form: FormCaller
    ) -> None:
        self.cluster = cluster
        self.bus = bus
        self.events = events
        self.clock = clock
        self.form = form

    def run(self, stage: Stage, *, test: bool = False, sync: bool = False) -> StageReport:
        """Run one stage to its end or to its first failure.

        :param stage: what to do
        :param test: predict only
        :param sync: send modules and states to the minions first
        :returns: the report; a failure is in it, not raised
        """
        report = StageReport(stage.name, self.cluster, test)
        report.changed = {node: [] for node in stage.nodes}
        begin = self.clock.now()
        self._tell(stage, "begin", {"nodes": list(stage.nodes), "roles": list(stage.roles)})
        try:
            if stage.nodes and not test:
                self.prepare(stage.nodes, sync=sync)
            for number, level in enumerate(stage.levels, start=1):
                for step in level.steps:
                    self._apply(stage, number, step, report)
                for form in level.forms:
                    self._form(stage, form, report)
            if not test:
                self._validate(stage, report)
        except StageError as err:
            report.failures = report.failures or [str(err)]
        report.seconds = self.clock.now() - begin
        self._tell(
            stage,
            "end" if not report.failures else "fail",
            report.to_json(),
            f"{report.comment} ({report.seconds:.0f} s)",
        )
        return report

    def validate(self, stage: Stage) -> StageReport:
        """Ask the health checks of a stage without applying anything.

        :returns: the report; a failure is in it, not raised
        """
        report = StageReport(stage.name, self.cluster)
        begin = self.clock.now()
        try:
            if stage.nodes:
                self.prepare(stage.nodes, sync=False)
            self._validate(stage, report)
        except StageError as err:
            report.failures = report.failures or [str(err)]
        report.seconds = self.clock.now() - begin
        self.events.emit(
            f"deploy/{stage.name}/validated",
            {"cluster": self.cluster, **report.to_json()},
            f"{report.comment} ({report.seconds:.0f} s)",
        )
        return report

    def prepare(self, nodes: Sequence[str], *, sync: bool) -> None:
        """Give the nodes the current modules and the current pillar, and wait for both.

        :raises StageError: a node did not take them
        """
        if sync:
            # the refresh of the pillar reloads the modules too, and can be waited for
            self._all(nodes, "saltutil.sync_all", {"refresh": False})
        self._all(nodes, "saltutil.refresh_pillar", {"wait": True, "timeout": 60})

    def _all(self, nodes: Sequence[str], fun: str, kwarg: Mapping[str, Any]) -> None:
        (returns,) = self.bus.call_all([_call(nodes, fun, kwarg=kwarg, limit=CALL_LIMIT)])
        _stop([answer.sentence for answer in returns.values() if not answer.ok])

    def _apply(self, stage: Stage, number: int, step: Sequence[Group], report: StageReport) -> None:
        begin = self.clock.now()
        what = ", ".join(f"{' '.join(g.roles)} on {short(g.nodes)}" for g in step)
        self._tell(stage, "step/begin", {"level": number, "groups": what}, f"  {what}")
        kwarg: dict[str, Any] = {"test": True} if report.test else {}
        answers = self.bus.call_all(
            [
                _call(
                    group.nodes,
                    "state.apply",
                    kwarg={"mods": list(group.roles), **kwarg},
                    limit=APPLY_LIMIT,
                )
                for group in step
            ]
        )
        failed: list[str] = []
        for returns in answers:
            for node, answer in returns.items():
                report.changed.setdefault(node, []).extend(changed_states(answer.data))
                if not answer.ok:
                    failed.append(answer.sentence)
        report.failures += failed
        seconds = self.clock.now() - begin
        counts = {node: len(report.changed[node]) for group in step for node in group.nodes}
        self._tell(
            stage,
            "step/fail" if failed else "step/end",
            {"level": number, "groups": what, "changed": counts, "failures": failed},
            f"  {'failed' if failed else 'done'} after {seconds:.0f} s",
        )
        # predictions of later levels are worth having though an earlier one cannot be predicted
        if not report.test:
            _stop(failed)

    def _form(self, stage: Stage, form: Form, report: StageReport) -> None:
        begin = self.clock.now()
        self._tell(stage, "form/begin", {"role": form.role}, f"  forming {form.role}")
        answer = self.form(form.function, self.cluster, form.nodes, report.test)
        changes = answer.get("changes") or {}
        if changes:
            report.formed[form.role] = changes
        good = answer.get("result") is not False
        sentence = str(answer.get("comment") or "").strip()
        self._tell(
            stage,
            "form/end" if good else "form/fail",
            {"role": form.role, "changes": changes, "comment": sentence},
            f"  {form.role}: {sentence or 'formed'} ({self.clock.now() - begin:.0f} s)",
        )
        if not good:
            report.failures.append(f"{form.function}: {sentence or 'failed without a reason'}")
            if not report.test:
                _stop(report.failures)

    def _validate(self, stage: Stage, report: StageReport) -> None:
        """Ask every check of every role of the stage; all hosts at once, one call each."""
        checks: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for item in stage.checks:
            checks.setdefault(item.node, []).extend((item.role, c) for c in item.checks)
        if not checks:
            return
        total = sum(len(items) for items in checks.values())
        self._tell(stage, "validate/begin", {"checks": total}, f"  validating: {total} checks")
        nodes = sorted(checks)
        answers = self.bus.call_all(
            [
                _call(
                    (node,),
                    "health.check",
                    ([dict(check) for _, check in checks[node]],),
                    limit=CHECK_LIMIT,
                )
                for node in nodes
            ]
        )
        failed = [
            sentence
            for node, returns in zip(nodes, answers, strict=True)
            for sentence in _unhealthy(node, [role for role, _ in checks[node]], returns[node])
        ]
        report.asked = total - len(failed)
        report.failures += failed
        self._tell(
            stage,
            "validate/fail" if failed else "validate/end",
            {"checks": total, "failures": failed},
        )
        _stop(failed)

    def _tell(self, stage: Stage, what: str, data: Mapping[str, Any], line: str = "") -> None:
        if what == "begin":
            line = f"stage {stage.name} ({', '.join(stage.roles) or 'no roles'})"
        self.events.emit(f"deploy/{stage.name}/{what}", {"cluster": self.cluster, **data}, line)


def _call(
    nodes: Sequence[str],
    fun: str,
    arg: tuple[Any, ...] = (),
    *,
    kwarg: Mapping[str, Any] | None = None,
    limit: float,
) -> Call:
    """Everything a stage asks for may run twice, so a node that lost it gets it again."""
    return Call(tuple(nodes), fun, arg, dict(kwarg or {}), ASK_AFTER, limit, again=True)


def _unhealthy(node: str, roles: Sequence[str], answer: Return) -> list[str]:
    """The sentences of one node's failed checks; an answer that is not one fails as a whole."""
    if not answer.ok:
        return [answer.sentence]
    if not isinstance(answer.data, list) or len(answer.data) != len(roles):
        return [f"{node}: health.check did not answer for each of its {len(roles)} checks."]
    return [
        f"{node}: {role}: {item.get('sentence', 'no sentence')}"
        for role, item in zip(roles, answer.data, strict=True)
        if item.get("ok") is not True
    ]


def _stop(failed: Iterable[str]) -> None:
    sentences = list(failed)
    if sentences:
        raise StageError(" ".join(sentences))
