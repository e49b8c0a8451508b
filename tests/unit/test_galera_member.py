"""What a Galera member says of itself and when it obeys: made up data directory and systemd."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import galera_cluster, galera_sql, unit_age
from saltern.rollout.galera import ZERO_UUID, Member, Position
from saltern.states import galera_member

U = "6b2c4c1e-0000-11f0-8000-000000000001"
GRASTATE = """# GALERA saved state
version: 2.1
uuid:    {uuid}
seqno:   {seqno}
safe_to_bootstrap: {safe}
"""
SYNCED = {
    "wsrep_on": "ON",
    "wsrep_cluster_status": "Primary",
    "wsrep_cluster_size": "3",
    "wsrep_cluster_state_uuid": U,
    "wsrep_ready": "ON",
    "wsrep_local_state": "4",
    "wsrep_local_state_comment": "Synced",
}


class Host:
    """A data directory, a unit and a server that answers what it is told to."""

    def __init__(self, datadir: Path) -> None:
        self.datadir = datadir
        self.state, self.restarts = "inactive", 0
        self.status: dict[str, str] | None = None
        self.position = f"{U}:7"
        self.log = ""
        self.commands: list[str] = []
        self.created: list[str] = []
        self.after_start: Callable[[], None] = self.serve

    def serve(self) -> None:
        self.state, self.status = "active", dict(SYNCED)

    def grastate(self, uuid: str = U, seqno: int = -1, safe: int = 0) -> None:
        text = GRASTATE.format(uuid=uuid, seqno=seqno, safe=safe)
        (self.datadir / "grastate.dat").write_text(text)

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        out = err = ""
        code = 0
        if line.startswith("systemctl show"):
            out = {"ActiveState": self.state, "SubState": "x", "NRestarts": str(self.restarts)}[
                command[3].split("=")[1]
            ]
        elif command[0] == "journalctl":
            out = self.log
        else:
            self.commands.append(line)
            if command[0] == "mariadbd":
                err = f"2026-01-01 0:00:00 0 [Note] WSREP: Recovered position: {self.position}\n"
            elif line == "systemctl stop mariadb":
                self.state, self.status = "inactive", None
            elif command[0] == "galera_new_cluster" or line.startswith("systemctl start"):
                self.after_start()
        return subprocess.CompletedProcess(command, code, out, err)

    def sql(self, statement: str, *_: Any, **__: Any) -> list[dict[str, Any]]:
        if self.status is None:
            raise CommandExecutionError("no answer")
        if statement.startswith("SHOW GLOBAL STATUS"):
            return [{"Variable_name": k, "Value": v} for k, v in self.status.items()]
        if statement.startswith("SELECT @@GLOBAL.wsrep_on"):
            return [{"value": 1 if self.status["wsrep_on"] == "ON" else 0}]
        if statement.startswith("SELECT User"):
            return [{"User": "root"}, {"User": "mysql"}]
        self.created.append(statement)
        return []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name in ("mysql", "performance_schema", "sys", ".sst"):
        (tmp_path / name).mkdir()
    functions = {"galera_sql.run": host.sql, "unit_age.newer": lambda unit, files: []}
    monkeypatch.setattr(galera_cluster, "DATADIR", str(tmp_path))
    monkeypatch.setattr(galera_cluster, "__salt__", functions, raising=False)
    monkeypatch.setattr(galera_cluster, "__pillar__", {}, raising=False)
    monkeypatch.setattr(galera_cluster, "_run", host.run)
    monkeypatch.setattr(galera_cluster.time, "sleep", lambda _: None)
    return host


def member(measure: bool = False) -> Member:
    return Member.from_facts("inf01", galera_cluster.facts(measure=measure))


# --- what it holds ----------------------------------------------------------------------------


def test_what_the_package_leaves_is_no_data(host: Host) -> None:
    assert member() == Member("inf01")


def test_no_data_directory_is_no_data(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(galera_cluster, "DATADIR", "/nonexistent/mysql")
    assert member() == Member("inf01")


def test_the_zero_uuid_is_no_data(host: Host) -> None:
    host.grastate(ZERO_UUID, safe=1)
    found = member()
    assert (found.data, found.safe, found.saved) == (False, True, Position(ZERO_UUID, -1))


def test_a_database_is_data_even_with_the_zero_uuid(host: Host) -> None:
    host.grastate(ZERO_UUID, safe=1)
    (host.datadir / "keystone").mkdir()
    assert member().data is True


def test_a_history_is_data_even_without_a_database(host: Host) -> None:
    host.grastate()
    assert member().data is True


def test_a_cut_off_grastate_promises_nothing(host: Host) -> None:
    (host.datadir / "grastate.dat").write_text("# GALERA saved state\nversion: 2.1\n")
    found = member()
    assert (found.saved, found.safe) == (Position(ZERO_UUID, -1), False)


def test_an_unfinished_transfer_shows(host: Host) -> None:
    (host.datadir / "sst_in_progress").touch()
    assert member().transfer is True


def test_a_position_is_only_asked_of_a_stopped_server_with_data(host: Host) -> None:
    assert member(measure=True).recovered is None
    host.grastate()
    assert member(measure=True).recovered == Position(U, 7)
    host.serve()
    assert member(measure=True).recovered is None


def test_a_unit_that_keeps_trying_counts_as_running(host: Host) -> None:
    host.state = "activating"
    found = member()
    assert (found.running, found.wsrep) == (True, False)


def test_a_synced_member(host: Host) -> None:
    host.serve()
    assert member().serving


def test_no_position_is_an_error_with_the_reason(host: Host) -> None:
    host.position = "none"
    with pytest.raises(CommandExecutionError, match="gave no position"):
        galera_cluster.recover_position()


# --- when it obeys ----------------------------------------------------------------------------


def test_a_fresh_member_bootstraps_and_creates_its_accounts(host: Host) -> None:
    host.grastate(ZERO_UUID, safe=0)
    assert galera_cluster.bootstrap() == "Bootstrapped."
    assert host.commands == ["systemctl stop mariadb", "galera_new_cluster"]
    assert not (host.datadir / "grastate.dat").exists()
    assert host.created == [
        "CREATE USER IF NOT EXISTS clustercheck@localhost IDENTIFIED VIA unix_socket"
    ]


def test_a_member_with_data_does_not_bootstrap_as_if_it_had_none(host: Host) -> None:
    host.grastate()
    with pytest.raises(CommandExecutionError, match="holds data"):
        galera_cluster.bootstrap()
    assert host.commands == []
    assert "safe_to_bootstrap: 0" in (host.datadir / "grastate.dat").read_text()


def test_a_fresh_member_does_not_pretend_to_have_a_position(host: Host) -> None:
    with pytest.raises(CommandExecutionError, match="holds no data"):
        galera_cluster.bootstrap(uuid=U, seqno=7)
    assert host.commands == []


def test_it_bootstraps_only_at_the_position_that_was_decided_on(host: Host) -> None:
    host.grastate()
    host.position = f"{U}:8"
    with pytest.raises(CommandExecutionError, match=f"at {U}:8, not at {U}:7"):
        galera_cluster.bootstrap(uuid=U, seqno=7)
    assert "galera_new_cluster" not in host.commands
    assert "safe_to_bootstrap: 0" in (host.datadir / "grastate.dat").read_text()


def test_it_marks_itself_safe_and_gives_up_its_old_component(host: Host) -> None:
    host.grastate()
    (host.datadir / "gvwstate.dat").write_text("my_uuid: …")
    galera_cluster.bootstrap(uuid=U, seqno=7)
    assert "safe_to_bootstrap: 1" in (host.datadir / "grastate.dat").read_text()
    assert not (host.datadir / "gvwstate.dat").exists()
    assert host.commands[-1] == "galera_new_cluster"


def test_a_primary_member_is_not_bootstrapped_again(host: Host) -> None:
    host.grastate()
    host.serve()
    assert "already" in galera_cluster.bootstrap(uuid=U, seqno=7)
    assert host.commands == []


def test_joining_waits_for_synced(host: Host) -> None:
    states = iter(["1", "1", "3", "4"])

    def step_by_step() -> None:
        host.serve()
        assert host.status is not None
        host.status["wsrep_local_state"] = "1"

    host.after_start = step_by_step
    original = host.sql

    def sql(statement: str, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        if statement.startswith("SHOW") and host.status is not None:
            host.status["wsrep_local_state"] = next(states, "4")
        return original(statement, *args, **kwargs)

    galera_cluster.__salt__["galera_sql.run"] = sql
    assert galera_cluster.join() == "Synced in a cluster of 3."
    assert next(states, None) is None


def test_joining_without_a_primary_component_says_so(host: Host) -> None:
    def give_up() -> None:
        host.state = "failed"
        host.log = (
            "Starting MariaDB 10.11\n[ERROR] WSREP: failed to open gcomm backend connection:"
            " 110: failed to reach primary view\n[ERROR] Aborting\n"
        )

    host.after_start = give_up
    with pytest.raises(CommandExecutionError, match="no Primary component can be reached"):
        galera_cluster.join()


def test_a_crash_is_reported_with_its_last_error(host: Host) -> None:
    def crash() -> None:
        host.state = "failed"
        host.log = "2026-01-01  1:00:00 0 [ERROR] InnoDB: No space left on device\nbye\n"

    host.after_start = crash
    with pytest.raises(CommandExecutionError, match="No space left on device"):
        galera_cluster.join()


def test_waiting_ends(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.state = "activating"
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(galera_cluster.time, "monotonic", lambda: next(clock))
    with pytest.raises(CommandExecutionError, match="Not Synced after 5 s"):
        galera_cluster.wait_synced(deadline=5)


@pytest.mark.parametrize(
    ("change", "members", "ok", "word"),
    [
        ({}, 3, True, "Synced in a cluster of 3"),
        ({}, 0, True, "Synced"),
        ({"wsrep_cluster_size": "2"}, 3, False, "2 of 3 members"),
        ({"wsrep_cluster_status": "non-Primary"}, 3, False, "non-Primary"),
        ({"wsrep_local_state": "1", "wsrep_local_state_comment": "Joining"}, 3, False, "Joining"),
        ({"wsrep_ready": "OFF"}, 3, False, "Synced"),
    ],
)
def test_health(host: Host, change: dict[str, str], members: int, ok: bool, word: str) -> None:
    host.serve()
    assert host.status is not None
    host.status |= change
    ids = [f"inf0{number}" for number in range(1, members + 1)]
    galera_cluster.__pillar__["topology"] = {"roles": {"galera.server": ids}}
    answer = galera_cluster.healthy()
    assert answer["ok"] is ok
    assert word in answer["sentence"]


def test_a_dead_server_is_not_healthy(host: Host) -> None:
    assert galera_cluster.healthy()["ok"] is False


def test_the_health_checks_account_is_one_of_the_clusters_own(tree: Path) -> None:
    import yaml

    defaults = yaml.safe_load((tree / "formulas/galera/defaults.yaml").read_text())
    assert defaults["server"]["clustercheck"]["user"] in galera_cluster.ACCOUNTS
    assert defaults["server"]["config_file"] in galera_cluster.FILES


# --- the state --------------------------------------------------------------------------------


@pytest.fixture
def state(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def function(name: str) -> Callable[..., Any]:
        return getattr(galera_cluster, name)

    names = ("facts", "join", "restart", "stop", "bootstrap", "recover_position")
    functions = {f"galera_cluster.{name}": function(name) for name in names}
    monkeypatch.setattr(galera_member, "__salt__", functions, raising=False)
    monkeypatch.setattr(galera_member, "__opts__", {"test": False}, raising=False)
    return galera_member.running


def test_an_unformed_member_stays_stopped(host: Host, state: Callable[..., Any]) -> None:
    ret = state("mariadb")
    assert (ret["result"], ret["changes"], host.commands) == (True, {}, [])
    assert "galera.form" in ret["comment"]


def test_a_stopped_member_with_data_is_started(host: Host, state: Callable[..., Any]) -> None:
    host.grastate()
    ret = state("mariadb")
    assert (ret["result"], ret["changes"]) == (True, {"mariadb": "started"})
    assert "galera_new_cluster" not in host.commands
    again = state("mariadb")
    assert (again["result"], again["changes"]) == (True, {})


def test_test_mode_starts_nothing(
    host: Host, state: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.grastate()
    galera_member.__opts__["test"] = True
    ret = state("mariadb")
    assert (ret["result"], ret["changes"], host.commands) == (None, {"mariadb": "started"}, [])


def test_a_new_configuration_is_not_restarted_in_a_cluster(
    host: Host, state: Callable[..., Any]
) -> None:
    host.grastate()
    host.serve()
    galera_cluster.__salt__["unit_age.newer"] = lambda unit, files: ["/etc/mysql/x.cnf"]
    ret = state("mariadb")
    assert (ret["result"], ret["changes"], host.commands) == (True, {}, [])
    assert "/etc/mysql/x.cnf" in ret["comment"]


def test_a_lone_member_is_formed_begun_again_and_restarted(
    host: Host, state: Callable[..., Any]
) -> None:
    assert state("mariadb", standalone=True)["changes"] == {"mariadb": "bootstrapped"}
    host.state, host.status = "failed", None
    host.grastate()
    assert state("mariadb", standalone=True)["changes"] == {"mariadb": "started"}
    assert host.commands[-1] == "galera_new_cluster"
    assert state("mariadb", standalone=True)["changes"] == {}


def test_a_member_that_cannot_join_fails_the_state(host: Host, state: Callable[..., Any]) -> None:
    host.grastate()

    def fail() -> None:
        host.state = "failed"

    host.after_start = fail
    ret = state("mariadb")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "gave up" in ret["comment"]


# --- SQL and ages -----------------------------------------------------------------------------


def test_the_password_hash_is_the_servers() -> None:
    # mysql_native_password of "password", as documented by MariaDB for PASSWORD()
    assert galera_sql.password_hash("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


def test_without_pymysql_the_client_gets_the_statement_on_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "mariadb"
    client.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/args\ncat > {tmp_path}/stdin\n'
        "printf 'User\\tHost\\na\\\\tb\\t%%\\n'\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(galera_sql, "pymysql", None)
    rows = galera_sql.run("SELECT %s, %s", ("it's", 5), causal=True)
    assert rows == [{"User": "a\tb", "Host": "%"}]
    assert "it" not in (tmp_path / "args").read_text()
    assert (tmp_path / "stdin").read_text() == (
        "SET SESSION wsrep_sync_wait = 15; SELECT 'it\\'s', 5"
    )


def test_a_server_that_is_away_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(galera_sql, "SOCKET", str(tmp_path / "none.sock"))
    with pytest.raises(CommandExecutionError, match="MariaDB over"):
        galera_sql.run("SELECT 1")


def test_files_newer_than_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    old, new = tmp_path / "old", tmp_path / "new"
    for path, age in ((old, 100), (new, 1)):
        path.touch()
        os.utime(path, (now - age, now - age))
    files = [str(old), str(new), str(tmp_path / "missing")]
    monkeypatch.setattr(unit_age, "started", lambda unit: now - 50)
    assert unit_age.newer("mariadb", files) == [str(new)]
    monkeypatch.setattr(unit_age, "started", lambda unit: None)
    assert unit_age.newer("mariadb", files) == []


def test_when_a_process_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    since_boot = int((time.clock_gettime(time.CLOCK_MONOTONIC) - 30) * 1_000_000)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f"#!/bin/sh\necho MainPID=7\necho ExecMainStartTimestampMonotonic={since_boot}\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    started = unit_age.started("mariadb")
    assert started is not None
    assert abs(time.time() - 30 - started) < 5
    systemctl.write_text("#!/bin/sh\necho MainPID=0\necho ExecMainStartTimestampMonotonic=0\n")
    assert unit_age.started("mariadb") is None
