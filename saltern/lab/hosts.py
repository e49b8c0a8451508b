"""What every lab host gets beside its address: the offline repository and a Salt to talk with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import LabError
from saltern.lab.fresh import use_offline_repo
from saltern.lab.image import Image, Report, ensure_image, silent
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.paths import source_tree
from saltern.lab.provider import Bind, HostSpec
from saltern.lab.repo import MOUNT, ensure_repo

#: Where a scratch host sees the checkout.
TREE = "/srv/saltern/tree"
SCRATCH_ADDRESS = "10.254.0.10"
SCRATCH_DOMAIN = "scratch.test"


def repo_bind(image: Image, report: Report = silent) -> Bind:
    """Return the bind of the offline repository for hosts of ``image``, downloading it if needed.

    :raises LabError: a package cannot be downloaded
    """
    return Bind(str(ensure_repo(image, report)), f"{MOUNT}/{image.suite}")


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as YAML, with the directories it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(value), sort_keys=True), encoding="utf-8")


def masterless_config() -> dict[str, Any]:
    """Return the minion configuration of a scratch host: everything from the checkout."""
    return {
        "file_client": "local",
        "file_roots": {"base": [f"{TREE}/formulas", f"{TREE}/orchestrate"]},
        "pillar_roots": {"base": ["/srv/pillar"]},
        "module_dirs": [TREE],
        "log_level": "warning",
    }


def scratch(
    name: str, image: str = "bookworm", *, report: Report = silent, pillar: Path | None = None
) -> NspawnProvider:
    """Boot one stand-alone host with Salt, the offline repository and the checkout.

    The lab is called ``scratch-NAME`` and has this one host.

    :param name: host name
    :param image: base image
    :param report: called with the name of each step that takes time
    :param pillar: YAML file that becomes the host's pillar
    :raises LabError: it cannot be built or booted; this is no checkout
    """
    tree = source_tree()
    if tree is None:
        raise LabError("a scratch host shows a checkout and this is an installed package")
    provider = NspawnProvider(f"scratch-{name}", report=report)
    base = ensure_image(image, report)
    binds = (repo_bind(base, report), Bind(str(tree), TREE))
    spec = HostSpec(name, f"{name}.{SCRATCH_DOMAIN}", SCRATCH_ADDRESS, image, binds)

    def prepare(spec: HostSpec, root: Path) -> None:
        use_offline_repo(image, root)
        config = masterless_config() | {"id": spec.fqdn}
        write_yaml(root / "etc/salt/minion.d/scratch.conf", config)

    report(f"booting {name}")
    new = provider.up([spec], prepare)
    if pillar is not None:
        root = provider.root(name)
        write_yaml(root / "srv/pillar/top.sls", {"base": {"*": ["scratch"]}})
        shutil.copyfile(pillar, root / "srv/pillar/scratch.sls")
    if new:
        provider.exec(name, ["apt-get", "-q", "update"])
    return provider
