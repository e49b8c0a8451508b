"""``saltern release``: which release may follow which, without a master."""

from __future__ import annotations

import json
from pathlib import Path

import click

from saltern.cli.model.options import inventory_option, open_inventory, options_option

format_option = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def release() -> None:
    """Ask the release catalogue."""


@release.command()
@inventory_option
@options_option
@click.option("--cluster", "-c", help="Cluster of the model whose nodes say what runs.")
@click.option("--to", required=True, help="A version, or PRODUCT=VERSION pairs with commas.")
@click.option("--now", help="Pairs that are right where the model is not; all without a cluster.")
@click.option("--own", help="Products with packages of their own, with commas.")
@click.option("--allow", help="Products that may take the exceptional way, with commas.")
@click.option("--direct", is_flag=True, help="Each product in one hop, and no other.")
@format_option
@click.pass_context
def path(
    ctx: click.Context,
    path: Path,
    options_file: Path | None,
    cluster: str | None,
    to: str,
    now: str | None,
    own: str | None,
    allow: str | None,
    direct: bool,
    form: str,
) -> None:
    """Find the ordered hops to a version, or the smallest reason why there are none.

    Exit code: 0 there is a path, 1 there is none, 2 it could not be asked.
    """
    from saltern.model.cluster import compile_cluster
    from saltern.release import observe, show
    from saltern.release.lifecycle import load
    from saltern.release.solve import solve

    if not (cluster or now):
        raise click.UsageError("Give --cluster NAME, or --now with all that runs.")
    nodes = compile_cluster(open_inventory(path, options_file), cluster) if cluster else {}
    catalogue = load()
    request = observe.request(catalogue, nodes, to, now, own, allow)
    answer = solve(catalogue, request, direct=direct)
    if form == "json":
        click.echo(json.dumps({"ok": answer.ok, **show.data(request, answer)}, indent=2))
    else:
        click.echo(show.text(catalogue, request, answer))
    ctx.exit(0 if answer.ok else 1)


@release.command()
@click.argument("product", required=False)
@format_option
def matrix(product: str | None, form: str) -> None:
    """Show all products and rules, or the versions of PRODUCT and what goes with them."""
    from saltern.release import show
    from saltern.release.lifecycle import load

    catalogue = load()
    if form == "json":
        click.echo(json.dumps(show.matrix_data(catalogue, product), indent=2))
    else:
        click.echo(show.matrix(catalogue, product))
