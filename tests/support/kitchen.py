"""The Kitchenfile as pytest runs it: the same suites, on lab hosts instead of a driver's.

What kitchen-salt's ``salt_solo`` would lay out in an instance is laid out here in the same way:
a top file, pillar files and a minion's configuration, then ``salt-call --local state.highstate``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from tests.support import TREE

#: platforms of the Kitchenfile that the lab has an image for
IMAGES = {"debian-12": "bookworm", "debian-13": "trixie"}

#: where the bound directories appear in the host
SANDBOX = "/srv/kitchen"
TREE_IN_HOST = "/srv/saltern/tree"


def merged(base: Any, over: Any) -> Any:
    """Merge as Test Kitchen does: mappings deeply, everything else is replaced."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        keys = [*base, *(key for key in over if key not in base)]
        return {
            key: merged(base[key], over[key])
            if key in base and key in over
            else over.get(key, base.get(key))
            for key in keys
        }
    return over


@dataclass(frozen=True)
class Suite:
    """One instance: a suite on a platform, with its merged provisioner."""

    name: str
    platform: str
    provisioner: dict[str, Any]

    @property
    def image(self) -> str | None:
        """The lab's image for the platform, None where there is none."""
        return IMAGES.get(self.platform)

    @property
    def states(self) -> list[str]:
        """SLS names of the suite's top file."""
        return list(self.provisioner["state_top"]["base"]["*"])


def read(path: Path = TREE / "Kitchenfile") -> list[Suite]:
    """Return every instance of the Kitchenfile (suite x platform, includes and excludes kept)."""
    data = yaml.safe_load(path.read_text())
    common = data["provisioner"]
    found = []
    for suite in data["suites"]:
        for platform in data["platforms"]:
            name = platform["name"]
            if name in suite.get("excludes", ()) or name not in suite.get("includes", [name]):
                continue
            provisioner = merged(
                merged(common, platform.get("provisioner", {})), suite.get("provisioner", {})
            )
            found.append(Suite(suite["name"], name, provisioner))
    return found


def lay_out(suite: Suite, target: Path, generated: Mapping[str, str] | None = None) -> None:
    """Write what ``salt_solo`` would put into the instance below ``target``.

    :param generated: text of files that ``pillars_from_files`` names and the tree does not have
    """
    provisioner = suite.provisioner
    salt, pillar, etc = target / "salt", target / "pillar", target / "etc"
    for directory in (salt, pillar, etc):
        directory.mkdir(parents=True)
    # synced as on a node, never by module_dirs: what runs there must stand alone
    for name in ("_modules", "_states", "_grains", "_executors"):
        (salt / name).symlink_to(f"{TREE_IN_HOST}/{name}")
    (salt / "top.sls").write_text(yaml.safe_dump(provisioner["state_top"]))
    for name, content in provisioner["pillars"].items():
        (pillar / name).write_text(yaml.safe_dump(content, sort_keys=False))
    for name, source in provisioner.get("pillars_from_files", {}).items():
        (pillar / name).write_text((generated or {})[source])
    minion = {
        "id": provisioner["salt_minion_id"],
        "file_client": "local",
        "file_roots": {"base": [f"{SANDBOX}/salt", f"{TREE_IN_HOST}/formulas"]},
        "pillar_roots": {"base": [f"{SANDBOX}/pillar"]},
        **provisioner.get("salt_minion_extra_config", {}),
    }
    (etc / "minion").write_text(yaml.safe_dump(minion))
    if "grains" in provisioner:
        (etc / "grains").write_text(yaml.safe_dump(provisioner["grains"]))


def pillar(suite: Suite, grains: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pillar that Salt would compile for the suite, without generated files.

    :param grains: what the pillar's Jinja may ask for
    """
    files = suite.provisioner["pillars"]
    result: dict[str, Any] = {}
    for name in files["top.sls"]["base"]["*"]:
        text = yaml.safe_dump(files.get(f"{name}.sls", {}))
        result = merged(result, yaml.safe_load(jinja2.Template(text).render(grains=grains)))
    return result


#: what converges an instance
CONVERGE = [
    "salt-call", "--local", f"--config-dir={SANDBOX}/etc", "--retcode-passthrough",
    "--out=json", "--log-level=error", "state.highstate",
]  # fmt: skip


@dataclass(frozen=True)
class Converged:
    """What one run of the states reported.

    :param states: state id -> Salt's return for it
    :param problem: why there are no states at all (rendering failed), "" otherwise
    """

    states: dict[str, dict[str, Any]]
    problem: str = ""

    @classmethod
    def parse(cls, stdout: str, stderr: str) -> Converged:
        """Read ``salt-call --out=json``."""
        try:
            local = json.loads(stdout[stdout.index("{") :])["local"]
        except (ValueError, KeyError):
            return cls({}, f"no result: {stdout[-2000:]}{stderr[-2000:]}")
        if not isinstance(local, dict):
            return cls({}, "\n".join(map(str, local)))
        return cls(local)

    def failed(self) -> dict[str, str]:
        """State id -> comment of what failed."""
        return {
            key: str(state["comment"]) for key, state in self.states.items() if not state["result"]
        }

    def changed(self) -> dict[str, Any]:
        """State id -> changes of what was not as it should be."""
        return {key: state["changes"] for key, state in self.states.items() if state["changes"]}
