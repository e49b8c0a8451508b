"""What a stage of a deployment would do, told before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from saltern.rollout.ports import Return
from saltern.rollout.returns import changed_states
from saltern.rollout.stages import Stage


def roles_of(stage: Stage) -> dict[str, tuple[str, ...]]:
    """List for each node of a stage the roles that it takes, in the order in which it does."""
    found: dict[str, list[str]] = {}
    for level in stage.levels:
        for step in level.steps:
            for group in step:
                for node in group.nodes:
                    found.setdefault(node, []).extend(group.roles)
    return {node: tuple(roles) for node, roles in sorted(found.items())}


@dataclass
class Foreseen:
    """What the nodes of a stage foresee.

    :param stage: its name
    :param changed: names of states that would change, by node; each node that was asked is there
    :param formed: changes that the forms foresee, by role
    :param failures: one sentence for each node or form that cannot foresee any
    """

    stage: str
    changed: dict[str, list[str]] = field(default_factory=dict)
    formed: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def take(self, answer: Return) -> None:
        """Take the answer of a node to ``state.apply test=True``."""
        self.changed.setdefault(answer.node, []).extend(changed_states(answer.data))
        if not answer.ok:
            self.failures.append(answer.sentence)

    def take_form(self, role: str, function: str, answer: Mapping[str, Any]) -> None:
        """Take the answer of the runner function that forms a role."""
        if answer.get("changes"):
            self.formed[role] = answer["changes"]
        if answer.get("result") is False:
            sentence = str(answer.get("comment") or "").strip()
            self.failures.append(f"{function}: {sentence or 'failed without a reason'}")

    @property
    def comment(self) -> str:
        """It in one line: failures, or how many states would change on each host."""
        if self.failures:
            return f"Stage {self.stage} cannot be foreseen: {' '.join(self.failures)}"
        parts = []
        if self.changed:
            total = sum(len(names) for names in self.changed.values())
            parts.append(f"{total} states would change on {len(self.changed)} hosts")
            if total:
                hosts = (f"{n.split('.')[0]} {len(c)}" for n, c in sorted(self.changed.items()))
                parts[0] += f" ({', '.join(hosts)})"
        if self.formed:
            parts.append(f"would form {', '.join(self.formed)}")
        return f"Stage {self.stage}: {'; '.join(parts) or 'nothing to do'}."

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, in the shape a runner returns.

        ``result`` is None when something would change, False when not everything is foreseen.
        """
        changes: dict[str, Any] = {n: list(c) for n, c in sorted(self.changed.items()) if c}
        if self.formed:
            changes["formed"] = dict(self.formed)
        result = False if self.failures else None if changes else True
        return {
            "result": result,
            "comment": self.comment,
            "changes": changes,
            "counts": {node: len(names) for node, names in sorted(self.changed.items())},
            "failures": list(self.failures),
            "retcode": 1 if self.failures else 0,
        }
