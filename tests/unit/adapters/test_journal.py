"""The journal: what is served, since when and why; and how it fails."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from saltern.adapters import canaries, rehearsals, rollout_tables, suites
from saltern.adapters import journal as module
from saltern.adapters.journal import Journal, open_journal
from saltern.errors import JournalError, ModelError, UnknownNodeError

A, B, C = "a" * 40, "b" * 40, "worktree-0123456789ab"
WEB, DB = "web01.c1.test", "db01.c1.test"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Journal:
    """A journal with one deployed cluster."""
    built = Journal(f"sqlite:///{path}")
    assert built.deploy("c1", A, [WEB, DB], "ann", "first")
    return built


def test_a_node_follows_its_cluster_unless_it_is_pinned(journal: Journal) -> None:
    assert journal.served(WEB) == A
    assert journal.pin([WEB], B, "ann", "try b") == [WEB]
    assert (journal.served(WEB), journal.served(DB)) == (B, A)
    assert journal.deploy("c1", C, [WEB, DB], "ann", "next")
    assert (journal.served(WEB), journal.served(DB)) == (B, C)
    assert journal.unpin([WEB, DB], "ann", "done") == [WEB]
    assert journal.served(WEB) == C
    assert journal.in_use() == {C}


def test_the_same_again_changes_nothing(journal: Journal) -> None:
    assert not journal.deploy("c1", A, [DB, WEB], "bob", "again")
    assert journal.pin([WEB], B, "bob", "b") == [WEB]
    assert journal.pin([WEB], B, "bob", "b") == []
    assert [change.kind for change in journal.history()] == ["pin", "deploy"]


def test_the_first_revision_is_the_first(journal: Journal) -> None:
    assert not journal.deploy("c1", B, [WEB], "bob", "a later compile", first=True)
    assert journal.deployed() == {"c1": A}
    assert journal.deploy("c2", B, ["x.c2.test"], "bob", "a new cluster", first=True)
    assert journal.deployed() == {"c1": A, "c2": B}
    assert journal.deployed("c2") == {"c2": B}


def test_an_unknown_node_has_no_revision(journal: Journal) -> None:
    for name in ("ghost", "../c1", "", "' OR 1=1 --", "web01.c1.tes%"):
        with pytest.raises(UnknownNodeError, match="has no entry in the model"):
            journal.served(name)
    journal.deploy("c1", B, [WEB], "ann", "db01 is gone")
    with pytest.raises(UnknownNodeError):
        journal.served(DB)
    assert journal.cluster_of(DB) is None
    assert journal.members("c1") == [WEB]


def test_a_node_has_one_cluster(journal: Journal) -> None:
    journal.deploy("c2", B, [WEB], "ann", "moved")
    assert journal.served(WEB) == B
    assert journal.members("c1") == [DB]
    (joined, *_) = journal.history(node=WEB)
    assert (joined.kind, joined.before, joined.cluster) == ("join", "c1", "c2")


def test_the_history_tells_who_when_why(journal: Journal) -> None:
    before = datetime.now(timezone.utc)
    journal.pin([WEB], B, "bob", "canary")
    journal.deploy("c2", C, ["x.c2.test"], "cat", "other")
    pin = journal.history(cluster="c1")[0]
    assert (pin.kind, pin.node, pin.before, pin.after) == ("pin", WEB, "", B)
    assert (pin.by, pin.reason) == ("bob", "canary")
    assert before <= pin.at <= datetime.now(timezone.utc)
    (told,) = journal.pins("c1")
    assert (told.node, told.revision, told.cluster, told.by) == (WEB, B, "c1", "bob")
    assert journal.pins("c2") == []
    assert len(journal.history(limit=2)) == 2


def test_what_was_served_at_a_time(journal: Journal) -> None:
    moments = []

    def tick() -> None:
        time.sleep(0.002)
        moments.append(datetime.now(timezone.utc))
        time.sleep(0.002)

    tick()
    journal.pin([WEB], B, "ann", "")
    tick()
    journal.deploy("c1", C, [WEB], "ann", "")
    tick()
    journal.unpin([WEB], "ann", "")
    tick()
    assert [journal.at(when, node=WEB) for when in moments] == [A, B, B, C]
    assert [journal.at(when, node=DB) for when in moments] == [A, A, None, None]
    assert [journal.at(when, cluster="c1") for when in moments] == [A, A, C, C]
    assert journal.at(moments[0] - timedelta(days=1), cluster="c1") is None
    east = timezone(timedelta(hours=9))
    assert journal.at(moments[1].astimezone(east), node=WEB) == B


def test_files_are_for_the_master_and_its_group(journal: Journal, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_reading_creates_nothing(path: Path) -> None:
    with pytest.raises(JournalError, match=r"does not exist\. Run `saltern master prepare`"):
        Journal(f"sqlite:///{path}").served(WEB)
    assert not path.exists()
    path.parent.mkdir()
    path.touch()
    with pytest.raises(JournalError, match=r"has no tables\. Run `saltern master prepare`"):
        Journal(f"sqlite:///{path}").served(WEB)


def test_prepare_creates_once(path: Path) -> None:
    fresh = Journal(f"sqlite:///{path}")
    assert fresh.prepare()
    assert not fresh.prepare()
    assert fresh.schema() == module.SCHEMA
    assert fresh.deployed() == {}


def test_a_journal_of_another_version_is_refused(journal: Journal, path: Path) -> None:
    def stamp(number: str) -> Journal:
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("UPDATE alembic_version SET version_num = ?", (number,))
        return Journal(f"sqlite:///{path}")

    newer = stamp("0999")
    with pytest.raises(JournalError, match=r"newer Saltern \(tables 0999"):
        newer.served(WEB)
    with pytest.raises(JournalError, match="newer Saltern"):
        newer.pin([WEB], B, "ann", "")
    with pytest.raises(JournalError, match="newer Saltern"):
        newer.prepare()
    assert newer.schema() == "0999"
    older = stamp("0000")
    with pytest.raises(JournalError, match="old tables"):
        older.served(WEB)
    assert stamp(module.SCHEMA).served(WEB) == A


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"x" * 5000)
    with pytest.raises(JournalError, match="the journal cannot be used: file is not a database"):
        Journal(f"sqlite:///{path}").served(WEB)


def test_a_replaced_file_is_seen(journal: Journal, path: Path) -> None:
    assert journal.served(WEB) == A
    other = path.with_name("other.db")
    Journal(f"sqlite:///{other}").deploy("c1", B, [WEB], "ann", "restored")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    other.replace(path)
    assert journal.served(WEB) == B
    path.unlink()
    with pytest.raises(JournalError, match="does not exist"):
        journal.served(WEB)


def test_a_locked_journal_is_told_and_recovers(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY", 0.1)
    waiting = Journal(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        # a writer waits for the other one; readers never do
        with pytest.raises(JournalError, match="locked by another process"):
            waiting.pin([WEB], B, "ann", "")
        assert waiting.served(WEB) == A
        holder.execute("ROLLBACK")
    assert waiting.pin([WEB], B, "ann", "") == [WEB]


def test_nothing_is_pinned_while_it_is_at_rest(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY", 0.1)
    with journal.at_rest() as used:
        assert used == {A}
        with pytest.raises(JournalError, match="locked"):
            Journal(f"sqlite:///{path}").pin([WEB], B, "ann", "")
    assert journal.pin([WEB], B, "ann", "") == [WEB]


def test_a_guard_prevents_a_change(journal: Journal) -> None:
    def gone() -> None:
        raise ModelError("revision is gone")

    before = len(journal.history())
    with pytest.raises(ModelError):
        journal.pin([WEB], B, "ann", "", guard=gone)
    with pytest.raises(ModelError):
        journal.deploy("c1", B, [WEB], "ann", "", guard=gone)
    assert (journal.served(WEB), len(journal.history())) == (A, before)


def test_a_failed_change_leaves_nothing(journal: Journal) -> None:
    before = journal.history(node=WEB), journal.deployed(), journal.members("c1")
    with pytest.raises(JournalError):
        # the database refuses a null
        journal.deploy("c1", B, ["new.c1.test"], "ann", None)  # type: ignore[arg-type]
    assert (journal.history(node=WEB), journal.deployed(), journal.members("c1")) == before


def test_a_forked_child_uses_a_connection_of_its_own(journal: Journal) -> None:
    assert journal.served(WEB) == A
    mine = journal._mine().reader
    pid = os.fork()
    if not pid:
        code = 1
        try:
            same = journal.served(WEB) == A and journal._mine().reader is not mine
            code = 0 if same and journal.pin([WEB], B, "child", "") == [WEB] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    # the parent's connection lives on and sees the change
    assert journal.served(WEB) == B
    assert journal._mine().reader is mine


def test_threads_share_it(journal: Journal) -> None:
    def work(number: int) -> str:
        if number % 10 == 0:
            journal.pin([WEB], B if number % 20 else A, "ann", str(number))
        return journal.served(WEB)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) <= {A, B}


def test_a_look_up_costs_little(journal: Journal) -> None:
    journal.deploy("c1", B, [f"n{number}.c1.test" for number in range(2000)], "ann", "many")
    journal.served("n7.c1.test")
    begin = time.process_time()
    for _ in range(500):
        journal.served("n7.c1.test")
    # 0.03 ms on the machine it was written on
    assert (time.process_time() - begin) / 500 < 0.0003


def test_one_journal_per_address(path: Path) -> None:
    assert open_journal(f"sqlite:///{path}") is open_journal(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("journal.db", "no URL"),
        ("mysql+pymysql://saltern:hunter2@db.example.org/x", "cannot be a mysql database"),
        ("sqlite://", "without a name"),
    ],
)
def test_a_wrong_address_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(JournalError, match=sentence) as caught:
        Journal(url)
    assert "hunter2" not in str(caught.value)


def test_the_migrations_make_the_tables_of_the_code(journal: Journal, path: Path) -> None:
    assert rollout_tables.meta is canaries.meta is suites.meta is module.meta
    assert rehearsals.rehearsals.metadata is module.meta
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, module.meta) == []
    scripts = ScriptDirectory(str(Path(module.__file__).with_name("migrations")))
    assert scripts.get_heads() == [module.SCHEMA]


def test_the_tables_fit_postgresql() -> None:
    for table in module.meta.tables.values():
        assert str(CreateTable(table).compile(dialect=postgresql.dialect())).strip()
    assert "SELECT" in str(module._SERVED.compile(dialect=postgresql.dialect()))
