"""Guests of the lab's cloud, asked from its master; the client is :mod:`tests.support.guests`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saltern.lab.cluster import last_json
from tests.support.cluster import PYTHON, Cluster

CODE = Path(__file__).with_name("guests.py").read_text()
#: Where it lies on the master while it runs beside something.
CLIENT = "/run/saltern-guests.py"
#: The server that drills watch.
NAME = "probe"
#: Seconds without an echo while a guest or its router moves.
GAP = 3.0


def call(cluster: Cluster, verb: str, *arguments: str) -> Any:
    """What a function of the client returns."""
    done = cluster.run(cluster.master, PYTHON, "-", verb, *arguments, text=CODE)
    return last_json(done.stdout)


def meanwhile(
    cluster: Cluster, verb: str, *arguments: str, do: Callable[[], None]
) -> dict[str, Any]:
    """What a function of the client returns that runs while something happens.

    Its standard input ends when that has happened.
    """
    cluster.run(cluster.master, "tee", CLIENT, text=CODE)
    command = cluster.provider.command(cluster.master, [PYTHON, CLIENT, verb, *arguments])
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        time.sleep(5)
        try:
            do()
        finally:
            output, errors = process.communicate(timeout=900)
    found = last_json(output)
    assert isinstance(found, dict), errors
    return found
