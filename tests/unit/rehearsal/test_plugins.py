"""What runs on the shadow: the room without a way out, configurations, answers of checks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import (
    backup_client,
    openstack_upgrade,
    rehearsal,
    rehearsal_api,
    rehearsal_room,
    rehearsal_service,
)
from saltern.rehearsal import services
from tests.unit.rehearsal.test_decisions import fleet

TABLE = """
+--------------------------------------------------------+
| Upgrade Check Results                                  |
+--------------------------------------------------------+
| Check: Cells v2                                        |
| Result: Success                                        |
| Details: None                                          |
+--------------------------------------------------------+
| Check: Older than N-1 computes                         |
| Result: Failure                                        |
| Details: Current Nova version does not support         |
|   computes older than Caracal: 66                      |
+--------------------------------------------------------+
"""


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A namespace of its own."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("a network namespace needs root and iproute2")
    name = f"saltern-test-{os.getpid()}"
    monkeypatch.setattr(rehearsal_room, "NAMESPACE", name)
    try:
        rehearsal_room.make()
    except CommandExecutionError as err:
        pytest.skip(str(err))
    yield name
    rehearsal_room.remove()
    assert not os.path.exists(f"/run/netns/{name}")


def test_there_is_no_way_out_of_the_room(room: str) -> None:
    """Not for this thread, nor for what it starts; and others stay where they are."""
    home = os.readlink("/proc/thread-self/ns/net")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        at = listening.getsockname()
        with rehearsal_room.inside():
            assert os.readlink("/proc/thread-self/ns/net") != home
            for address in (at, ("192.0.2.1", 3306)):
                with pytest.raises(OSError, match=r"unreachable|refused"):
                    socket.create_connection(address, timeout=2)
            seen: list[str] = []
            other = threading.Thread(target=lambda: seen.append(os.readlink("/proc/self/ns/net")))
            other.start()
            other.join()
            assert os.readlink("/proc/self/ns/net") == seen[0]
        with socket.create_connection(at, timeout=2):
            pass
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_a_room_with_a_route_is_refused(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal_room._ip("-n", room, "link", "add", "x0", "type", "veth", "peer", "name", "x1")
    rehearsal_room._ip("-n", room, "link", "set", "x1", "up")
    rehearsal_room._ip("-n", room, "addr", "add", "10.255.255.1/24", "dev", "x0")
    rehearsal_room._ip("-n", room, "link", "set", "x0", "up")
    home = os.readlink("/proc/thread-self/ns/net")
    with (
        pytest.raises(CommandExecutionError, match=r"has a way out \(x0"),
        rehearsal_room.inside(),
    ):
        pytest.fail("it was let in")
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_without_a_room_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal_room, "NAMESPACE", "saltern-none")
    with (
        pytest.raises(CommandExecutionError, match="There is no namespace"),
        rehearsal_room.inside(),
    ):
        pytest.fail("it was let in")


def test_nothing_of_root_is_ended() -> None:
    for uid in (0, -1):
        with pytest.raises(CommandExecutionError, match="Nothing of root"):
            rehearsal_room.kill(uid)


@pytest.mark.parametrize(
    "told",
    [
        {"user": "root", "directory": "/var/lib/saltern/rehearsal"},
        {"user": "mysql", "directory": "/var/lib/saltern/rehearsal"},
        {"user": "saltern-rehearsal", "directory": "/var/lib"},
        {"user": "saltern-rehearsal", "directory": "/var/lib/x/../.."},
    ],
)
def test_a_shared_user_or_directory_is_refused(
    told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**told, "backup": "x"}))
    monkeypatch.setattr(rehearsal, "__opts__", {"rehearsal_settings": str(path)}, raising=False)
    for call in (rehearsal.end, lambda: rehearsal.begin("e1")):
        with pytest.raises(CommandExecutionError, match="cannot be a rehearsal's alone"):
            call()


def test_a_host_without_the_role_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "__opts__", {"rehearsal_settings": "/none"}, raising=False)
    assert "Apply rehearsal.shadow" in rehearsal.healthy()["sentence"]


def test_settings_of_another_file_are_used_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own", "other"):
        (tmp_path / name).write_text(json.dumps({"cluster": name}))
    opts = {"backup_settings": str(tmp_path / "own")}
    monkeypatch.setattr(backup_client, "__opts__", opts, raising=False)
    monkeypatch.setattr(backup_client, "__context__", {}, raising=False)
    with backup_client.using(str(tmp_path / "other")):
        assert backup_client.settings() == {"cluster": "other"}
        with contextlib.suppress(ValueError), backup_client.using("/none"):
            raise ValueError
        assert backup_client.settings() == {"cluster": "other"}
    assert backup_client.settings() == {"cluster": "own"}


class Shadow:
    """Salt's functions as the modules call them; programs are noted, not run."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.ran: list[list[str]] = []
        self.statuses: list[dict[str, Any]] = []
        self.checked = {"retcode": 0, "stdout": TABLE.replace("Failure", "Warning"), "stderr": ""}
        self.checked["said"] = "a traceback"
        self.inside = 0
        self.salt = {
            "rehearsal.settings": lambda: {"directory": str(top)},
            "rehearsal.user": lambda: "root",
            "rehearsal.socket": lambda: "/run/s",
            "rehearsal_room.inside": self.enter,
            "artifact.prefetch": lambda service, source: f"{source['release']} is there.",
            "openstack_db.run": self.run,
            "openstack_db.execute": lambda argv, user, timeout: (
                self.run(argv, user) and self.checked
            ),
            "openstack_db.status": self.status,
            "openstack_upgrade.results": openstack_upgrade.results,
            "nova_database.register": self.register,
        }

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        self.inside += 1
        yield
        self.inside -= 1

    def run(self, argv: list[str], user: str, **_: Any) -> bool:
        assert self.inside, "outside of the room"
        self.ran.append(argv)
        return True

    def status(self, config: str, *_: Any, **more: Any) -> dict[str, Any]:
        assert self.inside, "outside of the room"
        known = {"database": ["a"], "pending": [], "contract": [], "ahead": ""}
        return self.statuses.pop(0) if self.statuses else known

    def register(self, *args: Any) -> dict[str, Any]:
        assert self.inside, "outside of the room"
        self.ran.append(["register", *map(str, args)])
        return {"missing": ["schema of cell cell1"]}


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shadow:
    made = Shadow(tmp_path)
    (tmp_path / "services").mkdir()
    monkeypatch.setattr(rehearsal_service, "__salt__", made.salt, raising=False)
    if os.geteuid():
        pytest.skip("files are handed to others by root")
    found, _ = services.read(fleet("2025.1"), fleet("2026.1"))
    for one in found:
        rehearsal_service.prepare(json.loads(json.dumps(one.spec)))
    made.ran.clear()
    return made


def test_a_configuration_names_copies_alone(shadow: Shadow) -> None:
    top = shadow.top / "services/nova"
    text = (top / "etc/nova.conf").read_text()
    assert "mysql+pymysql://root@/nova_api_rehearsal?unix_socket=/run/s" in text
    assert "transport_url = fake://" in text
    assert "{" not in text
    assert (top / "etc/nova.conf").stat().st_mode & 0o777 == 0o600
    cells = json.loads((top / "etc/cells.json").read_text())
    assert "nova2_rehearsal?" in cells["cell2"]["database"]
    assert cells["cell1"]["transport"] == "fake://"
    password = (shadow.top / "services/.password").read_text()
    assert password in text
    assert password not in (top / "spec.json").read_text()


def test_the_commands_of_an_upgrade_run_on_the_copies(shadow: Shadow) -> None:
    told = rehearsal_service.expand("keystone")
    assert told["sentence"] == "revisions to come: none"
    rehearsal_service.contract("keystone")
    config = ["--config-file", f"{shadow.top}/services/keystone/etc/keystone.conf"]
    program = "/opt/openstack/2026.1/keystone/bin/x-manage"
    assert shadow.ran == [
        [program, *config, "expand"], [program, *config, "migrate"], [program, *config, "contract"],
    ]  # fmt: skip


def test_an_empty_database_gets_the_whole_schema(shadow: Shadow) -> None:
    shadow.statuses = [{"database": [], "pending": ["a"], "contract": [], "ahead": ""}]
    assert rehearsal_service.expand("keystone")["sentence"] == "revisions to come: a"
    assert [argv[-1] for argv in shadow.ran] == ["sync"]


def test_nova_is_brought_up_to_date_as_in_an_upgrade(shadow: Shadow) -> None:
    assert rehearsal_service.expand("nova")["sentence"] == "made: schema of cell cell1"
    (argv,) = shadow.ran
    assert argv[1] == "/opt/openstack/2026.1/nova"
    assert argv[3].endswith("services/nova/etc/cells.json")


def test_what_is_missing_afterwards_is_a_failure(shadow: Shadow) -> None:
    lacking = {"database": ["a"], "pending": ["b", "c"], "contract": ["c"], "ahead": ""}
    shadow.statuses = [lacking, lacking]
    with pytest.raises(CommandExecutionError, match="still lacks b"):
        rehearsal_service.expand("keystone")
    shadow.statuses = [lacking]
    with pytest.raises(CommandExecutionError, match="still lacks b, c"):
        rehearsal_service.contract("keystone")


def test_warnings_are_told_and_failures_fail(shadow: Shadow) -> None:
    shadow.checked["retcode"] = 1
    told = rehearsal_service.check("nova")
    assert told["sentence"] == "2 checks, 1 warnings"
    assert told["warnings"][0].startswith("Older than N-1 computes: Current Nova")
    shadow.checked.update(retcode=2, stdout=TABLE)
    with pytest.raises(
        CommandExecutionError, match="nova-status: Older than N-1 computes: Current"
    ):
        rehearsal_service.check("nova")


def test_a_check_that_asked_nothing_is_no_warning(shadow: Shadow) -> None:
    shadow.checked.update(retcode=1, stdout="")
    with pytest.raises(CommandExecutionError, match="nova-status: a traceback"):
        rehearsal_service.check("nova")


def test_the_present_release_finds_its_schema_again(shadow: Shadow) -> None:
    assert rehearsal_service.current("nova")["sentence"] == "2025.1 finds its schema"
    for wrong, why in (
        ({"pending": ["b"]}, "lacks b"),
        ({"ahead": "/opt/openstack/2026.1/nova"}, "is that of /opt/openstack/2026.1/nova"),
    ):
        known = {"database": ["a"], "pending": [], "contract": [], "ahead": ""}
        shadow.statuses = [{**known, **wrong}]
        with pytest.raises(CommandExecutionError, match=why):
            rehearsal_service.current("nova")


def test_what_was_not_prepared_is_refused(shadow: Shadow) -> None:
    with pytest.raises(CommandExecutionError, match="glance was not prepared"):
        rehearsal_service.expand("glance")


def test_a_package_cannot_be_rehearsed(shadow: Shadow) -> None:
    found, _ = services.read(fleet("2025.1"), fleet("2026.1"))
    spec = {**found[0].spec, "source": {"engine": "pkg", "release": "2026.1"}}
    with pytest.raises(CommandExecutionError, match="does not come as an environment"):
        rehearsal_service.prepare(spec)


def test_an_answer_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(200, {}, {"servers": [1, 2]}), (300, {}, {"versions": {}}), (500, {}, None),
               (200, {}, {"other": []})]  # fmt: skip
    monkeypatch.setattr(rehearsal_api, "_request", lambda *a, **k: answers.pop(0))
    api = {"port": 1}
    asked = {"path": "/v3/<project>/x", "key": "servers"}
    assert rehearsal_api._asked(api, asked, "t", "p") == "GET /v3/<project>/x: 2"
    assert rehearsal_api._asked(api, {"path": "/", "status": 300}) == "GET /: 300"
    with pytest.raises(
        CommandExecutionError, match="answers 500 in place of 200, and says nothing"
    ):
        rehearsal_api._asked(api, asked)
    with pytest.raises(CommandExecutionError, match="answers without servers"):
        rehearsal_api._asked(api, asked)
