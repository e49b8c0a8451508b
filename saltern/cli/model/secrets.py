"""``saltern model secrets``."""

from __future__ import annotations

from pathlib import Path

import click

from saltern.cli.model.options import cluster_option, inventory_option, open_inventory
from saltern.errors import SecretError


@click.group()
def secrets() -> None:
    """Generate and list the secrets of a cluster."""


@secrets.command("init")
@inventory_option
@cluster_option
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

    inventory = open_inventory(path)
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
@inventory_option
@cluster_option
def secrets_list(path: Path, cluster: str) -> None:
    """List the secrets that the cluster refers to: set or missing, kind, nodes."""
    from saltern.model import secrets as generator

    for secret in generator.wanted(open_inventory(path), cluster):
        state = "set" if secret.present else "missing"
        click.echo(f"{secret.name:32} {state:8} {secret.spec.kind:14} {len(secret.nodes)} nodes")
