"""Bundles through Salt's loader, with the real zstd and gpg: whole or refused, and never shown."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.backup.conftest import KEY, Host, Server

ROLE = "pki.ca"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files that are worth a backup."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "ca.key").write_bytes(b"the secret of all\n" * 1000)
    (folder / "ca.key").chmod(0o600)
    (folder / "large").write_bytes(os.urandom(3_000_000))
    with sqlite3.connect(folder / "journal.db") as database:
        database.execute("CREATE TABLE pins (node TEXT)")
        database.execute("INSERT INTO pins VALUES ('cfg01')")
    return folder


def take(host: Host, data: Path, role: str = ROLE) -> dict[str, Any]:
    done: dict[str, Any] = host.call(
        "backup_source.take", role, files=[str(data)], sqlite=[str(data / "journal.db")],
        programs={"facts.json": ["echo", '{"users": [1, 2]}']},
    )  # fmt: skip
    return done


def stored(server: Server, path: str) -> dict[str, Path]:
    return {one.name: one for one in (server.directory / path).iterdir()}


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(CommandExecutionError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_what_is_taken_comes_back(host: Host, server: Server, data: Path, tmp_path: Path) -> None:
    path = take(host, data)["path"]
    assert set(stored(server, path)) == {
        "manifest.json", "files.tar.zst.gpg", "journal.db.sqlite.zst.gpg", "facts.json.zst.gpg",
    }  # fmt: skip
    target = tmp_path / "restored"
    done = host.call("backup_source.restore", path, ROLE, target=str(target))
    assert done["streams"] == ["facts.json", "files.tar", "journal.db.sqlite"]
    there = Path(f"{target}{data}")
    assert (there / "ca.key").read_bytes() == (data / "ca.key").read_bytes()
    assert stat.S_IMODE((there / "ca.key").stat().st_mode) == 0o600
    assert (there / "large").read_bytes() == (data / "large").read_bytes()
    with sqlite3.connect(there / "journal.db") as database:
        assert database.execute("SELECT node FROM pins").fetchall() == [("cfg01",)]
    assert json.loads((target / "facts.json").read_text()) == {"users": [1, 2]}
    assert host.left() == []
    assert "2 users" in host.call("backup_source.verify", [path])["sentence"]
    assert host.call("backup_bundle.check", path)["streams"] == done["streams"]


def test_one_stream_can_be_read_without_salt(host: Host, server: Server, data: Path) -> None:
    """On any host, with the key and two programs."""
    file = stored(server, take(host, data)["path"])["facts.json.zst.gpg"]
    command = (
        f"gpg --homedir {host.scratch} --batch --quiet --pinentry-mode loopback"
        f" --no-autostart --passphrase-file {host.key} --decrypt {file} | zstd -d -q"
    )
    text = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    assert json.loads(text) == {"users": [1, 2]}


def test_nothing_plain_and_no_key_is_stored_or_told(host: Host, server: Server, data: Path) -> None:
    done = take(host, data)
    for file in stored(server, done["path"]).values():
        text = file.read_bytes()
        assert b"the secret of all" not in text
        assert KEY.encode() not in text
    assert KEY not in json.dumps(done)


def test_the_key_is_in_no_argument_and_no_environment(host: Host, data: Path) -> None:
    """Every process that runs meanwhile is looked at."""
    seen: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for name in os.listdir("/proc"):
                if name.isdigit() and int(name) != os.getpid():
                    for part in ("cmdline", "environ"):
                        try:
                            seen.append(Path(f"/proc/{name}/{part}").read_bytes())
                        except OSError:
                            continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        take(host, data)
    finally:
        over.set()
        thread.join()
    assert any(b"--passphrase-fd" in one for one in seen)
    assert not [one for one in seen if KEY.encode() in one]


@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_a_changed_byte_is_found_before_anything_is_written(
    host: Host, server: Server, data: Path, tmp_path: Path, where: float
) -> None:
    path = take(host, data)["path"]
    file = stored(server, path)["files.tar.zst.gpg"]
    text = bytearray(file.read_bytes())
    text[int(where * (len(text) - 1))] ^= 1
    file.write_bytes(bytes(text))
    target = tmp_path / "restored"
    told = refusal(host.call, "backup_source.restore", path, target=str(target))
    assert told == f"{path} is damaged: {file.name} is not what it was. Take another bundle."
    assert not list(target.iterdir())
    assert host.call("backup_store.check", [path]) == {path: f"{file.name} is not what it was"}


def test_what_is_cut_off_or_missing_is_found(host: Host, server: Server, data: Path) -> None:
    path = take(host, data)["path"]
    file = stored(server, path)["files.tar.zst.gpg"]
    file.write_bytes(file.read_bytes()[:-100])
    assert "is damaged" in refusal(host.call, "backup_bundle.check", path)
    file.unlink()
    assert "it has no such file" in refusal(host.call, "backup_bundle.check", path)
    assert host.call("backup_store.check", [path]) == {path: f"{file.name} is missing"}


@pytest.mark.parametrize("change", [
    {"taken": "2030-01-01T00:00:00Z"}, {"kind": "logical"}, {"host": "b.test"}, {"seal": "0" * 64},
])  # fmt: skip
def test_a_manifest_that_was_changed_is_refused(
    host: Host, server: Server, data: Path, change: dict[str, str]
) -> None:
    path = take(host, data)["path"]
    file = stored(server, path)["manifest.json"]
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    told = refusal(host.call, "backup_bundle.inspect", path)
    assert told == (f"{path} is damaged: its manifest is not what was sealed. Take another bundle.")


def test_a_bundle_put_in_the_place_of_another_is_refused(
    host: Host, server: Server, data: Path
) -> None:
    """It is whole and sealed, and not the one that was asked for."""
    first, second = take(host, data)["path"], take(host, data)["path"]
    for name, file in stored(server, first).items():
        (server.directory / second / name).write_bytes(file.read_bytes())
    assert "is damaged" in refusal(host.call, "backup_bundle.inspect", second)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "its manifest cannot be read"),
        ("[]", "its manifest cannot be read"),
        ('{"format": 2}', "is of format 2; this host reads 1"),
    ],
)
def test_what_is_no_manifest_is_refused(
    host: Host, server: Server, data: Path, text: str, said: str
) -> None:
    path = take(host, data)["path"]
    stored(server, path)["manifest.json"].write_text(text)
    assert said in refusal(host.call, "backup_bundle.inspect", path)


def test_another_cluster_is_refused(host: Host, data: Path) -> None:
    path = take(host, data)["path"]
    host.change(cluster="prod")
    assert refusal(host.call, "backup_bundle.inspect", path) == (
        f"{path} is of cluster demo, and this host is of prod. Take a bundle of its own."
    )


def test_another_key_is_refused(host: Host, data: Path) -> None:
    path = take(host, data)["path"]
    host.key.write_text("f" * 64)
    told = refusal(host.call, "backup_source.restore", path)
    assert "was encrypted with another key" in told
    assert "f" * 64 not in told


def test_another_role_or_kind_is_refused(host: Host, data: Path) -> None:
    path = take(host, data)["path"]
    told = refusal(host.call, "backup_source.restore", path, "salt.master")
    assert told == f"{path} is of pki.ca, and not of salt.master."
    told = refusal(host.call, "backup_bundle.inspect", path, kinds=["logical"])
    assert told == f"{path} is full, and not logical."
    assert "is no name of a bundle" in refusal(host.call, "backup_bundle.inspect", "../../etc")


def test_a_program_that_fails_leaves_no_bundle(host: Host, server: Server) -> None:
    """It had said something already."""
    program = ["sh", "-c", "head -c 3000000 /dev/urandom; echo it is broken >&2; exit 3"]
    told = refusal(
        host.call, "backup_source.take", "galera.server", programs={"a": ["echo"], "b": program}
    )
    assert told == "sh failed (3): it is broken"
    (folder,) = (server.directory / "galera.server/a.test").iterdir()
    assert {one.name for one in folder.iterdir()} <= {"a.zst.gpg"}
    facts = host.call("backup_store.facts")
    assert facts["bundles"] == []
    assert list(facts["unfinished"]) == [f"galera.server/a.test/{folder.name}"]


def test_a_directory_that_is_missing_is_no_empty_bundle(host: Host, server: Server) -> None:
    told = refusal(host.call, "backup_source.take", ROLE, files=["/no/such"])
    assert told == "/no/such is not there, so pki.ca has nothing to back up."
    assert not list(server.directory.glob("pki.ca"))


def test_a_full_disk_of_the_server_is_one_sentence(host: Host, server: Server, data: Path) -> None:
    if server.real:
        pytest.skip("its disk is this machine's")
    server.full.append(True)
    told = refusal(take, host, data)
    assert told.startswith(f"The backup server localhost:{server.port} refuses {ROLE}/a.test/")
    assert told.endswith(
        "it could not store it, most often as its disk is full: see backup.status."
    )
    assert host.call("backup_store.facts")["bundles"] == []


def test_a_full_disk_here_is_one_sentence(host: Host) -> None:
    told = refusal(host.call, "backup_client.room", 10**18)
    assert "GB of free space, and 1000000000.0 GB are needed" in told


def test_a_server_that_is_away_is_one_sentence(host: Host, data: Path) -> None:
    host.change(port=1)
    told = refusal(take, host, data)
    assert told.startswith("The backup server localhost:1 does not answer (Connection refused).")
    assert host.call("backup_client.healthy") == {"ok": False, "sentence": told}


def test_a_host_writes_below_its_own_name_alone(
    host: Host, make_host: Callable[..., Host], data: Path
) -> None:
    path = take(host, data, "galera.server")["path"]
    other = make_host("b.test")
    # a host with the same role reads it
    assert other.call("backup_bundle.check", path)["path"] == path
    for target in (f"galera.server/a.test/{path.split('/')[2]}/more", "pki.ca/b.test/x/more"):
        told = refusal(other.call, "backup_client.put", target, iter([b"x"]))
        assert "does not let this host do that" in told
    own = take(host, data)["path"]
    assert "does not let" in refusal(other.call, "backup_bundle.inspect", own)


def test_a_reader_reads_what_its_role_may_and_writes_nothing(
    host: Host, make_host: Callable[..., Host], data: Path
) -> None:
    mine = take(host, data, "galera.server")["path"]
    other = take(host, data)["path"]
    shadow = make_host("c.test")
    assert shadow.call("backup_bundle.check", mine)["path"] == mine
    assert "does not let" in refusal(shadow.call, "backup_bundle.check", other)
    for target in (f"{mine}/more", "galera.server/c.test/20260101T000000Z-full-1a2b/more"):
        told = refusal(shadow.call, "backup_client.put", target, iter([b"x"]))
        assert "does not let this host do that" in told


def test_nothing_is_overwritten(host: Host, data: Path) -> None:
    path = take(host, data)["path"]
    told = refusal(host.call, "backup_client.put", f"{path}/manifest.json", iter([b"x"]))
    assert told.endswith("there is one of that name already, and nothing is overwritten.")


def test_a_host_without_a_certificate_of_a_client_is_not_let_in(
    make_host: Callable[..., Host], data: Path
) -> None:
    stranger = make_host("c.test")
    assert "does not let this host do that" in refusal(take, stranger, data)


def test_the_health_check_sees_a_key_that_others_can_read(host: Host) -> None:
    assert host.call("backup_client.healthy")["ok"] is True
    host.key.chmod(0o640)
    assert host.call("backup_client.healthy")["ok"] is False
    host.key.chmod(0o600)
    host.loaded.modules.opts["backup_settings"] = "/no/such"
    try:
        told = host.call("backup_client.healthy")["sentence"]
    finally:
        host.loaded.modules.opts["backup_settings"] = str(host.loaded.folder / "client.json")
    assert told.endswith("Give it the role backup.client.")


def test_a_removed_bundle_is_gone_at_once(host: Host, server: Server, data: Path) -> None:
    path = take(host, data)["path"]
    (row,) = host.call("backup_store.facts")["bundles"]
    assert (row["path"], row["role"], row["kind"]) == (path, ROLE, "full")
    assert row["bytes"] > 3_000_000
    told = refusal(host.call, "backup_store.remove", ["../../etc/passwd"])
    assert told == "../../etc/passwd is no name of a bundle."
    assert host.call("backup_store.remove", [path])["removed"] == [path]
    assert host.call("backup_store.facts")["bundles"] == []
    assert host.call("backup_store.remove", [path])["removed"] == []


def test_a_program_reads_what_is_put_back(host: Host, data: Path, tmp_path: Path) -> None:
    path = host.call("backup_source.take", ROLE, programs={"facts.json": ["echo", '{"a": [1]}']})[
        "path"
    ]
    out = tmp_path / "out"
    into = {"facts.json": ["sh", "-c", f"cat > {out}"]}
    host.call("backup_source.restore", path, ROLE, into=into, replace=True)
    assert json.loads(out.read_text()) == {"a": [1]}
