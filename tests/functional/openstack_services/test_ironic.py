"""What Ironic tells of its conductors: real code of the committed lock, on SQLite."""

from __future__ import annotations

import json
import os
import subprocess
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
#: what a conductor does when it begins, and when it ends
BEGIN = """
import sys
from ironic.common import service
service.prepare_command(['ironic-conductor', '--config-file', sys.argv[1]])
from ironic.db import api
database = api.get_instance()
if sys.argv[2] == 'end':
    database.unregister_conductor(sys.argv[3])
else:
    made = database.register_conductor({'hostname': sys.argv[3], 'drivers': []})
    database.register_conductor_hardware_interfaces(made.id, [{
        'hardware_type': 'redfish', 'interface_type': 'power', 'interface_name': 'redfish',
        'default': True}])
"""


@pytest.fixture(scope="module")
def venv() -> Path:
    try:
        return cloud._environment("ironic")
    except SalternError as err:
        pytest.skip(f"no environment of ironic: {err}")


@pytest.fixture
def config(tmp_path: Path, venv: Path) -> Path:
    """Configuration of an Ironic with an empty database."""
    file = tmp_path / "ironic.conf"
    file.write_text(
        f"[DEFAULT]\nhost = {HOST}\n[database]\nconnection = sqlite:///{tmp_path}/ironic.db\n"
    )
    # its migrations know no SQLite
    argv = [str(venv / "bin/ironic-dbsync"), "--config-file", str(file), "create_schema"]
    subprocess.run(argv, check=True, capture_output=True)
    return file


def test_a_conductor_is_up_with_its_drivers(minion: Minion, config: Path, venv: Path) -> None:
    told = {"venv": str(venv), "config": str(config), "user": "root"}

    def up(*drivers: str) -> dict[str, Any]:
        found: dict[str, Any] = minion.call("ironic_service.up", list(drivers), **told)
        return found

    def conductor(what: str) -> None:
        python = str(venv / "bin/python")
        argv = [python, "-W", "ignore", "-c", BEGIN, str(config), what, HOST]
        subprocess.run(argv, check=True, capture_output=True)

    assert up() == {"ok": False, "sentence": f"Ironic knows no ironic-conductor on {HOST}."}
    conductor("begin")
    assert up("redfish") == {
        "ok": True,
        "sentence": f"ironic-conductor on {HOST} is up with redfish.",
    }
    assert up("redfish", "ipmi")["sentence"] == f"ironic-conductor on {HOST} is up without ipmi."
    conductor("end")
    assert "not heard of" in up()["sentence"]


def test_a_database_that_is_away_tells_no_password(
    minion: Minion, config: Path, venv: Path
) -> None:
    config.write_text("[database]\nconnection = mysql+pymysql://i:hidden-password@localhost:1/i\n")
    told = minion.call("ironic_service.up", venv=str(venv), config=str(config), user="root")
    assert told["ok"] is False
    assert "hidden-password" not in json.dumps(told)
