"""Times as people write them, and the model as it was then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from saltern.cli import cli
from saltern.errors import ModelError
from saltern.model import when
from tests.support.commits import commit
from tests.unit.model.conftest import files

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-22 12:00:00Z"),
        ("yesterday", "2026-11-21 12:00:00Z"),
        ("2026-11-20", "2026-11-20 00:00:00Z"),
        ("2026-11-20T10:30", "2026-11-20 10:30:00Z"),
        ("2026-11-20 10:30:15", "2026-11-20 10:30:15Z"),
        ("2026-11-20T10:30:15.25Z", "2026-11-20 10:30:15Z"),
        ("2026-11-20T10:30+01:00", "2026-11-20 09:30:00Z"),
        ("2026-11-20T10:30:00-0530", "2026-11-20 16:00:00Z"),
        ("@1795000000", "2026-11-18 11:06:40Z"),
        ("2 hours ago", "2026-11-22 10:00:00Z"),
        ("1 hour ago", "2026-11-22 11:00:00Z"),
        ("90m ago", "2026-11-22 10:30:00Z"),
        ("3 Days ago", "2026-11-19 12:00:00Z"),
        ("1w ago", "2026-11-15 12:00:00Z"),
        ("30s ago", "2026-11-22 11:59:30Z"),
        ("5 min ago", "2026-11-22 11:55:00Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert when.show(when.parse(text, NOW)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "noon", "2 months ago", "2026-13-01", "2026-11-20T25:00", "20.11.2026", "@x",
     "2026-11-20T10:30 CET", "9999999999999999 weeks ago", "last year", "2 hours"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ModelError, match=r"is no point in time.*UTC without a zone"):
        when.parse(text, NOW)


def test_the_future_is_not_known() -> None:
    with pytest.raises(ModelError, match="2026-11-22 13:00:00Z is in the future"):
        when.parse("2026-11-22T13:00Z", NOW)


@pytest.fixture
def repo(tree: Callable[[dict[str, Any]], Path]) -> Path:
    """Two commits, one and three hours old."""
    content = files()
    top = tree(content)
    commit(top, "port 80", datetime.now(timezone.utc) - timedelta(hours=3))
    path = top / "classes/service/web/server.yml"
    path.write_text(path.read_text().replace("port: 80", "port: 81"))
    commit(top, "port 81", datetime.now(timezone.utc) - timedelta(hours=1))
    return top


def run(repo: Path, *arguments: str) -> Result:
    store = str(repo.parent / "store")
    return CliRunner().invoke(cli, ["model", "at", *arguments, "-i", str(repo), "--store", store])


def test_the_commit_that_was_current(repo: Path) -> None:
    assert "port 80" in run(repo, "2 hours ago").output
    assert "port 81" in run(repo, "now").output
    first = run(repo, "2 hours ago").output.splitlines()
    assert first[0].startswith("at ")
    assert first[0].endswith("Z")


def test_a_node_as_it_was(repo: Path) -> None:
    before = yaml.safe_load(run(repo, "2 hours ago", "web01.c1.test").output)
    after = yaml.safe_load(run(repo, "now", "web01.c1.test").output)
    assert before["web"]["server"]["port"] == 80
    assert after["web"]["server"]["port"] == 81
    assert before["__reclass__"]["nodename"] == "web01.c1.test"
    assert "PGP" not in str(before)


def test_before_the_first_commit(repo: Path) -> None:
    found = run(repo, "1 week ago")
    assert isinstance(found.exception, ModelError)
    assert "no commit that old" in str(found.exception)
