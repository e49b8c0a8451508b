"""
Bundles: what a backup is made of
=================================

A bundle is a directory on the backup server: streams, each compressed (zstd) and encrypted
(OpenPGP with a passphrase, AES-256) before it leaves the host, and ``manifest.json``, which comes
last. A directory without manifest is no bundle.

The manifest has size and SHA-256 of each stream before and after, and is sealed (HMAC-SHA256 with
a key made from the passphrase): who changes, swaps or drops a byte on the server is found out
before anything is restored. With the key one stream can be read on any host: ``gpg --decrypt``
and ``zstd --decompress``.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import tempfile
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_bundle"

#: Of manifest and streams; a bundle of another one is refused.
FORMAT = 1
MANIFEST = "manifest.json"
#: How a bundle is named: role, host, time with kind.
PATH = re.compile(r"^[a-z0-9_]+\.[a-z0-9_]+/[A-Za-z0-9.-]+/[0-9]{8}T[0-9]{6}Z-[a-z]+-[0-9a-f]{4}$")
# A manifest of more bytes is none.
_LARGEST = 8 << 20
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def __virtual__():
    return __virtualname__


def begin(role, kind, **about):
    """
    Begin a bundle; :py:func:`add` streams to it, :py:func:`finish` makes it one.

    role
        Whose data it has, ``galera.server``
    kind
        ``full``, ``incremental``, ``logical``
    about
        More that the manifest says

    Returns the manifest so far.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take
    """
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    told = __salt__["backup_client.settings"]()
    return {
        "format": FORMAT,
        "cluster": told["cluster"],
        "role": role,
        "kind": kind,
        "host": told["host"],
        "id": f"{stamp}-{kind}-{secrets.token_hex(2)}",
        "taken": time.strftime(_TIME, time.gmtime(now)),
        "key": _key_id(),
        "files": {},
        **about,
    }


def add(bundle, name, source):
    """
    Compress, encrypt and upload one stream; nothing of it touches this host's disk.

    bundle
        From :py:func:`begin`; what the stream was is noted in it
    name
        Of the stream, ``nova.sql``
    source
        A command, whose output is the stream, as a list; or an open file

    Raises CommandExecutionError; the server then has nothing of it.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take
    """
    stored = f"{name}.zst.gpg"
    target = f"{path(bundle)}/{stored}"
    found = __salt__["backup_stream.pack"](
        source, lambda parts: __salt__["backup_client.put"](target, parts)
    )
    bundle["files"][stored] = {"name": name, **found}
    return bundle["files"][stored]


def finish(bundle, **about):
    """
    Seal a bundle: from now on there is one.

    bundle
        From :py:func:`begin`
    about
        More that the manifest says

    Returns ``{"path", "bytes": stored, "seconds", "sentence", "bundle": manifest without
    files}``.

    CLI Example:

    .. code-block:: bash

        salt-run backup.take
    """
    bundle.update(about, finished=time.strftime(_TIME, time.gmtime()))
    bundle["seal"] = _seal(bundle)
    __salt__["backup_client.put"](
        f"{path(bundle)}/{MANIFEST}", iter([json.dumps(bundle, indent=1, sort_keys=True).encode()])
    )
    size = sum(item["stored_size"] for item in bundle["files"].values())
    plain = sum(item["size"] for item in bundle["files"].values())
    return {
        "path": path(bundle),
        "bytes": size,
        "bundle": {key: value for key, value in bundle.items() if key not in ("files", "seal")},
        "sentence": f"{path(bundle)}: {plain / 1e6:.1f} MB, {size / 1e6:.1f} MB stored.",
    }


def path(bundle):
    """
    Return where a bundle is on the server: ``<role>/<host>/<id>``.

    bundle
        Its manifest

    CLI Example:

    .. code-block:: bash

        salt-run backup.list
    """
    return f"{bundle['role']}/{bundle['host']}/{bundle['id']}"


def inspect(name, role=None, kinds=None):
    """
    Read a bundle's manifest and see that it is one of this cluster, whole, and of this host's
    key.

    name
        ``<role>/<host>/<id>``, as ``backup.list`` has it
    role
        Whose it must be; None: anybody's
    kinds
        Which kinds it may be; None: any

    Returns the manifest. Raises CommandExecutionError with the reason that it cannot be used.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_bundle.inspect galera.server/inf01…/20260101T0Z-full-1a2b
    """
    if not PATH.match(str(name)):
        raise CommandExecutionError(f"{name} is no name of a bundle. See salt-run backup.list.")
    text = bytearray()
    __salt__["backup_client.get"](f"{name}/{MANIFEST}", text.extend, limit=_LARGEST)
    try:
        about = json.loads(bytes(text))
        found = about["format"]
        if found != FORMAT:
            raise CommandExecutionError(
                f"{name} is of format {found}; this host reads {FORMAT}. Use the version of"
                " Saltern that"
                " made it."
            )
        cluster = __salt__["backup_client.settings"]()["cluster"]
        if about["cluster"] != cluster:
            raise CommandExecutionError(
                f"{name} is of cluster {about['cluster']}, and this host is of {cluster}. Take"
                " a bundle"
                " of its own."
            )
        if about["key"] != _key_id():
            raise CommandExecutionError(
                f"{name} was encrypted with another key ({about['key']}) than this host has."
                " Put that key"
                " in place, or take a newer bundle."
            )
        if not hmac.compare_digest(about["seal"], _seal(about)) or path(about) != name:
            raise CommandExecutionError(
                f"{name} is damaged: its manifest is not what was sealed. Take another bundle."
            )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CommandExecutionError(
            f"{name} is damaged: its manifest cannot be read. Take another bundle."
        ) from None
    if role not in (None, about["role"]):
        raise CommandExecutionError(f"{name} is of {about['role']}, and not of {role}.")
    if kinds is not None and about["kind"] not in kinds:
        raise CommandExecutionError(f"{name} is {about['kind']}, and not {' or '.join(kinds)}.")
    return about


def fetch(about, names, directory):
    """
    Bring streams of a bundle to this host, still encrypted, and see that they are what they were.

    about
        Its manifest, from :py:func:`inspect`
    names
        Of the streams
    directory
        Where they go

    Returns ``{name: file}``. Raises CommandExecutionError when one is missing, changed, or does
    not fit on the disk.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf01…/20260101T0Z-full-1a2b
    """
    by_name = {item["name"]: (stored, item) for stored, item in about["files"].items()}
    missing = sorted(set(names) - set(by_name))
    if missing:
        raise CommandExecutionError(
            f"{path(about)} has no {', '.join(missing)}; it has {', '.join(sorted(by_name))}."
        )
    __salt__["backup_client.room"](sum(by_name[name][1]["stored_size"] for name in names))
    found = {}
    for name in names:
        stored, item = by_name[name]
        digest, target = hashlib.sha256(), os.path.join(directory, stored)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as sink:

            def write(part, sink=sink, digest=digest):
                digest.update(part)
                sink.write(part)

            try:
                __salt__["backup_client.get"](f"{path(about)}/{stored}", write, item["stored_size"])
            except OSError as err:
                raise CommandExecutionError(
                    f"{target} cannot be written: {err.strerror}."
                ) from None
        if digest.hexdigest() != item["stored_sha256"]:
            raise CommandExecutionError(
                f"{path(about)} is damaged: {stored} is not what it was. Take another bundle."
            )
        found[name] = target
    return found


def feed(about, name, file, command, **more):
    """
    Decrypt and unpack one stream into a program, and see that it was what had been backed up.

    about
        Manifest of its bundle
    name
        Of the stream
    file
        From :py:func:`fetch`
    command
        Program that reads it from its input, as a list; None: nobody does
    more
        For ``subprocess.Popen``

    Returns what the program says, its first 64 KiB. Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf01…/20260101T0Z-full-1a2b
    """
    (item,) = (one for one in about["files"].values() if one["name"] == name)
    found = __salt__["backup_stream.unpack"](file, command, **more)
    if (found["size"], found["sha256"]) != (item["size"], item["sha256"]):
        raise CommandExecutionError(
            f"{path(about)} is damaged: {name} is not what it was. Take another bundle."
        )
    return found["said"]


def check(name):
    """
    Read all of a bundle: each stream is fetched, decrypted and unpacked, and kept nowhere.

    name
        ``<role>/<host>/<id>``

    Returns ``{"path", "streams", "bytes": unpacked, "sentence"}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_bundle.check galera.server/inf01…/20260101T0Z-full-1a2b
    """
    about = inspect(name)
    streams = sorted(item["name"] for item in about["files"].values())
    directory = tempfile.mkdtemp(dir=__salt__["backup_client.scratch"]())
    try:
        for stream in streams:
            file = fetch(about, [stream], directory)[stream]
            feed(about, stream, file, None)
            os.unlink(file)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    size = sum(item["size"] for item in about["files"].values())
    sentence = f"{name}: {len(streams)} streams with {size / 1e6:.1f} MB are what was backed up."
    return {"path": name, "streams": streams, "bytes": size, "sentence": sentence}


def _key_id():
    """Name the key; nothing can be learnt of it from that."""
    return __salt__["backup_stream.sign"]("saltern backup key")[:16]


def _seal(about):
    plain = {key: value for key, value in about.items() if key != "seal"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return __salt__["backup_stream.sign"]("saltern backup seal", text)
