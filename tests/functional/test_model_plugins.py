"""The pillar and top plugins through Salt's own loaders and pillar compiler."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt._logging
import salt.config
import salt.loader
import salt.pillar

from saltern.adapters.gpg import Gpg
from tests.model.trees import write_tree
from tests.support import TREE
from tests.unit.model.conftest import files

MINION = "web01.c1.test"


@pytest.fixture(autouse=True, scope="module")
def _quiet_exit() -> None:
    """Salt keeps records for a log that is never set up, and prints them when Python ends."""
    salt._logging.shutdown_temp_handler()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A short path: the socket of gpg-agent lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="gpg"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The example cluster; its only secret is in clear text here."""
    content = files()
    content["classes/cluster/c1/secrets.yml"] = {"parameters": {"_secret": {"web_db": "clear"}}}
    return write_tree(tmp_path / "model", content)


@pytest.fixture
def options(tmp_path: Path, model: Path) -> Callable[..., dict[str, Any]]:
    """Master options with the plugins of this tree."""

    def build(**plugin: Any) -> dict[str, Any]:
        opts = salt.config.master_config(None)
        opts.update(
            cachedir=str(tmp_path / "cache"),
            extension_modules=str(tmp_path / "extmods"),
            module_dirs=[str(TREE)],
            pillar_roots={"base": []},
            ext_pillar=[{"saltern_model": {"path": str(model), "on_error": "raise", **plugin}}],
            master_tops={"saltern_model": {"path": str(model), **plugin}},
            id=MINION,
            file_client="local",
        )
        return opts

    return build


def compile_pillar(opts: dict[str, Any], minion: str = MINION) -> dict[str, Any]:
    """What the master would send."""
    return salt.pillar.Pillar(opts, {}, minion, "base").compile_pillar()


def tops(opts: dict[str, Any], minion: str = MINION) -> dict[str, Any]:
    """What the master answers to the minion's question for its top."""
    return salt.loader.tops(opts)["saltern_model"](opts={"id": minion}, grains={})


def test_pillar(options: Any) -> None:
    pillar = compile_pillar(options())
    assert pillar["web"]["server"]["url"] == "db://web:clear@vip"
    assert pillar["__reclass__"]["nodename"] == MINION
    assert "_errors" not in pillar


def test_an_unknown_minion_gets_an_error_and_no_data(options: Any) -> None:
    pillar = compile_pillar(options(), "ghost.c1.test")
    assert list(pillar) == ["_errors"]
    assert "node ghost.c1.test has no entry in the model" in pillar["_errors"][0]


def test_a_broken_model_gives_one_line_without_values(options: Any, model: Path) -> None:
    path = model / "classes/system/web.yml"
    path.write_text(path.read_text() + "parameters: {x: 'hunter2 ${no:where}'}\n")
    pillar = compile_pillar(options())
    (error,) = pillar["_errors"]
    assert "${no:where} has no value at key x in classes/system/web.yml" in error
    assert "hunter2" not in error
    assert "\n" not in error
    assert "web" not in pillar


def test_denied_means_the_request_fails(
    options: Any, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opts = options()
    del opts["ext_pillar"][0]["saltern_model"]["on_error"]
    assert compile_pillar(opts)["web"]
    (model / "classes/system/web.yml").write_text("classes: [gone]\n")
    with pytest.raises(TypeError), caplog.at_level(logging.ERROR):
        compile_pillar(opts)
    assert "system.web" in caplog.text
    assert "gone" in caplog.text
    # nothing vouches for an unknown minion: it gets no pillar that it could keep
    assert list(compile_pillar(opts, "ghost.c1.test")) == ["_errors"]


def test_without_a_master_there_is_no_request_to_deny(options: Any, model: Path) -> None:
    (model / "classes/system/web.yml").write_text("classes: [gone]\n")
    opts = {**options(on_error="deny"), "__role": "minion"}
    assert list(compile_pillar(opts)) == ["_errors"]


def test_a_pillar_cache_is_refused(options: Any, caplog: pytest.LogCaptureFixture) -> None:
    opts = {**options(), "pillar_cache": True}
    with pytest.raises(TypeError), caplog.at_level(logging.ERROR):
        compile_pillar(opts)
    assert "pillar_cache must be False. Remove it and restart salt-master." in caplog.text


def test_unknown_options_are_errors(options: Any) -> None:
    for wrong in ({"keystor": "/x"}, {"gpghome": "/x"}, {"journal": "sqlite:////x"}):
        pillar = compile_pillar(options(**wrong))
        assert list(pillar) == ["_errors"]
        assert next(iter(wrong)) in pillar["_errors"][0]


def test_a_fault_of_ours_is_not_told_to_the_minion(
    options: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from saltern.model import serve

    def crash(*_: Any, **__: Any) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(serve, "pillar", crash)
    with caplog.at_level(logging.ERROR):
        pillar = compile_pillar(options())
    assert list(pillar) == ["_errors"]
    assert "internal error (KeyError)" in pillar["_errors"][0]
    assert "hunter2" not in pillar["_errors"][0]
    assert "no pillar for web01.c1.test" in caplog.text


def test_without_the_library_there_is_an_error(
    options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that does not load would make Salt serve a pillar without our data."""
    monkeypatch.setitem(sys.modules, "saltern.adapters.serving", None)
    monkeypatch.delattr("saltern.adapters.serving", raising=False)
    pillar = compile_pillar(options())
    assert list(pillar) == ["_errors"]
    assert "not installed in the master's Python" in pillar["_errors"][0]


def test_secrets_through_gpg_are_in_no_log(
    options: Any, model: Path, short_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpg = Gpg(short_dir / "home")
    try:
        block = gpg.encrypt("hunter2", [gpg.create_key("Model of ours")])
        write_tree(
            model,
            {"classes/cluster/c1/secrets.yml": {"parameters": {"_secret": {"web_db": block}}}},
        )
        with caplog.at_level(1):
            pillar = compile_pillar(options(gpg_home=str(gpg.home)))
            closed = compile_pillar(options())
            wrong = compile_pillar(options(gpg_home=str(short_dir / "none")))
    finally:
        gpg.stop_agent()
    assert pillar["web"]["server"]["url"] == "db://web:hunter2@vip"
    assert "no GPG home is set" in closed["_errors"][0]
    assert "the GPG home does not exist" in wrong["_errors"][0]
    assert "web" not in closed
    assert "hunter2" not in caplog.text


def test_top(options: Any, model: Path) -> None:
    assert tops(options()) == {"base": ["web.server"]}
    path = model / "nodes/c1/web01.c1.test.yml"
    path.write_text(path.read_text() + "environment: prod\n")
    assert tops(options()) == {"prod": ["web.server"]}


def test_a_top_that_fails_makes_a_highstate_fail(options: Any, model: Path) -> None:
    failed = {"base": ["__saltern_model_failed__"]}
    assert tops(options(), "ghost.c1.test") == failed
    assert tops(options(wrong_option=1)) == failed
    (model / "classes/system/web.yml").write_text("classes: [gone]\n")
    assert tops(options()) == failed
    opts = options()
    opts["master_tops"] = {"saltern_model": {}}
    assert tops(opts) == failed


def test_the_options_of_the_pillar_serve_for_the_top(options: Any) -> None:
    """One block of settings may be written once and used for both."""
    assert tops(options(gpg_home="/x", keystore="/y", on_error="deny")) == {"base": ["web.server"]}
