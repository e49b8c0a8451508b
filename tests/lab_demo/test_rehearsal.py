"""The next hop is rehearsed on copies while the cloud serves, demanded, and told in the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from saltern.lab.cluster import last_json
from tests.support import hops
from tests.support.cluster import Cluster

WANTED = "2026.1"
SHADOW = "cfg01.demo.test"
SERVICES = {"keystone", "placement", "glance", "cinder", "nova", "neutron", "heat"}


def asked(cluster: Cluster, node: str, *words: str) -> Any:
    """What a function returns on one host."""
    done = cluster.run(
        cluster.master, "salt", "--out=json", "--static", "--timeout=60", node, *words, check=False
    )
    answer = last_json(done.stdout)
    assert isinstance(answer, dict), done.stdout + done.stderr
    return answer[node]


@pytest.fixture(scope="module")
def rehearsed(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """A rehearsal of the next hop, with a bundle that was taken for it."""
    before = hops.move(cluster, WANTED)
    code, found, printed = cluster.salt_run("rehearse.run", "revision=worktree", "take=True")
    assert code == 0, printed[-6000:]
    yield found
    # the model is where it was: nothing was deployed
    hops.move(cluster, before)


def test_every_service_is_rehearsed(rehearsed: dict[str, Any]) -> None:
    assert rehearsed["state"] == "green"
    assert set(rehearsed["releases"]) == SERVICES
    assert {tuple(pair)[1] for pair in rehearsed["releases"].values()} == {WANTED}
    done = {(step["service"], step["phase"]): step for step in rehearsed["steps"]}
    for service in SERVICES:
        for phase in ("prepare", "expand", "check", "contract", "smoke", "current"):
            step = done[service, phase]
            assert step["result"] == "ok", step
            print(f"{step['title']}: {step['seconds']} s, {step['sentence']}")
            for warning in step["warnings"]:
                print(f"  {warning}")
    # what was asked was read from the copies
    assert "GET /v3/users: 0" not in done["keystone", "smoke"]["sentence"]
    assert "/v2.1/os-services: 0" not in done["nova", "smoke"]["sentence"]


def test_production_was_not_touched(cluster: Cluster, rehearsed: dict[str, Any]) -> None:
    """No database of a rehearsal, no schema of the next release, and everything works."""
    databases = asked(cluster, "inf01.demo.test", "backup_mariadb.query", "SHOW DATABASES")
    assert not [row for row in databases if "rehearsal" in row[0]]
    current = asked(cluster, "ctl01.demo.test", "nova_database.current")
    assert current["ok"] is True
    found = asked(
        cluster, "ctl01.demo.test", "openstack_db.status", "/etc/keystone/keystone.conf",
        "keystone/common/sql/migrations", "keystone", "venv=/opt/openstack/current/keystone",
    )  # fmt: skip
    assert (found["pending"], found["ahead"]) == ([], "")


def test_nothing_is_left_on_the_shadow(cluster: Cluster, rehearsed: dict[str, Any]) -> None:
    status = asked(cluster, SHADOW, "rehearsal.status")
    assert status == {"rehearsal": None, "server": False, "databases": []}
    assert asked(cluster, SHADOW, "rehearsal.healthy")["ok"] is True


def test_the_plan_tells_of_it(cluster: Cluster, rehearsed: dict[str, Any]) -> None:
    code, plan, printed = cluster.salt_run(
        "rollout.plan", "upgrade", "revision=worktree", "data=True"
    )
    assert code == 0, printed[-4000:]
    assert any(rehearsed["id"] in note for note in plan["plan"]["notes"])
    code, _, report = cluster.salt_run("rehearse.report")
    assert code == 0
    assert rehearsed["id"] in report
