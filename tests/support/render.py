"""Render formulas with Salt's own loader and compiler, for any platform, without a minion."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import salt.config
import salt.loader
import salt.state

from tests.support import TREE

#: platform -> the grains in which it differs from another one
PLATFORMS: dict[str, dict[str, Any]] = {
    "bookworm": {"os": "Debian", "osrelease": "12", "osmajorrelease": 12, "osfinger": "Debian-12"},
    "trixie": {"os": "Debian", "osrelease": "13", "osmajorrelease": 13, "osfinger": "Debian-13"},
    "jammy": {
        "os": "Ubuntu", "osrelease": "22.04", "osmajorrelease": 22, "osfinger": "Ubuntu-22.04",
    },
    "noble": {
        "os": "Ubuntu", "osrelease": "24.04", "osmajorrelease": 24, "osfinger": "Ubuntu-24.04",
    },
}  # fmt: skip

#: requisites whose target must be part of the same run
REQUISITES = (
    "require", "require_any", "watch", "watch_any", "onchanges", "onchanges_any", "onfail",
    "onfail_any", "listen", "prereq",
)  # fmt: skip

Low = dict[str, Any]


class RenderError(AssertionError):
    """Salt could not compile the states; the text has its messages."""


class Renderer:
    """Salt's loader and state compiler for one node on one platform.

    :param pillar: the node's pillar, as a minion would get it
    :param platform: key of :data:`PLATFORMS`
    :param cache: directory for what Salt caches
    """

    def __init__(self, pillar: Mapping[str, Any], platform: str, cache: Path) -> None:
        self.pillar = copy.deepcopy(dict(pillar))
        host = self.pillar["host"]
        opts = salt.config.minion_config(None)
        opts.update(
            id=host["fqdn"],
            root_dir=str(cache),
            cachedir=str(cache / "cache"),
            pki_dir=str(cache / "pki"),
            extension_modules=str(cache / "extmods"),
            file_client="local",
            file_roots={"base": [str(TREE / "formulas")]},
            module_dirs=[str(TREE)],
            pillar=self.pillar,
            state_verbose=False,
        )
        machine = _machine_grains(opts)
        opts["grains"] = {
            **machine,
            **PLATFORMS[platform],
            "oscodename": platform,
            "lsb_distrib_codename": platform,
            "os_family": "Debian",
            "id": host["fqdn"],
            "host": host["name"],
            "fqdn": host["fqdn"],
            "localhost": host["name"],
            "nodename": host["name"],
            "init": "systemd",
        }
        self.highstate = salt.state.HighState(opts, initial_pillar=self.pillar)
        self.functions = self.highstate.state.functions
        self._done: dict[tuple[str, ...], list[Low]] = {}
        self._texts: dict[tuple[str, str], str] = {}

    def low(self, *sls: str) -> list[Low]:
        """Return the ordered low chunks of the given SLS names.

        :raises RenderError: Salt refuses them (template error, duplicate id, unknown state …)
        """
        if sls in self._done:
            return self._done[sls]
        # a HighState collects what it renders: begin anew for each question
        self.highstate.building_highstate = type(self.highstate.building_highstate)()
        high, errors = self.highstate.render_highstate({"base": list(sls)})
        state = self.highstate.state
        if not errors:
            high, more = state.reconcile_extend(high)
            errors += more
            errors += state.verify_high(high)
        if not errors:
            high, more = state.requisite_in(high)
            errors += more
        if not errors:
            high = state.apply_exclude(high)
            chunks, more = state.compile_high_data(high)
            errors += more or []
        if errors:
            raise RenderError("\n".join(map(str, errors)))
        self._done[sls] = list(chunks)
        return self._done[sls]

    def template(self, chunk: Low, dest: Path) -> str:
        """Render the template of a ``file.managed`` chunk and return the text."""
        key = (chunk["__id__"], chunk["name"])
        if key in self._texts:
            return self._texts[key]
        context = {**chunk.get("defaults", {}), **chunk.get("context", {})}
        path = self.functions["cp.get_template"](
            chunk["source"], str(dest), template=chunk["template"], makedirs=True, context=context
        )
        if not path:
            raise RenderError(f"{chunk['source']} could not be rendered")
        self._texts[key] = Path(path).read_text()
        return self._texts[key]

    def close(self) -> None:
        """Give back the file client."""
        self.highstate.destroy()


_GRAINS: dict[str, Any] = {}


def _machine_grains(opts: dict[str, Any]) -> dict[str, Any]:
    """The machine's own grains, collected once per process."""
    if not _GRAINS:
        _GRAINS.update(salt.loader.grains(opts))
    return _GRAINS


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
