"""Cinder: who serves which back end, and what a host gets for it."""

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
from tests.support.render import Low, Renderer, RenderError

NATIVE = "/opt/openstack/native/cinder"
NODES = ["ctl01.iaas.test", "ctl02.iaas.test", "ctl03.iaas.test"]

Render = Callable[..., dict[tuple[str, str], Low]]


def controller(pillars: Pillars) -> dict[str, Any]:
    """Pillar of a node that carries all of Cinder."""
    role = "cinder.volume"
    return next(p for p in pillars.values() if role in p["__reclass__"]["applications"])


@pytest.fixture
def render(pillars: Pillars, salt_cache: Path) -> Iterator[Render]:
    """Render ``sls`` for a controller, with changes to ``cinder:<role>``; by state and name."""
    made = []

    def get(sls: str, node: str = NODES[0], **changes: Any) -> dict[tuple[str, str], Low]:
        pillar = copy.deepcopy(controller(pillars))
        pillar["__reclass__"]["nodename"] = node
        pillar["host"]["fqdn"] = node
        pillar["topology"]["roles"]["cinder.volume"] = NODES
        for role, data in changes.items():
            pillar["cinder"][role].update(data)
        renderer = Renderer(pillar, "bookworm", salt_cache)
        made.append(renderer)
        return {(str(c["state"]), str(c["name"])): c for c in renderer.low(sls)}

    yield get
    for each in made:
        each.close()


def config(found: dict[tuple[str, str], Low], role: str) -> dict[str, Any]:
    data: dict[str, Any] = found["file", f"/etc/cinder/cinder-{role}.conf"]["context"]["data"]
    return data


def test_one_host_serves_what_is_shared_and_the_others_stand_by(render: Render) -> None:
    first = render("cinder.volume", NODES[0])
    assert config(first, "volume")["DEFAULT"]["enabled_backends"] == "ceph"
    # whoever serves, the volumes have one owner
    assert config(first, "volume")["ceph"]["backend_host"] == "cinder"
    assert config(first, "volume")["DEFAULT"]["cluster"] is None
    assert first["service", "cinder-volume"]["fun"] == "running"
    other = render("cinder.volume", NODES[1])
    assert config(other, "volume")["DEFAULT"]["enabled_backends"] == ""
    assert other["service", "cinder-volume"]["fun"] == "dead"
    assert other["service", "cinder-volume"]["enable"] is False


def test_another_host_serves_when_the_model_says_so(render: Render) -> None:
    moved = {"serves": NODES[2]}
    for node, state in ((NODES[0], "dead"), (NODES[2], "running")):
        assert (
            render("cinder.volume", node, volume=moved)["service", "cinder-volume"]["fun"] == state
        )
    with pytest.raises(RenderError, match=r"serves names gone\.iaas\.test, which has no cinder"):
        render("cinder.volume", volume={"serves": "gone.iaas.test"})


def test_all_hosts_serve_with_a_lock_manager_and_never_without(render: Render) -> None:
    together = {"active_active": True, "cluster": "main"}
    with pytest.raises(RenderError, match="needs the lock manager"):
        render("cinder.volume", volume=together)
    locks = {"coordination": "etcd3+https://etcd01.iaas.test:2379"}
    for node in NODES[:2]:
        found = render("cinder.volume", node, volume=together, common=locks)
        assert found["service", "cinder-volume"]["fun"] == "running"
        assert config(found, "volume")["DEFAULT"]["cluster"] == "main"
        assert config(found, "volume")["ceph"]["backend_host"] is None
    common = render("cinder.common", volume=together, common=locks)
    data = common["file", "/etc/cinder/cinder.conf"]["context"]["data"]
    assert data["coordination"]["backend_url"] == locks["coordination"]


def test_logical_volumes_are_served_by_the_host_that_has_them(render: Render) -> None:
    local = {
        "backend": {"ceph": None, "local": {"engine": "lvm", "group": "vg", "protocol": "nvmet"}}
    }
    found = render("cinder.volume", NODES[1], volume=local)
    assert found["service", "cinder-volume"]["fun"] == "running"
    assert config(found, "volume")["DEFAULT"]["enabled_backends"] == "local"
    assert config(found, "volume")["local"]["backend_host"] is None
    assert config(found, "volume")["local"]["target_protocol"] == "nvmet_tcp"
    # refused in a sentence where the kernel has no device-mapper
    assert found["cinder_volume", "local"]["group"] == "vg"
    tools = found["pkg", "cinder-volume-tools"]["pkgs"]
    assert {"lvm2", "nvme-cli"} <= set(tools)
    assert "targetcli-fb" not in tools


def test_the_shares_of_nfs_are_a_file_of_their_own(render: Render) -> None:
    shares = ["nfs01:/volumes", "nfs02:/volumes"]
    nfs = {
        "backend": {
            "cheap": {"engine": "nfs", "shares": shares, "options": {"nfs_sparsed_volumes": False}}
        }
    }
    found = render("cinder.volume", volume=nfs)
    assert found["file", "/etc/cinder/shares-cheap"]["contents"] == shares
    section = config(found, "volume")["cheap"]
    assert section["nfs_shares_config"] == "/etc/cinder/shares-cheap"
    assert section["nfs_sparsed_volumes"] is False
    assert "nfs-common" in found["pkg", "cinder-volume-tools"]["pkgs"]


def test_what_talks_to_ceph_has_its_bindings(render: Render) -> None:
    found = render("cinder.common")
    assert found["artifact", NATIVE]["modules"] == ["rados", "rbd"]
    for role in ("volume", "backup"):
        unit = render(f"cinder.{role}")["file", f"/etc/systemd/system/cinder-{role}.service"]
        assert unit["context"]["environ"] == {"PYTHONPATH": NATIVE}


@pytest.mark.parametrize("role", ["volume", "backup"])
def test_cinder_becomes_root_by_its_filters_alone(render: Render, role: str) -> None:
    lines = render(f"cinder.{role}")["file", f"/etc/sudoers.d/cinder-{role}"]["contents"]
    assert all(isinstance(line, str) for line in lines)
    (rule,) = [line for line in lines if "NOPASSWD" in line]
    program = "/opt/openstack/2025.1/cinder/bin/cinder-rootwrap /etc/cinder/rootwrap.conf *"
    assert rule == f"cinder ALL = (root) NOPASSWD: {program}"


def test_quotas_of_the_model_are_not_those_of_the_first_migration(render: Render) -> None:
    data = config(
        render("cinder.api", api={"quota": {"volumes": 3, "per_volume_gigabytes": 5}}), "api"
    )
    assert data["DEFAULT"]["quota_volumes"] == 3
    assert data["DEFAULT"]["per_volume_size_limit"] == 5
    assert data["DEFAULT"]["use_default_quota_class"] is False


def test_every_store_of_backups_names_its_driver(render: Render) -> None:
    stores = [
        ({"engine": "ceph", "pool": "p", "user": "u"}, "ceph.CephBackupDriver"),
        ({"engine": "nfs", "share": "nfs01:/b"}, "nfs.NFSBackupDriver"),
        ({"engine": "swift"}, "swift.SwiftBackupDriver"),
        ({"engine": "posix", "directory": "/srv/b"}, "posix.PosixBackupDriver"),
    ]
    for data, driver in stores:
        found = render("cinder.backup", backup=data)
        told = config(found, "backup")["DEFAULT"]["backup_driver"]
        assert told == f"cinder.backup.drivers.{driver}"
    assert ("file", "/srv/b") in found


@pytest.mark.parametrize(
    ("role", "change", "said"),
    [
        ("volume", "active_active: true", "'cluster' is a required property"),
        (
            "volume",
            "{active_active: true, cluster: c, backend: {n: {engine: nfs, shares: ['h:/p']}}}",
            "'nfs' does not satisfy const: ceph",
        ),
        ("volume", "backend: {new: {engine: ceph}}", "is a required property"),
        ("volume", "backend: {new: {engine: lvm}}", "'group' is a required property"),
        ("volume", "backend: {new: {engine: zfs}}", "'zfs' is not one of ceph, nfs, lvm"),
        ("volume", "backend: {new: {engine: nfs, shares: [nowhere]}}", "does not satisfy pattern"),
        ("backup", "engine: nfs", "'share' is a required property"),
        ("api", "quota: {volume: 3}", "'volume' is not one of"),
        ("common", "coordination: zookeeper", "does not satisfy pattern"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    role: str, change: str, said: str, pillars: Pillars
) -> None:
    schema = role_schema(TREE / "formulas", f"cinder.{role}")
    assert schema is not None
    data = controller(pillars)["cinder"][role]
    assert list(violations(data, schema)) == []
    told = [one.sentence for one in violations({**data, **yaml.safe_load(change)}, schema)]
    assert any(said in sentence for sentence in told), told
