"""The fences of the tree: who may import what.

Decisions live in ``saltern`` and run without Salt; only ``saltern.adapters`` knows it.
What is synced to nodes stands alone: a node has nothing but salt-minion.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import TREE, parsed, plugin_files

PURE_FILES = [
    path
    for path in sorted((TREE / "saltern").rglob("*.py"))
    if "adapters" not in path.relative_to(TREE / "saltern").parts
]
ON_NODES = plugin_files("_modules", "_states", "_grains", "_executors")

#: imports every module of saltern outside adapters/ with salt made unimportable
IMPORT_ALL = """
import importlib, pkgutil, sys

class NoSalt:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "salt":
            raise ImportError(f"salt is out of bounds here: {name}")

sys.meta_path.insert(0, NoSalt())
import saltern
done = 0
failed = []
for found in pkgutil.walk_packages(saltern.__path__, "saltern."):
    # mapped directories (saltern.modules ...) are Salt's, not the library's
    if found.name.split(".")[1] in {"adapters", "modules", "states", "runners", "engines",
                                    "executors", "pillar", "tops", "grains", "tree"}:
        continue
    try:
        importlib.import_module(found.name)
        done += 1
    except ImportError as err:
        failed.append(f"{found.name}: {err}")
print(done)
sys.exit("\\n".join(failed) or 0)
"""


def imported_names(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_library_imports_with_salt_blocked() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=TREE, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 10


@pytest.mark.parametrize("path", PURE_FILES, ids=lambda p: str(p.relative_to(TREE)))
def test_no_salt_outside_the_adapters(path: Path) -> None:
    assert "salt" not in imported_names(path)


@pytest.mark.parametrize("path", ON_NODES, ids=lambda p: str(p.relative_to(TREE)))
def test_what_runs_on_nodes_stands_alone(path: Path) -> None:
    assert "saltern" not in imported_names(path)


def test_the_loader_entry_point_is_light() -> None:
    """Salt calls it for every loader it builds: a heavy import would slow every command."""
    code = "import sys, saltern._loader; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=TREE, check=True
    )
    heavy = {"salt", "click", "yaml", "jsonschema", "rich", "openstack"} & set(run.stdout.split())
    assert not heavy
