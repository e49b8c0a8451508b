"""Steps with names and times: a live display on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns where the output is no terminal: a table's words are not cut for a width nobody has.
WIDE = 200


def wide_console(stderr: bool = False) -> Console:
    """Return a console that does not wrap to 80 columns when its output goes to a file or pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else WIDE)


@dataclass
class Progress:
    """Shows what is being done and remembers how long each step took.

    :param console: where to write
    """

    console: Console = field(default_factory=lambda: wide_console(stderr=True))
    steps: list[tuple[str, float, bool]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    _failed: bool = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Run one named step; its name and time are shown when it ends, also when it fails."""
        begin = time.monotonic()
        good = False
        self._failed = False
        self.console.print(f"[dim]{self._clock()}[/] {name} …", soft_wrap=True)
        try:
            yield
            good = not self._failed
        finally:
            taken = time.monotonic() - begin
            self.steps.append((name, taken, good))
            mark = "[green]done[/]" if good else "[red]failed[/]"
            line = f"[dim]{self._clock()}[/] {name}: {mark} in {taken:.1f} s"
            self.console.print(line, soft_wrap=True)

    def failed(self) -> None:
        """Mark the current step as failed although nothing was raised."""
        self._failed = True

    def note(self, text: str) -> None:
        """Show one line below the current step."""
        line = Text(f"{self._clock()}   {text}", style="dim")
        self.console.print(line, soft_wrap=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.started)
        return f"{seconds // 60:2d}:{seconds % 60:02d}"

    def total(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def table(self) -> Table:
        """Return the steps with their times as a table."""
        table = Table("step", "seconds", "result", box=None, pad_edge=False)
        for name, taken, good in self.steps:
            table.add_row(name, f"{taken:.1f}", "done" if good else "failed")
        table.add_row("total", f"{self.total():.1f}", "")
        return table
