"""The API suite: what its configuration says of the cloud, and of accounts and networks."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from saltern.model import schema
from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import Low, Renderer

GetRenderer = Callable[[str, str], Renderer]


@pytest.fixture
def states(node_of: Callable[[str], str], renderer: GetRenderer) -> dict[tuple[str, str], Low]:
    low = renderer(node_of("tempest.client"), "bookworm").low("tempest.client")
    return {(str(chunk["state"]), str(chunk["name"])): chunk for chunk in low}


def test_services_are_those_of_the_cluster(states: dict[tuple[str, str], Low]) -> None:
    config = states["file", "/etc/tempest/tempest.conf"]["context"]["data"]
    assert config["service_available"] == {
        "cinder": True, "glance": True, "horizon": True, "neutron": True, "nova": True,
        "swift": False,
    }  # fmt: skip
    assert config["compute"]["min_compute_nodes"] == 2
    assert config["compute-feature-enabled"]["resize"] is True
    assert config["auth"]["use_dynamic_credentials"] is False
    assert config["dashboard"] == {"dashboard_url": "https://api.demo.test/"}


def test_accounts_are_those_that_keystone_gets(
    states: dict[tuple[str, str], Low], pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    state = states["file", "/etc/tempest/accounts.yaml"]
    # the host that keeps accounts and networks is the same one
    pillar = pillars[node_of("tempest.client")]["openstack"]
    identity, resources = pillar["identity"], pillar["resources"]
    assert state["show_changes"] is False
    assert state["mode"] == "0640"
    for account in state["dataset"]:
        user = identity["user"][account["username"]]
        assert user["password"] == account["password"]
        assert account["project_name"] in identity["project"]
        granted = identity["role_assignment"][account["username"]]
        assert [granted["role"]] == account["roles"]
        assert granted["project"] == account["project_name"]
        assert resources["network"][account["resources"]["network"]]["is_shared"] is True
    admins = [account for account in state["dataset"] if account.get("types") == ["admin"]]
    assert len(admins) == 2
    assert len(state["dataset"]) == 6


def test_what_is_left_out_has_a_reason_here_and_in_the_manual(pillars: Pillars) -> None:
    """Of every cluster in the tree."""
    manual = (TREE / "docs/tempest.md").read_text()
    for pillar in pillars.values():
        for row in pillar.get("tempest", {}).get("client", {}).get("exclude", []):
            re.compile(row["regex"])
            assert row["regex"] in manual


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (["exclude"], [{"regex": "x"}], "reason"),
        (["exclude"], [{"regex": "x", "reason": "flaky"}], "minLength"),
        (["source", "engine"], "pkg", "pkg"),
        (["accounts"], {}, "accounts"),
        (["external_network"], "", "external_network"),
        (["flavour"], "tiny", "flavour"),
    ],
)
def test_a_wrong_model_is_refused(
    path: list[str], value: Any, word: str, pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    data = copy.deepcopy(pillars[node_of("tempest.client")]["tempest"]["client"])
    rules = yaml.safe_load((TREE / "formulas/tempest/schemas/client.yaml").read_text())
    assert list(schema.violations(data, rules)) == []
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert word in str(next(schema.violations(data, rules)))
