"""What the documentation promises is there: codes, changelog fragments, links, own words."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import saltern
from saltern.errors import SalternError
from tests.support import TREE

CODES = TREE / "docs/reference/codes.md"
FRAGMENT = re.compile(r"^(\d+|\+[\w-]+)\.(added|changed|fixed|removed|security)\.md$")
PAGES = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]


def error_classes() -> set[type[SalternError]]:
    """Every subclass of SalternError in the library (adapters too, they may add some)."""
    skipped = ("saltern.tree", "saltern.modules", "saltern.states", "saltern.runners")
    for found in pkgutil.walk_packages(saltern.__path__, "saltern."):
        if not found.name.startswith(skipped):
            importlib.import_module(found.name)
    classes, todo = set(), [SalternError]
    while todo:
        cls = todo.pop()
        classes.add(cls)
        todo.extend(cls.__subclasses__())
    return classes


def test_every_code_has_a_heading_with_its_cure() -> None:
    headings = re.findall(r"^## `([\w.-]+)`", CODES.read_text(), re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == {cls.code for cls in error_classes()}


def test_changelog_fragments_have_a_known_name() -> None:
    names = [p.name for p in (TREE / "changelog").iterdir() if not p.name.startswith(".")]
    assert names
    assert not [name for name in names if not FRAGMENT.match(name)]


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as the usual Markdown renderers build them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TREE)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in slugs(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_in_the_index() -> None:
    index = TREE / "docs/index.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for link in re.findall(r"\]\(([^)\s]+)\)", index.read_text())
    }
    assert not {page for page in PAGES[1:] if page != index} - linked


def test_readme_names_commands_that_exist() -> None:
    readme = (TREE / "README.md").read_text()
    targets = set(re.findall(r"^([\w-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"^\s*make ([\w-]+)", readme, re.MULTILINE))
    assert {"deploy", "test"} <= used <= targets


def test_ci_runs_what_the_readme_says() -> None:
    script = (TREE / ".ci/run").read_text()
    assert re.search(r"exec make test$", script, re.MULTILINE)


def test_the_tree_speaks_of_itself_alone() -> None:
    """Registries are the machine's own setting: none is baked in."""
    pattern = r"deb\.debian\.org|security\.debian\.org|pypi\.org|files\.pythonhosted\.org"
    run = subprocess.run(
        ["git", "grep", "-nIE", pattern, "--", ".", ":!*.lock", ":!tests/unit/test_docs.py"],
        cwd=TREE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout == ""
