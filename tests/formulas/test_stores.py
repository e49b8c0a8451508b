"""Glance with a store of its own host, and with one that all members share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.render import Low, Renderer

GetRenderer = Callable[[str, str], Renderer]
NATIVE = "/opt/openstack/native/glance"


def states(renderer: GetRenderer, node: str, platform: str) -> dict[tuple[str, str], Low]:
    low = renderer(node, platform).low("glance.server")
    return {(chunk["state"], str(chunk["name"])): chunk for chunk in low}


@pytest.mark.parametrize("platform", ["bookworm", "trixie"])
def test_a_shared_store_brings_its_bindings_and_no_directory(
    renderer: GetRenderer, platform: str
) -> None:
    found = states(renderer, "ctl02.demo.test", platform)
    assert found["artifact", NATIVE]["modules"] == ["rados", "rbd"]
    assert found["pkg", "glance-server-native"]["pkgs"] == ["python3-rados", "python3-rbd"]
    uwsgi = found["file", "/etc/glance/uwsgi.ini"]["context"]["data"]["uwsgi"]
    assert uwsgi["pythonpath"] == NATIVE
    config = found["file", "/etc/glance/glance-api.conf"]["context"]["data"]
    assert config["DEFAULT"]["enabled_backends"] == "ceph:rbd"
    assert config["DEFAULT"]["show_image_direct_url"] is True
    assert "show_multiple_locations" not in config["DEFAULT"]
    assert config["ceph"]["rbd_store_pool"] == "images"
    assert ("file", "/var/lib/glance/images") not in found


def test_a_directory_needs_nothing_of_the_distribution(renderer: GetRenderer) -> None:
    found = states(renderer, "ctl02.demo-core.test", "bookworm")
    assert ("file", "/var/lib/glance/images") in found
    assert ("artifact", NATIVE) not in found
    uwsgi = found["file", "/etc/glance/uwsgi.ini"]["context"]["data"]["uwsgi"]
    assert "pythonpath" not in uwsgi
