"""Time rollouts on a real master with a hundred minions, and beside ``ansible-playbook``.

``python -m tests.bench.rollout [--only one_wave,…]`` writes ``build/bench-rollout.json``, prints a
table, and exits 1 when a target is missed. Wall time on a machine that does nothing else; what is
compared takes turns. Master and minions are whole daemons on the loopback addresses
(:mod:`tests.bench.fleet`), in a directory that goes afterwards.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from saltern.plan.types import Basis, Plan
from saltern.rollout.ports import OK
from tests.bench import ansible
from tests.bench.fleet import CLUSTER, ROLE, Fleet
from tests.bench.measure import apart, machine, spent
from tests.bench.model import Report, progress
from tests.support import TREE, plans

REPORT = TREE / "build/bench-rollout.json"
#: minions; nodes of the rolling comparison, and how many of them at a time
COUNT, ROLLED, SIZE = 100, 80, 8
ROUNDS = 3


class Site:
    """A running fleet with two revisions that give every minion the same states."""

    def __init__(self, fleet: Fleet) -> None:
        from saltern.adapters.master import Site as Settings
        from saltern.adapters.modelsite import ModelSite
        from saltern.adapters.rollouts import Rollouts

        self.fleet = fleet
        self.config = str(fleet.config / "master")
        self.model = ModelSite(Settings.of(fleet.options()))
        self.rollouts = Rollouts(self.model.journal)
        self.before = self.model.journal.deployed()[CLUSTER]
        # what changes is in no state, so applying it is a no-op
        self.after = self.model.compile(fleet.commit("a note", note="new"), "bench", "").revision.id
        apart("ready", fleet.environment())

    def questions(self, name: str) -> list[dict[str, Any]]:
        """What is asked before and after each wave."""
        return [{"file": str(self.fleet.work / name), "mode": "0644"}]

    def basis(self) -> Basis:
        """The fleet as it is."""
        return Basis(self.after, deployed=self.before, present=tuple(self.fleet.nodes))

    def run(self, plan: Plan) -> dict[str, Any]:
        """Carry out a plan in a process of its own; its wall seconds begin with Python.

        :raises SystemExit: it did not end well
        """
        identity = self.rollouts.begin(plan, "bench")
        begin = time.monotonic()
        figures = apart("rollout", self.fleet.environment(), config=self.config, rollout=identity)
        figures["seconds"] = round(time.monotonic() - begin, 2)
        if figures["state"] != "done":
            raise SystemExit(f"the rollout is {figures['state']}: {figures['reason']}")
        records = self.rollouts.load(identity).records
        spent_on: dict[str, float] = {}
        for _, _, step in plan.steps():
            record = records[step.id]
            if record.attempt != 1 or record.phase != OK or record.ended is None:
                raise SystemExit(f"{step.id}: {record}")
            spent_on[step.kind] = spent_on.get(step.kind, 0) + record.ended - record.begun
        figures["by_kind_s"] = {kind: round(seconds, 2) for kind, seconds in spent_on.items()}
        return figures

    def bare(self) -> float:
        """One ``salt -L … state.apply`` of all nodes; return its wall seconds.

        :raises SystemExit: a state of a node failed, changed something, or is missing
        """
        begin = time.monotonic()
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("salt")),
                *("-c", str(self.fleet.config), "--out=json", "--static", "--timeout=120"),
                *("-L", ",".join(self.fleet.nodes), "state.apply", ROLE),
            ],
            env=self.fleet.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begin
        told = json.loads(done.stdout[done.stdout.find("{") :] or "{}")
        good = sum(map(untouched, told.values()))
        if done.returncode or good != len(self.fleet.nodes):
            raise SystemExit(f"salt: {good} of {len(self.fleet.nodes)}: {done.stdout[-2000:]}")
        return seconds


def untouched(answer: Any) -> bool:
    """Whether the states of a node ran well and changed nothing."""
    return (
        isinstance(answer, Mapping)
        and bool(answer)
        and all(one["result"] is True and not one["changes"] for one in answer.values())
    )


# -- what is measured ----------------------------------------------------------------------


def one_wave(report: Report, site: Site) -> None:
    """All minions at once: the engine against one bare state.apply, in turns."""
    nodes = site.fleet.nodes
    stage = plans.stage("control", [(nodes, [plans.apply(nodes, [ROLE])])], [ROLE])
    plan = plans.plan(CLUSTER, site.basis(), [stage])
    bare: list[float] = []
    engine: list[dict[str, Any]] = []
    for number in range(ROUNDS):
        # neither is always the first
        for turn in ("bare", "engine") if number % 2 == 0 else ("engine", "bare"):
            if turn == "bare":
                bare.append(site.bare())
            else:
                engine.append(site.run(plan))
        progress(f"bare {bare[-1]:.1f} s, engine {engine[-1]['seconds']:.1f} s")
    ours, theirs = median(one["seconds"] for one in engine), median(bare)
    report.sections["one_wave"] = {
        "nodes": len(nodes),
        "unit": "s",
        "bare": [round(one, 2) for one in bare],
        "engine": engine,
    }
    overhead = 100 * (ours / theirs - 1)
    report.at_most(f"{len(nodes)} nodes in one wave: overhead", overhead, 10, "% of salt -L")


def waves(report: Report, site: Site) -> None:
    """Waves with gates, pins and checks, beside ansible-playbook on as many hosts at a time."""
    nodes = site.fleet.nodes[:ROLLED]
    steps = [
        (wave, plans.whole(wave, ROLE, site.after, site.questions))
        for wave in (nodes[start : start + SIZE] for start in range(0, len(nodes), SIZE))
    ]
    plan = plans.plan(CLUSTER, site.basis(), [plans.stage("control", steps, [ROLE])])
    folder = site.fleet.root / "ansible"
    ansible.program()
    tuned = ansible.run(folder, site.fleet.work, nodes, SIZE, tuned=True)
    progress(f"ansible-playbook, tuned: {tuned['seconds']} s")
    ours = site.run(plan)
    ours["seconds_a_wave"] = round(ours["seconds"] / len(steps), 2)
    progress(f"engine: {ours['seconds']} s")
    plain = ansible.run(folder, site.fleet.work, nodes, SIZE, tuned=False)
    progress(f"ansible-playbook: {plain['seconds']} s")
    ratio, against_tuned = (one["seconds"] / ours["seconds"] for one in (plain, tuned))
    report.sections["waves"] = {
        "nodes": len(nodes),
        "size": SIZE,
        "unit": "s",
        "steps_a_wave": len(steps[0][1]),
        "engine": ours,
        "ansible_version": ansible.VERSION,
        "ansible": plain,
        "ansible_tuned": tuned,
        "ansible_over_engine": round(ratio, 2),
        "ansible_tuned_over_engine": round(against_tuned, 2),
    }
    report.at_least(f"{len(nodes)} nodes in waves of {SIZE}: ansible-playbook", ratio, 3)
    # each wave waited for its own nodes only, and was served what they were pinned to
    pins = {pin.node: pin.revision for pin in site.model.journal.pins(CLUSTER)}
    if pins != dict.fromkeys(nodes, site.after):
        raise SystemExit(f"{len(pins)} pins")


def many(report: Report) -> None:
    """A thousand nodes without minions: the plan, and the engine over a bus in memory."""
    figures = apart("thousand", nodes=1000)
    report.at_most("1,000 nodes: plan", figures["plan_cpu_s"], 2, "CPU s")
    report.at_most("1,000 nodes: engine", figures["engine_cpu_s"], 5, "CPU s")
    report.sections["many"] = figures
    progress(str(figures))


#: on real minions
REAL = {work.__name__: work for work in (one_wave, waves)}
SECTIONS = ("many", *REAL)


def on_fleet(report: Report, wanted: Sequence[str], count: int, *, shared: bool) -> None:
    """Start the fleet, measure on it, and end all of its processes whatever happens."""
    fleet = Fleet(report.folder, count, shared=shared)
    try:
        fleet.build()
        report.sections["fleet"] = {
            "minions": count,
            "settings": fleet.settings,
            "start_s": round(fleet.start(), 1),
            "memory_a_minion": fleet.memory(),
        }
        progress(f"fleet: {report.sections['fleet']}")
        site = Site(fleet)
        # the first state run of a minion fills its caches and writes the file
        site.fleet.settle(ROLE)
        for name in wanted:
            say(REAL[name])
            REAL[name](report, site)
    finally:
        fleet.stop()


def say(work: Callable[..., None]) -> None:
    """Say on the terminal what is measured now."""
    print(f"{work.__name__}: {(work.__doc__ or '').splitlines()[0]}", file=sys.stderr)


def main() -> int:
    """Measure, write the report, and say whether all targets are reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rollout", description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--minions", type=int, default=COUNT)
    parser.add_argument(
        "--as-on-hosts",
        action="store_true",
        help="minions fork each job and look up their facts anew, as those of real hosts do",
    )
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    for name in wanted:
        if name not in SECTIONS:
            parser.error(f"no section {name}; there are {', '.join(SECTIONS)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    # so that an end from outside is an end with all that has to be tidied up
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"signal {number}"))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="saltern-") as folder:
        report = Report(Path(folder))
        if "many" in wanted:
            say(many)
            many(report)
        if real := [name for name in wanted if name in REAL]:
            on_fleet(report, real, arguments.minions, shared=not arguments.as_on_hosts)
    ok = all(target["ok"] for target in report.targets)
    whole = {
        "ok": ok,
        "machine": machine(),
        "seconds": round(time.monotonic() - start, 1),
        "measured_by": spent(),
        "targets": report.targets,
        "sections": report.sections,
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(whole, indent=2) + "\n")
    for target in report.targets:
        print(
            f"{'ok  ' if target['ok'] else 'MISS'}  {target['name']:<58}"
            f" {target['value']:>9.3f} {target['target']:>7} {target['unit']}"
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
