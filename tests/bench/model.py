"""Time the engine against Python reclass in one run: ``python -m tests.bench.model``.

Writes ``build/bench-model.json``: CPU milliseconds per node and the ratios, for the example
cluster and for a cluster of many nodes made from it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from saltern.model import Inventory, nodes, secrets, source
from saltern.model.cluster import compile_cluster
from tests.support import TREE

#: nodes of the large inventory
MANY = 100
ROUNDS = 3


def prepare(top: Path, cluster: str, count: int) -> Path:
    """Copy the tree's model; give the largest group ``count`` nodes when it is not 0."""
    shutil.copytree(TREE / "classes", top / "classes")
    folder = top / "classes/cluster" / cluster
    if count:
        path = folder / "init.yml"
        data = yaml.safe_load(path.read_text())
        groups = data["parameters"]["cluster_nodes"]
        group = max(groups.values(), key=lambda entry: entry.get("count", 1))
        group.pop("first_address")
        group["count"] = count
        group["addresses"] = [f"10.99.{n // 250}.{n % 250 + 1}" for n in range(count)]
        path.write_text(yaml.safe_dump(data))
    (folder / "artifacts.yml").write_text("{}\n")
    (folder / "secrets.yml").unlink(missing_ok=True)
    shutil.rmtree(top / "nodes", ignore_errors=True)
    nodes.write(Inventory(top), cluster)
    secrets.init(Inventory(top), cluster, lambda text: text)
    return top


def cpu(work: Callable[[], Any]) -> float:
    """CPU milliseconds of one call; the best of some, other work on the machine only adds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1000)
    return min(times)


def ours(top: Path, cluster: str) -> dict[str, float]:
    """This engine: one node from nothing, one more node, the whole cluster from nothing."""
    ids = Inventory(top).nodes()

    def cold(work: Callable[[Inventory], Any]) -> Callable[[], Any]:
        def run() -> Any:
            source._parsed.clear()
            return work(Inventory(top))

        return run

    warm = Inventory(top)
    for node_id in ids:
        warm.node(node_id)
    return {
        "cold_node": cpu(cold(lambda inventory: inventory.node(ids[-1]))),
        "warm_node": median(
            cpu(lambda node_id=node_id: warm.node(node_id)) for node_id in ids[:20]
        ),
        "all_nodes": cpu(cold(lambda inventory: [inventory.node(name) for name in ids])),
        "cluster": cpu(cold(lambda inventory: compile_cluster(inventory, cluster))),
    }


def theirs(top: Path) -> dict[str, float]:
    """Python reclass, as Salt's adapter calls it (cold) and with its storage kept (warm)."""
    from reclass import get_storage
    from reclass.core import Core
    from reclass.settings import Settings
    from reclass.storage.memcache_proxy import MemcacheProxy

    settings = Settings({})

    def core() -> Core:
        files = get_storage("yaml_fs", str(top / "nodes"), str(top / "classes"), False)
        return Core(MemcacheProxy(files), None, settings)

    ids = sorted(Inventory(top).nodes())
    kept = core()
    kept.nodeinfo(ids[0])
    return {
        "cold_node": cpu(lambda: core().nodeinfo(ids[-1])),
        "warm_node": median(
            cpu(lambda node_id=node_id: kept.nodeinfo(node_id)) for node_id in ids[:5]
        ),
        "all_nodes": cpu(lambda: (lambda fresh: [fresh.nodeinfo(name) for name in ids])(core())),
    }


def main() -> None:
    """Measure and write the report."""
    warnings.simplefilter("ignore")
    cluster = sys.argv[1] if len(sys.argv) > 1 else "demo-core"
    report: dict[str, Any] = {"unit": "CPU ms", "cluster": cluster}
    for name, count in (("example", 0), ("large", MANY)):
        with tempfile.TemporaryDirectory() as folder:
            top = prepare(Path(folder), cluster, count)
            mine, other = ours(top, cluster), theirs(top)
            report[name] = {
                "nodes": len(Inventory(top).nodes()),
                "saltern": {key: round(value, 2) for key, value in mine.items()},
                "reclass": {key: round(value, 2) for key, value in other.items()},
                "times_faster": {key: round(value / mine[key], 1) for key, value in other.items()},
            }
    target = TREE / "build/bench-model.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(target.read_text(), end="")


if __name__ == "__main__":
    main()
