"""The checks of an object store: they pass, they fail for a reason, and nothing stays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("openstack")

import keystoneauth1.exceptions
import openstack.exceptions

from saltern.sanity import objectstore
from saltern.sanity.client import PREFIX, CheckError, Context, Deadline
from saltern.sanity.s3 import Credential
from saltern.sanity.target import Credentials, Target

URL = "https://api.example.test:7480"
ACCESS, SECRET = "the-access", "the-secret"


class Store:
    """An object store with users of Keystone, in memory, as the SDK and S3 show it."""

    def __init__(self) -> None:
        self.containers_: dict[str, dict[str, bytes]] = {}
        self.users_: list[str] = []
        self.assigned: list[tuple[str, str]] = []
        self.corrupt = False
        self.credulous = False

    # -- identity --------------------------------------------------------------------------------

    def find_role(self, name: str, ignore_missing: bool) -> str:
        assert not ignore_missing
        return name

    def domains(self, name: str) -> Iterator[Any]:
        return iter([SimpleNamespace(id="default", name=name)])

    def users(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.users_]

    def create_user(self, name: str, **_: Any) -> Any:
        self.users_.append(name)
        return SimpleNamespace(name=name)

    def delete_user(self, user: Any) -> None:
        self.users_.remove(user.name)

    def assign_project_role_to_user(self, project: str, user: Any, role: str) -> None:
        self.assigned.append((project, role))

    # -- Swift -----------------------------------------------------------------------------------

    def containers(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.containers_]

    def create_container(self, name: str) -> None:
        self.containers_[name] = {}

    def delete_container(self, name: str, ignore_missing: bool) -> None:
        if name not in self.containers_ and not ignore_missing:
            raise openstack.exceptions.NotFoundException
        assert not self.containers_.pop(name, {}), "a container with objects cannot be deleted"

    def objects(self, container: str) -> list[Any]:
        if container not in self.containers_:
            raise openstack.exceptions.NotFoundException
        return [SimpleNamespace(name=name) for name in self.containers_[container]]

    def upload_object(self, container: str, name: str, data: bytes) -> None:
        self.containers_[container][name] = data

    def download_object(self, name: str, container: str) -> bytes:
        return self._held(self.containers_[container][name])

    def delete_object(self, name: str, ignore_missing: bool, container: str) -> None:
        del self.containers_[container][name]

    def _held(self, data: bytes) -> bytes:
        return b"\0" + data[1:] if self.corrupt else data

    # -- S3 --------------------------------------------------------------------------------------

    def request(
        self, url: str, method: str, authenticated: bool, data: bytes, headers: dict[str, str]
    ) -> Any:
        assert not authenticated
        assert headers["X-Amz-Content-SHA256"] == hashlib.sha256(data).hexdigest()
        stamp = headers["X-Amz-Date"]
        now: Callable[[], Any] = lambda: SimpleNamespace(strftime=lambda _: stamp)  # noqa: E731
        right = Credential(ACCESS, SECRET).signed(method, url, data, now=now)
        if headers["Authorization"] != right["Authorization"] and not self.credulous:
            raise keystoneauth1.exceptions.Forbidden
        _, bucket, *key = urlsplit(url).path.split("/")
        content = b""
        if method == "PUT" and not key:
            self.create_container(bucket)
        elif bucket not in self.containers_:
            raise keystoneauth1.exceptions.NotFound
        elif method == "PUT":
            self.containers_[bucket][key[0]] = data
        elif method == "DELETE":
            _ = self.containers_[bucket].pop(key[0]) if key else self.containers_.pop(bucket)
        elif key:
            content = self._held(self.containers_[bucket][key[0]])
        return SimpleNamespace(content=content)


class Session:
    """The session of the user that the check makes."""

    store: Store
    deadline = Deadline(60)

    def __init__(self, **_: Any) -> None:
        pass

    def get_user_id(self) -> str:
        return "u1"

    def get_project_id(self) -> str:
        return "p1"

    def get_endpoint(self, service_type: str, **_: Any) -> str:
        return f"{URL}/" if service_type == "s3" else ""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        return self.store.request(*args, **kwargs)

    def post(self, url: str, json: Any) -> Any:
        assert url.endswith("/users/u1/credentials/OS-EC2")
        assert json == {"tenant_id": "p1"}
        return SimpleNamespace(json=lambda: {"credential": {"access": ACCESS, "secret": SECRET}})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    cloud = SimpleNamespace(object_store=made, identity=made)
    monkeypatch.setattr(Session, "store", made, raising=False)
    monkeypatch.setattr(objectstore, "BoundedSession", Session)
    monkeypatch.setattr(objectstore.openstack.connection, "Connection", lambda **_: cloud)
    return made


@pytest.fixture
def context(store: Store) -> Context:
    who = Credentials("https://api.example.test:5000/v3", "admin", "x")
    made = Context(Target("example", who, "north", "public", {}), Deadline(60))
    made.session = Session()  # type: ignore[assignment]
    return made


CHECKS = pytest.mark.parametrize("check", [objectstore.swift, objectstore.s3])


def nothing_stays(context: Context, store: Store) -> None:
    assert context.clean_up(20) == []
    assert (store.containers_, store.users_) == ({}, [])


@CHECKS
def test_a_user_keeps_an_object(check: Any, context: Context, store: Store) -> None:
    assert "100 kB put, got, compared and deleted" in check(context, "")
    assert store.containers_ == {}
    assert store.assigned == [("p1", "member")]
    nothing_stays(context, store)


@CHECKS
def test_other_bytes_are_a_failure(check: Any, context: Context, store: Store) -> None:
    store.corrupt = True
    with pytest.raises(CheckError, match="differs from the 100000 bytes"):
        check(context, "")
    assert store.containers_
    nothing_stays(context, store)


def test_a_gateway_that_believes_any_signature_is_a_failure(context: Context, store: Store) -> None:
    store.credulous = True
    with pytest.raises(CheckError, match="wrong signature was carried out"):
        objectstore.s3(context, "")
    nothing_stays(context, store)


def test_no_endpoint_is_a_failure(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "get_endpoint", lambda *_, **__: None)
    with pytest.raises(CheckError, match="no endpoint of type s3"):
        objectstore.s3(context, "")
    nothing_stays(context, store)


@CHECKS
def test_what_a_killed_run_left_goes(check: Any, context: Context, store: Store) -> None:
    store.containers_ = {f"{PREFIX}1000-ab": {"object": b"x"}, "a-users-own": {"kept": b"y"}}
    store.users_ = [f"{PREFIX}1000-cd", "somebody"]
    assert check(context, "").endswith("; removed 2 left by an earlier run")
    assert store.containers_ == {"a-users-own": {"kept": b"y"}}
    assert context.clean_up(20) == []
    assert store.users_ == ["somebody"]
