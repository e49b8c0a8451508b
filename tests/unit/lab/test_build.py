"""What images, repositories and wheels are made of, and where packages come from."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from saltern.errors import LabError, PreflightError
from saltern.lab import aptsources, image, recipe, repo, wheel

TREE = Path(__file__).resolve().parents[3]
TARGETS = [
    "http://mirror.example.test/debian|bookworm|main|Debian",
    "http://mirror.example.test/debian|bookworm|contrib|Debian",
    "http://mirror.example.test/debian|bookworm-updates|main|Debian",
    "http://security.example.test/debian|bookworm-security|main|Debian-Security",
    "https://tools.example.test/apt|cloud-bookworm|main|Tools",
    "https://tools.example.test/apt|bookworm|main|Tools",
]


def test_sources_come_from_the_machine_base_first_and_no_third_party() -> None:
    found = [source.line() for source in aptsources.derive(TARGETS, "bookworm", "bookworm")]
    assert found == [
        "deb http://mirror.example.test/debian bookworm main contrib",
        "deb http://security.example.test/debian bookworm-security main",
        "deb http://mirror.example.test/debian bookworm-updates main",
    ]


def test_another_suite_is_looked_for_at_the_same_sites() -> None:
    found = aptsources.derive(TARGETS, "bookworm", "trixie")
    releases = [source.release for source in found]
    assert releases == ["trixie", "trixie-security", "trixie-updates"]


def test_an_option_replaces_the_machine() -> None:
    found = aptsources.derive([], "", "trixie", "http://proxy.example.test/debian/")
    assert [source.line() for source in found] == [
        "deb http://proxy.example.test/debian trixie main"
    ]


def test_a_machine_of_another_distribution_is_told_the_option() -> None:
    targets = ["http://mirror.example.test/ubuntu|noble|main|Ubuntu"]
    with pytest.raises(PreflightError, match="Set SALTERN_APT_MIRROR"):
        aptsources.derive(targets, "noble", "bookworm")


def test_code_name_of_this_machine() -> None:
    assert aptsources.own_codename('NAME="x"\nVERSION_CODENAME=bookworm\n') == "bookworm"
    assert aptsources.own_codename("NAME=x\n") == ""


def test_file_names_of_a_download() -> None:
    text = (
        "'http://mirror.example.test/a_1.deb' a_1%3a2_amd64.deb 100 SHA256:00\n"
        "'http://mirror.example.test/b.deb' b_1_all.deb 5 MD5Sum:00\n"
        "Reading package lists...\n"
        "'http://mirror.example.test/b.deb' b_1_all.deb 5 MD5Sum:00\n"
    )
    assert repo.file_names(text) == ["a_1%3a2_amd64.deb", "b_1_all.deb"]


def test_an_unknown_image_names_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"no image 'potato'; known are bookworm, trixie"):
        recipe.packages("potato")


@pytest.mark.parametrize("suite", image.SUITES)
def test_every_suite_has_its_lists(suite: str) -> None:
    lists = recipe.packages(suite)
    assert {"image", "server", "build", "repository"} <= set(lists)
    assert "python3-apt" in lists["image"]


def test_an_image_is_named_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.image_ident("bookworm")
    assert before == image.image_ident("bookworm")
    original = recipe.packages

    def more(suite: str) -> dict[str, object]:
        lists = dict(original(suite))
        return lists | {"image": [*lists["image"], "vim"]}

    monkeypatch.setattr(recipe, "packages", more)
    assert image.image_ident("bookworm") != before


def test_a_repository_changes_with_its_list_and_its_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = image.Image("bookworm", "bookworm-1", Path("/nowhere"))
    first = repo.repo_ident(base)
    other = image.Image("bookworm", "bookworm-2", Path("/nowhere"))
    assert repo.repo_ident(other) != first
    original = recipe.packages
    monkeypatch.setattr(
        recipe, "packages", lambda suite: dict(original(suite)) | {"repository": {"a": ["b"]}}
    )
    assert repo.repo_ident(base) != first


def test_the_lock_has_every_requirement_of_a_master() -> None:
    """Otherwise the wheel could not be installed on a host without a route out."""
    config = configparser.ConfigParser()
    config.read(TREE / "setup.cfg")
    wanted = config["options"]["install_requires"]
    wanted += config["options.extras_require"]["master"]
    names = {
        re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0].lower()
        for line in wanted.splitlines()
        if line.strip() and not line.strip().startswith("#")
    }
    lines = recipe.lock_lines(recipe.data("requirements.lock"))
    locked = {line.split("==")[0].lower() for line in lines}
    assert names <= locked, "lock again, see saltern/lab/data/requirements.in"
    assert all("==" in line and "--hash" not in line for line in lines)


def test_the_lock_has_a_hash_for_every_version() -> None:
    lock = recipe.data("requirements.lock")
    for block in re.split(r"\n(?=\S)", lock.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_wheel_changes_with_its_sources(tmp_path: Path) -> None:
    (tmp_path / "saltern").mkdir()
    (tmp_path / "setup.cfg").write_text("[metadata]\n")
    source = tmp_path / "saltern" / "x.py"
    source.write_text("a = 1\n")
    first = wheel.source_ident(tmp_path)
    (tmp_path / "saltern" / "__pycache__").mkdir()
    (tmp_path / "saltern" / "__pycache__" / "x.pyc").write_text("x")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x.md").write_text("x")
    assert wheel.source_ident(tmp_path) == first
    source.write_text("a = 2\n")
    assert wheel.source_ident(tmp_path) != first
