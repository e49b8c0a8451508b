"""A schema is migrated when it must be, the cloud is bootstrapped once, nothing tells a password.

With the services' real code from the committed locks, on SQLite.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.artifact.catalogue import Service, services
from saltern.errors import SalternError
from tests.functional.openstack_services.conftest import Minion
from tests.support import cloud

MakeMinion = Callable[[dict[str, Any]], Minion]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="programs run as a service's user")

PASSWORD = "first-password-of-admin"
WHERE = "keystone:server:bootstrap:password"


def environment(service: str) -> Path:
    try:
        return cloud._environment(service)
    except SalternError as err:
        pytest.skip(f"no environment of {service}: {err}")


def found(name: str) -> Service:
    (service,) = services("openstack", cloud.RELEASE, [name])
    return service


def configure(service: str, home: Path) -> Path:
    """Write a configuration with an empty database and keys; return its path."""
    home.mkdir()
    for name in ("fernet", "credential"):
        (home / name).mkdir()
        for number in ("0", "1"):
            key = "c2FsdGVybi1mdW5jdGlvbmFsLXRlc3QtMzItYnl0ZXM="
            (home / name / number).write_text(key)
    path = home / Path(found(service).check.file).name
    values = {"keystone": "http://localhost:5000/v3", "password": PASSWORD}
    text = cloud._CONFIG[service]
    path.write_text(text.format(home=home, venv=environment(service), service=service, **values))
    return path


def arguments(service: str, config: Path) -> dict[str, Any]:
    database = found(service).database
    commands = [
        [program, "--config-file", str(config), *words] for program, *words in database.sync
    ]
    return {
        "name": service,
        "config": str(config),
        "migrations": database.migrations,
        "section": database.section,
        "commands": commands,
        "user": "root",
        "venv": str(environment(service)),
    }


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a Keystone whose schema was migrated by its own command."""
    config = configure("keystone", tmp_path_factory.mktemp("migrated") / "keystone")
    program = [environment("keystone") / "bin/keystone-manage", "--config-file", config]
    subprocess.run([*program, "db_sync"], check=True, capture_output=True)
    return config


@pytest.fixture
def keystone(migrated: Path, tmp_path: Path) -> Path:
    """Configuration of a Keystone of the test's own, with that schema."""
    config = configure("keystone", tmp_path / "keystone")
    shutil.copy(migrated.parent / "keystone.db", config.parent / "keystone.db")
    return config


@pytest.mark.parametrize("service", ["keystone", "glance", "placement"])
def test_a_schema_is_migrated_once(minion: Minion, tmp_path: Path, service: str) -> None:
    given = arguments(service, configure(service, tmp_path / service))
    preview = minion.run("openstack_db.synced", test=True, **given)
    assert preview["result"] is None
    assert preview["changes"]["heads"]["old"] == []
    first = minion.run("openstack_db.synced", **given)
    assert first["result"] is True, first["comment"]
    assert first["changes"]["heads"]["new"]
    again = minion.run("openstack_db.synced", **{**given, "commands": [["no-such-program"]]})
    assert (again["result"], again["changes"]) == (True, {})
    where = {key: given[key] for key in ("config", "migrations", "section", "user", "venv")}
    assert minion.call("openstack_db.current", **where) is True
    database = tmp_path / service / f"{service}.db"
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('fromthefuture')")
    ahead = minion.run("openstack_db.synced", **given)
    assert ahead["result"] is False
    assert "fromthefuture" in ahead["comment"]
    assert "newer release" in ahead["comment"]


def test_a_missing_branch_is_seen(minion: Minion, keystone: Path) -> None:
    """Keystone has two heads; one of them alone is not the schema of the code."""
    given = arguments("keystone", keystone)
    where = {key: given[key] for key in ("config", "migrations", "section", "user", "venv")}
    heads = minion.call("openstack_db.status", **where)["code"]
    assert len(heads) == 2
    with sqlite3.connect(keystone.parent / "keystone.db") as connection:
        connection.execute("DELETE FROM alembic_version WHERE version_num = ?", heads[:1])
    assert minion.call("openstack_db.status", **where)["pending"] == heads[:1]
    assert minion.call("openstack_db.current", **where) is False


def test_a_command_that_fails_tells_no_password(minion: Minion, tmp_path: Path) -> None:
    config = configure("keystone", tmp_path / "keystone")
    text = config.read_text().replace(
        f"sqlite:///{tmp_path}/keystone/keystone.db",
        "mysql+pymysql://keystone:hidden-password-%25x@localhost:1/keystone",
    )
    config.write_text(text)
    given = arguments("keystone", config)
    done = minion.run("openstack_db.synced", **given)
    assert done["result"] is False
    assert "does not answer" in done["comment"]
    with pytest.raises(CommandExecutionError) as caught:
        # it quotes its connection when it cannot read it
        minion.call("openstack_db.sync", given["commands"], "root", venv=given["venv"])
    for sentence in (done["comment"], str(caught.value)):
        assert "hidden-password" not in sentence


def node(make_minion: MakeMinion, password: str) -> Minion:
    return make_minion({"keystone": {"server": {"bootstrap": {"password": password}}}})


def test_the_cloud_is_bootstrapped_once(make_minion: MakeMinion, keystone: Path) -> None:
    minion = node(make_minion, PASSWORD)
    url = dict.fromkeys(("public", "internal", "admin"), "http://localhost:5000/v3")
    given = {
        "name": "admin",
        "config": str(keystone),
        "password_pillar": WHERE,
        "region": "RegionOne",
        "url": url,
        "user": "root",
        "venv": str(environment("keystone")),
    }
    preview = minion.run("keystone_bootstrap.done", test=True, **given)
    assert preview["result"] is None
    assert "user admin" in preview["changes"]["made"]
    first = minion.run("keystone_bootstrap.done", **given)
    assert first["result"] is True, first["comment"]
    assert first["changes"] == preview["changes"]
    again = minion.run("keystone_bootstrap.done", **given)
    assert (again["result"], again["changes"]) == (True, {})
    with sqlite3.connect(keystone.parent / "keystone.db") as connection:
        assert connection.execute("SELECT count(*) FROM password").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM endpoint").fetchone() == (3,)
    # a new password in the model is set
    changed = node(make_minion, "second-password-of-admin")
    done = changed.run("keystone_bootstrap.done", **given)
    assert done["changes"] == {"made": ["password of admin"]}
    assert changed.run("keystone_bootstrap.done", **given)["changes"] == {}
    for ret in (first, again, done):
        assert "password-of-admin" not in json.dumps(ret)


def test_without_a_password_nothing_is_done(make_minion: MakeMinion, tmp_path: Path) -> None:
    config = configure("keystone", tmp_path / "keystone")
    done = make_minion({}).run(
        "keystone_bootstrap.done",
        name="admin",
        config=str(config),
        password_pillar=WHERE,
        region="RegionOne",
        url={},
        user="root",
        venv=str(environment("keystone")),
    )
    assert done["result"] is False
    assert done["comment"] == f"the pillar has no password at {WHERE}"
