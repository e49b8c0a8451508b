"""The ``saltern`` command: what an operator runs beside ``salt-run``.

Groups are imported when they are called, so ``saltern --help`` stays quick and a
machine that only lints a model needs nothing of the lab.
"""

from __future__ import annotations

import sys

import click

from saltern import __version__
from saltern.cli.lazy import LazyGroup
from saltern.errors import SalternError

#: command -> ("module:attribute", one-line help)
COMMANDS = {
    "artifact": ("saltern.cli.artifact:artifact", "Build, verify and list release artifacts."),
    "deploy": ("saltern.cli.deploy:deploy", "Bring up the lab and deploy a cluster on it."),
    "lab": ("saltern.cli.lab:lab", "Hosts of a lab: up, down, status, exec, logs."),
    "master": ("saltern.cli.master:master", "A Salt master that serves the model."),
    "model": (
        "saltern.cli.model:model",
        "The layered model: show, explain, compare, compile.",
    ),
    "release": ("saltern.cli.release:release", "Which release may follow which, and the way."),
}


@click.command(
    cls=LazyGroup,
    commands_table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="saltern")
def cli() -> None:
    """Deploy clouds from one layered model, and keep them moving."""


def main() -> None:
    """Run the command line; an expected error is one sentence on stderr and its exit code."""
    try:
        cli.main(prog_name="saltern", standalone_mode=True)
    except SalternError as err:
        click.echo(f"saltern: {err}", err=True)
        sys.exit(err.exit_code)
