"""Designate: pools of name servers are data, and one host changes zones without a lock manager."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.model.schema import role_schema, violations
from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import PLATFORMS, Low, Renderer, RenderError

NODES = ["ctl01.iaas.test", "ctl02.iaas.test", "ctl03.iaas.test"]
UNITS = {role: f"designate-{role}" for role in ("central", "api", "producer", "mdns", "worker")}

Render = Callable[..., dict[tuple[str, str], Low]]


@pytest.fixture
def given(pillars: Pillars, node_of: Callable[[str], str]) -> dict[str, Any]:
    return copy.deepcopy(pillars[node_of("designate.central")])


@pytest.fixture
def render(given: dict[str, Any], salt_cache: Path) -> Iterator[Render]:
    """Render ``sls`` for a controller, with changes to ``designate:<role>``; by state and name."""
    made = []

    def get(
        sls: str, node: str = NODES[0], platform: str = "bookworm", **changes: Any
    ) -> dict[tuple[str, str], Low]:
        pillar = copy.deepcopy(given)
        pillar["__reclass__"]["nodename"] = node
        pillar["host"]["fqdn"] = node
        pillar["host"]["address"] = pillar["topology"]["nodes"][node]["address"]
        for role, data in changes.items():
            pillar["designate"][role].update(data)
        renderer = Renderer(pillar, platform, salt_cache)
        made.append(renderer)
        return {(str(c["state"]), str(c["name"])): c for c in renderer.low(sls)}

    yield get
    for each in made:
        each.close()


def data(found: dict[tuple[str, str], Low], file: str) -> dict[str, Any]:
    shown: dict[str, Any] = found["file", f"/etc/designate/{file}"]["context"]["data"]
    return shown


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("engine", ["venv", "pkg"])
def test_every_role_runs_its_process(
    render: Render, given: dict[str, Any], platform: str, engine: str
) -> None:
    source = {**given["designate"]["common"]["source"], "engine": engine}
    for role, unit in UNITS.items():
        found = render(f"designate.{role}", platform=platform, common={"source": source})
        assert found["service", unit]["fun"] == "running"
        if role != "api":
            own = f"/etc/designate/designate-{role}.conf"
            text = found["file", f"/etc/systemd/system/{unit}.service"]["context"]["command"]
            assert text.endswith(f"--config-file /etc/designate/designate.conf --config-file {own}")


def test_one_host_changes_zones_and_the_others_stand_by(render: Render) -> None:
    for role in ("central", "producer"):
        assert render(f"designate.{role}", NODES[0])["service", UNITS[role]]["fun"] == "running"
        found = render(f"designate.{role}", NODES[1])
        assert found["service", UNITS[role]]["fun"] == "dead"
        assert ("designate_pool", "/etc/designate/pools.yaml") not in found
    for role in ("api", "mdns", "worker"):
        assert render(f"designate.{role}", NODES[1])["service", UNITS[role]]["fun"] == "running"


def test_another_host_does_when_the_model_says_so(render: Render) -> None:
    moved = {"serves": NODES[2]}
    for node, state in ((NODES[0], "dead"), (NODES[2], "running")):
        found = render("designate.central", node, common=moved)
        assert found["service", "designate-central"]["fun"] == state
    with pytest.raises(RenderError, match=r"serves names gone\.iaas\.test, which has no"):
        render("designate.central", common={"serves": "gone.iaas.test"})


def test_all_hosts_do_with_a_lock_manager(render: Render) -> None:
    locks = {"coordination": "etcd3+https://etcd01.iaas.test:2379"}
    found = render("designate.central", NODES[1], common=locks)
    assert found["service", "designate-central"]["fun"] == "running"
    config = data(render("designate.common", common=locks), "designate.conf")
    assert config["coordination"]["backend_url"] == locks["coordination"]


def test_what_all_share_restarts_those_that_run(render: Render) -> None:
    found = render("designate.common", NODES[1])
    ids = {str(chunk["__id__"]).rpartition("-restart-designate-")[2] for chunk in found.values()}
    assert ids & set(UNITS) == {"api", "mdns", "worker"}


def test_pools_are_what_the_model_says(render: Render, given: dict[str, Any]) -> None:
    found = render("designate.central")
    chunk = found["file", "/etc/designate/pools.yaml"]
    assert (chunk["mode"], chunk["show_changes"]) == ("0640", False)
    (pool,) = json.loads(chunk["contents"])
    assert pool["name"] == "default"
    addresses = [given["topology"]["nodes"][node]["address"] for node in NODES]
    masters = [{"host": address, "port": 5354} for address in addresses]
    assert [target["masters"] for target in pool["targets"]] == [masters, masters]
    bind, power = (target["options"] for target in pool["targets"])
    assert bind["rndc_key_file"] == "/etc/designate/rndc-designate.key"
    assert (bind["rndc_host"], bind["rndc_port"]) == ("10.60.0.201", 953)
    assert power["api_endpoint"] == "https://ns2.iaas.test:8081"
    assert power["api_ca_cert"] == "/etc/saltern/pki/ca.crt"
    assert pool["nameservers"] == [
        {"host": "10.60.0.201", "port": 53},
        {"host": "10.60.0.202", "port": 53},
    ]
    assert found["designate_pool", "/etc/designate/pools.yaml"]["require"] == [
        {"file": "designate-central-pools"},
        {"service": "designate-central-service"},
    ]


def test_the_key_that_a_pool_names_is_there_for_rndc(render: Render) -> None:
    found = render("designate.worker")
    chunk = found["file", "/etc/designate/rndc-designate.key"]
    assert chunk["contents"].startswith('key "designate" { algorithm hmac-sha256; secret "')
    assert (chunk["mode"], chunk["show_changes"]) == ("0640", False)
    # it needs no more than that key
    assert data(found, "designate-worker.conf")["DEFAULT"]["root_helper"] == "/usr/bin/env"
    unit = found["file", "/etc/systemd/system/designate-worker.service"]["context"]
    assert unit["privileged"] is False
    assert unit["environ"] == {"REQUESTS_CA_BUNDLE": "/etc/saltern/pki/ca.crt"}


def test_the_api_has_a_directory_of_its_own(render: Render, given: dict[str, Any]) -> None:
    found = render("designate.api")
    config = data(found, "api/designate.conf")
    assert config["oslo_messaging_rabbit"]["heartbeat_in_pthread"] is True
    assert config["storage:sqlalchemy"]["connection"].startswith("mysql+pymysql://designate:")
    common = data(render("designate.common"), "designate.conf")
    assert "heartbeat_in_pthread" not in common["oslo_messaging_rabbit"]
    paste = found["file", "/etc/designate/api/api-paste.ini"]
    assert paste["target"] == "/opt/openstack/2025.1/designate/etc/designate/api-paste.ini"
    unit = found["file", "/etc/systemd/system/designate-api.service"]["context"]
    assert unit["environ"] == {"OS_DESIGNATE_CONFIG_DIR": "/etc/designate/api"}
    uwsgi = data(found, "designate-api-uwsgi.ini")["uwsgi"]
    assert uwsgi["mount"] == "/=designate.api.wsgi:init_application()"
    assert uwsgi["socket"] == given["nginx"]["server"]["site"]["designate"]["socket"]


def test_mdns_listens_where_name_servers_look(render: Render, given: dict[str, Any]) -> None:
    address = given["topology"]["nodes"][NODES[1]]["address"]
    found = data(render("designate.mdns", NODES[1]), "designate-mdns.conf")
    assert found["service:mdns"]["listen"] == f"{address}:5354"


TARGET = "pool: {p: {ns_records: [{hostname: n.test., priority: 1}], targets: [%s]}}"


@pytest.mark.parametrize(
    ("role", "change", "said"),
    [
        ("central", TARGET % "{engine: nsd4, host: h}", "'nsd4' is not one of bind9, pdns4"),
        ("central", TARGET % "{engine: bind9, host: h}", "'rndc_key' is a required property"),
        ("central", TARGET % "{engine: pdns4, host: h}", "'token' is a required property"),
        ("central", "pool: {p: {targets: []}}", "'ns_records' is a required property"),
        ("central", "pool: {}", "minProperties"),
        (
            "worker",
            "rndc_key: {k: {algorithm: hmac-md5, secret: YWJj}}",
            "'hmac-md5' is not one of",
        ),
        (
            "worker",
            "rndc_key: {k: {algorithm: hmac-sha256, secret: x}}",
            "does not satisfy pattern",
        ),
        ("common", "coordination: zookeeper", "does not satisfy pattern"),
        ("common", "quota: {zone: 3}", "'zone' is not one of"),
        ("api", "url: http://x", "does not satisfy pattern"),
        ("mdns", "port: 0", "does not satisfy minimum"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    role: str, change: str, said: str, given: dict[str, Any]
) -> None:
    schema = role_schema(TREE / "formulas", f"designate.{role}")
    assert schema is not None
    good = given["designate"][role]
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
        ("central", "pool"),
    ],
)
def test_what_is_missing_is_named(role: str, key: str, given: dict[str, Any]) -> None:
    schema = role_schema(TREE / "formulas", f"designate.{role}")
    assert schema is not None
    left = {name: value for name, value in given["designate"][role].items() if name != key}
    told = [one.sentence for one in violations(left, schema)]
    assert any(f"'{key}' is a required property" in sentence for sentence in told), told
