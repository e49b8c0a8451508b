"""An upgrade by packages: each kind of daemon has its turn after the kind before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import ceph_upgrade
from saltern.states import ceph_upgrade as states

OLD, NEW = "16.2.15", "18.2.7"
RELEASES = {OLD: "pacific", NEW: "reef"}
ROLES = ("mon", "mgr", "osd", "mds", "rgw")


class Host:
    """A host with every kind of daemon in a cluster, and what was done to its units."""

    def __init__(self) -> None:
        self.versions = {kind: {"mon01": OLD, "mon02": OLD} for kind in ROLES}
        self.versions["osd"] = {"0": OLD, "1": OLD}
        self.installed, self.candidate = f"{OLD}+ds-0+deb12u1", f"{NEW}+ds-1"
        self.stopped: set[str] = set()
        self.answers = True
        self.required, self.down = "pacific", set[str]()

    def command(self, prefix: str, arguments: Any = None) -> Any:
        if not self.answers:
            raise CommandExecutionError("no quorum")
        if prefix == "osd dump":
            return {
                "require_osd_release": self.required,
                "osds": [
                    {"osd": int(name), "up": int(name not in self.down)} for name in ("0", "1")
                ],
            }
        if prefix == "osd require-osd-release":
            self.required = arguments["release"]
            return None
        if prefix == "service dump":
            one = {"hostname": "mon01", "ceph_version_short": self.versions["rgw"]["mon01"]}
            return {"services": {"rgw": {"daemons": {"summary": "", "4123": {"metadata": one}}}}}
        kind = prefix.split()[0]
        named = "id" if kind == "osd" else "name"
        items = self.versions[kind].items()
        found = [
            {
                named: name,
                "ceph_version_short": version,
                "ceph_version": f"ceph version {version} (0123abcd) {RELEASES[version]} (stable)",
            }
            for name, version in items
        ]
        return [{"name": "never-started"}, *found]

    def move(self, kind: str, version: str = NEW) -> None:
        self.versions[kind] = dict.fromkeys(self.versions[kind], version)

    def functions(self) -> dict[str, Callable[..., Any]]:
        return {
            "ceph_cluster.command": self.command,
            "ceph_daemon.name": lambda: "mon01",
            "ceph_store.stores": lambda: [{"id": 0, "unit": "ceph-osd@0"}],
            "ceph_upgrade.daemons": ceph_upgrade.daemons,
            "pkg.latest_version": lambda name, refresh: self.candidate,
            "pkg.version": lambda name: self.installed,
            "service.start": lambda unit: self.stopped.discard(unit) or True,
            "service.status": lambda unit: unit not in self.stopped,
            "service.stop": lambda unit: self.stopped.add(unit) or True,
        }


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    made = Host()
    monkeypatch.setattr(states, "NOTE", str(tmp_path / "note.json"))
    roles: dict[str, Any] = {role: {"enabled": True} for role in ROLES}
    pillar = {"host": {"name": "mon01"}, "ceph": {**roles, "common": {"release": "reef"}}}
    for module in (ceph_upgrade, states):
        monkeypatch.setattr(module, "__salt__", made.functions(), raising=False)
        monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
        monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return made


def due() -> list[str]:
    return [one["unit"] for one in ceph_upgrade.daemons() if one["due"]]


def test_each_kind_waits_for_the_one_before_it(host: Host) -> None:
    order = [
        ("mon", ["ceph-mon@mon01"]),
        ("mgr", ["ceph-mgr@mon01"]),
        ("osd", ["ceph-osd@0"]),
        ("mds", ["ceph-mds@mon01"]),
        ("rgw", ["ceph-radosgw@rgw"]),
    ]
    for kind, units in order:
        assert due() == units
        host.move(kind)
    assert due() == []


def test_a_kind_waits_for_other_hosts(host: Host) -> None:
    host.versions["mon"] = {"mon01": NEW, "mon02": OLD}
    assert due() == []
    assert states.stopped("x")["comment"] == "No daemon of this host has its turn."


def test_without_another_version_nothing_happens(host: Host) -> None:
    host.candidate = ""
    for state in (states.stopped, states.started, states.current):
        found = state("x")
        assert (found["result"], found["changes"]) == (True, {})


def test_the_phases_replace_what_has_its_turn_and_nothing_else(host: Host) -> None:
    assert states.stopped("x")["changes"] == {"ceph-mon@mon01": "stopped"}
    assert host.stopped == {"ceph-mon@mon01"}
    host.installed, host.candidate = host.candidate, ""
    assert "mon.mon01 does not run" in states.current("x")["comment"]
    assert states.started("x")["changes"] == {"ceph-mon@mon01": "started"}
    assert states.current("x")["comment"] == f"mon.mon01 runs {OLD}, not {NEW}."
    assert states.current("x")["result"] is False
    host.move("mon")
    # that its manager has its turn now is the business of another wave
    assert due() == ["ceph-mgr@mon01"]
    assert states.current("x")["result"] is True
    assert not Path(states.NOTE).exists()


def test_a_test_touches_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "__opts__", {"test": True}, raising=False)
    assert states.stopped("x")["result"] is None
    assert not host.stopped


@pytest.mark.parametrize(("act", "done"), [("stop", "stopped"), ("start", "started")])
def test_a_unit_that_systemd_cannot_move_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch, act: str, done: str
) -> None:
    functions = {**host.functions(), f"service.{act}": lambda unit: False}
    monkeypatch.setattr(states, "__salt__", functions)
    host.stopped = set() if act == "stop" else {"ceph-mon@mon01"}
    found = getattr(states, done)("x")
    assert found["result"] is False
    assert found["comment"] == f"ceph-mon@mon01 cannot be {done}: journalctl -u ceph-mon@mon01."


def test_a_silent_cluster_is_no_permission(host: Host) -> None:
    host.answers = False
    assert states.stopped("x") == {
        "name": "x", "changes": {}, "result": False, "comment": "no quorum",
    }  # fmt: skip


def test_a_host_of_one_kind_needs_no_cluster(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    pillar = {"host": {"name": "rgw01"}, "ceph": {"rgw": {"enabled": True}}}
    monkeypatch.setattr(ceph_upgrade, "__pillar__", pillar, raising=False)
    host.answers = False
    assert due() == ["ceph-radosgw@rgw"]
    host.installed, host.candidate = host.candidate, ""
    assert due() == []


def test_an_upgrade_is_finished_only_when_every_store_runs_the_release(host: Host) -> None:
    with pytest.raises(CommandExecutionError, match=r"osd\.0 runs pacific; osd\.1 runs pacific"):
        ceph_upgrade.finalize()
    host.move("osd")
    host.down.add("1")
    with pytest.raises(CommandExecutionError, match=r"osd\.1 is down"):
        ceph_upgrade.finalize()
    assert host.required == "pacific"
    host.down.clear()
    assert ceph_upgrade.finalize() == "The cluster requires reef from now on."
    assert host.required == "reef"
    host.down.add("0")
    assert ceph_upgrade.finalize() == "The cluster has finished its upgrade to reef."
