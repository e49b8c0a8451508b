"""How time and memory are taken: CPU time, whatever else the machine does meanwhile."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.support import TREE

Work = Callable[[str], Any]


def side_by_side(
    works: Mapping[str, Work], items: Sequence[str], rounds: int
) -> dict[str, dict[str, float]]:
    """Do several kinds of work on the same items in turns: a slow moment hits all of them.

    :param works: name -> what to do with an item
    :param rounds: each item's best time of so many counts; others' work only adds to it
    :returns: name -> item -> CPU milliseconds
    """
    best: dict[str, dict[str, float]] = {name: dict.fromkeys(items, math.inf) for name in works}
    for _ in range(rounds):
        for item in items:
            for name, work in works.items():
                start = time.process_time()
                work(item)
                spent = (time.process_time() - start) * 1000
                best[name][item] = min(best[name][item], spent)
    return best


def summary(times: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    """Median, 90th and 99th percentile and maximum."""
    values = sorted(times.values() if isinstance(times, Mapping) else times)

    def at(share: float) -> float:
        return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]

    return {
        "median": round(median(values), 4),
        "p90": round(at(0.9), 4),
        "p99": round(at(0.99), 4),
        "max": round(values[-1], 4),
        "count": len(values),
    }


def apart(
    work: str, environment: Mapping[str, str] | None = None, /, **arguments: Any
) -> dict[str, Any]:
    """Call a function of :mod:`tests.bench.apart` in a new Python, and wait.

    :param environment: of that Python, None for this one's
    :returns: what the function returned, with ``cpu_s`` (start of Python and imports counted)
        and ``peak_mib``
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.bench.apart", work, json.dumps(arguments)],
        cwd=TREE,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def spent() -> dict[str, float]:
    """CPU seconds and highest memory of this process since its start.

    The kernel's ``ru_maxrss`` would count the parent's memory at the fork, too.
    """
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "cpu_s": round(time.process_time(), 3),
        "peak_mib": round(int(peak) / 1024, 1),
    }


def machine() -> dict[str, Any]:
    """What figures depend on; nothing that names the machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "libyaml": yaml.__with_libyaml__,
        **{
            name: metadata.version(name)
            for name in ("salt", "kapicorp-reclass", "PyYAML", "msgpack", "SQLAlchemy")
        },
    }
