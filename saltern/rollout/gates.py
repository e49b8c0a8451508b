"""Read what the health checks of a node answered: a level, a code from a closed list, a sentence.

A gate passes on ``ok`` and ``warn``. Everything that is not known to be well is ``unknown``, and
that never passes: a node that keeps silent, a check that could not be asked, an answer that
contradicts itself or carries a code that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from saltern.plan.types import Check
from saltern.rollout.ports import Return

OK, WARN, FAIL, UNKNOWN = "ok", "warn", "fail", "unknown"
LEVELS = (OK, WARN, FAIL, UNKNOWN)
#: levels that let a rollout go on
PASSING = (OK, WARN)

#: Every code that a verdict may carry, and the levels it may have. Each has a heading with its
#: cure in ``docs/reference/codes.md``.
CODES: Mapping[str, tuple[str, ...]] = {
    "ok": (OK,),
    "unit-inactive": (FAIL,),
    "unit-disabled": (FAIL,),
    "port-closed": (FAIL,),
    "http-unreachable": (FAIL,),
    "http-status": (FAIL,),
    "file-missing": (FAIL,),
    "file-differs": (FAIL,),
    "call-refused": (FAIL,),
    "call-warned": (WARN,),
    "call-missing": (UNKNOWN,),
    "tls-refused": (FAIL,),
    "tls-expiring": (WARN, FAIL),
    "disk-low": (WARN, FAIL),
    "inodes-low": (WARN, FAIL),
    "clock-off": (WARN, FAIL),
    "clock-free": (WARN, FAIL),
    "version-missing": (FAIL,),
    "version-differs": (FAIL,),
    "ceph-unreachable": (FAIL,),
    "ceph-damaged": (FAIL,),
    "ceph-full": (FAIL,),
    "ceph-clock": (FAIL,),
    "ceph-quorum": (WARN, FAIL),
    "ceph-manager": (FAIL,),
    "ceph-down": (FAIL,),
    "ceph-pgs": (WARN, FAIL),
    "ceph-slow": (FAIL,),
    "ceph-flags": (WARN, FAIL),
    "ceph-warning": (FAIL,),
    "ceph-stop": (FAIL,),
    "ceph-destroy": (FAIL,),
    "not-asked": (UNKNOWN,),
    "no-answer": (UNKNOWN,),
    "bad-answer": (UNKNOWN,),
    "upgrade-refused": (FAIL,),
    "upgrade-warned": (WARN,),
    "upgrade-unfinished": (FAIL,),
    "schema-differs": (FAIL,),
    "slo-missed": (FAIL,),
    "probe-silent": (UNKNOWN,),
}


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    :param level: :data:`OK`, :data:`WARN`, :data:`FAIL` or :data:`UNKNOWN`
    :param code: a key of :data:`CODES`
    :param sentence: what was seen, with a full stop
    :param node: who was asked, empty when the reader did not say
    :param role: the role it is about
    """

    level: str
    code: str
    sentence: str
    node: str = ""
    role: str = ""

    @property
    def passes(self) -> bool:
        """Whether a rollout may go on."""
        return self.level in PASSING

    def __str__(self) -> str:
        return ": ".join(part for part in (self.node, self.role, self.sentence) if part)


def read(check: Mapping[str, Any], answer: Any, node: str = "", role: str = "") -> Verdict:
    """Judge the answer to one check.

    :param check: what was asked, an item of ``lifecycle:<role>:health``
    :param answer: the item of ``health.check`` for it: ``{check, ok, verdict, code, sentence}``. A
        node whose modules are older leaves out ``verdict`` and ``code``: its ``ok`` counts then
    :param node: who answered
    :param role: the role that the check is about
    """
    if not isinstance(answer, Mapping) or not isinstance(answer.get("ok"), bool):
        return Verdict(UNKNOWN, "bad-answer", f"No answer to {_named(check)}.", node, role)
    good = bool(answer["ok"])
    told = " ".join(str(answer.get("sentence") or "").split()).rstrip(".")
    sentence = f"{told or _named(check) + (' is content' if good else ' says no')}."
    if "verdict" not in answer and "code" not in answer:
        level, code = (OK, "ok") if good else (FAIL, "call-refused")
        return Verdict(level, code, sentence, node, role)
    level, code = str(answer.get("verdict")), str(answer.get("code"))
    if level not in CODES.get(code, ()) or (level in PASSING) is not good:
        wrong = f"ok {good}, verdict {level}, code {code}"
        sentence = f"The answer to {_named(check)} contradicts itself ({wrong}): {sentence}"
        return Verdict(UNKNOWN, "bad-answer", sentence, node, role)
    return Verdict(level, code, sentence, node, role)


def read_all(check: Check, answer: Return | None) -> tuple[Verdict, ...]:
    """Judge what a node answered to all checks of one role.

    :param check: what was asked
    :param answer: the return of ``health.check`` with ``check.checks``; None: it was not published
    :returns: one verdict for each check; a single one when the node gave no usable answer
    """
    node, role = check.node, check.role
    if answer is None or not answer.ok:
        code = "no-answer" if answer is None or answer.silent else "not-asked"
        told = answer.sentence if answer is not None else "was not asked."
        return (Verdict(UNKNOWN, code, told.removeprefix(f"{node}: "), node, role),)
    if not isinstance(answer.data, list) or len(answer.data) != len(check.checks):
        sentence = f"health.check did not answer for each of its {len(check.checks)} checks."
        return (Verdict(UNKNOWN, "bad-answer", sentence, node, role),)
    return tuple(
        read(item, given, node, role) for item, given in zip(check.checks, answer.data, strict=True)
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the verdict that speaks most against going on, the first of equals; None of none."""
    order = {OK: 0, WARN: 1, UNKNOWN: 2, FAIL: 3}
    found: Verdict | None = None
    for verdict in verdicts:
        if found is None or order[verdict.level] > order[found.level]:
            found = verdict
    return found


def _named(check: Mapping[str, Any]) -> str:
    """``unit keystone-api``: the kind of a check and its object."""
    manner = ("retry", "timeout", "comment", "scope")
    for key, value in check.items():
        if key not in manner:
            return f"{key} {value}"
    return "an empty check"
