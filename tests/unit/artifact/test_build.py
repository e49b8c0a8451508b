"""When an artifact is built, what is packed, and that a failed build leaves nothing."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from saltern.artifact import build, pins
from saltern.artifact.build import Manifest
from saltern.artifact.catalogue import Check, Service
from saltern.cli.artifact import artifact
from saltern.errors import ArtifactError, LabError
from saltern.lab.chroot import Chroot

MakeTree = Callable[[Service], Path]

needs_tools = pytest.mark.skipif(
    not (shutil.which("tar") and shutil.which("zstd")), reason="tar or zstd is not installed"
)


def pack(service: Service, scratch: Path) -> Manifest:
    build.manifest_path(service).parent.mkdir(parents=True, exist_ok=True)
    return build._pack(service, "bookworm", scratch, "3.11.2")


@pytest.fixture
def packed(service: Service, tree: MakeTree) -> Manifest:
    return pack(service, tree(service))


@needs_tools
def test_an_archive_holds_the_environment_and_its_manifest_names_it(packed: Manifest) -> None:
    archive = build.artifacts_dir() / packed.file
    assert packed.file == f"cloud/1/api-1.2.3-{packed.sha256[:16]}.tar.zst"
    assert build.sha256_of(archive) == packed.sha256
    listing = subprocess.run(
        ["tar", "--zstd", "-tf", archive], capture_output=True, text=True, check=True
    )
    assert listing.stdout.split() == ["api/", "api/bin/", "api/bin/python3", "api/module.py"]
    assert not list(archive.parent.glob("*.partial"))


@needs_tools
def test_the_same_environment_gives_the_same_archive(
    service: Service, tree: MakeTree, packed: Manifest
) -> None:
    """Whenever and by whomever it was installed."""
    scratch = build.artifacts_dir().parents[1] / "scratch"
    module = scratch / "upper" / service.prefix.lstrip("/") / "module.py"
    module.unlink()
    module.write_text("answer = 42\n")
    assert pack(service, scratch).sha256 == packed.sha256
    module.write_text("answer = 43\n")
    assert pack(service, scratch).sha256 != packed.sha256


@needs_tools
def test_the_cache_is_used_for_the_very_same_recipe_only(
    service: Service, packed: Manifest
) -> None:
    assert build.cached(service, "bookworm") == packed
    assert build.cached(service, "trixie") is None
    checked = dataclasses.replace(service, imports=("another.module",))
    assert build.cached(checked, "bookworm") is None
    service.lock_path.write_text(service.lock_path.read_text() + "more==1\n")
    assert build.cached(service, "bookworm") is None


@needs_tools
def test_a_damaged_archive_is_found(packed: Manifest) -> None:
    assert build.verify(packed) is None
    archive = build.artifacts_dir() / packed.file
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    said = build.verify(packed)
    assert said is not None
    assert packed.sha256 in said
    assert build.sha256_of(archive) in said
    archive.unlink()
    assert "missing" in (build.verify(packed) or "")


def test_a_manifest_of_another_shape_is_none(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    assert build.read_manifest(path) is None
    for text in ("no json", '{"sha256": "00"}'):
        path.write_text(text)
        assert build.read_manifest(path) is None


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds get an empty base image."""
    root = tmp_path / "image"
    root.mkdir()

    @dataclasses.dataclass
    class Image:
        root: Path

    monkeypatch.setattr(build, "ensure_image", lambda suite, report: Image(root))


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("error", [LabError("it broke", cure="Read the log"), KeyboardInterrupt()])
def test_a_failed_build_leaves_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(self: Chroot, argv: Any, **_: Any) -> str:
        (self.upper / "half").mkdir(parents=True)
        raise error

    monkeypatch.setattr(Chroot, "run", fail)
    with pytest.raises(ArtifactError if isinstance(error, LabError) else KeyboardInterrupt):
        build.build(service)
    left = [path for path in build.artifacts_dir().rglob("*") if path.is_file()]
    assert not left
    assert not [p for p in (build.artifacts_dir().parent / "build").iterdir() if p.is_dir()]


@needs_tools
@pytest.mark.usefixtures("image")
def test_a_build_installs_by_hash_checks_and_starts_the_application(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def run(self: Chroot, argv: Any, **_: Any) -> str:
        calls.append(" ".join(argv))
        environment = self.upper / service.prefix.lstrip("/")
        site = environment / "lib/python3.11/site-packages"
        (site / service.database.migrations).mkdir(parents=True, exist_ok=True)
        return "3.11.2\n" if "python_version" in calls[-1] else ""

    monkeypatch.setattr(Chroot, "run", run)
    manifest = build.build(service)
    install = next(call for call in calls if " install " in call)
    assert "--require-hashes" in install
    assert "--compile-bytecode" in install
    assert "--no-binary=oldie" in install
    start = calls[-1]
    assert start.startswith("sh -c /opt/cloud/1/api/bin/api-manage db sync && ")
    assert "api.wsgi api.driver" in start
    assert manifest.python == "3.11.2"
    calls.clear()
    assert build.build(service) == manifest
    assert not calls


@needs_tools
@pytest.mark.usefixtures("image")
def test_a_compiler_is_there_before_the_sources_are(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, str]]] = []

    def run(self: Chroot, argv: Any, **options: Any) -> str:
        calls.append((" ".join(argv), options.get("env") or {}))
        site = self.upper / service.prefix.lstrip("/") / "lib/python3.11/site-packages"
        (site / service.database.migrations).mkdir(parents=True, exist_ok=True)
        return "3.11.2\n" if "python_version" in calls[-1][0] else ""

    monkeypatch.setattr(Chroot, "run", run)
    build.build(dataclasses.replace(service, tools=("gcc", "python3-dev")))
    said = [call for call, _ in calls]
    tools = next(n for n, call in enumerate(said) if "apt-get -qy install" in call)
    assert said[tools].endswith("gcc python3-dev")
    install = next(n for n, call in enumerate(said) if "--require-hashes" in call)
    assert tools < install
    # the paths of one compilation would make another digest
    assert calls[install][1]["CFLAGS"] == "-g0"


@needs_tools
@pytest.mark.usefixtures("image")
def test_links_and_what_finishes_an_environment_are_packed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, str]]] = []

    def run(self: Chroot, argv: Any, **options: Any) -> str:
        environment = self.upper / service.prefix.lstrip("/")
        (environment / "lib/python3.11/site-packages/api/migrations").mkdir(
            parents=True, exist_ok=True
        )
        calls.append((" ".join(argv), options.get("env") or {}))
        if "api.wsgi" in calls[-1][0]:
            assert (self.upper / "etc/api/paste.ini").readlink() == Path("/opt/cloud/1/api/paste")
        if argv[0].endswith("/api-manage"):
            (environment / "made.js").write_text(argv[1])
        return "3.11.2\n" if "python_version" in calls[-1][0] else ""

    monkeypatch.setattr(Chroot, "run", run)
    check = dataclasses.replace(service.check, environ={"SETTINGS": "api"})
    links = {"settings.py": "/etc/api/settings.py", "/etc/api/paste.ini": "/opt/cloud/1/api/paste"}
    finished = dataclasses.replace(
        service, check=check, links=links, finish=(("api-manage", "collect"),)
    )
    manifest = build.build(finished)
    # once it is known to start; the byte code of the check's configuration is not packed
    assert calls[-1] == (
        "/opt/cloud/1/api/bin/api-manage collect",
        {"SETTINGS": "api", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    listing = subprocess.run(
        ["tar", "--zstd", "-tvf", build.artifacts_dir() / manifest.file],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "api/settings.py -> /etc/api/settings.py\n" in listing
    assert "api/made.js\n" in listing
    assert "paste.ini" not in listing


def test_what_is_empty_leaves_a_recipe_as_it_was(service: Service) -> None:
    """Artifacts that were built before there were links stay good."""
    known = build.recipe(service)
    assert build.recipe(dataclasses.replace(service, links={}, finish=())) == known
    others = [
        dataclasses.replace(service, links={"a": "b"}),
        dataclasses.replace(service, finish=(("a", "b"),)),
        dataclasses.replace(service, tools=("gcc",)),
    ]
    assert len({known, *map(build.recipe, others)}) == 4
    # what moves a database between releases is in no archive
    assert build.recipe(dataclasses.replace(service, upgrade={})) == known


@needs_tools
@pytest.mark.usefixtures("image")
def test_a_program_without_api_or_schema(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def run(self: Chroot, argv: Any, **_: Any) -> str:
        calls.append(" ".join(argv))
        (self.upper / service.prefix.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return "3.11.2\n" if "python_version" in calls[-1] else ""

    monkeypatch.setattr(Chroot, "run", run)
    manifest = build.build(dataclasses.replace(service, wsgi="", check=Check(), database=None))
    assert calls[-1].startswith("sh -c /opt/cloud/1/api/bin/python -B -c ")
    assert manifest.database is None
    assert set(pins.source(manifest)) == {"engine", "release", "version", "url", "sha256"}


@pytest.mark.parametrize(
    ("place", "good"),
    [
        ("ok_app", True),
        ("ok_app:other", True),
        ("ok_app:make()", True),
        ("ok_app:make_nothing()", False),
        ("ok_app:text", False),
        ("", True),
    ],
)
def test_where_an_application_is(place: str, good: bool, tmp_path: Path) -> None:
    (tmp_path / "ok_app.py").write_text(
        "application = other = print\ntext = ''\n"
        "def make(): return print\ndef make_nothing(): pass\n"
    )
    for name in ("pymysql", "pyuwsgi"):
        (tmp_path / f"{name}.py").touch()
    done = subprocess.run(
        [sys.executable, "-B", "-c", build.IMPORT_CHECK, place, "json"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is good
    assert ("is not a WSGI application" in done.stderr) is not good


@pytest.mark.usefixtures("image")
def test_another_python_than_the_lock_is_for_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chroot, "run", lambda self, argv, **_: "3.13.1\n")
    with pytest.raises(ArtifactError, match=r"Python 3\.13\.1, the release is locked for 3\.11"):
        build.build(service)


@needs_tools
def test_a_pin_is_a_class_of_the_cluster(tmp_path: Path, packed: Manifest) -> None:
    (tmp_path / "classes/cluster/one").mkdir(parents=True)
    assert pins.write_class(tmp_path, "one", [packed]) is True
    text = (tmp_path / "classes/cluster/one/artifacts.yml").read_text()
    assert pins.write_class(tmp_path, "one", [packed]) is False
    assert packed.sha256 in text
    assert f"https://${{_param:deploy_node}}/artifacts/{packed.file}" in text
    source = pins.parameters([packed])["api"]["server"]["source"]
    assert source["engine"] == "venv"
    assert source["release"] == "1"
    with pytest.raises(ArtifactError, match="no cluster 'two'"):
        pins.write_class(tmp_path, "two", [packed])


@needs_tools
def test_the_commands(tmp_path: Path, packed: Manifest) -> None:
    runner = CliRunner()
    listed = runner.invoke(artifact, ["list"])
    assert packed.sha256[:16] in listed.output
    assert "current" in listed.output
    assert "1 artifacts verified" in runner.invoke(artifact, ["verify"]).output
    (tmp_path / "classes/cluster/one").mkdir(parents=True)
    pin = ["pin", "cloud", "1", "--cluster", "one", "--inventory", str(tmp_path)]
    assert "written" in runner.invoke(artifact, pin).output
    assert "up to date" in runner.invoke(artifact, pin).output
    (build.artifacts_dir() / packed.file).unlink()
    assert "api 1 is not built" in str(runner.invoke(artifact, pin).exception)
    assert isinstance(runner.invoke(artifact, ["verify"]).exception, ArtifactError)
