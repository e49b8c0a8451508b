"""``saltern model generate``: a new cluster from a short file of answers."""

from __future__ import annotations

from pathlib import Path

import click

from saltern.cli.model.options import inventory_option
from saltern.errors import ModelError


@click.command()
@click.argument(
    "answers", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@inventory_option
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when something would change.")
@click.option("--example", metavar="KIND", help="Print a commented answers file: core, iaas, caas.")
@click.pass_context
def generate(
    ctx: click.Context, answers: Path | None, path: Path, check: bool, example: str | None
) -> None:
    """Write the classes and nodes of a cluster from the file ANSWERS.

    Prints the files that were written; a second run writes none. A file that was edited by hand
    is never replaced.
    """
    from saltern.model import generate as library

    if example is not None:
        click.echo(library.example(example), nl=False)
        return
    if answers is None:
        raise ModelError(
            "no answers are named", cure="Start with `saltern model generate --example core`"
        )
    found = library.read(answers.read_text(encoding="utf-8"), answers.name)
    if check:
        wanted = library.changes(path, found)
        for file in wanted:
            click.echo(f"{file.path} would be written")
        if wanted:
            ctx.exit(1)
        return
    written = library.write(path, found)
    for name in written:
        click.echo(name)
    if written:
        cluster = found["name"]
        click.echo(
            f"next: saltern model secrets init --cluster {cluster} --gpg-home DIR, "
            f"saltern model lint --cluster {cluster}",
            err=True,
        )
