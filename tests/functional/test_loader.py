"""Every plugin loads through Salt's own loaders, from the checkout and as installed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.utils.args
import salt.utils.json

from tests.support import PLUGIN_DIRS, TREE, parsed, plugin_files

Opts = dict[str, Any]

LOADERS: dict[str, Callable[[Opts], Any]] = {
    "_modules": salt.loader.minion_mods,
    "_states": lambda opts: salt.loader.states(
        opts, salt.loader.minion_mods(opts), {}, salt.loader.serializers(opts)
    ),
    "_runners": salt.loader.runner,
    "_engines": lambda opts: salt.loader.engines(
        {**opts, "__role": "master"}, salt.loader.minion_mods(opts), salt.loader.runner(opts), {}
    ),
    "_executors": lambda opts: salt.loader.executors(opts, salt.loader.minion_mods(opts)),
    "_pillar": lambda opts: salt.loader.pillars(opts, salt.loader.minion_mods(opts)),
    "_tops": salt.loader.tops,
}
#: loaders that give the one function of a plugin under the plugin's name
ONE_FUNCTION = {"_pillar", "_tops"}


@pytest.fixture(scope="module", params=["module_dirs", "entry point"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opts:
    """Loader directory -> Salt's loader for it."""
    root = tmp_path_factory.mktemp("root")
    opts: Opts = {**salt.config.master_config(None), **salt.config.minion_config(None)}
    opts.update(
        root_dir=str(root),
        cachedir=str(root / "cache"),
        extension_modules=str(root / "extmods"),
        module_dirs=[str(TREE)] if request.param == "module_dirs" else [],
        file_client="local",
        pillar={},
        grains={"os_family": "Debian", "os": "Debian", "kernel": "Linux"},
        master_tops={"saltern_model": {}},
    )
    return {directory: load(opts) for directory, load in LOADERS.items()}


def names(path: Path) -> list[str]:
    """What a plugin file must give to its loader."""
    tree = parsed(path)
    plugin = path.stem
    for node in tree.body:
        if isinstance(node, ast.Assign) and "__virtualname__" in map(ast.unparse, node.targets):
            plugin = ast.literal_eval(node.value)
    if path.parent.name in ONE_FUNCTION:
        return [plugin]
    alias = {
        key: value
        for node in tree.body
        if isinstance(node, ast.Assign) and "__func_alias__" in map(ast.unparse, node.targets)
        for key, value in ast.literal_eval(node.value).items()
    }
    functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    return [f"{plugin}.{alias.get(f, f)}" for f in functions if not f.startswith("_")]


@pytest.mark.parametrize(
    "path",
    [path for directory in LOADERS for path in plugin_files(directory)],
    ids=lambda path: str(path.relative_to(TREE)),
)
def test_a_plugin_loads(loaded: dict[str, Any], path: Path) -> None:
    loader = loaded[path.parent.name]
    wanted = names(path)
    assert wanted
    assert not [name for name in wanted if name not in loader]
    for name in wanted:
        # a default that is no plain value would break sys.argspec over the bus
        assert salt.utils.json.dumps(salt.utils.args.get_function_argspec(loader[name]))


def test_every_directory_is_covered() -> None:
    assert set(LOADERS) | {"_grains"} == set(PLUGIN_DIRS)
