"""A directory that is kept with the files of the commit that was exported last.

Two commits of a model differ in a few of thousands of files: only these are written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

#: what tells that a file is still the one that was written: times, size and inode
_Stamp = list[int]


class Mirror:
    """The files of one commit, kept for the next one.

    :param path: directory of its own; made when it is used
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = path / "tree"
        self._state = path / "files.json"

    @contextlib.contextmanager
    def holding(
        self, wanted: Mapping[str, str], contents: Callable[[set[str]], Mapping[str, bytes]]
    ) -> Iterator[Path | None]:
        """Give the directory with exactly the wanted files, until the block ends.

        :param wanted: path to blob id
        :param contents: gives the contents of blobs
        :returns: None when another process is using it
        :raises OSError: it cannot be written
        """
        self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            self._update(wanted, contents)
            yield self.tree
        finally:
            os.close(lock)

    def _update(
        self, wanted: Mapping[str, str], contents: Callable[[set[str]], Mapping[str, bytes]]
    ) -> None:
        known = self._known()
        # a crash from here on leaves a tree of which nothing is known
        self._state.unlink(missing_ok=True)
        whole = self._present() == known.keys()
        kept = {
            path: entry
            for path, entry in known.items()
            if whole and wanted.get(path) == entry[0] and self._stamp(path) == entry[1]
        }
        if not kept:
            shutil.rmtree(self.tree, ignore_errors=True)
            self.tree.mkdir(mode=0o750)
        else:
            for path in known.keys() - kept.keys():
                self._remove(path)
        missing = {path: blob for path, blob in wanted.items() if path not in kept}
        read = contents(set(missing.values())) if missing else {}
        for path, blob in missing.items():
            full = self.tree / path
            full.parent.mkdir(parents=True, exist_ok=True)
            with open(full, "xb") as stream:
                stream.write(read[blob])
            kept[path] = (blob, self._stamp(path))
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps(kept))
        os.replace(fresh, self._state)

    def _known(self) -> dict[str, tuple[str, _Stamp]]:
        try:
            data = json.loads(self._state.read_bytes())
            return {path: (blob, stamp) for path, (blob, stamp) in data.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _present(self) -> set[str]:
        """Every file that is there: one that somebody added would be compiled too."""
        found: set[str] = set()
        top = str(self.tree)
        for folder, _, names in os.walk(top):
            below = folder[len(top) + 1 :]
            found.update(f"{below}/{name}" if below else name for name in names)
        return found

    def _stamp(self, path: str) -> _Stamp:
        try:
            status = os.lstat(self.tree / path)
        except OSError:
            return []
        return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]

    def _remove(self, path: str) -> None:
        full = self.tree / path
        full.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for folder in full.parents:
                if folder == self.tree:
                    break
                folder.rmdir()
