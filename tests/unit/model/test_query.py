"""Inventory queries: what they say, and what a node's data depends on through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.query import Asked, ExportEntry, ExportIndex, QueryError, parse
from tests.model.trees import write_tree


def test_what_a_query_says() -> None:
    query = parse(" +allenvs exports:a:b if exports:c == self:d:e and 5 != exports:f ")
    assert query.path == ("a", "b")
    assert (query.all_environments, query.ignore_errors) == (True, False)
    first, second = query.tests
    assert (first.path, first.equal, first.own) == (("c",), True, ("d", "e"))
    assert (second.path, second.equal, second.own, second.value) == (("f",), False, None, 5)
    assert query.joins == (True,)
    assert query.paths == (("a", "b"), ("c",), ("f",))
    assert query.asked("base") == {Asked("a", None), Asked("c", None), Asked("f", None)}


@pytest.mark.parametrize(
    ("word", "value"),
    [("-5", -5), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("TRUE", True), ("false", False)]
    + [(text, text) for text in ("10.0.0.1", "1a", "-", "truest", "a:b", "'x'")],
)
def test_what_a_word_is(word: str, value: Any) -> None:
    (test,) = parse(f"if exports:a == {word}").tests
    assert (type(test.value), test.value) == (type(value), value)


@given(st.text(alphabet="exports:self if=!+AllEnvs and or10.x]", max_size=40))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        query = parse(text)
    except QueryError:
        return
    assert query.paths


def test_an_error_does_not_tell_the_text() -> None:
    with pytest.raises(QueryError) as caught:
        parse("hunter2 if")
    assert "hunter2" not in caught.value.sentence


ENTRIES = {
    "a": ExportEntry("base", {"x": 1, "y": 1}),
    "b": ExportEntry("base", {"x": 2}),
    "p": ExportEntry("prod", {"x": 3}),
    "broken": ExportEntry("prod", None, "its class is gone"),
    "fails": ExportEntry("dev", {"z": 1}, faults=((("x", "deep"), "no value"),)),
}


def test_what_an_answer_can_depend_on() -> None:
    """Compared before and after a change, it says which nodes must be compiled again."""
    index = ExportIndex(ENTRIES)
    assert index.seen(Asked("x", "base")) == [("a", [1, []]), ("b", [2, []])]
    assert index.seen(Asked("y", "base")) == [("a", [1, []])]
    assert index.seen(Asked("x", "prod")) == [("broken", ["its class is gone"]), ("p", [3, []])]
    assert index.seen(Asked("x", "dev")) == [
        ("fails", [None, [(("x", "deep"), "no value")]]),
    ]
    assert [name for name, _ in index.seen(Asked("x", None))] == ["a", "b", "broken", "fails", "p"]
    # a file that cannot be read may be of any environment
    unread = ExportIndex({**ENTRIES, "c": ExportEntry("", None, "broken YAML")})
    assert ("c", ["broken YAML"]) in unread.seen(Asked("x", "base"))


def test_a_fault_hurts_those_who_ask_for_it() -> None:
    index = ExportIndex(ENTRIES)
    own: Any = {}.get
    for text in ("exports:x", "exports:x:deep:er", "if exports:x:deep == 1"):
        with pytest.raises(QueryError, match="export x:deep of node fails fails: no value"):
            parse(text).answer(index, "dev", own)
    assert parse("exports:x:other").answer(index, "dev", own) == {}
    assert parse("exports:z").answer(index, "dev", own) == {"fails": 1}
    assert parse("+IgnoreErrors exports:x").answer(index, "dev", own) == {}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Node ``n`` asks; ``e`` exports."""
    return write_tree(
        tmp_path,
        {
            "classes/low.yml": {"parameters": {"all": {"~more": "$[ if exports:k == 1 ]"}}},
            "nodes/n.yml": {
                "classes": ["low", "gone.x"],
                "parameters": {
                    "l": ["$[ +AllEnvs exports:v:w if exports:k == self:own ]"],
                    "own": 1,
                },
            },
            "nodes/e.yml": {"exports": {"v": {"w": ["${p}"]}, "k": 1}, "parameters": {"p": "q"}},
        },
    )


def test_what_a_node_asked_is_known(top: Path) -> None:
    inventory = Inventory(top, ignore_class_notfound=True)
    for _ in range(3):
        merged = inventory.merged("n")
        assert merged.missed == ("gone.x",)
        resolver = inventory.resolver(merged)
        assert not resolver.queried
        assert resolver.plain(resolver.root)["l"] == [{"e": ["q"]}]
        assert resolver.queried == {Asked("v", None), Asked("k", None), Asked("k", "base")}


def test_exports_can_be_given(top: Path) -> None:
    """As a compiler does that has them from the last time."""
    inventory = Inventory(top, ignore_class_notfound=True)
    assert inventory.exports.entries["e"] == inventory.export_entry("e")
    given_ones = inventory.with_exports(ExportIndex({"z": ExportEntry("base", {"k": 1})}))
    assert given_ones.node("n").parameters["all"] == {"more": ["z"]}
    assert inventory.node("n").parameters["all"] == {"more": ["e"]}
    with pytest.raises(ModelError, match="node nobody has no entry"):
        inventory.export_entry("nobody")


def test_an_answer_is_fresh_data(top: Path) -> None:
    inventory = Inventory(top, ignore_class_notfound=True)
    inventory.node("n").parameters["l"][0]["e"].append("changed")
    assert inventory.node("n").parameters["l"] == [{"e": ["q"]}]


def test_a_list_item_that_fails_is_left_out(tmp_path: Path) -> None:
    items = [f"${{gone{n}}}" if n % 2 else n for n in range(25)]
    files = {"nodes/e.yml": {"exports": {"l": items, "d": {"x": "${gone}", "y": 1}}}}
    entry = Inventory(write_tree(tmp_path, files)).export_entry("e")
    assert entry.exports == {"l": list(range(0, 25, 2)), "d": {"y": 1}}
    assert len(entry.faults) == 13
