"""Small git repositories for tests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import git


def commit(top: Path, message: str, when: datetime | None = None) -> str:
    """Commit everything below ``top`` (a repository is made at first) and return the id."""
    repo = git.Repo.init(top, initial_branch="main")
    repo.git.add("--all")
    who = git.Actor("Test", "test@example.com")
    made = repo.index.commit(message, author=who, committer=who, author_date=when, commit_date=when)
    sha = made.hexsha
    repo.close()
    return sha
