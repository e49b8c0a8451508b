"""Properties of the merge: nothing is changed in place, order of files decides."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltern.model.options import Options
from saltern.model.resolve import Resolver
from saltern.model.tree import Ref, Text, TreeError, build, merge, references, tokenise

KEYS = st.sampled_from(["a", "b", "c"])
LEAVES = st.one_of(st.integers(), st.text(alphabet="xy", max_size=2))
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=2), st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=3,
)


@given(TREES, TREES)
@settings(deadline=None)
def test_merging_changes_neither_side(low: Any, high: Any) -> None:
    low, high = build(low, strict=True), build(high, strict=True)
    before = copy.deepcopy((low, high))
    merged = merge(low, high)
    Resolver(merged, Options()).plain(merged)
    # Layers compare by identity: both sides have none before the merge
    assert (low, high) == before


@given(TREES)
@settings(deadline=None)
def test_merging_with_nothing_changes_nothing(tree: Any) -> None:
    assert merge(tree, {}) == tree
    assert merge({}, tree) == tree


@given(TREES)
@settings(deadline=None)
def test_a_merge_with_itself_appends_lists(tree: Any) -> None:
    """Memoised prefixes may be the same object: they must be merged all the same."""

    def doubled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: doubled(value) for key, value in node.items()}
        return node + node if isinstance(node, list) else node

    assert merge(tree, tree) == doubled(tree)


@given(TREES)
@settings(deadline=None)
def test_plain_data_is_fresh(tree: Any) -> None:
    plain = Resolver(tree, Options()).plain(tree)
    assert plain == tree

    def containers(node: Any) -> set[int]:
        if isinstance(node, dict):
            return {id(node)}.union(*map(containers, node.values()))
        if isinstance(node, list):
            return {id(node)}.union(*map(containers, node))
        return set()

    assert not containers(plain) & containers(tree)


@given(st.text(alphabet="${}[]:\\ax", max_size=12))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never a crash; text without an opening mark stays as it is."""
    try:
        token = tokenise(text)
    except TreeError:
        assert "${" in text or "$[" in text
        return
    if "${" not in text and "$[" not in text:
        assert token == text
    if isinstance(token, Text):
        assert any(isinstance(part, Ref) for part in token.parts)


@pytest.mark.parametrize("text", ["hunter2${", "hunter2${}", "${x}hunter2$[ y ]"])
def test_an_error_does_not_tell_the_text(text: str) -> None:
    """It may be a password that nobody has encrypted yet."""
    with pytest.raises(TreeError) as caught:
        tokenise(text)
    assert "hunter2" not in caught.value.sentence


def test_references_are_found_wherever_they_are() -> None:
    tree = build({"a": ["x${b}", {"~c": "${d:${e}}"}], "=f": {"g": "${h}"}}, strict=True)
    found = ["".join(map(str, ref.parts)) for ref in references(tree)]
    assert found == ["b", "d:${e}", "e", "h"]
