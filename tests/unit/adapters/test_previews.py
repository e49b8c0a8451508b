"""A preview: who may have the pillar of which revision, and for how long."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from saltern.adapters.previews import FOLDER, PREFIX, SECONDS, Previews
from saltern.errors import PreflightError

REVISION = "b" * 40


def test_a_preview_holds_for_its_nodes_inside_the_block(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    with previews.granted(REVISION, ["a", "b"]) as environment:
        assert environment.startswith(PREFIX)
        assert previews.revision(environment, "a") == REVISION
        with pytest.raises(PreflightError, match="no preview is granted to node c"):
            previews.revision(environment, "c")
        (path,) = (tmp_path / FOLDER).iterdir()
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    with pytest.raises(PreflightError):
        previews.revision(environment, "a")
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_names_cannot_be_guessed_nor_lead_elsewhere(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    (tmp_path / "x.json").write_text('{"revision": "r", "nodes": ["a"], "until": 9e9}')
    with previews.granted(REVISION, ["a"]) as one, previews.granted(REVISION, ["a"]) as two:
        assert one != two
        for wrong in (PREFIX, f"{PREFIX}../x", f"{PREFIX}0", one[:-1]):
            with pytest.raises(PreflightError):
                previews.revision(wrong, "a")


def test_a_preview_ends_also_when_its_process_was_killed(tmp_path: Path) -> None:
    now = [1000.0]
    previews = Previews(tmp_path, lambda: now[0])
    block = previews.granted(REVISION, ["a"])
    environment = block.__enter__()
    (left,) = (tmp_path / FOLDER).iterdir()
    os.utime(left, (1000, 1000))
    now[0] += SECONDS + 1
    with pytest.raises(PreflightError):
        previews.revision(environment, "a")
    with previews.granted(REVISION, ["a"]):
        assert not left.exists()


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    block = Previews(tmp_path / "none").granted(REVISION, ["a"])
    with pytest.raises(PreflightError, match="the preview cannot be written"):
        block.__enter__()
