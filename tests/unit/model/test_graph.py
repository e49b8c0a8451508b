"""The class graph of a node, and its picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from saltern.cli import cli
from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.drawing import to_svg
from saltern.model.graph import ClassGraph, class_graph, to_dot
from tests.model.trees import write_tree

NODE = "ctl01.example.com"
TREE: dict[str, Any] = {
    "nodes/ctl01.example.com.yml": {"classes": ["cluster.demo.control"]},
    "classes/cluster/demo/control.yml": {
        "classes": ["cluster.demo", "system.api", "system.${_param:kind}"],
    },
    "classes/cluster/demo/init.yml": {
        "classes": ["system.base"],
        "parameters": {"_param": {"kind": "db"}},
    },
    "classes/system/base.yml": {"classes": ["service.linux"]},
    "classes/system/api.yml": {"classes": ["service.nginx", "service.linux"]},
    "classes/system/db.yml": {"classes": ["service.galera", "system.base"]},
    "classes/service/linux.yml": {"applications": ["linux.system"]},
    "classes/service/nginx.yml": {"applications": ["nginx.server", "~ntp.client"]},
    "classes/service/galera.yml": {"applications": ["galera.server", "galera.database"]},
}


@pytest.fixture
def graph(tmp_path: Path) -> ClassGraph:
    """The graph of a small tree."""
    return class_graph(Inventory(write_tree(tmp_path, TREE)), NODE)


def test_boxes_are_in_merge_order_with_their_layer(graph: ClassGraph) -> None:
    assert [(box.order, box.layer, box.name) for box in graph.boxes] == [
        (1, "service", "service.linux"),
        (2, "system", "system.base"),
        (3, "cluster", "cluster.demo"),
        (4, "service", "service.nginx"),
        (5, "system", "system.api"),
        (6, "service", "service.galera"),
        (7, "system", "system.db"),
        (8, "cluster", "cluster.demo.control"),
        (9, "node", NODE),
    ]
    assert graph.boxes[3].roles == ("nginx.server",)
    assert graph.boxes[3].path == "classes/service/nginx.yml"


def test_edges_say_the_order_and_where_a_class_was_merged(graph: ClassGraph) -> None:
    edges = {(e.parent.split(":")[1], e.child.split(":")[1]): e for e in graph.edges}
    assert len(edges) == len(graph.edges) == 10
    assert edges["cluster.demo.control", "system.db"].order == 3
    assert edges["cluster.demo.control", "system.db"].merged
    assert edges["system.base", "service.linux"].merged
    again = edges["system.api", "service.linux"]
    assert (again.order, again.merged) == (2, False)
    assert not edges["system.db", "system.base"].merged
    assert sum(edge.merged for edge in graph.edges) == len(graph.boxes) - 1


def test_a_class_that_is_missing_and_ignored(tmp_path: Path) -> None:
    write_tree(tmp_path, {**TREE, "classes/system/base.yml": {"classes": ["service.gone"]}})
    graph = class_graph(Inventory(tmp_path).lenient(["service.gone"]), NODE)
    (gone,) = [box for box in graph.boxes if not box.order]
    assert (gone.name, gone.path) == ("service.gone", "")
    assert "does not exist, ignored" in to_svg(graph)
    with pytest.raises(ModelError, match=r"class service\.gone does not exist"):
        class_graph(Inventory(tmp_path), NODE)


def rectangles(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of every box."""
    found = []
    for match in re.finditer(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" rx="5"', svg
    ):
        x, y, width, height = map(float, match.groups())
        found.append((x, y, x + width, y + height))
    return found


def test_the_picture_is_xml_and_nothing_overlaps(graph: ClassGraph) -> None:
    svg = to_svg(graph, note="revision 1234567")
    top = ET.fromstring(svg)
    width, height = float(top.attrib["width"]), float(top.attrib["height"])
    texts = [element.text or "" for element in top.iter("{http://www.w3.org/2000/svg}text")]
    for box in graph.boxes:
        assert texts.count(box.name) == 1
    assert "8 classes, 4 roles, revision 1234567" in texts
    boxes = rectangles(svg)
    assert len(boxes) == len(graph.boxes)
    assert all(x > 0 and y > 0 and right < width and low < height for x, y, right, low in boxes)
    for one, two in combinations(boxes, 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, (one, two)


def test_the_same_graph_gives_the_same_picture(graph: ClassGraph, tmp_path: Path) -> None:
    assert to_svg(graph) == to_svg(class_graph(Inventory(tmp_path), NODE))


def test_text_is_escaped(tmp_path: Path) -> None:
    name = 'a<b>&"c'
    write_tree(
        tmp_path,
        {"nodes/n1.yml": {"classes": [name]}, f"classes/{name}.yml": {"applications": ["<x>.&y"]}},
    )
    graph = class_graph(Inventory(tmp_path), "n1")
    top = ET.fromstring(to_svg(graph, note="<&>"))
    texts = {element.text for element in top.iter("{http://www.w3.org/2000/svg}text")}
    assert {name, "role <x>.&y"} <= texts
    assert r'"class:a<b>&\"c"' in to_dot(graph)


def test_many_classes_stay_apart_and_few_lines_cross(tmp_path: Path) -> None:
    roles = [f"r{n:02d}" for n in range(15)]
    files: dict[str, Any] = {"nodes/n1.yml": {"classes": ["cluster.c.group"]}}
    files["classes/cluster/c/group.yml"] = {"classes": [f"system.{r}" for r in roles]}
    for role in roles:
        files[f"classes/system/{role}.yml"] = {"classes": [f"service.{role}", "system.shared"]}
        files[f"classes/service/{role}.yml"] = {"applications": [f"{role}.server"]}
    files["classes/system/shared.yml"] = {}
    graph = class_graph(Inventory(write_tree(tmp_path, files)), "n1")
    assert len(graph.boxes) == 33
    boxes = rectangles(to_svg(graph))
    for one, two in combinations(boxes, 2):
        assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
    # the systems stand in the order of their includes, so those lines do not cross
    tops = {
        match[2]: float(match[1])
        for match in re.finditer(
            r'y="([\d.]+)" font-size="12" [^>]*>(system\.r\d+)<', to_svg(graph)
        )
    }
    assert [name for name, _ in sorted(tops.items(), key=lambda item: item[1])] == [
        f"system.{role}" for role in roles
    ]


def test_classes_without_layers_and_links_back(tmp_path: Path) -> None:
    files = {
        "nodes/n1.yml": {"classes": ["service.a", "openstack"]},
        "classes/service/a.yml": {"classes": ["cluster.b"]},
        "classes/cluster/b.yml": {},
        "classes/openstack.yml": {"classes": ["service.a"]},
    }
    graph = class_graph(Inventory(write_tree(tmp_path, files)), "n1")
    assert {box.name: box.layer for box in graph.boxes}["openstack"] == "other"
    assert len(rectangles(to_svg(graph))) == 4


def test_the_command(tmp_path: Path) -> None:
    write_tree(tmp_path, {**TREE, "classes/system/base.yml": {"classes": ["cluster.demo.secrets"]}})
    run = CliRunner().invoke(cli, ["model", "graph", NODE, "-i", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert ET.fromstring(run.output).tag.endswith("svg")
    target = tmp_path / "out.dot"
    done = CliRunner().invoke(
        cli,
        ["model", "graph", NODE, "-i", str(tmp_path), "--format", "dot", "-o", str(target)],
    )
    assert (done.exit_code, done.output) == (0, "")
    assert target.read_text().startswith(f'digraph "{NODE}" {{')
    data = CliRunner().invoke(cli, ["model", "graph", NODE, "-i", str(tmp_path), "--format=json"])
    assert '"merged": true' in data.output
