"""The same failures behind the decorator of this suite."""

from saltern.adapters.runner import salt_runner
from saltern.errors import GateError, StageError


@salt_runner
def wrong(kind):
    """
    Fail in the way that is asked for.

    CLI Example:

    .. code-block:: bash

        salt-run guarded.wrong refused
    """
    if kind == "refused":
        raise GateError("the quorum is gone", where="inf02", cure="Start inf02")
    if kind == "failed":
        raise StageError("a host failed")
    if kind == "type":
        raise TypeError("a type")
    return {
        "result": {"result": False, "comment": "no"},
        "paused": {"result": True, "retcode": 3},
        "done": {"result": True},
    }[kind]
