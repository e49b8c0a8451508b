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
from saltern.adapters import rollout_notes
from saltern.adapters.journal import Journal
from saltern.adapters.rollouts import Rollouts
from saltern.errors import JournalError, LockedError
from tests.unit.adapters import test_journal as sqlite
from tests.unit.adapters import test_rollouts as rollouts

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
#: what rollouts do, whatever the database is
ROLLOUTS = [
    rollouts.test_a_plan_is_kept_once_and_found_by_the_beginning_of_its_hash,
    rollouts.test_a_new_attempt_leaves_the_old_one_in_the_history,
    rollouts.test_the_result_of_a_step_that_never_began_is_refused,
    rollouts.test_a_rollout_that_is_not_there_is_refused,
    rollouts.test_ids_count_within_a_day_and_lists_begin_with_the_latest,
    rollouts.test_what_is_over_stays_over_unless_it_is_undone,
    rollouts.test_wishes_stand_until_they_are_taken_back,
    rollouts.test_others_go_on_beside_it,
    rollouts.test_a_rollback_takes_over_the_locks_of_what_it_undoes,
    rollouts.test_unlocking_takes_claim_and_locks_but_no_lease,
    rollouts.test_a_lease_stays_until_it_was_given_back,
    rollouts.test_pins_move_and_a_commit_takes_them_off,
    rollouts.test_revisions_are_kept_forwards_and_backwards,
    rollouts.test_seconds_of_probes_come_once_and_in_order,
    rollouts.test_verdicts_and_evidence_are_kept,
    rollouts.test_durations_are_those_of_steps_in_rollouts_that_were_done,
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


@pytest.mark.parametrize("behaviour", ROLLOUTS, ids=lambda function: function.__name__[5:])
def test_rollouts_as_with_sqlite(behaviour: Callable[[Rollouts], None], url: str) -> None:
    journal = Journal(url)
    assert journal.deploy("c1", rollouts.OLD, [rollouts.A, rollouts.B], "ann", "first")
    behaviour(Rollouts(journal, now=rollouts.Clock()))


def test_what_was_noted_is_loaded_by_another_master(url: str) -> None:
    mine, other = Rollouts(Journal(url), now=rollouts.Clock()), Rollouts(Journal(url))
    rollout = mine.begin(rollouts.plan_of(rollouts.A), "ann")
    noted = mine.intent(rollout, rollouts.STEP, ["1"], rollouts.NOW)
    found = other.load(rollout)
    assert (found.plan, found.records) == (rollouts.plan_of(rollouts.A), {noted.step: noted})
    other.wish(rollout, pause=True)
    assert mine.wishes(rollout).pause


def test_of_many_masters_that_begin_together_one_does(url: str) -> None:
    Journal(url).prepare()

    def begin(_: int) -> str:
        try:
            return Rollouts(Journal(url)).begin(rollouts.plan_of(rollouts.A), "ann")
        except LockedError:
            return ""

    with ThreadPoolExecutor(6) as pool:
        assert len([found for found in pool.map(begin, range(6)) if found]) == 1


def test_a_writer_that_holds_it_is_waited_for_and_then_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Rollouts(Journal(url))
    rollout = mine.begin(rollouts.plan_of(rollouts.A), "ann")
    monkeypatch.setattr(rollout_notes, "WAIT", 0.5)
    with Journal(url).writing(), pytest.raises(JournalError, match="locked by another process"):
        mine.intent(rollout, rollouts.STEP, ["1"], rollouts.NOW)
    assert mine.load(rollout).records == {}
    assert mine.intent(rollout, rollouts.STEP, ["1"], rollouts.NOW).attempt == 1


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
