"""What a node returned, judged: replies as Salt 3008 gives them."""

from __future__ import annotations

import pytest

from saltern.rollout.returns import LONGEST, changed_states, denied, judge, silent

from .fakes import state_return

NODE = "ctl01.x"

DRAGGED = {
    "service_|-svc_|-svc_|-running": {
        "result": False,
        "changes": {},
        "comment": "One or more requisite failed: a.x.conf",
        "__run_num__": 5,
    }
}


@pytest.mark.parametrize(
    ("data", "retcode", "sentence"),
    [
        (True, 0, ""),
        (False, 0, ""),
        (None, 0, ""),
        ({}, 0, ""),
        (state_return(("a", True, {})), 0, ""),
        (state_return(("a", None, {"x": 1})), 0, ""),
        (
            state_return(("a", True, {}), ("b", False, {})),
            2,
            "ctl01.x: state b (file.managed) failed: comment of b.",
        ),
        # a state that failed is believed, whatever the code says
        (
            state_return(("a", False, {})),
            0,
            "ctl01.x: state a (file.managed) failed: comment of a.",
        ),
        (
            state_return(("b", False, {}), ("a", False, {})),
            2,
            "ctl01.x: state b (file.managed) failed (and 1 more): comment of b.",
        ),
        (
            {**DRAGGED, **state_return(("a", False, {}))},
            2,
            "ctl01.x: state a (file.managed) failed: comment of a.",
        ),
        (
            DRAGGED,
            2,
            "ctl01.x: state svc (service.running) failed: One or more requisite failed: a.x.conf.",
        ),
        (
            {
                "no_|-states_|-states_|-None": {
                    "result": False,
                    "comment": "No matching sls found for 'z' in env 'base'",
                    "changes": {},
                }
            },
            2,
            "ctl01.x: state states (no.None) failed: No matching sls found for 'z' in env 'base'.",
        ),
        (
            state_return(("a", True, {})),
            2,
            "ctl01.x: the states returned code 2 though none of them failed.",
        ),
        (
            ["Pillar failed to render with the following messages:", "no such\nclass."],
            1,
            "ctl01.x: Pillar failed to render with the following messages:; no such class.",
        ),
        ("'x.y' is not available.", 254, "ctl01.x: 'x.y' is not available."),
        (False, 1, "ctl01.x: returned code 1."),
        (True, 3, "ctl01.x: returned code 3."),
        (
            (
                "The minion function caused an exception: Traceback (most recent call last):\n"
                '  File "a.py", line 1, in b\n    c()\nValueError: it broke\n'
            ),
            1,
            "ctl01.x: The minion function caused an exception: ValueError: it broke.",
        ),
        ({"result": False}, 1, "ctl01.x: {'result': False}."),
    ],
)
def test_judge(data, retcode, sentence):
    answer = judge(NODE, data, retcode, "20260101")
    assert answer.sentence == sentence
    assert answer.ok is (sentence == "")
    assert bool(answer.retcode) is not answer.ok
    assert (answer.node, answer.data, answer.jid) == (NODE, data, "20260101")
    assert not answer.silent


def test_a_long_comment_is_cut():
    states = state_return(("a", False, {}))
    next(iter(states.values()))["comment"] = "x" * 5000
    assert len(judge(NODE, states, 2).sentence) < LONGEST + 100


def test_silence_fails():
    answer = silent(NODE, "did not answer.")
    assert (answer.ok, answer.silent, answer.data) == (False, True, None)
    assert answer.retcode
    assert answer.sentence == "ctl01.x: did not answer."


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (state_return(("a", True, {}), ("b", True, {"x": 1})), ["b (file.managed)"]),
        (state_return(("a", None, {})), ["a (file.managed)"]),
        # a failed state may have changed something before it failed
        (state_return(("a", False, {"x": 1})), ["a (file.managed)"]),
        (["no states"], []),
        (None, []),
    ],
)
def test_changed_states(data, names):
    assert changed_states(data) == names


def test_a_denied_pillar_is_told_as_such() -> None:
    """The minion knows no more than that; the reason is the master's to tell."""
    text = (
        "The minion function caused an exception: Traceback (most recent call last):\n  File x\n"
        "salt.exceptions.SaltClientError: Got a bad pillar from master, type str, expecting dict: "
    )
    answer = judge(NODE, text, 1)
    assert answer.sentence == "ctl01.x: the master gives it no pillar, so no state was run."
    assert denied([answer.sentence, "ctl02.x: returned code 1."]) == [NODE]
