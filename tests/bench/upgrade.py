"""Upgrade the cloud of the lab across releases of OpenStack while it is used, and measure that.

One hop leads from the release that the cluster has to the next one, two begin at the one before. A
lab that is up and has the first release is taken as it is, else it is deployed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.deploy import SALTERN
from tests.bench.measure import machine
from tests.support import TREE, hops
from tests.support.cluster import Cluster
from tests.support.guest import GAP, NAME, call

REPORT = TREE / "build/upgrade-demo.json"
#: What the lab begins with, and what follows; each hop skips a release, as upstream supports it.
PATH = ("2024.1", "2025.1", "2026.1")
#: What the cluster's class says besides the release where that is not as in the tree.
PARAMS = {"2024.1": {"openstack_network": "process"}}
#: Seconds that one hop may take on two quiet cores, deployment not counted.
LIMIT = 1500


def deployed(cluster: str, release: str) -> Cluster:
    """Return the cluster at a release; one that has it already is taken as it is.

    :raises SystemExit: it cannot be deployed
    """
    made = Cluster(cluster)
    if made.provider.specs() and hops.release(made) == release:
        return made
    subprocess.run([SALTERN, "lab", "down", "--lab", cluster], check=True)
    params = {"openstack_release": release, **PARAMS.get(release, {})}
    words = [f"--set={name}={value}" for name, value in params.items()]
    done = subprocess.run([SALTERN, "deploy", cluster, *words], check=False)
    if done.returncode:
        raise SystemExit(f"saltern deploy {cluster}: exit code {done.returncode}")
    return made


def targets(done: hops.Hop) -> list[dict[str, Any]]:
    """Return what is promised of a hop, and what was seen."""
    name = f"{done.before} -> {done.after}"
    rows = [{"name": name, "value": round(done.seconds), "at_most": LIMIT, "unit": "s"}]
    for api in sorted(hops.SERVING):
        failed = done.probes[api]["failed"]
        rows.append({"name": f"{name}: {api}", "value": failed, "at_most": 0, "unit": "failed"})
    guest = done.guest
    rows.append({"name": f"{name}: echo", "value": guest["gap"], "at_most": GAP, "unit": "s"})
    lost = guest["broken"] + (not done.same)
    rows.append({"name": f"{name}: lost", "value": lost, "at_most": 0, "unit": "connections"})
    return [{**row, "ok": row["value"] <= row["at_most"]} for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Upgrade, write the report, and say whether what is promised is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.upgrade", description=__doc__)
    parser.add_argument("cluster", choices=["demo"])
    parser.add_argument("--hops", type=int, choices=range(1, len(PATH)), default=1)
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args(argv)
    first, *wanted = PATH[-1 - arguments.hops :]
    begin = time.monotonic()
    cluster = deployed(arguments.cluster, first)
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    try:
        guest = call(cluster, "make", NAME)
        hops.canaries(cluster, "create")
        for release in wanted:
            done = hops.hop(cluster, release, guest)
            hops.canaries(cluster, "verify")
            rows += targets(done)
            found.append(
                {
                    "from": done.before,
                    "to": done.after,
                    "seconds": round(done.seconds, 1),
                    "predicted_minutes": done.predicted,
                    "probes": done.probes,
                    "guest": done.guest,
                    "rollout": done.report["rollout"],
                }
            )
    finally:
        if not arguments.keep:
            subprocess.run([SALTERN, "lab", "down", "--lab", arguments.cluster], check=True)
    whole = time.monotonic() - begin
    for one in rows:
        word = "ok  " if one["ok"] else "MISS"
        print(f"{word}  {one['name']:<30} {one['value']:>8} <= {one['at_most']} {one['unit']}")
    print(f"with what came before and after: {whole:.0f} s")
    ok = all(one["ok"] for one in rows)
    text = {"ok": ok, "machine": machine(), "seconds": whole, "targets": rows, "hops": found}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(text, indent=2) + "\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
