"""What each feature of the model means: the same as in Python reclass, or listed as different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern.errors import ModelError
from tests.model.trees import OracleError, comparable, oracle, ours, write_tree

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def node(parameters: Any = None, *classes: str, **rest: Any) -> dict[str, Any]:
    """A node file."""
    return {"classes": list(classes), "parameters": parameters or {}, **rest}


def one(parameters: Any, low: Any = None) -> dict[str, Any]:
    """An inventory of one node over one class."""
    return {
        "classes/low.yml": {"parameters": low or {}},
        "nodes/n.yml": node(parameters, "low"),
    }


#: name -> (files, options); both engines must give the same data
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "merge dict, list, scalar": (
        one({"d": {"b": 3}, "l": [3], "s": 2}, {"d": {"a": 1, "b": 2}, "l": [1, 2], "s": 1}),
        {},
    ),
    "null below anything": (one({"a": {"b": 1}, "c": [1]}, {"a": None, "c": None}), {}),
    "reference": (one({"a": "${b:c}", "b": {"c": 5}}), {}),
    "reference keeps the type": (one({"a": "${b}", "b": [1, {"c": True}]}), {}),
    "reference in text": (one({"a": "x-${b}-${c}", "b": 5, "c": True}), {}),
    "null in text": (one({"a": "x${b}", "b": None}), {}),
    "list in text": (one({"a": "x${b}", "b": [1, "a"]}), {}),
    "nested reference": (one({"a": "${m:${k}}", "k": "x", "m": {"x": 7}}), {}),
    "nested twice": (one({"a": "${m:${k:${j}}}", "j": "z", "k": {"z": "x"}, "m": {"x": 7}}), {}),
    "reference through a reference": (one({"a": "${b:x}", "b": "${c}", "c": {"x": 1}}), {}),
    "list index": (one({"a": "${l:1:k}", "l": [0, {"k": "v"}]}), {}),
    "escaped": (one({"a": "\\${b}", "c": "x\\${b}y", "d": "${e}", "e": 1}), {}),
    "double escaped": (one({"a": "\\\\${b}", "b": 1}), {}),
    "escaped inventory query": (one({"a": "\\$[ x ]"}), {}),
    "a plain dollar": (one({"a": "$x $", "b": "{x}", "c": "a\\b"}), {}),
    "merge over a referenced dict": (
        one({"a": {"y": 2}, "b": {"x": 1}}, {"a": "${b}"}),
        {},
    ),
    "merge a referenced dict over a literal": (
        one({"a": "${b}", "b": {"x": 1}}, {"a": {"y": 2, "x": 0}}),
        {},
    ),
    "append a referenced list": (one({"a": "${b}", "b": [3]}, {"a": [1, 2]}), {}),
    "append to a referenced list, twice used": (
        one({"a": [1], "c": [2], "b": [3]}, {"a": "${b}", "c": "${b}"}),
        {},
    ),
    "reference into a merge of reference and literal": (
        one({"a": {"y": "${a:x}"}, "b": {"x": 1}, "z": "${a:y}"}, {"a": "${b}"}),
        {},
    ),
    "references inside a referenced dict": (
        one({"a": "${b}", "b": {"x": "${c}", "l": ["${c}"]}, "c": 1}),
        {},
    ),
    "override dict": (one({"~a": {"z": 1}}, {"a": {"x": 1}}), {}),
    "override list": (one({"~a": [9]}, {"a": [1]}), {}),
    "override with another type": (one({"~a": "text"}, {"a": [1]}), {}),
    "override a reference": (one({"~a": [1], "b": {"x": 1}}, {"a": "${b}"}), {}),
    "override, then merged further": (
        {
            "classes/a.yml": {"parameters": {"k": {"l": [1]}}},
            "classes/b.yml": {"classes": ["a"], "parameters": {"k": {"~l": [2]}}},
            "nodes/n.yml": node({"k": {"l": [3]}}, "b"),
        },
        {},
    ),
    "override with nothing below": (one({"~a": [1], "b": {"~c": 2}}), {}),
    "an override ends at the reference": (
        one({"a": {"~l": [9]}, "b": "${a}"}, {"a": {"l": [1]}, "b": {"l": [5]}}),
        {},
    ),
    "a constant ends at the reference": (
        one({"b": {"x": 6}, "c": 1}, {"a": {"=x": 5}, "b": "${a}"}),
        {},
    ),
    "constant": (one({"b": 1}, {"=a": 5}), {}),
    "constant, not strict": (
        one({"a": 6}, {"=a": 5}),
        {"strict_constant_parameters": False},
    ),
    "null over dict, allowed": (one({"a": None}, {"a": {"b": 1}}), {"allow_none_override": True}),
    "scalar over dict, allowed": (one({"a": 1}, {"a": {"b": 1}}), {"allow_scalar_over_dict": True}),
    "scalar over list, allowed": (one({"a": 1}, {"a": [1]}), {"allow_scalar_over_list": True}),
    "list over scalar, allowed": (one({"a": [1]}, {"a": 0}), {"allow_list_over_scalar": True}),
    "dict over scalar, allowed": (
        one({"a": {"b": 1}}, {"a": 0}),
        {"allow_dict_over_scalar": True},
    ),
    "overwritten missing reference": (one({"a": "x"}, {"a": "${nope}"}), {}),
    "diamond": (
        {
            "classes/base.yml": {"parameters": {"l": [0]}},
            "classes/x.yml": {"classes": ["base"], "parameters": {"l": [1]}},
            "classes/y.yml": {"classes": ["base"], "parameters": {"l": [2]}},
            "nodes/n.yml": node({"l": [3]}, "x", "y"),
        },
        {},
    ),
    "order of classes": (
        {
            "classes/a.yml": {"classes": ["x"]},
            "classes/b.yml": {"classes": ["c"]},
            "classes/c.yml": {},
            "classes/x.yml": {"classes": ["y"]},
            "classes/y.yml": {},
            "nodes/n.yml": node(None, "a", "b"),
        },
        {},
    ),
    "relative names": (
        {
            "classes/p/init.yml": {"classes": [".q"], "parameters": {"l": ["p"]}},
            "classes/q.yml": {"parameters": {"l": ["q"]}},
            "classes/p/r/s.yml": {"classes": [".t", "..init2"], "parameters": {"l": ["s"]}},
            "classes/p/r/t.yml": {"parameters": {"l": ["t"]}},
            "classes/p/init2.yml": {"parameters": {"l": ["i"]}},
            "nodes/n.yml": node(None, "p", "p.r.s"),
        },
        {},
    ),
    "yaml extension and init": (
        {
            "classes/p/init.yaml": {"parameters": {"a": 1}},
            "nodes/deep/er/n.yaml": node(None, "p"),
        },
        {},
    ),
    "reference in a class name": (
        {
            "classes/a.yml": {"parameters": {"which": "c"}},
            "classes/b/c.yml": {"parameters": {"x": 1}},
            "classes/l.yml": {"classes": ["a", "b.c"]},
            "nodes/n.yml": node(None, "l"),
        },
        {},
    ),
    "applications": (
        {
            "classes/a.yml": {"applications": ["x", "y"]},
            "classes/b.yml": {"applications": ["~x", "z", "y"]},
            "nodes/n.yml": node(None, "a", "b", applications=["w", "~z", "x"]),
        },
        {},
    ),
    "applications inside one file": (
        {"nodes/n.yml": node(applications=["a", "~a", "~b", "b"])},
        {},
    ),
    "exports": (
        {
            "classes/a.yml": {"exports": {"e": {"x": "${p}"}, "l": [1]}},
            "nodes/n.yml": node({"p": 1}, "a", exports={"e": {"y": 2}, "l": ["${p}"]}),
        },
        {},
    ),
    "environment": ({"nodes/n.yml": node(environment="prod")}, {}),
    "default environment": ({"nodes/n.yml": node()}, {"default_environment": "dev"}),
    "automatic parameters": (
        {"nodes/n.d.yml": node({"a": "${_reclass_:name:full} ${_reclass_:environment}"})},
        {},
    ),
    "composed node name": (
        {"nodes/a/b/n.yml": node({"x": 1})},
        {"compose_node_name": True},
    ),
    "ignored missing class": (
        {"nodes/n.yml": node({"x": 1}, "gone.away")},
        {"ignore_class_notfound": True, "ignore_class_notfound_regexp": ["gone.*"]},
    ),
    "YAML 1.1": (
        one({}, {})
        | {
            "nodes/n.yml": "parameters: {a: yes, b: off, c: 0644, d: 1_000, e: 12:30:45, "
            "f: 2020-01-02, g: ~, h: 1e3, i: 0x1f}"
        },
        {},
    ),
    "numbers as keys": (
        {"nodes/n.yml": "parameters: {m: {80: a, 1.5: b, l: [{80: c}]}, r: '${m:80}'}"},
        {},
    ),
    "merge keys and anchors": (
        {"nodes/n.yml": "parameters:\n  a: &a {x: 1, y: 2}\n  b: {<<: *a, y: 3}\n  c: *a\n"},
        {},
    ),
    "empty files": ({"classes/e.yml": "", "nodes/n.yml": "classes: [e]\nparameters:\n"}, {}),
    "long text": ({"nodes/n.yml": 'parameters: {a: "l1\\nl2 ${b}\\n", b: "x\\ny"}'}, {}),
}


def the_node(files: dict[str, Any], options: dict[str, Any]) -> str:
    """Id of the only node of an inventory."""
    (path,) = [name for name in files if name.startswith("nodes/")]
    parts = path.removeprefix("nodes/").rsplit(".", 1)[0].split("/")
    return ".".join(parts) if options.get("compose_node_name") else parts[-1]


@pytest.mark.parametrize("name", SAME)
def test_same(tmp_path: Path, name: str) -> None:
    files, options = SAME[name]
    top = write_tree(tmp_path, files)
    node_id = the_node(files, options)
    assert comparable(ours(top, node_id, **options)) == comparable(oracle(top, node_id, **options))


#: name -> (files, options, part of the sentence); both engines refuse
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unknown class": ({"nodes/n.yml": node(None, "gone")}, {}, "class gone does not exist"),
    "class outside of the ignored": (
        {"nodes/n.yml": node(None, "gone")},
        {"ignore_class_notfound": True, "ignore_class_notfound_regexp": ["other.*"]},
        "class gone does not exist",
    ),
    "missing reference": (
        one({"a": {"b": "${no:where}"}}),
        {},
        "${no:where} has no value at key a:b",
    ),
    "missing reference in text": (one({"a": "x${no}"}), {}, "${no} has no value"),
    "missing nested reference": (one({"a": "${m:${k}}", "m": {}}), {}, "${k} has no value"),
    "missing reference over a dict": (
        {
            "classes/a.yml": {"parameters": {"k": {"x": 1}}},
            "classes/b.yml": {"classes": ["a"], "parameters": {"k": "${no}"}},
            "nodes/n.yml": node({"k": {"y": 1}}, "b"),
        },
        {},
        "${no} has no value",
    ),
    "overwritten missing reference, not ignored": (
        one({"a": "x"}, {"a": "${nope}"}),
        {"ignore_overwritten_missing_references": False},
        "${nope} has no value",
    ),
    "reference cycle": (one({"a": "${b}", "b": "${c}", "c": "x${a}"}), {}, "form a cycle"),
    "scalar over dict": (one({"a": 1}, {"a": {"b": 1}}), {}, "scalar cannot be merged over a dict"),
    "null over list": (one({"a": None}, {"a": [1]}), {}, "null cannot be merged over a list"),
    "dict over list": (one({"a": {}}, {"a": [1]}), {}, "dictionary cannot be merged over a list"),
    "list over scalar": (one({"a": [1]}, {"a": 1}), {}, "list cannot be merged over a scalar"),
    "constant changed": (one({"a": 6}, {"=a": 5}), {}, "constant (=) value is set again"),
    "unclosed reference": (one({"a": "x${b"}), {}, "without closing brace"),
    "empty reference": (one({"a": "${}"}), {}, "empty reference"),
    "impossible date": ({"nodes/n.yml": "parameters: {a: 2020-13-45}"}, {}, "out of range"),
    "broken YAML": ({"nodes/n.yml": "a: [1"}, {}, "nodes/n.yml:2: did not find"),
    "two files, one class": (
        {"classes/a.yml": {}, "classes/a/init.yml": {}, "nodes/n.yml": node()},
        {},
        "class a is defined twice",
    ),
    "two files, one node": (
        {"nodes/x/n.yml": node(), "nodes/y/n.yml": node()},
        {},
        "node n is defined twice",
    ),
    "class cycle": (
        {
            "classes/a.yml": {"classes": ["b"]},
            "classes/b.yml": {"classes": ["a"]},
            "nodes/n.yml": node(None, "a"),
        },
        {},
        "include each other: a -> b -> a",
    ),
    "reference in a class name without value": (
        {"nodes/n.yml": node({"which": "x"}, "b.${which}")},
        {},
        "${which} in the class name",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(tmp_path: Path, name: str) -> None:
    files, options, sentence = REFUSED[name]
    top = write_tree(tmp_path, files)
    node_id = "n"
    with pytest.raises(OracleError):
        oracle(top, node_id, **options)
    with pytest.raises(ModelError) as caught:
        ours(top, node_id, **options)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# --- where this engine differs on purpose -------------------------------------------------


def test_short_name_is_the_first_label(tmp_path: Path) -> None:
    """reclass 2.0 gives the last label (``com``); the MCP fork and this engine the first."""
    top = write_tree(tmp_path, {"nodes/web01.example.com.yml": node()})
    assert ours(top, "web01.example.com")["parameters"]["_reclass_"]["name"]["short"] == "web01"
    theirs = oracle(top, "web01.example.com")["parameters"]["_reclass_"]["name"]["short"]
    assert theirs == "com"


#: name -> (files, part of the sentence): reclass swallows it, strict refuses it,
#: ``compat: reclass`` gives what reclass gives
SWALLOWED: dict[str, tuple[dict[str, Any], str]] = {
    "key written twice": (
        {"nodes/n.yml": "parameters:\n  a: 1\n  b: 2\n  a: 3\n"},
        "nodes/n.yml:4: key 'a' is written twice",
    ),
    "unknown top-level key": (
        {"nodes/n.yml": "parameter: {a: 1}\n"},
        "unknown top-level key 'parameter'",
    ),
    "boolean key": ({"nodes/n.yml": "parameters: {m: {on: 1}}\n"}, "key True is not a string"),
    "null key": ({"nodes/n.yml": "parameters: {m: {~: 1}}\n"}, "key None is not a string"),
    "environment in a class": (
        {"classes/c.yml": {"environment": "x"}, "nodes/n.yml": node(None, "c")},
        "environment has no effect in a class",
    ),
}


@pytest.mark.parametrize("name", SWALLOWED)
def test_strict_refuses_what_reclass_swallows(tmp_path: Path, name: str) -> None:
    files, sentence = SWALLOWED[name]
    top = write_tree(tmp_path, files)
    with pytest.raises(ModelError) as caught:
        ours(top, "n")
    assert sentence in str(caught.value)
    assert comparable(ours(top, "n", compat="reclass")) == comparable(oracle(top, "n"))


def test_wrong_list_index_is_a_missing_reference(tmp_path: Path) -> None:
    """reclass crashes with ValueError or IndexError and names no key."""
    top = write_tree(tmp_path, one({"a": "${l:x:y}", "b": "${l:7:y}", "l": [{}]}))
    with pytest.raises(OracleError, match=r"ValueError|IndexError"):
        oracle(top, "n")
    with pytest.raises(ModelError, match=r"\$\{l:x:y\} has no value.*\$\{l:7:y\} has no value"):
        ours(top, "n")


def test_list_index_may_come_last(tmp_path: Path) -> None:
    """reclass knows an index in the middle of a reference only."""
    top = write_tree(tmp_path, one({"a": "${l:1}", "l": [1, {"x": 2}]}))
    with pytest.raises(OracleError):
        oracle(top, "n")
    assert ours(top, "n")["parameters"]["a"] == {"x": 2}


def test_prefixes_work_below_a_prefix(tmp_path: Path) -> None:
    """reclass leaves ``~y`` in the data as a key, and numbers as keys unconverted."""
    top = write_tree(tmp_path, {"nodes/n.yml": "parameters: {~x: {~y: 1, 80: 2}}"})
    assert oracle(top, "n")["parameters"]["x"] == {"~y": 1, 80: 2}
    assert ours(top, "n")["parameters"]["x"] == {"y": 1, "80": 2}


def test_an_override_never_leaks_through_a_reference(tmp_path: Path) -> None:
    """reclass: it replaces at the other place too, when its own place is not resolved yet."""
    low = {"a": {"l": [1]}, "b": {"l": [5]}, "c": {"m": 1}}
    files = {
        "classes/low.yml": {"parameters": low},
        "classes/high.yml": {"classes": ["low"], "parameters": {"a": {"~l": [9]}, "b": "${a}"}},
        "nodes/n.yml": node({"a": "${c}"}, "high"),
    }
    top = write_tree(tmp_path, files)
    assert oracle(top, "n")["parameters"]["b"] == {"l": [9], "m": 1}
    assert ours(top, "n")["parameters"]["b"] == {"l": [5, 9], "m": 1}
    assert ours(top, "n")["parameters"]["a"] == {"l": [9], "m": 1}


def test_colon_in_a_key_can_be_escaped(tmp_path: Path) -> None:
    """reclass splits at an unescaped colon only, then looks for a key with the backslash."""
    top = write_tree(tmp_path, one({"a": "${m:x\\:y}", "m": {"x:y": 1}}))
    with pytest.raises(OracleError):
        oracle(top, "n")
    assert ours(top, "n")["parameters"]["a"] == 1


def test_class_list_has_resolved_names(tmp_path: Path) -> None:
    """reclass lists ``b.${which}``."""
    files = {
        "classes/a.yml": {"parameters": {"which": "c"}},
        "classes/b/c.yml": {},
        "nodes/n.yml": node(None, "a", "b.${which}"),
    }
    top = write_tree(tmp_path, files)
    assert oracle(top, "n")["classes"] == ["a", "b.${which}"]
    assert ours(top, "n")["classes"] == ["a", "b.c"]


def test_hidden_files_and_directories_are_no_classes(tmp_path: Path) -> None:
    """reclass skips some hidden directories only (it changes the list it walks)."""
    files = {
        "classes/.a/x.yml": "broken: [",
        "classes/.b/x.yml": "broken: [",
        "classes/.c.yml": "broken: [",
        "classes/real.yml": {"parameters": {"x": 1}},
        "nodes/n.yml": node(None, "real"),
    }
    from saltern.model import Inventory

    assert list(Inventory(write_tree(tmp_path, files)).class_files) == ["real"]


def test_a_value_that_contains_itself_is_refused(tmp_path: Path) -> None:
    """reclass never returns."""
    top = write_tree(tmp_path, one({"a": {"b": "${a}"}}))
    with pytest.raises(ModelError, match="contains itself"):
        ours(top, "n")


def test_linked_class_directories(tmp_path: Path) -> None:
    """As ``classes/service/<name>`` of the MCP models: links into the formulas."""
    top = write_tree(
        tmp_path / "model",
        {"nodes/n.yml": node(None, "service.web.server")},
    )
    write_tree(tmp_path / "formula", {"meta/server.yml": {"parameters": {"web": {"x": 1}}}})
    (top / "classes/service").mkdir()
    (top / "classes/service/web").symlink_to(tmp_path / "formula/meta")
    (tmp_path / "formula/meta/loop").symlink_to(tmp_path / "formula/meta")
    assert ours(top, "n")["parameters"]["web"] == {"x": 1}
