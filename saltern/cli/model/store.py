"""``saltern model compile|revisions|gc``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from saltern.cli.model.options import (
    inventory_option,
    options_option,
    read_options,
    store_option,
)


@click.command("compile")
@click.argument("ref", metavar="[REV]", default="HEAD")
@inventory_option
@options_option
@store_option
@click.option("--full", is_flag=True, help="Compile every node, also when it is stored already.")
def compile_(ref: str, path: Path, options_file: Path | None, store: Path, full: bool) -> None:
    """Compile all nodes of REV (default HEAD; `worktree` for the files as they are).

    Prints the revision id. A revision is stored whole or not at all.
    """
    from saltern.adapters.revisions import compile_revision
    from saltern.model.store import Store

    start = time.monotonic()
    with _Bar(sys.stderr.isatty()) as bar:
        revision = compile_revision(
            path, ref, Store(store), read_options(options_file), bar.show, full=full
        )
    info = revision.info
    click.echo(revision.id)
    if bar.shown:
        told = f"{info.compiled} nodes compiled, {info.nodes - info.compiled} reused"
    else:
        told = f"{info.nodes} nodes, stored already"
    click.echo(f"{told}, {time.monotonic() - start:.1f} s", err=True)


@click.command()
@store_option
def revisions(store: Path) -> None:
    """List the compiled revisions, newest first."""
    from saltern.model.store import ENGINE, Store

    for info in Store(store).revisions():
        created = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(info.created))
        note = "" if info.engine == ENGINE else "  (another engine: compile again)"
        clusters = ", ".join(info.clusters) or "-"
        click.echo(f"{info.id:40}  {created}  {info.nodes:5} nodes  {clusters}{note}")


@click.command()
@store_option
@click.option("--keep", "newest", type=click.IntRange(min=1), required=True, metavar="N")
@click.option("--also", multiple=True, metavar="ID", help="Full id of a revision that stays.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(store: Path, newest: int, also: tuple[str, ...], dry_run: bool) -> None:
    """Remove all but the newest N revisions, and what crashed compiles left.

    It knows no pins: on a master use `salt-run model.gc`, which keeps what is served.
    """
    from saltern.model.store import Store

    for id in Store(store).gc(also, newest, dry_run=dry_run):
        click.echo(id)


class _Bar:
    """A progress bar on a terminal; elsewhere only a memory of whether there was work."""

    def __init__(self, visible: bool) -> None:
        self.shown = False
        self._visible = visible
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: int, total: int) -> None:
        self.shown = True
        if not self._visible:
            return
        if self._progress is None:
            try:
                from rich.console import Console
                from rich.progress import Progress
            except ImportError:  # it comes with the lab only
                self._visible = False
                return
            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.start()
            self._task = self._progress.add_task("nodes", total=total)
        if done % 20 == 0 or done == total:
            self._progress.update(self._task, completed=done, total=total)
