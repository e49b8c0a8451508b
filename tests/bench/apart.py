"""Work that is measured as a process of its own: ``python -m tests.bench.apart NAME JSON``."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.measure import Work, side_by_side, spent, summary


def saltern(top: str, options: dict[str, Any]) -> dict[str, Any]:
    """Compile every node of an inventory from nothing; keep none."""
    from saltern.model import Inventory

    inventory = Inventory(top, **options)
    return {"nodes": sum(1 for name in inventory.nodes() if inventory.node(name).parameters)}


def saltern_kept(top: str, options: dict[str, Any]) -> dict[str, Any]:
    """Compile every node and keep them all, as Python reclass's inventory does."""
    from saltern.model import Inventory

    inventory = Inventory(top, **options)
    return {"nodes": len([inventory.node(name) for name in inventory.nodes()])}


def store(top: str, options: dict[str, Any], store: str, revision: str) -> dict[str, Any]:
    """Compile an inventory into a store."""
    from saltern.model import Inventory
    from saltern.model.compiler import compile_tree
    from saltern.model.store import Store

    start = time.process_time()
    done = compile_tree(Inventory(top, **options), revision, Store(store))
    return {"nodes": done.info.nodes, "compile_s": round(time.process_time() - start, 3)}


def reclass(top: str, options: dict[str, Any]) -> dict[str, Any]:
    """``nodeinfo`` of every node with one kept storage; keep none."""
    from tests.model.trees import core

    kept = core(Path(top), **options)
    names = sorted(kept._storage.enumerate_nodes())
    return {"nodes": sum(1 for name in names if kept.nodeinfo(name)["parameters"])}


def reclass_inventory(top: str, options: dict[str, Any]) -> dict[str, Any]:
    """Python reclass's own ``inventory``: it also renders every node's exports first."""
    from tests.model.trees import core

    return {"nodes": len(core(Path(top), **options).inventory()["nodes"])}


def serve(store: str, journal: str, options: dict[str, Any], nodes: list[str]) -> dict[str, Any]:
    """Serve every node three times: CPU milliseconds a node, the best of the three."""
    from saltern.adapters.journal import Journal
    from saltern.adapters.serving import Serving
    from saltern.model.options import Options
    from saltern.model.store import Store

    pins = Journal(journal)
    stored = Store(store)
    built = Options.build(options)
    serving = Serving.build({"store": store, "journal": journal, **options})
    revision = stored.open(pins.served(nodes[0]), options=built)
    works: dict[str, Work] = {
        "whole": lambda name: stored.open(pins.served(name), options=built).node(name).pillar,
        "look_up": pins.served,
        "node": revision.node,
        # with the search for secrets and the proof for tops
        "pillar": serving.pillar,
    }
    figures: dict[str, Any] = {"unit": "CPU ms a node", "nodes": len(nodes)}
    for name, work in works.items():
        figures[name] = summary(side_by_side({name: work}, nodes, 3)[name])
    return figures


def change(
    top: str, options: dict[str, Any], store: str, names: list[str], rounds: int
) -> dict[str, Any]:
    """Compile again after one class changed: CPU milliseconds a class, the best of some rounds.

    As for a commit: git knows the ids of its files, so no file is asked whether it changed. The
    process has compiled the tree before, as the master that took the commit before this one.

    :param names: the classes, one changed at a time
    """
    from saltern.model import Inventory, compiler
    from saltern.model.store import Store

    inventory = Inventory(top, **options)
    known = compiler.source_ids(inventory)
    numbers = itertools.count()

    def compiled(base: Any, sources: dict[str, str] = known) -> tuple[Any, float]:
        start = time.process_time()
        done = compiler.compile_tree(
            Inventory(top, **options),
            f"worktree-{next(numbers):012x}",
            Store(store),
            base=base,
            sources=sources,
        )
        return done, (time.process_time() - start) * 1000

    compiled(None)
    shutil.rmtree(store)
    base, full = compiled(None)
    times: dict[str, float] = {}
    rebuilt: dict[str, int] = {}
    for name in names:
        below = f"classes/{inventory.class_files[name]}"
        path = Path(top, below)
        before = path.read_text()
        for turn in range(rounds):
            new = f"parameters:\n  touched: {name} {turn}\n"
            path.write_text(before.replace("parameters:\n", new, 1))
            sources = {**known, below: compiler.blob_id(path.read_bytes())}
            done, spent_ms = compiled(base, sources)
            times[name] = min(spent_ms, times.get(name, math.inf))
            rebuilt[name] = done.info.compiled
        path.write_text(before)
    return {"full": full, "times": times, "rebuilt": rebuilt}


class Counted:
    """A journal whose writes are counted and timed."""

    WRITES = ("intent", "result", "move", "lease", "returned", "pin", "commit")

    def __init__(self, journal: Any) -> None:
        self.journal = journal
        self.seconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.journal, name)
        if name not in self.WRITES:
            return found

        def timed(*arguments: Any, **more: Any) -> Any:
            start = time.monotonic()
            try:
                return found(*arguments, **more)
            finally:
                self.seconds.append(time.monotonic() - start)

        return timed


def rollout(config: str, rollout: str) -> dict[str, Any]:
    """Carry out a rollout that was begun, as the runner on a master does."""
    import salt.config

    from saltern.adapters.master import MasterEvents, Site, WallClock
    from saltern.adapters.modelsite import ModelSite
    from saltern.adapters.processes import me
    from saltern.adapters.rollouts import Rollouts
    from saltern.adapters.salt_bus import SaltBus
    from saltern.rollout.engine import Engine

    opts = dict(salt.config.master_config(config))
    model = ModelSite(Site.of(opts))
    rollouts = Rollouts(model.journal, lambda name: model.store.open(name, options=model.options))
    journal: Any = Counted(rollouts)
    events = MasterEvents(opts, quiet=True)
    engine = Engine(SaltBus(opts), journal, WallClock(), events, no_runner, None, me())
    start = time.monotonic()
    outcome = engine.run(rollout)
    seconds = time.monotonic() - start
    return {
        "state": outcome.state,
        "reason": outcome.reason,
        "engine_s": round(seconds, 2),
        "journal_writes": len(journal.seconds),
        "journal_writes_a_second": round(len(journal.seconds) / seconds, 2),
        "journal_ms_a_write": summary([1000 * one for one in journal.seconds]),
    }


def ready() -> dict[str, Any]:
    """Read what :func:`rollout` needs, so that its bytecode is there, as on a master in use."""
    for name in ("master", "modelsite", "processes", "rollouts", "salt_bus"):
        importlib.import_module(f"saltern.adapters.{name}")
    importlib.import_module("saltern.rollout.engine")
    return {}


def thousand(nodes: int) -> dict[str, Any]:
    """Plan a change of so many nodes, and carry it out on a bus and a journal in memory."""
    from saltern.plan.make import make
    from saltern.plan.request import Request
    from saltern.plan.types import Plan
    from saltern.rollout.engine import Engine
    from tests.support.fakes import FakeBus, FakeClock, FakeEvents, MemoryJournal, World
    from tests.unit.plan.clusters import facts, small, touched

    names = [f"n{number:04}" for number in range(nodes)]
    control, rest = names[:5], names[5:]
    members = {
        "store.server": control,
        "api.server": control,
        "agent.server": rest,
        "base.host": names,
    }
    lifecycle = {
        "store.server": {"quorum": "majority"},
        "agent.server": {"stage": "resources", "max_unavailable": "25%", "domain": "rack"},
        "base.host": {"stage": "foundation", "max_unavailable": "25%", "domain": "rack"},
    }
    hosts = {name: {"rack": f"rack{number % 20:02}"} for number, name in enumerate(names)}
    cluster = small(members, lifecycle, hosts)
    changed = touched(cluster, *members)
    seen = facts(cluster)
    start = time.process_time()
    plan = make(Request("change", "many"), cluster, cluster, seen, changed, tuple(members))
    made = time.process_time() - start
    if set(plan.nodes) != set(names):
        raise SystemExit(f"the plan has {len(plan.nodes)} nodes")
    # as it comes back from the journal
    plan = Plan.from_json(json.loads(plan.canonical()))
    known = time.process_time()
    world, clock, journal = World(), FakeClock(), MemoryJournal()
    rollout = journal.begin(plan)
    bus = FakeBus(world, clock=clock)
    outcome = Engine(bus, journal, clock, FakeEvents(), no_runner, None, "bench").run(rollout)
    carried = time.process_time() - known
    if outcome.state != "done" or set(world.roles) != set(names):
        raise SystemExit(f"the rollout is {outcome.state}: {outcome.reason}")
    return {
        "nodes": nodes,
        "stages": len(plan.stages),
        "waves": sum(len(stage.waves) for stage in plan.stages),
        "steps": len(list(plan.steps())),
        "plan_cpu_s": round(made, 3),
        "engine_cpu_s": round(carried, 3),
    }


def no_runner(function: str, kwarg: Any) -> dict[str, Any]:
    """The rollouts here have no step on the master."""
    raise AssertionError(f"{function} was called with {kwarg}")


WORK = {
    work.__name__: work
    for work in (
        saltern,
        saltern_kept,
        store,
        reclass,
        reclass_inventory,
        serve,
        change,
        ready,
        rollout,
        thousand,
    )
}


def main() -> None:
    """Do one kind of work and print what it took as JSON."""
    result = WORK[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({**result, **spent()}))


if __name__ == "__main__":
    main()
