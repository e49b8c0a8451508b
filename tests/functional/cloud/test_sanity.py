"""Sanity against a real Keystone, Glance and Placement: it passes, it fails, it cleans up."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from saltern.sanity.checks import CHECKS, Check
from saltern.sanity.client import PREFIX, Context, Deadline
from saltern.sanity.probe import cli, issuer, probe
from saltern.sanity.run import Report, run
from saltern.sanity.target import Credentials, Target
from tests.functional.cloud.conftest import Minion, apply
from tests.support.cloud import ADMIN_PASSWORD, Cloud


@pytest.fixture
def aim(minion: Minion, served_cloud: Cloud) -> Target:
    """The cloud on loopback as a target; one member, and no TLS."""
    if not minion.call("openstack_identity.find", "service", {"name": "placement"}):
        assert all(answer["result"] for _, answer in apply(minion))
    roles = ("keystone.server", "glance.server", "placement.server")
    return Target(
        "loopback",
        Credentials(served_cloud.urls["keystone"], "admin", ADMIN_PASSWORD),
        "RegionOne",
        "public",
        dict.fromkeys(roles, ("127.0.0.1",)),
    )


def left_over(target: Target) -> list[str]:
    """Names of everything that a sanity run could have left."""
    cloud = Context(target, Deadline(60)).cloud
    found = [
        *cloud.identity.projects(),
        *cloud.identity.users(),
        *cloud.image.images(),
        *cloud.placement.resource_providers(),
    ]
    return [item.name for item in found if item.name and item.name.startswith(PREFIX)]


def failed(report: Report) -> list[str]:
    return [f"{row.check} {row.where}" for row in report.rows if not row.ok]


def test_a_good_cloud_passes_and_stays_clean(aim: Target, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    report = run(aim)
    assert report.failures == []
    assert [row.check for row in report.rows] == [
        "token", "token", "project", "user", "image", "inventory",
    ]  # fmt: skip
    assert left_over(aim) == []
    shown = f"{caplog.text} {report!r} {report.table()} {report.data()}"
    assert ADMIN_PASSWORD not in shown


def test_wrong_credentials_fail_every_check(aim: Target) -> None:
    wrong = dataclasses.replace(aim.credentials, password="not-the-password")
    report = run(dataclasses.replace(aim, credentials=wrong))
    assert len(failed(report)) == len(report.rows)
    assert "not-the-password" not in f"{report.comment} {report.table()}"


def test_a_member_that_is_down_fails_its_own_row_only(aim: Target) -> None:
    # nothing listens on this address of loopback; the VIP's stand-in goes on
    members = {**aim.members, "keystone.server": ("127.0.0.1", "127.0.0.99")}
    report = run(
        dataclasses.replace(aim, members=members),
        [check for check in CHECKS if check.name == "token"],
    )
    assert [(row.where, row.ok) for row in report.rows] == [
        ("127", True), ("127", False), ("VIP", True),
    ]  # fmt: skip


def test_members_that_do_not_share_their_keys_fail(
    aim: Target, served_cloud: Cloud, tmp_path: Path
) -> None:
    """A second Keystone on the same database: first with the same keys, then with its own."""
    twin = "127.0.0.2"
    tokens = [check for check in CHECKS if check.name == "token" and check.each]
    both = {**aim.members, "keystone.server": ("127.0.0.1", twin)}
    aim = dataclasses.replace(aim, members=both)
    config = (served_cloud.home / "keystone/keystone.conf").read_text()
    own = tmp_path / "keystone.conf"
    (tmp_path / "fernet").mkdir(mode=0o700)
    (tmp_path / "fernet/0").write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    own.write_text(config.replace(f"{served_cloud.home}/keystone/fernet", str(tmp_path / "fernet")))
    for environ, wanted in (({}, []), ({"OS_KEYSTONE_CONFIG_FILES": str(own)}, [False, False])):
        served_cloud.start("keystone", twin, **environ)
        try:
            report = run(aim, tokens)
        finally:
            served_cloud.stop("keystone", twin)
        assert [row.ok for row in report.rows if not row.ok] == wanted, report.table()
    assert f"a token of {twin} is not accepted" in report.comment


def test_a_service_that_is_down_fails_its_check_only(aim: Target, served_cloud: Cloud) -> None:
    served_cloud.stop("glance")
    try:
        begin = time.monotonic()
        report = run(aim)
        assert failed(report) == ["image VIP"]
        assert time.monotonic() - begin < 60
    finally:
        served_cloud.start("glance")


def broken_image(context: Context, member: str) -> str:
    """The image check with a download that brings other bytes."""
    glance = context.cloud.image
    real = glance.download_image

    def corrupt(*args: Any, **kwargs: Any) -> Any:
        answer = real(*args, **kwargs)
        answer._content = b"\0" + answer.content[1:]
        return answer

    glance.download_image = corrupt
    check = next(check for check in CHECKS if check.name == "image")
    return check.run(context, member)


def test_other_bytes_are_noticed_and_removed(aim: Target) -> None:
    report = run(aim, (Check("image", "glance.server", broken_image),))
    assert "differs from the 300000 bytes" in report.comment
    assert left_over(aim) == []


def test_the_next_run_removes_what_a_killed_one_left(aim: Target) -> None:
    cloud = Context(aim, Deadline(60)).cloud
    old, new = f"{PREFIX}{int(time.time()) - 3600}-dead", f"{PREFIX}{int(time.time())}-beef"
    for name in (old, new):
        cloud.identity.create_project(name=name, domain_id="default")
    cloud.identity.create_user(name=old, domain_id="default", password="x" * 12)
    cloud.placement.create_resource_provider(name=old)
    cloud.image.create_image(old, container_format="bare", disk_format="raw", allow_duplicates=True)
    report = run(aim)
    assert report.failures == []
    assert sum("removed 1 left by an earlier run" in row.sentence for row in report.rows) == 4
    # what may belong to a run that still goes on stays
    assert left_over(aim) == [new]
    cloud.identity.delete_project(cloud.identity.find_project(new))


def test_the_probe_sees_an_outage(
    aim: Target, served_cloud: Cloud, clouds_yaml: Callable[[Cloud], Path]
) -> None:
    issue = issuer(None, "admin", str(clouds_yaml(served_cloud)))
    first = threading.Event()

    def attempt() -> None:
        issue()
        first.set()

    with ThreadPoolExecutor(1) as pool:
        watch = pool.submit(probe, attempt, 10.0, 0.3)
        try:
            assert first.wait(10)
            served_cloud.stop("keystone")
            seen = watch.result(timeout=60)
        finally:
            served_cloud.start("keystone")
    assert len(seen.failures) > 1
    assert seen.longest_gap == pytest.approx(seen.seconds - seen.successes[-1])
    assert "refused" in seen.last_error
    assert ADMIN_PASSWORD not in str(seen.to_json())


def test_the_probe_on_the_command_line(
    aim: Target,
    served_cloud: Cloud,
    clouds_yaml: Callable[[Cloud], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["--cloud", "admin", "--clouds-file", str(clouds_yaml(served_cloud)), "--seconds", "1"]
    assert cli(argv) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["requests"] > seen["failures"] == 0
    assert cli([*argv, "--url", "http://127.0.0.1:9/v3"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["requests"] == seen["failures"] > 0
