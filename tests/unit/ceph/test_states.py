"""States of what is inside a cluster: idempotent, read back, honest in test mode, never telling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern.modules import ceph_cluster
from saltern.states import ceph_config, ceph_crush, ceph_key, ceph_osd, ceph_pool
from tests.support.rados import Cluster

HEX, OTHER = "000102030405060708090a0b0c0d0e0f", "ff0102030405060708090a0b0c0d0e0f"
CAPS = {"mon": "profile rbd", "osd": "profile rbd pool=images"}
pytestmark = pytest.mark.usefixtures("loaded")

CALLS = {
    "pool": lambda: ceph_pool.present("images", application="rbd", size=2, quota_objects=7,
                                      bulk=True, compression="aggressive"),
    "rule": lambda: ceph_crush.rule("by-rack", "rack", device_class="ssd"),
    "key": lambda: ceph_key.present("client.glance", HEX, CAPS),
    "options": lambda: ceph_config.present("osd", {"osd_memory_target": "4G", "x": True}),
    "modules": lambda: ceph_config.modules("m", ["prometheus"], ["restful"]),
    "filesystem": lambda: ceph_pool.filesystem("cephfs", "m", "d"),
}  # fmt: skip
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
def test_the_first_run_changes_and_the_second_does_not(cluster: Cluster, call: Any) -> None:
    first = call()
    assert first["result"] is True, first
    assert first["changes"]
    written = len(cluster.said)
    second = call()
    assert (second["result"], second["changes"]) == (True, {}), second
    asked = {words["prefix"].rpartition(" ")[2] for words in cluster.said[written:]}
    assert asked <= {"dump", "ls"}


@every_call
@pytest.mark.usefixtures("test_mode")
def test_test_mode_tells_and_writes_nothing(cluster: Cluster, call: Any) -> None:
    found = call()
    assert found["result"] is None
    assert found["changes"]
    assert {words["prefix"].rpartition(" ")[2] for words in cluster.said} <= {"dump", "ls"}


@every_call
def test_what_reads_back_different_is_a_failure(cluster: Cluster, call: Any) -> None:
    cluster.deaf = True
    found = call()
    assert found["result"] is False
    assert found["comment"]


@every_call
def test_a_cluster_that_does_not_answer_is_a_failure(cluster: Cluster, call: Any) -> None:
    cluster.up = False
    found = call()
    assert (found["result"], found["changes"]) == (False, {})
    assert "do not answer" in found["comment"]


@every_call
@pytest.mark.usefixtures("test_mode")
def test_in_test_mode_that_is_no_failure(cluster: Cluster, call: Any) -> None:
    cluster.up = False
    assert call()["result"] is None


# --- pools --------------------------------------------------------------------------------------


def test_a_pool_is_what_was_asked_and_otherwise_left(cluster: Cluster) -> None:
    CALLS["pool"]()
    pool = cluster.pools["images"]
    assert (pool["size"], pool["applications"]) == (2, {"rbd": {}})
    pool["pg_num"] = 128  # the autoscaler's
    pool["max_bytes"] = 5
    assert CALLS["pool"]()["changes"] == {}


def test_a_pool_is_altered_in_place(cluster: Cluster) -> None:
    ceph_pool.present("images", application="rbd", size=3)
    found = ceph_pool.present("images", application="rbd", size=2, quota_bytes=1024)
    assert found["changes"] == {
        "size": {"old": 3, "new": 2},
        "quota_bytes": {"old": 0, "new": 1024},
    }
    assert len([w for w in cluster.said if w["prefix"] == "osd pool create"]) == 1


def test_one_copy_has_to_be_meant(cluster: Cluster) -> None:
    assert ceph_pool.present("scratch", size=3)["result"] is True
    assert ceph_pool.present("scratch", size=1)["result"] is True
    assert cluster.pools["scratch"]["size"] == 1


def test_a_pool_of_another_application_is_refused(cluster: Cluster) -> None:
    ceph_pool.present("images", application="rbd")
    found = ceph_pool.present("images", application="rgw")
    assert found["result"] is False
    assert "another application" in found["comment"]


def test_a_pool_goes_once(cluster: Cluster) -> None:
    ceph_pool.present("old")
    assert ceph_pool.absent("old")["changes"] == {"old": "removed"}
    assert ceph_pool.absent("old")["changes"] == {}
    assert cluster.pools == {}


def test_a_file_system_is_never_moved() -> None:
    CALLS["filesystem"]()
    found = ceph_pool.filesystem("cephfs", "m", "other")
    assert found["result"] is False
    assert "cannot be moved" in found["comment"]


# --- rules and places ---------------------------------------------------------------------------


def test_a_rule_that_says_something_else_is_refused(cluster: Cluster) -> None:
    CALLS["rule"]()
    found = ceph_crush.rule("by-rack", "host", device_class="ssd")
    assert (found["result"], found["changes"]) == (False, {})
    assert "domain rack in place of host" in found["comment"]
    assert len(cluster.rules) == 2


def test_a_host_that_is_elsewhere_is_told_and_not_moved(cluster: Cluster) -> None:
    good = {"root": "default", "rack": "rack1", "host": "osd01"}
    assert ceph_crush.located("osd01", good)["result"] is True
    found = ceph_crush.located("osd01", {**good, "rack": "rack2"})
    assert found["result"] is False
    assert "rack rack1, not rack2" in found["comment"]
    assert "ceph osd crush move osd01" in found["comment"]
    assert {words["prefix"] for words in cluster.said} == {"osd tree"}


# --- users --------------------------------------------------------------------------------------


def test_a_key_shows_nowhere_and_is_on_no_command_line(cluster: Cluster) -> None:
    first = ceph_key.present("client.glance", HEX, CAPS)
    second = ceph_key.present("client.glance", OTHER, CAPS)
    third = ceph_key.present("client.glance", OTHER, {"mon": "allow r"})
    assert second["changes"] == {"key": "changed"}
    assert third["changes"] == {"caps": {"old": CAPS, "new": {"mon": "allow r"}}}
    assert cluster.users["client.glance"]["caps"] == {"mon": "allow r"}
    shown = repr((first, second, third, cluster.said))
    for key in (HEX, OTHER):
        assert key not in shown
        assert ceph_cluster.cephx(key) not in shown
        assert ceph_cluster.cephx(key) in "".join(cluster.bodies)


def test_a_user_goes_once(cluster: Cluster) -> None:
    CALLS["key"]()
    assert ceph_key.absent("client.glance")["changes"] == {"client.glance": "removed"}
    assert ceph_key.absent("client.glance")["changes"] == {}


def test_a_daemon_gets_its_keyring(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceph_key.shutil, "chown", lambda *args: None)
    path = tmp_path / "mgr/keyring"
    caps = {"mon": "allow profile mgr", "osd": "allow *"}

    def call() -> dict[str, Any]:
        return ceph_key.daemon("mgr.mon01", str(path), caps)

    first = call()
    assert first["result"] is True
    assert path.stat().st_mode & 0o777 == 0o600
    assert cluster.users["mgr.mon01"]["key"] in path.read_text()
    assert cluster.users["mgr.mon01"]["key"] not in repr(first)
    assert call()["changes"] == {}
    path.write_text("spoilt")
    assert call()["changes"] == {"key": "changed"}
    cluster.users["mgr.mon01"]["caps"] = {"mon": "allow *"}
    assert set(call()["changes"]) == {"caps"}
    assert cluster.users["mgr.mon01"]["caps"] == caps


# --- options and modules ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "wanted"), [("4294967296", "4G"), ("true", True), ("0.9", 0.90), ("5", 5)]
)
def test_an_option_is_compared_as_ceph_keeps_it(cluster: Cluster, kept: str, wanted: Any) -> None:
    cluster.options = {("osd", "x"): kept}
    assert ceph_config.present("osd", {"x": wanted})["changes"] == {}


def test_an_option_can_be_removed_and_others_stay(cluster: Cluster) -> None:
    cluster.options = {("osd", "x"): "1", ("osd", "y"): "2", ("mon", "x"): "3"}
    assert ceph_config.present("osd", {"x": None})["changes"] == {"x": {"old": "1", "new": None}}
    assert cluster.options == {("osd", "y"): "2", ("mon", "x"): "3"}
    assert ceph_config.present("osd", {"x": None})["changes"] == {}


def test_a_module_that_is_not_there_is_refused(cluster: Cluster) -> None:
    assert "there is no ballet" in ceph_config.modules("m", ["ballet"], patience=0)["comment"]
    assert ceph_config.modules("m", (), ["ballet"])["result"] is True
    assert "cannot be switched off" in ceph_config.modules("m", (), ["balancer"])["comment"]
    assert cluster.modules["on"] == ["iostat", "restful"]


# --- object stores ------------------------------------------------------------------------------


class Host:
    """The stores of a host as ``ceph_store`` tells them."""

    def __init__(self, loaded: dict[str, Any], cluster: Cluster) -> None:
        self.stores: dict[str, dict[str, Any]] = {}
        self.refusal = ""
        self.units: set[str] = set()
        self.cluster, self.loaded = cluster, loaded
        #: what Ceph weighs a new store
        self.weight = 0.0039
        cluster.osds.clear()
        loaded.update(
            {
                "ceph_store.find": self.stores.get,
                "ceph_store.label": lambda path: None,
                "ceph_store.may_use": lambda path, kind, fsid: self.refusal,
                "ceph_store.make": self.make,
                "ceph_store.start": self.start,
                "service.status": self.units.__contains__,
                "service.enabled": self.units.__contains__,
            }
        )

    def make(self, path: str, kind: str, size: Any, device_class: Any, **parts: Any) -> int:
        number = len(self.stores)
        unit = f"ceph-osd@{number}"
        self.stores[path] = {"id": number, "ready": True, "unit": unit, "kind": kind, **parts}
        return number

    def start(self, number: int) -> str:
        self.units.add(f"ceph-osd@{number}")
        known = self.cluster.osds.get(number, {}).get("weight", self.weight)
        self.cluster.osds[number] = {"up": 1, "in": 1, "host": "osd01", "weight": known}
        return f"osd.{number} is up."


@pytest.fixture
def host(loaded: dict[str, Any], cluster: Cluster) -> Host:
    return Host(loaded, cluster)


def test_a_store_is_made_once(host: Host) -> None:
    call = {"name": "/srv/0", "size": "8G", "db": "/srv/db", "db_size": "1G"}
    assert ceph_osd.present(**call)["changes"] == {"/srv/0": "osd.0 made"}
    assert host.stores["/srv/0"]["kind"] == "file"
    assert host.stores["/srv/0"]["db"] == {"path": "/srv/db", "size": "1G"}
    assert ceph_osd.present(**call)["changes"] == {}


def test_a_store_that_is_down_is_started(host: Host) -> None:
    ceph_osd.present("/dev/sdb")
    host.cluster.osds[0]["up"] = 0
    assert ceph_osd.present("/dev/sdb")["changes"] == {"/dev/sdb": "osd.0 started"}
    host.units.clear()
    assert ceph_osd.present("/dev/sdb")["changes"] == {"/dev/sdb": "osd.0 started"}


def test_a_store_gets_its_weight(host: Host) -> None:
    assert ceph_osd.present("/dev/sdb", weight=2)["changes"]["weight"] == 2
    assert host.cluster.osds[0]["weight"] == 2
    assert ceph_osd.present("/dev/sdb", weight=2)["changes"] == {}


def test_the_first_stores_of_a_cluster_get_their_weight_at_once(host: Host) -> None:
    host.weight, host.loaded["ceph_disk.size"] = 0, lambda number: 4 * 2**30
    host.cluster.pools["device_health_metrics"] = pool()
    found = ceph_osd.present("/dev/sdb")
    assert (found["changes"]["weight"], host.cluster.osds[0]["weight"]) == (0.00391, 0.00391)
    assert ceph_osd.present("/dev/sdb")["changes"] == {}
    # one that was interrupted before is weighed by the next run
    host.cluster.osds[0]["weight"] = 0
    assert ceph_osd.present("/dev/sdb")["changes"]["weight"] == 0.00391


@pytest.mark.parametrize("weight", [None, 2])
def test_a_store_that_comes_later_waits_for_data(host: Host, weight: float | None) -> None:
    host.weight = 0
    host.cluster.pools["images"] = pool()
    found = ceph_osd.present("/dev/sdb", weight=weight)
    assert found["changes"] == {"/dev/sdb": "osd.0 made"}
    assert found["comment"].endswith("and waits for data (operation ceph.osd.fill).")
    assert host.cluster.osds[0]["weight"] == 0
    found = ceph_osd.present("/dev/sdb", weight=weight)
    assert (found["changes"], "waits for data" in found["comment"]) == ({}, True)
    # filled it is like any other
    host.cluster.osds[0]["weight"] = 0.5
    assert ceph_osd.present("/dev/sdb", weight=weight)["changes"] == (
        {} if weight is None else {"/dev/sdb": "osd.0 started", "weight": 2.0}
    )


def pool() -> dict[str, Any]:
    return {
        "size": 3, "min_size": 2, "crush_rule": "replicated_rule", "pg_autoscale_mode": "on",
        "pg_num": 1, "bulk": "false", "max_bytes": 0, "max_objects": 0, "applications": {},
        "options": {},
    }  # fmt: skip


def test_a_device_with_something_on_it_is_left_alone(host: Host) -> None:
    host.refusal = "/dev/sdb holds ext4."
    found = ceph_osd.present("/dev/sdb")
    assert (found["result"], found["comment"], host.stores) == (False, host.refusal, {})


def test_encryption_is_refused_not_left_out(host: Host) -> None:
    found = ceph_osd.present("/dev/sdb", encrypted=True)
    assert found["result"] is False
    assert "shall be encrypted" in found["comment"]
    assert host.stores == {}


@pytest.mark.usefixtures("test_mode")
def test_a_store_is_only_predicted(host: Host) -> None:
    found = ceph_osd.present("/dev/sdb")
    assert (found["result"], found["comment"]) == (None, "/dev/sdb: would be made.")
    assert host.stores == {}
