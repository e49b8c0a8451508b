"""``model.diff``, ``impact``, ``at``, ``graph`` and ``generate`` through Salt's own loader."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import yaml

from saltern.adapters import modelsite
from saltern.adapters.master import Site
from saltern.model import generate
from tests.model.trees import write_tree
from tests.support import TREE
from tests.support.commits import commit
from tests.unit.model.conftest import files

Run = Callable[..., Any]
WEB = "web01.c1.test"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The small cluster with formulas, committed."""
    content = files()
    content["formulas/web/server.sls"] = (
        "web-config:\n  file.managed:\n    - name: /etc/web.conf\n"
        "    - contents: {{ pillar.web.server.port }}\n"
    )
    content["formulas/db/server.sls"] = "{}"
    made = write_tree(tmp_path / "model", content)
    commit(made, "port 80")
    return made


@pytest.fixture
def opts(tmp_path: Path, top: Path) -> dict[str, Any]:
    """Configuration of a master with this model, prepared and with the first revision deployed."""
    plugin = {
        "store": str(tmp_path / "store"),
        "journal": f"sqlite:///{tmp_path}/journal/journal.db",
    }
    made: dict[str, Any] = salt.config.master_config(None)
    made.update(
        root_dir=str(tmp_path),
        cachedir=str(tmp_path / "cache"),
        extension_modules=str(tmp_path / "extmods"),
        module_dirs=[str(TREE)],
        saltern={"model": str(top), "cluster": "c1", **plugin},
        ext_pillar=[{"saltern_model": plugin}],
    )
    modelsite.prepare(Site.of(made), "tests", plugin)
    return made


@pytest.fixture
def run(opts: dict[str, Any]) -> Run:
    """Call a function of the runner."""
    loaded = salt.loader.runner(opts)

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        done = loaded[f"model.{function}"](*args, **kwargs)
        json.dumps(done)  # what salt-api has to send
        return done

    return call


def port(top: Path, value: int) -> str:
    path = top / "classes/system/web.yml"
    data = {"classes": ["service.web.server"], "parameters": {"web": {"server": {"port": value}}}}
    path.write_text(yaml.safe_dump(data))
    return commit(top, f"port {value}")


def test_both_files_of_the_runner_are_there(run: Run) -> None:
    assert run("diff").endswith("nothing that a node is served differs\n")
    assert run("pins") == {}
    assert run("diff", data=True)["nodes"] == []


def test_what_the_next_deployment_changes(run: Run, top: Path) -> None:
    port(top, 81)
    assert "    web01-02\n      ~ web:server:port  80 -> 81\n" in run("diff")
    data = run("diff", "HEAD~1", "HEAD", nodes=WEB, data=True)
    assert data["nodes"] == [WEB]
    assert run("diff", "HEAD", "HEAD", data=True)["groups"] == []
    wrong = run("diff", "nowhere")
    assert (wrong["result"], wrong["retcode"]) == (False, 2)
    assert "nowhere is no commit" in wrong["comment"]


def test_a_cluster_without_deployed_revision(run: Run) -> None:
    wrong = run("diff", cluster="other")
    assert wrong["retcode"] == 2
    assert "cluster other has no deployed revision" in wrong["comment"]


def test_hashes_of_one_site_are_the_same_in_two_runs(run: Run, top: Path) -> None:
    content = files()
    content["classes/cluster/c1/secrets.yml"]["parameters"]["_secret"]["web_db"] = (
        "-----BEGIN PGP MESSAGE-----\n\nother\n-----END PGP MESSAGE-----"
    )
    write_tree(top, content)
    commit(top, "rotated")
    told = run("diff")
    assert "ciphertext changed (secret:" in told
    assert "PGP" not in told
    assert run("diff") == told


def test_impact(run: Run, top: Path) -> None:
    port(top, 81)
    told = run("impact")
    assert "  web01-02\n    web.server\n      ~ /etc/web.conf  (contents)\n" in told
    data = run("impact", nodes=[WEB], data=True)
    assert (data["files"], data["formulas"], len(data["nodes"])) == (["/etc/web.conf"], ["web"], 1)


def test_at(run: Run, top: Path) -> None:
    first = run("at", "now")
    assert first["result"], first
    before = datetime.now(timezone.utc)
    second = port(top, 81)
    run("pin", WEB, "HEAD")
    now = run("at", "now", node=WEB)
    assert now["served"] == {WEB: second}
    assert now["commit"] == second
    then = run("at", before.isoformat())
    assert then["served"] == {"c1": first["commit"]}
    assert f"c1: {first['commit'][:12]}" in then["comment"]
    long_ago = run("at", "2020-01-01")
    assert (long_ago["served"], long_ago["commit"]) == ({"c1": None}, "")
    assert "c1: nothing was served" in long_ago["comment"]
    assert run("at", "noon")["retcode"] == 2


def test_graph(run: Run) -> None:
    assert ET.fromstring(run("graph", WEB)).tag.endswith("svg")
    assert run("graph", "nobody.c1.test")["retcode"] == 2


def test_generate(run: Run, top: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.yml"
    path.write_text(generate.example("core"))
    missing = run("generate", str(path))
    assert missing["retcode"] == 2
    assert "does not exist" in missing["comment"]
    for folder in ("service", "system"):
        for source in (TREE / "classes" / folder).rglob("*.yml"):
            target = top / source.relative_to(TREE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text())
    test = run("generate", str(path), test=True)
    assert test["comment"] == "11 files would be written."
    assert not (top / "nodes/demo-core").exists()
    assert run("generate", str(path))["files"] == test["files"]
    assert run("generate", str(path))["files"] == []
    assert "cannot read the answers" in run("generate", str(tmp_path / "none"))["comment"]
