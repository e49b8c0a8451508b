"""As much of librados' objects and of librbd as clients use, in memory.

Stands where the C libraries would be: everything above them is the real code.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


class Error(Exception):
    """As ``rados.Error`` and ``rbd.Error``."""


class ObjectNotFound(Error):
    """As in both libraries: there is no such thing."""


class TimedOut(Error):
    """As ``rados.TimedOut``."""


class Store:
    """What there is: objects by (namespace, name), images by name."""

    def __init__(self) -> None:
        self.up = True
        #: writes are acknowledged and lost
        self.deaf = False
        self.objects: dict[tuple[str, str], bytes] = {}
        self.stamps: dict[tuple[str, str], float] = {}
        self.images: dict[str, dict[str, Any]] = {}
        #: sessions that were opened, and that are open
        self.opened = self.open = 0
        self.conf: dict[str, str] = {}

    def check(self) -> None:
        """Nothing answers while it is down."""
        if not self.up:
            raise TimedOut("[errno 110] RADOS timed out")

    def libraries(self) -> tuple[Any, Any]:
        """Return what stands for the modules ``rados`` and ``rbd``."""
        store = self

        class Rados:
            """As ``rados.Rados``."""

            def __init__(self, name: str, conffile: str, conf: dict[str, str]) -> None:
                store.conf = conf

            def connect(self, timeout: int = 0) -> None:
                assert type(timeout) is int, "Ceph 18 takes nothing else"
                store.check()
                store.opened += 1
                store.open += 1

            def shutdown(self) -> None:
                store.open = max(0, store.open - 1)

            def open_ioctx(self, pool: str) -> Pool:
                return Pool(store)

        rados = SimpleNamespace(
            Rados=Rados, Error=Error, TimedOut=TimedOut, ObjectNotFound=ObjectNotFound
        )

        class RBD:
            """As ``rbd.RBD``."""

            def create(self, pool: Any, name: str, size: int, **options: Any) -> None:
                store.check()
                store.images[name] = {"data": bytearray(size), "snaps": {}, "made": time.time()}

            def list(self, pool: Any) -> list[str]:
                store.check()
                return sorted(store.images)

            def remove(self, pool: Any, name: str) -> None:
                store.check()
                assert not store.images[name]["snaps"], "librbd refuses that"
                del store.images[name]

        def image(pool: Any, name: str, snapshot: str = "", read_only: bool = False) -> Image:
            return Image(store, name, snapshot, read_only)

        rbd = SimpleNamespace(RBD=RBD, Image=image, Error=Error, RBD_FEATURE_LAYERING=1)
        return rados, rbd


class Pool:
    """As ``rados.Ioctx``."""

    def __init__(self, store: Store) -> None:
        self.store, self.space = store, ""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *why: object) -> None:
        pass

    def set_namespace(self, name: str) -> None:
        self.space = name

    def list_objects(self) -> Iterator[Any]:
        self.store.check()
        return iter(
            [SimpleNamespace(key=k) for s, k in list(self.store.objects) if s == self.space]
        )

    def stat(self, name: str) -> tuple[int, time.struct_time]:
        key = (self.space, name)
        return len(self.store.objects[key]), time.localtime(self.store.stamps[key])

    def write_full(self, name: str, content: bytes) -> None:
        self.store.check()
        if self.store.deaf:
            return
        self.store.objects[self.space, name] = content
        self.store.stamps[self.space, name] = time.time()

    def read(self, name: str, length: int = 8192) -> bytes:
        self.store.check()
        if (self.space, name) not in self.store.objects:
            raise ObjectNotFound("[errno 2] no such object")
        return self.store.objects[self.space, name][:length]

    def remove_object(self, name: str) -> None:
        self.store.check()
        del self.store.objects[self.space, name]


class Image:
    """As ``rbd.Image``."""

    def __init__(self, store: Store, name: str, snapshot: str, read_only: bool) -> None:
        store.check()
        if name not in store.images:
            raise ObjectNotFound("[errno 2] no such image")
        self.store, self.read_only = store, read_only
        self.all = store.images[name]
        self.data = self.all["snaps"][snapshot] if snapshot else self.all["data"]

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *why: object) -> None:
        pass

    def close(self) -> None:
        """Nothing is held."""

    flush = close

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self.store.check()
        return bytes(self.data[offset : offset + length])

    def write(self, content: bytes, offset: int) -> int:
        self.store.check()
        assert not self.read_only
        if not self.store.deaf:
            self.data[offset : offset + len(content)] = content
        return len(content)

    def create_snap(self, name: str) -> None:
        self.all["snaps"][name] = bytes(self.data)

    def list_snaps(self) -> Iterator[dict[str, Any]]:
        return iter([{"name": name} for name in self.all["snaps"]])

    def remove_snap(self, name: str) -> None:
        del self.all["snaps"][name]

    def create_timestamp(self) -> datetime.datetime:
        made = datetime.datetime.fromtimestamp(self.all["made"], datetime.timezone.utc)
        return made.replace(tzinfo=None)


@contextlib.contextmanager
def lost(store: Store) -> Iterator[None]:
    """Inside the block writes are acknowledged and lost."""
    store.deaf = True
    yield
    store.deaf = False
