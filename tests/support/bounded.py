"""Run something in a process of its own that may crash, hang or eat memory."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: CPU seconds of its own after which work counts as hanging: many times what any takes, as a busy
#: machine with shared caches counts double. The kernel's for it are bounded more generously: a host
#: that takes memory back makes them many
CPU, KERNEL = 10, 20
#: seconds after which work that uses no CPU counts as hanging
WALL = 60
#: bytes of memory that the work may take in addition
MEMORY = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """What came out: ``value``, or ``error`` (class name and text), or ``crash`` in words."""

    value: Any = None
    error: str = ""
    text: str = ""
    crash: str = ""


def bounded(work: Callable[[], Any], *, expected: type[Exception]) -> Outcome:
    """Call ``work`` in a forked process within the limits above.

    :param work: its result must be picklable
    :param expected: the only exception that is no crash
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(work, expected, writer)
    os.close(writer)
    data, late = _read(reader)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if late:
        return Outcome(crash=f"no answer within {WALL} s")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGVTALRM, signal.SIGXCPU):
            return Outcome(crash=f"more than {CPU} s of CPU")
        return Outcome(crash=f"killed by {signal.Signals(number).name}")
    if not data:
        return Outcome(crash="gave no result")
    outcome: Outcome = pickle.loads(data)
    return outcome


def _child(work: Callable[[], Any], expected: type[Exception], writer: int) -> None:
    """Never returns: what pytest would do at its end is not this process's business."""
    try:
        with open("/proc/self/statm") as statm:
            size = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + KERNEL, used + KERNEL + 1))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU)
        try:
            outcome = Outcome(value=work())
        except expected as err:
            outcome = Outcome(error=type(err).__name__, text=str(err))
        except BaseException:
            trace = traceback.format_exc().splitlines()
            outcome = Outcome(crash="\n".join([*trace[-4:-1], trace[-1][:300]]))
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(outcome, stream)
    finally:
        os._exit(0)


def _read(reader: int) -> tuple[bytes, bool]:
    """Read to the end; True when that took too long."""
    data = b""
    end = time.monotonic() + WALL
    with os.fdopen(reader, "rb", buffering=0) as stream:
        while True:
            ready, _, _ = select.select([stream], [], [], max(0, end - time.monotonic()))
            if not ready:
                return data, True
            piece = stream.read(1 << 16)
            if not piece:
                return data, False
            data += piece
