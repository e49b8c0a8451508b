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


def asking(ask: Any) -> dict[str, Any]:
    """Node ``n`` asks nodes ``a`` and ``b`` of its environment, and ``p`` of another."""
    return {
        "classes/low.yml": {"parameters": {"who": "${_reclass_:name:full}"}},
        "classes/common.yml": {"exports": {"shared": "${_reclass_:name:full}"}},
        "nodes/n.yml": node({"ask": ask, "mine": {"deep": 1}, "ref": "${mine:deep}"}, "low"),
        "nodes/a.yml": node(
            {"p": {"q": [1, {"r": "${s}"}]}, "s": "t"},
            "common",
            exports={
                "x": 1,
                "d": {"x": "${_reclass_:name:full}", "y": 2},
                "only_a": 3,
                "flag": True,
                "name": "web-a",
                "ref": "${p}",
                "fails": {"value": "${gone}", "fine": 1},
            },
        ),
        "nodes/b.yml": node(
            None,
            "common",
            exports={
                "x": 2,
                "d": {"x": 4},
                "flag": False,
                "name": "web-b",
                "real": -1.5,
                "fails": {"value": 1},
            },
        ),
        "nodes/p.yml": node(None, exports={"x": 1, "d": {"y": 9}}, environment="prod"),
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
    "nested reference in text": (one({"a": "x-${m:${k}}-y", "k": "x", "m": {"x": 7}}), {}),
    "reference to a reference in a list": (one({"a": ["${b}"], "b": "${c}", "c": [1]}), {}),
    "escape inside a reference": (one({"a": "${b\\}c}", "b}c": 1}), {}),
    "three layers of references": (
        {
            "classes/x.yml": {"parameters": {"a": "${p}", "p": {"l": [1]}, "q": {"l": [2]}}},
            "classes/y.yml": {"classes": ["x"], "parameters": {"a": "${q}"}},
            "nodes/n.yml": node({"a": {"l": [3]}}, "y"),
        },
        {},
    ),
    "a reference over a scalar": (one({"a": "${b}", "b": 2}, {"a": 1}), {}),
    "a scalar over a reference": (one({"a": 2}, {"a": "${b}", "b": 1}), {}),
    "text over text with references": (one({"a": "y${b}"}, {"a": "x${b}", "b": 1}), {}),
    "override a dict with a reference": (one({"~a": "${b}", "b": {"x": 1}}, {"a": {"y": 1}}), {}),
    "override with nothing": (one({"~a": None}, {"a": {"y": 1}}), {}),
    "override inside a dict": (one({"d": {"~a": {"x": 1}}}, {"d": {"a": {"y": 1}, "b": 2}}), {}),
    "constant dict": (one({"b": "${a:x}"}, {"=a": {"x": 5}}), {}),
    "constant by reference": (one({"c": 1}, {"=a": "${c}"}), {}),
    "constant, not strict, over a dict": (
        one({"a": {"x": 6}}, {"=a": {"x": 5}}),
        {"strict_constant_parameters": False},
    ),
    "null over list, allowed": (one({"a": None}, {"a": [1]}), {"allow_none_override": True}),
    "null over a referenced dict, allowed": (
        one({"a": None, "b": {"x": 1}}, {"a": "${b}"}),
        {"allow_none_override": True},
    ),
    "dict over null over dict, allowed": (
        {
            "classes/x.yml": {"parameters": {"a": {"b": 1}}},
            "classes/y.yml": {"classes": ["x"], "parameters": {"a": None}},
            "nodes/n.yml": node({"a": {"c": 1}}, "y"),
        },
        {"allow_none_override": True},
    ),
    "no automatic parameters": (
        {"nodes/n.yml": node({"a": 1})},
        {"automatic_parameters": False},
    ),
    "node in an underscored directory, composed": (
        {"nodes/_a/b/n.yml": node({"x": 1}), "nodes/c/m.yml": node()},
        {"compose_node_name": True},
    ),
    "missing class, pattern anchored at its start only": (
        {"nodes/n.yml": node({"x": 1}, "gone.away")},
        {"ignore_class_notfound": True, "ignore_class_notfound_regexp": "gone"},
    ),
    "one of several patterns": (
        {"nodes/n.yml": node({"x": 1}, "gone", "lost")},
        {"ignore_class_notfound": True, "ignore_class_notfound_regexp": ["gone$", "lost"]},
    ),
    "a class twice": (
        {
            "classes/a.yml": {"parameters": {"l": [1]}},
            "classes/b.yml": {"classes": ["a", "a"], "parameters": {"l": [2]}},
            "nodes/n.yml": node({"l": [3]}, "a", "b", "a"),
        },
        {},
    ),
    "exports of dicts and lists": (
        {
            "classes/a.yml": {"exports": {"d": {"x": [1], "y": "${p:q}"}}},
            "nodes/n.yml": node({"p": {"q": {"r": 1}}}, "a", exports={"d": {"x": ["${p:q:r}"]}}),
        },
        {},
    ),
    "export overridden": (
        {
            "classes/a.yml": {"exports": {"e": {"x": 1}}},
            "nodes/n.yml": node({}, "a", exports={"~e": {"y": 2}}),
        },
        {},
    ),
    # class mappings
    "mapping by glob": (
        {
            "classes/all.yml": {"parameters": {"l": ["all"]}},
            "classes/web.yml": {"parameters": {"l": ["web"]}},
            "classes/own.yml": {"parameters": {"l": ["own"]}},
            "nodes/web1.yml": node({"l": ["node"]}, "own"),
            "nodes/db1.yml": node(None, "all"),
        },
        {"class_mappings": ["* all", "web* web all", "WEB* nothing"]},
    ),
    "mapping by regular expression": (
        {
            "classes/a.yml": {"parameters": {"l": ["a"]}},
            "classes/site/fra.yml": {"parameters": {"l": ["fra"]}},
            "classes/kind/web.yml": {"parameters": {"l": ["web"]}},
            "nodes/web1.fra.test.yml": node(),
            "nodes/db.test.yml": node(),
        },
        {"class_mappings": [r"/^(\D+)\d\.([^.]+)/ kind.\\1 site.\\2 a"]},
    ),
    "mapping with an escaped slash and quotes": (
        {
            "classes/a.yml": {"parameters": {"x": 1}},
            "classes/b.yml": {"parameters": {"y": 1}},
            "nodes/p/n1.yml": node(),
        },
        {
            "class_mappings": [r"/^p\/n\d$/ a", "'p/*' b"],
            "class_mappings_match_path": True,
        },
    ),
    "mapping that matches nobody": (
        {"nodes/n.yml": node({"x": 1})},
        {"class_mappings": ["m* a", "/^o/ a"]},
    ),
    "mapping to classes that include others": (
        {
            "classes/a.yml": {"classes": ["b"], "parameters": {"l": ["a"]}, "applications": ["x"]},
            "classes/b.yml": {"parameters": {"l": ["b"]}, "applications": ["y"]},
            "nodes/n.yml": node({"l": ["n"]}, "b", applications=["~x"]),
        },
        {"class_mappings": ["* a"]},
    ),
    # inventory queries
    "query: values": (asking("$[ exports:x ]"), {}),
    "query: value inside": (asking("$[ exports:d:y ]"), {}),
    "query: a key that only some have": (asking("$[ exports:only_a ]"), {}),
    "query: nobody has the key": (asking("$[ exports:nobody ]"), {}),
    "query: without spaces": (asking("$[exports:x]"), {}),
    "query: values with a test": (asking("$[ exports:d if exports:x == 1 ]"), {}),
    "query: not equal": (asking("$[ exports:d if exports:x != 1 ]"), {}),
    "query: a test of a key that some have": (asking("$[ exports:x if exports:only_a != 9 ]"), {}),
    "query: own value": (asking("$[ exports:d if exports:x == self:mine:deep ]"), {}),
    "query: own value first": (asking("$[ exports:d if self:mine:deep == exports:x ]"), {}),
    "query: own value by reference": (asking("$[ exports:d if exports:x == self:ref ]"), {}),
    "query: text": (asking("$[ exports:x if exports:name == web-b ]"), {}),
    "query: true and false": (
        asking(["$[ if exports:flag == true ]", "$[ if exports:flag == FALSE ]"]),
        {},
    ),
    "query: numbers": (asking(["$[ if exports:x == 2 ]", "$[ if exports:real == -1.5 ]"]), {}),
    "query: and": (asking("$[ exports:x if exports:x == 1 and exports:flag == true ]"), {}),
    "query: or": (asking("$[ exports:x if exports:x == 1 or exports:name == web-b ]"), {}),
    "query: and, or from left to right": (
        asking("$[ if exports:x == 2 or exports:x == 1 and exports:flag == False ]"),
        {},
    ),
    "query: list of nodes": (asking("$[ if exports:x == 1 ]"), {}),
    "query: words in any case": (asking("$[ IF Exports:x == 1 Or EXPORTS:x == 2 ]"), {}),
    "query: all environments": (asking("$[ +AllEnvs exports:x ]"), {}),
    "query: ignored errors": (asking("$[ +IgnoreErrors exports:fails ]"), {}),
    "query: ignored errors of all environments": (
        asking("$[ +IgnoreErrors +AllEnvs exports:fails:value ]"),
        {},
    ),
    "query: merged with a dict": (
        {
            **asking("$[ exports:d ]"),
            "classes/low.yml": {"parameters": {"ask": {"a": {"y": 0, "z": 1}, "other": 1}}},
        },
        {},
    ),
    "query: below a dict": (
        {
            **asking({"a": {"y": 5}, "x": 1}),
            "classes/low.yml": {"parameters": {"ask": "$[ exports:d ]"}},
        },
        {},
    ),
    "query: appended to a list": (
        {
            **asking("$[ if exports:x == 1 ]"),
            "classes/low.yml": {"parameters": {"ask": ["first"]}},
        },
        {},
    ),
    "query: overriding": (
        {
            **asking("kept"),
            "classes/low.yml": {"parameters": {"ask": {"x": 1}}},
            "nodes/n.yml": node({"~ask": "$[ exports:x ]", "mine": {"deep": 1}}, "low"),
        },
        {},
    ),
    "query: referred to": (
        {
            **asking("$[ exports:x ]"),
            "classes/low.yml": {"parameters": {"all": "${ask}", "text": "${ask:a}!"}},
        },
        {},
    ),
    "query: exports by reference": (asking("$[ exports:ref ]"), {}),
    "query: exports of a class": (asking("$[ exports:shared ]"), {}),
    "query: another default environment": (
        asking("$[ exports:x ]"),
        {"default_environment": "prod"},
    ),
}


def the_nodes(files: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Ids of the nodes of an inventory."""
    found = []
    for path in sorted(name for name in files if name.startswith("nodes/")):
        parts = path.removeprefix("nodes/").rsplit(".", 1)[0].split("/")
        composed = options.get("compose_node_name") and not parts[0].startswith("_")
        found.append(".".join(parts) if composed else parts[-1])
    return found


def test_the_table_is_large() -> None:
    assert len(SAME) >= 80


@pytest.mark.parametrize("name", SAME)
def test_same(tmp_path: Path, name: str) -> None:
    """Every node means the same; what is broken on purpose is refused by both."""
    files, options = SAME[name]
    top = write_tree(tmp_path, files)
    refused = []
    for node_id in the_nodes(files, options):
        try:
            theirs = comparable(oracle(top, node_id, **options))
        except OracleError:
            refused.append(node_id)
            with pytest.raises(ModelError):
                ours(top, node_id, **options)
        else:
            assert comparable(ours(top, node_id, **options)) == theirs
    assert refused == (["a"] if "${gone}" in str(files) else [])


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
    "query: an export that fails": (
        asking("$[ exports:fails ]"),
        {},
        "export fails:value of node a fails: reference ${gone} has no value",
    ),
    "query: an export that fails, in a test": (
        asking("$[ exports:x if exports:fails:value == 1 ]"),
        {},
        "export fails:value of node a fails",
    ),
    "query: a node whose class is missing": (
        {**asking("$[ exports:x ]"), "nodes/c.yml": node(None, "gone")},
        {},
        "node c cannot be asked: node c, nodes/c.yml, key classes: class gone does not exist",
    ),
    "query: a node whose class is missing, errors ignored": (
        {**asking("$[ +IgnoreErrors exports:x ]"), "nodes/c.yml": node(None, "gone")},
        {"inventory_ignore_failed_node": True},
        "class gone does not exist",
    ),
    "query: a node whose file is broken": (
        {**asking("$[ exports:x ]"), "nodes/c.yml": "environment: other\nparameters: [\n"},
        {},
        "node c cannot be asked: nodes/c.yml:3",
    ),
    "query: own value is missing": (
        asking("$[ if exports:x == self:gone ]"),
        {},
        "${gone} has no value at key ask",
    ),
    "query: own value is null": (
        asking("$[ if exports:x == self:mine ]")
        | {"nodes/n.yml": node({"ask": "$[ if exports:x == self:nil ]", "nil": None})},
        {},
        "self:nil is null",
    ),
    "query: own value in a circle": (
        asking("$[ if exports:x == self:ask ]"),
        {},
        "form a cycle",
    ),
    "query: without closing bracket": (asking("$[ exports:x"), {}, "without closing bracket"),
    "query: empty": (asking("$[ ]"), {}, "empty inventory query"),
    "query: no exports": (asking("$[ if self:a == 1 ]"), {}, "one side of a test"),
    "query: two exports": (asking("$[ if exports:x == exports:y ]"), {}, "one side of a test"),
    "query: no operator": (asking("$[ exports:x if exports:y ]"), {}, "needs two sides"),
    "query: half a test": (asking("$[ if exports:x == 1 and ]"), {}, "needs two sides"),
    "query: no key": (asking("$[ exports ]"), {}, "names no key"),
    "query: in text": (asking("x $[ exports:x ]"), {}, "must be the whole value"),
    "query: two": (asking("$[ exports:x ]$[ exports:d ]"), {}, "must be the whole value"),
    "query: in an export": (
        {"nodes/n.yml": node({}, exports={"e": "$[ exports:x ]"})},
        {},
        "exports must not depend on one at exports key e in nodes/n.yml",
    ),
    "mapping to a missing class": (
        {"nodes/n.yml": node()},
        {"class_mappings": ["* gone"]},
        "class_mappings, key classes: class gone does not exist",
    ),
    "mapping with an open slash": (
        {"nodes/n.yml": node()},
        {"class_mappings": ["/n gone"]},
        "a quote or slash is not closed",
    ),
    "mapping with a bad expression": (
        {"nodes/n.yml": node()},
        {"class_mappings": ["/(n/ gone"]},
        "class mapping '/(n/ gone': missing )",
    ),
    "mapping with a reference to no group": (
        {"nodes/n.yml": node()},
        {"class_mappings": [r"/(n)/ a.\\2"]},
        "invalid group reference 2",
    ),
    "mapping to a path": (
        {"nodes/n.yml": node()},
        {"class_mappings": ["* a/b"]},
        "'a/b' is no class name",
    ),
    "only the first error": (
        one({"a": "${no}", "b": "${nope}"}),
        {"group_errors": False},
        "${no} has no value at key a",
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
    "reference in a key": (
        {"nodes/n.yml": "parameters: {m: {'${a}': 1}, l: [{'x$[': 2}]}\n"},
        "parameters key m:${a}: a key holds a reference",
    ),
    "reference in a key of a list": (
        {"nodes/n.yml": "parameters: {l: [{'x$[': 2}]}\n"},
        "parameters key l:0:x$[: a key holds a reference",
    ),
    "reference in an application": (
        {"nodes/n.yml": node(applications=["a.${b}"])},
        "applications: 'a.${b}' holds a reference",
    ),
    "application with a space": ({"nodes/n.yml": node(applications=["a b"])}, "is no name"),
    "parts that join to a reference": (
        one({"a": "${b}{x}", "b": "$", "x": 1}),
        "parts of the text join to ${, which nothing resolves",
    ),
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


def test_only_a_query_with_allenvs_sees_all_environments(tmp_path: Path) -> None:
    """reclass: one such query opens the environments of others to all queries of the node."""
    top = write_tree(tmp_path, asking(["$[ exports:x ]", "$[ +AllEnvs exports:x ]"]))
    everybody = {"a": 1, "b": 2, "p": 1}
    assert oracle(top, "n")["parameters"]["ask"] == [everybody, everybody]
    assert ours(top, "n")["parameters"]["ask"] == [{"a": 1, "b": 2}, everybody]


def test_one_lenient_query_does_not_excuse_another(tmp_path: Path) -> None:
    """reclass: what ``+IgnoreErrors`` leaves out is gone for the queries after it."""
    asked = ["$[ +IgnoreErrors exports:fails ]", "$[ exports:fails ]"]
    top = write_tree(tmp_path, asking(asked))
    assert oracle(top, "n")["parameters"]["ask"][1] == {"a": {"fine": 1}, "b": {"value": 1}}
    with pytest.raises(ModelError, match=r"export fails:value of node a fails.* at key ask:1"):
        ours(top, "n")


def test_failed_values_can_be_left_out_by_option(tmp_path: Path) -> None:
    """reclass has the option too, but each query overrides it: without words with False."""
    top = write_tree(tmp_path, asking("$[ exports:fails ]"))
    option = {"inventory_ignore_failed_render": True}
    with pytest.raises(OracleError, match="gone"):
        oracle(top, "n", **option)
    assert ours(top, "n", **option)["parameters"]["ask"] == {"a": {"fine": 1}, "b": {"value": 1}}


def test_nodes_that_cannot_be_read_can_be_left_out_by_option(tmp_path: Path) -> None:
    """reclass does it for some YAML errors only."""
    files = {**asking("$[ exports:x ]"), "nodes/c.yml": "parameters: [1"}
    top = write_tree(tmp_path, files)
    option = {"inventory_ignore_failed_node": True}
    with pytest.raises(OracleError, match="ParserError"):
        oracle(top, "n", **option)
    assert ours(top, "n", **option)["parameters"]["ask"] == {"a": 1, "b": 2}
    (top / "nodes/c.yml").write_text("parameters: {a: '")
    assert ours(top, "n", **option) == oracle(top, "n", **option)


@pytest.mark.parametrize("compat", ["strict", "reclass"])
def test_exports_are_free_of_queries(tmp_path: Path, compat: str) -> None:
    """reclass resolves it for the node itself, and crashes for whoever asks for the export."""
    exporter = node({"q": "$[ exports:x ]"}, exports={"x": 1, "through": "${q}"})
    files = {"nodes/e.yml": exporter, "nodes/n.yml": node({"ask": "$[ exports:through ]"})}
    top = write_tree(tmp_path, files)
    assert oracle(top, "e")["exports"]["through"] == {"e": 1}
    with pytest.raises(OracleError, match="AttributeError"):
        oracle(top, "n")
    with pytest.raises(ModelError, match="must not depend on one at exports key through"):
        ours(top, "e", compat=compat)
    with pytest.raises(ModelError, match="export through of node e fails: inventory queries"):
        ours(top, "n", compat=compat)


@pytest.mark.parametrize(
    ("query", "theirs"),
    [
        ("$[ anything:x ]", {"a": 1, "b": 2}),  # its first word is not looked at
        ("$[ exports:name:web-a ]", None),  # crashes inside a value that is no dictionary
        ("$[ if exports:x == 10.0.0.1 ]", None),  # a number, followed by something
    ],
)
def test_queries_that_say_something_else(tmp_path: Path, query: str, theirs: Any) -> None:
    top = write_tree(tmp_path, asking(query))
    if theirs is None:
        with pytest.raises(OracleError):
            oracle(top, "n")
        assert not ours(top, "n")["parameters"]["ask"]
    else:
        assert oracle(top, "n")["parameters"]["ask"] == theirs
        with pytest.raises(ModelError, match="asks for exports:KEY"):
            ours(top, "n")


def test_nodes_that_match_are_sorted(tmp_path: Path) -> None:
    """reclass: in the order in which the file system lists them."""
    names = ["m", "z", "a", "q"]
    exporters = {f"nodes/{name}.yml": node(exports={"x": 1}) for name in names}
    top = write_tree(tmp_path, {**exporters, "nodes/n.yml": node({"l": "$[ if exports:x == 1 ]"})})
    assert ours(top, "n")["parameters"]["l"] == sorted(names)


def test_automatic_parameters_are_below_mapped_classes(tmp_path: Path) -> None:
    """reclass: above them, and below the others; so a mapped class cannot refer to them."""
    files = {
        "classes/m.yml": {"classes": ["on.${_reclass_:environment}"]},
        "classes/on/base.yml": {"parameters": {"x": 1}},
        "nodes/n.yml": node(),
    }
    top = write_tree(tmp_path, files)
    option = {"class_mappings": ["* m"]}
    with pytest.raises(OracleError, match="ClassNameResolveError"):
        oracle(top, "n", **option)
    assert ours(top, "n", **option)["parameters"]["x"] == 1


def test_a_class_name_may_need_more_than_one_reference(tmp_path: Path) -> None:
    """reclass looks for the class ``b.${other}``."""
    files = {
        "classes/a.yml": {"parameters": {"which": "${other}", "other": "c"}},
        "classes/b/c.yml": {"parameters": {"x": 1}},
        "nodes/n.yml": node(None, "a", "b.${which}"),
    }
    top = write_tree(tmp_path, files)
    with pytest.raises(OracleError, match="ClassNotFound"):
        oracle(top, "n")
    assert ours(top, "n")["parameters"]["x"] == 1


def test_a_caller_asks_for_an_environment(tmp_path: Path) -> None:
    """As in the salt-formulas fork, but from a list: a minion names its pillarenv itself."""
    from saltern.model import Inventory

    files = asking("$[ exports:x ]")
    files["nodes/n.yml"]["parameters"]["where"] = "${_reclass_:environment}"
    top = write_tree(tmp_path, files)
    inventory = Inventory(top, allow_adapter_env_override=["prod", "dev"])
    assert inventory.node("n").parameters["ask"] == {"a": 1, "b": 2}
    found = inventory.node("n", environment="prod")
    assert (found.environment, found.parameters["where"]) == ("prod", "prod")
    assert found.parameters["ask"] == {"p": 1}
    # its own is always allowed
    assert inventory.node("n", environment="base").environment == "base"
    assert inventory.node("p", environment="prod").environment == "prod"
    with pytest.raises(ModelError, match="environment secret may not be asked for"):
        inventory.node("n", environment="secret")
    with pytest.raises(ModelError, match="environment prod may not be asked for"):
        Inventory(top).node("n", environment="prod")
    with pytest.raises(ModelError, match="must list environments"):
        Inventory(top, allow_adapter_env_override=True)


#: options of reclass that are no options here: value that changes nothing, another one
FIXED = {
    "delimiter": (":", "/"),
    "dict_key_override_prefix": ("~", "!"),
    "dict_key_constant_prefix": ("=", "!"),
    "escape_character": ("\\", "!"),
    "reference_sentinels": (["${", "}"], ["<", ">"]),
    "export_sentinels": (("$[", "]"), ["<", ">"]),
    "storage_type": ("yaml_fs", "yaml_git"),
    "propagate_pillar_data_to_reclass": (False, True),
}


@pytest.mark.parametrize("name", FIXED)
def test_options_with_one_value(tmp_path: Path, name: str) -> None:
    same, other = FIXED[name]
    top = write_tree(tmp_path, one({"a": "${b}", "b": 1}))
    assert ours(top, "n", **{name: same})["parameters"]["a"] == 1
    with pytest.raises(ModelError, match=f"model option {name} can only be"):
        ours(top, "n", **{name: other})


def test_every_option_of_reclass_is_known(tmp_path: Path) -> None:
    from reclass.settings import Settings

    from saltern.model.options import Options

    for name, value in Settings.known_opts.items():
        Options.build({name: value})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ignore_class_not_found": True}, "unknown model option 'ignore_class_not_found'"),
        ({"nodes_uri": "nodes"}, "Its name here is nodes_path"),
        ({"group_errors": "yes"}, "group_errors must be bool"),
        ({"class_mappings": "* a", "compat": "loose"}, "compat must be strict or reclass"),
        ({"class_mappings": [["a"]]}, "class_mappings must be a list of strings"),
        ({"ignore_class_notfound_regexp": ["("]}, "ignore_class_notfound_regexp: '('"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        ours(write_tree(tmp_path, one({})), "n", **options)
    assert sentence in str(caught.value)


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
