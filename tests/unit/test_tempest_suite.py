"""Runs of the API suite on its host: looked up by name, one at a time, results in pieces."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import tempest_suite as suite

NAMES = {
    "image": "guest", "flavor": "tiny", "flavor_alt": "small", "external_network": "provider",
}  # fmt: skip
CONF = """
[DEFAULT]
debug = false

[compute]
min_compute_nodes = 2

[network]
region = One
"""


class Host:
    """The host of the suite, and as much of a cloud as is looked up."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.runs = folder / "etc", folder / "runs"
        self.etc.mkdir()
        self.runs.mkdir()
        (self.etc / "tempest.conf").write_text(CONF)
        self.choose([])
        self.active: dict[str, str] = {}
        self.commands: list[list[str]] = []
        self.retcode = 0
        self.lacks: set[str] = set()

    def choose(self, exclude: list[dict[str, str]], keep: int = 10) -> None:
        choice = {"names": NAMES, "exclude": exclude, "keep": keep}
        (self.etc / "choice.json").write_text(json.dumps(choice))

    def find(self, name: str) -> Any:
        return None if name in self.lacks else SimpleNamespace(id=f"id-of-{name}")

    def run_all(self, argv: list[str], python_shell: bool) -> dict[str, Any]:
        assert python_shell is False
        run = argv[-1].removeprefix("tempest@").removesuffix(".service")
        if argv[1] == "show":
            return {"retcode": 0, "stdout": self.active.get(run, "inactive") + "\n"}
        self.commands.append(argv)
        self.active[run] = "active"
        return {"retcode": self.retcode, "stderr": "no such unit"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)

    @contextlib.contextmanager
    def spoken(doing: str) -> Iterator[None]:
        yield

    cloud = SimpleNamespace(
        image=SimpleNamespace(find_image=made.find),
        compute=SimpleNamespace(find_flavor=made.find),
        network=SimpleNamespace(
            find_network=made.find, extensions=lambda: [SimpleNamespace(alias="router")]
        ),
    )
    salt = {
        "openstack_api.connection": lambda cloud_name: cloud,
        "openstack_api.spoken": spoken,
        "cmd.run_all": made.run_all,
    }
    monkeypatch.setattr(suite, "__salt__", salt, raising=False)
    monkeypatch.setattr(suite, "ETC", made.etc)
    monkeypatch.setattr(suite, "RUNS", made.runs)
    monkeypatch.setattr(suite.pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=7, pw_gid=8))
    monkeypatch.setattr(suite.os, "chown", lambda *arguments: None)
    return made


def test_a_run_has_ids_and_places_of_its_own(host: Host) -> None:
    host.choose([{"regex": "slow", "reason": "takes an hour"}])
    begun = suite.start(["image", "network"], concurrency=3, exclude=["resize"])
    folder = host.runs / begun["run"]
    assert host.commands == [["systemctl", "start", f"tempest@{begun['run']}.service"]]
    conf = (folder / "tempest.conf").read_text()
    assert conf.startswith(f"[DEFAULT]\ndebug = false\nlog_file = {folder}/tempest.log\n")
    assert "[compute]\nmin_compute_nodes = 2\nimage_ref = id-of-guest\n" in conf
    assert "flavor_ref = id-of-tiny\nflavor_ref_alt = id-of-small\n" in conf
    assert "public_network_id = id-of-provider\n" in conf
    assert "[network-feature-enabled]\napi_extensions = router\n" in conf
    assert (folder / "include").read_text() == "image\nnetwork\n"
    assert (folder / "exclude").read_text() == "slow  # takes an hour\nresize  # asked for\n"
    assert (folder / "environment").read_text() == "CONCURRENCY=3\n"
    assert [row["regex"] for row in begun["excluded"]] == ["slow", "resize"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"regex": "("}, "no regular expression"),
        ({"regex": []}, "No test is chosen"),
        ({"regex": ["a#b"]}, "cut"),
        ({"exclude": ["a\nb"]}, "cut"),
        ({"concurrency": 0}, "workers"),
        ({"concurrency": "2; reboot"}, "workers"),
    ],
)
def test_wrong_arguments_touch_nothing(host: Host, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(CommandExecutionError, match=word):
        suite.start(**arguments)
    assert suite.runs() == []
    assert host.commands == []


@pytest.mark.parametrize("name", sorted(set(NAMES.values())))
def test_what_the_cloud_lacks_is_told_by_name(host: Host, name: str) -> None:
    host.lacks.add(name)
    with pytest.raises(CommandExecutionError, match=name):
        suite.start()
    assert suite.ready()["ok"] is False
    assert suite.runs() == []
    host.lacks.clear()
    assert suite.ready()["ok"] is True


def test_one_run_at_a_time_and_old_ones_go(host: Host) -> None:
    host.choose([], keep=2)
    for day in (1, 2, 3):
        (host.runs / f"2026010{day}T000000Z").mkdir()
    (host.runs / "notes").mkdir()
    begun = suite.start()
    assert suite.runs() == ["20260103T000000Z", begun["run"]]
    with pytest.raises(CommandExecutionError, match=f"{begun['run']} goes on"):
        suite.start()


def test_a_unit_that_does_not_start_is_told(host: Host) -> None:
    host.retcode = 1
    with pytest.raises(CommandExecutionError, match="no such unit"):
        suite.start()


def test_how_far_it_is_and_what_it_found(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    run = suite.start()["run"]
    folder = host.runs / run
    assert suite.status(run)["passed"] == 0
    (folder / "run.log").write_text(
        "{0} a.b.test_c [1.2s] ... ok\n{1} a.b.test_d ... SKIPPED: no\n{0} setUpClass ... FAILED\n"
    )
    found = suite.status(run)
    assert (found["active"], found["bytes"], found["log"]) == (True, None, "")
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
    # its result is being written
    host.active[run] = "deactivating"
    assert suite.status(run)["active"] is True
    host.active[run] = "failed"
    assert suite.status(run)["log"].endswith("FAILED")
    (folder / "result.xml").write_text("<testsuite/>")
    assert suite.status(run)["bytes"] == 12
    monkeypatch.setattr(suite, "PIECE", 5)
    assert [suite.result(run, at) for at in (0, 5, 10, 12)] == ["<test", "suite", "/>", ""]


@pytest.mark.parametrize("run", ["../../etc", "20260101T000000Z", "", "x"])
def test_other_names_are_no_runs(host: Host, run: str) -> None:
    for call in (suite.status, suite.result, suite.stop):
        with pytest.raises(CommandExecutionError, match="run"):
            call(run)
