"""What every runner of this suite has in common: errors as data, and an exit code that holds.

``salt-run`` takes its exit code from ``return["retcode"]`` alone, while an orchestration step
looks at ``__context__["retcode"]`` alone; a ``TypeError`` out of a runner is shown as "Passed
invalid arguments" with exit code 0. The decorator sets both and lets no ``TypeError`` out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from saltern.errors import SalternError

#: The exit codes of every runner.
DONE, FAILED, REFUSED, PAUSED = 0, 1, 2, 3

Runner = TypeVar("Runner", bound=Callable[..., Any])


def salt_runner(func: Runner) -> Runner:
    """Decorate a public runner function so that its failure is a sentence and an exit code.

    - A :class:`~saltern.errors.SalternError` becomes ``{"result": False, "comment": sentence,
      "code": code, "retcode": exit code}``.
    - A returned mapping with ``result: False`` and no ``retcode`` gets ``retcode: 1``; the
      ``retcode`` of a returned mapping is also put in ``__context__`` for orchestrations.
    - A ``TypeError`` or ``SaltInvocationError`` becomes ``SaltRunnerError``.

    :param func: a function of a module that Salt's loader gave its ``__context__``
    :returns: the function with the same signature
    :raises SaltRunnerError: in place of a ``TypeError`` raised inside ``func``

    Source: Salt, ``salt/client/mixins.py`` (``SyncClientMixin.low``) and ``salt/cli/run.py``.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from salt.exceptions import SaltInvocationError, SaltRunnerError

        try:
            ret = func(*args, **kwargs)
        except SalternError as err:
            ret = {
                "result": False,
                "comment": str(err),
                "code": err.code,
                "retcode": err.exit_code,
            }
        except (TypeError, SaltInvocationError) as err:
            raise SaltRunnerError(f"{func.__module__}.{func.__name__}: {err}") from err
        if isinstance(ret, dict):
            if ret.get("result") is False:
                ret.setdefault("retcode", FAILED)
            # __context__ outlives one call in a long-lived process: a success clears it.
            context = func.__globals__.get("__context__")
            if context is not None and ("retcode" in ret or "retcode" in context):
                context["retcode"] = ret.get("retcode", DONE)
        return ret

    return cast(Runner, wrapper)
