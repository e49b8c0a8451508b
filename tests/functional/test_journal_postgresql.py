"""The journal in a real PostgreSQL, as several masters share it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from saltern.adapters import journal as module
from saltern.adapters.journal import Journal
from saltern.errors import JournalError
from tests.unit.adapters import test_journal as sqlite

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
BEHAVIOURS = [
    sqlite.test_a_node_follows_its_cluster_unless_it_is_pinned,
    sqlite.test_the_same_again_changes_nothing,
    sqlite.test_the_first_revision_is_the_first,
    sqlite.test_an_unknown_node_has_no_revision,
    sqlite.test_a_node_has_one_cluster,
    sqlite.test_the_history_tells_who_when_why,
    sqlite.test_what_was_served_at_a_time,
    sqlite.test_a_failed_change_leaves_nothing,
    sqlite.test_a_forked_child_uses_a_connection_of_its_own,
    sqlite.test_threads_share_it,
]


def why_not() -> str:
    """Why there can be no server here, empty when there can."""
    if not BINARIES:
        return "PostgreSQL is not installed"
    try:
        import psycopg
    except ImportError:
        return "psycopg is not installed"
    del psycopg
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "there is no user postgres, and root may not run a server"
    return ""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server that listens on a socket in a directory of its own."""
    if reason := why_not():
        pytest.skip(reason)
    own: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="saltern-pg-"))
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        own = {"user": entry.pw_uid, "group": entry.pw_gid}
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    data, binaries = folder / "data", BINARIES[-1]
    init = [binaries / "initdb", "-D", data, "-U", "saltern", "-A", "trust", "--no-sync"]
    subprocess.run(init, check=True, capture_output=True, cwd=folder, **own)
    start = [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="]
    url = f"postgresql+psycopg://saltern@/postgres?host={folder}"
    with subprocess.Popen(
        start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **own
    ) as process:
        try:
            wait(url)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            shutil.rmtree(folder)


def wait(url: str) -> None:
    """Return when the server answers."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(300):
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            time.sleep(0.1)
    pytest.fail("PostgreSQL did not start")


@pytest.fixture
def url(server: str) -> str:
    """A database without tables."""
    with sa.create_engine(server, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return server


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda function: function.__name__[5:])
def test_as_with_sqlite(behaviour: Callable[[Journal], None], url: str) -> None:
    journal = Journal(url)
    assert journal.deploy("c1", sqlite.A, [sqlite.WEB, sqlite.DB], "ann", "first")
    behaviour(journal)


def test_masters_that_start_together_make_the_tables_once(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: Journal(url).prepare(), range(6)))
    assert any(done)
    assert Journal(url).schema() == module.SCHEMA
    assert Journal(url).deployed() == {}


def test_a_database_without_tables_is_refused(url: str) -> None:
    with pytest.raises(JournalError, match="has no tables"):
        Journal(url).served(sqlite.WEB)


def test_a_server_that_is_away_is_told_without_password(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    away = Journal(f"postgresql+psycopg://saltern:hunter2@/postgres?host={tmp_path}")
    with pytest.raises(JournalError, match="the journal cannot be used") as caught:
        away.served(sqlite.WEB)
    assert "hunter2" not in str(caught.value)


def test_a_connection_that_broke_is_made_anew(url: str) -> None:
    journal = Journal(url)
    journal.deploy("c1", sqlite.A, [sqlite.WEB], "ann", "first")
    assert journal.served(sqlite.WEB) == sqlite.A
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
    with pytest.raises(JournalError):
        journal.served(sqlite.WEB)
    assert journal.served(sqlite.WEB) == sqlite.A
