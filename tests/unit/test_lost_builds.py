"""Builds that nobody has any more: a look at two tables says whether there is one."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy

from tests.support import TREE, program

#: Seconds that a build may take.
LIMIT = 90
TABLES = {
    "api_database": "CREATE TABLE build_requests (created_at DATETIME)",
    "database": "CREATE TABLE instances (deleted INTEGER, vm_state VARCHAR(20), host VARCHAR(20),"
    " created_at DATETIME)",
}
Insert = Callable[[str, str, float], None]


@pytest.fixture(scope="module")
def builds() -> ModuleType:
    return program(TREE / "formulas/nova/files/builds.py")


@pytest.fixture
def urls(tmp_path: Path) -> dict[str, str]:
    found = {section: f"sqlite:///{tmp_path / section}" for section in TABLES}
    for section, table in TABLES.items():
        with sqlalchemy.create_engine(found[section]).begin() as connection:
            connection.execute(sqlalchemy.text(table))
    return found


@pytest.fixture
def insert(urls: dict[str, str]) -> Insert:
    def row(section: str, values: str, age: float) -> None:
        created = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        table = "build_requests" if section == "api_database" else "instances"
        with sqlalchemy.create_engine(urls[section]).begin() as connection:
            connection.execute(
                sqlalchemy.text(f"INSERT INTO {table} VALUES ({values}:created)"),
                {"created": created.replace(tzinfo=None)},
            )

    return row


def test_nothing_waits(builds: ModuleType, urls: dict[str, str]) -> None:
    assert not builds.waiting(urls, LIMIT)


@pytest.mark.parametrize(
    ("section", "values", "age", "waits"),
    [
        ("api_database", "", LIMIT + 30, True),
        ("api_database", "", LIMIT - 30, False),
        ("database", "0, 'building', NULL, ", LIMIT + 30, True),
        ("database", "0, 'building', NULL, ", LIMIT - 30, False),
        # a hypervisor has it
        ("database", "0, 'building', 'cmp01', ", LIMIT + 30, False),
        ("database", "0, 'active', NULL, ", LIMIT + 30, False),
        # Nova marks what is deleted with its number
        ("database", "7, 'building', NULL, ", LIMIT + 30, False),
    ],
)
def test_a_row_that_waits(
    builds: ModuleType,
    urls: dict[str, str],
    insert: Insert,
    section: str,
    values: str,
    age: float,
    waits: bool,
) -> None:
    insert(section, values, age)
    assert builds.waiting(urls, LIMIT) is waits


def test_a_database_that_is_not_there_is_a_fault(builds: ModuleType, tmp_path: Path) -> None:
    """It is said, and the unit fails: nobody takes it for "nothing waits"."""
    with pytest.raises(sqlalchemy.exc.OperationalError):
        builds.waiting({"database": f"sqlite:///{tmp_path / 'empty'}"}, LIMIT)
