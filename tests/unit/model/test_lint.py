"""Every kind of finding, and none on a fit model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from saltern.cli.model import model
from saltern.errors import ModelError
from saltern.model import Inventory, lint, schema
from tests.model.trees import write_tree
from tests.unit.model.conftest import PGP, files

Tree = Callable[[dict[str, Any]], Path]

WEB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "writeOnly": True, "pattern": "^db://[a-z:]+@"},
        "port": {"type": "integer", "maximum": 65535},
        "users": {
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/user"},
        },
    },
    "$defs": {
        "user": {
            "type": "object",
            "properties": {
                "password": {"type": "string", "writeOnly": True},
                "mode": {"enum": ["ro", "rw"]},
            },
        }
    },
}
DB = {"type": "object", "properties": {"enabled": {"type": "boolean"}}}


@pytest.fixture
def formulas(tmp_path: Path) -> Path:
    """Formulas of both roles: an SLS and a schema each."""
    top = tmp_path / "formulas"
    for role, shape in (("web", WEB), ("db", DB)):
        (top / role / "schemas").mkdir(parents=True)
        (top / role / "server.sls").write_text("")
        (top / role / "schemas" / "server.yaml").write_text(yaml.safe_dump(shape))
    return top


def findings(top: Path, formulas: Path) -> list[str]:
    """All findings as sentences."""
    return [str(finding) for finding in lint.check(Inventory(top), "c1", formulas)]


def test_a_fit_model_has_none(tree: Tree, formulas: Path) -> None:
    top = tree(files())
    assert findings(top, formulas) == []
    run = CliRunner().invoke(model, ["lint", "-i", str(top), "--formulas", str(formulas)])
    assert (run.exit_code, run.output) == (0, "")


def change(content: dict[str, Any], path: str, parameters: dict[str, Any]) -> None:
    """Add parameters to a file of the example."""
    entry = content[path]
    entry["parameters"] = entry.get("parameters", {}) | parameters


CLASS = "classes/cluster/c1/web.yml"
WEBS = "nodes web01.c1.test, web02.c1.test"
IN = f"in {CLASS}:{{}} (cluster.c1.web)"

#: name -> (parameters of cluster.c1.web, expected finding)
FOUND: dict[str, tuple[dict[str, Any], str]] = {
    "type": (
        {"web": {"server": {"port": "http"}}},
        f"{WEBS}, key web:server:port {IN.format(7)}: must be integer, is string.",
    ),
    "unknown key": (
        {"web": {"server": {"prot": 1}}},
        f"{WEBS}, key web:server:prot {IN.format(7)}: unknown key prot; did you mean port?",
    ),
    "too large": (
        {"web": {"server": {"port": 70000}}},
        f"{WEBS}, key web:server:port {IN.format(7)}: 70000 does not satisfy maximum: 65535.",
    ),
    "enum": (
        {"web": {"server": {"users": {"u": {"mode": "xx"}}}}},
        f"{WEBS}, key web:server:users:u:mode {IN.format(9)}: 'xx' is not one of ro, rw.",
    ),
    "password in plain text": (
        {"web": {"server": {"users": {"u": {"password": "hunter2"}}}}},
        (
            f"{WEBS}, key web:server:users:u:password {IN.format(9)}: "
            "a secret is written in plain text; use ${_secret:NAME}."
        ),
    ),
    "secret in _param": (
        {"_param": {"x": "${_secret:web_db}"}},
        f"{WEBS}, key _param:x {IN.format(6)}: a secret belongs in _secret, not in _param.",
    ),
    "plain password in _param": (
        {"_param": {"db_password": "hunter2"}},
        (
            f"{WEBS}, key _param:db_password {IN.format(6)}: "
            "a secret is written in plain text; use ${_secret:NAME}."
        ),
    ),
    "lifecycle key": (
        {"lifecycle": {"web.server": {"strat": "serial"}}},
        "Additional properties are not allowed ('strat' was unexpected)",
    ),
    "lifecycle check": (
        {"lifecycle": {"web.server": {"health": [{"unti": "web"}]}}},
        "key lifecycle:web.server:health:0",
    ),
    "unknown role after": (
        {"lifecycle": {"web.server": {"after": ["cache.server"]}}},
        "lifecycle:web.server:after names the unknown role cache.server.",
    ),
    "unknown role after, on the node": (
        {"lifecycle": {"web.server": {"after": [{"role": "cache.server", "scope": "node"}]}}},
        "lifecycle:web.server:after names the unknown role cache.server.",
    ),
    "a scope that is none": (
        {"lifecycle": {"web.server": {"after": [{"role": "db.server", "scope": "nod"}]}}},
        "key lifecycle:web.server:after:1",
    ),
    "a later stage after": (
        {"lifecycle": {"web.server": {"stage": "foundation"}}},
        "after names db.server, whose stage infrastructure is later than foundation.",
    ),
    "publish to nobody": (
        {"publish": {"dbb.server": {"x": 1}}},
        "publish names the unknown role dbb.server.",
    ),
    "does not compile": (
        {"x": "${no}"},
        f"reference ${{no}} has no value at key x in {CLASS} (cluster.c1.web).",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_findings(tree: Tree, formulas: Path, name: str) -> None:
    parameters, sentence = FOUND[name]
    content = files()
    change(content, CLASS, parameters)
    told = findings(tree(content), formulas)
    assert len(told) == 1, told
    assert sentence in told[0]
    assert "hunter2" not in told[0]


def test_published_data_is_placed_at_its_publisher(tree: Tree, formulas: Path) -> None:
    schema = {"properties": {"allowed": {"items": {"type": "integer"}}}}
    (formulas / "db/schemas/server.yaml").write_text(yaml.safe_dump(schema))
    assert findings(tree(files()), formulas) == [
        (
            "node db01.c1.test, key publish:db.server:allowed:0 in "
            "classes/service/web/server.yml:15 (cluster.c1.web -> system.web -> "
            "service.web.server), published by web01.c1.test: must be integer, is string. [schema]"
        )
    ]


def test_order_is_no_circle(tree: Tree, formulas: Path) -> None:
    content = files()
    lifecycle = content["classes/service/db/server.yml"]["parameters"]["lifecycle"]["db.server"]
    lifecycle |= {"stage": "control", "after": [{"role": "web.server", "scope": "node"}]}
    (told,) = findings(tree(content), formulas)
    assert (
        "server.yml:13 (cluster.c1.db -> service.db.server): lifecycle order is a cycle: " in told
    )
    assert "db.server -> web.server" in told


def test_a_role_has_one_lifecycle(tree: Tree, formulas: Path) -> None:
    content = files()
    change(
        content,
        "nodes/c1/web02.c1.test.yml",
        {"lifecycle": {"web.server": {"start": "serial"}}},
    )
    assert findings(tree(content), formulas) == [
        (
            "node web02.c1.test, key lifecycle:web.server:start in nodes/c1/web02.c1.test.yml:9: "
            "lifecycle:web.server:start differs from that on web01.c1.test. [lifecycle]"
        )
    ]


def test_two_hosts_with_one_address(tree: Tree, formulas: Path) -> None:
    content = files()
    content["nodes/c1/web02.c1.test.yml"]["parameters"]["host"]["address"] = "10.1.1.10"
    assert findings(tree(content), formulas) == [
        (
            "node web02.c1.test, key host:address in nodes/c1/web02.c1.test.yml:6: "
            "host address 10.1.1.10 is that of db01.c1.test too. [address-twice]"
        )
    ]


def test_includes_go_down_only(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/service/db/extra.yml"] = {"classes": ["system.web"]}
    content["classes/system/up.yml"] = {"classes": ["cluster.c1.db"]}
    content["classes/misc.yml"] = {}
    content["classes/cluster/c2/init.yml"] = {}
    content["classes/cluster/c1/foreign.yml"] = {"classes": ["cluster.c2"]}
    assert findings(tree(content), formulas) == [
        (
            "classes/cluster/c1/foreign.yml:2 (class cluster.c1.foreign), key classes: "
            "class cluster.c2 belongs to another cluster. [layer-direction]"
        ),
        (
            "classes/misc.yml:1 (class misc): "
            "class misc is in none of cluster, system, service. [layer-direction]"
        ),
        (
            "classes/service/db/extra.yml:2 (class service.db.extra), key classes: a service class "
            "may not include system.web: includes go cluster -> system -> service. "
            "[layer-direction]"
        ),
        (
            "classes/system/up.yml:2 (class system.up), key classes: a system class may not "
            "include cluster.c1.db: includes go cluster -> system -> service. [layer-direction]"
        ),
    ]


def test_a_class_that_nobody_uses_must_be_readable_too(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/system/unused.yml"] = "parameters: {a: 1, a: 2}"
    (told,) = findings(tree(content), formulas)
    assert told == (
        "classes/system/unused.yml:1 (class system.unused): key 'a' is written twice. "
        "[class-readable]"
    )


def test_a_role_needs_formula_schema_and_lifecycle(tree: Tree, formulas: Path) -> None:
    content = files()
    content["nodes/c1/db01.c1.test.yml"]["applications"] = ["new.role"]
    assert findings(tree(content), formulas) == [
        f"node db01.c1.test, nodes/c1/db01.c1.test.yml:8: {sentence}"
        for sentence in (
            "role new.role has no formula new/role.sls. [formula-missing]",
            "role new.role declares no lifecycle. [lifecycle]",
            "role new.role has no schema new/schemas/role.yaml. [schema-missing]",
        )
    ]


def test_a_broken_schema_is_named(tree: Tree, formulas: Path) -> None:
    (formulas / "db/schemas/server.yaml").write_text("type: nonsense\n")
    (told,) = findings(tree(files()), formulas)
    assert "db/schemas/server.yaml: broken schema" in told


def test_ciphertext_is_not_measured() -> None:
    limited = {"properties": {"x": {"type": "string", "maxLength": 5, "writeOnly": True}}}
    assert list(schema.violations({"x": PGP.format("s")}, limited)) == []
    # a value that is not encrypted is measured, and not shown
    (violation,) = schema.violations({"x": "hunter2"}, limited)
    assert violation.path == ("x",)
    assert violation.sentence == "does not satisfy maxLength: 5"
    for fit in (PGP.format("s"), "sdb://vault/x"):
        assert list(schema.plain_secrets({"x": fit}, limited)) == []
    # nor one whose name says what it is
    named = {"properties": {"db_password": {"maxLength": 5}}}
    (violation,) = schema.violations({"db_password": "hunter2"}, named)
    assert "hunter2" not in violation.sentence


def test_write_only_is_found_wherever_a_schema_can_say_it() -> None:
    secret = {"type": "string", "writeOnly": True}
    marked = {
        "properties": {
            "one": secret,
            "list": {"items": {"properties": {"p": secret}}},
            "either": {"oneOf": [{"type": "integer"}, secret]},
            "whole": {"writeOnly": True},
        },
        "patternProperties": {"^p_": secret},
        "additionalProperties": {"$ref": "#/$defs/s"},
        "$defs": {"s": {"allOf": [secret]}},
    }
    data = {
        "one": "x",
        "list": [{"p": "x"}, {"p": ""}],
        "either": "x",
        "whole": {"a": {"b": "x"}, "n": 1},
        "p_1": "x",
        "other": "x",
    }
    assert set(schema.plain_secrets(data, marked)) == {
        ("one",),
        ("list", "0", "p"),
        ("either",),
        ("whole", "a", "b"),
        ("p_1",),
        ("other",),
    }


def test_default_formulas_are_those_of_this_distribution(tree: Tree) -> None:
    from tests.support import TREE

    inventory = Inventory(tree(files()))
    assert lint.formulas_path(inventory).samefile(TREE / "formulas")
    write_tree(inventory.path, {"formulas/web/server.sls": ""})
    assert lint.formulas_path(inventory) == inventory.path / "formulas"


def test_no_such_cluster(tree: Tree, formulas: Path) -> None:
    (finding,) = lint.check(Inventory(tree(files())), "c9", formulas)
    assert "no node belongs to cluster c9" in finding.sentence
    with pytest.raises(ModelError):
        Inventory(tree(files()) / "nowhere")
