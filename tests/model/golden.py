"""What the nodes of the example clusters are served, kept in git so that a change shows in review.

``python -m tests.model.golden`` writes the files anew, ``golden/<cluster>/``:

- ``<node>.yml`` of the first node of each group, without what is in the next two;
- ``common.yml``: what is the same on all of these;
- ``topology.txt``: who is where, the same on every node;
- ``digests.txt``: a checksum of what each of the other nodes is served.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from saltern.model import Inventory, nodes, secrets
from saltern.model.cluster import compile_cluster
from tests.support import TREE

CLUSTERS = ("demo-core", "demo-ceph", "demo", "iaas", "caas")
PGP = "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----"
_MESSAGE = re.compile(re.escape(PGP).replace(r"\{\}", r"(\w+)"))
FOLDER = Path(__file__).parent / "golden"


def prepare(top: Path, *clusters: str) -> Inventory:
    """Copy the model with the nodes of some clusters.

    Secrets become messages that nobody opens, artifacts are left out.
    """
    shutil.copytree(
        TREE / "classes",
        top / "classes",
        ignore=shutil.ignore_patterns("secrets.yml", "artifacts.yml"),
    )
    for cluster in clusters:
        nodes.write(Inventory(top), cluster)
        names = [secret.name for secret in secrets.wanted(Inventory(top), cluster)]
        folder = top / "classes/cluster" / cluster
        values = {name: PGP.format(name) for name in names}
        (folder / "secrets.yml").write_text(yaml.safe_dump({"parameters": {"_secret": values}}))
        (folder / "artifacts.yml").write_text("{}\n")
    return Inventory(top)


def rendered(inventory: Inventory, cluster: str) -> dict[str, str]:
    """File name to the text of each golden file; the revision changes with every edit."""
    pillars: dict[str, Any] = {}
    topology: Any = None
    for node_id, node in compile_cluster(inventory, cluster).items():
        pillar = dict(node.pillar)
        pillar["__reclass__"] = {**pillar["__reclass__"], "revision": "(revision)"}
        topology = pillar.pop("topology")
        pillars[node_id.partition(".")[0]] = pillar
    shown = {group(name): name for name in sorted(pillars, reverse=True)}
    common = reduce(shared, (pillars[name] for name in shown.values()))
    texts = {"topology.txt": _table(topology), "common.yml": _yaml(common)}
    texts |= {f"{name}.yml": _yaml(without(pillars[name], common)) for name in shown.values()}
    texts["digests.txt"] = "".join(
        f"{hashlib.sha256(json.dumps(pillar, sort_keys=True).encode()).hexdigest()[:16]}  {name}\n"
        for name, pillar in sorted(pillars.items())
        if name not in shown.values()
    )
    return texts


def group(name: str) -> str:
    """Return the group of a host: its name without the number."""
    return name.rstrip("0123456789")


def shared(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return what two mappings have in common, at any depth."""
    out = {}
    for key in left.keys() & right.keys():
        if left[key] == right[key]:
            out[key] = left[key]
            continue
        deeper = isinstance(left[key], dict) and isinstance(right[key], dict)
        if deeper and (both := shared(left[key], right[key])):
            out[key] = both
    return out


def without(value: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping less what is in ``common``, which is part of it."""
    out = {}
    for key, item in value.items():
        if key not in common:
            out[key] = item
        elif item != common[key]:
            out[key] = without(item, common[key])
    return out


class _Plain(yaml.SafeDumper):
    """Writes what is used twice twice, and a secret as its name."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", _MESSAGE.sub(r"(secret \1)", value))


_Plain.add_representer(str, _text)


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Plain, default_flow_style=None, width=100)


def _table(topology: dict[str, Any]) -> str:
    """Write a topology as a table: nodes with the same roles stand together."""
    same: dict[tuple[str, ...], list[str]] = {}
    for node_id, node in sorted(topology["nodes"].items()):
        name, address, roles = node["name"], node["address"], node["roles"]
        assert set(node) == {"name", "address", "roles"}
        assert node_id == f"{name}.{topology['domain']}"
        assert all(node_id in topology["roles"][role] for role in roles)
        same.setdefault(tuple(roles), []).append(f"{name:8} {address}")
    assert sum(map(len, topology["roles"].values())) == sum(
        len(roles) * len(found) for roles, found in same.items()
    )
    lines = [f"cluster {topology['cluster']}, domain {topology['domain']}"]
    for roles, found in same.items():
        lines += ["", *roles, *(f"    {line}" for line in found)]
    return "\n".join(lines) + "\n"


def write(cluster: str, texts: dict[str, str]) -> None:
    """Replace the golden files of a cluster."""
    folder = FOLDER / cluster
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)


def main() -> None:
    """Write the golden files."""
    for cluster in CLUSTERS:
        with tempfile.TemporaryDirectory() as folder:
            write(cluster, rendered(prepare(Path(folder), cluster), cluster))


if __name__ == "__main__":
    main()
