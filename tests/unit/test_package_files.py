"""Files of a package without what it depends on: unpacked as a whole, followed, left when asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import package_files as module
from saltern.states import package_files as state

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not here")

CONTROL = """\
Package: page
Version: {version}
Architecture: all
Maintainer: Example <page@example.test>
Depends: a-world-of-its-own
Description: a page
"""


class Apt:
    """A package source; dpkg-deb is the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.version, self.fails = folder, "1:1.0-1", ""

    def built(self) -> Path:
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(CONTROL.format(version=self.version))
        (tree / "usr/share/page").mkdir(parents=True)
        (tree / "usr/share/page/index.html").write_text(self.version)
        subprocess.run(["dpkg-deb", "--build", tree, self.folder / "page.deb"], check=True)
        return self.folder / "page.deb"

    def run_all(self, argv: list[str], cwd: str | None = None, **_: Any) -> dict[str, Any]:
        if argv[0] == self.fails:
            return {"retcode": 100, "stdout": "", "stderr": "E: no route"}
        if argv[:2] == ["apt-cache", "policy"]:
            held = self.version if argv[2] == "page" else "(none)"
            return {"retcode": 0, "stdout": f"{argv[2]}:\n  Candidate: {held}\n", "stderr": ""}
        if argv[0] == "apt-get":
            assert argv[-1] == f"page={self.version}"
            assert cwd
            shutil.copy(self.built(), cwd)
            return {"retcode": 0, "stdout": "", "stderr": ""}
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        return {"retcode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    found = Apt(tmp_path)
    monkeypatch.setattr(module, "__salt__", {"cmd.run_all": found.run_all}, raising=False)
    functions = {f"package_files.{name}": getattr(module, name)
                 for name in ("info", "candidate", "unpack", "remove")}  # fmt: skip
    monkeypatch.setattr(state, "__salt__", functions, raising=False)
    monkeypatch.setattr(state, "__opts__", {"test": False}, raising=False)
    return found


@pytest.fixture
def name(tmp_path: Path) -> str:
    return str(tmp_path / "files/page")


def text(name: str) -> str:
    return (Path(name) / "usr/share/page/index.html").read_text()


def test_files_are_there_and_follow_the_package(apt: Apt, name: str) -> None:
    done = state.present(name, "page")
    assert (done["result"], done["changes"]) == (True, {"page": {"old": None, "new": "1:1.0-1"}})
    assert text(name) == "1:1.0-1"
    assert state.present(name, "page")["changes"] == {}
    apt.version = "1:1.0-2"
    assert state.present(name, "page")["changes"] == {"page": {"old": "1:1.0-1", "new": "1:1.0-2"}}
    assert text(name) == "1:1.0-2"
    # nothing beside it
    assert [path.name for path in Path(name).parent.iterdir()] == ["page"]


def test_a_prediction_fetches_nothing(apt: Apt, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "__opts__", {"test": True})
    assert state.present(name, "page")["result"] is None
    assert not Path(name).exists()


@pytest.mark.parametrize("program", ["apt-cache", "apt-get", "dpkg-deb"])
def test_what_fails_leaves_what_was_there(apt: Apt, name: str, program: str) -> None:
    state.present(name, "page")
    apt.version, apt.fails = "1:1.0-2", program
    done = state.present(name, "page")
    assert (done["result"], done["changes"]) == (False, {})
    assert "no route" in done["comment"]
    assert text(name) == "1:1.0-1"


def test_a_package_that_nobody_has(apt: Apt) -> None:
    with pytest.raises(CommandExecutionError, match="no package source has novnc"):
        module.candidate("novnc")


def test_only_what_was_made_here_is_removed(apt: Apt, name: str, tmp_path: Path) -> None:
    state.present(name, "page")
    assert state.absent(name)["changes"] == {"page": {"old": "1:1.0-1", "new": None}}
    assert not Path(name).exists()
    assert state.absent(name)["changes"] == {}
    other = tmp_path / "other"
    other.mkdir()
    assert state.absent(str(other))["changes"] == {}
    assert other.is_dir()
