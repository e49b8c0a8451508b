"""Ask a cluster of Ceph through the host of one of its monitors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saltern.errors import BusError, GateError
from saltern.rollout.ports import Bus

#: Seconds a host may be silent before the bus asks whether it still works, and until it is away.
PATIENCE, PRESENCE = 60, 10
#: Ceph's checks that count objects: while copies are few every write makes them worse.
OF_OBJECTS = ("PG_DEGRADED", "OBJECT_MISPLACED")


def mute(code: str, ttl: str) -> dict[str, Any]:
    """Return the arguments of ``health mute`` that let a warning not count for some time.

    It ends by itself when there is more of it, but for what grows by writes alone.

    :param code: as Ceph names it
    :param ttl: for how long, as Ceph writes times
    """
    return {"code": code, "ttl": ttl, **({"sticky": True} if code in OF_OBJECTS else {})}


def first(
    bus: Bus,
    nodes: Sequence[str],
    function: str,
    arguments: Sequence[Any] = (),
    kwarg: Mapping[str, Any] | None = None,
) -> Any:
    """Call a function on the first of some hosts that is there.

    :param bus: where they answer
    :param nodes: minion ids of the monitors
    :param function: of an execution module
    :param arguments: its arguments, plain data
    :param kwarg: its keyword arguments
    :returns: what it returns
    :raises BusError: none of them is there
    :raises GateError: the function refused
    """
    answers = bus.call(nodes, "test.ping", timeout=PRESENCE)
    there = [node for node, answer in sorted(answers.items()) if answer.ok]
    if not there:
        raise BusError(
            "no host of a monitor answers",
            where=", ".join(sorted(nodes)),
            cure="See `salt-run manage.status`",
        )
    node = there[0]
    answer = bus.call([node], function, list(arguments), dict(kwarg or {}), PATIENCE)[node]
    if not answer.ok:
        raise GateError(answer.sentence.removeprefix(f"{node}: "), where=node)
    return answer.data
