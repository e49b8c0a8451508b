"""git in a directory of a test, with nobody's settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(top: Path, *arguments: str) -> str:
    """Run git with an identity and without this machine's settings; return what it printed."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "tests", f"GIT_{role}_EMAIL": "tests@example.org"}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", "-C", str(top), *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()
