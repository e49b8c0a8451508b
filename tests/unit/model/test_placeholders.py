"""Tools that only look work on a checkout without secrets; nothing of it can be served."""

from __future__ import annotations

from pathlib import Path

import pytest

from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.cluster import compile_cluster
from saltern.model.compiler import compile_tree
from saltern.model.options import Options
from saltern.model.store import Store
from tests.support import TREE

NODE = "ctl01.demo-core.test"


def test_the_checkout_compiles_with_placeholders_only() -> None:
    with pytest.raises(ModelError, match=r"cluster\.demo-core\.secrets does not exist"):
        compile_cluster(Inventory(TREE), "demo-core")
    nodes = compile_cluster(Inventory(TREE, placeholders=True), "demo-core")
    password = nodes[NODE].pillar["keystone"]["server"]["database"]["password"]
    assert password.startswith("-----BEGIN PGP MESSAGE-----")


def test_any_other_missing_reference_stays_an_error(tmp_path: Path) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/n.yml").write_text("parameters: {a: '${_param:nowhere}'}")
    with pytest.raises(ModelError, match="_param:nowhere"):
        Inventory(tmp_path, placeholders=True).node("n")


def test_what_has_placeholders_is_not_served(tmp_path: Path) -> None:
    inventory = Inventory(TREE, placeholders=True)
    store = Store(tmp_path)
    compile_tree(inventory, "worktree-0123456789ab", store)
    assert store.has("worktree-0123456789ab", options=inventory.options)
    assert not store.has("worktree-0123456789ab", options=Options())
