"""Compile a whole tree into the store; what did not change is taken from a base revision.

Two phases. First every node is drafted: who and where it is, what it publishes and exports.
Then every node is finished: what it receives merged below its own, references resolved. A node
goes through both again when

- it is new, its file moved, or a file it was made of changed or vanished;
- a class that it had looked for in vain exists now;
- an export key that its queries read differs on some node;

and through the second when what its cluster publishes to one of its roles differs. Everything
else keeps its record. The outcome equals that of a full compile, so all that a node's data
depends on must be in its row of the state.

The state lies beside each revision (:class:`_State`): tables, and per node a row of numbers into
them, so that nodes of one kind share what is equal and the whole is read in milliseconds.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time
from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from saltern.errors import ModelError
from saltern.model import codec, source
from saltern.model.cluster import Draft, draft, finish, join_published, together, topology
from saltern.model.inventory import Inventory, Merged, Merges
from saltern.model.query import Asked, ExportEntry, ExportIndex
from saltern.model.store import (
    ENGINE,
    Entry,
    Place,
    Revision,
    RevisionInfo,
    Store,
    Writer,
    checksum,
    options_hash,
)

#: called with (nodes done, nodes to do)
Progress = Callable[[int, int], None]

#: nanoseconds after which a change of a file shows in its times
_TICK = 50_000_000
#: path -> ((times, size), blob id) of files that this process has hashed
_blobs: dict[str, tuple[tuple[int, int, int], str]] = {}
_NEVER = ((0, 0, -1), "")


#: entries of a table that may be in nobody's use before it is made anew
_SPARE = 256


class _Row(NamedTuple):
    """A node in the state: numbers into its tables.

    ``own`` is the node's file, ``files`` a list of the others in merge order, ``missed`` the
    class names that were looked up in vain, ``asked`` the export keys that its queries read.
    """

    cluster: int
    environment: int
    domain: int
    roles: int
    host: int
    publish: int
    exports: int
    own: int
    files: int
    missed: int
    asked: int


class _Table:
    """A list of distinct values, and the number of each."""

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items: list[Any] = [] if items is None else items
        self._numbers: dict[Hashable, int] | None = None

    def copy(self) -> _Table:
        other = _Table(self.items.copy())
        other._numbers = self._numbers.copy() if self._numbers is not None else None
        return other

    def number(self, value: Any) -> int:
        if self._numbers is None:
            self._numbers = {_key(item): n for n, item in enumerate(self.items)}
        number = self._numbers.setdefault(_key(value), len(self.items))
        if number == len(self.items):
            self.items.append(value)
        return number


def _key(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value


@dataclass
class _State:
    """All that an incremental compile must know of the revision before.

    ``words`` are clusters, environments, domains; ``lists`` hold roles, missed class names and
    file numbers; ``values`` are packed data; ``asked`` lists of key, environment, key … ``blobs``
    has the blob id of each of ``paths``, empty for one that is no more. ``published`` maps
    clusters to {role: number of the data in values}.
    """

    paths: _Table = field(default_factory=_Table)
    blobs: list[str] = field(default_factory=list)
    words: _Table = field(default_factory=_Table)
    lists: _Table = field(default_factory=_Table)
    values: _Table = field(default_factory=_Table)
    asked: _Table = field(default_factory=_Table)
    rows: dict[str, _Row] = field(default_factory=dict)
    published: dict[str, dict[str, int]] = field(default_factory=dict)

    def copy(self) -> _State:
        """A state that can be changed without changing this one."""
        return _State(
            self.paths.copy(),
            list(self.blobs),
            self.words.copy(),
            self.lists.copy(),
            self.values.copy(),
            self.asked.copy(),
            dict(self.rows),
            dict(self.published),
        )

    def compacted(self) -> _State:
        """This state, or one without what no row refers to when that is more than half."""
        rows = self.rows.values()
        used = {number for row in rows for number in (row.host, row.publish, row.exports)}
        lists = {number for row in rows for number in (row.roles, row.files, row.missed)}
        if (
            len(self.values.items) < 2 * len(used) + _SPARE
            and len(self.lists.items) < 2 * len(lists) + _SPARE
            and len(self.blobs) < 2 * (len(self.blobs) - self.blobs.count("")) + _SPARE
        ):
            return self
        new = _State()
        for path, blob in self.sources().items():
            new.paths.number(path)
            new.blobs.append(blob)
        paths, words, lists_, values = (
            table.items for table in (self.paths, self.words, self.lists, self.values)
        )
        files = {
            number: new.lists.number([new.paths.number(paths[n]) for n in lists_[number]])
            for number in {row.files for row in rows}
        }
        for node_id, row in self.rows.items():
            new.rows[node_id] = _Row(
                cluster=new.words.number(words[row.cluster]),
                environment=new.words.number(words[row.environment]),
                domain=new.words.number(words[row.domain]),
                roles=new.lists.number(lists_[row.roles]),
                host=new.values.number(values[row.host]),
                publish=new.values.number(values[row.publish]),
                exports=new.values.number(values[row.exports]),
                own=new.paths.number(paths[row.own]),
                files=files[row.files],
                missed=new.lists.number(lists_[row.missed]),
                asked=new.asked.number(self.asked.items[row.asked]),
            )
        new.published = {
            name: {role: new.values.number(values[n]) for role, n in data.items()}
            for name, data in self.published.items()
        }
        return new

    def keep(self, value: Any, where: str) -> int:
        """Number of a value, packed."""
        return self.values.number(codec.pack(value, where))

    def value(self, number: int) -> Any:
        """A value, fresh."""
        return codec.unpack(self.values.items[number])

    def sources(self) -> dict[str, str]:
        return {path: blob for path, blob in zip(self.paths.items, self.blobs, strict=True) if blob}

    def packed(self) -> dict[str, Any]:
        # few long values instead of many short ones: a fifth of the time
        return {
            "paths": "\0".join(self.paths.items),
            "blobs": "\0".join(self.blobs),
            "words": self.words.items,
            "lists": self.lists.items,
            "values": self.values.items,
            "asked": self.asked.items,
            "nodes": "\0".join(self.rows),
            "rows": array("Q", itertools.chain.from_iterable(self.rows.values())).tobytes(),
            "order": sys.byteorder,
            "published": self.published,
        }

    @classmethod
    def unpacked(cls, raw: Mapping[str, Any]) -> _State:
        numbers = array("Q")
        numbers.frombytes(raw["rows"])
        if raw["order"] != sys.byteorder:
            numbers.byteswap()
        rows = map(_Row._make, zip(*[iter(numbers)] * len(_Row._fields), strict=True))
        return cls(
            paths=_Table(raw["paths"].split("\0")),
            blobs=raw["blobs"].split("\0"),
            words=_Table(list(raw["words"])),
            lists=_Table(list(raw["lists"])),
            values=_Table(list(raw["values"])),
            asked=_Table(list(raw["asked"])),
            rows=dict(zip(raw["nodes"].split("\0"), rows, strict=True)),
            published=dict(raw["published"]),
        )


class _Kept(NamedTuple):
    """What stays in memory with a revision, for the next compile of this process."""

    state: _State
    merges: Merges


def blob_id(content: bytes) -> str:
    """Return the git blob id of a file's content: the same in a commit and in a work tree.

    Source: git's object format (``git hash-object``).
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def source_ids(inventory: Inventory, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return path to blob id of every class and node file; symbolic links are followed.

    A file that was hashed in this process and has the same size, times and inode is not read
    again.

    :param inventory: the model tree
    :param known: ids that are known already, by path as ``classes/…`` and ``nodes/…``
    :raises ModelError: a file cannot be read
    """
    found: dict[str, str] = {}
    known = known or {}
    options = inventory.options
    for folder, files in (
        (options.classes_path, inventory.class_files),
        (options.nodes_path, inventory.node_files),
    ):
        top = str(inventory.path / folder)
        shown = os.path.basename(folder.rstrip("/"))
        for below in files.values():
            path = f"{shown}/{below}"
            blob = known.get(path)
            if blob is None:
                full = f"{top}/{below}"
                try:
                    status = os.stat(full)
                    stamp, blob = _blobs.get(full, _NEVER)
                    if stamp != (status.st_mtime_ns, status.st_ctime_ns, status.st_size):
                        blob = _hashed(full, status)
                except OSError as err:
                    raise ModelError(f"cannot read the file: {err.strerror}", where=path) from None
            found[path] = blob
    return found


def _hashed(full: str, status: os.stat_result) -> str:
    with open(full, "rb") as stream:
        blob = blob_id(stream.read())
    # a file that was written just now may be written again within one tick of the clock
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _TICK:
        _blobs[full] = ((status.st_mtime_ns, status.st_ctime_ns, status.st_size), blob)
    return blob


def forget(top: Path) -> None:
    """Drop what is remembered of the files of a tree that is about to be removed."""
    below = f"{top}/"
    for path in [path for path in _blobs if path.startswith(below)]:
        _blobs.pop(path, None)
    source.forget(top)


def tree_id(sources: Mapping[str, str]) -> str:
    """Return the revision id of a tree that is no commit: equal files, equal id.

    :param sources: path to blob id
    """
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(f"{path}\0{sources[path]}\n".encode())
    return f"worktree-{digest.hexdigest()[:12]}"


def compile_tree(
    inventory: Inventory,
    revision_id: str,
    store: Store,
    *,
    base: Revision | None = None,
    sources: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    replace: bool = False,
) -> Revision:
    """Compile all nodes of a tree and store them as one revision, or store nothing.

    :param inventory: the model tree
    :param revision_id: full commit id, or from :func:`tree_id`
    :param store: where the revision goes
    :param base: a stored revision to take unchanged nodes from; one of another engine or of
        other options is of no use and ignored, and so is one that is damaged
    :param sources: path to blob id, where it is known already (:func:`source_ids`)
    :param progress: told how many nodes are done
    :param replace: write the revision also when the store has it
    :raises ModelError: naming every node that does not compile; or the store cannot be written
    """
    with codec.collector_at_rest():
        return _compile(inventory, revision_id, store, base, sources, progress, replace)


def _compile(
    inventory: Inventory,
    revision_id: str,
    store: Store,
    base: Revision | None,
    sources: Mapping[str, str] | None,
    progress: Progress | None,
    replace: bool,
) -> Revision:
    start = time.monotonic()
    if not inventory.node_files:
        raise ModelError("the model has no nodes", where=str(inventory.path))
    files = source_ids(inventory, sources)
    with store.writer(revision_id, inventory.options, replace=replace) as writer:
        usable, known = _usable(base, inventory, store)
        if usable is not None:
            inventory.share(usable.kept.merges)
        work = _Compile(inventory, files, usable, known)
        work.draft()
        work.publish()
        places = work.finish(writer, progress)
        topologies = work.topologies(writer)
        info = RevisionInfo(
            id=revision_id,
            created=time.time(),
            nodes=len(work.state.rows),
            clusters=tuple(sorted(name for name in work.members if name)),
            commit="" if revision_id.startswith("worktree-") else revision_id,
            engine=ENGINE,
            options=options_hash(inventory.options),
            base=work.base.id if work.base is not None else "",
            compiled=len(work.open),
            seconds=round(time.monotonic() - start, 3),
        )
        state = work.state.compacted()
        revision = writer.commit(info, work.entries(places), topologies, state.packed(), work.base)
        revision.kept = _Kept(state, work.inventory.merges)
        return revision


def _usable(
    base: Revision | None, inventory: Inventory, store: Store
) -> tuple[Revision | None, _State]:
    """The base and its state, or nothing and an empty one."""
    if (
        base is not None
        and base.info.engine == ENGINE
        and base.info.options == options_hash(inventory.options)
        and store.complete(base)
    ):
        try:
            if base.kept is None:
                base.kept = _Kept(_State.unpacked(base.state), Merges())
            return base, base.kept.state.copy()
        except ModelError:
            pass
    return None, _State()


class _Compile:
    """One compile on its way.

    ``merged`` holds the nodes of the first phase, ``open`` are those of the second.
    """

    def __init__(
        self,
        inventory: Inventory,
        files: Mapping[str, str],
        base: Revision | None,
        old: _State,
    ) -> None:
        self.inventory = inventory
        self.base = base
        self.old = old
        self.before = dict(old.rows)
        self.state = old  # its tables only ever grow: rows that stay, stay right
        self.merged: dict[str, Merged] = {}
        self.drafted: frozenset[str] = frozenset()
        self.open: set[str] = set()
        self.members: dict[str, list[str]] = {}
        #: clusters whose topology is that of the base
        self.same: set[str] = set()
        self._errors: dict[str, ModelError] = {}
        self._lists: dict[tuple[str, ...], int] = {}
        self._changed = self._take_files(files)

    def _take_files(self, files: Mapping[str, str]) -> set[int]:
        """Make the file table that of the new tree; return the numbers of what changed."""
        state = self.state
        changed: set[int] = set()
        blobs = [files.get(path, "") for path in state.paths.items]
        if blobs != state.blobs:
            pairs = enumerate(zip(blobs, state.blobs, strict=True))
            changed.update(number for number, (new, old) in pairs if new != old)
        for path in files.keys() - set(state.paths.items):
            state.paths.number(path)
            blobs.append(files[path])
        state.blobs = blobs
        return changed

    def draft(self) -> None:
        """First phase, for the nodes that need it.

        :raises ModelError: naming every node that fails
        """
        present = self.inventory.node_files
        for node_id in self.before.keys() - present.keys():
            del self.state.rows[node_id]
        todo = self._touched()
        entries = {}
        for node_id in sorted(todo):
            try:
                self.merged[node_id] = merged = self.inventory.merged(node_id)
                entries[node_id] = self._entry(merged)
            except ModelError as err:
                self._errors[node_id] = err
        self._stop()
        todo |= self._askers(entries)
        index = ExportIndex(_Entries(self.state, entries))
        self.inventory = self.inventory.with_exports(index)
        kept = {
            node_id: self.state.keep(_shape(entry), f"node {node_id}, exports")
            for node_id, entry in entries.items()
        }
        for node_id in sorted(todo):
            try:
                if node_id not in self.merged:
                    self.merged[node_id] = self.inventory.merged(node_id)
                one = draft(self.inventory, self.merged[node_id])
                exports = kept.get(node_id)
                if exports is None:
                    exports = self.before[node_id].exports
                self.state.rows[node_id] = self._row(one, exports)
            except ModelError as err:
                self._errors[node_id] = err
        self._stop()
        self.drafted = frozenset(todo)
        self.open = set(todo)

    def _touched(self) -> set[str]:
        """Nodes that are new, or made of other files than before."""
        state, changed = self.state, self._changed
        classes = self.inventory.class_files
        folder = os.path.basename(self.inventory.options.nodes_path.rstrip("/"))
        files: dict[int, bool] = {}
        missed: dict[int, bool] = {}
        touched = set()
        for node_id, path in self.inventory.node_files.items():
            row = self.before.get(node_id)
            if row is None or row.own in changed:
                touched.add(node_id)
                continue
            other = files.get(row.files)
            if other is None:
                other = files[row.files] = not changed.isdisjoint(state.lists.items[row.files])
            found = missed.get(row.missed)
            if found is None:
                names = state.lists.items[row.missed]
                found = missed[row.missed] = any(name in classes for name in names)
            if other or found or state.paths.items[row.own] != f"{folder}/{path}":
                touched.add(node_id)
        return touched

    def _entry(self, merged: Merged) -> ExportEntry:
        if not merged.exports:
            return ExportEntry(merged.environment, {})
        return self.inventory.export_entry(merged.id)

    def _askers(self, entries: Mapping[str, ExportEntry]) -> set[str]:
        """Nodes with a query whose answer may be another one now."""
        rows = self.state.rows
        nothing = self.state.asked.number([])
        if all(row.asked == nothing for row in rows.values()):
            return set()
        new = dict(entries)
        old = {
            node_id: _unshape(self.state.value(self.before[node_id].exports))
            for node_id in (*entries, *(self.before.keys() - self.inventory.node_files.keys()))
            if node_id in self.before
        }
        one, two = ExportIndex(old), ExportIndex(new)
        differs: dict[int, bool] = {}
        for number in {row.asked for row in rows.values()}:
            asked = self._asked_at(number)
            # packed: 1 and True are equal, and yet not the same
            differs[number] = any(
                _fixed(one.seen(what)) != _fixed(two.seen(what)) for what in asked
            )
        return {node_id for node_id, row in rows.items() if differs[row.asked]}

    def _row(self, one: Draft, exports: int) -> _Row:
        state = self.state
        where = f"node {one.id}"
        own = f"{self._nodes}/{self.inventory.node_files[one.id]}"
        return _Row(
            cluster=state.words.number(one.cluster),
            environment=state.words.number(one.environment),
            domain=state.words.number(one.domain),
            roles=state.lists.number(list(one.roles)),
            host=state.keep(one.host, f"{where}, key host"),
            publish=state.keep(one.publish, f"{where}, key publish"),
            exports=exports,
            own=state.paths.number(own),
            files=self._files(one.files[:-1]),
            missed=state.lists.number(list(one.missed)),
            asked=self._asked(one.asked),
        )

    @property
    def _nodes(self) -> str:
        return os.path.basename(self.inventory.options.nodes_path.rstrip("/"))

    def _files(self, paths: tuple[str, ...]) -> int:
        """Number of the list of a node's files, without its own, which is the last one."""
        number = self._lists.get(paths)
        if number is None:
            numbers = [self.state.paths.number(path) for path in paths]
            number = self._lists[paths] = self.state.lists.number(numbers)
        return number

    def _asked(self, asked: frozenset[Asked]) -> int:
        flat: list[str | None] = []
        for one in sorted(asked, key=_order):
            flat += (one.key, one.environment)
        return self.state.asked.number(flat)

    def _asked_at(self, number: int) -> frozenset[Asked]:
        flat = self.state.asked.items[number]
        return frozenset(map(Asked, flat[::2], flat[1::2]))

    def publish(self) -> None:
        """Between the phases: join what is published, open who receives something else.

        :raises ModelError: naming every node that publishes what contradicts another
        """
        rows, state = self.state.rows, self.state
        members: dict[int, list[str]] = {}
        for node_id in sorted(rows):
            members.setdefault(rows[node_id].cluster, []).append(node_id)
        moved: set[int] = set()
        restated: set[int] = set()
        for node_id in (*self.drafted, *(self.before.keys() - rows.keys())):
            old, new = self.before.get(node_id), rows.get(node_id)
            both = {row.cluster for row in (old, new) if row is not None}
            if old is None or new is None or old.cluster != new.cluster:
                moved |= both
                restated |= both
                continue
            if old.publish != new.publish:
                restated |= both
            if (old.host, old.domain, old.roles) != (new.host, new.domain, new.roles):
                moved |= both
        published = {}
        for number, node_ids in members.items():
            name = state.words.items[number]
            self.members[name] = node_ids
            if number not in moved and name in state.published:
                self.same.add(name)
            if not name:
                continue
            if number not in restated and name in state.published:
                published[name] = state.published[name]
                continue
            published[name] = self._join(name, node_ids)
            before = state.published.get(name, {})
            other = {
                role
                for role in before.keys() | published[name].keys()
                if before.get(role) != published[name].get(role)
            }
            self.open.update(
                node_id
                for node_id in node_ids
                if not other.isdisjoint(state.lists.items[rows[node_id].roles])
            )
        state.published = published
        self._stop()

    def _join(self, name: str, node_ids: list[str]) -> dict[str, int]:
        state = self.state
        shared: dict[int, Any] = {}
        given = []
        for node_id in node_ids:
            number = state.rows[node_id].publish
            if number not in shared:
                shared[number] = state.value(number)
            given.append((node_id, shared[number]))
        joined, conflicts = join_published(given)
        self._errors.update(conflicts)
        return {
            role: state.keep(data, f"cluster {name}, published to {role}")
            for role, data in joined.items()
        }

    def finish(self, writer: Writer, progress: Progress | None) -> dict[str, Place]:
        """Second phase; returns where the record of each compiled node is.

        :raises ModelError: naming every node that fails
        """
        state = self.state
        received: dict[int, Any] = {}
        places: dict[str, Place] = {}
        for done, node_id in enumerate(sorted(self.open), 1):
            row = state.rows[node_id]
            numbers = state.published.get(state.words.items[row.cluster], {})
            published = {}
            for role in state.lists.items[row.roles]:
                number = numbers.get(role)
                if number is not None:
                    if number not in received:
                        received[number] = state.value(number)
                    published[role] = received[number]
            try:
                merged = self.merged.pop(node_id, None) or self.inventory.merged(node_id)
                one = self._draft_of(node_id, row)
                finished = finish(self.inventory, merged, one, published, packed=True)
                raw = codec.pack(finished.record, f"node {node_id}")
            except ModelError as err:
                self._errors[node_id] = err
                continue
            state.rows[node_id] = row._replace(asked=self._asked(one.asked | finished.asked))
            places[node_id] = self._put(writer, node_id, raw)
            if progress is not None:
                progress(done, len(self.open))
        self._stop()
        return places

    def _put(self, writer: Writer, node_id: str, raw: bytes) -> Place:
        digest = checksum(raw)
        if self.base is not None and node_id in self.before:
            place = self.base.place(node_id)
            if place[3] == digest:
                return place
        return writer.add(raw, digest)

    def _draft_of(self, node_id: str, row: _Row) -> Draft:
        """The draft of a node that went through the first phase, without what it publishes."""
        state = self.state
        paths = state.paths.items
        return Draft(
            id=node_id,
            cluster=state.words.items[row.cluster],
            environment=state.words.items[row.environment],
            roles=tuple(state.lists.items[row.roles]),
            host=state.value(row.host),
            domain=state.words.items[row.domain],
            publish={},
            files=(*(paths[n] for n in state.lists.items[row.files]), paths[row.own]),
            missed=tuple(state.lists.items[row.missed]),
            asked=self._asked_at(row.asked),
        )

    def topologies(self, writer: Writer) -> dict[str, Place]:
        """Write who is where in each cluster; what did not change stays where it is."""
        places: dict[str, Place] = {}
        for name, node_ids in self.members.items():
            if not name:
                continue
            place = None
            if self.base is not None and name in self.same:
                place = self.base.topology_place(name)
            if place is None:
                rows = self.state.rows
                drafts = (self._draft_of(node_id, rows[node_id]) for node_id in node_ids)
                data = topology(name, drafts)
                place = writer.add(codec.pack(data, f"topology of cluster {name}"))
            places[name] = place
        return places

    def entries(self, places: Mapping[str, Place]) -> dict[str, Entry | None]:
        """What the index says of each node; None where it says the same as that of the base."""
        state = self.state
        words, lists = state.words.items, state.lists.items
        found: dict[str, Entry | None] = {}
        for node_id, row in sorted(state.rows.items()):
            place = places.get(node_id)
            if place is None:
                found[node_id] = None
            else:
                cluster, environment = words[row.cluster], words[row.environment]
                found[node_id] = (cluster, lists[row.roles], environment, place)
        return found

    def _stop(self) -> None:
        if self._errors:
            raise together(self._errors)


class _Entries(Mapping[str, ExportEntry]):
    """What all nodes export: of this compile, else as the state has it."""

    def __init__(self, state: _State, entries: Mapping[str, ExportEntry]) -> None:
        self._state = state
        self._entries = entries
        self._rows = {**dict.fromkeys(entries), **state.rows}
        self._known: dict[int, ExportEntry] = {}

    def __getitem__(self, node_id: str) -> ExportEntry:
        if node_id in self._entries:
            return self._entries[node_id]
        number = self._state.rows[node_id].exports
        if number not in self._known:
            self._known[number] = _unshape(self._state.value(number))
        return self._known[number]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _shape(entry: ExportEntry) -> list[Any]:
    faults = [[list(path), sentence] for path, sentence in entry.faults]
    return [entry.environment, entry.exports, entry.error, faults]


def _unshape(data: list[Any]) -> ExportEntry:
    environment, exports, error, faults = data
    return ExportEntry(
        environment, exports, error, tuple((tuple(path), sentence) for path, sentence in faults)
    )


def _fixed(seen: list[tuple[str, Any]]) -> bytes:
    return codec.pack(seen, "exports")


def _order(asked: Asked) -> tuple[str, str]:
    return asked.key, asked.environment or ""
