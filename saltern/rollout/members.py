"""Ask the members of a cluster for their facts: the same for all that decide from facts.

What the facts are is their own: :mod:`saltern.rollout.galera`, :mod:`saltern.rollout.rabbitmq`,
:mod:`saltern.ceph.form`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from saltern.errors import GateError
from saltern.rollout.ports import Bus, Return

#: Seconds a member may be silent before the bus asks whether it still works.
PATIENCE = 60

M = TypeVar("M")


@contextmanager
def reading(node: str, function: str) -> Iterator[None]:
    """Read in the block what a member returned; what has another shape is told with its node.

    :param node: minion id
    :param function: what was asked, ``galera_cluster.facts``
    :raises GateError: a part is missing, or is something else
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise GateError(
            f"{function} returned something else than facts ({err!r})",
            where=node,
            cure="Run saltutil.sync_modules on the node",
        ) from err


def gather(
    bus: Bus,
    nodes: Sequence[str],
    function: str,
    read: Callable[[str, Any], M],
    kwarg: Mapping[str, Any] | None = None,
) -> tuple[dict[str, M | None], list[str]]:
    """Ask every member for its facts.

    :param bus: where they answer
    :param nodes: minion ids of all members
    :param function: what to ask
    :param read: minion id and what it returned to a member
    :param kwarg: keyword arguments of ``function``
    :returns: a member by minion id, None for one that did not answer or failed to say; and a
        sentence for each of those
    :raises GateError: a node returned something that is no facts
    """
    returns = bus.call(nodes, function, kwarg=kwarg, timeout=PATIENCE)
    facts = {
        node: read(node, answer.data) if answer.ok else None for node, answer in returns.items()
    }
    return facts, failed(returns.values())


def failed(answers: Iterable[Return]) -> list[str]:
    """List why answers are not ok, one sentence each.

    :param answers: of the members
    """
    return [answer.sentence or f"{answer.node} failed." for answer in answers if not answer.ok]
