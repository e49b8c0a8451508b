"""Find the secrets that a cluster refers to, and make those that have no value yet."""

from __future__ import annotations

import os
import secrets as random
import string
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import ModelError
from saltern.model.cluster import cluster_of
from saltern.model.inventory import Inventory
from saltern.model.resolve import Resolver
from saltern.model.tree import references

_PREFIX = "_secret:"
_HEADER = (
    "# Written by `saltern model secrets init`. Values are encrypted for the master's GPG key;\n"
    "# to replace one, delete its entry and run the command again.\n"
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
    name = f"cluster.{cluster}"
    lenient = inventory.lenient((f"{name}.secrets", f"{name}.artifacts"))
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
