"""The secrets of a cluster: found, made, made anew, encrypted for other keys, checked.

Nothing here returns or raises a clear text.
"""

from __future__ import annotations

import os
import secrets as random
import string
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import ModelError, SecretError
from saltern.model.cluster import cluster_of, compile_cluster
from saltern.model.inventory import Inventory
from saltern.model.lines import locate
from saltern.model.resolve import Resolver
from saltern.model.sensitive import REFERENCE, strings
from saltern.model.serve import PGP_MESSAGE
from saltern.model.tree import references

_PREFIX = "_secret:"
_HEADER = (
    "# Written by `saltern model secrets`. Values are encrypted for the master's GPG key;\n"
    "# `saltern model secrets rotate` replaces them, `rewrap` encrypts them for other keys.\n"
)


@dataclass(frozen=True)
class Spec:
    """How to make a secret: ``kind`` names an alphabet, ``length`` is in characters."""

    kind: str = "password"
    length: int = 32


#: kind -> (alphabet, default length, shortest length)
KINDS = {
    # eight characters are all that VRRP takes
    "password": (string.ascii_letters + string.digits, 32, 8),
    "hex": ("0123456789abcdef", 32, 16),
    # what `erl` itself writes: upper-case letters
    "erlang_cookie": (string.ascii_uppercase, 20, 20),
}


@dataclass(frozen=True)
class Secret:
    """One secret of a cluster: its name, how to make it, whether it has a value, who uses it."""

    name: str
    spec: Spec
    present: bool
    nodes: tuple[str, ...]


def wanted(inventory: Inventory, cluster: str) -> list[Secret]:
    """Return the secrets that the nodes of a cluster refer to, sorted by name.

    The generated classes ``cluster.<name>.secrets`` and ``cluster.<name>.artifacts`` count as
    empty when they do not exist yet.

    :raises ModelError: the cluster does not compile otherwise, or two nodes want a secret
        made in different ways
    """
    lenient = _lenient(inventory, cluster)
    users: dict[str, list[str]] = {}
    present: set[str] = set()
    specs: dict[str, tuple[Spec, str]] = {}
    members = [node for node in lenient.nodes() if _is_member(lenient, node, cluster)]
    if not members:
        raise ModelError(
            f"no node belongs to cluster {cluster}",
            where=str(inventory.path),
            cure=f"Run `saltern model nodes --cluster {cluster}`",
        )
    for node_id in members:
        merged = lenient.merged(node_id)
        root = dict(merged.parameters)
        present |= set(Resolver(root, lenient.options).plain(root.pop("_secret", {})) or {})
        found: set[str] = set()

        def probe(ref: str, found: set[str] = found) -> str | None:
            if not ref.startswith(_PREFIX):
                return None
            found.add(ref.removeprefix(_PREFIX))
            return "secret"

        resolver = lenient.resolver(merged, probe)
        resolver.root = root
        resolver.plain(root)
        if resolver.faults:
            # a fault may hide secrets behind it: take what is written too
            found |= {
                part.removeprefix(_PREFIX)
                for ref in references(root)
                for part in ref.parts
                if len(ref.parts) == 1 and isinstance(part, str) and part.startswith(_PREFIX)
            }
        for secret in found:
            if ":" in secret or not secret.replace("_", "").replace("-", "").isalnum():
                raise ModelError(
                    f"${{{_PREFIX}{secret}}} is no secret name (letters, digits, _ and -)",
                    where=f"node {node_id}",
                )
            users.setdefault(secret, []).append(node_id)
        written = Resolver(root, lenient.options).plain(root.get("_secret_spec", {})) or {}
        for secret, values in written.items():
            _note_spec(specs, secret, values, node_id)
    return [
        Secret(
            secret,
            specs.get(secret, (Spec(), ""))[0],
            secret in present,
            tuple(sorted(users[secret])),
        )
        for secret in sorted(users)
    ]


def generate(spec: Spec) -> str:
    """Return a new random value.

    Source: the operating system's generator, through :mod:`secrets`.
    """
    alphabet = KINDS[spec.kind][0]
    return "".join(random.choice(alphabet) for _ in range(spec.length))


def path_of(inventory: Inventory, cluster: str) -> Path:
    """Return the file of class ``cluster.<name>.secrets``."""
    return inventory.path / inventory.options.classes_path / "cluster" / cluster / "secrets.yml"


def init(inventory: Inventory, cluster: str, encrypt: Callable[[str], str]) -> list[str]:
    """Make every secret of a cluster that has no value; existing ones are never touched.

    :param encrypt: returns the armoured message for a clear text
    :returns: names of the new secrets
    :raises ModelError: as :func:`wanted`, or the file holds something else than secrets
    """
    missing = [secret for secret in wanted(inventory, cluster) if not secret.present]
    path = path_of(inventory, cluster)
    stored = _stored(path)
    new = {secret.name: encrypt(generate(secret.spec)) for secret in missing}
    if new or not path.exists():
        _write(path, {**stored, **new})
    return sorted(new)


@dataclass(frozen=True)
class Rotated:
    """A secret with a new value, and whom it reaches: ``units`` are those of the roles' health
    checks, which have to take it up."""

    name: str
    nodes: tuple[str, ...]
    roles: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a secret: its name, a sentence, and where its value is written."""

    name: str
    sentence: str
    place: str = ""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return f"secret {self.name}: {self.sentence}{place}."


def rotate(
    inventory: Inventory,
    cluster: str,
    names: Collection[str] | None,
    encrypt: Callable[[str, str], str],
) -> list[Rotated]:
    """Give secrets new values; the old ones are kept nowhere.

    All are replaced in one step, or none. Secrets that refer to another store (``sdb://…``) are
    changed there: they are left out of ``names=None`` and refused by name.

    :param names: names of secrets; None for all that are encrypted here
    :param encrypt: returns the armoured message for (clear text, the message it replaces)
    :raises ModelError: the cluster does not compile, or a name cannot be rotated
    """
    specs = {secret.name: secret.spec for secret in wanted(inventory, cluster)}
    path = path_of(inventory, cluster)
    stored = _stored(path)
    here = {name for name in specs if PGP_MESSAGE.search(str(stored.get(name, "")))}
    chosen = sorted(here if names is None else set(names))
    for name in chosen:
        if name not in here:
            raise _unfit(inventory, cluster, name, specs, stored)
    effects = _effects(inventory, cluster, {name: stored[name] for name in chosen})
    new = {name: encrypt(generate(specs[name]), stored[name]) for name in chosen}
    if new:
        _write(path, {**stored, **new})
    return [effects[name] for name in chosen]


def rewrap(
    inventory: Inventory,
    cluster: str,
    decrypt: Callable[[str], str],
    encrypt: Callable[[str], str],
) -> list[str]:
    """Encrypt all secrets of a cluster anew, with their values as they are.

    For a new recipient, or without an old one; who could open the old messages in the history
    still knows the values, so a key that was lost asks for :func:`rotate`.

    :param decrypt: clear text of one armoured message
    :param encrypt: returns the armoured message for a clear text
    :returns: names of the secrets, sorted
    :raises ModelError: the file holds something else than secrets
    :raises SecretError: a message cannot be opened; nothing was written
    """
    path = path_of(inventory, cluster)
    stored = _stored(path)
    new = {}
    for name, value in sorted(stored.items()):
        if PGP_MESSAGE.search(str(value)):
            try:
                new[name] = encrypt(decrypt(value))
            except SecretError as err:
                raise SecretError(
                    err.sentence, where=f"{path}, secret {name}", cure=err.cure
                ) from None
    if new:
        _write(path, {**stored, **new})
    return list(new)


def check(
    inventory: Inventory,
    cluster: str,
    decrypt: Callable[[str], str] | None = None,
    recipients: Callable[[str], tuple[str, ...]] | None = None,
    expected: Collection[str] | None = None,
) -> list[Fault]:
    """Return what is wrong with the secrets of a cluster.

    Every reference has a value; every value is ciphertext or a reference to a store; every
    ciphertext opens; none is unused; all are encrypted for the same keys.

    :param decrypt: clear text of one armoured message; None: nothing is opened
    :param recipients: ids of the keys a message is encrypted for; None: not compared
    :param expected: the ids that it has to be; default: those of most messages
    :raises ModelError: as :func:`wanted`
    """
    lenient = _lenient(inventory, cluster)
    secrets = wanted(inventory, cluster)
    faults = [
        Fault(secret.name, f"has no value, and {_count(secret.nodes)} refer to it")
        for secret in secrets
        if not secret.present
    ]
    used = {secret.name for secret in secrets}
    values: dict[tuple[str, str], str] = {}
    for node_id in sorted({node for secret in secrets for node in secret.nodes}):
        merged = lenient.merged(node_id)
        found = lenient.resolver(merged).plain(merged.parameters.get("_secret", {})) or {}
        for name, value in found.items():
            values.setdefault((name, str(value)), node_id)
    closed: dict[tuple[str, str], tuple[str, ...]] = {}
    for (name, value), node_id in sorted(values.items()):
        place = locate(lenient, lenient.merged(node_id), ("_secret", name)).text
        place = place.partition(" in ")[2]
        if name not in used:
            faults.append(Fault(name, "nothing in the cluster refers to it", place))
        if REFERENCE.match(value):
            continue
        if not PGP_MESSAGE.fullmatch(value.strip()):
            faults.append(Fault(name, "its value is not encrypted", place))
            continue
        try:
            if recipients is not None:
                closed[name, place] = recipients(value)
            if decrypt is not None:
                decrypt(value)
        except SecretError as err:
            faults.append(Fault(name, err.sentence, place))
    return faults + list(_recipients(closed, expected))


def _recipients(
    closed: Mapping[tuple[str, str], tuple[str, ...]], expected: Collection[str] | None
) -> Iterator[Fault]:
    if not closed:
        return
    common = Counter(closed.values()).most_common(1)[0][0]
    right = tuple(sorted(expected)) if expected is not None else common
    for (name, place), keys in closed.items():
        if keys != right:
            yield Fault(
                name, f"is encrypted for {_keys(keys)}, and it should be for {_keys(right)}", place
            )


def _keys(ids: tuple[str, ...]) -> str:
    return f"key {' and '.join(ids)}" if ids else "no key"


def _count(nodes: tuple[str, ...]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes"


def _unfit(
    inventory: Inventory,
    cluster: str,
    name: str,
    specs: Mapping[str, Spec],
    stored: Mapping[str, str],
) -> ModelError:
    """Say why a secret cannot be rotated."""
    where = f"secret {name}"
    if name not in specs:
        return ModelError(
            f"nothing in the cluster refers to {name}",
            where=where,
            cure=f"`saltern model secrets list --cluster {cluster}` lists the names",
        )
    if REFERENCE.match(str(stored.get(name, ""))):
        return ModelError("its value is in another store", where=where, cure="Change it there")
    if name in stored:
        return ModelError("its value is not encrypted", where=where, cure="Delete its entry")
    return ModelError(
        f"its value is not in {path_of(inventory, cluster).name}",
        where=where,
        cure="Run `saltern model secrets init` when it has none; else move it to that class",
    )


def _effects(inventory: Inventory, cluster: str, messages: Mapping[str, str]) -> dict[str, Rotated]:
    """Find who holds a message: the nodes, the roles whose data it is in, and their units."""
    nodes: dict[str, set[str]] = {name: set() for name in messages}
    roles: dict[str, set[str]] = {name: set() for name in messages}
    units: dict[str, set[str]] = {name: set() for name in messages}
    by_text = {message.strip(): name for name, message in messages.items()}
    for node in compile_cluster(inventory, cluster).values():
        for path, value in strings(node.pillar):
            for message in PGP_MESSAGE.findall(value):
                name = by_text.get(message)
                if name is None:
                    continue
                nodes[name].add(node.id)
                role = ".".join(path[:2])
                if role in node.applications:
                    roles[name].add(role)
                    units[name] |= set(_units(node.lifecycle.get(role)))
    return {
        name: Rotated(name, *(tuple(sorted(found[name])) for found in (nodes, roles, units)))
        for name in messages
    }


def _units(lifecycle: Any) -> Iterator[str]:
    health = lifecycle.get("health") if isinstance(lifecycle, dict) else None
    for item in health or []:
        if isinstance(item, dict) and isinstance(item.get("unit"), str):
            yield item["unit"]


def _lenient(inventory: Inventory, cluster: str) -> Inventory:
    """The classes that are generated count as empty while they do not exist."""
    name = f"cluster.{cluster}"
    return inventory.lenient((f"{name}.secrets", f"{name}.artifacts"))


def _is_member(inventory: Inventory, node_id: str, cluster: str) -> bool:
    try:
        return cluster_of(inventory, node_id) == cluster
    except ModelError:
        if inventory.node_files[node_id].split("/")[0] in (cluster, inventory.node_files[node_id]):
            raise
        return False


def _note_spec(specs: dict[str, tuple[Spec, str]], secret: str, values: Any, node_id: str) -> None:
    where = f"node {node_id}, key _secret_spec:{secret}"
    if not isinstance(values, dict) or set(values) - {"kind", "length"}:
        raise ModelError("a secret's specification is {kind, length}", where=where)
    kind = values.get("kind", "password")
    if kind not in KINDS:
        raise ModelError(f"unknown kind {kind!r}", where=where, cure=f"Use one of {list(KINDS)}")
    _, default, shortest = KINDS[kind]
    length = values.get("length", default)
    if type(length) is not int or length < shortest:
        raise ModelError(f"length must be a number of at least {shortest}", where=where)
    spec = Spec(kind, length)
    known = specs.setdefault(secret, (spec, node_id))
    if known[0] != spec:
        raise ModelError(f"{known[1]} specifies the secret differently", where=where)


def _stored(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError):
        raise ModelError("the file cannot be read as YAML", where=str(path)) from None
    parameters = data.get("parameters") or {} if isinstance(data, dict) else None
    if (
        not isinstance(parameters, dict)
        or set(data) - {"parameters"}
        or set(parameters) - {"_secret"}
        or not isinstance(parameters.get("_secret") or {}, dict)
    ):
        raise ModelError(
            "the file holds something else than parameters:_secret",
            where=str(path),
            cure="Move that to another class of the cluster",
        )
    return dict(parameters.get("_secret") or {})


class _Dumper(yaml.SafeDumper):
    """Multi-line text as a block, so that a ciphertext stays readable in diffs."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Dumper.add_representer(str, _text)


def _write(path: Path, stored: Mapping[str, str]) -> None:
    text = _HEADER + yaml.dump(
        {"parameters": {"_secret": dict(sorted(stored.items()))}}, None, _Dumper
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secrets.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
