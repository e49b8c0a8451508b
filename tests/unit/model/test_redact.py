"""What counts as secret, and that a hash tells nothing but equality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saltern.errors import SecretError
from saltern.model import redact

KEY = b"0123456789abcdef"
PGP = "-----BEGIN PGP MESSAGE-----\n\nwcBM{}\n-----END PGP MESSAGE-----"
SCHEMA: dict[str, Any] = {
    "$defs": {"user": {"properties": {"pin": {"type": "integer", "writeOnly": True}}}},
    "properties": {
        "licence": {"type": "string", "writeOnly": True},
        "users": {"items": {"$ref": "#/$defs/user"}},
        "sites": {"additionalProperties": {"$ref": "#/$defs/user"}},
    },
}


def schemas(role: str) -> dict[str, Any] | None:
    return SCHEMA if role == "shop.server" else None


def test_a_hash_says_only_whether_two_values_are_equal() -> None:
    shown = redact.redact("hunter2", KEY)
    assert shown == redact.redact("hunter2", KEY)
    assert redact.is_hash(shown)
    assert shown != redact.redact("hunter3", KEY)
    assert shown != redact.redact("hunter2", KEY[::-1])


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        ({"password": "plain-1"}, "plain-1"),
        ({"admin_password": "plain-1"}, "plain-1"),
        ({"Api-Key": "plain-1"}, "plain-1"),
        ({"tokens": ["plain-1", "plain-2"]}, "plain-1"),
        ({"password": 271828}, "271828"),
        ({"_secret": {"a": {"b": "plain-1"}}}, "plain-1"),
        ({"text": f"rabbit://u:{PGP.format('abc')}@h/"}, "abc"),
        ({"url": "rabbit://user:plain-1@host:5672/"}, "plain-1"),
        ({"password": "sdb://user:plain-1@store/a"}, "plain-1"),
        ({"pem": "x\n-----BEGIN RSA PRIVATE KEY-----\nplain-1\n"}, "plain-1"),
        ({"shop": {"server": {"licence": "plain-1"}}}, "plain-1"),
        ({"shop": {"server": {"users": [{"pin": 271828}]}}}, "271828"),
        ({"shop": {"server": {"sites": {"a": {"pin": 271828}}}}}, "271828"),
    ],
)
def test_secrets_are_not_shown(data: dict[str, Any], secret: str) -> None:
    assert secret in json.dumps(data)
    known = redact.marked(data, ["shop.server", "other.role"], schemas)
    shown = json.dumps(redact.masked(data, KEY, (), known))
    assert secret not in shown
    assert "secret:" in shown


@pytest.mark.parametrize(
    "data",
    [
        {"token": {"provider": "fernet", "expiration": 3600}},
        {"password_pillar": "keystone:server:bootstrap:password"},
        {"url": "https://api.example.com:5000/v3"},
        {"password": None, "secret": "", "token": True},
        {"keys": ["name", 1, 2.5]},
        {"password": "sdb://vault/keystone/password", "token": "vault://secret/a"},
        {"shop": {"server": {"users": [{"name": "a"}], "sites": {}}}},
    ],
)
def test_the_rest_stays(data: dict[str, Any]) -> None:
    assert redact.masked(data, KEY, (), redact.marked(data, ["shop.server"], schemas)) == data


def test_a_part_is_masked_like_the_whole() -> None:
    pillar = {"shop": {"server": {"licence": "x", "tokens": ["y"], "workers": 4}}}
    known = redact.marked(pillar, ["shop.server"], schemas)
    whole = redact.masked(pillar, KEY, (), known)["shop"]["server"]
    for name, value in pillar["shop"]["server"].items():
        assert redact.masked(value, KEY, ("shop", "server", name), known) == whole[name]
    assert redact.masked("y", KEY, ("shop", "server", "tokens", "0")) == whole["tokens"][0]
    assert whole["workers"] == 4


def test_an_item_of_a_list_is_secret_at_any_place() -> None:
    pillar = {"shop": {"server": {"users": [{"name": "a"}, {"pin": 271828}]}}}
    known = redact.marked(pillar, ["shop.server"], schemas)
    shown = redact.masked([{"pin": 271828}], KEY, ("shop", "server", "users"), known)
    assert redact.is_hash(shown[0]["pin"])


def test_masking_twice_changes_nothing() -> None:
    data = {"password": "a", "url": "amqp://u:p@h", "text": PGP.format("b")}
    once = redact.masked(data, KEY)
    assert redact.masked(once, KEY) == once


def test_opaque_tokens_stand_for_ciphertext() -> None:
    one, two = PGP.format("a"), PGP.format("b")
    data = {"x": one, "y": [f"<{one}>", two, 7], "z": "plain"}
    shown = redact.opaque(data, KEY)
    assert "\n" not in json.dumps(shown)
    assert shown["y"] == [f"<{shown['x']}>", shown["y"][1], 7]
    assert shown["x"].isalnum()
    assert shown["x"] != shown["y"][1]
    assert shown["z"] == "plain"


def test_the_key_of_a_site(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    assert redact.read_key(path) == KEY
    assert redact.read_key(None) == redact.read_key(None)
    path.write_bytes(b"short")
    with pytest.raises(SecretError, match="less than 16 bytes"):
        redact.read_key(path)
    with pytest.raises(SecretError, match="cannot read the key"):
        redact.read_key(tmp_path / "none")
