"""A schema between two releases: expanded while the old one serves, contracted at the end.

The service is one of the test's own, of real alembic revisions with the branches that Keystone and
Neutron have; its environments borrow the libraries of Keystone's.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.openstack_services.conftest import Minion
from tests.functional.openstack_services.test_schema_and_bootstrap import environment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="programs run as a service's user")

MIGRATIONS = "svc/migrations"
#: revision -> (down revision, label, what it does)
OLD = {
    "start": (None, None, "CREATE TABLE thing (id INTEGER, old_name TEXT)"),
    "expand1": ("start", "expand", "CREATE TABLE kind (id INTEGER)"),
    "contract1": ("start", "contract", "CREATE INDEX one ON thing (id)"),
}
NEW = {
    **OLD,
    "expand2": ("expand1", None, "ALTER TABLE thing ADD COLUMN new_name TEXT"),
    "contract2": ("contract1", None, "ALTER TABLE thing DROP COLUMN old_name"),
}
REVISION = """
from alembic import op
revision, down_revision, branch_labels = {revision!r}, {down!r}, {labels!r}
def upgrade():
    op.execute({does!r})
"""
ENV = """
import sqlalchemy
from alembic import context
engine = sqlalchemy.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.begin() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
MANAGE = """#!{python}
import sys, sysconfig
from alembic import command, config
if sys.argv[1:] == ["data"]:
    raise SystemExit(0)
told = config.Config()
told.set_main_option("script_location", sysconfig.get_path("purelib") + "/{migrations}")
told.set_main_option("sqlalchemy.url", {url!r})
for target in sys.argv[1:]:
    command.upgrade(told, target)
"""
SYNC = [["svc-manage", "heads"]]
EXPAND = [["svc-manage", "expand@head"]]
CONTRACT = [["svc-manage", "contract@head"]]


def release(top: Path, name: str, revisions: dict[str, Any], url: str) -> Path:
    """An environment of the service, with the revisions of a release."""
    venv = top / name / "svc"
    argv = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(argv, check=True, capture_output=True)
    (site,) = (venv / "lib").glob("python*/site-packages")
    (borrowed,) = (environment("keystone") / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    versions = site / MIGRATIONS / "versions"
    versions.mkdir(parents=True)
    (site / MIGRATIONS / "env.py").write_text(ENV)
    (site / MIGRATIONS / "script.py.mako").touch()
    for revision, (down, label, does) in revisions.items():
        labels = (label,) if label else None
        text = REVISION.format(revision=revision, down=down, labels=labels, does=does)
        (versions / f"{revision}.py").write_text(text)
    manage = venv / "bin/svc-manage"
    manage.write_text(MANAGE.format(python=venv / "bin/python3", migrations=MIGRATIONS, url=url))
    manage.chmod(0o755)
    return venv


class Service:
    """The service in two releases on one database."""

    def __init__(self, top: Path, minion: Minion) -> None:
        self.minion = minion
        self.file = top / "svc.db"
        self.config = top / "svc.conf"
        url = f"sqlite:///{self.file}"
        self.config.write_text(f"[database]\nconnection = {url}\n")
        self.old = release(top / "releases", "2030.1", OLD, url)
        self._new = (top / "releases", "2031.1", NEW, url)

    def newer(self) -> Path:
        """The newer release, beside the old one."""
        return release(*self._new)

    def synced(self, venv: Path, *, test: bool = False, expand: Any = EXPAND) -> dict[str, Any]:
        return self.minion.run(
            "openstack_db.synced", test=test, name="svc", config=str(self.config),
            migrations=MIGRATIONS, commands=SYNC, expand=expand, user="root", venv=str(venv),
        )  # fmt: skip

    def call(self, verb: str, venv: Path, **more: Any) -> Any:
        where = {"config": str(self.config), "migrations": MIGRATIONS, "user": "root"}
        return self.minion.call(f"openstack_db.{verb}", **where, venv=str(venv), **more)

    def columns(self) -> set[str]:
        with sqlite3.connect(self.file) as connection:
            return {row[1] for row in connection.execute("PRAGMA table_info(thing)")}


@pytest.fixture
def svc(tmp_path: Path, minion: Minion) -> Service:
    found = Service(tmp_path, minion)
    first = found.synced(found.old)
    assert first["result"] is True, first["comment"]
    assert "migrated" in first["comment"]
    return found


def test_the_old_release_goes_on_until_the_schema_is_contracted(svc: Service) -> None:
    new = svc.newer()
    preview = svc.synced(new, test=True)
    assert preview["result"] is None
    assert svc.columns() == {"id", "old_name"}
    done = svc.synced(new)
    assert (done["result"], done["comment"]) == (True, "the schema of svc was expanded")
    assert svc.columns() == {"id", "old_name", "new_name"}
    # both releases have what they need, and neither does anything any more
    for venv in (svc.old, new):
        assert svc.call("current", venv) is True
        again = svc.synced(venv)
        assert (again["result"], again["changes"]) == (True, {}), again
    assert svc.synced(svc.old)["comment"] == f"the schema of svc was expanded by {new}"

    told = svc.call("contract", new, commands=[["svc-manage", "data"], *CONTRACT])
    assert told == "the schema was contracted to contract2, expand2"
    assert svc.columns() == {"id", "new_name"}
    assert svc.call("contract", new, commands=CONTRACT) == "the schema is that of the release"
    late = svc.synced(svc.old)
    assert late["result"] is False
    assert "took away what the code in" in late["comment"]
    with pytest.raises(CommandExecutionError, match="run that release, or restore the database"):
        svc.call("current", svc.old)


@pytest.mark.full
def test_the_old_release_contracts_nothing(svc: Service) -> None:
    new = svc.newer()
    svc.synced(new)
    with pytest.raises(CommandExecutionError, match="is older than the schema"):
        svc.call("contract", svc.old, commands=CONTRACT)
    assert svc.columns() == {"id", "old_name", "new_name"}


def test_a_release_that_is_not_here_is_not_trusted(svc: Service) -> None:
    new = svc.newer()
    svc.synced(new)
    new.rename(new.with_name("elsewhere"))
    with pytest.raises(CommandExecutionError, match="migrated by a newer release"):
        svc.call("current", svc.old)


@pytest.mark.full
def test_without_a_step_that_only_adds_the_whole_schema_is_migrated(svc: Service) -> None:
    done = svc.synced(svc.newer(), expand=())
    assert (done["result"], done["comment"]) == (True, "the schema of svc was migrated")
    assert svc.columns() == {"id", "new_name"}


@pytest.mark.full
def test_a_step_that_does_not_do_it_is_told(svc: Service) -> None:
    new = svc.newer()
    done = svc.synced(new, expand=[["svc-manage", "data"]])
    assert done["result"] is False
    assert done["comment"] == "the schema of svc still lacks contract2, expand2"
    with pytest.raises(CommandExecutionError, match="still lacks expand2"):
        svc.call("contract", new, commands=CONTRACT)
