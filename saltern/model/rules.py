"""The rules of the linter: one function each, a context in, faults out.

``docs/reference/lint.md`` has one heading per rule; a test holds the two together.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import ModelError
from saltern.model import lines
from saltern.model.cluster import INTERNAL, CompiledNode
from saltern.model.findings import (
    ERROR,
    RULES,
    WARNING,
    Cluster,
    Fault,
    Removed,
    Tree,
    lifecycle_of,
    rule,
)
from saltern.model.lines import Spot
from saltern.model.nodes import schema as packaged_schema
from saltern.model.schema import plain_secrets, role_schema
from saltern.model.secrets import wanted
from saltern.model.sensitive import REFERENCE, is_protected, is_secret_name, strings, why_secret
from saltern.model.serve import PGP_MESSAGE
from saltern.model.tree import Layers

#: a class may include classes of its own layer and of those after it
LAYERS = ("cluster", "system", "service")
STAGES = ("foundation", "infrastructure", "control", "resources")
#: a role has one lifecycle: these fields may not differ between its nodes
_COMMON = ("stage", "after", "start", "form", "quorum", "stateful", "executable")
#: set by the compiler, or read by it alone
_OWN_KEYS = ("_reclass_", "__reclass__", "topology", "lifecycle", "host", "_param")
_FILE = re.compile(
    r"(?:key (?P<key>\S+) in )?(?P<file>(?:classes|nodes)/[^\s:,;]+\.ya?ml)(?::(?P<line>\d+))?"
)
_MISSING = re.compile(r"class (?P<name>\S+) does not exist")
_SITE_FILE = "removed_keys.yaml"
#: names that one finding lists
_SHOWN = 5
_REFERENCE_INSIDE = re.compile(r"(?:sdb|vault)://")


# -- the tree ---------------------------------------------------------------------------------


@rule(
    "compile",
    severity=ERROR,
    cure="Mend the file that the sentence names; `saltern model explain NODE KEY` shows the way",
)
def compile_(cluster: Cluster) -> Iterator[Fault]:
    """Every node of every cluster compiles."""
    for node_id, error in cluster.errors.items():
        where = error.where.removeprefix(f"node {node_id}").removeprefix(", ")
        sentence = f"{error.sentence}. {error.cure}" if error.cure else error.sentence
        yield Fault(sentence, (node_id,), _spot_of(cluster, f"{where} {error.sentence}", where))


def _spot_of(cluster: Cluster, text: str, shown: str) -> Spot:
    """File and line that an error of the engine names."""
    match = _FILE.search(text)
    if match is None:
        return Spot(text=shown)
    line = int(match["line"] or 0)
    missing = _MISSING.search(text)
    try:
        found = lines.of(cluster.inventory, match["file"])
        if not line and match["key"]:
            line = found.line(tuple(match["key"].split(":")))
        elif not line and missing:
            line = found.line_of("classes", missing["name"])
    except ModelError:
        line = 0
    return Spot(match["file"], line or 1, shown)


@rule(
    "class-readable",
    severity=ERROR,
    cure="Mend the file, or remove it when nothing needs it",
    scope="tree",
)
def class_readable(tree: Tree) -> Iterator[Fault]:
    """Every class file can be read, also one that no node includes."""
    for name in tree.class_names:
        try:
            tree.inventory.load_class(name)
        except ModelError as err:
            match = _FILE.search(err.where)
            line = int(match["line"] or 1) if match else 1
            place = tree.class_spot(name, line)
            yield Fault(err.sentence, (), Spot(place.file, line, f"{err.where} (class {name})"))


@rule(
    "layer-direction",
    severity=ERROR,
    cure="Include from cluster to system to service only; move what is shared one layer down",
    scope="tree",
)
def layer_direction(tree: Tree) -> Iterator[Fault]:
    """Includes go cluster -> system -> service, and never into another cluster."""
    for name in tree.class_names:
        layer, _, rest = name.partition(".")
        if layer not in LAYERS:
            place = tree.class_spot(name, 1)
            yield Fault(f"class {name} is in none of {', '.join(LAYERS)}", (), place)
            continue
        try:
            entry = tree.inventory.load_class(name)
        except ModelError:
            continue  # told by class-readable
        for included in entry.classes:
            other, _, its_rest = included.partition(".")
            if "${" in included:
                continue
            if other not in LAYERS or LAYERS.index(other) < LAYERS.index(layer):
                sentence = (
                    f"a {layer} class may not include {included}: includes go "
                    + " -> ".join(LAYERS)
                )
            elif other == "cluster" and its_rest.split(".")[0] != rest.split(".")[0]:
                sentence = f"class {included} belongs to another cluster"
            else:
                continue
            line = tree.class_lines(name).line_of("classes", included)
            yield Fault(sentence, (), tree.class_spot(name, line, "classes"))


@rule(
    "unused-class",
    severity=WARNING,
    cure="Include the class, or remove its file",
    scope="tree",
)
def unused_class(tree: Tree) -> Iterator[Fault]:
    """Every class is reached by a node."""
    if len(tree.members) < len(tree.inventory.node_files):
        return  # what the broken nodes reach is not known
    reached = {m.source.name for node in tree.members.values() for m in node.members}
    for name in tree.class_names:
        if name not in reached:
            yield Fault(f"no node reaches the class {name}", (), tree.class_spot(name, 1))


@rule(
    "removed-key",
    severity=WARNING,
    cure="Write what the sentence names in its place",
    scope="tree",
)
def removed_key(tree: Tree) -> Iterator[Fault]:
    """No file writes a key that the model no longer reads; from its expiry on, an error."""
    rows = removed_keys(tree.inventory.path)
    told: set[tuple[str, tuple[str, ...]]] = set()
    for file, path, _ in _written(tree):
        for row in rows:
            if _matches(path, row.key) and (file, path) not in told:
                told.add((file, path))
                expired = has_expired(row.expires, tree.today, tree.version)
                when = f"was removed in {row.since}"
                when += "" if expired else f" and will be refused from {row.expires} on"
                yield Fault(
                    f"the key {when}; use {row.replaced_by}",
                    (),
                    _source_spot(tree, file, path),
                    ERROR if expired else WARNING,
                )


def removed_keys(path: Path) -> tuple[Removed, ...]:
    """Return the removed keys of this distribution and of a site.

    :param path: the model tree, which may hold ``removed_keys.yaml``
    :raises ModelError: the site's file is not a list of rows
    """
    own = _rows(
        resources.files("saltern.model").joinpath("data").joinpath(_SITE_FILE).read_text(), ""
    )
    site = path / _SITE_FILE
    return own + (_rows(site.read_text(encoding="utf-8"), str(site)) if site.is_file() else ())


@cache
def _rows(text: str, where: str) -> tuple[Removed, ...]:
    try:
        rows = yaml.safe_load(text) or []
        return tuple(
            Removed(
                tuple(str(row["key"]).split(":")),
                str(row["replaced_by"]),
                str(row["since"]),
                str(row["expires"]),
            )
            for row in rows
        )
    except (yaml.YAMLError, TypeError, KeyError):
        raise ModelError(
            "the removed keys are a list of {key, replaced_by, since, expires}", where=where
        ) from None


def has_expired(expires: str, today: datetime.date, version: str) -> bool:
    """Return whether a date has come, or a version is reached.

    :param expires: ``YYYY-MM-DD`` or a version as ``1.2.0``
    :raises ModelError: it is neither
    """
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", expires):
            return today >= datetime.date.fromisoformat(expires)
        return _version(version) >= _version(expires)
    except ValueError:
        raise ModelError(f"{expires!r} is neither a date (YYYY-MM-DD) nor a version") from None


def _version(text: str) -> tuple[int, ...]:
    """Numbers of a version; what follows them (``.dev3``, ``rc1``) does not matter here."""
    match = re.match(r"\d+(\.\d+)*", text)
    if match is None:
        raise ValueError(text)
    numbers = [int(part) for part in match.group().split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _matches(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if len(path) > 1 and path[0] == "publish":
        path = (*path[1].split(".", 1), *path[2:])
    return len(path) == len(pattern) and all(map(fnmatchcase, path, pattern))


def _written(tree: Tree) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Yield (file, key path, value) of every key below ``parameters`` in the checked files."""
    for name in tree.class_names:
        try:
            entry = tree.inventory.load_class(name)
        except ModelError:
            continue  # told by class-readable
        yield from ((entry.path, path, value) for path, value in _below(entry.parameters, ()))
    for name in tree.node_names:
        own = tree.members[name].members[-1].source
        yield from ((own.path, path, value) for path, value in _below(own.parameters, ()))


def _below(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk a parsed file; what is overridden or constant is a value like any other."""
    if isinstance(node, Layers):
        for _, value in node.items:
            yield from _below(value, path)
        return
    if path:
        yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _below(value, (*path, str(key)))
    elif isinstance(node, list):
        for n, value in enumerate(node):
            yield from _below(value, (*path, str(n)))


def _source_spot(tree: Tree, file: str, path: tuple[str, ...]) -> Spot:
    """The line of a key in one file."""
    line = lines.of(tree.inventory, file).line(path)
    return Spot(file, line, f"key {':'.join(path)} in {file}:{line}")


@rule(
    "exception",
    severity=WARNING,
    cure="Name a rule that `saltern model lint --list-rules` lists, or remove the exception",
    scope="tree",
)
def exception(tree: Tree) -> Iterator[Fault]:
    """Every exception in a file names rules that exist."""
    for name in tree.class_names:
        try:
            if not tree.mentions(name, "saltern:"):
                continue
            found = tree.class_lines(name).exemptions
        except ModelError:
            continue  # told by class-readable
        for exemption in found:
            for unknown in sorted(set(exemption.rules) - set(RULES)):
                yield Fault(
                    f"the exception names the unknown rule {unknown}",
                    (),
                    tree.class_spot(name, exemption.line),
                )


# -- roles ------------------------------------------------------------------------------------


@rule(
    "formula-missing",
    severity=ERROR,
    cure="Write the state file, or mark the role `executable: false` in its lifecycle",
)
def formula_missing(cluster: Cluster) -> Iterator[Fault]:
    """Every role has a formula, unless its lifecycle says that it has none yet."""
    for role, nodes in cluster.roles.items():
        service, _, name = role.partition(".")
        if not cluster.has_formula(role) and not cluster.modelled_only(role):
            yield Fault(
                f"role {role} has no formula {service}/{name}.sls",
                tuple(nodes),
                cluster.application_spot(nodes[0], role),
            )


@rule(
    "role-not-executable",
    severity=WARNING,
    cure="Write the formula and take `executable: false` out of the lifecycle",
)
def role_not_executable(cluster: Cluster) -> Iterator[Fault]:
    """A role without a formula is a model only: a deployment refuses it."""
    for role, nodes in cluster.roles.items():
        if not cluster.modelled_only(role):
            continue
        place = cluster.spot(nodes[0], "lifecycle", role, "executable")
        if cluster.has_formula(role):
            yield Fault(
                f"role {role} says executable: false and has a formula", tuple(nodes), place, ERROR
            )
        else:
            yield Fault(
                f"role {role} is modelled but has no formula yet",
                tuple(nodes),
                place,
                ERROR if cluster.tree.deploying else "",
            )


@rule(
    "schema-missing",
    severity=ERROR,
    cure="Write formulas/<service>/schemas/<role>.yaml",
)
def schema_missing(cluster: Cluster) -> Iterator[Fault]:
    """Every role has a JSON schema that can be read."""
    for role, nodes in cluster.roles.items():
        service, _, name = role.partition(".")
        try:
            found = role_schema(cluster.formulas, role)
        except ModelError as err:
            yield Fault(f"{err.where}: {err.sentence}")
            continue
        if found is None:
            yield Fault(
                f"role {role} has no schema {service}/schemas/{name}.yaml",
                tuple(nodes),
                cluster.application_spot(nodes[0], role),
            )


@rule(
    "schema",
    severity=ERROR,
    cure="Write a value that the role takes: `saltern model schema ROLE` prints what it takes",
)
def schema(cluster: Cluster) -> Iterator[Fault]:
    """The data of every role fits its schema."""
    yield from _schema(cluster, unknown=False)


@rule(
    "unknown-key",
    severity=ERROR,
    cure="Use the key that the role reads: `saltern model schema ROLE` lists them",
)
def unknown_key(cluster: Cluster) -> Iterator[Fault]:
    """No key is written that nothing reads: unknown to a role's schema, or to every role."""
    yield from _schema(cluster, unknown=True)
    services: dict[str, set[str]] = {}
    for name in cluster.inventory.class_files:
        layer, _, rest = name.partition(".")
        service, _, role = rest.partition(".")
        if layer == "service" and role:
            services.setdefault(service, set()).add(role.partition(".")[0])
    for node in cluster.nodes.values():
        for key, data in node.pillar.items():
            if key in _OWN_KEYS or key in INTERNAL:
                continue
            if key not in services:
                near = difflib.get_close_matches(key, services, n=1, cutoff=0.8)
                if near:
                    yield Fault(
                        f"{key} is no service; did you mean {near[0]}?",
                        (node.id,),
                        cluster.spot(node.id, key),
                        WARNING,
                    )
                continue
            for name in data if isinstance(data, dict) else ():
                if name not in services[key] and not cluster.is_known(f"{key}.{name}"):
                    near = difflib.get_close_matches(name, services[key], n=1)
                    hint = f"; did you mean {key}:{near[0]}?" if near else ""
                    yield Fault(
                        f"{key}:{name} is read by no role{hint}",
                        (node.id,),
                        cluster.spot(node.id, key, name),
                    )


def _schema(cluster: Cluster, *, unknown: bool) -> Iterator[Fault]:
    for node, role, found, data in _role_data(cluster):
        for violation in cluster.violations(role, data, found):
            if violation.unknown == unknown:
                place = cluster.role_spot(node.id, role, violation.path)
                yield Fault(violation.sentence, (node.id,), place)


def _role_data(
    cluster: Cluster,
) -> Iterator[tuple[CompiledNode, str, dict[str, Any], Any]]:
    """Yield (node, role, schema, data of the role) wherever there is a schema."""
    for node in cluster.nodes.values():
        for role in node.applications:
            try:
                found = role_schema(cluster.formulas, role)
            except ModelError:
                continue  # told by schema-missing
            if found is None:
                continue
            service, _, name = role.partition(".")
            data = node.pillar.get(service)
            yield node, role, found, data.get(name, {}) if isinstance(data, dict) else data


# -- lifecycles -------------------------------------------------------------------------------


@rule(
    "lifecycle",
    severity=ERROR,
    cure="Declare parameters:lifecycle:<service.role> in the service class, as the model page says",
)
def lifecycle(cluster: Cluster) -> Iterator[Fault]:
    """Every role declares one lifecycle that fits the schema, the same on all its nodes."""
    shape = packaged_schema("lifecycle")
    for node in cluster.nodes.values():
        for role in node.applications:
            entry = lifecycle_of(node, role)
            if entry is None:
                place = cluster.application_spot(node.id, role)
                yield Fault(f"role {role} declares no lifecycle", (node.id,), place)
                continue
            for violation in cluster.violations("lifecycle", entry, shape):
                path = ("lifecycle", role, *violation.path)
                yield Fault(violation.sentence, (node.id,), cluster.spot(node.id, *path))
            other, known = cluster.lifecycles[role]
            for field in _COMMON:
                if known.get(field) != entry.get(field):
                    yield Fault(
                        f"lifecycle:{role}:{field} differs from that on {other}",
                        (node.id,),
                        cluster.spot(node.id, "lifecycle", role, field),
                    )


@rule(
    "order",
    severity=ERROR,
    cure="Correct `after` in the lifecycle; it is the only place of order",
    whole=True,
)
def order(cluster: Cluster) -> Iterator[Fault]:
    """Roles wait for known roles, of no later stage, and not for each other."""
    entries = cluster.lifecycles
    graph: dict[str, list[str]] = {}
    for role, (node_id, entry) in entries.items():
        # an entry is a role, or {role, scope}
        written = entry.get("after")
        after = [
            str(item.get("role")) if isinstance(item, dict) else str(item)
            for item in (written if isinstance(written, list) else ())
        ]
        graph[role] = after
        place = cluster.spot(node_id, "lifecycle", role, "after")
        for other in after:
            if not cluster.is_known(other):
                sentence = f"lifecycle:{role}:after names the unknown role {other}"
                yield Fault(sentence, (), place)
            elif other in entries and 0 <= _stage(entry) < _stage(entries[other][1]):
                yield Fault(
                    f"lifecycle:{role}:after names {other}, whose stage "
                    f"{entries[other][1].get('stage')} is later than {entry.get('stage')}",
                    (),
                    place,
                )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        circle = list(reversed(err.args[1]))
        place = cluster.spot(entries[circle[0]][0], "lifecycle", circle[0], "after")
        yield Fault(f"lifecycle order is a cycle: {' -> '.join(circle)}", (), place)


def _stage(entry: Mapping[str, Any]) -> int:
    stage = entry.get("stage")
    return STAGES.index(stage) if isinstance(stage, str) and stage in STAGES else -1


@rule(
    "publish",
    severity=ERROR,
    cure="Publish to a role that exists; a role exists when it has a service class or a formula",
    whole=True,
)
def publish(cluster: Cluster) -> Iterator[Fault]:
    """What is published is published to a known role."""
    told: set[str] = set()
    for node_id in sorted(cluster.nodes):
        merged = cluster.merged(node_id)
        published = cluster.inventory.resolver(merged).plain(merged.parameters.get("publish"))
        for role in published or {}:
            if role not in told and not cluster.is_known(role):
                told.add(role)
                place = cluster.spot(node_id, "publish", role)
                yield Fault(f"publish names the unknown role {role}", (), place)


# -- hosts ------------------------------------------------------------------------------------


@rule(
    "address-twice",
    severity=ERROR,
    cure="Give one of the hosts another address in cluster_nodes and run `saltern model nodes`",
    whole=True,
)
def address_twice(cluster: Cluster) -> Iterator[Fault]:
    """No two hosts of a cluster have the same address."""
    owners: dict[str, str] = {}
    for node in cluster.nodes.values():
        address = str(node.host.get("address") or "")
        if not address:
            continue
        if address in owners:
            yield Fault(
                f"host address {address} is that of {owners[address]} too",
                (node.id,),
                cluster.spot(node.id, "host", "address"),
            )
        owners.setdefault(address, node.id)


@rule(
    "odd-quorum",
    severity=ERROR,
    cure="Give the role one member more or one less: an even one adds a risk and no safety",
    whole=True,
)
def odd_quorum(cluster: Cluster) -> Iterator[Fault]:
    """A role whose members vote by majority has an odd number of them."""
    for role, members in _voting(cluster):
        if len(members) % 2 == 0:
            yield Fault(
                f"role {role} needs a majority and has {len(members)} members, an even number",
                tuple(members),
                cluster.spot(members[0], "lifecycle", role, "quorum"),
            )


def _voting(cluster: Cluster) -> Iterator[tuple[str, list[str]]]:
    """Roles whose members vote: a stateless one with a quorum only may not be restarted whole."""
    for role, members in cluster.roles.items():
        entry = cluster.lifecycles.get(role, ("", {}))[1]
        if entry.get("quorum") == "majority" and entry.get("stateful") is not False:
            yield role, members


@rule(
    "anti-affinity",
    severity=ERROR,
    cure="Spread the members: other values of host:parent or host:rack in cluster_nodes",
    whole=True,
)
def anti_affinity(cluster: Cluster) -> Iterator[Fault]:
    """The loss of one physical host or rack leaves a voting role its majority."""
    voting = dict(_voting(cluster))
    for kind, domains in (("physical host", _parents(cluster)), ("rack", _racks(cluster))):
        for role, members in cluster.roles.items():
            known = [node for node in members if node in domains]
            if len(known) < 2:
                continue
            shared: dict[str, list[str]] = {}
            for node in known:
                shared.setdefault(domains[node], []).append(node)
            place = cluster.spot(known[0], "lifecycle", role, "quorum")
            choices = len(set(domains.values()))
            if role in voting:
                yield from _unsafe(role, kind, members, shared, choices, place)
            elif len(shared) == 1 and choices > 1 and len(known) == len(members):
                domain = next(iter(shared))
                yield Fault(
                    f"all {len(members)} members of {role} are on the {kind} {domain}",
                    tuple(members),
                    place,
                    WARNING,
                )


def _unsafe(
    role: str,
    kind: str,
    members: list[str],
    shared: Mapping[str, list[str]],
    choices: int,
    place: Spot,
) -> Iterator[Fault]:
    if kind == "rack" and choices == 1:
        return  # a site with one rack has nothing to spread over
    for domain, together in sorted(shared.items()):
        left = len(members) - len(together)
        if left <= len(members) // 2:
            yield Fault(
                f"{len(together)} of {len(members)} members of {role} are on the {kind} {domain}: "
                "its loss would take the majority",
                tuple(together),
                place,
            )
        elif len(together) > 1 and choices >= len(members):
            yield Fault(
                f"{len(together)} members of {role} share the {kind} {domain}, "
                f"and there are {choices} to spread over",
                tuple(together),
                place,
            )


def _parents(cluster: Cluster) -> dict[str, str]:
    """Node -> physical host of a virtual machine."""
    found = {}
    for node in cluster.nodes.values():
        parent = node.host.get("parent") or node.host.get("on")
        if isinstance(parent, str):
            found[node.id] = _host_id(cluster, parent)
    return found


def _host_id(cluster: Cluster, name: str) -> str:
    """A physical host may be named by its id or its short name."""
    if name in cluster.nodes:
        return name
    for node in cluster.nodes.values():
        if node.host.get("name") == name:
            return node.id
    return name


def _racks(cluster: Cluster) -> dict[str, str]:
    """Node -> rack; a virtual machine is in the rack of its physical host."""
    parents = _parents(cluster)
    found = {}
    for node_id, node in cluster.nodes.items():
        parent = cluster.nodes.get(parents.get(node_id, ""))
        rack = node.host.get("rack") or (parent.host.get("rack") if parent else None)
        if rack is not None:
            found[node_id] = str(rack)
    return found


# -- secrets ----------------------------------------------------------------------------------


@rule(
    "plaintext-secret",
    severity=ERROR,
    cure="Write ${_secret:NAME} and run `saltern model secrets init`, or refer to sdb://",
)
def plaintext_secret(cluster: Cluster) -> Iterator[Fault]:
    """No secret is written in plain text: by schema (writeOnly), key name, or content."""
    for node, role, found, data in _role_data(cluster):
        for path in plain_secrets(data, found):
            place = cluster.role_spot(node.id, role, path)
            yield Fault(_PLAIN, (node.id,), place)
    for node in cluster.nodes.values():
        merged = cluster.merged(node.id)
        own = {key: value for key, value in node.pillar.items() if key not in _NO_DATA}
        for path, value in strings(own):
            key = _name(path)
            in_param = path[0] == "_param" and is_secret_name(key) and not is_protected(value)
            why = why_secret(key, value) or ("looks like a secret in plain text" * in_param)
            if value and why:
                role = ".".join(path[:2])
                place = (
                    cluster.role_spot(node.id, role, path[2:])
                    if role in node.applications
                    else cluster.spot(node.id, *path)
                )
                yield Fault(f"{why}; use ${{_secret:NAME}}", (node.id,), place)
        secrets = cluster.inventory.resolver(merged).plain(merged.parameters.get("_secret"))
        for path, value in strings(secrets or {}):
            if not is_protected(value):
                place = cluster.spot(node.id, "_secret", *path)
                yield Fault("the value of a secret is not encrypted", (node.id,), place)
    yield from _in_sources(cluster)


_PLAIN = "a secret is written in plain text; use ${_secret:NAME}"
_NO_DATA = ("topology", "__reclass__", "_reclass_", "lifecycle")


def _name(path: Iterable[str]) -> str:
    """The last part of a key path that is no number of a list."""
    return next((part for part in reversed(tuple(path)) if not part.isdigit()), "")


def _in_sources(cluster: Cluster) -> Iterator[Fault]:
    """What is written and reaches no pillar (overridden, or in a class no node includes)."""
    for file, path, value in _written(cluster.tree):
        # a text with references is judged where it is put together
        if isinstance(value, str) and path[0] != "_secret":
            why = why_secret(_name(path), value)
            if why:
                place = _source_spot(cluster.tree, file, path)
                yield Fault(f"{why}; use ${{_secret:NAME}}", (), place)


@rule(
    "secret-place",
    severity=ERROR,
    cure="Refer to ${_secret:NAME} where it is used; give an sdb:// reference a key of its own",
)
def secret_place(cluster: Cluster) -> Iterator[Fault]:
    """Secrets are in _secret and not in _param; a reference to a store is a whole value."""
    for node in cluster.nodes.values():
        parameters = node.pillar.get("_param")
        for key, value in parameters.items() if isinstance(parameters, dict) else ():
            if PGP_MESSAGE.search(str(value)):
                place = cluster.spot(node.id, "_param", key)
                yield Fault("a secret belongs in _secret, not in _param", (node.id,), place)
        own = {key: value for key, value in node.pillar.items() if key not in _NO_DATA}
        for path, value in strings(own):
            if _REFERENCE_INSIDE.search(value) and not REFERENCE.match(value):
                place = cluster.spot(node.id, *path)
                yield Fault("a reference to a secret store is no part of a text", (node.id,), place)


@rule(
    "secret-missing",
    severity=WARNING,
    cure="Run `saltern model secrets init --cluster NAME`",
)
def secret_missing(cluster: Cluster) -> Iterator[Fault]:
    """Every secret that is referred to has a value. Without placeholders it does not compile."""
    if not cluster.inventory.options.placeholders or not cluster.nodes:
        return
    missing = [
        secret.name for secret in wanted(cluster.inventory, cluster.name) if not secret.present
    ]
    if missing:
        place = cluster.spot(min(cluster.nodes), "_param", "cluster_name")
        many = "s have" if len(missing) > 1 else " has"
        shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        yield Fault(f"{len(missing)} secret{many} no value yet: {shown}", (), place)
