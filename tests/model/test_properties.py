"""Laws of the engine on random trees, checked against models that are simple enough to read."""

from __future__ import annotations

import copy
import itertools
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory
from tests.model.test_reclass_fuzz import inventories
from tests.model.trees import write_tree

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@contextmanager
def tree(files: dict[str, Any]) -> Iterator[Path]:
    """Write an inventory for one example."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_tree(Path(folder), files)


def found(inventory: Inventory, name: str) -> Any:
    """All that an engine says about a node, or None when it refuses."""
    try:
        node = inventory.node(name)
    except ModelError:
        return None
    return node.parameters, node.classes, node.applications, node.exports, node.environment


# -- the order of classes -----------------------------------------------------------------

DATA = st.dictionaries(
    st.sampled_from(["s", "t"]), st.integers(0, 9), max_size=2
)  # scalars of one type


@st.composite
def class_trees(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Name -> class; includes lead to later names only, in any order. ``n`` is the node."""
    names = [f"c{n}" for n in range(draw(st.integers(1, 8)))]
    made = {}
    for place, name in enumerate(["n", *names]):
        later = names[place:]
        includes = draw(st.lists(st.sampled_from(later), max_size=4)) if later else []
        scalars = draw(DATA)
        made[name] = {
            "classes": includes,
            "applications": [f"app.{name}"],
            "parameters": {
                "trail": [name],
                "last": name,
                **scalars,
                "deep": {"trail": [name], "scalars": scalars, name: True},
            },
        }
    return made


def order(classes: dict[str, dict[str, Any]], name: str, done: dict[str, None]) -> dict[str, None]:
    """What a class includes comes before it, each class once: a page of the manual."""
    for included in classes[name]["classes"]:
        if included not in done:
            order(classes, included, done)
    done[name] = None
    return done


def as_files(classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{'nodes' if name == 'n' else 'classes'}/{name}.yml": data
        for name, data in classes.items()
    }


@given(class_trees())
@FEW
def test_order_of_classes(classes: dict[str, dict[str, Any]]) -> None:
    expected = list(order(classes, "n", {}))
    with tree(as_files(classes)) as top:
        node = Inventory(top).node("n")
        merged = [member.source.name for member in Inventory(top).merged("n").members]
    assert merged == expected
    assert sorted(node.classes) == sorted(expected[:-1])
    assert node.applications == [f"app.{name}" for name in expected]
    data = node.parameters
    # lists append in that order, each class once whatever number of ways lead to it
    assert data["trail"] == data["deep"]["trail"] == expected
    # the last word on a scalar is the node's, or that of the last one that says something
    assert data["last"] == "n"
    for key in ("s", "t"):
        said = [
            classes[name]["parameters"][key]
            for name in expected
            if key in classes[name]["parameters"]
        ]
        assert data.get(key) == (said[-1] if said else None)
        assert data["deep"]["scalars"].get(key) == data.get(key)
    # dictionaries merge: nobody's keys are lost
    assert set(data["deep"]) == {"trail", "scalars", *expected}


@given(class_trees())
@FEW
def test_where_a_value_comes_from(classes: dict[str, dict[str, Any]]) -> None:
    """``origin`` names, in merge order, the files that write a key."""
    expected = list(order(classes, "n", {}))
    with tree(as_files(classes)) as top:
        inventory = Inventory(top)
        for key in ("s", "t", "trail"):
            writers = [name for name in expected if key in classes[name]["parameters"]]
            assert [Path(path).stem for path in inventory.origin("n", key)] == writers


@given(class_trees(), st.randoms(use_true_random=False))
@FEW
def test_a_cycle_of_classes_is_named(
    classes: dict[str, dict[str, Any]], chance: random.Random
) -> None:
    """Lead one class back to one that leads to it: the sentence shows a cycle that is there."""
    reached = list(order(classes, "n", {}))[:-1]
    assume(reached)
    low = chance.choice(reached)
    above = [name for name in reached if low in order(classes, name, {})]
    classes[low]["classes"] = [*classes[low]["classes"], chance.choice(above)]
    with tree(as_files(classes)) as top, pytest.raises(ModelError) as caught:
        Inventory(top).node("n")
    text = str(caught.value)
    shown = re.search(r"include each other: (c\d(?: -> c\d)+)", text)
    assert shown, text
    cycle = shown[1].split(" -> ")
    assert cycle[0] == cycle[-1]
    for one, next_one in itertools.pairwise(cycle):
        assert next_one in classes[one]["classes"], text


# -- references ---------------------------------------------------------------------------


@cache
def what_refers_to(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """A value; ``("ref", name)`` leads to one of the names, a ``("text", …)`` holds such."""
    plain = st.one_of(st.integers(0, 9), st.sampled_from(["x", "y z", "", True, None]))
    if not names:
        return plain
    refs = st.builds(lambda name: ("ref", name), st.sampled_from(names))
    parts = st.lists(st.one_of(refs, st.sampled_from(["-", "a b"])), min_size=2, max_size=3)
    leaf = st.one_of(plain, refs, st.builds(lambda parts: ("text", parts), parts))
    return st.one_of(
        leaf,
        leaf,
        st.lists(leaf, max_size=3),
        st.dictionaries(st.sampled_from(["k", "l"]), leaf, max_size=2),
    )


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Name -> what is written there; it refers to earlier names only."""
    names = tuple(f"v{n}" for n in range(draw(st.integers(1, 7))))
    return {name: draw(what_refers_to(names[:place])) for place, name in enumerate(names)}


@st.composite
def cyclic_graphs(draw: st.DrawFn) -> dict[str, Any]:
    """The same, with one value more that refers to a name that leads to it."""
    graph = draw(graphs())
    name = draw(st.sampled_from(sorted(graph)))
    back = (
        "ref",
        draw(st.sampled_from([one for one in graph if name in reach(graph)[one]] + [name])),
    )
    wrap = draw(st.sampled_from(["ref", "text", "list", "dict"]))
    graph[name] = {
        "ref": back,
        "text": ("text", ["x", back]),
        "list": [0, back],
        "dict": {"k": back},
    }[wrap]
    return graph


def written(value: Any) -> Any:
    """A value as it stands in a file."""
    if isinstance(value, tuple):
        kind, what = value
        if kind == "ref":
            return f"${{{what}}}"
        return "".join(part if isinstance(part, str) else written(part) for part in what)
    if isinstance(value, list):
        return [written(item) for item in value]
    if isinstance(value, dict):
        return {key: written(item) for key, item in value.items()}
    return value


def needs(value: Any) -> set[str]:
    """Names that a value refers to."""
    if isinstance(value, tuple):
        kind, what = value
        if kind == "ref":
            return {what}
        return set().union(*(needs(part) for part in what))
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        return set().union(*(needs(item) for item in items))
    return set()


def reach(graph: dict[str, Any]) -> dict[str, set[str]]:
    """Name -> all names that it leads to, over whatever others."""
    found = {name: needs(value) for name, value in graph.items()}
    for _ in graph:
        for name in graph:
            found[name] = found[name].union(*(found[other] for other in found[name]))
    return found


def substituted(graph: dict[str, Any], value: Any) -> Any:
    """Put values in place of references until there is none: what references mean."""
    if isinstance(value, tuple):
        kind, what = value
        if kind == "ref":
            return substituted(graph, graph[what])
        parts = [part if isinstance(part, str) else substituted(graph, part) for part in what]
        return "".join(map(str, parts))
    if isinstance(value, list):
        return [substituted(graph, item) for item in value]
    if isinstance(value, dict):
        return {key: substituted(graph, item) for key, item in value.items()}
    return value


def as_node(graph: dict[str, Any]) -> dict[str, Any]:
    """An inventory whose node has these parameters, written in two classes."""
    data = {name: written(value) for name, value in graph.items()}
    names = sorted(data)
    half = len(names) // 2
    return {
        "classes/one.yml": {"parameters": {name: data[name] for name in names[half:]}},
        "classes/two.yml": {"parameters": {name: data[name] for name in names[:half]}},
        "nodes/n.yml": {"classes": ["one", "two"]},
    }


@given(graphs())
@settings(FEW, max_examples=150)
def test_references_are_substitution(graph: dict[str, Any]) -> None:
    expected = {name: substituted(graph, value) for name, value in graph.items()}
    with tree(as_node(graph)) as top:
        data = Inventory(top).node("n").parameters
    data.pop("_reclass_")
    assert data == expected
    assert repr(sorted(data.items())) == repr(sorted(expected.items()))  # 1 is not True


@given(cyclic_graphs())
@settings(FEW, max_examples=150)
def test_a_cycle_of_references_is_named(graph: dict[str, Any]) -> None:
    with tree(as_node(graph)) as top, pytest.raises(ModelError) as caught:
        Inventory(top).node("n")
    text = str(caught.value)
    leads_to = reach(graph)
    cycles = re.findall(r"form a cycle: ((?:\$\{v\d\}(?: -> )?)+)", text)
    for shown in cycles:
        names = re.findall(r"v\d", shown)
        assert names[0] == names[-1]
        # a list or a dictionary on the way is not named
        for one, next_one in itertools.pairwise(names):
            assert next_one in leads_to[one], text
    # through a dictionary or list nothing refers to itself as a whole, but inside
    assert cycles or "contains itself" in text
    # what is complained about is in a cycle, or leads into one
    guilty = {name for name in graph if name in leads_to[name]}
    for name in re.findall(r"at key (v\d)", text):
        assert guilty & (leads_to[name] | {name})


# -- many nodes ---------------------------------------------------------------------------


@st.composite
def several_nodes(draw: st.DrawFn) -> dict[str, Any]:
    """A random inventory, its node there four times, with parameters of their own."""
    files = draw(inventories())
    node = files.pop("nodes/n.d.yml")
    for number in range(4):
        one = copy.deepcopy(node)
        one["parameters"]["number"] = number
        if draw(st.booleans()):
            one["parameters"]["p0"] = {"a": f"own{number}"}
        if draw(st.booleans()):
            one["classes"] = one["classes"][:1]
        files[f"nodes/n{number}.d.yml"] = one
    return files


def spoil(value: Any) -> None:
    """Change all that can be changed."""
    if isinstance(value, dict):
        for item in list(value.values()):
            spoil(item)
        value.clear()
        value["spoilt"] = True
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value[:] = ["spoilt"]


@given(several_nodes(), st.permutations(range(4)))
@FEW
def test_no_node_depends_on_another(files: dict[str, Any], turn: list[int]) -> None:
    """Any order, again and again, one inventory or a new one for each: the same results."""
    with tree(files) as top:
        names = [f"n{number}.d" for number in range(4)]
        alone = {name: copy.deepcopy(found(Inventory(top), name)) for name in names}
        kept = Inventory(top)
        for number in [*turn, *reversed(turn)]:
            assert found(kept, names[number]) == alone[names[number]]


@given(several_nodes(), st.permutations(range(4)))
@FEW
def test_results_share_nothing(files: dict[str, Any], turn: list[int]) -> None:
    """What a caller does to a result is nobody else's business."""
    with tree(files) as top:
        names = [f"n{number}.d" for number in range(4)]
        alone = {name: copy.deepcopy(found(Inventory(top), name)) for name in names}
        kept = Inventory(top)
        for number in [*turn, *turn]:
            result = found(kept, names[number])
            assert result == alone[names[number]]
            for part in result or ():
                spoil(part)


@given(inventories())
@FEW
def test_no_value_is_in_two_places(files: dict[str, Any]) -> None:
    """Changing a value at one key changes no other key, also where one refers to the other."""
    with tree(files) as top:
        result = found(Inventory(top), "n.d")
    assume(result)
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if isinstance(value, dict | list):
            assert id(value) not in seen
            seen.add(id(value))
            for item in value.values() if isinstance(value, dict) else value:
                visit(item)

    visit(result[0])
    visit(result[3])


@given(several_nodes(), st.integers(0, 3), st.booleans())
@FEW
def test_a_changed_tree(files: dict[str, Any], number: int, reuse: bool) -> None:
    """A new inventory sees the tree as it is now, whatever this process has parsed before."""
    name = f"n{number}.d"
    with tree(files) as top:
        if reuse:
            for other in Inventory(top).nodes():
                found(Inventory(top), other)
        files["classes/base.yml"]["parameters"]["added"] = ["now"]
        write_tree(top, {"classes/base.yml": files["classes/base.yml"]})
        result = found(Inventory(top), name)
        assert result is None or result[0]["added"] == ["now"]


# -- modes --------------------------------------------------------------------------------


@given(inventories(), st.sampled_from(["", "typo: 1\n", "classes: []\n", "environment: x\n"]))
@FEW
def test_what_strict_accepts_means_the_same_in_reclass(files: dict[str, Any], extra: str) -> None:
    with tree(files) as top:
        path = top / "classes/k2.yml"
        path.write_text(path.read_text() + extra)
        strict = found(Inventory(top), "n.d")
        if strict is not None:
            assert found(Inventory(top, compat="reclass"), "n.d") == strict


# -- exports ------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["base", "dev"]),
            st.one_of(st.none(), st.integers(0, 2)),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    )
)
@FEW
def test_inventory_queries(nodes: list[tuple[str, int | None, bool]]) -> None:
    """A query sees the nodes of its environment that export the key, and no others."""
    files: dict[str, Any] = {}
    for number, (environment, value, flag) in enumerate(nodes):
        files[f"nodes/n{number}.yml"] = {
            "environment": environment,
            "exports": {**({} if value is None else {"v": "${own}"}), "flag": flag},
            "parameters": {
                "own": value,
                "values": "$[ exports:v ]",
                "all": "$[ +AllEnvs exports:v ]",
                "some": "$[ exports:v if exports:flag == True ]",
                "same": "$[ if exports:v == self:own ]",
                "not": "$[ exports:v if exports:flag == True and exports:v != 1 ]",
            }
            if value is not None
            else {"all": "$[ +AllEnvs exports:v ]"},
        }
    with tree(files) as top:
        inventory = Inventory(top)
        for number, (environment, value, _) in enumerate(nodes):
            data = inventory.node(f"n{number}").parameters
            every = {f"n{n}": one for n, (_, one, _) in enumerate(nodes) if one is not None}
            assert data["all"] == every
            if value is None:
                continue
            mine = {
                name: one for name, one in every.items() if nodes[int(name[1])][0] == environment
            }
            flagged = {name: one for name, one in mine.items() if nodes[int(name[1])][2]}
            assert data["values"] == mine
            assert data["some"] == flagged
            assert data["same"] == [name for name, one in mine.items() if one == value]
            assert data["not"] == {name: one for name, one in flagged.items() if one != 1}
