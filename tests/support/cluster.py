"""A deployed cluster as tests see it: its hosts, its master, and its users' requests."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from saltern.lab.cluster import last_json
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.provider import Completed

PROBE = Path(__file__).with_name("token_probe.py")
#: Python with the Salt venv's packages
PYTHON = "/opt/salt/bin/python"


class Cluster:
    """One cluster on lab hosts.

    :param name: cluster name, which is the lab's name too
    """

    master = "cfg01"

    def __init__(self, name: str) -> None:
        self.name = name
        self.provider = NspawnProvider(name)
        self.deploy_output = ""

    @cached_property
    def hosts(self) -> list[str]:
        """Short names, sorted."""
        return sorted(self.provider.specs())

    def named(self, prefix: str) -> list[str]:
        """Hosts of one group, such as ``inf``."""
        return [name for name in self.hosts if name.startswith(prefix)]

    def run(self, host: str, *argv: str, check: bool = True, text: str | None = None) -> Completed:
        """Run a program on a host."""
        return self.provider.exec(host, argv, check=check, input=text)

    def salt(self, *argv: str) -> dict[str, Any]:
        """Ask all minions; return minion id -> answer."""
        done = self.run(
            self.master, "salt", "--out=json", "--static", "--timeout=60", "*", *argv, check=False
        )
        answer = last_json(done.stdout)
        assert isinstance(answer, dict), done.stdout + done.stderr
        return answer

    def salt_run(self, *argv: str) -> tuple[int, Any, str]:
        """Run ``salt-run`` on the master; return exit code, its data, and all it printed."""
        done = self.run(self.master, "salt-run", "--out=json", *argv, check=False)
        return done.returncode, last_json(done.stdout), done.stdout + done.stderr

    @contextmanager
    def tokens(self) -> Iterator[Tokens]:
        """Ask for a token through the virtual address, again and again, while the body runs."""
        command = self.provider.command(self.master, [PYTHON, "-u", "-c", PROBE.read_text()])
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            tokens = Tokens()
            try:
                yield tokens
            finally:
                # the end of its input stops the probe: a signal would stop only its wrapper
                output, tokens.problem = process.communicate(timeout=60)
                tokens.read(output.splitlines())


class Tokens:
    """What the probe saw: ``(time, issued, detail)`` per request, on the machine's clock."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, bool, str]] = []
        self.problem = ""

    def read(self, lines: Sequence[str]) -> None:
        """Take over the probe's lines."""
        self.seen = [tuple(json.loads(line)) for line in lines]

    def longest_outage(self) -> float:
        """Seconds of the longest stretch between two tokens that were issued."""
        issued = [moment for moment, good, _ in self.seen if good]
        assert len(issued) > 1, f"no tokens at all: {self.seen[:3]} {self.problem}"
        last = max(moment for moment, _, _ in self.seen)
        return max(b - a for a, b in zip(issued, [*issued[1:], last], strict=True))


def eventually(check: Callable[[], bool], seconds: float, interval: float = 1.0) -> bool:
    """Whether ``check`` becomes true within ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        if check():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(interval)
