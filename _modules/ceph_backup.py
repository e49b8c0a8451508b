"""
A monitor's store as a bundle
=============================

A bundle is one file that only root reads: the store of one monitor, copied while that monitor is
stopped and the others are a majority; the map of monitors; every key; the configuration that the
cluster keeps. ``ceph_rescue`` brings it back.
"""

import contextlib
import glob
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_backup"

MONITORS = "/var/lib/ceph/mon"
#: Of the layout below; a bundle of another one is refused.
FORMAT = 1
MANIFEST = "manifest.json"
# Seconds that a program has: a store may be large.
LIMIT = 600
# The store's own files are below this.
_STORE = "store"


def __virtual__():
    return __virtualname__


def _run(*command, what):
    return __salt__["ceph_daemon.run"](*command, what=what, limit=LIMIT)


def release():
    """
    Return the release of Ceph that this host has, by its number, such as 16.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_backup.release
    """
    told = _run("ceph-mon", "--version", what="Asking the release")
    found = re.search(r"ceph version (\d+)\.", told)
    if not found:
        raise CommandExecutionError(f"ceph-mon --version says {told.strip()[:80]!r}.")
    return int(found[1])


def _keyring(users):
    """Write what the cluster says of its users as a keyring."""
    write = __salt__["ceph_daemon.keyring"]
    return "".join(write(user["entity"], user["key"], user.get("caps")) for user in users)


def _digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def take(directory, keep=7, interrupt=False):
    """
    Make a bundle of this host's monitor, which is stopped for some seconds; the others must be a
    majority without it.

    directory
        Where bundles go; made for root alone
    keep
        How many of this monitor stay, the newest; older ones are removed
    interrupt
        The only monitor of a cluster: accept that nobody is served meanwhile

    Returns ``{"path", "bytes", "seconds": for which the monitor was stopped, "removed": [paths],
    "sentence"}``. Raises CommandExecutionError; the monitor runs again in any case.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_backup.take /var/backups/ceph
    """
    name = __salt__["ceph_daemon.name"]()
    seen = __salt__["ceph_monitor.status"](name)
    if not seen:
        raise CommandExecutionError(
            f"Monitor {name} does not run, so its store may be old. Take the bundle of one that"
            " does."
        )
    members = sorted(item["name"] for item in seen["monmap"]["mons"])
    spare = __salt__["ceph_gate.quorum_without"](name)
    if not spare["ok"] and not (interrupt and members == [name]):
        raise CommandExecutionError(f"Monitor {name} cannot be stopped: {spare['sentence']}")
    ask = __salt__["ceph_cluster.command"]
    os.makedirs(directory, mode=0o700, exist_ok=True)
    work = tempfile.mkdtemp(prefix=".new-", dir=directory)
    try:
        texts = {
            "keyring": _keyring(ask("auth ls")["auth_dump"]),
            "config.json": json.dumps(ask("config dump"), indent=1),
        }
        epoch = ask("osd dump")["epoch"]
        began = time.monotonic()
        try:
            _run("systemctl", "stop", f"ceph-mon@{name}", what=f"Stopping monitor {name}")
            shutil.copytree(f"{MONITORS}/ceph-{name}", f"{work}/{_STORE}")
        finally:
            __salt__["ceph_monitor.start"]()
        seconds = round(time.monotonic() - began, 1)
        for file, text in texts.items():
            with open(f"{work}/{file}", "w", encoding="utf-8") as stream:
                stream.write(text)
        # that it can be opened is proven by this
        _run(
            "ceph-mon", "-i", name, "--mon-data", f"{work}/{_STORE}", "--no-mon-config",
            "--extract-monmap", f"{work}/monmap", what="Opening the copied store",
        )  # fmt: skip
        about = {
            "format": FORMAT,
            "fsid": seen["monmap"]["fsid"],
            "monitor": name,
            "members": members,
            "release": release(),
            "osdmap": epoch,
            "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        path = _pack(directory, work, about)
    except (OSError, shutil.Error) as err:
        raise CommandExecutionError(f"The bundle cannot be written: {err}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    removed = _prune(directory, about, keep)
    size = os.path.getsize(path)
    sentence = f"{path}: {size / 1e6:.1f} MB; monitor {name} was away for {seconds} s."
    return {
        "path": path, "bytes": size, "seconds": seconds, "removed": removed, "sentence": sentence,
    }  # fmt: skip


def _bundles(directory, about):
    pattern = f"{glob.escape(directory)}/ceph-mon-{about['fsid']}-{about['monitor']}-*.tar.gz"
    return sorted(glob.glob(pattern))


def _prune(directory, about, keep):
    old = _bundles(directory, about)[: -max(1, int(keep))]
    for path in old:
        for file in (path, f"{path}.sha256"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
    return old


def _pack(directory, work, about):
    """Write the archive and its checksum; whole or not at all, and for root alone."""
    files = {}
    for folder, _, names in os.walk(work):
        for file in names:
            path = os.path.join(folder, file)
            size = os.path.getsize(path)
            files[os.path.relpath(path, work)] = {"size": size, "sha256": _digest(path)}
    stamp = about["taken"].replace("-", "").replace(":", "")
    target = f"{directory}/ceph-mon-{about['fsid']}-{about['monitor']}-{stamp}.tar.gz"
    text = json.dumps({**about, "files": files}, indent=1).encode()
    handle = os.open(f"{target}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=3) as archive:
            head = tarfile.TarInfo(MANIFEST)
            head.size = len(text)
            archive.addfile(head, io.BytesIO(text))
            for file in sorted(files):
                archive.add(os.path.join(work, file), arcname=file)
        stream.flush()
        os.fsync(stream.fileno())
    handle = os.open(f"{target}.sha256", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"{_digest(f'{target}.new')}  {os.path.basename(target)}\n")
    os.replace(f"{target}.new", target)
    return target


def inspect(path):
    """
    Read a bundle and verify all of it, without opening a store.

    path
        Of the bundle; its checksum is beside it, in ``<path>.sha256``

    Returns the manifest: ``{"format", "fsid", "monitor", "members", "release", "osdmap": epoch,
    "taken", "files"}``. Raises CommandExecutionError when anything is missing, changed or too much.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_backup.inspect /var/backups/ceph/ceph-mon-….tar.gz
    """
    return unpack(path)


def unpack(path, target=None):
    """
    Verify a bundle as :py:func:`inspect` does, and write its files.

    path
        Of the bundle
    target
        Directory that its files go below; None: only verify

    Returns the manifest.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_backup.unpack /var/backups/ceph/ceph-mon-….tar.gz /root/look
    """
    try:
        with open(f"{path}.sha256", encoding="utf-8") as stream:
            wanted = stream.read().split()[:1]
        found = _digest(path)
    except OSError as err:
        raise CommandExecutionError(f"{err.filename} cannot be read: {err.strerror}.") from None
    if wanted != [found]:
        raise CommandExecutionError(
            f"{path} is damaged: its checksum is {found[:16]}…, not the one in {path}.sha256. Take"
            " another bundle."
        )
    try:
        with tarfile.open(path, "r:gz") as archive:
            first = archive.next()
            stream = archive.extractfile(first) if first and first.name == MANIFEST else None
            about = json.loads(stream.read()) if stream else {}
            if about.get("format") != FORMAT:
                raise CommandExecutionError(f"{path} is no bundle of a monitor (format {FORMAT}).")
            left = dict(about["files"])
            for member in iter(archive.next, None):
                told = left.pop(member.name, None)
                data = archive.extractfile(member) if told and member.isreg() else None
                if not data or member.name.startswith("/") or ".." in member.name.split("/"):
                    raise CommandExecutionError(
                        f"{path} holds {member.name}, which is not its own."
                    )
                _copy(member.name, data, told, target and os.path.join(target, member.name))
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError) as err:
        raise CommandExecutionError(f"{path} cannot be read: {err}.") from None
    if left:
        raise CommandExecutionError(f"{path} lacks {min(left)}. Take another bundle.")
    return about


def _copy(name, data, told, target):
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        out = None
        if target:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            out = stack.enter_context(open(target, "wb"))
        for part in iter(lambda: data.read(1 << 20), b""):
            digest.update(part)
            size += len(part)
            if out:
                out.write(part)
    if (size, digest.hexdigest()) != (told["size"], told["sha256"]):
        raise CommandExecutionError(f"The bundle is damaged: {name} is not what it was.")
