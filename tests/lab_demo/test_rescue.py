"""All monitors lose their stores, after the last bundle: the steps of the how-to, in order."""

from __future__ import annotations

import json
import shutil
from typing import Any

from saltern.lab.cluster import last_json
from tests.support.cluster import Cluster, eventually

RESCUE = "/var/lib/ceph/rescue"
MONITORS = ("mon01", "mon02", "mon03")
STORES = ("osd01", "osd02", "osd03")


def call(cluster: Cluster, host: str, function: str, *arguments: str) -> Any:
    """What a function returns on a host; it must not fail."""
    argv = ["salt", "--out=json", "--static", "--timeout=120", f"{host}.*", function, *arguments]
    done = cluster.run(cluster.master, *argv, check=False)
    (answer,) = (last_json(done.stdout) or {}).values()
    assert done.returncode == 0, answer
    return answer


def carry(cluster: Cluster, path: str, source: str, target: str) -> None:
    """Copy a file or a directory from host to host; what is there is replaced."""
    here = cluster.provider.root(source) / path.lstrip("/")
    there = cluster.provider.root(target) / path.lstrip("/")
    if here.is_dir():
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(here, there)
        return
    there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy2(here, there)


def rados(cluster: Cluster, *words: str, text: str | None = None) -> str:
    return cluster.run("mon01", "rados", *words, text=text).stdout


def units(cluster: Cluster, verb: str, hosts: tuple[str, ...], *names: str) -> None:
    for host in hosts:
        cluster.run(host, "systemctl", verb, *names)


def test_the_cluster_comes_back_with_all_that_it_had(cluster: Cluster) -> None:
    rados(cluster, "-p", "probe", "put", "kept", "-", text="before")
    done = call(cluster, "mon03", "state.apply", "ceph.backup")
    path = next(state["changes"]["taken"] for state in done.values() if "taken" in state["changes"])
    cluster.run("mon01", "ceph", "osd", "pool", "create", "later", "8")
    cluster.run("mon01", "ceph", "osd", "pool", "application", "enable", "later", "rados")
    rados(cluster, "-p", "later", "put", "kept", "-", text="after")
    keys = json.loads(cluster.run("mon01", "ceph", "auth", "ls", "--format", "json").stdout)

    try:
        units(cluster, "stop", MONITORS, "ceph-mon.target")
        for host in MONITORS:
            cluster.run(host, "rm", "-rf", f"/var/lib/ceph/mon/ceph-{host}")
        for suffix in ("", ".sha256"):
            carry(cluster, f"{path}{suffix}", "mon03", "mon01")
        newest = max(call(cluster, host, "ceph_rescue.newest") for host in STORES)
        assert newest > call(cluster, "mon01", "ceph_backup.inspect", path)["osdmap"]
        asked = ["salt", "mon01.*", "ceph_rescue.restore", path, str(newest)]
        told = cluster.run(cluster.master, *asked, check=False).stdout
        assert "Build a store from the object stores" in told
        # nobody begins a new cluster over the data
        code, _, printed = cluster.salt_run("ceph.form")
        assert code == 2, printed

        units(cluster, "stop", MONITORS, "ceph-mgr.target", "ceph-radosgw.target")
        units(cluster, "stop", STORES, "ceph-osd@*")
        for before, host in zip((None, *STORES), STORES, strict=False):
            if before:
                carry(cluster, RESCUE, before, host)
            assert "2 object stores" in call(cluster, host, "ceph_rescue.harvest", RESCUE)
        carry(cluster, RESCUE, STORES[-1], "mon01")
        call(cluster, "mon01", "ceph_rescue.rebuild", RESCUE, path)
        for host in MONITORS:
            if host != "mon01":
                carry(cluster, RESCUE, "mon01", host)
            call(cluster, host, "ceph_rescue.place", RESCUE)
        code, _, printed = cluster.salt_run("ceph.form")
        assert code == 0, printed
    finally:
        for host in (*MONITORS, *STORES):
            cluster.run(host, "rm", "-rf", RESCUE)
    for host in MONITORS:
        cluster.run(host, "systemctl", "start", f"ceph-mgr@{host}")
    units(cluster, "start", STORES, "ceph-osd.target")
    assert call(cluster, "mon01", "ceph_gate.wait_clean")["ok"] is True
    units(cluster, "start", ("mon02", "mon03"), "ceph-radosgw.target")

    assert rados(cluster, "-p", "probe", "get", "kept", "-") == "before"
    assert rados(cluster, "-p", "later", "get", "kept", "-") == "after"
    now = json.loads(cluster.run("mon01", "ceph", "auth", "ls", "--format", "json").stdout)
    held = {user["entity"]: user["key"] for user in now["auth_dump"]}
    assert {user["entity"]: user["key"] for user in keys["auth_dump"]} == held
    call(cluster, "mon01", "state.apply", "ceph.setup")

    def passes() -> bool:
        return cluster.salt_run("sanity.run")[0] == 0

    assert eventually(passes, 120)
