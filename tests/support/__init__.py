"""Helpers for the tests; what is here knows the tree, never a test's subject."""

from __future__ import annotations

import ast
import gc
import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType

#: root of the checkout
TREE = Path(__file__).resolve().parents[2]

#: loader directory -> Salt loader type
PLUGIN_DIRS = {
    "_modules": "modules",
    "_states": "states",
    "_runners": "runners",
    "_engines": "engines",
    "_executors": "executors",
    "_pillar": "pillar",
    "_tops": "tops",
    "_grains": "grains",
}


def plugin_files(*directories: str) -> list[Path]:
    """Plugin files of the given loader directories (all of them without an argument)."""
    return [
        path
        for directory in directories or tuple(PLUGIN_DIRS)
        for path in sorted((TREE / directory).glob("*.py"))
        if path.name != "__init__.py"
    ]


@lru_cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Without the collector: a finaliser that parses, too, makes Python before 3.11.5 raise
    "AST constructor recursion depth mismatch" (gh-106905).
    """
    gc.disable()
    try:
        return ast.parse(path.read_text(), str(path))
    finally:
        gc.enable()


def service_roles() -> list[tuple[str, str]]:
    """Every ``(service, role)`` that has a service class, from ``classes/service``."""
    return sorted(
        (path.parent.name, path.stem)
        for path in (TREE / "classes/service").glob("*/*.yml")
        if path.stem != "init"
    )


def formula_roles() -> list[tuple[str, str]]:
    """Those with a formula; of the others there are classes and schemas only."""
    return [
        (service, role)
        for service, role in service_roles()
        if (TREE / "formulas" / service / f"{role}.sls").is_file()
    ]


def program(path: Path) -> ModuleType:
    """A formula's program as a module, not run: for what its functions decide."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
