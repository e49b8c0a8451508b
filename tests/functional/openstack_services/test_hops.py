"""The database of one release is taken to the next by that one's own commands, and nothing is lost.

2024.1, then 2025.1, then 2026.1, with the services' real code from the committed locks, on SQLite.
Heads of alembic are compared, as a deployment does: what a service says of itself is not asked.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from saltern.artifact.catalogue import Service, services
from saltern.errors import SalternError
from tests.functional.openstack_services.conftest import Minion
from tests.support import cloud

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="programs run as a service's user"),
]

HOPS = ("2024.1", "2025.1", "2026.1")
#: hops that change the schema; the others find it as they want it
CHANGES: dict[str, set[str]] = {
    "keystone": {"2026.1"},
    "glance": set(),
    "placement": set(),
    "nova": {"2025.1"},
    "cinder": set(),
    "heat": {"2026.1"},
}
#: of a service that no cloud of the tests has
HEAT = """
[DEFAULT]
log_file = {home}/heat.log
[database]
connection = sqlite:///{home}/heat.db
"""
#: rows that a first release leaves, beside what its own commands do
ROWS = {
    "glance": (
        "INSERT INTO images (id, name, status, min_disk, min_ram, created_at, updated_at,"
        " deleted, visibility, os_hidden) VALUES ('4b1d', 'cirros', 'queued', 0, 0,"
        " '2024-05-01', '2024-05-01', 0, 'private', 0)"
    ),
    "placement": (
        "INSERT INTO resource_providers (id, uuid, name, generation, root_provider_id)"
        " VALUES (1, '4b1d', 'cmp01', 1, 1)"
    ),
    "heat": (
        "INSERT INTO service (id, engine_id, host, hostname, binary, topic, report_interval)"
        " VALUES ('4b1d', '4b1d', 'ctl01', 'ctl01', 'heat-engine', 'engine', 60)"
    ),
    "nova": "INSERT INTO key_pairs (name, user_id, deleted) VALUES ('first', '4b1d', 0)",
    "cinder": (
        "INSERT INTO volumes (id, size, status, deleted, use_quota, volume_type_id)"
        " SELECT '4b1d', 1, 'available', 0, 1, id FROM volume_types"
    ),
}


class Place:
    """A service's configuration and database, which code of several releases works on."""

    def __init__(self, name: str, home: Path, minion: Minion) -> None:
        self.name, self.home, self.minion = name, home, minion
        home.mkdir()
        for repository in ("fernet", "credential"):
            (home / repository).mkdir()
            for number in ("0", "1"):
                key = "c2FsdGVybi1mdW5jdGlvbmFsLXRlc3QtMzItYnl0ZXM="
                (home / repository / number).write_text(key)

    def service(self, release: str) -> Service:
        (found,) = services("openstack", release, [self.name])
        return found

    def environment(self, release: str) -> Path:
        try:
            return cloud._environment(self.name, release)
        except SalternError as err:
            pytest.skip(f"no environment of {self.name} {release}: {err}")

    def config(self, release: str) -> Path:
        """Write the configuration for a release's code; it stays where it is."""
        path = self.home / Path(self.service(release).check.file).name
        values = {"keystone": "http://localhost:5000/v3", "password": "not-asked-for"}
        venv = self.environment(release)
        template = {**cloud._CONFIG, "heat": HEAT}[self.name]
        text = template.format(home=self.home, venv=venv, service=self.name, **values)
        path.write_text(text)
        return path

    def run(self, release: str, commands: Iterable[tuple[str, ...]]) -> None:
        config = ["--config-file", str(self.config(release))]
        given = [[program, *config, *words] for program, *words in commands]
        self.minion.call("openstack_db.sync", given, "root", venv=str(self.environment(release)))

    def status(self, release: str) -> dict[str, list[str]]:
        database = self.service(release).database
        assert database
        found: dict[str, list[str]] = self.minion.call(
            "openstack_db.status",
            str(self.config(release)),
            database.migrations,
            "root",
            venv=str(self.environment(release)),
            section=database.section,
        )
        return found

    def rows(self) -> dict[tuple[str, str], int]:
        """Rows by file and table of every database of the service, without alembic's own."""
        found = {}
        for path in sorted(self.home.glob("*.db")):
            with sqlite3.connect(path) as connection:
                names = "SELECT name FROM sqlite_master WHERE type = 'table'"
                tables = [name for (name,) in connection.execute(names)]
                for table in tables:
                    if table != "alembic_version" and not table.startswith("sqlite_"):
                        (count,) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
                        found[path.name, table] = count
        return found

    def columns(self) -> dict[tuple[str, str], set[str]]:
        """Columns by file and table."""
        found = {}
        for file, table in self.rows():
            with sqlite3.connect(self.home / file) as connection:
                rows = connection.execute(f'PRAGMA table_info("{table}")')
                found[file, table] = {row[1] for row in rows}
        return found

    def fill(self, release: str) -> None:
        """Leave something in the database that a hop could lose."""
        if self.name == "keystone":
            password = ("--bootstrap-password", cloud.ADMIN_PASSWORD)
            self.run(release, [("keystone-manage", "bootstrap", *password)])
        else:
            with sqlite3.connect(self.home / f"{self.name}.db") as connection:
                connection.execute(ROWS[self.name])


@pytest.mark.parametrize("name", CHANGES)
def test_a_database_hops_from_release_to_release(minion: Minion, tmp_path: Path, name: str) -> None:
    place = Place(name, tmp_path / name, minion)
    database = place.service(HOPS[0]).database
    assert database
    place.run(HOPS[0], database.sync)
    place.fill(HOPS[0])
    assert place.status(HOPS[0])["pending"] == []
    for old, new in pairwise(HOPS):
        before, wanted = place.rows(), place.status(new)
        assert bool(wanted["pending"]) is (new in CHANGES[name])
        for phase in ("expand", "migrate", "contract"):
            place.run(new, place.service(new).upgrade.get(phase, ()))
        found = place.status(new)
        assert found["pending"] == []
        after = place.rows()
        lost = {key: count for key, count in before.items() if count > after.get(key, 0)}
        assert not lost
        assert any(before.values())
        if wanted["pending"]:
            # the way back is a dump, never the old code on the new schema
            with pytest.raises(CommandExecutionError, match="migrated by a newer release"):
                place.status(old)
        # the second time finds nothing to do
        for phase in ("expand", "migrate", "contract"):
            place.run(new, place.service(new).upgrade.get(phase, ()))
        assert place.status(new) == found
    # and it ends where a database that was made anew begins
    anew = Place(name, tmp_path / "anew", minion)
    anew.run(HOPS[-1], database.sync)
    assert place.columns() == anew.columns()


def test_keystone_of_2024_1_cannot_be_asked(minion: Minion, tmp_path: Path) -> None:
    """Its check compares the database with itself, so heads are what decides."""
    place = Place("keystone", tmp_path / "keystone", minion)
    config, venv = place.config("2024.1"), place.environment("2024.1")
    place.run("2024.1", [("keystone-manage", "db_sync")])
    with sqlite3.connect(place.home / "keystone.db") as connection:
        # as 2023.1 leaves it
        connection.execute("DELETE FROM alembic_version")
        heads = [("29e87d24a316",), ("e25ffa003242",)]
        connection.executemany("INSERT INTO alembic_version VALUES (?)", heads)
    asked = [venv / "bin/keystone-manage", "--config-file", config, "db_sync", "--check"]
    said = subprocess.run(asked, capture_output=True, check=False)
    assert place.status("2024.1")["pending"]
    assert said.returncode == 0, "this release can be asked after all"
