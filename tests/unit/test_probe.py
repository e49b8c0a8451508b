"""The process that measures: what it counts, how it ends, and that it tells no credentials."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from salt.exceptions import CommandExecutionError, SaltInvocationError

from saltern.modules import probe, probe_process
from tests.support.s3gateway import KEYS, Gateway
from tests.support.web import served

PASSWORD = "correct horse battery"


# --- counting ---------------------------------------------------------------------------------


def test_requests_are_counted_by_the_second_in_which_they_end() -> None:
    meter = probe_process._Meter("web")
    meter.note(10.0, 10.02, 1000.9, True)
    meter.note(10.25, 10.45, 1001.2, True)
    meter.note(10.5, 10.51, 1001.3, True)
    assert meter.take(1001) == [["web", 1000, 1, 0, 20, 0]]
    assert meter.take(1002) == [["web", 1001, 2, 0, 200, 0]]
    assert meter.take(1003) == []


def test_a_gap_lasts_from_the_first_failure_to_the_next_good_answer() -> None:
    meter = probe_process._Meter("web")
    meter.note(10.0, 10.1, 1000.1, True)
    meter.note(10.5, 10.6, 1000.6, False)
    meter.note(11.0, 11.1, 1001.1, False)
    meter.note(11.5, 11.7, 1001.7, True)
    meter.note(12.0, 12.1, 1002.1, True)
    rows = meter.take(2000)
    assert [(second, failed, gap) for _, second, _, failed, _, gap in rows] == [
        (1000, 1, 100),
        (1001, 1, 1200),
        (1002, 0, 0),
    ]


def test_a_second_that_was_given_away_is_not_counted_in_any_more() -> None:
    meter = probe_process._Meter("web")
    meter.note(10.0, 10.1, 1000.5, True)
    meter.take(1001)
    meter.note(10.2, 10.3, 1000.7, True)  # the clock was set back
    assert meter.take(1002) == [["web", 1001, 1, 0, 100, 0]]


# --- requests ---------------------------------------------------------------------------------


class Service(http.server.BaseHTTPRequestHandler):
    """A small Keystone and a small web server; tells when it was asked often enough."""

    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        if token := self.headers["X-Auth-Token"]:
            self._answer(200 if token == self.server.token else 401)  # type: ignore[attr-defined]
        else:
            self._answer(int(self.path.strip("/") or 200))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = body["auth"]["identity"]["password"]["user"]
        scope = body["auth"]["scope"]["project"]["name"]
        good = (user["name"], user["password"], scope) == ("admin", PASSWORD, "admin")
        told = json.dumps({"token": {"project": {"id": "p1"}}}).encode()
        self._answer(201 if good and self.path == "/v3/auth/tokens" else 401, told)

    def _answer(self, status: int, told: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(told)))
        if told:
            self.send_header("X-Subject-Token", self.server.token)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(told)
        self.server.asked.release()  # type: ignore[attr-defined]

    def log_message(self, *args: Any) -> None:
        """Be quiet."""


@pytest.fixture
def service() -> Iterator[http.server.HTTPServer]:
    with served(Service, asked=threading.Semaphore(0), paths=[], token="t1") as server:
        yield server


@pytest.fixture
def url(service: http.server.HTTPServer) -> str:
    return f"http://127.0.0.1:{service.server_address[1]}"


@pytest.fixture
def clouds(tmp_path: Path, url: str) -> Path:
    path = tmp_path / "clouds.yaml"
    auth = {"username": "admin", "password": PASSWORD, "project_name": "admin"}
    auth["auth_url"] = f"{url}/v3"
    path.write_text(yaml.safe_dump({"clouds": {"admin": {"auth": auth}}}))
    return path


def test_http(url: str) -> None:
    assert probe_process.once("http", f"{url}/200")["ok"] is True
    assert probe_process.once("http", f"{url}/503")["ok"] is False
    assert probe_process.once("http", f"{url}/300", options={"status": [200, 300]})["ok"] is True


def test_tcp(url: str) -> None:
    assert probe_process.once("tcp", url.removeprefix("http://"))["ok"] is True
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = probe_process.once("tcp", f"127.0.0.1:{port}")
    assert told["ok"] is False
    assert "Connection refused" in told["sentence"]


@pytest.mark.skipif(os.getuid() != 0, reason="raw sockets are root's")
def test_icmp() -> None:
    assert probe_process.once("icmp", "127.0.0.1")["ok"] is True


def test_a_token(url: str, clouds: Path) -> None:
    given = {"file": str(clouds), "cloud": "admin"}
    assert probe_process.once("token", f"{url}/v3", options=given)["ok"] is True
    clouds.write_text(clouds.read_text().replace("horse", "cow"))
    told = probe_process.once("token", f"{url}/v3", options=given)
    assert told["ok"] is False
    assert "battery" not in str(told)


def test_an_api_is_asked_with_a_token_that_is_kept(
    service: http.server.HTTPServer, url: str, clouds: Path
) -> None:
    given = {"file": str(clouds), "cloud": "admin"}
    session = probe_process._Api(f"{url}/v1/{{project}}/stacks?limit=1", 5.0, **given)
    assert [session.ask(), session.ask()] == [True, True]
    assert service.paths == ["/v1/p1/stacks?limit=1"] * 2  # type: ignore[attr-defined]
    # a keystone that knows it no more: one request has failed, the next one has another token
    service.token = "t2"  # type: ignore[attr-defined]
    assert [session.ask(), session.ask()] == [False, True]
    assert probe_process.once("api", f"{url}/any", options=given)["ok"] is True


@pytest.mark.parametrize("kind", ["api", "token"])
@pytest.mark.parametrize("change", ["file", "cloud"])
def test_without_credentials_no_token_is_measured(clouds: Path, change: str, kind: str) -> None:
    given = {"file": str(clouds), "cloud": "admin", change: "/none"}
    with pytest.raises(CommandExecutionError, match="no token can be had on this host"):
        probe_process.checked([{"name": "t", "kind": kind, "target": "u", "options": given}])


@pytest.mark.parametrize(
    "given",
    [None, {}, {"name": "x", "kind": "smtp", "target": "y"}, {"kind": "tcp", "target": "y"}],
)
def test_a_malformed_probe_is_refused(given: Any) -> None:
    with pytest.raises(SaltInvocationError, match="a probe has a name, a target and a kind"):
        probe_process.checked([given])


# --- the process ------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where measurement ``mine`` of this host is; it ends with the test."""
    opts = {"root_dir": str(tmp_path), "id": "cfg01"}
    monkeypatch.setattr(probe, "__opts__", opts, raising=False)
    functions = {"probe_process.checked": probe_process.checked}
    monkeypatch.setattr(probe, "__salt__", functions, raising=False)
    monkeypatch.setattr(probe, "_SYSTEMD", str(tmp_path / "none"))
    yield tmp_path / "var/lib/saltern/probes/cfg01/mine"
    probe.stop("mine")


def pid(folder: Path) -> int:
    return int((folder / "lock").read_text())


def test_a_measurement_runs_by_itself(
    folder: Path, service: http.server.HTTPServer, url: str, clouds: Path
) -> None:
    given = [
        {"name": "web", "kind": "http", "target": url, "interval": 0.01, "options": {"title": "W"}},
        {"name": "bad", "kind": "http", "target": f"{url}/500", "interval": 0.01},
        {
            "name": "token",
            "kind": "token",
            "target": f"{url}/v3",
            "interval": 0.01,
            "options": {"file": str(clouds)},
        },
    ]
    assert probe.start("mine", given) == {"running": True, "started": True}
    process = pid(folder)
    assert os.getsid(process) != os.getsid(0), "it has a session of its own"
    assert probe.start("mine", given) == {"running": True, "started": False}
    assert pid(folder) == process
    for _ in range(30):
        assert service.asked.acquire(timeout=30)  # type: ignore[attr-defined]
    told = probe.stop("mine")
    assert told["running"] is False
    sums = {name: [0, 0] for name in ("web", "bad", "token")}
    for row in told["rows"]:
        assert set(row) == {"probe", "second", "requests", "failed", "max_ms", "gap_ms"}
        sums[row["probe"]][0] += row["requests"]
        sums[row["probe"]][1] += row["failed"]
    assert sum(requests for requests, _ in sums.values()) >= 27  # some are still under way
    assert sums["web"][1] == sums["token"][1] == 0
    assert sums["bad"][1] == sums["bad"][0] > 0
    last = max(row["second"] for row in told["rows"])
    assert probe.read("mine", since=last) == {"running": False, "rows": []}
    for path in folder.iterdir():
        assert PASSWORD not in path.read_text()
        assert folder.stat().st_mode & 0o777 == 0o700


def test_other_probes_take_the_place_of_the_first(folder: Path, url: str) -> None:
    given = {"name": "web", "kind": "http", "target": url}
    probe.start("mine", [given])
    first = pid(folder)
    assert probe.start("mine", [{**given, "target": f"{url}/200"}])["started"] is True
    assert pid(folder) != first


def test_a_process_that_was_killed_is_known_to_run_no_more(folder: Path, url: str) -> None:
    given = [{"name": "web", "kind": "http", "target": url}]
    probe.start("mine", given)
    first = pid(folder)
    os.kill(first, signal.SIGKILL)
    assert probe._wait(str(folder), False)
    assert probe.read("mine")["running"] is False
    assert probe.start("mine", given)["started"] is True
    assert pid(folder) != first


def test_a_measurement_that_nobody_reads_ends(folder: Path, url: str) -> None:
    probe.start("mine", [{"name": "web", "kind": "http", "target": url}], ttl=1)
    assert probe._wait(str(folder), False)


def test_a_measurement_that_does_not_exist(folder: Path) -> None:
    assert probe.read("mine") == probe.stop("mine") == {"running": False, "rows": []}
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x y"])
def test_a_name_is_no_path(folder: Path, name: str) -> None:
    with pytest.raises(SaltInvocationError, match="is no name of a measurement"):
        probe.read(name)


def test_one_reading_gives_whole_seconds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    rows = [[name, second, 4, 0, 9, 0] for second in range(100) for name in "abc"]
    (folder / "rows").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '["a", 100, ')
    monkeypatch.setattr(probe, "_MOST", 10)
    seen: list[int] = []
    while found := probe.read("mine", since=seen[-1] if seen else -1)["rows"]:
        assert len(found) == 12 or found[-1]["second"] == 99
        seen += [row["second"] for row in found]
    assert seen == [row[1] for row in rows]


def test_what_was_measured_long_ago_is_removed(folder: Path, url: str) -> None:
    old = folder.parent / "old"
    old.mkdir(parents=True)
    (old / "read").touch()
    os.utime(old / "read", (1, 1))
    new = folder.parent / "new"
    new.mkdir()
    (new / "read").touch()
    probe.start("mine", [{"name": "web", "kind": "http", "target": url}])
    assert not old.exists()
    assert new.exists()


# --- sessions -----------------------------------------------------------------------------------


def test_the_process_keeps_a_session_and_removes_what_it_wrote(
    folder: Path, tmp_path: Path
) -> None:
    objects: dict[str, bytes] = {}
    count = threading.Semaphore(0)

    class Asked(list[Any]):
        def append(self, one: Any) -> None:
            count.release()

    with served(Gateway, objects=objects, asked=Asked(), status=0) as server:
        file = tmp_path / "s3.json"
        endpoints = [f"http://127.0.0.1:{server.server_address[1]}"]
        told = {"endpoints": endpoints, "access_key": KEYS[0], "secret_key": KEYS[1]}
        file.write_text(json.dumps(told))
        options = {"file": str(file), "title": "S3"}
        given = {"name": "s3", "kind": "s3", "target": "probe", "options": options, "interval": 0.0}
        probe.start("mine", [given])
        assert all(count.acquire(timeout=30) for _ in range(300))
        rows = probe.stop("mine")["rows"]
    assert sum(row["failed"] for row in rows) == 0
    assert sum(row["requests"] for row in rows) > 80
    assert [path for path in objects if path != "/probe"] == []
    assert KEYS[1] not in "".join(path.read_text() for path in folder.iterdir())


def test_a_request_that_is_stuck_at_the_end_has_failed() -> None:
    meter = probe_process._Meter("rbd")
    thread = threading.Thread(target=lambda: None)
    thread.start()
    meter.begun = 0.0
    probe_process._finish([thread], [meter])
    ((name, _, requests, failed, _, gap),) = meter.take(2**40)
    assert (name, requests, failed, gap > 0) == ("rbd", 1, 1, True)
    probe_process._finish([thread], [probe_process._Meter("idle")])
