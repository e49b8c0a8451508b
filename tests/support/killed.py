"""An engine in a process of its own that is killed by SIGKILL, over the journal on the disk.

The fleet lives in a file: one line for each job that was published. What the nodes made of it is
computed from these lines, so every process sees the same world.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

from saltern.adapters.journal import Journal
from saltern.adapters.processes import me
from saltern.adapters.rollouts import Rollouts
from saltern.plan.types import Plan
from saltern.rollout.engine import Engine
from saltern.rollout.ports import Call, Job
from tests.support.fakes import Crash, FakeBus, FakeClock, FakeEvents, World

#: what changes a rollout in the journal
CHANGES = (
    "claim",
    "release_claim",
    "intent",
    "result",
    "move",
    "lease",
    "returned",
    "pin",
    "commit",
)


class Kill(Crash):
    """Ends this process as nothing can prevent."""

    def die(self, name: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KilledRollouts(Rollouts):
    """The journal, with a point at which the process can die before and after each change."""

    def __init__(self, journal: Journal, crash: Crash) -> None:
        super().__init__(journal)
        for name in CHANGES:
            setattr(self, name, _around(getattr(self, name), name, crash))


def _around(change: Callable[..., Any], name: str, crash: Crash) -> Callable[..., Any]:
    @wraps(change)
    def changed(*args: Any, **kwargs: Any) -> Any:
        crash(f"before {name}")
        found = change(*args, **kwargs)
        crash(f"after {name}")
        return found

    return changed


class DiskBus(FakeBus):
    """A bus whose world is the lines of a file."""

    def __init__(self, path: Path, crash: Crash | None = None) -> None:
        super().__init__(World(), clock=FakeClock(time.time()), crash=crash or Crash())
        self.path = path
        self.runners: list[str] = []
        for line in path.read_text().splitlines() if path.exists() else ():
            item = json.loads(line)
            if "runner" in item:
                self.runners.append(item["runner"])
            else:
                call = {**item["call"], "nodes": tuple(item["call"]["nodes"])}
                super().carry_out(Job(item["jid"], Call(**{**call, "arg": tuple(call["arg"])})))

    def new_jid(self) -> str:
        self.world.ids += 1
        return f"{time.time_ns():020d}{os.getpid():08d}{self.world.ids:06d}"

    def carry_out(self, job: Job) -> None:
        self._keep({"jid": job.jid, "call": asdict(job.call)})
        super().carry_out(job)

    def run(self, fun: str, kwarg: Mapping[str, Any]) -> Mapping[str, Any]:
        """A function of the master."""
        del kwarg
        self._keep({"runner": fun})
        self.runners.append(fun)
        return {"result": True}

    def _keep(self, item: Mapping[str, Any]) -> None:
        # one write: a process that is killed leaves a whole line, or none
        target = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(target, json.dumps(item).encode() + b"\n")
        os.close(target)


class Place:
    """A directory with a journal and a fleet.

    :param path: of the directory
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(f"sqlite:///{path / 'journal.db'}")
        self.rollout = ""

    def begin(self, plan: Plan) -> None:
        """Note a rollout."""
        self.rollout = Rollouts(self.journal).begin(plan, by="tests")

    def run(self, at: int | None = None) -> int:
        """Let a process carry it on until point ``at`` of its journal; return how it ended.

        :returns: 0 for done, 3 for points that were not reached, -9 for killed
        """
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = self._carry_on(Kill(at))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def _carry_on(self, crash: Crash) -> int:
        bus = DiskBus(self.path / "fleet")
        journal = KilledRollouts(Journal(self.journal.url), crash)
        engine = Engine(bus, journal, bus.clock, FakeEvents(), bus.run, None, me())
        return engine.run(self.rollout).exit_code
