"""Barbican keeps a secret: whole for its project, unreadable in the database, gone for others."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.support.keystone import Client, ensure_service_user, login

URL = "https://host.kitchen.test:9311"
TEXT = "kitchen-secret-" + uuid.uuid4().hex


@pytest.fixture(scope="module", autouse=True)
def service_user(instance: object) -> None:
    ensure_service_user(instance.host, "barbican")  # type: ignore[attr-defined]


@pytest.fixture
def secret(host: Host) -> Iterator[str]:
    """Reference of a secret."""
    body = {
        "name": "kitchen",
        "payload": base64.b64encode(TEXT.encode()).decode(),
        "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64",
    }
    reference = login(host).ok("POST", f"{URL}/v1/secrets", body)["secret_ref"]
    assert reference.startswith(f"{URL}/v1/secrets/")
    yield reference
    login(host).request("DELETE", reference)


def test_a_secret_is_read_again(host: Host, secret: str) -> None:
    accept = {"Accept": "application/octet-stream"}
    read = login(host).request("GET", f"{secret}/payload", headers=accept)
    assert (read.status, read.text) == (200, TEXT)


def test_the_database_does_not_hold_it(host: Host, secret: str) -> None:
    """Neither as it is nor as it was sent."""
    dump = host.check_output("mariadb-dump barbican")
    assert secret.rpartition("/")[2] in dump
    assert TEXT not in dump
    assert base64.b64encode(TEXT.encode()).decode() not in dump


def test_a_deleted_secret_is_gone(host: Host, secret: str) -> None:
    admin = login(host)
    assert admin.request("DELETE", secret).status == 204
    assert admin.request("GET", secret).status == 404


@pytest.mark.parametrize("token", ["", "gAAAAABmade-up"])
def test_without_a_valid_token_there_is_nothing(host: Host, token: str) -> None:
    assert Client(host, token).request("GET", f"{URL}/v1/secrets").status == 401


def test_the_health_check_answers(host: Host) -> None:
    assert Client(host).request("GET", f"{URL}/healthcheck").status == 200


def test_its_configuration_is_guarded(host: Host) -> None:
    config = host.file("/etc/barbican/barbican.conf")
    assert (config.user, config.group, config.mode) == ("root", "barbican", 0o640)


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("barbican-api").is_enabled
    assert host.service("barbican-api").is_running
