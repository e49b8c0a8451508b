"""Nova's schemas, cells and hosts follow code and model; what its processes tell is read.

With Nova's real code from the committed lock, on SQLite.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saltern.errors import SalternError
from tests.functional.openstack_services.conftest import Minion
from tests.support import TREE, cloud

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="programs run as a service's user")

QUEUE = "rabbit://nova:hidden-queue-password@mq01.example.test:5671/openstack"
BUILDS = TREE / "formulas/nova/files/builds.py"
CELL0 = "00000000-0000-0000-0000-000000000000"


@dataclass
class Nova:
    """Configuration and databases of a Nova, in a directory of the test's own."""

    home: Path
    venv: Path

    @property
    def where(self) -> dict[str, Any]:
        """Arguments of the modules and states."""
        config = [str(self.home / name) for name in ("nova.conf", "nova-control.conf")]
        cells = str(self.home / "cells.json")
        return {"venv": str(self.venv), "config": config, "cells": cells, "user": "root"}

    @property
    def told(self) -> dict[str, Any]:
        """Arguments of nova_service."""
        return {key: value for key, value in self.where.items() if key != "cells"}

    def url(self, name: str) -> str:
        return f"sqlite:///{self.home}/{name}.db"

    def want(self, **cells: dict[str, Any]) -> None:
        zero = {"database": self.url("cell0"), "transport": "none:///"}
        (self.home / "cells.json").write_text(json.dumps({"cell0": zero, **cells}))

    def ask(self, name: str, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.home / f"{name}.db") as connection:
            return connection.execute(query).fetchall()

    def change(self, name: str, query: str) -> None:
        with sqlite3.connect(self.home / f"{name}.db") as connection:
            connection.execute(query)

    def python(self, script: str) -> None:
        """Run a script in Nova's Python, after what every process of Nova does first."""
        files = self.where["config"]
        begin = (
            "from nova import config, context, objects\n"
            f"config.parse_args(['test'], default_config_files={files!r})\n"
            "objects.register_all()\nadmin = context.get_admin_context()\n"
        )
        argv = [self.venv / "bin/python", "-W", "ignore", "-c", begin + script]
        subprocess.run(argv, check=True, capture_output=True, text=True)

    def compute(self, host: str) -> None:
        """Leave what a compute leaves when it starts: its service and its node."""
        self.python(
            "from oslo_utils import timeutils, uuidutils\n"
            f"service = objects.Service(admin, host='{host}', binary='nova-compute',"
            " topic='compute', report_count=1, last_seen_up=timeutils.utcnow())\n"
            "service.create()\n"
            f"node = objects.ComputeNode(admin, host='{host}', hypervisor_hostname='{host}',"
            " service_id=service.id, vcpus=1, memory_mb=1, local_gb=1, vcpus_used=0,"
            " memory_mb_used=0, local_gb_used=0, hypervisor_type='QEMU', hypervisor_version=1,"
            " cpu_info='{}', mapped=0, uuid=uuidutils.generate_uuid())\n"
            "node.create()\n"
        )


@pytest.fixture(scope="module")
def venv() -> Path:
    try:
        return cloud._environment("nova")
    except SalternError as err:
        pytest.skip(f"no environment of nova: {err}")


def made(home: Path, venv: Path) -> Nova:
    """A Nova without databases."""
    found = Nova(home, venv)
    found.home.mkdir()
    (found.home / "nova.conf").write_text(
        f"[DEFAULT]\nhost = ctl01.example.test\nstate_path = {found.home}\n"
    )
    (found.home / "nova-control.conf").write_text(
        f"[api_database]\nconnection = {found.url('api')}\n"
        f"[database]\nconnection = {found.url('cell1')}\n"
    )
    found.want(cell1={"database": found.url("cell1"), "transport": QUEUE})
    return found


@pytest.fixture
def bare(tmp_path: Path, venv: Path) -> Nova:
    return made(tmp_path / "nova", venv)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory, venv: Path) -> Nova:
    """One whose schemas Nova's own command made; it has no cells."""
    found = made(tmp_path_factory.mktemp("migrated") / "nova", venv)
    argv = [str(venv / "bin/nova-manage")]
    for file in found.where["config"]:
        argv += ["--config-file", file]
    for words in (["api_db", "sync"], ["db", "sync", "--local_cell"]):
        subprocess.run([*argv, *words], check=True, capture_output=True)
    shutil.copy(found.home / "cell1.db", found.home / "cell0.db")
    return found


@pytest.fixture
def nova(migrated: Nova, bare: Nova) -> Nova:
    """One of the test's own, with these schemas."""
    for path in migrated.home.glob("*.db"):
        shutil.copy(path, bare.home)
    return bare


def test_cells_are_registered_once_and_follow_the_model(minion: Minion, bare: Nova) -> None:
    preview = minion.run("nova_database.registered", test=True, name="cells", **bare.where)
    assert preview["result"] is None
    wanted = ["schema of the API", "cell cell0", "schema of cell cell0", "cell cell1",
              "schema of cell cell1"]  # fmt: skip
    assert preview["changes"]["made"] == wanted
    assert minion.call("nova_database.current", **bare.where)["ok"] is False
    first = minion.run("nova_database.registered", name="cells", **bare.where)
    assert first["result"] is True, first["comment"]
    assert first["changes"]["made"] == wanted
    again = minion.run("nova_database.registered", name="cells", **bare.where)
    assert (again["result"], again["changes"]) == (True, {}), again["comment"]
    assert minion.call("nova_database.current", **bare.where)["ok"] is True
    mappings = "SELECT name, transport_url, database_connection FROM cell_mappings ORDER BY name"
    assert bare.ask("api", mappings) == [
        ("cell0", "none:///", bare.url("cell0")),
        ("cell1", QUEUE, bare.url("cell1")),
    ]
    assert bare.ask("api", f"SELECT name FROM cell_mappings WHERE uuid = '{CELL0}'") == [("cell0",)]
    assert "hidden-" not in json.dumps([preview, first, again])


def test_mappings_follow_the_model(minion: Minion, nova: Nova) -> None:
    minion.run("nova_database.registered", name="cells", **nova.where)
    # another queue and a cell more, its database with them
    moved = QUEUE.replace("hidden-queue", "hidden-other")
    nova.want(
        cell1={"database": nova.url("cell1"), "transport": moved, "disabled": True},
        cell2={"database": nova.url("cell2"), "transport": QUEUE},
    )
    assert minion.call("nova_database.current", **nova.where)["ok"] is False
    done = minion.run("nova_database.registered", name="cells", **nova.where)
    assert done["result"] is True, done["comment"]
    assert done["changes"]["made"] == [
        "message queue of cell cell1", "state of cell cell1", "cell cell2", "schema of cell cell2",
    ]  # fmt: skip
    found = nova.ask("api", "SELECT name, transport_url, disabled FROM cell_mappings ORDER BY name")
    assert found[1:] == [("cell1", moved, 1), ("cell2", QUEUE, 0)]
    assert nova.ask("cell2", "SELECT count(*) FROM instances") == [(0,)]
    # one that left the model stays, and is named
    nova.want(cell1={"database": nova.url("cell1"), "transport": moved, "disabled": True})
    kept = minion.run("nova_database.registered", name="cells", **nova.where)
    assert (kept["result"], kept["changes"]) == (True, {})
    assert "not wanted: cell2" in kept["comment"]
    for ret in (done, kept):
        assert "hidden-" not in json.dumps(ret)


def test_computes_are_registered_and_their_beat_is_told(minion: Minion, nova: Nova) -> None:
    minion.run("nova_database.registered", name="cells", **nova.where)
    unknown = minion.call("nova_service.up", "nova-compute", "cmp01.example.test", **nova.told)
    assert unknown["ok"] is False
    assert "knows no nova-compute on cmp01.example.test" in unknown["sentence"]
    nova.compute("cmp01.example.test")
    # it may have come this moment: no reason to call the databases ill
    assert minion.call("nova_database.current", **nova.where)["ok"] is True
    done = minion.run("nova_database.registered", name="cells", **nova.where)
    assert done["changes"] == {"made": ["host cmp01.example.test"]}
    assert nova.ask("api", "SELECT host FROM host_mappings") == [("cmp01.example.test",)]
    again = minion.run("nova_database.registered", name="cells", **nova.where)
    assert (again["result"], again["changes"]) == (True, {})
    up = minion.call("nova_service.up", "nova-compute", "cmp01.example.test", **nova.told)
    assert up == {"ok": True, "sentence": "nova-compute on cmp01.example.test is up."}
    change = "UPDATE services SET disabled = 1, disabled_reason = 'disk'"
    nova.ask("cell1", change)
    off = minion.call("nova_service.up", "nova-compute", "cmp01.example.test", **nova.told)
    assert off["ok"] is True
    assert "disabled: disk" in off["sentence"]
    nova.ask("cell1", "UPDATE services SET last_seen_up = '2020-01-01 00:00:00'")
    down = minion.call("nova_service.up", "nova-compute", "cmp01.example.test", **nova.told)
    assert down["ok"] is False
    assert "not heard" in down["sentence"]


def test_a_database_of_a_newer_release_is_left_alone(minion: Minion, nova: Nova) -> None:
    nova.ask("cell1", "UPDATE alembic_version SET version_num = 'fromthefuture'")
    done = minion.run("nova_database.registered", name="cells", **nova.where)
    assert done["result"] is False
    assert "fromthefuture" in done["comment"]
    assert "newer release" in done["comment"]


def test_a_database_that_is_away_tells_no_password(minion: Minion, nova: Nova) -> None:
    (nova.home / "nova-control.conf").write_text(
        "[api_database]\nconnection = mysql+pymysql://nova:hidden-password@localhost:1/nova_api\n"
    )
    done = minion.run("nova_database.registered", name="cells", **nova.where)
    assert done["result"] is False
    assert "does not answer" in done["comment"]
    health = minion.call("nova_database.current", **nova.where)
    assert health["ok"] is False
    told = minion.call("nova_service.up", "nova-compute", **nova.told)
    assert told["ok"] is False
    for sentence in (done["comment"], health["sentence"], told["sentence"]):
        assert "hidden-password" not in sentence


def lost(nova: Nova) -> tuple[str, str]:
    """Leave a server that waits for a conductor that is gone, and one half buried in cell0."""
    waiting, half = str(uuid.uuid4()), str(uuid.uuid4())
    script = Path(__file__).with_name("lost_builds.py")
    argv = [nova.venv / "bin/python", "-W", "ignore", script, waiting, half, *nova.where["config"]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-9000:]
    old = "SET created_at = '2020-01-01 00:00:00'"
    nova.change("api", f"UPDATE build_requests {old}")
    nova.change("cell0", f"UPDATE instances {old}")
    return waiting, half


def test_a_build_that_nobody_has_any_more_fails(minion: Minion, nova: Nova) -> None:
    """Its disks come from the API's database without a context, which Nova wants of them."""
    minion.run("nova_database.registered", name="cells", **nova.where)
    waiting, half = lost(nova)
    # a conductor begins with these; nothing of it is asked here
    with (nova.home / "nova-control.conf").open("a") as conf:
        conf.write("[DEFAULT]\ntransport_url = fake:/\n")
        conf.write("[placement]\nauth_type = none\nendpoint_override = http://127.0.0.1:1\n")
    argv = [str(nova.venv / "bin/python"), "-W", "ignore", str(BUILDS), "90"]
    for file in nova.where["config"]:
        argv += ["--config-file", file]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-9000:]
    assert {waiting, half} == {line.split()[1].rstrip(":") for line in done.stdout.splitlines()}
    states = "SELECT uuid, vm_state, task_state FROM instances"
    assert set(nova.ask("cell0", states)) == {(waiting, "error", None), (half, "error", None)}
    assert nova.ask("api", "SELECT count(*) FROM build_requests") == [(0,)]
    faults = "SELECT count(*) FROM instance_faults"
    assert nova.ask("cell0", faults) == [(2,)]
    again = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, "")
