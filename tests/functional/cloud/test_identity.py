"""The identity states against a real Keystone: predicted, written, read back, and quiet after."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.cloud.conftest import Minion
from tests.support.cloud import Cloud

PASSWORD = "correct-horse-battery-staple"
OTHER = "another-password-entirely"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return f"t-{request.node.name.split('[')[0].replace('_', '-')[:40]}"


def kinds(name: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """State -> (arguments, arguments that change one field)."""
    return {
        "domain": ({"description": "one"}, {"description": "two"}),
        "project": ({"description": "one"}, {"description": "one", "is_enabled": False}),
        "role": ({"description": "one"}, {"description": "two"}),
        "user": ({"email": "a@example.test"}, {"email": "b@example.test"}),
        "service": ({"type": f"{name}-type"}, {"type": f"{name}-type", "description": "new"}),
    }


@pytest.mark.parametrize("kind", ["domain", "project", "role", "user", "service"])
def test_an_object_from_nothing_to_nothing(minion: Minion, name: str, kind: str) -> None:
    first, second = kinds(name)[kind]
    state, where = f"openstack_identity.{kind}_present", {"name": name}

    predicted = minion.run(state, name=name, test=True, **first)
    assert predicted["result"] is None
    assert predicted["changes"]["ensure"] == {"old": "absent", "new": "present"}
    assert minion.call("openstack_identity.find", kind, where) is None

    made = minion.run(state, name=name, **first)
    assert made["result"] is True, made
    assert made["changes"] == predicted["changes"]
    found = minion.call("openstack_identity.find", kind, where)
    assert {key: found[key] for key in first} == first

    assert minion.run(state, name=name, **first)["changes"] == {}
    assert minion.run(state, name=name, test=True, **first)["result"] is True

    assert minion.run(state, name=name, test=True, **second)["result"] is None
    assert minion.call("openstack_identity.find", kind, where) == found
    changed = minion.run(state, name=name, **second)
    assert changed["result"] is True, changed
    assert len(changed["changes"]) == 1
    assert minion.run(state, name=name, **second)["changes"] == {}
    # a field that is not given is left alone
    assert minion.run(state, name=name, **{k: second[k] for k in ("type",) if k in second})

    gone = {"name": name, "kind": kind}
    assert minion.run("openstack_identity.absent", test=True, **gone)["result"] is None
    assert minion.call("openstack_identity.find", kind, where) is not None
    assert minion.run("openstack_identity.absent", **gone)["changes"]
    assert minion.call("openstack_identity.find", kind, where) is None
    again = minion.run("openstack_identity.absent", **gone)
    assert (again["result"], again["changes"]) == (True, {})


def test_endpoint_and_its_region(minion: Minion, name: str) -> None:
    minion.run("openstack_identity.service_present", name=name, type="t-endpoint")
    key = {"service": name, "interface": "public", "region": f"{name}-region"}
    state = {"name": "label", **key, "url": "https://one.example.test"}
    assert minion.run("openstack_identity.endpoint_present", **state)["result"] is True
    assert minion.run("openstack_identity.endpoint_present", **state)["changes"] == {}
    moved = minion.run(
        "openstack_identity.endpoint_present", **{**state, "url": "https://two.example.test"}
    )
    assert moved["changes"] == {
        "url": {"old": "https://one.example.test", "new": "https://two.example.test"}
    }
    ended = minion.run("openstack_identity.absent", name="label", kind="endpoint", **key)
    assert ended["changes"], ended
    assert minion.call("openstack_identity.find", "endpoint", key) is None
    minion.run("openstack_identity.absent", name=name, kind="service")
    # without its service the endpoint is absent too, and that is no error
    assert minion.run("openstack_identity.absent", name="label", kind="endpoint", **key)["result"]


def test_a_password_is_written_only_when_it_does_not_work(
    minion: Minion, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    returns = []

    def user(**given: Any) -> dict[str, Any]:
        returns.append(minion.run("openstack_identity.user_present", name=name, **given))
        return returns[-1]

    assert user(password=PASSWORD)["result"] is True
    assert minion.call("openstack_api.password_works", name, PASSWORD)
    assert user(password=PASSWORD)["changes"] == {}
    assert user(password=OTHER, test=True)["result"] is None
    assert minion.call("openstack_api.password_works", name, PASSWORD)
    assert set(user(password=OTHER)["changes"]) == {"password"}
    assert not minion.call("openstack_api.password_works", name, PASSWORD)
    assert minion.call("openstack_api.password_works", name, OTHER)

    # a disabled user cannot be compared; enabling it again makes the password sure
    assert set(user(password=OTHER, is_enabled=False)["changes"]) == {"is_enabled"}
    assert user(password=PASSWORD, is_enabled=False)["changes"] == {}
    assert set(user(password=PASSWORD, is_enabled=True)["changes"]) == {"is_enabled", "password"}
    assert minion.call("openstack_api.password_works", name, PASSWORD)

    # refused by Keystone: the sentence does not quote it
    refused = user(password=PASSWORD, email="x" * 70000, default_project=None)
    shown = f"{returns} {refused} {caplog.text}"
    assert PASSWORD not in shown
    assert OTHER not in shown


def test_a_password_from_the_pillar(
    minion: Minion, make_minion: Callable[..., Minion], name: str
) -> None:
    clouds = minion.opts["openstack.clouds_file"]
    minion = make_minion({"vault": {"user": PASSWORD}}, **{"openstack.clouds_file": clouds})
    answer = minion.run("openstack_identity.user_present", name=name, password_pillar="vault:user")
    assert answer["result"] is True, answer
    assert minion.call("openstack_api.password_works", name, PASSWORD)
    missing = minion.run(
        "openstack_identity.user_present", name=name, password_pillar="vault:nobody"
    )
    assert missing["result"] is False
    assert "vault:nobody" in missing["comment"]


def test_role_assignments(minion: Minion, name: str) -> None:
    minion.run("openstack_identity.project_present", name=name)
    minion.run("openstack_identity.user_present", name=name, password=PASSWORD)
    minion.run("openstack_identity.role_present", name=name)
    for place in ({"project": name}, {"domain": "Default"}, {"system": True}):
        given = {"name": "label", "role": name, "user": name, **place}
        assert minion.run("openstack_identity.role_assigned", test=True, **given)["result"] is None
        assert minion.run("openstack_identity.role_assigned", **given)["changes"]
        assert minion.run("openstack_identity.role_assigned", **given)["changes"] == {}
        taken = minion.run("openstack_identity.role_assigned", assigned=False, **given)
        assert taken["changes"] == {"assigned": {"old": True, "new": False}}
        again = minion.run("openstack_identity.role_assigned", assigned=False, **given)
        assert (again["result"], again["changes"]) == (True, {})


@pytest.mark.parametrize("test", [True, False])
def test_what_is_missing_is_a_prediction_in_test_mode_only(minion: Minion, test: bool) -> None:
    answer = minion.run(
        "openstack_identity.role_assigned",
        name="label",
        role="admin",
        user="nobody-has-this-name",
        project="admin",
        test=test,
    )
    assert answer["result"] is (None if test else False)
    assert "There is no user 'nobody-has-this-name' (domain Default)" in answer["comment"]
    answer = minion.run(
        "openstack_identity.user_present", name="x", default_project="none-such", test=test
    )
    assert answer["result"] is (None if test else False)


def test_ambiguous_arguments_fail_without_raising(minion: Minion) -> None:
    answer = minion.run("openstack_identity.role_assigned", name="label", role="admin", user="x")
    assert answer["result"] is False
    assert "project, domain, system" in answer["comment"]


def test_a_value_that_does_not_read_back_fails(
    minion: Minion, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API accepts a write and holds something else: the state must say so."""
    minion.run("openstack_identity.project_present", name=name, description="one")
    real = minion.modules["openstack_identity.update"]
    monkeypatch.setitem(
        minion.modules._dict, "openstack_identity.update", lambda *args, **kwargs: None
    )
    answer = minion.run("openstack_identity.project_present", name=name, description="two")
    assert answer["result"] is False
    assert "reads back different: description" in answer["comment"]
    assert real is not None


@pytest.mark.parametrize("test", [True, False])
def test_keystone_that_does_not_answer(
    bare_cloud: Cloud, make_minion: Callable[..., Minion], tmp_path: Any, test: bool
) -> None:
    path = tmp_path / "clouds.yaml"
    options = {"openstack.clouds_file": str(path)}
    minion = make_minion({}, **options)
    answer = minion.run("openstack_identity.project_present", name="p", test=test)
    assert answer["result"] is (None if test else False)
    assert "clouds.yaml cannot be read" in answer["comment"]

    path.write_text(
        "clouds: {admin: {auth: {auth_url: 'http://127.0.0.1:9/v3', username: a, password: "
        f"{PASSWORD}, project_name: admin, user_domain_name: Default, "
        "project_domain_name: Default}}}\n"
    )
    answer = minion.run("openstack_identity.project_present", name="p", test=test)
    assert answer["result"] is (None if test else False)
    assert "Cannot look up project 'p'" in answer["comment"]
    assert "refused" in answer["comment"]
    assert "Caused by" not in answer["comment"]
    assert PASSWORD not in str(answer)
    waited = minion.run("openstack_api.reachable", name="w", attempts=2, interval=0, test=test)
    assert waited["result"] is test
    assert waited["changes"] == {}


def test_wrong_credentials_are_a_failure_in_test_mode_too(
    bare_cloud: Cloud, make_minion: Callable[..., Minion], tmp_path: Any
) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text(
        f"clouds: {{admin: {{auth: {{auth_url: '{bare_cloud.urls['keystone']}', username: admin, "
        f"password: {OTHER}, project_name: admin, user_domain_name: Default, "
        "project_domain_name: Default}}}\n"
    )
    minion = make_minion({}, **{"openstack.clouds_file": str(path)})
    answer = minion.run("openstack_identity.project_present", name="p", test=True)
    assert answer["result"] is False
    assert minion.call("openstack_api.reachable")["ok"] is False
    assert OTHER not in str(answer)
