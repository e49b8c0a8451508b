"""``saltern model show|nodes``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from saltern.cli.model.options import (
    cluster_option,
    inventory_option,
    look_options,
    open_inventory,
    options_option,
    read_options,
    store_option,
)


class _NoAliases(yaml.SafeDumper):
    """Data that occurs twice is printed twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@click.command()
@click.argument("node")
@inventory_option
@options_option
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="yaml")
@click.option("--served", is_flag=True, help="The pillar as served, with published data.")
@click.option("--revision", metavar="REF", help="The pillar as served from this revision.")
@store_option
def show(
    node: str,
    path: Path,
    options_file: Path | None,
    form: str,
    served: bool,
    revision: str | None,
    store: Path,
) -> None:
    """Compile NODE and print it; secrets stay encrypted.

    A revision that the store does not have is compiled into it.
    """
    data: Any
    if revision is not None:
        from saltern.adapters.git import ModelRepo
        from saltern.adapters.revisions import compile_revision
        from saltern.model.options import Options
        from saltern.model.store import Store

        # what is compiled to be served comes first; else secrets need not exist
        stored, options = Store(store), Options.build(read_options(options_file))
        if not stored.has(ModelRepo(path, options).resolve(revision), options=options):
            options = Options.build(look_options(options_file))
        data = compile_revision(path, revision, stored, options).node(node).pillar
        _print(data, form)
        return
    inventory = open_inventory(path, options_file)
    if served:
        from saltern.model.cluster import cluster_of, compile_cluster

        data = compile_cluster(inventory, cluster_of(inventory, node))[node].pillar
    else:
        compiled = inventory.node(node)
        data = {
            "classes": compiled.classes,
            "applications": compiled.applications,
            "environment": compiled.environment,
            "parameters": compiled.parameters,
            "exports": compiled.exports,
        }
    _print(data, form)


def _print(data: Any, form: str) -> None:
    if form == "json":
        click.echo(json.dumps(data, indent=2, sort_keys=True, default=str))
    else:
        click.echo(yaml.dump(data, None, _NoAliases, sort_keys=True), nl=False)


@click.command()
@inventory_option
@cluster_option
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the files differ.")
@click.pass_context
def nodes(ctx: click.Context, path: Path, cluster: str, check: bool) -> None:
    """Write nodes/CLUSTER/*.yml from the cluster class."""
    from saltern.model import nodes as generator

    inventory = open_inventory(path)
    if check:
        told = generator.differences(inventory, cluster)
        for sentence in told:
            click.echo(sentence)
        if told:
            ctx.exit(1)
        return
    for name in generator.write(inventory, cluster):
        click.echo(f"nodes/{cluster}/{name}")
