"""Which of the master's plugins a host has, in one hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from saltern.modules import plugins
from saltern.rollout.facts import fingerprint


def test_a_host_and_its_master_come_to_the_same_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "__opts__", {"extension_modules": str(tmp_path)}, raising=False)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/health.py").write_text("one")
    names = ["states/artifact.py", "modules/health.py"]
    one = hashlib.sha256(b"one").hexdigest()
    served = [("modules/health.py", one), ("states/artifact.py", "missing")]
    assert plugins.digest(names) == plugins.digest(names[::-1]) == fingerprint(served)
    (tmp_path / "modules/health.py").write_text("two")
    assert plugins.digest(names) != fingerprint(served)
    # what the host has beside them is no matter
    (tmp_path / "modules/health.py").write_text("one")
    (tmp_path / "modules/more.py").write_text("more")
    assert plugins.digest(names) == fingerprint(served)
