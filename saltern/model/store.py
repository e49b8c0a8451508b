"""The store of compiled revisions: immutable, whole or not there, checked at every read.

::

    revisions/<id>/<engine>-<options>/   manifest.json, index, state: one compiled revision
    packs/<hash>.pack                    records of nodes, shared between revisions
    tmp/                                 what is being written
    lock                                 shared by compiles, exclusive for the collector

A revision is written beside the others and moved to its place in one step; its folder is never
changed afterwards. Nothing read is believed before its checksum was compared, and a node id is
looked up in the index, never made part of a path.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import yaml

from saltern.errors import ModelError
from saltern.model import codec
from saltern.model.cluster import CompiledNode, assemble
from saltern.model.options import Options

#: the layout of folders and files below; part of the engine's hash
FORMAT = 1
#: modules whose text decides what a node's data becomes; a test compares them with the imports
ENGINE_MODULES = (
    "cluster",
    "codec",
    "compiler",
    "inventory",
    "mapping",
    "options",
    "plan",
    "prepare",
    "query",
    "reader",
    "resolve",
    "source",
    "store",
    "tree",
    "walk",
)
_ID = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64}|worktree-[0-9a-f]{12})$")
_COMMIT = re.compile(r"^[0-9a-f]{40,64}$")
_PACK = re.compile(r"^[0-9a-f]{32}$")
_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640
#: open revisions and packs kept per process
_KEPT_REVISIONS = 32
_KEPT_PACKS = 128
#: a revision that refers to more packs is gathered into fewer
_MANY_PACKS = 12


def _engine() -> str:
    """Hash of the engine's own text: what cannot be forgotten when it changes."""
    digest = hashlib.sha256(f"{FORMAT} yaml {yaml.__version__}".encode())
    for name in sorted(ENGINE_MODULES):
        path = Path(__file__).with_name(f"{name}.py")
        if path.is_file():  # a module that is not written yet changes the hash when it comes
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


#: taken once, at import: a long-lived worker keeps the code it has loaded
ENGINE = _engine()


@functools.lru_cache(maxsize=32)
def options_hash(options: Options) -> str:
    """Return a short hash over all options."""
    text = json.dumps(asdict(options), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class RevisionInfo:
    """What a revision's manifest says.

    ``created`` is in seconds since the epoch, ``commit`` empty for a tree that is no commit,
    ``base`` the revision that unchanged records were taken from. ``compiled`` of its ``nodes``
    were compiled anew, in ``seconds`` of wall time.
    """

    id: str
    created: float
    nodes: int
    clusters: tuple[str, ...]
    commit: str
    engine: str
    options: str
    base: str = ""
    compiled: int = 0
    seconds: float = 0.0


#: where a record lies: pack, offset and length in bytes, hash of the content
Place = tuple[str, int, int, bytes]


def checksum(raw: bytes) -> bytes:
    """Return the hash that identifies a record's content, 16 bytes."""
    return hashlib.sha256(raw).digest()[:16]


class _Pack:
    """An open pack. Reads say where they want to read, so forked processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - lives as long as the cache

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)


_lock = threading.Lock()
_packs: OrderedDict[str, _Pack] = OrderedDict()
_revisions: OrderedDict[tuple[str, str, str], tuple[tuple[int, int], Revision]] = OrderedDict()


class Revision:
    """One compiled revision, open for reading. Made by :meth:`Store.open`."""

    def __init__(
        self, store: Store, folder: Path, info: RevisionInfo, index: Mapping[str, Any], state: str
    ) -> None:
        self.id = info.id
        self.created = info.created
        self.info = info
        self.folder = folder
        self._store = store
        self._index = index
        self._state_hash = state
        self._state: dict[str, Any] | None = None
        self._topologies: dict[str, dict[str, Any]] = {}
        self._nodes: dict[str, list[Any]] = index["nodes"]
        self._packs: dict[int, _Pack] = {}
        #: what the compiler keeps of the state it has read; nobody else's business
        self.kept: Any = None

    @property
    def sources(self) -> Mapping[str, str]:
        """Path of every class and node file to the git blob id of its content."""
        paths, blobs = self.state["paths"].split("\0"), self.state["blobs"].split("\0")
        # a path without a blob id is one that is no more
        return {path: blob for path, blob in zip(paths, blobs, strict=True) if blob}

    @property
    def state(self) -> dict[str, Any]:
        """What an incremental compile needs; see :mod:`saltern.model.compiler`.

        :raises ModelError: the file is damaged
        """
        if self._state is None:
            self._state = _load(self.folder / "state", self._state_hash, self.id)
        return self._state

    def clusters(self) -> list[str]:
        """Return the names of all clusters, sorted."""
        return list(self.info.clusters)

    def nodes(self, cluster: str | None = None) -> list[str]:
        """Return node ids, sorted.

        :param cluster: only its nodes; empty for those outside of all clusters
        """
        if cluster is None:
            return sorted(self._nodes)
        names = self._index["clusters"]
        if cluster not in names:
            return []
        number = names.index(cluster)
        return sorted(name for name, entry in self._nodes.items() if entry[0] == number)

    def cluster_of(self, node_id: str) -> str:
        """Return the cluster of a node, empty outside of all clusters.

        :raises ModelError: unknown node
        """
        return str(self._index["clusters"][self._entry(node_id)[0]])

    def applications(self, node_id: str) -> list[str]:
        """Return a node's roles in the order of its classes.

        :raises ModelError: unknown node
        """
        return list(self._index["roles"][self._entry(node_id)[1]])

    def environment(self, node_id: str) -> str:
        """Return a node's Salt environment.

        :raises ModelError: unknown node
        """
        return str(self._index["environments"][self._entry(node_id)[2]])

    def roles(self, cluster: str) -> dict[str, list[str]]:
        """Return role to sorted ids of the nodes that carry it.

        :param cluster: name of the cluster
        """
        found: dict[str, list[str]] = {}
        for node_id in self.nodes(cluster):
            for role in self._index["roles"][self._nodes[node_id][1]]:
                found.setdefault(role, []).append(node_id)
        return {role: found[role] for role in sorted(found)}

    def digest(self, node_id: str) -> str:
        """Return a hash of what a node is served, without topology and revision.

        :raises ModelError: unknown node
        """
        return str(self._entry(node_id)[6].hex())

    def topology(self, cluster: str) -> dict[str, Any] | None:
        """Return who is where in a cluster, fresh; None when it has no such record.

        :raises ModelError: the record is damaged
        """
        found = self._topologies.get(cluster)
        if found is None:
            entry = self._index["topologies"].get(cluster)
            if entry is None:
                return None
            what = f"topology of cluster {cluster}"
            try:
                found = codec.unpack(self._read(entry, what))
            except ValueError:
                raise _damaged(what, self.id) from None
            self._topologies[cluster] = found
        # larger than all else a node gets: its containers are copied, its texts are shared
        return {
            **found,
            "nodes": {
                name: {**node, "roles": node["roles"].copy()}
                for name, node in found["nodes"].items()
            },
            "roles": {role: nodes.copy() for role, nodes in found["roles"].items()},
        }

    def node(self, node_id: str) -> CompiledNode:
        """Return one node: fresh data that the caller may change.

        :raises ModelError: unknown node, or its record is damaged
        """
        with codec.collector_at_rest():
            record = self.record(node_id)
            around = self.topology(record["cluster"]) if record["cluster"] else None
            return assemble(record, around, self.id)

    @property
    def index(self) -> Mapping[str, Any]:
        """The index as it is stored, for a revision that is based on this one; not to change."""
        return self._index

    def record(self, node_id: str) -> dict[str, Any]:
        """Return a node's own record (see :func:`saltern.model.cluster.finish`), fresh.

        :raises ModelError: unknown node, or its record is damaged
        """
        entry = self._entry(node_id)
        what = f"record of node {node_id}"
        raw = self._read(entry[3:], what)
        try:
            record = codec.unpack(raw)
        except ValueError:
            raise _damaged(what, self.id) from None
        if not isinstance(record, dict) or record.get("id") != node_id:
            raise _damaged(what, self.id)
        return record

    def packs(self) -> list[tuple[str, int]]:
        """Return names and sizes (bytes) of the packs that hold the records."""
        return [(name, size) for name, size in self._index["packs"]]

    def topology_place(self, cluster: str) -> Place | None:
        """Return where a cluster's topology lies, None when there is none."""
        entry = self._index["topologies"].get(cluster)
        return self._place(entry) if entry is not None else None

    def place(self, node_id: str) -> Place:
        """Return where a node's record lies, for a revision that shares it.

        :raises ModelError: unknown node
        """
        return self._place(self._entry(node_id)[3:])

    def _place(self, entry: list[Any]) -> Place:
        pack, offset, length, digest = entry
        return self._index["packs"][pack][0], offset, length, digest

    def _entry(self, node_id: str) -> list[Any]:
        entry = self._nodes.get(node_id)
        if entry is None:
            raise ModelError(
                f"node {node_id} has no entry in the model at revision {self.id[:12]}",
                cure="Add its host to the cluster class, run `saltern model nodes`, and compile",
            )
        return entry

    def _read(self, entry: list[Any], what: str) -> bytes:
        number, offset, length, digest = entry
        try:
            pack = self._packs.get(number)
            if pack is None:
                # open as long as this revision is: its records are never changed
                pack = self._packs[number] = self._store.pack(self._index["packs"][number][0])
            raw = pack.read(offset, length)
        except OSError:
            raw = b""
        if len(raw) != length or checksum(raw) != digest:
            raise _damaged(what, self.id)
        return raw


class Store:
    """A directory of compiled revisions. Cheap to make: what is open is kept per process.

    :param path: the directory; made when something is written
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def prepare(self) -> None:
        """Make the directories of the store, with their modes.

        :raises ModelError: they cannot be made
        """
        try:
            _make_directory(self.path)
            for name in ("revisions", "packs", "tmp"):
                _make_directory(self.path / name)
        except OSError as err:
            raise ModelError(
                f"cannot write the store: {err.strerror}", where=str(err.filename or self.path)
            ) from None

    def revisions(self) -> list[RevisionInfo]:
        """Return all stored revisions, newest first; a folder that is damaged is left out.

        One id occurs several times when it was compiled with other options or another engine.
        """
        found = []
        for folder in self._folders():
            with contextlib.suppress(ModelError):
                found.append(_manifest(folder)[0])
        return sorted(found, key=lambda info: (-info.created, info.id))

    def has(self, id: str, *, options: Options | None = None) -> bool:
        """Return whether :meth:`open` would find a revision that this engine may serve.

        :param id: full revision id
        :param options: engine options that it must have been compiled with; None for any
        """
        try:
            self.open(id, options=options)
        except ModelError:
            return False
        return True

    def open(self, id: str, *, options: Options | None = None) -> Revision:
        """Open a revision; a second call in the same process costs one stat.

        :param id: full revision id
        :param options: engine options that it must have been compiled with; None takes the
            newest whatever its options
        :raises ModelError: not stored, compiled by another engine or with other options, damaged
        """
        _check_id(id)
        key = (str(self.path), id, options_hash(options) if options else "")
        with _lock:
            known = _revisions.get(key)
            if known is not None:
                _revisions.move_to_end(key)
        if known is not None and _stamp(known[1].folder) == known[0]:
            return known[1]
        try:
            folder = self._find(id, options)
        except FileNotFoundError:
            # it may just be replaced by `compile --full`
            time.sleep(0.02)
            try:
                folder = self._find(id, options)
            except FileNotFoundError:
                raise ModelError(
                    f"revision {id[:12]} is not compiled",
                    where=str(self.path),
                    cure=f"Run `saltern model compile {_ref(id)}`",
                ) from None
        stamp = _stamp(folder)
        revision = self._load(folder)
        if stamp is not None:
            with _lock:
                _revisions[key] = (stamp, revision)
                while len(_revisions) > _KEPT_REVISIONS:
                    _revisions.popitem(last=False)
        return revision

    def read(self, place: Place) -> bytes | None:
        """Return a record's bytes, None when they are not what was written."""
        name, offset, length, digest = place
        try:
            raw = self.pack(name).read(offset, length)
        except OSError:
            return None
        return raw if len(raw) == length and checksum(raw) == digest else None

    def gc(self, keep: Collection[str], newest: int = 10, *, dry_run: bool = False) -> list[str]:
        """Remove revisions that nobody needs, what is left of crashes, and unused packs.

        Waits for running compiles; a compile that starts meanwhile waits too.

        :param keep: full ids that stay: all that are pinned or deployed
        :param newest: how many of the newest revisions stay beside them
        :param dry_run: only say what would go
        :returns: ids of removed revisions, oldest first
        :raises ModelError: the store cannot be read or written
        """
        with self._locked(exclusive=True):
            infos = self.revisions()
            folders = list(self._folders())
            usable = {folder for folder in folders if _usable(folder)}
            own = [info.id for info in infos if self.folder(info.id, info.options) in usable]
            recent = set(list(dict.fromkeys(own))[:newest])
            # what is pinned stays, damaged or not: that it is broken has to be seen. Of the rest,
            # a folder that cannot be read or is of another engine serves nobody
            gone = [
                folder
                for folder in folders
                if folder.parent.name not in keep
                and not (folder.parent.name in recent and folder in usable)
            ]
            removed = sorted(
                {folder.parent.name for folder in gone}
                - {folder.parent.name for folder in folders if folder not in gone}
            )
            ages = {info.id: info.created for info in infos}
            removed.sort(key=lambda id: (ages.get(id, 0.0), id))
            if dry_run:
                return removed
            try:
                self._sweep(gone, [folder for folder in folders if folder not in gone])
            except OSError as err:
                raise ModelError(
                    f"cannot clean the store: {err.strerror}", where=str(err.filename or self.path)
                ) from None
            return removed

    def writer(self, id: str, options: Options, *, replace: bool = False) -> Writer:
        """Return a writer of a new revision, to be used in a ``with`` statement.

        :param id: full revision id
        :param options: engine options it is compiled with
        :param replace: take the place of a revision that is stored already and whole
        :raises ModelError: ``id`` is no revision id
        """
        _check_id(id)
        return Writer(self, id, options, replace)

    def _folders(self) -> Iterator[Path]:
        top = self.path / "revisions"
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(top)):
                if _ID.match(name):
                    with contextlib.suppress(OSError):
                        for variant in sorted(os.listdir(top / name)):
                            yield top / name / variant

    def _find(self, id: str, options: Options | None) -> Path:
        """The folder of a revision that this engine may serve."""
        top = self.path / "revisions" / id
        if options is not None:
            folder = self.folder(id, options_hash(options))
            if os.path.isdir(folder):
                return folder
        try:
            found = os.listdir(top)
        except NotADirectoryError:
            raise FileNotFoundError(id) from None
        except PermissionError as err:
            raise _unreadable(err, top) from None
        if not found:
            raise FileNotFoundError(id)
        own = [name for name in found if name.startswith(f"{ENGINE}-")]
        if not own or options is not None:
            raise ModelError(
                f"revision {id[:12]} was compiled "
                + ("with other options" if own else "by another version of the engine"),
                where=str(self.path),
                cure=f"Run `saltern model compile {_ref(id)}`",
            )
        return max((top / name for name in own), key=_age)

    def folder(self, id: str, options: str) -> Path:
        """Return where a revision of this engine lies.

        :param id: full revision id
        :param options: hash of its options
        """
        return self.path / "revisions" / id / f"{ENGINE}-{options}"

    def _load(self, folder: Path) -> Revision:
        info, hashes = _manifest(folder)
        if f"{info.engine}-{info.options}" != folder.name or info.id != folder.parent.name:
            raise _damaged("manifest", info.id)
        index = _load(folder / "index", hashes["index"], info.id)
        return Revision(self, folder, info, index, hashes["state"])

    def complete(self, revision: Revision) -> bool:
        """Return whether the packs of a revision have their size; contents are not read."""
        for name, size in revision.packs():
            try:
                if os.stat(self.pack_path(name)).st_size != size:
                    return False
            except OSError:
                return False
        return True

    def pack_path(self, name: str) -> Path:
        """Return the file of a pack.

        :raises ModelError: no name of a pack
        """
        if not _PACK.match(name):
            raise ModelError(f"{name!r} is no pack of records", where=str(self.path))
        return self.path / "packs" / f"{name}.pack"

    def pack(self, name: str) -> _Pack:
        """Return an open pack.

        :raises OSError: it is not there
        """
        path = self.pack_path(name)
        key = str(path)
        with _lock:
            pack = _packs.get(key)
            if pack is None:
                pack = _packs[key] = _Pack(path)
                while len(_packs) > _KEPT_PACKS:
                    # closed when the last reader lets go of it
                    _packs.popitem(last=False)
            else:
                _packs.move_to_end(key)
        return pack

    def _sweep(self, gone: list[Path], left: list[Path]) -> None:
        tmp = self.path / "tmp"
        for folder in gone:
            # out of sight in one step, then taken apart
            os.rename(folder, tempfile.mkdtemp(dir=tmp))
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        used: set[str] = set()
        for folder in left:
            with contextlib.suppress(ModelError):
                info, hashes = _manifest(folder)
                index = _load(folder / "index", hashes["index"], info.id)
                used.update(name for name, _ in index["packs"])
        for path in sorted((self.path / "packs").iterdir()):
            if path.stem not in used or path.suffix != ".pack":
                path.unlink()
        for path in sorted(tmp.iterdir()):
            shutil.rmtree(path)

    def _open_lock(self) -> int:
        path, flags = self.path / "lock", os.O_RDWR | os.O_CLOEXEC
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            os.fchmod(handle, _FILE_MODE)
            return handle
        return os.open(path, flags)

    @contextlib.contextmanager
    def _locked(self, *, exclusive: bool) -> Iterator[None]:
        self.prepare()
        try:
            handle = self._open_lock()
        except OSError as err:
            raise ModelError(
                f"cannot write the store: {err.strerror}", where=str(err.filename or self.path)
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)


#: a node in the making: cluster, roles, environment, place of its record
Entry = tuple[str, Sequence[str], str, Place]


class _Index:
    """The index of a new revision.

    Its tables begin as those of the base, so that the entry of an unchanged node stays right as
    it is.
    """

    def __init__(self, base: Mapping[str, Any] | None) -> None:
        base = base or {"nodes": {}, "clusters": [], "roles": [], "environments": [], "packs": []}
        self.nodes: dict[str, list[Any]] = {}
        self.topologies: dict[str, list[Any]] = {}
        self._base: Mapping[str, list[Any]] = base["nodes"]
        self._clusters = {name: n for n, name in enumerate(base["clusters"])}
        self._roles = {tuple(roles): n for n, roles in enumerate(base["roles"])}
        self._environments = {name: n for n, name in enumerate(base["environments"])}
        self._packs = {name: n for n, (name, _) in enumerate(base["packs"])}

    def add(self, node_id: str, entry: Entry | None) -> None:
        if entry is None:
            self.nodes[node_id] = self._base[node_id]
            return
        cluster, roles, environment, place = entry
        self.nodes[node_id] = [
            self._clusters.setdefault(cluster, len(self._clusters)),
            self._roles.setdefault(tuple(roles), len(self._roles)),
            self._environments.setdefault(environment, len(self._environments)),
            *self.placed(place),
        ]

    def placed(self, place: Place) -> list[Any]:
        name, offset, length, digest = place
        return [self._packs.setdefault(name, len(self._packs)), offset, length, digest]

    def used(self) -> set[int]:
        """Numbers of the packs that something lies in."""
        return {entry[3] for entry in self.nodes.values()} | {
            entry[0] for entry in self.topologies.values()
        }

    def places(self) -> list[Place]:
        names = list(self._packs)
        found = [entry[3:] for entry in self.nodes.values()]
        found += self.topologies.values()
        return [(names[pack], offset, length, digest) for pack, offset, length, digest in found]

    def move(self, moved: Mapping[Place, Place]) -> None:
        """Let entries say where their records were copied to."""
        names = list(self._packs)

        def new(entry: list[Any]) -> list[Any]:
            place = (names[entry[0]], entry[1], entry[2], entry[3])
            return self.placed(moved[place]) if place in moved else entry

        self.nodes = {name: [*entry[:3], *new(entry[3:])] for name, entry in self.nodes.items()}
        self.topologies = {name: new(entry) for name, entry in self.topologies.items()}

    def packed(self, own: str, store: Store) -> dict[str, Any]:
        """What is stored.

        :param own: name of the pack that was written for this revision
        """
        names = [name or own for name in self._packs]
        used = self.used()
        nodes, topologies = self.nodes, self.topologies
        if len(used) < len(names):
            # a pack that is named in no entry may go
            kept = sorted(used)
            number = {old: new for new, old in enumerate(kept)}
            names = [names[old] for old in kept]
            nodes = {
                name: [*entry[:3], number[entry[3]], *entry[4:]] for name, entry in nodes.items()
            }
            topologies = {
                name: [number[entry[0]], *entry[1:]] for name, entry in topologies.items()
            }
        return {
            "nodes": nodes,
            "topologies": topologies,
            "clusters": list(self._clusters),
            "roles": list(map(list, self._roles)),
            "environments": list(self._environments),
            "packs": [[name, os.stat(store.pack_path(name)).st_size] for name in names],
        }


class Writer:
    """Writes one revision: records as they come, the rest at the end, or nothing at all."""

    def __init__(self, store: Store, id: str, options: Options, replace: bool) -> None:
        self.store = store
        self.id = id
        self.options = options_hash(options)
        self._replace = replace
        self._guards = contextlib.ExitStack()
        self._digest = hashlib.sha256()
        self._offset = 0
        self._own: dict[bytes, tuple[int, int]] = {}

    def __enter__(self) -> Writer:
        self._guards.enter_context(self.store._locked(exclusive=False))
        try:
            self._folder = Path(tempfile.mkdtemp(dir=self.store.path / "tmp"))
            self._guards.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._records = open(self._folder / "records", "wb", buffering=1 << 18)
            self._guards.callback(_close, self._records)
        except OSError as err:
            self._guards.close()
            raise self._failed(err) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._guards.close()

    def add(self, raw: bytes, digest: bytes = b"") -> Place:
        """Write a record; the same content is written once.

        :param raw: the record
        :param digest: its :func:`checksum`, where it is known already
        :returns: where it will be; its pack has no name yet
        """
        digest = digest or checksum(raw)
        known = self._own.get(digest)
        if known is None:
            try:
                self._records.write(raw)
            except OSError as err:
                raise self._failed(err) from None
            self._digest.update(raw)
            known = self._own[digest] = (self._offset, len(raw))
            self._offset += len(raw)
        return "", known[0], known[1], digest

    def commit(
        self,
        info: RevisionInfo,
        nodes: Mapping[str, Entry | None],
        topologies: Mapping[str, Place],
        state: Mapping[str, Any],
        base: Revision | None = None,
    ) -> Revision:
        """Put the revision in its place.

        :param info: for the manifest; engine and options are filled in
        :param nodes: every node, sorted by id; None takes its entry from ``base`` as it is
        :param topologies: cluster to place of its topology
        :param state: for the next incremental compile
        :param base: the revision that nodes were taken from
        :returns: the revision, open; that of another process when it was quicker
        :raises ModelError: it cannot be written, or a pack that it shares is gone
        """
        try:
            index = _Index(base.index if base is not None else None)
            for node_id, entry in nodes.items():
                index.add(node_id, entry)
            for cluster, place in topologies.items():
                index.topologies[cluster] = index.placed(place)
            if len(index.used()) > _MANY_PACKS:
                index.move(self._gather(index.places()))
            packed = index.packed(self._close_pack(), self.store)
            return self._commit(info, packed, state)
        except OSError as err:
            raise self._failed(err) from None

    def _commit(
        self, info: RevisionInfo, index: Mapping[str, Any], state: Mapping[str, Any]
    ) -> Revision:
        store = self.store
        folder = self._folder / "revision"
        folder.mkdir()
        os.chmod(folder, _DIRECTORY_MODE)
        hashes = {
            name: _write(
                folder / name, codec.pack_tables(data, f"{name} of revision {self.id[:12]}")
            )
            for name, data in (("index", index), ("state", state))
        }
        manifest = {**asdict(info), "engine": ENGINE, "options": self.options}
        manifest["created_utc"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(info.created))
        manifest["hashes"] = hashes
        _write(folder / "manifest.json", json.dumps(manifest, indent=2).encode() + b"\n")
        _sync(folder)
        target = self._place(folder)
        if target is None:
            return store._load(store.folder(self.id, self.options))
        return Revision(store, target, _info(manifest), index, hashes["state"])

    def _place(self, folder: Path) -> Path | None:
        """Move a written revision to its place; None when another process was quicker."""
        store = self.store
        parent = store.path / "revisions" / self.id
        _make_directory(parent)
        target = store.folder(self.id, self.options)
        placed: Path | None = target
        if self._replace or not self._whole(target):
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, self._folder / "replaced")
        try:
            os.rename(folder, target)
        except OSError:
            # another process was quicker; what it wrote is whole, and the same
            if not target.is_dir():
                raise
            placed = None
        _sync(parent)
        _sync(parent.parent)
        return placed

    def _whole(self, folder: Path) -> bool:
        """Whether a revision of this id is there already and none of its files is damaged."""
        try:
            revision = self.store._load(folder)
            _load(folder / "state", revision._state_hash, self.id)
        except ModelError:
            return False
        return self.store.complete(revision)

    def _close_pack(self) -> str:
        """Give the written records their place and their name."""
        self._records.flush()
        name = self._digest.hexdigest()[:32]
        if self._offset:
            handle = self._records.fileno()
            os.fchmod(handle, _FILE_MODE)
            os.fsync(handle)
            path = self.store.pack_path(name)
            os.rename(self._folder / "records", path)
            _forget(str(path))
            _sync(path.parent)
        self._records.close()
        return name

    def _gather(self, places: Collection[Place]) -> dict[Place, Place]:
        """Copy records out of the packs that are small or mostly unused."""
        live: dict[str, int] = {}
        for name, _, length, _ in set(places):
            live[name] = live.get(name, 0) + length
        largest = max(live, key=lambda name: live[name])
        stay = {"", largest}
        if largest and live[largest] * 2 < os.stat(self.store.pack_path(largest)).st_size:
            stay.discard(largest)
        moved: dict[Place, Place] = {}
        for place in places:
            if place[0] not in stay and place not in moved:
                raw = self.store.read(place)
                if raw is None:
                    raise ModelError(
                        "a record of the base revision is damaged",
                        where=str(self.store.path),
                        cure="Run `saltern model compile --full`",
                    )
                moved[place] = self.add(raw)
        return moved

    def _failed(self, err: OSError) -> ModelError:
        return ModelError(
            f"cannot write the store: {err.strerror or err}",
            where=str(err.filename or self.store.path),
        )


def _close(stream: BinaryIO) -> None:
    """Close a file; what could not be written was told already."""
    with contextlib.suppress(OSError):
        stream.close()


def _check_id(id: str) -> None:
    if not _ID.match(id):
        raise ModelError(
            f"{id!r} is no revision id (a full commit id, or worktree-<12 hex digits>)"
        )


def _ref(id: str) -> str:
    return "worktree" if id.startswith("worktree-") else id[:12]


def _damaged(what: str, id: str) -> ModelError:
    return ModelError(
        f"the stored {what} is damaged",
        where=f"revision {id[:12]}",
        cure=f"Run `saltern model compile --full {_ref(id)}`",
    )


def _unreadable(err: OSError, path: Path) -> ModelError:
    return ModelError(
        f"cannot read the store: {err.strerror}",
        where=str(err.filename or path),
        cure="Run this as the master's user, or give it the group of the store",
    )


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _age(folder: Path) -> tuple[int, str]:
    stamp = _stamp(folder)
    return (stamp[1] if stamp else 0, folder.name)


def _usable(folder: Path) -> bool:
    """Whether this engine can serve a revision's folder."""
    try:
        info, hashes = _manifest(folder)
        _load(folder / "index", hashes["index"], info.id)
    except ModelError:
        return False
    return info.engine == ENGINE


def _manifest(folder: Path) -> tuple[RevisionInfo, dict[str, str]]:
    """Read a manifest: (info, hash by file name)."""
    id = folder.parent.name
    try:
        data = json.loads((folder / "manifest.json").read_bytes())
        hashes = data["hashes"]
        return _info(data), {"index": str(hashes["index"]), "state": str(hashes["state"])}
    except PermissionError as err:
        raise _unreadable(err, folder) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise _damaged("manifest", id) from None


def _info(data: Mapping[str, Any]) -> RevisionInfo:
    return RevisionInfo(
        id=str(data["id"]),
        created=float(data["created"]),
        nodes=int(data["nodes"]),
        clusters=tuple(data["clusters"]),
        commit=str(data["commit"]),
        engine=str(data["engine"]),
        options=str(data["options"]),
        base=str(data["base"]),
        compiled=int(data["compiled"]),
        seconds=float(data["seconds"]),
    )


def _load(path: Path, digest: str, id: str) -> dict[str, Any]:
    """Read a file of a revision whose hash the manifest holds."""
    try:
        raw = path.read_bytes()
        if hashlib.sha256(raw).hexdigest() != digest:
            raise ValueError("other content")
        data = codec.unpack(raw)
    except PermissionError as err:
        raise _unreadable(err, path) from None
    except (OSError, ValueError):
        raise _damaged(path.name, id) from None
    if not isinstance(data, dict):
        raise _damaged(path.name, id)
    return data


def _write(path: Path, raw: bytes) -> str:
    """Write a file of its own mode to the disk; return the hash of its content."""
    with open(path, "xb") as stream:
        os.fchmod(stream.fileno(), _FILE_MODE)
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())
    return hashlib.sha256(raw).hexdigest()


def _sync(folder: Path) -> None:
    """Make renames in a directory last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_directory(path: Path) -> None:
    """Make a directory with our mode, whatever the umask is; leave an existing one alone."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(_DIRECTORY_MODE, parents=True)
        os.chmod(path, _DIRECTORY_MODE)


def _forget(path: str) -> None:
    """Drop an open pack whose file was replaced."""
    with _lock:
        _packs.pop(path, None)
