"""An engine in a process of its own, which can be killed at a point that a test picks.

``python -m tests.integration.carry JSON`` carries out a rollout on the daemons of a test and prints
its outcome as JSON. What it is killed with is SIGKILL to itself, so nothing is tidied up.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import salt.config

from saltern.adapters import salt_bus
from saltern.adapters.journal import Journal
from saltern.adapters.master import MasterEvents, Site, WallClock
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.processes import me
from saltern.adapters.rollouts import Rollouts
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout.engine import Engine
from saltern.rollout.ports import Job, Return, Tick


@dataclass(frozen=True)
class Point:
    """Where something happens: around the publication of a function, or while it is waited for.

    :param what: ``kill``, or ``fill``: write ``file`` until its disk is full
    :param when: ``before`` or ``after`` the publication, or ``collecting``
    :param fun: of this function, for the first time
    :param file: ``collecting`` waits for it to be there; a step of the test writes it
    """

    what: str = ""
    when: str = ""
    fun: str = ""
    file: str = ""


class PickedBus(SaltBus):
    """A bus at which something happens at one point."""

    def __init__(self, opts: Mapping[str, Any], point: Point) -> None:
        super().__init__(opts)
        self.point = point

    def reached(self, when: str, fun: str) -> None:
        if self.point.when != when or self.point.fun != fun:
            return
        if self.point.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            fill(Path(self.point.file))

    def publish(self, job: Job) -> None:
        self.reached("before", job.call.fun)
        super().publish(job)
        self.reached("after", job.call.fun)

    def collect(self, jobs: Sequence[Job], tick: Tick | None = None) -> list[dict[str, Return]]:
        def ticked() -> None:
            for job in jobs:
                if Path(self.point.file).exists():
                    self.reached("collecting", job.call.fun)
            if tick:
                tick()

        return super().collect(jobs, ticked)


def fill(path: Path) -> None:
    """Write a file until there is no room left on its disk."""
    with path.open("ab", buffering=0) as stream:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while stream.write(b"0" * size):
                    pass
            except OSError:
                continue


def runner(opts: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], Mapping[str, Any]]:
    """Call functions of the master, as the front does."""
    import salt.runner

    def call(function: str, kwarg: Mapping[str, Any]) -> Mapping[str, Any]:
        with salt.runner.RunnerClient(dict(opts)) as client:
            answer: Mapping[str, Any] = client.cmd(function, kwarg=dict(kwarg), print_event=False)
            return answer

    return call


def main() -> None:
    """Carry out one rollout; prints state, reason and exit code."""
    order = json.loads(sys.argv[1])
    opts = dict(salt.config.master_config(order["config"]))
    # a node that is gone is given up sooner than on a busy site
    for name, value in order.get("patience", {}).items():
        assert hasattr(salt_bus, name)
        setattr(salt_bus, name, value)
    model = ModelSite(Site.of(opts))
    url = order.get("journal")
    rollouts = (
        Rollouts(Journal(url))
        if url
        else Rollouts(model.journal, lambda name: model.store.open(name, options=model.options))
    )
    bus = PickedBus(opts, Point(**order.get("point", {})))
    engine = Engine(
        bus,
        rollouts,
        WallClock(),
        MasterEvents(opts),
        runner(opts),
        None,
        me(),
    )
    if "retry" in order:
        engine.retry(order["rollout"], **order["retry"])
    outcome = engine.run(order["rollout"])
    print(json.dumps({"state": outcome.state, "reason": outcome.reason, "code": outcome.exit_code}))


if __name__ == "__main__":
    main()
