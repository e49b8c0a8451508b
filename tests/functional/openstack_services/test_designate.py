"""What Designate tells of its processes and pools: real code of the committed lock, on SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import uuid
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
POOL: dict[str, Any] = {
    "name": "default",
    "description": "name servers",
    "attributes": {},
    "ns_records": [{"hostname": "ns1.example.test.", "priority": 1}],
    "nameservers": [{"host": "192.0.2.53", "port": 53}],
    "also_notifies": [],
    "targets": [
        {
            "type": "bind9",
            "description": "192.0.2.53",
            "masters": [{"host": "192.0.2.1", "port": 5354}],
            "options": {"host": "192.0.2.53", "port": 53, "rndc_key_file": "/etc/x.key"},
        }
    ],
}
#: what designate-central does with a pool that `designate-manage` sends it
CENTRAL = """
import sys, yaml
import designate.conf
from designate import context, objects, storage
from designate.objects.adapters import DesignateAdapter
config, file = sys.argv[1:]
designate.conf.CONF([], project='designate', default_config_files=[config])
admin = context.DesignateContext.get_admin_context()
store = storage.get_storage()
for data in yaml.safe_load(open(file)):
    pool = store.find_pool(admin, {'name': data['name']})
    store.update_pool(admin, DesignateAdapter.parse('YAML', data, pool))
"""


@dataclass
class Designate:
    """Configuration and database of a Designate, in a directory of the test's own."""

    home: Path
    venv: Path

    @property
    def told(self) -> dict[str, Any]:
        """Arguments of the modules."""
        config = str(self.home / "designate.conf")
        return {"venv": str(self.venv), "config": config, "user": "root"}

    @property
    def pools(self) -> Path:
        return self.home / "pools.yaml"

    def beat(self, name: str, seconds: int = 1, status: str = "UP") -> None:
        """Leave what a process that was last heard of ``seconds`` ago leaves."""
        with sqlite3.connect(self.home / "designate.db") as connection:
            connection.execute(
                "INSERT INTO service_statuses (id, service_name, hostname, heartbeated_at, status,"
                f" stats, capabilities) VALUES ('{uuid.uuid4().hex}', '{name}', '{HOST}',"
                f" datetime('now', '-{seconds} seconds'), '{status}', '{{}}', '{{}}')"
            )

    def central(self) -> None:
        """Write the pools of the file, without a broker between."""
        python, config = str(self.venv / "bin/python"), self.told["config"]
        subprocess.run([python, "-W", "ignore", "-c", CENTRAL, config, self.pools], check=True)


@pytest.fixture(scope="module")
def venv() -> Path:
    try:
        return cloud._environment("designate")
    except SalternError as err:
        pytest.skip(f"no environment of designate: {err}")


@pytest.fixture
def designate(tmp_path: Path, venv: Path) -> Designate:
    text = (
        f"[DEFAULT]\nhost = {HOST}\nstate_path = {tmp_path}\n"
        f"[storage:sqlalchemy]\nconnection = sqlite:///{tmp_path}/designate.db\n"
    )
    (tmp_path / "designate.conf").write_text(text)
    made = Designate(tmp_path, venv)
    argv = [str(venv / "bin/designate-manage"), "--config-file", made.told["config"]]
    subprocess.run([*argv, "database", "sync"], check=True, capture_output=True)
    made.pools.write_text(json.dumps([POOL]))
    return made


def test_a_process_is_up_while_its_beats_come(minion: Minion, designate: Designate) -> None:
    told = minion.call("designate_service.up", "worker", HOST, **designate.told)
    assert told == {
        "ok": False,
        "sentence": f"Designate knows no designate-worker on {HOST}.",
    }
    designate.beat("worker")
    told = minion.call("designate_service.up", "worker", HOST, **designate.told)
    assert told == {"ok": True, "sentence": f"designate-worker on {HOST} is up."}
    designate.beat("mdns", seconds=600)
    told = minion.call("designate_service.up", "mdns", HOST, **designate.told)
    assert "has not heard of designate-mdns" in told["sentence"]
    designate.beat("producer", status="WARNING")
    told = minion.call("designate_service.up", "producer", HOST, **designate.told)
    assert (told["ok"], told["sentence"].endswith("is WARNING.")) == (False, True)


def test_pools_are_compared_with_what_the_database_has(
    minion: Minion, designate: Designate
) -> None:
    def compared() -> Any:
        return minion.call("designate_pool.compare", str(designate.pools), **designate.told)

    # the schema brings an empty one
    assert compared() == {"pending": ["default"], "others": []}
    designate.central()
    assert compared() == {"pending": [], "others": []}
    changed = json.loads(json.dumps(POOL))
    changed["targets"][0]["masters"].append({"host": "192.0.2.2", "port": 5354})
    designate.pools.write_text(json.dumps([changed]))
    assert compared() == {"pending": ["default"], "others": []}
    designate.central()
    assert compared() == {"pending": [], "others": []}
    designate.pools.write_text(json.dumps([{**POOL, "name": "second"}]))
    assert compared() == {"pending": ["second"], "others": ["default"]}


def test_the_schema_is_that_of_the_catalogue(minion: Minion, designate: Designate) -> None:
    found = minion.call(
        "openstack_db.status",
        designate.told["config"],
        "designate/storage/sqlalchemy/alembic",
        "root",
        venv=designate.told["venv"],
        section="storage:sqlalchemy",
    )
    assert found["code"]
    assert found["pending"] == []
