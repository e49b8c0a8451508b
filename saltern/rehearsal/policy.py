"""Whether an upgrade may begin: only when it was rehearsed, where the model wants that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from saltern.errors import RehearsalRefusedError
from saltern.plan.types import Plan
from saltern.rehearsal.outcome import GREEN, Rehearsal
from saltern.rehearsal.services import SHADOW, Nodes, rows
from saltern.rollout.report import moment

UPGRADE, OPENSTACK = "upgrade", "openstack"
_DAY = 86400.0


@dataclass(frozen=True)
class Policy:
    """What a cluster demands, ``rehearsal:shadow:policy``.

    :param required: no upgrade begins without a green rehearsal
    :param days: how old it may be
    """

    required: bool = False
    days: float = 7.0

    @classmethod
    def of(cls, *models: Nodes) -> Policy:
        """Return the strictest that models say: what is served, and what is wanted.

        So the demand cannot be taken away by the very revision that it is about.

        :param models: compiled nodes of a cluster by minion id
        """
        found = [
            told
            for nodes in models
            for node in nodes.values()
            if SHADOW in node.applications
            and isinstance(told := _policy(node.pillar), Mapping)
            and told.get("required")
        ]
        days = [float(told.get("days", cls.days)) for told in found]
        return cls(bool(found), min(days, default=cls.days))


def _policy(pillar: Mapping[str, Any]) -> Any:
    return ((pillar.get("rehearsal") or {}).get("shadow") or {}).get("policy")


def concerns(plan: Plan) -> bool:
    """Whether a plan brings other code to a service that could be rehearsed."""
    if plan.workflow != UPGRADE:
        return False
    return any(swap.role.partition(".")[0] in rows() for swap in plan.artifacts)


def same(plan: Plan, one: Rehearsal) -> bool:
    """Whether a rehearsal was of what a plan does: to the same artifacts, from the same release.

    :param plan: an upgrade
    :param one: a rehearsal of its cluster
    """
    if one.cluster != plan.cluster or one.artifacts != plan.basis.artifacts:
        return False
    wanted = {(r.before, r.after) for r in plan.releases if r.product == OPENSTACK}
    done = {(pair[0], pair[1]) for pair in one.releases.values()}
    return wanted <= done


def latest(plan: Plan, known: Iterable[Rehearsal]) -> Rehearsal | None:
    """Return the newest green rehearsal of what a plan does, None without any.

    :param plan: an upgrade
    :param known: rehearsals of its cluster
    """
    fits = [one for one in known if one.state == GREEN and one.ended and same(plan, one)]
    return max(fits, key=lambda one: one.ended or 0.0, default=None)


def check(plan: Plan, policy: Policy, known: Iterable[Rehearsal], now: float) -> None:
    """Refuse an upgrade that must be rehearsed and was not.

    :param plan: that is to begin
    :param policy: of its cluster
    :param known: rehearsals of the cluster
    :param now: seconds since the epoch
    :raises RehearsalRefusedError: there is no green rehearsal of it that is young enough
    """
    if not policy.required or not concerns(plan):
        return
    found = list(known)
    good = latest(plan, found)
    if good and now - (good.ended or 0.0) <= policy.days * _DAY:
        return
    tried = [one for one in found if same(plan, one)]
    if good:
        when = f"is of {moment(good.ended)}, more than {policy.days:g} days ago"
        why = f"its rehearsal {good.id} {when}"
    elif tried:
        last = max(tried, key=lambda one: one.begun)
        why = f"its rehearsal {last.id} is {last.state}"
    else:
        why = "nobody has rehearsed it"
    ref = str(plan.limits.get("revision") or plan.basis.revision)
    raise RehearsalRefusedError(
        f"the upgrade must be rehearsed first, and {why}",
        where=f"plan {plan.hash[:12]}",
        cure=f"`salt-run rehearse.run cluster={plan.cluster} revision={ref}`, then apply the plan",
    )
