"""What Cinder's processes tell is read, by real code from the committed lock, on SQLite."""

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
class Cinder:
    """Configuration and database of a Cinder, in a directory of the test's own."""

    home: Path
    venv: Path

    def told(self, *files: str) -> dict[str, Any]:
        """Arguments of cinder_service, with these files after the common one."""
        config = [str(self.home / name) for name in ("cinder.conf", *files)]
        return {"venv": str(self.venv), "config": config, "user": "root"}

    def backends(self, file: str, *names: str) -> None:
        sections = "".join(f"[{name}]\nbackend_host = cinder\n" for name in names)
        text = f"[DEFAULT]\nenabled_backends = {','.join(names)}\n{sections}"
        (self.home / file).write_text(text)

    def ask(self, query: str) -> None:
        with sqlite3.connect(self.home / "cinder.db") as connection:
            connection.execute(query)

    def beat(self, binary: str, host: str = HOST) -> None:
        """Leave what a process leaves."""
        self.ask(
            "INSERT INTO services (host, binary, topic, report_count, disabled, deleted,"
            f" created_at, updated_at) VALUES ('{host}', '{binary}', '{binary}', 1, 0, 0,"
            " datetime('now'), datetime('now'))"
        )


@pytest.fixture(scope="module")
def venv() -> Path:
    try:
        return cloud._environment("cinder")
    except SalternError as err:
        pytest.skip(f"no environment of cinder: {err}")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, venv: Path) -> bytes:
    """A database that Cinder's own command made."""
    home = tmp_path_factory.mktemp("filled")
    config = home / "cinder.conf"
    config.write_text(f"[database]\nconnection = sqlite:///{home}/cinder.db\n")
    argv = [venv / "bin/cinder-manage", "--config-file", config, "db", "sync"]
    subprocess.run(argv, check=True, capture_output=True)
    return (home / "cinder.db").read_bytes()


@pytest.fixture
def cinder(tmp_path: Path, venv: Path, filled: bytes) -> Cinder:
    found = Cinder(tmp_path / "cinder", venv)
    found.home.mkdir()
    (found.home / "cinder.db").write_bytes(filled)
    (found.home / "cinder.conf").write_text(
        f"[DEFAULT]\nhost = {HOST}\n[database]\nconnection = sqlite:///{found.home}/cinder.db\n"
    )
    return found


def test_a_process_is_well_as_long_as_cinder_hears_of_it(minion: Minion, cinder: Cinder) -> None:
    told = cinder.told()
    unknown = minion.call("cinder_service.up", "cinder-scheduler", **told)
    assert unknown == {"ok": False, "sentence": f"Cinder knows no cinder-scheduler on {HOST}."}
    cinder.beat("cinder-scheduler")
    up = minion.call("cinder_service.up", "cinder-scheduler", **told)
    assert up == {"ok": True, "sentence": f"cinder-scheduler on {HOST} is up."}
    cinder.ask("UPDATE services SET disabled = 1, disabled_reason = 'disk'")
    off = minion.call("cinder_service.up", "cinder-scheduler", **told)
    assert off["ok"] is True
    assert "disabled: disk" in off["sentence"]
    cinder.ask("UPDATE services SET updated_at = '2020-01-01 00:00:00'")
    down = minion.call("cinder_service.up", "cinder-scheduler", **told)
    assert down["ok"] is False
    assert "not heard" in down["sentence"]


def test_every_back_end_that_a_host_serves_is_asked_for(minion: Minion, cinder: Cinder) -> None:
    cinder.backends("cinder-volume.conf", "fast", "slow")
    told = cinder.told("cinder-volume.conf")
    cinder.beat("cinder-volume", "cinder@fast")
    half = minion.call("cinder_service.up", "cinder-volume", **told)
    assert half["ok"] is False
    assert half["sentence"] == "Cinder knows no cinder-volume on cinder@slow."
    cinder.beat("cinder-volume", "cinder@slow")
    assert minion.call("cinder_service.up", "cinder-volume", **told)["ok"] is True
    found = minion.call("cinder_service.state", "cinder-volume", **told)
    assert [one["host"] for one in found] == ["cinder@fast", "cinder@slow"]


def test_a_host_that_stands_by_is_well_and_one_without_the_role_is_not(
    minion: Minion, cinder: Cinder
) -> None:
    cinder.backends("cinder-volume.conf")
    standby = minion.call("cinder_service.up", "cinder-volume", **cinder.told("cinder-volume.conf"))
    assert standby["ok"] is True
    assert "stands by" in standby["sentence"]
    absent = minion.call("cinder_service.up", "cinder-volume", **cinder.told("missing.conf"))
    assert absent["ok"] is False
    assert "is not installed" in absent["sentence"]


def test_a_database_that_is_away_tells_no_password(minion: Minion, cinder: Cinder) -> None:
    (cinder.home / "cinder.conf").write_text(
        "[database]\nconnection = mysql+pymysql://cinder:hidden-password@localhost:1/cinder\n"
    )
    told = minion.call("cinder_service.up", "cinder-scheduler", **cinder.told())
    assert told["ok"] is False
    assert "hidden-password" not in json.dumps(told)
