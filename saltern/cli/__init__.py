"""The ``saltern`` command: what an operator runs beside ``salt-run``.

Groups are imported when they are called, so ``saltern --help`` stays quick and a
machine that only lints a model needs nothing of the lab.
"""

from __future__ import annotations

import importlib
import sys

import click

from saltern import __version__
from saltern.errors import SalternError

#: command -> ("module:attribute", one-line help)
COMMANDS = {
    "artifact": ("saltern.cli.artifact:artifact", "Build, verify and list release artifacts."),
    "deploy": ("saltern.cli.deploy:deploy", "Bring up the lab and deploy a cluster on it."),
    "lab": ("saltern.cli.lab:lab", "Hosts of a lab: up, down, status, exec, logs."),
    "model": ("saltern.cli.model:model", "The layered model: show, lint, nodes, secrets."),
}


class LazyGroup(click.Group):
    """A click group that imports a sub-command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
