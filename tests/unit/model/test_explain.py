"""Explained: every line in merge order, what each did, where references lead, who won."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from saltern.cli.model import model
from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.cluster import compile_cluster
from saltern.model.explain import Explanation, Step, Touch, explain
from tests.model.trees import write_tree
from tests.unit.model.conftest import PGP, files
from tests.unit.model.test_lint import formulas as formulas  # the fixture

Files = dict[str, Any]
Tree = Callable[[Files], Path]


def chain(*texts: str, **options: Any) -> Callable[[Path, str], Explanation]:
    """Explain a key of a node whose classes c1, c2 … hold these parameters, in this order."""

    def explained(top: Path, key: str) -> Explanation:
        names = [f"c{n}" for n in range(1, len(texts) + 1)]
        content: Files = {
            f"classes/{name}.yml": f"parameters:\n  {text}\n"
            for name, text in zip(names, texts, strict=True)
        }
        content["nodes/n.yml"] = {"classes": names}
        inventory = Inventory(write_tree(top, content), compat="reclass", **options)
        return explain(inventory, "n", key)

    return explained


def short(found: Explanation) -> list[tuple[str, Any, str, str]]:
    """Where, what, effect, and who undid it (``*`` for a winner)."""
    return [
        (
            f"{Path(t.file).stem}:{t.line}",
            t.says,
            t.effect,
            "*" if t.winner else t.overridden_by.rpartition("/")[2] or "-",
        )
        for t in found.touches
    ]


def test_scalars_replace(tmp_path: Path) -> None:
    found = chain("a: {b: 1}", "a: {c: 0}", "a: {b: 2}", "a: {b: 3}")(tmp_path, "a:b")
    assert short(found) == [
        ("c1:2", 1, "set", "c3.yml:2"),
        ("c3:2", 2, "replaced", "c4.yml:2"),
        ("c4:2", 3, "replaced", "*"),
    ]
    assert (found.found, found.value, found.notes) == (True, 3, ())


def test_lists_append_and_an_override_starts_anew(tmp_path: Path) -> None:
    found = chain("a: [1]", "a: [2]", "~a: [3]", "a: [4, 5]")(tmp_path, "a")
    assert short(found) == [
        ("c1:2", [1], "set", "c3.yml:2"),
        ("c2:2", [2], "appended", "c3.yml:2"),
        ("c3:2", [3], "replaced", "*"),
        ("c4:2", [4, 5], "appended", "*"),
    ]
    assert found.value == [3, 4, 5]
    assert [touch.key for touch in found.touches] == ["a", "a", "~a", "a"]


def test_every_key_below_is_told(tmp_path: Path) -> None:
    found = chain("a: {x: 1, y: {z: 2}}", "a: {y: {z: 3, w: {}}}")(tmp_path, "a")
    assert [(t.key, t.says, t.winner) for t in found.touches] == [
        ("a:x", 1, True),
        ("a:y:z", 2, False),
        ("a:y:z", 3, True),
        ("a:y:w", {}, True),
    ]
    assert found.value == {"x": 1, "y": {"z": 3, "w": {}}}


def test_an_override_above_removes(tmp_path: Path) -> None:
    found = chain("a: {b: {x: 1}}", "~a: {c: 2}", "a: {b: {y: 3}}")(tmp_path, "a:b")
    assert short(found) == [
        ("c1:2", 1, "set", "c2.yml:2"),
        ("c2:2", {"c": 2}, "removed", "-"),
        ("c3:2", 3, "set", "*"),
    ]
    assert found.value == {"y": 3}


def test_an_override_of_a_dictionary_takes_all_of_it(tmp_path: Path) -> None:
    found = chain("a: {x: 1, y: 2}", "~a: {x: 3, z: {v: 4}}")(tmp_path, "a")
    assert [(t.key, t.winner) for t in found.touches] == [
        ("a:x", False),
        ("a:y", False),
        ("a:x", True),
        ("a:z:v", True),
    ]


def test_a_constant_stays(tmp_path: Path) -> None:
    found = chain("=a: 1", "a: 2", strict_constant_parameters=False)(tmp_path, "a")
    assert short(found) == [("c1:2", 1, "set", "*"), ("c2:2", 2, "ignored", "-")]
    assert found.touches[0].constant
    assert found.value == 1
    # strict, the node does not compile; the lines are told all the same
    found = chain("=a: 1", "a: 2")(tmp_path / "strict", "a")
    assert "a constant (=) value is set again" in found.fault
    assert "does not compile" in found.notes[0]
    assert len(found.touches) == 2


def test_types_that_give_way(tmp_path: Path) -> None:
    found = chain("a: null", "a: {x: 1}")(tmp_path / "null", "a")
    assert short(found) == [("c1:2", None, "set", "c2.yml:2"), ("c2:2", 1, "replaced", "*")]
    found = chain("a: {x: 1}", "a: 5", allow_scalar_over_dict=True)(tmp_path / "scalar", "a:x")
    assert short(found)[0] == ("c1:2", 1, "set", "c2.yml:2")


def test_references_are_followed_with_their_own_lines(tmp_path: Path) -> None:
    found = chain(
        "ports: {web: 80, db: 3306}",
        "ports: {web: 8080}",
        "kind: web",
        "url: http://${host}:${ports:${kind}}/",
        "host: ${_reclass_:name:short}.example.org",
    )(tmp_path, "url")
    (touch,) = found.touches
    host, port = touch.steps
    assert (port.reference, port.key, port.value) == ("${ports:${kind}}", "ports:web", 8080)
    (kind,) = port.nested
    assert (kind.key, kind.value, kind.origins[0].file) == ("kind", "web", "classes/c3.yml")
    (origin,) = port.origins  # the winner only
    assert (origin.file, origin.line, origin.says) == ("classes/c2.yml", 2, 8080)
    ((name,),) = (origin.steps for origin in host.origins)
    assert (name.key, name.value, name.note) == (
        "_reclass_:name:short",
        "n",
        "set by the compiler",
    )
    assert found.value == "http://n.example.org:8080/"


def test_a_reference_to_a_dictionary_or_list_merges(tmp_path: Path) -> None:
    found = chain("base: {x: 1, y: 2}", "a: ${base}", "a: {y: 3}")(tmp_path / "dict", "a")
    assert short(found) == [("c2:2", "${base}", "set", "*"), ("c3:2", 3, "set", "*")]
    found = chain("base: [1]", "a: [0]", "a: ${base}")(tmp_path / "list", "a")
    assert short(found)[1] == ("c3:2", "${base}", "appended", "*")
    assert found.value == [0, 1]
    # a key inside of what a reference above gives
    found = chain("base: {x: 1}", "a: ${base}", "a: {y: 3}")(tmp_path / "above", "a:x")
    assert short(found) == [("c2:2", "${base}", "set", "*")]
    assert found.value == 1


def test_a_missing_reference_and_a_circle(tmp_path: Path) -> None:
    found = chain("a: ${b}", "b: ${nope}")(tmp_path / "missing", "a")
    assert found.fault == "reference ${nope} has no value"
    (step,) = found.touches[0].steps
    assert (step.key, step.note) == ("b", "reference ${nope} has no value")
    assert step.origins[0].steps[0].note == "has no value"
    found = chain("a: ${b}", "b: ${a}")(tmp_path / "circle", "a")
    assert "references form a cycle" in found.fault


def test_a_key_in_a_list(tmp_path: Path) -> None:
    found = chain("a: [{x: 1}]", "a: [{x: 2}]")(tmp_path, "a:1:x")
    assert found.value == 2
    assert "a:1:x is in a list" in found.notes[0]
    assert [touch.says for touch in found.touches] == [[{"x": 1}], [{"x": 2}]]


@pytest.mark.parametrize(
    ("key", "parent", "near"),
    [
        ("web:server:prt", "web:server", "web:server:port"),
        ("wbe:server:port", "", "web"),
        ("port", "", "web:server:port"),
        ("web:server:port:x", "web:server", "web:server:port"),
        ("zzz", "", None),
    ],
)
def test_keys_that_do_not_exist(
    tree: Tree, formulas: Path, key: str, parent: str, near: str | None
) -> None:
    found = explain(Inventory(tree(files())), "web01.c1.test", key, formulas)
    assert not found.found
    assert (found.touches == ()) is (key != "web:server:port:x")
    assert found.parent == parent
    assert (near in found.near) if near else not found.near
    assert found.sentence.startswith(f"web01.c1.test has no key {key}; ")


def test_published_data_and_its_publishers(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/cluster/c1/db.yml"]["parameters"] = {
        "db": {"server": {"allowed": ["own"], "database": {"web": {"user": "mine"}}}}
    }
    top = tree(content)
    found = explain(Inventory(top), "db01.c1.test", "db:server", formulas)
    webs = ("web01.c1.test", "web02.c1.test")
    rows = {(t.key, t.by, t.effect, t.winner) for t in found.touches}
    assert rows == {
        ("db:server:database:web:user", webs, "published", False),
        ("db:server:database:web:password", webs, "published", True),
        ("db:server:allowed", webs, "published", True),
        ("db:server:enabled", (), "set", True),
        ("db:server:database:own:user", (), "set", True),
        ("db:server:allowed", (), "appended", True),
        ("db:server:database:web:user", (), "replaced", True),
    }
    password = next(t for t in found.touches if t.key.endswith("password"))
    assert password.file == "classes/service/web/server.yml"
    assert password.says == "${_secret:web_db}"
    (step,) = password.steps
    assert (step.value, step.origins[0].says) == ("(encrypted)", "(encrypted)")
    assert step.origins[0].file == "classes/cluster/c1/secrets.yml"
    assert found.value["allowed"] == ["web", "own"]
    assert found.value["database"]["web"] == {"user": "mine", "password": "(encrypted)"}
    assert found.cluster == "c1"


def test_what_a_broken_node_publishes_is_missed(tree: Tree, formulas: Path) -> None:
    content = files()
    content["nodes/c1/web02.c1.test.yml"]["parameters"]["x"] = "${no}"
    found = explain(Inventory(tree(content)), "db01.c1.test", "db:server:allowed", formulas)
    assert found.notes == ("not compiled, so nothing they publish is shown: web02.c1.test",)
    assert found.touches[0].by == ("web01.c1.test",)


SECRETS = ("hunter2", "geheim-1234", "s3cret", "BEGIN PGP", "b3BlbnNz", "in-url-1", "0815")


def test_no_secret_is_shown(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/cluster/c1/web.yml"]["parameters"] = {
        "_param": {"db_password": "hunter2", "mixed_token": "a${_param:x}geheim-1234", "x": "X"},
        "web": {"server": {"users": {"u": {"password": "${_param:db_password}"}}, "port": 1}},
        "text": {
            "url": "mysql://u:${_param:db_password}@h/",
            "other": "mysql://u:in-url-1@h/",
            "said": "the password is ${_param:db_password}",
            "key": "-----BEGIN PRIVATE KEY-----\nb3BlbnNz\n-----END PRIVATE KEY-----\n",
            "pin_password": 4711,
            "list_secret": ["0815", 815],
        },
        "_secret": {"plain": "hunter2", "vault": "sdb://kv/x"},
        "from_vault_password": "${_secret:vault}",
    }
    top = tree(content)
    inventory = Inventory(top)
    pillar = compile_cluster(inventory, "c1")["web01.c1.test"].pillar
    keys = [key for key in pillar if key not in ("topology", "__reclass__")]
    run = CliRunner()
    for key in [*keys, "_secret", "publish"]:
        found = explain(inventory, "web01.c1.test", key, formulas)
        arguments = ["explain", "web01.c1.test", key, "-i", str(top), "--formulas", str(formulas)]
        for told in (
            json.dumps(found.to_json()),
            run.invoke(model, arguments).output,
            run.invoke(model, [*arguments, "--format", "json"]).output,
        ):
            assert not [secret for secret in SECRETS if secret in told], (key, told)
    found = explain(inventory, "web01.c1.test", "text", formulas)
    assert found.value == {
        "url": "mysql://u:(secret)@h/",
        "other": "mysql://u:(secret)@h/",
        "said": "the password is (secret)",
        "key": "(secret)\n",
        "pin_password": "(secret)",
        "list_secret": ["(secret)", "(secret)"],
    }
    mixed = explain(inventory, "web01.c1.test", "_param:mixed_token", formulas)
    assert mixed.touches[0].says == "(secret)${_param:x}(secret)"
    vault = explain(inventory, "web01.c1.test", "from_vault_password", formulas)
    assert vault.value == "sdb://kv/x"
    assert vault.touches[0].says == "${_secret:vault}"
    # what the schema marks writeOnly
    assert explain(inventory, "web01.c1.test", "web:server:url", formulas).value == "(encrypted)"


def test_an_unknown_node(tree: Tree) -> None:
    with pytest.raises(ModelError, match="has no entry in the model"):
        explain(Inventory(tree(files())), "nobody", "a")


def test_on_the_command_line(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/cluster/c1/web.yml"]["parameters"] = {
        "_param": {"port": 8080},
        "web": {"server": {"port": "${_param:port}"}},
    }
    top = tree(content)
    run = CliRunner()
    arguments = ["explain", "web01.c1.test", "-i", str(top), "--formulas", str(formulas)]
    done = run.invoke(model, [*arguments, "web:server:port"])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "web:server:port on web01.c1.test (cluster c1)",
        (
            "  x classes/service/web/server.yml:7  web:server:port: 80  "
            "[set, overridden by classes/cluster/c1/web.yml:9]"
        ),
        "      cluster.c1.web -> system.web -> service.web.server",
        "  * classes/cluster/c1/web.yml:9  web:server:port: ${_param:port}  [replaced]",
        "      cluster.c1.web",
        "      ${_param:port} = 8080",
        "        * classes/cluster/c1/web.yml:6  _param:port: 8080  [set]",
        "            cluster.c1.web",
        "= 8080",
    ]
    done = run.invoke(model, [*arguments, "web:server:prt"])
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == (
        "= web01.c1.test has no key web:server:prt; web:server exists; "
        "did you mean web:server:port?"
    )


def test_at_a_revision(tree: Tree, formulas: Path) -> None:
    from git import Actor, Repo

    top = tree(files())
    me = Actor("tests", "tests@example.org")
    repo = Repo.init(top)
    repo.git.add("-A")
    old = repo.index.commit("one", author=me, committer=me).hexsha
    path = top / "classes/service/web/server.yml"
    path.write_text(path.read_text().replace("port: 80", "port: 81"))
    run = CliRunner()
    arguments = [
        "explain", "web01.c1.test", "web:server:port", "-i", str(top),
        "--formulas", str(formulas), "--format", "json",
    ]  # fmt: skip
    now = json.loads(run.invoke(model, arguments).output)
    then = json.loads(run.invoke(model, [*arguments, "--revision", old[:8]]).output)
    assert (now["value"], then["value"]) == (81, 80)
    assert then["touches"][0]["file"] == "classes/service/web/server.yml"
    bad = run.invoke(model, [*arguments, "--revision", "nope"])
    assert isinstance(bad.exception, ModelError)


# -- against the engine -----------------------------------------------------------------------

NAMES = st.sampled_from("abc")
LEAF = st.integers(0, 9) | st.lists(st.integers(0, 9), min_size=1, max_size=2)
BELOW = st.recursive(LEAF, lambda below: st.dictionaries(NAMES, below, min_size=1, max_size=3))
PREFIXED = st.dictionaries(
    st.tuples(st.sampled_from(["", "", "", "~"]), NAMES).map("".join),
    st.recursive(
        LEAF,
        lambda below: st.dictionaries(
            st.tuples(st.sampled_from(["", "", "", "~"]), NAMES).map("".join),
            below,
            min_size=1,
            max_size=3,
        ),
        max_leaves=6,
    ),
    min_size=1,
    max_size=3,
)


def leaves(data: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Key paths of all scalars and lists."""
    if isinstance(data, dict):
        found = {}
        for key, value in data.items():
            found |= leaves(value, (*path, key))
        return found
    return {path: data}


@settings(max_examples=40, deadline=None)
@given(st.lists(PREFIXED, min_size=1, max_size=4))
def test_the_winners_make_up_the_value(
    tmp_path_factory: pytest.TempPathFactory, classes: list[dict[str, Any]]
) -> None:
    # a key with and without prefix in one file is another matter
    assume(all(_unambiguous(data) for data in classes))
    top = tmp_path_factory.mktemp("tree")
    texts = [yaml.safe_dump(data, default_flow_style=True, width=10**6) for data in classes]
    names = [f"c{n}" for n in range(len(texts))]
    content: Files = {
        f"classes/{name}.yml": f"parameters: {text}"
        for name, text in zip(names, texts, strict=True)
    }
    content["nodes/n.yml"] = {"classes": names}
    inventory = Inventory(write_tree(top, content), compat="reclass")
    try:
        parameters = inventory.node("n").parameters
    except ModelError:
        assume(False)
    parameters.pop("_reclass_")
    for key in parameters:
        found = explain(inventory, "n", [key])
        built: dict[tuple[str, ...], Any] = {}
        for touch in found.touches:
            path = tuple(part.lstrip("~") for part in touch.key.split(":"))
            if touch.winner and isinstance(touch.says, list) and path in built:
                built[path] = built[path] + touch.says
            elif touch.winner:
                built[path] = touch.says
        assert built == leaves({key: parameters[key]})


def _unambiguous(data: Any) -> bool:
    if not isinstance(data, dict):
        return True
    names = [key.lstrip("~") for key in data]
    return len(names) == len(set(names)) and all(map(_unambiguous, data.values()))


WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.sampled_from(
        [
            "",
            "x",
            "${a}",
            "${a:b}",
            "x${b:0}y",
            "${c:${a}}",
            "${zz}",
            "\\${a}",
            "${",
            "$[ exports:a ]",
        ]
    ),
    lambda below: (
        st.dictionaries(
            st.sampled_from(["a", "b", "c", "~a", "=b", "password", "0"]), below, max_size=3
        )
        | st.lists(below, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c", "~a", "=b"]), WILD, max_size=3),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["a", "b", "a:b", "a:b:c", "b:0", "c:a:0:a", "zz", "a:zz", "_secret", ":"]),
)
def test_anything_is_explained_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, classes: list[dict[str, Any]], key: str
) -> None:
    names = [f"c{n}" for n in range(len(classes))]
    content: Files = {
        f"classes/{name}.yml": {"parameters": data}
        for name, data in zip(names, classes, strict=True)
    }
    content["nodes/n.yml"] = {"classes": names}
    top = write_tree(tmp_path_factory.mktemp("tree"), content)
    inventory = Inventory(top, compat="reclass")
    try:
        found = explain(inventory, "n", key)
    except ModelError:
        return
    json.dumps(found.to_json())
    assert found.sentence


def test_dataclasses_are_plain_data_in_json(tmp_path: Path) -> None:
    found = chain("a: ${b}", "b: 1")(tmp_path, "a")
    data = json.loads(json.dumps(found.to_json()))
    assert data["touches"][0]["steps"][0]["origins"][0]["says"] == 1
    assert isinstance(found.touches[0], Touch)
    assert isinstance(found.touches[0].steps[0], Step)
    assert PGP not in str(data)
