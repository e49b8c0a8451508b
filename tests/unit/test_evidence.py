"""What a host keeps of its services before something is undone, and what leaves it."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from saltern.modules import evidence
from saltern.rollout import facts
from saltern.rollout.returns import judge, silent
from tests.unit.rollout.fakes import FakeNode


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with one service whose log holds a secret."""

    def run(*command: str) -> bytes:
        if command[0] == "journalctl":
            assert command[-2:] == ("-u", "web")
            return b"password=hunter2\n"
        return b"ActiveState=failed\nSubState=failed\nNRestarts=3\n"

    monkeypatch.setattr(evidence, "_run", run)
    monkeypatch.setattr(evidence, "FOLDER", str(tmp_path / "evidence"))
    monkeypatch.setattr(evidence, "CURRENT", str(tmp_path / "current"))
    (tmp_path / "current").mkdir()
    (tmp_path / "release").mkdir()
    (tmp_path / "current/web").symlink_to(tmp_path / "release")
    (tmp_path / "etc/web").mkdir(parents=True)
    (tmp_path / "etc/web/web.conf").write_text("token=hunter2\n")
    walk = evidence.os.walk
    monkeypatch.setattr(
        evidence.os,
        "walk",
        lambda top: walk(str(tmp_path) + top) if top == "/etc/web" else walk(top),
    )
    return tmp_path


def test_logs_stay_on_the_host_and_hashes_leave_it(host: Path) -> None:
    found = evidence.collect("r1-1", ["web"], ["web"])
    log = Path(found["units"]["web"]["log"])
    assert log.read_text() == "password=hunter2\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert found["units"]["web"]["ActiveState"] == "failed"
    digest = hashlib.sha256(b"token=hunter2\n").hexdigest()
    assert found["files"] == {str(host / "etc/web/web.conf"): digest}
    assert found["releases"] == {"web": str(host / "release")}
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("name", ["../x", "", "-u", "a b", "a/b"])
def test_what_is_no_name_is_refused(host: Path, name: str) -> None:
    for arguments in ((name,), ("r1", [name]), ("r1", [], [name])):
        with pytest.raises(SaltInvocationError):
            evidence.collect(*arguments)
    assert not (host / "evidence").exists()


def test_what_cannot_be_kept_is_said(host: Path) -> None:
    (host / "evidence").write_text("no directory")
    with pytest.raises(CommandExecutionError, match="cannot be kept"):
        evidence.collect("r1", ["web"])


def test_who_is_asked_what() -> None:
    lifecycle: dict[str, Any] = {
        "web.server": {"health": [{"unit": "web"}, {"port": 80}, {"unit": "web-cache"}]},
        "web.keys": {"health": []},
        "db.server": {"health": [{"unit": "db"}]},
    }
    node = FakeNode(("web.keys", "web.server", "db.server"), lifecycle)
    assert facts.evidence(node, ["web.server", "web.keys", "x.y"]) == (
        ["web", "web-cache"],
        ["web"],
    )


def test_what_is_written_down(host: Path) -> None:
    text = facts.evidence_text(judge("n", evidence.collect("r1-1", ["web"], ["web"]), 0))
    assert text.splitlines()[0] == "web: failed (failed) since never"
    assert "hunter2" not in text
    assert f"log in {host}/evidence/r1-1/web.log" in text
    assert facts.evidence_text(silent("n", "did not answer")) == "not kept: n: did not answer."
    assert facts.evidence_text(judge("n", "text", 0)).startswith("not kept")


def test_it_is_kept_below_the_root_of_the_minion(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "FOLDER", "/var/lib/saltern/evidence")
    monkeypatch.setattr(evidence, "__opts__", {"root_dir": str(tmp_path / "top")}, raising=False)
    log = Path(evidence.collect("r1", units=["web"])["units"]["web"]["log"])
    assert log == tmp_path / "top/var/lib/saltern/evidence/r1/web.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
