"""Exit codes of ``salt-run`` as Salt 3008 has them, bare and behind this suite's decorator.

The first table pins what the decorator is for: if Salt changes it, this fails and says so.
"""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("kind", "code"), [("nothing", 0), ("retcode", 4), ("context", 0), ("type", 0)]
)
def test_exit_codes_of_bare_runner_functions(run: Any, kind: str, code: int):
    assert run("trial.wrong", kind).returncode == code


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("failed", 1, "a host failed."),
        ("refused", 2, "inf02: the quorum is gone. Start inf02."),
        ("result", 1, "no"),
        ("type", 1, "SaltRunnerError"),
    ],
)
def test_exit_codes_behind_the_decorator(run: Any, kind: str, code: int, text: str):
    done = run("guarded.wrong", kind)
    assert done.returncode == code
    assert text in done.stdout


def test_orchestrations_see_it_too(run: Any, master: Any):
    kinds = {"done": True, "failed": False, "refused": False, "result": False, "type": False}
    sls = "\n".join(
        f"{kind}:\n  salt.runner:\n    - name: guarded.wrong\n    - kind: {kind}\n"
        for kind in kinds
    )
    with master.state_tree.base.temp_file("steps.sls", sls):
        done = run("state.orch", "steps")
    assert done.returncode == 1
    (steps,) = done.data["data"].values()
    assert {key.split("_|-")[1]: step["result"] for key, step in steps.items()} == kinds
