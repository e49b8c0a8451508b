"""``saltern model graph``: a picture of a node's classes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from saltern.cli.model.options import inventory_option, open_inventory, options_option


@click.command()
@click.argument("node")
@inventory_option
@options_option
@click.option(
    "--format", "form", type=click.Choice(["svg", "dot", "json"]), default="svg", show_default=True
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of standard output.",
)
def graph(node: str, path: Path, options_file: Path | None, form: str, output: Path | None) -> None:
    """Draw the classes of NODE: who includes whom, in which order they are merged.

    Secrets and artifacts that were not generated yet are shown as missing.
    """
    from saltern.model.drawing import to_svg
    from saltern.model.graph import class_graph, to_dot

    inventory = open_inventory(path, options_file)
    found = class_graph(inventory, node)
    if form == "json":
        text = json.dumps(found.to_json(), indent=2) + "\n"
    elif form == "dot":
        text = to_dot(found)
    else:
        text = to_svg(found)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
