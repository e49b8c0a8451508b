"""``saltern model``: look at, generate and check the layered model, without a master."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from saltern.errors import ModelError, SecretError
from saltern.model.inventory import Inventory


class _NoAliases(yaml.SafeDumper):
    """Data that occurs twice is printed twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_inventory = click.option(
    "--inventory",
    "-i",
    "path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("."),
    show_default=True,
    help="Model tree with classes/ and nodes/.",
)
_options = click.option(
    "--options",
    "options_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with engine options.",
)
_cluster = click.option("--cluster", "-c", required=True, help="Name of the cluster.")


def _open(path: Path, options_file: Path | None = None) -> Inventory:
    options: Any = {}
    if options_file is not None:
        try:
            options = yaml.safe_load(options_file.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError:
            raise ModelError("the options are not valid YAML", where=str(options_file)) from None
        if not isinstance(options, dict):
            raise ModelError("the options must be a mapping", where=str(options_file))
    return Inventory(path, **options)


@click.group()
def model() -> None:
    """Show, generate and check the layered model."""


@model.command()
@click.argument("node")
@_inventory
@_options
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="yaml")
@click.option("--served", is_flag=True, help="The pillar as served, with published data.")
def show(node: str, path: Path, options_file: Path | None, form: str, served: bool) -> None:
    """Compile NODE and print it; secrets stay encrypted."""
    inventory = _open(path, options_file)
    data: Any
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
    if form == "json":
        click.echo(json.dumps(data, indent=2, sort_keys=True, default=str))
    else:
        click.echo(yaml.dump(data, None, _NoAliases, sort_keys=True), nl=False)


@model.command()
@_inventory
@_cluster
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the files differ.")
@click.pass_context
def nodes(ctx: click.Context, path: Path, cluster: str, check: bool) -> None:
    """Write nodes/CLUSTER/*.yml from the cluster class."""
    from saltern.model import nodes as generator

    inventory = _open(path)
    if check:
        told = generator.differences(inventory, cluster)
        for sentence in told:
            click.echo(sentence)
        if told:
            ctx.exit(1)
        return
    for name in generator.write(inventory, cluster):
        click.echo(f"nodes/{cluster}/{name}")


@model.command()
@_inventory
@click.option("--cluster", "-c", help="Only this cluster (default: all).")
@click.option(
    "--formulas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Formulas with the schemas of the roles (default: those of this distribution).",
)
@click.pass_context
def lint(ctx: click.Context, path: Path, cluster: str | None, formulas: Path | None) -> None:
    """Compile all nodes and check layers, schemas, secrets and lifecycles."""
    from saltern.model.cluster import clusters
    from saltern.model.lint import check

    inventory = _open(path)
    names = [cluster] if cluster else clusters(inventory)
    if not names:
        raise ModelError("the model has no nodes", where=str(path))
    findings = check(inventory, names[0], formulas)
    for name in names[1:]:
        findings += check(inventory, name, formulas)
    unique = list(dict.fromkeys(map(str, findings)))
    for sentence in unique:
        click.echo(sentence)
    if unique:
        click.echo(f"{len(unique)} finding{'s' if len(unique) > 1 else ''}", err=True)
        ctx.exit(1)


@model.group()
def secrets() -> None:
    """Generate and list the secrets of a cluster."""


@secrets.command("init")
@_inventory
@_cluster
@click.option(
    "--gpg-home",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="GnuPG home; a key pair is made when it holds none.",
)
@click.option("--recipient", multiple=True, help="Encrypt for these keys of the home.")
def secrets_init(path: Path, cluster: str, gpg_home: Path, recipient: tuple[str, ...]) -> None:
    """Make every secret that the cluster refers to and that has no value; print the names."""
    from saltern.adapters.gpg import Gpg
    from saltern.model import secrets as generator

    inventory = _open(path)
    gpg = Gpg(gpg_home.absolute())
    gpg.create_home()
    try:
        recipients = list(recipient) or gpg.secret_keys()
        if not recipients:
            recipients = [gpg.create_key(f"Saltern model {cluster}")]
            click.echo(f"new key {recipients[0]} in {gpg_home}")
        elif len(recipients) > 1 and not recipient:
            raise SecretError(
                f"{gpg_home} holds several secret keys", cure="Name one with --recipient"
            )
        made = generator.init(inventory, cluster, lambda text: gpg.encrypt(text, recipients))
    finally:
        gpg.stop_agent()
    for name in made:
        click.echo(name)
    click.echo(f"{len(made)} new in {generator.path_of(inventory, cluster)}")


@secrets.command("list")
@_inventory
@_cluster
def secrets_list(path: Path, cluster: str) -> None:
    """List the secrets that the cluster refers to: set or missing, kind, nodes."""
    from saltern.model import secrets as generator

    for secret in generator.wanted(_open(path), cluster):
        state = "set" if secret.present else "missing"
        click.echo(f"{secret.name:32} {state:8} {secret.spec.kind:14} {len(secret.nodes)} nodes")
