"""The model of a lab's cluster at another release of OpenStack, written on its master."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from saltern.artifact import catalogue, pins
from saltern.artifact.build import Manifest, ensure
from saltern.lab.cluster import last_json
from saltern.lab.staging import with_params
from tests.support.cluster import Cluster
from tests.support.guest import NAME, call, meanwhile

MODEL = "/srv/saltern/model"
PRODUCT = "openstack"
#: Seconds that the guest is watched at most.
WATCHED = "3600"
#: Probes of APIs that never go away in a hop; the plan announces no window for any of them.
SERVING = frozenset(
    {
        *("keystone", "token", "glance", "placement", "nova"),
        *("neutron", "cinder", "heat", "horizon"),
    }
)
#: Cluster to what else its class says once no release before 2025.1 is left.
STARTED = {"demo": {"openstack_network": "controller"}}
_RELEASE = re.compile(r"openstack_release: '([0-9.]+)'")


def release(cluster: Cluster) -> str:
    """Return the release that the model on the master names."""
    found = _RELEASE.search(_read(cluster, "init.yml"))
    assert found, f"the class of {cluster.name} names no openstack_release"
    return found[1]


def move(cluster: Cluster, wanted: str) -> str:
    """Write a release and the artifacts of its services into the model's tree on the master.

    :param wanted: as ``2026.1``; its artifacts are built when the cache lacks them
    :returns: the release before
    """
    before = release(cluster)
    pinned = yaml.safe_load(_read(cluster, "artifacts.yml"))["parameters"]
    roles = {
        f"{service}.{role}"
        for service, entries in pinned.items()
        for role, entry in entries.items()
        if isinstance(entry, dict) and "sha256" in entry.get("source", {})
    }
    names = [one.name for one in catalogue.services(PRODUCT, wanted) if one.role in roles]
    manifests: list[Manifest] = ensure(PRODUCT, wanted, names)
    # what is no artifact stays: the image of the guest
    more = {key: value for key, value in pinned.items() if key == "openstack"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "classes/cluster" / cluster.name
        place.mkdir(parents=True)
        pins.write_class(Path(folder), cluster.name, manifests, more=more)
        _write(cluster, "artifacts.yml", (place / "artifacts.yml").read_text())
    params = {"openstack_release": wanted, **STARTED.get(cluster.name, {})}
    _write(cluster, "init.yml", with_params(_read(cluster, "init.yml"), params))
    return before


def _path(cluster: Cluster, file: str) -> str:
    return f"{MODEL}/classes/cluster/{cluster.name}/{file}"


def _read(cluster: Cluster, file: str) -> str:
    return str(cluster.run(cluster.master, "cat", _path(cluster, file)).stdout)


def _write(cluster: Cluster, file: str, text: str) -> None:
    cluster.run(cluster.master, "tee", _path(cluster, file), text=text)


def upgrade(cluster: Cluster, *words: str) -> dict[str, Any]:
    """Plan the upgrade to what the tree on the master says now; return hash and plan."""
    code, found, printed = cluster.salt_run(
        "rollout.plan", "upgrade", "revision=worktree", "data=True", *words
    )
    assert code == 0, printed[-4000:]
    return dict(found)


def watched(
    cluster: Cluster,
    *argv: str,
    when: Mapping[str, Callable[[], object]] | None = None,
    tell: bool = False,
) -> tuple[int, Any, str]:
    """Run a runner function as ``salt-run`` does, and do something once it tells something.

    :param argv: function and arguments
    :param when: regular expression of a line of its progress to what is done on the first of them
    :param tell: show its progress as it comes
    :returns: exit code, data, what was printed
    """
    left = {re.compile(pattern): do for pattern, do in (when or {}).items()}
    command = cluster.provider.command(cluster.master, ["salt-run", "--out=json", *argv])
    lines: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        answers: list[str] = []
        reading = threading.Thread(target=lambda: answers.extend(process.stdout or ()))
        reading.start()
        for line in process.stderr:
            lines.append(line)
            if tell:
                sys.stderr.write(line)
            for pattern in [one for one in left if one.search(line)]:
                left.pop(pattern)()
        reading.join()
    printed = "".join([*answers, *lines])
    assert not left, f"never told: {[one.pattern for one in left]}\n{printed[-4000:]}"
    return process.returncode, last_json("".join(answers)), printed


@dataclass(frozen=True)
class Hop:
    """One upgrade of the whole cloud, as it was measured.

    :param before: release
    :param after: release
    :param seconds: that the rollout took
    :param predicted: minutes that its plan said; None for no prediction
    :param probes: by name: what was asked, what failed, the longest gap
    :param guest: its echo meanwhile: ``gap`` in seconds, ``broken`` connections
    :param same: the guest is the one that was there
    :param report: what ``rollout.apply`` answered
    """

    before: str
    after: str
    seconds: float
    predicted: float | None
    probes: dict[str, dict[str, Any]]
    guest: dict[str, Any]
    same: bool
    report: dict[str, Any]


def hop(cluster: Cluster, wanted: str, guest: dict[str, Any]) -> Hop:
    """Move the model to a release, and upgrade the cloud to it while its guest is used.

    :param guest: what :func:`tests.support.guest.call` ``make`` returned
    :raises AssertionError: it cannot be planned, or did not succeed
    """
    before = move(cluster, wanted)
    plan = upgrade(cluster)
    done: list[tuple[int, Any, str]] = []
    took: list[float] = []

    def apply() -> None:
        begin = time.monotonic()
        done.append(watched(cluster, "rollout.apply", plan["hash"], tell=True))
        took.append(time.monotonic() - begin)

    seen = meanwhile(cluster, "echo", guest["address"], WATCHED, do=apply)
    code, report, printed = done[0]
    assert code == 0, printed[-6000:]
    probes = {probe["name"]: probe for probe in report["probes"]}
    here = call(cluster, "where", NAME)["id"] == guest["id"]
    return Hop(before, wanted, took[0], plan.get("minutes"), probes, seen, here, report)


def canaries(cluster: Cluster, verb: str) -> None:
    """Make the canaries, or verify them.

    :raises AssertionError: one is not as it was
    """
    code, _, printed = cluster.salt_run(f"canary.{verb}")
    assert code == 0, printed[-4000:]
