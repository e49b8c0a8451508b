"""The image states against a real Glance with a real Keystone in front."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.functional.cloud.conftest import Minion, apply
from tests.support.cloud import Cloud


@pytest.fixture
def glance(minion: Minion, served_cloud: Cloud) -> Minion:
    """A minion of a cloud whose catalogue and service users are there."""
    if not minion.call("openstack_identity.find", "service", {"name": "glance"}):
        assert all(answer["result"] for _, answer in apply(minion))
    return minion


def content(path: Path) -> dict[str, str]:
    """Write random bytes; return `source` and `checksum` of an image state."""
    data = os.urandom(200_000)
    path.write_bytes(data)
    return {"source": str(path), "checksum": f"sha512={hashlib.sha512(data).hexdigest()}"}


def test_an_image_from_nothing_to_nothing(glance: Minion, tmp_path: Path) -> None:
    state = "openstack_image.present"
    given = {"name": "t-image", "visibility": "public", **content(tmp_path / "one")}

    assert glance.run(state, test=True, **given)["result"] is None
    assert glance.call("openstack_image.images", "t-image") == []
    made = glance.run(state, **given)
    assert made["result"] is True, made
    assert glance.run(state, **given)["changes"] == {}
    first = glance.call("openstack_image.images", "t-image")
    assert [one["status"] for one in first] == ["active"]

    more = {**given, "min_disk": 1, "properties": {"os_distro": "cirros", "own": "1"}}
    assert glance.run(state, test=True, **more)["result"] is None
    changed = glance.run(state, **more)
    assert set(changed["changes"]) == {"min_disk", "property os_distro", "property own"}
    assert changed["result"] is True, changed
    assert glance.run(state, **more)["changes"] == {}

    # other content: a new image; the old one stays usable by id, but is hidden
    other = {**given, **content(tmp_path / "two")}
    assert set(glance.run(state, **other)["changes"]) == {"content"}
    second = glance.call("openstack_image.images", "t-image")
    assert [one["id"] for one in second] != [one["id"] for one in first]
    assert len(second) == 1
    hidden = glance.call("openstack_api.connection").image.get_image(first[0]["id"])
    assert (hidden.is_hidden, hidden.status) == (True, "active")

    assert glance.run("openstack_image.absent", name="t-image", test=True)["result"] is None
    assert glance.run("openstack_image.absent", name="t-image")["changes"]
    again = glance.run("openstack_image.absent", name="t-image")
    assert (again["result"], again["changes"]) == (True, {})


def test_sha256_is_enough(glance: Minion, tmp_path: Path) -> None:
    given = content(tmp_path / "file")
    digest = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    given = {"name": "t-sha256", "source": given["source"], "checksum": f"sha256={digest}"}
    assert glance.run("openstack_image.present", **given)["changes"]
    again = glance.run("openstack_image.present", **given)
    assert (again["result"], again["changes"]) == (True, {})


def test_a_wrong_checksum_uploads_nothing(glance: Minion, tmp_path: Path) -> None:
    given = content(tmp_path / "file")
    digest = given["checksum"].partition("=")[2]
    wrong = hashlib.sha512(b"something else").hexdigest()
    answer = glance.run(
        "openstack_image.present",
        name="t-wrong",
        source=given["source"],
        checksum=f"sha512={wrong}",
    )
    assert answer["result"] is False
    assert digest in answer["comment"]
    assert wrong in answer["comment"]
    assert glance.call("openstack_image.images", "t-wrong") == []


def test_a_crashed_upload_is_replaced(glance: Minion, tmp_path: Path) -> None:
    conn = glance.call("openstack_api.connection")
    conn.image.create_image(
        "t-crashed", container_format="bare", disk_format="raw", allow_duplicates=True
    )
    assert [one["status"] for one in glance.call("openstack_image.images", "t-crashed")] == [
        "queued"
    ]
    given = {"name": "t-crashed", **content(tmp_path / "file")}
    assert glance.run("openstack_image.present", **given)["result"] is True
    assert [one["status"] for one in glance.call("openstack_image.images", "t-crashed")] == [
        "active"
    ]


def test_a_source_that_is_not_there(glance: Minion) -> None:
    checksum = f"sha512={hashlib.sha512(b'x').hexdigest()}"
    for source in ("/no/such/file", "salt://no/such/file"):
        answer = glance.run(
            "openstack_image.present", name="t-none", source=source, checksum=checksum
        )
        assert answer["result"] is False
        assert source in answer["comment"]
