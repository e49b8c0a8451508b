"""The health check of a Galera member: right about every state, and quick when the server hangs."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pymysql
import pytest

from tests.support import TREE, program

#: Seconds between two looks; the last one is recent, however busy this machine is.
HOUR = 3600.0
#: Seconds that anything here may take on it.
PATIENCE = 60.0

SERVING = {
    "wsrep_cluster_status": "Primary",
    "wsrep_ready": "ON",
    "wsrep_local_state": "4",
    "wsrep_local_state_comment": "Synced",
}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    return program(TREE / "formulas/galera/files/clustercheck.py")


@pytest.mark.parametrize(
    ("status", "donor_serves", "good", "reason"),
    [
        (SERVING, False, True, "Synced"),
        ({**SERVING, "wsrep_local_state": "2"}, True, True, "Synced"),
        ({**SERVING, "wsrep_local_state": "2"}, False, False, "Synced"),
        ({**SERVING, "wsrep_local_state": "1"}, True, False, "Synced"),
        ({**SERVING, "wsrep_local_state": "3"}, True, False, "Synced"),
        ({**SERVING, "wsrep_cluster_status": "non-Primary"}, True, False, "component is non-"),
        ({**SERVING, "wsrep_cluster_status": "Disconnected"}, True, False, "component is Disc"),
        ({**SERVING, "wsrep_ready": "OFF"}, True, False, "not ready"),
        ({}, True, False, "unknown"),
    ],
)
def test_the_verdict(
    check: ModuleType, status: dict[str, str], donor_serves: bool, good: bool, reason: str
) -> None:
    verdict, text = check.verdict(status, donor_serves)
    assert verdict is good
    assert reason in text


@pytest.fixture
def hung_server(tmp_path: Path) -> Iterator[Path]:
    """A unix socket that accepts connections and never says a word."""
    path = tmp_path / "mysqld.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(16)
        yield path


def serve(check: ModuleType, watch: Any) -> Iterator[str]:
    server = check.Server(("127.0.0.1", 0), watch)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(url: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()


def test_a_hung_server_is_given_up(check: ModuleType, hung_server: Path) -> None:
    watch = check.Watch("nobody", str(hung_server), HOUR, True)
    watch.look()
    good, reason = watch.now()
    assert good is False
    assert "no answer from the server" in reason


def test_a_request_does_not_wait_for_a_look(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hangs = threading.Event(), threading.Event()

    def connect(**_: Any) -> None:
        asked.set()
        hangs.wait()
        raise pymysql.err.OperationalError(2013, "Lost connection")

    monkeypatch.setattr(check.pymysql, "connect", connect)
    watch = check.Watch("nobody", "/nowhere", HOUR, True)
    look = threading.Thread(target=watch.look)
    look.start()
    try:
        assert asked.wait(PATIENCE)
        for url in serve(check, watch):
            assert get(url)[0] == 503
            assert look.is_alive()
    finally:
        hangs.set()
        look.join()


def test_a_server_that_is_gone(check: ModuleType, tmp_path: Path) -> None:
    watch = check.Watch("nobody", str(tmp_path / "none.sock"), 0.2, True)
    watch.look()
    good, reason = watch.now()
    assert good is False
    assert "no answer from the server" in reason


def test_a_good_look_gets_too_old(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = check.Watch("nobody", "/nowhere", 1, True)
    watch.last, watch.seen = (True, "Synced"), time.monotonic()
    assert watch.now() == (True, "Synced")
    now = time.monotonic() + watch.too_old + 1
    monkeypatch.setattr(check.time, "monotonic", lambda: now)
    good, reason = watch.now()
    assert good is False
    assert "has not answered for" in reason


class Answers:
    """A connection whose status can be set, or that fails."""

    def __init__(self) -> None:
        self.status: dict[str, str] = dict(SERVING)
        self.closed = False

    def cursor(self) -> Answers:
        return self

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, statement: str) -> None:
        assert statement == "SHOW GLOBAL STATUS LIKE 'wsrep_%'"
        if not self.status:
            raise pymysql.err.OperationalError(2013, "Lost connection; secret text")

    def fetchall(self) -> list[tuple[str, str]]:
        return list(self.status.items())

    def _force_close(self) -> None:
        self.closed = True


def test_what_it_answers_over_http(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, opened = Answers(), []

    def connect(**options: Any) -> Answers:
        opened.append(options)
        return connection

    monkeypatch.setattr(check.pymysql, "connect", connect)
    watch = check.Watch("clustercheck", "/run/mysqld/mysqld.sock", HOUR, True)
    for url in serve(check, watch):
        assert get(url)[0] == 503
        watch.look()
        assert get(url) == (200, "Synced\n")
        assert get(url, "HEAD") == (200, "")
        assert get(url, "OPTIONS")[0] == 200
        assert get(url + "any/path") == (200, "Synced\n")
        watch.look()
        assert len(opened) == 1  # one connection is kept
        assert "password" not in opened[0]
        connection.status = {}
        watch.look()
        status, body = get(url)
        assert (status, body) == (503, "no answer from the server (OperationalError 2013)\n")
        assert connection.closed
        connection.status = dict(SERVING)
        watch.look()
        assert get(url) == (200, "Synced\n")
