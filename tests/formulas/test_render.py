"""Every role renders with the pillar that the model compiles for it, on every distribution."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import salt.state

from tests.support import TREE, formula_roles
from tests.support.render import PLATFORMS, Low, Renderer, texts, unmet

ROLES = [f"{service}.{role}" for service, role in formula_roles()]
#: what Salt puts where a value was masked
MASK = "**********"

#: arguments of a file state that say what the file becomes
CONTENT = ("fun", "source", "contents", "dataset", "context", "user", "group", "mode")

GetRenderer = Callable[[str, str], Renderer]
FindNode = Callable[[str], str]


@pytest.fixture(params=[(role, platform) for role in ROLES for platform in PLATFORMS],
                ids=lambda param: f"{param[0]}-{param[1]}")  # fmt: skip
def rendered(
    request: pytest.FixtureRequest, node_of: FindNode, renderer: GetRenderer
) -> tuple[Renderer, list[Low]]:
    """Renderer and low chunks of one role on one platform."""
    role, platform = request.param
    made = renderer(node_of(role), platform)
    return made, made.low(role)


def undefined(made: Renderer, chunk: Low) -> list[str]:
    """Parameters of a chunk that its state function does not take."""
    function = made.highstate.state.states[f"{chunk['state']}.{chunk['fun']}"]
    signature = inspect.signature(function)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return []
    known = {*signature.parameters, *salt.state.STATE_INTERNAL_KEYWORDS, "name", "state", "fun"}
    return [key for key in chunk if key not in known and not key.startswith("__")]


def test_a_role_is_made_of_states_that_exist(rendered: tuple[Renderer, list[Low]]) -> None:
    made, chunks = rendered
    problems = [problem for chunk in chunks for problem in made.highstate.state.verify_data(chunk)]
    assert not problems
    assert not {f"{c['__id__']}: {undefined(made, c)}" for c in chunks if undefined(made, c)}
    assert not list(unmet(chunks))


def contested(chunks: list[Low]) -> set[str]:
    """Files that two states want to be different; two roles may ask for the same file alike."""
    found: dict[str, list[Low]] = {}
    for chunk in chunks:
        if chunk["state"] == "file" and chunk["fun"] in ("managed", "serialize", "absent"):
            what = {k: v for k, v in chunk.items() if k in CONTENT}
            found.setdefault(chunk["name"], []).append(what)
    return {name for name, wanted in found.items() if any(w != wanted[0] for w in wanted)}


def test_ids_say_where_they_belong(rendered: tuple[Renderer, list[Low]]) -> None:
    """``<service>-<role>-<what>``: an id in a log leads to its formula."""
    _, chunks = rendered
    for chunk in chunks:
        service = str(chunk["__sls__"]).partition(".")[0]
        assert str(chunk["__id__"]).startswith(f"{service}-"), chunk["__id__"]


def test_no_file_is_managed_twice(rendered: tuple[Renderer, list[Low]]) -> None:
    _, chunks = rendered
    assert not contested(chunks)


def test_nothing_is_masked_or_left_unrendered(
    rendered: tuple[Renderer, list[Low]], tmp_path: Path
) -> None:
    made, chunks = rendered
    for chunk in chunks:
        for text in texts(chunk):
            assert MASK not in text, chunk["__id__"]
            assert "${" not in text or "_secret" not in text, chunk["__id__"]
        if chunk["state"] == "file" and chunk.get("template"):
            text = made.template(chunk, tmp_path / "rendered")
            assert text.strip(), chunk["__id__"]
            assert MASK not in text, chunk["__id__"]
            assert "{{" not in text, chunk["__id__"]


def test_sources_are_in_the_tree(rendered: tuple[Renderer, list[Low]]) -> None:
    _, chunks = rendered
    for chunk in chunks:
        source = chunk.get("source")
        if isinstance(source, str) and source.startswith("salt://"):
            assert (TREE / "formulas" / source.removeprefix("salt://")).exists(), chunk["__id__"]


def test_a_file_with_a_secret_is_guarded(
    rendered: tuple[Renderer, list[Low]], clear_text: set[str], tmp_path: Path
) -> None:
    """Not world readable, and its difference is never shown."""
    made, chunks = rendered
    for chunk in chunks:
        if chunk["state"] != "file" or chunk["fun"] not in ("managed", "serialize"):
            continue
        text = "\n".join(texts(chunk))
        if chunk.get("template"):
            text += made.template(chunk, tmp_path / "rendered")
        if any(value in text for value in clear_text):
            assert chunk.get("show_changes") is False, chunk["__id__"]
            assert str(chunk["mode"])[-1] == "0", chunk["__id__"]


def test_no_secret_is_on_a_command_line(
    rendered: tuple[Renderer, list[Low]], clear_text: set[str]
) -> None:
    """Neither in the arguments of a program nor in what a state shows: its id and name."""
    _, chunks = rendered
    for chunk in chunks:
        shown = [chunk["__id__"], str(chunk["name"])]
        if chunk["state"] in ("cmd", "module"):
            shown = list(texts(chunk))
        assert not [value for value in clear_text if any(value in text for text in shown)]


@pytest.mark.parametrize("node_name", ["cfg01", "inf01", "ctl01", "mon01", "mon02", "osd01"])
def test_all_roles_of_a_node_render_together(
    node_name: str, renderer: GetRenderer, pillars: dict[str, dict[str, object]]
) -> None:
    """As the highstate does: ids are unique across the node, requisites lead somewhere."""
    node = next(name for name in pillars if name.startswith(node_name))
    made = renderer(node, "bookworm")
    chunks = made.low(*made.pillar["__reclass__"]["applications"])
    assert not list(unmet(chunks))
    assert not contested(chunks)
