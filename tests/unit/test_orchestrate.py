"""The orchestrations that an operator runs: their steps, in their order."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
import yaml

from saltern.rollout.engine import PHASES
from tests.support import TREE, parsed

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TREE / "orchestrate"), undefined=jinja2.StrictUndefined
)
ENVIRONMENT.filters["json"] = json.dumps


def steps(name: str, **pillar: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Id, function and arguments of each step."""
    text = ENVIRONMENT.get_template(f"{name}.sls").render(pillar=pillar)
    found = []
    for ident, body in yaml.safe_load(text).items():
        ((function, arguments),) = body.items()
        found.append((ident, function, {k: v for one in arguments for k, v in one.items()}))
    return found


@pytest.mark.parametrize("name", ["change", "upgrade", "reboot", "reimage", "operation", "scale"])
def test_a_rollout_is_begun_and_each_phase_is_one_step(name: str) -> None:
    (_, function, arguments), *rest = steps(name)
    workflow = "scale-out" if name == "scale" else name
    assert (function, arguments) == ("rollout.begun", {"name": workflow, "failhard": True})
    assert [(f, a["name"]) for _, f, a in rest] == [("rollout.phase", p) for p in PHASES]
    assert all(a == {"name": a["name"], "failhard": True} for _, _, a in rest)
    assert [ident for ident, _, _ in rest] == [f"{workflow}-{phase}" for phase in PHASES]


def test_a_deployment_looks_then_begins_then_goes_stage_by_stage() -> None:
    first, begin, *rest = steps("deploy")
    assert first == ("deploy-preflight", "rollout.stage", {"name": "preflight", "failhard": True})
    # people go on with it, not the master
    arguments = {"name": "deploy", "options": {"resume": False}, "failhard": True}
    assert begin == ("deploy-begin", "rollout.begun", arguments)
    assert [(f, a) for _, f, a in rest] == [
        ("rollout.stage", {"name": name, "failhard": True}) for name in PHASES[1:]
    ]
    assert [ident for ident, _, _ in rest] == [f"deploy-{name}" for name in PHASES[1:]]
    pillar = {"cluster": "demo", "revision": "1e5", "reason": "new", "options": {"soak": 5}}
    first, begin, *rest = steps("deploy", **pillar, plan="1f0c")
    assert begin[2] == {
        "name": "deploy",
        "cluster": "demo",
        "reason": "new",
        "options": {"resume": False, "soak": 5, "revision": "1e5"},
        "failhard": True,
    }
    assert {(a["cluster"], a["revision"]) for _, _, a in (first, *rest)} == {("demo", "1e5")}


def test_what_the_pillar_says_reaches_the_steps() -> None:
    # a hash of digits only stays a text
    begin, *rest = steps("change", plan="123456", cluster="demo", approved_by="oncall: 'x'")
    assert begin[2] == {
        "name": "change",
        "cluster": "demo",
        "plan": "123456",
        "approved_by": "oncall: 'x'",
        "failhard": True,
    }
    assert {(a["plan"], a["cluster"]) for _, _, a in rest} == {("123456", "demo")}
    options = {"revision": "1e5", "nodes": ["a"], "slo": {"keystone": 0.0}}
    assert steps("change", options=options)[0][2]["options"] == options
    assert steps("scale", workflow="replace")[0][2]["name"] == "replace"


def test_a_rollback_names_its_rollout() -> None:
    ((ident, function, arguments),) = steps("rollback", rollout="r20261122-1", accept_loss=True)
    assert (ident, function) == ("rollback", "rollout.undone")
    assert arguments == {"name": "r20261122-1", "accept_loss": True, "failhard": True}
    assert "pillar must name" in steps("rollback")[0][2]["name"]


def test_every_step_is_a_function_of_the_state_module() -> None:
    functions = {
        name: {one.name for one in parsed(TREE / f"_states/{name}.py").body if hasattr(one, "name")}
        for name in ("rollout", "backup", "rehearse")
    }
    for path in (TREE / "orchestrate").glob("*.sls"):
        for _, function, _ in steps(path.stem):
            module, _, name = function.partition(".")
            assert name in functions[module]


def test_a_backup_is_taken_verified_and_old_ones_go() -> None:
    given = steps("backup", cluster="demo", kinds="full")
    assert [function for _, function, _ in given] == [
        "backup.taken", "backup.verified", "backup.expired",
    ]  # fmt: skip
    assert all(a["cluster"] == "demo" and a["failhard"] is True for _, _, a in given)
    assert given[0][2]["kinds"] == "full"
    assert [f for _, f, _ in steps("backup", verify=False)] == ["backup.taken", "backup.expired"]


def test_a_restore_says_what_the_pillar_says() -> None:
    ((_, function, arguments),) = steps("restore", databases="nova", replace=True)
    assert function == "backup.restored"
    assert arguments == {
        "name": "galera.server", "databases": "nova", "replace": True, "failhard": True,
    }  # fmt: skip
