"""A difference between two revisions as lines for people."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from saltern.model.diff import Change, Difference, Group
from saltern.model.nodeset import fold, told

#: lines of one value, and groups of nodes that differ at one key, before the rest is counted
_LINES, _VARIANTS, _WIDTH = 8, 3, 72


@dataclass(frozen=True)
class Line:
    """One line; ``kind`` says how it may be coloured.

    ``title``, ``cluster``, ``role``, ``nodes``, ``added``, ``removed``, ``changed`` or ``note``.
    """

    kind: str
    text: str


def lines(found: Difference, *, full: bool = False) -> Iterator[Line]:
    """Yield a difference as lines: by cluster, then role, then nodes.

    :param found: see :func:`saltern.model.diff.compare`
    :param full: leave nothing out, however long
    """
    yield Line("title", f"{short(found.before)} -> {short(found.after)}")
    if not found:
        yield Line("note", "nothing that a node is served differs")
        return
    for cluster, everyone in found.everyone.items():
        body = list(_cluster(found, cluster, everyone, full))
        if not body:
            continue
        differ = sum(1 for node in found.nodes() if node in everyone)
        yield Line("title", "")
        yield Line(
            "cluster", f"{cluster or 'no cluster'}: {differ} of {len(everyone)} nodes differ"
        )
        yield from body


def text(found: Difference, *, full: bool = False) -> str:
    """Return :func:`lines` as one plain text."""
    return "\n".join(line.text for line in lines(found, full=full)) + "\n"


def short(revision: str) -> str:
    """Return a revision id as people write it: 12 digits of a commit."""
    return revision[:12] if len(revision) >= 40 else revision


def value(data: Any) -> str:
    """Return plain data on one line, long text cut in its middle."""
    if isinstance(data, str):
        lines_ = data.strip().splitlines()
        if len(lines_) > 1:
            shown = f"{lines_[0]} … ({len(lines_)} lines)"
        elif not data or data != data.strip() or not isinstance(_loaded(data), str):
            # what YAML would read as something else is quoted, so that "1" and 1 differ
            shown = json.dumps(data, ensure_ascii=False)
        else:
            shown = data
    else:
        shown = json.dumps(data, ensure_ascii=False, default=str)
    if len(shown) > _WIDTH:
        shown = f"{shown[: _WIDTH - 25]} … {shown[-20:]}"
    return shown


def _cluster(
    found: Difference, cluster: str, everyone: tuple[str, ...], full: bool
) -> Iterator[Line]:
    for kind, mark, changes in (
        ("added", "+", found.nodes_added),
        ("removed", "-", found.nodes_removed),
    ):
        by_roles: dict[tuple[str, ...], list[str]] = {}
        for change in changes:
            if change.cluster == cluster:
                by_roles.setdefault(change.roles, []).append(change.node)
        for roles, nodes in by_roles.items():
            yield Line(kind, f"  {mark} node {fold(nodes)}  ({', '.join(roles) or 'no role'})")
    for what, memberships in (
        ("role", found.roles),
        ("class", found.classes),
        ("environment", found.environments),
    ):
        for entry in memberships:
            if entry.cluster != cluster:
                continue
            nodes_told = told(entry.nodes, everyone)
            if entry.kind == "order":
                plural = "classes" if what == "class" else "roles"
                yield Line("changed", f"  ~ {plural} in another order on {nodes_told}")
            else:
                mark = {"added": "+", "removed": "-"}.get(entry.kind, "~")
                yield Line(entry.kind, f"  {mark} {what} {entry.name} on {nodes_told}")
    groups = [group for group in found.groups if group.cluster == cluster]
    if not full:
        around = [group for group in groups if group.change.path.startswith("topology:")]
        groups = [group for group in groups if group not in around]
        if around:
            # what every node knows of the others: told above by what caused it
            count = f"{len(around)} key{'' if len(around) == 1 else 's'}"
            yield Line("note", f"  topology differs at {count}, as hosts and roles do (--full)")
    for role in sorted({group.role for group in groups}, key=lambda name: (not name, name)):
        yield Line("role", f"  {role or '(no role)'}")
        yield from _role([group for group in groups if group.role == role], everyone, full)


def _role(groups: list[Group], everyone: tuple[str, ...], full: bool) -> Iterator[Line]:
    """Changes of one role: those of the same nodes together, most nodes first."""
    variants: dict[str, int] = {}
    by_nodes: dict[tuple[str, ...], list[Change]] = {}
    hidden: dict[str, list[str]] = {}
    for group in groups:
        path = group.change.path
        variants[path] = variants.get(path, 0) + 1
        if variants[path] > _VARIANTS and not full:
            hidden.setdefault(path, []).extend(group.nodes)
        else:
            by_nodes.setdefault(group.nodes, []).append(group.change)
    for nodes, changes in sorted(by_nodes.items(), key=lambda item: (-len(item[0]), item[0])):
        yield Line("nodes", f"    {told(nodes, everyone)}")
        for change in changes:
            yield from _change(change, full)
    for path, names in hidden.items():
        yield Line("note", f"    {path} differs on {fold(names)} too, in other ways (--full)")


def _change(change: Change, full: bool) -> Iterator[Line]:
    if change.kind in ("added", "removed"):
        mark, data = ("+", change.after) if change.kind == "added" else ("-", change.before)
        leaves = list(_leaves(data, change.path))
        if len(leaves) > _LINES and not full:
            yield Line(change.kind, f"      {mark} {change.path}  ({len(leaves)} values)")
            return
        for path, leaf in leaves:
            yield Line(change.kind, f"      {mark} {path}  {value(leaf)}")
    elif change.kind == "items":
        yield Line("changed", f"      ~ {change.path}")
        for kind, mark, items in (("removed", "-", change.before), ("added", "+", change.after)):
            shown = items if full else items[:_LINES]
            for item in shown:
                yield Line(kind, f"          {mark} {value(item)}")
            if len(shown) < len(items):
                yield Line("note", f"          {mark} and {len(items) - len(shown)} more")
    elif change.kind == "order":
        yield Line("changed", f"      ~ {change.path}  (the same items in another order)")
    elif change.hidden:
        hashes = f"{value(change.before)} -> {value(change.after)}"
        yield Line("changed", f"      ~ {change.path}  {change.hidden} changed ({hashes})")
    else:
        yield from _scalar(change, full)


def _scalar(change: Change, full: bool) -> Iterator[Line]:
    before, after = change.before, change.after
    if isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
        yield Line("changed", f"      ~ {change.path}")
        edits = [
            line
            for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
            if line[:3] not in ("---", "+++") and not line.startswith("@@")
        ]
        for line in edits if full else edits[:_LINES]:
            kind = "added" if line.startswith("+") else "removed"
            yield Line(kind, f"          {line[0]} {line[1:]}")
        if len(edits) > _LINES and not full:
            yield Line("note", f"          and {len(edits) - _LINES} more lines")
        return
    yield Line("changed", f"      ~ {change.path}  {value(before)} -> {value(after)}")


def _leaves(data: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(data, dict) and data:
        for name in sorted(data, key=str):
            yield from _leaves(data[name], f"{path}:{name}")
    else:
        yield path, data


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
