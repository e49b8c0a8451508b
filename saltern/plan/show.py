"""Show a plan to people: one row a stage, then what needs a look before it is approved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from saltern.plan.schedule import schedule, total
from saltern.plan.steps import REIMAGE
from saltern.plan.types import (
    ALWAYS,
    CALL,
    COMMIT,
    DRAIN,
    GATE,
    NEVER,
    PIN,
    RUNNER,
    UNTIL_WRITE,
    VERIFY,
    Plan,
    Stage,
)
from saltern.rollout.show import short

#: how many changed states of a node are named before the rest is counted
_SHOWN = 8
#: how many calls are named before the rest is counted
_CALLS = 24
_HEAD = ("STAGE", "WAVES", "NODES", "API", "DATA", "GATES", "MINUTES", "WHAT")


def show(plan: Plan) -> str:
    """Draw a plan as text.

    The table has per stage: waves, nodes, what is done, the expected impact on APIs and on data,
    how many checks are asked before and after, and the predicted minutes. Below it: why there is an
    impact, each wave, restarts and predicted changes, probes, where the way back ends, and how to
    apply exactly this plan.
    """
    rows = [_HEAD, *(_row(stage) for stage in plan.stages)]
    lines = [_title(plan), "", *_table(rows)]
    for title, found in (
        ("Note", plan.notes),
        ("Releases", _releases(plan)),
        ("Artifacts", _artifacts(plan)),
        ("Impact", _impacts(plan)),
        ("Waves", _waves(plan)),
        ("Schedule", _schedule(plan)),
        ("New images", _images(plan)),
        ("Calls", _calls(plan)),
        ("Restarts", _restarts(plan)),
        ("Expected changes", _expected(plan)),
        ("Measured meanwhile", _probes(plan)),
        ("Way back", _way_back(plan)),
    ):
        if found:
            lines += ["", f"{title}:", *(f"  {line}" for line in found)]
    lines += ["", *_end(plan)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _title(plan: Plan) -> str:
    what = f"{plan.workflow} of {plan.cluster}"
    if plan.undoes:
        what += f", takes back {plan.undoes}"
    before, after = plan.basis.deployed[:12] or "nothing", plan.basis.revision[:12]
    pinned = any(step.kind in (PIN, COMMIT) for _, _, step in plan.steps())
    moves = f": revision {before} -> {after}" if pinned and before != after else ""
    limits = ", ".join(f"{key}={_value(value)}" for key, value in sorted(plan.limits.items()))
    return f"Plan {plan.hash[:12]}: {what}{moves}{f' ({limits})' if limits else ''}"


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(one) for one in value)
    if isinstance(value, dict):
        return ",".join(f"{key}:{one}" for key, one in sorted(value.items()))
    return str(value)


def _row(stage: Stage) -> tuple[str, ...]:
    steps = [step for wave in stage.waves for step in wave.steps]
    before = sum(len(c.checks) or 1 for s in steps if s.kind == GATE for c in s.checks)
    after = sum(len(c.checks) or 1 for s in steps if s.kind == VERIFY for c in s.checks)
    drained = any(step.kind == DRAIN for step in steps) and stage.name != "finalize"
    nodes = short(set(stage.nodes) or {node for step in steps for node in step.nodes})
    what = stage.title.removesuffix(f" on {nodes}")
    return (
        stage.name,
        str(len(stage.waves)),
        nodes,
        stage.impact.control,
        stage.impact.data,
        f"{before} before, {after} after" if before or after else "none",
        "?" if stage.minutes is None else f"{stage.minutes:g}",
        f"{what}{', drained' if drained else ''}{_NO_RETURN.get(stage.reversible, '')}",
    )


_NO_RETURN = {NEVER: ", no way back", UNTIL_WRITE: ", back until written to"}


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _releases(plan: Plan) -> list[str]:
    found = []
    for one in plan.releases:
        way = f", {one.way}" if one.way != "rolling" else ""
        left = f"; {short(one.left)} keep an older one" if one.left else ""
        found.append(f"{one.title}: {one.before} -> {one.after} on {short(one.nodes)}{way}{left}")
    return found


def _artifacts(plan: Plan) -> list[str]:
    return [
        f"{one.role}: {one.before_sha256[:12] or 'none'} -> {one.after_sha256[:12] or 'none'}"
        f" ({one.after or one.before}) on {one.nodes} {'node' if one.nodes == 1 else 'nodes'}"
        for one in plan.artifacts
    ]


def _impacts(plan: Plan) -> list[str]:
    return [f"{s.name}: {s.impact.why}." for s in plan.stages if s.impact.why]


def _waves(plan: Plan) -> list[str]:
    found = []
    for stage in plan.stages:
        for wave in stage.waves:
            if stage.phase == COMMIT:
                continue
            where = f" ({', '.join(wave.domains)})" if wave.domains else ""
            kinds = ", ".join(dict.fromkeys(step.kind for step in wave.steps))
            told = short(wave.nodes) or wave.name
            name = f", {wave.name}" if wave.nodes and wave.name != told else ""
            found.append(f"{stage.name}/{wave.number}{name}: {told}{where}: {kinds}")
    return found


def _schedule(plan: Plan) -> list[str]:
    slots = schedule(plan)
    if not slots:
        return []
    rows = [("WAVE", "NODES", "WHERE", "BEGIN", "MINUTES")]
    for slot in slots:
        if slot.nodes:
            begin = f"{'at least ' if slot.least else ''}{_clock(slot.begin)}"
            told = "?" if slot.minutes is None else f"{slot.minutes:g}"
            name = f"{slot.stage}/{slot.wave}"
            rows.append((name, short(slot.nodes), ", ".join(slot.domains), begin, told))
    least = any(slot.least for slot in slots) or slots[-1].minutes is None
    end = f"In all {'at least ' if least else ''}{_clock(total(slots))} (hours:minutes)."
    return [*_table(rows), end]


def _clock(minutes: float) -> str:
    """``+4:05``, hours and minutes."""
    hours, left = divmod(round(minutes), 60)
    return f"+{hours}:{left:02}"


def _images(plan: Plan) -> list[str]:
    found = []
    for _, _, step in plan.steps():
        if step.runner == REIMAGE:
            image = step.kwarg["image"]
            former = step.undo[0].kwarg["image"] if step.undo else "?"
            change = (
                f"{former} -> {image}" if former != image else f"{image} unless it runs already"
            )
            dirs = dict.fromkeys(path for paths in step.kwarg["keep"].values() for path in paths)
            kept = f"kept are {_some(dirs)}" if dirs else "no directories are kept"
            found.append(f"{short(step.nodes)}: {change}, {kept}")
    return found


def _calls(plan: Plan) -> list[str]:
    """What is called that roles declare, and nobody would expect of the workflow alone."""
    found = []
    for stage, _, step in plan.steps():
        declared = plan.workflow == "operation" or stage.name in ("leave", "finalize")
        if declared and step.kind in (CALL, RUNNER):
            end = f" ({step.reversible})" if step.reversible != ALWAYS else ""
            found.append(f"{step.id}: {step.title}{end}")
    more = len(found) - _CALLS
    return [*found[:_CALLS], f"and {more} more"] if more > 0 else found


def _restarts(plan: Plan) -> list[str]:
    found: dict[str, set[str]] = {}
    for stage in plan.stages:
        for node, names in stage.restarts.items():
            for name in names:
                found.setdefault(name, set()).add(node)
    return [f"{name} on {short(nodes)}" for name, nodes in sorted(found.items())]


def _expected(plan: Plan) -> list[str]:
    found: dict[tuple[str, ...], list[str]] = {}
    for stage in plan.stages:
        for node, names in stage.expected.items():
            found.setdefault(names, []).append(node)
    return [f"{short(nodes)}: {_some(names)}" for names, nodes in found.items()]


def _some(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more


def _probes(plan: Plan) -> list[str]:
    limits = {name: share for stage in plan.stages for name, share in stage.slo.items()}
    found = []
    for probe in plan.probes:
        more = f", at most {limits[probe.name]:.2%} may fail" if probe.name in limits else ""
        found.append(f"{probe.name}: {probe.kind} {probe.target} from {short([probe.node])}{more}")
    return found


def _way_back(plan: Plan) -> list[str]:
    if plan.workflow in ("restart", "reboot", "rollback"):
        return []
    steps = [step for _, _, step in plan.steps()]
    end = next((step for step in steps if step.reversible == NEVER), None)
    if end is not None:
        return [f"ends at {end.id}: {end.title}"]
    written = next((step for step in steps if step.reversible == UNTIL_WRITE), None)
    if written is not None:
        return [
            f"all of it can be taken back; what is written after {written.id} may be lost with it"
        ]
    return ["all of it can be taken back"]


def _end(plan: Plan) -> list[str]:
    kinds = {step.kind for _, _, step in plan.steps()}
    lines = []
    moves = PIN in kinds and plan.workflow != "rollback"
    if moves and COMMIT not in kinds:
        lines.append(
            "This is a part of the change: the nodes stay pinned, the cluster keeps its revision."
        )
    if plan.basis.absent:
        lines.append(f"Absent: {short(plan.basis.absent)}")
    lines.append(f"Apply exactly this: salt-run rollout.apply {plan.hash[:12]}")
    return lines
