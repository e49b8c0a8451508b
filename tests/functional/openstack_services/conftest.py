"""Salt's own loaders of one minion, pointed at the checkout."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader

from tests.support import TREE


@dataclass
class Minion:
    """``run(state, **arguments)`` calls a state function; ``call(function, …)`` a module's."""

    opts: dict[str, Any]
    states: Any
    modules: Any

    def run(self, state: str, *, test: bool = False, **arguments: Any) -> dict[str, Any]:
        for loaded in (self.opts, self.states.opts, self.modules.opts):
            loaded["test"] = test
        return dict(self.states[state](**arguments))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.modules[function](*args, **kwargs)


@pytest.fixture
def make_minion(tmp_path: Path) -> Callable[[dict[str, Any]], Minion]:
    """Return a function that builds a minion with a pillar."""

    def build(pillar: dict[str, Any]) -> Minion:
        opts = salt.config.minion_config(None)
        opts.update(
            root_dir=str(tmp_path / "salt"),
            cachedir=str(tmp_path / "salt/cache"),
            extension_modules=str(tmp_path / "salt/extmods"),
            module_dirs=[str(TREE)],
            file_client="local",
            pillar=pillar,
            test=False,
        )
        opts["grains"] = {"kernel": "Linux", "os": "Debian", "os_family": "Debian"}
        modules = salt.loader.minion_mods(opts)
        states = salt.loader.states(opts, modules, {}, salt.loader.serializers(opts))
        return Minion(opts, states, modules)

    return build


@pytest.fixture
def minion(make_minion: Callable[[dict[str, Any]], Minion]) -> Minion:
    """A minion without a pillar."""
    return make_minion({})


@pytest.fixture(scope="session")
def me() -> dict[str, str]:
    """The user that runs the tests, as states name owners."""
    return {"user": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
