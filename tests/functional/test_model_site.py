"""A master's model without its daemons: compile, pins, checks before the start."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from saltern.adapters import mastercheck, modelsite, sitekey
from saltern.adapters.journal import Journal
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.serving import Serving
from saltern.cli import cli
from saltern.errors import ModelError, PreflightError, SalternError, UnknownNodeError
from saltern.lab.cluster import FRAGMENT
from saltern.model import serve
from tests.model.trees import write_tree
from tests.support import TREE
from tests.support.checkout import git
from tests.unit.model.conftest import files

WEB, DB = "web01.c1.test", "db01.c1.test"


class Trial:
    """A model in git and the configuration of a master that serves it."""

    def __init__(self, root: Path) -> None:
        self.root, self.model = root, root / "model"
        self.content = files()
        secret = {"parameters": {"_secret": {"web_db": "clear"}}}
        self.content["classes/cluster/c1/secrets.yml"] = secret
        self.model.mkdir()
        git(self.model, "init", "-q", "-b", "main")
        self.plugin = {
            "store": str(root / "store"),
            "journal": f"sqlite:///{root}/journal/journal.db",
        }
        self.block: dict[str, Any] = {"model": str(self.model), "cluster": "c1", **self.plugin}
        self.opts: dict[str, Any] = {
            "ext_pillar": [{"saltern_model": dict(self.plugin)}],
            "master_tops": {"saltern_model": dict(self.plugin)},
            "saltern": self.block,
            "user": "root" if os.geteuid() == 0 else os.environ.get("USER", "root"),
        }
        self.commit(8080)

    def commit(self, port: int | str) -> str:
        """Commit another port of the web server; return the commit."""
        data = self.content["classes/system/web.yml"]
        data["parameters"] = {"web": {"server": {"port": port}}}
        write_tree(self.model, self.content)
        git(self.model, "add", "-A")
        git(self.model, "commit", "-q", "--allow-empty", "-m", f"port {port}")
        return git(self.model, "rev-parse", "HEAD")

    @property
    def site(self) -> ModelSite:
        return ModelSite(Site.of(self.opts))

    @property
    def serving(self) -> Serving:
        return Serving.build(modelsite.pillar_settings(self.opts))

    def port(self, node: str = WEB) -> Any:
        return self.serving.pillar(node)["web"]["server"]["port"]

    def prepare(self) -> list[str]:
        return modelsite.prepare(Site.of(self.opts), "tests", modelsite.pillar_settings(self.opts))

    def write(self) -> Path:
        """Write the configuration to a directory as Salt reads it."""
        folder = self.root / "etc"
        folder.mkdir(exist_ok=True)
        (folder / "master").write_text(yaml.safe_dump({**self.opts, "root_dir": str(self.root)}))
        return folder


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    built = Trial(tmp_path)
    # before there is a model: with one, its first revision would be served
    built.model.rename(tmp_path / "later")
    built.prepare()
    (tmp_path / "later").rename(built.model)
    return built


def test_the_first_revision_is_served_and_later_ones_wait(trial: Trial) -> None:
    first = trial.site.compile("HEAD", "ann", "")
    assert first.first == ("c1",)
    assert trial.port() == 8080
    sentinel = trial.serving.pillar(WEB)["__reclass__"]
    assert sentinel["revision"] == first.revision.id == git(trial.model, "rev-parse", "HEAD")
    trial.commit(9090)
    second = trial.site.compile("HEAD", "ann", "")
    assert second.first == ()
    assert trial.port() == 8080
    assert trial.site.deploy(second.revision, "c1", "ann", "roll out")
    assert trial.port() == 9090


def test_a_pinned_node_is_served_its_own_revision(trial: Trial) -> None:
    site = trial.site
    old = site.compile("HEAD", "ann", "").revision
    new = trial.commit(9090)
    assert site.pin([WEB], "main", "ann", "canary") == (new, [WEB])
    assert trial.port() == 9090
    assert trial.serving.pillar(DB)["__reclass__"]["revision"] == old.id
    assert site.status(node=WEB)["pinned"]
    assert site.status()["c1"]["pins"] == {WEB: new}
    site.journal.unpin([WEB], "ann", "")
    assert trial.port() == 8080


def test_nodes_are_pinned_to_a_revision_that_has_them_or_none_is(trial: Trial) -> None:
    site = trial.site
    site.compile("HEAD", "ann", "")
    with pytest.raises(ModelError, match=r"has no node ghost\.c1\.test"):
        site.pin([WEB, "ghost.c1.test"], "HEAD", "ann", "")
    with pytest.raises(ModelError, match="nowhere"):
        site.pin([WEB], "nowhere", "ann", "")
    assert site.journal.pins() == []


def test_a_commit_that_does_not_compile_is_never_servable(trial: Trial) -> None:
    trial.site.compile("HEAD", "ann", "")
    broken = trial.commit("${no:where}")
    with pytest.raises(ModelError, match=r"\$\{no:where\} has no value"):
        trial.site.receive("HEAD", "", "bob")
    assert not trial.site.store.has(broken)
    with pytest.raises(ModelError):
        trial.site.pin([WEB], broken, "bob", "")
    assert trial.port() == 8080


def test_what_is_fetched_is_followed_only_when_it_compiles(trial: Trial, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(trial.model), "upstream")
    upstream = tmp_path / "upstream"
    git(trial.model, "remote", "add", "origin", str(upstream))

    def push(port: int | str) -> str:
        trial.content["classes/system/web.yml"]["parameters"] = {"web": {"server": {"port": port}}}
        write_tree(upstream, trial.content)
        git(upstream, "commit", "-qam", f"port {port}")
        return git(upstream, "rev-parse", "HEAD")

    good = push(9090)
    done = trial.site.receive("main", "origin", "bob")
    assert done.revision.id == good == git(trial.model, "rev-parse", "HEAD")
    assert "port: 9090" in (trial.model / "classes/system/web.yml").read_text()
    push("${no:where}")
    with pytest.raises(ModelError, match="no:where"):
        trial.site.receive("main", "origin", "bob")
    assert git(trial.model, "rev-parse", "HEAD") == good
    with pytest.raises(ModelError, match="git fetch failed"):
        trial.site.receive("no-such-branch", "origin", "bob")
    with pytest.raises(ModelError, match="git fetch failed"):
        trial.site.receive("main", "--upload-pack=touch /tmp/x", "bob")


def test_what_is_served_is_never_collected(trial: Trial) -> None:
    site = trial.site
    ids = [site.compile("HEAD", "ann", "").revision.id]
    for port in (1, 2, 3):
        trial.commit(port)
        ids.append(site.compile("HEAD", "ann", "").revision.id)
    site.pin([WEB], ids[1], "ann", "")
    assert site.gc(0, dry_run=True) == ids[2:]
    assert set(site.gc(0)) == set(ids[2:])
    assert trial.port() == 1
    assert trial.serving.pillar(DB)["__reclass__"]["revision"] == ids[0]
    # a journal that cannot be read says nothing of what is in use
    site.journal.path.unlink()
    with pytest.raises(SalternError, match="journal does not exist"):
        trial.site.gc(0)
    assert site.store.has(ids[0])


def test_a_top_needs_the_pillar_of_the_node_that_asks(trial: Trial) -> None:
    trial.site.compile("HEAD", "ann", "")
    web, db = trial.serving.pillar(WEB), trial.serving.pillar(DB)
    assert trial.serving.top({"id": WEB, "pillar": web}) == {"base": ["web.server"]}
    forged = {**db["__reclass__"], "nodename": WEB}
    for pillar in (db, {}, None, {"__reclass__": forged}, {"__reclass__": {"nodename": WEB}}):
        with pytest.raises(ModelError, match="pillar"):
            trial.serving.top({"id": WEB, "pillar": pillar})
    with pytest.raises(ModelError):
        trial.serving.top({"id": ["x"], "pillar": web})
    assert serve.proof(b"k" * 32, WEB) != serve.proof(b"k" * 32, DB)
    with pytest.raises(SalternError, match="too short"):
        serve.proof(b"", WEB)


def test_nothing_is_served_without_the_site_key(trial: Trial) -> None:
    trial.site.compile("HEAD", "ann", "")
    key = trial.root / "journal/site.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    kept = key.read_text()
    key.chmod(0o644)
    with pytest.raises(SalternError, match="can be read by others"):
        trial.serving.pillar(WEB)
    key.unlink()
    with pytest.raises(SalternError, match="site key does not exist"):
        trial.serving.pillar(WEB)
    for wrong in ("", "zz", "ab"):
        key.write_text(wrong)
        key.chmod(0o600)
        with pytest.raises(SalternError, match="holds no site key"):
            sitekey.read(key)
    key.write_text(kept)
    assert trial.serving.pillar(WEB)


def test_an_unknown_node_is_told_apart(trial: Trial) -> None:
    trial.site.compile("HEAD", "ann", "")
    for name in ("ghost.c1.test", "../../etc/passwd", "", "web01.c1.test/../db01.c1.test"):
        with pytest.raises(UnknownNodeError):
            trial.serving.pillar(name)
    # known to the journal alone is a fault of ours, not of the minion
    trial.site.journal.deploy("c1", git(trial.model, "rev-parse", "HEAD"), ["x"], "ann", "")
    with pytest.raises(ModelError) as caught:
        trial.serving.pillar("x")
    assert not isinstance(caught.value, UnknownNodeError)


def test_a_deployment_wants_a_commit(trial: Trial) -> None:
    path = trial.model / "classes/system/web.yml"
    before = path.read_text()
    path.write_text(before + "# a thought\n")
    revision, findings = trial.site.check("HEAD", trial.plugin, "ann")
    assert revision is None
    assert "the model has changes that are in no commit. Commit them" in findings[0]
    # a named commit is not what lies there
    revision, findings = trial.site.check("main", trial.plugin, "ann")
    assert revision is not None
    revision, _ = trial.site.check("worktree", trial.plugin, "ann")
    assert revision is not None
    assert revision.id.startswith("worktree-")


def test_prepare_again_does_nothing_and_mends_what_is_in_use(trial: Trial) -> None:
    revision = trial.site.compile("HEAD", "ann", "").revision
    assert trial.prepare() == []
    shutil.rmtree(trial.root / "store/revisions" / revision.id)
    assert trial.prepare() == [f"compiled revision {revision.id[:12]}"]
    assert trial.port() == 8080


def test_a_site_that_serves_its_tree_is_left_with_something(trial: Trial) -> None:
    trial.block["revision"] = "worktree"
    (told,) = trial.prepare()
    assert told.startswith("cluster c1 is served worktree-")
    assert trial.serving.pillar(WEB)["__reclass__"]["revision"].startswith("worktree-")
    # a change waits for a deployment, unless nothing else is left to serve
    trial.commit(9090)
    assert trial.prepare() == []
    assert trial.port() == 8080
    (served,) = trial.site.journal.deployed().values()
    shutil.rmtree(trial.root / "store/revisions" / served)
    assert trial.prepare()[-1].startswith("cluster c1 is served worktree-")
    assert trial.port() == 9090
    # a master starts whatever lies in its tree
    trial.commit("${no:where}")
    assert trial.prepare() == []
    trial.site.journal.path.unlink()
    assert "nothing to serve:" in trial.prepare()[-1]


def test_a_new_master_serves_its_revision(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial.prepare()[-1].startswith("cluster c1 is served ")
    assert trial.port() == 8080
    assert trial.prepare() == []


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"jurnal": "x"}, "unknown key saltern:jurnal"),
        ({"store": 7}, "saltern:store must be a text"),
        ({"options": []}, None),
        ({"options": ["x"]}, "saltern:options must be a mapping"),
    ],
)
def test_the_block_of_the_master_is_read_strictly(block: Any, sentence: str | None) -> None:
    opts = {"saltern": {"cluster": "c1", **block}}
    if sentence is None:
        Site.of(opts)
        return
    with pytest.raises(PreflightError, match=sentence):
        Site.of(opts)


def test_a_push_that_does_not_compile_is_refused(trial: Trial, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    text = (TREE / "formulas/salt/files/model-pre-receive").read_text()
    constants = "bin=/opt/salt/bin config=/etc/salt"
    assert constants in text
    here = f"bin={Path(sys.executable).parent} config={trial.write()}"
    (hooks / "pre-receive").write_text(text.replace(constants, here))
    (hooks / "pre-receive").chmod(0o755)
    git(trial.model, "config", "core.hooksPath", str(hooks))
    git(trial.model, "config", "receive.denyCurrentBranch", "updateInstead")
    git(tmp_path, "clone", "-q", str(trial.model), "mine")
    mine = tmp_path / "mine"

    def push(port: int | str) -> subprocess.CalledProcessError | None:
        trial.content["classes/system/web.yml"]["parameters"] = {"web": {"server": {"port": port}}}
        write_tree(mine, trial.content)
        git(mine, "commit", "-qam", f"port {port}")
        try:
            git(mine, "push", "-q", "origin", "HEAD:main", "HEAD:topic")
        except subprocess.CalledProcessError as err:
            return err
        return None

    assert push(9090) is None
    commit = git(mine, "rev-parse", "HEAD")
    assert git(trial.model, "rev-parse", "HEAD") == commit
    assert "port: 9090" in (trial.model / "classes/system/web.yml").read_text()
    assert trial.site.store.has(commit)
    refused = push("${no:where}")
    assert refused is not None
    assert "${no:where} has no value at key web:server:port" in refused.stderr
    assert "refs/heads/main is refused" in refused.stderr
    assert git(trial.model, "rev-parse", "main", "topic") == f"{commit}\n{commit}"
    assert not trial.site.store.has(git(mine, "rev-parse", "HEAD"))
    assert not trial.site.repo.dirty()
    # a branch may go
    git(mine, "push", "-q", "origin", ":topic")


# -- saltern master check ----------------------------------------------------------------


def test_a_fit_master_has_no_faults(trial: Trial) -> None:
    assert mastercheck.faults(trial.opts) == []
    assert mastercheck.notes(trial.opts) == []


def test_the_fragments_of_this_distribution_fit_together() -> None:
    opts: dict[str, Any] = {}
    for path in sorted((TREE / "etc/master.d").glob("*.conf")):
        assert path.read_text() == (TREE / f"formulas/salt/files/master-{path.name}").read_text()
        opts |= yaml.safe_load(path.read_text())
    assert mastercheck.misconfigured(opts) == []
    opts["saltern"] |= yaml.safe_load(FRAGMENT[1])["saltern"]
    assert mastercheck.misconfigured(opts) == []
    assert Site.of(opts, "demo-core").revision == "worktree"
    assert FRAGMENT[0].rpartition("/")[2] > "90-site.conf"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda o: o.update(pillar_cache=True), "Remove it, or set it to False"),
        (lambda o: o["saltern"].update(revison="x"), "unknown key saltern:revison"),
        (lambda o: o.update(ext_pillar=[]), "has no ext_pillar saltern_model"),
        (lambda o: o["ext_pillar"].append(o["ext_pillar"][0]), "has several ext_pillar"),
        (lambda o: o.update(master_tops={}), "master_tops has no saltern_model"),
        (lambda o: o["master_tops"]["saltern_model"].update(store="/x"), "have another store"),
        (lambda o: o["ext_pillar"][0]["saltern_model"].update(gpghome="/x"), "gpghome"),
        (lambda o: o["ext_pillar"][0]["saltern_model"].update(on_error="x"), "on_error cannot be"),
        (lambda o: o["ext_pillar"][0]["saltern_model"].pop("store"), "go together"),
        (lambda o: o["ext_pillar"][0]["saltern_model"].update(store="/x"), "saltern:store and"),
        (lambda o: o["saltern"].pop("journal"), "the saltern block none"),
        (lambda o: o["saltern"].update(options={"compat": "reclass"}), "saltern:options and"),
        (lambda o: o.update(user="no-such-user"), "no-such-user does not exist"),
        (
            lambda o: o["ext_pillar"][0]["saltern_model"].update(gpg_home="/no/where"),
            "the GPG home does not exist",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_cure(
    trial: Trial, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    change(trial.opts)
    told = mastercheck.faults(trial.opts)
    assert any(sentence in fault for fault in told), told
    assert all(fault.endswith(".") and fault.count(". ") for fault in told), told


def test_what_is_missing_or_closed_is_told(trial: Trial, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store")
    (told,) = mastercheck.faults(trial.opts)
    assert told.startswith(f"{tmp_path}/store: the store does not exist. Run `saltern master")
    trial.prepare()
    assert mastercheck.faults(trial.opts) == []
    (tmp_path / "journal/site.key").unlink()
    assert "site key does not exist" in mastercheck.faults(trial.opts)[0]
    trial.prepare()
    with closing(sqlite3.connect(tmp_path / "journal/journal.db")) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '0999'")
    assert "newer Saltern" in mastercheck.faults(trial.opts)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="asks for another user")
def test_the_masters_user_must_own_what_it_writes(trial: Trial) -> None:
    trial.opts["user"] = "nobody"
    told = mastercheck.faults(trial.opts)
    assert [fault for fault in told if "cannot write the store. chown -R nobody" in fault]
    assert [fault for fault in told if "cannot write the journal" in fault]
    for name in ("store", "journal"):
        for path in (trial.root / name, *(trial.root / name).rglob("*")):
            shutil.chown(path, "nobody")
    assert mastercheck.faults(trial.opts) == []


def test_a_revision_in_use_that_is_gone_is_a_note(trial: Trial) -> None:
    revision = trial.site.compile("HEAD", "ann", "").revision.id
    shutil.rmtree(trial.root / "store/revisions" / revision)
    (note,) = mastercheck.notes(trial.opts)
    assert f"run `salt-run model.compile {revision}`" in note
    assert mastercheck.faults(trial.opts) == []


def test_the_commands(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    folder = str(trial.write())
    refused = CliRunner().invoke(cli, ["master", "check", "--config", folder])
    assert refused.exit_code == 2
    assert "saltern master prepare" in refused.output
    done = CliRunner().invoke(cli, ["master", "prepare", "--config", folder])
    assert done.exit_code == 0, done.output
    assert f"site key {tmp_path}/journal/site.key" in done.output
    again = CliRunner().invoke(cli, ["master", "prepare", "--config", folder])
    assert (again.exit_code, again.output) == (0, "")
    compiled = CliRunner().invoke(cli, ["master", "compile", "--config", folder, "HEAD"])
    assert (compiled.exit_code, compiled.output[-18:]) == (0, "compiles: 3 nodes.\n"[-18:])
    fit = CliRunner().invoke(cli, ["master", "check", "--config", folder])
    assert (fit.exit_code, fit.output) == (0, ""), fit.output
    assert list(Journal(trial.plugin["journal"]).deployed()) == ["c1"]


def test_one_command_before_the_start(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.opts["pillar_cache"] = True
    start = ["master", "check", "--prepare", "--config", str(trial.write())]
    refused = CliRunner().invoke(cli, start)
    assert refused.exit_code == 2
    assert "pillar_cache" in refused.output
    assert not (tmp_path / "journal").exists()
    del trial.opts["pillar_cache"]
    trial.write()
    fit = CliRunner().invoke(cli, start)
    assert fit.exit_code == 0, fit.output
    assert "cluster c1 is served" in fit.output
