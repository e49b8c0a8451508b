"""The files of an inventory: found by name, parsed once, checked as they are read."""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltern.errors import ModelError
from saltern.model import reader
from saltern.model.options import Options
from saltern.model.tree import TreeError, build, legible

EXTENSIONS = (".yml", ".yaml")
SECTIONS = ("classes", "applications", "parameters", "exports", "environment")
_SKIPPED = ("CVS", "SCCS")


@dataclass(frozen=True)
class Source:
    """One parsed class or node file.

    ``classes`` and ``applications`` are as written (relative class names made absolute);
    ``parameters`` and ``exports`` are trees (see :mod:`saltern.model.tree`).
    """

    name: str
    path: str
    classes: tuple[str, ...]
    applications: tuple[str, ...]
    parameters: dict[str, Any]
    exports: dict[str, Any]
    environment: str | None


#: times, device and inode of a directory
_Stamp = tuple[int, int, int, int]
#: nanoseconds after which a change shows in a file's times
_TICK = 50_000_000
#: directory -> what was found below it
_listings: dict[str, _Listing] = {}
#: (absolute path, class name, strict) -> (stamp, parsed file); lives as long as the process
_parsed: dict[tuple[str, str, bool], tuple[tuple[int, int, int], Source]] = {}


@dataclass(frozen=True)
class _Listing:
    """The YAML files of a directory tree, and what tells that they are still the same.

    ``folders`` are (path, stamp) of every directory, ``linked`` the paths of files that are
    symbolic links: what they lead to may become a directory without a trace in their own.
    """

    files: tuple[str, ...]
    folders: tuple[tuple[str, _Stamp], ...]
    linked: tuple[str, ...]

    def holds(self) -> bool:
        try:
            return all(_stamp(os.stat(path)) == stamp for path, stamp in self.folders) and not any(
                os.path.isdir(path) for path in self.linked
            )
        except OSError:
            return False


def walk(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path below ``top``, stat) of every YAML file, symbolic links followed.

    Hidden files and directories are skipped; a directory that contains itself through a
    link is entered once.

    :raises ModelError: a directory cannot be read
    """
    for path in _files(top):
        full = f"{top}/{path}"
        try:
            yield path, os.stat(full)
        except OSError as err:
            raise ModelError(f"cannot read {legible(full)}: {err.strerror}") from None


def _files(top: Path) -> tuple[str, ...]:
    """Paths of all YAML files, listed again only when a directory has changed."""
    key = str(top)
    known = _listings.get(key)
    if known is not None and known.holds():
        return known.files
    files: list[str] = []
    folders: list[tuple[str, _Stamp]] = []
    linked: list[str] = []
    now = time.time_ns()
    _list(key, "", (), files, folders, linked)
    listing = _Listing(tuple(files), tuple(folders), tuple(linked))
    # what changed just now may change again within one tick of the clock
    if all(now - max(stamp[:2]) > _TICK for _, stamp in folders):
        _listings[key] = listing
    else:
        _listings.pop(key, None)
    return listing.files


def _list(
    top: str,
    below: str,
    parents: tuple[tuple[int, int], ...],
    files: list[str],
    folders: list[tuple[str, _Stamp]],
    linked: list[str],
) -> None:
    here = f"{top}/{below}" if below else top
    try:
        status = os.stat(here)
        mark = (status.st_dev, status.st_ino)
        if mark in parents:
            return
        with os.scandir(here) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as err:
        raise ModelError(f"cannot read {legible(here)}: {err.strerror}") from None
    folders.append((here, _stamp(status)))
    for entry in entries:
        name = entry.name
        if name.startswith(".") or name in _SKIPPED:
            continue
        path = f"{below}/{name}" if below else name
        try:
            folder, link = entry.is_dir(), entry.is_symlink()
        except OSError as err:
            raise ModelError(f"cannot read {legible(f'{here}/{name}')}: {err.strerror}") from None
        if folder:
            _list(top, path, (*parents, mark), files, folders, linked)
        elif name.endswith(EXTENSIONS):
            files.append(path)
            if link:
                linked.append(f"{here}/{name}")


def forget(top: Path) -> None:
    """Drop what is remembered of the files below a directory that is about to be removed."""
    below = f"{top}/"
    for path in [path for path in _listings if path.startswith(below)]:
        _listings.pop(path, None)
    for key in [key for key in _parsed if key[0].startswith(below)]:
        _parsed.pop(key, None)


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino


def index_classes(top: Path) -> dict[str, str]:
    """Map class names to paths below ``top``; ``a/init.yml`` is class ``a``.

    :raises ModelError: two files give one class name
    """
    return dict(_index(top, _files(top), "class", _class_name))


def index_nodes(top: Path, *, compose: bool = False) -> dict[str, str]:
    """Map node ids to paths below ``top``: the file name, without its directories.

    :param compose: join the directories into the id (reclass's ``compose_node_name``);
        a directory that starts with ``_`` is left out
    :raises ModelError: two files give one node id
    """
    return dict(_index(top, _files(top), "node", _composed if compose else _node_id))


def _class_name(path: str) -> str:
    parts = path.rsplit(".", 1)[0].split("/")
    if len(parts) > 1 and parts[-1] == "init":
        parts.pop()
    return ".".join(parts)


def _node_id(path: str) -> str:
    return path.rpartition("/")[2].rsplit(".", 1)[0]


def _composed(path: str) -> str:
    *folders, name = path.rsplit(".", 1)[0].split("/")
    return ".".join([*folders, name]) if folders and not folders[0].startswith("_") else name


@functools.lru_cache(maxsize=16)
def _index(
    top: Path, files: tuple[str, ...], kind: str, named: Callable[[str], str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in files:
        _add(found, named(path), path, kind, top)
    return found


def _add(found: dict[str, str], name: str, path: str, kind: str, top: Path) -> None:
    if name in found:
        raise ModelError(
            f"{kind} {name} is defined twice, in {top.name}/{found[name]} and {top.name}/{path}",
            cure="Keep one of the two files",
        )
    found[name] = path


def load(top: Path, below: str, name: str, options: Options) -> Source:
    """Parse one file, or return it from the cache when it has not changed.

    :param top: the directory of all classes, or of all nodes
    :param below: path of the file below ``top``
    :param name: class name or node id
    :raises ModelError: naming file and line of what cannot be read
    """
    path = os.path.join(top, below)
    shown = f"{top.name}/{below}"
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        cached = _parsed.get((path, name, options.strict))
        if cached is not None and cached[0] == stamp:
            return cached[1]
        _check(status, shown)
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as err:
        raise ModelError(f"cannot read the file: {err.strerror}", where=shown) from None
    except UnicodeDecodeError:
        raise ModelError("the file is not UTF-8", where=shown) from None
    data = reader.parse(text, shown, strict=options.strict)
    source = _source(data, name, shown, options)
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _TICK:
        _parsed[(path, name, options.strict)] = (stamp, source)
    return source


def _check(status: os.stat_result, shown: str) -> None:
    """Refuse what cannot be read to its end."""
    if not stat.S_ISREG(status.st_mode):
        raise ModelError("not a regular file", where=shown)
    if status.st_size > reader.MAX_SIZE:
        raise ModelError(f"larger than {reader.MAX_SIZE >> 20} MiB", where=shown)


def _source(data: Any, name: str, shown: str, options: Options) -> Source:
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ModelError("the file is not a mapping", where=shown)
    if options.strict:
        for key in data:
            if key not in SECTIONS:
                raise ModelError(
                    f"unknown top-level key {legible(repr(key))}",
                    where=shown,
                    cure=f"Use one of: {', '.join(SECTIONS)}",
                )
    environment = data.get("environment")
    if environment is not None and not isinstance(environment, str):
        raise ModelError(
            f"environment must be a string, not a {type(environment).__name__}", where=shown
        )
    return Source(
        name=name,
        path=shown,
        classes=tuple(absolute(entry, name) for entry in _names(data, "classes", shown, options)),
        applications=_names(data, "applications", shown, options),
        parameters=_tree(data, "parameters", shown, options),
        exports=_tree(data, "exports", shown, options),
        environment=environment,
    )


def _names(data: dict[str, Any], section: str, shown: str, options: Options) -> tuple[str, ...]:
    names = data.get(section)
    if names is None:
        return ()
    if not isinstance(names, list):
        raise ModelError(f"{section} must be a list", where=shown)
    anything = section == "applications" and not options.strict  # as in reclass
    for entry in names:
        if not isinstance(entry, str):
            raise ModelError(f"{section}: a {type(entry).__name__} is no name", where=shown)
        if not anything and (not entry or " " in entry or "/" in entry):
            raise ModelError(
                f"{section}: {legible(repr(entry))} is no name (a string without spaces and "
                "slashes)",
                where=shown,
            )
        if section == "applications" and options.strict and ("${" in entry or "$[" in entry):
            raise ModelError(
                f"{section}: {legible(repr(entry))} holds a reference, which nothing resolves",
                where=shown,
            )
    return tuple(names)


def _tree(data: dict[str, Any], section: str, shown: str, options: Options) -> dict[str, Any]:
    raw = data.get(section)
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ModelError(f"{section} must be a mapping", where=shown)
    try:
        tree: dict[str, Any] = build(raw, strict=options.strict)
    except TreeError as err:
        key = legible(":".join(err.path)) or "(top)"
        raise ModelError(err.sentence, where=f"{shown}, {section} key {key}") from None
    return tree


def absolute(entry: str, name: str) -> str:
    """Make a relative class name absolute: ``.b`` is beside, ``..b`` one level up.

    :param entry: class name as written
    :param name: name of the class that includes it
    """
    rest = entry.lstrip(".")
    dots = len(entry) - len(rest)
    if dots == 0:
        return entry
    parent = name.split(".")[:-dots]
    return ".".join([*parent, rest])
