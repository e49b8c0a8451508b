"""Octavia: three processes of one host that meet at sockets, and OVN's databases behind TLS."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.model.schema import role_schema, violations
from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import PLATFORMS, Low, Renderer

Render = Callable[..., dict[tuple[str, str], Low]]
UNITS = ("octavia-driver-agent", "octavia-api", "octavia-housekeeping")


@pytest.fixture
def given(pillars: Pillars, node_of: Callable[[str], str]) -> dict[str, Any]:
    return copy.deepcopy(pillars[node_of("octavia.server")])


@pytest.fixture
def render(given: dict[str, Any], salt_cache: Path) -> Iterator[Render]:
    """Render the role with changes; by state and name."""
    made = []

    def get(
        platform: str = "bookworm", roles: dict[str, Any] | None = None, **changes: Any
    ) -> dict[tuple[str, str], Low]:
        pillar = copy.deepcopy(given)
        pillar["octavia"]["server"].update(changes)
        if roles is not None:
            pillar["topology"]["roles"] = roles
        renderer = Renderer(pillar, platform, salt_cache)
        made.append(renderer)
        return {(str(c["state"]), str(c["name"])): c for c in renderer.low("octavia.server")}

    yield get
    for each in made:
        each.close()


def config(found: dict[tuple[str, str], Low]) -> dict[str, Any]:
    data: dict[str, Any] = found["file", "/etc/octavia/octavia.conf"]["context"]["data"]
    return data


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("engine", ["venv", "pkg"])
def test_all_three_run_and_restart_with_what_they_share(
    render: Render, given: dict[str, Any], platform: str, engine: str
) -> None:
    source = {**given["octavia"]["server"]["source"], "engine": engine}
    found = render(platform, source=source)
    code = ("artifact" if engine == "venv" else "pkg", "octavia-server-code")
    for unit in UNITS:
        chunk = found["service", unit]
        assert chunk["fun"] == "running"
        watched = [next(iter(one.items())) for one in chunk["watch"]]
        assert ("file", "octavia-server-config") in watched
        assert code in watched
    mount = found["file", "/etc/octavia/octavia-api-uwsgi.ini"]["context"]["data"]["uwsgi"]["mount"]
    wanted = "octavia.api.app:setup_app()" if engine == "venv" else "/etc/octavia/wsgi.py"
    assert mount == f"/={wanted}"


def test_the_agent_alone_has_the_directory_that_drivers_look_in(
    render: Render, given: dict[str, Any]
) -> None:
    found = render()
    agent = found["file", "/etc/systemd/system/octavia-driver-agent.service"]["context"]
    assert agent["runtime"] == "octavia"
    api = found["file", "/etc/systemd/system/octavia-api.service"]["context"]
    assert api["runtime"] == "octavia-api"
    assert api["after"] == ["octavia-driver-agent.service"]
    uwsgi = found["file", "/etc/octavia/octavia-api-uwsgi.ini"]["context"]["data"]["uwsgi"]
    assert uwsgi["socket"] == given["nginx"]["server"]["site"]["octavia"]["socket"]
    # the key of the host's certificate, for OVN's databases
    assert agent["groups"] == api["groups"] == ["ssl-cert"]


def test_the_unit_has_that_directory(
    render: Render, given: dict[str, Any], salt_cache: Path, tmp_path: Path
) -> None:
    renderer = Renderer(given, "bookworm", salt_cache)
    try:
        texts = {
            str(chunk["name"]): renderer.template(chunk, tmp_path / "unit")
            for chunk in renderer.low("octavia.server")
            if str(chunk["name"]).endswith(".service")
        }
    finally:
        renderer.close()
    agent = texts["/etc/systemd/system/octavia-driver-agent.service"].splitlines()
    assert "RuntimeDirectory=octavia" in agent
    housekeeping = texts["/etc/systemd/system/octavia-housekeeping.service"]
    assert "RuntimeDirectory" not in housekeeping


def test_the_databases_are_those_of_the_members_behind_tls(
    render: Render, given: dict[str, Any]
) -> None:
    data = config(render())
    members = given["topology"]["roles"]["ovn.central"]
    addresses = [given["topology"]["nodes"][id]["address"] for id in sorted(members)]
    wanted = ",".join(f"ssl:{address}:6641" for address in addresses)
    assert data["ovn"]["ovn_nb_connection"] == wanted
    assert data["ovn"]["ovn_sb_connection"] == wanted.replace("6641", "6642")
    for kind in ("nb", "sb"):
        assert data["ovn"][f"ovn_{kind}_private_key"] == "/etc/saltern/pki/host.key"
        assert data["ovn"][f"ovn_{kind}_ca_cert"] == "/etc/saltern/pki/ca.crt"
    assert list(data["api_settings"]["enabled_provider_drivers"]) == ["ovn"]
    assert data["driver_agent"]["enabled_provider_agents"] == "ovn"


def test_without_databases_nothing_is_written(render: Render) -> None:
    found = render(roles={})
    ((key, chunk),) = found.items()
    assert key[0] == "test"
    assert chunk["failhard"] is True
    assert "no node has the role ovn.central" in str(chunk["name"])


def test_a_role_that_is_off_stops_all_three(render: Render) -> None:
    found = render(enabled=False)
    assert {key for key in found if key[0] == "service"} == {("service", unit) for unit in UNITS}
    assert all(chunk["fun"] == "dead" for chunk in found.values())


def test_quotas_and_days_are_octavias_options(render: Render) -> None:
    data = config(render(quota={"load_balancer": 3}, keep_deleted=2))
    assert data["quotas"] == {"default_load_balancer_quota": 3}
    assert data["house_keeping"]["load_balancer_expiry_age"] == 172800


def test_the_driver_that_health_asks_for_is_the_back_end(given: dict[str, Any]) -> None:
    checks = given["lifecycle"]["octavia.server"]["health"]
    (call,) = [one for one in checks if one.get("call")]
    assert call["call"] == "octavia_service.provides"
    assert call["kwargs"]["provider"] == given["octavia"]["server"]["backend"]["engine"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("backend: {engine: amphora}", "'amphora' is not one of ovn"),
        ("backend: {}", "'engine' is a required property"),
        ("backend: {engine: ovn, ovn: {northbound: ['10.0.0.1:6641']}}", "does not satisfy"),
        ("source: {engine: container}", "'container' is not one of venv, pkg"),
        ("quota: {loadbalancer: 3}", "'loadbalancer' is not one of"),
        ("keep_deleted: 0", "0 does not satisfy minimum: 1"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(given: dict[str, Any], change: str, said: str) -> None:
    schema = role_schema(TREE / "formulas", "octavia.server")
    assert schema is not None
    data = given["octavia"]["server"]
    assert list(violations(data, schema)) == []
    told = [one.sentence for one in violations({**data, **yaml.safe_load(change)}, schema)]
    assert any(said in sentence for sentence in told), told


@pytest.mark.parametrize("key", ["url", "identity", "database", "message_queue", "backend"])
def test_what_is_missing_is_named(given: dict[str, Any], key: str) -> None:
    schema = role_schema(TREE / "formulas", "octavia.server")
    assert schema is not None
    data = {name: value for name, value in given["octavia"]["server"].items() if name != key}
    told = [one.sentence for one in violations(data, schema)]
    assert any(f"'{key}' is a required property" in sentence for sentence in told), told
