"""Each rule of the linter: a model that makes it fire, and a near miss that keeps it silent."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory, lint, rules
from saltern.model.findings import ERROR, RULES, WARNING, Finding
from saltern.rollout.load import TreeSource
from saltern.rollout.preflight import check_site
from tests.model.trees import write_tree
from tests.support import TREE
from tests.unit.model.conftest import PGP, files

Files = dict[str, Any]
Tree = Callable[[Files], Path]

WEB, DB = "classes/service/web/server.yml", "classes/service/db/server.yml"
CLUSTER = "classes/cluster/c1/init.yml"
CLASS = "classes/cluster/c1/web.yml"
SECRETS = "classes/cluster/c1/secrets.yml"
NODE = "nodes/c1/{}.c1.test.yml"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n"
RANDOM = "q7Zt0pXw93LmVb2k"


def add(content: Files, path: str, **parameters: Any) -> None:
    """Merge parameters into a file of the example, one level deep."""
    entry = content.setdefault(path, {})
    known = entry.setdefault("parameters", {})
    for key, value in parameters.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            known[key] = {**known[key], **value}
        else:
            known[key] = value


def life(content: Files, path: str, role: str, **fields: Any) -> None:
    """Change the lifecycle of a role."""
    content[path]["parameters"]["lifecycle"][role].update(fields)


def host(content: Files, name: str, **facts: Any) -> None:
    """Change the facts of a host."""
    content[NODE.format(name)]["parameters"]["host"].update(facts)


def third_web(content: Files) -> None:
    """Give the example an odd number of web servers that vote."""
    life(content, WEB, "web.server", quorum="majority")
    content[NODE.format("web03")] = {
        "classes": ["cluster.c1.web"],
        "parameters": {"host": {"name": "web03", "address": "10.1.1.22"}},
    }


def broken(content: Files) -> None:
    add(content, CLASS, x="${no}")


def unreadable(content: Files) -> None:
    content["classes/system/unused.yml"] = "parameters: {a: 1, a: 2}"


def upwards(content: Files) -> None:
    content["classes/service/db/extra.yml"] = {"classes": ["system.web"]}


def sideways(content: Files) -> None:
    content["classes/service/db/extra.yml"] = {"classes": [".server"]}


def unused(content: Files) -> None:
    content["classes/system/unused.yml"] = {}


def two_used(content: Files) -> None:
    content["classes/system/used.yml"] = {}
    content["classes/system/web.yml"]["classes"].append(".used")


def token(content: Files) -> None:
    add(content, CLASS, keystone={"server": {"admin_token": "x"}})


def tokens(content: Files) -> None:
    add(content, CLASS, keystone={"server": {"admin": {"admin_token": {}}}})


def bad_exception(content: Files) -> None:
    content["classes/system/web.yml"] = (
        "# saltern: ignore-file[no-such-rule]\nclasses: [service.web.server]\n"
    )


def good_exception(content: Files) -> None:
    content["classes/system/web.yml"] = (
        "# saltern: ignore-file[schema] the old one\nclasses: [service.web.server]\n"
    )


def new_role(content: Files) -> None:
    content[NODE.format("db01")]["applications"] = ["new.role"]
    add(content, DB, lifecycle={"new.role": {"stage": "control"}})


def modelled(content: Files) -> None:
    new_role(content)
    life(content, DB, "new.role", executable=False)


def executable(content: Files) -> None:
    life(content, DB, "db.server", executable=True)


def type_fault(content: Files) -> None:
    add(content, CLASS, web={"server": {"port": "http"}})


def fit_type(content: Files) -> None:
    add(content, CLASS, web={"server": {"port": 8080}})


def typo(content: Files) -> None:
    add(content, CLASS, web={"server": {"prot": 1}})


def known_key(content: Files) -> None:
    # a name that is far from every service may be anything
    add(content, CLASS, settings={"x": 1})


def no_stage(content: Files) -> None:
    del content[WEB]["parameters"]["lifecycle"]["web.server"]["stage"]


def more_life(content: Files) -> None:
    life(content, WEB, "web.server", max_unavailable="30%", mixed_days=7, health=[{"unit": "web"}])


def unknown_after(content: Files) -> None:
    life(content, WEB, "web.server", after=["cache.server"])


def node_after(content: Files) -> None:
    life(content, WEB, "web.server", after=[{"role": "db.server", "scope": "node"}])


def to_nobody(content: Files) -> None:
    add(content, CLASS, publish={"dbb.server": {"x": 1}})


def to_absent(content: Files) -> None:
    # the role exists, and no node of this cluster has it
    content["classes/service/cache/server.yml"] = {"applications": ["cache.server"]}
    add(content, CLASS, publish={"cache.server": {"x": 1}})


def same_address(content: Files) -> None:
    host(content, "web02", address="10.1.1.10")


def next_address(content: Files) -> None:
    host(content, "web02", address="10.1.1.11")


def even(content: Files) -> None:
    life(content, WEB, "web.server", quorum="majority")


def even_stateless(content: Files) -> None:
    life(content, WEB, "web.server", quorum="majority", stateful=False)


def one_parent(content: Files) -> None:
    third_web(content)
    for name in ("web01", "web02", "web03"):
        host(content, name, parent="kvm01" if name != "web03" else "kvm02")


def three_parents(content: Files) -> None:
    third_web(content)
    for n in (1, 2, 3):
        host(content, f"web0{n}", parent=f"kvm0{n}", rack=f"r{n}")


def plain(content: Files) -> None:
    add(content, CLASS, web={"server": {"users": {"u": {"password": "hunter2"}}}})


def referred(content: Files) -> None:
    add(content, CLASS, web={"server": {"users": {"u": {"password": "sdb://vault/web"}}}})


def in_param(content: Files) -> None:
    add(content, CLASS, _param={"x": "${_secret:web_db}"})


def in_secret(content: Files) -> None:
    add(content, SECRETS, _secret={"other": PGP.format("x"), "third": "sdb://vault/x"})


def no_secrets(content: Files) -> None:
    del content[SECRETS]
    add(content, CLASS, web={"server": {"url": "x ${_secret:web_db}"}})


#: rule -> (what makes it fire, part of the sentence, severity)
FIRES: dict[str, tuple[Callable[[Files], None], str, str]] = {
    "compile": (broken, "reference ${no} has no value", ERROR),
    "class-readable": (unreadable, "key 'a' is written twice", ERROR),
    "layer-direction": (upwards, "a service class may not include system.web", ERROR),
    "unused-class": (unused, "no node reaches the class system.unused", WARNING),
    "removed-key": (token, "use keystone:server:bootstrap:password", WARNING),
    "exception": (bad_exception, "names the unknown rule no-such-rule", WARNING),
    "formula-missing": (new_role, "role new.role has no formula new/role.sls", ERROR),
    "role-not-executable": (modelled, "modelled but has no formula yet", WARNING),
    "schema-missing": (new_role, "role new.role has no schema new/schemas/role.yaml", ERROR),
    "schema": (type_fault, "must be integer, is string", ERROR),
    "unknown-key": (typo, "unknown key prot; did you mean port?", ERROR),
    "lifecycle": (no_stage, "'stage' is a required property", ERROR),
    "order": (unknown_after, "after names the unknown role cache.server", ERROR),
    "publish": (to_nobody, "publish names the unknown role dbb.server", ERROR),
    "address-twice": (same_address, "host address 10.1.1.10 is that of db01.c1.test too", ERROR),
    "odd-quorum": (even, "needs a majority and has 2 members, an even number", ERROR),
    "anti-affinity": (one_parent, "2 of 3 members of web.server are on the physical host", ERROR),
    "plaintext-secret": (plain, "a secret is written in plain text", ERROR),
    "secret-place": (in_param, "a secret belongs in _secret, not in _param", ERROR),
    "secret-missing": (no_secrets, "1 secret has no value yet: web_db", WARNING),
}
#: rule -> what looks alike and is no fault of that kind
SILENT: dict[str, Callable[[Files], None]] = {
    "compile": fit_type,
    "class-readable": unused,
    "layer-direction": sideways,
    "unused-class": two_used,
    "removed-key": tokens,
    "exception": good_exception,
    "formula-missing": modelled,
    "role-not-executable": executable,
    "schema-missing": known_key,
    "schema": fit_type,
    "unknown-key": known_key,
    "lifecycle": more_life,
    "order": node_after,
    "publish": to_absent,
    "address-twice": next_address,
    "odd-quorum": even_stateless,
    "anti-affinity": three_parents,
    "plaintext-secret": referred,
    "secret-place": in_secret,
    "secret-missing": in_secret,
}


@pytest.fixture
def formulas(tmp_path: Path) -> Path:
    """Formulas of both roles."""
    web = {
        "additionalProperties": False,
        "properties": {
            "url": {"type": "string", "writeOnly": True},
            "port": {"type": "integer"},
            "users": {"type": "object"},
        },
    }
    top = tmp_path / "formulas"
    for role, shape in (("web", web), ("db", {})):
        (top / role / "schemas").mkdir(parents=True)
        (top / role / "server.sls").write_text("")
        (top / role / "schemas" / "server.yaml").write_text(yaml.safe_dump(shape))
    return top


def found(top: Path, formulas: Path, rule: str, clusters: list[str] | None = None) -> list[Finding]:
    """Findings of one rule."""
    # without placeholders a missing secret is a fault of the compile
    inventory = Inventory(top, placeholders=rule == "secret-missing")
    report = lint.run(inventory, clusters, formulas)
    return [finding for finding in report.findings if finding.rule == rule]


def test_every_rule_has_both_tests() -> None:
    assert set(FIRES) == set(SILENT) == set(RULES)


@pytest.mark.parametrize("rule", FIRES)
def test_fires(tree: Tree, formulas: Path, rule: str) -> None:
    change, part, severity = FIRES[rule]
    content = files()
    change(content)
    told = found(tree(content), formulas, rule)
    assert part in " ".join(finding.sentence for finding in told), told
    assert {finding.severity for finding in told} == {severity}
    # every one of them can be shown in a review
    for finding in told:
        assert (tree(content) / finding.file).is_file()
        assert finding.line > 0


@pytest.mark.parametrize("rule", SILENT)
def test_is_silent(tree: Tree, formulas: Path, rule: str) -> None:
    content = files()
    SILENT[rule](content)
    assert found(tree(content), formulas, rule) == []


def test_the_page_has_one_heading_per_rule() -> None:
    page = (TREE / "docs/reference/lint.md").read_text()
    sections = dict(re.findall(r"^### `([a-z-]+)`\n(.*?)(?=^##|\Z)", page, re.M | re.S))
    assert set(sections) == set(RULES)
    for name, text in sections.items():
        assert text.split()[0].rstrip(".;,").lower() == RULES[name].severity, name
        assert "Cure:" in text, name


# -- what single rules do beyond that ---------------------------------------------------------


def test_a_deployment_refuses_a_role_without_formula(tree: Tree, formulas: Path) -> None:
    content = files()
    modelled(content)
    (formulas / "new/schemas").mkdir(parents=True)
    (formulas / "new/schemas/role.yaml").write_text("{}")
    top = tree(content)
    report = lint.run(Inventory(top), ["c1"], formulas)
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 1)
    inventory = Inventory(top)
    (finding,) = lint.check(inventory, "c1", formulas)
    assert finding.sentence == "role new.role is modelled but has no formula yet"
    assert check_site(TreeSource(top), inventory, "c1", top, formulas) == [str(finding)]
    assert finding.file == DB
    # a mark that is no longer true is a fault for everybody
    (formulas / "new/role.sls").write_text("")
    (finding,) = lint.run(Inventory(top), ["c1"], formulas).errors
    assert finding.sentence == "role new.role says executable: false and has a formula"


def test_a_class_that_is_missing_is_shown_where_it_is_included(tree: Tree, formulas: Path) -> None:
    content = files()
    content[CLASS] = "classes:\n  - cluster.c1\n  - system.none\n  - system.web\n"
    (told,) = found(tree(content), formulas, "compile")
    assert (told.file, told.line) == (CLASS, 3)


def test_warnings_stop_no_deployment(tree: Tree, formulas: Path) -> None:
    content = files()
    unused(content)
    assert lint.check(Inventory(tree(content)), "c1", formulas) == []


def test_classes_of_other_clusters_are_theirs(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/cluster/c2/init.yml"] = {}
    top = tree(content)
    assert found(top, formulas, "unused-class", ["c1"]) == []
    assert len(found(top, formulas, "unused-class")) == 1


def test_what_broken_nodes_reach_is_not_called_unused(tree: Tree, formulas: Path) -> None:
    content = files()
    content[NODE.format("web01")]["classes"] = ["cluster.c1.nothing"]
    unused(content)
    assert found(tree(content), formulas, "unused-class") == []


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        ("2027-01-01", False),
        ("2026-06-15", True),
        ("2026-06-16", False),
        ("0.2.0", False),
        ("0.2.0.1", False),
        ("0.1", True),
        ("0.1.1", False),
    ],
)
def test_expiry_by_date_or_version(expires: str, expired: bool) -> None:
    today = datetime.date(2026, 6, 15)
    assert rules.has_expired(expires, today, "0.1.0.dev4") is expired


def test_a_removed_key_of_the_site(tree: Tree, formulas: Path) -> None:
    content = files()
    add(content, CLASS, web={"server": {"port": 1}})
    # what is published counts as the key of the role that gets it
    add(content, CLASS, publish={"db.server": {"allow": {"all": True}}})
    row = {"replaced_by": "web:server:listen:port", "since": "1.0"}
    content["removed_keys.yaml"] = [
        {**row, "key": "web:*:port", "expires": "2000-01-01"},
        {**row, "key": "db:server:allow:all", "expires": "2999-01-01"},
    ]
    told = found(tree(content), formulas, "removed-key")
    assert [(f.severity, f.file, f.sentence) for f in told] == [
        (ERROR, CLASS, "the key was removed in 1.0; use web:server:listen:port"),
        (ERROR, WEB, "the key was removed in 1.0; use web:server:listen:port"),
        (
            WARNING,
            CLASS,
            (
                "the key was removed in 1.0 and will be refused from 2999-01-01 on; "
                "use web:server:listen:port"
            ),
        ),
    ]


@pytest.mark.parametrize("text", ["[{key: a}]", "a: b", "- [", "- {key: a, replaced_by: b}"])
def test_bad_removed_keys(tree: Tree, formulas: Path, text: str) -> None:
    content = files()
    content["removed_keys.yaml"] = text
    with pytest.raises(ModelError, match="removed keys are a list of"):
        lint.run(Inventory(tree(content)), None, formulas)


def test_removed_keys_of_this_distribution_can_be_read() -> None:
    for row in rules.removed_keys(TREE / "nowhere"):
        assert row.replaced_by
        assert isinstance(rules.has_expired(row.expires, datetime.date.today(), "0.1"), bool)


def test_a_service_that_is_none(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/service/keystone/server.yml"] = {}
    add(content, CLASS, keystoen={"x": 1}, web={"sevrer": {}})
    told = found(tree(content), formulas, "unknown-key")
    assert [(f.severity, f.sentence) for f in told] == [
        (ERROR, "web:sevrer is read by no role; did you mean web:server?"),
        (WARNING, "keystoen is no service; did you mean keystone?"),
    ]


@pytest.mark.parametrize(
    ("parents", "racks", "sentences"),
    [
        # three racks would be there, two members share one: told, though a majority survives
        ("12345", "11234", ["2 members of web.server share the rack r1, and there are 5"]),
        # five members in four racks: one rack must hold two
        ("12345", "11234-", []),
        ("12345", "11123-", ["3 of 5 members of web.server are on the rack r1"]),
        # one rack is all that there is
        ("12345", "11111-", []),
        ("11234", "12345", ["2 members of web.server share the physical host kvm1"]),
    ],
)
def test_spread_over_racks_and_hosts(
    tree: Tree, formulas: Path, parents: str, racks: str, sentences: list[str]
) -> None:
    content = files()
    life(content, WEB, "web.server", quorum="majority")
    for n in range(1, 6):
        content[NODE.format(f"web0{n}")] = {
            "classes": ["cluster.c1.web"],
            "parameters": {
                "host": {
                    "name": f"web0{n}",
                    "address": f"10.1.1.2{n}",
                    "parent": f"kvm{parents[n - 1]}",
                    "rack": f"r{racks[n - 1]}",
                }
            },
        }
    if not racks.endswith("-"):
        host(content, "db01", rack="r5", parent="kvm5")
    told = [finding.sentence for finding in found(tree(content), formulas, "anti-affinity")]
    assert len(told) == len(sentences), told
    for sentence, part in zip(told, sentences, strict=True):
        assert part in sentence


def test_a_machine_is_in_the_rack_of_its_host(tree: Tree, formulas: Path) -> None:
    content = files()
    third_web(content)
    host(content, "db01", rack="r1")
    for n, parent in ((1, "db01"), (2, "db01.c1.test"), (3, "kvm09")):
        host(content, f"web0{n}", parent=parent)
    host(content, "web03", rack="r2")
    told = [finding.sentence for finding in found(tree(content), formulas, "anti-affinity")]
    assert told == [
        (
            "2 of 3 members of web.server are on the physical host db01.c1.test: "
            "its loss would take the majority"
        ),
        "2 of 3 members of web.server are on the rack r1: its loss would take the majority",
    ]


def test_a_role_without_votes_is_warned_when_all_is_in_one_place(
    tree: Tree, formulas: Path
) -> None:
    content = files()
    for name, rack in (("web01", "r1"), ("web02", "r1"), ("db01", "r2")):
        host(content, name, rack=rack)
    (told,) = found(tree(content), formulas, "anti-affinity")
    assert (told.severity, told.sentence) == (
        WARNING,
        "all 2 members of web.server are on the rack r1",
    )


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("x:ssh", KEY, "a private key is written in plain text"),
        ("x:list", [KEY], "a private key is written in plain text"),
        ("x:url", f"mysql://web:{RANDOM}@db/web", "an address holds a password in plain text"),
        ("x:api_key", RANDOM, "looks like a secret in plain text"),
        ("x:auth-token", RANDOM, ""),
        ("x:db_passwd", "a", "a secret is written in plain text"),
        ("_param:some_token", "short", "looks like a secret in plain text"),
        ("x:api_key", "/etc/web/api.key", ""),
        ("x:api_key", "a-word-and-another-word", ""),
        ("x:token", "0000000000000000aa", ""),
        ("x:note", RANDOM, ""),
        ("x:password", "", ""),
        ("x:password", "vault://kv/web#password", ""),
        ("x:url", "https://user@host:80/a@b", ""),
        ("x:url", "mysql://web:${_secret:web_db}@db/web", ""),
        ("x:public", KEY.replace("PRIVATE", "PUBLIC"), ""),
    ],
)
def test_what_looks_like_a_secret(
    tree: Tree, formulas: Path, path: str, value: Any, sentence: str
) -> None:
    content = files()
    top, key = path.split(":")
    add(content, CLASS, **{top: {key: value}})
    told = found(tree(content), formulas, "plaintext-secret")
    if not sentence:
        assert told == []
        return
    (finding,) = told
    assert finding.sentence == f"{sentence}; use ${{_secret:NAME}}"
    assert finding.file == CLASS
    assert finding.nodes == ("web01.c1.test", "web02.c1.test")
    for text in (str(finding), str(finding.to_json())):
        assert RANDOM not in text
        assert "b3Blbn" not in text


def test_secrets_that_reach_no_pillar_are_found_too(tree: Tree, formulas: Path) -> None:
    content = files()
    content["classes/system/unused.yml"] = {"parameters": {"x": {"password": "hunter2"}}}
    add(content, WEB, web={"server": {"password": "hunter3"}})
    add(content, CLASS, web={"server": {"password": "${_secret:web_db}"}})
    told = found(tree(content), formulas, "plaintext-secret")
    assert [(f.file, f.nodes) for f in told] == [
        (WEB, ()),
        ("classes/system/unused.yml", ()),
    ]
    assert "hunter" not in str(told)


def test_a_secret_without_encryption(tree: Tree, formulas: Path) -> None:
    content = files()
    add(content, SECRETS, _secret={"other": "hunter2"})
    (told,) = found(tree(content), formulas, "plaintext-secret")
    assert told.sentence == "the value of a secret is not encrypted"
    assert (told.file, len(told.nodes)) == (SECRETS, 3)


def test_a_reference_to_a_store_is_a_whole_value(tree: Tree, formulas: Path) -> None:
    content = files()
    add(content, SECRETS, _secret={"web_db": "sdb://vault/web"})
    told = found(tree(content), formulas, "secret-place")
    assert {finding.sentence for finding in told} == {
        "a reference to a secret store is no part of a text"
    }


SCALAR = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "db.server"])
ANY = st.recursive(
    SCALAR,
    lambda below: (
        st.dictionaries(
            st.sampled_from(
                ["role", "web.server", "db.server", "after", "stage", "quorum", "health"]
            ),
            below,
            max_size=3,
        )
        | st.lists(below, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["~lifecycle", "lifecycle", "~_param:x", "publish", "~_secret", "~web", "~host", "db"]
        ),
        ANY,
        min_size=1,
        max_size=3,
    )
)
def test_data_of_any_shape_is_a_finding_and_no_crash(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    content = files()
    parameters = {key.removesuffix(":x"): value for key, value in data.items()}
    content[CLASS]["parameters"] = parameters
    top = write_tree(tmp_path_factory.mktemp("any") / "model", content)
    folder = write_tree(
        top.parent / "formulas",
        {
            f"{role}/{name}": {} if name.endswith("yaml") else ""
            for role in ("web", "db")
            for name in ("server.sls", "schemas/server.yaml")
        },
    )
    report = lint.run(
        Inventory(top, allow_none_override=True, allow_scalar_over_dict=True), None, folder
    )
    assert report.exit_code() in (0, 1, 2)
    for finding in report.findings:
        assert str(finding).endswith(f"[{finding.rule}]")
