"""Ceph in the lab as tests see it: asked with its own command line, written to by a client."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from saltern.lab.cluster import last_json
from tests.support.cluster import Cluster, eventually

#: where the client runs: its key and a pool of its own are there
CLIENT = "mon01"
PYTHON = "/usr/bin/python3"
#: Ceph's check of an upgrade that is under way: the monitors of the new release begin with it
UPGRADE = "OSD_UPGRADE_FINISHED"
#: ends the writes
STOP = "/run/writes.stop"

#: Writes one object after another, and in the end reads all of them.
WRITES = """
import json, os, rados, sys, time
conf = {"keyring": "/etc/ceph/ceph.client.probe.keyring", "client_mount_timeout": "30",
        "rados_mon_op_timeout": "30", "rados_osd_op_timeout": "30"}
handle = rados.Rados(name="client.probe", conffile="/etc/ceph/ceph.conf", conf=conf)
handle.connect(timeout=30)
pool = handle.open_ioctx("probe")
seen, done, failed, longest = {}, 0, [], 0.0
while not os.path.exists(sys.argv[1]):
    name, content = f"written-{done % 64}", os.urandom(8192)
    begin = time.monotonic()
    try:
        pool.write_full(name, content)
        seen[name] = content
    except rados.Error as err:
        failed.append(str(err))
    longest, done = max(longest, time.monotonic() - begin), done + 1
    time.sleep(0.02)
wrong = [name for name, content in seen.items() if pool.read(name, 8192) != content]
handle.shutdown()
print(json.dumps({"done": done, "failed": failed, "wrong": wrong, "longest": longest}))
"""


@dataclass
class Writes:
    """What became of a client's writes: known when they ended."""

    done: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.done} writes, {len(self.failed)} failed, the longest took {self.longest:.1f} s"
        )


class Storage:
    """The cluster's storage.

    :param cluster: its hosts
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        #: what users saw during the plan that was carried out last
        self.probes: list[dict[str, Any]] = []

    def ask(self, *words: str) -> Any:
        """What Ceph's own command line answers."""
        done = self.cluster.run(CLIENT, "ceph", "--format", "json", *words)
        return json.loads(done.stdout)

    def call(self, host: str, function: str, *arguments: str) -> Any:
        """What a module's function returns on a host."""
        name = f"{host}.{self.cluster.name}.test"
        words = ("salt", "--out=json", "--static", "--timeout=300", name, function, *arguments)
        done = self.cluster.run(self.cluster.master, *words, check=False)
        answer = last_json(done.stdout)
        assert isinstance(answer, dict), done.stdout + done.stderr
        return answer[name]

    def health(self) -> tuple[str, dict[str, str]]:
        """Ceph's own word, and its reasons."""
        found = self.ask("health")
        checks = {code: one["summary"]["message"] for code, one in found["checks"].items()}
        return found["status"], checks

    def becomes_healthy(self, seconds: float = 120, beside: Sequence[str] = ()) -> bool:
        """Whether Ceph says HEALTH_OK in time, or warns of nothing beside these checks."""

        def healthy() -> bool:
            status, checks = self.health()
            return status == "HEALTH_OK" or {*checks} <= {*beside}

        return eventually(healthy, seconds, 0.5)

    def stores(self, host: str) -> list[int]:
        """Numbers of the object stores of a host."""
        nodes = {item["id"]: item for item in self.ask("osd", "tree")["nodes"]}
        (mine,) = [item for item in nodes.values() if item["name"] == host]
        return sorted(mine["children"])

    def held(self) -> tuple[dict[str, Any], list[Any], list[str]]:
        """Leases in the cluster, leases in the journal of rollouts, flags: all of it."""
        code, journal, printed = self.cluster.salt_run("lease.list", "data=True")
        assert code == 0, printed
        dump = self.ask("osd", "dump")
        flags = [flag for flag in dump["flags_set"] if flag.startswith("no")]
        flags += sorted(dump["crush_node_flags"])
        return self.ask("config-key", "dump", "saltern/lease/"), journal, flags

    @contextmanager
    def writing(self) -> Iterator[Writes]:
        """Let a client write all the time; what became of it is known after the block."""
        found = Writes()
        self.cluster.run(CLIENT, "rm", "-f", STOP)
        command = self.cluster.provider.command(CLIENT, [PYTHON, "-c", WRITES, STOP])
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                yield found
            finally:
                self.cluster.run(CLIENT, "touch", STOP)
                output, errors = process.communicate(timeout=120)
                self.cluster.run(CLIENT, "rm", "-f", STOP)
        seen = last_json(output)
        assert seen, errors
        found.done, found.longest = seen["done"], seen["longest"]
        found.failed, found.wrong = seen["failed"], seen["wrong"]

    def planned(self, *words: str) -> dict[str, Any]:
        """Make a plan: its hash, and the plan itself."""
        code, data, printed = self.cluster.salt_run("rollout.plan", "data=True", *words)
        assert code == 0, printed[-4000:]
        return dict(data)

    def applied(self, *words: str) -> dict[str, Any]:
        """Make a plan and carry it out to its end."""
        found = self.planned(*words)
        code, data, printed = self.cluster.salt_run("rollout.apply", found["hash"])
        assert code == 0, printed[-6000:]
        assert data["state"] == "done", data
        self.probes = list(data["probes"])
        return found

    def refused(self, *words: str) -> str:
        """Make a plan that must not be carried out; all that was said."""
        code, data, printed = self.cluster.salt_run("rollout.plan", "data=True", *words)
        if code == 0:
            code, data, printed = self.cluster.salt_run("rollout.apply", data["hash"])
            self.cluster.salt_run("rollout.abort")
        assert code in (1, 2), printed[-4000:]
        return f"{(data or {}).get('comment', '')}\n{printed}"


def waves(plan: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Short names of the nodes of each wave."""
    found = [wave["nodes"] for stage in plan["plan"]["stages"] for wave in stage["waves"]]
    return [tuple(node.split(".")[0] for node in nodes) for nodes in found if nodes]
