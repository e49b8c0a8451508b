"""What the commands of ``saltern model`` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from saltern.errors import ModelError
from saltern.model.inventory import Inventory

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
cluster_option = click.option("--cluster", "-c", required=True, help="Name of the cluster.")


def open_inventory(path: Path, options_file: Path | None = None) -> Inventory:
    """Open the inventory of a command line.

    :param path: model tree
    :param options_file: YAML file with engine options
    :raises ModelError: the options cannot be read, or the tree
    """
    options: Any = {}
    if options_file is not None:
        try:
            options = yaml.safe_load(options_file.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError:
            raise ModelError("the options are not valid YAML", where=str(options_file)) from None
        if not isinstance(options, dict):
            raise ModelError("the options must be a mapping", where=str(options_file))
    return Inventory(path, **options)
