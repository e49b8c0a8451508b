"""Databases of a real MariaDB: dumped, copied, restored alone and as a whole, compared."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.backup.conftest import Host, Server

ROLE = "galera.server"
SCHEMA = """
CREATE DATABASE nova CHARACTER SET utf8mb3; CREATE DATABASE nova_api CHARACTER SET utf8mb4;
CREATE DATABASE keystone CHARACTER SET utf8mb3;
USE nova;
CREATE TABLE parents (id INT AUTO_INCREMENT PRIMARY KEY, name TEXT, data BLOB);
CREATE TABLE children (id INT PRIMARY KEY, parent INT,
  FOREIGN KEY (parent) REFERENCES parents (id));
INSERT INTO parents (name, data) VALUES ('it''s -- "one"\\n-- two', x'00ff27'), ('ü', NULL);
INSERT INTO children VALUES (1, 1), (2, 2);
CREATE TABLE nova_api.cells (id INT PRIMARY KEY); INSERT INTO nova_api.cells VALUES (7);
CREATE TABLE keystone.users (id INT PRIMARY KEY); INSERT INTO keystone.users VALUES (1);
"""


@pytest.fixture
def node(make_host: Callable[..., Host], mariadb: dict[str, str]) -> Host:
    """A host with a server that holds the databases of two services."""
    host = make_host(mariadb=mariadb)
    sql(host, SCHEMA)
    return host


@pytest.fixture
def server(server: Server) -> Server:
    """These are about the database: one server is enough."""
    if server.real:
        pytest.skip("the stand-in does")
    return server


def sql(host: Host, statement: str, **more: Any) -> list[list[str]]:
    rows: list[list[str]] = host.call("backup_mariadb.query", statement, **more)
    return rows


def names(host: Host) -> set[str]:
    own = {"information_schema", "mysql", "performance_schema", "sys"}
    return {row[0] for row in sql(host, "SHOW DATABASES")} - own


def dump(host: Host, **more: Any) -> str:
    path: str = host.call("backup_dump.take", ROLE, **more)["path"]
    return path


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(CommandExecutionError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_databases_are_restored_alone_and_the_present_ones_stay_aside(node: Host) -> None:
    path = dump(node)
    sql(node, "ALTER TABLE nova.parents DROP COLUMN data; DELETE FROM keystone.users;"
              " DROP TABLE nova.children; DELETE FROM nova_api.cells")  # fmt: skip
    done = node.call("backup_dump.restore", path, "nova,nova_api")
    assert done["databases"] == {"nova": 2, "nova_api": 1}
    assert sql(node, "SELECT HEX(data) FROM nova.parents ORDER BY id") == [["00FF27"], ["NULL"]]
    assert sql(node, "SELECT * FROM nova.children") == [["1", "1"], ["2", "2"]]
    assert sql(node, "SELECT * FROM nova_api.cells") == [["7"]]
    # all else is as it is
    assert sql(node, "SELECT * FROM keystone.users") == []
    assert names(node) == {"nova", "nova_api", "keystone", *done["before"].values()}
    assert sql(node, f"SHOW TABLES FROM {done['before']['nova']}") == [["parents"]]
    with pytest.raises(CommandExecutionError, match="foreign key"):
        sql(node, "INSERT INTO nova.children VALUES (3, 99)")
    assert node.call("backup_dump.drop", list(done["before"].values()))
    assert names(node) == {"nova", "nova_api", "keystone"}
    assert node.left() == []


def test_a_rehearsal_has_databases_of_its_own_and_is_made_anew(node: Host) -> None:
    path = dump(node)
    before = sql(node, "CHECKSUM TABLE nova.parents, nova.children")
    for _ in range(2):
        done = node.call("backup_dump.load", path, {"nova": "nova_rehearsal"})
        assert done["databases"] == {"nova_rehearsal": 2}
        copied = sql(node, "CHECKSUM TABLE nova_rehearsal.parents, nova_rehearsal.children")
        assert [row[1] for row in copied] == [row[1] for row in before]
    charset = "SELECT DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME"
    assert sql(node, f"{charset} = 'nova_rehearsal'") == [["utf8mb3"]]
    # no backup of backups
    assert set(node.call("backup_mariadb.databases")) == {"nova", "nova_api", "keystone"}


def test_an_upgrade_that_is_taken_back_is_rehearsed_in_another_server(
    node: Host, tmp_path: Path
) -> None:
    path = dump(node)
    wanted = sql(node, "CHECKSUM TABLE nova.parents, nova.children")
    held = node.call("backup_mariadb.start", str(tmp_path / "shadow"))
    try:
        other = {"socket": held["socket"]}
        node.call("backup_dump.load", path, {"nova": "nova_rehearsal"}, **other)
        assert names(node) == {"nova", "nova_api", "keystone"}
        change = "DROP TABLE nova_rehearsal.children; CREATE TABLE nova_rehearsal.more (i INT)"
        sql(node, change, **other)
        done = node.call("backup_dump.restore", path, ["nova"], suffix="_rehearsal", **other)
        assert done["databases"] == {"nova": 2}
        (before,) = done["before"].values()
        assert before.startswith("nova_rehearsal__before_")
        again = sql(node, "CHECKSUM TABLE nova_rehearsal.parents, nova_rehearsal.children", **other)
        assert [row[1] for row in again] == [row[1] for row in wanted]
        assert sql(node, f"SHOW TABLES FROM {before} LIKE 'more'", **other) == [["more"]]
        node.call("backup_dump.drop", [before], **other)
        found = {row[0] for row in sql(node, "SHOW DATABASES LIKE 'nova%'", **other)}
        assert found == {"nova_rehearsal"}
    finally:
        node.call("backup_mariadb.stop", held)
    assert sql(node, "CHECKSUM TABLE nova.parents, nova.children") == wanted
    assert node.left() == []


def test_only_copies_are_dropped_or_made_anew(node: Host) -> None:
    path = dump(node)
    assert "is nobody's copy" in refusal(node.call, "backup_dump.drop", ["nova"])
    told = refusal(node.call, "backup_dump.load", path, {"nova": "keystone"})
    assert told.startswith("There is a database keystone; only one whose name ends with _rehearsal")
    told = refusal(node.call, "backup_dump.load", path, {"nova": "x`; DROP DATABASE nova; --"})
    assert told.endswith("is no name of a database.")
    assert names(node) == {"nova", "nova_api", "keystone"}


def test_a_damaged_dump_touches_nothing(node: Host, server: Server) -> None:
    path = dump(node)
    sql(node, "DELETE FROM nova.children")
    file = server.directory / path / "nova_api.zst.gpg"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    told = refusal(node.call, "backup_dump.restore", path, ["nova", "nova_api"])
    assert told == f"{path} is damaged: nova_api.zst.gpg is not what it was. Take another bundle."
    assert sql(node, "SELECT COUNT(*) FROM nova.children") == [["0"]]
    assert names(node) == {"nova", "nova_api", "keystone"}
    assert "has no database glance" in refusal(node.call, "backup_dump.restore", path, "glance")


def test_a_dump_that_does_not_load_leaves_what_is_there(node: Host) -> None:
    """The disk is full, the server is killed: the first of two is loaded by then."""
    big = "INSERT INTO nova_api.cells VALUES " + ",".join(f"({n})" for n in range(10, 9000))
    sql(node, big)
    path = dump(node)
    sql(node, "SET GLOBAL max_allowed_packet = 1024")
    refusal(node.call, "backup_dump.restore", path, ["nova", "nova_api"])
    assert names(node) == {"nova", "nova_api", "keystone"}
    assert sql(node, "SELECT COUNT(*) FROM nova_api.cells") == [["8991"]]


def test_what_cannot_move_is_refused_before_anything_is_loaded(node: Host) -> None:
    path = dump(node)
    sql(node, "CREATE VIEW nova.everybody AS SELECT * FROM nova.parents")
    told = refusal(node.call, "backup_dump.restore", path, ["nova"])
    assert told.startswith("nova has the view everybody, which cannot change its database.")
    assert names(node) == {"nova", "nova_api", "keystone"}


def test_dumps_of_a_bundle_are_of_one_moment(node: Host) -> None:
    """Somebody writes to two databases all the time, first to the one that is dumped last."""
    sql(node, "CREATE DATABASE a_first; CREATE TABLE a_first.n (i INT PRIMARY KEY);"
              " CREATE DATABASE z_last; CREATE TABLE z_last.n (i INT PRIMARY KEY)")  # fmt: skip
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            sql(node, f"INSERT INTO a_first.n VALUES ({number})")
            sql(node, f"INSERT INTO z_last.n VALUES ({number})")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        time.sleep(0.5)
        path = dump(node)
    finally:
        over.set()
        thread.join()
    node.call("backup_dump.load", path, {"a_first": "a_rehearsal", "z_last": "z_rehearsal"})
    (first,), (last,) = (sql(node, f"SELECT MAX(i) FROM {name}_rehearsal.n") for name in ("a", "z"))
    assert int(first[0]) - int(last[0]) in (0, 1)
    assert int(first[0]) > 0
    # and writes go on
    assert int(sql(node, "SELECT MAX(i) FROM z_last.n")[0][0]) > int(last[0])


def test_writes_go_on_when_a_dump_fails(node: Host, server: Server) -> None:
    server.full.append(True)
    assert "its disk is full" in refusal(node.call, "backup_dump.take", ROLE)
    sql(node, "INSERT INTO keystone.users VALUES (2)")
    assert node.call("backup_store.facts")["bundles"] == []


def test_a_statement_that_runs_for_long_is_named(
    node: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.call("backup_mariadb.databases")
    module = node.modules["backup_mariadb.pause"].func.__globals__
    monkeypatch.setitem(module, "PAUSE", 1)
    thread = threading.Thread(
        target=lambda: sql(node, "LOCK TABLES nova.parents WRITE; DO SLEEP(6)")
    )
    thread.start()
    time.sleep(0.5)
    told = refusal(node.call, "backup_dump.take", ROLE)
    assert told.startswith("Writes cannot be held on this server: ")
    thread.join()


def test_verify_loads_dumps_again_and_compares(node: Host) -> None:
    path = dump(node)
    done = node.call("backup_dump.verify", [path])
    assert done["databases"] == {"keystone": 1, "nova": 2, "nova_api": 1}
    assert node.left() == []


def test_verify_finds_what_is_not_the_same(node: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(node)
    node.call("backup_mariadb.databases")
    module = node.modules["backup_dump.verify"].func.__globals__
    load = module["_load"]

    def changed(about: Any, databases: Any, socket: Any = None) -> Any:
        found = load(about, databases, socket)
        sql(node, "UPDATE nova.parents SET name = 'x' WHERE id = 1", socket=socket)
        return found

    monkeypatch.setitem(module, "_load", changed)
    told = refusal(node.call, "backup_dump.verify", [path])
    assert told.startswith(f"{path}: nova is another one when it is dumped again")
    assert node.left() == []


def copies(node: Host) -> list[str]:
    """Make a full bundle and two that build on it."""
    found = [node.call("backup_copy.take", ROLE)["path"]]
    for number in (2, 3):
        sql(node, f"INSERT INTO keystone.users VALUES ({number})")
        found.append(node.call("backup_copy.take", ROLE, base=found[-1])["path"])
    return found


def test_a_copy_and_what_builds_on_it_restore_every_point(
    node: Host, mariadb: dict[str, str], tmp_path: Path
) -> None:
    chain = copies(node)
    sql(node, "DROP DATABASE keystone")
    for length, users in ((1, 1), (3, 3)):
        target = tmp_path / f"data{length}"
        node.call("backup_copy.stage", chain[:length], str(target))
        held = node.call("backup_mariadb.start", str(tmp_path / f"s{length}"), str(target))
        try:
            rows = sql(node, "SELECT COUNT(*) FROM keystone.users", socket=held["socket"])
        finally:
            node.call("backup_mariadb.stop", held)
        assert rows == [[str(users)]]
    done = node.call("backup_copy.verify", chain)
    assert done["databases"] == {"keystone": 1, "nova": 2, "nova_api": 1}
    assert node.left() == []


def test_a_missing_link_is_refused(node: Host, tmp_path: Path) -> None:
    first, second, third = copies(node)
    told = refusal(node.call, "backup_copy.stage", [first, third], str(tmp_path / "data"))
    assert told == (
        f"{third.split('/')[2]} does not follow {first.split('/')[2]}: one of the incremental ones"
        " between them is missing."
    )
    told = refusal(node.call, "backup_copy.stage", [second], str(tmp_path / "data"))
    assert told == "A chain begins with a full bundle."
    assert not (tmp_path / "data").exists()


def test_nothing_is_built_on_data_that_are_others(node: Host, mariadb: dict[str, str]) -> None:
    """A transfer from another member takes the mark away with everything else."""
    path = node.call("backup_copy.take", ROLE)["path"]
    Path(mariadb["datadir"], "saltern-backup.json").unlink()
    told = refusal(node.call, "backup_copy.take", ROLE, base=path)
    assert told.startswith(f"Nothing can be built on {path}: the data of this server are not those")
    newer = node.call("backup_copy.take", ROLE)["path"]
    assert "Nothing can be built on" in refusal(node.call, "backup_copy.take", ROLE, base=path)
    assert node.call("backup_copy.take", ROLE, base=newer)["path"]


def test_a_staged_directory_takes_the_place_of_the_present_one(
    node: Host, mariadb: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a stopped member; the old data stay."""
    chain = copies(node)
    data = tmp_path / "mysql"
    shutil.copytree(mariadb["datadir"], data)
    (data / "old").write_text("x")
    node.change(mariadb={**mariadb, "datadir": str(data)})
    node.call("backup_mariadb.databases")
    module = node.modules["backup_copy.place"].func.__globals__
    monkeypatch.setitem(module, "_runs", lambda: True)
    node.call("backup_copy.stage", chain)
    assert refusal(node.call, "backup_copy.place") == ("MariaDB runs on this host. Stop it first.")
    assert "exists, as of a restore that did not end" in refusal(
        node.call, "backup_copy.stage", chain
    )
    monkeypatch.setitem(module, "_runs", lambda: False)
    uuid = "29bd12cd-e780-11f1-8e31-03d06c94439e"
    done = node.call("backup_copy.place", f"{uuid}:42")
    assert (Path(done["before"]) / "old").exists()
    assert not (data / "old").exists()
    state = (data / "grastate.dat").read_text()
    assert f"uuid:    {uuid}\nseqno:   42\nsafe_to_bootstrap: 1\n" in state
    # who joins is empty
    aside = node.call("backup_copy.put_aside")
    assert Path(aside, "grastate.dat").exists()
    assert list(data.iterdir()) == []


def test_a_manifest_says_what_a_person_wants_to_know(node: Host, server: Server) -> None:
    path = dump(node, only=["nova"])
    about = json.loads((server.directory / path / "manifest.json").read_text())
    assert about["databases"]["nova"] == {
        "charset": "utf8mb3", "collation": "utf8mb3_general_ci", "tables": 2,
    }  # fmt: skip
    assert about["exact"] is True
    assert set(about["position"]) == {"wsrep", "gtid"}
    assert {item["name"] for item in about["files"].values()} == {"nova", "accounts"}
    assert "There is no database glance" in refusal(
        node.call, "backup_dump.take", ROLE, only=["glance"]
    )
