"""Every kind of finding, and none on a fit model."""

from __future__ import annotations

import json
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
        "unknown key strat; did you mean start?",
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


# -- the command line -------------------------------------------------------------------------


def lint_cli(top: Path, formulas: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `saltern model lint`."""
    done = CliRunner().invoke(
        model, ["lint", "-i", str(top), "--formulas", str(formulas), *arguments]
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def faulty(tree: Tree) -> Path:
    """One error and one warning."""
    content = files()
    change(content, CLASS, {"web": {"server": {"port": "http"}}})
    content["classes/system/unused.yml"] = {}
    return tree(content)


def test_text(faulty: Path, formulas: Path) -> None:
    code, told = lint_cli(faulty, formulas)
    assert code == 1
    assert told.splitlines() == [
        f"error: {WEBS}, key web:server:port {IN.format(7)}: must be integer, is string. [schema]",
        (
            "warning: classes/system/unused.yml:1 (class system.unused): "
            "no node reaches the class system.unused. [unused-class]"
        ),
        f"cure of schema: {lint.RULES['schema'].cure}.",
        f"cure of unused-class: {lint.RULES['unused-class'].cure}.",
        "1 error, 1 warning",
    ]


def test_json(faulty: Path, formulas: Path) -> None:
    code, told = lint_cli(faulty, formulas, "--format", "json")
    report = json.loads(told)
    assert (code, report["errors"], report["warnings"], report["clusters"]) == (1, 1, 1, ["c1"])
    assert report["findings"][0] == {
        "rule": "schema",
        "severity": "error",
        "sentence": "must be integer, is string",
        "nodes": ["web01.c1.test", "web02.c1.test"],
        "place": f"key web:server:port {IN.format(7)}",
        "file": CLASS,
        "line": 7,
        "cure": lint.RULES["schema"].cure,
    }


def test_github(faulty: Path, formulas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = lint_cli(faulty, formulas, "--format", "github")
    first, second = told.splitlines()
    assert code == 1
    assert first.startswith(f"::error file={faulty}/{CLASS},line=7,title=schema::nodes web01")
    assert second.startswith("::warning file=")
    # from the top of the repository, paths are as the repository has them
    monkeypatch.chdir(faulty)
    for top in (Path(), faulty):
        _, told = lint_cli(top, formulas, "--format", "github")
        assert told.startswith(f"::error file={CLASS},line=7,")
    monkeypatch.chdir(faulty.parent)
    _, told = lint_cli(faulty, formulas, "--format", "github")
    assert told.startswith(f"::error file={faulty.name}/{CLASS},line=7,")


def test_github_escapes_what_would_end_a_command() -> None:
    finding = lint.Finding("schema", "error", "100%\nbroken", file="a,b:c.yml", line=0)
    assert list(lint.github(lint.Report((finding,)))) == [
        "::error file=a%2Cb%3Ac.yml,line=1,title=schema::100%25%0Abroken. [schema]"
    ]


def test_exit_codes(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/system/unused.yml"] = {}
    top = tree(content)
    assert lint_cli(top, formulas)[0] == 0
    assert lint_cli(top, formulas, "--strict")[0] == 1
    assert lint_cli(top, formulas, "--strict", "--rule", "schema", "--rule", "order") == (0, "")
    (top / "classes/system/unused.yml").write_text("a: [")
    assert lint_cli(top, formulas)[0] == 2
    # a rule is no way around a model that does not compile
    content["classes/system/unused.yml"] = {}
    change(content, CLASS, {"x": "${no}"})
    assert lint_cli(tree(content), formulas, "--rule", "schema")[0] == 2


def test_an_unknown_rule_or_cluster(faulty: Path, formulas: Path) -> None:
    with pytest.raises(ModelError, match="unknown rule no-such"):
        lint.run(Inventory(faulty), None, formulas, rules=["no-such"])
    code, told = lint_cli(faulty, formulas, "-c", "c9")
    assert code == 2
    assert "no node belongs to cluster c9" in told


def test_the_list_of_rules(faulty: Path, formulas: Path) -> None:
    code, told = lint_cli(faulty, formulas, "--list-rules")
    assert code == 0
    assert [line.split()[0] for line in told.splitlines()[::2]] == list(lint.RULES)
    rows = json.loads(lint_cli(faulty, formulas, "--list-rules", "--format", "json")[1])
    assert {row["name"] for row in rows} == set(lint.RULES)


@pytest.mark.parametrize(
    ("mark", "excepted"),
    [
        ("      port: http  # saltern: ignore[schema] old client\n", True),
        ("      # saltern: ignore[order, schema] old client\n      port: http\n", True),
        ("      port: http  # saltern: ignore[order]\n", False),
        ("      port: http\n      # saltern: ignore[schema]\n      users: {}\n", False),
        ("      port: http\n# saltern: ignore-file[schema] old client\n", True),
    ],
)
def test_exceptions(tree: Tree, formulas: Path, mark: str, excepted: bool) -> None:
    content = files()
    content[CLASS] = f"classes: [cluster.c1, system.web]\nparameters:\n  web:\n    server:\n{mark}"
    top = tree(content)
    code, told = lint_cli(top, formulas)
    assert code == (0 if excepted else 1)
    assert ("must be integer" in told) is not excepted
    code, told = lint_cli(top, formulas, "--verbose")
    assert ("excepted: " in told) is excepted
    if excepted:
        assert told.rstrip().endswith(": old client)")
        report = lint.run(Inventory(top), None, formulas).to_json()
        assert report["excepted"][0]["exception"].startswith(f"{CLASS}:")
        assert lint.check(Inventory(top), "c1", formulas) == []


def test_what_does_not_compile_has_no_exception(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/system/web.yml"] = (
        "# saltern: ignore-file[compile]\nclasses: [service.web.server]\nparameters: {x: '${no}'}\n"
    )
    code, told = lint_cli(tree(content), formulas)
    assert code == 2
    assert "reference ${no} has no value" in told


def test_nodes_outside_of_all_clusters(tmp_path: Path, formulas: Path) -> None:
    top = write_tree(
        tmp_path / "plain",
        {
            "classes/a.yml": {"parameters": {"x": {"password": "hunter2"}}},
            "nodes/n1.yml": {"classes": ["a"], "applications": ["old.role"]},
            "nodes/n2.yml": {"classes": ["a"], "parameters": {"y": "${no}"}},
        },
    )
    report = lint.run(Inventory(top, compat="reclass"), None, formulas)
    # neither formulas nor lifecycles are asked of a model of plain reclass
    assert [(f.rule, f.nodes) for f in report.findings] == [
        ("layer-direction", ()),
        ("plaintext-secret", ("n1",)),
        ("compile", ("n2",)),
    ]
    assert report.exit_code() == 2


def test_many_nodes_are_told_in_short() -> None:
    nodes = tuple(f"n{n}.c1.test" for n in range(9))
    finding = lint.Finding("schema", "error", "x", nodes)
    assert str(finding) == "nodes n0-8.c1.test: x. [schema]"
    assert finding.to_json()["nodes"] == list(nodes)


def test_an_exception_for_a_whole_cluster(tree: Tree, formulas: Path) -> None:
    content = files()
    life = content["classes/service/web/server.yml"]["parameters"]["lifecycle"]["web.server"]
    life["quorum"] = "majority"
    # the file of the finding is the service class, which other clusters use too
    text = yaml.safe_dump(content["classes/cluster/c1/init.yml"])
    mark = "# saltern: ignore-file[odd-quorum] a lab of two\n"
    content["classes/cluster/c1/init.yml"] = mark + text
    for path in [name for name in content if "c1" in name]:
        if path.endswith("secrets.yml"):
            content[path.replace("c1", "c2")] = content[path]
        else:
            other = (
                content[path] if isinstance(content[path], str) else yaml.safe_dump(content[path])
            )
            content[path.replace("c1", "c2")] = other.replace(mark, "").replace("c1", "c2")
    report = lint.run(Inventory(tree(content)), None, formulas)
    assert [(f.rule, f.nodes) for f in report.findings] == [
        ("odd-quorum", ("web01.c2.test", "web02.c2.test"))
    ]
    ((finding, why),) = report.excepted
    assert finding.nodes == ("web01.c1.test", "web02.c1.test")
    assert why == "classes/cluster/c1/init.yml:1: a lab of two"


def test_schema_on_the_command_line(faulty: Path, formulas: Path) -> None:
    run = CliRunner()

    def call(*arguments: str) -> tuple[int, str]:
        base = ["schema", "-i", str(faulty), "--formulas", str(formulas)]
        done = run.invoke(model, [*base, *arguments])
        assert not isinstance(done.exception, AssertionError)
        return done.exit_code, done.output

    code, told = call("web.server")
    assert (code, json.loads(told)) == (0, WEB)
    code, told = call("--check", "web02.c1.test")
    assert code == 1
    assert f"node web02.c1.test, key web:server:port {IN.format(7)}: must be integer" in told
    assert call("--check", "db01.c1.test")[0] == 0
    code, told = call("--cluster", "c1", "--format", "json")
    assert (code, len(json.loads(told)["findings"])) == (1, 1)
    assert call()[0] == 2
    assert call("web.server", "--cluster", "c1")[0] == 2
    missing = run.invoke(model, ["schema", "no.such", "-i", str(faulty)])
    assert isinstance(missing.exception, ModelError)
