"""Members of RabbitMQ, Galera and of a virtual address while they are upgraded: made up servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import galera_upkeep, keepalived_vrrp, rabbitmq_upkeep, readback
from saltern.states import galera_upgrade, rabbitmq_upgrade

# --- RabbitMQ ---------------------------------------------------------------------------------


class Broker:
    """As much of RabbitMQ's tools as is used."""

    def __init__(self) -> None:
        self.flags = {
            "quorum_queue": "enabled",
            "khepri_db": "disabled",
            "message_containers": "enabled",
        }
        self.stability = {"khepri_db": "experimental"}
        self.members = ["rabbit@inf01", "rabbit@inf02", "rabbit@inf03"]
        self.running = list(self.members)
        self.version, self.package = "3.13.7", "1:3.13.7-2"
        self.critical = False
        self.up = True
        self.deaf = False
        self.words: list[str] = []

    def tool(self, program: str, *words: str, timeout: float = 0) -> str:
        assert timeout
        plain = [word for word in words if not word.startswith("--")]
        self.words.append(" ".join([program, *plain]))
        if program == "rabbitmqctl" and plain[0] == "list_feature_flags":
            rows = [
                {"name": n, "state": s, "stability": self.stability.get(n, "stable")}
                for n, s in self.flags.items()
            ]
            return json.dumps(rows)
        if plain[0] == "enable_feature_flag" and not self.deaf:
            self.flags[plain[1]] = "enabled"
        if plain[0] == "check_if_node_is_quorum_critical" and self.critical:
            raise CommandExecutionError("rabbitmq-queues: Error: 2 queues")
        if plain[0] == "server_version":
            return f"{self.version}\n"
        return ""

    def status(self) -> dict[str, Any]:
        if not self.up:
            raise CommandExecutionError("rabbitmqctl cluster_status: Error")
        return {"members": self.members, "running": self.running, "partitions": {}, "alarms": []}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    salt: dict[str, Callable[..., Any]] = {
        "rabbitmq_cluster.tool": made.tool,
        "rabbitmq_cluster.status": made.status,
        "pkg.version": lambda name: made.package,
    }
    monkeypatch.setattr(rabbitmq_upkeep, "__salt__", salt, raising=False)
    names = ("disabled", "rejoined")
    states = {f"rabbitmq_upkeep.{name}": getattr(rabbitmq_upkeep, name) for name in names}
    states["readback.unknown"] = readback.unknown
    monkeypatch.setattr(rabbitmq_upgrade, "__salt__", states, raising=False)
    monkeypatch.setattr(rabbitmq_upgrade, "__opts__", {"test": False}, raising=False)
    monkeypatch.setattr(rabbitmq_upkeep, "LOOK", 0.01)
    return made


def test_only_stable_flags_have_to_be_enabled(broker: Broker) -> None:
    assert rabbitmq_upkeep.disabled() == []
    broker.flags["message_containers"] = "disabled"
    assert rabbitmq_upkeep.disabled() == ["message_containers"]
    told = rabbitmq_upgrade.ready("x")
    assert told["result"] is False
    assert "without which a later release refuses to start: message_containers" in told["comment"]
    assert rabbitmq_upkeep.enable_flags() == "Enabled message_containers."
    assert rabbitmq_upkeep.enable_flags() == "All stable feature flags are enabled."
    assert rabbitmq_upgrade.ready("x")["result"] is True
    assert broker.flags["khepri_db"] == "disabled"


def test_a_flag_that_a_member_does_not_know_yet_is_no_fault_before_and_one_in_the_end(
    broker: Broker,
) -> None:
    broker.flags["message_containers"] = "unavailable"
    assert rabbitmq_upgrade.ready("x")["result"] is True
    with pytest.raises(
        CommandExecutionError, match=r"not enabled: message_containers\. Is every member"
    ):
        rabbitmq_upkeep.enable_flags()


def test_a_member_that_queues_need_may_not_stop(broker: Broker) -> None:
    assert rabbitmq_upkeep.may_stop()["ok"] is True
    broker.critical = True
    assert "would lose their majority" in rabbitmq_upkeep.may_stop()["sentence"]
    broker.members = broker.members[:1]
    assert rabbitmq_upkeep.may_stop()["ok"] is True
    broker.up = False
    assert rabbitmq_upkeep.may_stop()["ok"] is False


def test_maintenance_mode_is_taken_where_others_are_there_and_given_back(broker: Broker) -> None:
    assert rabbitmq_upkeep.drain(deadline=60).startswith("In maintenance mode")
    assert broker.words == [
        "rabbitmq-upgrade await_online_quorum_plus_one -t 60",
        "rabbitmq-upgrade drain -t 60",
    ]
    assert rabbitmq_upkeep.revive() == "In service."
    broker.up = False
    assert "leaves maintenance mode when it starts" in rabbitmq_upkeep.revive()
    broker.up, broker.members = True, broker.members[:1]
    broker.words.clear()
    assert "alone" in rabbitmq_upkeep.drain()
    assert broker.words == []


def test_a_member_is_back_with_what_is_installed_and_with_all_others(broker: Broker) -> None:
    assert rabbitmq_upkeep.rejoined() == "RabbitMQ 3.13.7 runs in a cluster of 3."
    assert rabbitmq_upgrade.rejoined("x")["changes"] == {}
    broker.running = broker.running[:2]
    with pytest.raises(CommandExecutionError, match="rabbit@inf03 do not run"):
        rabbitmq_upkeep.rejoined(deadline=0.05)
    broker.package = "4.0.5-1"
    told = rabbitmq_upgrade.rejoined("x")
    assert (told["result"], told["comment"]) == (
        False,
        "RabbitMQ 3.13.7 runs and 4.0.5 is installed: restart rabbitmq-server.",
    )


# --- Galera -----------------------------------------------------------------------------------


class Member:
    """What a Galera member and its peers say."""

    def __init__(self) -> None:
        self.state = "Synced"
        self.peers = {"10.0.0.2": "Synced", "10.0.0.3": "Synced"}
        self.bytes, self.grows, self.uptime = 1_000_000, 0, 100_000
        self.size = "128M"
        self.needed = True
        self.seqno = 12
        self.runs = True
        self.commands: list[str] = []

    def sql(self, statement: str, args: tuple[Any, ...] = (), **_: Any) -> list[dict[str, Any]]:
        if "provider_options" in statement:
            return [{"options": f"base_port = 4567; gcache.size = {self.size}; gcs.x = 1"}]
        if "VERSION()" in statement:
            return [{"version": "10.11.7-MariaDB-1"}]
        self.bytes += self.grows
        known = {
            "wsrep_local_state_comment": {"wsrep_local_state_comment": self.state},
            "wsrep_re%_bytes": {
                "wsrep_replicated_bytes": str(self.bytes),
                "wsrep_received_bytes": "0",
            },
            "Uptime": {"Uptime": str(self.uptime)},
            "wsrep_protocol_version": {"wsrep_protocol_version": "10"},
        }
        return [{"Variable_name": k, "Value": v} for k, v in known[args[0]].items()]

    def run(self, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        assert timeout
        self.commands.append(" ".join(command))
        code = 0
        if "--check-if-upgrade-is-needed" in command:
            code = 0 if self.needed else 1
        else:
            self.needed = False
        return subprocess.CompletedProcess(command, code, "", "")

    def facts(self) -> dict[str, Any]:
        saved = {"uuid": "u", "seqno": self.seqno if not self.runs else -1}
        return {"running": self.runs, "wsrep": {} if self.runs else None, "grastate": saved}

    def stop(self) -> str:
        self.runs = False
        return "Stopped."


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    made = Member()
    salt: dict[str, Callable[..., Any]] = {
        "galera_sql.run": made.sql,
        "galera_cluster.facts": made.facts,
        "galera_cluster.stop": made.stop,
        "galera_cluster.wait_synced": lambda deadline: "Synced in a cluster of 3.",
        "pkg.version": lambda name: "1:10.11.7-0+deb12u1",
        "readback.unknown": readback.unknown,
    }
    nodes = {f"inf0{n}.t": {"name": f"inf0{n}", "address": f"10.0.0.{n}"} for n in (1, 2, 3)}
    topology = {"nodes": nodes, "roles": {"galera.server": list(nodes)}}
    pillar = {"topology": topology, "host": {"fqdn": "inf01.t"}}
    monkeypatch.setattr(galera_upkeep, "__salt__", salt, raising=False)
    monkeypatch.setattr(galera_upkeep, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(galera_upkeep, "_told", made.peers.__getitem__)
    monkeypatch.setattr(galera_upkeep, "_copier", lambda: "")
    monkeypatch.setattr(galera_upkeep, "_run", made.run)
    monkeypatch.setattr(galera_upkeep, "SAMPLE", 0.01)
    names = ("quiet", "cache_holds", "leave", "left", "current", "outdated", "upgrade_tables")
    states = {f"galera_upkeep.{name}": getattr(galera_upkeep, name) for name in names}
    monkeypatch.setattr(galera_upgrade, "__salt__", {**salt, **states}, raising=False)
    monkeypatch.setattr(galera_upgrade, "__opts__", {"test": False}, raising=False)
    return made


def test_a_donor_a_joiner_and_a_backup_are_left_in_peace(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert galera_upkeep.quiet()["ok"] is True
    member.peers["10.0.0.3"] = "Donor/Desynced"
    assert "inf03 is Donor/Desynced" in galera_upkeep.quiet()["sentence"]
    assert galera_upgrade.ready("x")["result"] is False
    member.peers["10.0.0.3"] = "Synced"
    member.state = "Joined"
    assert "this member is Joined" in galera_upkeep.quiet()["sentence"]
    monkeypatch.setattr(galera_upkeep, "_copier", lambda: "mariadb-backup")
    assert galera_upkeep.quiet()["sentence"].startswith("mariadb-backup runs on this member")


@pytest.mark.parametrize(
    ("written", "uptime", "grows", "holds"),
    [
        (0, 1000, 0, True),
        # 128 MiB in a thousand seconds: more than 900 s
        (128 * 1024**2, 1000, 0, True),
        (128 * 1024**2, 500, 0, False),
        # little on average, much right now
        (1000, 100_000, 1024**2, False),
    ],
)
def test_the_write_set_cache_is_held_against_what_is_written(
    member: Member, written: int, uptime: int, grows: int, holds: bool
) -> None:
    member.bytes, member.uptime, member.grows = written, uptime, grows
    told = galera_upkeep.cache_holds(900)
    assert told["ok"] is holds, told
    assert galera_upgrade.ready("x", 900)["result"] is holds
    assert ("Raise galera:server:gcache" in told["sentence"]) is not holds


def test_a_member_leaves_once_and_in_order(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(galera_upgrade.__opts__, "test", True)
    assert galera_upgrade.left("mariadb")["result"] is None
    monkeypatch.setitem(galera_upgrade.__opts__, "test", False)
    told = galera_upgrade.left("mariadb")
    assert (told["changes"], told["comment"]) == ({"mariadb": "stopped"}, "Left at u:12.")
    assert galera_upgrade.left("mariadb")["changes"] == {}
    assert galera_upgrade.ready("mariadb")["comment"] == "It does not serve."
    member.seqno = -1
    told = galera_upgrade.left("mariadb")
    assert told["result"] is False
    assert "a whole copy would be made for it" in told["comment"]


def test_tables_follow_the_server_once_and_nothing_of_it_is_replicated(member: Member) -> None:
    assert galera_upgrade.migrated("mariadb")["changes"] == {"system tables": "upgraded"}
    assert "mariadb-upgrade --skip-write-binlog" in member.commands
    again = galera_upgrade.migrated("mariadb")
    assert (again["result"], again["changes"]) == (True, {})
    assert galera_upkeep.finalize().endswith("The members agreed on protocol 10.")
    member.needed = True
    with pytest.raises(CommandExecutionError, match=r"galera\.upgrade\.migrate"):
        galera_upkeep.finalize()


# --- the virtual address ----------------------------------------------------------------------


@pytest.fixture
def vrrp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A holder of three; what its mark and its neighbours make of it."""
    mark = tmp_path / "away"
    seen: dict[str, Any] = {"mark": mark, "moves": True, "reached": True, "members": 3}
    members = [f"ctl0{n}" for n in range(1, 4)]
    pillar: dict[str, Any] = {
        "keepalived": {"vrrp": {"address": "10.0.0.10"}},
        "topology": {"roles": {"keepalived.vrrp": members}},
    }
    seen["pillar"] = pillar

    def state() -> dict[str, Any]:
        return {"address": "10.0.0.10", "holder": not (mark.exists() and seen["moves"])}

    def healthy() -> dict[str, Any]:
        return {"ok": seen["reached"], "sentence": "10.0.0.10:443 cannot be reached"}

    monkeypatch.setattr(keepalived_vrrp, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(keepalived_vrrp, "_AWAY", str(mark))
    monkeypatch.setattr(keepalived_vrrp, "_LOOK", 0.01)
    monkeypatch.setattr(keepalived_vrrp, "state", state)
    monkeypatch.setattr(keepalived_vrrp, "healthy", healthy)
    return seen


def test_the_address_is_given_up_and_may_come_again(vrrp: dict[str, Any]) -> None:
    assert "held by another host" in keepalived_vrrp.away()
    assert vrrp["mark"].exists()
    assert "held by another host" in keepalived_vrrp.away()
    assert keepalived_vrrp.back().startswith("This host may hold")
    assert keepalived_vrrp.back() == "This host was not taken out."


@pytest.mark.parametrize(
    ("what", "sentence"), [("moves", "this host still holds it"), ("reached", "cannot be reached")]
)
def test_an_address_that_nobody_else_takes_stays(
    vrrp: dict[str, Any], what: str, sentence: str
) -> None:
    vrrp[what] = False
    with pytest.raises(CommandExecutionError, match=sentence):
        keepalived_vrrp.away(wait=0.05)
    assert not vrrp["mark"].exists()


def test_who_is_alone_or_holds_it_whatever_happens_keeps_it(vrrp: dict[str, Any]) -> None:
    vrrp["pillar"]["keepalived"]["vrrp"]["check"] = None
    assert "without keepalived:vrrp:check" in keepalived_vrrp.away()
    vrrp["pillar"]["topology"]["roles"]["keepalived.vrrp"] = ["ctl01"]
    assert "no other host" in keepalived_vrrp.away()
    assert not vrrp["mark"].exists()
