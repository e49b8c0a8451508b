"""Show a plan to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from saltern.rollout.stages import Level, Stage, StagePlan


def short(nodes: Iterable[str]) -> str:
    """Name nodes by their first label, numbered rows together: ``ctl01-03``.

    >>> short(["ctl01.a.b", "ctl02.a.b", "ctl03.a.b", "cfg01.a.b"])
    'cfg01 ctl01-03'
    """
    rows: list[list[str]] = []
    for name in sorted(node.split(".")[0] for node in nodes):
        last = rows[-1][-1] if rows else ""
        stem, digits = _split(name)
        if digits and last and _split(last)[0] == stem and int(digits) == int(_split(last)[1]) + 1:
            rows[-1].append(name)
        else:
            rows.append([name])
    return " ".join(row[0] if len(row) == 1 else f"{row[0]}-{_split(row[-1])[1]}" for row in rows)


def _split(name: str) -> tuple[str, str]:
    stem = name.rstrip("0123456789")
    return stem, name[len(stem) :]


def stage_table(plan: StagePlan) -> str:
    """Draw the stages of a cluster as a text table.

    :returns: one row per published group and form, the checks of a stage in its last row
    """
    rows = [("STAGE", "STEP", "HOSTS", "ROLES")]
    for stage in plan.stages:
        rows += _stage_rows(stage)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    return "\n".join([f"Cluster {plan.cluster}", *(line.rstrip() for line in lines)])


def _stage_rows(stage: Stage) -> list[tuple[str, str, str, str]]:
    if stage.name == "preflight":
        return [(stage.name, "", "all", "model, artifacts, presence, system, disk, memory, time")]
    if stage.name == "sanity":
        return [(stage.name, "", "", "sanity.run")]
    rows: list[tuple[str, str, str, str]] = []
    for number, level in enumerate(stage.levels, start=1):
        rows += _level_rows(stage, number, level)
    kinds = Counter(
        next((k for k in check if k in ("unit", "port", "http", "file", "call")), "other")
        for item in stage.checks
        for check in item.checks
    )
    if kinds:
        what = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        rows.append((stage.name, "check", short({item.node for item in stage.checks}), what))
    return rows or [(stage.name, "", "", "no roles")]


def _level_rows(stage: Stage, number: int, level: Level) -> list[tuple[str, str, str, str]]:
    rows = [
        (
            stage.name,
            f"{number}.{index}" if len(level.steps) > 1 else str(number),
            short(group.nodes),
            " ".join(group.roles),
        )
        for index, step in enumerate(level.steps, start=1)
        for group in step
    ]
    rows += [
        (stage.name, "form", short(form.nodes), f"{form.role}: {form.function}")
        for form in level.forms
    ]
    return rows
