"""The model's git repository: refs, what a commit holds, a directory with its files."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltern.adapters.mirror import Mirror
from saltern.errors import ModelError
from saltern.model.compiler import forget, source_ids, tree_id
from saltern.model.inventory import Inventory
from saltern.model.options import Options
from saltern.model.source import EXTENSIONS

if TYPE_CHECKING:
    import git

#: the word for the files as they are now, committed or not
WORKTREE = "worktree"
_FULL = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
_LINK, _SUBMODULE = "120000", "160000"
_FILES = ("100644", "100755", "100664")
#: beside classes and nodes, and part of the model: what the linter reads
_BESIDE = ("removed_keys.yaml",)


@dataclass(frozen=True)
class _Entry:
    """One file of a commit: ``mode`` in git's octal, ``blob`` its object id."""

    mode: str
    blob: str


class ModelRepo:
    """A model tree and, when it has one, its git repository.

    The tree may be a directory of the repository. Without a repository only ``worktree`` is a
    revision.

    :param path: model tree, or a bare repository whose root is one
    :param options: engine options; they say where classes and nodes are
    """

    def __init__(self, path: str | Path, options: Options | None = None) -> None:
        self.path = Path(path).absolute()
        self.options = options or Options()
        self._opened: git.Repo | None = None
        self._listed: dict[str, dict[str, _Entry]] = {}

    def resolve(self, ref: str) -> str:
        """Return the revision id of a ref.

        :param ref: branch, tag, full or abbreviated commit id, ``HEAD``, or ``worktree``
        :raises ModelError: no such commit, no repository, or the tree cannot be read
        """
        if ref == WORKTREE or re.fullmatch(r"worktree-[0-9a-f]{12}", ref):
            id = tree_id(self._files(self.path))
            if ref not in (WORKTREE, id):
                raise ModelError(f"the work tree is not {ref} any more", where=str(self.path))
            return id
        if not ref or ref.startswith("-"):
            raise ModelError(f"{ref!r} is no git ref")
        found = self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
        )
        id = found.strip()
        if not _FULL.match(id):
            raise ModelError(
                f"{ref} is no commit of the model",
                where=str(self.path),
                cure="Fetch it first, or name a branch, tag or commit that is there",
            )
        return id

    def dirty(self) -> bool:
        """Return whether classes or nodes differ from ``HEAD``, new files included.

        :raises ModelError: no repository
        """
        if self._repo().bare:
            return False
        prefix = self._prefix()
        folders = [f"{prefix}{folder}" for folder in self._folders()]
        return bool(self._git("status", "--porcelain", "--untracked-files=all", "--", *folders))

    @contextlib.contextmanager
    def checkout(self, id: str, mirror: Mirror | None = None) -> Iterator[Path]:
        """Give a directory with the files of a revision; it is removed afterwards.

        A commit's files are written as git stores them, without filters or end-of-line
        conversion. For a work tree it is the tree itself.

        :param id: full revision id
        :param mirror: a directory that is kept: only what differs from the last time is written.
            Not used for a commit with symbolic links, nor while another process uses it
        :raises ModelError: not in the repository, or a symbolic link leads out of the tree
        """
        if id.startswith(f"{WORKTREE}-"):
            yield self.path
            return
        entries = self._wanted(id)
        if mirror is not None and all(entry.mode != _LINK for entry in entries.values()):
            blobs = {path: entry.blob for path, entry in entries.items()}
            with contextlib.ExitStack() as held:
                try:
                    kept = held.enter_context(mirror.holding(blobs, self._contents))
                except OSError as err:
                    raise ModelError(
                        f"cannot export the commit: {err.strerror}",
                        where=str(err.filename or mirror.path),
                    ) from None
                if kept is not None:
                    self._folders_in(kept)
                    yield kept
                    return
        with tempfile.TemporaryDirectory(prefix="saltern-model-") as name:
            top = Path(name)
            self._write(top, id, entries)
            self._folders_in(top)
            try:
                yield top
            finally:
                forget(top)

    def sources(self, id: str) -> dict[str, str]:
        """Return path to blob id of the class and node files of a revision.

        For a commit symbolic links and what is behind them are left out: their content is
        hashed when the tree is there.

        :param id: full revision id
        :raises ModelError: not in the repository, or the tree cannot be read
        """
        if id.startswith(f"{WORKTREE}-"):
            return self._files(self.path)
        found = {}
        for path, entry in self._tree(id).items():
            for folder in (self.options.classes_path, self.options.nodes_path):
                below = path.removeprefix(folder.rstrip("/") + "/")
                if below != path and entry.mode in _FILES and path.endswith(EXTENSIONS):
                    found[f"{posixpath.basename(folder.rstrip('/'))}/{below}"] = entry.blob
        return found

    def before(self, epoch: float) -> str:
        """Return the last commit of the current branch that is not younger than a time.

        :param epoch: seconds since 1970, UTC; compared with the committer's date
        :raises ModelError: the branch has no commit that old
        """
        found = self._git(
            "rev-list", "-1", "--first-parent", f"--min-age={int(epoch)}", "HEAD"
        ).strip()
        if not found:
            raise ModelError("the model has no commit that old", where=str(self.path))
        return found

    def log(self, count: int = 20, ref: str = "HEAD") -> list[tuple[str, str, int]]:
        """Return (commit id, subject, seconds since 1970) of the newest commits, newest first.

        :raises ModelError: no repository, or no such ref
        """
        return self._commits("--max-count", str(count), self.resolve(ref))

    def commit_info(self, id: str) -> tuple[str, str, int]:
        """Return (commit id, subject, seconds since 1970) of one commit.

        :raises ModelError: not in the repository
        """
        return self._commits("--max-count", "1", self.resolve(id))[0]

    def ancestors(self, id: str, count: int = 1000) -> list[str]:
        """Return a commit and those before it, nearest first.

        :param id: full commit id
        :raises ModelError: not in the repository
        """
        found = self._git("rev-list", f"--max-count={count}", "--topo-order", id)
        return found.split()

    def _commits(self, *arguments: str) -> list[tuple[str, str, int]]:
        text = self._git("log", "-z", "--format=%H%x09%ct%x09%s", *arguments)
        found = []
        for line in text.split("\0"):
            if line.strip():
                id, epoch, subject = line.strip("\n").split("\t", 2)
                found.append((id, subject, int(epoch)))
        return found

    def _files(self, path: Path) -> dict[str, str]:
        return source_ids(Inventory(path, **asdict(self.options)))

    def _folders(self) -> list[str]:
        return [self.options.classes_path, self.options.nodes_path]

    def _repo(self) -> git.Repo:
        if self._opened is None:
            try:
                # not at the top: it fails where git is not installed
                import git
            except ImportError:
                raise ModelError(
                    "git is not installed", cure="Install git and GitPython, or use worktree"
                ) from None
            try:
                repo = git.Repo(self.path, search_parent_directories=True)
            except (git.InvalidGitRepositoryError, git.NoSuchPathError):
                raise ModelError(
                    "the model is in no git repository",
                    where=str(self.path),
                    cure="Name the revision `worktree`, or commit the model",
                ) from None
            # a hook's environment names its own repository; quarantined objects stay visible
            repo.git.update_environment(GIT_DIR=str(Path(repo.git_dir).absolute()))
            self._opened = repo
        return self._opened

    def _prefix(self) -> str:
        """Path of the model below the top of its repository, with a slash, or empty."""
        top = self._repo().working_tree_dir
        if top is None:
            return ""
        below = os.path.relpath(os.path.realpath(self.path), os.path.realpath(top))
        return "" if below == "." else f"{below}/"

    def _git(self, command: str, *arguments: str, **options: Any) -> str:
        """Output of a git command; empty when it fails without a word (``--quiet``)."""
        repo = self._repo()
        import git

        try:
            found: str = repo.git.execute(
                ["git", command, *arguments], strip_newline_in_stdout=False, **options
            )
        except git.GitCommandError as err:
            told = [
                line for line in str(err.stderr).strip().strip("'").splitlines() if line.strip()
            ]
            if not told or ("--quiet" in arguments and "dubious" not in str(err.stderr)):
                return ""
            cure = ""
            if "dubious ownership" in str(err.stderr):
                cure = f"Run `git config --global --add safe.directory {self.path}`"
            raise ModelError(
                f"git {command} failed: {told[0].removeprefix('stderr: ').strip(chr(39)).strip()}",
                where=str(self.path),
                cure=cure,
            ) from None
        return found

    def _tree(self, id: str) -> dict[str, _Entry]:
        """Files of a commit below the model's directory, by path."""
        if id in self._listed:
            return self._listed[id]
        prefix = self._prefix()
        listed = self._git(
            "ls-tree", "-r", "-z", "--full-tree", id, "--", *([prefix] if prefix else [])
        )
        found: dict[str, _Entry] = {}
        for line in listed.split("\0"):
            if not line:
                continue
            what, path = line.split("\t", 1)
            mode, _, blob = what.split(" ")
            path = path.removeprefix(prefix)
            if any(part in ("", ".", "..", ".git") for part in path.split("/")):
                raise ModelError(
                    f"the commit holds a file that no tree may hold: {path!r}",
                    where=f"revision {id[:12]}",
                )
            found[path] = _Entry(mode, blob)
        self._listed = {id: found}
        return found

    def _folders_in(self, top: Path) -> None:
        for folder in self._folders():
            (top / folder).mkdir(parents=True, exist_ok=True)

    def _wanted(self, id: str) -> dict[str, _Entry]:
        """What classes and nodes need: themselves, and the rest where links lead to."""
        entries = self._tree(id)
        folders = self._prefixes()
        wanted = {
            path: entry
            for path, entry in entries.items()
            if path.startswith(folders) or path in _BESIDE
        }
        if any(entry.mode == _LINK for entry in wanted.values()):
            wanted = entries
        for path, entry in wanted.items():
            if entry.mode == _SUBMODULE and path.startswith(folders):
                raise ModelError(
                    "a git submodule is not part of the commit",
                    where=f"revision {id[:12]}, {path}",
                    cure="Commit its files, for example with `git subtree`",
                )
        return {path: entry for path, entry in wanted.items() if entry.mode != _SUBMODULE}

    def _prefixes(self) -> tuple[str, ...]:
        return tuple(folder.rstrip("/") + "/" for folder in self._folders())

    def _write(self, top: Path, id: str, wanted: dict[str, _Entry]) -> None:
        """Write the files of a commit."""
        folders = self._prefixes()
        contents = self._contents({entry.blob for entry in wanted.values()})
        links = {}
        made: set[str] = set()
        for path, entry in wanted.items():
            folder = posixpath.dirname(path)
            if folder not in made:
                (top / folder).mkdir(parents=True, exist_ok=True)
                made.add(folder)
            if entry.mode == _LINK:
                links[path] = contents[entry.blob].decode(errors="surrogateescape")
            else:
                with open(top / path, "xb") as stream:
                    stream.write(contents[entry.blob])
        for path, target in links.items():
            os.symlink(target, top / path)
        real = os.path.realpath(top)
        for path in links:
            # as the system sees it: a link may lead through others
            leads = os.path.realpath(top / path)
            if leads != real and not leads.startswith(f"{real}/"):
                if path.startswith(folders):
                    raise ModelError(
                        "the symbolic link leads out of the model: its commit does not say to what",
                        where=f"revision {id[:12]}, {path}",
                        cure="Commit the files it leads to",
                    )
                (top / path).unlink()

    def _contents(self, blobs: set[str]) -> dict[str, bytes]:
        """Read many objects with one process."""
        import git

        repo = self._repo()
        found: dict[str, bytes] = {}
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{blob}\n" for blob in sorted(blobs)).encode())
            asked.seek(0)
            try:
                raw: bytes = repo.git.execute(
                    ["git", "cat-file", "--batch"],
                    istream=asked,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                )
            except git.GitCommandError:
                raise ModelError("git cat-file failed", where=str(self.path)) from None
        at = 0
        while at < len(raw):
            end = raw.index(b"\n", at)
            head = raw[at:end].decode().split(" ")
            if len(head) != 3 or head[1] != "blob":
                raise ModelError(
                    f"object {head[0][:12]} is missing in the repository", where=str(self.path)
                )
            size = int(head[2])
            found[head[0]] = raw[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found
