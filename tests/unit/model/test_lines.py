"""Keys with their lines, as a file says them; and which of a node's lines decides."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory, lines
from saltern.model.tree import CONSTANT, MERGE, OVERRIDE
from tests.model.trees import write_tree
from tests.unit.model.conftest import files

Tree = Callable[[dict[str, Any]], Path]

TEXT = """\
classes:
  - service.web
  - .beside   # relative
applications: [web.server]
parameters:
  _param: {one: 1, two: "${a:b}"}
  web:
    ~server:
      =port: 80
      list:
        - first
        - {name: x,
           ~odd: y}
    8080: int
  merged:
    <<: &base
      from: anchor
      both: low
    both: high
  again: *base
  empty: {}
  nothing:
"""


def parsed(text: str = TEXT) -> lines.Lines:
    return lines.parse(textwrap.dedent(text), "classes/x.yml")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("_param", 6),
        ("_param:two", 6),
        ("web:server", 8),
        ("web:server:port", 9),
        ("web:server:list", 10),
        ("web:server:list:1:name", 12),
        ("web:server:list:1:~odd", 13),
        ("web:8080", 14),
        ("merged:both", 19),
        # in the file it stands at the anchor
        ("merged:from", 17),
        ("again:from", 17),
        ("nothing", 22),
        # the nearest that is written
        ("web:server:nope:deeper", 8),
        ("nope", 5),
    ],
)
def test_lines_of_keys(path: str, line: int) -> None:
    assert parsed().line(tuple(path.split(":"))) == line


def test_prefixes_are_read_as_the_engine_does() -> None:
    found = parsed()
    (server,) = found.find(("web", "server"))
    (port,) = found.find(("web", "server", "port"))
    assert (server.kind, port.kind) == (OVERRIDE, CONSTANT)
    # inside a list nothing merges, and outside parameters a name is a name
    (odd,) = found.find(("web", "server", "list", "1", "~odd"))
    assert odd.kind == MERGE


def test_data_is_what_yaml_reads() -> None:
    data = yaml.safe_load(TEXT)["parameters"]
    data["web"]["8080"] = data["web"].pop(8080)
    found = parsed().sections["parameters"].data()
    assert found == data


def test_a_key_with_and_without_prefix() -> None:
    found = parsed("parameters:\n  a: 1\n  ~a: 2\n  =a: 3\n")
    assert [(e.line, e.kind) for e in found.find(("a",))] == [
        (2, MERGE), (3, OVERRIDE), (4, CONSTANT),
    ]  # fmt: skip


def test_names_of_classes_and_roles() -> None:
    found = parsed()
    assert found.line_of("classes", "service.web") == 2
    assert found.line_of("classes", "service.a.beside") == 3
    assert found.line_of("classes", "unknown") == 1
    assert found.line_of("applications", "web.server") == 4
    assert lines.parse("parameters: {}", "x").line_of("classes", "x") == 0


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_empty_files(text: str) -> None:
    assert lines.parse(text, "x").line(("a",)) == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n", "classes/x.yml: the file is not a mapping"),
        ("a: [\n", "classes/x.yml:2: not valid YAML"),
        ("parameters: &a {b: *a}\n", "classes/x.yml: the file cannot be read"),
    ],
)
def test_what_cannot_be_read(text: str, sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        parsed(text)
    assert str(caught.value).startswith(sentence)


KEYS = st.text("abc", min_size=1, max_size=2)
DATA = st.recursive(
    st.integers() | st.sampled_from(["x", "${a}", "two words", ""]) | st.booleans() | st.none(),
    lambda below: st.dictionaries(KEYS, below, max_size=4) | st.lists(below, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, DATA, min_size=1, max_size=4), st.booleans())
def test_any_data_comes_back_and_every_key_is_at_its_line(data: Any, flow: bool) -> None:
    text = yaml.safe_dump({"parameters": data}, default_flow_style=flow, sort_keys=False)
    found = lines.parse(text, "x")
    assert found.sections["parameters"].data() == data
    rows = text.splitlines()
    todo = [((key,), value) for key, value in data.items()]
    while todo:
        path, value = todo.pop()
        (entry,) = found.find(path)
        if not flow and not path[-1].isdigit():
            assert rows[entry.line - 1].lstrip("- ").startswith(f"{path[-1]}:")
        if isinstance(value, dict):
            todo += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            todo += [((*path, str(n)), item) for n, item in enumerate(value)]


# -- exceptions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("a:\n  b: 1  # saltern: ignore[x]\n  c: 2\n", {2}),
        ("a:  # saltern: ignore[x]\n  b: 1\n  c:\n    d: 2\ne: 1\n", {1, 2, 3, 4}),
        ("a: 1\n# saltern: ignore[x]\n\n# more\nb:\n  c: 1\nd: 1\n", {5, 6}),
        ("# saltern: ignore[x]\n", {2}),
    ],
)
def test_what_an_exception_covers(text: str, covered: set[int]) -> None:
    (found,) = lines.parse("parameters:\n" + textwrap.indent(text, "  "), "x").exemptions
    assert found.lines == {line + 1 for line in covered}
    assert found.rules == ("x",)


def test_exceptions_of_a_file() -> None:
    found = lines.parse("a: 1\n#saltern:ignore-file[a, b-c] because\n", "x").exemptions
    assert found == (lines.Exemption(2, ("a", "b-c"), None, "because"),)
    for text in ("# saltern: ignore", "# saltern: ignore[]", "# ignore[a]"):
        assert lines.parse(text, "x").exemptions == ()


# -- in a model -------------------------------------------------------------------------------


def test_the_cache_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("parameters: {a: 1}\n")
    first = lines.read(path, "a.yml")
    assert lines.read(path, "a.yml") is first
    path.write_text("\nparameters: {a: 1}\n")
    os.utime(path, ns=(1, 1))
    assert lines.read(path, "a.yml").line(("a",)) == 2
    path.unlink()
    with pytest.raises(ModelError, match="cannot read the file"):
        lines.read(path, "a.yml")


def test_the_line_with_the_last_word(tree: Tree) -> None:
    content = files()
    content["classes/cluster/c1/web.yml"] = (
        "classes: [cluster.c1, system.web]\nparameters:\n  web:\n    server:\n      port: 81\n"
    )
    inventory = Inventory(tree(content))
    merged = inventory.merged("web01.c1.test")
    spot = lines.locate(inventory, merged, ("web", "server", "port"))
    assert (spot.file, spot.line) == ("classes/cluster/c1/web.yml", 5)
    assert spot.text == "key web:server:port in classes/cluster/c1/web.yml:5 (cluster.c1.web)"
    spot = lines.locate(inventory, merged, ("host", "address"))
    assert spot.text.startswith("key host:address in nodes/c1/web01.c1.test.yml:")
    assert lines.locate(inventory, merged, ("nope",)) == lines.Spot(text="key nope")
    spot = lines.locate_role(inventory, merged, "web.server")
    assert (spot.file, spot.line) == ("classes/service/web/server.yml", 2)
    assert lines.locate_role(inventory, merged, "none.such") == lines.Spot()


def test_other_names_of_the_folders(tmp_path: Path) -> None:
    write_tree(tmp_path, {"in/c/a.yml": {"parameters": {"x": 1}}, "in/n/n1.yml": "classes: [a]\n"})
    inventory = Inventory(tmp_path, classes_path="in/c", nodes_path="in/n")
    spot = lines.locate(inventory, inventory.merged("n1"), ("x",))
    assert (spot.file, spot.line) == ("c/a.yml", 2)
