"""``saltern model lint|schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saltern.cli.model.options import inventory_option, open_inventory, options_option
from saltern.errors import ModelError

if TYPE_CHECKING:
    from saltern.model.inventory import Inventory
    from saltern.model.lint import Report

formulas_option = click.option(
    "--formulas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Formulas with the schemas of the roles (default: those of this distribution).",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
)


@click.command()
@inventory_option
@options_option
@click.option("--cluster", "-c", multiple=True, help="Only this cluster (default: all).")
@click.option("--rule", "rules", multiple=True, help="Only this rule (default: all).")
@click.option("--list-rules", is_flag=True, help="Print the rules with their cures.")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--verbose", "-v", is_flag=True, help="Show what exceptions in files silence.")
@format_option
@formulas_option
@click.pass_context
def lint(
    ctx: click.Context,
    path: Path,
    options_file: Path | None,
    cluster: tuple[str, ...],
    rules: tuple[str, ...],
    list_rules: bool,
    strict: bool,
    verbose: bool,
    form: str,
    formulas: Path | None,
) -> None:
    """Compile all nodes and check them by named rules.

    Exit code: 0 clean or warnings only, 1 errors (or warnings with --strict), 2 the model does
    not compile.
    """
    from saltern.model import lint as linter

    if list_rules:
        _list_rules(form)
        return
    inventory = open_inventory(path, options_file)
    _check_nodes(inventory)
    report = linter.run(inventory, cluster or None, formulas, rules=rules)
    _print(report, form, verbose, path)
    ctx.exit(report.exit_code(strict=strict))


@click.command()
@click.argument("role", required=False)
@inventory_option
@options_option
@click.option("--check", "node", help="Check the roles of this node.")
@click.option("--cluster", "-c", help="Check the roles of all nodes of this cluster.")
@format_option
@formulas_option
@click.pass_context
def schema(
    ctx: click.Context,
    role: str | None,
    path: Path,
    options_file: Path | None,
    node: str | None,
    cluster: str | None,
    form: str,
    formulas: Path | None,
) -> None:
    """Print the JSON schema of ROLE, or check data by the schemas.

    Errors name file and line of the class that wrote the value.
    """
    from saltern.model import lint as linter
    from saltern.model.schema import existing_schema, formulas_path

    if sum(given is not None for given in (role, node, cluster)) != 1:
        raise click.UsageError("Give one of ROLE, --check NODE and --cluster NAME.")
    inventory = open_inventory(path, options_file)
    if role is not None:
        found = existing_schema(formulas_path(inventory, formulas), role)
        click.echo(json.dumps(found, indent=2))
        return
    report = linter.check_data(inventory, node, cluster, formulas)
    _print(report, form, False, path)
    ctx.exit(report.exit_code())


def _list_rules(form: str) -> None:
    from saltern.model.lint import RULES

    if form == "json":
        rows = [
            {"name": r.name, "severity": r.severity, "holds": r.summary, "cure": r.cure}
            for r in RULES.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for rule in RULES.values():
        click.echo(f"{rule.name:20} {rule.severity:8} {rule.summary}.")
        click.echo(f"{'':29} {rule.cure}.")


def _check_nodes(inventory: Inventory) -> None:
    if not inventory.node_files:
        raise ModelError("the model has no nodes", where=str(inventory.path))


def _print(report: Report, form: str, verbose: bool, path: Path) -> None:
    from saltern.model import lint as linter

    if form == "json":
        click.echo(linter.as_json(report))
        return
    if form == "github":
        # reviews know files by their path in the repository, where this runs
        top, here = path.absolute(), Path.cwd()
        prefix = top.relative_to(here) if top.is_relative_to(here) else top
        for row in linter.github(report, "" if prefix == Path() else str(prefix)):
            click.echo(row)
        return
    for row in linter.text(report, verbose=verbose):
        click.echo(row)
    if report.findings:
        errors = len(report.errors)
        warnings = len(report.findings) - errors
        click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
