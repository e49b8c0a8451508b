"""Time the model against Python reclass and Salt's adapter, side by side in one run.

``python -m tests.bench.model [--only warm,cold,…]`` writes ``build/bench-model.json``, prints a
table, and exits 1 when a target is missed. All times are CPU times. The inventories are made up,
with the shape of real models (:mod:`tests.support.inventories`); what is compared gets the same
files, and is equal to ours on them (``tests/model/test_generated.py``).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltern.model import Inventory
from tests.bench.measure import apart, machine, side_by_side, spent, summary
from tests.support import TREE
from tests.support.inventories import LAB, MCP, Shape, write

SEED = 1
REPORT = TREE / "build/bench-model.json"
#: ext_pillars that are compared end to end
KINDS = ("none", "saltern", "adapter")
REVISION = "worktree-0123456789ab"


@dataclass
class Report:
    """What was measured; ``targets`` hold those figures that have to be reached."""

    folder: Path
    sections: dict[str, Any] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def at_least(self, name: str, value: float, target: float, unit: str = "times") -> None:
        self._target(name, value, target, unit, value >= target, ">=")

    def at_most(self, name: str, value: float, target: float, unit: str) -> None:
        self._target(name, value, target, unit, value <= target, "<=")

    def _target(
        self, name: str, value: float, target: float, unit: str, ok: bool, sign: str
    ) -> None:
        self.targets.append(
            {
                "name": name,
                "value": round(value, 3),
                "target": f"{sign} {target:g}",
                "unit": unit,
                "ok": ok,
            }
        )

    def inventory(self, shape: Shape) -> Path:
        """Write an inventory once per run."""
        top = self.folder / f"{abs(hash(shape)):x}"
        return top if top.is_dir() else write(top, shape)


def warm(report: Report) -> None:
    """One node in a process that has served before: every file was read once."""
    for classes in (LAB, MCP):
        shape = Shape(nodes=35, classes=classes, seed=SEED)
        top = report.inventory(shape)
        kept, inventory = reclass_kept(top), Inventory(top)
        adapter = salt_adapter(top)
        nodes = inventory.nodes()
        random.Random(SEED).shuffle(nodes)
        served, new = nodes[:-8], nodes[-8:]
        for name in served:
            inventory.node(name)
            kept.nodeinfo(name)
        adapter(nodes[0])
        works = {"saltern": inventory.node, "kapicorp": kept.nodeinfo, "adapter": adapter}
        # a node for the first time, then the same ones again and again
        first = side_by_side(works, new, 1)
        again = side_by_side(works, nodes[:12], 3)
        figures: dict[str, Any] = {
            "nodes": len(nodes),
            "unit": "CPU ms a node",
            "again": {name: summary(times) for name, times in again.items()},
            "first": {name: summary(times) for name, times in first.items()},
        }
        for label, other, target in (
            ("Salt's reclass ext_pillar", "adapter", 100),
            ("kapicorp, storage kept", "kapicorp", 20),
        ):
            for which in ("again", "first"):
                ratio = figures[which][other]["median"] / figures[which]["saltern"]["median"]
                figures[which][f"{other}_over_saltern"] = round(ratio, 1)
            report.at_least(
                f"warm node, {classes} classes: {label}",
                figures["again"][f"{other}_over_saltern"],
                target,
            )
        report.sections[f"warm_{classes}"] = figures


def cold(report: Report) -> None:
    """All of 1,000 nodes from nothing, each engine in a Python of its own."""
    shape = Shape(nodes=1000, classes=LAB, seed=SEED)
    arguments = {"top": str(report.inventory(shape)), "options": shape.options()}
    figures: dict[str, Any] = {"unit": "CPU s", "extrapolated": False}
    for work in ("saltern", "saltern_kept", "reclass", "reclass_inventory"):
        figures[work] = apart(work, **arguments)
        progress(f"{work}: {figures[work]['cpu_s']} s")
    ours = figures["saltern"]["cpu_s"]
    figures["reclass_over_saltern"] = round(figures["reclass"]["cpu_s"] / ours, 1)
    figures["reclass_inventory_over_saltern_kept"] = round(
        figures["reclass_inventory"]["cpu_s"] / figures["saltern_kept"]["cpu_s"], 1
    )
    report.at_least("1,000 nodes cold: kapicorp", figures["reclass_over_saltern"], 10)
    report.sections["cold"] = figures


def many(report: Report) -> None:
    """5,000 nodes into a store."""
    figures: dict[str, Any] = {}
    for name, shape in (
        ("reclass_shape", Shape(nodes=5000, classes=LAB, seed=SEED)),
        ("with_topology", Shape(nodes=5000, classes=LAB, seed=SEED, hosts=True)),
        ("large_classes", Shape(nodes=5000, classes=MCP, seed=SEED)),
    ):
        top = report.inventory(shape)
        store = report.folder / "store-many"
        # without `host` a node is nobody's: only plain reclass knows such nodes
        options = shape.options() if shape.hosts else {**shape.options(), "compat": "reclass"}
        figures[name] = apart(
            "store", top=str(top), options=options, store=str(store), revision=REVISION
        )
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        figures[name]["store_mib"] = round(size / 2**20, 1)
        shutil.rmtree(store)
        shutil.rmtree(top)
        progress(f"{name}: {figures[name]}")
    main = figures["reclass_shape"]
    report.at_most("5,000 nodes compiled", main["cpu_s"], 8, "CPU s")
    report.at_most("5,000 nodes compiled, memory", main["peak_mib"], 400, "MiB")
    report.sections["many"] = figures


def serve(report: Report) -> None:
    """One node from the store: which revision, open it, read the node.

    In a process that does nothing else, as a worker of the master.
    """
    from saltern.model.compiler import compile_tree
    from saltern.model.store import Store

    for shape in (
        Shape(nodes=1000, classes=LAB, seed=SEED, quirks=True),
        Shape(nodes=1000, classes=LAB, seed=SEED, hosts=True),
    ):
        inventory = Inventory(report.inventory(shape), **shape.options())
        folder = report.folder / f"serve-{shape.hosts}"
        store = Store(folder / "store")
        url = deployed(folder, compile_tree(inventory, REVISION, store))
        nodes = inventory.nodes()
        random.Random(SEED).shuffle(nodes)
        figures = apart(
            "serve", store=str(store.path), journal=url, options=shape.options(), nodes=nodes
        )
        report.sections["serve_topology" if shape.hosts else "serve"] = figures
    whole = report.sections["serve"]["whole"]
    report.at_most("a node from the store", whole["median"], 0.3, "CPU ms, median")


def change(report: Report) -> None:
    """Compile again after one class changed, for a sample of the classes that nodes use."""
    shape = Shape(nodes=1000, classes=LAB, seed=SEED, hosts=True)
    top = report.inventory(shape)
    used: Counter[str] = Counter()
    inventory = Inventory(top, **shape.options())
    for name in inventory.nodes():
        used.update(inventory.node(name).classes)
    names = random.Random(SEED).sample(sorted(used), 100)
    where = {"top": str(top), "options": shape.options()}

    def store(name: str) -> str:
        return str(report.folder / f"store-{name}")

    # from nothing, in a Python that has read no file of the tree; the best of three
    cold = min(
        apart("store", **where, store=store(f"full-{number}"), revision=REVISION)["compile_s"]
        for number in range(3)
    ) * 1000  # fmt: skip
    found = apart("change", **where, store=store("change"), names=names, rounds=3)
    for name, count in found["rebuilt"].items():
        if count != used[name]:
            raise SystemExit(f"class {name}: {count} nodes rebuilt, not {used[name]}")
    times, warm = found["times"], found["full"]
    figures = {
        "unit": "CPU ms",
        "full": round(cold, 1),
        "full_files_read_before": round(warm, 1),
        "changed_class": summary(times),
        "nodes_rebuilt": summary([float(count) for count in found["rebuilt"].values()]),
        "percent_of_full": summary([100 * one / cold for one in times.values()]),
        "percent_of_full_files_read_before": summary([100 * one / warm for one in times.values()]),
    }
    report.at_most(
        "recompile after one changed class",
        figures["percent_of_full"]["median"],
        3,
        "% of full, median",
    )
    report.sections["change"] = figures


def pillar(report: Report) -> None:
    """``Pillar`` end to end, as a master does it for each request."""
    from saltern.model.compiler import compile_tree
    from saltern.model.store import Store

    for classes in (LAB, MCP):
        shape = Shape(nodes=35, classes=classes, seed=SEED, hosts=True)
        top = report.inventory(shape)
        inventory = Inventory(top, **shape.options())
        folder = report.folder / f"pillar-{classes}"
        revision = compile_tree(inventory, REVISION, Store(folder / "store"))
        journal = deployed(folder, revision)
        nodes = random.Random(SEED).sample(inventory.nodes(), 6)
        sources: dict[str, list[Any]] = {
            "none": [],
            "saltern": [{"saltern_model": {"store": str(folder / "store"), "journal": journal}}],
            "adapter": [{"reclass": {"storage_type": "yaml_fs", "inventory_base_uri": str(top)}}],
        }
        works = {name: requests(folder, source) for name, source in sources.items()}
        for name in ("saltern", "adapter"):
            made = works[name](nodes[0])
            if made.get("__reclass__", {}).get("nodename") != nodes[0]:
                raise SystemExit(f"{name} gives no pillar: {made.get('_errors', list(made))}")
        times = side_by_side(works, nodes, 3)
        figures: dict[str, Any] = {"unit": "CPU ms a request"}
        figures |= {name: summary(one) for name, one in times.items()}
        figures["adapter_over_saltern"] = round(
            figures["adapter"]["median"] / figures["saltern"]["median"], 1
        )
        report.sections[f"pillar_{classes}"] = figures


def deployed(folder: Path, revision: Any) -> str:
    """Note a revision as the deployed one of its clusters; return the journal's URL."""
    from saltern.adapters import sitekey
    from saltern.adapters.journal import Journal

    sitekey.ensure(folder / sitekey.NAME)
    url = f"sqlite:///{folder}/journal.db"
    journal = Journal(url)
    journal.prepare()
    # nodes of plain reclass belong to no cluster that could be deployed
    journal.pin(revision.nodes(""), revision.id, by="bench", reason="measure")
    for cluster in revision.clusters():
        journal.deploy(cluster, revision.id, revision.nodes(cluster), by="bench", reason="measure")
    return url


def requests(folder: Path, ext_pillar: list[Any]) -> Callable[[str], dict[str, Any]]:
    """Return what a master does for one pillar request, its options already read."""
    import salt.config
    import salt.pillar

    opts = salt.config.master_config(None)
    opts.update(
        cachedir=str(folder / "cache"),
        extension_modules=str(folder / "extmods"),
        module_dirs=[str(TREE)],
        pillar_roots={"base": []},
        ext_pillar=ext_pillar,
        id="master",
    )
    return lambda name: salt.pillar.Pillar(opts, {}, name, "base").compile_pillar()


SECTIONS = {work.__name__: work for work in (warm, cold, many, serve, change, pillar)}


def reclass_kept(top: Path) -> Any:
    """Python reclass that keeps what it has parsed."""
    from tests.model.trees import core

    return core(top)


def salt_adapter(top: Path) -> Callable[[str], Any]:
    """Salt's own ext_pillar, called as its loader does."""
    from salt.pillar import reclass_adapter

    reclass_adapter.__opts__ = {"file_roots": {}}
    return lambda name: reclass_adapter.ext_pillar(
        name, {}, storage_type="yaml_fs", inventory_base_uri=str(top)
    )


def progress(text: str) -> None:
    """Say on the terminal what is going on."""
    print(f"  {text}", file=sys.stderr, flush=True)


def table(report: Report) -> None:
    """Print the targets."""
    for target in report.targets:
        print(
            f"{'ok  ' if target['ok'] else 'MISS'}  {target['name']:<58}"
            f" {target['value']:>9.3f} {target['target']:>7} {target['unit']}"
        )
    for name, figures in report.sections.items():
        if "adapter_over_saltern" in figures:
            each = ", ".join(f"{key} {figures[key]['median']:.1f}" for key in KINDS)
            print(f"info  {name}: CPU ms a request with ext_pillar: {each}")


def main() -> int:
    """Measure, write the report, and say whether all targets are reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.model", description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    for name in wanted:
        if name not in SECTIONS:
            parser.error(f"no section {name}; there are {', '.join(SECTIONS)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="saltern-bench-") as folder:
        report = Report(Path(folder))
        for name in wanted:
            print(f"{name}: {(SECTIONS[name].__doc__ or '').splitlines()[0]}", file=sys.stderr)
            SECTIONS[name](report)
    ok = all(target["ok"] for target in report.targets)
    whole = {
        "ok": ok,
        "seed": SEED,
        "machine": machine(),
        "seconds": round(time.monotonic() - start, 1),
        "measured_by": spent(),
        "targets": report.targets,
        "sections": report.sections,
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(whole, indent=2) + "\n")
    table(report)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
