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


def test_ids_say_where_they_belong(rendered: tuple[Renderer, list[Low]]) -> None:
    """``<service>-<role>-<what>``: an id in a log leads to its formula."""
    _, chunks = rendered
    for chunk in chunks:
        service = str(chunk["__sls__"]).partition(".")[0]
        assert str(chunk["__id__"]).startswith(f"{service}-"), chunk["__id__"]


def test_no_file_is_managed_twice(rendered: tuple[Renderer, list[Low]]) -> None:
    _, chunks = rendered
    files = [
        c["name"] for c in chunks
        if c["state"] == "file" and c["fun"] in ("managed", "serialize", "symlink", "absent")
    ]  # fmt: skip
    assert not {name for name in files if files.count(name) > 1}


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
    rendered: tuple[Renderer, list[Low]], tmp_path: Path
) -> None:
    """Not world readable, and its difference is never shown."""
    made, chunks = rendered
    clear = secret_values(made.pillar)
    for chunk in chunks:
        if chunk["state"] != "file" or chunk["fun"] not in ("managed", "serialize"):
            continue
        text = "\n".join(texts(chunk))
        if chunk.get("template"):
            text += made.template(chunk, tmp_path / "rendered")
        if any(value in text for value in clear):
            assert chunk.get("show_changes") is False, chunk["__id__"]
            assert str(chunk["mode"])[-1] == "0", chunk["__id__"]


def secret_values(pillar: dict[str, object]) -> set[str]:
    """Clear text of the secrets in a pillar: 20 characters or more under a telling key."""
    found: set[str] = set()

    def walk(data: object, telling: bool) -> None:
        if isinstance(data, dict):
            for key, value in data.items():
                told = any(w in str(key) for w in ("password", "secret", "cookie", "keys"))
                walk(value, telling or told)
        elif isinstance(data, list):
            for value in data:
                walk(value, telling)
        elif telling and isinstance(data, str) and len(data) >= 20 and " " not in data:
            found.add(data)

    walk(pillar, False)
    return found


@pytest.mark.parametrize("node_name", ["cfg01", "inf01", "ctl01"])
def test_all_roles_of_a_node_render_together(
    node_name: str, renderer: GetRenderer, pillars: dict[str, dict[str, object]]
) -> None:
    """As the highstate does: ids are unique across the node, requisites lead somewhere."""
    node = next(name for name in pillars if name.startswith(node_name))
    made = renderer(node, "bookworm")
    chunks = made.low(*made.pillar["__reclass__"]["applications"])
    assert not list(unmet(chunks))
    files = [c["name"] for c in chunks if c["state"] == "file" and c["fun"] == "managed"]
    assert not {name for name in files if files.count(name) > 1}
