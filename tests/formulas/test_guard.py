"""With a master, no formula runs on a pillar that the model does not vouch for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from salt.exceptions import TemplateError
from salt.utils.jinja import SerializerExtension, jinja_raise

from tests.support import TREE

FORMULAS = TREE / "formulas"
STATES = sorted(str(path.relative_to(FORMULAS)) for path in FORMULAS.glob("*/*.sls"))
NODE = "web01.example.org"
GUARD = "saltern/guard.jinja"


def render(name: str, pillar: dict[str, Any], file_client: str = "remote") -> str:
    """Render the Jinja of a file as far as it comes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(FORMULAS)),
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", SerializerExtension],
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.globals["raise"] = jinja_raise
    opts = {"file_client": file_client, "id": NODE}
    context = {"opts": opts, "pillar": pillar, "grains": {"id": NODE}}
    return environment.get_template(name).render(**context)


@pytest.mark.parametrize("name", STATES)
def test_a_pillar_without_the_sentinel_is_refused(name: str) -> None:
    with pytest.raises(TemplateError, match="has no __reclass__ of this node"):
        render(name, {})


@pytest.mark.parametrize(
    "sentinel", [None, {}, {"nodename": "web02.example.org"}, {"applications": []}]
)
def test_the_sentinel_is_that_of_this_node(sentinel: Any) -> None:
    with pytest.raises(TemplateError, match=f"salt-run model.status node={NODE}"):
        render(GUARD, {"__reclass__": sentinel})
    assert render(GUARD, {"__reclass__": {"nodename": NODE}}) == ""


def test_a_host_without_a_master_has_no_model() -> None:
    assert render(GUARD, {}, "local") == ""


def test_there_are_formulas() -> None:
    assert len(STATES) > 30
    assert all(Path(FORMULAS / name).is_file() for name in STATES)
