"""Ironic: what a conductor can do follows from rows of data, and nothing else is enabled."""

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
from tests.support.render import PLATFORMS, Low, Renderer, RenderError

Render = Callable[..., dict[tuple[str, str], Low]]


@pytest.fixture
def given(pillars: Pillars, node_of: Callable[[str], str]) -> dict[str, Any]:
    return copy.deepcopy(pillars[node_of("ironic.conductor")])


@pytest.fixture
def render(given: dict[str, Any], salt_cache: Path) -> Iterator[Render]:
    """Render ``sls`` for a controller, with changes to ``ironic:<role>``; by state and name."""
    made = []

    def get(sls: str, platform: str = "bookworm", **changes: Any) -> dict[tuple[str, str], Low]:
        pillar = copy.deepcopy(given)
        for role, data in changes.items():
            pillar["ironic"][role].update(data)
        renderer = Renderer(pillar, platform, salt_cache)
        made.append(renderer)
        return {(str(c["state"]), str(c["name"])): c for c in renderer.low(sls)}

    yield get
    for each in made:
        each.close()


def data(found: dict[tuple[str, str], Low], role: str) -> dict[str, Any]:
    shown: dict[str, Any] = found["file", f"/etc/ironic/{role}.conf"]["context"]["data"]
    return shown


def conductor(render: Render, **changes: Any) -> tuple[dict[tuple[str, str], Low], dict[str, Any]]:
    """States of a conductor and its configuration."""
    found = render("ironic.conductor", conductor=changes)
    return found, data(found, "ironic-conductor")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("engine", ["venv", "pkg"])
def test_both_processes_run(
    render: Render, given: dict[str, Any], platform: str, engine: str
) -> None:
    source = {**given["ironic"]["common"]["source"], "engine": engine}
    for role in ("api", "conductor"):
        found = render(f"ironic.{role}", platform, common={"source": source})
        assert found["service", f"ironic-{role}"]["fun"] == "running"


def test_one_driver_enables_what_it_has_and_no_more(render: Render) -> None:
    found, config = conductor(render, drivers=["ipmi"])
    enabled = config["DEFAULT"]
    assert enabled["enabled_hardware_types"] == "ipmi"
    assert enabled["enabled_power_interfaces"] == "ipmitool"
    assert enabled["enabled_boot_interfaces"] == "ipxe"
    packages = found["pkg", "ironic-conductor-tools"]["pkgs"]
    assert {"ipmitool", "ipxe", "tftpd-hpa"} <= set(packages)
    assert "genisoimage" not in packages


def test_what_two_drivers_have_is_joined(render: Render) -> None:
    _, config = conductor(render, drivers=["redfish", "ipmi"])
    assert config["DEFAULT"]["enabled_hardware_types"] == "redfish,ipmi"
    assert config["DEFAULT"]["enabled_management_interfaces"] == "redfish,ipmitool"
    assert config["DEFAULT"]["enabled_boot_interfaces"] == "redfish-virtual-media,ipxe"
    assert config["DEFAULT"]["enabled_deploy_interfaces"] == "direct,ramdisk"


def test_virtual_media_alone_needs_no_server_for_the_network(render: Render) -> None:
    chosen = {"boot": ["redfish-virtual-media"]}
    found, config = conductor(render, drivers=["redfish"], interfaces=chosen)
    assert found["service", "ironic-tftp"]["fun"] == "dead"
    assert config["pxe"]["loader_file_paths"] is None
    packages = found["pkg", "ironic-conductor-tools"]["pkgs"]
    assert "genisoimage" in packages
    assert "tftpd-hpa" not in packages


def test_who_boots_from_the_network_finds_its_loader(render: Render, given: dict[str, Any]) -> None:
    found, config = conductor(render, drivers=["ipmi"])
    assert found["service", "ironic-tftp"]["fun"] == "running"
    # the distribution's own listens everywhere
    assert found["service", "tftpd-hpa"]["fun"] == "dead"
    unit = found["file", "/etc/systemd/system/ironic-tftp.service"]
    assert unit["context"]["address"] == given["host"]["address"]
    assert config["pxe"]["loader_file_paths"]["undionly.kpxe"] == "/usr/lib/ipxe/undionly.kpxe"
    assert found["file", "/var/lib/ironic/tftpboot"]["mode"] == "0755"


def test_images_are_where_the_site_of_nginx_is(render: Render, given: dict[str, Any]) -> None:
    found, config = conductor(render)
    site = given["nginx"]["server"]["site"]["ironic-images"]
    address = given["host"]["address"]
    assert config["deploy"]["http_url"] == f"http://{address}:{site['port']}"
    (directory,) = site["locations"].values()
    assert directory == config["deploy"]["http_root"] + "/"
    assert found["file", "/var/lib/ironic/httpboot"]["mode"] == "0755"
    _, config = conductor(render, http={"port": 8090, "tls": True})
    assert config["deploy"]["http_url"] == f"https://{given['host']['fqdn']}:8090"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"drivers": ["ipmi"], "interfaces": {"boot": ["redfish-virtual-media"]}},
            "interfaces:boot names redfish-virtual-media, which no driver of ipmi has",
        ),
        (
            {"drivers": ["redfish", "ipmi"], "interfaces": {"power": ["redfish"]}},
            "interfaces:power leaves the driver ipmi without one; add one of ipmitool",
        ),
    ],
)
def test_what_would_keep_a_conductor_from_its_start_is_refused(
    render: Render, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RenderError, match=said):
        conductor(render, **changes)


def test_the_api_reads_its_own_file_too(render: Render, given: dict[str, Any]) -> None:
    found = render("ironic.api")
    uwsgi = data(found, "ironic-api")
    assert uwsgi["oslo_messaging_rabbit"]["heartbeat_in_pthread"] is True
    ini = found["file", "/etc/ironic/ironic-api-uwsgi.ini"]["context"]["data"]["uwsgi"]
    files = "--config-file /etc/ironic/ironic.conf --config-file /etc/ironic/ironic-api.conf"
    assert ini["pyargv"] == files
    assert ini["mount"] == "/=ironic.wsgi:application"
    assert ini["socket"] == given["nginx"]["server"]["site"]["ironic"]["socket"]
    assert found["openstack_db", "ironic"]["commands"] == [["ironic-dbsync", "upgrade"]]


def test_what_all_share_restarts_both(render: Render) -> None:
    ids = {str(chunk["__id__"]) for chunk in render("ironic.common").values()}
    assert {f"ironic-common-restart-ironic-{role}" for role in ("api", "conductor")} <= ids


def test_health_asks_for_the_drivers_of_the_model(given: dict[str, Any]) -> None:
    checks = given["lifecycle"]["ironic.conductor"]["health"]
    (call,) = [one for one in checks if one.get("call")]
    assert call["kwargs"]["drivers"] == given["ironic"]["conductor"]["drivers"]


@pytest.mark.parametrize(
    ("role", "change", "said"),
    [
        ("conductor", "drivers: [ilo]", "'ilo' is not one of redfish, ipmi"),
        ("conductor", "interfaces: {colour: [red]}", "unknown key colour"),
        ("conductor", "network: {interfaces: [vlan]}", "'vlan' is not one of"),
        ("conductor", "network: {interfaces: [neutron]}", "'cleaning' is a required property"),
        ("common", "message_queue: {}", "'password' is a required property"),
        ("api", "url: http://x", "does not satisfy pattern"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    role: str, change: str, said: str, given: dict[str, Any]
) -> None:
    schema = role_schema(TREE / "formulas", f"ironic.{role}")
    assert schema is not None
    good = given["ironic"][role]
    assert list(violations(good, schema)) == []
    told = [one.sentence for one in violations({**good, **yaml.safe_load(change)}, schema)]
    assert any(said in sentence for sentence in told), told


@pytest.mark.parametrize(
    ("role", "key"),
    [
        ("common", "identity"),
        ("common", "database"),
        ("common", "message_queue"),
        ("api", "url"),
        ("conductor", "drivers"),
    ],
)
def test_what_is_missing_is_named(role: str, key: str, given: dict[str, Any]) -> None:
    schema = role_schema(TREE / "formulas", f"ironic.{role}")
    assert schema is not None
    left = {name: value for name, value in given["ironic"][role].items() if name != key}
    told = [one.sentence for one in violations(left, schema)]
    assert any(f"'{key}' is a required property" in sentence for sentence in told), told
