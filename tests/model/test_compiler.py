"""Incremental compiles equal full ones; broken trees are never stored."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.cluster import compile_cluster
from saltern.model.compiler import blob_id, compile_tree, source_ids, tree_id
from saltern.model.store import Revision, Store
from tests.model.trees import typed

Files = dict[str, Any]

#: one class may be missing, and is looked for by name
OPTIONS = {
    "ignore_class_notfound": True,
    "ignore_class_notfound_regexp": [r"service\.later"],
}


def model() -> Files:
    """Two clusters; a class that is missed, data that is published, exports that are asked."""
    files: Files = {
        "classes/service/db.yml": {
            "applications": ["db.server"],
            "parameters": {
                "db": {"server": {"port": 3306, "allowed": ["own"]}},
                "who": "${db:server:users:web:name}",
            },
        },
        "classes/service/web.yml": {
            "applications": ["web.server"],
            "parameters": {
                "web": {"server": {"port": 80}},
                "publish": {
                    "db.server": {"users": {"web": {"name": "web"}}, "allowed": ["${host:name}"]}
                },
            },
            "exports": {"port": "${web:server:port}", "name": "${host:name}"},
        },
        "classes/service/agent.yml": {"applications": ["agent.any"], "parameters": {"agent": {}}},
        "classes/service/watch.yml": {
            "applications": ["watch.server"],
            "parameters": {
                "watch": {
                    "ports": "$[ exports:port ]",
                    "names": "$[ exports:name if exports:port == self:watch:wanted ]",
                    "wanted": 80,
                }
            },
        },
    }
    for name in ("one", "two"):
        files[f"classes/cluster/{name}.yml"] = {
            "classes": ["service.agent", "service.later"],
            "parameters": {"_param": {"cluster_name": name, "cluster_domain": f"{name}.test"}},
        }
        for kind, number in (("db", 1), ("web", 1), ("web", 2), ("watch", 1)):
            host = f"{kind}0{number}"
            files[f"nodes/{name}/{host}.{name}.test.yml"] = {
                "classes": [f"service.{kind}", f"cluster.{name}"],
                "parameters": {"host": {"name": host, "address": f"10.1.{len(name)}.{number}"}},
            }
    return files


def write(top: Path, files: Files) -> Inventory:
    """Make a tree hold exactly these files; each that differs is a new file."""
    for folder in ("classes", "nodes"):
        (top / folder).mkdir(parents=True, exist_ok=True)
    for path in top.rglob("*.yml"):
        if str(path.relative_to(top)) not in files:
            path.unlink()
    for name, data in files.items():
        text = yaml.safe_dump(data, sort_keys=False)
        path = top / name
        if path.exists() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, path)
    return Inventory(top, **OPTIONS)


def build(inventory: Inventory, store: Store, base: Revision | None = None) -> Revision:
    return compile_tree(inventory, tree_id(source_ids(inventory)), store, base=base)


def assert_equal(one: Revision, other: Revision) -> None:
    """Every node of two revisions is the same, to the byte."""
    assert one.nodes() == other.nodes()
    assert one.clusters() == other.clusters()
    assert one.sources == other.sources
    for cluster in one.clusters():
        assert one.roles(cluster) == other.roles(cluster)
        assert typed(one.topology(cluster)) == typed(other.topology(cluster))
    for node_id in one.nodes():
        assert one.digest(node_id) == other.digest(node_id), node_id
        assert one.cluster_of(node_id) == other.cluster_of(node_id)
        assert one.applications(node_id) == other.applications(node_id)
        mine, theirs = one.node(node_id), other.node(node_id)
        assert typed(vars(mine)) == typed(vars(theirs)), node_id


# edits: each changes a copy of the files; some break the model, and both compiles must say so

NODES = [name for name in model() if name.startswith("nodes/")]
CLASSES = [name for name in model() if name.startswith("classes/")]
value = st.sampled_from([1, True, "1", 80, 81, None, ["x"], {"k": "v"}, "${host:name}"])


def _edit(files: Files, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    if name in files:
        data = copy.deepcopy(files[name])
        change(data)
        files[name] = data


def set_parameter(files: Files, name: str, key: str, new: Any) -> None:
    _edit(files, name, lambda data: data.setdefault("parameters", {}).update({key: new}))


def set_port(files: Files, name: str, new: Any) -> None:
    def change(data: dict[str, Any]) -> None:
        data.setdefault("parameters", {}).setdefault("web", {})["server"] = {"port": new}

    _edit(files, name, change)


def publish(files: Files, name: str, role: str, key: str, new: Any) -> None:
    def change(data: dict[str, Any]) -> None:
        data.setdefault("parameters", {})["publish"] = {role: {key: new}}

    _edit(files, name, change)


def export(files: Files, name: str, key: str, new: Any) -> None:
    _edit(files, name, lambda data: data.setdefault("exports", {}).update({key: new}))


def environment(files: Files, name: str, new: str) -> None:
    _edit(files, name, lambda data: data.update(environment=new))


def move_cluster(files: Files, name: str, cluster: str) -> None:
    def change(data: dict[str, Any]) -> None:
        data["parameters"]["_param"] = {"cluster_name": cluster}

    _edit(files, name, change)


def include(files: Files, name: str, added: str) -> None:
    _edit(files, name, lambda data: data.setdefault("classes", []).append(added))


def address(files: Files, name: str, new: str) -> None:
    _edit(files, name, lambda data: data["parameters"]["host"].update(address=new))


def delete(files: Files, name: str) -> None:
    files.pop(name, None)


def restore(files: Files, name: str) -> None:
    files[name] = model()[name]


def later(files: Files, new: Any) -> None:
    files["classes/service/later.yml"] = {
        "applications": ["later.any"],
        "parameters": {"later": new},
    }


def rename(files: Files, name: str, new: str) -> None:
    if name in files:
        files[f"nodes/{new}"] = files.pop(name)


node, any_file = st.sampled_from(NODES), st.sampled_from(NODES + CLASSES)
edits = st.one_of(
    st.tuples(st.just(set_parameter), any_file, st.sampled_from(["a", "agent", "who"]), value),
    st.tuples(st.just(set_port), any_file, st.sampled_from([80, 81, True, "${_param:x}"])),
    st.tuples(
        st.just(publish),
        any_file,
        st.sampled_from(["db.server", "agent.any", "web.server"]),
        st.sampled_from(["x", "allowed"]),
        value,
    ),
    st.tuples(st.just(export), any_file, st.sampled_from(["port", "name", "unasked"]), value),
    st.tuples(st.just(environment), node, st.sampled_from(["base", "dev"])),
    st.tuples(st.just(move_cluster), node, st.sampled_from(["one", "two", "three"])),
    st.tuples(
        st.just(include),
        any_file,
        st.sampled_from(["service.later", "service.web", "service.watch", "service.gone"]),
    ),
    st.tuples(st.just(address), node, st.sampled_from(["10.1.9.1", "10.1.9.2"])),
    st.tuples(st.just(delete), any_file),
    st.tuples(st.just(delete), st.just("classes/service/later.yml")),
    st.tuples(st.just(restore), any_file),
    st.tuples(st.just(later), value),
    st.tuples(
        st.just(rename), node, st.sampled_from(["moved/db01.one.test.yml", "one/x.one.test.yml"])
    ),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.lists(edits, min_size=1, max_size=2), min_size=1, max_size=6))
def test_an_incremental_compile_equals_a_full_one(tmp_path: Path, changes: list[Any]) -> None:
    top = tmp_path / "run"
    shutil.rmtree(top, ignore_errors=True)
    full, step = Store(top / "full"), Store(top / "step")
    files = model()
    base = build(write(top / "tree", files), step)
    for edit in changes:
        for change, *arguments in edit:
            change(files, *arguments)
        told = []
        inventory = None
        for store, use in ((full, None), (step, base)):
            try:
                inventory = write(top / "tree", files)
                told.append(build(inventory, store, use))
            except ModelError as err:
                told.append(str(err))
        if isinstance(told[0], str) or isinstance(told[1], str):
            assert told[0] == told[1]
        else:
            assert_equal(*told)
            base = told[1]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Files], Inventory]:
    return lambda files: write(tmp_path / "tree", files)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def recompiled(tree: Any, store: Store, *edit: Any) -> tuple[Revision, Revision]:
    """Compile the model, then what one edit makes of it: (base, incremental)."""
    files = model()
    base = build(tree(files), store)
    for change, *arguments in edit:
        change(files, *arguments)
    inventory = tree(files)
    after = build(inventory, store, base)
    assert_equal(after, build(inventory, Store(store.path / "full")))
    return base, after


def changed(base: Revision, after: Revision) -> set[str]:
    before = {node_id: base.digest(node_id) for node_id in base.nodes()}
    return {node_id for node_id in after.nodes() if before.get(node_id) != after.digest(node_id)}


def test_equals_the_compile_of_a_cluster(tree: Any, store: Store) -> None:
    inventory = tree(model())
    revision = build(inventory, store)
    for name in revision.clusters():
        for node_id, node in compile_cluster(inventory, name).items():
            stored = revision.node(node_id)
            stored.pillar["__reclass__"]["revision"] = node.pillar["__reclass__"]["revision"]
            assert typed(vars(stored)) == typed(vars(node))


def test_nothing_changed_nothing_compiled(tree: Any, store: Store) -> None:
    base, after = recompiled(tree, store)
    assert base.id == after.id
    inventory = tree(model())
    again = compile_tree(inventory, "a" * 40, store, base=base)
    assert again.info.compiled == 0
    assert again.packs() == base.packs()
    assert again.info.base == base.id


def test_a_class_recompiles_its_users_only(tree: Any, store: Store) -> None:
    base, after = recompiled(tree, store, (set_parameter, "classes/service/db.yml", "a", 1))
    assert after.info.compiled == 2
    assert changed(base, after) == {"db01.one.test", "db01.two.test"}


def test_published_data_recompiles_who_receives_it(tree: Any, store: Store) -> None:
    name = "nodes/one/web02.one.test.yml"
    base, after = recompiled(tree, store, (publish, name, "agent.any", "x", 1))
    # the publisher, and all agents of its own cluster
    assert changed(base, after) == set(base.nodes("one"))
    assert after.info.compiled == 4


def test_topology_recompiles_nobody(tree: Any, store: Store) -> None:
    name = "nodes/one/watch01.one.test.yml"
    base, after = recompiled(tree, store, (address, name, "10.1.9.9"))
    assert after.info.compiled == 1
    seen = after.node("db01.one.test").pillar["topology"]["nodes"]["watch01.one.test"]
    assert seen["address"] == "10.1.9.9"
    assert base.topology("two") == after.topology("two")
    assert base.topology("one") != after.topology("one")


def test_an_export_recompiles_who_asks_for_it(tree: Any, store: Store) -> None:
    watchers = {"watch01.one.test", "watch01.two.test"}
    name = "nodes/one/web01.one.test.yml"
    base, after = recompiled(tree, store, (set_port, name, 81))
    assert changed(base, after) == {"web01.one.test"} | watchers
    assert after.node("watch01.two.test").pillar["watch"]["ports"]["web01.one.test"] == 81


def test_an_export_that_nobody_asks_for(tree: Any, store: Store) -> None:
    base, after = recompiled(tree, store, (export, "classes/service/web.yml", "unasked", 1))
    assert after.info.compiled == 4
    assert changed(base, after) == set()


def test_an_export_that_is_equal_and_not_the_same(tree: Any, store: Store) -> None:
    name = "nodes/one/web01.one.test.yml"
    _, one = recompiled(tree, store, (export, name, "port", 1))
    files = model()
    export(files, name, "port", True)
    after = build(tree(files), store, one)
    assert after.node("watch01.one.test").pillar["watch"]["ports"]["web01.one.test"] is True


def test_an_exporter_in_another_environment_is_not_seen(tree: Any, store: Store) -> None:
    name = "nodes/one/web01.one.test.yml"
    _, after = recompiled(tree, store, (environment, name, "dev"))
    ports = after.node("watch01.two.test").pillar["watch"]["ports"]
    assert "web01.one.test" not in ports
    assert "web02.one.test" in ports


def test_a_removed_node_leaves_answers_lists_and_topology(tree: Any, store: Store) -> None:
    base, after = recompiled(tree, store, (delete, "nodes/one/web02.one.test.yml"))
    assert "web02.one.test" not in after.nodes()
    assert "web02.one.test" not in after.node("watch01.two.test").pillar["watch"]["ports"]
    assert after.node("db01.one.test").pillar["db"]["server"]["allowed"] == ["web01", "own"]
    assert "web02.one.test" not in after.node("db01.one.test").pillar["topology"]["nodes"]
    assert "web02.one.test" in base.node("db01.one.test").pillar["topology"]["nodes"]
    with pytest.raises(ModelError, match=r"node web02\.one\.test has no entry in the model"):
        after.node("web02.one.test")


def test_a_class_that_was_missed_is_found(tree: Any, store: Store) -> None:
    base, after = recompiled(tree, store, (later, 7))
    assert after.info.compiled == len(base.nodes())
    assert after.node("db01.one.test").pillar["later"] == 7
    # and is missed again
    gone = build(tree(model()), store, after)
    assert "later" not in gone.node("db01.one.test").pillar


def test_a_deleted_class_names_all_who_need_it_and_stores_nothing(tree: Any, store: Store) -> None:
    files = model()
    base = build(tree(files), store)
    del files["classes/service/db.yml"]
    inventory = tree(files)
    with pytest.raises(ModelError) as caught:
        build(inventory, store, base)
    for node_id in ("db01.one.test", "db01.two.test"):
        assert f"node {node_id}, nodes/" in str(caught.value)
    assert [info.id for info in store.revisions()] == [base.id]
    assert os.listdir(store.path / "tmp") == []


def test_a_publish_conflict_is_told_and_stores_nothing(tree: Any, store: Store) -> None:
    files = model()
    base = build(tree(files), store)
    publish(files, "nodes/one/watch01.one.test.yml", "db.server", "users", {"web": {"name": "x"}})
    inventory = tree(files)
    with pytest.raises(ModelError, match=r"publish different values for publish:db\.server:users"):
        build(inventory, store, base)
    assert [info.id for info in store.revisions()] == [base.id]


def test_no_nodes(tree: Any, store: Store) -> None:
    with pytest.raises(ModelError, match="the model has no nodes"):
        build(tree({}), store)


def test_plain_reclass_nodes_beside_a_cluster(tmp_path: Path, store: Store) -> None:
    files = model()
    files["nodes/plain.yml"] = {"parameters": {"publish": 1, "topology": 2, "a": "${b}", "b": 3}}
    inventory = write(tmp_path / "tree", files)
    with pytest.raises(ModelError, match=r"node plain: no cluster name"):
        build(inventory, store)
    inventory = Inventory(tmp_path / "tree", compat="reclass", **OPTIONS)
    revision = build(inventory, store)
    assert revision.nodes("") == ["plain"]
    assert revision.clusters() == ["one", "two"]
    pillar = revision.node("plain").pillar
    assert {key: pillar[key] for key in ("publish", "topology", "a", "b")} == {
        "publish": 1,
        "topology": 2,
        "a": 3,
        "b": 3,
    }
    assert pillar["__reclass__"]["nodename"] == "plain"


def test_another_base_is_ignored(tree: Any, store: Store) -> None:
    inventory = tree(model())
    base = build(inventory, store)
    other = Inventory(inventory.path, **OPTIONS, allow_none_override=True)
    revision = compile_tree(other, base.id, store, base=base)
    assert revision.info.base == ""
    assert revision.info.compiled == revision.info.nodes


def test_a_damaged_base_is_ignored(tree: Any, store: Store) -> None:
    inventory = tree(model())
    base = build(inventory, store)
    (base.folder / "state").write_bytes(b"")
    fresh = Store(store.path)
    revision = compile_tree(inventory, "a" * 40, fresh, base=fresh.open(base.id))
    assert revision.info.compiled == revision.info.nodes


def test_blob_ids_are_those_of_git(tmp_path: Path) -> None:
    # git hash-object of "what is up, doc?", from the book Pro Git
    assert blob_id(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_the_same_tree_elsewhere_has_the_same_id(tmp_path: Path) -> None:
    ids = [tree_id(source_ids(write(tmp_path / name, model()))) for name in ("a", "b")]
    assert ids[0] == ids[1]
    files = model()
    files["nodes/one/db01.one.test.yml"]["parameters"]["x"] = 1
    assert tree_id(source_ids(write(tmp_path / "a", files))) != ids[0]


def test_links_count_with_the_content_behind_them(tmp_path: Path) -> None:
    inventory = write(tmp_path / "tree", model())
    path = tmp_path / "tree/classes/service/db.yml"
    content = path.read_bytes()
    before = source_ids(inventory)
    (tmp_path / "elsewhere.yml").write_bytes(content)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.yml")
    assert source_ids(Inventory(tmp_path / "tree", **OPTIONS)) == before
