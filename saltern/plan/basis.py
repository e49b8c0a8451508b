"""What a plan was made from, and what of it has moved since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from saltern.plan.types import Basis
from saltern.rollout.show import short

#: how many nodes one sentence names before it counts the rest
_SHOWN = 6


@dataclass(frozen=True)
class Facts:
    """What was observed of a cluster.

    :param revision: what is wanted, full id; the deployed one for a restart or reboot
    :param deployed: the cluster's deployed revision, full id; empty for none
    :param pins: node to the revision that it is pinned to, nodes without a pin left out
    :param present: nodes that answered
    :param absent: node to the sentence why nothing is known about it; a node that is in neither of
        the two did not answer
    :param down: role to the nodes on which it is known not to work
    :param equipped: nodes that have the modules that the master serves
    :param guests: ``address:port`` of guests that answer from outside, to be measured
    :param artifacts: fingerprint of the artifacts that the wanted revision names
    :param formulas: fingerprint of the files that the master serves, modules among them
    """

    revision: str = ""
    deployed: str = ""
    pins: Mapping[str, str] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    down: Mapping[str, frozenset[str]] = field(default_factory=dict)
    equipped: frozenset[str] = frozenset()
    guests: tuple[str, ...] = ()
    artifacts: str = ""
    formulas: str = ""


def basis(facts: Facts) -> Basis:
    """Return what a plan made from these facts is bound to."""
    present = sorted(set(facts.present) - set(facts.absent))
    return Basis(
        revision=facts.revision,
        deployed=facts.deployed,
        pins=dict(sorted(facts.pins.items())),
        present=tuple(present),
        absent=tuple(sorted(facts.absent)),
        artifacts=facts.artifacts,
        formulas=facts.formulas,
    )


def moved(then: Basis, now: Basis | Facts) -> list[str]:
    """Say what is not as it was when the plan was made, one sentence each; empty: all is.

    :param then: of the plan
    :param now: what was observed a moment ago, in the same way
    """
    if isinstance(now, Facts):
        now = basis(now)
    found = [
        f"{what} was {_named(before)} when the plan was made and is {_named(after)} now."
        for what, before, after in (
            ("The revision to reach", then.revision, now.revision),
            ("The deployed revision of the cluster", then.deployed, now.deployed),
            ("The content of the artifacts", then.artifacts, now.artifacts),
            ("The content of the formulas", then.formulas, now.formulas),
        )
        if before != after
    ]
    pins = {
        node: (then.pins.get(node, ""), now.pins.get(node, ""))
        for node in sorted({*then.pins, *now.pins})
    }
    found += [
        f"{node} was pinned to {_named(before)} when the plan was made and is pinned to"
        f" {_named(after)} now."
        for node, (before, after) in pins.items()
        if before != after
    ]
    gone = sorted({*then.present} - {*now.present})
    if gone:
        found.append(f"{_list(gone)} answered when the plan was made and {_do(gone)} not now.")
    back = sorted({*now.present} - {*then.present})
    if back:
        found.append(f"{_list(back)} did not answer when the plan was made and {_do(back)} now.")
    return found


def _named(value: str) -> str:
    return value[:12] or "none"


def _list(nodes: Iterable[str]) -> str:
    names = list(nodes)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return short(names[:_SHOWN]) + more


def _do(nodes: list[str]) -> str:
    return "does" if len(nodes) == 1 else "do"
