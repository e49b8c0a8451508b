"""Canaries of a real Neutron; nothing is behind it, so no server and no address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saltern.adapters import canaries, sitekey
from saltern.canary import run
from saltern.sanity.target import Target
from tests.functional.cloud.conftest import Minion
from tests.functional.cloud.test_canaries import Silent, admin, aim, failed  # noqa: F401
from tests.functional.cloud.test_resource_kinds import api, keep, wide_cloud  # noqa: F401

pytestmark = pytest.mark.full

NETWORK = ("network", "subnet", "router", "security group")


@pytest.fixture
def keeper(
    keep: Callable[..., Minion],  # noqa: F811
    api: Callable[[str], None],  # noqa: F811
    aim: Target,  # noqa: F811
    tmp_path: Path,
) -> run.Keeper:
    api("neutron")
    cloud = admin(aim).network
    if not list(cloud.networks(is_router_external=True)):
        outside = cloud.create_network(
            name="outside", is_router_external=True, provider_network_type="flat",
            provider_physical_network="provider",
        )  # fmt: skip
        cloud.create_subnet(network_id=outside.id, ip_version=4, cidr="203.0.113.0/24")
    key = tmp_path / "journal/site.key"
    sitekey.ensure(key)
    journal = canaries.open_journal(f"sqlite:///{tmp_path}/journal/journal.db")
    journal.prepare()
    book = canaries.CanaryBook(journal, "loopback", "admin", "tests")
    # Nova and Cinder are there without anything that would carry a server or a volume
    kinds = [kind for kind in run.KINDS if kind.service in ("", "network", "image")]
    kinds = [kind for kind in kinds if kind.name != "address"]
    return run.Keeper(aim, book, lambda flock: canaries.password(key, flock), Silent(), kinds=kinds)


def damage_group(cloud: Any, ids: dict[str, str]) -> None:
    (rule,) = cloud.security_group_rules(security_group_id=ids["security group"], protocol="icmp")
    cloud.delete_security_group_rule(rule.id)


def lose_gateway(cloud: Any, ids: dict[str, str]) -> None:
    cloud.update_router(ids["router"], external_gateway_info={})


def unwire(cloud: Any, ids: dict[str, str]) -> None:
    cloud.remove_interface_from_router(ids["router"], subnet_id=ids["subnet"])


def lose_all(cloud: Any, ids: dict[str, str]) -> None:
    unwire(cloud, ids)
    cloud.delete_router(ids["router"])
    cloud.delete_network(ids["network"])
    cloud.delete_security_group(ids["security group"])


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (damage_group, {"security-group": "canary-state"}),
        (lose_gateway, {"router": "canary-state"}),
        (unwire, {"router": "canary-state"}),
        (lose_all, dict.fromkeys(("network", "subnet", "router", "security-group"), "canary-lost")),
    ],
)
def test_they_are_made_once_proven_lost_and_removed(
    damage: Callable[[Any, dict[str, str]], None],
    codes: dict[str, str],
    keeper: run.Keeper,
    aim: Target,  # noqa: F811
) -> None:
    first = keeper.create()
    assert failed(first) == {}, first.table()
    ids = {kind: one.id for kind, one in keeper.book.canaries().items()}
    assert {*NETWORK, "image"} < set(ids)
    again = keeper.create()
    assert [row.id for row in again.rows] == [row.id for row in first.rows]
    proven = keeper.verify()
    assert failed(proven) == {}, proven.table()
    damage(admin(aim).network, ids)
    report = keeper.verify()
    assert failed(report) == codes, report.table()
    gone = keeper.destroy()
    assert failed(gone) == {}, gone.table()
    cloud = admin(aim).network
    left = [*cloud.networks(), *cloud.subnets(), *cloud.routers(), *cloud.security_groups()]
    assert not [one.name for one in left if str(one.name).startswith("canary-")]
