"""The files of an inventory: found by name, parsed once, checked as they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
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


#: (absolute path, class name, strict) -> (stamp, parsed file); lives as long as the process
_parsed: dict[tuple[str, str, bool], tuple[tuple[int, int, int], Source]] = {}


def walk(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path below ``top``, stat) of every YAML file, symbolic links followed.

    Hidden files and directories are skipped; a directory that contains itself through a
    link is entered once.

    :raises ModelError: a directory cannot be read
    """
    yield from _walk(str(top), "", ())


def _walk(
    top: str, below: str, parents: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    here = os.path.join(top, below) if below else top
    try:
        status = os.stat(here)
        mark = (status.st_dev, status.st_ino)
        if mark in parents:
            return
        with os.scandir(here) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as err:
        raise ModelError(f"cannot read {here}: {err.strerror}") from None
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        path = f"{below}/{entry.name}" if below else entry.name
        try:
            folder = entry.is_dir()
            its_status = None if folder or not entry.name.endswith(EXTENSIONS) else entry.stat()
        except OSError as err:
            name = legible(f"{here}/{entry.name}")
            raise ModelError(f"cannot read {name}: {err.strerror}") from None
        if folder:
            yield from _walk(top, path, (*parents, mark))
        elif its_status is not None:
            yield path, its_status


def index_classes(top: Path) -> dict[str, str]:
    """Map class names to paths below ``top``; ``a/init.yml`` is class ``a``.

    :raises ModelError: two files give one class name
    """
    found: dict[str, str] = {}
    for path, _ in walk(top):
        parts = path.rsplit(".", 1)[0].split("/")
        if len(parts) > 1 and parts[-1] == "init":
            parts.pop()
        _add(found, ".".join(parts), path, "class", top)
    return found


def index_nodes(top: Path, *, compose: bool = False) -> dict[str, str]:
    """Map node ids to paths below ``top``: the file name, without its directories.

    :param compose: join the directories into the id (reclass's ``compose_node_name``);
        a directory that starts with ``_`` is left out
    :raises ModelError: two files give one node id
    """
    found: dict[str, str] = {}
    for path, _ in walk(top):
        *folders, name = path.rsplit(".", 1)[0].split("/")
        if compose and folders and not folders[0].startswith("_"):
            name = ".".join([*folders, name])
        _add(found, name, path, "node", top)
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
