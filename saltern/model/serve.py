"""Serve one minion: compiled once per state of the tree, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltern.errors import ModelError, SecretError
from saltern.model import source
from saltern.model.cluster import CompiledNode, cluster_of, compile_cluster
from saltern.model.inventory import Inventory
from saltern.model.options import Options

#: an armoured message anywhere inside a string
PGP_MESSAGE = re.compile(r"-----BEGIN PGP MESSAGE-----.*?-----END PGP MESSAGE-----", re.DOTALL)
_MARK = "-----BEGIN PGP MESSAGE-----"
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
#: a key file is a fernet key, a certificate, a ring: not more
_KEY_FILE_LIMIT = 65536
_ATTEMPTS = 3

Decrypt = Callable[[str], str]


@dataclass
class _Compiled:
    """What is known about one state of a tree."""

    fingerprint: str
    inventory: Inventory
    clusters: dict[str, dict[str, CompiledNode]] = field(default_factory=dict)
    errors: dict[str, ModelError] = field(default_factory=dict)


_trees: dict[tuple[str, Options], _Compiled] = {}
_lock = threading.Lock()


def pillar(
    path: str | Path,
    minion_id: str,
    *,
    decrypt: Decrypt | None = None,
    keystore: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the pillar of one minion: fresh data that the caller may change.

    :param path: model tree with ``classes/`` and ``nodes/``
    :param minion_id: authenticated id of the minion
    :param decrypt: clear text of one armoured PGP message; without it a pillar that holds
        ciphertext is refused
    :param keystore: directory ``<service.role>/<repository>/<file>`` of key files; each lands
        at ``<service>:<role>:keys:<repository>:<file>`` of the nodes with that role
    :param options: engine options (:class:`saltern.model.options.Options`)
    :raises ModelError: unknown node, or the node's cluster does not compile
    :raises SecretError: a secret cannot be decrypted, or a key file cannot be read
    """
    node = _node(path, minion_id, options)
    served: dict[str, Any] = _fresh(node.pillar, decrypt, (), minion_id)
    if keystore is not None:
        for role in node.applications:
            keys = _keys(Path(keystore), role)
            if keys:
                _place_keys(served, role, keys, minion_id)
    sentinel = served.get("__reclass__")
    if not isinstance(sentinel, dict) or sentinel.get("nodename") != minion_id:
        raise ModelError("the compiled pillar carries no sentinel", where=f"node {minion_id}")
    return served


def top(
    path: str | Path, minion_id: str, *, options: Mapping[str, Any] | None = None
) -> dict[str, list[str]]:
    """Return what a minion applies: ``{environment: [service.role, …]}``.

    :param path: model tree
    :param minion_id: id of the minion
    :param options: engine options
    :raises ModelError: as :func:`pillar`
    """
    node = _node(path, minion_id, options)
    return {node.environment: list(node.applications)}


def fingerprint(path: str | Path, options: Options | None = None) -> str:
    """Return a hash over name, size, time and inode of every file of a tree.

    :raises ModelError: the tree cannot be read
    """
    options = options or Options()
    digest = hashlib.sha256()
    for folder in (options.classes_path, options.nodes_path):
        digest.update(f"{folder}\0".encode())
        for name, status in source.walk(Path(path) / folder):
            digest.update(
                f"{name}\0{status.st_mtime_ns}\0{status.st_size}\0{status.st_ino}\n".encode()
            )
    return digest.hexdigest()


def _node(path: str | Path, minion_id: str, options: Mapping[str, Any] | None) -> CompiledNode:
    built = Options.build(options or {})
    with _lock:
        compiled = _current(str(path), built)
        inventory = compiled.inventory
        if minion_id not in inventory.node_files:
            # never by joining paths: an id is looked up in the index
            raise ModelError(
                f"node {minion_id} has no entry in the model",
                cure="Add its host to the cluster class and run `saltern model nodes`",
            )
        name = cluster_of(inventory, minion_id)
        if name in compiled.errors:
            raise compiled.errors[name].with_traceback(None)
        if name not in compiled.clusters:
            compiled = _compile(str(path), built, compiled, name)
        nodes = compiled.clusters[name]
    if minion_id not in nodes:
        raise ModelError(f"node {minion_id} left the model while it was compiled")
    return nodes[minion_id]


def _current(path: str, options: Options) -> _Compiled:
    now = fingerprint(path, options)
    known = _trees.get((path, options))
    if known is None or known.fingerprint != now:
        known = _Compiled(now, Inventory(path, **vars(options)))
        _trees[(path, options)] = known
    return known


def _compile(path: str, options: Options, compiled: _Compiled, name: str) -> _Compiled:
    """Compile a cluster from a tree that did not change meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            nodes = compile_cluster(compiled.inventory, name)
            failure = None
        except ModelError as err:
            nodes, failure = {}, err
        if fingerprint(path, options) == compiled.fingerprint:
            if failure is not None:
                compiled.errors[name] = failure
                raise failure
            compiled.clusters[name] = nodes
            return compiled
        compiled = _current(path, options)
    raise ModelError(
        "the model keeps changing while it is compiled",
        where=path,
        cure="Replace the tree in one step, for example by switching a symbolic link",
    )


def _fresh(data: Any, decrypt: Decrypt | None, path: tuple[str, ...], node: str) -> Any:
    """Copy a pillar; ciphertext becomes clear text on the way."""
    if isinstance(data, str):
        return _clear(data, decrypt, path, node) if _MARK in data else data
    if isinstance(data, dict):
        return {key: _fresh(value, decrypt, (*path, str(key)), node) for key, value in data.items()}
    if isinstance(data, list):
        return [_fresh(item, decrypt, (*path, str(n)), node) for n, item in enumerate(data)]
    return data


def _clear(text: str, decrypt: Decrypt | None, path: tuple[str, ...], node: str) -> str:
    where = f"node {node}, key {':'.join(path)}"
    if decrypt is None:
        raise SecretError(
            "the value is encrypted and no GPG home is set",
            where=where,
            cure="Set gpg_home of the ext_pillar",
        )
    try:
        return PGP_MESSAGE.sub(lambda match: decrypt(match.group()), text)
    except SecretError as err:
        raise SecretError(err.sentence, where=where, cure=err.cure) from None


def _keys(keystore: Path, role: str) -> dict[str, dict[str, str]]:
    """Read the key files of one role; a role without a directory has none."""
    top_level = keystore / role
    found: dict[str, dict[str, str]] = {}
    try:
        if not top_level.is_dir():
            return {}
        for repository in sorted(os.listdir(top_level)):
            folder = top_level / repository
            if not _NAME.match(repository) or not stat.S_ISDIR(folder.lstat().st_mode):
                continue
            files = {}
            for name in sorted(os.listdir(folder)):
                status = (folder / name).lstat()
                # only plain files: a link could point anywhere the master can read
                if not _NAME.match(name) or not stat.S_ISREG(status.st_mode):
                    continue
                if status.st_size > _KEY_FILE_LIMIT:
                    raise SecretError(f"key file {name} is too large", where=str(folder))
                files[name] = (folder / name).read_text(encoding="ascii")
            found[repository] = files
    except OSError as err:
        raise SecretError(
            f"cannot read the key store: {err.strerror}", where=str(err.filename or top_level)
        ) from None
    except UnicodeDecodeError:
        raise SecretError("a key file is not text", where=str(top_level)) from None
    return found


def _place_keys(
    served: dict[str, Any], role: str, keys: dict[str, dict[str, str]], node: str
) -> None:
    place = served
    for part in role.split(".", 1):
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ModelError(
                f"the keys of {role} need a mapping at {role.replace('.', ':')}",
                where=f"node {node}",
            )
        place = inner
    if "keys" in place:
        raise ModelError(
            f"{role.replace('.', ':')}:keys is filled from the key store and cannot be written",
            where=f"node {node}",
        )
    place["keys"] = keys
