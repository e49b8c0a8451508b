"""Pin artifacts in a cluster's model: what a role runs is named by digest, in git."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from saltern.artifact.build import Manifest
from saltern.artifact.catalogue import services
from saltern.errors import ArtifactError

#: Where the artifacts are served; a cluster that mirrors them elsewhere sets the parameter.
BASE_URL = "https://${_param:deploy_node}/artifacts"
HEADER = """\
# Written by `saltern artifact pin`: the artifacts that the services of this cluster run.
"""


def source(manifest: Manifest, base_url: str = BASE_URL) -> dict[str, Any]:
    """Return the pillar ``<svc>:<role>:source`` that deploys an artifact.

    :param manifest: of the artifact
    :param base_url: where the artifacts directory is served, without trailing slash
    """
    found = {
        "engine": "venv",
        "release": manifest.release,
        "version": manifest.version,
        "url": f"{base_url}/{manifest.file}",
        "sha256": manifest.sha256,
    }
    # what starts it and what opens and upgrades its schema, where it has them
    upgrade = {
        phase: [list(command) for command in commands]
        for phase, commands in sorted(_upgrade(manifest).items())
    }
    starts = {"wsgi": manifest.wsgi, "database": manifest.database, "upgrade": upgrade}
    return found | {key: value for key, value in starts.items() if value}


def _upgrade(manifest: Manifest) -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """What the catalogue says today: an artifact is not built anew for it."""
    if not manifest.database:
        return {}
    try:
        (service,) = services(manifest.product, manifest.release, [manifest.name])
    except ArtifactError:  # it left the catalogue, and can be run all the same
        return {}
    return service.upgrade


def parameters(manifests: Iterable[Manifest], base_url: str = BASE_URL) -> dict[str, Any]:
    """Return the reclass parameters that pin ``manifests`` on their roles."""
    result: dict[str, Any] = {}
    for manifest in manifests:
        service, _, role = manifest.role.partition(".")
        result.setdefault(service, {}).setdefault(role, {})["source"] = source(manifest, base_url)
    return result


def write_class(
    inventory_dir: Path,
    cluster: str,
    manifests: Iterable[Manifest],
    base_url: str = BASE_URL,
    more: Mapping[str, Any] | None = None,
) -> bool:
    """Write the class ``cluster.<name>.artifacts`` of an inventory.

    :param inventory_dir: directory that has ``classes/cluster/<cluster>``
    :param cluster: name of the cluster
    :param manifests: what to pin
    :param base_url: where the artifacts directory is served
    :param more: further parameters, of keys that no artifact has
    :returns: whether the file changed
    :raises ArtifactError: the inventory has no such cluster
    """
    folder = inventory_dir / "classes" / "cluster" / cluster
    if not folder.is_dir():
        raise ArtifactError(f"there is no cluster {cluster!r}", where=str(folder))
    path = folder / "artifacts.yml"
    wanted = {**parameters(manifests, base_url), **(more or {})}
    text = HEADER + yaml.safe_dump({"parameters": wanted}, width=100)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True
