"""``saltern model diff|impact|at``: what a change would do, before it does it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from saltern.cli.model.options import (
    inventory_option,
    look_options,
    options_option,
    store_option,
)

if TYPE_CHECKING:
    from saltern.model.diffshow import Line
    from saltern.model.redact import Schemas
    from saltern.model.store import Revision

formulas_option = click.option(
    "--formulas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Formulas of the roles (default: those beside the model, else of this distribution).",
)
key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="SALTERN_REDACT_KEY",
    help="File with the key that secrets are hashed with, to compare two outputs "
    "(default: $SALTERN_REDACT_KEY, else a new key for each run).",
)
only_cluster_option = click.option("--cluster", "-c", help="Only this cluster.")
node_option = click.option(
    "--node", "-n", "only", multiple=True, help="Only this node; may repeat."
)
form_option = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
#: kind of a line -> style of rich
_STYLES = {
    "title": "bold",
    "cluster": "bold cyan",
    "role": "bold",
    "nodes": "cyan",
    "added": "green",
    "removed": "red",
    "changed": "yellow",
    "note": "dim",
    "restart": "bold magenta",
}


class _NoAliases(yaml.SafeDumper):
    """Data that occurs twice is printed twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@click.command()
@click.argument("before", metavar="[A]", default="HEAD")
@click.argument("after", metavar="[B]", default="worktree")
@inventory_option
@options_option
@store_option
@formulas_option
@key_option
@only_cluster_option
@node_option
@form_option
@click.option("--full", is_flag=True, help="Leave nothing out, however long.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when something differs, as git does.")
@click.pass_context
def diff(
    ctx: click.Context,
    before: str,
    after: str,
    path: Path,
    options_file: Path | None,
    store: Path,
    formulas: Path | None,
    key_file: Path | None,
    cluster: str | None,
    only: tuple[str, ...],
    form: str,
    full: bool,
    exit_code: bool,
) -> None:
    """Compare what the nodes are served at revisions A and B.

    Without arguments: the last commit and the files as they are. The exit code is 0 whether
    something differs or not, unless --exit-code asks for it.
    """
    from saltern.model import diffshow, redact
    from saltern.model.diff import compare

    one, two = _revisions(path, (before, after), store, options_file)
    found = compare(
        one,
        two,
        key=redact.read_key(key_file),
        schemas=_schemas(path, formulas),
        cluster=cluster,
        only=only or None,
    )
    if form == "json":
        click.echo(json.dumps(found.to_json(), indent=2, default=str))
    else:
        _print(diffshow.lines(found, full=full))
    if exit_code and found:
        ctx.exit(1)


@click.command()
@click.argument("before", metavar="[A]", default="HEAD")
@click.argument("after", metavar="[B]", default="worktree")
@inventory_option
@options_option
@store_option
@formulas_option
@only_cluster_option
@node_option
@form_option
@click.option("--full", is_flag=True, help="Leave nothing out, however long.")
@click.option("--no-render", is_flag=True, help="Nodes and roles only: quick, and without Salt.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes (default: processors).")
@click.option("--exit-code", is_flag=True, help="Exit 1 when something would be touched.")
@click.pass_context
def impact(
    ctx: click.Context,
    before: str,
    after: str,
    path: Path,
    options_file: Path | None,
    store: Path,
    formulas: Path | None,
    cluster: str | None,
    only: tuple[str, ...],
    form: str,
    full: bool,
    no_render: bool,
    workers: int | None,
    exit_code: bool,
) -> None:
    """Say what a change from A to B would touch: nodes, roles, files, restarts.

    The states of every affected node are rendered by Salt before and after, offline, and
    compared. Where Salt is not installed only nodes and roles are told, and that is said.
    """
    from saltern.adapters.formulas import differ, formulas_at
    from saltern.adapters.render import available, both_sides
    from saltern.model import impact as library
    from saltern.model import impactshow, redact
    from saltern.model.diff import compare

    one, two = _revisions(path, (before, after), store, options_file)
    key = redact.process_key()
    difference = compare(one, two, key=key, cluster=cluster, only=only or None)
    why_not = "asked for with --no-render" if no_render else available()
    if why_not:
        found = library.impact(one, two, difference, None, key=key, note=why_not)
    else:
        with (
            formulas_at(path, one.id, formulas) as old,
            formulas_at(path, two.id, formulas) as new,
        ):
            other = differ(old, new)
            render = both_sides(old, new if other else old, workers=workers, progress=_rendered)
            found = library.impact(one, two, difference, render, key=key, formulas_differ=other)
    if form == "json":
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        _print(impactshow.lines(found, full=full))
    if exit_code and found:
        ctx.exit(1)


@click.command()
@click.argument("time")
@click.argument("node", required=False)
@inventory_option
@options_option
@store_option
@formulas_option
@key_option
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="yaml")
def at(
    time: str,
    node: str | None,
    path: Path,
    options_file: Path | None,
    store: Path,
    formulas: Path | None,
    key_file: Path | None,
    form: str,
) -> None:
    """Tell which commit of the branch was current at TIME; with NODE, its pillar at that commit.

    TIME is ISO 8601 (UTC without a zone), @SECONDS, now, yesterday, or like "2 hours ago". It is
    compared with the committers' dates, along first parents. What a node was really served is
    known to the master: salt-run model.at.
    """
    from saltern.adapters.git import ModelRepo
    from saltern.model import redact, when
    from saltern.model.diffshow import short
    from saltern.model.options import Options

    moment = when.parse(time)
    repo = ModelRepo(path, Options.build(look_options(options_file)))
    commit, subject, epoch = repo.commit_info(repo.before(moment.timestamp()))
    if node is None:
        click.echo(f"at {when.show(moment)}")
        click.echo(f"{short(commit)}  {when.show(epoch)}  {subject}")
        return
    (revision,) = _revisions(path, (commit,), store, options_file)
    found = revision.node(node)
    known = redact.marked(found.pillar, found.applications, _schemas(path, formulas))
    pillar = redact.masked(found.pillar, redact.read_key(key_file), (), known)
    if form == "json":
        click.echo(json.dumps(pillar, indent=2, sort_keys=True, default=str))
    else:
        click.echo(yaml.dump(pillar, None, _NoAliases, sort_keys=True), nl=False)


def _revisions(
    path: Path, refs: Iterable[str], store: Path, options_file: Path | None
) -> list[Revision]:
    """Compile the revisions that the store does not have."""
    from saltern.adapters.revisions import compile_revision
    from saltern.model.store import Store

    options = look_options(options_file)
    return [compile_revision(path, ref, Store(store), options) for ref in refs]


def _rendered(done: int, total: int) -> None:
    """Show on a terminal how far the rendering is, on one line that vanishes at the end."""
    if sys.stderr.isatty():
        text = f"rendered {done} of {total}" if done < total else ""
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def _schemas(path: Path, formulas: Path | None) -> Schemas:
    from saltern.errors import ModelError
    from saltern.model.inventory import Inventory
    from saltern.model.schema import formulas_path, role_schema

    try:
        folder = formulas_path(Inventory(path), formulas)
    except ModelError:  # no formulas at all: names and ciphertext still say what is secret
        return lambda role: None
    return lambda role: role_schema(folder, role)


def _print(lines: Iterable[Line]) -> None:
    """Print lines, coloured on a terminal."""
    console: Any = None
    if sys.stdout.isatty():
        try:
            from rich.console import Console
        except ImportError:  # it comes with the lab only
            pass
        else:
            console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        if console is None:
            click.echo(line.text)
        else:
            console.print(line.text, style=_STYLES.get(line.kind, ""), markup=False)
