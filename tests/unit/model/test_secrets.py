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
from tests.unit.model.conftest import PGP, files

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
    # the agent removes its socket by itself, perhaps at this moment
    shutil.rmtree(folder, ignore_errors=True)


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


# -- rotate, rewrap, check --------------------------------------------------------------------


def envelope() -> Callable[[str], str]:
    """An `encrypt` whose messages are all different, as real ones are."""
    count = iter(range(1000))
    return lambda text: PGP.format(f"{next(count)} {text[::-1]}")


def stored(top: Path) -> dict[str, str]:
    """What the secrets class of the example holds."""
    text = (top / "classes/cluster/c1/secrets.yml").read_text()
    return dict(yaml.safe_load(text)["parameters"]["_secret"])


@pytest.fixture
def made(tree: Tree) -> Path:
    """The example with its secrets made and a unit for each role."""
    content = without_values()
    for service, unit in (("db", "mariadb"), ("web", "nginx")):
        life = content[f"classes/service/{service}/server.yml"]["parameters"]["lifecycle"]
        life[f"{service}.server"]["health"] = [{"unit": unit}, {"port": 80}]
    top = tree(content)
    secrets.init(Inventory(top), "c1", envelope())
    return top


def test_rotate_replaces_and_tells_whom_it_reaches(made: Path) -> None:
    before = stored(made)
    seen: list[tuple[str, str]] = []

    def encrypt(text: str, old: str) -> str:
        seen.append((text, old))
        return PGP.format(f"new {len(seen)}")

    rotated = secrets.rotate(Inventory(made), "c1", ["web_db"], encrypt)
    webs = ("web01.c1.test", "web02.c1.test")
    # published to the database, so it is data of both roles
    assert rotated == [
        secrets.Rotated(
            "web_db", ("db01.c1.test", *webs), ("db.server", "web.server"), ("mariadb", "nginx")
        )
    ]
    after = stored(made)
    assert after == {"cookie": before["cookie"], "web_db": PGP.format("new 1")}
    ((text, old),) = seen
    assert old == before["web_db"]
    assert len(text) == 32
    assert text not in (made / "classes/cluster/c1/secrets.yml").read_text()
    assert before["web_db"].splitlines()[2] not in str(list(made.rglob("*")))
    assert not list(made.rglob(".secrets*"))


def test_rotate_all_keeps_the_kinds_and_leaves_other_stores_alone(made: Path) -> None:
    path = made / "classes/cluster/c1/secrets.yml"
    values = {**stored(made), "web_db": "sdb://vault/web_db", "orphan": PGP.format("x")}
    path.write_text(yaml.safe_dump({"parameters": {"_secret": values}}))
    clear: list[str] = []

    def encrypt(text: str, _old: str) -> str:
        clear.append(text)
        return PGP.format("new")

    rotated = secrets.rotate(Inventory(made), "c1", None, encrypt)
    assert [one.name for one in rotated] == ["cookie"]
    assert [len(text) for text in clear] == [20]
    assert clear[0].isupper()
    assert stored(made) == {**values, "cookie": PGP.format("new")}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("nobody", "", "nothing in the cluster refers to nobody"),
        ("web_db", "sdb://vault/x", "its value is in another store"),
        ("web_db", "hunter2", "its value is not encrypted"),
        ("elsewhere", "", "its value is not in secrets.yml"),
    ],
)
def test_what_cannot_be_rotated(made: Path, name: str, value: str, sentence: str) -> None:
    path = made / "classes/cluster/c1/secrets.yml"
    values = {**stored(made), **({name: value} if value else {})}
    path.write_text(yaml.safe_dump({"parameters": {"_secret": values}}))
    (made / "classes/system/web.yml").write_text(
        yaml.safe_dump(
            {
                "classes": ["service.web.server"],
                "parameters": {"x": "${_secret:elsewhere}", "_secret": {"elsewhere": PGP}},
            }
        )
    )
    before = path.read_text()
    with pytest.raises(ModelError) as caught:
        # one that could be rotated is not, either
        secrets.rotate(Inventory(made), "c1", ["cookie", name], lambda text, old: "")
    assert sentence in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert path.read_text() == before


def test_a_failing_encryption_leaves_everything(made: Path) -> None:
    before = stored(made)

    def fail(*_: str) -> str:
        raise SecretError("cannot encrypt for X")

    with pytest.raises(SecretError):
        secrets.rotate(Inventory(made), "c1", None, fail)
    with pytest.raises(SecretError) as caught:
        secrets.rewrap(Inventory(made), "c1", fail, lambda text: text)
    assert "secret cookie: cannot encrypt for X" in str(caught.value)
    assert stored(made) == before


def test_check_finds_each_fault(made: Path) -> None:
    def opens(message: str) -> str:
        if "shut" in message:
            raise SecretError("cannot decrypt a secret")
        return "clear"

    def recipients(message: str) -> tuple[str, ...]:
        return ("B",) if "other" in message else ("A",)

    def told(expected: list[str] | None = None) -> list[str]:
        return list(map(str, secrets.check(Inventory(made), "c1", opens, recipients, expected)))

    assert told() == []
    assert told(["A"]) == []
    at = "(classes/cluster/c1/secrets.yml:"
    right = "and it should be for key B"
    assert [text.partition(" (")[0] for text in told(["B"])] == [
        f"secret cookie: is encrypted for key A, {right}",
        f"secret web_db: is encrypted for key A, {right}",
    ]
    values = stored(made)
    del values["web_db"]
    values |= {"cookie": PGP.format("other shut"), "unused": PGP.format("x"), "plain": "hunter2"}
    values |= {"refers": "sdb://vault/x", "worse": PGP.format("y")}
    (made / "classes/cluster/c1/secrets.yml").write_text(
        yaml.safe_dump({"parameters": {"_secret": values}})
    )
    (made / "classes/cluster/c1/db.yml").write_text(
        yaml.safe_dump(
            {
                "classes": ["cluster.c1", "service.db.server"],
                "parameters": {"x": ["${_secret:plain}", "${_secret:refers}"]},
            }
        )
    )
    found = told()
    assert [text.partition(" (")[0].rstrip(".") for text in found] == [
        "secret web_db: has no value, and 2 nodes refer to it",
        "secret cookie: cannot decrypt a secret",
        "secret plain: its value is not encrypted",
        "secret unused: nothing in the cluster refers to it",
        "secret worse: nothing in the cluster refers to it",
        "secret cookie: is encrypted for key B, and it should be for key A",
    ]
    assert all(at in text for text in found[1:])
    assert "hunter2" not in str(found)


def test_a_reference_to_a_store_passes_untouched(made: Path) -> None:
    values = {**stored(made), "cookie": "sdb://vault/erlang?x=1#cookie"}
    (made / "classes/cluster/c1/secrets.yml").write_text(
        yaml.safe_dump({"parameters": {"_secret": values}})
    )
    served = serve.pillar(made, "db01.c1.test", decrypt=lambda block: "clear")
    assert served["db"]["server"]["cookie"] == "sdb://vault/erlang?x=1#cookie"
    assert secrets.init(Inventory(made), "c1", str) == []
    assert secrets.check(Inventory(made), "c1", lambda block: "clear") == []


def test_rotate_rewrap_and_check_with_real_keys(tree: Tree, home: Path) -> None:
    top = tree(without_values())
    run = CliRunner()
    arguments = ["-i", str(top), "-c", "c1", "--gpg-home", str(home)]
    assert run.invoke(model, ["secrets", "init", *arguments]).exit_code == 0
    gpg = Gpg(home)
    (ours,) = gpg.secret_keys()
    before = {name: gpg.decrypt(block) for name, block in stored(top).items()}

    rotated = run.invoke(model, ["secrets", "rotate", "web_db", *arguments])
    assert rotated.exit_code == 0, rotated.output
    assert rotated.output.splitlines()[:3] == [
        "web_db",
        "  nodes: db01.c1.test, web01.c1.test, web02.c1.test",
        "  roles: db.server, web.server",
    ]
    after = {name: gpg.decrypt(block) for name, block in stored(top).items()}
    assert after["cookie"] == before["cookie"]
    assert after["web_db"] != before["web_db"]
    assert after["web_db"] not in rotated.output

    # for a second master: the values stay
    second = gpg.create_key("A second master")
    wanted = [
        "secrets", "check", *arguments, "--recipient", ours, "--recipient", second,
    ]  # fmt: skip
    checked = run.invoke(model, wanted)
    assert checked.exit_code == 1
    assert checked.output.count("and it should be for key") == 2
    wrapped = run.invoke(
        model, ["secrets", "rewrap", *arguments, "--recipient", ours, "--recipient", second]
    )
    assert wrapped.exit_code == 0, wrapped.output
    assert {name: gpg.decrypt(block) for name, block in stored(top).items()} == after
    assert run.invoke(model, wanted).output == ""
    assert set(gpg.recipients(stored(top)["cookie"])) == {
        *gpg.encryption_keys(ours),
        *gpg.encryption_keys(second),
    }

    # rotating keeps the recipients
    assert run.invoke(model, ["secrets", "rotate", "--all", *arguments]).exit_code == 0
    assert run.invoke(model, wanted).exit_code == 0
    assert run.invoke(model, ["secrets", "rotate", *arguments]).exit_code == 2

    # another home opens nothing, and says so of each
    other = Gpg(home.parent / "other")
    other.create_key("Somebody else")
    try:
        foreign = run.invoke(
            model, ["secrets", "check", "-i", str(top), "-c", "c1", "--gpg-home", str(other.home)]
        )
    finally:
        other.stop_agent()
    assert foreign.exit_code == 1
    assert foreign.output.count("cannot decrypt a secret") == 2
    plain = run.invoke(model, ["secrets", "check", "-i", str(top), "-c", "c1", "--format", "json"])
    assert (plain.exit_code, plain.output.strip()) == (0, "[]")
