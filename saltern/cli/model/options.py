"""What the commands of ``saltern model`` have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import yaml

from saltern.errors import ModelError
from saltern.model.inventory import Inventory


def default_store() -> Path:
    """Return where compiled revisions go when nobody says so.

    Source: XDG Base Directory Specification, ``XDG_CACHE_HOME``.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    top = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return top / "saltern" / "model-store"


inventory_option = click.option(
    "--inventory",
    "-i",
    "path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("."),
    show_default=True,
    help="Model tree with classes/ and nodes/.",
)
options_option = click.option(
    "--options",
    "options_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with engine options.",
)
store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SALTERN_STORE",
    default=default_store,
    show_default="$SALTERN_STORE, or model-store in the user's cache",
    help="Directory of compiled revisions.",
)
cluster_option = click.option("--cluster", "-c", required=True, help="Name of the cluster.")


def open_inventory(path: Path, options_file: Path | None = None) -> Inventory:
    """Open the inventory of a command line.

    :param path: model tree
    :param options_file: YAML file with engine options
    :raises ModelError: the options cannot be read, or the tree
    """
    return Inventory(path, **look_options(options_file))


def look_options(options_file: Path | None) -> dict[str, Any]:
    """Read the engine options of a command that only looks: secrets need not exist yet.

    :param options_file: YAML file, or None for the defaults
    :raises ModelError: the file cannot be read
    """
    return {"placeholders": True, **read_options(options_file)}


def read_options(options_file: Path | None) -> dict[str, Any]:
    """Read the engine options of a command line.

    :param options_file: YAML file, or None for the defaults
    :raises ModelError: the file cannot be read
    """
    options: Any = {}
    if options_file is not None:
        try:
            options = yaml.safe_load(options_file.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError:
            raise ModelError("the options are not valid YAML", where=str(options_file)) from None
        if not isinstance(options, dict):
            raise ModelError("the options must be a mapping", where=str(options_file))
    return dict(options)
