"""A deployed cluster as tests see it: its hosts, its master, and its users' requests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from saltern.lab.cluster import last_json
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.provider import Completed

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

    def all_answer(self) -> bool:
        """Whether every minion answers the master."""
        done = self.run(
            self.master,
            "salt",
            "--out=json",
            "--static",
            "--timeout=20",
            "*",
            "test.ping",
            check=False,
        )
        answers = last_json(done.stdout) or {}
        return len(answers) == len(self.hosts) and set(answers.values()) == {True}

    def orchestrate(self, *argv: str) -> dict[str, Any]:
        """Run ``salt-run state.orch``, which must succeed; return its states by key."""
        code, data, printed = self.salt_run("state.orch", *argv)
        assert code == 0, printed[-6000:]
        found = data.get("data", data)
        states: dict[str, Any] = next(v for v in found.values() if isinstance(v, dict))
        assert states, printed[-6000:]
        assert all(state["result"] is not False for state in states.values()), printed[-6000:]
        return states

    def longest_outage(self, seconds: float, disturb: Callable[[], None]) -> float:
        """Ask for tokens through the virtual address while something happens.

        :param seconds: how long to ask
        :param disturb: called once tokens were issued for some seconds
        :returns: longest time without a new token, in seconds
        """
        probe = [PYTHON, "-m", "saltern.sanity.probe", "--cloud=admin", f"--seconds={seconds}"]
        command = self.provider.command(self.master, [*probe, "--interval=0.25"])
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
            time.sleep(8)
            disturb()
            output, errors = process.communicate(timeout=seconds + 60)
        seen = last_json(output)
        assert seen, errors
        assert seen["requests"] > seen["failures"], seen
        return float(seen["longest_gap"])


def eventually(check: Callable[[], bool], seconds: float, interval: float = 1.0) -> bool:
    """Whether ``check`` becomes true within ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        if check():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(interval)
