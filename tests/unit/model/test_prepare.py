"""What nodes have in common is resolved once: it must mean what each would find out itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saltern.model.options import Options
from saltern.model.plan import Plans, learn
from saltern.model.prepare import outline, prepared
from saltern.model.resolve import Resolver
from saltern.model.tree import Ref, build, merge

KEYS = ("a", "b", "c", "d")
keys = st.sampled_from(KEYS)
references = st.lists(keys, min_size=1, max_size=3).map(lambda parts: "${" + ":".join(parts) + "}")
leaves = st.one_of(
    st.integers(0, 9),
    st.sampled_from(["x", "", None, True]),
    references,
    references.map(lambda ref: f"t-{ref}"),
    st.tuples(references, keys).map(lambda pair: "${" + pair[1] + ":" + pair[0] + "}"),
)
trees = st.dictionaries(
    keys,
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=2), st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)
OPTIONS = [
    Options(),
    Options(ignore_overwritten_missing_references=False),
    Options(allow_none_override=True, allow_scalar_over_dict=True, allow_list_over_scalar=True),
]


def outcome(root: dict[str, Any], options: Options, plans: Plans | None = None) -> Any:
    """What a tree resolves to, and what is wrong with it.

    A circle may be told from anywhere, and a text that holds one beside a reference without a value
    tells either.
    """
    resolver = Resolver(root, options, plans=plans)
    plain = resolver.plain(root)
    assert Resolver(root, options, plans=plans).shared(root) == plain
    circle = not all(fault.ref for fault in resolver.faults)
    return plain, sorted((fault.path, "" if circle else fault.ref) for fault in resolver.faults)


SELF = {"d": {"a": 2, "b": "${d:${a:c:a}}", "c": "${d}"}}


@given(trees, trees, st.sampled_from(OPTIONS))
@example(SELF, SELF, OPTIONS[2])  # layers of layers, in which a reference has no value
@settings(deadline=None, max_examples=300)
def test_the_same_with_and_without(low: Any, own: Any, options: Options) -> None:
    classes, own = build(low, strict=True), build(own, strict=True)
    before = copy.deepcopy(outcome(merge(classes, own), options))
    tree = prepared(classes, outline(own), options)
    plans: Plans = {}
    learn(tree, plans)
    assert outcome(merge(tree, own), options, plans) == before
    # and nothing of it was changed on the way
    assert outcome(merge(tree, own), options, plans) == before
    assert outcome(merge(classes, own), options) == before


@given(trees, trees, st.one_of(leaves, st.lists(leaves, max_size=2)))
@settings(deadline=None, max_examples=200)
def test_other_values_for_the_same_keys(low: Any, one: Any, value: Any) -> None:
    """What was prepared for one node serves every other that writes the same keys."""

    def other(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: other(below) for key, below in tree.items()}
        return value

    classes, another = build(low, strict=True), build(other(one), strict=True)
    one = build(one, strict=True)
    assert outline(another) == outline(one)
    tree = prepared(classes, outline(one), Options())
    assert outcome(merge(tree, another), Options()) == outcome(merge(classes, another), Options())


@pytest.mark.parametrize(
    ("classes", "own", "open_keys"),
    [
        ({"a": "${b}", "b": 1, "c": 2}, {"c": 3}, set()),
        ({"a": "${b}", "b": 1}, {"b": 3}, {"a"}),
        ({"a": "${b:c}", "b": {"c": 1}}, {"b": {"d": 3}}, set()),
        ({"a": "${b}", "b": {"c": 1}}, {"b": {"d": 3}}, {"a"}),
        ({"a": "${b:c:d}", "b": {"c": {"d": 1}}}, {"b": {"c": 1}}, {"a"}),
        ({"a": "${b}", "b": "${c}", "c": "${d}"}, {"d": 1}, {"a", "b", "c"}),
        ({"a": "${nope}", "b": "x${a}"}, {}, {"a", "b"}),
        ({"a": "${b}", "b": 1}, {"a": {"x": 1}}, {"a"}),
    ],
)
def test_what_stays_open(classes: Any, own: Any, open_keys: set[str]) -> None:
    tree = prepared(build(classes, strict=True), outline(own), Options())
    assert {key for key, value in tree.items() if not isinstance(value, int | dict)} == open_keys


def test_what_holds_no_reference_is_the_same_object() -> None:
    classes = build({"a": {"x": [1, {"y": 2}]}, "b": "${a}"}, strict=True)
    tree = prepared(classes, (), Options())
    assert tree["a"] is classes["a"]
    assert isinstance(classes["b"], Ref)
    resolver = Resolver(tree, Options(), plans={})
    assert resolver.plain(tree)["a"]["x"] is not classes["a"]["x"]
