"""The example clusters compile to what is expected, and to what Python reclass makes of them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.errors import ModelError
from saltern.lab.staging import host_facts
from saltern.model import Inventory, lint, nodes
from saltern.model.cluster import CompiledNode, compile_cluster
from saltern.model.tree import merge
from saltern.rollout.stages import StagePlan, make_plan
from tests.model import golden
from tests.model.trees import comparable, oracle, ours
from tests.support import TREE, model, service_roles

FORMULAS = TREE / "formulas"
#: every role that the model has a class of
KNOWN = {f"{service}.{role}" for service, role in service_roles()}

#: role -> how many nodes carry it
ROLES = {
    "demo-core": {
        "backup.client": 4,
        "backup.scheduler": 1,
        "backup.server": 1,
        "galera.database": 3,
        "galera.server": 3,
        "glance.server": 3,
        "haproxy.proxy": 3,
        "keepalived.vrrp": 3,
        "keystone.keys": 1,
        "keystone.server": 3,
        "linux.system": 7,
        "memcached.server": 3,
        "nginx.server": 4,
        "openstack.client": 1,
        "openstack.identity": 1,
        "openstack.resources": 1,
        "pki.ca": 1,
        "pki.host": 7,
        "placement.server": 3,
        "rabbitmq.server": 3,
        "salt.api": 1,
        "salt.master": 1,
        "salt.minion": 7,
    },
    "demo-ceph": {
        "ceph.client": 2,
        "ceph.common": 7,
        "ceph.mds": 1,
        "ceph.mgr": 3,
        "ceph.mon": 3,
        "ceph.osd": 3,
        "ceph.probe": 2,
        "ceph.rgw": 2,
        "ceph.setup": 3,
        "linux.system": 7,
        "pki.ca": 1,
        "pki.host": 7,
        "salt.api": 1,
        "salt.master": 1,
        "salt.minion": 7,
    },
    "demo": {
        "backup.client": 7,
        "backup.scheduler": 1,
        "backup.server": 1,
        "ceph.client": 7,
        "ceph.common": 12,
        "ceph.mgr": 3,
        "ceph.mon": 3,
        "ceph.osd": 3,
        "ceph.probe": 2,
        "ceph.rgw": 2,
        "ceph.setup": 3,
        "cinder.api": 3,
        "cinder.backup": 3,
        "cinder.common": 3,
        "cinder.scheduler": 3,
        "cinder.volume": 3,
        "galera.database": 3,
        "galera.server": 3,
        "glance.server": 3,
        "haproxy.proxy": 3,
        "heat.server": 3,
        "horizon.server": 3,
        "keepalived.vrrp": 3,
        "keystone.keys": 1,
        "keystone.server": 3,
        "libvirt.server": 2,
        "linux.system": 15,
        "memcached.server": 3,
        "neutron.ovn_metadata": 2,
        "neutron.server": 3,
        "nginx.server": 4,
        "nova.api": 3,
        "nova.common": 5,
        "nova.compute": 2,
        "nova.conductor": 3,
        "nova.database": 3,
        "nova.metadata": 3,
        "nova.novncproxy": 3,
        "nova.scheduler": 3,
        "openstack.client": 1,
        "openstack.identity": 1,
        "openstack.resources": 1,
        "openvswitch.switch": 2,
        "ovn.central": 3,
        "ovn.host": 2,
        "pki.ca": 1,
        "pki.host": 15,
        "placement.server": 3,
        "rabbitmq.server": 3,
        "salt.api": 1,
        "salt.master": 1,
        "salt.minion": 15,
        "tempest.client": 1,
    },
    "iaas": {
        "barbican.server": 3,
        "ceph.client": 83,
        "ceph.common": 100,
        "ceph.mgr": 3,
        "ceph.mon": 3,
        "ceph.osd": 12,
        "ceph.rgw": 2,
        "ceph.setup": 3,
        "cinder.api": 3,
        "cinder.backup": 3,
        "cinder.common": 3,
        "cinder.scheduler": 3,
        "cinder.volume": 3,
        "galera.database": 3,
        "galera.server": 3,
        "glance.server": 3,
        "haproxy.proxy": 3,
        "heat.server": 3,
        "horizon.server": 3,
        "keepalived.vrrp": 3,
        "keystone.keys": 1,
        "keystone.server": 3,
        "libvirt.server": 83,
        "linux.system": 119,
        "memcached.server": 3,
        "neutron.ovn_metadata": 80,
        "neutron.server": 3,
        "nginx.server": 7,
        "nova.api": 3,
        "nova.common": 83,
        "nova.compute": 80,
        "nova.conductor": 3,
        "nova.database": 3,
        "nova.metadata": 3,
        "nova.novncproxy": 3,
        "nova.scheduler": 3,
        "openstack.client": 1,
        "openstack.identity": 1,
        "openstack.resources": 1,
        "openvswitch.switch": 83,
        "ovn.central": 3,
        "ovn.host": 83,
        "pki.ca": 1,
        "pki.host": 119,
        "placement.server": 3,
        "rabbitmq.server": 3,
        "salt.api": 1,
        "salt.master": 1,
        "salt.minion": 119,
    },
    "caas": {
        "calico.node": 9,
        "containerd.server": 9,
        "etcd.server": 3,
        "haproxy.proxy": 3,
        "keepalived.vrrp": 3,
        "kubernetes.control_plane": 3,
        "kubernetes.node": 9,
        "kubernetes.resources": 1,
        "linux.system": 10,
        "nginx.server": 1,
        "pki.ca": 1,
        "pki.host": 10,
        "salt.api": 1,
        "salt.master": 1,
        "salt.minion": 10,
    },
}

#: role -> roles that are done before it, in the order that the plan of the whole cluster has
EARLIER = {
    "iaas": {
        "ceph.mon": ["ceph.common"],
        "ceph.osd": ["ceph.mon", "ceph.mgr"],
        "ceph.setup": ["ceph.osd"],
        "ceph.client": ["ceph.setup"],
        "ceph.rgw": ["ceph.setup", "keystone.server"],
        "glance.server": ["ceph.client", "keystone.server", "galera.database"],
        "cinder.volume": ["cinder.scheduler", "cinder.api", "ceph.client"],
        "ovn.host": ["ovn.central", "openvswitch.switch"],
        "neutron.server": ["ovn.central", "keystone.server"],
        "nova.conductor": ["nova.database", "rabbitmq.server", "openstack.identity"],
        "openstack.identity": ["openstack.client", "keystone.server"],
        "nova.api": ["nova.conductor", "placement.server"],
        "nova.compute": ["nova.conductor", "neutron.server", "libvirt.server", "ovn.host"],
        "neutron.ovn_metadata": ["nova.metadata", "ovn.host"],
        "openstack.resources": ["nova.api", "heat.server"],
    },
    "caas": {
        "kubernetes.control_plane": ["etcd.server", "haproxy.proxy"],
        "kubernetes.node": ["kubernetes.control_plane", "containerd.server"],
        "calico.node": ["kubernetes.node"],
        "kubernetes.resources": ["calico.node"],
    },
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """All example clusters side by side in a copy of the tree."""
    return golden.prepare(tmp_path_factory.mktemp("model"), *golden.CLUSTERS)


@pytest.fixture(scope="module")
def compiled(tree: Inventory) -> dict[str, dict[str, CompiledNode]]:
    """Cluster -> its compiled nodes."""
    return {cluster: compile_cluster(tree, cluster) for cluster in golden.CLUSTERS}


Compiled = Mapping[str, Mapping[str, CompiledNode]]
every_cluster = pytest.mark.parametrize("cluster", golden.CLUSTERS)
#: those with roles that have no formula yet
modelled = pytest.mark.parametrize("cluster", ["iaas", "caas"])


@every_cluster
def test_golden(tree: Inventory, cluster: str) -> None:
    """Renew the files with ``python -m tests.model.golden`` when the change is wanted."""
    folder = golden.FOLDER / cluster
    texts = golden.rendered(tree, cluster)
    assert set(texts) == {path.name for path in folder.iterdir()}
    changed = ""
    for name, text in texts.items():
        kept = (folder / name).read_text()
        changed += "".join(
            difflib.unified_diff(
                kept.splitlines(True),
                text.splitlines(True),
                f"golden/{cluster}/{name}",
                "compiled",
                n=1,
            )
        )
    assert not changed, f"renew with `python -m tests.model.golden` if this is wanted:\n{changed}"


@every_cluster
def test_golden_files_hold_everything(compiled: Compiled, cluster: str) -> None:
    """What a node's file leaves out is in the common one."""
    folder = golden.FOLDER / cluster
    common = yaml.safe_load((folder / "common.yml").read_text())
    for name, node in compiled[cluster].items():
        path = folder / f"{name.partition('.')[0]}.yml"
        if path.exists():
            whole = merge(common, yaml.safe_load(path.read_text()))
            assert set(whole) == set(node.pillar) - {"topology"}
            assert whole["lifecycle"] == node.lifecycle
            assert whole["host"] == node.host


@every_cluster
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_same_as_reclass(tree: Inventory, compiled: Compiled, cluster: str) -> None:
    """On one node of each group: the others differ in their own file only."""
    for node in {golden.group(name.partition(".")[0]): name for name in compiled[cluster]}.values():
        expected = comparable(oracle(tree.path, node))
        assert comparable(ours(tree.path, node)) == expected, node


@every_cluster
def test_the_committed_nodes_are_generated(cluster: str) -> None:
    assert nodes.differences(Inventory(TREE), cluster) == []


@every_cluster
def test_who_carries_what(compiled: Compiled, cluster: str) -> None:
    found = Counter(role for node in compiled[cluster].values() for role in node.applications)
    assert found == ROLES[cluster]


def test_every_role_is_in_an_example() -> None:
    used = {role for roles in ROLES.values() for role in roles}
    offered = {name.removeprefix("service.") for name in model.offered()} & KNOWN
    assert used | offered == KNOWN


def test_lint_warns_of_missing_formulas_alone(tree: Inventory) -> None:
    """Schemas, layers, secrets, quorums, unused classes: over all clusters at once."""
    report = lint.run(tree, golden.CLUSTERS, FORMULAS)
    told = [str(f) for f in report.findings if f.rule != "role-not-executable"]
    unused = [f"no node reaches the class {name}. [unused-class]" for name in model.offered()]
    assert [line for line in told if not line.endswith(tuple(unused))] == []
    assert not report.errors


@pytest.mark.parametrize("cluster", ["demo-core", "demo-ceph", "demo"])
def test_a_lab_cluster_may_be_deployed(tree: Inventory, cluster: str) -> None:
    assert list(map(str, lint.check(tree, cluster, FORMULAS))) == []


@modelled
def test_a_deployment_is_refused_for_each_role_without_formula(
    tree: Inventory, compiled: Compiled, cluster: str
) -> None:
    told = lint.check(tree, cluster, FORMULAS)
    missing = {role for role in ROLES[cluster] if not executable(compiled[cluster], role)}
    # all of OpenStack's have one
    assert bool(missing) is (cluster == "caas")
    assert {finding.rule for finding in told} <= {"role-not-executable"}
    assert len(told) == len(missing)
    for role in missing:
        service, _, name = role.partition(".")
        assert not (FORMULAS / service / f"{name}.sls").exists()


@pytest.mark.parametrize(
    ("cluster", "provider"), [("iaas", "maas|libvirt"), ("caas", "preexisting")]
)
def test_the_lab_leaves_other_providers_alone(
    compiled: Compiled, cluster: str, provider: str
) -> None:
    with pytest.raises(ModelError, match=f"the lab cannot provide a host by '({provider})'"):
        host_facts(dict(compiled[cluster]))


def executable(found: Mapping[str, CompiledNode], role: str) -> bool:
    lifecycles = [node.lifecycle[role] for node in found.values() if role in node.applications]
    return all(entry.get("executable", True) for entry in lifecycles)


def applied(plan: StagePlan) -> dict[str, dict[str, tuple[int, int]]]:
    """Role -> node -> when it is applied: number of the step, place in the call."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    steps = (step for stage in plan.stages for level in stage.levels for step in level.steps)
    for number, step in enumerate(steps):
        for call in step:
            for place, role in enumerate(call.roles):
                found.setdefault(role, {}).update(dict.fromkeys(call.nodes, (number, place)))
    return found


@modelled
def test_order_of_the_whole_cluster(compiled: Compiled, cluster: str) -> None:
    """There is no circle, and what waits comes later."""
    plan = make_plan(cluster, compiled[cluster], KNOWN)
    found = applied(plan)
    assert {role: len(members) for role, members in found.items()} == ROLES[cluster]
    for role, before in EARLIER[cluster].items():
        for other in before:
            here = found[role].keys() & found[other].keys()
            assert all(found[other][node] < found[role][node] for node in here), other
            assert here or max(found[other].values()) < min(found[role].values()), other


@modelled
def test_plan_of_what_can_be_carried_out(tree: Inventory, compiled: Compiled, cluster: str) -> None:
    """What has a formula does not wait, on its node, for what has none."""
    found = compiled[cluster]
    runs = {role for role in ROLES[cluster] if executable(found, role)}
    shorn = {
        name: replace(node, applications=[role for role in node.applications if role in runs])
        for name, node in found.items()
    }
    plan = make_plan(cluster, shorn, KNOWN)
    assert set(applied(plan)) == runs
    assert set(plan.nodes) == set(found)
    foundation = plan.stage("foundation")
    assert len(foundation.nodes) == len(found)
    # one call brings the agents of all hosts up to date
    assert max(len(g.nodes) for lv in foundation.levels for step in lv.steps for g in step) >= (
        len(found) - 2
    )


@modelled
def test_a_quorum_survives_the_loss_of_a_host_and_of_a_rack(
    compiled: Compiled, cluster: str
) -> None:
    found = compiled[cluster]
    voting = {
        role
        for node in found.values()
        for role in node.applications
        if node.lifecycle[role].get("quorum") == "majority"
    }
    assert {"haproxy.proxy", "keepalived.vrrp"} < voting
    spread = voting - {"nginx.server"}  # each serves its own host
    assert ("galera.server" in spread) == (cluster == "iaas")
    for role in spread:
        members = [node for node in found.values() if role in node.applications]
        assert len(members) % 2 == 1, role
        for domain in ("parent", "rack"):
            places = Counter(node.host.get(domain, node.id) for node in members)
            assert max(places.values()) <= len(members) // 2, f"{role}: {domain}"


def test_members_on_one_host_are_found(tmp_path: Path) -> None:
    """The check above can fail: lint says so when three databases share a host."""
    inventory = golden.prepare(tmp_path, "iaas")
    path = tmp_path / "classes/cluster/iaas/init.yml"
    data = yaml.safe_load(path.read_text())
    data["parameters"]["cluster_nodes"]["dbs"]["parents"] = ["kvm01"]
    path.write_text(yaml.safe_dump(data))
    nodes.write(inventory, "iaas")
    report = lint.run(Inventory(tmp_path), ["iaas"], FORMULAS, rules=["anti-affinity"])
    (finding, *_) = report.errors
    assert "galera.server" in finding.sentence
    assert {name.partition(".")[0] for name in finding.nodes} >= {"dbs01", "dbs02"}


def test_racks_of_the_reference_cloud(compiled: Compiled) -> None:
    hosts = {name.partition(".")[0]: node.host for name, node in compiled["iaas"].items()}
    racks = {
        kind: Counter(host["rack"] for name, host in hosts.items() if golden.group(name) == kind)
        for kind in ("cmp", "osd", "kvm", "gtw")
    }
    assert racks["cmp"] == {f"rack{n}": 20 for n in range(1, 5)}
    assert racks["osd"] == {f"rack{n}": 3 for n in range(1, 5)}
    assert racks["kvm"] == racks["gtw"] == {f"rack{n}": 1 for n in range(1, 4)}
    assert hosts["cmp080"]["networks"] == {"tenant": "10.61.4.30", "storage": "10.62.4.30"}
    machines = [host for host in hosts.values() if host["provider"] == "libvirt"]
    assert len(machines) == 21
    for machine in machines:
        parent = hosts[machine["parent"].partition(".")[0]]
        assert parent["provider"] == "maas"
        assert parent["rack"] == machine["rack"]
        assert set(machine["size"]) == {"cpu", "memory", "disk"}


def test_what_is_published_arrives_in_the_reference_cloud(compiled: Compiled) -> None:
    found = {name.partition(".")[0]: node.pillar for name, node in compiled["iaas"].items()}
    assert set(found["dbs02"]["galera"]["database"]["database"]) == {
        "barbican",
        "cinder",
        "glance",
        "heat",
        "keystone",
        "neutron",
        "nova",
        "nova_api",
        "nova_cell0",
        "placement",
    }
    setup = found["cmn03"]["ceph"]["setup"]
    assert {"images", "volumes", "backups", "vms"} < set(setup["pool"])
    assert set(setup["keyring"]) == {
        f"client.{name}" for name in ("cinder", "cinder-backup", "glance", "nova", "rgw")
    }
    assert found["prx01"]["haproxy"]["proxy"]["listen"]["glance"]["active_active"] is True
    monitors = [f"10.62.0.{octet}" for octet in (81, 82, 83)]
    for name in ("cmp042", "osd007", "ctl01", "rgw02"):
        assert [one["address"] for one in found[name]["ceph"]["common"]["monitors"]] == monitors
    assert len(found["cfg01"]["pki"]["ca"]["requests"]) == 119


def test_a_compute_holds_only_the_secrets_it_uses(compiled: Compiled) -> None:
    """Whoever takes over a hypervisor finds no access to a database."""
    pillar = next(node.pillar for name, node in compiled["iaas"].items() if name.startswith("cmp0"))
    assert secrets_in(pillar) == {
        "ceph_cinder_key",
        "ceph_nova_key",
        "nova_metadata_shared_secret",
        "nova_rabbitmq_password",
        "nova_service_password",
    }


def secrets_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(secrets_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(secrets_in, value))
    return {value.splitlines()[2]} if str(value).startswith("-----BEGIN PGP") else set()


def test_the_shipped_tree_has_no_generated_class() -> None:
    """Secrets and artifact pins belong to a deployment."""
    found = [
        str(path.relative_to(TREE))
        for name in ("secrets.yml", "artifacts.yml")
        for path in Path(TREE / "classes/cluster").rglob(name)
    ]
    assert not found


def test_images_and_objects_of_the_labs_cloud_are_in_ceph(compiled: Compiled) -> None:
    found = {name.partition(".")[0]: node.pillar for name, node in compiled["demo"].items()}
    setup = found["mon01"]["ceph"]["setup"]
    assert {"images", "volumes", "backups", "vms", "probe"} < set(setup["pool"])
    caps = {user: spec["caps"]["osd"] for user, spec in setup["keyring"].items()}
    assert caps["client.glance"] == "profile rbd pool=images"
    assert caps["client.nova"] == "profile rbd pool=vms, profile rbd-read-only pool=images"
    assert "images" not in caps["client.cinder-backup"]
    for name in ("ctl01", "ctl02", "ctl03"):
        listen = found[name]["haproxy"]["proxy"]["listen"]
        assert listen["glance"]["active_active"] is True
        assert listen["ceph-rgw"]["role"] == "ceph.rgw"
        keys = set(found[name]["ceph"]["client"]["keyring"])
        assert keys == {"client.glance", "client.cinder", "client.cinder-backup"}
        assert "ceph_admin_key" not in secrets_in(found[name])
        assert "ceph_nova_key" not in secrets_in(found[name])


def test_the_object_gateway_has_no_more_rights_than_it_needs(compiled: Compiled) -> None:
    for cluster in ("demo", "iaas"):
        pillar = next(node.pillar for name, node in compiled[cluster].items() if "cfg01" in name)
        identity = pillar["openstack"]["identity"]
        roles = {one["role"] for one in identity["role_assignment"].values()
                 if one["user"] == "ceph-rgw"}  # fmt: skip
        assert roles == {"service"}
        assert {"s3", "swift"} < set(identity["endpoint"])
