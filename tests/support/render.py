"""Formulas rendered by Salt, and questions about what comes out."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from saltern.adapters import render
from saltern.adapters.render import PLATFORMS, Low, RenderError
from tests.support import TREE

__all__ = ["PLATFORMS", "Low", "RenderError", "Renderer", "texts", "unmet"]

#: requisites whose target must be part of the same run
REQUISITES = (
    "require", "require_any", "watch", "watch_any", "onchanges", "onchanges_any", "onfail",
    "onfail_any", "listen", "prereq",
)  # fmt: skip


class Renderer(render.Renderer):
    """A renderer of the formulas of this tree."""

    def __init__(self, pillar: Mapping[str, Any], platform: str, cache: Path) -> None:
        super().__init__(pillar, platform, cache, TREE / "formulas")


def unmet(chunks: list[Low]) -> Iterator[str]:
    """Yield every requisite that names a state which is not part of the run."""
    sls = {chunk["__sls__"] for chunk in chunks}
    for chunk in chunks:
        for kind in REQUISITES:
            for wanted in chunk.get(kind, []):
                if isinstance(wanted, str):
                    met = any(wanted in (c["__id__"], c["name"]) for c in chunks)
                else:
                    ((state, name),) = wanted.items()
                    met = (state == "sls" and name in sls) or any(
                        c["state"] == state
                        and (c["__id__"] == name or fnmatch.fnmatch(str(c["name"]), str(name)))
                        for c in chunks
                    )
                if not met:
                    yield f"{chunk['__id__']}: {kind} {wanted}"


def texts(value: Any) -> Iterator[str]:
    """Yield every string inside a structure, keys too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value
