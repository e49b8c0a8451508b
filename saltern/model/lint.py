"""Check a model before any host is touched: run the rules, honour exceptions, tell once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from saltern.errors import ModelError
from saltern.model import lines
from saltern.model import rules as _rules  # fills the registry
from saltern.model.cluster import cluster_of, try_compile_cluster
from saltern.model.cluster import clusters as all_clusters
from saltern.model.findings import ERROR, RULES, WARNING, Cluster, Fault, Finding, Rule, Tree
from saltern.model.inventory import Inventory
from saltern.model.lines import Exemption
from saltern.model.schema import formulas_path

__all__ = ["LAYERS", "RULES", "Finding", "Report", "check", "formulas_path", "run"]

LAYERS = _rules.LAYERS

#: faults of these rules mean that there is nothing sound to check
_BROKEN = ("compile", "class-readable")
#: what is asked of nodes outside of all clusters (a model of plain reclass), too
_ANYWHERE = ("compile", "plaintext-secret", "secret-place")
#: what a schema can say about a role's data
_DATA = ("schema", "unknown-key", "schema-missing")
_CHAIN = re.compile(r" \([^)]*\)")


@dataclass(frozen=True)
class Report:
    """What a run of the linter found.

    ``excepted`` are the findings that an exception in a file silences, with that exception's
    place and reason.
    """

    findings: tuple[Finding, ...] = ()
    excepted: tuple[tuple[Finding, str], ...] = ()
    clusters: tuple[str, ...] = ()
    rules: tuple[str, ...] = field(default_factory=tuple)

    @property
    def errors(self) -> list[Finding]:
        """Findings that are errors."""
        return [finding for finding in self.findings if finding.severity == ERROR]

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 0 when clean (or warnings only), 1 for errors, 2 when it does not compile.

        :param strict: warnings count as errors
        """
        if any(finding.rule in _BROKEN for finding in self.findings):
            return 2
        return int(bool(self.findings if strict else self.errors))

    def about(self, node_id: str) -> Report:
        """Return the report of one node: findings about it, or about none in particular."""
        return replace(
            self,
            findings=tuple(
                replace(f, nodes=(node_id,) if f.nodes else ())
                for f in self.findings
                if node_id in f.nodes or not f.nodes
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "clusters": list(self.clusters),
            "rules": list(self.rules),
            "errors": len(self.errors),
            "warnings": len(self.findings) - len(self.errors),
            "findings": [finding.to_json() for finding in self.findings],
            "excepted": [{**finding.to_json(), "exception": why} for finding, why in self.excepted],
        }


def check(
    inventory: Inventory, cluster: str, formulas_dir: str | Path | None = None
) -> list[Finding]:
    """Return what stops a deployment of one cluster; nothing when its model is fit.

    Only errors: what a review is warned about is not here, except a role without a formula,
    which no deployment can carry out.

    :param inventory: the model tree
    :param cluster: name of the cluster
    :param formulas_dir: directory of formulas with ``<service>/<role>.sls`` and
        ``<service>/schemas/<role>.yaml``; default: ``formulas`` beside the model's classes, else
        those of this distribution
    :returns: findings; the same fault on several nodes is one finding
    """
    return run(inventory, [cluster], formulas_dir, deploying=True).errors


def run(
    inventory: Inventory,
    clusters: Sequence[str] | None = None,
    formulas_dir: str | Path | None = None,
    *,
    rules: Collection[str] | None = None,
    deploying: bool = False,
) -> Report:
    """Run the rules over some clusters, or over the whole tree.

    :param inventory: the model tree
    :param clusters: names of clusters; default: all that have a node
    :param formulas_dir: as in :func:`check`
    :param rules: names of rules; default: all. Whether the model compiles is always checked
    :param deploying: a deployment asks: a role without a formula is an error
    :raises ModelError: an unknown rule, or no formulas to check against
    """
    chosen = _chosen(rules)
    tree = Tree(
        inventory,
        formulas_path(inventory, formulas_dir),
        tuple(clusters) if clusters is not None else None,
        deploying,
    )
    found: list[Finding] = []
    excepted: list[tuple[Finding, str]] = []
    names = tuple(clusters) if clusters is not None else (*all_clusters(inventory), *_outside(tree))
    for rule in chosen:
        if rule.scope == "tree":
            kept, silent = _excepted(inventory, _findings(rule, rule.check(tree)))
            found += kept
            excepted += silent
    for name in names:
        try:
            nodes, errors = try_compile_cluster(inventory, name)
        except ModelError as err:
            found.append(Finding("compile", ERROR, str(err)))
            continue
        context = Cluster(tree, name, nodes, errors)
        told: list[Finding] = []
        for rule in chosen:
            here = name or rule.name in _ANYWHERE
            if rule.scope == "cluster" and here and (context.whole or not rule.whole):
                told += _findings(rule, rule.check(context))
        kept, silent = _excepted(inventory, told, list(_cluster_wide(tree, name)))
        found += kept
        excepted += silent
    return Report(
        tuple(_grouped(found)),
        tuple(excepted),
        tuple(filter(None, names)),
        tuple(rule.name for rule in chosen),
    )


def check_data(
    inventory: Inventory,
    node: str | None = None,
    cluster: str | None = None,
    formulas_dir: str | Path | None = None,
) -> Report:
    """Check the data of a node, or of all nodes of a cluster, by the schemas of their roles.

    :param node: id of the node; its cluster is compiled, since others publish to it
    :param cluster: name of the cluster, when no node is named
    :param formulas_dir: as in :func:`check`
    :raises ModelError: unknown node, or neither node nor cluster is named
    """
    if node is not None:
        cluster = cluster_of(inventory, node)
    if cluster is None:
        raise ModelError("neither a node nor a cluster is named")
    report = run(inventory, [cluster], formulas_dir, rules=_DATA)
    return report.about(node) if node is not None else report


def text(report: Report, *, verbose: bool = False) -> Iterator[str]:
    """Yield a report for people, a line per finding, the cure of each rule once.

    :param verbose: also what exceptions silence
    """
    for finding in report.findings:
        yield f"{finding.severity}: {finding}"
    for name in dict.fromkeys(finding.rule for finding in report.findings):
        yield f"cure of {name}: {RULES[name].cure}."
    if verbose:
        for finding, why in report.excepted:
            yield f"excepted: {finding} ({why})"


def github(report: Report, prefix: str = "") -> Iterator[str]:
    """Yield a report as workflow commands, which show findings in a review.

    :param prefix: directory of the model below the top of the repository
    Source: "Workflow commands for GitHub Actions" (error and warning messages).
    """
    for finding in report.findings:
        where = ""
        if finding.file:
            file = str(Path(prefix) / finding.file) if prefix else finding.file
            where = f" file={_property(file)},line={finding.line or 1},title={finding.rule}"
        message = str(finding).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        yield f"::{finding.severity}{where}::{message}"


def as_json(report: Report) -> str:
    """Return a report as JSON text."""
    return json.dumps(report.to_json(), indent=2)


def _property(value: str) -> str:
    for sign, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
        value = value.replace(sign, code)
    return value


def _chosen(names: Collection[str] | None) -> list[Rule]:
    if not names:
        return list(RULES.values())
    for name in names:
        if name not in RULES:
            raise ModelError(
                f"unknown rule {name}",
                cure="`saltern model lint --list-rules` lists them",
            )
    return [rule for rule in RULES.values() if rule.name in names or rule.name in _BROKEN]


def _outside(tree: Tree) -> tuple[str, ...]:
    """The nameless cluster of the nodes that are in none, when there are such nodes."""
    for node_id in tree.members:
        try:
            if not cluster_of(tree.inventory, node_id):
                return ("",)
        except ModelError:
            continue
    return ()


def _findings(rule: Rule, faults: Iterable[Fault]) -> Iterator[Finding]:
    for fault in faults:
        yield Finding(
            rule.name,
            fault.severity or rule.severity,
            fault.sentence,
            fault.nodes,
            fault.spot.text,
            fault.spot.file,
            fault.spot.line,
        )


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    """The same fault on several nodes is told once, whichever classes led to it."""
    groups: dict[tuple[str, ...], Finding] = {}
    broken: set[str] = set()
    for finding in findings:
        if finding.rule == "compile" and finding.sentence in broken:
            continue  # the class that cannot be read is why the node does not compile
        if finding.rule == "class-readable":
            broken.add(finding.sentence)
        place = _CHAIN.sub("", finding.place)
        # name, schema and content may all give a secret away
        what = "" if finding.rule == "plaintext-secret" else finding.sentence
        key = (finding.rule, what, place)
        known = groups.setdefault(key, finding)
        nodes = tuple(dict.fromkeys((*known.nodes, *finding.nodes)))
        groups[key] = replace(known, nodes=nodes)
    order = {ERROR: 0, WARNING: 1}
    return sorted(
        groups.values(), key=lambda f: (order[f.severity], f.file, f.line, f.rule, f.sentence)
    )


def _excepted(
    inventory: Inventory,
    findings: Iterable[Finding],
    wide: Collection[tuple[str, Exemption]] = (),
) -> tuple[list[Finding], list[tuple[Finding, str]]]:
    """Part the findings from those that an exception silences.

    :param wide: exceptions, with the file they are in, that count wherever a finding is
    """
    kept: list[Finding] = []
    silent: list[tuple[Finding, str]] = []
    for finding in _grouped(findings):
        why = ""
        for file, exemption in (*wide, *_in_file(inventory, finding)):
            if finding.rule in exemption.rules and finding.rule not in _BROKEN:
                reason = f": {exemption.reason}" if exemption.reason else ""
                why = f"{file}:{exemption.line}{reason}"
                break
        if why:
            silent.append((finding, why))
        else:
            kept.append(finding)
    return kept, silent


def _in_file(inventory: Inventory, finding: Finding) -> Iterator[tuple[str, Exemption]]:
    """Exceptions in the file of a finding that cover its line."""
    if not finding.file:
        return
    try:
        found = lines.of(inventory, finding.file).exemptions
    except ModelError:
        return
    for exemption in found:
        if exemption.lines is None or finding.line in exemption.lines:
            yield finding.file, exemption


def _cluster_wide(tree: Tree, cluster: str) -> Iterator[tuple[str, Exemption]]:
    """Exceptions for a whole cluster: those for the whole file in its own class."""
    name = f"cluster.{cluster}"
    if name not in tree.inventory.class_files:
        return
    try:
        found = tree.class_lines(name)
    except ModelError:
        return
    for exemption in found.exemptions:
        if exemption.lines is None:
            yield found.path, exemption
