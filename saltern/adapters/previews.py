"""Let named nodes have the pillar of a revision for a moment, to foresee what they would change.

A preview is asked for by the name of a pillar environment that only the master can give: it is
random, holds for some nodes and some minutes, and moves no pin. Whatever else a node runs meanwhile
gets the pillar that it always gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from saltern.errors import PreflightError

#: begins the name of a pillar environment that is a preview
PREFIX = "saltern-preview-"
#: below the store of revisions
FOLDER = "previews"
#: Seconds that a preview holds at most.
SECONDS = 1800.0


@dataclass(frozen=True)
class Previews:
    """The previews of one master.

    :param store: directory of the store of revisions
    :param now: seconds since the epoch
    """

    store: Path
    now: Callable[[], float] = time.time

    @contextlib.contextmanager
    def granted(self, revision: str, nodes: Iterable[str]) -> Iterator[str]:
        """Give the name of a pillar environment that holds inside the block.

        :param revision: full id
        :param nodes: minion ids that may have it
        :raises PreflightError: it cannot be written
        """
        name = secrets.token_hex(16)
        path = self.store / FOLDER / f"{name}.json"
        data = {"revision": revision, "nodes": sorted(nodes), "until": self.now() + SECONDS}
        try:
            path.parent.mkdir(mode=0o750, exist_ok=True)
            self._sweep(path.parent)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640), "w") as out:
                json.dump(data, out)
        except OSError as err:
            raise PreflightError(
                f"the preview cannot be written: {err.strerror}", where=str(path.parent)
            ) from None
        try:
            yield f"{PREFIX}{name}"
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    def revision(self, environment: str, node: str) -> str:
        """Return the revision that a node may have the pillar of.

        :param environment: name of the pillar environment that it asks for
        :param node: minion id
        :raises PreflightError: it may not, or not any more
        """
        name = environment.removeprefix(PREFIX)
        path = self.store / FOLDER / f"{name}.json"
        data = None
        if name.isalnum():
            with contextlib.suppress(OSError, ValueError):
                data = json.loads(path.read_text())
        if not data or node not in data["nodes"] or self.now() > data["until"]:
            raise PreflightError(f"no preview is granted to node {node}", cure="Plan again")
        return str(data["revision"])

    def _sweep(self, folder: Path) -> None:
        """Remove what a crash left behind."""
        for path in folder.glob("*.json"):
            with contextlib.suppress(OSError):
                if self.now() - path.stat().st_mtime > SECONDS:
                    path.unlink()
