"""A monitor's store is lost: it comes back from a bundle, or from what the object stores know."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

from tests.kitchen.ceph.test_ceph import FSID, call, ceph, converge, eventually, refused

PLACE = "/var/backups/ceph"
STORE = "/var/lib/ceph/mon/ceph-host"
RESCUE = "/var/lib/ceph/rescue"
CLIENTS = "ceph-mds.target ceph-radosgw.target ceph-mgr.target"
#: the suite has one monitor, which may be stopped here
ALONE = {"ceph": {"mon": {"backup": {"directory": PLACE, "interrupt": True, "keep": 3}}}}


def put(host: Host, pool: str, text: str) -> None:
    host.check_output(f"printf %s | rados -p {pool} put kept -", text)


def got(host: Host, pool: str) -> str:
    return str(host.check_output(f"rados -p {pool} get kept -"))


def bundles(host: Host) -> list[str]:
    return sorted(host.check_output(f"ls {PLACE}/*.tar.gz").split())


def lose(host: Host) -> None:
    host.check_output(f"systemctl stop ceph-mon@host && rm -rf {STORE}")


@pytest.fixture
def bundle(host: Host) -> str:
    """One that knows the newest map of object stores; taken anew where the last one does not."""
    put(host, "rbd", "before")
    for _ in range(5):
        assert converge(host, ALONE, "ceph.backup") == {}
        path = bundles(host)[-1]
        if call(host, "ceph_backup.inspect", path)["osdmap"] >= call(host, "ceph_rescue.newest"):
            return path
    raise AssertionError("the map of object stores does not come to rest")


def test_a_bundle_is_for_root_alone_and_names_its_cluster(host: Host, bundle: str) -> None:
    for path, mode in ((PLACE, 0o700), (bundle, 0o600), (f"{bundle}.sha256", 0o600)):
        assert (host.file(path).user, host.file(path).mode) == ("root", mode), path
    about = call(host, "ceph_backup.inspect", bundle)
    assert (about["fsid"], about["monitor"], about["members"]) == (FSID, "host", ["host"])
    assert host.run(f"tar tzf {bundle}").stdout.splitlines()[0] == "manifest.json"
    host.check_output(f"cd {PLACE} && sha256sum --check --quiet *.sha256")
    assert eventually(host, "health", wanted="HEALTH_OK")["status"] == "HEALTH_OK"


def test_the_only_monitor_is_not_stopped_unasked(host: Host) -> None:
    before = bundles(host)
    assert "cannot be stopped" in refused(host, "ceph_backup.take", PLACE)
    assert bundles(host) == before
    assert host.service("ceph-mon@host").is_running


def test_a_lost_store_comes_back_from_its_bundle(host: Host, bundle: str) -> None:
    newest = str(call(host, "ceph_rescue.newest"))
    assert "runs; nothing is put in its place" in refused(
        host, "ceph_rescue.restore", bundle, newest
    )
    lose(host)
    try:
        call_it = {"bundle": bundle, "newest_map": int(newest)}
        host.check_output(
            f"cp {bundle} {PLACE}/damaged && cp {bundle}.sha256 {PLACE}/damaged.sha256"
        )
        host.check_output(
            f"printf x | dd of={PLACE}/damaged bs=1 seek=4000 conv=notrunc status=none"
        )
        (told,) = converge(host, {**call_it, "bundle": f"{PLACE}/damaged"}, "ceph.restore").values()
        assert "is damaged" in told
        assert not host.file(STORE).exists
        assert converge(host, call_it, "ceph.restore") == {}
    finally:
        host.run(f"rm -f {PLACE}/damaged*")
    assert "Monitor host is leader" in call(host, "ceph_monitor.start")
    assert got(host, "rbd") == "before"
    assert call(host, "ceph_client.healthy")["ok"] is True
    assert eventually(host, "health", wanted="HEALTH_OK", seconds=120)["status"] == "HEALTH_OK"


@pytest.mark.full
def test_all_monitors_are_lost_and_the_bundle_is_older_than_the_data(
    host: Host, bundle: str
) -> None:
    """The steps of docs/how-to/ceph-backup.md, on one host."""
    host.check_output(
        "ceph osd pool create later 16 && ceph osd pool application enable later rados"
    )
    put(host, "later", "after")
    key = ceph(host, "auth", "get", "client.app")
    newest = str(call(host, "ceph_rescue.newest"))
    lose(host)
    assert "Build a store from the object stores" in refused(
        host, "ceph_rescue.restore", bundle, newest
    )
    assert "osd.0 runs: stop it first" in refused(host, "ceph_rescue.harvest", RESCUE)
    host.check_output(f"systemctl stop {CLIENTS}")
    assert call(host, "service.stop", "ceph-osd@*") is True
    assert "object stores" in call(host, "ceph_rescue.harvest", RESCUE)
    assert "is no whole store" in refused(host, "ceph_rescue.place", RESCUE)
    call(host, "ceph_rescue.rebuild", RESCUE, bundle)
    call(host, "ceph_rescue.place", RESCUE)
    assert "Monitor host is leader" in call(host, "ceph_monitor.start")
    host.check_output("systemctl start ceph-mgr@host")
    assert call(host, "service.start", "ceph-osd.target") is True
    assert call(host, "ceph_gate.wait_clean")["ok"] is True
    assert (got(host, "rbd"), got(host, "later")) == ("before", "after")
    assert ceph(host, "auth", "get", "client.app") == key
    assert call(host, "ceph_client.healthy")["ok"] is True
    assert ceph(host, "status")["fsid"] == FSID
    assert json.loads(host.check_output("ceph mon dump --format json"))["fsid"] == FSID
