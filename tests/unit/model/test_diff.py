"""The difference between two revisions of what nodes are served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saltern.cli import cli
from saltern.errors import ModelError
from saltern.model import Inventory, diffshow
from saltern.model.cluster import CompiledNode, compile_cluster
from saltern.model.diff import Change, Difference, Snapshot, compare, differences, role_of
from saltern.model.nodeset import fold, told
from tests.model.trees import write_tree
from tests.support import TREE
from tests.support.commits import commit
from tests.unit.model.conftest import files

KEY = b"0123456789abcdef"
PGP = "-----BEGIN PGP MESSAGE-----\n\nwcBM{}\n-----END PGP MESSAGE-----"


def node(
    name: str,
    pillar: Mapping[str, Any],
    *,
    roles: tuple[str, ...] = ("web.server",),
    classes: tuple[str, ...] = ("service.web.server",),
    environment: str = "base",
) -> CompiledNode:
    """A compiled node of cluster ``shop``."""
    host = {"name": name, "address": f"192.0.2.{int(name[-2:])}"}
    return CompiledNode(
        id=f"{name}.example.com",
        pillar={"host": host, **pillar, "topology": {"cluster": "shop"}},
        applications=list(roles),
        classes=list(classes),
        environment=environment,
        lifecycle={},
        host=host,
        cluster="shop",
    )


def side(name: str, *nodes: CompiledNode) -> Snapshot:
    return Snapshot(name, {"shop": {each.id: each for each in nodes}})


def diff(before: list[CompiledNode], after: list[CompiledNode], **options: Any) -> Difference:
    return compare(side("a", *before), side("b", *after), key=KEY, **options)


def web(**data: Any) -> dict[str, Any]:
    return {"web": {"server": data}}


def test_equal_revisions_do_not_differ() -> None:
    nodes = [node("web01", web(workers=4))]
    found = diff(nodes, nodes)
    assert not found
    assert found.nodes() == []
    assert "nothing that a node is served differs" in diffshow.text(found)


def test_the_same_change_on_many_nodes_is_told_once() -> None:
    names = [f"web{n:02d}" for n in range(1, 9)]
    before = [node(name, web(workers=4, port=80)) for name in names]
    after = [node(name, web(workers=8, port=80)) for name in names[:6]] + before[6:]
    found = diff(before, after)
    (group,) = found.groups
    assert (group.cluster, group.role) == ("shop", "web.server")
    assert group.change == Change("web:server:workers", "changed", 4, 8)
    assert len(group.nodes) == 6
    text = diffshow.text(found)
    assert "    web01-06\n      ~ web:server:workers  4 -> 8\n" in text
    assert "shop: 6 of 8 nodes differ" in text


def test_a_change_that_names_the_node_itself_is_told_once() -> None:
    def url(name: str, port: int) -> dict[str, Any]:
        own = f"192.0.2.{int(name[-2:])}"
        return web(url=f"https://{name}.example.com:{port}/", bind=f"{own}:{port}", who=name)

    names = ("web01", "web02", "web11")
    found = diff(
        [node(name, url(name, 80)) for name in names], [node(name, url(name, 81)) for name in names]
    )
    assert [(g.change.path, g.change.before, g.change.after) for g in found.groups] == [
        ("web:server:bind", "<address>:80", "<address>:81"),
        ("web:server:url", "https://<id>:80/", "https://<id>:81/"),
    ]
    assert {len(group.nodes) for group in found.groups} == {3}


def test_a_new_address_is_shown_as_it_is() -> None:
    before, after = node("web01", {}), node("web01", {})
    host = {"name": "web01", "address": "198.51.100.7"}
    after = CompiledNode(**{**vars(after), "pillar": {"host": host}, "host": host})
    found = diff([before], [after])
    (change,) = [g.change for g in found.groups if g.change.path == "host:address"]
    assert (change.before, change.after) == ("192.0.2.1", "198.51.100.7")


def test_different_changes_of_one_key_stay_apart() -> None:
    names = [f"web{n:02d}" for n in range(1, 8)]
    before = [node(name, web(id=0)) for name in names]
    after = [node(name, web(id=int(name[3:]))) for name in names]
    found = diff(before, after)
    assert [group.change.after for group in found.groups] == list(range(1, 8))
    text = diffshow.text(found)
    assert "web:server:id differs on web04-07 too, in other ways (--full)" in text
    assert "0 -> 7" in diffshow.text(found, full=True)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": True}, [("a", "changed", 1, True)]),
        ({"a": "1"}, {"a": 1}, [("a", "changed", "1", 1)]),
        ({"a": {}}, {"a": None}, [("a", "changed", {}, None)]),
        (
            {"x": {"a": 1}},
            {"x": {"b": 1}},
            [("x:a", "removed", 1, None), ("x:b", "added", None, 1)],
        ),
        ({}, {"x": {"y": {"z": 1}}}, [("x:y", "added", None, {"z": 1})]),
        ({}, {"x": {}}, [("x", "added", None, {})]),
        ({"l": [1, 2, 3]}, {"l": [1, 3, 4]}, [("l", "items", [2], [4])]),
        ({"l": [1, 1]}, {"l": [1]}, [("l", "items", [1], [])]),
        ({"l": [1, 2]}, {"l": [2, 1]}, [("l", "order", [1, 2], [2, 1])]),
        ({"l": [{"a": 1}, 2]}, {"l": [{"a": 3}, 2]}, [("l:0:a", "changed", 1, 3)]),
        ({"l": [{"a": 1}, {"a": 2}]}, {"l": [{"a": 2}, {"a": 1}]}, None),
        ({"l": [1, True]}, {"l": [1, 1]}, [("l", "items", [True], [1])]),
        ({"k:1": 1}, {"k:1": 2}, [("k\\:1", "changed", 1, 2)]),
        ({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1.0}}, [("x:a", "changed", 1, 1.0)]),
        ({"x": {"a": 2**70}}, {"x": {"a": 2**71}}, [("x:a", "changed", 2**70, 2**71)]),
    ],
)
def test_the_smallest_difference(before: Any, after: Any, expected: Any) -> None:
    found = diff([node("web01", before)], [node("web01", after)])
    told_ = [(g.change.path, g.change.kind, g.change.before, g.change.after) for g in found.groups]
    assert told_ == (expected or [("l", "order", before["l"], after["l"])])
    assert list(differences(before, before)) == []


def test_secrets_are_hashes_and_ciphertext_says_so() -> None:
    one, two = PGP.format("one"), PGP.format("two")
    before = web(password=one, licence="alpha-77", url=f"amqp://u:{one}@h", port=1)
    after = web(
        password=two, licence="bravo-88", url=f"amqp://u:{two}@h", port=2, token="charlie-9"
    )
    schema = {"properties": {"licence": {"writeOnly": True}}}
    found = diff(
        [node("web01", before)],
        [node("web01", after)],
        schemas=lambda role: schema if role == "web.server" else None,
    )
    changes = {group.change.path.split(":")[-1]: group.change for group in found.groups}
    assert {name: change.hidden for name, change in changes.items()} == {
        "password": "ciphertext",
        "licence": "secret",
        "url": "ciphertext",
        "token": "",
        "port": "",
    }
    shown = json.dumps(found.to_json()) + diffshow.text(found, full=True)
    for secret in ("one", "two", "alpha-77", "bravo-88", "charlie-9", "BEGIN PGP"):
        assert secret not in shown
    assert "~ web:server:password  ciphertext changed (secret:" in shown
    assert f"+ web:server:token  {changes['token'].after}" in shown


def test_nodes_roles_classes_that_came_and_went() -> None:
    before = [
        node("web01", web(a=1), roles=("web.server", "ntp.client"), classes=("c.a", "c.b")),
        node("web02", web(a=1)),
    ]
    after = [
        node("web01", web(a=1), roles=("web.server",), classes=("c.b", "c.a")),
        node("web03", web(a=1), environment="dev"),
    ]
    found = diff(before, after)
    assert [(c.node, c.roles) for c in found.nodes_added] == [
        ("web03.example.com", ("web.server",))
    ]
    assert [c.node for c in found.nodes_removed] == ["web02.example.com"]
    assert [(m.kind, m.name, m.nodes) for m in found.roles] == [
        ("removed", "ntp.client", ("web01.example.com",))
    ]
    assert [(m.kind, m.nodes) for m in found.classes] == [("order", ("web01.example.com",))]
    assert found.nodes() == [f"web0{n}.example.com" for n in (1, 2, 3)]
    text = diffshow.text(found)
    assert "  + node web03  (web.server)\n  - node web02  (web.server)\n" in text
    assert "  - role ntp.client on web01\n  ~ classes in another order on web01\n" in text


def test_another_environment() -> None:
    found = diff([node("web01", {})], [node("web01", {}, environment="dev")])
    assert "~ environment base -> dev on web01" in diffshow.text(found)


def test_only_some_nodes_or_a_cluster() -> None:
    before = [node("web01", web(a=1)), node("web02", web(a=1))]
    after = [node("web01", web(a=2)), node("web02", web(a=2))]
    assert diff(before, after, only=["web02.example.com"]).nodes() == ["web02.example.com"]
    assert not diff(before, after, cluster="other")


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("web:server:port", "web.server"),
        ("web:server", "web.server"),
        ("web:client:port", ""),
        ("lifecycle:web.server:stage", "web.server"),
        ("ntp:x", "ntp"),
        ("_param:a", ""),
    ],
)
def test_role_of_a_key(path: str, role: str) -> None:
    assert role_of(tuple(path.split(":")), ["web.server", "ntp"]) == role


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], ""),
        (["ctl01.a"], "ctl01"),
        (["ctl01.a", "ctl02.a", "ctl03.a"], "ctl01-03"),
        (["ctl01.a", "ctl03.a", "ctl04.a"], "ctl01,03-04"),
        ([f"cmp{n:03d}.a" for n in range(1, 81)], "cmp001-080"),
        (["cmp-r1-001.a", "cmp-r1-002.a", "cfg.a"], "cfg, cmp-r1-001-002"),
        (["a1", "a01"], "a01, a1"),
        (["n9", "n10"], "n10, n9"),
        (["ctl01.a", "ctl02.a", "ctl01.b"], "ctl01-02.a, ctl01.b"),
        (["ctl01.a", "ctl01.a"], "ctl01"),
    ],
)
def test_fold(nodes: list[str], expected: str) -> None:
    assert fold(nodes) == expected


def test_all_nodes() -> None:
    everyone = [f"n{n}.a" for n in range(1, 5)]
    assert told(everyone, everyone) == "all 4 nodes"
    assert told(everyone[:3], everyone) == "n1-3"
    assert told(everyone[:3], everyone[:3]) == "n1-3"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("plain", "plain"),
        ("1", '"1"'),
        (1, "1"),
        ("true", '"true"'),
        ("", '""'),
        (None, "null"),
        (" x", '" x"'),
        ("a: b: c", "a: b: c"),
        ("one\ntwo\n", "one … (2 lines)"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_values_on_one_line(data: Any, expected: str) -> None:
    assert diffshow.value(data) == expected


def test_long_text_is_a_difference_of_lines() -> None:
    lines = [f"line {n}" for n in range(30)]
    before, after = "\n".join(lines), "\n".join([*lines[:10], "new", *lines[11:]])
    found = diff([node("web01", web(text=before))], [node("web01", web(text=after))])
    assert "          - line 10\n          + new\n" in diffshow.text(found)


def test_a_compiled_cluster_with_itself_changed(tmp_path: Path) -> None:
    """Published data, topology and references all reach the difference."""
    files: dict[str, Any] = {
        "classes/service/web/server.yml": {
            "applications": ["web.server"],
            "parameters": {
                "web": {"server": {"port": "${_param:port}"}},
                "publish": {"lb.proxy": {"listen": {"web": {"port": "${_param:port}"}}}},
            },
        },
        "classes/service/lb/proxy.yml": {"applications": ["lb.proxy"]},
        "classes/cluster/shop/init.yml": {
            "parameters": {"_param": {"cluster_name": "shop", "port": 80}}
        },
    }
    for number, role in ((1, "web.server"), (2, "web.server"), (3, "lb.proxy")):
        files[f"nodes/n{number}.example.com.yml"] = {
            "classes": ["cluster.shop", f"service.{role}"],
            "parameters": {"host": {"name": f"n{number}", "address": f"192.0.2.{number}"}},
        }
    one = Snapshot(
        "a", {"shop": compile_cluster(Inventory(write_tree(tmp_path / "a", files)), "shop")}
    )
    files["classes/cluster/shop/init.yml"]["parameters"]["_param"]["port"] = 81
    files["nodes/n4.example.com.yml"] = {
        "classes": ["cluster.shop", "service.web.server"],
        "parameters": {"host": {"name": "n4", "address": "192.0.2.4"}},
    }
    two = Snapshot(
        "b", {"shop": compile_cluster(Inventory(write_tree(tmp_path / "b", files)), "shop")}
    )
    found = compare(one, two, key=KEY)
    got = {(g.role, g.change.path): fold(g.nodes) for g in found.groups}
    assert got == {
        ("", "_param:port"): "n1-3",
        ("lb.proxy", "lb:proxy:listen:web:port"): "n3",
        ("web.server", "web:server:port"): "n1-2",
        ("", "topology:nodes:n4.example.com"): "n1-3",
        ("", "topology:roles:web.server"): "n1-3",
    }
    assert [change.node for change in found.nodes_added] == ["n4.example.com"]
    text = diffshow.text(found)
    assert "  topology differs at 2 keys, as hosts and roles do (--full)\n" in text
    assert "topology:nodes" not in text
    assert "+ topology:nodes:n4.example.com:address  192.0.2.4" in diffshow.text(found, full=True)


@pytest.fixture
def repo(tree: Callable[[dict[str, Any]], Path]) -> Path:
    """The small cluster, committed."""
    top = tree(files())
    commit(top, "first")
    return top


def run(repo: Path, *arguments: str) -> Result:
    store = str(repo.parent / "store")
    return CliRunner().invoke(cli, ["model", "diff", *arguments, "-i", str(repo), "--store", store])


def test_the_command(repo: Path) -> None:
    same = run(repo, "--exit-code")
    assert (same.exit_code, same.output.count("\n")) == (0, 2), same.output
    path = repo / "classes/service/web/server.yml"
    path.write_text(path.read_text().replace("port: 80", "port: 81"))
    changed = run(repo, "--exit-code")
    assert changed.exit_code == 1
    assert "  web.server\n    web01-02\n      ~ web:server:port  80 -> 81\n" in changed.output
    commit(repo, "second")
    assert run(repo).output.endswith("nothing that a node is served differs\n")
    between = run(repo, "HEAD~1", "HEAD", "--format", "json")
    assert between.exit_code == 0
    data = json.loads(between.output)
    assert data["nodes"] == ["web01.c1.test", "web02.c1.test"]
    assert run(repo, "HEAD~1", "--node", "db01.c1.test", "--exit-code").exit_code == 0


def test_hashes_of_two_runs_compare_with_a_key(repo: Path, tmp_path: Path) -> None:
    content = files()
    content["classes/cluster/c1/secrets.yml"]["parameters"]["_secret"]["web_db"] = PGP.format("new")
    write_tree(repo, content)
    key = tmp_path / "key"
    key.write_bytes(KEY)
    first, second = run(repo, "--key", str(key)).output, run(repo, "--key", str(key)).output
    assert "db:server:database:web:password  ciphertext changed (secret:" in first
    assert first == second
    assert first != run(repo).output  # another key
    assert "PGP" not in first


def test_a_ref_that_is_none(repo: Path) -> None:
    found = run(repo, "nowhere")
    assert isinstance(found.exception, ModelError)
    assert "nowhere is no commit of the model" in str(found.exception)


@pytest.mark.parametrize("top", [TREE, TREE / "tests", Path("nowhere"), str, None])
def test_the_helper_never_commits_this_checkout(top: Any) -> None:
    with pytest.raises(AssertionError, match="is no directory of a test"):
        commit(top, "never")
