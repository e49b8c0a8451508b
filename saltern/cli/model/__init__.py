"""``saltern model``: the layered model, without a master.

One module per kind of work; a module is imported when one of its commands is called.
"""

from __future__ import annotations

import click

from saltern.cli.lazy import LazyGroup

#: command -> ("module:attribute", one-line help)
COMMANDS = {
    "at": ("saltern.cli.model.compare:at", "Tell what was current at a time."),
    "compile": ("saltern.cli.model.store:compile_", "Compile a revision into the store."),
    "diff": ("saltern.cli.model.compare:diff", "Compare what nodes are served at two revisions."),
    "gc": ("saltern.cli.model.store:gc", "Remove old revisions from the store."),
    "revisions": ("saltern.cli.model.store:revisions", "List the compiled revisions."),
    "generate": ("saltern.cli.model.generate:generate", "Write a new cluster from answers."),
    "graph": ("saltern.cli.model.graph:graph", "Draw the classes of a node."),
    "explain": ("saltern.cli.model.explain:explain", "Say which lines make a key what it is."),
    "impact": ("saltern.cli.model.compare:impact", "Say what a change would touch."),
    "lint": ("saltern.cli.model.lint:lint", "Check the model by named rules."),
    "nodes": ("saltern.cli.model.basics:nodes", "Write nodes/CLUSTER/*.yml from the class."),
    "schema": ("saltern.cli.model.lint:schema", "Print a role's schema, or check data by it."),
    "secrets": ("saltern.cli.model.secrets:secrets", "Generate, rotate and check secrets."),
    "show": ("saltern.cli.model.basics:show", "Compile a node and print it."),
}


@click.command(cls=LazyGroup, commands_table=COMMANDS)
def model() -> None:
    """Show, generate and check the layered model."""
