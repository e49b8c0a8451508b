"""Sessions that measure a cluster: what counts as failed, and that nothing is left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import probe_ceph, probe_process
from tests.support.objectstore import Store, lost


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store in memory whose key this host has."""
    made = Store()
    rados, rbd = made.libraries()
    monkeypatch.setitem(sys.modules, "rados", rados)
    monkeypatch.setitem(sys.modules, "rbd", rbd)
    monkeypatch.setattr(probe_ceph.importlib.util, "find_spec", lambda name: name)
    (tmp_path / "ceph.client.probe.keyring").touch()
    monkeypatch.setattr(probe_ceph, "CONF", str(tmp_path / "ceph.conf"))
    monkeypatch.setattr(probe_ceph, "__pillar__", {}, raising=False)
    monkeypatch.setattr(probe_process, "_ceph", lambda: probe_ceph)
    return made


class Gateway:
    """As :class:`ceph_s3.Client`, over a dictionary."""

    objects: dict[str, bytes]
    up, deaf = True, False

    def __init__(self) -> None:
        self.objects = {}

    def ask(self, method: str, path: str, body: bytes = b"", timeout: float = 0) -> Any:
        if not self.up or timeout <= 0:
            raise CommandExecutionError("No gateway answers")
        if method == "PUT":
            if not self.deaf:
                self.objects[path] = body
            return 200, b""
        if path not in self.objects:
            return 404, b""
        return (204, self.objects.pop(path)) if method == "DELETE" else (200, self.objects[path])


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr(probe_ceph, "_s3", lambda: type("S3", (), {"Client": lambda: made}))
    return made


KINDS = ("rados", "rbd", "s3")
kinds = pytest.mark.parametrize("kind", KINDS)
Things = Callable[[str], Any]


@pytest.fixture
def thing(store: Store, gateway: Gateway) -> Things:
    """What is behind a kind: it can be down, and deaf."""
    return lambda kind: gateway if kind == "s3" else store


def opened(kind: str, timeout: float = 5.0) -> Any:
    return probe_ceph.SESSIONS[kind]("probe", timeout)


@kinds
def test_one_session_writes_and_reads_in_all_places(
    store: Store, gateway: Gateway, thing: Things, kind: str
) -> None:
    session = opened(kind)
    assert all(session.ask() for _ in range(probe_ceph.TURN * 2 + 1))
    assert store.opened == (kind != "s3")
    assert len(session.known) == probe_ceph.TURN
    session.close()
    assert (store.open, store.images, store.objects) == (0, {}, {})
    assert set(gateway.objects) <= {"/probe"}


@kinds
def test_what_is_lost_is_a_failed_request(thing: Things, kind: str) -> None:
    session = opened(kind)
    thing(kind).deaf = True
    with_error = False
    try:
        assert session.ask() is False
    except Exception:
        with_error = True
    assert with_error is (kind != "rbd"), "an object that is not there is an error of its own"


def test_data_that_was_acknowledged_and_is_old_is_a_failed_request(store: Store) -> None:
    session = opened("rados")
    for _ in range(probe_ceph.TURN):
        assert session.ask()
    name = (probe_ceph.SPACE, f"{session.prefix}.0")
    store.objects[name] = b"older" * 800
    assert session.ask() is False
    assert session.ask() is True, "of another place nothing was lost"


def test_after_a_write_that_failed_either_content_is_right(store: Store) -> None:
    session = opened("rados")
    for _ in range(probe_ceph.TURN):
        assert session.ask()
    store.up = False
    with pytest.raises(Exception, match="timed out"):
        session.ask()
    store.up = True
    session.turn = 0
    store.objects[probe_ceph.SPACE, f"{session.prefix}.0"] = b"whatever"
    assert session.ask() is True


def clock(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """What the probe reads of a clock; that of all else (other threads, too) goes on."""
    left = iter(seconds)
    told = SimpleNamespace(**{**vars(time), "monotonic": lambda: next(left)})
    monkeypatch.setattr(probe_ceph, "time", told)


@pytest.mark.usefixtures("store", "gateway")
@kinds
def test_what_is_too_late_is_failed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(kind)
    # librados is told the limit beforehand, and asks no clock
    clock(monkeypatch, *((0.0, 4.0, 4.0, 9.0) if kind == "s3" else (0.0, 9.0)))
    assert session.ask() is False


def test_a_gateway_has_no_more_time_than_there_is(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened("s3")
    clock(monkeypatch, 0.0, 9.0)
    with pytest.raises(CommandExecutionError):
        session.ask()
    assert set(gateway.objects) == {"/probe"}


def test_a_bucket_that_is_there_is_not_asked_for_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened("s3")
    asked: list[str] = []
    real = gateway.ask

    def ask(method: str, *rest: Any, **more: Any) -> Any:
        asked.append(method)
        return real(method, *rest, **more)

    monkeypatch.setattr(gateway, "ask", ask)
    opened("s3")
    assert asked == ["HEAD"]


@kinds
def test_a_cluster_that_is_down_and_comes_back_is_one_gap(
    store: Store, thing: Things, kind: str
) -> None:
    thing(kind).up = False
    spec = {"kind": kind, "target": "probe", "timeout": 5.0, "options": {}}
    with pytest.raises(Exception, match=r"timed out|No gateway"):
        probe_process._session(spec)
    assert store.open == 0
    thing(kind).up = True
    session = probe_process._session(spec)
    assert session.ask()
    thing(kind).up = False
    with pytest.raises(Exception, match=r"timed out|No gateway"):
        session.ask()
    thing(kind).up = True
    assert session.ask()
    assert store.opened == (kind != "s3"), "by the same session"


@pytest.mark.parametrize("kind", ["rados", "rbd"])
def test_what_a_killed_process_left_goes_after_a_day(store: Store, kind: str) -> None:
    old, new, other = (opened(kind) for _ in range(3))
    for session in (old, new, other):
        session.ask()
    other.owner = "elsewhere"
    for key in store.stamps:
        if key[1].startswith(old.prefix):
            store.stamps[key] -= probe_ceph.KEPT + 60
    if kind == "rbd":
        store.images[old.prefix]["made"] -= probe_ceph.KEPT + 60
    opened(kind)
    names = [*store.images, *(name for _, name in store.objects)]
    assert not [name for name in names if name.startswith(old.prefix)]
    assert [name for name in names if name.startswith(new.prefix)]


def test_a_request_of_librados_ends_in_time(store: Store) -> None:
    opened("rados", 30.0)
    assert store.conf["rados_osd_op_timeout"] == "30"
    assert store.conf["rbd_cache"] == "false"


# --- what is checked before ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "target", "options", "sentence"),
    [
        ("rados", "probe", {"key": "x"}, "key is no option of kind rados"),
        ("rbd", "../probe", {}, "no name of a pool"),
        ("s3", "Bucket/key", {}, "no name of a bucket"),
        ("rados", "probe", {"user": "client.none"}, "ceph.client.none.keyring is not there"),
    ],
)
@pytest.mark.usefixtures("store")
def test_what_cannot_be_measured_is_refused(
    kind: str, target: str, options: dict[str, str], sentence: str
) -> None:
    given = {"name": "mine", "kind": kind, "target": target, "options": options}
    with pytest.raises(CommandExecutionError, match=f"mine cannot be measured here: .*{sentence}"):
        probe_process.checked([given])


def test_without_the_library_or_the_file_nothing_is_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe_ceph.why_not("rbd", "probe", {"user": "client.probe"}) == ""
    monkeypatch.setattr(probe_ceph.importlib.util, "find_spec", lambda name: None)
    assert "python3-rados is missing" in probe_ceph.why_not("rbd", "probe")
    monkeypatch.undo()
    assert "cannot be read" in probe_ceph.why_not("s3", "probe", {"file": "/none/s3.json"})


# --- the health of the role ---------------------------------------------------------------------


@pytest.mark.usefixtures("store", "gateway")
def test_a_host_is_ready_when_it_can_do_all_three(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe_ceph.ready()["sentence"] == "Written and read: nothing."
    s3 = {"bucket": "probe", "endpoints": []}
    pillar = {"ceph": {"probe": {"pool": "probe", "s3": s3}}}
    monkeypatch.setattr(probe_ceph, "__pillar__", pillar, raising=False)
    assert probe_ceph.ready() == {"ok": True, "sentence": "Written and read: rados, rbd."}
    s3["endpoints"] = ["https://192.0.2.1"]
    assert probe_ceph.ready() == {"ok": True, "sentence": "Written and read: rados, rbd, s3."}
    gateway.up = False
    assert probe_ceph.ready() == {
        "ok": False,
        "sentence": "s3 probe: no session (No gateway answers).",
    }
    store.up = False
    assert "RADOS timed out" in probe_ceph.ready()["sentence"]
    store.up = True
    with lost(store):
        found = probe_ceph.ready()
    assert (found["ok"], "no such object" in found["sentence"]) == (False, True)
    assert (store.open, store.objects, store.images) == (0, {}, {})
