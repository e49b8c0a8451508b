"""The catalogue that is shipped, and what a wrong question is answered with."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from saltern.artifact import catalogue
from saltern.artifact.catalogue import Check, Service, services
from saltern.artifact.lock import compile_argv, pins, requirements
from saltern.errors import ArtifactError
from tests.support import TREE

SHIPPED = [
    service
    for product in ["openstack"]
    for release in catalogue.releases(product)
    for service in services(product, release)
]
shipped = pytest.mark.parametrize("item", SHIPPED, ids=lambda s: f"{s.release}-{s.name}")


@shipped
def test_a_lock_is_that_of_the_catalogue(item: Service) -> None:
    """The service has the catalogue's version and every requirement is met by a pin."""
    locked = pins(item.lock_path.read_text())
    assert locked[item.dist] == item.version
    for text in item.requirements:
        name = re.split(r"[<>=!~]", text)[0]
        assert name in locked


@shipped
def test_a_lock_keeps_to_what_the_release_wants(item: Service) -> None:
    locked = pins(item.lock_path.read_text())
    for text in (*item.requirements, *item.constraints):
        wanted = Requirement(text)
        if wanted.name in locked:
            assert wanted.specifier.contains(locked[wanted.name], prereleases=True)


@shipped
def test_every_pin_of_a_lock_has_hashes(item: Service) -> None:
    entries = re.split(r"\n(?=[a-z])", item.lock_path.read_text())[1:]
    assert len(entries) > 20
    assert not [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]


@shipped
def test_a_lock_names_no_host(item: Service) -> None:
    """Where packages come from is the machine's business."""
    text = item.lock_path.read_text()
    assert "://" not in text
    assert "--index-url" not in text


@shipped
def test_a_role_of_the_tree_runs_it(item: Service) -> None:
    """And that role's defaults say the same of start and schema as the catalogue."""
    service, _, role = item.role.partition(".")
    assert (TREE / f"classes/service/{service}/{role}.yml").is_file()
    defaults = yaml.safe_load((TREE / f"formulas/{service}/defaults.yaml").read_text())
    source = defaults[role]["source"]
    assert source["release"] in catalogue.releases(item.product)
    if source["release"] == item.release:
        assert source.get("wsgi", "") == item.wsgi
        assert source.get("database") == (item.database and item.database.to_json())


@shipped
def test_cutoffs_are_days_and_none_lies_before_the_release(item: Service) -> None:
    cutoff = datetime.date.fromisoformat(item.cutoff)
    assert all(datetime.date.fromisoformat(day) >= cutoff for day in item.cutoffs.values())


def test_a_service_has_what_the_release_and_it_say(service: Service) -> None:
    assert service.requirements == ("pymysql", "setuptools<81", "extra")
    assert service.cutoffs == {"cloud-api": "2025-09-01", "late": "2025-06-01"}
    assert service.prefix == "/opt/cloud/1/api"
    assert service.check.text() == (
        "[database]\nconnection = sqlite://\n[api]\npaste = /opt/cloud/1/api/etc/paste.ini\n"
    )
    assert Check(file="/etc/api.py", data="DEBUG = False\n").text() == "DEBUG = False\n"


def test_what_is_resolved(service: Service) -> None:
    assert requirements(service) == "cloud-api==1.2.3\npymysql\nsetuptools<81\nextra\n"
    argv = " ".join(compile_argv(service, "uv", "out"))
    assert "--generate-hashes" in argv
    assert "--exclude-newer 2025-04-10" in argv
    assert "--exclude-newer-package cloud-api=2025-09-01" in argv
    assert "--only-binary :all: --no-binary=oldie" in argv
    assert "--python-version 3.11" in argv


def test_pins_of_a_lock(service: Service) -> None:
    assert pins(service.lock_path.read_text()) == {"cloud-api": "1.2.3", "extra": "4.5"}


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (("nothing", "1", []), "no catalogue for 'nothing'; known are cloud"),
        (("cloud", "3", []), "no release '3'; known are 1, 2"),
        (("cloud", "1", ["api", "other"]), "no service other; known are api"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(
    releases: Path, question: tuple[str, str, list[str]], sentence: str
) -> None:
    with pytest.raises(ArtifactError, match=sentence):
        services(*question)


def test_a_service_without_a_lock_says_how_to_get_one(service: Service) -> None:
    service.lock_path.unlink()
    with pytest.raises(ArtifactError, match="saltern artifact lock cloud 1 api"):
        service.lock_sha256()


def test_a_release_says_where_it_differs(service: Service) -> None:
    """Mappings are merged, of anything else its word stands alone; the rest is the product's."""
    (found,) = services("cloud", "2")
    assert (found.role, found.dist, found.version) == ("api.server", "cloud-api", "2.0.0")
    assert found.wsgi == "api.made:application()"
    assert found.imports == ("api.more",)
    assert found.requirements == ("other",)
    assert found.sdists == ("speedy", "oldie")
    assert found.tools == ("gcc",)
    assert found.check.file == service.check.file
    assert found.check.environ == {"API_MODE": "threads"}
    assert "/opt/cloud/2/api/etc/paste.ini" in found.check.text()
    assert "lib/python3.12/site-packages/api/settings.py" in found.links
    assert found.database == service.database
    expand = (("api-manage", "db", "sync"),)
    assert service.upgrade == {"expand": expand}
    assert found.upgrade == {"expand": expand, "contract": (("api-manage", "db", "tidy"),)}


def test_constraints_are_resolved_with_and_bring_nothing_in(releases: Path) -> None:
    (found,) = services("cloud", "2")
    assert "sql" not in requirements(found)
    argv = " ".join(compile_argv(found, "uv", "out"))
    assert "--constraints constraints.txt" in argv
    assert "--no-binary=speedy --no-binary=oldie" in argv


trees = st.recursive(
    st.integers() | st.lists(st.integers()),
    lambda below: st.dictionaries(st.sampled_from("abc"), below),
    max_leaves=8,
)


@given(common=trees, own=trees)
def test_what_is_merged_says_all_that_the_release_says(common: Any, own: Any) -> None:
    found = catalogue.merged(common, own)
    assert catalogue.merged(found, own) == found
    assert catalogue.merged({}, own) == own
    if isinstance(common, dict) and isinstance(own, dict):
        assert found.keys() == common.keys() | own.keys()
        assert all(found[key] == common[key] for key in common.keys() - own.keys())
    else:
        assert found == own


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("wsgi: api.wsgi", "wsgy: api.wsgi", "services:api:wsgy: unknown key wsgy; did you mean"),
        ("version: 1.2.3", "version: 1.2", "releases:1:services:api:version: must be string"),
        ("role: api.server", "finish: []", "releases:1:services:api: 'role' is a required"),
        ("section: database, ", "", "releases:1:services:api:database: 'section' is a required"),
        ("cutoff: 2025-04-10", "cutoff: April", "releases:1:cutoff: 'April' does not satisfy"),
        ("python: '3.11'", "codename: one", "releases:1: 'python' is a dependency"),
    ],
)
def test_what_does_not_fit_is_named(releases: Path, old: str, new: str, sentence: str) -> None:
    path = releases / "cloud.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ArtifactError) as caught:
        services("cloud", "1")
    assert sentence in str(caught.value)
    assert "cloud.yaml" in str(caught.value)


def test_a_schema_is_taken_along_by_the_program_that_makes_it() -> None:
    for item in SHIPPED:
        if item.upgrade:
            assert item.database
            programs = {command[0] for command in item.database.sync}
            assert {c[0] for commands in item.upgrade.values() for c in commands} <= programs
