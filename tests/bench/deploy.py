"""Time the deployment of a cluster on the lab, from nothing and once more.

Warm: with the caches as they are. ``--cold``: with empty ones, in a folder that is removed again,
so images, packages, artifacts and wheels are made anew. It wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saltern.lab.cluster import last_json
from saltern.lab.paths import lab_dir
from tests.bench.measure import machine
from tests.support import TREE

REPORT = TREE / "build/bench-deploy.json"
SALTERN = str(Path(sys.executable).with_name("saltern"))
MIB = 2**20
#: Cluster -> what is promised: seconds from nothing on two quiet cores, MiB of all hosts together.
PROMISES: dict[str, dict[str, int]] = {
    "demo-core": {"cold": 900, "warm": 360, "memory": 8192},
    "demo-ceph": {"cold": 360, "warm": 180, "memory": 2048},
    "demo": {"cold": 1800, "warm": 720, "memory": 16384},
}


def deployed(cluster: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Deploy a cluster; return its record: ``seconds``, ``steps``, ``peak_bytes``.

    :raises SystemExit: it did not succeed
    """
    done = subprocess.run([SALTERN, "deploy", cluster], env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"saltern deploy {cluster}: exit code {done.returncode}")
    return dict(json.loads((lab_dir(cluster) / "deploy.json").read_text()))


def changes(cluster: str) -> int:
    """Apply all roles of all hosts once more; return how many states changed something.

    :raises SystemExit: a host did not answer, or a state failed
    """
    argv = [SALTERN, "lab", "exec", "--lab", cluster, "cfg01", "--"]
    salt = ["salt", "--static", "--out=json", "-t", "300", "*", "state.highstate"]
    done = subprocess.run([*argv, *salt], capture_output=True, text=True, check=False)
    told = last_json(done.stdout)
    if done.returncode or not isinstance(told, dict):
        raise SystemExit(f"a second run failed: {(done.stdout + done.stderr)[-2000:]}")
    return sum(bool(one["changes"]) for host in told.values() for one in host.values())


def main() -> int:
    """Measure, write the report, and say whether what is promised is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.deploy", description=__doc__)
    parser.add_argument("cluster", choices=sorted(PROMISES))
    parser.add_argument("--cold", action="store_true", help="with empty caches")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args()
    cluster, kind = arguments.cluster, "cold" if arguments.cold else "warm"
    down = [SALTERN, "lab", "down", "--lab", cluster]
    subprocess.run(down, check=True)
    with tempfile.TemporaryDirectory(prefix="saltern-") as folder:
        environment = dict(os.environ)
        if arguments.cold:
            environment |= {"SALTERN_CACHE": f"{folder}/cache", "UV_CACHE_DIR": f"{folder}/uv"}
        try:
            record = deployed(cluster, environment)
            again = changes(cluster)
        finally:
            # its hosts mount the images of that cache
            if arguments.cold or not arguments.keep:
                subprocess.run(down, check=True)
    promised = PROMISES[cluster]
    seconds, memory = record["seconds"], record["peak_bytes"] / MIB
    targets = [
        {"name": f"{cluster}, {kind}", "value": seconds, "at_most": promised[kind], "unit": "s"},
        {"name": "memory", "value": round(memory), "at_most": promised["memory"], "unit": "MiB"},
        {"name": "a second run", "value": again, "at_most": 0, "unit": "changes"},
    ]
    for one in targets:
        one["ok"] = one["value"] <= one["at_most"]
        word = "ok  " if one["ok"] else "MISS"
        print(f"{word}  {one['name']:<24} {one['value']:>8} <= {one['at_most']} {one['unit']}")
    ok = all(one["ok"] for one in targets)
    whole = {"ok": ok, "machine": machine(), "targets": targets, "steps": record["steps"]}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(whole, indent=2) + "\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
