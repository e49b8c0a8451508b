"""Time the compilation of a cluster: `make bench-model`, `python -m tests.bench.model CLUSTER`."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from saltern.model import Inventory
from saltern.model.cluster import compile_cluster
from tests.support import model

ROUNDS = 10


def main(cluster: str) -> None:
    """Compile ``cluster`` several times from a cold inventory and print the times."""
    with tempfile.TemporaryDirectory() as folder:
        tree = model.prepare(Path(folder) / "tree", cluster)
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            nodes = compile_cluster(Inventory(tree), cluster)
            times.append(time.perf_counter() - begun)
    print(
        f"{cluster}: {len(nodes)} nodes, first {times[0] * 1000:.0f} ms,"
        f" then median {statistics.median(times[1:]) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else model.CLUSTER)
