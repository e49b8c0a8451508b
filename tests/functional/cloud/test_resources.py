"""The roles of the formula openstack: what their SLS make of a pillar, in a real cloud."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from tests.functional.cloud.conftest import Minion, apply, model
from tests.support import TREE
from tests.support.cloud import ADMIN_PASSWORD, SERVICE_PASSWORD, Cloud


@pytest.fixture(scope="module")
def schemas() -> dict[str, dict[str, object]]:
    """Role -> schema of its pillar."""
    files = (TREE / "formulas/openstack/schemas").glob("*.yaml")
    return {file.stem: dict(yaml.safe_load(file.read_text())) for file in files}


def test_a_second_run_changes_nothing(
    minion: Minion, bare_cloud: Cloud, schemas: dict[str, dict[str, object]]
) -> None:
    for role, data in model(bare_cloud).items():
        jsonschema.validate(data, schemas[role])
    lows = minion.call("state.show_low_sls", "openstack.identity")
    for secret in (ADMIN_PASSWORD, SERVICE_PASSWORD):
        assert secret not in str(lows)

    before = minion.call("openstack_identity.list", "endpoint")
    predicted = apply(minion, test=True)
    assert all(answer["result"] is not False for _, answer in predicted), predicted
    assert minion.call("openstack_identity.list", "endpoint") == before

    first = apply(minion)
    assert all(answer["result"] is True for _, answer in first), first
    endpoints = minion.call("openstack_identity.list", "endpoint")
    assert {one["url"] for one in endpoints} >= set(bare_cloud.urls.values())
    assert minion.call("openstack_api.password_works", "glance", SERVICE_PASSWORD)

    second = apply(minion)
    assert all((answer["result"], answer["changes"]) == (True, {}) for _, answer in second), second
    assert SERVICE_PASSWORD not in f"{predicted}{first}{second}"


def test_absent_is_in_the_pillar_too(make_minion, minion: Minion, bare_cloud: Cloud) -> None:
    pillar = model(bare_cloud)
    data = pillar["identity"]
    kinds = ("domain", "project", "role", "user", "service", "endpoint", "role_assignment")
    for kind in kinds:
        data[kind] = {}
    data["project"] = {"t-gone": {}}
    data["user"] = {"t-gone": {"password": SERVICE_PASSWORD}}
    data["role_assignment"] = {"t": {"user": "t-gone", "project": "t-gone", "role": "admin"}}
    clouds = {"openstack.clouds_file": minion.opts["openstack.clouds_file"]}
    there = make_minion({"openstack": pillar}, **clouds)
    assert all(answer["result"] for _, answer in apply(there))
    for label in data["role_assignment"].values():
        label["ensure"] = "absent"
    there = make_minion({"openstack": pillar}, **clouds)
    assert [n for n, answer in apply(there) if answer["changes"]] == [
        "openstack-identity-role_assignment-t"
    ]
    data["role_assignment"] = {}
    for kind in ("project", "user"):
        data[kind]["t-gone"]["ensure"] = "absent"
    there = make_minion({"openstack": pillar}, **clouds)
    assert all(answer["result"] for _, answer in apply(there))
    assert there.call("openstack_identity.find", "user", {"name": "t-gone"}) is None
    assert there.call("openstack_identity.find", "project", {"name": "t-gone"}) is None
    assert not [1 for _, answer in apply(there) if answer["changes"]]


@pytest.mark.parametrize(
    ("role", "kind", "entry"),
    [
        ("identity", "role_assignment", {"role": "admin", "user": "x"}),
        ("identity", "role_assignment", {"role": "a", "user": "x", "group": "y", "project": "z"}),
        ("identity", "role_assignment", {"role": "a", "user": "x", "project": "z", "domain": "d"}),
        ("resources", "image", {"source": "/root/cirros.img"}),
        ("resources", "image", {"source": "cirros.img", "checksum": "sha256=" + "0" * 64}),
        ("identity", "endpoint", {"service": "x", "url": {}}),
        ("identity", "user", {"pasword": "typo"}),
    ],
)
def test_the_schema_refuses(
    schemas: dict[str, dict[str, object]], role: str, kind: str, entry: dict[str, object]
) -> None:
    jsonschema.validate({kind: {}}, schemas[role])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({kind: {"label": entry}}, schemas[role])
