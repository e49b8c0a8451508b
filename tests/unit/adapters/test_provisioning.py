"""Hosts are started from images by whoever is configured, and their minions must answer."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saltern.adapters import provisioning
from saltern.errors import LabError, PreflightError
from saltern.rollout import keeping
from saltern.rollout.ports import Return

MON, OSD = "mon01.example.test", "osd01.example.test"


class Clock:
    """Time that passes while one sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Bus:
    """Minions that answer from the n-th question on.

    :param after: node -> how many questions are lost
    """

    def __init__(self, after: Mapping[str, int] | None = None) -> None:
        self.left = dict(after or {})
        self.asked: list[tuple[str, ...]] = []

    def call(self, nodes: Sequence[str], fun: str, **_: Any) -> dict[str, Return]:
        assert fun == "test.ping"
        self.asked.append(tuple(nodes))
        found = {}
        for node in nodes:
            silent = self.left.get(node, 0) > 0
            self.left[node] = self.left.get(node, 0) - 1
            found[node] = Return(node, not silent, silent=silent)
        return found


class Driver:
    """Answers as told; remembers what was asked."""

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: dict[str, tuple[str, tuple[str, ...]]] = {}

    def reimage(self, node: str, image: str, keep: Sequence[str]) -> dict[str, Any]:
        self.asked[node] = (image, tuple(keep))
        answer = self.answers.get(node, {"changed": True, "comment": "started."})
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def hosts(self) -> dict[str, Any]:
        return self.answers


def run(driver: Driver, bus: Bus, nodes: Sequence[str] = (MON, OSD), limit: float = 60) -> Any:
    keep = dict.fromkeys(nodes, ("/srv/data",))
    hosts = provisioning.reimage(driver, bus, Clock(), "trixie", keep, limit)  # type: ignore[arg-type]
    return provisioning.to_ret(hosts)


def test_hosts_are_started_and_their_minions_waited_for() -> None:
    driver, bus = Driver(), Bus({OSD: 3})
    found = run(driver, bus)
    assert found["result"] is True
    assert found["comment"] == f"Started from the image: {MON}, {OSD}."
    assert driver.asked == {MON: ("trixie", ("/srv/data",)), OSD: ("trixie", ("/srv/data",))}
    assert bus.asked == [(MON, OSD), (OSD,), (OSD,), (OSD,)]
    assert {node["changed"] for node in found["nodes"].values()} == {True}


def test_a_host_that_is_as_it_should_be_is_no_change() -> None:
    found = run(Driver({MON: {"changed": False, "comment": "is there."}}), Bus(), [MON])
    assert (found["result"], found["comment"]) == (True, "Every host runs on the image already.")


def test_a_silent_minion_is_a_failure_after_a_while() -> None:
    found = run(Driver(), Bus({OSD: 1000}))
    assert found["result"] is False
    assert "Its minion did not answer within 60 s." in found["comment"]
    assert [found["nodes"][node]["result"] for node in (MON, OSD)] == [True, False]


def test_a_host_that_fails_leaves_the_others() -> None:
    found = run(Driver({MON: LabError("no disk")}), Bus())
    assert found["result"] is False
    assert found["comment"] == f"{MON}: no disk."
    assert [found["nodes"][node]["result"] for node in (MON, OSD)] == [False, True]


def test_status_says_who_is_elsewhere() -> None:
    driver = Driver({MON: {"image": "trixie"}, OSD: {"image": "bookworm", "unfinished": "trixie"}})
    assert provisioning.status(driver)["comment"] == f"{OSD} is on its way to image trixie."
    found = provisioning.status(driver, "bookworm", [MON, "no.such"])
    assert found["comment"] == f"{MON} runs on image trixie; no.such is unknown."
    assert provisioning.status(driver, "trixie", [MON])["result"] is True


# --- who does it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "nobody is named who starts hosts from images"),
        ({"socket": "/a", "command": ["/b"]}, "exactly one of socket and command"),
        ({"url": "x"}, "exactly one of socket and command"),
        ({"socket": "relative"}, "it needs an absolute path"),
        ({"command": []}, "it needs an absolute path"),
        ({"command": ["provision", "--now"]}, "it needs an absolute path"),
        ({"command": ["/b", 1]}, "it needs an absolute path"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PreflightError, match=sentence) as told:
        provisioning.driver(settings)
    assert "saltern:provision" in str(told.value)


PROGRAM = """
import json, sys
asked = json.load(sys.stdin)
if asked["action"] == "status":
    print(json.dumps({"hosts": {"mon01.example.test": {"image": "x", "state": "up"}}}))
elif asked["image"] == "broken":
    print("first line", file=sys.stderr); print("no such image", file=sys.stderr); sys.exit(3)
elif asked["image"] == "chatty":
    print("done!")
else:
    print(json.dumps({"changed": True, "comment": json.dumps(asked, sort_keys=True)}))
"""


@pytest.fixture
def program() -> provisioning.Driver:
    return provisioning.driver({"command": [sys.executable, "-c", PROGRAM]})


def test_a_program_gets_and_gives_json(program: provisioning.Driver) -> None:
    told = program.reimage(MON, "trixie", ["/srv/data"])
    asked = json.loads(told["comment"])
    assert asked == {"action": "reimage", "node": MON, "image": "trixie", "keep": ["/srv/data"]}
    assert program.hosts() == {MON: {"image": "x", "state": "up"}}


@pytest.mark.parametrize(
    ("image", "sentence"),
    [("broken", "exit code 3: no such image"), ("chatty", "its answer is not JSON")],
)
def test_a_program_that_fails(program: provisioning.Driver, image: str, sentence: str) -> None:
    with pytest.raises(LabError, match=sentence):
        program.reimage(MON, image, [])


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(LabError, match="it cannot be run: No such file"):
        provisioning.driver({"command": "/no/such/program"}).hosts()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = body["image"] == "trixie"
        answer = {"changed": True, "comment": "ok."} if good else {"comment": "no such image."}
        self.send_response(200 if good else 400)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    server = socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield str(tmp_path / "s")
    server.shutdown()
    server.server_close()


def test_the_lab_is_asked_over_a_unix_socket(path: str) -> None:
    driver = provisioning.driver({"socket": path})
    assert driver.reimage(MON, "trixie", [])["comment"] == "ok."
    with pytest.raises(LabError, match=r"^no such image"):
        driver.reimage(MON, "sid", [])


def test_a_provisioner_that_is_not_there(tmp_path: Path) -> None:
    driver = provisioning.driver({"socket": str(tmp_path / "none")})
    with pytest.raises(LabError, match=r"the provisioner does not answer.*saltern lab up"):
        driver.hosts()


# --- what is asked -----------------------------------------------------------------------------


def model(lifecycle: Mapping[str, Any]) -> Any:
    node = SimpleNamespace(lifecycle=lifecycle, applications=list(lifecycle))
    return lambda: SimpleNamespace(nodes=lambda cluster: {MON: node})


def test_what_is_kept_comes_from_the_roles() -> None:
    source = model({"ceph.mon": {"stateful": True, "keep": ["/var/lib/ceph"]}})
    found = provisioning.kept(source, "x", [MON], None)
    assert found == {MON: keeping.of_node(["/var/lib/ceph"])}
    given = provisioning.kept(source, "x", [MON], {MON: ["/srv/x"]})
    assert given == {MON: keeping.of_node(["/srv/x"])}


def test_nothing_is_lost_because_a_role_forgot_to_say() -> None:
    source = model({"galera.server": {"stateful": True}})
    with pytest.raises(PreflightError, match=r"galera\.server keeps data .* does not say where"):
        provisioning.kept(source, "x", [MON], None)


@pytest.mark.parametrize("keep", [["/srv"], {OSD: []}, {MON: "/srv/data"}, {MON: ["/usr/x"]}])
def test_a_wrong_keep_is_refused(keep: Any) -> None:
    with pytest.raises(PreflightError):
        provisioning.kept(model({}), "x", [MON], keep)


def test_nodes_and_image_are_named() -> None:
    assert provisioning.named(f"{MON}, {OSD},{MON}", "trixie") == [MON, OSD]
    for nodes, image in (([], "trixie"), ("", "trixie"), (None, "trixie"), ([MON], "../x")):
        with pytest.raises(PreflightError):
            provisioning.named(nodes, image)
