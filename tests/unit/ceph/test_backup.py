"""A bundle of a monitor: taken while others serve, whole or refused, never put over newer data."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import ceph_backup, ceph_daemon, ceph_rescue
from saltern.states import ceph_backup as states
from tests.support.rados import Cluster

MEMBERS = ("mon01", "mon02", "mon03")
KEY = "AQAAAAAAAAAAABAA" + "A" * 22 + "=="
USERS = {"auth_dump": [{"entity": "client.admin", "key": KEY, "caps": {"mon": 'allow "x"'}}]}
EPOCH = 57


class Host:
    """A host with a monitor: its files, its daemon, and what the cluster answers."""

    def __init__(self, root: Path, fsid: str) -> None:
        self.store = root / "mon/ceph-mon01"
        self.directory = root / "bundles"
        self.fsid = fsid
        self.running = True
        self.quorum = list(MEMBERS)
        self.epoch = EPOCH
        self.release = 16
        self.ran: list[str] = []
        self.broken = ""
        self.newest: dict[str, dict[str, int]] = {}
        (self.store / "store.db").mkdir(parents=True)
        (self.store / "keyring").write_text("[mon.]\n")
        (self.store / "store.db/000001.sst").write_bytes(os.urandom(5000))

    def run(self, command: tuple[str, ...], **more: Any) -> Any:
        """Stand for the programs of Ceph and of systemd."""
        line = " ".join(command)
        self.ran.append(line)
        if self.broken and self.broken in line:
            return subprocess.CompletedProcess(command, 1, "", "it is broken\n")
        told = ""
        if "--version" in command:
            told = f"ceph version {self.release}.2.15 (abc) name (stable)\n"
        if "stop" in command:
            self.running = False
        if "--extract-monmap" in command:
            Path(command[-1]).write_bytes(b"map")
        return subprocess.CompletedProcess(command, 0, told, "")

    def ask(self, daemon: str, prefix: str) -> Any:
        """What object stores say over their own sockets; those that run are in ``newest``."""
        assert prefix == "status"
        return self.newest.get(daemon)

    def status(self, name: str = "") -> Any:
        mons = [{"name": one} for one in MEMBERS]
        return {"monmap": {"fsid": self.fsid, "mons": mons}} if self.running else None

    def start(self) -> str:
        self.ran.append("started")
        self.running = True
        return "Monitor mon01 is peon."

    def without(self, name: str) -> dict[str, Any]:
        left = [one for one in self.quorum if one != name]
        return {"ok": len(left) > 1, "sentence": f"{len(left)} of 3 are left."}

    def command(self, prefix: str, **_: Any) -> Any:
        if prefix == "quorum_status":
            if len(self.quorum) < 2:
                raise CommandExecutionError("nobody answers")
            return {"quorum_names": self.quorum}
        return {"auth ls": USERS, "config dump": [], "osd dump": {"epoch": self.epoch}}[prefix]

    def lose(self) -> None:
        """All monitors are gone, this one's store with them."""
        self.running, self.quorum = False, []
        shutil.rmtree(self.store)


@pytest.fixture
def host(
    tmp_path: Path,
    cluster: Cluster,
    loaded: dict[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Host:
    made = Host(tmp_path, cluster.fsid)
    for module in (ceph_backup, ceph_rescue):
        monkeypatch.setattr(module, "MONITORS", str(tmp_path / "mon"))
    monkeypatch.setattr(ceph_daemon.subprocess, "run", made.run)
    monkeypatch.setattr(shutil, "chown", lambda *_: None)
    loaded.update(
        {
            "ceph_monitor.status": made.status,
            "ceph_monitor.start": made.start,
            "ceph_gate.quorum_without": made.without,
            "ceph_cluster.command": made.command,
            "ceph_daemon.ask": made.ask,
        }
    )
    return made


def bundle(host: Host) -> str:
    return str(ceph_backup.take(str(host.directory))["path"])


def rewritten(path: str, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> None:
    """Change what is in a bundle, and make its checksum right again."""
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    about = json.loads(files.pop("manifest.json"))
    change(about, files)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {"manifest.json": json.dumps(about).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    Path(f"{path}.sha256").write_text(f"{ceph_backup._digest(path)}  x\n")


def test_a_bundle_holds_store_keys_and_configuration_for_root_alone(host: Host) -> None:
    done = ceph_backup.take(str(host.directory))
    about = ceph_backup.inspect(done["path"])
    assert set(about["files"]) == {
        "config.json", "keyring", "monmap", "store/keyring", "store/store.db/000001.sst",
    }  # fmt: skip
    assert (about["fsid"], about["monitor"], about["osdmap"]) == (host.fsid, "mon01", EPOCH)
    assert about["members"] == list(MEMBERS)
    for path in (done["path"], f"{done['path']}.sha256"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(host.directory.stat().st_mode) == 0o700
    with tarfile.open(done["path"]) as archive:
        keys = archive.extractfile("keyring").read().decode()  # type: ignore[union-attr]
    assert keys == f'[client.admin]\n\tkey = {KEY}\n\tcaps mon = "allow \\"x\\""\n'
    assert KEY not in str(done)
    # the monitor was away only while it was copied, and nothing else is left
    assert host.ran.index("started") == host.ran.index("systemctl stop ceph-mon@mon01") + 1
    assert len(list(host.directory.iterdir())) == 2


def test_no_bundle_where_the_others_are_no_majority(host: Host) -> None:
    host.quorum = ["mon01", "mon02"]
    with pytest.raises(CommandExecutionError, match=r"cannot be stopped: 1 of 3 are left"):
        ceph_backup.take(str(host.directory), interrupt=True)
    assert host.running
    assert not host.directory.exists()


def test_no_bundle_of_a_monitor_that_does_not_run(host: Host) -> None:
    host.running = False
    with pytest.raises(CommandExecutionError, match="may be old"):
        ceph_backup.take(str(host.directory))


@pytest.mark.parametrize("broken", ["stop", "--extract-monmap"])
def test_the_monitor_runs_again_whatever_happens(host: Host, broken: str) -> None:
    host.broken = broken
    with pytest.raises(CommandExecutionError, match="broken"):
        ceph_backup.take(str(host.directory))
    assert host.running
    assert "started" in host.ran
    assert list(host.directory.iterdir()) == []


def test_old_bundles_of_this_monitor_go(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(f"2026-01-0{day}T00:00:00Z" for day in range(1, 9))
    monkeypatch.setattr(ceph_backup, "time", SimpleNamespace(
        monotonic=lambda: 0.0, gmtime=lambda: None, strftime=lambda *_: next(times)))  # fmt: skip
    host.directory.mkdir()
    other = host.directory / f"ceph-mon-{host.fsid}-mon02-20200101T000000Z.tar.gz"
    other.touch()
    for _ in range(4):
        done = ceph_backup.take(str(host.directory), keep=2)
    assert [Path(path).name[-23:-7] for path in done["removed"]] == ["20260102T000000Z"]
    left = sorted(path.name for path in host.directory.iterdir() if path != other)
    assert len(left) == 4
    assert other.exists()


def test_it_comes_back_and_is_not_started(host: Host) -> None:
    path = bundle(host)
    data = (host.store / "store.db/000001.sst").read_bytes()
    host.lose()
    told = ceph_rescue.restore(path, EPOCH)
    assert told.endswith("Start it with salt-run ceph.form.")
    assert (host.store / "store.db/000001.sst").read_bytes() == data
    assert not host.running
    assert [one.name for one in host.store.parent.iterdir()] == ["ceph-mon01"]


def flipped(path: str) -> None:
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(data)


def cut(path: str) -> None:
    with gzip.open(path) as stream:
        data = stream.read()
    with gzip.open(path, "wb") as stream:
        stream.write(data[: len(data) // 2])
    Path(f"{path}.sha256").write_text(f"{ceph_backup._digest(path)}  x\n")


def altered(about: dict[str, Any], files: dict[str, bytes]) -> None:
    files["store/keyring"] = b"other!\n"


def short(about: dict[str, Any], files: dict[str, bytes]) -> None:
    del files["monmap"]


def outside(about: dict[str, Any], files: dict[str, bytes]) -> None:
    files["store/../../escaped"] = b""
    about["files"]["store/../../escaped"] = {
        "size": 0,
        "sha256": ceph_backup.hashlib.sha256().hexdigest(),
    }


def more(about: dict[str, Any], files: dict[str, bytes]) -> None:
    files["stranger"] = b""


def newer_format(about: dict[str, Any], files: dict[str, bytes]) -> None:
    about["format"] = 2


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flipped, "is damaged: its checksum is"),
        (cut, "cannot be read"),
        (lambda path: Path(f"{path}.sha256").unlink(), "cannot be read: No such file"),
        (lambda path: rewritten(path, altered), "store/keyring is not what it was"),
        (lambda path: rewritten(path, short), "lacks monmap"),
        (lambda path: rewritten(path, outside), "escaped, which is not its own"),
        (lambda path: rewritten(path, more), "stranger, which is not its own"),
        (lambda path: rewritten(path, newer_format), "is no bundle of a monitor"),
    ],
)
def test_a_damaged_bundle_is_refused(host: Host, damage: Callable[[str], None], told: str) -> None:
    path = bundle(host)
    damage(path)
    host.lose()
    with pytest.raises(CommandExecutionError, match=told):
        ceph_rescue.restore(path, EPOCH)
    assert not host.store.exists()
    assert list(host.store.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("fsid", "00000000-1111-2222-3333-444444444444", "the model says"),
        ("members", ["a", "b"], "knows the monitors a, b, and not mon01"),
        ("release", 17, "which cannot open it"),
        ("release", 13, "which cannot open it"),
        ("osdmap", EPOCH - 1, "Build a store from the object stores"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(host: Host, key: str, value: Any, told: str) -> None:
    path = bundle(host)
    rewritten(path, lambda about, _: about.update({key: value}))
    host.lose()
    with pytest.raises(CommandExecutionError, match=told):
        ceph_rescue.restore(path, EPOCH)
    assert not host.store.exists()


def test_nothing_is_restored_over_what_serves(host: Host) -> None:
    path = bundle(host)
    with pytest.raises(CommandExecutionError, match="mon01 runs; nothing is put in its place"):
        ceph_rescue.restore(path, EPOCH)
    host.running = False
    with pytest.raises(CommandExecutionError, match="are a quorum, and newer than any bundle"):
        ceph_rescue.restore(path, EPOCH)
    host.quorum = []
    with pytest.raises(CommandExecutionError, match=r"has a store\. Start it, or say replace"):
        ceph_rescue.restore(path, EPOCH)
    before = (host.store / "store.db/000001.sst").read_bytes()
    (host.store / "store.db/000001.sst").write_bytes(b"broken")
    ceph_rescue.restore(path, EPOCH, replace=True)
    assert (host.store / "store.db/000001.sst").read_bytes() == before
    (aside,) = host.store.parent.glob(".replaced-mon01-*")
    assert (aside / "store.db/000001.sst").read_bytes() == b"broken"


def test_a_running_object_store_is_not_read(
    host: Host, loaded: dict[str, Any], tmp_path: Path
) -> None:
    loaded["ceph_store.stores"] = lambda: [{"id": 0}, {"id": 3}]
    host.newest = {"osd.3": {"newest_map": 60}}
    assert ceph_rescue.newest() == 60
    rescue = tmp_path / "rescue"
    with pytest.raises(CommandExecutionError, match=r"osd\.3 runs"):
        ceph_rescue.harvest(str(rescue))
    assert not rescue.exists()
    host.newest.clear()
    assert ceph_rescue.newest() == 0
    assert "2 object stores" in ceph_rescue.harvest(str(rescue))
    assert [line.split()[2][-6:] for line in host.ran] == ["ceph-0", "ceph-3"]


def test_half_a_store_is_not_put_in_place(host: Host, tmp_path: Path) -> None:
    rescue = tmp_path / "rescue"
    with pytest.raises(CommandExecutionError, match="holds no store"):
        ceph_rescue.rebuild(str(rescue))
    (rescue / "store.db").mkdir(parents=True)
    # what the harvest leaves besides
    (rescue / "kv_backend").write_text("rocksdb\n")
    host.lose()
    with pytest.raises(CommandExecutionError, match="is no whole store"):
        ceph_rescue.place(str(rescue))
    assert not host.store.exists()


def test_a_store_is_rebuilt_with_the_keys_of_a_bundle(
    host: Host, loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = bundle(host)
    monitors = [{"name": name} for name in reversed(MEMBERS)]
    monkeypatch.setattr(ceph_rescue, "__pillar__", {
        "host": {"name": "mon01"},
        "ceph": {"common": {"fsid": host.fsid, "monitors": monitors}, "mon": {"key": "0" * 32}},
    })  # fmt: skip
    rescue = tmp_path / "rescue"
    (rescue / "store.db").mkdir(parents=True)
    (rescue / "store.db/CURRENT").touch()
    ceph_rescue.rebuild(str(rescue), path)
    assert host.ran[-1].endswith("--mon-ids mon01 mon02 mon03")
    host.lose()
    ceph_rescue.place(str(rescue))
    assert (host.store / "store.db/CURRENT").exists()
    assert (host.store / "keyring").read_text().startswith("[mon.]\n\tkey = AQAAAAAA")
    # others take theirs from the same directory
    assert (rescue / "store.db/CURRENT").exists()
    # what is added to it later makes it half a store again
    loaded["ceph_store.stores"] = lambda: []
    ceph_rescue.harvest(str(rescue))
    with pytest.raises(CommandExecutionError, match="is no whole store"):
        ceph_rescue.place(str(rescue), replace=True)


def test_a_prediction_stops_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "__salt__", {}, raising=False)
    monkeypatch.setattr(states, "__opts__", {"test": True}, raising=False)
    assert states.taken(str(host.directory))["result"] is None
    assert host.ran == []


def test_a_state_tells_what_went_wrong(
    host: Host, loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "__salt__", loaded, raising=False)
    monkeypatch.setattr(states, "__opts__", {"test": False}, raising=False)
    done = states.taken(str(host.directory))
    assert done["result"] is True
    assert done["changes"]["taken"].startswith(str(host.directory))
    refused = states.restored(done["changes"]["taken"], EPOCH)
    assert (refused["result"], refused["changes"]) == (False, {})
    assert "mon01 runs" in refused["comment"]
