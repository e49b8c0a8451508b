"""A hypervisor is emptied while its guests run, and given back; nobody else's wish is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import nova_host

HERE, THERE = "cmp01.test", "cmp02.test"


class Cloud:
    """As much of the Compute API as is asked for; a server that moves arrives after two looks."""

    def __init__(self, *servers: tuple[str, str], others: int = 1) -> None:
        self.services = {HERE: self.service(HERE)}
        if others:
            self.services[THERE] = self.service(THERE)
        self.servers = {
            name: {"id": name, "name": name, "status": status, "host": HERE, "looks": 0}
            for name, status in servers
        }
        self.written: list[tuple[str, str, Any]] = []
        self.busiest = 0
        self.now = 0.0
        self.refuses: dict[str, str] = {}
        self.returns: set[str] = set()

    @staticmethod
    def service(host: str) -> dict[str, Any]:
        return {"id": f"id-{host}", "host": host, "state": "up", "status": "enabled",
                "disabled_reason": None}  # fmt: skip

    def run(self, argv: list[str], user: str, stdin: str = "") -> str:
        assert (argv[0], user) == ("/opt/openstack/current/nova/bin/python3", "nova")
        asked = json.loads(stdin)
        assert asked["config"] == "/etc/nova/nova.conf"
        return "a warning\n" + json.dumps([self.answer(*one) for one in asked["requests"]])

    def answer(self, method: str, path: str, params: Any, body: Any) -> tuple[int, Any]:
        if method != "GET":
            self.written.append((method, path, body))
        match method, path.strip("/").split("/"):
            case "GET", ["os-services"]:
                return 200, {"services": list(self.services.values())}
            case "PUT", ["os-services", name]:
                self.services[name.removeprefix("id-")].update(body)
                return 200, {}
            case "GET", ["servers", "detail"]:
                return 200, {"servers": self.page(**params)}
            case "POST", ["servers", name, "action"]:
                return self.move(name)
            case "GET", ["servers", name, "os-instance-actions"]:
                return 200, {"instanceActions": [{"message": "No valid host was found."}]}
        return 404, {"itemNotFound": {"message": f"no {path}"}}

    def move(self, name: str) -> tuple[int, Any]:
        if name in self.refuses:
            return 409, {"conflictingRequest": {"message": self.refuses[name]}}
        self.servers[name]["status"] = "MIGRATING"
        return 202, None

    def page(
        self, all_tenants: str, host: str, limit: int, marker: str = ""
    ) -> list[dict[str, Any]]:
        assert all_tenants == "1"
        moving = [one for one in self.servers.values() if one["status"] == "MIGRATING"]
        self.busiest = max(self.busiest, len(moving))
        for one in moving:
            one["looks"] += 1
            if one["looks"] % 2 == 0:
                one["status"] = "ACTIVE"
                one["host"] = HERE if one["name"] in self.returns else THERE
        here = [one for _, one in sorted(self.servers.items()) if one["host"] == host]
        return [one for one in here if one["name"] > marker][:limit]

    @property
    def acts(self) -> list[str]:
        return [path.split("/")[2] for method, path, _ in self.written if method == "POST"]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(*servers: tuple[str, str], others: int = 1) -> Cloud:
        found = Cloud(*servers, others=others)

        def sleep(seconds: float) -> None:
            found.now += seconds

        monkeypatch.setattr(nova_host, "__salt__", {"openstack_db.run": found.run}, raising=False)
        monkeypatch.setattr(nova_host, "__grains__", {"id": HERE}, raising=False)
        monkeypatch.setattr(nova_host, "__pillar__", {}, raising=False)
        monkeypatch.setattr(nova_host.time, "sleep", sleep)
        monkeypatch.setattr(nova_host.time, "monotonic", lambda: found.now)
        return found

    return made


def test_what_runs_goes_elsewhere_and_what_does_not_stays(cloud: Any) -> None:
    nova = cloud(("a", "ACTIVE"), ("b", "PAUSED"), ("c", "SHUTOFF"), ("d", "ACTIVE"))
    assert nova_host.drain() == f"{HERE} is disabled; 3 running servers went elsewhere."
    assert {name: one["host"] for name, one in nova.servers.items()} == {
        "a": THERE, "b": THERE, "c": HERE, "d": THERE
    }  # fmt: skip
    assert nova.services[HERE]["status"] == "disabled"
    assert nova.services[HERE]["disabled_reason"] == nova_host.REASON
    assert sorted(nova.acts) == ["a", "b", "d"]
    assert nova.busiest == 2
    # once more: there is nothing to do
    nova.written.clear()
    assert "0 running servers" in nova_host.drain()
    assert nova.written == []


def test_more_servers_than_one_answer_holds(cloud: Any) -> None:
    nova = cloud(*((f"s{number:04d}", "SHUTOFF") for number in range(1001)), ("z", "ACTIVE"))
    assert len(nova_host.servers()) == 1002
    nova_host.drain()
    assert nova.acts == ["z"]


@pytest.mark.parametrize("status", ["VERIFY_RESIZE", "RESCUE", "BUILD"])
def test_a_server_that_cannot_move_is_named_before_anything_is_touched(
    status: str, cloud: Any
) -> None:
    nova = cloud(("a", "ACTIVE"), ("odd", status))
    with pytest.raises(CommandExecutionError, match=rf"odd \({status}\)"):
        nova_host.drain()
    assert nova.written == []


def test_running_servers_need_another_hypervisor(cloud: Any) -> None:
    nova = cloud(("a", "ACTIVE"), others=0)
    with pytest.raises(CommandExecutionError, match="no other compute is up"):
        nova_host.drain()
    assert nova.written == []
    nova.servers.clear()
    assert "0 running servers" in nova_host.drain()


def test_a_hypervisor_that_nova_does_not_know(cloud: Any) -> None:
    cloud()
    with pytest.raises(CommandExecutionError, match=r"knows no nova-compute on cmp09\.test"):
        nova_host.drain("cmp09.test")


def test_what_nova_refuses_is_told(cloud: Any) -> None:
    nova = cloud(("a", "ACTIVE"), ("b", "ACTIVE"))
    nova.refuses["a"] = "a locked server"
    with pytest.raises(CommandExecutionError, match=r"^a \(ACTIVE\) does not leave .*locked"):
        nova_host.drain()
    assert nova.servers["b"]["host"] == THERE
    assert nova.acts.count("a") == 2


def test_a_server_that_comes_back_is_told_with_novas_reason(cloud: Any) -> None:
    nova = cloud(("a", "ACTIVE"))
    nova.returns.add("a")
    with pytest.raises(CommandExecutionError, match="No valid host"):
        nova_host.drain()
    assert nova.acts == ["a", "a"]


def test_a_drain_ends_at_its_limit(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nova = cloud(("a", "ACTIVE"))
    monkeypatch.setattr(nova, "page", lambda **_: list(nova.servers.values()))
    with pytest.raises(CommandExecutionError, match=r"Still on cmp01\.test after 60 s: a"):
        nova_host.drain(timeout=60)
    assert nova.now <= 70


def test_only_what_a_drain_disabled_is_given_back(cloud: Any) -> None:
    nova = cloud()
    assert nova_host.release() == f"{HERE} is enabled."
    nova_host.drain()
    assert nova_host.release() == f"{HERE} is enabled again."
    assert nova.services[HERE]["status"] == "enabled"
    nova.services[HERE].update(status="disabled", disabled_reason="bad memory")
    nova_host.drain()
    assert nova_host.release() == f"{HERE} stays disabled: bad memory."


def test_a_refusal_of_the_api_is_one_sentence(cloud: Any) -> None:
    nova = cloud()
    nova.answer = lambda *request: (403, {"forbidden": {"message": "Policy\ndoes not allow it"}})
    with pytest.raises(CommandExecutionError, match="^GET /os-services: 403 Policy does not"):
        nova_host.drain()
