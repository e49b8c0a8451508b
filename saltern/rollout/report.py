"""Tell what a rollout did: as plain data, and from that as text, Markdown and HTML.

Everything comes from the journal; nothing of what functions returned is in it, so no secret is.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from saltern.plan.scope import is_guest
from saltern.plan.types import GATE, VERIFY, Stage, Step
from saltern.rollout import plots
from saltern.rollout.ports import (
    BROKEN,
    DONE,
    INTENT,
    OK,
    OVER,
    PAUSED,
    UNKNOWN,
    RolloutState,
    StepRecord,
)
from saltern.rollout.reached import releases
from saltern.rollout.series import Series
from saltern.rollout.show import short

#: what a step is called that was not begun
WAITING = "waiting"
_STEP = {INTENT: "running", OK: "done", BROKEN: "failed", UNKNOWN: "unknown"}
#: names of changed states that a table shows of one node
_SHOWN = 8


@dataclass(frozen=True)
class About:
    """What the journal knows of a rollout beside its plan and its steps.

    :param by: who began it
    :param approved_by: who approved the plan, empty for nobody
    :param reason: why, in words
    :param begun: seconds since the epoch
    :param ended: the same, None while it is not over
    """

    by: str = ""
    approved_by: str = ""
    reason: str = ""
    begun: float = 0.0
    ended: float | None = None


@dataclass(frozen=True)
class Extras:
    """What was measured and kept meanwhile.

    :param probes: one mapping a probe: ``name``, ``sentence`` and numbers
    :param evidence: what was saved before an undoing, lines of text by node
    :param verdicts: answers of gates: ``step``, ``node``, ``verdict``, ``code``, ``sentence``
    :param series: what probes saw over time, by name: see :class:`saltern.rollout.series.Series`
    """

    probes: Sequence[Mapping[str, Any]] = ()
    series: Mapping[str, Series] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    verdicts: Sequence[Mapping[str, Any]] = ()


# -- data ----------------------------------------------------------------------------------------


def build(state: RolloutState, about: About, extras: Extras | None = None) -> dict[str, Any]:
    """Return the report as plain data.

    :param state: the rollout as the journal has it
    :param about: who and when
    :param extras: probes, evidence and verdicts
    """
    extras = extras or Extras()
    plan = state.plan
    stages = [_stage(stage, state) for stage in plan.stages]
    changes: dict[str, list[str]] = {}
    for record in state.records.values():
        for node, result in record.results.items():
            changes.setdefault(node, []).extend(result.changed)
    failures = [
        {"step": record.step, "node": node, "sentence": result.sentence, "code": result.code}
        for record in _in_order(state)
        for node, result in sorted(record.results.items())
        if not result.ok
    ] + [
        {"step": record.step, "node": "", "sentence": record.sentence, "code": ""}
        for record in _in_order(state)
        if record.sentence and record.phase in (BROKEN, UNKNOWN) and not _nodes_say(record)
    ]
    return {
        "rollout": state.id,
        "workflow": plan.workflow,
        "cluster": plan.cluster,
        "state": state.state,
        "reason": state.reason,
        "plan": plan.hash,
        "revision": plan.basis.revision,
        "revision_before": plan.basis.deployed,
        "undoes": plan.undoes,
        "by": about.by,
        "approved_by": about.approved_by,
        "why": about.reason,
        "begun": moment(about.begun),
        "ended": moment(about.ended),
        "seconds": round(about.ended - about.begun, 1) if about.ended else None,
        "steps": {
            "done": sum(r.phase == OK for r in state.records.values()),
            "all": sum(1 for _ in plan.steps()),
        },
        "releases": releases(state),
        "artifacts": [vars(swap) for swap in plan.artifacts],
        "notes": list(plan.notes),
        "stages": stages,
        "asked": _asked(state),
        "changes": {node: names for node, names in sorted(changes.items()) if names},
        "unexpected": _unexpected(state),
        "failures": failures,
        "probes": [dict(item) for item in extras.probes],
        "guests": [probe.name for probe in plan.probes if is_guest(probe.name)],
        "series": {name: found.to_json() for name, found in extras.series.items()},
        "verdicts": [dict(item) for item in extras.verdicts],
        "leases": [
            {
                "id": lease.id,
                "node": lease.node,
                "what": lease.what,
                "taken": moment(lease.taken),
                "released": moment(lease.released),
            }
            for lease in state.leases
        ],
        "evidence": dict(extras.evidence),
        "no_return": plan.no_return,
    }


def _asked(state: RolloutState) -> dict[str, int]:
    """How many questions gates and verifications asked so far."""
    found = {GATE: 0, VERIFY: 0}
    for _, _, step in state.plan.steps():
        if step.kind in found and step.id in state.records:
            found[step.kind] += sum(len(check.checks) or 1 for check in step.checks)
    return {"before": found[GATE], "after": found[VERIFY]}


def _nodes_say(record: StepRecord) -> bool:
    return any(not result.ok for result in record.results.values())


def _in_order(state: RolloutState) -> list[StepRecord]:
    """The records in the order of the plan."""
    return [state.records[s.id] for _, _, s in state.plan.steps() if s.id in state.records]


def _stage(stage: Stage, state: RolloutState) -> dict[str, Any]:
    waves: list[dict[str, Any]] = []
    for wave in stage.waves:
        steps = [_step(step, state.records.get(step.id)) for step in wave.steps]
        waves.append(
            {
                "number": wave.number,
                "name": wave.name,
                "nodes": list(wave.nodes),
                "state": _joined([item["state"] for item in steps], state.state),
                "steps": steps,
            }
        )
    steps = [item for wave in waves for item in wave["steps"]]
    times = [state.records[s["id"]] for s in steps if s["id"] in state.records]
    begun = min((r.begun for r in times), default=0.0)
    ended = max((r.ended or r.begun for r in times), default=0.0)
    return {
        "name": stage.name,
        "phase": stage.phase,
        "title": stage.title,
        "roles": list(stage.roles),
        "nodes": sorted({*stage.nodes}),
        "state": _joined([item["state"] for item in steps], state.state),
        "done": sum(item["state"] == "done" for item in steps),
        "all": len(steps),
        "begun": moment(begun),
        "ended": moment(ended),
        "seconds": round(ended - begun, 1) if times else None,
        # without what lies between steps: pauses, and waiting for a rate
        "worked": round(sum(r.ended - r.begun for r in times if r.ended is not None), 1),
        "since": begun or None,
        "predicted_minutes": stage.minutes,
        "waves": waves,
    }


def _step(step: Step, record: StepRecord | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": step.id,
        "kind": step.kind,
        "title": step.title,
        "nodes": list(step.nodes),
        "state": WAITING,
    }
    if record is None:
        return found
    seconds = round(record.ended - record.begun, 1) if record.ended is not None else None
    return found | {
        "state": _STEP.get(record.phase, record.phase),
        "attempt": record.attempt,
        "begun": moment(record.begun),
        "seconds": seconds,
        "jids": list(record.jids),
        "sentence": record.sentence,
        "failed": {n: r.sentence for n, r in sorted(record.results.items()) if not r.ok},
        "changed": {n: list(r.changed) for n, r in sorted(record.results.items()) if r.changed},
    }


def _joined(states: Sequence[str], rollout: str) -> str:
    """The state of a wave or of a stage from those of its steps."""
    begun = [state for state in states if state != WAITING]
    if not begun:
        return WAITING if rollout not in OVER else "not run"
    if "unknown" in begun:
        return "unknown"
    if len(begun) == len(states) and "running" not in begun:
        return "failed" if "failed" in begun and rollout != DONE else "done"
    if "failed" in begun and rollout not in ("running", PAUSED):
        return "failed"
    if rollout == PAUSED:
        return "paused"
    return "running" if rollout not in OVER else "stopped"


def _unexpected(state: RolloutState) -> dict[str, list[str]]:
    """Changes that a plan with predictions did not announce, by node."""
    found: dict[str, list[str]] = {}
    for stage in state.plan.stages:
        if not stage.expected:
            continue
        for wave in stage.waves:
            for step in wave.steps:
                record = state.records.get(step.id)
                for node, result in record.results.items() if record else ():
                    wanted = stage.expected.get(node, ())
                    found.setdefault(node, []).extend(
                        name for name in result.changed if name not in wanted
                    )
    return {node: names for node, names in sorted(found.items()) if names}


def moment(at: float | None) -> str:
    """Return a time as text, UTC; empty for none.

    :param at: seconds since the epoch
    """
    if not at:
        return ""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float | None) -> str:
    """Say a duration: ``4 min 12 s``; empty when it is not known.

    >>> span(252.4), span(9.2), span(7260)
    ('4 min 12 s', '9 s', '2 h 1 min')
    """
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def passed(state: RolloutState, phase: str) -> bool:
    """Whether every step up to the end of a phase was done.

    :param phase: name of a phase; empty, or one that the plan does not have, is never passed
    """
    found = [n for n, stage in enumerate(state.plan.stages) if phase and stage.phase == phase]
    if not found:
        return False
    return all(
        step.id in state.records and state.records[step.id].phase != INTENT
        for stage in state.plan.stages[: found[-1] + 1]
        for wave in stage.waves
        for step in wave.steps
    )


def news(before: RolloutState | None, after: RolloutState) -> list[str]:
    """Say what happened between two looks at a rollout, one line each.

    :param before: None for the first look: only what is under way is told then
    """
    lines = []
    for _, _, step in after.plan.steps():
        record = after.records.get(step.id)
        old = before.records.get(step.id) if before else None
        if record is None or record == old or (before is None and record.phase != INTENT):
            continue
        if record.phase == INTENT:
            lines.append(f"{step.title}")
            continue
        took = span(record.ended - record.begun) if record.ended is not None else ""
        lines.append(f"{step.title}: {_STEP.get(record.phase, record.phase)} after {took}")
        lines += [f"  {r.sentence}" for _, r in sorted(record.results.items()) if not r.ok]
        lines += [f"  {record.sentence}"] if record.sentence else []
    if before and after.state != before.state:
        lines.append(f"rollout {after.id} is {after.state}. {after.reason}".strip())
    return lines


# -- in one sentence -----------------------------------------------------------------------------

#: what may be done next, by state
_NEXT = {
    "running": "`salt-run rollout.status {id} follow=True` watches it",
    "paused": "`salt-run rollout.resume {id}` goes on, `salt-run rollout.abort {id}` ends it",
    "failed": (
        "Mend it and `salt-run rollout.retry {id}`, or take it back with"
        " `salt-run rollout.rollback {id}`"
    ),
    "aborted": "`salt-run rollout.rollback {id}` takes back what was done",
}
#: the same of a deployment that failed
_NEXT_DEPLOY = "Mend it and run the deployment again: it goes on there"


def next_step(state: str, rollout: str, workflow: str = "") -> str:
    """Say what may be done next, as a sentence; empty when nothing is left to do."""
    text = _NEXT.get(state, "")
    if workflow == "deploy" and state == "failed":
        text = _NEXT_DEPLOY
    return f"{text.format(id=rollout)}." if text else ""


def sentence(data: Mapping[str, Any]) -> str:
    """Say in one line how it stands with a rollout.

    :param data: see :func:`build`
    """
    names = [name for changed in data["changes"].values() for name in changed]
    parts = []
    if names:
        hosts = ", ".join(f"{n.split('.')[0]} {len(c)}" for n, c in data["changes"].items())
        parts.append(f"{_many(len(names), 'state')} changed on {hosts}")
    elif data["state"] == DONE:
        parts.append("nothing changed")
    if data["state"] not in (DONE, "undone"):
        parts.append(f"{data['steps']['done']} of {data['steps']['all']} steps are done")
    if data["seconds"] is not None:
        parts.append(f"it took {span(data['seconds'])}")
    told = f"Rollout {data['rollout']} ({data['workflow']} of {data['cluster']}) is {data['state']}"
    told += f": {'; '.join(parts)}." if parts else "."
    if data["reason"] and data["state"] != DONE:
        told += f" {data['reason'].rstrip('.')}."
    for probe in data["probes"]:
        told += f" {str(probe.get('sentence', '')).rstrip('.')}."
    return told


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def phase(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Say what one phase of a rollout did: ``comment`` and ``changes``.

    :param data: see :func:`build`
    :param name: of the phase
    """
    stages = [stage for stage in data["stages"] if stage["phase"] == name]
    changes: dict[str, list[str]] = {}
    for stage in stages:
        for wave in stage["waves"]:
            for step in wave["steps"]:
                for node, names in step.get("changed", {}).items():
                    changes.setdefault(node, []).extend(names)
    waves = sum(len(stage["waves"]) for stage in stages)
    steps = sum(stage["all"] for stage in stages)
    hosts = ", ".join(f"{n.split('.')[0]} {len(c)}" for n, c in sorted(changes.items()))
    total = sum(len(names) for names in changes.values())
    took = sum(stage["seconds"] or 0 for stage in stages)
    told = f"Phase {name}: {_many(steps, 'step')} in {_many(waves, 'wave')}"
    told += f"; {_many(total, 'state')} changed ({hosts})" if total else "; nothing changed"
    return {"comment": f"{told}; it took {span(took)}.", "changes": dict(sorted(changes.items()))}


# -- for people ----------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[str]]) -> str:
    """Draw rows as columns of text; the first row is the head."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def status_text(data: Mapping[str, Any]) -> str:
    """Say how it stands: the sentence, one row a stage, what failed, what is out of service."""
    rows = [("STAGE", "STATE", "STEPS", "NODES", "WAVE", "TIME")]
    for stage in data["stages"]:
        now = next((w for w in stage["waves"] if w["state"] not in ("done", WAITING)), None)
        rows.append(
            (
                stage["name"],
                stage["state"],
                f"{stage['done']}/{stage['all']}",
                short(stage["nodes"]),
                f"{now['number']} of {len(stage['waves'])}" if now else "",
                span(stage["seconds"]),
            )
        )
    lines = [sentence(data), "", table(rows)]
    if data["releases"]:
        lines += ["", "Releases:", *(f"  {_progress(one)}" for one in data["releases"])]
    if data["failures"]:
        lines += ["", *(f"  {f['step']}: {f['sentence']}" for f in data["failures"])]
    held = [lease for lease in data["leases"] if not lease["released"]]
    if held:
        lines += ["", "Out of service:", *(f"  {lease['what']}" for lease in held)]
    following = next_step(data["state"], data["rollout"])
    if following:
        lines += ["", following]
    return "\n".join(lines)


def _progress(one: Mapping[str, Any]) -> str:
    """``nova-compute 2025.1 -> 2026.1: 24 of 80 nodes have it, cmp025-080 wait``"""
    told = f"{one['title']} {one['before']} -> {one['after']}:"
    told += f" {len(one['reached'])} of {one['nodes']} nodes have it"
    if one["waiting"]:
        told += f", {short(one['waiting'])} {'waits' if len(one['waiting']) == 1 else 'wait'}"
    if one["left"]:
        told += f"; {short(one['left'])} not in this plan"
    return told


def history_text(rollouts: Sequence[Mapping[str, Any]]) -> str:
    """List rollouts as a table.

    :param rollouts: ``id``, ``cluster``, ``workflow``, ``state``, ``begun``, ``took``, ``by``,
        ``why`` and ``reason`` of each
    """
    if not rollouts:
        return "There is no such rollout."
    head = ("ROLLOUT", "CLUSTER", "WORKFLOW", "STATE", "BEGUN", "TIME", "BY", "WHY")
    names = ("id", "cluster", "workflow", "state", "begun", "took", "by")
    rows = [
        (*(str(item[name]) for name in names), str(item["reason"] or item["why"]))
        for item in rollouts
    ]
    return table([head, *rows])


# -- documents -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A piece of a document: ``title``, ``head``, ``text``, ``list``, ``table`` or ``plot``.

    :param rows: of a list one cell each; of a table the first row is the head
    :param plot: of a plot: the series of a probe
    :param marks: of a plot: when stages began, and their names
    """

    kind: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    plot: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[tuple[float, str], ...] = ()


def _blocks(data: Mapping[str, Any]) -> list[Block]:
    found = [
        Block("title", f"Rollout {data['rollout']}: {data['workflow']} of {data['cluster']}"),
        Block("text", sentence(data)),
        Block("table", rows=(("", ""), *_facts(data))),
        *_path(data),
        Block("head", "Stages"),
        Block("table", rows=(_STAGES, *(_row(stage) for stage in data["stages"]))),
    ]
    if data["failures"]:
        failed = [(f["step"], f["node"], f["code"], f["sentence"]) for f in data["failures"]]
        found += [
            Block("head", "What failed"),
            Block("table", rows=(("Step", "Node", "Code", "Why"), *failed)),
        ]
    found += _noticed(data)
    found += _changes(data)
    found += _gates(data)
    if data["leases"]:
        taken = [
            (lease["what"], lease["taken"], lease["released"] or "not given back")
            for lease in data["leases"]
        ]
        found += [
            Block("head", "Out of service"),
            Block("table", rows=(("What", "From", "Until"), *taken)),
        ]
    if data["evidence"]:
        found.append(Block("head", "Evidence"))
        for name, kept in sorted(data["evidence"].items()):
            lines = tuple((line,) for line in str(kept).splitlines())
            found += [Block("text", name), Block("list", rows=lines)]
    for stage in data["stages"]:
        rows = [
            (
                str(wave["number"]),
                step["title"],
                step["state"],
                span(step.get("seconds")),
                " ".join(step.get("failed", {}).values()) or step.get("sentence", ""),
            )
            for wave in stage["waves"]
            for step in wave["steps"]
        ]
        found += [
            Block("head", f"Steps of {stage['name']}"),
            Block("table", rows=(("Wave", "Step", "State", "Time", "Why"), *rows)),
        ]
    return found


_STAGES = (
    "Stage", "State", "Roles", "Nodes", "Waves", "Begun", "Time", "At work", "Predicted",
    "Difference",
)  # fmt: skip


def _path(data: Mapping[str, Any]) -> list[Block]:
    """Releases and artifacts, before and after."""
    found: list[Block] = []
    if data["notes"]:
        found.append(Block("list", rows=tuple((note,) for note in data["notes"])))
    if data["releases"]:
        rows = [
            (
                one["title"],
                one["before"],
                one["after"],
                one["way"],
                f"{len(one['reached'])} of {one['nodes']}",
                short(one["waiting"]),
                short(one["left"]),
            )
            for one in data["releases"]
        ]
        head = ("Product", "From", "To", "Way", "Nodes", "Wait for it", "Not in this plan")
        found += [Block("head", "Path"), Block("table", rows=(head, *rows))]
    if data["artifacts"]:
        swaps = [
            (
                one["role"],
                str(one["nodes"]),
                " ".join(filter(None, (one["before"], one["before_sha256"]))) or "none",
                " ".join(filter(None, (one["after"], one["after_sha256"]))) or "none",
            )
            for one in data["artifacts"]
        ]
        titles = ("Role", "Nodes", "Before (SHA-256)", "After (SHA-256)")
        found += [Block("head", "Artifacts"), Block("table", rows=(titles, *swaps))]
    return found


def _noticed(data: Mapping[str, Any]) -> list[Block]:
    """What probes saw: of APIs, and of guests."""
    found = [Block("head", "What users noticed")]
    if not data["probes"]:
        found.append(Block("text", "Nothing was measured: the plan has no probes."))
    marks = tuple((stage["since"], stage["name"]) for stage in data["stages"] if stage["since"])
    guests = {*data["guests"]}
    for probe in sorted(data["probes"], key=lambda one: one.get("name") in guests):
        series = data["series"].get(probe.get("name"))
        told = str(probe.get("sentence", ""))
        if series and series["worst"] is not None:
            told += f" The longest gap was at {moment(series['worst'])}."
        found.append(Block("list", rows=((told,),)))
        if series:
            found.append(Block("plot", str(probe["name"]), plot=series, marks=marks))
    if data["releases"] and not guests:
        found.append(
            Block(
                "text",
                "No guest was measured: none is known."
                " `salt-run canary.create` makes a server whose TCP connections are.",
            )
        )
    return found


def _gates(data: Mapping[str, Any]) -> list[Block]:
    asked = data["asked"]
    if not (data["verdicts"] or any(asked.values())):
        return []
    told = f"{asked['before']:,} questions before waves and {asked['after']:,} after them;"
    told += f" {len(data['verdicts']):,} answers were not simply ok."
    found = [Block("head", "Gates"), Block("text", told)]
    if data["verdicts"]:
        keys = ("step", "node", "verdict", "code", "sentence")
        rows = [tuple(str(one.get(key, "")) for key in keys) for one in data["verdicts"]]
        head = ("Step", "Node", "Verdict", "Code", "Sentence")
        found.append(Block("table", rows=(head, *rows)))
    return found


def _facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("State", f"{data['state']} {data['reason']}".strip()),
        ("Plan", data["plan"]),
        ("Revision", data["revision"]),
        ("Revision before", data["revision_before"] or "none"),
        ("Undoes", data["undoes"]),
        ("Begun", f"{data['begun']} by {data['by'] or 'unknown'}"),
        ("Approved by", data["approved_by"]),
        ("Why", data["why"]),
        ("Ended", data["ended"]),
        ("Duration", span(data["seconds"])),
        ("Point of no return", data["no_return"] or "none"),
    ]
    return [(name, text) for name, text in rows if text]


def _row(stage: Mapping[str, Any]) -> tuple[str, ...]:
    predicted = stage["predicted_minutes"]
    return (
        stage["name"],
        stage["state"],
        " ".join(stage["roles"]),
        short(stage["nodes"]),
        str(len(stage["waves"])),
        stage["begun"],
        span(stage["seconds"]),
        span(stage["worked"] if stage["seconds"] is not None else None),
        span(predicted * 60) if predicted is not None else "",
        f"{stage['worked'] / (predicted * 60) - 1:+.0%}"
        if predicted and stage["state"] == "done"
        else "",
    )


def _changes(data: Mapping[str, Any]) -> list[Block]:
    if not data["changes"]:
        return [Block("head", "Changes"), Block("text", "No state changed anything.")]
    rows = [
        (node, str(len(names)), ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else ""))
        for node, names in data["changes"].items()
    ]
    found = [
        Block("head", "Changes"),
        Block("table", rows=(("Node", "States", "Which"), *rows)),
    ]
    if data["unexpected"]:
        told = tuple((f"{node}: {', '.join(names)}",) for node, names in data["unexpected"].items())
        found += [Block("text", "The plan did not predict these:"), Block("list", rows=told)]
    return found


def markdown(data: Mapping[str, Any]) -> str:
    """Return the report as Markdown.

    :param data: see :func:`build`
    """
    lines: list[str] = []
    for block in _blocks(data):
        if block.kind in ("title", "head"):
            lines.append(("# " if block.kind == "title" else "## ") + _cell(block.text))
        elif block.kind == "text":
            lines.append(_cell(block.text))
        elif block.kind == "list":
            lines.append("\n".join(f"- {_cell(row[0])}" for row in block.rows))
        elif block.kind == "plot":
            lines.append(_sparks(block))
        else:
            head, *rest = (tuple(_cell(cell) for cell in row) for row in block.rows)
            rule = tuple("---" for _ in head)
            lines.append("\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rest)))
        lines.append("")
    return "\n".join(lines)


def _sparks(block: Block) -> str:
    """Two lines of blocks: what was asked, and what of it failed."""
    begin, width = block.plot["begin"], block.plot["width"]
    requests, failed = block.plot["requests"], block.plot["failed"]
    end = moment(begin + width * len(requests))
    told = f"from {moment(begin)} to {end}, up to {max(requests) / width:.3g} a second"
    rows = [f"requests |{plots.spark(requests)}| {told}"]
    if any(failed):
        rows.append(f"failed   |{plots.spark(failed)}| up to {max(failed) / width:.3g} a second")
    return "\n".join(("```text", *rows, "```"))


def _cell(text: str) -> str:
    """A text on one line that is neither HTML nor the end of a cell."""
    for plain, written in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;")):
        text = text.replace(plain, written)
    return " ".join(text.split())


_STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem}
table {border-collapse: collapse; margin: 1rem 0}
th, td {border: 1px solid #ccc; padding: .25rem .6rem; text-align: left; vertical-align: top}
th {background: #f3f3f3}
td {overflow-wrap: anywhere}
svg {display: block; max-width: 100%; height: auto; font-size: 11px}
.good {fill: #8fb3d9} .bad {fill: #c0392b} .floor {fill: #ccc}
.mark {stroke: #555; stroke-dasharray: 2}
""".strip()


def page(data: Mapping[str, Any]) -> str:
    """Return the report as one HTML page that needs nothing else.

    :param data: see :func:`build`
    """
    body: list[str] = []
    for block in _blocks(data):
        text = html.escape(block.text)
        if block.kind == "title":
            body.append(f"<h1>{text}</h1>")
        elif block.kind == "head":
            body.append(f"<h2>{text}</h2>")
        elif block.kind == "text":
            body.append(f"<p>{text}</p>")
        elif block.kind == "list":
            items = "".join(f"<li>{html.escape(row[0])}</li>" for row in block.rows)
            body.append(f"<ul>{items}</ul>")
        elif block.kind == "plot":
            begin, width = block.plot["begin"], block.plot["width"]
            end = moment(begin + width * len(block.plot["requests"]))
            marks = [(at, html.escape(name)) for at, name in block.marks]
            body.append(plots.svg(block.plot, marks, html.escape(moment(begin)), html.escape(end)))
        else:
            head, *rest = block.rows
            rows = [_tr(head, "th")] if any(head) else []
            body.append(f"<table>{''.join([*rows, *(_tr(row, 'td') for row in rest)])}</table>")
    title = html.escape(f"Rollout {data['rollout']}")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _tr(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
