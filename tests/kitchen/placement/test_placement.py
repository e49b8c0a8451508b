"""Placement keeps an inventory and counts what is allocated of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.support.keystone import Client, ensure_service_user, login

URL = "https://host.kitchen.test:8778"
VERSION = {"OpenStack-API-Version": "placement 1.36"}


@pytest.fixture(scope="module", autouse=True)
def service_user(instance: object) -> None:
    ensure_service_user(instance.host, "placement")  # type: ignore[attr-defined]


@pytest.fixture
def provider(host: Host) -> Iterator[str]:
    """URL of a resource provider."""
    admin = login(host)
    identity = str(uuid.uuid4())
    body = {"name": f"kitchen-{identity}", "uuid": identity}
    made = admin.request("POST", f"{URL}/resource_providers", body, VERSION)
    assert made.status == 200, made.text
    yield f"{URL}/resource_providers/{identity}"
    admin.request("DELETE", f"{URL}/resource_providers/{identity}", headers=VERSION)


def test_an_inventory_is_counted(host: Host, provider: str) -> None:
    admin = login(host)
    body = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8}}}
    assert admin.request("PUT", f"{provider}/inventories", body, VERSION).status == 200
    consumer = f"{URL}/allocations/{uuid.uuid4()}"
    allocation = {
        "allocations": {provider.rpartition("/")[2]: {"resources": {"VCPU": 3}}},
        "project_id": "kitchen",
        "user_id": "kitchen",
        "consumer_generation": None,
    }
    assert admin.request("PUT", consumer, allocation, VERSION).status == 204
    assert admin.ok("GET", f"{provider}/usages")["usages"] == {"VCPU": 3}
    too_much = {**allocation, "allocations": {
        provider.rpartition("/")[2]: {"resources": {"VCPU": 100}}}}  # fmt: skip
    other = f"{URL}/allocations/{uuid.uuid4()}"
    assert admin.request("PUT", other, too_much, VERSION).status == 409
    assert admin.request("DELETE", consumer, headers=VERSION).status == 204


@pytest.mark.parametrize("token", ["", "gAAAAABmade-up"])
def test_without_a_valid_token_there_is_nothing(host: Host, token: str) -> None:
    assert Client(host, token).request("GET", f"{URL}/resource_providers").status == 401


def test_its_versions_come_from_the_application(host: Host) -> None:
    assert Client(host).ok("GET", f"{URL}/")["versions"][0]["id"] == "v1.0"


def test_its_configuration_is_guarded(host: Host) -> None:
    config = host.file("/etc/placement/placement.conf")
    assert (config.user, config.group, config.mode) == ("root", "placement", 0o640)


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.service("placement-api").is_enabled
    assert host.service("placement-api").is_running
