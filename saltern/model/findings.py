"""What rules are made of: the registry, what a rule is given, what it finds."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from saltern import __version__
from saltern.errors import ModelError
from saltern.model import lines
from saltern.model.cluster import CompiledNode, cluster_of
from saltern.model.inventory import Inventory, Merged
from saltern.model.lines import Spot
from saltern.model.nodeset import fold
from saltern.model.schema import Violation, violations

ERROR, WARNING = "error", "warning"
#: nodes that a sentence lists one by one
_SHOWN = 3


def listed(nodes: Sequence[str]) -> str:
    """Return node ids as a sentence tells them: many as ranges, ``cmp001-080.iaas.test``."""
    return ", ".join(nodes) if len(nodes) <= _SHOWN else fold(nodes, domain=True)


@dataclass(frozen=True)
class Finding:
    """One fault of a model.

    ``place`` names key, file, line and class chain; ``file`` (below the model tree) and ``line``
    are empty and 0 when the fault is in no single file.
    """

    rule: str
    severity: str
    sentence: str
    nodes: tuple[str, ...] = ()
    place: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        who = ""
        if self.nodes:
            who = f"node{'s' if len(self.nodes) > 1 else ''} {listed(self.nodes)}"
        where = ", ".join(filter(None, (who, self.place)))
        sentence = f"{self.sentence.rstrip('.')}. [{self.rule}]"
        return f"{where}: {sentence}" if where else sentence

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain data, with the cure of its rule."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "sentence": self.sentence,
            "nodes": list(self.nodes),
            "place": self.place,
            "file": self.file,
            "line": self.line,
            "cure": RULES[self.rule].cure if self.rule in RULES else "",
        }


@dataclass(frozen=True)
class Removed:
    """A key that the model no longer knows (one row of ``removed_keys.yaml``)."""

    key: tuple[str, ...]
    replaced_by: str
    since: str
    expires: str


@dataclass
class Tree:
    """What a rule about the whole tree is given.

    :param inventory: the model tree
    :param formulas: directory of formulas
    :param only: names of the clusters that are checked; None for all
    :param deploying: whether a deployment asks, which refuses what a review only warns about
    :param today: the day that decides whether a removed key has expired
    """

    inventory: Inventory
    formulas: Path
    only: tuple[str, ...] | None = None
    deploying: bool = False
    today: datetime.date = field(default_factory=datetime.date.today)
    version: str = __version__

    @cached_property
    def members(self) -> dict[str, Merged]:
        """Every node of the tree that can be merged, by id."""
        found = {}
        for node_id in self.inventory.nodes():
            try:
                found[node_id] = self.inventory.merged(node_id)
            except ModelError:
                continue  # told by the rule `compile`
        return found

    @cached_property
    def class_names(self) -> list[str]:
        """Classes that are checked: all but those of clusters that nobody asked for."""
        return [name for name in sorted(self.inventory.class_files) if self._asked(name)]

    @cached_property
    def node_names(self) -> list[str]:
        """Nodes that are checked, by their cluster."""
        if self.only is None:
            return sorted(self.members)
        found = []
        for node_id in self.members:
            try:
                if cluster_of(self.inventory, node_id) in self.only:
                    found.append(node_id)
            except ModelError:
                continue
        return sorted(found)

    def _asked(self, name: str) -> bool:
        layer, _, rest = name.partition(".")
        return self.only is None or layer != "cluster" or rest.split(".")[0] in self.only

    def class_spot(self, name: str, line: int, key: str = "") -> Spot:
        """Return the place of a line in a class file."""
        options = self.inventory.options
        top = (self.inventory.path / options.classes_path).name
        file = f"{top}/{self.inventory.class_files[name]}"
        text = f"{file}:{line} (class {name})" + (f", key {key}" if key else "")
        return Spot(file, line, text)

    def mentions(self, name: str, text: str) -> bool:
        """Return whether a class file contains a text; no parsing is done.

        :raises ModelError: the file cannot be read
        """
        path = lines.full_path(self.inventory, self.class_spot(name, 0).file)
        try:
            return text in path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ModelError("cannot read the file", where=str(path)) from None

    def class_lines(self, name: str) -> lines.Lines:
        """Return the lines of a class file.

        :raises ModelError: the file cannot be read
        """
        return lines.of(self.inventory, self.class_spot(name, 0).file)


def lifecycle_of(node: CompiledNode, role: str) -> dict[str, Any] | None:
    """Return what a node declares as the lifecycle of a role, None when that is no mapping."""
    declared: Any = node.lifecycle
    entry = declared.get(role) if isinstance(declared, dict) else None
    return entry if isinstance(entry, dict) else None


@dataclass
class Cluster:
    """What a rule about one cluster is given.

    ``nodes`` are those that compile; ``whole`` says whether that is all of them, since a rule
    that compares nodes would be wrong about a cluster with holes.
    """

    tree: Tree
    name: str
    nodes: Mapping[str, CompiledNode]
    errors: Mapping[str, ModelError]
    #: what was validated, by what: most nodes of a role have the same data
    _validated: dict[tuple[str, str], list[Violation]] = field(default_factory=dict)

    @property
    def inventory(self) -> Inventory:
        """The model tree."""
        return self.tree.inventory

    @property
    def formulas(self) -> Path:
        """Directory of formulas."""
        return self.tree.formulas

    @property
    def whole(self) -> bool:
        """True when every node of the cluster compiles."""
        return not self.errors

    def merged(self, node_id: str) -> Merged:
        """Return a node before its references are resolved."""
        return self.tree.members[node_id]

    @cached_property
    def lifecycles(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Role -> (first node that carries it, its lifecycle there)."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for node in self.nodes.values():
            for role in node.applications:
                entry = lifecycle_of(node, role)
                if entry is not None:
                    found.setdefault(role, (node.id, entry))
        return found

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """Role -> ids of the nodes that carry it."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for role in node.applications:
                found.setdefault(role, []).append(node.id)
        return found

    def violations(self, name: str, data: Any, schema: Mapping[str, Any]) -> list[Violation]:
        """Return what in some data does not fit; equal data is looked at once.

        :param name: what the schema is of
        """
        key = (name, json.dumps(data, sort_keys=True, default=repr))
        if key not in self._validated:
            self._validated[key] = list(violations(data, schema))
        return self._validated[key]

    def modelled_only(self, role: str) -> bool:
        """Return whether a role says that no formula carries it out yet."""
        return self.lifecycles.get(role, ("", {}))[1].get("executable") is False

    def has_formula(self, role: str) -> bool:
        """Return whether a role's state file exists."""
        service, _, name = role.partition(".")
        return (self.formulas / service / f"{name}.sls").is_file()

    def is_known(self, role: str) -> bool:
        """Return whether a role exists: on a node, as a service class, or as a formula."""
        return (
            role in self.roles
            or f"service.{role}" in self.inventory.class_files
            or self.has_formula(role)
        )

    def spot(self, node_id: str, *path: str) -> Spot:
        """Return the line that has the last word on a key of a node."""
        return lines.locate(self.inventory, self.merged(node_id), path)

    def role_spot(self, node_id: str, role: str, path: tuple[str, ...] = ()) -> Spot:
        """Return the line that wrote a key of a role: the node's own, or of who published it."""
        own = tuple(role.split(".", 1))
        merged = self.merged(node_id)
        for length in range(len(path), 0, -1):
            if self.inventory.sets(merged, (*own, *path[:length])):
                break
            for publisher in sorted(self.nodes):
                other = self.merged(publisher)
                if self.inventory.sets(other, ("publish", role, *path[:length])):
                    spot = lines.locate(self.inventory, other, ("publish", role, *path))
                    return Spot(spot.file, spot.line, f"{spot.text}, published by {publisher}")
        return lines.locate(self.inventory, merged, (*own, *path))

    def application_spot(self, node_id: str, role: str) -> Spot:
        """Return the line that gives a role to a node."""
        return lines.locate_role(self.inventory, self.merged(node_id), role)


@dataclass(frozen=True)
class Fault:
    """What a rule yields; ``severity`` is empty when it is the rule's own."""

    sentence: str
    nodes: tuple[str, ...] = ()
    spot: Spot = field(default_factory=Spot)
    severity: str = ""


@dataclass(frozen=True)
class Rule:
    """A named check: ``scope`` is ``tree`` or ``cluster``; ``whole`` rules need every node."""

    name: str
    severity: str
    cure: str
    scope: str
    whole: bool
    summary: str
    check: Callable[[Any], Iterator[Fault]]


#: every rule by its name, in the order they are checked
RULES: dict[str, Rule] = {}


def rule(
    name: str, *, severity: str, cure: str, scope: str = "cluster", whole: bool = False
) -> Callable[[Callable[[Any], Iterator[Fault]]], Callable[[Any], Iterator[Fault]]]:
    """Register a rule; the first line of its docstring says what must hold.

    :param name: as written in exceptions, on command lines and in the documentation
    :param severity: ``error`` or ``warning``
    :param cure: what to do about a finding, as an imperative sentence
    :param scope: ``cluster`` (called with a :class:`Cluster` for each) or ``tree`` (once, with
        the :class:`Tree`)
    :param whole: not asked while a node of the cluster does not compile
    """

    def register(check: Callable[[Any], Iterator[Fault]]) -> Callable[[Any], Iterator[Fault]]:
        summary = (check.__doc__ or "").strip().splitlines()[0].rstrip(".")
        RULES[name] = Rule(name, severity, cure.rstrip("."), scope, whole, summary, check)
        return check

    return register
