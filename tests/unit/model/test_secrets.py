"""Secrets: found, made, encrypted, never replaced, never shown."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from saltern.adapters.gpg import Gpg
from saltern.cli.model import model
from saltern.errors import ModelError, SecretError
from saltern.model import Inventory, secrets, serve
from tests.unit.model.conftest import files

Tree = Callable[[dict[str, Any]], Path]


def without_values() -> dict[str, Any]:
    """The example before any secret was made, with one more kind."""
    content = files()
    del content["classes/cluster/c1/secrets.yml"]
    parameters = content["classes/service/db/server.yml"]["parameters"]
    parameters["db"]["server"]["cookie"] = "${_secret:cookie}"
    parameters["_secret_spec"] = {"cookie": {"kind": "erlang_cookie"}}
    return content


def names(found: list[secrets.Secret]) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """What was found, short."""
    return {secret.name: (secret.present, secret.nodes) for secret in found}


def test_wanted_finds_every_reference(tree: Tree) -> None:
    content = without_values()
    # several in one string, in a list, published; an overwritten one may be set back later
    content["classes/system/web.yml"]["parameters"] = {
        "x": ["${_secret:one}:${_secret:two}"],
        "unused": "${_secret:overwritten}",
        "_secret": {"two": "there already"},
    }
    content["classes/cluster/c1/web.yml"]["parameters"] = {"unused": "text"}
    webs = ("web01.c1.test", "web02.c1.test")
    assert names(secrets.wanted(Inventory(tree(content)), "c1")) == {
        "cookie": (False, ("db01.c1.test",)),
        "one": (False, webs),
        "overwritten": (False, webs),
        "two": (True, webs),
        "web_db": (False, webs),
    }


def test_a_fault_hides_no_secret(tree: Tree) -> None:
    """References to the artifacts class have no value yet when secrets are made."""
    content = without_values()
    content["classes/system/web.yml"]["parameters"] = {"x": "${artifact:url}${_secret:behind}"}
    assert "behind" in names(secrets.wanted(Inventory(tree(content)), "c1"))


def test_init_makes_what_is_missing_only(tree: Tree) -> None:
    top = tree(without_values())
    clear: list[str] = []

    def encrypt(text: str) -> str:
        clear.append(text)
        return f"-----BEGIN PGP MESSAGE-----\n\n{len(clear)}\n-----END PGP MESSAGE-----"

    assert secrets.init(Inventory(top), "c1", encrypt) == ["cookie", "web_db"]
    path = top / "classes/cluster/c1/secrets.yml"
    before = path.read_text()
    assert not any(text in before for text in clear)
    assert [len(text) for text in clear] == [20, 32]
    assert clear[0].isupper()
    # nothing new: not even asked to encrypt, and the file untouched
    assert secrets.init(Inventory(top), "c1", encrypt) == []
    assert len(clear) == 2
    assert path.read_text() == before
    # one more: the old ones keep their ciphertext
    system = top / "classes/system/web.yml"
    system.write_text("classes: [service.web.server]\nparameters: {n: '${_secret:new}'}\n")
    old = yaml.safe_load(before)["parameters"]["_secret"]
    assert secrets.init(Inventory(top), "c1", encrypt) == ["new"]
    assert old.items() <= yaml.safe_load(path.read_text())["parameters"]["_secret"].items()


def test_init_keeps_its_hands_off_a_class_of_another_kind(tree: Tree) -> None:
    content = without_values()
    content["classes/cluster/c1/secrets.yml"] = {"parameters": {"other": 1}}
    with pytest.raises(ModelError, match="something else than parameters:_secret"):
        secrets.init(Inventory(tree(content)), "c1", str)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"kind": "guess"}, "unknown kind 'guess'"),
        ({"length": 3}, "at least 8"),
        ({"length": True}, "at least 8"),
        ({"size": 3}, "is {kind, length}"),
    ],
)
def test_bad_specifications(tree: Tree, spec: Any, sentence: str) -> None:
    content = without_values()
    content["classes/system/web.yml"]["parameters"] = {"_secret_spec": {"web_db": spec}}
    with pytest.raises(ModelError) as caught:
        secrets.wanted(Inventory(tree(content)), "c1")
    assert sentence in str(caught.value)


def test_two_specifications_of_one_secret(tree: Tree) -> None:
    content = without_values()
    for name, length in (("web01", 20), ("web02", 30)):
        content[f"nodes/c1/{name}.c1.test.yml"]["parameters"]["_secret_spec"] = {
            "web_db": {"length": length}
        }
    with pytest.raises(ModelError, match=r"web01\.c1\.test specifies the secret differently"):
        secrets.wanted(Inventory(tree(content)), "c1")


@given(st.sampled_from(sorted(secrets.KINDS)), st.integers(20, 80))
def test_values_have_the_asked_shape(kind: str, length: int) -> None:
    value = secrets.generate(secrets.Spec(kind, length))
    assert len(value) == length
    assert set(value) <= set(secrets.KINDS[kind][0])
    assert value != secrets.generate(secrets.Spec(kind, length))


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: the socket of gpg-agent lies in it. The agent is stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="gpg"))
    yield folder / "home"
    Gpg(folder / "home").stop_agent()
    shutil.rmtree(folder)


def test_command_line_with_real_keys(tree: Tree, home: Path) -> None:
    top = tree(without_values())
    run = CliRunner()
    arguments = ["-i", str(top), "-c", "c1"]
    listed = run.invoke(model, ["secrets", "list", *arguments]).output
    assert [line.split()[:2] for line in listed.splitlines()] == [
        ["cookie", "missing"],
        ["web_db", "missing"],
    ]
    made = run.invoke(model, ["secrets", "init", *arguments, "--gpg-home", str(home)])
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    gpg = Gpg(home)
    served = serve.pillar(top, "web01.c1.test", decrypt=gpg.decrypt)
    url = served["web"]["server"]["url"]
    password = url.removeprefix("db://web:").removesuffix("@vip")
    assert len(password) == 32
    assert password.isalnum()
    database = serve.pillar(top, "db01.c1.test", decrypt=gpg.decrypt)["db"]["server"]["database"]
    assert database["web"]["password"] == password
    # the clear text is neither in the output nor anywhere in the tree
    assert password not in made.output
    assert not [p for p in top.rglob("*.yml") if password in p.read_text()]
    again = run.invoke(model, ["secrets", "init", *arguments, "--gpg-home", str(home)])
    assert "0 new" in again.output
    assert len(gpg.secret_keys()) == 1
    shown = run.invoke(model, ["show", "web01.c1.test", "-i", str(top), "--served"]).output
    assert "BEGIN PGP MESSAGE" in shown
    assert password not in shown


def test_a_foreign_key_opens_nothing(tree: Tree, home: Path) -> None:
    gpg = Gpg(home)
    ours = gpg.create_key("Model of ours")
    block = gpg.encrypt("s3cret", [ours])
    assert gpg.decrypt(block) == "s3cret"
    other = Gpg(home.parent / "other")
    other.create_key("Somebody else")
    try:
        with pytest.raises(SecretError, match="cannot decrypt a secret") as caught:
            other.decrypt(block)
        assert "s3cret" not in str(caught.value)
        with pytest.raises(SecretError, match="cannot encrypt for"):
            other.encrypt("s3cret", [ours])
    finally:
        other.stop_agent()
    with pytest.raises(SecretError, match="home does not exist"):
        Gpg(home.parent / "none").decrypt(block)


def test_a_secret_is_opened_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpg = Gpg(home)
    block = gpg.encrypt("s3cret", [gpg.create_key("Model of ours")])
    assert gpg.decrypt(block) == "s3cret"
    monkeypatch.setattr(gpg, "binary", "/nonexistent/gpg")
    assert gpg.decrypt(block) == "s3cret"
    with pytest.raises(SecretError, match="is not installed"):
        gpg.encrypt("x", ["y"])
