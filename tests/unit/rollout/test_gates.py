"""Verdicts: what is not known to be well never passes, and every code has its cure."""

from __future__ import annotations

import re
from typing import Any

import pytest

from saltern.plan.types import Check
from saltern.rollout import gates
from saltern.rollout.ports import Return
from tests.support import TREE

UNIT = {"unit": "keystone-api", "retry": {"attempts": 2}}
CHECK = Check("ctl01", "keystone.server", (UNIT, {"port": 5000}))


def answer(ok: bool, verdict: str, code: str, sentence: str = "seen.") -> dict[str, Any]:
    return {"check": UNIT, "ok": ok, "verdict": verdict, "code": code, "sentence": sentence}


@pytest.mark.parametrize(("code", "level"), [(c, x) for c, ls in gates.CODES.items() for x in ls])
def test_every_code_is_read_with_its_levels(code: str, level: str) -> None:
    passes = level in ("ok", "warn")
    found = gates.read(UNIT, answer(passes, level, code), "ctl01", "keystone.server")
    assert (found.level, found.code, found.passes) == (level, code, passes)
    assert str(found) == "ctl01: keystone.server: seen."


@pytest.mark.parametrize(
    "given",
    [
        answer(True, "fail", "unit-inactive"),
        answer(True, "unknown", "not-asked"),
        answer(False, "ok", "ok"),
        answer(False, "warn", "disk-low"),
        answer(True, "ok", "disk-low"),
        answer(True, "ok", "splendid"),
        answer(True, "fine", "ok"),
        {"ok": True, "verdict": "ok", "sentence": "no code."},
        {"ok": True, "code": "ok", "sentence": "no verdict."},
        {"ok": 1, "sentence": "no boolean."},
        {"sentence": "no answer."},
        {},
        None,
        "ok",
        True,
    ],
)
def test_an_answer_that_contradicts_itself_is_unknown(given: Any) -> None:
    found = gates.read(UNIT, given)
    assert (found.level, found.code, found.passes) == ("unknown", "bad-answer", False)
    assert "unit keystone-api" in found.sentence


def test_modules_of_an_older_version_say_only_whether_it_is_well() -> None:
    assert gates.read(UNIT, {"ok": True, "sentence": "active."}).level == "ok"
    found = gates.read(UNIT, {"ok": False, "sentence": "inactive."})
    assert (found.level, found.code, found.sentence) == ("fail", "call-refused", "inactive.")
    assert gates.read(UNIT, {"ok": False}).sentence == "unit keystone-api says no."


def test_every_check_of_a_role_has_its_verdict() -> None:
    data = [answer(True, "ok", "ok"), answer(False, "fail", "port-closed")]
    found = gates.read_all(CHECK, Return("ctl01", True, data))
    assert [verdict.code for verdict in found] == ["ok", "port-closed"]
    assert {(verdict.node, verdict.role) for verdict in found} == {("ctl01", "keystone.server")}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (None, "no-answer"),
        (Return("ctl01", False, silent=True, sentence="ctl01: did not answer."), "no-answer"),
        (Return("ctl01", False, "trace", 1, sentence="ctl01: raised."), "not-asked"),
        (Return("ctl01", True, [answer(True, "ok", "ok")]), "bad-answer"),
        (Return("ctl01", True, {"ok": True}), "bad-answer"),
        (Return("ctl01", True), "bad-answer"),
    ],
)
def test_a_node_that_gives_no_usable_answer_does_not_pass(given: Return | None, code: str) -> None:
    (found,) = gates.read_all(CHECK, given)
    assert (found.code, found.level, found.passes) == (code, "unknown", False)
    assert str(found).count("ctl01: ") == 1


def test_the_worst_verdict_speaks() -> None:
    levels = {"ok": "ok", "warn": "disk-low", "unknown": "not-asked", "fail": "port-closed"}
    found = [gates.Verdict(level, code, "x") for level, code in levels.items()]
    assert gates.worst([]) is None
    for number in range(len(found)):
        assert gates.worst(reversed(found[: number + 1])) is found[number]


def test_every_code_has_a_heading_with_its_cure() -> None:
    page = (TREE / "docs/reference/codes.md").read_text()
    text = page.split("\n## Verdicts of health checks\n")[1].split("\n## ")[0]
    sections = dict(
        re.findall(r"^### `([\w-]+)`\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    )
    assert list(sections) == list(gates.CODES)
    assert not [code for code, told in sections.items() if "\nCure: " not in told]


def test_the_modules_of_a_node_use_known_codes_only() -> None:
    found = set()
    for name in ("health", "health_host", "ceph_gate", "openstack_upgrade"):
        text = (TREE / f"_modules/{name}.py").read_text()
        found |= set(re.findall(r"\"((?:[a-z]+-)+[a-z]+)\"", text))
    asked = {code for code in gates.CODES if "-" in code}
    asked -= {"no-answer", "bad-answer", "slo-missed", "probe-silent"}  # said by the master
    assert found & set(gates.CODES) == asked
    others = {"is-active", "is-enabled", "enabled-runtime", "saltern-health"}
    assert found - set(gates.CODES) == others
