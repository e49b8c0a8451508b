"""The catalogue that is shipped, and what a wrong question is answered with."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
import yaml

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
    assert int(locked["setuptools"].split(".")[0]) < 81


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
    assert service.check.text() == "[database]\nconnection = sqlite://\n"
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
        (("cloud", "2", []), "no release '2'; known are 1"),
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
