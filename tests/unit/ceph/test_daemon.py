"""Programs and daemons of a host: one way to run, ask, start and write, for all modules of Ceph."""

from __future__ import annotations

import configparser
import json
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import ceph_daemon

pytestmark = pytest.mark.usefixtures("loaded")


def test_a_host_is_called_as_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceph_daemon, "__grains__", {"id": "mon07.example.test"}, raising=False)
    assert ceph_daemon.name() == "mon01"
    monkeypatch.setattr(ceph_daemon, "__pillar__", {}, raising=False)
    assert ceph_daemon.name() == "mon07"


# --- programs -------------------------------------------------------------------------------------


def test_a_program_gets_a_secret_on_its_standard_input() -> None:
    assert ceph_daemon.run("cat", what="Copying", body="secret") == "secret"
    assert ceph_daemon.run("cat", what="Copying") == "", "it waits for nobody"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sh", "-c", "echo first >&2; echo ' the last ' >&2; exit 3"), "^Making it: the last$"),
        (("sh", "-c", "echo on its output; exit 3"), "^Making it: on its output$"),
        (("false",), "^Making it: failed$"),
        (("/none/ceph-mon",), "^Making it: /none/ceph-mon: .*No such file"),
    ],
)
def test_a_program_that_fails_is_one_sentence(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandExecutionError, match=told):
        ceph_daemon.run(*words, what="Making it")


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(CommandExecutionError, match=r"^Waiting: sleep: .*timed out"):
        ceph_daemon.run("sleep", "3600", what="Waiting", limit=0.01)


# --- a daemon's own socket ------------------------------------------------------------------------


def answering(path: Path, answer: bytes) -> tuple[threading.Thread, list[bytes]]:
    """Be a daemon that answers one question."""
    heard: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve() -> None:
        with server, server.accept()[0] as link:
            while not heard or not heard[0].endswith(b"\0"):
                heard[:] = [b"".join(heard) + link.recv(4096)]
            link.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread, heard


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ceph_daemon, "SOCKETS", str(tmp_path / "ceph-{}.asok"))
    return tmp_path


def test_a_daemon_is_asked_without_a_quorum(sockets: Path) -> None:
    body = json.dumps({"state": "peon"}).encode()
    path = sockets / "ceph-mon.mon01.asok"
    thread, heard = answering(path, struct.pack(">I", len(body)) + body)
    assert ceph_daemon.ask("mon.mon01", "mon_status") == {"state": "peon"}
    thread.join(10)
    assert heard == [b'{"prefix": "mon_status"}\0']


@pytest.mark.parametrize("answer", [b"", b"\0\0", struct.pack(">I", 9) + b"no JSON"])
def test_half_an_answer_is_none(sockets: Path, answer: bytes) -> None:
    thread, _ = answering(sockets / "ceph-osd.3.asok", answer)
    assert ceph_daemon.ask("osd.3", "status") is None
    thread.join(10)


def test_a_daemon_that_does_not_run_says_nothing(sockets: Path) -> None:
    assert ceph_daemon.ask("osd.4", "status") is None


# --- systemd --------------------------------------------------------------------------------------


class Systemd:
    """What was asked of systemd, and what it cannot do."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.limits: list[float] = []
        self.broken = ""

    def run(self, command: tuple[str, ...], timeout: float, **more: Any) -> Any:
        assert command[0] == "systemctl"
        self.asked.append(list(command[1:]))
        self.limits.append(timeout)
        code = int(command[1] == self.broken)
        return subprocess.CompletedProcess(command, code, "", "Job failed.\n" if code else "")


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Systemd:
    made = Systemd()
    monkeypatch.setattr(ceph_daemon.subprocess, "run", made.run)
    return made


@pytest.mark.parametrize("failed_before", ["", "reset-failed"])
def test_a_daemon_starts_now_and_at_boot(systemd: Systemd, failed_before: str) -> None:
    systemd.broken = failed_before
    assert ceph_daemon.start("ceph-mon@mon01", limit=7) is True
    assert systemd.asked == [
        ["enable", "--quiet", "ceph-mon.target", "ceph-mon@mon01"],
        ["reset-failed", "ceph-mon@mon01"],
        ["start", "ceph-mon@mon01"],
    ]
    assert (systemd.limits[0], systemd.limits[2]) == (7, 7)


def test_a_daemon_stops_now_and_at_boot(systemd: Systemd) -> None:
    assert ceph_daemon.stop("ceph-osd@3") is True
    assert systemd.asked == [
        ["disable", "--quiet", "--now", "ceph-osd@3"],
        ["reset-failed", "ceph-osd@3"],
    ]


@pytest.mark.parametrize(
    ("act", "verb", "told"),
    [
        (ceph_daemon.start, "enable", "Enabling ceph-osd@3: Job failed."),
        (ceph_daemon.start, "start", "Starting ceph-osd@3: Job failed."),
        (ceph_daemon.stop, "disable", "Stopping ceph-osd@3: Job failed."),
    ],
)
def test_what_systemd_cannot_do_is_told(systemd: Systemd, act: Any, verb: str, told: str) -> None:
    systemd.broken = verb
    with pytest.raises(CommandExecutionError) as why:
        act("ceph-osd@3")
    assert str(why.value) == told
    assert systemd.asked[-1][0] == verb


# --- files ----------------------------------------------------------------------------------------


def test_a_keyring_keeps_what_caps_quote() -> None:
    caps = {"osd": "allow *", "mon": 'allow command "osd set" with key=\\x'}
    text = ceph_daemon.keyring("client.a", "K=", caps)
    assert text == (
        '[client.a]\n\tkey = K=\n\tcaps mon = "allow command \\"osd set\\" with key=\\\\x"\n'
        '\tcaps osd = "allow *"\n'
    )
    # what others read of it
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(text.replace("\t", ""))
    assert found["client.a"]["key"] == "K="
    assert ceph_daemon.keyring("mgr.mon01", "K=") == "[mgr.mon01]\n\tkey = K=\n"


def test_a_file_is_written_whole_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ceph_daemon.shutil, "chown", lambda *words: owners.append(words))
    path = tmp_path / "keyring"
    assert ceph_daemon.write(str(path), "first\n", owner="ceph") is True
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first\n", 0o600)
    assert owners == [(f"{path}.new", "ceph", "ceph")]

    def refuse(*words: Any) -> None:
        raise OSError("no such user")

    # what is there stays as it is until the new one is whole
    monkeypatch.setattr(ceph_daemon.shutil, "chown", refuse)
    with pytest.raises(OSError, match="no such user"):
        ceph_daemon.write(str(path), "second\n", owner="ceph")
    assert path.read_text() == "first\n"
    ceph_daemon.write(str(path), "third\n", mode=0o644)
    assert (path.read_text(), list(tmp_path.glob("keyring*"))) == ("third\n", [path])
