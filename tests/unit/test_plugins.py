"""Plugins are thin, flat and documented; a loader type is registered in one way everywhere."""

from __future__ import annotations

import ast
import configparser
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern import _loader
from tests.support import PLUGIN_DIRS, TREE, parsed, plugin_files

MAX_LINES = 400
#: loader directories with functions that no operator calls
OTHERS = ("_states", "_engines", "_executors", "_pillar", "_tops", "_grains")


def relative(path: Path) -> str:
    return str(path.relative_to(TREE))


def public_functions(path: Path) -> Iterator[ast.FunctionDef]:
    """Functions that Salt's loader would export."""
    for node in parsed(path).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def documented(directories: tuple[str, ...]) -> list[pytest.param]:
    return [
        pytest.param(node, id=f"{relative(path)}:{node.name}")
        for path in plugin_files(*directories)
        for node in public_functions(path)
    ]


@pytest.mark.parametrize("path", plugin_files(), ids=relative)
def test_a_plugin_stays_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", plugin_files(), ids=relative)
def test_a_plugin_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize("directory", PLUGIN_DIRS)
def test_loader_directories_are_flat(directory: str) -> None:
    """Salt's loader can't load a package module that uses relative imports."""
    nested = [p for p in (TREE / directory).iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert not nested


@pytest.mark.parametrize("node", documented(("_modules", "_runners")))
def test_a_function_an_operator_calls_has_an_example(node: ast.FunctionDef) -> None:
    docstring = ast.get_docstring(node) or ""
    assert "CLI Example:" in docstring


@pytest.mark.parametrize("node", documented(OTHERS))
def test_other_plugin_functions_have_a_docstring(node: ast.FunctionDef) -> None:
    assert ast.get_docstring(node)


@pytest.mark.parametrize("node", documented(("_runners", "_modules", *OTHERS[:3])))
def test_a_docstring_names_every_parameter(node: ast.FunctionDef) -> None:
    docstring = ast.get_docstring(node) or ""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    missing = [name for name in names if name not in docstring]
    assert not missing


def package_metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(TREE / "setup.cfg")
    return parser


def test_a_loader_type_is_registered_everywhere() -> None:
    """A new plugin directory needs two lines in setup.cfg and one in _loader.py."""
    options = package_metadata()["options"]
    packages = options["packages"].split()
    mapped = dict(
        [part.strip() for part in line.split("=")]
        for line in options["package_dir"].strip().splitlines()
    )
    in_tree = {
        path.name
        for path in TREE.iterdir()
        if path.is_dir() and path.name.startswith("_") and not path.name.startswith("__")
    }
    assert in_tree == set(PLUGIN_DIRS)
    for directory, loader in PLUGIN_DIRS.items():
        package = _loader.PLUGIN_PACKAGES[loader]
        assert package in packages
        assert mapped[package] == directory
    assert set(_loader.PLUGIN_PACKAGES) == set(PLUGIN_DIRS.values())


def test_the_entry_point_is_the_function() -> None:
    entry = package_metadata()["options.entry_points"]["salt.loader"].strip()
    module, _, attribute = entry.partition("=")[2].strip().partition(":")
    directories = getattr(importlib.import_module(module), attribute)()
    assert set(directories) == set(PLUGIN_DIRS.values())
    for paths in directories.values():
        assert isinstance(paths, list)
        assert all(Path(path).is_dir() for path in paths)


def test_no_directory_that_salt_would_load_by_mistake() -> None:
    taken = {"modules", "states", "runners", "pillar", "utils", "resources"}
    assert not [name for name in taken if (TREE / name).exists()]
