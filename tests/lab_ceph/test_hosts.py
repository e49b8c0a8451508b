"""A host of object stores joins, is filled, leaves again, all of it under a client that writes.

One test after another on the same host, as its life goes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.lab.cluster import MODEL, last_json, seed_minion_config
from saltern.lab.fresh import enable_minion, use_offline_repo
from saltern.lab.provider import HostSpec
from tests.lab_ceph.model import commit
from tests.lab_ceph.storage import Storage, Writes
from tests.support.cluster import Cluster, eventually

pytestmark = pytest.mark.full

HOST = "osd04"
#: a host like it, and that leaves no place for a third copy when it goes
OTHER = "osd03"


def hosts_of_stores(cluster: Cluster, count: int) -> None:
    """Say in the model how many hosts of object stores there are."""
    pattern = f"/^    osd:/,/count:/s/count: .*/count: {count}/"
    commit(cluster, pattern, f"{count} hosts of object stores")


def node_of(cluster: Cluster, host: str = HOST) -> str:
    return f"{host}.{cluster.name}.test"


def booted(cluster: Cluster) -> None:
    """Boot the machine as one comes to an operator: Salt is on it, and knows who its master is."""
    specs = cluster.provider.specs()
    path = f"{MODEL}/nodes/{cluster.name}/{node_of(cluster)}.yml"
    described = yaml.safe_load(cluster.run(cluster.master, "cat", path).stdout)
    address = described["parameters"]["host"]["address"]
    prefix = specs[OTHER].address.rpartition(".")[0]
    spec = replace(
        specs[OTHER],
        name=HOST,
        fqdn=node_of(cluster),
        address=address.replace("${_param:network_prefix}", prefix),
    )

    def prepare(spec: HostSpec, root: Path) -> None:
        use_offline_repo(spec.image, root)
        seed_minion_config(root, spec.fqdn, [node_of(cluster, cluster.master)])
        enable_minion(root)

    assert cluster.provider.up([*specs.values(), spec], prepare) == [HOST]


def keys(cluster: Cluster, *words: str) -> Any:
    """What ``salt-key`` says."""
    done = cluster.run(cluster.master, "salt-key", "--out=json", *words, check=False)
    return last_json(done.stdout)


def accepted(cluster: Cluster) -> None:
    """Accept the key of the host when both sides show the same one."""
    node = node_of(cluster)
    asked = eventually(lambda: node in keys(cluster, "-l", "unaccepted")["minions_pre"], 60)
    assert asked, keys(cluster, "-L")
    mine = cluster.run(HOST, "cat", "/etc/salt/pki/minion/minion.pub").stdout
    assert keys(cluster, "-p", node)["minions_pre"][node].strip() == mine.strip()
    cluster.run(cluster.master, "salt-key", "-y", "-a", node)
    ping = ("salt", "--out=json", "--static", "--timeout=15", node, "test.ping")
    answer = {node: True}
    assert eventually(
        lambda: last_json(cluster.run(cluster.master, *ping, check=False).stdout) == answer, 90
    )


def placed(storage: Storage) -> dict[str, list[int]]:
    """Placement group -> the object stores that serve it."""
    found = storage.ask("pg", "dump", "pgs_brief")
    groups = found["pg_stats"] if isinstance(found, dict) else found
    return {group["pgid"]: group["acting"] for group in groups}


def weights(storage: Storage, host: str) -> list[float]:
    """What the object stores of a host weigh in the CRUSH map."""
    mine = storage.stores(host)
    tree = storage.ask("osd", "tree")["nodes"]
    return [node["crush_weight"] for node in tree if node["id"] in mine]


def on(storage: Storage, host: str) -> int:
    """How many copies of placement groups are on a host."""
    mine = {*storage.stores(host)}
    return sum(len(mine & {*stores}) for stores in placed(storage).values())


def carried_out(tell: list[str], what: str, writes: Writes, since: float) -> None:
    tell.append(f"{what}: {time.monotonic() - since:.0f} s, {writes}")
    assert (writes.failed, writes.wrong, writes.done > 100) == ([], [], True)


def test_a_new_host_joins_and_no_data_move(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    before = placed(storage)
    hosts_of_stores(cluster, 4)
    booted(cluster)
    accepted(cluster)
    begin = time.monotonic()
    with storage.writing() as writes:
        storage.applied("scale-out", f"nodes={HOST}")
    carried_out(tell, f"{HOST} joins", writes, begin)
    stores = storage.stores(HOST)
    states = {item["osd"]: item for item in storage.ask("osd", "dump")["osds"]}
    assert [(states[one]["up"], states[one]["in"]) for one in stores] == [(1, 1), (1, 1)]
    assert weights(storage, HOST) == [0, 0]
    # where the data were they are, and nothing wants to move
    assert placed(storage) == before
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])


def test_data_move_to_the_new_host_when_asked(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    assert on(storage, HOST) == 0
    begin = time.monotonic()
    with storage.writing() as writes:
        storage.applied("operation", "operation=ceph.osd.fill", f"nodes={HOST}", "args={pace: 8}")
    copies = on(storage, HOST)
    carried_out(tell, f"{HOST} gets {copies} copies of placement groups", writes, begin)
    assert sorted(weights(storage, HOST)) == sorted(weights(storage, OTHER))
    # about the fourth part; what is held back would be on the others
    assert copies > sum(map(len, placed(storage).values())) / 4 * 0.7
    assert storage.ask("config-key", "dump", "saltern/") == {}
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])


def test_a_host_leaves_empty(cluster: Cluster, storage: Storage, tell: list[str]) -> None:
    stores = storage.stores(HOST)
    hosts_of_stores(cluster, 3)
    begin = time.monotonic()
    with storage.writing() as writes:
        storage.applied("scale-in", f"nodes={HOST}")
    carried_out(tell, f"{HOST} leaves", writes, begin)
    assert HOST not in {node["name"] for node in storage.ask("osd", "tree")["nodes"]}
    assert {*stores} & {item["osd"] for item in storage.ask("osd", "dump")["osds"]} == set()
    entities = {item["entity"] for item in storage.ask("auth", "ls")["auth_dump"]}
    assert entities & {f"osd.{one}" for one in stores} == set()
    assert storage.ask("config-key", "dump", "saltern/") == {}
    # nothing of the cluster runs there, and its devices and keys are gone
    assert cluster.run(HOST, "pgrep", "ceph-osd", check=False).returncode == 1
    left = "ls /srv/ceph/* /etc/ceph/*.keyring 2>/dev/null"
    assert cluster.run(HOST, "sh", "-c", left, check=False).stdout == ""
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])


def test_a_host_that_left_is_forgotten(cluster: Cluster, storage: Storage) -> None:
    cluster.provider.stop(HOST)
    cluster.run(cluster.master, "salt-key", "-y", "-d", node_of(cluster))
    cluster.provider.remove(HOST)
    assert node_of(cluster) not in str(keys(cluster, "-L"))
    assert HOST not in cluster.provider.specs()
    assert eventually(cluster.all_answer, 60, 2)


def test_a_host_whose_copies_have_no_place_elsewhere_stays(
    cluster: Cluster, storage: Storage, tell: list[str]
) -> None:
    before, heavy = placed(storage), weights(storage, OTHER)
    hosts_of_stores(cluster, 2)
    begin = time.monotonic()
    try:
        with storage.writing() as writes:
            told = storage.refused("scale-in", f"nodes={OTHER}")
        carried_out(tell, f"{OTHER} stays", writes, begin)
    finally:
        hosts_of_stores(cluster, 3)
    assert "keeps 3 copies in as many of host" in told
    assert (placed(storage), weights(storage, OTHER)) == (before, heavy)
    assert storage.becomes_healthy(), storage.health()
    assert storage.held() == ({}, [], [])
