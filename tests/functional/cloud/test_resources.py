"""The role openstack.resources: what its SLS makes of a pillar, in a real cloud."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from tests.functional.cloud.conftest import Minion, apply, model
from tests.support import TREE
from tests.support.cloud import ADMIN_PASSWORD, SERVICE_PASSWORD, Cloud


@pytest.fixture(scope="module")
def schema() -> dict[str, object]:
    return dict(yaml.safe_load((TREE / "formulas/openstack/schemas/resources.yaml").read_text()))


def test_a_second_run_changes_nothing(
    minion: Minion, bare_cloud: Cloud, schema: dict[str, object]
) -> None:
    jsonschema.validate(model(bare_cloud), schema)
    lows = minion.call("state.show_low_sls", "openstack.resources")
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
    data = model(bare_cloud)
    kinds = ("domain", "project", "role", "user", "service", "endpoint", "role_assignment", "image")
    for kind in kinds:
        data[kind] = {}
    data["project"] = {"t-gone": {}}
    data["user"] = {"t-gone": {"password": SERVICE_PASSWORD}}
    data["role_assignment"] = {"t": {"user": "t-gone", "project": "t-gone", "role": "admin"}}
    clouds = {"openstack.clouds_file": minion.opts["openstack.clouds_file"]}
    there = make_minion({"openstack": {"resources": data}}, **clouds)
    assert all(answer["result"] for _, answer in apply(there))
    for label in data["role_assignment"].values():
        label["ensure"] = "absent"
    there = make_minion({"openstack": {"resources": data}}, **clouds)
    assert [n for n, answer in apply(there) if answer["changes"]] == [
        "openstack-resources-role_assignment-t"
    ]
    data["role_assignment"] = {}
    for kind in ("project", "user"):
        data[kind]["t-gone"]["ensure"] = "absent"
    there = make_minion({"openstack": {"resources": data}}, **clouds)
    assert all(answer["result"] for _, answer in apply(there))
    assert there.call("openstack_identity.find", "user", {"name": "t-gone"}) is None
    assert there.call("openstack_identity.find", "project", {"name": "t-gone"}) is None
    assert not [1 for _, answer in apply(there) if answer["changes"]]


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("role_assignment", {"role": "admin", "user": "x"}),
        ("role_assignment", {"role": "admin", "user": "x", "group": "y", "project": "z"}),
        ("role_assignment", {"role": "admin", "user": "x", "project": "z", "domain": "d"}),
        ("image", {"source": "/root/cirros.img"}),
        ("image", {"source": "cirros.img", "checksum": "sha256=" + "0" * 64}),
        ("endpoint", {"service": "x", "url": {}}),
        ("user", {"pasword": "typo"}),
    ],
)
def test_the_schema_refuses(schema: dict[str, object], kind: str, entry: dict[str, object]) -> None:
    auth = {"url": "https://api.example.test:5000/v3", "password": "x"}
    jsonschema.validate({"auth": auth}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"auth": auth, kind: {"label": entry}}, schema)
