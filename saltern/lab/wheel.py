"""The wheel of this checkout, built when something in it changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from saltern.errors import LabError
from saltern.lab.image import Report, locked, silent, uv_program
from saltern.lab.paths import cache_dir, source_tree
from saltern.lab.shell import clean_environment, run

#: What the distribution is made of.
PARTS = (
    *("saltern", "_modules", "_states", "_runners", "_engines", "_executors"),
    *("_pillar", "_tops", "_grains"),
    *("formulas", "orchestrate", "classes", "releases", "etc"),
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
)
KEPT = 3


def source_files(tree: Path) -> Iterator[Path]:
    """Yield the files of ``tree`` that the wheel depends on, in a fixed order."""
    for part in sorted(PARTS):
        top = tree / part
        if top.is_file():
            yield top
        for directory, folders, names in os.walk(top, followlinks=False):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(names):
                if not name.endswith((".pyc", ".swp", "~")):
                    yield Path(directory) / name


def source_ident(tree: Path) -> str:
    """Return 16 hexadecimal digits that name names, modes and contents of those files."""
    digest = hashlib.sha256()
    for path in source_files(tree):
        content = path.read_bytes()
        mode = path.stat().st_mode & 0o111
        digest.update(f"{path.relative_to(tree)}\0{mode}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def ensure_wheel(report: Report = silent) -> Path:
    """Return the wheel of this checkout, built unless the cache has it.

    :param report: called with the name of each step that takes time
    :raises LabError: this is no checkout, or the build failed
    """
    tree = source_tree()
    if tree is None:
        raise LabError(
            "the master gets a wheel of the checkout and this is an installed package",
            cure="Run saltern deploy from a checkout",
        )
    store = cache_dir() / "wheels" / "saltern"
    with locked(store / "lock"):
        target = store / source_ident(tree)
        if not target.is_dir():
            report("building the wheel")
            _build(tree, store, target)
        kept = (path for path in store.iterdir() if path.is_dir() and path != target)
        for path in sorted(kept, key=lambda path: path.stat().st_mtime)[: 1 - KEPT]:
            shutil.rmtree(path, ignore_errors=True)
    return next(iter(target.glob("*.whl")))


def _build(tree: Path, store: Path, target: Path) -> None:
    # A copy: no build directory in the checkout, and nothing stale from one in the wheel.
    with tempfile.TemporaryDirectory(prefix="build-", dir=store) as name:
        copy = Path(name) / "tree"
        for path in source_files(tree):
            place = copy / path.relative_to(tree)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            shutil.copymode(path, place)
        out = Path(name) / "out"
        command: list[str | Path] = [uv_program(), "build", "--wheel", "--no-build-isolation"]
        command += ["--quiet", "--python", sys.executable, "--out-dir", out, copy]
        run(command, what="building the wheel", env=clean_environment())
        (out / ".gitignore").unlink(missing_ok=True)
        out.rename(target)
