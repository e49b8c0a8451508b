"""Open vSwitch, OVN and libvirt on a host: what is read, judged, written once, and refused."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from salt.exceptions import CommandExecutionError

from saltern.modules import (
    libvirt_host as virt,
)
from saltern.modules import (
    neutron_ovn,
    ovn_chassis,
    ovn_cluster,
    ovn_database,
    ovn_upkeep,
    readback,
)
from saltern.modules import (
    ovs_switch as switch,
)
from saltern.states import libvirt_host as virt_state
from saltern.states import ovn_cluster as member_state
from saltern.states import ovs_switch as switch_state

# --- the switch -------------------------------------------------------------------------------


class Switch:
    """As much of Open vSwitch and of the kernel as the states use."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {"kept": "yes"}
        self.bridges: dict[str, dict[str, Any]] = {}
        self.devices: dict[str, dict[str, Any]] = {"eth1": self.device()}
        self.calls: list[str] = []
        self.deaf = False

    @staticmethod
    def device() -> dict[str, Any]:
        return {"mtu": 1500, "up": False, "addresses": [], "checksum_offload": True}

    def write(self, name: str, record: str, column: str, values: dict[str, Any]) -> None:
        if not values:
            return
        self.calls.append("write")
        aim = self.ids if name == "Open_vSwitch" else self.bridges[record]["external_ids"]
        for key, value in values.items() if column == "external_ids" and not self.deaf else ():
            aim.pop(key, None) if value is None else aim.update({key: value})

    def add_bridge(self, name: str, datapath: str) -> None:
        self.calls.append("add_bridge")
        empty: dict[str, Any] = {"ports": [], "fail_mode": None, "external_ids": {}}
        self.bridges.setdefault(name, empty)["datapath"] = datapath
        self.devices.setdefault(name, self.device())

    def add_port(self, name: str, port: str) -> None:
        self.bridges[name]["ports"] += [] if self.deaf else [port]

    def set_bridge(self, name: str, mtu: int | None = None, fail_mode: str | None = None) -> None:
        self.devices[name]["mtu"] = mtu or self.devices[name]["mtu"]
        self.bridges[name]["fail_mode"] = fail_mode or self.bridges[name]["fail_mode"]

    def set_device(self, name: str, address: str | None, checksum_offload: bool) -> None:
        self.devices[name]["up"] = True
        self.devices[name]["addresses"] += [address] if address else []
        self.devices[name]["checksum_offload"] &= checksum_offload


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Switch:
    host = Switch()
    functions = {
        "ovs_switch.settings": lambda: {"external_ids": dict(host.ids), "other_config": {}},
        "ovs_switch.bridges": lambda: copy.deepcopy(host.bridges),
        "ovs_switch.device": host.devices.get,
        "readback.present": readback.present,
        **{
            f"ovs_switch.{name}": getattr(host, name)
            for name in ("write", "add_bridge", "add_port", "set_bridge", "set_device")
        },
    }
    monkeypatch.setattr(switch_state, "__salt__", functions, raising=False)
    monkeypatch.setattr(switch_state, "__opts__", {"test": False}, raising=False)
    return host


WANTED = {
    "datapath": "netdev",
    "ports": ["eth1"],
    "mtu": 1400,
    "fail_mode": "secure",
    "external_ids": {"network": "tunnel"},
    "address": "192.0.2.1/24",
    "checksum_offload": False,
}


def test_settings_come_once_and_others_stay(host: Switch) -> None:
    ids = {"rack": "r1", "flag": True, "number": 0, "gone": None}
    assert switch_state.settings("x", external_ids=ids)["result"] is True
    assert host.ids == {"kept": "yes", "rack": "r1", "flag": "true", "number": "0"}
    assert switch_state.settings("x", external_ids=ids)["changes"] == {}
    assert host.calls == ["write"]
    switch_state.settings("x", external_ids={"rack": None})
    assert "rack" not in host.ids


def test_a_bridge_comes_once_and_keeps_the_ports_of_others(host: Switch) -> None:
    assert switch_state.bridge("br-phy", **WANTED)["result"] is True
    host.bridges["br-phy"]["ports"].append("patch-to-br-int")
    ret = switch_state.bridge("br-phy", **WANTED)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert host.bridges["br-phy"]["ports"] == ["eth1", "patch-to-br-int"]
    assert host.devices["eth1"]["checksum_offload"] is False


def test_test_mode_leaves_the_switch_alone(host: Switch) -> None:
    switch_state.__opts__["test"] = True
    ret = switch_state.bridge("br-phy", **WANTED)
    assert (ret["result"], host.bridges) == (None, {})
    assert switch_state.settings("x", external_ids={"a": "b"})["result"] is None
    assert host.calls == []


def test_a_port_of_another_bridge_is_refused(host: Switch) -> None:
    host.add_bridge("br-ex", "system")
    host.add_port("br-ex", "eth1")
    ret = switch_state.bridge("br-phy", ports=["eth1"])
    assert ret["result"] is False
    assert "eth1 is on the bridge br-ex" in ret["comment"]
    assert "br-phy" not in host.bridges


def test_what_the_switch_does_not_take_is_a_failure(host: Switch) -> None:
    host.deaf = True
    ret = switch_state.bridge("br-phy", ports=["eth1"])
    assert ret["result"] is False
    assert "read back with a different ports" in ret["comment"]


def test_values_of_a_database_become_plain() -> None:
    text = json.dumps(
        {
            "headings": ["name", "ports", "external_ids", "fail_mode"],
            "data": [
                ["a", ["set", [["uuid", "1"], ["uuid", "2"]]], ["map", [["k", "v"]]], ["set", []]],
                ["b", ["uuid", "3"], ["map", []], "secure"],
            ],
        }
    )
    assert switch.table(text) == [
        {"name": "a", "ports": ["1", "2"], "external_ids": {"k": "v"}, "fail_mode": []},
        {"name": "b", "ports": "3", "external_ids": {}, "fail_mode": "secure"},
    ]


@pytest.mark.parametrize(
    ("found", "errors", "word"),
    [
        ({}, [], "bridge br-phy is missing"),
        ({"datapath": "system", "ports": ["eth1"]}, [], "has the datapath system, not netdev"),
        ({"datapath": "netdev", "ports": []}, [], "br-phy is without eth1"),
        ({"datapath": "netdev", "ports": ["eth1"]}, ["eth1"], "eth1: could not open"),
        ({"datapath": "netdev", "ports": ["eth1"]}, ["tap-gone"], ""),
    ],
)
def test_a_switch_is_judged(
    found: dict[str, Any], errors: list[str], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"switch": {"datapath": "netdev", "bridge": {"br-phy": {"ports": ["eth1"]}}}}
    monkeypatch.setattr(switch, "__pillar__", {"openvswitch": model}, raising=False)
    monkeypatch.setattr(switch, "_run", lambda *command: "")
    monkeypatch.setattr(switch, "bridges", lambda: {"br-phy": found} if found else {})
    lines = [{"name": name, "error": "could not open"} for name in errors]
    monkeypatch.setattr(switch, "rows", lambda *_, **__: [{"name": "eth9", "error": []}, *lines])
    answer = switch.healthy()
    assert answer["ok"] is not bool(word)
    assert word in answer["sentence"]


# --- OVN's control plane ----------------------------------------------------------------------

STATUS = """8f2a
Name: OVN_Southbound
Cluster ID: 5b1c (5b1c9d6e-0000-4000-8000-000000000001)
Server ID: 8f2a (8f2a9d6e-0000-4000-8000-000000000002)
Address: ssl:10.0.0.1:6644
Status: cluster member
Role: leader
Term: 3
Leader: self
Vote: self

Election timer: 4000
Log: [2, 9]
Connections: ->1c3d (->77aa) <-1c3d
Disconnections: 1
Servers:
    8f2a (8f2a at ssl:10.0.0.1:6644) (self) next_index=8 match_index=8
    1c3d (1c3d at ssl:10.0.0.2:6644) next_index=9 match_index=8 last msg 310 ms ago
    77aa (77aa at ssl:10.0.0.3:6644) next_index=9 match_index=7 last msg 99310 ms ago
"""


def test_the_state_of_a_cluster_is_read() -> None:
    found = ovn_database.parse(STATUS)
    assert found["cid"] == "5b1c9d6e-0000-4000-8000-000000000001"
    assert (found["sid"], found["leader"], found["role"]) == ("8f2a", "8f2a", "leader")
    assert found["timer"] == 4000
    assert found["members"]["77aa"] == "ssl:10.0.0.3:6644"
    assert found["connected"] == ["1c3d"]
    joined = STATUS.replace("->1c3d (->77aa) <-1c3d", "->0000 ->0000 <-1c3d <-77aa")
    assert {"1c3d", "77aa"} <= {*ovn_database.parse(joined)["connected"]}
    follower = STATUS.replace("Leader: self", "Leader: 1c3d").replace("Role: leader", "Role: x")
    assert ovn_database.parse(follower)["leader"] == "1c3d"
    assert ovn_database.parse(STATUS.replace("Leader: self", "Leader: unknown"))["leader"] == ""
    assert ovn_database.parse("")["members"] == {}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("(->77aa)", "->77aa"), ""),
        (("", ""), "no connection to ssl:10.0.0.3:6644"),
        (("Leader: self", "Leader: unknown"), "no leader"),
        (("cluster member", "joining cluster"), "this member is joining cluster"),
        (("    77aa (77aa at ssl:10.0.0.3:6644)", "lost"), "2 of 3 members"),
    ],
)
def test_a_control_plane_is_judged(
    change: tuple[str, str], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = {
        "ovn_database.config": lambda: {"members": 3},
        "ovn_database.status": lambda _: ovn_database.parse(STATUS.replace(*change)),
        "ovn_database.northd": lambda: "standby",
    }
    monkeypatch.setattr(ovn_cluster, "__salt__", functions, raising=False)
    answer = ovn_cluster.healthy()
    assert answer["ok"] is not bool(word)
    assert (word or "3 of 3 members, this member leads. northd standby.") in answer["sentence"]


def test_a_database_that_is_there_is_never_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []

    def make(*command: str, **_: Any) -> str:
        ran.append(command)
        (tmp_path / "ovnnb_db.db.new").write_text("new")
        return ""

    config = {"address": "10.0.0.1", "northbound": {"raft_port": 6643, "election_timer": 4000}}
    monkeypatch.setattr(ovn_database, "_DATA", str(tmp_path))
    monkeypatch.setattr(ovn_database, "_run", make)
    monkeypatch.setattr(ovn_database, "config", lambda: config)
    with pytest.raises(CommandExecutionError, match="no member to join"):
        ovn_database.admit("northbound", ["ssl:10.0.0.1:6643"])
    ovn_database.create("northbound")
    assert "--election-timer=4000" in ran[0]
    assert ran[0][-1] == "ssl:10.0.0.1:6643"
    for call in (ovn_database.create, lambda name: ovn_database.admit(name, ["ssl:10.0.0.2:6643"])):
        with pytest.raises(CommandExecutionError, match="there already"):
            call("northbound")
    assert len(ran) == 1
    assert (tmp_path / "ovnnb_db.db").read_text() == "new"


class Plane:
    """A member, told what it holds."""

    def __init__(self, held: str | None) -> None:
        self.held, self.runs, self.calls = held, held is not None, []
        self.stale: list[str] = []
        self.unsettled: list[str] = []

    def functions(self) -> dict[str, Any]:
        return {
            "ovn_database.held": lambda _: self.held,
            "ovn_cluster.facts": self.facts,
            "ovn_database.settle": lambda _: self.unsettled.clear(),
            "readback.unknown": readback.unknown,
            **{f"ovn_cluster.{name}": self.act(name) for name in ("begin", "start", "restart")},
        }

    def facts(self) -> dict[str, Any]:
        one = {"running": self.runs, "unsettled": list(self.unsettled)}
        return {"northd": self.runs, "stale": self.stale, "northbound": one, "southbound": one}

    def act(self, name: str) -> Any:
        def call() -> str:
            self.calls.append(name)
            self.held, self.runs, self.stale = self.held or "cid", True, []
            return ""

        return call


def running(plane: Plane, monkeypatch: pytest.MonkeyPatch, test: bool = False, **more: Any) -> Any:
    monkeypatch.setattr(member_state, "__salt__", plane.functions(), raising=False)
    monkeypatch.setattr(member_state, "__opts__", {"test": test}, raising=False)
    return member_state.running("ovn-central", **more)


def test_a_member_without_databases_waits_for_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane(None)
    ret = running(plane, monkeypatch)
    assert (ret["result"], ret["changes"], plane.calls) == (True, {}, [])
    assert "ovn.form" in ret["comment"]


def test_a_host_of_its_own_begins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane(None)
    assert running(plane, monkeypatch, test=True, standalone=True)["result"] is None
    assert plane.calls == []
    assert running(plane, monkeypatch, standalone=True)["changes"] == {"clusters": "begun"}
    assert running(plane, monkeypatch, standalone=True)["changes"] == {}
    assert plane.calls == ["begin"]


def test_a_database_of_no_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane("")
    ret = running(plane, monkeypatch, standalone=True)
    assert (ret["result"], plane.calls) == (False, [])
    assert "of no cluster" in ret["comment"]


def test_only_a_host_of_its_own_is_restarted_by_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane("cid")
    plane.stale, plane.unsettled = ["ovn-northd"], ["connection"]
    assert running(plane, monkeypatch)["changes"] == {}
    changes = running(plane, monkeypatch, standalone=True)["changes"]
    assert changes["ovn-northd"] == "restarted"
    assert changes["connection of northbound"] == "set"
    assert plane.calls == ["restart"]


def test_a_schema_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    old, asked = {"northbound"}, []

    def ask(database: str, verb: str, *_: str) -> str:
        asked.append(verb)
        if verb == "convert":
            old.discard(database)
        return "yes\n" if database in old else "no\n"

    monkeypatch.setattr(ovn_upkeep, "__salt__", {"ovn_database.ask": ask}, raising=False)
    functions = {
        "ovn_upkeep.outdated": ovn_upkeep.outdated,
        "ovn_upkeep.convert": ovn_upkeep.convert,
    }
    monkeypatch.setattr(member_state, "__salt__", functions, raising=False)
    monkeypatch.setattr(member_state, "__opts__", {"test": True}, raising=False)
    assert member_state.converted("x")["result"] is None
    member_state.__opts__["test"] = False
    assert member_state.converted("x")["changes"] == {"northbound": "converted"}
    assert member_state.converted("x")["changes"] == {}
    assert asked.count("convert") == 1


def test_a_copy_is_root_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {"ovn_database.ask": lambda *_: "OVSDB JSON"}
    monkeypatch.setattr(ovn_upkeep, "__salt__", functions, raising=False)
    found = ovn_upkeep.backup(str(tmp_path / "ovn"))
    assert set(found.values()) == {10}
    for path in found:
        assert Path(path).stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in (tmp_path / "ovn").iterdir()) == [
        "northbound.db",
        "southbound.db",
    ]


# --- a gateway --------------------------------------------------------------------------------


class Routers:
    """A northbound database with one router's port, and where the port is."""

    def __init__(self, gateways: dict[str, int]) -> None:
        self.rows = {
            name: {"_uuid": name, "priority": number, "external_ids": {}}
            for name, number in gateways.items()
        }
        self.obeys = True

    def client(self, database: str, *command: str) -> str:
        assert database == "northbound"
        words = iter(command)
        for word in words:
            if word == "set":
                _, row = next(words), self.rows[next(words)]
            elif word == "remove":
                _, row, _, key = next(words), self.rows[next(words)], next(words), next(words)
                row["external_ids"].pop(key)
            elif "=" in word:
                column, _, value = word.partition("=")
                if column == "priority":
                    row["priority"] = int(value)
                else:
                    row["external_ids"][column.partition(":")[2]] = value
        return ""

    def find(self, database: str, table: str, *_: str, columns: list[str]) -> list[dict[str, Any]]:
        if table == "Gateway_Chassis":
            return [copy.deepcopy(self.rows["gtw01"])]
        if table == "Logical_Router_Port":
            known = sorted(self.rows)
            return [{"name": "lrp", "gateway_chassis": known if len(known) > 1 else known[0]}]
        if table == "Chassis":
            return [{"_uuid": "here"}]
        if table == "Port_Binding" and self.obeys:
            best = max(self.rows, key=lambda name: self.rows[name]["priority"])
            return [{"logical_port": "cr-lrp"}] if best == "gtw01" else []
        return [{"logical_port": "cr-lrp"}] if table == "Port_Binding" else []


@pytest.fixture
def routers(monkeypatch: pytest.MonkeyPatch) -> Routers:
    routers = Routers({"gtw01": 20, "gtw02": 10})
    monkeypatch.setattr(ovn_chassis, "_config", lambda: {"chassis": "gtw01"})
    monkeypatch.setattr(ovn_chassis, "_client", routers.client)
    monkeypatch.setattr(ovn_chassis, "_rows", routers.find)
    clock = iter(range(0, 10_000, 10))
    fake = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    monkeypatch.setattr(ovn_chassis, "time", fake)
    return routers


def test_a_gateway_is_emptied_and_gets_its_priorities_back(routers: Routers) -> None:
    assert ovn_chassis.drain() == "No router is here."
    assert ovn_chassis.drain() == "No router is here."
    assert routers.rows["gtw01"]["priority"] == 0
    assert ovn_chassis.release() == "1 priorities were given back."
    assert routers.rows["gtw01"] == {"_uuid": "gtw01", "priority": 20, "external_ids": {}}
    assert ovn_chassis.release() == "0 priorities were given back."


def test_the_only_gateway_is_not_emptied(routers: Routers) -> None:
    del routers.rows["gtw02"]
    with pytest.raises(CommandExecutionError, match="on this gateway alone"):
        ovn_chassis.drain()
    assert routers.rows["gtw01"]["priority"] == 20


def test_routers_that_stay_are_a_failure(routers: Routers) -> None:
    routers.obeys = False
    with pytest.raises(CommandExecutionError, match=r"Still here after 60 s: cr-lrp"):
        ovn_chassis.drain()


# --- libvirt ----------------------------------------------------------------------------------

KEY = "6b69746368656e2d6b65792d6e6f7661"
CEPHX = "AQBraXRjaGVuLWtleS1ub3ZhAAAAAAAAAAAAAA=="


class Daemon:
    """As much of libvirt and systemd as the states use."""

    def __init__(self) -> None:
        self.networks = ["default"]
        self.secrets: dict[str, dict[str, str]] = {}
        self.units = {"libvirtd.socket": True, "libvirtd-tls.socket": False}
        self.stale = {"libvirtd.socket"}
        self.calls: list[str] = []

    def functions(self) -> dict[str, Any]:
        return {
            "libvirt_host.networks": lambda: list(self.networks),
            "libvirt_host.remove_network": self.networks.remove,
            "libvirt_host.secret": self.secrets.get,
            "libvirt_host.set_secret": self.set_secret,
            "libvirt_host.unusable": virt.unusable,
            "libvirt_host.stale": lambda unit: unit in self.stale,
            "ceph_cluster.cephx": lambda _: CEPHX,
            "service.status": lambda unit: self.units[unit],
            "service.enabled": lambda unit: self.units[unit],
            "service.enable": lambda unit: self.units.update({unit: True}),
            "service.disable": lambda unit: self.units.update({unit: False}),
            "service.restart": self.restart,
            "service.stop": self.calls.append,
            "readback.present": readback.present,
            "readback.absent": readback.absent,
            "readback.unknown": readback.unknown,
        }

    def set_secret(self, uuid: str, usage: str, key: str) -> None:
        self.secrets[uuid] = {"usage": usage, "key": key}

    def restart(self, unit: str) -> None:
        assert "libvirtd" in self.calls, "a socket is made anew while the daemon has it"
        self.stale.discard(unit)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon()
    monkeypatch.setattr(virt_state, "__salt__", daemon.functions(), raising=False)
    monkeypatch.setattr(virt_state, "__opts__", {"test": False}, raising=False)
    return daemon


def test_sockets_are_made_anew_once(daemon: Daemon) -> None:
    wanted = ["libvirtd.socket", "libvirtd-tls.socket"]
    virt_state.__opts__["test"] = True
    assert virt_state.sockets("libvirtd", wanted)["result"] is None
    virt_state.__opts__["test"] = False
    ret = virt_state.sockets("libvirtd", wanted)
    assert ret["changes"] == {"libvirtd.socket": "opened anew", "libvirtd-tls.socket": "opened"}
    assert virt_state.sockets("libvirtd", wanted)["changes"] == {}
    ret = virt_state.sockets("libvirtd", wanted[:1], wanted[1:])
    assert ret["changes"] == {"libvirtd-tls.socket": "closed"}
    assert daemon.units["libvirtd-tls.socket"] is False


def certificate(path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Path:
    """Write a certificate as the authority signs it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cmp01.test")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=1))
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_encipherment=isinstance(key, rsa.RSAPrivateKey),
                **usage,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_that_libvirt_refuses_is_told_before(daemon: Daemon, tmp_path: Path) -> None:
    curve = certificate(tmp_path / "ec.crt", ec.generate_private_key(ec.SECP256R1()))
    good = certificate(tmp_path / "rsa.crt", rsa.generate_private_key(65537, 2048))
    assert virt.unusable(str(good)) == ""
    assert virt_state.certificate(str(good))["result"] is True
    ret = virt_state.certificate(str(curve))
    assert ret["result"] is False
    assert "pki:host:key" in ret["comment"]
    assert virt_state.certificate(str(tmp_path / "none.crt"))["result"] is False


def test_a_network_goes_once(daemon: Daemon) -> None:
    assert virt_state.network_absent("default")["changes"] == {"default": "removed"}
    assert virt_state.network_absent("default")["changes"] == {}
    assert daemon.networks == []


def test_a_key_is_set_once_and_never_told(daemon: Daemon) -> None:
    first = virt_state.secret("nova", "u-1", "client.nova", KEY)
    assert first["result"] is True
    assert virt_state.secret("nova", "u-1", "client.nova", KEY)["changes"] == {}
    daemon.secrets["u-1"]["key"] = "another"
    second = virt_state.secret("nova", "u-1", "client.nova", KEY)
    assert second["changes"] == {"key": "changed"}
    assert daemon.secrets["u-1"]["key"] == CEPHX
    for ret in (first, second):
        assert KEY not in str(ret)
        assert CEPHX not in str(ret)


@pytest.mark.parametrize(
    ("capabilities", "port", "word"),
    [
        ("<guest><arch name='x86_64'><domain type='qemu'/></arch></guest>", 16514, ""),
        ("<guest><arch name='x86_64'><domain type='qemu'/></arch></guest>", None, ""),
        ("<guest><arch name='s390x'><domain type='qemu'/></arch></guest>", 16514, "no emulator"),
    ],
)
def test_a_hypervisor_is_judged(
    capabilities: str, port: int | None, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def virsh(*_: str, uri: str = "") -> str:
        asked.append(uri)
        return capabilities

    pillar = {"libvirt": {"server": {"listen": {"port": port}}}, "host": {"fqdn": "cmp01.test"}}
    monkeypatch.setattr(virt, "_virsh", virsh)
    monkeypatch.setattr(virt, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(virt, "__grains__", {"cpuarch": "x86_64", "id": "x"}, raising=False)
    answer = virt.healthy()
    assert answer["ok"] is not bool(word)
    assert word in answer["sentence"]
    assert ("qemu+tls://cmp01.test:16514/system" in asked) is (answer["ok"] and port is not None)


def test_ovn_gets_what_neutrons_database_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], str]] = []
    told = {"openstack_db.run": lambda argv, user, timeout: ran.append((argv, user))}
    monkeypatch.setattr(neutron_ovn, "__salt__", told, raising=False)
    assert neutron_ovn.sync() == "OVN has what Neutron's database says."
    ((argv, user),) = ran
    assert (argv[0], user) == (
        "/opt/openstack/current/neutron/bin/neutron-ovn-db-sync-util",
        "neutron",
    )
    assert argv[-1] == "--ovn-neutron_sync_mode=repair"
    with pytest.raises(CommandExecutionError, match="everything is no mode"):
        neutron_ovn.sync(mode="everything")
    assert len(ran) == 1
