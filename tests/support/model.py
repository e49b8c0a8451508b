"""The example cluster as its nodes are served it, compiled in a copy of the tree."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from saltern.artifact import catalogue, pins
from saltern.artifact.build import Manifest
from saltern.model import Inventory, nodes, secrets, serve
from saltern.model.cluster import compile_cluster
from tests.support import TREE

CLUSTER = "demo-core"
#: those that the lab can deploy
CLUSTERS = (CLUSTER, "demo-ceph", "demo")
#: one with roles that none of those has yet
MODELLED = "iaas"
#: what no example cluster has: the controllers of that one get it, in the tests' copy alone
OFFERED: dict[str, dict[str, Any]] = {
    "system.openstack.loadbalancer": {},
    "system.openstack.dns": {
        "designate": {
            "central": {
                "pool": {
                    "default": {
                        "ns_records": [{"hostname": "ns1.iaas.test.", "priority": 1}],
                        "targets": [
                            {"engine": "bind9", "host": "10.60.0.201", "rndc_key": "designate"},
                            {
                                "engine": "pdns4",
                                "host": "10.60.0.202",
                                "url": "https://ns2.iaas.test:8081",
                                "token": "${_secret:designate_pdns_token}",
                            },
                        ],
                    }
                }
            }
        }
    },
    "system.openstack.baremetal": {"ironic": {"conductor": {"drivers": ["redfish", "ipmi"]}}},
}

#: what the example clusters run
RELEASE = "2025.1"
#: what the master's key store holds once keys were made: role -> repositories
KEY_REPOSITORIES = {"keystone.server": ("fernet", "credential")}


def offered() -> set[str]:
    """Return the classes that are offered to a cluster, with those that they join."""
    found = set(OFFERED)
    for name in OFFERED:
        path = TREE / "classes" / f"{name.replace('.', '/')}.yml"
        found |= set(yaml.safe_load(path.read_text())["classes"])
    return found


def clear(text: str) -> str:
    """Stand in for encryption: these secrets never leave a temporary directory."""
    return text


def prepare(
    target: Path,
    cluster: str = CLUSTER,
    release: str = RELEASE,
    more: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Copy the model to ``target`` and complete it as a deploy would; return ``target``.

    Nodes are generated, secrets made (in clear text), artifacts given a made-up checksum. The
    cluster runs ``release``; ``more`` adds classes to files of it.
    """
    shutil.copytree(
        TREE / "classes",
        target / "classes",
        ignore=shutil.ignore_patterns("secrets.yml", "artifacts.yml"),
    )
    folder = target / "classes/cluster" / cluster
    text = (folder / "init.yml").read_text()
    named = f"openstack_release: '{RELEASE}'"
    (folder / "init.yml").write_text(text.replace(named, f"openstack_release: '{release}'"))
    for file, classes in (more or {}).items():
        data = yaml.safe_load((folder / file).read_text())
        data["classes"] += classes
        (folder / file).write_text(yaml.safe_dump(data))
    if cluster == MODELLED:
        controller = target / "classes/cluster" / cluster / "ctl.yml"
        data = yaml.safe_load(controller.read_text())
        data["classes"] += OFFERED
        for parameters in OFFERED.values():
            data["parameters"].update(parameters)
        controller.write_text(yaml.safe_dump(data))
    (target / "nodes").mkdir()
    nodes.write(Inventory(target), cluster)
    secrets.init(Inventory(target), cluster, clear)
    pins.write_class(target, cluster, manifests(release))
    for role, repositories in KEY_REPOSITORIES.items():
        for number, repository in enumerate(repositories):
            folder = target / "keys" / role / repository
            folder.mkdir(parents=True)
            for index in range(2):
                seed = bytes([number * 16 + index]) * 32
                (folder / str(index)).write_text(base64.urlsafe_b64encode(seed).decode())
    return target


def manifests(release: str = RELEASE) -> list[Manifest]:
    """What a build of every service of a release would leave, with made-up checksums."""
    return [
        Manifest(
            product=service.product,
            release=service.release,
            name=service.name,
            role=service.role,
            version=service.version,
            python=service.python,
            suite="bookworm",
            wsgi=service.wsgi,
            database=service.database and service.database.to_json(),
            file=f"{service.product}/{service.release}/{service.name}.tar.zst",
            sha256="0" * 64,
            size=1,
            lock="0" * 64,
            recipe="0" * 64,
            built="2025-01-01T00:00:00+00:00",
        )
        for service in catalogue.services("openstack", release)
    ]


@lru_cache
def served(target: Path, cluster: str = CLUSTER) -> dict[str, dict[str, Any]]:
    """Return node id -> pillar for every node of a prepared tree."""
    ids = compile_cluster(Inventory(target), cluster)
    return {
        node: serve.pillar(target, node, decrypt=clear, keystore=target / "keys") for node in ids
    }


def carriers(target: Path, cluster: str, roles: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Return node id -> pillar of the first node of a prepared tree that carries each role."""
    first: dict[str, str] = {}
    for node, compiled in compile_cluster(Inventory(target), cluster).items():
        for role in roles & set(compiled.applications):
            first.setdefault(role, node)
    return {
        node: serve.pillar(target, node, decrypt=clear, keystore=target / "keys")
        for node in sorted(set(first.values()))
    }


def clear_text(target: Path, cluster: str = CLUSTER) -> set[str]:
    """Return the clear text of every secret and key of a prepared tree."""
    stored = yaml.safe_load((target / "classes/cluster" / cluster / "secrets.yml").read_text())
    keys = {path.read_text() for path in (target / "keys").rglob("*") if path.is_file()}
    return keys | set(stored["parameters"]["_secret"].values())
