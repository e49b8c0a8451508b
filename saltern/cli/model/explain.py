"""``saltern model explain``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saltern.cli.model.lint import formulas_option
from saltern.cli.model.options import inventory_option, look_options, options_option

if TYPE_CHECKING:
    from saltern.model.explain import Explanation, Step, Touch


@click.command()
@click.argument("node")
@click.argument("key")
@inventory_option
@options_option
@click.option("--revision", help="A commit, branch or tag (default: the files as they are).")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@formulas_option
@click.pass_context
def explain(
    ctx: click.Context,
    node: str,
    key: str,
    path: Path,
    options_file: Path | None,
    revision: str | None,
    form: str,
    formulas: Path | None,
) -> None:
    """Say which lines make KEY (a:b:c) of NODE what it is, in merge order.

    ``*`` marks the lines that are in the final value, ``x`` those that another one undid.
    Exit code 1 when the key does not exist.
    """
    from saltern.model.explain import explain as explained
    from saltern.model.inventory import Inventory

    options = look_options(options_file)
    beside = path / "formulas"
    if formulas is None and beside.is_dir():
        formulas = beside  # a revision is a directory of its own
    with _tree(path, revision, options) as top:
        found = explained(Inventory(top, **options), node, key, formulas)
    if form == "json":
        click.echo(json.dumps(found.to_json(), indent=2, default=str))
    else:
        for row in text(found):
            click.echo(row)
    ctx.exit(0 if found.found else 1)


@contextlib.contextmanager
def _tree(path: Path, revision: str | None, options: dict[str, Any]) -> Iterator[Path]:
    if revision is None:
        yield path
        return
    from saltern.adapters.git import ModelRepo
    from saltern.model.options import Options

    repo = ModelRepo(path, Options.build(options))
    with repo.checkout(repo.resolve(revision)) as top:
        yield top


def text(found: Explanation) -> Iterator[str]:
    """Yield an explanation for people.

    :param found: what :func:`saltern.model.explain.explain` returned
    """
    where = f" (cluster {found.cluster})" if found.cluster else ""
    yield f"{found.key} on {found.node}{where}"
    for note in found.notes:
        yield f"note: {note}"
    for touch in found.touches:
        yield from _touch(touch, "  ")
    if not found.found:
        yield f"= {found.sentence}"
    elif found.fault:
        yield f"= no value: {found.fault}"
    else:
        yield f"= {_value(found.value)}"


def _touch(touch: Touch, indent: str) -> Iterator[str]:
    from saltern.model.findings import listed

    mark = "*" if touch.winner else "x" if touch.overridden_by else "-"
    effect = "constant" if touch.constant and touch.effect == "set" else touch.effect
    if touch.by:
        effect += f" by {listed(touch.by)}"
    if touch.overridden_by:
        effect += f", overridden by {touch.overridden_by}"
    yield f"{indent}{mark} {touch.file}:{touch.line}  {touch.key}: {_value(touch.says)}  [{effect}]"
    if touch.chain:
        yield f"{indent}    {' -> '.join(touch.chain)}"
    for step in touch.steps:
        yield from _step(step, f"{indent}    ")


def _step(step: Step, indent: str) -> Iterator[str]:
    for inner in step.nested:
        yield from _step(inner, indent)
    note = f"  ({step.note})" if step.note else ""
    to = f" -> {step.key}" if step.nested else ""
    yield f"{indent}{step.reference}{to} = {_value(step.value)}{note}"
    for touch in step.origins:
        yield from _touch(touch, f"{indent}  ")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
