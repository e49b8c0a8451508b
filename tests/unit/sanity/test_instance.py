"""The checks of networks, volumes, stacks and servers: they see, fail for a reason, tidy up.

The cloud is in memory; what it answers is what the SDK answered in front of a real one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openstack")

import openstack.exceptions

from saltern.sanity import guest, instance, waiting
from saltern.sanity.client import PREFIX, CheckError, Context, Deadline
from saltern.sanity.target import Credentials, Target

OLD = f"{PREFIX}1-abcd"


class Kept:
    """Objects of one kind, each with the states that it goes through when it is looked at."""

    def __init__(self, *states: str) -> None:
        self.states = states
        self.held: dict[str, Any] = {}

    def make(self, **known: Any) -> Any:
        made = SimpleNamespace(id=f"id-{len(self.held)}-{known.get('name')}", **known)
        made.coming = iter(self.states)
        made.status = next(made.coming, "")
        self.held[made.id] = made
        return made

    def get(self, one: Any) -> Any:
        if one.id not in self.held:
            raise openstack.exceptions.NotFoundException
        one.status = next(one.coming, one.status)
        return one

    def drop(self, one: Any, **_: Any) -> None:
        if self.held.pop(one.id, None) is None:
            raise openstack.exceptions.NotFoundException


class Cloud:
    """Compute, Network, Block Storage and Orchestration at once."""

    current_project_id = "p"

    def __init__(self) -> None:
        self.compute = self.network = self.block_storage = self.orchestration = self.image = self
        self.kept = {kind: Kept() for kind in ("network", "router", "group", "ip", "port")}
        self.kept["volume"] = Kept("creating", "available")
        self.kept["stack"] = Kept("CREATE_IN_PROGRESS", "CREATE_COMPLETE")
        self.kept["server"] = Kept("BUILD", "ACTIVE")
        self.interfaces: list[str] = []
        self.console: list[str] = []
        self.outside = [SimpleNamespace(id="ext", name="provider")]
        self.guests = [SimpleNamespace(id="img", name="guest")]

    # -- what the SDK calls alike ----------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        verb, _, kind = name.partition("_")
        kind = {"security_group": "group"}.get(kind, kind)
        if verb == "create" and kind in self.kept:
            return lambda **known: self.kept[kind].make(**self._filled(kind, known))
        if verb in ("get", "delete") and kind in self.kept:
            kept = self.kept[kind]
            return kept.get if verb == "get" else kept.drop
        raise AttributeError(name)

    def _filled(self, kind: str, known: dict[str, Any]) -> dict[str, Any]:
        if kind in ("port", "server"):
            known["fixed_ips"] = [{"ip_address": "192.0.2.4"}]
        if kind == "router":
            known["external_gateway_info"]["external_fixed_ips"] = [{"ip_address": "203.0.113.2"}]
        if kind == "stack":
            known["outputs"] = [{"output_value": "abcdefgh"}]
        if kind == "volume":
            known["volume_type"] = "ceph"
        if kind == "ip":
            known["floating_ip_address"] = "203.0.113.9"
        if kind == "server":
            self.console.append(f"guest: metadata: hostname {known['name']}.novalocal")
        return known

    def _all(self, kind: str) -> list[Any]:
        return list(self.kept[kind].held.values())

    def ips(self) -> list[Any]:
        return self._all("ip")

    def routers(self) -> list[Any]:
        return self._all("router")

    def volumes(self) -> list[Any]:
        return self._all("volume")

    def stacks(self) -> list[Any]:
        return self._all("stack")

    def servers(self) -> list[Any]:
        return self._all("server")

    def security_groups(self) -> list[Any]:
        return self._all("group")

    def networks(self, is_router_external: bool = False) -> list[Any]:
        return self.outside if is_router_external else self._all("network")

    def images(self, name: str) -> list[Any]:
        return [one for one in self.guests if one.name == name]

    # -- the rest --------------------------------------------------------------------------------

    def create_subnet(self, **known: Any) -> Any:
        return SimpleNamespace(id="subnet", **known)

    def create_security_group_rule(self, **known: Any) -> None:
        assert known["direction"] == "ingress"

    def add_interface_to_router(self, router: Any, subnet_id: str) -> None:
        self.interfaces.append(subnet_id)

    def remove_interface_from_router(
        self, router: Any, subnet_id: str = "", port_id: str = ""
    ) -> None:
        self.interfaces.remove(subnet_id or port_id)

    def ports(self, **wanted: Any) -> list[Any]:
        if "device_owner" in wanted:
            return [SimpleNamespace(id=one) for one in self.interfaces]
        return [SimpleNamespace(id="port", fixed_ips=[{"ip_address": "192.0.2.4"}])]

    def flavors(self) -> Iterator[Any]:
        sizes = {"large": 4096, "tiny": 128}
        return (SimpleNamespace(id=n, ram=ram, vcpus=1, disk=1) for n, ram in sizes.items())

    def get_server_console_output(self, server: Any) -> dict[str, str]:
        return {"output": "\n".join(self.console)}

    def create_volume_attachment(self, server: Any, volume_id: str) -> None:
        volume = self.kept["volume"].held[volume_id]
        volume.coming = iter(["attaching", "in-use"])
        self.console.append("guest: disk vdb 1024 MiB serial 1")

    def delete_volume_attachment(self, server: Any, volume: str) -> None:
        self.kept["volume"].held[volume].coming = iter(["detaching", "available"])
        self.console.append("guest: disk vdb is gone")

    def create_console(self, server: Any, console_type: str) -> dict[str, str]:
        return {"url": f"https://api.example.test:6080/{console_type}"}

    def left(self) -> list[str]:
        return [one.name for kind in self.kept for one in self._all(kind) if hasattr(one, "name")]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def context(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Context:
    clock = itertools.count()
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(guest, "pinged", lambda address: address == "203.0.113.9")
    monkeypatch.setattr(guest, "echoed", lambda address: address == "203.0.113.9")
    who = Credentials("https://api.example.test:5000/v3", "admin", "x")
    roles = {"cinder.volume": ("ctl01",), "nova.novncproxy": ("ctl01",)}
    made = Context(
        Target("example", who, "north", "public", roles),
        Deadline(200, clock=lambda: float(next(clock))),
    )
    made._cloud = cloud  # type: ignore[assignment]
    made.session.get = lambda url, **_: SimpleNamespace(status_code=200)  # type: ignore[method-assign]
    return made


ALL = pytest.mark.parametrize(
    "check", [instance.network, instance.volume, instance.stack, instance.server]
)


@ALL
def test_the_cloud_does_what_it_is_for(check: Any, context: Context, cloud: Cloud) -> None:
    assert check(context, "")
    context.clean_up(100)
    assert (cloud.left(), cloud.interfaces) == ([], [])


@ALL
def test_what_a_killed_run_left_goes(check: Any, context: Context, cloud: Cloud) -> None:
    for kind in cloud.kept:
        cloud.kept[kind].make(**cloud._filled(kind, {"name": OLD, "external_gateway_info": {}}))
    cloud.kept["ip"].held.clear()
    cloud.kept["port"].held.clear()
    assert "left by an earlier run" in check(context, "")


def test_a_server_is_described(context: Context) -> None:
    told = instance.server(context, "")
    for words in (
        "ACTIVE after",
        "192.0.2.4 by DHCP",
        "through 203.0.113.9",
        "console answers 200",
    ):
        assert words in told
    assert "volume attached and detached" in told


@pytest.mark.parametrize(
    ("kind", "check", "states"),
    [
        ("server", instance.server, ("BUILD", "ERROR")),
        ("volume", instance.volume, ("creating", "error")),
        ("stack", instance.stack, ("CREATE_IN_PROGRESS", "CREATE_FAILED")),
    ],
)
def test_what_is_in_error_is_waited_for_no_longer(
    kind: str, check: Any, states: tuple[str, ...], context: Context, cloud: Cloud
) -> None:
    cloud.kept[kind].states = states
    with pytest.raises(CheckError, match=f"{kind} is {states[1].upper()}"):
        check(context, "")


def test_a_guest_that_keeps_silent_is_named(
    context: Context, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "echoed", lambda address: False)
    with pytest.raises(CheckError, match=r"203\.0\.113\.9 does not echo on TCP 7"):
        instance.server(context, "")
    context.clean_up(100)
    assert cloud.left() == []


def test_what_a_server_needs_is_named(context: Context, cloud: Cloud) -> None:
    cloud.guests = []
    with pytest.raises(CheckError, match="there is no image 'guest'"):
        instance.server(context, "")
    cloud.outside = []
    with pytest.raises(CheckError, match="there is no external network"):
        instance.network(context, "")
