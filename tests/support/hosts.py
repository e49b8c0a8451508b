"""Real hosts for tests: testinfra over the lab's host provider."""

from __future__ import annotations

import os
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from saltern.lab.nspawn import NspawnProvider
from saltern.lab.provider import HostProvider

#: seconds one command of a test may take; a hanging one fails with exit code 124
LIMIT = 300


class ProviderBackend(BaseBackend):
    """Run testinfra's commands through a host provider.

    :param hostname: name of the host in its lab
    :param provider: the lab's provider
    """

    NAME = "lab"

    def __init__(self, hostname: str, provider: HostProvider, **kwargs: Any) -> None:
        super().__init__(hostname, **kwargs)
        self.provider = provider

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a shell command on the host."""
        text = self.get_command(command, *args)
        argv = ["timeout", "--kill-after=10", str(LIMIT), "/bin/sh", "-c", text]
        done = self.provider.exec(self.hostname, argv, check=False)
        return self.result(done.returncode, text.encode(), done.stdout, done.stderr)


def testinfra_host(provider: HostProvider, name: str) -> Host:
    """Return testinfra's host object for a host of a lab."""
    return Host(ProviderBackend(name, provider))


def why_no_hosts() -> str:
    """Return why this machine can't boot hosts, or "" when it can."""
    if os.geteuid() != 0:
        return "booting hosts needs root"
    return "; ".join(NspawnProvider("preflight").preflight([]))
