"""``saltern master check|prepare``: before the Salt master starts."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from saltern.errors import PreflightError

config_option = click.option(
    "--config",
    "-c",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("/etc/salt"),
    show_default=True,
    help="Directory of the master's configuration.",
)


@click.group()
def master() -> None:
    """A Salt master that serves the model."""


@master.command()
@config_option
@click.pass_context
def check(ctx: click.Context, directory: Path) -> None:
    """Say what keeps the master from serving the model; exit code 2 when something does."""
    from saltern.adapters import mastercheck

    opts = mastercheck.read_config(directory)
    found = mastercheck.faults(opts)
    for sentence in found:
        click.echo(sentence)
    if found:
        ctx.exit(PreflightError.exit_code)
    for sentence in mastercheck.notes(opts):
        click.echo(f"note: {sentence}", err=True)


@master.command()
@config_option
def prepare(directory: Path) -> None:
    """Make journal, store and site key, or bring them up to date after an upgrade.

    To be run as the master's user. Again, it changes nothing.
    """
    from saltern.adapters import mastercheck, modelsite
    from saltern.adapters.master import Site

    opts = mastercheck.read_config(directory)
    site = Site.of(opts, any_cluster=True)
    settings = modelsite.pillar_settings(opts)
    for sentence in modelsite.prepare(site, getpass.getuser(), settings):
        click.echo(sentence)
