"""Revisions from git: what a commit holds is what is compiled, and nothing else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import git
import pytest
import yaml
from click.testing import CliRunner

from saltern.adapters.git import ModelRepo
from saltern.adapters.mirror import Mirror
from saltern.adapters.revisions import compile_revision
from saltern.cli.model import model
from saltern.errors import ModelError
from saltern.model import Inventory
from saltern.model.compiler import source_ids
from saltern.model.store import Store
from tests.model.trees import write_tree
from tests.unit.model.conftest import files

AUTHOR = git.Actor("Model", "model@example.com")


@pytest.fixture
def repo(tmp_path: Path) -> git.Repo:
    top = write_tree(tmp_path / "model", files())
    made = git.Repo.init(top)
    # what the user's own configuration says must not matter
    made.config_writer().set_value("core", "autocrlf", "true").release()
    return made


@pytest.fixture
def commit(repo: git.Repo) -> Callable[..., str]:
    def made(subject: str = "Change", *, when: int = 1_700_000_000, **_: Any) -> str:
        repo.git.add(all=True)
        date = f"{when} +0000"
        done = repo.index.commit(
            subject, author=AUTHOR, committer=AUTHOR, author_date=date, commit_date=date
        )
        return str(done.hexsha)

    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def top(repo: git.Repo) -> Path:
    return Path(str(repo.working_tree_dir))


def change(repo: git.Repo, number: int) -> None:
    path = top(repo) / "nodes/c1/web01.c1.test.yml"
    data = yaml.safe_load(path.read_text())
    data["parameters"]["x"] = number
    path.write_text(yaml.safe_dump(data))


# refs


def test_whatever_names_a_commit(repo: git.Repo, commit: Callable[..., str]) -> None:
    first = commit("First")
    repo.create_tag("v1")
    repo.create_tag("v2", message="annotated")
    repo.create_head("other")
    found = ModelRepo(top(repo))
    for ref in ("HEAD", "v1", "v2", "other", first, first[:7], "HEAD^0"):
        assert found.resolve(ref) == first


@pytest.mark.parametrize("ref", ["", "nothing", "-x", "--all", "deadbee", "HEAD~5", "0" * 40])
def test_what_is_no_commit_is_a_sentence(
    repo: git.Repo, commit: Callable[..., str], ref: str
) -> None:
    commit()
    with pytest.raises(ModelError, match=r"is no (commit of the model|git ref)"):
        ModelRepo(top(repo)).resolve(ref)


def test_the_work_tree_is_known_by_its_content(repo: git.Repo, commit: Callable[..., str]) -> None:
    commit()
    found = ModelRepo(top(repo))
    first = found.resolve("worktree")
    assert first.startswith("worktree-")
    assert found.resolve(first) == first
    assert not found.dirty()
    change(repo, 1)
    assert found.dirty()
    assert found.resolve("worktree") != first
    with pytest.raises(ModelError, match="the work tree is not worktree-"):
        found.resolve(first)
    commit()
    assert not found.dirty()
    (top(repo) / "nodes/c1/new.yml").write_text("{}")
    assert found.dirty()


def test_a_directory_without_repository(tmp_path: Path, store: Store) -> None:
    tree = write_tree(tmp_path / "model", files())
    revision = compile_revision(tree, "worktree", store)
    assert revision.id.startswith("worktree-")
    assert revision.info.commit == ""
    with pytest.raises(ModelError, match="the model is in no git repository") as caught:
        compile_revision(tree, "HEAD", store)
    assert "`worktree`" in str(caught.value)


def test_history(repo: git.Repo, commit: Callable[..., str]) -> None:
    first = commit("First", when=1_700_000_000)
    change(repo, 1)
    second = commit("Second\twith a tab\n\nand more", when=1_700_000_100)
    found = ModelRepo(top(repo))
    assert found.log(5) == [
        (second, "Second\twith a tab", 1_700_000_100),
        (first, "First", 1_700_000_000),
    ]
    assert found.log(1) == [(second, "Second\twith a tab", 1_700_000_100)]
    assert found.commit_info(first[:10]) == (first, "First", 1_700_000_000)
    assert found.before(1_700_000_099) == first
    assert found.before(1_700_000_100) == second
    with pytest.raises(ModelError, match="no commit that old"):
        found.before(1_600_000_000)
    assert found.ancestors(second) == [second, first]


# what a commit holds


def test_a_checkout_is_the_commit_and_goes_away(repo: git.Repo, commit: Callable[..., str]) -> None:
    crlf = top(repo) / "classes/service/crlf.yml"
    crlf.write_bytes(b"parameters:\r\n  a: 1\r\n")
    (top(repo) / ".gitattributes").write_text("*.yml text eol=crlf export-ignore\n")
    first = commit()
    change(repo, 1)
    found = ModelRepo(top(repo))
    with found.checkout(first) as tree:
        assert stat.S_IMODE(tree.stat().st_mode) == 0o700
        there = source_ids(Inventory(tree))
        assert there == found.sources(first)
        assert "x" not in Inventory(tree).node("web01.c1.test").parameters
        # blobs as they are, whatever filters and attributes say
        listed = repo.git.ls_tree("-r", first, "classes", "nodes")
        assert set(there.values()) == {line.split()[2] for line in listed.splitlines()}
    assert not tree.exists()


def test_a_model_in_a_directory_of_the_repository(tmp_path: Path, store: Store) -> None:
    write_tree(tmp_path / "all/model", files())
    (tmp_path / "all/other.yml").write_text("{}")
    repo = git.Repo.init(tmp_path / "all")
    repo.git.add(all=True)
    id = str(repo.index.commit("x", author=AUTHOR, committer=AUTHOR).hexsha)
    found = ModelRepo(tmp_path / "all/model")
    revision = compile_revision(tmp_path / "all/model", "HEAD", store)
    assert revision.id == id
    assert dict(revision.sources) == found.sources(id)
    assert not found.dirty()
    (tmp_path / "all/other.yml").write_text("a: 1")
    assert not found.dirty()
    (tmp_path / "all/model/nodes/c1/web01.c1.test.yml").write_text("{}")
    assert found.dirty()


def test_a_bare_repository(
    repo: git.Repo, commit: Callable[..., str], tmp_path: Path, store: Store
) -> None:
    id = commit()
    repo.clone(tmp_path / "bare.git", bare=True)
    assert compile_revision(tmp_path / "bare.git", "HEAD", store).id == id
    assert not ModelRepo(tmp_path / "bare.git").dirty()


def test_links_inside_the_commit_are_followed(
    repo: git.Repo, commit: Callable[..., str], store: Store
) -> None:
    home = top(repo) / "formulas/web/metadata/service"
    home.parent.mkdir(parents=True)
    (top(repo) / "classes/service/web").rename(home)
    (top(repo) / "classes/service/web").symlink_to("../../formulas/web/metadata/service")
    commit()
    revision = compile_revision(top(repo), "HEAD", store)
    assert revision.node("web01.c1.test").applications == ["web.server"]
    # what is behind the link counts
    server = home / "server.yml"
    server.write_text(server.read_text().replace("port: 80", "port: 81"))
    commit()
    after = compile_revision(top(repo), "HEAD", store)
    assert after.info.base == revision.id
    assert after.info.compiled == 2
    assert after.node("web01.c1.test").pillar["web"]["server"]["port"] == 81


@pytest.mark.parametrize(
    "target", ["/etc", "../../../outside", "../../classes/service/self/../../../../outside"]
)
def test_links_out_of_the_commit_are_refused(
    repo: git.Repo, commit: Callable[..., str], store: Store, tmp_path: Path, target: str
) -> None:
    (tmp_path / "outside").mkdir()
    (top(repo) / "classes/service/self").symlink_to(".")
    (top(repo) / "classes/service/out").symlink_to(target)
    commit()
    with pytest.raises(ModelError, match="the symbolic link leads out of the model") as caught:
        compile_revision(top(repo), "HEAD", store)
    assert "classes/service/out" in str(caught.value)
    assert store.revisions() == []


def test_a_submodule_is_refused(
    repo: git.Repo, commit: Callable[..., str], store: Store, tmp_path: Path
) -> None:
    id = commit()
    repo.git.rm("-r", "--cached", "classes/system")
    repo.git.update_index("--add", "--cacheinfo", f"160000,{id},classes/system")
    tree = repo.git.write_tree()
    sub = git.Commit.create_from_tree(repo, repo.tree(tree), "Sub", author=AUTHOR, committer=AUTHOR)
    with pytest.raises(ModelError, match="a git submodule is not part of the commit") as caught:
        compile_revision(top(repo), str(sub.hexsha), store)
    assert "classes/system" in str(caught.value)


def test_a_hook_environment_of_another_repository(
    repo: git.Repo,
    commit: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id = commit()
    git.Repo.init(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert ModelRepo(top(repo)).resolve("HEAD") == id


def test_objects_that_are_gone(repo: git.Repo, commit: Callable[..., str], store: Store) -> None:
    commit()
    blob = repo.git.rev_parse("HEAD:classes/system/web.yml")
    path = Path(repo.git_dir) / "objects" / blob[:2] / blob[2:]
    os.chmod(path, 0o600)
    path.unlink()
    with pytest.raises(ModelError, match=f"object {blob[:12]} is missing in the repository"):
        compile_revision(top(repo), "HEAD", store)
    assert store.revisions() == []


# the directory that is kept between exports


def test_only_what_differs_is_written(
    repo: git.Repo, commit: Callable[..., str], tmp_path: Path
) -> None:
    first = commit()
    change(repo, 1)
    (top(repo) / "classes/system/new").mkdir()
    (top(repo) / "classes/system/new/one.yml").write_text("{}")
    (top(repo) / "nodes/c1/web02.c1.test.yml").unlink()
    second = commit()
    found, mirror = ModelRepo(top(repo)), Mirror(tmp_path / "mirror")

    def exported(id: str) -> dict[str, int]:
        with found.checkout(id, mirror) as tree:
            assert tree == mirror.tree
            assert source_ids(Inventory(tree)) == found.sources(id)
            return {
                str(path.relative_to(tree)): path.stat().st_mtime_ns for path in tree.rglob("*.yml")
            }

    before, after, again = exported(first), exported(second), exported(first)
    same = {path for path in before if before[path] == after.get(path)}
    assert before.keys() - same == {"nodes/c1/web01.c1.test.yml", "nodes/c1/web02.c1.test.yml"}
    assert "classes/system/new/one.yml" in after
    assert again.keys() == before.keys()
    assert not (mirror.tree / "classes/system/new").exists()


@pytest.mark.parametrize("damage", ["changed", "gone", "added", "linked", "state", "crash"])
def test_a_kept_directory_that_was_touched_is_mended(
    repo: git.Repo, commit: Callable[..., str], tmp_path: Path, damage: str
) -> None:
    id = commit()
    found, mirror = ModelRepo(top(repo)), Mirror(tmp_path / "mirror")
    with found.checkout(id, mirror) as tree:
        pass
    path = tree / "classes/system/web.yml"
    if damage == "changed":
        path.write_text("{}")
    elif damage == "gone":
        path.unlink()
    elif damage == "added":
        (tree / "nodes/c1/other.yml").write_text("{}")
    elif damage == "linked":
        path.rename(tmp_path / "web.yml")
        path.symlink_to(tmp_path / "web.yml")
    elif damage == "state":
        (mirror.path / "files.json").write_text("[")
    else:
        (mirror.path / "files.json").unlink()
        path.write_text("{}")
    with found.checkout(id, mirror) as tree:
        assert source_ids(Inventory(tree)) == found.sources(id)
        assert not path.is_symlink()


def test_two_exports_at_a_time(
    repo: git.Repo, commit: Callable[..., str], tmp_path: Path, store: Store
) -> None:
    id = commit()
    found, mirror = ModelRepo(top(repo)), Mirror(tmp_path / "mirror")
    with found.checkout(id, mirror) as one, found.checkout(id, mirror) as two:
        assert one == mirror.tree
        assert two != one
        assert source_ids(Inventory(two)) == found.sources(id)
    assert not two.exists()


# compiled revisions


def test_compiled_once_then_stored(
    repo: git.Repo, commit: Callable[..., str], store: Store
) -> None:
    id = commit()
    told: list[tuple[int, int]] = []
    revision = compile_revision(top(repo), "HEAD", store, progress=lambda *now: told.append(now))
    assert revision.id == revision.info.commit == id
    assert told[-1] == (3, 3)
    told.clear()
    assert (
        compile_revision(top(repo), id[:8], store, progress=lambda *now: told.append(now)).id == id
    )
    assert told == []
    full = compile_revision(top(repo), "HEAD", store, full=True)
    assert full.created > revision.created
    assert full.info.compiled == 3


def test_the_base_is_the_nearest_ancestor(
    repo: git.Repo, commit: Callable[..., str], store: Store
) -> None:
    ids = []
    for number in range(3):
        change(repo, number)
        ids.append(commit(f"{number}"))
    for id in (ids[1], ids[0]):
        compile_revision(top(repo), id, store)
    # the newest in the store is the oldest commit
    revision = compile_revision(top(repo), ids[2], store)
    assert revision.info.base == ids[1]
    assert revision.info.compiled == 1
    change(repo, 9)
    assert compile_revision(top(repo), "worktree", store).info.base == ids[2]


def test_a_commit_that_does_not_compile_is_not_stored(
    repo: git.Repo, commit: Callable[..., str], store: Store
) -> None:
    commit()
    good = compile_revision(top(repo), "HEAD", store)
    (top(repo) / "classes/service/web/server.yml").write_text("parameters: {a: '${gone}'}")
    bad = commit()
    with pytest.raises(ModelError, match=r"reference \$\{gone\} has no value"):
        compile_revision(top(repo), "HEAD", store)
    assert not store.has(bad)
    assert [info.id for info in store.revisions()] == [good.id]
    assert os.listdir(store.path / "tmp") == []


def test_errors_name_the_revision_and_not_a_temporary_directory(
    repo: git.Repo, commit: Callable[..., str], store: Store
) -> None:
    for path in (top(repo) / "nodes").rglob("*.yml"):
        path.unlink()
    id = commit()
    with pytest.raises(ModelError) as caught:
        compile_revision(top(repo), "HEAD", store)
    assert str(caught.value) == f"revision {id[:12]}: the model has no nodes."


def test_a_damaged_revision_is_compiled_again(
    repo: git.Repo, commit: Callable[..., str], store: Store
) -> None:
    commit()
    revision = compile_revision(top(repo), "HEAD", store)
    os.truncate(store.pack_path(revision.packs()[0][0]), 3)
    after = compile_revision(top(repo), "HEAD", store)
    assert after.node("web01.c1.test").id == "web01.c1.test"


# the command line


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(model, [str(argument) for argument in arguments])


def test_the_commands(
    repo: git.Repo, commit: Callable[..., str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALTERN_STORE", str(store.path))
    first = commit()
    done = run("compile", "--inventory", top(repo))
    assert done.exit_code == 0
    assert done.stdout == f"{first}\n"
    assert "3 nodes compiled, 0 reused" in done.stderr
    assert "stored already" in run("compile", "HEAD", "-i", top(repo)).stderr
    change(repo, 1)
    second = commit()
    assert "1 nodes compiled, 2 reused" in run("compile", "-i", top(repo)).stderr
    listed = run("revisions").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [second, first]
    assert "c1" in listed[0]
    shown = run("show", "web01.c1.test", "-i", top(repo), "--revision", first, "--format", "json")
    assert '"x"' not in shown.stdout
    assert first in shown.stdout
    assert run("gc", "--keep", "1", "--dry-run").stdout == f"{first}\n"
    assert run("gc", "--keep", "1", "--also", first).stdout == ""
    assert run("gc", "--keep", "1").stdout == f"{first}\n"
    assert run("revisions").stdout.split()[0] == second


def test_the_default_store_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SALTERN_STORE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tree = write_tree(tmp_path / "model", files())
    assert run("compile", "worktree", "-i", tree).exit_code == 0
    assert (tmp_path / "saltern/model-store/revisions").is_dir()


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("saltern"),
            "model",
            "compile",
            "-i",
            str(tmp_path),
            "--store",
            str(tmp_path / "s"),
        ],
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("saltern: ")
    assert "in no git repository" in done.stderr
