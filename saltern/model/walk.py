"""A node's way through its classes: depth first, each class merged once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saltern.errors import ModelError
from saltern.model.resolve import MissingReference, Resolver
from saltern.model.source import Source
from saltern.model.tree import TreeError, chained, legible, merge, tokenise

if TYPE_CHECKING:
    from saltern.model.inventory import Inventory

#: includes below each other; beyond that they are generated, or a mistake
MAX_INCLUDES = 150

_GENERATED = re.compile(r"^cluster\.(?P<cluster>[^.]+)\.(?P<what>secrets|artifacts)$")
_CURES = {
    "secrets": "Run `saltern model secrets init --cluster {cluster}` to create it",
    "artifacts": "Run `saltern artifact pin` with --cluster {cluster} to create it",
}


@dataclass(frozen=True, eq=False)
class State:
    """What the classes merged so far come to; shared between nodes, never changed."""

    parameters: dict[str, Any]
    exports: dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One class in merge order, and the classes that led to it, its own name last."""

    source: Source
    chain: tuple[str, ...]


@dataclass(frozen=True)
class Walked:
    """The classes of a node, merged: all but the node's own file.

    ``missed`` are the classes that were looked up and do not exist. ``repeatable`` says that
    every node with the same classes walks the same way: no class name holds a reference.
    """

    steps: tuple[Step, ...]
    classes: tuple[str, ...]
    applications: tuple[str, ...]
    state: State
    missed: tuple[str, ...]
    repeatable: bool


class Walk:
    """Merges the classes of one node.

    :param inventory: whose classes are walked
    :param node_id: the node, for error messages
    :param automatic: the parameters that every node has: ``{_reclass_: …}``
    """

    def __init__(self, inventory: Inventory, node_id: str, automatic: dict[str, Any]) -> None:
        self.inventory = inventory
        self.node_id = node_id
        self.automatic = automatic
        self._repeatable = True
        self.state = inventory.merges.empty
        self._steps: list[Step] = []
        self._classes: dict[str, None] = {}
        self._applications: tuple[str, ...] = ()
        self._missed: dict[str, None] = {}
        self._done: set[str] = set()

    def include(self, entry: Source, chain: tuple[str, ...] = ()) -> None:
        """Merge what a file includes.

        :param chain: the classes that led to the file, its own name last; empty for a node
        :raises ModelError: a class that does not exist or cannot be read, or a cycle
        """
        names = []
        for written in entry.classes:
            name = self._resolve(written, entry, chain) if "$" in written else written
            names.append(name)
            if name in self._done:
                continue
            self._guard(name, entry, chain)
            found = self._find(name, entry, chain)
            if found is not None:
                below = (*chain, name)
                self.include(found, below)
                self._merge(found, below)
                self._done.add(name)
        self._classes.update(dict.fromkeys(names))

    def result(self) -> Walked:
        """Return what was merged."""
        return Walked(
            steps=tuple(self._steps),
            classes=tuple(self._classes),
            applications=self._applications,
            state=self.state,
            missed=tuple(self._missed),
            repeatable=self._repeatable,
        )

    def _merge(self, entry: Source, chain: tuple[str, ...]) -> None:
        self.state = self.inventory.merges.after(self.state, entry)
        self._steps.append(Step(entry, chain))
        if entry.applications:
            self._applications = applied(self._applications, entry.applications)

    def _guard(self, name: str, entry: Source, chain: tuple[str, ...]) -> None:
        if name in chain:
            cycle = [*chain[chain.index(name) :], name]
            raise ModelError(
                f"classes include each other: {chained(cycle)}",
                where=f"node {self.node_id}, {entry.path}",
                cure="Remove one of the includes",
            )
        if len(chain) >= MAX_INCLUDES:
            raise ModelError(
                f"classes include each other more than {MAX_INCLUDES} levels deep",
                where=f"node {self.node_id}, {entry.path}",
            )

    def _resolve(self, written: str, entry: Source, chain: tuple[str, ...]) -> str:
        if "${" not in written and "$[" not in written:
            return written
        self._repeatable = False
        try:
            root = merge(self.automatic, self.state.parameters)
            return str(Resolver(root, self.inventory.options).top(tokenise(written)))
        except MissingReference as err:
            ref, name = legible(err.ref), legible(written)
            sentence = f"reference ${{{ref}}} in the class name {name} has no value yet"
        except TreeError as err:
            sentence = f"class name {legible(written)}: {err.sentence}"
        raise ModelError(sentence, where=f"node {self.node_id}, {via(entry, chain)}, key classes")

    def _find(self, name: str, entry: Source, chain: tuple[str, ...]) -> Source | None:
        inventory = self.inventory
        if name in inventory.class_files:
            try:
                found = inventory.load_class(name)
            except ModelError as err:
                raise ModelError(
                    err.sentence,
                    where=f"node {self.node_id}, {err.where} ({chained((*chain, name))})",
                    cure=err.cure,
                ) from None
            if found.environment is not None and inventory.options.strict:
                raise ModelError(
                    "environment has no effect in a class",
                    where=f"node {self.node_id}, {via(found, (*chain, name))}",
                    cure="Set it in the node file",
                )
            return found
        self._missed[name] = None
        if name in inventory.optional:
            return None
        if inventory.options.ignore_class_notfound and inventory.ignores(name):
            return None
        generated = _GENERATED.match(name)
        if generated and inventory.options.placeholders:
            return None
        raise ModelError(
            f"class {legible(name)} does not exist",
            where=f"node {self.node_id}, {via(entry, chain)}, key classes",
            cure=_CURES[generated["what"]].format(cluster=generated["cluster"])
            if generated
            else "",
        )


def applied(below: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return applications with those of one more file; ``~name`` removes."""
    # within one file first, as reclass does: `[a, ~a]` leaves nothing, `[~a, a]` leaves a
    own: list[str] = []
    removed: list[str] = []
    for name in names:
        if name.startswith("~"):
            removed.append(name[1:])
            if name[1:] in own:
                own.remove(name[1:])
        elif name not in own:
            own.append(name)
    kept = [name for name in below if name not in removed]
    return (*kept, *(name for name in own if name not in kept))


def via(entry: Source, chain: tuple[str, ...]) -> str:
    """A file and the classes that lead to it; the node is named elsewhere."""
    return f"{entry.path} ({chained(chain)})" if chain else entry.path
