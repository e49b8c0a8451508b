"""The process that serves a lab beside its hosts: started once, found again, ended by name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from saltern.errors import LabError
from saltern.lab.shell import tail

PID, LOG = "provisioner.pid", "provisioner.log"
#: Seconds that it has to finish what it is at.
PATIENCE = 300
#: In its environment: whose it is.
_MARK = "SALTERN_LAB_DIRECTORY"


def find(directory: Path) -> psutil.Process | None:
    """Return the process of a lab, or None when it does not run.

    :param directory: the lab's
    """
    try:
        process = psutil.Process(int((directory / PID).read_text(encoding="ascii")))
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        # a number may be somebody else's by now
        return process if process.environ().get(_MARK) == str(directory) else None
    except (OSError, ValueError, psutil.Error):
        return None


def start(directory: Path, argv: Sequence[str], ready: Path) -> None:
    """Start the process of a lab and wait until it is ready.

    :param directory: the lab's
    :param argv: the program; it outlives the caller
    :param ready: a file that the process makes
    :raises LabError: it ends at once, or is not ready within half a minute
    """
    ready.unlink(missing_ok=True)
    log = directory / LOG
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd="/",
            env={**os.environ, _MARK: str(directory)},
        )
    (directory / PID).write_text(str(process.pid), encoding="ascii")
    deadline = time.monotonic() + 30
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            told = tail(log.read_text("utf-8", "replace"))
            raise LabError(
                f"the lab's provisioner does not start:\n{told}\n",
                where=str(log),
            )
        time.sleep(0.05)


def end(directory: Path, *, hard: bool = False) -> None:
    """End the process of a lab; it finishes what it is at, unless ``hard``.

    :param directory: the lab's
    :raises LabError: it does not end
    """
    process = find(directory)
    if process is not None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        with contextlib.suppress(psutil.Error):
            try:
                process.wait(PATIENCE)
            except psutil.TimeoutExpired:
                raise LabError(f"process {process.pid} of the lab does not end") from None
    (directory / PID).unlink(missing_ok=True)
