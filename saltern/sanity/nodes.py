"""Sanity checks that a node of the cluster carries out itself, with what it has to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saltern.rollout.ports import Bus
from saltern.sanity.run import Row

#: Role -> name of the check, and the function that each of its nodes runs: it returns
#: ``{ok, sentence, seconds}``.
NODE_CHECKS: Mapping[str, tuple[str, str]] = {
    "ceph.client": ("write and read an object", "ceph_client.sanity"),
}
#: Seconds a node may be silent before it is asked whether it still works.
PATIENCE = 60


def run(bus: Bus, members: Mapping[str, Sequence[str]]) -> list[Row]:
    """Have every node with such a role use what the role gives it.

    :param bus: where the nodes answer
    :param members: ``service.role`` -> minion ids
    :returns: one row for each node; a silent one failed
    """
    rows = []
    for role, (name, function) in NODE_CHECKS.items():
        nodes = sorted(members.get(role, ()))
        if not nodes:
            continue
        for node, answer in sorted(bus.call(nodes, function, timeout=PATIENCE).items()):
            data = answer.data if answer.ok and isinstance(answer.data, Mapping) else {}
            said = str(data.get("sentence") or answer.sentence or "The answer is not one.")
            rows.append(
                Row(
                    role,
                    name,
                    node.partition(".")[0],
                    data.get("ok") is True,
                    float(data.get("seconds") or 0),
                    said.rstrip("."),
                )
            )
    return rows
