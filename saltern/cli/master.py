"""``saltern master check|prepare|compile``: for the start of a Salt master, and for its hooks."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

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
@click.option("--prepare", "first", is_flag=True, help="Do what `prepare` does before.")
@click.pass_context
def check(ctx: click.Context, directory: Path, first: bool) -> None:
    """Say what keeps the master from serving the model; exit code 2 when something does."""
    from saltern.adapters import mastercheck

    opts = mastercheck.read_config(directory)
    # a wrong setting is told with all the others, not as the reason why nothing was prepared
    if first and not mastercheck.misconfigured(opts):
        _prepare(opts)
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
    from saltern.adapters import mastercheck

    _prepare(mastercheck.read_config(directory))


def _prepare(opts: dict[str, Any]) -> None:
    from saltern.adapters import mastercheck, modelsite
    from saltern.adapters.master import Site

    site = Site.of(opts, any_cluster=True)
    if not site.journal:
        return
    mastercheck.become_user(opts)
    settings = modelsite.pillar_settings(opts)
    for sentence in modelsite.prepare(site, getpass.getuser(), settings):
        click.echo(sentence)


@master.command(name="compile")
@config_option
@click.argument("ref")
def compile_(directory: Path, ref: str) -> None:
    """Compile REF into the master's store; a hook refuses a push when this fails."""
    from saltern.adapters import mastercheck
    from saltern.adapters.master import Site
    from saltern.adapters.modelsite import ModelSite, short

    opts = mastercheck.read_config(directory)
    site = Site.of(opts, any_cluster=True)
    mastercheck.become_user(opts)
    info = ModelSite(site).find(ref).info
    click.echo(f"Revision {short(info.id)} compiles: {info.nodes} nodes.")
