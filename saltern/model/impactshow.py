"""What a change would touch, as lines for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from saltern.model.diffshow import Line, short
from saltern.model.impact import Impact, NodeImpact, Restart, RoleImpact, Touch
from saltern.model.nodeset import fold, told

_MARKS = {"added": "+", "changed": "~", "removed": "-", "triggered": ">"}
#: touched states of one role, and reasons of one restart, before the rest is counted
_SHOWN, _REASONS = 12, 2


def lines(found: Impact, *, full: bool = False) -> Iterator[Line]:
    """Yield an impact as lines: by cluster, then nodes on which the same would happen.

    :param found: see :func:`saltern.model.impact.impact`
    :param full: leave nothing out, however long
    """
    yield Line("title", f"{short(found.before)} -> {short(found.after)}")
    if not found.rendered:
        yield Line(
            "note", f"states were not rendered: {found.note}; files and restarts are unknown"
        )
    if not found:
        yield Line("note", "nothing would be touched")
        return
    for cluster, everyone in found.everyone.items():
        nodes = [node for node in found.nodes if node.cluster == cluster]
        if not nodes:
            continue
        yield Line("title", "")
        count = f"{len(nodes)} of {len(everyone)}"
        yield Line("cluster", f"{cluster or 'no cluster'}: {count} nodes affected")
        groups: dict[tuple[str, tuple[RoleImpact, ...], tuple[str, ...]], list[str]] = {}
        for node in nodes:
            alike = _neutral(node)
            groups.setdefault((alike.kind, alike.roles, alike.pillar), []).append(node.node)
        for (kind, roles, pillar), ids in groups.items():
            yield from _group(kind, roles, pillar, told(ids, everyone), full, found.rendered)
    if found.unknown:
        yield Line("title", "")
        yield Line("note", f"without a formula, so not rendered: {', '.join(found.unknown)}")
    if found.rendered:
        yield Line("title", "")
        yield from _sum(found)


def text(found: Impact, *, full: bool = False) -> str:
    """Return :func:`lines` as one plain text."""
    return "\n".join(line.text for line in lines(found, full=full)) + "\n"


def _group(
    kind: str,
    roles: tuple[RoleImpact, ...],
    pillar: tuple[str, ...],
    who: str,
    full: bool,
    rendered: bool,
) -> Iterator[Line]:
    if kind == "removed":
        yield Line("removed", f"  - {who}  leaves the model; nothing is undone on the host")
        return
    yield Line("added" if kind == "added" else "nodes", f"  {'+ ' if kind == 'added' else ''}{who}")
    if kind == "added" and rendered and not full:
        # a new host gets everything: count it
        for role in roles:
            starts = ", ".join(r.service for r in role.restarts if r.action == "start")
            states = f"{len(role.touches)} states" + (f", starts {starts}" if starts else "")
            yield Line("role", f"    {role.role or 'other states'}  {role.error or states}")
        return
    for role in roles:
        yield Line("role", f"    {role.role or 'other states'}")
        if role.error:
            yield Line("removed", f"      cannot be rendered: {_first(role.error)}")
        shown = role.touches if full else role.touches[:_SHOWN]
        for touch in shown:
            yield Line(touch.kind if touch.kind != "triggered" else "changed", _touch(touch))
        if len(shown) < len(role.touches):
            yield Line("note", f"      and {len(role.touches) - len(shown)} more states (--full)")
        for restart in role.restarts:
            yield Line("restart", _restart(restart, full))
    quiet = [role for role in pillar if role not in {entry.role for entry in roles}]
    if quiet:
        what = "differs, no state does" if rendered else "differs"
        yield Line("note", f"    data of {', '.join(quiet)} {what}")
    elif not roles:
        yield Line("note", "    only data of no role differs, no state does")


def _touch(touch: Touch) -> str:
    what = touch.name if touch.is_file else f"{touch.function} {_first(touch.name)}"
    more = ""
    if touch.kind == "removed":
        more = "  (no longer managed, stays as it is)"
    elif touch.kind == "triggered":
        more = f"  (by {', '.join(map(_first, touch.what[:_REASONS]))})"
    elif touch.what:
        more = f"  ({', '.join(touch.what)})"
    if touch.function in ("file.absent", "file.directory", "file.symlink"):
        what = f"{touch.function} {touch.name}"
    return f"      {_MARKS[touch.kind]} {what}{more}"


def _restart(restart: Restart, full: bool) -> str:
    reasons = restart.because if full else restart.because[:_REASONS]
    more = (
        f" and {len(restart.because) - len(reasons)} more"
        if len(reasons) < len(restart.because)
        else ""
    )
    by = f"  (by {', '.join(map(_first, reasons))}{more})" if reasons else ""
    return f"      ! {restart.action} {restart.service}{by}"


def _sum(found: Impact) -> Iterator[Line]:
    roles = ", ".join(found.roles()) or "none"
    yield Line("note", f"roles: {roles}")
    yield Line("note", f"formulas: {', '.join(found.formulas()) or 'none'}")
    yield Line("note", f"files: {len(found.files())}")
    for what, nodes in found.restarts().items():
        yield Line("restart", f"{what} on {fold(nodes)}")


def _neutral(node: NodeImpact) -> NodeImpact:
    """The same with the node's own name left out, so that equal nodes are told once."""
    own, name = node.node, node.node.partition(".")[0]
    # a name without a number may be any word
    either = [own, name] if any(letter.isdigit() for letter in name) else [own]
    pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, either))})(?![\w-])")

    def put(value: str) -> str:
        return pattern.sub("<name>", value)

    return replace(
        node,
        node="",
        roles=tuple(
            replace(
                role,
                touches=tuple(
                    replace(t, name=put(t.name), what=tuple(map(put, t.what))) for t in role.touches
                ),
                restarts=tuple(
                    replace(r, service=put(r.service), because=tuple(map(put, r.because)))
                    for r in role.restarts
                ),
                error=put(_first(role.error)),
            )
            for role in node.roles
        ),
    )


def _first(value: str) -> str:
    line = value.strip().splitlines()[0] if value.strip() else ""
    return line if len(line) <= 100 else f"{line[:97]}…"
