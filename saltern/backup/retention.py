"""Which bundles may go: a few of the last, one a day, one a week, one a month."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from saltern.backup.bundles import Bundle, Store
from saltern.backup.choose import chain, whole

#: Seconds after which a bundle without manifest is nobody's any more.
ABANDONED = 86400.0


@dataclass(frozen=True)
class Policy:
    """What is kept of each role, and of each host where each has data of its own.

    :param last: so many of the newest
    :param hours: all that are younger than this
    :param daily: the last of each day, so many days
    :param weekly: the last of each week, so many weeks
    :param monthly: the last of each month, so many months
    """

    last: int = 2
    hours: int = 24
    daily: int = 7
    weekly: int = 4
    monthly: int = 0

    @classmethod
    def of(cls, data: Mapping[str, Any] | None) -> Policy:
        """Read it from a pillar; what is not there has its default.

        :raises TypeError: there is an unknown key
        """
        return cls(**{key: int(value) for key, value in (data or {}).items()})


_SLOTS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "daily": lambda when: (when.year, when.month, when.day),
    "weekly": lambda when: tuple(when.isocalendar())[:2],
    "monthly": lambda when: (when.year, when.month),
}


def kept(bundles: Sequence[Bundle], policy: Policy, now: datetime, by_host: bool) -> set[str]:
    """Return the paths of what stays of one role and one lineage.

    A bundle stays with all that it builds on. One whose base is missing restores nothing, and
    counts for nothing; it stays while it is young, so that somebody sees it.

    :param bundles: of one role and one lineage
    :param policy: what is kept
    :param now: time
    :param by_host: whether each host has data of its own
    """
    found: set[str] = set()
    groups: dict[str, list[Bundle]] = {}
    for one in bundles:
        groups.setdefault(one.host if by_host else "", []).append(one)
    for group in groups.values():
        newest = sorted(group, key=lambda one: (one.finished, one.path), reverse=True)
        young = {one.path for one in newest if now - one.finished < timedelta(hours=policy.hours)}
        usable = [one for one in newest if whole(bundles, one)]
        wanted = usable[: max(1, policy.last)] + [one for one in usable if one.path in young]
        for item in fields(policy):
            if item.name in _SLOTS:
                first: dict[tuple[int, ...], Bundle] = {}
                for one in usable:
                    first.setdefault(_SLOTS[item.name](one.finished), one)
                wanted += list(first.values())[: getattr(policy, item.name)]
        found |= young
        found |= {link.path for one in wanted for link in chain(bundles, one)}
    return found


def expired(store: Store, policy: Policy, by_host: frozenset[str]) -> list[str]:
    """Return the paths of what may go: old bundles, and what was left of unfinished ones.

    What is damaged stays until somebody has seen to it.

    :param store: what the server has
    :param policy: what is kept
    :param by_host: roles of which each host has data of its own
    """
    stays: set[str] = set()
    for role, lineage in {(one.role, one.lineage) for one in store.bundles}:
        mine = [one for one in store.bundles if (one.role, one.lineage) == (role, lineage)]
        stays |= kept(mine, policy, store.now, role in by_host)
    # what builds on others goes before them: half done, no chain lacks its beginning
    old = [one.path for one in reversed(store.bundles) if one.path not in stays]
    return old + sorted(path for path, age in store.unfinished.items() if age > ABANDONED)
