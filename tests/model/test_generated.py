"""Inventories shaped like real models: every node means the same here and in Python reclass."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from saltern.errors import ModelError
from saltern.model import Inventory
from tests.model.trees import comparable, core, oracle
from tests.support.inventories import LAB, MCP, Shape, generate, write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STRICT = Shape()
#: all that Python reclass swallows, and what real models have beside plain files
LOOSE = Shape(seed=2, quirks=True, ignored=True, links=True)
LARGE = Shape(seed=3, nodes=300, classes=MCP)


def difference(left: Any, right: Any, path: str = "") -> str:
    """Say where two results differ first: a pillar in an assertion is too long to read."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in left.keys() | right.keys():
            if key not in left or key not in right:
                return f"{path}:{key} on one side only"
            if left[key] != right[key]:
                return difference(left[key], right[key], f"{path}:{key}")
    return f"{path}: {left!r} and {right!r}" if left != right else ""


def compare(top: Path, shape: Shape, nodes: list[str]) -> None:
    """Compile nodes with both engines, each with one inventory for all of them."""
    kept = core(top, **shape.options())
    inventory = Inventory(top, **shape.options())
    for name in nodes:
        node = inventory.node(name)
        found = {
            "parameters": node.parameters,
            "applications": node.applications,
            "classes": node.classes,
            "exports": node.exports,
            "environment": node.environment,
        }
        wanted = oracle(top, name, kept=kept, **shape.options())
        assert not difference(comparable(found), comparable(wanted)), name


@pytest.mark.parametrize("shape", [STRICT, LOOSE], ids=["strict", "loose"])
def test_every_node_of_a_small_one(tmp_path: Path, shape: Shape) -> None:
    top = write(tmp_path / "model", shape)
    nodes = Inventory(top, **shape.options()).nodes()
    assert len(nodes) == shape.nodes
    compare(top, shape, nodes)


def test_a_sample_of_a_large_one(tmp_path: Path) -> None:
    top = write(tmp_path / "model", LARGE)
    inventory = Inventory(top)
    assert (len(inventory.class_files), len(inventory.nodes())) == (MCP, LARGE.nodes)
    compare(top, LARGE, random.Random(1).sample(inventory.nodes(), 8))


def test_the_strict_mode_refuses_the_loose_one(tmp_path: Path) -> None:
    top = write(tmp_path / "model", LOOSE)
    options = {**LOOSE.options(), "compat": "strict"}
    with pytest.raises(ModelError):
        Inventory(top, **options).node("ctl001.openstack-01.test")


def test_same_seed_same_files() -> None:
    assert generate(STRICT) == generate(Shape())
    assert generate(STRICT) != generate(Shape(seed=9))


def test_shape(tmp_path: Path) -> None:
    """What was measured on real models; benchmarks are worth nothing on other data."""
    inventory = Inventory(write(tmp_path / "model", STRICT))
    nodes = [inventory.node(name) for name in inventory.nodes()]
    assert len(inventory.class_files) == LAB
    assert 42 <= median(len(node.classes) for node in nodes) <= 60
    size = median(len(json.dumps(node.parameters)) for node in nodes)
    assert 30_000 <= size <= 45_000


def test_a_shape_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="too few"):
        generate(Shape(nodes=3))
    with pytest.raises(ValueError, match="more classes"):
        generate(Shape(nodes=1000, classes=100))
