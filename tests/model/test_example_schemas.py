"""Schemas of roles that have no formula yet: strict, true to the examples, and they refuse."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from saltern.model.cluster import compile_cluster
from saltern.model.schema import plain_secrets, role_schema, violations
from tests.model import golden
from tests.support import TREE, formula_roles, service_roles

FORMULAS = TREE / "formulas"
ROLES = [f"{service}.{role}" for service, role in sorted({*service_roles()} - {*formula_roles()})]
#: free by their nature: objects of Kubernetes, settings of programs
FREE = {
    "config",
    "settings",
    "manifest",
    "metadata",
    "policy",
    "profiles",
}
KEY = "0" * 32

Data = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Role -> its data on the first node that carries it."""
    inventory = golden.prepare(tmp_path_factory.mktemp("model"), *golden.CLUSTERS)
    found: Data = {}
    for cluster in golden.CLUSTERS:
        for node in compile_cluster(inventory, cluster).values():
            for role in node.applications:
                service, _, name = role.partition(".")
                found.setdefault(role, node.pillar[service][name])
    return found


def schema(role: str) -> dict[str, Any]:
    found = role_schema(FORMULAS, role)
    assert found is not None
    return found


def told(role: str, value: Any) -> list[str]:
    return [f"{':'.join(one.path)}: {one.sentence}" for one in violations(value, schema(role))]


@pytest.mark.parametrize("role", ROLES)
def test_the_examples_fit(role: str, data: Data) -> None:
    assert told(role, data[role]) == []


def objects(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (key, schema) of everything that describes an object."""
    if isinstance(node, list):
        for item in node:
            yield from objects(item, key)
    if not isinstance(node, dict):
        return
    if "object" in (node.get("type") or ()):
        yield key, node
    for name, item in node.items():
        if name in ("properties", "$defs"):
            for below, sub in item.items():
                yield from objects(sub, below)
        elif name not in ("if", "then", "const", "enum"):
            yield from objects(item, key)


@pytest.mark.parametrize("role", ROLES)
def test_unknown_keys_are_refused_everywhere(role: str) -> None:
    open_ = {key for key, node in objects(schema(role)) if "additionalProperties" not in node}
    assert not open_ - FREE


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, str(number)))
    else:
        yield path, value


def opened(value: Any) -> Any:
    """The same data with secrets in clear text."""
    if isinstance(value, dict):
        return {key: opened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [opened(item) for item in value]
    return KEY if str(value).startswith("-----BEGIN PGP") else value


@pytest.mark.parametrize("role", ROLES)
def test_every_secret_is_known_as_one(role: str, data: Data) -> None:
    """Its schema marks it, so that no tool ever shows it."""
    secret = {path for path, value in leaves(data[role]) if str(value).startswith("-----BEGIN PGP")}
    assert {*plain_secrets(opened(data[role]), schema(role))} == secret
    assert {*plain_secrets(data[role], schema(role))} == set()


BAD = [
    ("calico.node", "pool:default:encapsulation: gre", "'gre' is not one of none, vxlan"),
    ("calico.node", "pool:default:cidr: 10.72.0.0", "does not satisfy pattern"),
    ("ceph.client", "keyring:glance: {key: x}", "'glance'"),
    ("ceph.common", "fsid: 7A3F", "fsid: '7A3F' does not satisfy pattern"),
    ("ceph.mon", "address: mon01", "address: 'mon01' does not satisfy pattern"),
    ("ceph.osd", "devices: [{path: /srv/osd.img, kind: file}]", "'size' is a required property"),
    ("ceph.osd", "devices: [{path: sdb}]", "devices:0:path: 'sdb' does not satisfy pattern"),
    ("ceph.osd", "crush: {rack: 'rack 1', host: a}", "crush:rack"),
    ("ceph.setup", "pool:images: {size: 0}", "pool:images:size: 0 does not satisfy minimum"),
    ("ceph.setup", "keyring:client.x: {key: abc, caps: {mon: allow r}}", "keyring:client.x:key"),
    ("ceph.setup", "rule:r: {domain: shelf}", "'shelf' is not one of osd, host, rack"),
    ("cinder.volume", "backend:new: {engine: lvm}", "'group' is a required property"),
    ("cinder.volume", "backend:new: {engine: zfs}", "'zfs' is not one of ceph, nfs, lvm"),
    ("cinder.backup", "engine: nfs", "'share' is a required property"),
    ("containerd.server", "cgroup_driver: none", "'none' is not one of systemd, cgroupfs"),
    ("etcd.server", "quota: 99999", "quota: 99999 does not satisfy maximum"),
    ("heat.server", "encryption_key: short", "encryption_key: does not satisfy minLength"),
    ("horizon.server", "sesion: {timeout: 60}", "sesion"),
    ("kubernetes.control_plane", "encryption:key: abcd", "key: does not satisfy pattern"),
    ("kubernetes.control_plane", "source:release: latest", "source:release"),
    ("kubernetes.node", "taints: [{key: a, effect: Never}]", "'Never' is not one of NoSchedule"),
    ("kubernetes.resources", "manifest:a: {kind: Pod}", "'apiVersion' is a required property"),
    ("libvirt.server", "rbd:nova:uuid: nova", "rbd:nova:uuid: 'nova' does not satisfy pattern"),
    (
        "neutron.server",
        "backend:engine: ml2",
        "'ml2' is not one of ovn, ovs, linuxbridge, contrail",
    ),
    ("neutron.server", "mtu: 100", "mtu: 100 does not satisfy minimum"),
    ("nova.compute", "images: {type: rbd}", "'pool' is a required property"),
    ("nova.compute", "migration:on_timeout: wait", "'wait' is not one of abort, force_complete"),
    ("nova.database", "cell: {}", "cell"),
    ("nova.scheduler", "filters: [ComputeFilter, ComputeFilter]", "filters"),
    ("openvswitch.switch", "bridge:br-a-name-too-long: {}", "br-a-name-too-long"),
    ("ovn.central", "northbound:election_timer: 10", "election_timer: 10 does not satisfy minimum"),
    ("ovn.host", "encapsulation: {type: geneve}", "'address' is a required property"),
]


@pytest.mark.parametrize(("role", "change", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_nonsense_is_refused(role: str, change: str, sentence: str, data: Data) -> None:
    """One key of an example is changed; the sentence names it."""
    value = copy.deepcopy(data[role])
    path, _, new = change.partition(": ")
    *above, last = path.split(":")
    place = value
    for key in above:
        place = place.setdefault(key, {})
    place[last] = yaml.safe_load(new)
    found = told(role, value)
    assert any(sentence in one for one in found), found


@pytest.mark.parametrize("role", ROLES)
def test_what_is_required_is_missed(role: str, data: Data) -> None:
    for key in schema(role).get("required", ()):
        shorn = {name: item for name, item in data[role].items() if name != key}
        assert any(f"'{key}' is a required property" in one for one in told(role, shorn))
