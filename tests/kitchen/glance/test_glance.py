"""Glance keeps images: what went up comes down, byte by byte, for those who may."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.support.keystone import Client, ensure_service_user, login

URL = "https://host.kitchen.test:9292"
IMAGES = f"{URL}/v2/images"
#: more than one chunk, not compressible, known
SIZE = 5_000_000
CONTENT = f"head -c {SIZE} /dev/zero | openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 2>/dev/null"


@pytest.fixture(scope="module", autouse=True)
def service_user(instance: object) -> None:
    ensure_service_user(instance.host, "glance")  # type: ignore[attr-defined]


@pytest.fixture
def image(host: Host) -> Iterator[str]:
    """URL of an empty image."""
    admin = login(host)
    body = {"name": "kitchen", "disk_format": "raw", "container_format": "bare"}
    made = admin.ok("POST", IMAGES, body)
    yield f"{IMAGES}/{made['id']}"
    admin.request("DELETE", f"{IMAGES}/{made['id']}")


def test_an_image_survives_the_way_there_and_back(host: Host, image: str) -> None:
    token = login(host).token
    wanted = host.check_output(f"{CONTENT} | sha256sum").split()[0]
    up = host.run(
        f"{CONTENT} | curl -sf -T - -X PUT -H 'Content-Type: application/octet-stream'"
        f" -H 'X-Auth-Token: {token}' {image}/file"
    )
    assert up.rc == 0, up.stderr
    assert login(host).ok("GET", image)["size"] == SIZE
    down = host.check_output(f"curl -sf -H 'X-Auth-Token: {token}' {image}/file | sha256sum")
    assert down.split()[0] == wanted


def test_its_checksum_is_kept(host: Host, image: str) -> None:
    admin = login(host)
    kind = {"Content-Type": "application/octet-stream"}
    assert admin.request("PUT", f"{image}/file", "hello", kind).status == 204
    shown = admin.ok("GET", image)
    assert shown["status"] == "active"
    assert shown["os_hash_value"] == hashlib.sha512(b"hello").hexdigest()


@pytest.mark.parametrize("token", ["", "gAAAAABmade-up"])
def test_without_a_valid_token_there_is_nothing(host: Host, token: str) -> None:
    assert Client(host, token).request("GET", IMAGES).status == 401


def test_the_health_check_answers(host: Host) -> None:
    assert Client(host).request("GET", f"{URL}/healthcheck").status == 200


def test_the_store_is_glances_alone(host: Host) -> None:
    store = host.file("/var/lib/glance/images")
    assert (store.user, store.mode) == ("glance", 0o750)
    config = host.file("/etc/glance/glance-api.conf")
    assert (config.user, config.group, config.mode) == ("root", "glance", 0o640)


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("glance-api").is_enabled
    assert host.service("glance-api").is_running
