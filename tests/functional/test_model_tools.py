"""The model's tools as runners, through Salt's own loader: data, sentences, exit codes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import yaml
from git import Actor, Repo

from saltern.adapters.gpg import Gpg
from saltern.model import Inventory, secrets
from tests.model.trees import write_tree
from tests.support import TREE
from tests.unit.model.conftest import files

Run = Callable[..., Any]
ME = Actor("tests", "tests@example.org")


@pytest.fixture
def home() -> Iterator[Path]:
    """A GnuPG home with a short path: the socket of its agent lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="gpg"))
    yield folder
    Gpg(folder).stop_agent()
    # the agent removes its socket by itself, perhaps at this moment
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def top(tmp_path: Path, home: Path) -> Path:
    """A model in git with formulas beside it and real secrets."""
    content = files()
    del content["classes/cluster/c1/secrets.yml"]
    for role in ("web", "db"):
        content[f"formulas/{role}/server.sls"] = ""
        content[f"formulas/{role}/schemas/server.yaml"] = {
            "properties": {"port": {"type": "integer"}}
        }
    top = write_tree(tmp_path / "model", content)
    gpg = Gpg(home)
    key = gpg.create_key("Model of ours")
    secrets.init(Inventory(top), "c1", lambda text: gpg.encrypt(text, [key]))
    repo = Repo.init(top)
    repo.git.add("-A")
    repo.index.commit("one", author=ME, committer=ME)
    return top


@pytest.fixture
def run(tmp_path: Path, top: Path, home: Path) -> Run:
    """Call a function of the runner."""
    opts = salt.config.master_config(None)
    opts.update(
        root_dir=str(tmp_path),
        cachedir=str(tmp_path / "cache"),
        extension_modules=str(tmp_path / "extmods"),
        module_dirs=[str(TREE)],
        saltern={"model": str(top), "cluster": "c1"},
        ext_pillar=[{"saltern_model": {"path": str(top), "gpg_home": str(home)}}],
    )
    loaded = salt.loader.runner(opts)

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        done = loaded[f"model.{function}"](*args, **kwargs)
        json.dumps(done)  # what salt-api has to send
        return done

    return call


def port(top: Path, value: Any) -> None:
    """Change the port of the web servers in the work tree."""
    path = top / "classes/system/web.yml"
    data = {"classes": ["service.web.server"], "parameters": {"web": {"server": {"port": value}}}}
    path.write_text(yaml.safe_dump(data))


def test_lint(run: Run, top: Path) -> None:
    done = run("lint")
    assert (done["result"], done["retcode"], done["findings"]) == (True, 0, []), done
    port(top, "http")
    done = run("lint", cluster="c1", rules="schema,order")
    assert (done["result"], done["retcode"]) == (False, 1)
    (told,) = done["told"]
    assert told.startswith("error: nodes web01.c1.test, web02.c1.test, key web:server:port in ")
    assert done["findings"][0]["line"] == 6
    # what was committed is fit
    assert run("lint", revision="HEAD")["retcode"] == 0
    port(top, "${nope}")
    assert run("lint")["retcode"] == 2
    wrong = run("lint", rules=["nope"])
    assert (wrong["retcode"], wrong["comment"].split(".")[0]) == (2, "unknown rule nope")


def test_the_removed_keys_of_a_site_belong_to_the_revision(run: Run, top: Path) -> None:
    row = {"key": "web:server:port", "replaced_by": "x", "since": "1.0", "expires": "2000-01-01"}
    (top / "removed_keys.yaml").write_text(yaml.safe_dump([row]))
    assert run("lint", revision="HEAD", rules="removed-key")["findings"] == []
    repo = Repo(top)
    repo.index.add(["removed_keys.yaml"])
    repo.index.commit("two", author=ME, committer=ME)
    done = run("lint", revision="HEAD", rules="removed-key")
    assert [finding["severity"] for finding in done["findings"]] == ["error"]


def test_explain(run: Run, top: Path) -> None:
    port(top, 8080)
    done = run("explain", "web01.c1.test", "web:server:port")
    assert (done["result"], done["value"], len(done["touches"])) == (True, 8080, 2)
    assert done["comment"] == "web:server:port of web01.c1.test is what 1 line says."
    assert run("explain", "web01.c1.test", "web:server:port", revision="HEAD")["value"] == 80
    done = run("explain", "web01.c1.test", "web:server:prt")
    assert (done["result"], done["retcode"]) == (False, 1)
    assert done["comment"].endswith("did you mean web:server:port?")
    assert run("explain", "nobody", "a")["retcode"] == 2
    done = run("explain", "web01.c1.test", "web:server:url")
    assert "BEGIN PGP" not in str(done)


def test_schema(run: Run, top: Path) -> None:
    assert run("schema", "web.server") == {"properties": {"port": {"type": "integer"}}}
    assert run("schema", "no.such")["retcode"] == 2
    assert run("schema")["retcode"] == 2
    assert run("schema", role="web.server", node="web01.c1.test")["retcode"] == 2
    assert run("schema", cluster="c1")["retcode"] == 0
    port(top, "http")
    done = run("schema", node="web02.c1.test")
    assert done["retcode"] == 1
    assert done["findings"][0]["nodes"] == ["web02.c1.test"]
    assert done["findings"][0]["file"] == "classes/system/web.yml"
    assert run("schema", node="db01.c1.test")["retcode"] == 0


def test_secrets_check(run: Run, top: Path) -> None:
    done = run("secrets_check")
    assert (done["result"], done["findings"]) == (True, []), done
    path = top / "classes/cluster/c1/secrets.yml"
    path.write_text(
        yaml.safe_dump({"parameters": {"_secret": {"web_db": "hunter2", "more": "sdb://a/b"}}})
    )
    done = run("secrets_check", "c1")
    assert (done["result"], done["retcode"]) == (False, 1)
    assert done["findings"] == [
        (
            "secret more: nothing in the cluster refers to it "
            "(classes/cluster/c1/secrets.yml:3 (cluster.c1.web -> cluster.c1 -> "
            "cluster.c1.secrets))."
        ),
        (
            "secret web_db: its value is not encrypted "
            "(classes/cluster/c1/secrets.yml:4 (cluster.c1.web -> cluster.c1 -> "
            "cluster.c1.secrets))."
        ),
    ]
    assert run("secrets_check", "c1", revision="HEAD")["result"] is True
