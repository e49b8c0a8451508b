"""Small inventories on disk, and Python reclass as the judge of what they mean."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from reclass import get_storage
from reclass.core import Core
from reclass.settings import Settings
from reclass.storage.memcache_proxy import MemcacheProxy


def write_tree(top: Path, files: Mapping[str, Any]) -> Path:
    """Write ``path -> text or data``; ``classes`` and ``nodes`` always exist."""
    for folder in ("classes", "nodes"):
        (top / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        path.write_text(text, encoding="utf-8")
    return top


class OracleError(Exception):
    """Python reclass refuses, or crashes on, the inventory."""


def core(top: Path, **options: Any) -> Core:
    """Return kapicorp-reclass over an inventory; it keeps the files that it has parsed."""
    settings = Settings(options)
    files = get_storage(
        "yaml_fs", str(top / "nodes"), str(top / "classes"), settings.compose_node_name
    )
    # as the file system lists them otherwise, which is the order of a list that a query returns
    storage = files._real_storage
    storage._nodes = dict(sorted(storage._nodes.items()))
    return Core(MemcacheProxy(files), options.get("class_mappings"), settings)


def oracle(top: Path, node: str, *, kept: Core | None = None, **options: Any) -> dict[str, Any]:
    """Return what kapicorp-reclass makes of a node, in the shape that :func:`ours` has.

    :param kept: from :func:`core`, when many nodes of one inventory are asked for
    """
    try:
        reclass = kept or core(top, **options)
        # it warns on stderr about references that were overwritten
        with contextlib.redirect_stderr(io.StringIO()):
            found = reclass.nodeinfo(node)
    except (Exception, RecursionError) as err:
        raise OracleError(f"{type(err).__name__}: {err}") from err
    return {
        key: found[key]
        for key in ("parameters", "applications", "classes", "exports", "environment")
    }


def ours(top: Path, node: str, **options: Any) -> dict[str, Any]:
    """Return what this project's engine makes of a node."""
    from saltern.model import Inventory

    inventory = Inventory(top, **options)
    compiled = inventory.node(node)
    # from the second time on it starts from what all nodes with these classes have in common
    for _ in range(2):
        assert typed(inventory.node(node).parameters) == typed(compiled.parameters)
    return {
        "parameters": compiled.parameters,
        "applications": compiled.applications,
        "classes": compiled.classes,
        "exports": compiled.exports,
        "environment": compiled.environment,
    }


def comparable(found: dict[str, Any]) -> Any:
    """Leave out the documented differences.

    ``short`` is the first label here, the last there; a class that is included by a name with a
    reference is listed under its own name here, under what was written there.
    """
    parameters = dict(found["parameters"])
    automatic = parameters.get("_reclass_")
    if isinstance(automatic, dict) and isinstance(automatic.get("name"), dict):
        name = {key: value for key, value in automatic["name"].items() if key != "short"}
        parameters["_reclass_"] = {**automatic, "name": name}
    named = parameters.get("_param") or {}
    classes = [
        re.sub(r"\$\{_param:(\w+)\}", lambda match: str(named[match[1]]), name)
        for name in found["classes"]
    ]
    return typed({**found, "parameters": parameters, "classes": classes})


def typed(value: Any) -> Any:
    """Make 1, True and 1.0 different, and the order of keys irrelevant."""
    if isinstance(value, dict):
        return {(type(key).__name__, key): typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return (type(value).__name__, value)
