"""Small git repositories for tests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import git

from tests.support import TREE


def commit(top: Path, message: str, when: datetime | None = None) -> str:
    """Commit everything below ``top`` (a repository is made at first) and return the id.

    Only in a directory of the test's own: GitPython takes the current directory for a path that
    it does not understand, and that is this checkout.
    """
    if not isinstance(top, Path) or not top.is_dir() or top.resolve().is_relative_to(TREE):
        raise AssertionError(f"{top!r} is no directory of a test")
    repo = git.Repo.init(str(top), initial_branch="main")
    try:
        if Path(repo.working_tree_dir or "").resolve() != top.resolve():
            raise AssertionError(f"{repo.working_tree_dir} is not {top}")
        repo.git.add("--all")
        who = git.Actor("Test", "test@example.com")
        made = repo.index.commit(
            message, author=who, committer=who, author_date=when, commit_date=when
        )
        return made.hexsha
    finally:
        repo.close()
