"""A cluster from answers: what is refused, what is written, and that it means the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from saltern.cli import cli
from saltern.errors import ModelError
from saltern.model import Inventory, generate, lint, nodes, secrets
from saltern.model.cluster import CompiledNode, compile_cluster
from saltern.model.diff import Snapshot, compare
from saltern.model.diffshow import text as told
from tests.support import TREE

#: kind -> the example cluster that its example answers describe
EXAMPLES = {"core": "demo-core", "iaas": "iaas", "caas": "caas"}
PGP = "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----"


def tree(top: Path) -> Path:
    """A model with all classes but those of clusters."""
    for folder in ("service", "system"):
        shutil.copytree(TREE / "classes" / folder, top / "classes" / folder)
    (top / "nodes").mkdir()
    return top


def completed(top: Path, cluster: str) -> Inventory:
    """Add what a deployment adds: nodes and secrets, no artifacts."""
    nodes.write(Inventory(top), cluster)
    names = [secret.name for secret in secrets.wanted(Inventory(top), cluster)]
    values = {name: PGP.format(name) for name in names}
    folder = top / "classes/cluster" / cluster
    (folder / "secrets.yml").write_text(yaml.safe_dump({"parameters": {"_secret": values}}))
    (folder / "artifacts.yml").write_text("{}\n")
    return Inventory(top)


def answers(kind: str = "core", **changed: Any) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(generate.example(kind))
    return {**data, **changed}


def read(kind: str = "core", **changed: Any) -> dict[str, Any]:
    return generate.read(yaml.safe_dump(answers(kind, **changed), sort_keys=False), "a.yml")


def compiled(inventory: Inventory, cluster: str) -> dict[str, CompiledNode]:
    return compile_cluster(inventory, cluster)


def test_there_is_an_example_of_each_kind() -> None:
    assert generate.kinds() == sorted(EXAMPLES)
    with pytest.raises(ModelError, match=r"there is no kind 'x'\. Use one of: caas, core, iaas"):
        generate.example("x")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_example_answers_mean_the_example_cluster(kind: str, tmp_path: Path) -> None:
    """Generated and compiled, every node is served what the example's node is served."""
    cluster = EXAMPLES[kind]
    mine = tree(tmp_path / "generated")
    written = generate.write(mine, generate.read(generate.example(kind)))
    assert f"classes/cluster/{cluster}/init.yml" in written
    theirs = tree(tmp_path / "example")
    shutil.copytree(
        TREE / "classes/cluster" / cluster,
        theirs / "classes/cluster" / cluster,
        ignore=shutil.ignore_patterns("secrets.yml", "artifacts.yml"),
    )
    one = compiled(completed(theirs, cluster), cluster)
    two = compiled(completed(mine, cluster), cluster)
    found = compare(
        Snapshot("example", {cluster: one}), Snapshot("generated", {cluster: two}), key=b"k" * 16
    )
    assert not found, told(found, full=True)
    assert list(one) == list(two)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_generated_cluster_is_sound(kind: str, tmp_path: Path) -> None:
    top = tree(tmp_path)
    generate.write(top, read(kind, name="other", domain="other.example.com"))
    inventory = completed(top, "other")
    assert len(compiled(inventory, "other")) == {"core": 7, "iaas": 119, "caas": 10}[kind]
    report = lint.run(inventory, ["other"], TREE / "formulas")
    # classes of other kinds are used by nobody here, models have no formulas yet
    expected = ("role-not-executable", "unused-class")
    assert [str(f) for f in report.findings if f.rule not in expected] == []


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    top = tree(tmp_path)
    found = read()
    assert len(generate.write(top, found)) == 4 + 7
    before = {path: path.stat().st_mtime_ns for path in top.rglob("*.yml")}
    assert generate.changes(top, found) == []
    assert generate.write(top, found) == []
    assert {path: path.stat().st_mtime_ns for path in top.rglob("*.yml")} == before


def test_new_answers_change_what_they_must(tmp_path: Path) -> None:
    top = tree(tmp_path)
    generate.write(top, read())
    fewer = read(hosts={"control": {"count": 2, "first_address": 31}})
    assert sorted(generate.write(top, fewer)) == [
        "classes/cluster/demo-core/init.yml",
        "nodes/demo-core/ctl03.demo-core.test.yml (removed)",
    ]


def test_answers_that_are_given() -> None:
    data = read(
        provider="preexisting",
        image="trixie",
        api_name="cloud.example.com",
        hosts={
            "deploy": {"addresses": ["192.0.2.9"]},
            "infrastructure": {"addresses": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]},
            "control": {"count": 5},
        },
        packages={"source": "deb https://mirror.example.com/debian bookworm main"},
        time={"servers": ["ntp.example.com"]},
        galera={"buffer_pool": "8G"},
    )
    texts = {file.path.rpartition("/")[2]: file.text for file in generate.files(data)}
    init = yaml.safe_load(texts["init.yml"])["parameters"]
    assert init["_param"]["api_name"] == "cloud.example.com"
    assert init["cluster_nodes"]["cfg"] == {
        "addresses": ["192.0.2.9"],
        "classes": ["cluster.demo-core.deploy"],
        "provider": "preexisting",
        "image": "trixie",
    }
    assert init["cluster_nodes"]["inf"]["count"] == 3
    assert init["cluster_nodes"]["ctl"]["first_address"] == 31
    assert init["cluster_nodes"]["ctl"]["count"] == 5
    assert init["linux"]["system"] == {
        "time": {"servers": ["ntp.example.com"]},
        "repo": {"mirror": {"source": "deb https://mirror.example.com/debian bookworm main"}},
    }
    galera = yaml.safe_load(texts["infrastructure.yml"])["parameters"]["galera"]
    assert galera == {"server": {"buffer_pool": "8G"}}


def test_ids_of_another_cloud_are_others_and_stay() -> None:
    one, again = read("iaas", ids={}), read("iaas", ids={})
    other = read("iaas", ids={}, domain="other.example.com")
    assert one["ids"] == again["ids"]
    assert set(one["ids"].values()).isdisjoint(other["ids"].values())
    assert read("iaas", ceph={})["ceph"]["public"][:2] == ["10.62.0.0/24", "10.62.1.0/24"]


CORE = """\
kind: core
name: shop
domain: shop.example.com
network:
  prefix: 192.0.2
hosts:
  control: {count: 3, first_address: 31}
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("kind: core", "kind: cloud", r"a\.yml:1: there is no kind 'cloud'. Use one of: caas"),
        ("kind: core\n", "", r"a\.yml:1: kind is missing"),
        ("name: shop\n", "", r"a\.yml:1: name is missing\. See .*--example core"),
        (
            "  prefix: 192.0.2",
            "  prefx: 192.0.2",
            r"a\.yml:5: unknown answer network:prefx\. Did you mean prefix",
        ),
        ("name: shop", "name: Shop!", r'a\.yml:2: name must be a name of lower.* not "Shop!"'),
        ("192.0.2", "192.0.256", r"a\.yml:5: network:prefix must be the first three octets"),
        ("192.0.2", "192.0", r"a\.yml:5: network:prefix must be the first three octets"),
        ("192.0.2", "192.0.2.", r"a\.yml:5: network:prefix must be the first three octets"),
        ("domain: shop.example.com", "domain: shop", r"a\.yml:3: domain must be a domain name"),
        (
            "first_address: 31",
            "first_address: 300",
            r"a\.yml:7: hosts:control:first_address must be the last octet of an address, 1 to 254",
        ),
        (
            "first_address: 31",
            "first_address: 253",
            r"a\.yml:7: hosts:control reaches the last octet 255\. Begin at 252 at most",
        ),
        (
            "first_address: 31",
            "first_address: 20",
            r"a\.yml:7: hosts:control and hosts:infrastructure both have the address 192\.0\.2\.21",
        ),
        (
            "first_address: 31",
            "first_address: 9",
            r"a\.yml:7: hosts:control and network:virtual_address both have the address",
        ),
        (
            "count: 3, first_address: 31",
            "count: 2, addresses: [192.0.2.7]",
            r"a\.yml:7: hosts:control has 2 hosts and 1 addresses",
        ),
        (
            "count: 3, first_address: 31",
            "first_address: 4, addresses: [192.0.2.7]",
            r"a\.yml:7: hosts:control has both first_address and addresses",
        ),
        (
            "count: 3, first_address: 31",
            "addresses: [192.0.2.700]",
            r"a\.yml:7: hosts:control:addresses:0 must be an IPv4 address",
        ),
        (
            "control: {count: 3",
            "infrastructure: {count: 4",
            r"a\.yml:7: hosts:infrastructure:count must be one of 1, 3, 5, 7",
        ),
        (
            "hosts:\n",
            "openstack: {release: 2025.1}\nhosts:\n",
            r"a\.yml:6: openstack:release must be a version in quotes, such as '2025\.1', not 2025",
        ),
        ("name: shop\n", "name: shop\nname: shop\n", r"a\.yml:3: key name is written twice"),
        ("hosts:\n", "hosts: [\n", r"a\.yml:\d+: not valid YAML"),
        (CORE, "- a\n", r"a\.yml:1: the answers are no mapping"),
        (CORE, "", r"a\.yml:1: the answers are no mapping"),
        (
            "network:\n  prefix: 192.0.2\n",
            "network: 192.0.2\n",
            r"a\.yml:4: network must be a mapping",
        ),
    ],
)
def test_what_is_refused(old: str, new: str, sentence: str) -> None:
    assert old in CORE
    with pytest.raises(ModelError, match=sentence):
        generate.read(CORE.replace(old, new), "a.yml")
    assert generate.read(CORE, "a.yml")["name"] == "shop"


@pytest.mark.parametrize(
    ("kind", "changed", "sentence"),
    [
        ("caas", {"kubernetes": {"dns_address": "192.0.2.1"}}, "is not inside 10.71.0.0/20"),
        ("caas", {"hosts": {"control": {"count": 2}}}, "a majority must exist|one of 1, 3, 5, 7"),
        ("iaas", {"racks": {"r1": {}}}, "racks must be a mapping of at least three racks"),
        ("iaas", {"hosts": {"computes": {"per_rack": 1}, "objects": {"per_rack": 1}}},
         "hosts:objects:devices is missing"),
        ("iaas", {"hosts": {"computes": {"racks": {"rack9": 1}},
                            "objects": {"per_rack": 1, "devices": ["/dev/sdb"]}}},
         "hosts:computes names the unknown rack rack9"),
        ("iaas", {"hosts": {"computes": {"per_rack": 1, "racks": {"rack1": 1}},
                            "objects": {"per_rack": 1, "devices": ["/dev/sdb"]}}},
         "hosts:computes must be a mapping with either per_rack or racks"),
    ],
)  # fmt: skip
def test_what_is_refused_of_other_kinds(kind: str, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        read(kind, **changed)


def test_files_written_by_hand_stay(tmp_path: Path) -> None:
    top = tree(tmp_path)
    own = top / "classes/cluster/demo-core/control.yml"
    own.parent.mkdir(parents=True)
    own.write_text("classes: []\n")
    with pytest.raises(ModelError, match=r"control\.yml: the file was written or edited by hand"):
        generate.write(top, read())
    assert [path.name for path in top.rglob("cluster/**/*.yml")] == ["control.yml"]
    assert list((top / "nodes").iterdir()) == []
    own.unlink()
    generate.write(top, read())
    edited = own.read_text() + "# mine\n"
    own.write_text(edited)
    with pytest.raises(ModelError, match=r"control\.yml: the file was written or edited by hand"):
        generate.write(top, read(name="demo-core"))
    assert own.read_text() == edited


def test_a_node_file_written_by_hand_stays(tmp_path: Path) -> None:
    top = tree(tmp_path)
    own = top / "nodes/demo-core/cfg01.demo-core.test.yml"
    own.parent.mkdir()
    own.write_text("classes: []\n")
    with pytest.raises(ModelError, match=r"cfg01\.demo-core\.test\.yml: the file was written"):
        generate.write(top, read())
    assert not (top / "classes/cluster").exists()


def test_a_model_without_the_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"class system\.\S+ does not exist"):
        generate.write(tmp_path, read())
    assert list(tmp_path.iterdir()) == []


def test_every_file_says_where_it_comes_from() -> None:
    for kind in EXAMPLES:
        for file in generate.files(read(kind)):
            assert file.text.startswith(f"{generate.MARK} {kind}.\n")
            assert not re.search(r"<%|%>|None", file.text), file.path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["model", "generate", *arguments])


def test_the_command(tmp_path: Path) -> None:
    top = tree(tmp_path / "model")
    path = tmp_path / "answers.yml"
    path.write_text(run("--example", "core").output)
    check = run(str(path), "-i", str(top), "--check")
    assert check.exit_code == 1
    assert "classes/cluster/demo-core/init.yml would be written" in check.output
    assert not (top / "classes/cluster").exists()
    done = run(str(path), "-i", str(top))
    assert done.exit_code == 0, done.output
    assert "nodes/demo-core/ctl03.demo-core.test.yml\n" in done.output
    assert run(str(path), "-i", str(top), "--check").exit_code == 0
    assert run(str(path), "-i", str(top)).output == ""
    path.write_text(path.read_text().replace("prefix: 10.87.10", "prefix: 10.87.10.1"))
    refused = run(str(path), "-i", str(top))
    assert isinstance(refused.exception, ModelError)
    assert str(refused.exception).startswith("answers.yml:7: network:prefix must be the first")
    assert "no answers are named" in str(run().exception)
