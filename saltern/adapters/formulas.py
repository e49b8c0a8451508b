"""The formulas that belong to a revision of the model."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from saltern.adapters.git import WORKTREE, ModelRepo
from saltern.model.inventory import Inventory
from saltern.model.options import Options
from saltern.model.schema import formulas_path

#: beside ``classes`` in a repository that holds both
FOLDER = "formulas"


@contextlib.contextmanager
def formulas_at(path: Path, revision: str, given: Path | None = None) -> Iterator[Path]:
    """Give the directory of the formulas of one revision.

    In a repository that holds formulas beside the model they are those of that very commit; else
    those that the model is checked against, as by :func:`saltern.model.schema.formulas_path`.

    :param path: the model's directory
    :param revision: full revision id
    :param given: take these, whatever the revision
    :raises ModelError: there are none, or the commit is not in the repository
    """
    if given is not None or revision.startswith(f"{WORKTREE}-"):
        yield formulas_path(Inventory(path), given)
        return
    # what writes the classes of a commit writes any folder of it
    options = replace(Options(), classes_path=FOLDER, nodes_path=FOLDER)
    with ModelRepo(path, options).checkout(revision) as tree:
        folder = tree / FOLDER
        if any(folder.iterdir()):
            yield folder
        else:
            yield formulas_path(Inventory(path))


def differ(one: Path, two: Path) -> bool:
    """Return whether two directories of formulas hold different files."""
    return one != two and _digest(one) != _digest(two)


def _digest(top: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(item for item in top.rglob("*") if item.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(top)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
