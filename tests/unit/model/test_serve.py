"""One minion's pillar: whole and fresh, or an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saltern.errors import ModelError, SecretError
from saltern.model import serve
from tests.model.trees import write_tree
from tests.unit.model.conftest import PGP, decrypt, files

Tree = Callable[[dict[str, Any]], Path]


def test_secrets_are_decrypted_inside_strings(tree: Tree) -> None:
    top = tree(files())
    assert serve.pillar(top, "web01.c1.test", decrypt=decrypt)["web"]["server"]["url"] == (
        "db://web:s3cret@vip"
    )
    published = serve.pillar(top, "db01.c1.test", decrypt=decrypt)["db"]["server"]["database"]
    assert published["web"]["password"] == "s3cret"


def test_only_what_the_node_holds_is_decrypted(tree: Tree) -> None:
    content = files()
    content["classes/cluster/c1/secrets.yml"]["parameters"]["_secret"]["other"] = PGP.format("no")
    opened = []

    def note(block: str) -> str:
        opened.append(decrypt(block))
        return "clear"

    serve.pillar(tree(content), "web01.c1.test", decrypt=note)
    assert opened == ["s3cret"]


def test_ciphertext_is_never_served(tree: Tree) -> None:
    top = tree(files())
    with pytest.raises(SecretError, match="key web:server:url: the value is encrypted"):
        serve.pillar(top, "web01.c1.test")

    def refuse(block: str) -> str:
        raise SecretError("no key")

    with pytest.raises(SecretError, match=r"node web01\.c1\.test, key web:server:url: no key"):
        serve.pillar(top, "web01.c1.test", decrypt=refuse)


def test_each_answer_is_fresh(tree: Tree) -> None:
    top = tree(files())
    first = serve.pillar(top, "web01.c1.test", decrypt=decrypt)
    before = json.dumps(first, sort_keys=True)
    first["topology"]["nodes"].clear()
    first["web"]["server"]["port"] = 0
    first["__reclass__"]["applications"].append("x")
    again = serve.pillar(top, "web01.c1.test", decrypt=decrypt)
    assert json.dumps(again, sort_keys=True) == before
    serve.top(top, "web01.c1.test")["base"].append("x")
    assert serve.top(top, "web01.c1.test") == {"base": ["web.server"]}


def test_a_changed_file_is_seen_and_a_broken_model_denies_everyone(tree: Tree) -> None:
    content = files()
    top = tree(content)
    first = serve.pillar(top, "web01.c1.test", decrypt=decrypt)
    content["classes/system/web.yml"]["parameters"] = {"web": {"server": {"port": 8080}}}
    write_tree(top, content)
    second = serve.pillar(top, "web01.c1.test", decrypt=decrypt)
    assert second["web"]["server"]["port"] == 8080
    assert second["__reclass__"]["revision"] != first["__reclass__"]["revision"]
    content["nodes/c1/web02.c1.test.yml"]["parameters"]["x"] = "${nope}"
    write_tree(top, content)
    for _ in range(2):  # the second time from the remembered failure
        with pytest.raises(ModelError, match=r"node web02\.c1\.test: reference \$\{nope\}"):
            serve.pillar(top, "web01.c1.test", decrypt=decrypt)
    del content["nodes/c1/web02.c1.test.yml"]["parameters"]["x"]
    write_tree(top, content)
    assert serve.pillar(top, "web01.c1.test", decrypt=decrypt) == second


def test_an_unchanged_tree_is_compiled_once(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tree(files())
    compiled = []
    real = serve.compile_cluster
    monkeypatch.setattr(
        serve, "compile_cluster", lambda *args: compiled.append(args[1]) or real(*args)
    )
    for node in ("web01", "web02", "db01", "web01"):
        serve.pillar(top, f"{node}.c1.test", decrypt=decrypt)
    assert compiled == ["c1"]


def test_a_tree_that_changes_during_the_compile_is_compiled_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = files()
    top = tree(content)
    real = serve.compile_cluster

    def compile_and_change(*args: Any) -> Any:
        nodes = real(*args)
        if "parameters" not in content["classes/system/web.yml"]:
            content["classes/system/web.yml"]["parameters"] = {"web": {"server": {"port": 1}}}
            write_tree(top, content)
        return nodes

    monkeypatch.setattr(serve, "compile_cluster", compile_and_change)
    assert serve.pillar(top, "web01.c1.test", decrypt=decrypt)["web"]["server"]["port"] == 1


def test_a_tree_that_never_rests_is_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tree(files())
    real = serve.fingerprint
    count = iter(range(100))
    monkeypatch.setattr(serve, "fingerprint", lambda *args: f"{real(*args)}{next(count)}")
    with pytest.raises(ModelError, match="keeps changing"):
        serve.pillar(top, "web01.c1.test", decrypt=decrypt)


@pytest.mark.parametrize("minion", ["ghost.c1.test", "../c1/web01.c1.test", "", "/etc/passwd"])
def test_an_unknown_minion_gets_nothing(tree: Tree, minion: str) -> None:
    top = tree(files())
    for ask in (serve.pillar, serve.top):
        with pytest.raises(ModelError, match="has no entry in the model"):
            ask(top, minion)


def test_unknown_options_are_errors(tree: Tree) -> None:
    with pytest.raises(ModelError, match="unknown model option 'compta'"):
        serve.pillar(tree(files()), "web01.c1.test", options={"compta": "reclass"})
    with pytest.raises(ModelError, match="allow_none_override must be bool"):
        serve.pillar(tree(files()), "web01.c1.test", options={"allow_none_override": "no"})


def keystore(top: Path) -> Path:
    """A key store with two repositories for web.server."""
    for repository, name in (("fernet", "0"), ("fernet", "1"), ("credential", "0")):
        folder = top / "web.server" / repository
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{repository}-{name}")
    return top


def test_keys_reach_the_nodes_of_their_role_only(tree: Tree, tmp_path: Path) -> None:
    top, keys = tree(files()), keystore(tmp_path / "keys")
    served = serve.pillar(top, "web01.c1.test", decrypt=decrypt, keystore=keys)
    assert served["web"]["server"]["keys"] == {
        "credential": {"0": "credential-0"},
        "fernet": {"0": "fernet-0", "1": "fernet-1"},
    }
    other = serve.pillar(top, "db01.c1.test", decrypt=decrypt, keystore=keys)
    assert "fernet-0" not in json.dumps(other)
    # rotated keys are seen at once
    (keys / "web.server/fernet/2").write_text("fernet-2")
    served = serve.pillar(top, "web01.c1.test", decrypt=decrypt, keystore=keys)
    assert "2" in served["web"]["server"]["keys"]["fernet"]


def test_a_key_store_follows_no_links(tree: Tree, tmp_path: Path) -> None:
    top, keys = tree(files()), keystore(tmp_path / "keys")
    (tmp_path / "outside").write_text("outside")
    (keys / "web.server/fernet/evil").symlink_to(tmp_path / "outside")
    (keys / "web.server/linked").symlink_to(tmp_path)
    (keys / "web.server/fernet/.tmp").write_text("half written")
    served = serve.pillar(top, "web01.c1.test", decrypt=decrypt, keystore=keys)
    assert sorted(served["web"]["server"]["keys"]) == ["credential", "fernet"]
    assert sorted(served["web"]["server"]["keys"]["fernet"]) == ["0", "1"]


def test_an_unreadable_key_store_is_an_error(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: Any) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    top, keys = tree(files()), keystore(tmp_path / "keys")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SecretError, match="cannot read the key store: Permission denied"):
        serve.pillar(top, "web01.c1.test", decrypt=decrypt, keystore=keys)


def test_a_key_file_that_is_no_text_is_an_error(tree: Tree, tmp_path: Path) -> None:
    top, keys = tree(files()), keystore(tmp_path / "keys")
    (keys / "web.server/fernet/0").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretError, match="key file is not text"):
        serve.pillar(top, "web01.c1.test", decrypt=decrypt, keystore=keys)
