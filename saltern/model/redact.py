"""What of a model is secret, and how it is shown: as a short keyed hash, never as text.

Two hashes are equal when the values are, as long as the key is the same. Without a key of the
site every process has one of its own, so a hash that leaves it says nothing to anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from saltern.errors import SecretError
from saltern.model.serve import PGP_MESSAGE

#: a scalar under such a key is a secret
SECRET_NAME = re.compile(r"(^|_)(password|passwd|secret|token|cookie|private_key)$")
#: a place in another secret store, which Salt or the role asks by itself: no secret
REFERENCE = re.compile(r"^(?:sdb|vault)://\S+$")
#: names that are no fault in a model, yet better not shown: variants of the above
_SHY_NAME = re.compile(
    r"(^|[_-])(pass|passphrase|passwords?|passwd|secrets?|tokens?|cookies?|credentials?"
    r"|(private|api|access|secret|auth|encryption|shared)[_-]?keys?)([_-](hash|value|text))?$",
    re.IGNORECASE,
)
#: everything below such a key is a secret, however deep
_SECRET_TREES = ("_secret",)
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
#: scheme://user:password@host
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):([^\s/@]+)(?=@)")
_HASH = re.compile(r"secret:[0-9a-f]{8}")
_SHOWN = 8
_SHORTEST_KEY = 16

KeyPath = tuple[str, ...]
#: role (``service.role``) -> its JSON schema, or None
Schemas = Callable[[str], Mapping[str, Any] | None]


@cache
def process_key() -> bytes:
    """Return a random key that lives as long as the process."""
    return secrets.token_bytes(32)


def read_key(path: str | Path | None) -> bytes:
    """Return the key that hashes are made with.

    :param path: file of at least 16 bytes, kept on the site; two runs with one key give the
        same hashes. None: the key of this process
    :raises SecretError: the file cannot be read, or is too short
    """
    if path is None:
        return process_key()
    try:
        key = Path(path).read_bytes().strip()
    except OSError as err:
        raise SecretError(f"cannot read the key: {err.strerror}", where=str(path)) from None
    if len(key) < _SHORTEST_KEY:
        raise SecretError(
            f"the key has less than {_SHORTEST_KEY} bytes",
            where=str(path),
            cure="Make one: head -c 32 /dev/urandom | base64",
        )
    return key


def redact(value: Any, key: bytes) -> str:
    """Return ``secret:3f9a12bc``: the same for the same value and key.

    :param value: any plain data
    :param key: see :func:`read_key`
    """
    return f"secret:{digest(value, key)[:_SHOWN]}"


def digest(value: Any, key: bytes) -> str:
    """Return a keyed hash of plain data, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def is_secret_name(name: str) -> bool:
    """Return whether a scalar under a key of this name is taken for a secret."""
    return bool(SECRET_NAME.search(name) or _SHY_NAME.search(name))


def encrypted(value: Any) -> bool:
    """Return whether a value is, or holds, ciphertext."""
    return any("-----BEGIN PGP MESSAGE-----" in text for text in _strings(value))


def is_hash(value: Any) -> bool:
    """Return whether a value is a secret as :func:`redact` shows it."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def write_only(data: Any, schema: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """Yield (key path, value) of every scalar that a role's schema marks ``writeOnly``.

    :param data: ``pillar[service][role]``, or a part of it with the dictionaries around it
    :param schema: the role's JSON schema; ``$ref`` inside it is followed
    """
    yield from _write_only(data, schema, schema, (), False)


def marked(pillar: Mapping[str, Any], roles: Iterable[str], schemas: Schemas) -> frozenset[KeyPath]:
    """Return the key paths of a pillar that the schemas of its roles mark ``writeOnly``.

    For :func:`masked`: numbers are ``*``, since a list's items move.
    """
    found: set[KeyPath] = set()
    for role in roles:
        schema = schemas(role)
        data: Any = pillar
        own = tuple(role.split(".", 1))
        for name in own:
            data = data.get(name) if isinstance(data, Mapping) else None
        if schema is not None and data is not None:
            found |= {_anywhere((*own, *path)) for path, _ in write_only(data, schema)}
    return frozenset(found)


def masked(
    data: Any, key: bytes, path: KeyPath = (), known: frozenset[KeyPath] = frozenset()
) -> Any:
    """Return data with every secret as its hash; the data itself stays.

    A secret is: ciphertext (also inside text), what ``known`` names, a scalar under a name such
    as ``password`` or ``api_key``, everything below ``_secret``, a private key, and the password
    in a URL.

    :param data: a pillar, or what lies at ``path`` in one
    :param path: where in the pillar it lies
    :param known: key paths that are secret, see :func:`marked`
    """
    named = any(is_secret_name(name) for name in path[-2:-1]) and path[-1].isdigit()
    return _masked(data, key, path, known, named or any(name in _SECRET_TREES for name in path))


def text(value: str, key: bytes) -> str:
    """Return a text with the secrets inside it as hashes."""
    if "-----BEGIN" in value:
        value = PGP_MESSAGE.sub(lambda found: redact(found.group(), key), value)
        value = _KEY_BLOCK.sub(lambda found: redact(found.group(), key), value)
    if "://" in value:
        value = _URL_PASSWORD.sub(
            lambda found: (
                found.group() if is_hash(found[2]) else f"{found[1]}:{redact(found[2], key)}"
            ),
            value,
        )
    return value


def opaque(data: Any, key: bytes) -> Any:
    """Return data with each message of ciphertext as 32 hexadecimal digits.

    For rendering without the clear text: a token is one line, as a secret is, and differs when
    the ciphertext does.
    """
    if isinstance(data, str):
        if "-----BEGIN PGP MESSAGE-----" not in data:
            return data
        return PGP_MESSAGE.sub(lambda found: digest(found.group(), key)[:32], data)
    if isinstance(data, dict):
        return {name: opaque(value, key) for name, value in data.items()}
    if isinstance(data, list):
        return [opaque(item, key) for item in data]
    return data


def _masked(data: Any, key: bytes, path: KeyPath, known: frozenset[KeyPath], inside: bool) -> Any:
    if isinstance(data, dict):
        return {
            name: _masked(
                value, key, (*path, str(name)), known, inside or str(name) in _SECRET_TREES
            )
            for name, value in data.items()
        }
    if isinstance(data, list):
        # the items of `tokens: [...]` are secrets like the value of `token:`
        named = bool(path) and is_secret_name(path[-1])
        return [
            _masked(item, key, (*path, str(n)), known, inside or named)
            for n, item in enumerate(data)
        ]
    if data is None or isinstance(data, bool) or data == "":
        return data
    if inside or _anywhere(path) in known or (path and is_secret_name(path[-1])):
        if is_hash(data):
            return data
        if not (isinstance(data, str) and REFERENCE.match(data)):
            return redact(data, key)
    return text(data, key) if isinstance(data, str) else data


def _anywhere(path: KeyPath) -> KeyPath:
    return tuple("*" if part.isdigit() else part for part in path)


def _write_only(
    data: Any, node: Any, root: Mapping[str, Any], path: KeyPath, inside: bool
) -> Iterator[tuple[KeyPath, Any]]:
    if not isinstance(node, dict):
        node = {}
    if isinstance(node.get("$ref"), str):
        yield from _write_only(data, _follow(root, node["$ref"]), root, path, inside)
    inside = inside or bool(node.get("writeOnly"))
    for name in ("allOf", "anyOf", "oneOf"):
        for option in node.get(name, ()):
            yield from _write_only(data, option, root, path, inside)
    if isinstance(data, dict):
        properties = node.get("properties", {})
        patterns = node.get("patternProperties", {})
        for name, value in data.items():
            below = [properties[name]] if name in properties else []
            below += [sub for pattern, sub in patterns.items() if re.search(pattern, str(name))]
            for sub in below or [node.get("additionalProperties", {})]:
                yield from _write_only(value, sub, root, (*path, str(name)), inside)
    elif isinstance(data, list):
        for n, value in enumerate(data):
            yield from _write_only(value, node.get("items", {}), root, (*path, str(n)), inside)
    elif inside and data not in (None, ""):
        yield path, data


def _follow(root: Mapping[str, Any], ref: str) -> Any:
    node: Any = root if ref.startswith("#/") else {}
    for part in ref[2:].split("/"):
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return node


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
