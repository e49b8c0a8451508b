"""Canaries in a real Keystone and Glance: made, proven, lost, removed; through the runner too."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.adapters import canaries, sitekey
from saltern.canary.run import Keeper
from saltern.canary.types import Report
from saltern.errors import LockedError, SecretError
from saltern.sanity.client import Context, Deadline
from saltern.sanity.target import Credentials, Target
from tests.functional.cloud.conftest import Minion, apply
from tests.functional.cloud.test_runner import site  # noqa: F401  a fixture
from tests.support import TREE
from tests.support.cloud import ADMIN_PASSWORD, Cloud

HERE = {"project", "user", "credential", "image"}
Run = Callable[..., dict[str, Any]]


class Silent:
    def emit(self, tag: str, data: Any, line: str = "") -> None:
        json.dumps(dict(data))


class Bus:
    """An event bus that nobody listens to."""

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fire_event(self, data: dict[str, Any], tag: str) -> None:
        assert tag.startswith("saltern/canary/")


@pytest.fixture
def aim(minion: Minion, served_cloud: Cloud) -> Target:
    if not minion.call("openstack_identity.find", "service", {"name": "placement"}):
        assert all(answer["result"] for _, answer in apply(minion))
    who = Credentials(served_cloud.urls["keystone"], "admin", ADMIN_PASSWORD)
    admin = Context(Target("loopback", who, "RegionOne", "public", {}), Deadline(60))
    if admin.cloud.identity.find_role("member") is None:
        admin.cloud.identity.create_role(name="member")
    return admin.target


@pytest.fixture
def keeper(aim: Target, tmp_path: Path) -> Iterator[Keeper]:
    key = tmp_path / "journal/site.key"
    sitekey.ensure(key)
    journal = canaries.open_journal(f"sqlite:///{tmp_path}/journal/journal.db")
    book = canaries.CanaryBook(journal, "loopback", "admin", "tests")
    journal.prepare()
    made = Keeper(aim, book, lambda flock: canaries.password(key, flock), Silent())
    yield made
    made.destroy()
    assert left_over(aim) == []


def admin(target: Target) -> Any:
    return Context(target, Deadline(60)).cloud


def left_over(target: Target) -> list[str]:
    cloud = admin(target)
    found = [*cloud.identity.projects(), *cloud.identity.users(), *cloud.image.images()]
    return [item.name for item in found if str(item.name).startswith("canary-")]


def failed(report: Report) -> dict[str, str]:
    return {row.canary.removeprefix("canary-"): row.code for row in report.rows if row.code}


def done(report: Report) -> set[str]:
    return {row.canary.removeprefix("canary-") for row in report.rows if row.result == "ok"}


def test_they_are_made_once_proven_and_removed(
    keeper: Keeper, aim: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    first = keeper.create()
    assert (failed(first), done(first)) == ({}, HERE), first.table()
    ids = [row.id for row in first.rows]
    again = keeper.create()
    assert (failed(again), [row.id for row in again.rows]) == ({}, ids), again.table()
    assert sorted(left_over(aim)) == ["canary-image", "canary-project", "canary-user"]
    proven = keeper.verify()
    assert (failed(proven), done(proven)) == ({}, HERE), proven.table()
    flock = keeper.book.flock()
    assert flock is not None
    password = canaries.password(tmp_path / "journal/site.key", flock)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "journal").glob("journal.db*"))
    shown = f"{caplog.text} {first.table()} {proven.data()} {kept!r}"
    assert flock.seed in shown
    assert password not in shown
    assert ADMIN_PASSWORD not in shown
    gone = keeper.destroy()
    assert (failed(gone), done(gone), left_over(aim)) == ({}, HERE, [])
    assert keeper.destroy().rows == ()


def lose_image(cloud: Any, ids: dict[str, str]) -> None:
    cloud.image.delete_image(ids["image"], ignore_missing=False)


def lose_user(cloud: Any, ids: dict[str, str]) -> None:
    cloud.identity.delete_user(ids["user"], ignore_missing=False)


def lose_project(cloud: Any, ids: dict[str, str]) -> None:
    cloud.identity.delete_project(ids["project"], ignore_missing=False)


def lose_credential(cloud: Any, ids: dict[str, str]) -> None:
    path = f"/users/{ids['user']}/credentials/OS-EC2/{ids['credential']}"
    cloud.identity.delete(path)


def reset_password(cloud: Any, ids: dict[str, str]) -> None:
    cloud.identity.update_user(ids["user"], password="another-password")


def take_role(cloud: Any, ids: dict[str, str]) -> None:
    role = cloud.identity.find_role("member")
    cloud.identity.unassign_project_role_from_user(ids["project"], ids["user"], role)


def disable(cloud: Any, ids: dict[str, str]) -> None:
    cloud.identity.update_project(ids["project"], is_enabled=False)


OTHERS = {"credential": "canary-unknown", "image": "canary-unknown"}


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (lose_image, {"image": "canary-lost"}),
        (lose_credential, {"credential": "canary-lost"}),
        (lose_user, {"user": "canary-lost", **OTHERS}),
        (lose_project, {"project": "canary-lost"}),
        (reset_password, {"user": "canary-data", **OTHERS}),
        (take_role, {"user": "canary-state", **OTHERS}),
        (disable, {"project": "canary-state"}),
    ],
)
def test_each_loss_is_found_and_not_mended(
    damage: Callable[[Any, dict[str, str]], None],
    codes: dict[str, str],
    keeper: Keeper,
    aim: Target,
) -> None:
    keeper.create()
    ids = {kind: one.id for kind, one in keeper.book.canaries().items()}
    damage(admin(aim), ids)
    report = keeper.verify()
    found = failed(report)
    # without its project the user cannot log in either
    assert codes.items() <= found.items(), report.table()
    if damage in (lose_image, lose_credential):
        assert found == codes
    keeper.create()
    assert codes.items() <= failed(keeper.verify()).items()


def test_bytes_that_rot_in_the_store_are_found(keeper: Keeper, served_cloud: Cloud) -> None:
    keeper.create()
    id = keeper.book.canaries()["image"].id
    (file,) = [path for path in served_cloud.home.rglob(id) if path.is_file()]
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert failed(keeper.verify()) == {"image": "canary-data"}
    file.unlink()
    assert failed(keeper.verify())["image"] in ("canary-data", "canary-unknown")
    file.write_bytes(data)
    assert failed(keeper.verify()) == {}


def test_a_service_that_is_down_proves_nothing(keeper: Keeper, served_cloud: Cloud) -> None:
    keeper.create()
    served_cloud.stop("glance")
    try:
        assert failed(keeper.verify()) == {"image": "canary-unknown"}
        assert failed(keeper.destroy()) == {
            "image": "canary-left", "user": "canary-left", "project": "canary-left",
        }  # fmt: skip
    finally:
        served_cloud.start("glance")
    assert failed(keeper.destroy()) == {}


def test_one_process_at_a_time(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.create()
    book = keeper.book
    assert isinstance(book, canaries.CanaryBook)
    monkeypatch.setattr(canaries, "alive", lambda name: True)
    with book.claimed():
        own = canaries.me()
        monkeypatch.setattr(canaries, "me", lambda: "2@elsewhere/boot/1")
        with pytest.raises(LockedError, match="works on the canaries of loopback"), book.claimed():
            pass
        monkeypatch.setattr(canaries, "me", lambda: own)
    with book.claimed():
        pass


def test_the_password_needs_a_key_that_nobody_else_reads(keeper: Keeper, tmp_path: Path) -> None:
    keeper.create()
    flock = keeper.book.flock()
    assert flock is not None
    file = tmp_path / "journal/site.key"
    other = tmp_path / "other.key"
    sitekey.ensure(other)
    assert canaries.password(other, flock) != canaries.password(file, flock)
    again = dataclasses.replace(flock, seed="00")
    assert canaries.password(file, again) != canaries.password(file, flock)
    other.chmod(0o640)
    with pytest.raises(SecretError, match="can be read by others"):
        canaries.password(other, flock)


# -- the runner ------------------------------------------------------------------------------


@pytest.fixture
def runner(tmp_path: Path, site: dict[str, Any], aim: Target) -> Iterator[Run]:  # noqa: F811
    """Return a function that calls `canary.<verb>` through Salt's runner loader."""
    key = tmp_path / "keys/site.key"
    sitekey.ensure(key)
    url = f"sqlite:///{tmp_path}/keys/journal.db"

    def call(verb: str, **kwargs: Any) -> Any:
        import salt.config
        import salt.loader

        opts = salt.config.master_config(None)
        opts.update(
            root_dir=str(tmp_path),
            cachedir=str(tmp_path / "cache"),
            sock_dir=str(tmp_path / "sock"),
            extension_modules=str(tmp_path / "extmods"),
            module_dirs=[str(TREE)],
            **site,
        )
        return salt.loader.runner(opts)[f"canary.{verb}"](**kwargs)

    # canaries need the journal only to remember; the model is the tree, as in other tests
    book = canaries.CanaryBook(canaries.open_journal(url), "loopback", "admin", "tests")
    book.journal.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canaries, "book_of", lambda site, cloud, by: dataclasses.replace(
            book, cloud=cloud, by=by))  # fmt: skip
        patch.setattr(canaries, "site_key_file", lambda journal, site_key: key)
        # no master listens here, and each event would wait for one
        patch.setattr("salt.utils.event.get_event", lambda *_, **__: Bus())
        yield call
        call("destroy", quiet=True)
    assert left_over(aim) == []


def test_the_runner(runner: Run, aim: Target, capsys: pytest.CaptureFixture[str]) -> None:
    none = runner("verify", quiet=True)
    assert (none["result"], none["retcode"], none["code"]) == (False, 2, "preflight")
    assert runner("list") == "There are no canaries of loopback."
    made = runner("create")
    assert (made["result"], made["retcode"], made["failures"]) == (True, 0, []), made
    assert "canary-image ok: made" in capsys.readouterr().err
    assert made["table"].count(" ok ") == 4
    assert "canary-image" in runner("list")
    rows = {one["canary"]: one for one in runner("list", data=True)}
    assert rows["canary-image"]["facts"]["checksum"].startswith("sha512=")
    good = runner("verify", quiet=True, data=True)
    assert (good["result"], good["retcode"]) == (True, 0)
    assert [row["result"] for row in good["data"]].count("ok") == 4
    json.dumps(good)
    assert capsys.readouterr().err == ""
    admin(aim).image.delete_image(rows["canary-image"]["id"])
    bad = runner("verify", quiet=True)
    assert (bad["result"], bad["retcode"], len(bad["failures"])) == (False, 1, 1)
    assert "(canary-lost)" in bad["comment"]
    gone = runner("destroy", quiet=True)
    assert (gone["result"], gone["retcode"]) == (True, 0), gone
    assert runner("destroy", quiet=True)["result"] is True


def test_a_cloud_of_clouds_yaml(
    runner: Run,
    served_cloud: Cloud,
    clouds_yaml: Callable[[Cloud], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = clouds_yaml(served_cloud)
    found = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({"clouds": {"other": found["clouds"]["admin"]}}))
    monkeypatch.setattr("openstack.config.loader.CONFIG_FILES", [str(file)])
    refused = runner("create", cloud="none-such", quiet=True)
    assert (refused["retcode"], refused["code"]) == (2, "preflight")
    made = runner("create", cloud="other", quiet=True)
    assert made["result"] is True, made
    assert runner("list") == "There are no canaries of loopback."
    # two flocks of one cloud would share names: the second one does not take the first one's
    second = runner("create", quiet=True)
    assert second["retcode"] == 1
    assert "the journal does not know it" in second["comment"]
    assert runner("destroy", cloud="other", quiet=True)["result"] is True
