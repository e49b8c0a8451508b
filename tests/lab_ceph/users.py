"""What users of the lab's Ceph notice meanwhile, and drills that hit a rollout in its middle."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from saltern.lab.cluster import last_json
from tests.lab_ceph.storage import PYTHON, Storage
from tests.support.cluster import Cluster, eventually

#: measures and writes the set of data; no test works on its host
FROM = "cfg01"
PROBES = ("rados", "rbd", "s3")
#: milliseconds that no request of a user may take longer; a goal of the project
LONGEST = 5000
#: ends the look at what is away
STOP = "/run/watch.stop"

#: Which monitors and hosts of object stores are away together: each combination that was seen.
AWAY = """
import json, os, rados, sys, time
conf = {"keyring": "/etc/ceph/ceph.client.probe.keyring", "client_mount_timeout": "30",
        "rados_mon_op_timeout": "30"}
handle = rados.Rados(name="client.probe", conffile="/etc/ceph/ceph.conf", conf=conf)
handle.connect(timeout=30)
def ask(prefix):
    code, told, why = handle.mon_command(json.dumps({"prefix": prefix, "format": "json"}), b"")
    if code:
        raise SystemExit(f"{prefix}: {why}")
    return json.loads(told)
seen, looks = set(), 0
while not os.path.exists(sys.argv[1]):
    quorum, tree = ask("quorum_status"), ask("osd tree")["nodes"]
    away = {one["name"] for one in quorum["monmap"]["mons"]} - {*quorum["quorum_names"]}
    down = {one["id"] for one in tree if one["type"] == "osd" and one["status"] != "up"}
    away |= {one["name"] for one in tree if one["type"] == "host" and down & {*one["children"]}}
    seen.add(tuple(sorted(away)))
    looks += 1
    time.sleep(0.3)
handle.shutdown()
print(json.dumps({"looks": looks, "away": sorted(seen)}))
"""


@contextmanager
def measured(storage: Storage) -> Iterator[dict[str, dict[str, int]]]:
    """What three kinds of users see meanwhile; known after the block."""
    given = [
        {"name": "rados", "kind": "rados", "target": "probe", "timeout": 30},
        {"name": "rbd", "kind": "rbd", "target": "probe", "timeout": 30},
        {"name": "s3", "kind": "s3", "target": "saltern-probe", "timeout": 10},
    ]
    found = {name: {"requests": 0, "failed": 0, "max_ms": 0} for name in PROBES}
    storage.call(FROM, "probe.start", "drill", json.dumps(given))
    first = storage.call(FROM, "probe.read", "drill")["rows"]
    since = max((row["second"] for row in first), default=0)
    try:
        yield found
    finally:
        rows = storage.call(FROM, "probe.stop", "drill", f"since={since}")["rows"]
    # an answer has some thousand rows; a long drill has more
    while rows:
        for row in rows:
            one = found[row["probe"]]
            one["requests"] += row["requests"]
            one["failed"] += row["failed"]
            one["max_ms"] = max(one["max_ms"], row["max_ms"])
        last = rows[-1]["second"]
        rows = storage.call(FROM, "probe.read", "drill", f"since={last}")["rows"]


def none_failed(probes: Mapping[str, Mapping[str, int]], names: Sequence[str] = PROBES) -> bool:
    """Whether these probes asked, and none failed."""
    counted = {name: one["failed"] for name, one in probes.items() if one["requests"]}
    return counted == dict.fromkeys(names, 0)


def seen(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What the probes of a rollout saw."""
    return {probe["name"]: dict(probe) for probe in data["probes"]}


def lines(what: str, probes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """One sentence per probe."""
    return [
        f"{what}: {name}: {one['requests']} requests, {one['failed']} failed,"
        f" the longest took {one['max_ms'] / 1000:.1f} s"
        for name, one in probes.items()
    ]


@contextmanager
def watched(cluster: Cluster) -> Iterator[list[list[str]]]:
    """Which monitors and hosts of object stores were away together; known after the block."""
    found: list[list[str]] = []
    cluster.run(FROM, "rm", "-f", STOP)
    command = cluster.provider.command(FROM, [PYTHON, "-c", AWAY, STOP])
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield found
        finally:
            cluster.run(FROM, "touch", STOP)
            output, errors = process.communicate(timeout=120)
            cluster.run(FROM, "rm", "-f", STOP)
    told = last_json(output)
    assert told, errors
    assert told["looks"] > 0, told
    found += told["away"]


@contextmanager
def loses_power(cluster: Cluster, host: str) -> Iterator[None]:
    """Cut the power of a host; after the block it has power again."""
    try:
        cluster.provider.stop(host, hard=True)
        yield
    finally:
        cluster.provider.start(host)


@contextmanager
def applying(
    cluster: Cluster,
    plan: Mapping[str, Any],
    until: Callable[[], bool],
    answer: list[Any],
    seconds: float = 120,
) -> Iterator[None]:
    """Carry out a plan beside the block, which begins when ``until`` holds.

    :param plan: with its hash
    :param until: asked five times a second
    :param answer: gets what the rollout's process said when it ended, at the latest with the block
    :param seconds: until ``until`` must hold
    """
    thread = threading.Thread(
        target=lambda: answer.append(cluster.salt_run("rollout.apply", plan["hash"]))
    )
    thread.start()
    try:
        came = eventually(lambda: bool(answer) or until(), seconds, 0.2)
        assert came, f"not within {seconds:.0f} s"
        assert not answer, answer
        yield
    finally:
        thread.join()


def kill_engine(cluster: Cluster) -> None:
    """End the process that the journal names as the one who works on the latest rollout."""
    code, data, printed = cluster.salt_run("rollout.history", "data=True")
    assert code == 0, printed
    runner = data["rollouts"][0]["owner"].partition("@")[0]
    cluster.run(cluster.master, "kill", "-KILL", runner)
