"""Each release of the catalogue renders, and starts what its code has.

The model is compiled for each of them, with what an upgrade would change in it and nothing else.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from saltern.artifact import catalogue
from tests.support import TREE, model
from tests.support.render import Low, Renderer, RenderError, texts, unmet

RELEASES = ("2024.1", "2025.1", "2026.1")
CLUSTER = "demo"
#: what a cluster of a release has beside the example's classes
MORE = {
    release: {
        "control.yml": ["system.openstack.key_manager"]
        + (["system.openstack.network.process"] if release == "2024.1" else [])
    }
    for release in RELEASES
}
#: service -> role whose `source` says what runs
SOURCES = {
    service.name: service.role.partition(".")[2]
    for service in catalogue.services("openstack", RELEASES[0])
}
#: application of a service that is not the one of the catalogue -> by release
OTHERS = {
    "/etc/nova/nova-metadata-uwsgi.ini": {
        "2024.1": "nova.api.metadata.wsgi:init_application()",
        "2025.1": "nova.wsgi.metadata:application",
        "2026.1": "nova.wsgi.metadata:application",
    },
    "/etc/heat/heat-api-cfn-uwsgi.ini": {
        "2024.1": "heat.httpd.heat_api_cfn:init_application()",
        "2025.1": "heat.wsgi.cfn:application",
        "2026.1": "heat.wsgi.cfn:application",
    },
}
Found = dict[str, list[Low]]


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def compiled(release: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Pillars of a controller and a hypervisor of a cluster that runs the release."""
    tree = model.prepare(
        tmp_path_factory.mktemp("release") / release, CLUSTER, release, MORE[release]
    )
    served = model.served(tree, CLUSTER)
    return {name.partition(".")[0]: pillar for name, pillar in served.items()
            if name.startswith(("ctl01", "cmp01"))}  # fmt: skip


def roles(pillar: dict[str, Any]) -> list[str]:
    carried = pillar["__reclass__"]["applications"]
    return [role for role in carried if role.partition(".")[0] in SOURCES]


@pytest.fixture(scope="module", params=["pinned", "named"])
def rendered(
    request: pytest.FixtureRequest, compiled: dict[str, dict[str, Any]], salt_cache: Path
) -> Found:
    """Chunks by host: of a model with pins, and of one that names release and archive alone."""
    found: Found = {}
    for host, pillar in compiled.items():
        given = copy.deepcopy(pillar)
        if request.param == "named":
            for service, role in SOURCES.items():
                source = given.get(service, {}).get(role, {}).get("source", {})
                for key in ("wsgi", "database"):
                    source.pop(key, None)
        made = Renderer(given, "bookworm", salt_cache)
        try:
            found[host] = made.low(*roles(given))
            for chunk in found[host]:
                assert not list(made.highstate.state.verify_data(chunk))
        finally:
            made.close()
    return found


def data(chunks: list[Low], path: str) -> dict[str, Any]:
    """What a configuration file of the host says."""
    (chunk,) = [c for c in chunks if c["state"] == "file" and c.get("name") == path]
    found: dict[str, Any] = chunk["context"]["data"]
    return found


def test_every_role_renders(rendered: Found, compiled: dict[str, dict[str, Any]]) -> None:
    for host, chunks in rendered.items():
        assert {chunk["__sls__"] for chunk in chunks} >= set(roles(compiled[host]))
        assert not list(unmet(chunks))


def test_nothing_of_another_release_is_named(rendered: Found, release: str) -> None:
    others = [f"/opt/openstack/{other}/" for other in RELEASES if other != release]
    for chunks in rendered.values():
        for text in texts(chunks):
            assert not [other for other in others if other in text]


def test_what_the_catalogue_says_is_loaded(rendered: Found, release: str) -> None:
    """Also where the model does not repeat it: formulas know their releases."""
    controller = rendered["ctl01"]
    for service in catalogue.services("openstack", release, SOURCES):
        schema = [c for c in controller if c["state"] == "openstack_db"
                  and c["name"] == service.name and c["fun"] == "synced"]  # fmt: skip
        # Nova has three databases, and a state of its own
        if service.database and service.name != "nova":
            (found,) = schema
            assert found["migrations"] == service.database.migrations
            assert found["section"] == service.database.section
        name = {"nova": "nova-api-", "horizon": "horizon-", "cinder": "cinder-api-"}
        path = f"/etc/{service.name}/{name.get(service.name, '')}uwsgi.ini"
        if service.name == "neutron" and release == "2024.1":
            assert not [c for c in controller if c.get("name") == path]
            continue
        wanted = service.wsgi if ":" in service.wsgi else f"{service.wsgi}:application"
        assert data(controller, path)["uwsgi"]["mount"] == f"/={wanted}"
    for path, by_release in OTHERS.items():
        assert data(controller, path)["uwsgi"]["mount"] == f"/={by_release[release]}"


def test_neutron_is_started_as_the_release_can_be(rendered: Found, release: str) -> None:
    chunks = rendered["ctl01"]
    state = {c["name"]: c["fun"] for c in chunks if c["state"] == "service"}
    workers = ("neutron-rpc-server", "neutron-periodic-workers", "neutron-ovn-maintenance-worker")
    alone = release == "2024.1"
    assert state["neutron-api"] == "running"
    assert {state[name] for name in workers} == {"dead" if alone else "running"}
    (unit,) = [c for c in chunks if c.get("name") == "/etc/systemd/system/neutron-api.service"]
    own = data(chunks, "/etc/neutron/neutron-api.conf")
    if alone:
        command = unit["context"]["command"]
        assert command.startswith("/opt/openstack/2024.1/neutron/bin/neutron-server --config-file")
        assert command.endswith("--config-file /etc/neutron/neutron-api.conf")
        assert own["DEFAULT"]["bind_port"] == 9695
        # nobody but nginx on this host reaches what speaks no TLS
        assert own["DEFAULT"]["bind_host"] == "127.0.0.1"
        assert "oslo_messaging_rabbit" not in own
    else:
        assert unit["context"]["uwsgi"].endswith("/bin/uwsgi")
        assert own == {"oslo_messaging_rabbit": {"heartbeat_in_pthread": True}}


def test_nginx_and_health_know_how_neutron_is_started(
    compiled: dict[str, dict[str, Any]], release: str
) -> None:
    pillar = compiled["ctl01"]
    site = pillar["nginx"]["server"]["site"]["neutron"]
    health = [check["unit"] for check in pillar["lifecycle"]["neutron.server"]["health"]
              if "unit" in check]  # fmt: skip
    if release == "2024.1":
        assert site == {"kind": "proxy", "port": 9696, "upstream": "http://127.0.0.1:9695"}
        assert health == ["neutron-api"]
    else:
        assert site == {"kind": "uwsgi", "port": 9696, "socket": "/run/neutron/api.sock"}
        assert len(health) == 4
    for service, role in (("neutron", "server"), ("nginx", "server")):
        schema = yaml.safe_load((TREE / f"formulas/{service}/schemas/{role}.yaml").read_text())
        jsonschema.Draft202012Validator(schema).validate(pillar[service][role])


@pytest.mark.parametrize("start", ["uwsgi", "process"])
def test_a_start_that_a_release_has_not_is_refused(
    compiled: dict[str, dict[str, Any]], release: str, start: str, salt_cache: Path
) -> None:
    given = copy.deepcopy(compiled["ctl01"])
    given["neutron"]["server"]["start"] = start
    made = Renderer(given, "bookworm", salt_cache)
    try:
        chunks = made.low("neutron.server")
    except RenderError as err:  # pragma: no cover - a failure says why
        pytest.fail(str(err))
    finally:
        made.close()
    refused = [c["name"] for c in chunks if c["state"] == "test" and "fail" in c["fun"]]
    can = {"2024.1": ("process",), "2025.1": ("uwsgi", "process"), "2026.1": ("uwsgi",)}
    if start in can[release]:
        assert not refused
    else:
        (sentence,) = refused
        assert f"neutron:server:start is {start}, and Neutron {release}" in sentence
        assert "class system.openstack.network.process" in sentence


def test_glance_finds_its_paste_file(rendered: Found, release: str) -> None:
    (link,) = [c for c in rendered["ctl01"] if c.get("name") == "/etc/glance/glance-api-paste.ini"]
    assert link["target"] == f"/opt/openstack/{release}/glance/etc/glance/glance-api-paste.ini"
