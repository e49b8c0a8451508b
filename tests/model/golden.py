"""What the example cluster's nodes are served, kept in git so that a change shows in review.

``python -m tests.model.golden`` writes the files anew.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from saltern.model import Inventory, nodes, secrets
from saltern.model.cluster import compile_cluster
from tests.support import TREE

CLUSTER = "demo-core"
PGP = "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----"
FOLDER = Path(__file__).parent / "golden"
#: one node of each kind
NODES = ("cfg01", "inf01", "ctl01")


def prepare(top: Path) -> Inventory:
    """Copy the model; secrets become messages that nobody opens, artifacts are left out."""
    shutil.copytree(
        TREE / "classes",
        top / "classes",
        ignore=shutil.ignore_patterns("secrets.yml", "artifacts.yml"),
    )
    nodes.write(Inventory(top), CLUSTER)
    names = [secret.name for secret in secrets.wanted(Inventory(top), CLUSTER)]
    folder = top / "classes/cluster" / CLUSTER
    values = {name: PGP.format(name) for name in names}
    (folder / "secrets.yml").write_text(yaml.safe_dump({"parameters": {"_secret": values}}))
    (folder / "artifacts.yml").write_text("{}\n")
    return Inventory(top)


def rendered(inventory: Inventory) -> dict[str, str]:
    """Node name to the text of its golden file; the revision changes with every edit."""
    compiled = compile_cluster(inventory, CLUSTER)
    domain = next(iter(compiled)).partition(".")[2]
    texts = {}
    for name in NODES:
        pillar: dict[str, Any] = dict(compiled[f"{name}.{domain}"].pillar)
        pillar["__reclass__"] = {**pillar["__reclass__"], "revision": "(revision)"}
        texts[name] = json.dumps(pillar, indent=1, sort_keys=True) + "\n"
    return texts


def main() -> None:
    """Write the golden files."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in rendered(prepare(Path(folder))).items():
            (FOLDER / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
