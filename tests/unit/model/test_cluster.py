"""What a cluster's nodes get from each other: published data and topology."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.cluster import cluster_of, clusters, compile_cluster
from tests.unit.model.conftest import PGP, files

Tree = Callable[[dict[str, Any]], Path]


def test_published_data_lies_below_the_consumers_own(tree: Tree) -> None:
    content = files()
    server = content["classes/service/db/server.yml"]["parameters"]["db"]["server"]
    server["database"]["web"] = {"user": "renamed"}
    server["allowed"] = ["own"]
    nodes = compile_cluster(Inventory(tree(content)), "c1")
    data = nodes["db01.c1.test"].pillar["db"]["server"]
    assert data["database"] == {
        "own": {"user": "own"},
        "web": {"user": "renamed", "password": PGP.format("s3cret")},
    }
    # two web nodes publish the same list: it arrives once, before the node's own
    assert data["allowed"] == ["web", "own"]


def test_references_of_the_consumer_see_published_data(tree: Tree) -> None:
    content = files()
    content["classes/service/db/server.yml"]["parameters"]["who"] = "${db:server:database:web:user}"
    nodes = compile_cluster(Inventory(tree(content)), "c1")
    assert nodes["db01.c1.test"].pillar["who"] == "web"


def test_lists_of_several_publishers_are_joined_in_node_order(tree: Tree) -> None:
    content = files()
    content["classes/service/web/server.yml"]["parameters"]["publish"]["db.server"] = {
        "allowed": ["all", "${host:name}"]
    }
    nodes = compile_cluster(Inventory(tree(content)), "c1")
    assert nodes["db01.c1.test"].pillar["db"]["server"]["allowed"] == ["all", "web01", "web02"]


def test_two_publishers_that_differ_are_both_named(tree: Tree) -> None:
    content = files()
    publish = content["classes/service/web/server.yml"]["parameters"]["publish"]
    publish["db.server"]["database"]["web"]["user"] = "${host:name}"
    with pytest.raises(ModelError) as caught:
        compile_cluster(Inventory(tree(content)), "c1")
    assert "web02.c1.test and web01.c1.test publish different values" in str(caught.value)
    assert "publish:db.server:database:web:user" in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [(1, True), ("1", 1), ({}, "x"), ([], {})])
def test_values_of_different_types_are_different(tree: Tree, one: Any, other: Any) -> None:
    content = files()
    for name, value in (("web01", one), ("web02", other)):
        parameters = content[f"nodes/c1/{name}.c1.test.yml"]["parameters"]
        parameters["publish"] = {"db.server": {"x": value}}
    with pytest.raises(ModelError, match="publish different values"):
        compile_cluster(Inventory(tree(content)), "c1")


def test_topology_and_sentinel(tree: Tree) -> None:
    nodes = compile_cluster(Inventory(tree(files())), "c1")
    assert list(nodes) == ["db01.c1.test", "web01.c1.test", "web02.c1.test"]
    pillar = nodes["web02.c1.test"].pillar
    assert pillar["topology"] == {
        "cluster": "c1",
        "domain": "c1.test",
        "nodes": {
            "db01.c1.test": {"name": "db01", "address": "10.1.1.10", "roles": ["db.server"]},
            "web01.c1.test": {"name": "web01", "address": "10.1.1.20", "roles": ["web.server"]},
            "web02.c1.test": {"name": "web02", "address": "10.1.1.21", "roles": ["web.server"]},
        },
        "roles": {
            "db.server": ["db01.c1.test"],
            "web.server": ["web01.c1.test", "web02.c1.test"],
        },
    }
    sentinel = pillar["__reclass__"]
    assert sentinel["nodename"] == "web02.c1.test"
    assert sentinel["applications"] == ["web.server"]
    assert len(sentinel["revision"]) == 12


def test_internal_parameters_are_not_served(tree: Tree) -> None:
    content = files()
    content["classes/cluster/c1/init.yml"]["parameters"]["_secret_spec"] = {"x": {"length": 20}}
    for node in compile_cluster(Inventory(tree(content)), "c1").values():
        assert not {"_secret", "_secret_spec", "publish", "cluster_nodes"} & set(node.pillar)


def test_what_the_compiler_sets_cannot_be_written(tree: Tree) -> None:
    content = files()
    content["classes/cluster/c1/init.yml"]["parameters"]["topology"] = {}
    with pytest.raises(ModelError, match="topology is set by the compiler"):
        compile_cluster(Inventory(tree(content)), "c1")


def test_the_same_fault_on_many_nodes_is_told_once(tree: Tree) -> None:
    content = files()
    content["classes/system/web.yml"]["parameters"] = {"x": "${no:where}"}
    with pytest.raises(ModelError) as caught:
        compile_cluster(Inventory(tree(content)), "c1")
    assert str(caught.value) == (
        "nodes web01.c1.test, web02.c1.test: reference ${no:where} has no value at key x in "
        "classes/system/web.yml (cluster.c1.web -> system.web)."
    )


def test_one_fault_of_many_nodes_names_the_first(tree: Tree) -> None:
    content = files()
    content["classes/cluster/c1/init.yml"]["parameters"]["x"] = "${no:where}"
    for number in range(100):
        content[f"nodes/c1/n{number:02d}.yml"] = content["nodes/c1/db01.c1.test.yml"]
    with pytest.raises(ModelError) as caught:
        compile_cluster(Inventory(tree(content)), "c1")
    # db01 sorts first, then n00 and so on; the web nodes come to it by another class
    assert " n18 and 81 more: reference ${no:where} has no value at key x" in str(caught.value)


def test_many_different_faults_are_counted(tree: Tree) -> None:
    content = files()
    for number in range(100):
        content[f"nodes/c1/n{number:02d}.yml"] = {"classes": ["cluster.c1", f"gone{number}"]}
    with pytest.raises(ModelError) as caught:
        compile_cluster(Inventory(tree(content)), "c1")
    assert "class gone19 does not exist; and 80 more faults" in str(caught.value)


def test_all_missing_references_of_a_node_are_told_at_once(tree: Tree) -> None:
    content = files()
    content["nodes/c1/web01.c1.test.yml"]["parameters"] |= {"x": "${no:a}", "y": ["${no:b}"]}
    with pytest.raises(ModelError) as caught:
        compile_cluster(Inventory(tree(content)), "c1")
    assert "${no:a} has no value at key x in nodes/c1/web01.c1.test.yml" in str(caught.value)
    assert "${no:b} has no value at key y:0 in nodes/c1/web01.c1.test.yml" in str(caught.value)


def test_a_missing_secret_names_the_cure(tree: Tree) -> None:
    content = files()
    content["classes/cluster/c1/secrets.yml"] = {}
    with pytest.raises(ModelError, match="Run `saltern model secrets init`"):
        compile_cluster(Inventory(tree(content)), "c1")
    del content["classes/cluster/c1/secrets.yml"]
    (tree({}) / "classes/cluster/c1/secrets.yml").unlink()
    with pytest.raises(ModelError) as caught:
        compile_cluster(Inventory(tree(content)), "c1")
    assert "class cluster.c1.secrets does not exist" in str(caught.value)
    assert "Run `saltern model secrets init --cluster c1`" in str(caught.value)


def test_a_broken_node_of_another_cluster_is_its_own_problem(tree: Tree) -> None:
    content = files()
    content["nodes/c2/x.c2.test.yml"] = {"classes": ["cluster.c2.gone"]}
    inventory = Inventory(tree(content))
    assert len(compile_cluster(inventory, "c1")) == 3
    with pytest.raises(ModelError, match=r"class cluster\.c2\.gone does not exist"):
        compile_cluster(inventory, "c2")
    assert clusters(inventory) == ["c1", "c2"]


def test_two_clusters_do_not_see_each_other(tree: Tree) -> None:
    content = files()
    content["nodes/c2/x.c2.test.yml"] = {
        "classes": ["service.web.server"],
        "parameters": {
            "_param": {"cluster_name": "c2"},
            "_secret": {"web_db": "other"},
            "host": {"address": "10.2.2.2"},
        },
    }
    inventory = Inventory(tree(content))
    first, second = compile_cluster(inventory, "c1"), compile_cluster(inventory, "c2")
    assert list(second) == ["x.c2.test"]
    password = first["db01.c1.test"].pillar["db"]["server"]["database"]["web"]["password"]
    assert password == PGP.format("s3cret")
    assert cluster_of(inventory, "x.c2.test") == "c2"


def test_no_such_cluster(tree: Tree) -> None:
    with pytest.raises(ModelError, match="no node belongs to cluster c9"):
        compile_cluster(Inventory(tree(files())), "c9")


def test_a_node_without_address(tree: Tree) -> None:
    content = files()
    del content["nodes/c1/web01.c1.test.yml"]["parameters"]["host"]["address"]
    with pytest.raises(ModelError, match=r"node web01\.c1\.test: host:address is not set"):
        compile_cluster(Inventory(tree(content)), "c1")


def test_compiling_again_gives_the_same(tree: Tree) -> None:
    """Merged class prefixes are shared between nodes: nothing may be changed in place."""
    content = files()
    content["classes/cluster/c1/init.yml"]["parameters"]["l"] = [1]
    content["classes/system/web.yml"]["parameters"] = {"l": ["${host:name}"]}
    inventory = Inventory(tree(content))
    first = {name: node.pillar for name, node in compile_cluster(inventory, "c1").items()}
    assert first["web02.c1.test"]["l"] == [1, "web02"]
    assert first == {name: node.pillar for name, node in compile_cluster(inventory, "c1").items()}


def test_origin_names_the_files_in_merge_order(tree: Tree) -> None:
    content = files()
    content["nodes/c1/web01.c1.test.yml"]["parameters"]["web"] = {"server": {"port": 81}}
    inventory = Inventory(tree(content))
    assert inventory.origin("web01.c1.test", "web:server:port") == [
        "classes/service/web/server.yml",
        "nodes/c1/web01.c1.test.yml",
    ]
    # the nearest parent answers for a key that nobody wrote
    assert inventory.origin("web02.c1.test", "web:server:gone") == [
        "classes/service/web/server.yml"
    ]
