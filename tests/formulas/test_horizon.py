"""Horizon: settings are Python made from data, whatever is in it; sessions are in the cache."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.artifact import catalogue
from saltern.model.schema import role_schema, violations
from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import PLATFORMS, Low, Renderer

SETTINGS = "/etc/horizon/local_settings.py"
#: what would end a text, a line or a comment, or be somebody else's syntax
HOSTILE = [
    'it\'s "quoted"',
    "''' \"\"\" \\",
    "two\nlines\r\nand\ttabs",
    "x'\nimport os; os.abort()\n'",
    "{{ pillar }} {% raw %} {# comment #} ${_param:x} %(name)s",
    "\u00e4\u00f6 \U0001f600 \x01",
    "#not a comment",
    "true",
    "",
]

Found = dict[tuple[str, str], Low]
Render = Callable[..., tuple[Found, dict[str, Any]]]


@pytest.fixture
def render(
    pillars: Pillars, node_of: Callable[[str], str], salt_cache: Path, tmp_path: Path
) -> Iterator[Render]:
    """Render the role with changes to its data: states by kind and name, and what Python reads."""
    made = []

    def get(platform: str = "bookworm", **changes: Any) -> tuple[Found, dict[str, Any]]:
        pillar = copy.deepcopy(pillars[node_of("horizon.server")])
        pillar["horizon"]["server"].update(changes)
        made.append(Renderer(pillar, platform, salt_cache))
        chunks = made[-1].low("horizon.server")
        found = {(str(chunk["state"]), str(chunk["name"])): chunk for chunk in chunks}
        read = {}
        for chunk in chunks:
            if chunk["__id__"] == "horizon-server-config":
                read = assignments(made[-1].template(chunk, tmp_path / str(len(made))))
        return found, read

    yield get
    for each in made:
        each.close()


def assignments(text: str) -> dict[str, Any]:
    """What a module assigns; it may hold nothing but literals."""
    found = {}
    for statement in ast.parse(text).body:
        assert isinstance(statement, ast.Assign), ast.dump(statement)
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        found[target.id] = ast.literal_eval(statement.value)
    return found


def told(**changes: Any) -> set[str]:
    schema = role_schema(TREE / "formulas", "horizon.server")
    assert schema is not None
    return {one.path[0] for one in violations(changes, schema) if one.path}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("engine", ["venv", "pkg", "container"])
def test_every_engine_on_every_platform_has_its_settings(
    render: Render, platform: str, engine: str
) -> None:
    source = {
        "engine": engine, "release": "2025.1", "url": "file:///x", "sha256": "0" * 64,
        "image": "registry.example.test/horizon@sha256:" + "0" * 64,
    }  # fmt: skip
    found, settings = render(platform, source=source)
    assert ("service", "horizon") in found
    assert settings["DEBUG"] is False
    static = {"pkg": "/var/lib/openstack-dashboard/static", "container": "/usr/static"}
    assert settings["STATIC_ROOT"] == static.get(engine, "/opt/openstack/2025.1/horizon/static")
    place = "/etc/openstack-dashboard/local_settings.py" if engine == "pkg" else SETTINGS
    assert ("file", place) in found


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_what_it_is(render: Render, text: str) -> None:
    """As a value, in a list, as a key: what Python reads is what the model says."""
    wanted = {"SITE_BRANDING": text, "DEEP": {text: [text, {"inner": text}]}}
    key = "k" * 32 + text
    _, settings = render(settings=wanted, secret_key=key, time_zone=text)
    assert {name: settings[name] for name in wanted} == wanted
    assert settings["SECRET_KEY"] == key
    assert settings["TIME_ZONE"] == text


def test_values_keep_their_kind(render: Render) -> None:
    wanted = {"A": True, "B": False, "C": None, "D": 0, "E": -1.5, "F": [], "G": {}, "H": [[1], {}]}
    _, settings = render(settings=wanted)
    assert {name: settings[name] for name in wanted} == wanted
    assert [type(settings[name]) for name in wanted] == [type(one) for one in wanted.values()]


def test_a_setting_is_over_what_is_made_and_merged_with_it(render: Render) -> None:
    changes = {"LOGGING": {"root": {"level": "DEBUG"}}, "SESSION_TIMEOUT": 60}
    _, settings = render(settings=changes)
    assert settings["LOGGING"]["root"] == {"handlers": ["console"], "level": "DEBUG"}
    assert settings["SESSION_TIMEOUT"] == 60


@pytest.mark.parametrize("name", ["import os", "a", "A B", "A=1\nB", "1A", ""])
def test_a_setting_has_the_name_of_one(name: str) -> None:
    assert "settings" in told(settings={name: 1})


@pytest.mark.parametrize("url", ["https://a.test", "http://a.test/", "https://a.test/dashboard/"])
def test_it_is_at_the_root(url: str) -> None:
    """What was compressed names its place."""
    assert "url" in told(url=url)
    assert "url" not in told(url="https://a.test:8443/")


def test_sessions_go_through_the_tunnel_to_every_server(
    render: Render, pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    found, settings = render()
    members = pillars[node_of("horizon.server")]["topology"]["roles"]["memcached.server"]
    assert settings["SESSION_ENGINE"] == "django.contrib.sessions.backends.cache"
    cache = settings["CACHES"]["default"]
    assert cache["LOCATION"] == [f"unix:/run/horizon-cache/{name}.sock" for name in members]
    assert found["file", "/etc/horizon/cache.conf"]["context"]["nodes"] == members
    # what the code brought may not be found by the next release
    assert settings["CACHES"]["template_fragments"]["BACKEND"].endswith("LocMemCache")
    # a server that is down costs its sessions, not the page
    assert cache["OPTIONS"]["ignore_exc"] is True
    assert cache["OPTIONS"]["timeout"] == 0.5
    unit = found["file", "/etc/systemd/system/horizon.service"]["context"]
    assert unit["after"] == ["horizon-cache.service"]


def test_without_a_cache_sessions_are_the_browsers(render: Render) -> None:
    found, settings = render(cache={"enabled": False})
    assert settings["SESSION_ENGINE"].endswith("signed_cookies")
    assert settings["CACHES"]["default"]["BACKEND"].endswith("LocMemCache")
    assert found["service", "horizon-cache"]["fun"] == "dead"


def test_it_answers_to_its_names_and_to_the_checks(
    render: Render, pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    pillar = pillars[node_of("horizon.server")]
    _, settings = render(url="https://cloud.example.test:8443/", allowed_hosts=["more.test"])
    assert settings["ALLOWED_HOSTS"] == [
        "cloud.example.test", pillar["host"]["fqdn"], "horizon", "more.test",
    ]  # fmt: skip
    # HAProxy's check names its listener
    assert "horizon" in pillar["haproxy"]["proxy"]["listen"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://cloud.example.test:8443"]
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is True


def test_languages_have_their_names(render: Render) -> None:
    _, settings = render(languages=["de", "xx"])
    assert settings["LANGUAGES"] == [["de", "German"], ["xx", "xx"]]
    assert settings["LANGUAGE_CODE"] == "de"
    assert "LANGUAGES" not in render()[1]


def test_what_changes_restarts_it(render: Render) -> None:
    found, _ = render()
    watched = [next(iter(one.items())) for one in found["service", "horizon"]["watch"]]
    assert ("file", "horizon-server-config") in watched
    assert ("artifact", "horizon-server-code") in watched


def test_the_site_has_the_socket_and_the_static_files(
    render: Render, pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    site = pillars[node_of("horizon.server")]["nginx"]["server"]["site"]["horizon"]
    found, settings = render()
    uwsgi = found["file", "/etc/horizon/horizon-uwsgi.ini"]["context"]["data"]["uwsgi"]
    assert uwsgi["socket"] == site["socket"]
    assert uwsgi["mount"] == "/=openstack_dashboard.wsgi:application"
    static = Path(settings["STATIC_ROOT"])
    assert site["locations"] == {"/static/": f"/opt/openstack/current/{static.parent.name}/static/"}


def test_nginx_serves_the_files_beside_the_application(
    pillars: Pillars, node_of: Callable[[str], str], salt_cache: Path, tmp_path: Path
) -> None:
    made = Renderer(pillars[node_of("horizon.server")], "bookworm", salt_cache)
    try:
        (chunk,) = (c for c in made.low("nginx.server") if c["__id__"] == "nginx-server-config")
        text = made.template(chunk, tmp_path / "nginx.conf")
    finally:
        made.close()
    _, _, site = text.partition("# horizon\n")
    assert "alias /opt/openstack/current/horizon/static/;" in site
    assert "uwsgi_pass unix:/run/horizon/api.sock;" in site
    # as in a browser's Origin
    assert "uwsgi_param HTTP_HOST $host;" in site
    assert "return 404" not in site


def test_the_artifact_has_what_the_settings_name() -> None:
    """Files were collected where the host looks for them; the settings are the host's."""
    (service,) = catalogue.services("openstack", "2025.1", ["horizon"])
    checked = assignments(service.check.text())
    assert checked["STATIC_ROOT"] == f"{service.prefix}/static"
    assert checked["COMPRESS_OFFLINE"] is True
    assert service.check.file == SETTINGS
    assert list(service.links.values()) == [SETTINGS]
    assert [command[3] for command in service.finish[:2]] == ["collectstatic", "compress"]
    # else a page that lacks one would show on the host only
    assert "/auth/login/" in service.finish[-1][2]


def test_its_sessions_are_signed_with_a_secret_of_the_cluster() -> None:
    """A session that one member made is good on another."""
    service = yaml.safe_load((TREE / "classes/service/horizon/server.yml").read_text())
    assert service["parameters"]["horizon"]["server"]["secret_key"].startswith("${_secret:")


def test_switched_off_it_only_stops(render: Render) -> None:
    found, _ = render(enabled=False)
    assert set(found) == {("service", "horizon"), ("service", "horizon-cache")}
