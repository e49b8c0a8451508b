"""Users of the gateways: written by ``radosgw-admin`` with nothing in its arguments, read back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from saltern.modules import ceph_rgw, readback
from saltern.states import ceph_rgw_user

SECRET, OTHER = "0123456789abcdef0123", "fedcba98765432100123"


class Admin:
    """Stands for ``subprocess.run`` of radosgw-admin: metadata of users, in memory."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.commands: list[list[str]] = []
        self.deaf = False
        self.code = 0
        self.buckets = False

    def run(self, command: list[str], input: str = "", **more: Any) -> Any:
        assert command[:5] == ["radosgw-admin", "--name", "client.rgw", "--keyring", KEYRING]
        self.commands.append(command)
        code, out, told = self.answer(command[6:], input)
        return subprocess.CompletedProcess(command, code, out, told)

    def answer(self, words: list[str], body: str) -> tuple[int, str, str]:
        if self.code:
            return self.code, "", "2026-01-02 noise\nerror: no quorum\n"
        if words[:2] == ["user", "rm"]:
            if self.buckets:
                return 17, "", "could not remove user: must specify purge data\n"
            self.users.pop(words[2].removeprefix("--uid="))
            return 0, "", ""
        verb, name = words[1], words[2].removeprefix("user:")
        if verb == "get":
            if name not in self.users:
                return 2, "", "ERROR: can't get key: (2) No such file or directory\n"
            found = {"key": words[2], "ver": {"tag": "t", "ver": 3}, "data": self.users[name]}
            return 0, json.dumps(found), ""
        if not self.deaf:
            self.users[name] = json.loads(body)["data"]
        return 0, "", ""


KEYRING = ""


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    made = Admin()
    keyring = tmp_path / "keyring"
    keyring.touch()
    monkeypatch.setattr(ceph_rgw, "KEYRING", str(keyring))
    monkeypatch.setitem(globals(), "KEYRING", str(keyring))
    monkeypatch.setattr(ceph_rgw.subprocess, "run", made.run)
    functions = {
        f"ceph_rgw.{name}": getattr(ceph_rgw, name)
        for name in ("fingerprint", "user", "put_user", "remove_user")
    }
    functions.update({f"readback.{n}": getattr(readback, n) for n in ("present", "absent")})
    monkeypatch.setattr(ceph_rgw_user, "__salt__", functions, raising=False)
    monkeypatch.setattr(ceph_rgw_user, "__opts__", {"test": False}, raising=False)
    return made


def present(secret: str = SECRET, **more: Any) -> dict[str, Any]:
    given = {"max_buckets": 2, "quota_bytes": 1024, **more}
    return dict(ceph_rgw_user.present("probe", "id", secret, **given))


def test_a_user_is_written_once_and_read_back(admin: Admin) -> None:
    first = present()
    assert (first["result"], first["comment"]) == (True, "User probe: created.")
    assert first["changes"]["keys"] == "set"
    user = admin.users["probe"]
    assert user["keys"] == [{"user": "probe", "access_key": "id", "secret_key": SECRET}]
    assert (user["user_quota"]["max_size"], user["user_quota"]["max_objects"]) == (1024, -1)
    written = len(admin.commands)
    second = present()
    assert (second["result"], second["changes"]) == (True, {})
    assert [command[7] for command in admin.commands[written:]] == ["get"]


def test_no_key_is_in_an_argument_a_change_or_an_answer(admin: Admin) -> None:
    told = [present(), present(OTHER), ceph_rgw.user("probe")]
    assert told[1]["changes"] == {"keys": "changed"}
    for text in (json.dumps(admin.commands), json.dumps(told)):
        assert SECRET not in text
        assert OTHER not in text


def test_what_somebody_gave_it_is_taken_away(admin: Admin) -> None:
    present()
    user = admin.users["probe"]
    user.update(caps=[{"type": "users", "perm": "*"}], system="true", suspended=1, email="a@b.test")
    user["keys"].append({"user": "probe", "access_key": "second", "secret_key": OTHER})
    found = present()
    assert set(found["changes"]) == {"keys", "suspended", "privileged"}
    user = admin.users["probe"]
    assert user["caps"] == []
    assert "system" not in user
    assert len(user["keys"]) == 1
    assert user["email"] == "a@b.test", "what is not kept is left alone"


@pytest.mark.usefixtures("admin")
def test_test_mode_writes_nothing(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceph_rgw_user, "__opts__", {"test": True}, raising=False)
    found = present()
    assert (found["result"], admin.users) == (None, {})
    assert found["changes"]["max_buckets"] == {"old": None, "new": 2}
    admin.code = 5
    assert present()["result"] is None


def test_what_reads_back_different_is_a_failure(admin: Admin) -> None:
    present()
    admin.deaf = True
    found = present(quota_bytes=2048)
    assert found["result"] is False
    assert found["comment"] == "User probe: written, but read back with a different quota_bytes."


def test_what_does_not_answer_is_a_failure(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.code = 5
    assert present()["comment"] == "User probe: radosgw-admin metadata get: error: no quorum."
    monkeypatch.setattr(ceph_rgw, "KEYRING", "/none")
    found = present()
    assert (found["result"], found["changes"]) == (False, {})
    assert "no object gateway" in found["comment"]


def test_a_user_goes_unless_it_has_buckets(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ceph_rgw_user.absent("probe")["changes"] == {}
    present()
    monkeypatch.setattr(ceph_rgw_user, "__opts__", {"test": True}, raising=False)
    assert ceph_rgw_user.absent("probe")["result"] is None
    monkeypatch.setattr(ceph_rgw_user, "__opts__", {"test": False}, raising=False)
    admin.buckets = True
    found = ceph_rgw_user.absent("probe")
    assert (found["result"], "must specify purge data" in found["comment"]) == (False, True)
    admin.buckets = False
    assert ceph_rgw_user.absent("probe")["changes"] == {"probe": "removed"}
    assert admin.users == {}
