"""Serve one minion: whole or not at all.

From a tree (:func:`pillar`, :func:`top`), compiled once per state of its files; or from a compiled
revision (:func:`serve_pinned`, :func:`top_pinned`). Both open secrets for the asking node alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltern.errors import ModelError, SecretError, UnknownNodeError
from saltern.model import source
from saltern.model.cluster import CompiledNode, cluster_of, compile_cluster
from saltern.model.inventory import Inventory
from saltern.model.options import Options

if TYPE_CHECKING:
    from saltern.model.store import Revision

#: an armoured message anywhere inside a string
PGP_MESSAGE = re.compile(r"-----BEGIN PGP MESSAGE-----.*?-----END PGP MESSAGE-----", re.DOTALL)
_MARK = "-----BEGIN PGP MESSAGE-----"
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
#: a key file is a fernet key, a certificate, a ring: not more
_KEY_FILE_LIMIT = 65536
_ATTEMPTS = 3
#: the shortest site key that a proof is made with, in bytes
KEY_BYTES = 16

Decrypt = Callable[[str], str]
_Path = tuple[Any, ...]


@dataclass
class _Compiled:
    """What is known about one state of a tree."""

    fingerprint: str
    inventory: Inventory
    clusters: dict[str, dict[str, CompiledNode]] = field(default_factory=dict)
    errors: dict[str, ModelError] = field(default_factory=dict)


#: places of ciphertext by node, for as long as a revision is open
_closed_of: weakref.WeakKeyDictionary[Revision, dict[str, list[_Path]]] = (
    weakref.WeakKeyDictionary()
)
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
    return _complete(_fresh(node.pillar), node.applications, minion_id, decrypt, keystore)


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


def serve_pinned(
    revision: Revision,
    minion_id: str,
    *,
    decrypt: Decrypt | None = None,
    keystore: str | Path | None = None,
    key: bytes | None = None,
) -> dict[str, Any]:
    """Return the pillar of one minion from a compiled revision: fresh data, as :func:`pillar`.

    :param revision: an open revision of the store
    :param minion_id: authenticated id of the minion
    :param decrypt: as in :func:`pillar`
    :param keystore: as in :func:`pillar`
    :param key: the site's key; with it the sentinel proves to :func:`asking_node` whose it is
    :raises ModelError: the revision does not have the node, or its record is damaged
    :raises SecretError: a secret cannot be decrypted, or a key file cannot be read
    """
    node = revision.node(minion_id)
    # a record never changes, so neither do the places of its ciphertext
    known = _closed_of.setdefault(revision, {})
    if minion_id not in known:
        known[minion_id] = _closed(node.pillar)
    served = _complete(
        node.pillar, node.applications, minion_id, decrypt, keystore, known[minion_id]
    )
    if key is not None:
        served["__reclass__"]["proof"] = proof(key, minion_id)
    return served


def top_pinned(revision: Revision, minion_id: str) -> dict[str, list[str]]:
    """Return what a minion applies by a compiled revision: ``{environment: [service.role, …]}``.

    :param revision: an open revision of the store
    :param minion_id: id of the minion
    :raises ModelError: as :func:`serve_pinned`
    """
    return {revision.environment(minion_id): revision.applications(minion_id)}


def proof(key: bytes, minion_id: str) -> str:
    """Return what only the master can write into a pillar: a keyed hash of the minion's id.

    :param key: the site's key, at least ``KEY_BYTES`` long
    :raises SecretError: the key is too short to prove anything
    """
    if len(key) < KEY_BYTES:
        raise SecretError("the site key is too short", cure="Make a new one")
    return hmac.new(key, b"pillar of\0" + minion_id.encode(), hashlib.sha256).hexdigest()


def asking_node(opts: Mapping[str, Any], key: bytes) -> str:
    """Return the node that sent these options, if its pillar proves it.

    Salt does not compare the ``id`` inside the options with the minion that sent them; the pillar
    in the same options was sealed by this master for one node.

    :param opts: options that a minion sent
    :param key: the site's key
    :raises ModelError: the pillar is not the one that this node was served
    """
    name = opts.get("id")
    held = opts.get("pillar")
    sentinel = held.get("__reclass__") if isinstance(held, Mapping) else None
    given = sentinel.get("proof") if isinstance(sentinel, Mapping) else None
    named = sentinel.get("nodename") if isinstance(sentinel, Mapping) else None
    if not isinstance(name, str) or not isinstance(given, str):
        raise ModelError(
            f"a minion that calls itself {name!r} asks with a pillar that proves nothing",
            cure="Let it refresh its pillar: salt MINION saltutil.refresh_pillar",
        )
    expected = proof(key, name)
    if named != name or not hmac.compare_digest(given.encode(), expected.encode()):
        raise ModelError(
            f"a minion asks for node {name} with the pillar of another",
            cure="Look which host has the pillar of that node, and take its key away",
        )
    return name


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
            raise UnknownNodeError(
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
        known = _Compiled(now, Inventory(path, **asdict(options)))
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


def _complete(
    served: dict[str, Any],
    applications: list[str],
    minion_id: str,
    decrypt: Decrypt | None,
    keystore: str | Path | None,
    closed: Sequence[_Path] | None = None,
) -> dict[str, Any]:
    """Open the secrets of a node's own copy and give it its key files."""
    sentinel = served.get("__reclass__")
    if not isinstance(sentinel, dict) or sentinel.get("nodename") != minion_id:
        raise ModelError("the compiled pillar carries no sentinel", where=f"node {minion_id}")
    for path in _closed(served) if closed is None else closed:
        place: Any = served
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = _clear(place[path[-1]], decrypt, path, minion_id)
    if keystore is not None:
        for role in applications:
            keys = _keys(Path(keystore), role)
            if keys:
                _place_keys(served, role, keys, minion_id)
    return served


def _fresh(data: Any) -> Any:
    """Copy a pillar; its texts and numbers are shared."""
    if isinstance(data, dict):
        return {key: _fresh(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_fresh(item) for item in data]
    return data


def _closed(data: dict[Any, Any] | list[Any], path: _Path = ()) -> list[_Path]:
    """List where in a structure there is ciphertext."""
    found = []
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        kind = type(value)
        if kind is str:
            if _MARK in value:
                found.append((*path, key))
        elif kind is dict or kind is list:
            found += _closed(value, (*path, key))
    return found


def _clear(text: str, decrypt: Decrypt | None, path: _Path, node: str) -> str:
    where = f"node {node}, key {':'.join(map(str, path))}"
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
