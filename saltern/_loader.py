"""Tell Salt's loader where this distribution keeps its plugins.

The entry point is a function, not the package: in an editable install the mapped
directories (``saltern.modules`` is ``_modules/``) are not below ``saltern/``.
Salt calls it for every loader it builds, so nothing heavy may be imported here.
"""

from __future__ import annotations

import importlib

#: Salt loader type -> package of this distribution that holds its plugins.
PLUGIN_PACKAGES = {
    "modules": "saltern.modules",
    "states": "saltern.states",
    "runners": "saltern.runners",
    "engines": "saltern.engines",
    "executors": "saltern.executors",
    "pillar": "saltern.pillar",
    "tops": "saltern.tops",
    "grains": "saltern.grains",
}


def plugin_dirs() -> dict[str, list[str]]:
    """Return the plugin directories by loader type, as Salt's ``salt.loader`` entry point asks.

    Source: Salt, ``salt/loader/__init__.py`` (entry points may be a callable that
    returns a mapping of loader type to a list of directories).
    """
    return {
        loader: list(importlib.import_module(package).__path__)
        for loader, package in PLUGIN_PACKAGES.items()
    }
