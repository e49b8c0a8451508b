"""The set of data for drills: the same each time, read back whole, and removed whole."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import ceph_client
from tests.support.objectstore import Store, lost

MIB = 2**20


class Bucket:
    """What is behind ``ceph_s3``: paths and contents."""

    def __init__(self) -> None:
        self.paths: dict[str, bytes] = {}
        self.status = 0

    def request(self, method: str, path: str, body: bytes = b"", timeout: float = 0) -> Any:
        if self.status:
            return {"status": self.status, "body": b""}
        if method == "PUT":
            self.paths[path] = body
        content = self.paths.pop(path) if method == "DELETE" else self.paths[path]
        return {"status": 204 if method == "DELETE" else 200, "body": content}

    def objects(self, bucket: str, timeout: float = 0) -> list[str] | None:
        if f"/{bucket}" not in self.paths:
            return None
        return sorted(p.removeprefix(f"/{bucket}/") for p in self.paths if p != f"/{bucket}")


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Store:
    made = Store()
    rados, rbd = made.libraries()
    monkeypatch.setitem(sys.modules, "rados", rados)
    monkeypatch.setitem(sys.modules, "rbd", rbd)
    functions = {"ceph_s3.request": bucket.request, "ceph_s3.objects": bucket.objects}
    monkeypatch.setattr(ceph_client, "__salt__", functions, raising=False)
    return made


def test_what_was_written_is_read(store: Store, bucket: Bucket) -> None:
    written = ceph_client.seed()
    assert ceph_client.manifest() == written
    assert ceph_client.seed() == written, "in place of what is there"
    assert ceph_client.seed(2)["digest"] != written["digest"]
    assert len(written["objects"]) == len(written["bucket"]) == 16
    assert written["image"] != written["snapshots"]["first"]
    image = store.images["saltern-data"]
    stored = (*store.objects.values(), *bucket.paths.values(), image["data"])
    assert sum(map(len, stored)) + ceph_client.AGAIN * MIB == 64 * MIB
    assert store.open == 0


def test_nothing_is_left_of_it(store: Store, bucket: Bucket) -> None:
    store.objects["", "of somebody else"] = b"x"
    empty = ceph_client.manifest()
    ceph_client.seed()
    assert ceph_client.unseed() is ceph_client.unseed() is True
    assert ceph_client.manifest() == empty
    assert (bucket.paths, store.images) == ({}, {})
    assert store.objects == {("", "of somebody else"): b"x"}


def _object(store: Store, bucket: Bucket) -> None:
    store.objects["saltern-data", "object-03"] += b"x"


def _gone(store: Store, bucket: Bucket) -> None:
    del store.objects["saltern-data", "object-03"]


def _block(store: Store, bucket: Bucket) -> None:
    store.images["saltern-data"]["data"][20 * MIB] ^= 1


def _snapshot(store: Store, bucket: Bucket) -> None:
    snaps = store.images["saltern-data"]["snaps"]
    snaps["first"] = bytes(store.images["saltern-data"]["data"])


def _key(store: Store, bucket: Bucket) -> None:
    bucket.paths["/saltern-data/key-07"] = b"other"


@pytest.mark.parametrize("damage", [_object, _gone, _block, _snapshot, _key])
def test_whatever_differs_shows(store: Store, bucket: Bucket, damage: Any) -> None:
    written = ceph_client.seed()
    damage(store, bucket)
    found = ceph_client.manifest()
    parts = ("objects", "image", "snapshots", "bucket")
    assert len([part for part in parts if found[part] != written[part]]) == 1
    assert found["digest"] != written["digest"]


def test_a_write_that_was_lost_shows(store: Store) -> None:
    with lost(store):
        written = ceph_client.seed()
    assert ceph_client.manifest() != written


def test_what_cannot_be_reached_is_one_sentence(store: Store, bucket: Bucket) -> None:
    bucket.status = 507
    with pytest.raises(CommandExecutionError, match="PUT /saltern-data: the gateway says 507"):
        ceph_client.seed()
    store.up = False
    for function in (ceph_client.seed, ceph_client.manifest, ceph_client.unseed):
        with pytest.raises(
            CommandExecutionError, match=r"^client.probe in pool probe: TimedOut: .*timed out.$"
        ):
            function()
    assert store.open == 0
