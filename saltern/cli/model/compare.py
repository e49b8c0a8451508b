"""``saltern model diff|impact|at``: what a change would do, before it does it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltern.cli.model.options import (
    inventory_option,
    options_option,
    read_options,
    store_option,
)

if TYPE_CHECKING:
    from saltern.model.diffshow import Line
    from saltern.model.redact import Schemas
    from saltern.model.store import Revision

formulas_option = click.option(
    "--formulas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Formulas of the roles (default: those beside the model, else of this distribution).",
)
key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="SALTERN_REDACT_KEY",
    help="File with the key that secrets are hashed with, to compare two outputs "
    "(default: $SALTERN_REDACT_KEY, else a new key for each run).",
)
only_cluster_option = click.option("--cluster", "-c", help="Only this cluster.")
node_option = click.option(
    "--node", "-n", "only", multiple=True, help="Only this node; may repeat."
)
form_option = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
#: kind of a line -> style of rich
_STYLES = {
    "title": "bold",
    "cluster": "bold cyan",
    "role": "bold",
    "nodes": "cyan",
    "added": "green",
    "removed": "red",
    "changed": "yellow",
    "note": "dim",
    "restart": "bold magenta",
}


@click.command()
@click.argument("before", metavar="[A]", default="HEAD")
@click.argument("after", metavar="[B]", default="worktree")
@inventory_option
@options_option
@store_option
@formulas_option
@key_option
@only_cluster_option
@node_option
@form_option
@click.option("--full", is_flag=True, help="Leave nothing out, however long.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when something differs, as git does.")
@click.pass_context
def diff(
    ctx: click.Context,
    before: str,
    after: str,
    path: Path,
    options_file: Path | None,
    store: Path,
    formulas: Path | None,
    key_file: Path | None,
    cluster: str | None,
    only: tuple[str, ...],
    form: str,
    full: bool,
    exit_code: bool,
) -> None:
    """Compare what the nodes are served at revisions A and B.

    Without arguments: the last commit and the files as they are. The exit code is 0 whether
    something differs or not, unless --exit-code asks for it.
    """
    from saltern.model import diffshow, redact
    from saltern.model.diff import compare

    one, two = _revisions(path, (before, after), store, options_file)
    found = compare(
        one,
        two,
        key=redact.read_key(key_file),
        schemas=_schemas(path, formulas),
        cluster=cluster,
        only=only or None,
    )
    if form == "json":
        click.echo(json.dumps(found.to_json(), indent=2, default=str))
    else:
        _print(diffshow.lines(found, full=full))
    if exit_code and found:
        ctx.exit(1)


def _revisions(
    path: Path, refs: Iterable[str], store: Path, options_file: Path | None
) -> list[Revision]:
    """Compile the revisions that the store does not have."""
    from saltern.adapters.revisions import compile_revision
    from saltern.model.store import Store

    options = read_options(options_file)
    return [compile_revision(path, ref, Store(store), options) for ref in refs]


def _schemas(path: Path, formulas: Path | None) -> Schemas:
    from saltern.errors import ModelError
    from saltern.model.inventory import Inventory
    from saltern.model.schema import formulas_path, role_schema

    try:
        folder = formulas_path(Inventory(path), formulas)
    except ModelError:  # no formulas at all: names and ciphertext still say what is secret
        return lambda role: None
    return lambda role: role_schema(folder, role)


def _print(lines: Iterable[Line]) -> None:
    """Print lines, coloured on a terminal."""
    console: Any = None
    if sys.stdout.isatty():
        try:
            from rich.console import Console
        except ImportError:  # it comes with the lab only
            pass
        else:
            console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        if console is None:
            click.echo(line.text)
        else:
            console.print(line.text, style=_STYLES.get(line.kind, ""), markup=False)
