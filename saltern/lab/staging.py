"""A lab's own copy of the model: the tree's classes, its nodes, its secrets, its artifact pins."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saltern.adapters.gpg import Gpg
from saltern.artifact import catalogue, pins
from saltern.artifact.build import Manifest, ensure
from saltern.errors import LabError, ModelError
from saltern.lab.guest import ensure_guest
from saltern.lab.image import Report, silent
from saltern.lab.paths import lab_dir, make_lab_dir, source_tree
from saltern.lab.shell import clean_environment, run
from saltern.model import Inventory, secrets
from saltern.model import nodes as node_files
from saltern.model.cluster import CompiledNode, compile_cluster

#: Classes that exist only in the copy: they belong to this lab, not to the source tree.
GENERATED = ("secrets.yml", "artifacts.yml")
#: Products whose services come as artifacts, and the parameter that names their release.
PRODUCTS = {"openstack": "openstack_release"}
#: Where the master of a lab sees the images for guests.
GUEST = "/srv/saltern/guest"
GIT_NAME = "saltern"


@dataclass(frozen=True)
class Staged:
    """A cluster's model, ready to be served.

    :param directory: git repository with ``classes/`` and ``nodes/``
    :param revision: its commit, empty until the artifacts are pinned
    :param gpg_home: key ring that opens its secrets
    :param nodes: the compiled nodes by minion id
    """

    directory: Path
    revision: str
    gpg_home: Path
    nodes: dict[str, CompiledNode]


def mirror(source: Path, target: Path, keep: Sequence[str] = ()) -> bool:
    """Make ``target`` like ``source``, touching only files that differ; return whether any did.

    :param keep: paths below ``target`` that stay although ``source`` does not have them
    """
    target.mkdir(parents=True, exist_ok=True)
    changed = False
    wanted: set[Path] = set()
    for directory, _, names in os.walk(source):
        for name in names:
            relative = (Path(directory) / name).relative_to(source)
            wanted.add(relative)
            place = target / relative
            if place.is_file() and filecmp.cmp(source / relative, place, shallow=False):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / relative, place)
            changed = True
    for path in sorted(target.rglob("*"), reverse=True):
        relative = path.relative_to(target)
        if path.is_file() and relative not in wanted and str(relative) not in keep:
            path.unlink()
            changed = True
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return changed


def commit(directory: Path, message: str) -> str:
    """Commit everything in a git repository (created when missing); return the commit.

    :raises LabError: git failed
    """
    env = clean_environment(
        {
            "GIT_AUTHOR_NAME": GIT_NAME,
            "GIT_AUTHOR_EMAIL": f"{GIT_NAME}@localhost",
            "GIT_COMMITTER_NAME": GIT_NAME,
            "GIT_COMMITTER_EMAIL": f"{GIT_NAME}@localhost",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
    )
    git = ["git", "-C", str(directory)]
    what = "committing the model"
    if not (directory / ".git").is_dir():
        run([*git, "init", "-q", "-b", "main"], what=what, env=env)
    run([*git, "add", "-A"], what=what, env=env)
    if run([*git, "status", "--porcelain"], what=what, env=env).strip():
        run([*git, "commit", "-q", "-m", message], what=what, env=env)
    return run([*git, "rev-parse", "HEAD"], what=what, env=env).strip()


def _model_source(cluster: str) -> Path:
    """Return the checkout, which must have the cluster."""
    tree = source_tree()
    if tree is None:
        raise LabError("the model is copied from a checkout and this is an installed package")
    if not (tree / "classes/cluster" / cluster).is_dir():
        known = sorted(path.name for path in (tree / "classes/cluster").iterdir())
        raise ModelError(
            f"there is no cluster {cluster!r}; known are {', '.join(known)}",
            where=str(tree / "classes/cluster"),
        )
    return tree


def _copy_tree(tree: Path, cluster: str, target: Path) -> None:
    keep = [f"cluster/{cluster}/{name}" for name in GENERATED]
    mirror(tree / "classes", target / "classes", keep)
    # Nodes are generated; those of other clusters are not this lab's business.
    (target / "nodes").mkdir(parents=True, exist_ok=True)


def with_params(text: str, params: Mapping[str, str]) -> str:
    """Return the class of a cluster with other values of some of its parameters.

    :param text: the class as it is written
    :param params: name below ``_param`` to value; each must be there, with a plain value
    :raises ModelError: one is not
    """
    for name, value in params.items():
        line = re.compile(rf"^(    {re.escape(name)}:) .*$", re.MULTILINE)
        quoted = "'" + value.replace("'", "''") + "'"
        text, found = line.subn(lambda match, to=quoted: f"{match[1]} {to}", text, count=1)
        if not found:
            raise ModelError(
                f"the cluster's class has no parameter {name} with a plain value",
                where="classes/cluster/<name>/init.yml: parameters:_param",
            )
    return text


def artifact_services(nodes: dict[str, CompiledNode]) -> dict[tuple[str, str], list[str]]:
    """Return which artifacts a cluster runs: ``{(product, release): [service, …]}``.

    :param nodes: its compiled nodes
    """
    roles = {role for node in nodes.values() for role in node.applications}
    found: dict[tuple[str, str], list[str]] = {}
    for product, parameter in PRODUCTS.items():
        values = {str(node.pillar.get("_param", {}).get(parameter, "")) for node in nodes.values()}
        for release in sorted(values - {""}):
            wanted = [s.name for s in catalogue.services(product, release) if s.role in roles]
            if wanted:
                found[(product, release)] = wanted
    return found


def stage(cluster: str, report: Report = silent, params: Mapping[str, str] | None = None) -> Staged:
    """Copy the tree's model for one lab, complete it and compile it; artifacts as known so far.

    Nodes are generated from the cluster class, missing secrets made and encrypted for the lab's
    own key. Secrets made before stay.

    :param cluster: name of the cluster
    :param report: called with the name of each step that takes time
    :param params: parameters of the cluster that are different in this lab
    :raises ModelError: there is no such cluster, or it does not compile
    """
    tree = _model_source(cluster)
    directory = make_lab_dir(cluster) / "model"
    _copy_tree(tree, cluster, directory)
    if params:
        place = directory / "classes/cluster" / cluster / "init.yml"
        place.write_text(with_params(place.read_text("utf-8"), params), "utf-8")
    node_files.write(Inventory(directory), cluster)
    gpg = Gpg(lab_dir(cluster) / "gpg")
    try:
        if not gpg.home.is_dir() or not gpg.secret_keys():
            report("creating the lab's GPG key")
            gpg.create_key(f"saltern lab {cluster}")
        recipients = gpg.secret_keys()
        secrets.init(Inventory(directory), cluster, lambda text: gpg.encrypt(text, recipients))
    finally:
        gpg.stop_agent()
    if not (directory / "classes/cluster" / cluster / "artifacts.yml").exists():
        pins.write_class(directory, cluster, [])
    nodes = compile_cluster(Inventory(directory), cluster)
    return Staged(directory, "", gpg.home, nodes)


def guest_image(nodes: dict[str, CompiledNode], report: Report = silent) -> dict[str, Any]:
    """Return the parameters that bring the guest image into a cloud, none without hypervisors.

    :param nodes: the compiled nodes of the cluster
    :param report: called with the name of each step that takes time
    :raises LabError: the image cannot be built
    """
    if not any("nova.compute" in node.applications for node in nodes.values()):
        return {}
    guest = ensure_guest(report)
    disk = Path(guest.path)
    image = {
        "source": f"{GUEST}/{disk.parent.name}/{disk.name}",
        "checksum": guest.checksum,
        "disk_format": "raw",
        "visibility": "public",
        "min_ram": 128,
    }
    return {"openstack": {"resources": {"image": {"guest": image}}}}


def pin(cluster: str, staged: Staged, report: Report = silent) -> Staged:
    """Pin the artifacts that the cluster's roles run, building missing ones; commit the model.

    :param staged: what :func:`stage` returned
    :param report: called with the name of each step that takes time
    :raises ArtifactError: a build failed; ModelError: the model does not compile with the pins
    """
    manifests: list[Manifest] = []
    for (product, release), names in artifact_services(staged.nodes).items():
        manifests += ensure(product, release, names, report=report)
    nodes = staged.nodes
    more = guest_image(nodes, report)
    if pins.write_class(staged.directory, cluster, manifests, more=more):
        nodes = compile_cluster(Inventory(staged.directory), cluster)
    revision = commit(staged.directory, f"Model of {cluster}")
    return replace(staged, revision=revision, nodes=nodes)


def host_facts(nodes: dict[str, CompiledNode]) -> dict[str, dict[str, Any]]:
    """Return ``{minion id: host facts}`` of the nodes that this machine provides.

    :raises ModelError: a node names a provider that the lab does not know
    """
    facts = {node_id: node.host for node_id, node in nodes.items()}
    for node_id, host in facts.items():
        if host.get("provider", "nspawn") != "nspawn":
            raise ModelError(
                f"the lab cannot provide a host by {host['provider']!r}",
                where=f"node {node_id}, key host:provider",
            )
    return facts
