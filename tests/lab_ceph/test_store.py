"""A store that died for good gets a successor with its number, under a client that writes."""

from __future__ import annotations

import json

from tests.lab_ceph.storage import Storage
from tests.support.cluster import Cluster, eventually

HOST = "osd03"


def test_a_dead_store_is_replaced_and_keeps_its_number(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    (store, *_) = storage.call(HOST, "ceph_store.stores")
    number, place = store["id"], storage.ask("osd", "find", str(store["id"]))["crush_location"]
    arguments = {"store": number, "accept": True}
    with storage.writing() as writes:
        # the daemon is killed, and what it lived on is gone
        cluster.run(HOST, "rm", store["path"])
        cluster.run(HOST, "systemctl", "kill", "-s", "KILL", store["unit"])
        assert eventually(lambda: "OSD_DOWN" in storage.health()[1], 60)
        found = storage.call("mon01", "ceph_gate.cluster")
        assert (found["ok"], found["code"]) == (False, "ceph-down")
        told = storage.call("mon01", "ceph_gate.pgs")["sentence"]
        assert f"osd.{number} is down since " in told
        storage.applied(
            "operation",
            "operation=ceph.osd.replace-store",
            f"nodes={HOST}",
            f"args={json.dumps(arguments)}",
        )
    tell.append(f"replaced store: {writes}")
    (after, *_) = [one for one in storage.call(HOST, "ceph_store.stores") if one["id"] == number]
    assert (after["path"], after["uuid"] != store["uuid"]) == (store["path"], True)
    assert storage.ask("osd", "find", str(number))["crush_location"] == place
    assert (writes.failed, writes.wrong, writes.done > 100) == ([], [], True)
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])
