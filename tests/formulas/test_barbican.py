"""Barbican: what encrypts the secrets of others, and what it starts with."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.model.schema import plain_secrets, role_schema, violations
from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import PLATFORMS, Low, Renderer, RenderError

HEX = "00ff" * 16
#: the same 32 bytes as Fernet has them; both alphabets of base64 differ here
FERNET = base64.urlsafe_b64encode(bytes.fromhex(HEX)).decode()
OLD = base64.urlsafe_b64encode(b"o" * 32).decode()

Render = Callable[..., dict[tuple[str, str], Low]]


@pytest.fixture
def render(pillars: Pillars, node_of: Callable[[str], str], salt_cache: Path) -> Iterator[Render]:
    """Render the role with changes to its data; by state and name."""
    made = []

    def get(platform: str = "bookworm", **changes: Any) -> dict[tuple[str, str], Low]:
        pillar = copy.deepcopy(pillars[node_of("barbican.server")])
        pillar["barbican"]["server"].update(changes)
        made.append(Renderer(pillar, platform, salt_cache))
        return {(str(c["state"]), str(c["name"])): c for c in made[-1].low("barbican.server")}

    yield get
    for each in made:
        each.close()


def config(found: dict[tuple[str, str], Low]) -> dict[str, Any]:
    data: dict[str, Any] = found["file", "/etc/barbican/barbican.conf"]["context"]["data"]
    return data


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("engine", ["venv", "pkg", "container"])
def test_every_engine_on_every_platform_starts_the_function(
    render: Render, platform: str, engine: str
) -> None:
    source = {
        "engine": engine, "release": "2025.1", "url": "file:///x", "sha256": "0" * 64,
        "image": "registry.example.test/barbican@sha256:" + "0" * 64,
    }  # fmt: skip
    found = render(platform, source=source)
    uwsgi = found["file", "/etc/barbican/uwsgi.ini"]["context"]["data"]["uwsgi"]
    assert uwsgi["mount"] == "/=barbican.api.app:get_api_wsgi_script()"
    assert ("service", "barbican-api") in found
    assert (("openstack_db", "barbican") in found) is (engine != "container")
    paste = found.get(("file", "/etc/barbican/barbican-api-paste.ini"))
    assert (paste is not None) is (engine == "venv")


@pytest.mark.parametrize("key", [HEX, FERNET])
def test_a_key_is_what_fernet_wants(render: Render, key: str) -> None:
    assert config(render(crypto={"key": key}))["simple_crypto_plugin"]["kek"] == [FERNET]


def test_old_keys_decrypt_and_the_new_one_is_first(render: Render) -> None:
    found = config(render(crypto={"key": HEX, "previous": [OLD]}))
    assert found["simple_crypto_plugin"]["kek"] == [FERNET, OLD]


@pytest.mark.parametrize("key", ["zz" * 32, "short", HEX + "00", ""])
def test_what_is_no_key_is_refused_and_not_shown(render: Render, key: str) -> None:
    with pytest.raises(RenderError, match="64 hexadecimal digits") as error:
        render(crypto={"key": key})
    assert not key or f"encoded({key}" not in str(error.value)
    schema = role_schema(TREE / "formulas", "barbican.server")
    assert schema is not None
    problems = [one for one in violations({"crypto": {"key": key}}, schema)
                if one.path == ("crypto", "key")]  # fmt: skip
    assert problems


def test_keys_are_known_as_secrets() -> None:
    """Old ones too: no tool ever shows them."""
    schema = role_schema(TREE / "formulas", "barbican.server")
    assert schema is not None
    data = {"crypto": {"key": HEX, "previous": [OLD]}, "identity": {"password": "x"}}
    found = set(plain_secrets(data, schema))
    assert {("crypto", "key"), ("crypto", "previous", "0"), ("identity", "password")} <= found


def test_the_key_of_the_model_is_made_for_it(
    pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    service = yaml.safe_load((TREE / "classes/service/barbican/server.yml").read_text())
    assert service["parameters"]["_secret_spec"]["barbican_crypto_key"]["length"] == 64
    key = pillars[node_of("barbican.server")]["barbican"]["server"]["crypto"]["key"]
    assert len(bytes.fromhex(key)) == 32


def test_it_has_no_broker_and_asks_as_its_own_user(render: Render) -> None:
    found = config(render())
    assert "transport_url" not in found["DEFAULT"]
    assert found["queue"] == {"enable": False}
    assert found["keystone_authtoken"]["username"] == "barbican"
    assert found["DEFAULT"]["host_href"].endswith(":9311")


def test_the_site_has_the_socket(
    render: Render, pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    site = pillars[node_of("barbican.server")]["nginx"]["server"]["site"]["barbican"]
    uwsgi = render()["file", "/etc/barbican/uwsgi.ini"]["context"]["data"]["uwsgi"]
    assert uwsgi["socket"] == site["socket"]
    # connections of its database are not shared by its processes
    assert uwsgi["lazy-apps"] is True


def test_switched_off_it_only_stops(render: Render) -> None:
    found = render(enabled=False)
    assert set(found) == {("service", "barbican-api")}
