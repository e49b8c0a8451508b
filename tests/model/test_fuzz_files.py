"""Whatever lies in a tree: a result or one sentence; no traceback, no hang, no secret, no part."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory
from tests.model.trees import write_tree
from tests.support.bounded import Outcome, bounded

#: what must not be in any error
SECRET = "hunter2"
MODES = ("strict", "reclass")
#: an error is read in a log and on a terminal
LONGEST = 2048


def checked(outcome: Outcome) -> Outcome:
    """Check what holds for every outcome."""
    assert not outcome.crash, outcome.crash
    if outcome.error:
        assert "\n" not in outcome.text
        assert "\r" not in outcome.text
        assert len(outcome.text) < LONGEST, f"{len(outcome.text)} characters"
        assert SECRET not in outcome.text, "the error shows a value"
        assert outcome.text.isprintable(), ascii(outcome.text)
    return outcome


def compiled(top: Path, node: str = "n", **options: Any) -> Outcome:
    """Compile one node in a process of its own."""

    def work() -> Any:
        found = Inventory(top, **options).node(node)
        # all of it must be plain; its size is enough to know that nothing was cut off
        return found.classes, len(repr(found.parameters)), len(repr(found.exports))

    return checked(bounded(work, expected=ModelError))


@dataclass(frozen=True)
class Case:
    """Content of class ``x``, and what is to come out in either mode."""

    content: bytes
    #: True: it compiles, False: it is refused, None: either
    good: bool | None = False


def case(content: str, good: bool | None = False) -> Case:
    return Case(content.encode(), good)


def parameters(data: Any, good: bool | None = False) -> Case:
    """A class with these parameters."""
    return case(yaml.safe_dump({"parameters": data}), good)


def laughs(levels: int, width: int) -> str:
    """Each anchor holds the one before several times."""
    lines = ["parameters:", f"  a0: &a0 [{', '.join([SECRET] * width)}]"]
    for n in range(1, levels):
        lines.append(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


def merging_laughs(levels: int, width: int) -> str:
    """The same with merge keys."""
    lines = ["parameters:", "  a0: &a0 {x: 1}"]
    for n in range(1, levels):
        lines.append(f"  a{n}: &a{n}\n    <<: [{', '.join([f'*a{n - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


def doubling(levels: int, text: str) -> dict[str, Any]:
    """Each value holds the one before several times, by reference."""
    return {"a0": "xx", **{f"a{n}": text.replace("@", f"${{a{n - 1}}}") for n in range(1, levels)}}


FILES: dict[str, Case] = {
    "empty": case("", True),
    "only a comment": case("# nothing\n", True),
    "byte order mark": Case(b"\xef\xbb\xbfparameters: {a: 1}\n", None),
    "UTF-16": Case("parameters: {a: hunter2}\n".encode("utf-16"), None),
    "Latin-1": Case("parameters: {a: 'hunter2 é'}\n".encode("latin-1")),
    "NUL": Case(b"parameters: {a: 'hunter2\x00'}\n"),
    "control characters": Case(b"parameters: {a: 'hunter2\x07\x1b[31m'}\n"),
    "an escaped control character": case('parameters: {a: "\\x07\\e[31m"}\n', True),
    "a lone surrogate": case('parameters: {a: "\\ud800 hunter2"}\n', None),
    "a control character in a key": case('parameters: {"a\\e[31m\\n": "${nope}"}\n'),
    "random bytes": Case(bytes((n * 167 + 13) % 256 for n in range(4096))),
    "a program": Case(b"\x7fELF\x02\x01\x01" + bytes(200)),
    "tabs": case("parameters:\n\ta: hunter2\n"),
    "cut off in a string": case("parameters: {a: 'hunter2"),
    "cut off in a list": case("parameters: [hunter2, "),
    "cut off in a mapping": case("parameters: {a: {b: hunter2"),
    "bad indentation": case("parameters:\n    a: hunter2\n  b: 1\n"),
    "two documents": case("parameters: {a: hunter2}\n---\nparameters: {}\n"),
    "a directive of another version": case("%YAML 3.0\n---\nparameters: {}\n", None),
    "a list": case("[hunter2]\n"),
    "a scalar": case("hunter2\n"),
    "parameters a list": case("parameters: [hunter2]\n"),
    "parameters a scalar": case("parameters: hunter2\n"),
    "exports a list": case("exports: [hunter2]\n"),
    "environment a mapping": case("environment: {a: hunter2}\n"),
    "applications a mapping": case("applications: {a: hunter2}\n"),
    "applications of anything": case("applications: [{a: hunter2}, 5, null, [x]]\n"),
    "an unknown alias": case("parameters: {a: *b}\n"),
    "a key that is a list": case("parameters: {? [a, hunter2] : 1}\n", None),
    "a key that is a mapping": case("parameters: {? {a: hunter2} : 1}\n"),
    "an empty key": case("parameters: {'': hunter2}\n", None),
    "a key that is a prefix only": case("parameters: {'~': hunter2}\n"),
    "a key that is not finite": case("parameters: {.nan: 1, .inf: 2}\n", None),
    "a date as key": case("parameters: {2020-01-01: 1}\n", None),
    "a very long key": case(f"parameters: {{? {'k' * 50_000} : '${{nope}}'}}\n"),
    "a mapping merged with a scalar": case("parameters: {<<: hunter2}\n"),
    "tag: python object": case("parameters: !!python/object/apply:os.getcwd [hunter2]\n"),
    "tag: python name": case("parameters: {a: !!python/name:os.getcwd hunter2}\n"),
    "tag: python tuple": case("parameters: {a: !!python/tuple [hunter2]}\n"),
    "tag: unknown": case("parameters: {a: !vault hunter2}\n"),
    "tag: bool of a word": case("parameters: {a: !!bool hunter2}\n"),
    "tag: int of a word": case("parameters: {a: !!int hunter2}\n"),
    "tag: int of nothing": case("parameters: {a: !!int ''}\n"),
    "tag: float of a word": case("parameters: {a: !!float hunter2}\n"),
    "tag: float of nothing": case("parameters: {a: !!float ''}\n"),
    "tag: timestamp of a word": case("parameters: {a: !!timestamp hunter2}\n"),
    "tag: binary of a word": case("parameters: {a: !!binary hunter2é}\n"),
    "tag: set": case("parameters: {a: !!set {hunter2, x}}\n", None),
    "tag: omap": case("parameters: {a: !!omap [b: hunter2]}\n", None),
    "tag: pairs of scalars": case("parameters: {a: !!pairs [hunter2]}\n"),
    "tag: a mapping that is a scalar": case("parameters: {a: !!map hunter2}\n"),
    "tag: a string that is a list": case("parameters: {a: !!str [hunter2]}\n"),
    "a date that is none": case("parameters: {a: 2020-13-45}\n"),
    "a time that is none": case("parameters: {a: 2020-01-01 25:61:61}\n"),
    "an int of 5,000 digits": case(f"parameters: {{a: {'1' * 5000}}}\n"),
    "an int of 5,000 digits in text": case(
        f"parameters: {{a: 0x{'f' * 20_000}, b: 'x${{a}}'}}\n", None
    ),
    "an int of 5,000 digits as key": case(f"parameters: {{0x{'f' * 20_000}: 1}}\n", None),
    "base 60 without end": case(f"parameters: {{a: {'1:1' * 1000}}}\n", None),
    "anchors: ten to the ninth": case(laughs(9, 10)),
    "anchors: two to the thirtieth": case(laughs(30, 2)),
    "anchors: merge keys": case(merging_laughs(9, 10)),
    "anchors: twice the same": case(
        "parameters: {a: &a {x: [1]}, b: *a, c: [*a, *a]}\n",
        True,
    ),
    "an anchor in itself": case("parameters: {a: &a [hunter2, *a]}\n"),
    "an anchor in itself as mapping": case("parameters: &a {b: {c: *a}}\n"),
    "an anchor in itself as merge key": case("parameters: &a {b: 1, <<: *a}\n", None),
    "nesting: 10,000 lists": case(f"parameters: {{a: {'[' * 10_000}{']' * 10_000}}}\n"),
    "nesting: 10,000 mappings": case(f"parameters: {'{a: ' * 10_000}1{'}' * 10_000}\n"),
    "nesting: 10,000 items": case(f"parameters:\n  a:\n  {'- ' * 10_000}1\n"),
    "nesting: 200,000 lists that never end": case("parameters: " + "[" * 200_000),
    "nesting: 200,000 lists": case(f"parameters: {{a: {'[' * 200_000}{']' * 200_000}}}\n"),
    "nesting: 10,000 keys in blocks": case(
        "parameters:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 3000)), None
    ),
    "nesting: 60 is fine": case(f"parameters: {{a: {'[' * 60}{']' * 60}}}\n", True),
    "scalar: 10 MB": case(f"parameters: {{a: {'x' * 10_000_000}}}\n", True),
    "scalar: 10 MB and a reference": case(
        f"parameters: {{b: 1, a: '{'x' * 10_000_000}${{b}}'}}\n", True
    ),
    "scalar: 10 MB of dollars": case(f"parameters: {{b: 1, a: '{'$' * 10_000_000}'}}\n", True),
    "scalar: 1 MB of backslashes and a reference": case(
        f"parameters: {{b: 1, a: '{chr(92) * 1_000_000}${{b}}'}}\n", True
    ),
    "scalar: 1 MB of a missing reference": case(f"parameters: {{a: '${{{'x' * 1_000_000}}}'}}\n"),
    "scalar: 100,000 references": case(f"parameters: {{b: 1, a: '{'${b}' * 100_000}'}}\n", True),
    "scalar: 1,000,000 references": case(
        f"parameters: {{b: 1, a: '{'${b}' * 1_000_000}'}}\n", None
    ),
    "scalar: a query without end": case(f"parameters: {{a: '$[ {SECRET}'}}\n"),
    "scalar: a query of anything": case(f"parameters: {{a: '$[ {SECRET} ** 5 ]'}}\n"),
    "reference without end": case(f"parameters: {{a: '${{{SECRET}'}}\n"),
    "references in references without end": case(f"parameters: {{a: '{'${' * 10_000}'}}\n"),
    "references in references": case(f"parameters: {{a: '{'${' * 5_000}x{'}' * 5_000}'}}\n"),
    "an empty reference": case("parameters: {a: 'hunter2${}'}\n"),
    "reference of colons": case("parameters: {a: '${:::}', '': {'': 1}}\n", None),
    "reference with a long path": case(f"parameters: {{a: '${{b{':c' * 100_000}}}', b: {{}}}}\n"),
    "reference with a line break": case('parameters: {a: "${b\\nc}"}\n'),
    "a chain of 5,000 references": parameters(
        {"r0": 1, **{f"r{n}": f"${{r{n - 1}}}" for n in range(1, 5001)}}, None
    ),
    "a chain of 5,000 references, longest first": parameters(
        {**{f"r{n:04d}": f"${{r{n + 1:04d}}}" for n in range(5000)}, "r5000": 1}, None
    ),
    "a chain of 5,000 references in text": parameters(
        {**{f"r{n:04d}": f"x${{r{n + 1:04d}}}" for n in range(5000)}, "r5000": "1"}, None
    ),
    "a chain of 5,000 dictionaries": parameters(
        {**{f"r{n:04d}": {"k": f"${{r{n + 1:04d}}}"} for n in range(5000)}, "r5000": 1}, None
    ),
    "a cycle of 5,000 references": parameters(
        {f"r{n}": f"${{r{(n + 1) % 5000}}}" for n in range(5000)}
    ),
    "cycle: itself": parameters({"a": "${a}"}),
    "cycle: itself in text": parameters({"a": "hunter2${a}"}),
    "cycle: itself inside": parameters({"a": {"b": "${a}"}}),
    "cycle: itself in a list": parameters({"a": ["${a}"]}),
    "cycle: itself as the name": parameters({"a": "${b:${a}}", "b": {}}),
    "cycle: two": parameters({"a": "${b}", "b": "${a}"}),
    "cycle: two inside": parameters({"a": {"x": "${b}"}, "b": {"x": "${a}"}}),
    "cycle: two paths": parameters({"a": {"x": "${b:x}"}, "b": {"x": "${a:x}"}}),
    "references: lists ten to the ninth": parameters(
        {"a0": ["x"] * 10, **{f"a{n}": [f"${{a{n - 1}}}"] * 10 for n in range(1, 9)}}
    ),
    "references: dictionaries two to the fortieth": parameters(
        {
            "a0": {"x": 1},
            **{f"a{n}": {"l": f"${{a{n - 1}}}", "r": f"${{a{n - 1}}}"} for n in range(1, 40)},
        }
    ),
    "references: text two to the sixtieth": parameters(doubling(60, "@@")),
    "references: text ten to the tenth": parameters(doubling(10, "@" * 10)),
    "references: printed lists two to the fortieth": parameters(
        {"a0": ["x"], **{f"a{n}": [f"y${{a{n - 1}}}${{a{n - 1}}}"] for n in range(1, 40)}}
    ),
    "classes a mapping": case("classes: {a: hunter2}\n"),
    "classes a scalar": case("classes: hunter2\n"),
    "classes of anything": case("classes: [5, null, true, [x], {y: 1}]\n"),
    "class: empty": case("classes: ['']\n"),
    "class: one dot": case("classes: ['.']\n"),
    "class: many dots": case("classes: ['........a']\n"),
    "class: up and away": case("classes: ['../../../etc/passwd']\n"),
    "class: absolute": case("classes: [/etc/passwd]\n"),
    "class: up with dots": case("classes: ['a...b']\n"),
    "class: with a space": case("classes: ['a b']\n"),
    "class: with a line break": case('classes: ["a\\nb"]\n'),
    "class: with an escape sequence": case('classes: ["a\\e[31m"]\n'),
    "class: with NUL": case('classes: ["a\\0b"]\n'),
    "class: of 100,000 characters": case(f"classes: [{'a' * 100_000}]\n"),
    "class: of 100,000 labels": case(f"classes: [{'a.' * 100_000}a]\n"),
    "class: a reference that leads nowhere": case("classes: ['${nope}']\n"),
    "class: a reference without end": case("classes: ['${nope']\n"),
    "class: a reference to a list": case("classes: ['${l}']\nparameters: {l: [hunter2]}\n"),
    "class: a query": case("classes: ['$[ exports:a ]']\n"),
    "class: itself": case("classes: [x]\n"),
    "class: 100,000 missing ones": case(
        "classes:\n" + "".join(f"- c{n}\n" for n in range(100_000))
    ),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A node ``n`` that includes class ``x``."""
    node = {"classes": ["x"], "parameters": {"l": ["plain"], "secret": SECRET}}
    return write_tree(tmp_path, {"nodes/n.yml": node, "classes/x.yml": ""})


def named(names: Iterable[str]) -> list[Any]:
    """Parameters for a test, with names that can be printed."""
    return [pytest.param(name, id=ascii(name).strip("'")[:40]) for name in names]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", named(FILES))
def test_a_class_file(tree: Path, name: str, mode: str) -> None:
    (tree / "classes/x.yml").write_bytes(FILES[name].content)
    outcome = compiled(tree, compat=mode)
    if FILES[name].good is not None:
        assert bool(outcome.value) is FILES[name].good, outcome


@pytest.mark.parametrize(
    "name", named(["tabs", "NUL", "tag: bool of a word", "nesting: 10,000 lists"])
)
def test_a_node_file(tree: Path, name: str) -> None:
    (tree / "nodes/n.yml").write_bytes(FILES[name].content)
    assert compiled(tree).error


def test_a_key_written_twice(tree: Path) -> None:
    (tree / "classes/x.yml").write_text(f"parameters: {{a: 1, b: {SECRET}, a: 2}}\n")
    assert "'a' is written twice" in compiled(tree).text
    assert compiled(tree, compat="reclass").value


@pytest.mark.parametrize("length", [1, 2, 3, 50, 2000])
def test_classes_that_include_each_other(tmp_path: Path, length: int) -> None:
    files: dict[str, Any] = {
        f"classes/c{n}.yml": {"classes": [f"c{(n + 1) % length}"]} for n in range(length)
    }
    outcome = compiled(write_tree(tmp_path, {**files, "nodes/n.yml": {"classes": ["c0"]}}))
    assert outcome.error
    if length <= 3:
        # the cycle is named, from its first class to the same one again
        assert " -> ".join([f"c{n}" for n in range(length)] + ["c0"]) in outcome.text


@pytest.mark.parametrize("length", [100, 5000])
def test_a_long_chain_of_classes(tmp_path: Path, length: int) -> None:
    files: dict[str, Any] = {
        f"classes/c{n}.yml": {"classes": [f"c{n + 1}"] if n + 1 < length else []}
        for n in range(length)
    }
    outcome = compiled(write_tree(tmp_path, {**files, "nodes/n.yml": {"classes": ["c0"]}}))
    if length == 100:
        assert len(outcome.value[0]) == length


@pytest.mark.parametrize("length", [2, 3])
def test_a_cycle_of_references_is_named(tree: Path, length: int) -> None:
    data = {f"r{n}": f"${{r{(n + 1) % length}}}" for n in range(length)}
    (tree / "classes/x.yml").write_text(yaml.safe_dump({"parameters": data}))
    assert " -> ".join(f"${{r{n % length}}}" for n in range(1, length + 2)) in compiled(tree).text


NODES = (
    "",
    ".",
    "..",
    "../n",
    "../../etc/passwd",
    "/etc/passwd",
    "nodes/n",
    "n.yml",
    "n\0",
    "a\nb",
    "\x1b[31m",
    "n" * 100_000,
    "\udcff",
    "${n}",
    "ñ",
)


@pytest.mark.parametrize("name", named(NODES))
def test_a_node_that_is_not_there(tree: Path, name: str) -> None:
    assert compiled(tree, name).error


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.yml")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # its path may be too long to bind
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(4 << 30)


NO_FILES = {work.__name__: work for work in (fifo, endless, dangling, loop, folder, huge)} | {
    "socket": unix_socket
}


@pytest.mark.parametrize("name", named(NO_FILES))
def test_what_is_no_file(tree: Path, name: str) -> None:
    path = tree / "classes/x.yml"
    path.unlink()
    NO_FILES[name](path)
    assert compiled(tree).error


def test_names_of_files(tree: Path) -> None:
    """A file with a name that no class can have is nobody's; one with odd bytes does no harm."""
    for name in (b"a\nb.yml", b"\xff\xfe.yml", b"a..yml", b"..yml", b" .yml", b"\x1b[31m.yml"):
        with open(os.path.join(os.fsencode(tree / "classes"), name), "w") as stream:
            stream.write("parameters: [hunter2]\n")
    assert compiled(tree).value


def test_a_folder_in_itself(tree: Path) -> None:
    (tree / "classes/deep").mkdir()
    (tree / "classes/deep/again").symlink_to(tree / "classes", target_is_directory=True)
    compiled(tree)


VALID = """\
classes:
- y
applications: [a.b, ~c]
parameters:
  _param: {name: &n web, port: 80}
  web:
    server: {url: "http://${_param:name}:${_param:port}/", on: yes}
    ~members: [*n, {host: 10.0.0.1, 'x': null}]
    text: |
      several
      lines \\${kept}
exports: {port: "${_param:port}"}
"""
# fmt: off
PIECES = st.sampled_from([
    "", " ", "\n", "\t", "'", '"', ":", "-", "${", "}", "$[", "]", "{", "[", "&n", "*n", "<<:",
    "!!", "~", "=", "\\", "%", "@", "`", "|", "#", "\0", "\ufeff", "---\n", "? ", "é",
    "!!int ", "!!bool ",
])
# fmt: on


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A valid file with some pieces cut out, doubled, or put in."""
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        text = text[:at] + draw(PIECES) * draw(st.sampled_from([1, 1, 2, 40])) + text[end:]
    return text.encode()


@given(st.one_of(spoilt(), st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
@example(b"parameters: {a: !!bool hunter2}")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_spoilt_files(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """In this process, since there are many; what hangs is told by the cases above."""
    top = tmp_path_factory.mktemp("spoilt")
    write_tree(top, {"nodes/n.yml": {"classes": ["x"]}, "classes/y.yml": ""})
    (top / "classes/x.yml").write_bytes(content)
    for mode in MODES:
        try:
            node = Inventory(top, compat=mode).node("n")
        except ModelError as err:
            checked(Outcome(error="ModelError", text=str(err)))
        else:
            # nothing of the engine's own is left in the data
            json.dumps(node.parameters, default=plain_only)


def plain_only(value: Any) -> str:
    """Types that YAML makes and JSON does not know."""
    assert type(value).__module__ in ("datetime", "builtins"), type(value)
    return str(value)
