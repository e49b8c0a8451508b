"""
Bundles as they lie on the backup server
========================================

Only from here a bundle can be removed: hosts can add to what is theirs, and nothing else. Which
ones may go is decided on the master, ``salt-run backup.expire``.
"""

import hashlib
import json
import os
import re
import shutil
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_store"

#: What ``backup.server`` writes; the minion option ``backup_store`` names another file.
SETTINGS = "/etc/saltern/backup/server.json"
MANIFEST = "manifest.json"
_PATH = re.compile(r"^[a-z0-9_]+\.[a-z0-9_]+/[A-Za-z0-9.-]+/[0-9]{8}T[0-9]{6}Z-[a-z]+-[0-9a-f]{4}$")
#: What decisions need of a manifest; the rest stays here.
_TOLD = (
    "format", "cluster", "role", "kind", "host", "id", "taken", "finished", "base", "full", "lsn",
    "position", "key", "held", "version", "label",
)  # fmt: skip


def __virtual__():
    return __virtualname__


def _directory():
    path = __opts__.get("backup_store", SETTINGS)
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)["directory"]
    except (OSError, ValueError, KeyError):
        raise CommandExecutionError(
            f"{path} cannot be read: this host is no backup server, or backup.server was not"
            " applied."
        ) from None


def facts():
    """
    Return what is stored, and how much room there is.

    ``{"directory", "free": bytes, "size": bytes of the disk, "now": seconds, "bundles": [manifest
    without its streams, with "path", "bytes", "plain" and "databases": [names]], "unfinished":
    {path: age in seconds}, "damaged": {path: why}}``. An unfinished one has no manifest: it is
    being written, or its host gave up.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test backup_store.facts
    """
    directory = _directory()
    disk = shutil.disk_usage(directory)
    found = {
        "directory": directory, "free": disk.free, "size": disk.total, "now": time.time(),
        "bundles": [], "unfinished": {}, "damaged": {},
    }  # fmt: skip
    for path in _paths(directory):
        try:
            with open(f"{directory}/{path}/{MANIFEST}", encoding="utf-8") as stream:
                about = json.load(stream)
            found["bundles"].append(_row(path, about))
        except FileNotFoundError:
            age = time.time() - os.stat(f"{directory}/{path}").st_mtime
            found["unfinished"][path] = round(age)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            found["damaged"][path] = f"its manifest cannot be read ({type(err).__name__})"
    return found


def _row(path, about):
    files = about["files"].values()
    row = {key: about[key] for key in _TOLD if key in about}
    row["path"] = path
    row["bytes"] = sum(item["stored_size"] for item in files)
    row["plain"] = sum(item["size"] for item in files)
    row["databases"] = sorted(about.get("databases", {}))
    row["streams"] = sorted(item["name"] for item in files)
    return row


def check(paths=None):
    """
    Read bundles as they lie on the disk, and find those whose bytes have changed.

    paths
        ``<role>/<host>/<id>``, a list; None: all

    What somebody changed who changed the manifest too is found by hosts, which have the key.
    Returns ``{path: why}``, empty when all are whole.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test backup_store.check
    """
    directory, damaged = _directory(), {}
    for path in _checked(paths) if paths is not None else _paths(directory):
        folder = f"{directory}/{path}"
        try:
            with open(f"{folder}/{MANIFEST}", encoding="utf-8") as stream:
                files = json.load(stream)["files"]
            for name, item in files.items():
                size, digest = _digest(f"{folder}/{os.path.basename(name)}")
                if (size, digest) != (item["stored_size"], item["stored_sha256"]):
                    damaged[path] = f"{name} is not what it was"
                    break
        except FileNotFoundError as err:
            if os.path.basename(err.filename) != MANIFEST:
                damaged[path] = f"{os.path.basename(err.filename)} is missing"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            damaged[path] = f"it cannot be read ({type(err).__name__})"
    return damaged


def remove(paths):
    """
    Remove bundles, and what was left of unfinished ones.

    paths
        ``<role>/<host>/<id>``, a list

    The manifest goes first, so one that is half removed is no bundle. Returns ``{"removed":
    [paths], "bytes"}``.

    CLI Example:

    .. code-block:: bash

        salt-run backup.expire
    """
    directory, removed, size = _directory(), [], 0
    for path in _checked(paths):
        folder = f"{directory}/{path}"
        if not os.path.isdir(folder):
            continue
        for name in sorted(os.listdir(folder), key=lambda name: name != MANIFEST):
            file = f"{folder}/{name}"
            size += os.lstat(file).st_size
            os.unlink(file)
        os.rmdir(folder)
        removed.append(path)
    return {"removed": removed, "bytes": size}


def healthy(free=5):
    """
    Check that bundles can be stored.

    free
        Percent of the disk that must be free

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test backup_store.healthy
    """
    try:
        directory = _directory()
        disk = shutil.disk_usage(directory)
    except (CommandExecutionError, OSError) as err:
        return {"ok": False, "sentence": str(err)}
    left = 100 * disk.free / disk.total
    sentence = f"{directory} has {disk.free / 1e9:.1f} GB of free space, {left:.0f} %."
    if left < float(free):
        sentence += " Free some, or keep less: backup:scheduler:retention."
    return {"ok": left >= float(free), "sentence": sentence}


def _paths(directory):
    found = []
    for role in _below(directory):
        for host in _below(f"{directory}/{role}"):
            for name in _below(f"{directory}/{role}/{host}"):
                path = f"{role}/{host}/{name}"
                if _PATH.match(path):
                    found.append(path)
    return found


def _below(directory):
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def _checked(paths):
    wrong = [path for path in paths if not _PATH.match(str(path))]
    if wrong:
        raise CommandExecutionError(f"{wrong[0]} is no name of a bundle.")
    return list(paths)


def _digest(path):
    found, size = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            found.update(part)
            size += len(part)
    return size, found.hexdigest()
