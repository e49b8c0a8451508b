"""The example cluster compiles to what is expected, and to what Python reclass makes of it."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from saltern.model import Inventory, lint
from tests.model import golden
from tests.model.trees import comparable, oracle, ours
from tests.support import TREE


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """The example cluster in a copy of the tree."""
    return golden.prepare(tmp_path_factory.mktemp("model"))


def test_golden(inventory: Inventory) -> None:
    """Renew the files with ``python -m tests.model.golden`` when the change is wanted."""
    changed = ""
    for name, text in golden.rendered(inventory).items():
        kept = (golden.FOLDER / f"{name}.json").read_text()
        changed += "".join(
            difflib.unified_diff(
                kept.splitlines(True), text.splitlines(True), f"golden/{name}.json", "compiled", n=1
            )
        )
    assert not changed, f"renew with `python -m tests.model.golden` if this is wanted:\n{changed}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_same_as_reclass(inventory: Inventory) -> None:
    assert len(inventory.nodes()) == 7
    for node in inventory.nodes():
        expected = comparable(oracle(inventory.path, node))
        assert comparable(ours(inventory.path, node)) == expected, node


def test_lint_finds_nothing(inventory: Inventory) -> None:
    assert not list(map(str, lint.check(inventory, golden.CLUSTER, TREE / "formulas")))


def test_every_role_of_the_cluster_is_on_some_node(inventory: Inventory) -> None:
    roles = {role for name in inventory.nodes() for role in inventory.node(name).applications}
    assert roles == {
        "galera.database",
        "galera.server",
        "glance.server",
        "haproxy.proxy",
        "keepalived.vrrp",
        "keystone.keys",
        "keystone.server",
        "linux.system",
        "memcached.server",
        "nginx.server",
        "openstack.resources",
        "pki.ca",
        "pki.host",
        "placement.server",
        "rabbitmq.server",
        "salt.api",
        "salt.master",
        "salt.minion",
    }


def test_the_shipped_tree_has_no_generated_class() -> None:
    """Secrets and artifact pins belong to a deployment."""
    found = [
        str(path.relative_to(TREE))
        for name in ("secrets.yml", "artifacts.yml")
        for path in Path(TREE / "classes/cluster").rglob(name)
    ]
    assert not found
