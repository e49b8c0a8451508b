"""A hypervisor is emptied as its servers' metadata say, and given back; nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import nova_api, nova_host, nova_load, openstack_db

HERE, THERE, FAR = "cmp01.test", "cmp02.test", "cmp03.test"


class Cloud:
    """As much of Nova and Placement as is asked for; what a server does takes it two looks."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.inventories: dict[str, dict[str, dict[str, float]]] = {}
        self.servers: dict[str, dict[str, Any]] = {}
        self.groups: list[dict[str, Any]] = []
        self.written: list[tuple[str, str, Any]] = []
        self.refuses: dict[str, str] = {}
        self.failure = "No valid host was found."
        self.returns: set[str] = set()
        self.busiest = 0
        self.now = 0.0
        for host in (HERE, THERE):
            self.compute(host)

    def compute(self, host: str, memory: int = 4096, cpus: int = 8) -> None:
        self.services[host] = {"id": f"id-{host}", "host": host, "state": "up",
                               "status": "enabled", "disabled_reason": None}  # fmt: skip
        self.inventories[host] = {
            "MEMORY_MB": {"total": memory, "reserved": 0, "allocation_ratio": 1.0},
            "VCPU": {"total": cpus, "reserved": 0, "allocation_ratio": 1.0},
        }

    def server(
        self, name: str, status: str = "ACTIVE", policy: str = "", host: str = HERE, ram: int = 512
    ) -> None:
        self.servers[name] = {
            "id": name, "name": name, "status": status, "looks": 0, "next": None,
            "metadata": {nova_host.POLICY: policy} if policy else {},
            "OS-EXT-SRV-ATTR:host": host, "OS-EXT-STS:task_state": None,
            "flavor": {"vcpus": 1, "ram": ram, "disk": 1},
        }  # fmt: skip

    def run(self, argv: list[str], user: str, stdin: str = "") -> str:
        assert (argv[0], user) == ("/opt/openstack/current/nova/bin/python3", "nova")
        asked = json.loads(stdin)
        assert asked["config"] == "/etc/nova/nova.conf"
        answers = [self.answer(*one) for one in asked["requests"]]
        return "a warning\n" + json.dumps(answers)

    def answer(self, service: str, method: str, path: str, params: Any, body: Any) -> Any:
        if method != "GET":
            self.written.append((method, path, body))
        match service, method, path.strip("/").split("/"):
            case "compute", "GET", ["os-services"]:
                return 200, {"services": list(self.services.values())}
            case "compute", "PUT", ["os-services", name]:
                self.services[name.removeprefix("id-")].update({"disabled_reason": None}, **body)
                return 200, {}
            case "compute", "GET", ["os-hypervisors", "detail"]:
                known = [{**one, "id": one["host"], "service": {"host": one["host"]}}
                         for one in self.services.values()]  # fmt: skip
                return 200, {"hypervisors": known}
            case "placement", "GET", ["resource_providers", name, "inventories"]:
                return 200, {"inventories": self.inventories[name]}
            case "placement", "GET", ["resource_providers", name, "usages"]:
                return 200, {"usages": self.used(name)}
            case "compute", "GET", ["os-server-groups"]:
                return 200, {"server_groups": self.groups}
            case "compute", "GET", ["servers", "detail"]:
                return 200, {"servers": self.page(**params)}
            case "compute", "GET", ["servers", name]:
                return 200, {"server": self.servers[name]}
            case "compute", "POST", ["servers", name, "action"]:
                return self.act(name, next(iter(body)))
            case "compute", "POST", ["servers", name, "metadata"]:
                self.servers[name]["metadata"].update(body["metadata"])
                return 200, {}
            case "compute", "DELETE", ["servers", name, "metadata", key]:
                del self.servers[name]["metadata"][key]
                return 204, None
            case "compute", "GET", ["servers", name, "os-instance-actions"]:
                return 200, {"instanceActions": [{"message": "Error", "request_id": "req-1"}]}
            case "compute", "GET", ["servers", _, "os-instance-actions", "req-1"]:
                ok = {"event": "compute_check", "result": "Success", "details": None}
                bad = {"event": "live_migrate", "result": "Error", "details": self.failure}
                return 200, {"instanceAction": {"events": [ok, bad]}}
        raise AssertionError(f"{service} {method} {path}")

    def used(self, host: str) -> dict[str, int]:
        here = [one for one in self.servers.values() if one["OS-EXT-SRV-ATTR:host"] == host]
        return {"MEMORY_MB": sum(one["flavor"]["ram"] for one in here), "VCPU": len(here)}

    def act(self, name: str, action: str) -> Any:
        one = self.servers[name]
        if name in self.refuses:
            return 409, {"conflictingRequest": {"message": self.refuses[name]}}
        if action == "os-migrateLive":
            one.update(status="MIGRATING", next="ACTIVE", looks=0)
        elif action == "migrate":
            one.update(status="RESIZE", next="VERIFY_RESIZE", before=one["status"], looks=0)
        elif action == "os-stop":
            one.update({"OS-EXT-STS:task_state": "powering-off"}, next="SHUTOFF", looks=0)
        elif action == "confirmResize":
            one["status"] = one["before"]
        elif action == "os-start":
            one["status"] = "ACTIVE"
        return 202, None

    def page(
        self, all_tenants: str, limit: int, host: str = "", marker: str = ""
    ) -> list[dict[str, Any]]:
        assert all_tenants == "1"
        doing = [one for one in self.servers.values() if one["next"]]
        self.busiest = max(self.busiest, len(doing))
        for one in doing:
            one["looks"] += 1
            if one["looks"] == 2:
                moves = one["next"] != "SHUTOFF" and one["name"] not in self.returns
                one.update({"OS-EXT-STS:task_state": None}, status=one["next"], next=None)
                one["OS-EXT-SRV-ATTR:host"] = THERE if moves else one["OS-EXT-SRV-ATTR:host"]
        known = [one for _, one in sorted(self.servers.items())]
        here = [one for one in known if host in ("", one["OS-EXT-SRV-ATTR:host"])]
        return [one for one in here if one["name"] > marker][:limit]

    def where(self) -> dict[str, tuple[str, str]]:
        return {name: (one["OS-EXT-SRV-ATTR:host"], one["status"])
                for name, one in self.servers.items()}  # fmt: skip

    @property
    def acts(self) -> list[tuple[str, str]]:
        return [
            (path.split("/")[2], next(iter(body)))
            for method, path, body in self.written
            if path.endswith("/action")
        ]


@pytest.fixture
def nova(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    found = Cloud()

    def sleep(seconds: float) -> None:
        found.now += seconds

    dunder: dict[str, Callable[..., Any]] = {
        "openstack_db.ask": openstack_db.ask,
        "nova_api.ask": nova_api.ask,
        "nova_api.pages": nova_api.pages,
        "nova_load.homeless": nova_load.homeless,
    }
    monkeypatch.setattr(openstack_db, "run", found.run)
    for module in (nova_api, nova_load, nova_host):
        monkeypatch.setattr(module, "__salt__", dunder, raising=False)
        monkeypatch.setattr(module, "__pillar__", {}, raising=False)
    monkeypatch.setattr(nova_host, "__grains__", {"id": HERE}, raising=False)
    monkeypatch.setattr(nova_host.time, "sleep", sleep)
    monkeypatch.setattr(nova_host.time, "monotonic", lambda: found.now)
    return found


def test_what_runs_goes_elsewhere_and_what_does_not_stays(nova: Cloud) -> None:
    for name, status in (("a", "ACTIVE"), ("b", "PAUSED"), ("c", "SHUTOFF"), ("d", "ACTIVE")):
        nova.server(name, status)
    told = nova_host.drain()
    assert told == f"{HERE} is disabled: 3 servers went elsewhere, 0 stopped."
    assert nova.where() == {
        "a": (THERE, "ACTIVE"), "b": (THERE, "ACTIVE"), "c": (HERE, "SHUTOFF"),
        "d": (THERE, "ACTIVE"),
    }  # fmt: skip
    assert nova.services[HERE]["status"] == "disabled"
    assert nova.services[HERE]["disabled_reason"] == nova_host.REASON
    assert nova.busiest == 2
    # once more: there is nothing to do
    nova.written.clear()
    assert "0 servers" in nova_host.drain()
    assert nova.written == []


def test_each_server_fares_as_its_metadata_says(nova: Cloud) -> None:
    nova.server("cold", policy="cold")
    nova.server("idle", "SHUTOFF", policy="cold")
    nova.server("stop", policy="stop")
    nova.server("off", "SHUTOFF", policy="stop")
    nova.server("leave", policy="leave")
    assert nova_host.drain().endswith("2 servers went elsewhere, 1 stopped.")
    assert nova.where() == {
        "cold": (THERE, "ACTIVE"), "idle": (THERE, "SHUTOFF"), "stop": (HERE, "SHUTOFF"),
        "off": (HERE, "SHUTOFF"), "leave": (HERE, "ACTIVE"),
    }  # fmt: skip
    assert ("cold", "confirmResize") in nova.acts
    # what the drain stopped is started, and nothing else
    nova.written.clear()
    assert nova_host.release() == f"{HERE} is enabled again; 1 servers start."
    assert nova.acts == [("stop", "os-start")]
    assert nova_host.STOPPED not in nova.servers["stop"]["metadata"]
    assert nova_host.release() == f"{HERE} is enabled."


def test_more_servers_than_one_answer_holds(nova: Cloud) -> None:
    for number in range(1001):
        nova.server(f"s{number:04d}", "SHUTOFF", ram=0)
    nova.server("z")
    assert len(nova_host.servers()) == 1002
    nova_host.drain()
    assert nova.acts == [("z", "os-migrateLive")]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"status": "VERIFY_RESIZE"}, r"cannot be emptied now: odd \(VERIFY_RESIZE\)"),
        ({"OS-EXT-STS:task_state": "spawning"}, "cannot be emptied now: odd"),
        ({"metadata": {nova_host.POLICY: "perhaps"}}, "of odd is 'perhaps': set live, cold, stop"),
        ({"flavor": {"vcpus": 1, "ram": 4097}}, "1 of 2 servers .* fit on no other compute: odd"),
        ({"flavor": {"vcpus": 9, "ram": 1}}, "fit on no other compute: odd"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_touched(
    change: dict[str, Any], sentence: str, nova: Cloud
) -> None:
    nova.server("a")
    nova.server("odd")
    nova.servers["odd"].update(change)
    with pytest.raises(CommandExecutionError, match=sentence):
        nova_host.drain()
    assert nova_host.fits()["ok"] is False
    assert nova.written == []


def test_running_servers_need_another_hypervisor(nova: Cloud) -> None:
    nova.server("a")
    nova.services[THERE]["status"] = "disabled"
    with pytest.raises(CommandExecutionError, match="no other compute is up and enabled"):
        nova_host.drain()
    assert nova.written == []
    nova.servers["a"]["metadata"] = {nova_host.POLICY: "stop"}
    assert nova_host.drain().endswith("0 servers went elsewhere, 1 stopped.")


def test_servers_that_may_not_be_together_need_a_host_each(nova: Cloud) -> None:
    nova.server("a")
    nova.server("b", host=THERE)
    nova.groups = [{"policy": "anti-affinity", "members": ["a", "b"]}]
    with pytest.raises(CommandExecutionError, match="fit on no other compute: a"):
        nova_host.drain()
    nova.groups.append({"policy": "affinity", "members": ["a", "b"]})
    nova.compute(FAR)
    assert nova_host.fits() == {"ok": True, "sentence": "1 servers would go or be stopped."}
    assert nova.written == []


def test_two_of_a_group_do_not_go_to_the_same_host(nova: Cloud) -> None:
    for name in ("a", "b"):
        nova.server(name)
    nova.groups = [{"policy": "anti-affinity", "members": ["a", "b", "gone"]}]
    assert nova_load.homeless(HERE, ["a", "b"]) == ["b"]
    nova.compute(FAR)
    assert nova_load.homeless(HERE, ["a", "b"]) == []


def test_large_servers_are_placed_first(nova: Cloud) -> None:
    nova.compute(THERE, memory=1024)
    nova.compute(FAR, memory=2048)
    for name, ram in (("a", 512), ("b", 512), ("c", 2048)):
        nova.server(name, ram=ram)
    assert nova_load.homeless(HERE, ["a", "b", "c"]) == []
    nova.server("d", ram=1)
    assert nova_load.homeless(HERE, ["a", "b", "c", "d"]) == ["d"]


def test_what_is_reserved_or_overbooked_counts(nova: Cloud) -> None:
    nova.server("a", ram=1000)
    memory = nova.inventories[THERE]["MEMORY_MB"]
    memory.update(total=1500, reserved=600)
    assert nova_load.homeless(HERE, ["a"]) == ["a"]
    memory["allocation_ratio"] = 1.5
    assert nova_load.homeless(HERE, ["a"]) == []


def test_a_hypervisor_that_nova_does_not_know(nova: Cloud) -> None:
    with pytest.raises(CommandExecutionError, match=r"knows no nova-compute on cmp09\.test"):
        nova_host.drain("cmp09.test")


def test_what_nova_refuses_is_told(nova: Cloud) -> None:
    nova.server("a")
    nova.server("b")
    nova.refuses["a"] = "a locked server"
    with pytest.raises(CommandExecutionError, match=r"^a \(ACTIVE\) does not leave .*locked"):
        nova_host.drain()
    assert nova.where()["b"] == (THERE, "ACTIVE")
    assert nova.acts.count(("a", "os-migrateLive")) == 2


def test_a_server_that_comes_back_is_told_with_novas_reason(nova: Cloud) -> None:
    nova.server("a")
    nova.returns.add("a")
    with pytest.raises(CommandExecutionError, match="No valid host"):
        nova_host.drain()
    assert nova.acts == [("a", "os-migrateLive")] * 2


def test_a_drain_ends_at_its_limit(nova: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    nova.server("a")
    monkeypatch.setattr(nova, "page", lambda **_: list(nova.servers.values()))
    with pytest.raises(CommandExecutionError, match=r"Not done on cmp01\.test after 60 s: a"):
        nova_host.drain(timeout=60)
    assert nova.now <= 70


def test_only_what_a_drain_disabled_is_given_back(nova: Cloud) -> None:
    assert nova_host.release() == f"{HERE} is enabled."
    nova_host.drain()
    assert nova_host.release() == f"{HERE} is enabled again."
    assert nova.services[HERE]["status"] == "enabled"
    nova.services[HERE].update(status="disabled", disabled_reason="bad memory")
    nova_host.drain()
    assert nova_host.release() == f"{HERE} stays disabled (bad memory)."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"forbidden": {"message": "Policy\ndoes not allow it"}}, "403 Policy does not allow it"),
        ({"errors": [{"detail": "no such thing"}]}, "403 no such thing"),
        (None, "403"),
    ],
)
def test_a_refusal_of_an_api_is_one_sentence(body: Any, words: str, nova: Cloud) -> None:
    nova.answer = lambda *request: (403, body)  # type: ignore[method-assign]
    with pytest.raises(CommandExecutionError, match=f"^GET /os-services: {words}$"):
        nova_host.drain()
