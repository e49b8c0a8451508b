"""Judge what a node returned: ok or not, and why in one sentence that names host and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saltern.rollout.ports import Return

#: Separates the four parts of a state's key in a state return: module, id, name, function.
STATE_KEY = "_|-"

#: How much of a comment or of an error text fits a sentence.
LONGEST = 600

#: Begins the text of a Python exception that Salt passes on.
TRACEBACK = "Traceback (most recent call last):"

#: Comments of states that only failed because another one did (salt/state.py).
REQUISITE_FAILED = "One or more requisite failed"

#: What a minion says whose request for a pillar was denied (salt/pillar/__init__.py,
#: ``RemotePillarMixin.validate_return``).
BAD_PILLAR = "Got a bad pillar from master"

#: What is told instead: nothing about the reason is in a minion's answer.
DENIED = "the master gives it no pillar, so no state was run"


def is_state_return(data: Any) -> bool:
    """Tell whether ``data`` is what ``state.apply`` and its kin return after rendering."""
    return (
        isinstance(data, Mapping)
        and bool(data)
        and all(
            isinstance(key, str) and STATE_KEY in key and isinstance(value, Mapping)
            for key, value in data.items()
        )
    )


def state_name(key: str) -> str:
    """Turn a state return's key into ``id (module.function)``."""
    module, ident, _, function = [*key.split(STATE_KEY), "", "", ""][:4]
    return f"{ident} ({module}.{function})"


def clip(text: str) -> str:
    """Put a text on one line of bearable length."""
    line = " ".join(str(text).split()).rstrip(".")
    return line if len(line) <= LONGEST else line[: LONGEST - 4] + " ..."


def explain(data: Any, retcode: int) -> str:
    """Say in one line what a function that failed returned; of a traceback only its end."""
    if isinstance(data, bool | None) or not data:
        return f"returned code {retcode}"
    if isinstance(data, list | tuple):
        return "; ".join(clip(item) for item in data)
    text = str(data)
    if BAD_PILLAR in text:
        return DENIED
    if TRACEBACK in text:
        head, _, rest = text.partition(TRACEBACK)
        text = f"{head.strip()} {rest.strip().splitlines()[-1]}"
    return clip(text)


def failed_states(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the states that failed by themselves as ``(name, comment)`` in the order they ran.

    States that were only dragged along by a failed requisite are left out, unless there is
    nothing else to blame.
    """
    failed = sorted(
        ((key, value) for key, value in data.items() if value.get("result") is False),
        key=lambda item: item[1].get("__run_num__", 0),
    )
    named = [(state_name(key), clip(value.get("comment", ""))) for key, value in failed]
    return [item for item in named if not item[1].startswith(REQUISITE_FAILED)] or named


def changed_states(data: Any) -> list[str]:
    """List the names of the states that changed something (or would, in test mode), in order."""
    if not is_state_return(data):
        return []
    changed = [
        (value.get("__run_num__", 0), state_name(key))
        for key, value in data.items()
        # in test mode a state may foresee a change without being able to say which
        if value.get("changes") or value.get("result") is None
    ]
    return [name for _, name in sorted(changed)]


def judge(node: str, data: Any, retcode: int, jid: str = "") -> Return:
    """Turn a node's raw answer into a :class:`~saltern.rollout.ports.Return`.

    :param node: minion id
    :param data: the function's return value
    :param retcode: Salt's return code
    :param jid: Salt job id
    """
    if is_state_return(data):
        failed = failed_states(data)
        if failed:
            name, comment = failed[0]
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            sentence = f"{node}: state {name} failed{more}: {comment or 'no comment'}."
            return Return(node, False, data, retcode or 1, False, jid, sentence)
        # retcode 2 without a failed state cannot be explained; it is not success either
        if retcode:
            sentence = f"{node}: the states returned code {retcode} though none of them failed."
            return Return(node, False, data, retcode, False, jid, sentence)
        return Return(node, True, data, 0, False, jid)
    if retcode:
        sentence = f"{node}: {explain(data, retcode)}."
        return Return(node, False, data, retcode, False, jid, sentence)
    return Return(node, True, data, 0, False, jid)


def denied(sentences: Iterable[str]) -> list[str]:
    """List the nodes that failed because they got no pillar.

    :param sentences: of :class:`~saltern.rollout.ports.Return`, ``<node>: …``
    """
    return [text.partition(": ")[0] for text in sentences if f": {DENIED}" in text]


def silent(node: str, why: str, jid: str = "") -> Return:
    """Make the Return of a node that did not answer.

    :param why: the rest of the sentence after the node's name
    """
    return Return(node, False, None, 1, True, jid, f"{node}: {why.rstrip('.')}.")
