"""What Heat's engines tell is read, by real code from the committed lock, on SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saltern.errors import SalternError
from tests.functional.openstack_services.conftest import Minion
from tests.support import cloud

pytestmark = [
    # an environment more is too much for the short run
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="programs run as a service's user"),
]

HOST = "ctl01.example.test"


@dataclass
class Heat:
    """Configuration and database of a Heat, in a directory of the test's own."""

    home: Path
    venv: Path

    @property
    def told(self) -> dict[str, Any]:
        """Arguments of heat_service."""
        return {"venv": str(self.venv), "config": str(self.home / "heat.conf"), "user": "root"}

    def ask(self, query: str) -> None:
        with sqlite3.connect(self.home / "heat.db") as connection:
            connection.execute(query)

    def beat(self, name: str) -> None:
        """Leave what a process of the engine leaves."""
        self.ask(
            "INSERT INTO service (id, engine_id, host, hostname, binary, topic, report_interval,"
            f" created_at, updated_at) VALUES ('{name}', '{name}', '{HOST}', '{HOST}',"
            " 'heat-engine', 'engine', 60, datetime('now'), datetime('now'))"
        )


@pytest.fixture(scope="module")
def venv() -> Path:
    try:
        return cloud._environment("heat")
    except SalternError as err:
        pytest.skip(f"no environment of heat: {err}")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, venv: Path) -> bytes:
    """A database that Heat's own command made."""
    home = tmp_path_factory.mktemp("filled")
    config = home / "heat.conf"
    config.write_text(f"[database]\nconnection = sqlite:///{home}/heat.db\n")
    argv = [venv / "bin/heat-manage", "--config-file", config, "db_sync"]
    subprocess.run(argv, check=True, capture_output=True)
    return (home / "heat.db").read_bytes()


@pytest.fixture
def heat(tmp_path: Path, venv: Path, filled: bytes) -> Heat:
    found = Heat(tmp_path / "heat", venv)
    found.home.mkdir()
    (found.home / "heat.db").write_bytes(filled)
    (found.home / "heat.conf").write_text(
        f"[DEFAULT]\nhost = {HOST}\n[database]\nconnection = sqlite:///{found.home}/heat.db\n"
    )
    return found


def test_an_engine_is_well_as_long_as_heat_hears_of_it(minion: Minion, heat: Heat) -> None:
    unknown = minion.call("heat_service.up", **heat.told)
    assert unknown == {"ok": False, "sentence": f"Heat knows no heat-engine on {HOST}."}
    heat.beat("first")
    heat.beat("second")
    up = minion.call("heat_service.up", **heat.told)
    assert up == {"ok": True, "sentence": f"heat-engine on {HOST} is up: 2 processes."}
    heat.ask("UPDATE service SET updated_at = '2020-01-01 00:00:00' WHERE id = 'first'")
    assert minion.call("heat_service.state", **heat.told) == {"host": HOST, "known": 2, "up": 1}
    heat.ask("UPDATE service SET updated_at = '2020-01-01 00:00:00'")
    down = minion.call("heat_service.up", **heat.told)
    assert down["ok"] is False
    assert "not heard" in down["sentence"]


def test_a_database_that_is_away_tells_no_password(minion: Minion, heat: Heat) -> None:
    (heat.home / "heat.conf").write_text(
        "[database]\nconnection = mysql+pymysql://heat:hidden-password@localhost:1/heat\n"
    )
    told = minion.call("heat_service.up", **heat.told)
    assert told["ok"] is False
    assert "hidden-password" not in json.dumps(told)
