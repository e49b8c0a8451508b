"""Random inventories mean the same to this engine and to Python reclass."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from tests.model.trees import OracleError, comparable, oracle, ours, write_tree

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KEYS = ("a", "b", "c")
TOPS = ("p0", "p1", "p2", "p3")
CLASSES = ("k0", "k1.init", "k1.x", "k2")

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 99), st.sampled_from(["", "x", "a", "p0", "b c"])
)


def reference(level: int) -> st.SearchStrategy[str]:
    """A reference to an earlier top-level key: random trees without cycles."""
    # a list index comes in the middle only: as the last part it is a documented difference
    parts = st.sampled_from(["", *(f":{key}" for key in KEYS), ":c:a", ":c:b", ":b:0:a"])
    plain = st.builds(
        lambda top, rest: "${" + top + rest + "}", st.sampled_from(TOPS[:level]), parts
    )
    nested = st.builds(
        lambda top, inner: "${" + top + ":" + inner + "}", st.sampled_from(TOPS[:level]), plain
    )
    return st.one_of(plain, plain, plain, nested)


def strings(level: int) -> st.SearchStrategy[str]:
    """Text with references and escapes in any order."""
    odd = st.sampled_from(["\\${", "}", "\\}", "\\\\}", "\\", "$", ":", " ", "\\$["])
    pieces = [st.sampled_from(["x", "y-", "é"]), odd]
    if level:
        pieces += [reference(level), reference(level), st.just("\\\\${p0}")]
    return st.lists(st.one_of(pieces), min_size=1, max_size=3).map("".join)


def values(level: int, depth: int) -> st.SearchStrategy[Any]:
    """A parameter value; dictionaries carry prefixed keys outside of lists."""
    options = [scalars, strings(level)]
    if level:
        options.append(reference(level))
    if depth:
        inner = values(level, depth - 1)
        options += [
            st.lists(st.one_of(scalars, strings(level)), max_size=3),
            mapping(inner),
            mapping(inner),
        ]
    return st.one_of(options)


def mapping(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A dictionary; a prefixed key has no dictionary below (a documented difference)."""
    plain = st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    marked = st.dictionaries(
        st.sampled_from([f"{prefix}{key}" for prefix in "~=" for key in KEYS]),
        inner.filter(lambda value: not isinstance(value, dict)),
        max_size=1,
    )
    return st.builds(lambda low, high: {**low, **high}, plain, st.one_of(st.just({}), marked))


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of one file."""
    return {
        top: draw(values(level, 2))
        for level, top in enumerate(TOPS)
        if draw(st.integers(0, 3)) == 0
    }


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, Any]:
    """Files of an inventory with one node ``n``; includes go to later classes only."""
    # something for references to find, so that most inventories compile
    shape = {"a": "v", "b": ["x", 1], "c": {"a": "w", "b": 2, "c": {"a": None}}}
    files: dict[str, Any] = {
        "classes/base.yml": {
            "parameters": {top: draw(st.sampled_from([shape, {}])) for top in TOPS}
        }
    }
    names = ("k0", "k1", "k1.x", "k2")
    apps = st.lists(st.sampled_from(["u", "v", "~u", "~v", "w"]), max_size=3)
    for number, path in enumerate(CLASSES):
        files[f"classes/{path.replace('.', '/')}.yml"] = {
            "classes": draw(st.lists(st.sampled_from(names[number + 1 :]), max_size=2))
            if number + 1 < len(names)
            else [],
            "applications": draw(apps),
            "parameters": draw(parameters()),
            "exports": draw(st.dictionaries(st.sampled_from(KEYS), values(3, 1), max_size=1)),
        }
    files["nodes/n.d.yml"] = {
        "classes": ["base", *draw(st.lists(st.sampled_from(names), max_size=3))],
        "applications": draw(apps),
        "parameters": draw(parameters()),
    }
    return files


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        name: st.booleans()
        for name in (
            "allow_none_override",
            "allow_scalar_over_dict",
            "allow_scalar_over_list",
            "allow_list_over_scalar",
            "allow_dict_over_scalar",
            "ignore_overwritten_missing_references",
            "strict_constant_parameters",
        )
    },
)


@given(inventories(), OPTIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_same_meaning_as_reclass(files: dict[str, Any], options: dict[str, bool]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = write_tree(Path(folder), files)
        try:
            wanted = comparable(oracle(top, "n.d", **options))
        except OracleError as err:
            # a word or a large number as list index is a missing reference here, a crash there
            if str(err).startswith(("ValueError: invalid literal", "IndexError: list index")):
                return
            try:
                found = ours(top, "n.d", **options)
            except ModelError:
                return
            raise AssertionError(f"reclass refuses ({err}), this engine gives {found}") from None
        # a dictionary inside text: reclass prints its own objects where references are left
        if "Value(" not in repr(wanted):
            assert comparable(ours(top, "n.d", **options)) == wanted
