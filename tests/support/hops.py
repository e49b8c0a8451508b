"""The model of a lab's cluster at another release of OpenStack, written on its master."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import yaml

from saltern.artifact import catalogue, pins
from saltern.artifact.build import Manifest, ensure
from tests.support.cluster import Cluster

MODEL = "/srv/saltern/model"
PRODUCT = "openstack"
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
    named = _RELEASE.sub(f"openstack_release: '{wanted}'", _read(cluster, "init.yml"))
    _write(cluster, "init.yml", named)
    return before


def _path(cluster: Cluster, file: str) -> str:
    return f"{MODEL}/classes/cluster/{cluster.name}/{file}"


def _read(cluster: Cluster, file: str) -> str:
    return str(cluster.run(cluster.master, "cat", _path(cluster, file)).stdout)


def _write(cluster: Cluster, file: str, text: str) -> None:
    cluster.run(cluster.master, "tee", _path(cluster, file), text=text)
