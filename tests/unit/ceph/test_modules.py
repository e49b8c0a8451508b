"""What the modules say of a cluster, and what they refuse."""

from __future__ import annotations

import base64
import datetime
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import (
    ceph_client,
    ceph_cluster,
    ceph_daemon,
    ceph_gate,
    ceph_host,
    ceph_map,
    ceph_monitor,
    ceph_store,
)
from saltern.rollout import gates
from tests.support.rados import Cluster

HEX = "000102030405060708090a0b0c0d0e0f"
pytestmark = pytest.mark.usefixtures("loaded")


# --- keys -------------------------------------------------------------------------------------


def test_a_key_is_wrapped_as_ceph_writes_it() -> None:
    wrapped = ceph_cluster.cephx(HEX)
    kind, seconds, nanoseconds, length = struct.unpack_from("<HIIH", base64.b64decode(wrapped))
    assert (kind, seconds, nanoseconds, length) == (1, 0, 0, 16)
    assert base64.b64decode(wrapped)[12:] == bytes.fromhex(HEX)
    assert len(wrapped) == 40
    assert ceph_cluster.cephx(wrapped) == wrapped


@pytest.mark.parametrize("key", ["", "abc", "zz" * 16, HEX + "00", "a" * 40])
def test_what_is_no_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(CommandExecutionError, match="32 hexadecimal digits") as told:
        ceph_cluster.cephx(key)
    assert not key or key not in str(told.value)


# --- asking -----------------------------------------------------------------------------------


def test_the_state_of_the_cluster(cluster: Cluster) -> None:
    cluster.states = {"active+clean": 30, "active+clean+scrubbing": 2, "active+undersized": 1}
    cluster.osds[3]["up"] = 0
    found = ceph_cluster.status()
    assert found["fsid"] == cluster.fsid
    assert found["osds"] == {"all": 6, "up": 5, "in": 6}
    assert (found["pgs"]["all"], found["pgs"]["clean"]) == (33, 32)
    assert (found["quorum"], found["manager"]) == (["mon01", "mon02", "mon03"], "mon01")


def test_without_a_quorum_everything_says_so(cluster: Cluster) -> None:
    cluster.up = False
    with pytest.raises(CommandExecutionError, match=r"do not answer client.admin: TimedOut"):
        ceph_cluster.status()
    checks = (ceph_cluster.healthy, ceph_gate.in_quorum, ceph_gate.quorum_without)
    for check in (*checks, ceph_gate.manager_active, ceph_gate.pgs):
        assert check()["ok"] is False
        assert "majority" in check()["sentence"]


def test_a_host_without_a_key_cannot_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ceph_cluster, "CONF", str(tmp_path / "none/ceph.conf"))
    with pytest.raises(CommandExecutionError, match="no key to ask Ceph with"):
        ceph_cluster.status()


def test_a_refused_command_is_one_sentence(cluster: Cluster) -> None:
    with pytest.raises(
        CommandExecutionError, match=r"^ceph osd dance: no such command: osd dance.$"
    ):
        ceph_cluster.command("osd dance")
    cluster.managers = []
    with pytest.raises(CommandExecutionError, match=r"^ceph osd ok-to-stop: no active mgr.$"):
        ceph_cluster.command("osd ok-to-stop", target="mgr")


def test_where_object_stores_are() -> None:
    tree = ceph_cluster.osd_tree()
    assert sorted(tree) == [f"osd.{number}" for number in range(6)]
    assert tree["osd.2"]["location"] == {"host": "osd02", "rack": "rack1", "root": "default"}


def test_how_full_it_is() -> None:
    found = ceph_map.df()
    assert (found["ratio"], found["limits"]["nearfull"]) == (0.1, 0.85)


# --- health -----------------------------------------------------------------------------------


def test_health_without_checks() -> None:
    assert ceph_cluster.healthy() == {"ok": True, "verdict": "ok", "sentence": "HEALTH_OK."}


def test_a_warning_of_the_cluster_is_a_failure(cluster: Cluster) -> None:
    cluster.checks = {"OSD_DOWN": "1 osds down"}
    found = ceph_cluster.healthy()
    assert (found["ok"], found["verdict"]) == (False, "fail")
    assert found["sentence"] == "HEALTH_WARN: OSD_DOWN: 1 osds down."
    assert ceph_cluster.healthy(["OSD_DOWN"])["verdict"] == "warn"
    cluster.muted = {"OSD_DOWN"}
    assert ceph_cluster.healthy()["verdict"] == "ok"


@pytest.mark.parametrize(
    ("flags", "nodes", "held", "good"),
    [
        (set(), {"osd01": ["noout"]}, ["noout/osd01"], True),
        (set(), {"osd01": ["noout"]}, [], False),
        (set(), {"osd01": ["noout"]}, ["noout/osd02"], False),
        (set(), {"osd01": ["noout"], "osd02": ["noout"]}, ["noout/osd01"], False),
        ({"norebalance"}, {}, ["norebalance"], True),
        ({"norebalance", "noscrub"}, {}, ["norebalance"], False),
    ],
)
def test_only_flags_that_are_leases_do_not_count(
    cluster: Cluster, flags: set[str], nodes: Any, held: list[str], good: bool
) -> None:
    cluster.checks = {"OSDMAP_FLAGS" if flags else "OSD_FLAGS": "flag(s) set"}
    cluster.flags, cluster.node_flags = flags, nodes
    for key in held:
        cluster.notes[f"saltern/lease/{key}"] = json.dumps({"owner": "saltern", "since": "x"})
    found = ceph_cluster.healthy()
    assert found["ok"] is good
    assert found["verdict"] == ("warn" if good else "fail")
    # another warning is not hidden behind a lease
    cluster.checks["MON_CLOCK_SKEW"] = "clock skew detected on mon.mon02"
    assert ceph_cluster.healthy()["ok"] is False


@pytest.mark.parametrize(("wanted", "good"), [("reef", True), ("pacific", False)])
def test_an_upgrade_under_way_does_not_count(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, wanted: str, good: bool
) -> None:
    pillar = {"ceph": {"common": {"release": wanted}}}
    monkeypatch.setattr(ceph_cluster, "__pillar__", pillar, raising=False)
    cluster.release = "pacific"
    cluster.checks = {"OSD_UPGRADE_FINISHED": "require_osd_release < reef"}
    found = ceph_cluster.healthy()
    assert (found["ok"], found["verdict"]) == (good, "warn" if good else "fail")


# --- quorum, managers, placement groups ---------------------------------------------------------


@pytest.mark.parametrize(
    ("quorum", "name", "verdict", "word"),
    [
        (["mon01", "mon02", "mon03"], "mon01", "ok", "3 of 3"),
        (["mon01", "mon02"], "mon01", "warn", "it ends with the loss of one more"),
        (["mon02", "mon03"], "mon01", "fail", "not in the quorum of mon02, mon03"),
        (["mon01", "mon02", "mon03"], "mon09", "fail", "not in the map"),
    ],
)
def test_in_quorum(cluster: Cluster, quorum: list[str], name: str, verdict: str, word: str) -> None:
    cluster.quorum = quorum
    found = ceph_gate.in_quorum(name)
    assert (found["verdict"], found["ok"]) == (verdict, verdict != "fail")
    assert word in found["sentence"]


def test_a_monitor_may_go_while_a_majority_is_left(cluster: Cluster) -> None:
    assert ceph_gate.quorum_without("mon01")["ok"] is True
    cluster.quorum = ["mon01", "mon02"]
    assert ceph_gate.quorum_without("mon01")["ok"] is False
    assert ceph_gate.quorum_without("mon01")["code"] == "ceph-quorum"
    # one that is away already takes nothing away
    assert ceph_gate.quorum_without("mon03")["ok"] is True
    cluster.quorum = ["mon01", "mon02", "mon03"]
    assert ceph_gate.quorum_without(["mon02", "mon03"])["ok"] is False


def test_managers(cluster: Cluster) -> None:
    assert ceph_gate.manager_active("mon01")["sentence"] == "Manager mon01 is active."
    assert ceph_gate.manager_active("mon02")["sentence"] == "Manager mon02 stands by."
    assert ceph_gate.manager_active("mon03")["ok"] is False
    cluster.managers = []
    assert ceph_gate.manager_active("mon01")["sentence"] == "No manager is active."


def test_the_manager_is_asked_who_may_stop(cluster: Cluster) -> None:
    good = {"ok": True, "verdict": "ok", "code": "ok", "sentence": "osd.0, osd.3 may stop."}
    assert ceph_gate.ok_to_stop([0, 3]) == good
    assert cluster.said[-1]["ids"] == ["0", "3"]
    cluster.stoppable = {"0"}
    found = ceph_gate.ok_to_stop([0, 3])
    assert (found["ok"], found["code"]) == (False, "ceph-stop")
    assert "3 placement groups would be unavailable" in found["sentence"]
    cluster.managers = []
    assert ceph_gate.ok_to_stop(0)["ok"] is False


def test_all_object_stores_of_a_wave_are_asked_for_at_once(cluster: Cluster) -> None:
    found = ceph_gate.hosts_ok_to_stop(["osd01", "osd03"])
    assert (found["code"], cluster.said[-1]["ids"]) == ("ok", ["0", "1", "4", "5"])
    # one host alone could be spared, both together cannot
    cluster.stoppable = {"0", "1"}
    assert ceph_gate.hosts_ok_to_stop("osd01")["ok"] is True
    found = ceph_gate.hosts_ok_to_stop(["osd01", "osd03"])
    assert (found["verdict"], found["code"]) == ("fail", "ceph-stop")
    assert found["sentence"].startswith("osd01, osd03: osd.0, osd.1, osd.4, osd.5 cannot stop: 3")
    assert ceph_gate.hosts_ok_to_stop(["mon01"])["code"] == "ok"
    cluster.up = False
    assert ceph_gate.hosts_ok_to_stop(["osd01"])["code"] == "ceph-unreachable"


def test_the_manager_is_asked_who_may_go_for_ever(cluster: Cluster) -> None:
    cluster.destroyable = {"4"}
    assert ceph_gate.safe_to_destroy(4)["ok"] is True
    found = ceph_gate.safe_to_destroy([4, 5])
    assert (found["ok"], "placement groups are there: osd.5" in found["sentence"]) == (False, True)


def test_placement_groups_that_are_not_clean_are_explained(cluster: Cluster) -> None:
    assert ceph_gate.pgs()["ok"] is True
    cluster.states = {"active+clean": 30, "active+undersized+degraded": 3}
    cluster.osds[5]["up"] = 0
    found = ceph_gate.pgs()
    assert found["ok"] is False
    assert found["sentence"] == (
        "30 of 33 placement groups are active and clean; 3 active+undersized+degraded;"
        " osd.5 is down since 2026-01-02T03:04:05."
    )
    with pytest.raises(
        CommandExecutionError, match=r"Not clean after 0 s: 30 of 33.*osd.5 is down"
    ):
        ceph_gate.wait_clean(timeout=0, interval=0)


def test_who_blocks_placement_groups_is_named(cluster: Cluster) -> None:
    cluster.states = {"active+clean": 30, "peering": 3}
    cluster.blocked_by = [[3], [3, 7], []]
    found = ceph_gate.pgs()
    assert "3 peering; blocked by osd.3, osd.7" in found["sentence"]
    assert cluster.said[-1] == {"prefix": "pg ls", "format": "json", "states": ["peering"]}
    # without a manager the monitors' word is left
    cluster.managers = []
    assert (
        ceph_gate.pgs()["sentence"] == "30 of 33 placement groups are active and clean; 3 peering."
    )


def test_what_was_counted_before_a_store_went_down_is_not_believed(cluster: Cluster) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    lately = now.strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
    # it is up again, but the map in which it went down is a moment old
    cluster.osds[3]["down_at"] = 8
    cluster.modified = {8: lately, 9: lately}
    found = ceph_gate.pgs()
    assert (found["ok"], found["code"]) == (False, "ceph-pgs")
    assert "counted before osd.3 went down a moment ago" in found["sentence"]
    # the map changed for something else
    cluster.modified = {9: lately}
    assert ceph_gate.pgs()["ok"] is True


def test_missing_copies_that_were_accepted_are_a_warning(cluster: Cluster) -> None:
    cluster.states = {"active+clean": 30, "active+undersized+degraded": 3}
    cluster.checks = {"PG_DEGRADED": "Degraded data redundancy"}
    assert ceph_gate.pgs()["verdict"] == "fail"
    cluster.muted = {"PG_DEGRADED"}
    found = ceph_gate.pgs()
    assert (found["ok"], found["verdict"], found["code"]) == (True, "warn", "ceph-pgs")
    # what serves nothing cannot be accepted
    cluster.states["peering"] = 1
    assert ceph_gate.pgs()["verdict"] == "fail"


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ({}, "ok"),
        ({"OSD_NEARFULL": "1 nearfull osd(s)"}, "ceph-full"),
        ({"POOL_FULL": "1 pool(s) full"}, "ceph-full"),
        ({"MON_CLOCK_SKEW": "clock skew detected on mon.mon02"}, "ceph-clock"),
        ({"SLOW_OPS": "3 slow ops, oldest one blocked for 33 sec"}, "ceph-slow"),
        ({"OSD_DOWN": "1 osds down", "PG_DEGRADED": "Degraded data redundancy"}, "ceph-down"),
        ({"MON_DOWN": "1/3 mons down"}, "ceph-quorum"),
        ({"PG_DAMAGED": "1 pg inconsistent", "OSD_DOWN": "1 osds down"}, "ceph-damaged"),
        ({"OSDMAP_FLAGS": "noout flag(s) set"}, "ceph-flags"),
        ({"RECENT_CRASH": "1 daemons have recently crashed"}, "ceph-warning"),
    ],
)
def test_what_the_cluster_warns_of_has_a_code(
    cluster: Cluster, checks: dict[str, str], code: str
) -> None:
    cluster.checks = checks
    found = ceph_gate.cluster()
    assert found["code"] == code
    assert found["verdict"] in gates.CODES[code]
    assert all(text in found["sentence"] for text in checks.values())
    # what somebody accepted does not count
    cluster.muted = {*checks}
    assert ceph_gate.cluster()["code"] == "ok"


def test_a_check_may_be_about_some_warnings_alone(cluster: Cluster) -> None:
    cluster.checks = {"OSD_DOWN": "1 osds down"}
    assert ceph_gate.cluster(only=["MON_CLOCK_SKEW"])["code"] == "ok"
    cluster.checks["MON_CLOCK_SKEW"] = "clock skew detected on mon.mon02"
    found = ceph_gate.cluster(only=["MON_CLOCK_SKEW"])
    assert (found["verdict"], "mon.mon02" in found["sentence"]) == ("fail", True)


def test_a_cluster_that_does_not_answer_has_a_code(cluster: Cluster) -> None:
    cluster.up = False
    for check in (ceph_gate.cluster, ceph_gate.in_quorum, ceph_gate.pgs, ceph_gate.manager_active):
        assert check()["code"] == "ceph-unreachable"


def test_a_flag_that_is_a_lease_is_a_warning(cluster: Cluster) -> None:
    cluster.checks, cluster.flags = {"OSDMAP_FLAGS": "noout flag(s) set"}, {"noout"}
    cluster.notes["saltern/lease/noout"] = '{"owner": "saltern", "since": "x"}'
    found = ceph_gate.cluster()
    assert (found["verdict"], found["code"]) == ("warn", "ceph-flags")


@pytest.mark.parametrize("state", ["active+clean+inconsistent", "clean", "peering", "unknown"])
def test_a_damaged_group_is_not_clean(cluster: Cluster, state: str) -> None:
    cluster.states = {state: 1}
    assert ceph_gate.pgs()["ok"] is False
    assert ceph_cluster.status()["pgs"]["clean"] == 0


# --- a host of object stores ----------------------------------------------------------------------


@pytest.fixture
def stores(loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """This host is osd01 with the stores 0 and 1."""
    found = [{"id": n, "path": f"/srv/ceph/{n}", "ready": True} for n in (0, 1)]
    loaded["ceph_store.stores"] = lambda: found
    loaded["ceph_store.find"] = lambda path: next((s for s in found if s["path"] == path), None)
    devices = [{"path": store["path"]} for store in found]
    pillar = {"host": {"name": "osd01"}, "ceph": {"osd": {"devices": devices}}}
    for module in (ceph_daemon, ceph_host):
        monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
    return found


def test_object_stores_of_a_host(cluster: Cluster, stores: list[dict[str, Any]]) -> None:
    assert ceph_host.osds_up() == {"ok": True, "sentence": "2 object stores are up and in."}
    cluster.osds[1].update(up=1, **{"in": 0})
    assert ceph_host.osds_up() == {"ok": False, "sentence": "osd.1 is out."}
    stores.pop()
    assert ceph_host.osds_up()["sentence"] == "No object store is on /srv/ceph/1."


@pytest.mark.usefixtures("stores")
def test_a_dead_store_counts_until_it_is_accepted(cluster: Cluster) -> None:
    cluster.osds[1]["up"] = 0
    cluster.checks = {"OSD_DOWN": "1 osds down"}
    found = ceph_host.osds_up()
    assert found["ok"] is False
    assert re.fullmatch(r"osd.1 is down since \S+\.", found["sentence"])
    cluster.muted = {"OSD_DOWN"}
    found = ceph_host.osds_up()
    assert found["ok"] is True
    assert re.fullmatch(r"osd.1 is down since \S+, which is accepted\.", found["sentence"])
    # that says nothing of one that nobody knows
    del cluster.osds[0]
    found = ceph_host.osds_up()
    assert found["ok"] is False
    assert found["sentence"].startswith("osd.0 is not in the cluster; osd.1 is down since ")


@pytest.mark.usefixtures("stores")
def test_a_host_is_held_noted_and_given_back(cluster: Cluster) -> None:
    assert ceph_host.hold() == "osd01 is held: noout."
    assert cluster.node_flags == {"osd01": ["noout"]}
    assert ceph_cluster.leases()["noout/osd01"]["owner"] == "saltern"
    # the note comes before the flag: after a crash between them it is released all the same
    order = [words["prefix"] for words in cluster.said]
    assert order.index("config-key set") < order.index("osd set-group")
    cluster.stoppable = set()
    assert ceph_host.hold() == "osd01 is held: noout."
    assert ceph_host.release() == "osd01 is released."
    assert (cluster.node_flags, cluster.notes) == ({}, {})
    assert ceph_host.release() == "osd01 is not held."


@pytest.mark.usefixtures("stores")
def test_a_host_that_is_needed_is_not_held(cluster: Cluster) -> None:
    cluster.stoppable = {"0"}
    with pytest.raises(CommandExecutionError, match=r"osd.0, osd.1 cannot stop"):
        ceph_host.hold()
    assert (cluster.node_flags, cluster.notes) == ({}, {})


@pytest.mark.usefixtures("stores")
def test_a_lease_has_one_owner(cluster: Cluster) -> None:
    ceph_host.hold(owner="someone")
    for act in (ceph_host.hold, ceph_host.release):
        with pytest.raises(CommandExecutionError, match="held by someone since"):
            act()
    assert cluster.node_flags == {"osd01": ["noout"]}


# --- clients --------------------------------------------------------------------------------------


def test_keys_of_a_host_are_tried(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    pillar = {"ceph": {"common": {"fsid": cluster.fsid}, "client": {"keyring": {"client.a": {}}}}}
    monkeypatch.setattr(ceph_client, "__pillar__", pillar, raising=False)
    assert ceph_client.healthy() == {"ok": True, "sentence": "client.a: accepted."}
    cluster.fsid = "00000000-1111-2222-3333-444444444444"
    assert "reaches cluster 00000000" in ceph_client.healthy()["sentence"]
    cluster.up = False
    told = ceph_client.healthy()
    assert (told["ok"], told["sentence"]) == (False, "client.a cannot log in to Ceph: TimedOut.")


def test_a_client_uses_its_pool_and_leaves_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {"client.a": {"pool": "probe"}, "client.b": {}}
    pillar = {"ceph": {"client": {"keyring": users}}}
    monkeypatch.setattr(ceph_client, "__pillar__", pillar, raising=False)
    assert ceph_client.sanity()["sentence"] == "client.a cannot use pool probe: ObjectNotFound."
    cluster.pools["probe"] = {}
    found = ceph_client.sanity()
    assert (found["ok"], found["sentence"]) == (True, "client.a wrote to pool probe and read it.")
    assert cluster.objects == {}
    cluster.up = False
    assert ceph_client.sanity()["ok"] is False


# --- what a host holds ----------------------------------------------------------------------------

FSID = "5d9c4f1e-6b1a-4a55-9a44-0f2a7be0c3d1"


@pytest.fixture
def place(loaded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories of a host with no daemon."""
    monkeypatch.setattr(ceph_store, "STORES", str(tmp_path / "osd"))
    monkeypatch.setattr(ceph_monitor, "STORES", str(tmp_path / "mon"))
    monkeypatch.setattr(ceph_daemon, "SOCKETS", str(tmp_path / "ceph-{}.asok"))
    loaded["ceph_store.fsids"] = ceph_store.fsids
    return tmp_path


def store(top: Path, number: int, fsid: str = FSID, device: str = "/dev/sdb") -> None:
    directory = top / f"osd/ceph-{number}"
    directory.mkdir(parents=True)
    (directory / "ceph_fsid").write_text(f"{fsid}\n")
    (directory / "fsid").write_text("u\n")
    (directory / "block").symlink_to(device)
    for name in ("ready", "keyring"):
        (directory / name).touch()


def test_an_object_store_is_found_by_its_device(place: Path) -> None:
    disk = place / "disk"
    disk.touch()
    (place / "by-path").symlink_to(disk)
    store(place, 4, device=str(place / "by-path"))
    found = ceph_store.find(str(disk))
    assert found is not None
    assert (found["id"], found["ready"], found["unit"]) == (4, True, "ceph-osd@4")
    assert ceph_store.fsids() == {"osd.4": FSID}
    assert ceph_store.find("/dev/sdz") is None


def test_a_host_with_nothing_is_fresh(place: Path) -> None:
    found = ceph_monitor.facts()
    assert (found["fresh"], found["running"], found["fsids"]) == (True, False, {})
    assert ceph_monitor.foreign(FSID) == ""


def test_a_part_of_another_cluster_is_named(place: Path) -> None:
    store(place, 0)
    store(place, 1, fsid="00000000-1111-2222-3333-444444444444")
    told = ceph_monitor.foreign(FSID)
    assert "osd.1 of cluster 00000000-1111-2222-3333-444444444444" in told
    assert "osd.0" not in told
    with pytest.raises(CommandExecutionError, match="Nothing was touched"):
        ceph_monitor.create({"mon01": "192.0.2.1"})


@pytest.mark.parametrize(
    ("kind", "word"),
    [("block", "is no block device of this host"), ("file", "is no file"), ("loop", "no file")],
)
def test_a_device_of_another_kind_is_refused(tmp_path: Path, kind: str, word: str) -> None:
    assert word in ceph_store.may_use(str(tmp_path), kind, FSID)


def test_a_file_that_is_not_there_may_be_made(tmp_path: Path) -> None:
    assert ceph_store.may_use(str(tmp_path / "new"), "file", FSID) == ""


def test_first_keys_are_those_of_the_model(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"key": HEX, "admin_key": HEX, "host_key": HEX}
    monkeypatch.setattr(ceph_monitor, "__pillar__", {"ceph": {"mon": keys}}, raising=False)
    cluster.answer({"prefix": "auth import"}, ceph_monitor.keyring())
    assert set(cluster.users) == {"mon.", "client.admin", "client.saltern"}
    assert cluster.users["client.saltern"]["caps"] == ceph_monitor.HOST_CAPS
    assert "allow *" not in ceph_monitor.HOST_CAPS.values()
    monkeypatch.setattr(ceph_monitor, "__pillar__", {}, raising=False)
    with pytest.raises(CommandExecutionError, match="as references to secrets"):
        ceph_monitor.keyring()
