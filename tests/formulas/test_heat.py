"""Heat: three processes of one host, and users of stacks in a domain of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import Low, Renderer

GetRenderer = Callable[[str, str], Renderer]


@pytest.fixture
def states(node_of: Callable[[str], str], renderer: GetRenderer) -> dict[tuple[str, str], Low]:
    low = renderer(node_of("heat.server"), "bookworm").low("heat.server")
    return {(str(chunk["state"]), str(chunk["name"])): chunk for chunk in low}


def test_what_is_shared_restarts_all_three(states: dict[tuple[str, str], Low]) -> None:
    for unit in ("heat-api", "heat-api-cfn", "heat-engine"):
        watched = [next(iter(one.items())) for one in states["service", unit]["watch"]]
        assert ("file", "heat-server-config") in watched
        assert ("artifact", "heat-server-code") in watched


def test_each_api_has_the_socket_that_its_site_names(
    states: dict[tuple[str, str], Low], pillars: Pillars, node_of: Callable[[str], str]
) -> None:
    sites = pillars[node_of("heat.server")]["nginx"]["server"]["site"]
    for site, file in (("heat", "uwsgi.ini"), ("heat-cfn", "heat-api-cfn-uwsgi.ini")):
        data = states["file", f"/etc/heat/{file}"]["context"]["data"]["uwsgi"]
        assert data["socket"] == sites[site]["socket"]
    assert data["mount"] == "/=heat.wsgi.cfn:application"


def test_heat_asks_as_a_service_whose_a_signal_is(states: dict[tuple[str, str], Low]) -> None:
    config = states["file", "/etc/heat/heat.conf"]["context"]["data"]
    assert config["ec2authtoken"]["auth_type"] == "password"
    assert config["ec2authtoken"]["username"] == config["trustee"]["username"] == "heat"
    # Heat puts "/v3/ec2tokens" behind it
    assert config["ec2authtoken"]["endpoint_override"].endswith(":5000")


def test_the_domain_of_stacks_is_the_one_that_keystone_gets(
    states: dict[tuple[str, str], Low],
) -> None:
    config = states["file", "/etc/heat/heat.conf"]["context"]["data"]["DEFAULT"]
    service = yaml.safe_load((TREE / "classes/service/heat/server.yml").read_text())
    data = service["parameters"]["publish"]["openstack.identity"]
    admin = data["user"][config["stack_domain_admin"]]
    assert admin["domain"] == config["stack_user_domain_name"]
    assert admin["domain"] in data["domain"]
    assert config["heat_stack_user_role"] in data["role"]
    assert config["heat_waitcondition_server_url"].endswith(":8000/v1/waitcondition")
