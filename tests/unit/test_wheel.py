"""The wheel is the whole suite: library, plugins, and the trees that Salt serves."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import PLUGIN_DIRS, TREE

#: tree in the checkout -> package in the wheel
TREES = {
    name: f"saltern/tree/{name}"
    for name in ("formulas", "orchestrate", "classes", "releases", "etc")
}


def checkout_files() -> list[str]:
    run = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=TREE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in run.stdout.splitlines() if (TREE / name).is_file()]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """File names in a wheel built from a copy of the checkout (a build litters its tree)."""
    source = tmp_path_factory.mktemp("source")
    for name in checkout_files():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, target)
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = Path(target).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("tree_name", TREES)
def test_a_tree_is_complete(wheel_names: set[str], tree_name: str) -> None:
    expected = {
        name.replace(tree_name, TREES[tree_name], 1)
        for name in checkout_files()
        if name.startswith(f"{tree_name}/")
    }
    assert expected
    assert not expected - wheel_names


def test_plugins_and_library_are_inside(wheel_names: set[str]) -> None:
    expected = {name for name in checkout_files() if name.startswith("saltern/")}
    for directory, loader in PLUGIN_DIRS.items():
        expected |= {
            name.replace(directory, f"saltern/{loader}", 1)
            for name in checkout_files()
            if name.startswith(f"{directory}/")
        }
    assert not expected - wheel_names


def test_nothing_private_is_inside(wheel_names: set[str]) -> None:
    """Secrets and generated digests of a cluster never leave the checkout."""
    assert not [name for name in wheel_names if name.endswith(("secrets.yml", ".gpg", ".key"))]
    assert not [name for name in wheel_names if name.startswith(("tests/", "docs/", "nodes/"))]
