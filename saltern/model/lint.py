"""Check a cluster's model before any host is touched: layers, schemas, secrets, lifecycles."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from saltern.errors import ModelError
from saltern.model.cluster import CompiledNode, try_compile_cluster
from saltern.model.inventory import Inventory
from saltern.model.nodes import schema as packaged_schema
from saltern.model.redact import SECRET_NAME, write_only
from saltern.model.serve import PGP_MESSAGE

#: a class may include classes of its own layer and of those after it
LAYERS = ("cluster", "system", "service")
STAGES = ("foundation", "infrastructure", "control", "resources")
#: a string under such a key is a secret whatever the schema says
_PASSWORD_NAME = re.compile(r"(^|_)(password|passwd)$")
#: checks that make no sense on ciphertext
_ON_TEXT = ("pattern", "minLength", "maxLength", "format", "enum", "const")
#: a role has one lifecycle: these fields may not differ between its nodes
_COMMON = ("stage", "after", "start", "form", "quorum", "stateful")


@dataclass(frozen=True)
class Finding:
    """One fault of a model: ``place`` names key, file and class chain (may be empty)."""

    sentence: str
    nodes: tuple[str, ...] = ()
    place: str = ""

    def __str__(self) -> str:
        who = ""
        if self.nodes:
            who = f"node{'s' if len(self.nodes) > 1 else ''} {', '.join(self.nodes)}"
        where = ", ".join(filter(None, (who, self.place)))
        sentence = self.sentence.rstrip(".")
        return f"{where}: {sentence}." if where else f"{sentence}."


def check(
    inventory: Inventory, cluster: str, formulas_dir: str | Path | None = None
) -> list[Finding]:
    """Return everything that is wrong with the model of one cluster; nothing when it is fit.

    :param inventory: the model tree
    :param cluster: name of the cluster
    :param formulas_dir: directory of formulas with ``<service>/<role>.sls`` and
        ``<service>/schemas/<role>.yaml``; default: ``formulas`` beside the model's classes, else
        those of this distribution
    :returns: findings; the same fault on several nodes is one finding
    """
    formulas = formulas_path(inventory, formulas_dir)
    findings = list(_layers(inventory, cluster))
    try:
        nodes, errors = try_compile_cluster(inventory, cluster)
    except ModelError as err:
        return [*findings, Finding(str(err))]
    # a class that cannot be read was found above already, once
    known = {finding.sentence for finding in findings}
    for node_id, error in errors.items():
        place = error.where.removeprefix(f"node {node_id}").removeprefix(", ")
        sentence = f"{error.sentence}. {error.cure}" if error.cure else error.sentence
        if error.sentence not in known:
            findings.append(Finding(sentence, (node_id,), place))
    if not errors:
        findings += _hosts(nodes)
        findings += _lifecycles(inventory, nodes, formulas)
    for node in nodes.values():
        findings += _node(inventory, node, nodes, formulas)
    return _grouped(findings)


def formulas_path(inventory: Inventory, given: str | Path | None = None) -> Path:
    """Return the directory of formulas to check against.

    :raises ModelError: there is none
    """
    if given is not None:
        return Path(given)
    package = Path(__file__).parents[1]
    candidates = [
        inventory.path / "formulas",
        # the wheel carries them in the package; in a checkout they are beside it
        package / "tree" / "formulas",
        package.parent / "formulas",
    ]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ModelError("no formulas to check the model against", cure="Name them with --formulas")


def role_schema(formulas: Path, role: str) -> dict[str, Any] | None:
    """Return the JSON schema of ``pillar[service][role]``, or None when the role has none.

    :raises ModelError: the schema is broken
    """
    service, _, name = role.partition(".")
    path = formulas / service / "schemas" / f"{name}.yaml"
    if not path.is_file():
        return None
    return _load_schema(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _load_schema(path: str, _stamp: int) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        jsonschema.validators.validator_for(
            loaded, default=jsonschema.Draft202012Validator
        ).check_schema(loaded)
    except (OSError, yaml.YAMLError, jsonschema.SchemaError) as err:
        raise ModelError(f"broken schema: {str(err).splitlines()[0]}", where=path) from None
    schema: dict[str, Any] = loaded
    return schema


def violations(data: Any, schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (key path, sentence) for all that does not fit a role's schema.

    Values of fields that are ``writeOnly`` are never told, and ciphertext is not measured
    against lengths and patterns.

    :param data: ``pillar[service][role]``
    :param schema: the role's JSON schema
    """
    validator = jsonschema.validators.validator_for(
        schema, default=jsonschema.Draft202012Validator
    )(schema)
    for error in _telling(validator.iter_errors(data)):
        encrypted = isinstance(error.instance, str) and PGP_MESSAGE.search(error.instance)
        if encrypted and error.validator in _ON_TEXT:
            continue
        yield tuple(str(part) for part in error.absolute_path), _say(error)


def _telling(errors: Iterable[jsonschema.ValidationError]) -> Iterator[jsonschema.ValidationError]:
    """Leave out "fits none of the shapes" where another error of that key says why."""
    found = list(errors)
    told = {tuple(e.absolute_path) for e in found if e.validator not in ("oneOf", "anyOf")}
    for error in found:
        if error.validator not in ("oneOf", "anyOf") or tuple(error.absolute_path) not in told:
            yield error


def plain_secrets(data: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield key paths of secrets whose value is not encrypted.

    A secret is what the schema marks ``writeOnly``, and every string named ``…password``.
    """
    seen = set()
    marked = ((path, value) for path, value in write_only(data, schema) if isinstance(value, str))
    for path, value in itertools.chain(marked, _passwords(data, ())):
        if path not in seen and not PGP_MESSAGE.search(value):
            seen.add(path)
            yield path


def _say(error: jsonschema.ValidationError) -> str:
    kind = error.validator
    key = str(error.absolute_path[-1]) if error.absolute_path else ""
    hidden = SECRET_NAME.search(key) or (
        isinstance(error.schema, dict) and error.schema.get("writeOnly")
    )
    if kind == "type":
        return f"must be {_either(error.validator_value)}, is {_type(error.instance)}"
    if kind in ("required", "additionalProperties", "unevaluatedProperties", "dependentRequired"):
        return str(error.message)  # names keys only
    if kind in ("oneOf", "anyOf"):
        return "fits none of the allowed shapes"
    value = error.instance
    shown = ""
    if not hidden and isinstance(value, str | int | float) and len(str(value)) < 80:
        shown = f"{value!r} "
    if kind == "enum":
        allowed: Any = error.validator_value
        return f"{shown}is not one of {', '.join(map(str, allowed))}"
    return f"{shown}does not satisfy {kind}: {error.validator_value}"


def _either(wanted: Any) -> str:
    return " or ".join(wanted) if isinstance(wanted, list) else str(wanted)


def _type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _passwords(data: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            here = (*path, str(key))
            if isinstance(value, str) and value and _PASSWORD_NAME.search(str(key)):
                yield here, value
            yield from _passwords(value, here)
    elif isinstance(data, list):
        for n, value in enumerate(data):
            yield from _passwords(value, (*path, str(n)))


def _layers(inventory: Inventory, cluster: str) -> Iterator[Finding]:
    """Every class file parses, and includes only go cluster -> system -> service."""
    for name in sorted(inventory.class_files):
        layer, _, rest = name.partition(".")
        if layer == "cluster" and rest.split(".")[0] != cluster:
            continue
        try:
            entry = inventory.load_class(name)
        except ModelError as err:
            yield Finding(err.sentence, (), f"{err.where} (class {name})")
            continue
        place = f"{entry.path} (class {name}), key classes"
        if layer not in LAYERS:
            yield Finding(f"class {name} is in none of {', '.join(LAYERS)}", (), place)
            continue
        for included in entry.classes:
            other, _, its_rest = included.partition(".")
            if "${" in included:
                continue
            if other not in LAYERS or LAYERS.index(other) < LAYERS.index(layer):
                yield Finding(
                    f"a {layer} class may not include {included}: includes go "
                    + " -> ".join(LAYERS),
                    (),
                    place,
                )
            elif other == "cluster" and its_rest.split(".")[0] != cluster:
                yield Finding(f"class {included} belongs to another cluster", (), place)


def _hosts(nodes: Mapping[str, CompiledNode]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for node in nodes.values():
        address = str(node.host["address"])
        if address in owners:
            yield Finding(f"host address {address} is that of {owners[address]} too", (node.id,))
        owners.setdefault(address, node.id)


def _node(
    inventory: Inventory, node: CompiledNode, nodes: Iterable[str], formulas: Path
) -> Iterator[Finding]:
    merged = inventory.merged(node.id)
    for key, value in (node.pillar.get("_param") or {}).items():
        place = inventory.place(merged, ("_param", key))
        if PGP_MESSAGE.search(str(value)):
            yield Finding("a secret belongs in _secret, not in _param", (node.id,), place)
        elif SECRET_NAME.search(key) and isinstance(value, str):
            yield Finding("looks like a secret in plain text; use _secret", (node.id,), place)
    for role in node.applications:
        service, _, name = role.partition(".")
        has_formula = (formulas / service / f"{name}.sls").is_file()
        entry = node.lifecycle.get(role)
        modelled_only = isinstance(entry, dict) and entry.get("executable") is False
        if modelled_only and not has_formula:
            yield Finding(f"role {role} is modelled but has no formula yet", (node.id,))
        elif modelled_only:
            yield Finding(f"role {role} has a formula but says executable: false", (node.id,))
        elif not has_formula:
            yield Finding(f"role {role} has no formula {service}/{name}.sls", (node.id,))
        try:
            schema = role_schema(formulas, role)
        except ModelError as err:
            yield Finding(str(err))
            continue
        if schema is None:
            yield Finding(f"role {role} has no schema {service}/schemas/{name}.yaml", (node.id,))
            continue
        data = node.pillar.get(service)
        data = data.get(name, {}) if isinstance(data, dict) else data
        faults = list(violations(data, schema))
        faults += [
            (path, "a secret is written in plain text; use ${_secret:NAME}")
            for path in plain_secrets(data, schema)
        ]
        for path, sentence in faults:
            place = _place(inventory, node.id, nodes, role, path)
            yield Finding(sentence, (node.id,), place)


def _place(
    inventory: Inventory, node_id: str, nodes: Iterable[str], role: str, path: tuple[str, ...]
) -> str:
    """Say where a key of a role was written: by the node's classes, or by who published it."""
    own = tuple(role.split(".", 1))
    merged = inventory.merged(node_id)
    for length in range(len(path), 0, -1):
        if inventory.sets(merged, (*own, *path[:length])):
            break
        for publisher in sorted(nodes):
            other = inventory.merged(publisher)
            if inventory.sets(other, ("publish", role, *path[:length])):
                place = inventory.place(other, ("publish", role, *path))
                return f"{place}, published by {publisher}"
    return inventory.place(merged, (*own, *path))


def _lifecycles(
    inventory: Inventory, nodes: Mapping[str, CompiledNode], formulas: Path
) -> Iterator[Finding]:
    validator = jsonschema.Draft202012Validator(packaged_schema("lifecycle"))
    first: dict[str, tuple[str, dict[str, Any]]] = {}
    for node in nodes.values():
        merged = inventory.merged(node.id)
        for role in node.applications:
            entry = node.lifecycle.get(role)
            if not isinstance(entry, dict):
                yield Finding(f"role {role} declares no lifecycle", (node.id,))
                continue
            for error in _telling(validator.iter_errors(entry)):
                path = ("lifecycle", role, *(str(part) for part in error.absolute_path))
                yield Finding(_say(error), (node.id,), inventory.place(merged, path))
            other, known = first.setdefault(role, (node.id, entry))
            for field in _COMMON:
                if known.get(field) != entry.get(field):
                    yield Finding(
                        f"lifecycle:{role}:{field} differs from that on {other}", (node.id,)
                    )
    yield from _order({role: entry for role, (_, entry) in first.items()}, inventory, formulas)
    for role in sorted(_published(inventory, nodes)):
        if not _is_known(role, first, inventory, formulas):
            yield Finding(f"publish names the unknown role {role}")


def _order(
    lifecycles: Mapping[str, dict[str, Any]], inventory: Inventory, formulas: Path
) -> Iterator[Finding]:
    graph: dict[str, list[str]] = {}
    for role, entry in lifecycles.items():
        # an entry is a role, or {role, scope}
        after = [
            str(item.get("role")) if isinstance(item, dict) else str(item)
            for item in entry.get("after") or []
        ]
        graph[role] = after
        for other in after:
            if not _is_known(other, lifecycles, inventory, formulas):
                yield Finding(f"lifecycle:{role}:after names the unknown role {other}")
            elif other in lifecycles and _stage(lifecycles[other]) > _stage(entry):
                yield Finding(
                    f"lifecycle:{role}:after names {other}, whose stage "
                    f"{lifecycles[other]['stage']} is later than {entry['stage']}"
                )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        yield Finding(f"lifecycle order is a cycle: {' -> '.join(reversed(err.args[1]))}")


def _stage(entry: Mapping[str, Any]) -> int:
    stage = entry.get("stage")
    return STAGES.index(stage) if stage in STAGES else 0


def _is_known(role: str, present: Iterable[str], inventory: Inventory, formulas: Path) -> bool:
    service, _, name = role.partition(".")
    return (
        role in present
        or f"service.{role}" in inventory.class_files
        or (formulas / service / f"{name}.sls").is_file()
    )


def _published(inventory: Inventory, nodes: Iterable[str]) -> set[str]:
    roles: set[str] = set()
    for node_id in nodes:
        merged = inventory.merged(node_id)
        published = inventory.resolver(merged).plain(merged.parameters.get("publish")) or {}
        roles.update(published)
    return roles


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    """The same fault on several nodes is told once."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for finding in findings:
        nodes = groups.setdefault((finding.sentence, finding.place), {})
        nodes.update(dict.fromkeys(finding.nodes))
    return [Finding(sentence, tuple(nodes), place) for (sentence, place), nodes in groups.items()]
