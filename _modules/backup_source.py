"""
What is backed up as files, or as what a program says
=====================================================

For roles whose data are not in MariaDB: directories, SQLite databases, and programs that export
and import (``ovsdb-client``, ``rabbitmqctl``). Which ones, the role's lifecycle says.
"""

import contextlib
import glob
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_source"

KIND = "full"
_FILES = "files.tar"
# A directory that is written to is read once more, so many times in all.
_TRIES = 3
_LIMIT = 600


def __virtual__():
    return __virtualname__


def take(role, base=None, files=(), sqlite=(), programs=None, optional=()):
    """
    Make a bundle of directories, SQLite databases and of what programs say.

    role
        Whose data it is, ``salt.master``
    base
        Of kinds that build on another one; not of this
    files
        Directories and files
    sqlite
        SQLite databases; each is copied as of one moment while it is used
    programs
        ``{stream: command as a list}``; its output is the stream
    optional
        Those of ``files`` and ``sqlite`` that need not be there

    Returns what ``backup_bundle.finish`` does. Raises CommandExecutionError; the server then has
    no such bundle.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test backup_source.take pki.ca files='[/etc/saltern/ca]'
    """
    del base
    lost = [path for path in (*files, *sqlite) if not os.path.exists(path)]
    missing = sorted(set(lost) - set(optional))
    if missing:
        raise CommandExecutionError(f"{missing[0]} is not there, so {role} has nothing to back up.")
    files = [path for path in files if path not in lost]
    add, began = __salt__["backup_bundle.add"], time.monotonic()
    bundle = __salt__["backup_bundle.begin"](role, KIND, paths=sorted(files), sqlite={})
    if files:
        _tar(bundle, files, [path for path in sqlite if path not in lost])
    for path in sqlite:
        if path in lost:
            continue
        stream = f"{os.path.basename(path)}.sqlite"
        with _copied(path) as copy:
            add(bundle, stream, copy)
        bundle["sqlite"][stream] = path
    for stream, command in sorted((programs or {}).items()):
        add(bundle, stream, list(command))
    return __salt__["backup_bundle.finish"](bundle, seconds=round(time.monotonic() - began, 1))


def restore(bundle, role=None, target=None, replace=False, into=None):
    """
    Write a bundle's streams to a directory to look at, or put them in their places.

    bundle
        ``<role>/<host>/<id>``
    role
        Whose it must be
    target
        Directory that files go below; default: one of their own, which is named in the answer
    replace
        Put them in their places: files below ``/``, and what ``into`` names into its programs.
        What writes to them must be stopped, but for programs, which tell those that run
    into
        ``{stream: command as a list}`` that reads it

    Returns ``{"target", "streams", "sentence"}``. Raises CommandExecutionError; before anything
    was written, when the bundle is damaged or wrong.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test backup_source.restore pki.ca/cfg01…/20260101T0Z-full-1a2b
    """
    about = __salt__["backup_bundle.inspect"](bundle, role, [KIND])
    into = (into or {}) if replace else {}
    scratch = __salt__["backup_client.scratch"]()
    target = "/" if replace else target or f"{scratch}/restored/{about['id']}"
    os.makedirs(target, mode=0o700, exist_ok=True)
    with _fetched(about, scratch) as streams:
        for stream, file in streams.items():
            feed = __salt__["backup_bundle.feed"]
            if stream == _FILES:
                feed(about, stream, file, ["tar", "-x", "-p", "--numeric-owner", "-C", target])
            elif stream in into:
                _read_by(into[stream], about, stream, file, scratch)
            else:
                place = about["sqlite"].get(stream, f"/{stream}")
                if stream not in about["sqlite"] and replace:
                    raise CommandExecutionError(
                        f"Nothing says into which program {stream} goes. Restore it without"
                        " replace."
                    )
                _written(about, stream, file, f"{target.rstrip('/')}{place}")
    sentence = f"{len(streams)} streams of {about['taken']} are restored below {target}."
    return {"target": target, "streams": sorted(streams), "sentence": sentence}


def verify(bundles):
    """
    Restore a bundle into a directory of its own, and open what came out with its own program.

    bundles
        A list of one: ``<role>/<host>/<id>``

    Returns ``{"path", "streams": {name: what was found}, "seconds", "sentence"}``. Raises
    CommandExecutionError with the first that cannot be opened.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify pki.ca/cfg01…/20260101T0Z-full-1a2b
    """
    (bundle,) = bundles
    began = time.monotonic()
    about = __salt__["backup_bundle.inspect"](bundle, kinds=[KIND])
    scratch = __salt__["backup_client.scratch"]()
    __salt__["backup_client.room"](sum(one["size"] for one in about["files"].values()))
    found = {}
    with _fetched(about, scratch) as streams, tempfile.TemporaryDirectory(dir=scratch) as work:
        for stream, file in streams.items():
            if stream == _FILES:
                command = ["tar", "-x", "-p", "--numeric-owner", "-C", work]
                __salt__["backup_bundle.feed"](about, stream, file, command)
                lost = [path for path in about["paths"] if not os.path.lexists(work + path)]
                if lost:
                    raise CommandExecutionError(f"{bundle} lacks {lost[0]}. Take another bundle.")
                count = sum(len(files) for _, _, files in os.walk(work))
                found[stream] = f"{count} files"
            else:
                path = f"{work}/.{stream}"
                _written(about, stream, file, path)
                found[stream] = _opened(bundle, stream, path)
                os.unlink(path)
    seconds = round(time.monotonic() - began, 1)
    told = ", ".join(f"{stream}: {what}" for stream, what in sorted(found.items()))
    return {
        "path": bundle, "streams": found, "seconds": seconds,
        "sentence": f"{bundle}: restored and opened in {seconds} s: {told}.",
    }  # fmt: skip


def _tar(bundle, files, without):
    """Add directories; what changes while it is read makes no bundle, but one more try."""
    command = ["tar", "-c", "--numeric-owner", "--xattrs", "--sparse", "-C", "/"]
    # the databases are streams of their own: a file that is written to is none
    command += [f"--exclude={path[1:]}{more}" for path in without for more in ("", "-wal", "-shm")]
    command += ["--", *(path.lstrip("/") for path in files)]
    for left in reversed(range(_TRIES)):
        try:
            return __salt__["backup_bundle.add"](bundle, _FILES, command)
        except CommandExecutionError as err:
            # what tar says when a file changed while it was read
            if not left or not str(err).startswith("tar failed (1)"):
                raise
            time.sleep(1)
    return None


@contextlib.contextmanager
def _copied(path):
    """Give an open copy of an SQLite database, as of one moment, that has no name."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with (
                contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
                contextlib.closing(sqlite3.connect(f"{folder}/copy")) as copy,
            ):
                source.backup(copy)
        except sqlite3.Error as err:
            raise CommandExecutionError(f"{path} cannot be copied: {err}.") from None
        with open(f"{folder}/copy", "rb") as stream:
            yield stream


def _fetched(about, scratch):
    """Give all streams, checked, as files that are still encrypted; they are gone afterwards."""
    directory = tempfile.mkdtemp(prefix="restore-", dir=scratch)
    names = [one["name"] for one in about["files"].values()]
    try:
        found = __salt__["backup_bundle.fetch"](about, names, directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return _Streams(found, directory)


class _Streams:
    """Files by stream, removed at the end of the block."""

    def __init__(self, found, directory):
        self.found, self.directory = found, directory

    def __enter__(self):
        return self.found

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)


def _written(about, stream, file, path):
    """Write one stream to a file, which keeps the owner and mode of the one that it replaces."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = f"{path}.restored"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as sink:
        __salt__["backup_bundle.feed"](about, stream, file, ["cat"], stdout=sink)
    if os.path.exists(path):
        told = os.stat(path)
        os.chown(new, told.st_uid, told.st_gid)
        os.chmod(new, told.st_mode & 0o777)
    for old in glob.glob(f"{glob.escape(path)}-*"):
        # the journal of the one that it replaces is not of this
        if old.endswith(("-wal", "-shm", "-journal")):
            os.unlink(old)
    os.replace(new, path)


def _read_by(command, about, stream, file, scratch):
    """Let a program read one stream: whole and proven, as a file, in which some of them seek."""
    with tempfile.TemporaryDirectory(dir=scratch) as work:
        path = f"{work}/stream"
        _written(about, stream, file, path)
        with open(path, "rb") as source:
            done = subprocess.run(
                list(command), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()[-500:]
        raise CommandExecutionError(f"{command[0]} did not take {stream}: {said}")


def _opened(bundle, stream, path):
    """Open what was restored as the program does that it belongs to."""
    if stream.endswith(".sqlite"):
        try:
            with contextlib.closing(sqlite3.connect(path)) as database:
                (said,) = database.execute("PRAGMA integrity_check").fetchone()
                (tables,) = database.execute(
                    "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'"
                ).fetchone()
        except sqlite3.Error as err:
            said, tables = str(err), 0
        if said != "ok":
            raise CommandExecutionError(f"{bundle}: {stream} is no whole database: {said}.")
        return f"{tables} tables"
    if stream.endswith(".json"):
        with open(path, encoding="utf-8") as sink:
            try:
                told = json.load(sink)
            except ValueError:
                told = None
        if not isinstance(told, dict) or not told:
            raise CommandExecutionError(f"{bundle}: {stream} is no JSON.")
        counts = [f"{len(value)} {key}" for key, value in sorted(told.items()) if value
                  and isinstance(value, list)]  # fmt: skip
        return ", ".join(counts) or "no lists"
    if stream.endswith(".ovsdb"):
        # reads every transaction of it, as a server does at its start
        _run(["ovsdb-tool", "compact", path, f"{path}.compacted"])
        os.unlink(f"{path}.compacted")
        return f"database {_run(['ovsdb-tool', 'db-name', path]).strip()}"
    return f"{os.path.getsize(path)} bytes"


def _run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{command[0]}: {type(err).__name__}.") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise CommandExecutionError(f"{command[0]}: {lines[-1][:300] if lines else 'no word why'}")
    return done.stdout
