"""Compile a whole tree into the store; what did not change is taken from a base revision.

Two phases. First every node is drafted: who and where it is, what it publishes and exports.
Then every node is finished: what it receives merged below its own, references resolved. A node
is compiled anew when

- a file it was made of changed or vanished, or a class that it had looked for in vain exists;
- it is new, or its file moved;
- an export key that its queries read differs on some node;
- what its cluster publishes to one of its roles differs.

Everything else, and nothing less, is equal to what a full compile gives: for that to hold, all a
node depends on must be in its draft.

The state beside each revision holds it: ``paths`` and ``blobs`` are the file table (what is in
no node's list is known by its path only); ``lists`` (file numbers in merge order, without the
node's own file), ``missed``, ``values`` (packed data) and ``asked`` are tables that nodes share;
``nodes`` maps ids to numbers into them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from saltern.errors import ModelError
from saltern.model import codec
from saltern.model.cluster import (
    Draft,
    Finished,
    draft,
    finish,
    join_published,
    together,
    topology,
)
from saltern.model.inventory import Inventory, Merged
from saltern.model.store import (
    ENGINE,
    Place,
    Revision,
    RevisionInfo,
    Store,
    checksum,
    options_hash,
)

#: called with (nodes done, nodes to do)
Progress = Callable[[int, int], None]

_blobs: dict[str, tuple[tuple[int, int, int, int], str]] = {}


@dataclass
class _Known:
    """What is kept of a node between the phases and between compiles.

    ``publish`` and ``host`` are hashes into the table of values.
    """

    cluster: str
    environment: str
    roles: tuple[str, ...]
    domain: str
    host: bytes
    publish: bytes
    files: tuple[str, ...]
    missed: tuple[str, ...]
    asked: frozenset[Any]
    entry: Any = None


@dataclass
class _Work:
    """One compile on its way."""

    inventory: Inventory
    files: dict[str, str]
    known: dict[str, _Known] = field(default_factory=dict)
    values: dict[bytes, bytes] = field(default_factory=dict)
    errors: dict[str, ModelError] = field(default_factory=dict)

    def keep(self, value: Any, where: str) -> bytes:
        raw = codec.pack(value, where)
        digest = checksum(raw)
        self.values[digest] = raw
        return digest


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
        top = os.path.join(inventory.path, folder)
        shown = os.path.basename(folder.rstrip("/"))
        for below in files.values():
            path = f"{shown}/{below}"
            found[path] = known.get(path) or _blob(os.path.join(top, below), path)
    return found


def _blob(path: str, shown: str) -> str:
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        cached = _blobs.get(path)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as err:
        raise ModelError(f"cannot read the file: {err.strerror}", where=shown) from None
    digest = blob_id(content)
    _blobs[path] = (stamp, digest)
    return digest


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
        other options is of no use and ignored
    :param sources: path to blob id, where it is known already (:func:`source_ids`)
    :param progress: told how many nodes are done
    :param replace: write the revision also when the store has it
    :raises ModelError: naming every node that does not compile; or the store cannot be written
    """
    start = time.monotonic()
    files = source_ids(inventory, sources)
    if not inventory.node_files:
        raise ModelError("the model has no nodes", where=str(inventory.path))
    with store.writer(revision_id, inventory.options, replace=replace) as writer:
        work = _Work(inventory, files)
        merged = _first_phase(work, inventory.nodes())
        if work.errors:
            raise together(work.errors)
        groups = _groups(work.known)
        published = {}
        for name, members in groups.items():
            drafts = [_draft_of(work, node_id) for node_id in members]
            published[name], conflicts = join_published(drafts) if name else ({}, {})
            work.errors.update(conflicts)
        places: dict[str, Place] = {}
        for done, node_id in enumerate(sorted(work.known), 1):
            known = work.known[node_id]
            try:
                finished = _finish(work, node_id, merged.pop(node_id), published[known.cluster])
                raw = codec.pack(finished.record, f"node {node_id}")
            except ModelError as err:
                work.errors[node_id] = err
                continue
            known.asked |= finished.asked
            places[node_id] = writer.add(raw)
            if progress is not None:
                progress(done, len(work.known))
        if work.errors:
            raise together(work.errors)
        topologies = {
            name: writer.add(
                codec.pack(
                    topology(name, [_draft_of(work, node_id) for node_id in members]),
                    f"topology of cluster {name}",
                )
            )
            for name, members in groups.items()
            if name
        }
        info = RevisionInfo(
            id=revision_id,
            created=time.time(),
            nodes=len(places),
            clusters=tuple(sorted(name for name in groups if name)),
            commit="" if revision_id.startswith("worktree-") else revision_id,
            engine=ENGINE,
            options=options_hash(inventory.options),
            base=base.id if base is not None else "",
            compiled=len(places),
            seconds=round(time.monotonic() - start, 3),
        )
        return writer.commit(
            info,
            {
                node_id: (known.cluster, known.roles, known.environment, places[node_id])
                for node_id, known in sorted(work.known.items())
            },
            topologies,
            {"paths": list(files), "blobs": list(files.values())},
        )


def _first_phase(work: _Work, node_ids: Iterable[str]) -> dict[str, Merged]:
    merged: dict[str, Merged] = {}
    for node_id in node_ids:
        try:
            merged[node_id] = work.inventory.merged(node_id)
            one = draft(work.inventory, merged[node_id])
            work.known[node_id] = _Known(
                cluster=one.cluster,
                environment=one.environment,
                roles=one.roles,
                domain=one.domain,
                host=work.keep(one.host, f"node {node_id}, key host"),
                publish=work.keep(one.publish, f"node {node_id}, key publish"),
                files=one.files,
                missed=one.missed,
                asked=one.asked,
            )
        except ModelError as err:
            work.errors[node_id] = err
    return merged


def _draft_of(work: _Work, node_id: str) -> Draft:
    known = work.known[node_id]
    return Draft(
        id=node_id,
        cluster=known.cluster,
        environment=known.environment,
        roles=known.roles,
        host=codec.unpack(work.values[known.host]),
        domain=known.domain,
        publish=codec.unpack(work.values[known.publish]),
        files=known.files,
        missed=known.missed,
        asked=known.asked,
    )


def _finish(
    work: _Work, node_id: str, merged: Merged, published: Mapping[str, dict[str, Any]]
) -> Finished:
    return finish(work.inventory, merged, _draft_of(work, node_id), published)


def _groups(known: Mapping[str, _Known]) -> dict[str, list[str]]:
    """Cluster to its nodes."""
    found: dict[str, list[str]] = {}
    for node_id in sorted(known):
        found.setdefault(known[node_id].cluster, []).append(node_id)
    return found
