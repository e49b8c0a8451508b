"""``saltern model secrets``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saltern.cli.model.options import cluster_option, inventory_option, open_inventory
from saltern.errors import SecretError

if TYPE_CHECKING:
    from saltern.adapters.gpg import Gpg

F = TypeVar("F", bound=Callable[..., Any])


def _home_option(what: str, *, required: bool = True) -> Callable[[F], F]:
    return click.option(
        "--gpg-home",
        required=required,
        type=click.Path(file_okay=False, path_type=Path),
        help=what,
    )


recipient_option = click.option(
    "--recipient", multiple=True, help="Encrypt for these keys of the home."
)


@click.group()
def secrets() -> None:
    """Generate, rotate and check the secrets of a cluster; no command prints a value."""


@contextlib.contextmanager
def _gpg(home: Path) -> Iterator[Gpg]:
    from saltern.adapters.gpg import Gpg

    gpg = Gpg(home.absolute())
    try:
        yield gpg
    finally:
        gpg.stop_agent()


@secrets.command("init")
@inventory_option
@cluster_option
@_home_option("GnuPG home; a key pair is made when it holds none.")
@recipient_option
def secrets_init(path: Path, cluster: str, gpg_home: Path, recipient: tuple[str, ...]) -> None:
    """Make every secret that the cluster refers to and that has no value; print the names."""
    from saltern.model import secrets as generator

    inventory = open_inventory(path)
    with _gpg(gpg_home) as gpg:
        gpg.create_home()
        recipients = list(recipient) or gpg.secret_keys()
        if not recipients:
            recipients = [gpg.create_key(f"Saltern model {cluster}")]
            click.echo(f"new key {recipients[0]} in {gpg_home}")
        elif len(recipients) > 1 and not recipient:
            raise SecretError(
                f"{gpg_home} holds several secret keys", cure="Name one with --recipient"
            )
        made = generator.init(inventory, cluster, lambda text: gpg.encrypt(text, recipients))
    for name in made:
        click.echo(name)
    click.echo(f"{len(made)} new in {generator.path_of(inventory, cluster)}")


@secrets.command("rotate")
@click.argument("names", nargs=-1)
@inventory_option
@cluster_option
@_home_option("GnuPG home with the keys to encrypt for.")
@recipient_option
@click.option("--all", "everything", is_flag=True, help="All secrets that are encrypted here.")
def secrets_rotate(
    names: tuple[str, ...],
    path: Path,
    cluster: str,
    gpg_home: Path,
    recipient: tuple[str, ...],
    everything: bool,
) -> None:
    """Give secrets NAMES new values; print whom they reach.

    They are encrypted for the keys of --recipient, else for those that the old message was
    encrypted for. The nodes take the new values up with their next deployment.
    """
    from saltern.model import secrets as generator

    if bool(names) == everything:
        raise click.UsageError("Name the secrets, or use --all.")
    inventory = open_inventory(path)
    with _gpg(gpg_home) as gpg:

        def encrypt(text: str, old: str) -> str:
            return gpg.encrypt(text, recipient or gpg.recipients(old))

        rotated = generator.rotate(inventory, cluster, names or None, encrypt)
    for one in rotated:
        click.echo(one.name)
        for what, found in (("nodes", one.nodes), ("roles", one.roles), ("units", one.units)):
            click.echo(f"  {what}: {', '.join(found) or '-'}")
    click.echo(f"{len(rotated)} new in {generator.path_of(inventory, cluster)}")


@secrets.command("rewrap")
@inventory_option
@cluster_option
@_home_option("GnuPG home that opens the secrets, with the keys of all recipients.")
@click.option(
    "--recipient", multiple=True, required=True, help="All keys that are to open the secrets."
)
def secrets_rewrap(path: Path, cluster: str, gpg_home: Path, recipient: tuple[str, ...]) -> None:
    """Encrypt all secrets of a cluster anew, for other keys; the values stay.

    Whoever could open the old messages still knows the values: after a loss, rotate.
    """
    from saltern.model import secrets as generator

    inventory = open_inventory(path)
    with _gpg(gpg_home) as gpg:
        names = generator.rewrap(
            inventory, cluster, gpg.decrypt, lambda text: gpg.encrypt(text, recipient)
        )
    for name in names:
        click.echo(name)
    click.echo(f"{len(names)} encrypted anew in {generator.path_of(inventory, cluster)}")


@secrets.command("check")
@inventory_option
@cluster_option
@_home_option("GnuPG home that has to open them; without, nothing is opened.", required=False)
@click.option("--recipient", multiple=True, help="They have to be encrypted for these keys.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_context
def secrets_check(
    ctx: click.Context,
    path: Path,
    cluster: str,
    gpg_home: Path | None,
    recipient: tuple[str, ...],
    form: str,
) -> None:
    """Check that every secret has a value, opens, is used, and is for the right keys.

    Exit code 1 when something is wrong; a sentence each.
    """
    from saltern.model import secrets as generator

    inventory = open_inventory(path)
    if gpg_home is None:
        if recipient:
            raise click.UsageError("--recipient needs --gpg-home.")
        faults = generator.check(inventory, cluster)
    else:
        with _gpg(gpg_home) as gpg:
            wanted = {key for name in recipient for key in gpg.encryption_keys(name)}
            faults = generator.check(
                inventory, cluster, gpg.decrypt, gpg.recipients, wanted or None
            )
    if form == "json":
        rows = [{"name": f.name, "sentence": f.sentence, "place": f.place} for f in faults]
        click.echo(json.dumps(rows, indent=2))
    else:
        for fault in faults:
            click.echo(str(fault))
    ctx.exit(1 if faults else 0)


@secrets.command("list")
@inventory_option
@cluster_option
def secrets_list(path: Path, cluster: str) -> None:
    """List the secrets that the cluster refers to: set or missing, kind, nodes."""
    from saltern.model import secrets as generator

    for secret in generator.wanted(open_inventory(path), cluster):
        state = "set" if secret.present else "missing"
        click.echo(f"{secret.name:32} {state:8} {secret.spec.kind:14} {len(secret.nodes)} nodes")
