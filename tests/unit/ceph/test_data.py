"""Stores and hosts that leave and come: nothing goes before its data are elsewhere."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import (
    ceph_daemon,
    ceph_data,
    ceph_disk,
    ceph_flag,
    ceph_map,
    ceph_monitor,
    ceph_rotate,
    ceph_upmap,
)
from tests.support.rados import Cluster

pytestmark = pytest.mark.usefixtures("loaded")
WRITES = {"osd destroy", "osd purge", "osd crush rm", "osd out", "osd in", "osd crush reweight"}


@pytest.fixture(autouse=True)
def said(loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was told to people; no time passes."""
    found: list[str] = []
    loaded["event.send"] = lambda tag, data: found.append(data["message"])
    monkeypatch.setattr(ceph_data.time, "sleep", lambda seconds: None)
    return found


def written(cluster: Cluster) -> list[str]:
    return [words["prefix"] for words in cluster.said if words["prefix"] in WRITES]


# --- one store ------------------------------------------------------------------------------------


def test_a_store_is_emptied_before_it_may_go(cluster: Cluster, said: list[str]) -> None:
    cluster.pools["rbd"] = pool()
    cluster.slowness = 3
    told = ceph_data.evacuate(3, host="osd02")
    assert told == "osd.3 is out, and holds nothing that is not elsewhere."
    assert cluster.osds[3]["in"] == 0
    assert len(said) == 1
    assert "osd.3 is being emptied: osd.3 cannot go for ever" in said[0]
    # once more it has nothing to do
    before = len(written(cluster))
    ceph_data.evacuate(3, host="osd02")
    assert len(written(cluster)) == before


def test_a_store_of_another_host_is_left_alone(cluster: Cluster) -> None:
    for act in (ceph_data.evacuate, ceph_data.destroy):
        with pytest.raises(CommandExecutionError, match=r"osd.3 is on osd02, not on osd01"):
            act(3, host="osd01")
        with pytest.raises(CommandExecutionError, match=r"osd.9 is not in the cluster"):
            act(9)
    assert written(cluster) == []


def test_what_is_not_elsewhere_in_time_is_told(cluster: Cluster) -> None:
    cluster.slowness = None
    cluster.states = {"active+clean": 30, "active+remapped+backfilling": 3}
    with pytest.raises(CommandExecutionError) as told:
        ceph_data.evacuate(3, limit=0)
    assert "not done after 0.0 s" in str(told.value)
    assert "3 active+remapped+backfilling" in str(told.value)


def test_a_dead_store_is_given_up_only_when_somebody_accepts_it(
    cluster: Cluster, said: list[str]
) -> None:
    cluster.osds[3]["up"] = 0
    cluster.slowness = None
    cluster.states = {"active+clean": 30, "active+undersized+degraded": 3}
    # while it is in, its copies go nowhere: nothing is waited for
    with pytest.raises(CommandExecutionError, match=r"osd.3 cannot go for ever.*evacuate"):
        ceph_data.destroy(3, host="osd02")
    assert said == []
    assert "others serve all of its data" in ceph_data.evacuate(3, accept=True)
    told = ceph_data.destroy(3, host="osd02", accept=True)
    assert told == "osd.3 is given up; its number waits for a new one."
    assert cluster.osds[3]["destroyed"] is True
    assert cluster.osds[3]["in"] == 1  # no data are moved twice
    assert ceph_data.destroy(3, host="osd02") == "osd.3 is given up."


def test_a_store_that_was_emptied_goes_when_the_others_have_settled(
    cluster: Cluster, said: list[str]
) -> None:
    """Its placement groups find each other again after it stopped: that is waited for."""
    cluster.osds[3].update({"up": 0, "in": 0})
    cluster.slowness = 3
    cluster.states = {"active+clean": 30, "active+undersized": 2, "peering": 1}
    assert ceph_data.destroy(3, host="osd02").startswith("osd.3 is given up")
    assert len(said) == 1
    cluster.osds[2].update({"up": 0, "in": 0})
    cluster.slowness = None
    with pytest.raises(CommandExecutionError, match=r"not done after 0\.0 s"):
        ceph_data.destroy(2, host="osd02", limit=0)


def test_nobody_can_accept_that_data_are_nowhere_else(cluster: Cluster) -> None:
    cluster.osds[3]["up"] = 0
    cluster.states = {"active+clean": 30, "down": 1}
    for act in (ceph_data.evacuate, ceph_data.destroy):
        with pytest.raises(CommandExecutionError, match="What it holds may be nowhere else"):
            act(3, accept=True)
    cluster.states = {}
    with pytest.raises(CommandExecutionError, match="nowhere else"):
        ceph_data.destroy(3, accept=True)
    assert written(cluster) == []


def test_the_manager_looks_for_itself_unless_somebody_accepted(cluster: Cluster) -> None:
    cluster.osds[3].update({"up": 0, "in": 0})
    ceph_data.destroy(3)
    words = [words for words in cluster.said if words["prefix"] == "osd destroy"]
    assert words == [{"prefix": "osd destroy", "format": "json", "id": 3}]


def test_a_store_that_runs_is_not_given_up(cluster: Cluster) -> None:
    cluster.destroyable = {"3"}
    for accept in (False, True):
        with pytest.raises(CommandExecutionError, match=r"osd.3 still runs: stop it"):
            ceph_data.destroy(3, accept=accept)


def test_what_is_written_and_not_there_is_an_error(cluster: Cluster) -> None:
    cluster.osds[3]["up"] = 0
    cluster.destroyable = {"3"}
    cluster.deaf = True
    with pytest.raises(CommandExecutionError, match="reads back as there"):
        ceph_data.destroy(3)


def test_a_new_store_is_let_in(cluster: Cluster) -> None:
    cluster.osds[3]["in"] = 0
    assert ceph_data.take_in(3) == "osd.3 is in."
    assert cluster.osds[3]["in"] == 1


# --- a host ---------------------------------------------------------------------------------------


def pool(size: int = 2) -> dict[str, Any]:
    return {
        "size": size, "min_size": 2, "crush_rule": "replicated_rule", "pg_autoscale_mode": "on",
        "pg_num": 8, "bulk": "false", "max_bytes": 0, "max_objects": 0, "applications": {},
        "options": {},
    }  # fmt: skip


def test_a_host_leaves_for_good(cluster: Cluster) -> None:
    cluster.pools["rbd"] = pool()
    assert ceph_data.empty("osd03") == "osd03 holds nothing that is not elsewhere."
    assert [cluster.osds[n]["weight"] for n in (4, 5)] == [0, 0]
    with pytest.raises(CommandExecutionError, match=r"osd.4, osd.5 still runs"):
        ceph_data.purge("osd03")
    for number in (4, 5):
        cluster.osds[number]["up"] = 0
    assert ceph_data.purge("osd03") == "osd03 is not in the cluster any more."
    assert (sorted(cluster.osds), "osd03" in cluster.buckets) == ([0, 1, 2, 3], False)
    assert cluster.notes == {}
    # after a crash anywhere it may be done again
    assert ceph_data.empty("osd03")
    assert ceph_data.purge("osd03")


def test_a_host_that_stays_gets_its_weight_back(cluster: Cluster) -> None:
    ceph_data.empty("osd03")
    assert ceph_data.take_back("osd03") == "osd03 weighs what it did."
    assert [cluster.osds[n]["weight"] for n in (4, 5)] == [0.0039, 0.0039]
    assert cluster.notes == {}


def test_a_host_without_which_copies_have_no_place_stays(cluster: Cluster) -> None:
    cluster.pools["rbd"] = pool(3)
    with pytest.raises(CommandExecutionError) as told:
        ceph_data.empty("osd03")
    assert "Pool rbd keeps 3 copies in as many of host, and 2 would be left" in str(told.value)
    assert written(cluster) == []


def test_a_nearly_full_cluster_keeps_its_hosts(cluster: Cluster) -> None:
    cluster.pools["rbd"] = pool()
    for osd in cluster.osds.values():
        osd["used"] = 4 * 2**20 * 6 // 10
    with pytest.raises(CommandExecutionError, match="would be 90% full, more than 85%"):
        ceph_data.empty("osd03")
    with pytest.raises(CommandExecutionError, match="add room first"):
        ceph_data.evacuate(0) if ceph_map.room_without([0]) else ceph_data.empty("osd03")
    assert written(cluster) == []


def test_a_host_whose_data_are_not_elsewhere_is_not_forgotten(cluster: Cluster) -> None:
    for number in (4, 5):
        cluster.osds[number]["up"] = 0
    with pytest.raises(CommandExecutionError, match=r"not done after 0\.0 s.*cannot go for ever"):
        ceph_data.purge("osd03", limit=0)
    assert sorted(cluster.osds) == [0, 1, 2, 3, 4, 5]


def test_a_host_is_forgotten_when_the_others_have_settled(
    cluster: Cluster, said: list[str]
) -> None:
    ceph_data.empty("osd03")
    said.clear()
    cluster.destroyable.clear()
    for number in (4, 5):
        cluster.osds[number]["up"] = 0
    cluster.slowness = 3
    cluster.states = {"active+clean": 30, "peering": 3}
    assert ceph_data.purge("osd03") == "osd03 is not in the cluster any more."
    assert said
    assert sorted(cluster.osds) == [0, 1, 2, 3]


# --- a new host -----------------------------------------------------------------------------------


@pytest.fixture
def grown(cluster: Cluster) -> Cluster:
    """A cluster with data and a new host, whose store weighs nothing."""
    cluster.osds[6] = {"up": 1, "in": 1, "host": "osd04", "weight": 0, "new": True}
    cluster.buckets.add("osd04")
    cluster.placed = {f"1.{n}": [n % 2, 2 + n % 2, 4 + n % 2] for n in range(5)}
    return cluster


def test_data_move_to_a_new_host_a_few_at_a_time(grown: Cluster, said: list[str]) -> None:
    grown.upmaps["1.0"] = [[3, 2]]
    told = ceph_data.fill("osd04", pace=2)
    assert told == 'osd04 has its share of the data: {"osd.6": 0.00391}.'
    order = [words["prefix"] for words in grown.said]
    first, last = order.index("osd set"), order.index("osd unset")
    # weighed and held back while nothing may move, and let go only then
    assert first < order.index("osd crush reweight") < order.index("osd pg-upmap-items") < last
    assert last < order.index("osd rm-pg-upmap-items")
    # what was mapped before is so again
    assert grown.upmaps == {"1.0": [[3, 2]]}
    assert (grown.flags, grown.notes) == (set(), {})
    assert said[-1] == "osd04 is being filled: 5 of 5 moved."
    ceph_data.fill("osd04")
    assert grown.osds[6]["weight"] == 0.00391


def test_nothing_moves_before_it_is_let_go(
    grown: Cluster, loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {pgid: list(numbers) for pgid, numbers in grown.placed.items()}
    before = loaded["ceph_flag.give"]

    def give(flag: str, owner: str) -> str:
        assert grown.placed == data
        assert all(grown.should_be(pgid) == numbers for pgid, numbers in data.items())
        return str(before(flag, owner))

    loaded["ceph_flag.give"] = give
    ceph_data.fill("osd04")
    assert all(numbers[0] == 6 for numbers in map(grown.should_be, data))


def test_a_group_that_was_mapped_before_is_held_where_it_is(grown: Cluster) -> None:
    grown.upmaps, grown.flags = {"1.0": [[3, 2]]}, {"norebalance"}
    assert ceph_upmap.moving() == {}
    grown.osds[6]["weight"] = 1
    found = ceph_upmap.moving()
    assert sorted(found) == sorted(grown.placed)
    assert found["1.0"]["now"] == [[3, 2]]
    for group, pairs in found.items():
        ceph_upmap.put(group, pairs["hold"])
    assert ceph_upmap.moving() == {}
    # and back
    ceph_upmap.put("1.0", found["1.0"]["now"])
    assert list(ceph_upmap.moving()) == ["1.0"]
    ceph_upmap.put("1.0", [])
    assert "1.0" not in grown.upmaps


def test_a_fill_that_ended_in_the_middle_is_gone_on_with(
    grown: Cluster, loaded: dict[str, Any]
) -> None:
    ask = loaded["ceph_gate.pgs"]

    def gone() -> dict[str, Any]:
        raise CommandExecutionError("The monitors do not answer.")

    loaded["ceph_gate.pgs"] = gone
    with pytest.raises(CommandExecutionError, match="do not answer"):
        ceph_data.fill("osd04", pace=2)
    # the flag is given back, and who is held back is known to the cluster itself
    assert grown.flags == set()
    assert len([key for key in grown.notes if key.startswith("saltern/fill/osd04/")]) == 5
    loaded["ceph_gate.pgs"] = ask
    ceph_data.fill("osd04", pace=2)
    assert (grown.notes, grown.upmaps) == ({}, {})


# --- flags ----------------------------------------------------------------------------------------


def test_a_flag_is_a_lease_with_one_owner(cluster: Cluster) -> None:
    assert ceph_flag.take("norebalance") == "norebalance is held."
    assert ceph_flag.take("norebalance") == "norebalance is held."
    order = [words["prefix"] for words in cluster.said]
    assert order.index("config-key set") < order.index("osd set")
    for act in (ceph_flag.take, ceph_flag.give):
        with pytest.raises(CommandExecutionError, match="held by saltern since"):
            act("norebalance", owner="someone")
    found = ceph_flag.held()
    assert (sorted(found["leases"]), found["strays"], found["idle"]) == (["norebalance"], [], [])
    assert ceph_flag.give("norebalance", "someone", force=True) == "norebalance is given back."
    assert (cluster.flags, cluster.notes) == (set(), {})
    assert ceph_flag.give("norebalance") == "norebalance is not held."


def test_a_flag_that_somebody_set_by_hand_is_never_taken_over(cluster: Cluster) -> None:
    cluster.flags = {"norebalance"}
    with pytest.raises(CommandExecutionError, match="nobody's lease"):
        ceph_flag.take("norebalance")
    assert ceph_flag.held()["strays"] == ["norebalance"]
    assert cluster.notes == {}


def test_the_flag_of_one_host_is_given_back_too(cluster: Cluster) -> None:
    cluster.node_flags = {"osd01": ["noout"]}
    note = {"owner": "saltern", "since": "x"}
    cluster.notes["saltern/lease/noout/osd01"] = json.dumps(note)
    ceph_flag.give("noout/osd01")
    assert (cluster.node_flags, cluster.notes) == ({}, {})


# --- facts ----------------------------------------------------------------------------------------


def test_facts_are_what_a_decision_needs(cluster: Cluster) -> None:
    cluster.pools["rbd"] = pool()
    cluster.placed = {"1.0": [0, 2, 2147483647]}
    found = ceph_map.facts()
    assert found["groups"] == [["rbd", [0, 2]]]
    rule = {"root": "default", "class": "", "domain": "host"}
    assert found["pools"] == {"rbd": {"size": 2, "min_size": 2, **rule}}
    assert found["stores"]["osd.0"]["bytes"] == 4 * 2**30
    assert ceph_map.facts(groups=False)["groups"] == []


def test_a_placement_group_of_which_the_manager_has_not_heard_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a pool is split: for seconds it shows no store, which is no loss."""
    cluster.pools["rbd"] = pool()
    heard = {"pgid": "1.0", "state": "active+clean", "up": [0, 2], "acting": [0, 2]}
    silent = {"pgid": "1.1", "state": "unknown", "up": [], "acting": []}
    answers = [[heard, silent], [heard, silent], [heard, {**heard, "pgid": "1.1"}]]
    monkeypatch.setattr(ceph_map, "placements", lambda: answers.pop(0))
    assert ceph_map.facts()["groups"] == [["rbd", [0, 2]]] * 2
    monkeypatch.setattr(ceph_map, "placements", lambda: [heard, silent])
    monkeypatch.setattr(ceph_map, "HEARD", 0)
    with pytest.raises(CommandExecutionError, match="not heard of 1 of 2 placement groups"):
        ceph_map.facts()


# --- on the host ----------------------------------------------------------------------------------


@pytest.fixture
def disk(
    loaded: dict[str, Any], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """osd02 with the store 3 on a file; its directory is what is returned."""
    device = tmp_path / "store1"
    device.write_bytes(b"x" * 100)
    place = tmp_path / "osd/ceph-3"
    place.mkdir(parents=True)
    (place / "block").symlink_to(device)
    store = {"id": 3, "uuid": "u", "path": str(device), "unit": "ceph-osd@3"}
    monkeypatch.setattr(ceph_disk, "STORES", str(tmp_path / "osd"))
    loaded["ceph_store.stores"] = lambda: [store] if place.exists() else []
    loaded["ceph_store.label"] = lambda path: {"osd_uuid": "u"}
    loaded["service.status"] = lambda unit: bool(cluster.osds[3]["up"])
    return place


def test_a_store_that_was_given_up_is_forgotten_and_its_number_used_again(
    cluster: Cluster, disk: Path
) -> None:
    device = (disk / "block").resolve()
    assert ceph_disk.size(3) == 100
    cluster.osds[3].update(up=0, destroyed=True)
    cluster.osds[2].update(up=0, destroyed=True)
    with pytest.raises(CommandExecutionError, match=r"still holds osd.3. Change the disk, or"):
        ceph_disk.forget(3)
    assert ceph_disk.forget(3, wipe=True) == "osd.3 is not on this host any more."
    assert (disk.exists(), device.exists()) == (False, False)
    # the one that was there, though another one waits too; a device that is new takes the lowest
    assert ceph_disk.kept(str(device), "osd02") == 3
    assert ceph_disk.kept("/srv/other", "osd02") == 2
    assert ceph_disk.kept(str(device), "osd01") is None
    cluster.osds[3].pop("destroyed")
    cluster.osds[2].pop("destroyed")
    assert ceph_disk.kept(str(device), "osd02") is None
    assert ceph_disk.forget(3) == "There is nothing to forget."


def test_a_store_that_the_cluster_counts_on_is_kept(cluster: Cluster, disk: Path) -> None:
    with pytest.raises(CommandExecutionError, match=r"still counts on osd.3"):
        ceph_disk.forget(3, wipe=True)
    cluster.osds[3]["destroyed"] = True
    with pytest.raises(CommandExecutionError, match="still runs"):
        ceph_disk.forget(3, wipe=True)
    assert disk.exists()


def test_a_store_whose_disk_is_gone_is_forgotten(cluster: Cluster, disk: Path) -> None:
    (disk / "block").resolve().unlink()
    cluster.osds[3].update(up=0, destroyed=True)
    assert ceph_disk.forget(3) == "osd.3 is not on this host any more."


# --- monitors and managers ------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Programs that were run; stores of monitors are below a directory of the test."""
    found: list[str] = []
    monkeypatch.setattr(ceph_monitor, "STORES", str(tmp_path / "mon"))
    done = subprocess.CompletedProcess((), 0, "", "")

    def run(command: tuple[str, ...], **more: Any) -> Any:
        found.append(" ".join(command))
        return done

    monkeypatch.setattr(ceph_daemon.subprocess, "run", run)
    return found


def test_a_monitor_leaves_the_map_and_cannot_come_back(
    cluster: Cluster, ran: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mon/ceph-mon01/store.db").mkdir(parents=True)
    assert ceph_monitor.leave() == "Monitor mon01 left the cluster."
    assert cluster.monitors == ["mon02", "mon03"]
    assert ran[0] == "systemctl disable --quiet --now ceph-mon@mon01"
    (left,) = (tmp_path / "mon").iterdir()
    assert left.name.startswith(".left-mon01-")
    assert ceph_monitor.leave() == "Monitor mon01 left the cluster."


def test_a_monitor_that_is_needed_stays(cluster: Cluster, ran: list[str]) -> None:
    cluster.quorum = ["mon01", "mon02"]
    with pytest.raises(CommandExecutionError, match="1 of 3 monitors are in the quorum, which is"):
        ceph_monitor.leave()
    assert (len(cluster.monitors), ran) == (3, [])


def test_a_manager_gets_a_new_key_that_nobody_sees(
    cluster: Cluster, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = {"mon": "allow profile mgr", "osd": "allow *"}
    cluster.users["mgr.mon01"] = {"key": "old", "caps": caps}
    place = tmp_path / "mgr/ceph-mon01"
    place.mkdir(parents=True)
    monkeypatch.setattr(ceph_rotate, "MANAGERS", str(tmp_path / "mgr"))
    monkeypatch.setattr(ceph_daemon.shutil, "chown", lambda *argv: None)
    told = ceph_rotate.manager()
    assert ran == ["systemctl restart ceph-mgr@mon01"]
    key = cluster.users["mgr.mon01"]["key"]
    assert (key != "old", cluster.users["mgr.mon01"]["caps"]) == (True, caps)
    assert f"key = {key}" in (place / "keyring").read_text()
    assert (place / "keyring").stat().st_mode & 0o777 == 0o600
    assert key not in told + json.dumps(cluster.said)
    # the last manager keeps what it has
    cluster.managers = ["mon01"]
    with pytest.raises(CommandExecutionError, match="no manager beside mon01"):
        ceph_rotate.manager()
