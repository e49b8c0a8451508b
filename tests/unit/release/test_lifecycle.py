"""The catalogue that is shipped, and what is said about a broken one."""

from __future__ import annotations

import configparser
import re
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.artifact import catalogue as artifacts
from saltern.errors import ArtifactError, ReleaseError
from saltern.release.lifecycle import Catalogue, build, load
from tests.support import TREE
from tests.unit.release.catalogues import URL, lifecycle, rule

SHIPPED = load()
PRODUCTS = list(SHIPPED.products.values())


def test_every_product_of_the_issue_is_there() -> None:
    wanted = "openstack rabbitmq mariadb ovn libvirt qemu ceph kubernetes salt distribution"
    assert set(wanted.split()) < set(SHIPPED.products)
    assert SHIPPED.provider == "distribution"
    assert SHIPPED.parts("kubernetes") == ["kubernetes-node"]


def test_versions_are_in_order_and_lead_to_the_newest() -> None:
    for product in PRODUCTS:
        if product.name not in ("distribution", "ceph"):
            numbers = [[int(part) for part in name.split(".")] for name in product.versions]
            assert numbers == sorted(numbers)
        days = [version.released for version in product.versions.values() if version.released]
        if product.name != "distribution":
            assert days == sorted(days)
        # nobody is left behind: only the last version of a line has no successor
        lines = {version.line for version in product.versions.values()}
        ends = [v.name for v in product.versions.values() if not v.successors]
        assert len(ends) == len(lines)


def test_openstack_skips_from_slurp_to_slurp_alone() -> None:
    versions = list(SHIPPED.products["openstack"].versions.values())
    for version, after in pairwise(versions):
        year, half = version.name.split(".")
        assert (version.kind == "SLURP") == (half == "1")
        skipping = [f"{int(year) + 1}.1"] if version.kind else []
        known = [name for name in skipping if name in SHIPPED.products["openstack"].versions]
        assert list(version.successors) == [after.name, *known]


def test_what_is_built_has_a_lifecycle() -> None:
    assert set(artifacts.releases("openstack")) <= set(SHIPPED.products["openstack"].versions)
    for release in artifacts.releases("openstack"):
        (rule_of,) = {
            rule.allowed[release] for rule in SHIPPED.rules if rule.name == "openstack-python"
        }
        assert {service.python for service in artifacts.services("openstack", release)} <= rule_of


def test_nothing_is_built_of_products_with_a_lifecycle_alone() -> None:
    with pytest.raises(ArtifactError, match="no catalogue for 'ceph'; known are openstack"):
        artifacts.releases("ceph")


def test_salt_is_the_one_that_is_installed() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(TREE / "setup.cfg")
    (major,) = re.findall(r"salt>=(\d+)\.", metadata["options.extras_require"]["master"])
    assert SHIPPED.products["salt"].default == major


def test_roles_exist() -> None:
    for product in PRODUCTS:
        for role in product.roles:
            service, _, name = role.partition(".")
            assert (TREE / "classes/service" / service / f"{name}.yml").is_file(), role


def test_sources_are_named() -> None:
    for product in PRODUCTS:
        assert product.source.startswith("https://")
        assert product.reason
    text = "".join(path.read_text() for path in (TREE / "releases").glob("*.yaml"))
    # days need a page, too
    for path in (TREE / "releases").glob("*.yaml"):
        data = yaml.safe_load(path.read_text())["lifecycle"]
        dated = any("released" in (row or {}) for row in data["versions"].values())
        assert dated == ("dates" in data), path.name
    assert "example" not in text.replace("example.org", "")


def test_a_version_is_found_under_its_names() -> None:
    products = SHIPPED.products
    assert products["ceph"].find(19) == "squid"
    assert products["ceph"].find("19") == "squid"
    assert products["openstack"].find(2026.1) == "2026.1"
    # a command line reads 1.30 as a number
    assert products["kubernetes"].find(1.3) == "1.30"
    assert products["rabbitmq"].find(3.1) == "3.10"
    with pytest.raises(ReleaseError, match=r"OpenStack has no version '2026\.3'; known are 2022"):
        products["openstack"].find("2026.3")
    with pytest.raises(ReleaseError, match="there is no product 'nova'; known are ceph"):
        SHIPPED.product("nova")


def two() -> dict[str, dict[str, Any]]:
    """A small catalogue that is right."""
    return {
        "a": lifecycle(3, rules=[rule("pair", "a", "b", {"v2": {"from": "v2"}})]),
        "b": lifecycle({"v1": {"next": ["v2"]}, "v2": {"next": []}}, "listed", after=["a"]),
        "os": lifecycle({"o1": {"provides": {"b": "v1"}}}),
    }


def changed(path: str, value: Any) -> dict[str, dict[str, Any]]:
    """The same with one value replaced; None removes it."""
    data = deepcopy(two())
    *keys, last = path.split(":")
    at: Any = data
    for key in keys:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return data


FAULTS = [
    ("a:title", None, "a.yaml: lifecycle: 'title' is a required property"),
    ("a:titel", "A", "a.yaml: lifecycle: Additional properties are not allowed"),
    ("a:hops:source", "http://x", "a.yaml: lifecycle:hops:source: 'http://x' does not match"),
    ("a:hops:reach", 0, "a.yaml: lifecycle:hops:reach: "),
    ("a:versions", {}, "a.yaml: lifecycle:versions: "),
    ("a:versions:v1", {"released": "soon"}, "a.yaml: lifecycle:versions:v1:released: 'soon' does"),
    ("a:versions:v1", {"next": ["v2"]}, "version v1 must not say `next`, as hops:reach is 1"),
    ("a:versions", {2026.1: {}}, "a.yaml: lifecycle:versions: 2026.1 must be a text: write quotes"),
    ("b:versions:v1:next", None, "b.yaml: version v1 must say `next`, as hops:reach is listed"),
    ("b:versions:v2:next", ["v1"], "version v2 is followed by v1, which is not later"),
    ("b:versions:v2:next", ["v9"], "version v2 is followed by v9, which is not later"),
    ("b:after", ["c"], "b.yaml: it names the product c, which there is none of"),
    ("a:after", ["b"], "`after` goes in a circle: "),
    ("a:comes_with", "c", "a.yaml: it names the product c"),
    ("a:default", "v9", "a.yaml: default v9 is no version"),
    ("a:rules:0:needs", "c", "the rule pair names c, which is no product"),
    ("a:rules:0:of", ["a", "c"], "the rule pair names c, which is no product"),
    ("a:rules:0:rows", {"v9": ["v1"]}, "the rule pair: a has no version v9"),
    ("a:rules:0:rows", {"v1": ["v9"]}, "rule pair: b has no version v9"),
    ("a:rules:0:rows", {"v1": {"from": "v2", "to": "v1"}}, "rule pair: v2 is later than v1"),
    ("a:rules:0:source", None, "a.yaml: lifecycle:rules:0: 'source' is a required property"),
    ("b:rules", [rule("pair", "b", "a", {"v1": ["v1"]})], "the rule pair is there twice"),
    ("os:versions:o1:provides", {"b": "v9"}, "os.yaml: o1 provides b v9, which there is none of"),
    ("a:versions:v1", {"provides": {"b": "v1"}}, "a provides products already"),
    ("a:parts", {"b": {"title": "B", "roles": [], "reason": "so", "source": URL}},
     "the name b is taken twice"),
    ("a:parts", {"p": {"title": "P", "roles": [], "reason": "so", "source": URL,
                       "oldest": {"v1": "v2"}}}, "oldest:v1: v2 is no version up to it"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), FAULTS)
def test_a_fault_is_one_sentence_with_its_file(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(ReleaseError) as told:
        build(changed(path, value))
    assert sentence in str(told.value)
    assert str(told.value).startswith("releases/")
    assert "\n" not in str(told.value)
    assert told.value.exit_code == 2


def test_a_part_goes_through_the_versions_of_its_whole() -> None:
    part = {"title": "P", "roles": [], "reason": "so", "source": URL, "behind": 1, "reach": 2}
    catalogue = build({"a": lifecycle(4, parts={"p": {**part, "oldest": {"v4": "v2"}}})})
    assert catalogue.products["p"].versions["v1"].successors == ("v2", "v3")
    (behind,) = catalogue.rules
    allowed = {version: sorted(found) for version, found in behind.allowed.items()}
    assert allowed == {
        "v1": ["v1"], "v2": ["v1", "v2"], "v3": ["v2", "v3"], "v4": ["v2", "v3", "v4"],
    }  # fmt: skip


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"

    def write(count: int) -> Catalogue:
        path.write_text(yaml.safe_dump({"product": "a", "lifecycle": lifecycle(count)}))
        return load(tmp_path)

    assert list(write(1).products["a"].versions) == ["v1"]
    assert list(write(2).products["a"].versions) == ["v1", "v2"]
    path.write_text("product: b\n")
    with pytest.raises(ReleaseError, match=r"releases/a\.yaml: product must be a"):
        load(tmp_path)
    path.write_text("product: [\n")
    with pytest.raises(ReleaseError, match=r"releases/a\.yaml: it cannot be read"):
        load(tmp_path)
    path.write_text("product: a\n")
    assert load(tmp_path).products == {}
