"""The files of an inventory: found by name, parsed once, checked as they are read."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import ModelError
from saltern.model.options import Options
from saltern.model.tree import TreeError, build

EXTENSIONS = (".yml", ".yaml")
SECTIONS = ("classes", "applications", "parameters", "exports", "environment")
_SKIPPED = ("CVS", "SCCS")

# libyaml parses ten times faster; the Python loader gives the same data.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _LastWins(_Base):  # type: ignore[misc]
    """YAML 1.1 as reclass reads it."""


class _Unique(_Base):  # type: ignore[misc]
    """YAML 1.1 in which a key may be written once only."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # before the base class folds `<<` in, where an explicit key rightly wins
        seen = set()
        for key, _ in node.value:
            mark = (key.tag, key.value) if isinstance(key.value, str) else None
            if mark is None or key.tag == "tag:yaml.org,2002:merge":
                continue
            if mark in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is written twice", key.start_mark
                )
            seen.add(mark)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


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
        stat = os.stat(here)
        mark = (stat.st_dev, stat.st_ino)
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
        if entry.is_dir():
            yield from _walk(top, path, (*parents, mark))
        elif entry.name.endswith(EXTENSIONS):
            try:
                yield path, entry.stat()
            except OSError as err:
                raise ModelError(f"cannot read {here}/{entry.name}: {err.strerror}") from None


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
        stat = os.stat(path)
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        cached = _parsed.get((path, name, options.strict))
        if cached is not None and cached[0] == stamp:
            return cached[1]
        with open(path, encoding="utf-8") as stream:
            data = yaml.load(stream, Loader=_Unique if options.strict else _LastWins)  # noqa: S506
    except OSError as err:
        raise ModelError(f"cannot read the file: {err.strerror}", where=shown) from None
    except UnicodeDecodeError:
        raise ModelError("the file is not UTF-8", where=shown) from None
    except yaml.MarkedYAMLError as err:
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        raise ModelError(f"{err.problem or err.context}", where=f"{shown}{line}") from None
    except yaml.YAMLError as err:
        raise ModelError(f"not valid YAML: {str(err).splitlines()[0]}", where=shown) from None
    except ValueError:  # its text holds the value
        raise ModelError("a date or number is out of range", where=shown) from None
    source = _source(data, name, shown, options)
    _parsed[(path, name, options.strict)] = (stamp, source)
    return source


def _source(data: Any, name: str, shown: str, options: Options) -> Source:
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ModelError("the file is not a mapping", where=shown)
    if options.strict:
        for key in data:
            if key not in SECTIONS:
                raise ModelError(
                    f"unknown top-level key {key!r}",
                    where=shown,
                    cure=f"Use one of: {', '.join(SECTIONS)}",
                )
    environment = data.get("environment")
    if environment is not None and not isinstance(environment, str):
        raise ModelError(f"environment must be a string, not {environment!r}", where=shown)
    return Source(
        name=name,
        path=shown,
        classes=tuple(absolute(entry, name) for entry in _names(data, "classes", shown)),
        applications=_names(data, "applications", shown),
        parameters=_tree(data, "parameters", shown, options),
        exports=_tree(data, "exports", shown, options),
        environment=environment,
    )


def _names(data: dict[str, Any], section: str, shown: str) -> tuple[str, ...]:
    names = data.get(section)
    if names is None:
        return ()
    if not isinstance(names, list):
        raise ModelError(f"{section} must be a list", where=shown)
    for entry in names:
        if not isinstance(entry, str) or not entry or " " in entry or "/" in entry:
            raise ModelError(
                f"{section}: {entry!r} is no name (a string without spaces and slashes)",
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
        key = ":".join(err.path) or "(top)"
        raise ModelError(err.sentence, where=f"{shown}, {section} key {key}") from None
    except RecursionError:
        raise ModelError("a YAML anchor contains itself", where=shown) from None
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
