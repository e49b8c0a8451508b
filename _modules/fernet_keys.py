"""
Key repositories of symmetric (Fernet) keys
===========================================

A repository is a directory of files named by number, as Keystone reads them: ``0`` is the staged
key, which becomes the primary at the next rotation; the highest number is the primary, which
encrypts; all decrypt. The functions return numbers and fingerprints, never a key.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import time
from collections.abc import Mapping

import salt.utils.files
import salt.utils.user
from salt.exceptions import CommandExecutionError

__virtualname__ = "fernet_keys"

_FILE_MODE = 0o600
_DIR_MODE = 0o700


def __virtual__():
    return __virtualname__


def _fingerprint(key):
    """Return 12 hexadecimal digits that tell keys apart and say nothing about them."""
    return hashlib.sha256(b"fingerprint:" + key.strip().encode()).hexdigest()[:12]


def _valid(key):
    """Return whether a text is a Fernet key: 32 bytes in URL-safe base64."""
    try:
        return len(base64.urlsafe_b64decode(str(key).strip().encode())) == 32
    except (binascii.Error, ValueError):
        return False


def encoded(key):
    """
    Return 32 bytes as programs that use Fernet want them: URL-safe base64.

    key
        64 hexadecimal digits; a key that is encoded already is returned as it is.

    Raises ``CommandExecutionError`` for anything else; the message does not show it.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test fernet_keys.encoded \\
            000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f
    """
    text = str(key).strip()
    if len(text) == 64:
        with contextlib.suppress(ValueError):
            return base64.urlsafe_b64encode(bytes.fromhex(text)).decode()
    elif _valid(text):
        return text
    raise CommandExecutionError("A Fernet key is 64 hexadecimal digits or 32 bytes in base64.")


def facts(name):
    """
    Return what a repository holds: ``{number: fingerprint}``; empty when there is none.

    name
        Directory of the repository.

    Raises ``CommandExecutionError`` for a file that is no key: a damaged repository is never
    repaired by guessing.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test fernet_keys.facts /srv/saltern/keys/keystone.server/fernet
    """
    found = {}
    for number, path in _files(name).items():
        with salt.utils.files.fopen(path) as stream:
            text = stream.read()
        if not _valid(text):
            raise CommandExecutionError(f"{path} is not a Fernet key; restore the repository")
        found[number] = _fingerprint(text)
    return found


def rotation_age(name):
    """
    Return the seconds since the last rotation (or creation), or None when there is no staged key.

    name
        Directory of the repository.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test fernet_keys.rotation_age /srv/saltern/keys/keystone.server/fernet
    """
    staged = _files(name).get(0)
    # every rotation stages a new key, and nothing else writes that file
    return None if staged is None else max(0.0, time.time() - os.stat(staged).st_mtime)


def access(name, user, group):
    """
    Return what is wrong with owner and mode of a repository: ``{path: {"old":, "new":}}``.

    name
        Directory of the repository.
    user, group
        Who must own it; the directory is 0700, the keys are 0600.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test fernet_keys.access /etc/keystone/fernet-keys keystone keystone
    """
    wrong = {}
    for path, mode in _wanted_modes(name).items():
        stat = __salt__["file.stats"](path, follow_symlinks=False)
        old = f"{stat['user']}:{stat['group']} {int(stat['mode'], 8):04o}"
        new = f"{user}:{group} {mode:04o}"
        if old != new:
            wrong[path] = {"old": old, "new": new}
    return wrong


def secure(name, user, group):
    """
    Give a repository and its keys to a user: directory 0700, keys 0600.

    name
        Directory of the repository.
    user, group
        Who owns it.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test fernet_keys.secure /srv/keys/fernet salt salt
    """
    uid, gid = _ids(user, group)
    for path, mode in _wanted_modes(name).items():
        os.chmod(path, mode)
        os.chown(path, uid, gid)


def create(name, user, group):
    """
    Create a repository with a staged and a primary key; an existing one is left alone.

    name
        Directory of the repository. Missing parents are created, owned the same way.
    user, group
        Who owns it.

    Returns the facts of the repository.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test fernet_keys.create /srv/keys/fernet salt salt
    """
    directory(name, user, group)
    if not facts(name):
        for number in (0, 1):
            partial = _write_partial(name, _new_key(), user, group)
            os.rename(partial, os.path.join(name, str(number)))
    secure(name, user, group)
    return facts(name)


def directory(name, user, group):
    """
    Create the directory of a repository (0700); missing parents are owned the same way.

    name
        Directory of the repository.
    user, group
        Who owns it.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test fernet_keys.directory /etc/keystone/fernet-keys keystone keystone
    """
    uid, gid = _ids(user, group)
    missing = []
    path = os.path.normpath(name)
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        os.mkdir(path, _DIR_MODE)
        os.chown(path, uid, gid)


def rotate(name, user, group, max_active_keys=3):
    """
    Promote the staged key to primary, stage a new one, purge the oldest ones.

    name
        Directory of the repository.
    user, group
        Who owns it.
    max_active_keys
        How many keys stay, the staged one included; at least 3.

    Returns ``{"old": facts, "new": facts}``. Raises ``CommandExecutionError`` when there is no
    complete repository.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test fernet_keys.rotate /srv/keys/fernet salt salt

    Source: Keystone, ``keystone/common/fernet_utils.py`` (``rotate_keys``).
    """
    max_active_keys = int(max_active_keys)
    if max_active_keys < 3:
        raise CommandExecutionError("max_active_keys is at least 3: staged, primary, one older")
    before = facts(name)
    if 0 not in before or len(before) < 2:
        raise CommandExecutionError(f"{name} has no staged and primary key; create it first")
    staged = os.path.join(name, "0")
    # the new staged key is complete on disk before anything is renamed
    partial = _write_partial(name, _new_key(), user, group)
    os.rename(staged, os.path.join(name, str(max(before) + 1)))
    os.rename(partial, staged)
    active = sorted(number for number in _files(name) if number != 0)
    for number in active[: max(0, len(active) - (max_active_keys - 1))]:
        os.unlink(os.path.join(name, str(number)))
    secure(name, user, group)
    return {"old": before, "new": facts(name)}


def wanted(pillar):
    """
    Return the repository that a place in the pillar holds: ``{number: fingerprint}``.

    pillar
        Path in the pillar, ``:`` between the keys, of ``{number: key}``.

    Raises ``CommandExecutionError`` when there is no complete repository. No function takes a key
    as an argument: arguments are kept in the job cache.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test fernet_keys.wanted keystone:server:keys:fernet
    """
    return {number: _fingerprint(key) for number, key in _from_pillar(pillar).items()}


def deploy(name, pillar, user, group):
    """
    Make a repository exactly the one in the pillar; new keys come before stale ones go.

    name
        Directory of the repository.
    pillar
        As for :py:func:`fernet_keys.wanted <wanted>`.
    user, group
        Who owns it.

    Returns the facts of the repository. Raises ``CommandExecutionError`` when there is no
    complete repository in the pillar.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test fernet_keys.deploy /etc/keystone/fernet-keys \\
            keystone:server:keys:fernet keystone keystone
    """
    keys = _from_pillar(pillar)
    directory(name, user, group)
    before = facts(name)
    # highest first: the staged key's file changes last, when its old content has a new place
    for number in sorted(keys, reverse=True):
        if before.get(number) != _fingerprint(keys[number]):
            partial = _write_partial(name, keys[number].strip(), user, group)
            os.rename(partial, os.path.join(name, str(number)))
    for number in sorted(set(before) - set(keys)):
        os.unlink(os.path.join(name, str(number)))
    secure(name, user, group)
    return facts(name)


def _from_pillar(path):
    """Return number -> key of a place in the pillar."""
    data = __pillar__
    for part in path.split(":"):
        data = data.get(part) if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not data:
        raise CommandExecutionError(
            f"the pillar has no keys at {path}; create them on the node that owns them first"
        )
    keys = {int(number): str(key) for number, key in data.items() if str(number).isdigit()}
    if 0 not in keys or len(keys) < 2:
        raise CommandExecutionError(f"the pillar has no staged and primary key at {path}")
    bad = [number for number, key in keys.items() if not _valid(key)]
    if bad:
        raise CommandExecutionError(f"key {bad[0]} at {path} in the pillar is not a Fernet key")
    return keys


def _files(name):
    """Return number -> path of the keys in a directory; other names are not keys."""
    try:
        names = os.listdir(name)
    except FileNotFoundError:
        return {}
    return {int(item): os.path.join(name, item) for item in sorted(names) if item.isdigit()}


def _wanted_modes(name):
    return {name: _DIR_MODE, **dict.fromkeys(_files(name).values(), _FILE_MODE)}


def _new_key():
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _ids(user, group):
    uid = __salt__["file.user_to_uid"](user)
    gid = __salt__["file.group_to_gid"](group)
    if uid == "" or gid == "":
        raise CommandExecutionError(f"there is no user {user} or no group {group}")
    return uid, gid


def _write_partial(name, key, user, group):
    """Write a key to a file that is not one yet, readable by its owner only from the start."""
    path = os.path.join(name, "new.tmp")
    uid, gid = _ids(user, group)
    if os.path.lexists(path):
        os.unlink(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(key)
        stream.flush()
        os.fsync(stream.fileno())
    os.chown(path, uid, gid)
    return path
