"""A whole Ceph cluster on one host: healthy, used through its own clients, and fail closed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from testinfra.host import Host

from tests.support import kitchen

FSID = "5d9c4f1e-6b1a-4a55-9a44-0f2a7be0c3d2"
OTHER = "00000000-1111-2222-3333-444444444444"
PYTHON = "/usr/bin/python3"
#: hexadecimal and wrapped halves of the suite's keys
KEYS = ("6b69746368656e2d6b6579", "a2l0Y2hlbi1rZXkt")


def call(host: Host, function: str, *arguments: str) -> Any:
    """What an execution module returns on the host."""
    command = ["salt-call", "--local", f"--config-dir={kitchen.SANDBOX}/etc", "--out=json"]
    words = [*command, "--log-level=error", function, *arguments]
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    return json.loads(host.check_output(quoted))["local"]


def refused(host: Host, function: str, *arguments: str) -> str:
    """What a function says that must not succeed."""
    words = ["salt-call", "--local", f"--config-dir={kitchen.SANDBOX}/etc", function, *arguments]
    done = host.run(" ".join(f"'{word}'" for word in words))
    assert done.rc != 0
    return str(done.stdout + done.stderr)


def ceph(host: Host, *words: str) -> Any:
    """Ask with Ceph's own command line, not with the modules under test."""
    return json.loads(host.check_output(f"ceph --format json {' '.join(words)}"))


def eventually(host: Host, *words: str, wanted: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = ceph(host, *words)
        if found["status"] == wanted or time.monotonic() > end:
            return found
        time.sleep(1)


def test_the_cluster_is_healthy(host: Host) -> None:
    found = eventually(host, "health", wanted="HEALTH_OK")
    assert (found["status"], found["checks"]) == ("HEALTH_OK", {})
    assert call(host, "ceph_cluster.healthy") == {
        "ok": True,
        "verdict": "ok",
        "sentence": "HEALTH_OK.",
    }


def test_the_facts_are_those_of_the_cluster(host: Host) -> None:
    assert call(host, "ceph_gate.wait_clean")["ok"] is True
    found = call(host, "ceph_cluster.status")
    assert found["fsid"] == FSID == ceph(host, "status")["fsid"]
    assert (found["quorum"], found["manager"]) == (["host"], "host")
    assert found["osds"] == {"all": 3, "up": 3, "in": 3}
    assert found["pgs"]["all"] == found["pgs"]["clean"] > 0
    tree = call(host, "ceph_cluster.osd_tree")
    places = [osd["location"] for osd in tree.values()]
    assert places == [{"host": "host", "rack": "rack1", "root": "default"}] * 3
    assert sorted(osd["class"] for osd in tree.values())[-1] == "ssd"
    assert 0 < call(host, "ceph_map.df")["ratio"] < 1


def test_a_store_may_have_its_database_elsewhere(host: Host) -> None:
    store = call(host, "ceph_store.find", "/srv/ceph/store3")
    found = ceph(host, "osd", "metadata", str(store["id"]))
    assert found["bluefs_dedicated_db"] == "1"
    assert found["osd_objectstore"] == "bluestore"


def test_pools_are_as_the_model_says(host: Host) -> None:
    pool = ceph(host, "osd", "pool", "get", "rbd", "all")
    assert (pool["size"], pool["min_size"], pool["crush_rule"]) == (3, 2, "by-store")
    assert ceph(host, "osd", "pool", "get-quota", "rbd")["quota_max_objects"] == 100000
    assert ceph(host, "osd", "pool", "application", "get", "rbd") == {"rbd": {}}
    bulk = ceph(host, "osd", "pool", "get", "default.rgw.buckets.data", "all")
    assert bulk["bulk"] is True
    assert [item["name"] for item in ceph(host, "fs", "ls")] == ["cephfs"]


USE = """
import rados, rbd, sys
handle = rados.Rados(name="client.app", conffile="/etc/ceph/ceph.conf",
                     conf={"keyring": "/etc/ceph/ceph.client.app.keyring"})
handle.connect(timeout=10)
with handle.open_ioctx("rbd") as pool:
    pool.write_full("greeting", b"hello")
    assert pool.read("greeting") == b"hello"
    rbd.RBD().create(pool, "disk", 64 << 20)
    with rbd.Image(pool, "disk") as image:
        image.write(b"x" * 4096, 8192)
        image.create_snap("before")
        image.write(b"y" * 4096, 8192)
    with rbd.Image(pool, "disk", snapshot="before", read_only=True) as image:
        assert image.read(8192, 4096) == b"x" * 4096
    with rbd.Image(pool, "disk") as image:
        assert image.read(8192, 4096) == b"y" * 4096
        image.remove_snap("before")
    rbd.RBD().remove(pool, "disk")
    pool.remove_object("greeting")
try:
    handle.open_ioctx("cephfs_data").write_full("x", b"x")
except rados.PermissionError:
    pass
else:
    sys.exit("a pool of others could be written")
handle.shutdown()
"""


def test_a_user_reads_and_writes_in_its_own_pool_alone(host: Host) -> None:
    host.check_output("%s -c %s", PYTHON, USE)


S3 = """
import base64, email.utils, hashlib, hmac, ssl, sys, urllib.request
url, key, secret = sys.argv[1:]
tls = ssl.create_default_context(cafile="/etc/saltern/pki/ca.crt")
def ask(method, path, body=None):
    date = email.utils.formatdate(usegmt=True)
    kind = "text/plain" if body is not None else ""
    text = f"{method}\\n\\n{kind}\\n{date}\\n{path}".encode()
    sign = base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode()
    head = {"Date": date, "Authorization": f"AWS {key}:{sign}"}
    head.update({"Content-Type": kind} if kind else {})
    request = urllib.request.Request(url + path, body, head, method=method)
    return urllib.request.urlopen(request, timeout=30, context=tls).read().decode()
ask("PUT", "/bucket", b"")
ask("PUT", "/bucket/object", b"hello")
print(ask("GET", "/bucket/object"))
"""


def test_an_object_goes_through_the_gateway(host: Host) -> None:
    """S3 over TLS, with a user of the gateway's own."""
    url = "https://host.kitchen.test:7480"
    made = host.check_output("radosgw-admin user create --uid=probe --display-name=probe")
    (pair,) = json.loads(made)["keys"]
    try:
        words = (PYTHON, S3, url, pair["access_key"], pair["secret_key"])
        assert host.check_output("%s -c %s %s %s %s", *words) == "hello"
    finally:
        host.run("radosgw-admin user rm --uid=probe --purge-data")
    assert host.run(f"curl -sS {url.replace('https', 'http')}").rc != 0


def test_gates_ask_the_manager(host: Host) -> None:
    assert call(host, "ceph_gate.in_quorum")["ok"] is True
    assert call(host, "ceph_gate.quorum_without")["ok"] is False
    assert call(host, "ceph_gate.manager_active")["ok"] is True
    assert call(host, "ceph_gate.pgs")["ok"] is True
    assert call(host, "ceph_gate.ok_to_stop", "[0]")["ok"] is True
    # two of three copies: less than a write needs
    assert call(host, "ceph_gate.ok_to_stop", "[0, 1]")["ok"] is False
    assert call(host, "ceph_gate.safe_to_destroy", "[0]")["ok"] is False
    assert call(host, "ceph_client.healthy")["ok"] is True
    used = call(host, "ceph_client.sanity")
    assert (used["ok"], used["sentence"]) == (True, "client.app wrote to pool rbd and read it.")


def test_a_held_flag_does_not_count_and_is_given_back(host: Host) -> None:
    assert eventually(host, "health", wanted="HEALTH_OK")["checks"] == {}
    host.check_output("ceph osd set-group noout host")
    try:
        assert "OSD_FLAGS" in call(host, "ceph_cluster.health")["checks"]
        note = '{"owner": "saltern", "since": "2026-01-01T00:00:00Z"}'
        host.check_output("ceph config-key set saltern/lease/noout/host %s", note)
        found = call(host, "ceph_cluster.health")
        assert (found["checks"], found["held"]) == ({}, ["noout/host"])
        assert (found["ok"], found["verdict"]) == (True, "warn")
        assert call(host, "ceph_host.release") == "host is released."
    finally:
        host.run("ceph osd unset-group noout host")
        host.run("ceph config-key rm saltern/lease/noout/host")
    assert call(host, "ceph_cluster.leases") == {}
    assert eventually(host, "health", wanted="HEALTH_OK")["status"] == "HEALTH_OK"


def test_keys_are_closed_and_shown_nowhere(host: Host) -> None:
    for path, mode in (
        ("/etc/ceph/ceph.client.admin.keyring", 0o600),
        ("/etc/ceph/ceph.client.saltern.keyring", 0o600),
        ("/etc/ceph/ceph.client.app.keyring", 0o640),
        ("/var/lib/ceph/mgr/ceph-host/keyring", 0o600),
        ("/var/lib/ceph/radosgw/ceph-rgw/keyring", 0o600),
    ):
        assert host.file(path).mode == mode, path
    for half in KEYS:
        assert host.run(f"grep -rls {half} /var/log /etc/systemd /usr/local /tmp").stdout == ""


def test_hosts_of_object_stores_may_not_do_everything(host: Host) -> None:
    ask = "ceph --name client.saltern --keyring /etc/ceph/ceph.client.saltern.keyring"
    host.check_output(f"{ask} osd dump")
    for words in ("osd pool create stolen", "auth ls", "config-key set other/key 1", "osd out 0"):
        assert "EACCES" in host.run(f"{ask} {words}").stderr, words


def converge(host: Host, pillar: dict[str, Any], *roles: str) -> dict[str, Any]:
    """Apply roles with another pillar; the comment of each state that failed."""
    words = ["state.apply", ",".join(roles), f"pillar={json.dumps(pillar)}"]
    command = ["salt-call", "--local", f"--config-dir={kitchen.SANDBOX}/etc", "--out=json"]
    quoted = " ".join("'" + word + "'" for word in [*command, "--log-level=error", *words])
    done = host.run(quoted)
    found = kitchen.Converged.parse(done.stdout, done.stderr)
    assert not found.problem, found.problem
    return found.failed()


def test_another_cluster_is_refused_before_anything_is_written(host: Host) -> None:
    before = host.file("/etc/ceph/ceph.conf").content_string
    failed = converge(host, {"ceph": {"common": {"fsid": OTHER}}}, "ceph.common", "ceph.osd")
    (told,) = [text for key, text in failed.items() if "same_cluster" in key]
    assert f"mon.host of cluster {FSID}" in told
    assert f"the model says {OTHER}. Nothing was touched." in told
    assert host.file("/etc/ceph/ceph.conf").content_string == before


def test_a_device_that_holds_something_else_is_refused(host: Host) -> None:
    host.check_output("truncate -s 64M /srv/ceph/mine && mkfs.ext4 -q /srv/ceph/mine")
    device = {"path": "/srv/ceph/mine", "size": "64M"}
    failed = converge(host, {"ceph": {"osd": {"devices": [device]}}}, "ceph.osd")
    assert any("/srv/ceph/mine holds ext4" in text for text in failed.values())
    assert host.run("blkid -p /srv/ceph/mine").stdout.count("ext4") == 1


def test_a_stopped_monitor_still_says_which_cluster_it_is_of(host: Host) -> None:
    host.check_output("systemctl stop ceph-mon@host")
    try:
        found = call(host, "ceph_monitor.facts")
        assert (found["running"], found["fresh"]) == (False, False)
        assert found["fsids"]["mon.host"] == FSID
        answer = call(host, "ceph_cluster.healthy")
        assert answer["ok"] is False
        assert "do not answer" in answer["sentence"]
    finally:
        host.check_output("systemctl start ceph-mon@host")
    assert call(host, "ceph_monitor.start").startswith("Monitor host is ")


@pytest.mark.parametrize("part", ["mon", "mgr", "mds", "osd"])
def test_daemons_start_at_boot(host: Host, part: str) -> None:
    unit = f"ceph-{part}@{'0' if part == 'osd' else 'host'}"
    assert host.service(unit).is_enabled
    assert host.service(f"ceph-{part}.target").is_enabled
    assert host.service(unit).is_running


def test_a_store_is_taken_up_by_a_host_that_was_made_anew(host: Host) -> None:
    """Its directory and unit are gone, the device is not."""
    store = call(host, "ceph_store.find", "/srv/ceph/store1")
    number = store["id"]
    host.check_output(f"systemctl disable --now {store['unit']}")
    host.check_output(f"mv /var/lib/ceph/osd/ceph-{number} /srv/ceph/old")
    assert converge(host, {}, "ceph.osd") == {}
    again = call(host, "ceph_store.find", "/srv/ceph/store1")
    assert (again["id"], again["uuid"]) == (number, store["uuid"])
    assert eventually(host, "health", wanted="HEALTH_OK", seconds=120)["status"] == "HEALTH_OK"


def groups(host: Host) -> dict[str, list[int]]:
    """Where each placement group is."""
    found = ceph(host, "pg", "dump", "pgs_brief")
    return {item["pgid"]: item["acting"] for item in found["pg_stats"]}


def weight(host: Host, number: int) -> float:
    return float(call(host, "ceph_cluster.osd_tree")[f"osd.{number}"]["weight"])


def test_no_data_move_to_a_new_store_before_somebody_asks_and_none_are_lost_when_it_goes(
    host: Host,
) -> None:
    """Added without weight, filled, emptied, given up, replaced with its number, and purged."""
    host.check_output("ceph config set osd osd_crush_initial_weight 0")
    # the command line shows no pillar, so they are read where they are written
    suite = next(suite for suite in kitchen.read() if suite.name == "ceph")
    devices = suite.provisioner["pillars"]["suite.sls"]["ceph"]["osd"]["devices"]
    devices = [*devices, {"path": "/srv/ceph/store4", "size": "2G"}]
    more = {"ceph": {"osd": {"devices": devices}}}
    before = groups(host)
    assert converge(host, more, "ceph.osd") == {}
    number = call(host, "ceph_store.find", "/srv/ceph/store4")["id"]
    assert (weight(host, number), groups(host)) == (0, before)

    told = call(host, "ceph_data.fill", "host", "pace=16")
    assert told.startswith("host has its share of the data")
    assert weight(host, number) > 0
    assert any(number in acting for acting in groups(host).values())
    dump = ceph(host, "osd", "dump")
    assert (dump["pg_upmap_items"], "norebalance" in dump["flags_set"]) == ([], False)
    assert call(host, "ceph_flag.held") == {"leases": {}, "strays": [], "idle": []}

    # while it holds data nobody gives it up; when it holds none it goes and keeps its number
    assert "still runs" in refused(host, "ceph_data.purge", "host")
    call(host, "ceph_disk.stop", str(number))
    assert "Have it emptied" in refused(host, "ceph_data.destroy", str(number), "host=host")
    call(host, "ceph_store.start", str(number))
    assert "nothing that is not elsewhere" in call(host, "ceph_data.evacuate", str(number))
    assert not any(number in acting for acting in groups(host).values())
    call(host, "ceph_disk.stop", str(number))
    assert "given up" in call(host, "ceph_data.destroy", str(number), "host=host")
    call(host, "ceph_disk.forget", str(number), "wipe=True")
    assert converge(host, more, "ceph.osd") == {}
    assert call(host, "ceph_store.find", "/srv/ceph/store4")["id"] == number
    assert weight(host, number) > 0

    # and for good
    call(host, "ceph_data.take_in", str(number))
    call(host, "ceph_data.evacuate", str(number))
    call(host, "ceph_disk.stop", str(number))
    host.check_output(f"ceph osd purge {number} --yes-i-really-mean-it")
    host.check_output("ceph config rm osd osd_crush_initial_weight")
    call(host, "ceph_disk.forget", str(number), "wipe=True")
    assert host.file("/srv/ceph/store4").exists is False
    assert eventually(host, "health", wanted="HEALTH_OK", seconds=120)["status"] == "HEALTH_OK"
