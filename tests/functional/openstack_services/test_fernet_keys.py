"""Key repositories: made once, rotated without losing a token, handed out exactly, never shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet

from tests.functional.openstack_services.conftest import Minion

MakeMinion = Callable[[dict[str, Any]], Minion]
Owner = dict[str, str]


def keys(repository: Path) -> dict[int, str]:
    return {int(p.name): p.read_text() for p in repository.iterdir() if p.name.isdigit()}


def cipher(found: dict[int, str]) -> MultiFernet:
    """As Keystone builds it: the highest number encrypts, all decrypt."""
    return MultiFernet([Fernet(found[number]) for number in sorted(found, reverse=True)])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "fernet"


@pytest.fixture
def made(minion: Minion, repository: Path, me: Owner) -> Path:
    assert minion.run("fernet_keys.present", name=str(repository), **me)["result"] is True
    return repository


def shows(ret: dict[str, Any], *repositories: dict[int, str]) -> bool:
    """Whether a return holds the text of a key."""
    text = json.dumps(ret)
    return any(key in text for found in repositories for key in found.values())


def test_a_repository_is_made_once(minion: Minion, repository: Path, me: Owner) -> None:
    preview = minion.run("fernet_keys.present", test=True, name=str(repository), **me)
    assert preview["result"] is None
    assert preview["changes"]
    assert not repository.exists()
    first = minion.run("fernet_keys.present", name=str(repository), **me)
    assert first["result"] is True
    found = keys(repository)
    assert set(found) == {0, 1}
    assert found[0] != found[1]
    assert cipher(found).decrypt(cipher(found).encrypt(b"token")) == b"token"
    assert not shows(first, found)
    again = minion.run("fernet_keys.present", name=str(repository), **me)
    assert (again["result"], again["changes"]) == (True, {})
    assert keys(repository) == found


def test_nobody_else_can_read_it(minion: Minion, made: Path, me: Owner) -> None:
    assert made.stat().st_mode & 0o777 == 0o700
    assert made.parent.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in made.iterdir()} == {0o600}
    (made / "1").chmod(0o644)
    found = keys(made)
    preview = minion.run("fernet_keys.present", test=True, name=str(made), **me)
    assert preview["result"] is None
    done = minion.run("fernet_keys.present", name=str(made), **me)
    assert list(done["changes"]) == ["access"]
    assert (made / "1").stat().st_mode & 0o777 == 0o600
    assert keys(made) == found


def test_a_damaged_repository_is_not_repaired_by_guessing(
    minion: Minion, made: Path, me: Owner
) -> None:
    (made / "1").write_text("no key")
    for state in ("present", "rotated"):
        more = {"min_age": 0} if state == "rotated" else {}
        done = minion.run(f"fernet_keys.{state}", name=str(made), **me, **more)
        assert done["result"] is False
        assert f"{made}/1 is not a Fernet key" in done["comment"]
    (made / "1").unlink()
    single = minion.run("fernet_keys.present", name=str(made), **me)
    assert single["result"] is False
    assert "restore" in single["comment"]


def test_a_rotation_keeps_tokens_valid(minion: Minion, made: Path, me: Owner) -> None:
    """Members that still have the keys of before read the new tokens, and the other way round."""
    before = keys(made)
    old_token = cipher(before).encrypt(b"old")
    preview = minion.run("fernet_keys.rotated", test=True, name=str(made), min_age=0, **me)
    assert preview["result"] is None
    assert keys(made) == before
    done = minion.run("fernet_keys.rotated", name=str(made), min_age=0, **me)
    assert done["result"] is True
    after = keys(made)
    assert set(after) == {0, 1, 2}
    assert after[2] == before[0]
    assert cipher(before).decrypt(cipher(after).encrypt(b"new")) == b"new"
    assert cipher(after).decrypt(old_token) == b"old"
    assert not shows(done, before, after)


def test_old_keys_go_when_there_are_enough(minion: Minion, made: Path, me: Owner) -> None:
    for _ in range(3):
        minion.run("fernet_keys.rotated", name=str(made), min_age=0, max_active_keys=3, **me)
    assert set(keys(made)) == {0, 3, 4}
    assert {p.stat().st_mode & 0o777 for p in made.iterdir()} == {0o600}
    few = minion.run("fernet_keys.rotated", name=str(made), min_age=0, max_active_keys=2, **me)
    assert few["result"] is False


def test_a_rotation_is_not_done_twice_by_accident(minion: Minion, made: Path, me: Owner) -> None:
    before = keys(made)
    done = minion.run("fernet_keys.rotated", name=str(made), **me)
    assert (done["result"], done["changes"]) == (True, {})
    assert keys(made) == before
    old = (made / "0").stat().st_mtime - 7200
    os.utime(made / "0", (old, old))
    assert minion.run("fernet_keys.rotated", name=str(made), **me)["changes"]
    assert not minion.run("fernet_keys.rotated", name=str(made), **me)["changes"]


def test_there_is_nothing_to_rotate(minion: Minion, repository: Path, me: Owner) -> None:
    done = minion.run("fernet_keys.rotated", name=str(repository), **me)
    assert done["result"] is False
    assert "create them first" in done["comment"]


def member(make_minion: MakeMinion, found: dict[int, str]) -> Minion:
    """A minion whose pillar holds the keys, numbers as text, as the model serves them."""
    data = {str(number): key for number, key in found.items()}
    return make_minion({"keystone": {"server": {"keys": {"fernet": data}}}})


def deploy(minion: Minion, target: Path, me: Owner, test: bool = False) -> dict[str, Any]:
    return minion.run(
        "fernet_keys.deployed",
        test=test,
        name=str(target),
        pillar="keystone:server:keys:fernet",
        **me,
    )


def test_a_member_gets_exactly_the_keys_of_the_pillar(
    minion: Minion, make_minion: MakeMinion, made: Path, tmp_path: Path, me: Owner
) -> None:
    target = tmp_path / "etc" / "fernet-keys"
    before = keys(made)
    node = member(make_minion, before)
    preview = deploy(node, target, me, test=True)
    assert preview["result"] is None
    assert not target.exists()
    first = deploy(node, target, me)
    assert first["result"] is True
    assert keys(target) == before
    assert not shows(first, before)
    assert deploy(node, target, me)["changes"] == {}
    for _ in range(3):
        minion.run("fernet_keys.rotated", name=str(made), min_age=0, **me)
    after = keys(made)
    done = deploy(member(make_minion, after), target, me)
    assert done["result"] is True
    assert keys(target) == after
    assert not shows(done, before, after)
    assert {p.stat().st_mode & 0o777 for p in target.iterdir()} == {0o600}


def test_a_foreign_key_and_a_wrong_mode_do_not_stay(
    make_minion: MakeMinion, made: Path, tmp_path: Path, me: Owner
) -> None:
    target = tmp_path / "fernet-keys"
    node = member(make_minion, keys(made))
    deploy(node, target, me)
    (target / "7").write_text(Fernet.generate_key().decode())
    (target / "0").chmod(0o640)
    done = deploy(node, target, me)
    assert set(done["changes"]) == {"keys", "access"}
    assert keys(target) == keys(made)
    assert (target / "0").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "no keys at keystone:server:keys:fernet"),
        ({"1": "x" * 44}, "no staged and primary key"),
        ({"0": "secret-rubbish", "1": "secret-rubbish"}, "is not a Fernet key"),
    ],
)
def test_a_member_without_good_keys_fails_and_makes_none(
    make_minion: MakeMinion, tmp_path: Path, me: Owner, data: dict[str, str], sentence: str
) -> None:
    node = make_minion({"keystone": {"server": {"keys": {"fernet": data}}}})
    done = deploy(node, tmp_path / "fernet-keys", me)
    assert done["result"] is False
    assert sentence in done["comment"]
    assert "secret-rubbish" not in done["comment"]
    assert not (tmp_path / "fernet-keys").exists()
