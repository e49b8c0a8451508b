"""Users and groups of kept files on a new image: their numbers differ from image to image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Numbers that Debian gives to accounts of packages, the last one first.
#: Source: Debian Policy 9.2.2.
SYSTEM_IDS = range(999, 99, -1)


@dataclass(frozen=True)
class Accounts:
    """What a new image lacks to own kept files as they were.

    :param users: number of a user on the old image -> on the new one, where they differ
    :param groups: the same of groups
    :param lines: file in ``/etc`` -> lines to append to it
    """

    users: Mapping[int, int] = field(default_factory=dict)
    groups: Mapping[int, int] = field(default_factory=dict)
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def owners(tops: Iterable[Path]) -> tuple[set[int], set[int]]:
    """Return the numbers of the users and of the groups that own what is at or below ``tops``.

    Files that vanish meanwhile are not counted.
    """
    users: set[int] = set()
    groups: set[int] = set()
    for top in tops:
        for path in walk(top):
            try:
                info = path.lstat()
            except OSError:
                continue
            users.add(info.st_uid)
            groups.add(info.st_gid)
    return users, groups


def walk(top: Path) -> Iterable[Path]:
    """Yield ``top`` and everything below it, without following links; nothing without it."""
    try:
        mode = top.lstat().st_mode
    except OSError:
        return
    yield top
    if stat.S_ISDIR(mode):
        for directory, folders, names in os.walk(top):
            for name in [*folders, *names]:
                yield Path(directory) / name


def needed(users: set[int], groups: set[int], old: Path, new: Path) -> Accounts:
    """Return what the accounts of a new image need so that they own what those of the old one do.

    An account that the new image has by name is used as it is there; one that it lacks is added,
    with its number if that is free. Numbers without a name stay.

    :param users: numbers of users that own something
    :param groups: numbers of groups that own something
    :param old: ``/etc`` of the host as it was
    :param new: ``/etc`` of the new image
    """
    old_users, new_users = _table(old / "passwd"), _table(new / "passwd")
    old_groups, new_groups = _table(old / "group"), _table(new / "group")
    named = {int(row[2]): row for row in old_users.values()}
    wanted = [named[number] for number in sorted(users) if number in named]
    all_groups = groups | {int(row[3]) for row in wanted}
    group_map, added_groups = _match(all_groups, old_groups, new_groups)
    user_map, added_users = _match(users, old_users, new_users)
    known = set(new_users) | {row[0] for row in added_users}
    lines: dict[str, tuple[str, ...]] = {}
    if added_users:
        rows = [
            ":".join([*row[:3], str(group_map.get(int(row[3]), int(row[3]))), *row[4:]])
            for row in added_users
        ]
        lines["passwd"] = tuple(rows)
        lines["shadow"] = tuple(f"{row[0]}:!:::::::" for row in added_users)
    if added_groups:
        lines["group"] = tuple(
            ":".join([*row[:3], ",".join(m for m in row[3].split(",") if m in known)])
            for row in added_groups
        )
        lines["gshadow"] = tuple(f"{row[0]}:!::" for row in added_groups)
    return Accounts(user_map, group_map, lines)


def _table(path: Path) -> dict[str, list[str]]:
    """Return the rows of ``passwd`` or ``group`` by name."""
    rows = [line.split(":") for line in path.read_text(encoding="utf-8").splitlines()]
    return {row[0]: row for row in rows if len(row) >= 4 and row[2].isdigit()}


def _match(
    numbers: set[int], old: Mapping[str, list[str]], new: Mapping[str, list[str]]
) -> tuple[dict[int, int], list[list[str]]]:
    """Return (old number -> other new number, rows to add with their new number)."""
    by_number = {int(row[2]): row for row in old.values()}
    taken = {int(row[2]) for row in new.values()}
    found: dict[int, int] = {}
    added = []
    for number in sorted(numbers):
        row = by_number.get(number)
        if row is None:
            continue
        if row[0] in new:
            target = int(new[row[0]][2])
        else:
            target = number
            if number in taken:
                busy = taken | set(by_number)
                target = next(one for one in SYSTEM_IDS if one not in busy)
            taken.add(target)
            added.append([row[0], row[1], str(target), *row[3:]])
        if target != number:
            found[number] = target
    return found, added
