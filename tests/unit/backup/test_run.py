"""Taking, verifying, restoring and expiring over a bus that replays; exit codes of the runner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from saltern.backup import run, sources
from saltern.errors import BackupError, BackupRefusedError
from saltern.rollout.ports import Call, Return
from saltern.runners import backup as runner
from tests.unit.backup.test_decisions import node
from tests.unit.rollout.fakes import FakeBus

ROLE = "galera.server"
LOGICAL = f"{ROLE}/inf03/l"
SPECS = {
    ROLE: {"what": "x", "from": "galera", "kinds": {
        "logical": {"call": "backup_dump.take", "verify": "backup_dump.verify"},
        "full": {"call": "backup_copy.take", "verify": "backup_copy.verify"},
        "incremental": {"call": "backup_copy.take", "verify": "backup_copy.verify", "base": "full"},
    }},
    "pki.ca": {"what": "x", "from": "each", "kinds": {"full": {
        "call": "backup_source.take", "kwargs": {"files": ["/ca"]},
        "verify": "backup_source.verify", "restore": {"call": "backup_source.restore"},
    }}},
}  # fmt: skip


def row(kind: str, ident: str, at: str, **more: Any) -> dict[str, Any]:
    role, host = more.pop("role", ROLE), more.pop("host", "inf03")
    return {
        "path": f"{role}/{host}/{ident}", "cluster": "demo", "role": role, "kind": kind,
        "host": host, "id": ident, "finished": at, "bytes": 10, "plain": 20,
        "databases": ["keystone", "nova"], **more,
    }  # fmt: skip


class World:
    """Hosts that answer, and what they were asked."""

    def __init__(self) -> None:
        self.rows = [
            row("full", "f", "2026-06-01T00:00:00Z", lsn={"from": 0, "to": 10}),
            row("incremental", "i", "2026-06-01T01:00:00Z", lsn={"from": 10, "to": 20}, base="f"),
            row("logical", "l", "2026-06-01T02:00:00Z"),
            row("full", "c", "2026-06-01T03:00:00Z", role="pki.ca", host="cfg01"),
        ]
        self.free = 100 << 30
        self.down: set[str] = set()
        self.fails: dict[str, str] = {}
        self.answers: dict[str, Any] = {}
        self.bus = FakeBus(self.answer)

    def answer(self, name: str, call: Call) -> Return:
        if name in self.down:
            return Return(name, False, silent=True, sentence=f"{name}: did not answer.")
        said = self.fails.get(f"{name} {call.fun}", self.fails.get(call.fun))
        if said:
            return Return(name, False, sentence=f"{name}: {said}")
        return Return(name, True, self.data(name, call))

    def data(self, name: str, call: Call) -> Any:
        if call.fun in self.answers:
            return self.answers[call.fun]
        if call.fun == "backup_store.facts":
            return {"free": self.free, "size": 1 << 40, "now": 1780315200.0, "bundles": self.rows,
                    "unfinished": {}, "damaged": {}}  # fmt: skip
        if call.fun == "galera_cluster.facts":
            status = {"wsrep_on": "ON", "wsrep_cluster_status": "Primary",
                      "wsrep_local_state": "4", "wsrep_cluster_size": "3"}  # fmt: skip
            return {"data": True, "grastate": None, "transfer": False, "running": True,
                    "wsrep": status}  # fmt: skip
        if call.fun.endswith(".take"):
            return {"path": f"{call.arg[0]}/{name}/new", "sentence": f"{name} gave one."}
        if call.fun == "backup_store.check":
            return {}
        return {"sentence": f"{call.fun} on {name}.", "position": "u:5", "bytes": 10**9}

    def asked(self, *functions: str) -> list[tuple[str, str]]:
        """Function and node of the calls that change or make something."""
        calls = [call for group in self.bus.published for call in group]
        quiet = ("facts", "ping", "check")
        return [
            (call.fun, one) for call in calls for one in call.nodes
            if (call.fun in functions if functions else not call.fun.endswith(quiet))
        ]  # fmt: skip

    def kwargs(self, function: str) -> list[dict[str, Any]]:
        return [dict(c.kwarg) for group in self.bus.published for c in group if c.fun == function]

    def backups(self) -> run.Backups:
        members = {
            name: node(ROLE, "backup.client", **{ROLE: {"stateful": True, "backup": SPECS[ROLE]}})
            for name in ("inf01", "inf02", "inf03")
        }
        members["cfg01"] = node(
            "pki.ca", "backup.client", "backup.server",
            **{"pki.ca": {"stateful": True, "backup": SPECS["pki.ca"]}},
        )  # fmt: skip
        return run.Backups(self.bus, "demo", sources.read(members))


@pytest.fixture
def world() -> World:
    return World()


def test_everything_that_is_stateful_is_taken_of_whom_nobody_misses(world: World) -> None:
    done = world.backups().take().to_ret()
    assert done["result"] is None or done["result"] is True
    assert world.asked() == [
        ("backup_copy.take", "inf03"), ("backup_dump.take", "inf03"),
        ("backup_source.take", "cfg01"),
    ]  # fmt: skip
    assert done["changes"][ROLE] == {f"{ROLE}/inf03/new": "logical"}
    assert world.kwargs("backup_source.take") == [{"files": ["/ca"]}]


def test_the_next_member_is_asked_when_one_cannot(world: World) -> None:
    world.fails["inf03 backup_dump.take"] = "Writes cannot be held."
    done = world.backups().take([ROLE], ["logical"], databases=["nova"]).to_ret()
    assert done["result"] is True
    assert world.asked() == [("backup_dump.take", "inf03"), ("backup_dump.take", "inf02")]
    assert world.kwargs("backup_dump.take")[0] == {"only": ["nova"]}


def test_dumps_are_never_taken_of_the_one_that_clients_write_to(world: World) -> None:
    world.fails["backup_dump.take"] = "no"
    done = world.backups().take([ROLE], ["logical"]).to_ret()
    assert done["result"] is False
    assert ("backup_dump.take", "inf01") not in world.asked()
    assert done["comment"].startswith(f"{ROLE} has no new logical bundle. inf03: no inf02: no")


def test_an_incremental_one_builds_on_the_newest_of_its_chain(world: World) -> None:
    world.backups().take([ROLE], ["incremental"])
    assert world.kwargs("backup_copy.take") == [{"base": f"{ROLE}/inf03/i"}]


def test_a_new_chain_begins_where_nothing_can_be_built_on(world: World) -> None:
    world.rows = []
    done = world.backups().take([ROLE], ["incremental"]).to_ret()
    assert world.kwargs("backup_copy.take") == [{}]
    assert "nothing to build on, so a full one is taken" in done["comment"]


def test_a_full_disk_is_said_before_and_after(world: World) -> None:
    world.free = 1 << 20
    with pytest.raises(BackupRefusedError, match=r"its disk has 0.0 GB of free space"):
        world.backups().take()
    assert world.asked() == []
    world.free = 2 << 30
    world.fails["backup_dump.take"] = "it could not store it."
    backups = world.backups()
    answer = world.bus.answer

    def fuller(name: str, call: Call) -> Return:
        if call.fun == "backup_dump.take":
            world.free = 0
        return answer(name, call)

    world.bus.answer = fuller
    done = backups.take([ROLE], ["logical"]).to_ret()
    assert "The disk of cfg01 is full: 0.0 GB are free." in done["comment"]


def test_a_silent_server_is_one_sentence(world: World) -> None:
    world.down.add("cfg01")
    with pytest.raises(BackupError, match=r"cfg01: did not answer\. Apply backup.server to it\."):
        world.backups().take()


def test_verify_restores_a_whole_chain_aside(world: World) -> None:
    done = world.backups().verify(f"{ROLE}/inf03/i").to_ret()
    (call,) = [c for group in world.bus.published for c in group if c.fun == "backup_copy.verify"]
    assert (call.nodes, call.arg) == (("inf03",), ([f"{ROLE}/inf03/f", f"{ROLE}/inf03/i"],))
    assert done["verified"] == [f"{ROLE}/inf03/i"]
    assert len(world.backups().verify().to_ret()["verified"]) == 3


def test_verify_says_what_the_server_has_lost(world: World) -> None:
    world.answers["backup_store.check"] = {LOGICAL: "nova.zst.gpg is not what it was"}
    done = world.backups().verify(LOGICAL).to_ret()
    assert done["result"] is False
    assert done["comment"].startswith(f"{LOGICAL}: damaged: nova.zst.gpg is not what it was.")
    assert world.asked() == []


def test_what_a_dump_is_taken_for_is_told_to_the_node(world: World) -> None:
    world.backups().take([ROLE], ["logical"], databases=["nova"], label="before-2026.1")
    assert world.kwargs("backup_dump.take") == [{"only": ["nova"], "label": "before-2026.1"}]
    with pytest.raises(BackupRefusedError, match="only logical bundles have a label"):
        world.backups().take([ROLE], label="before-2026.1")
    with pytest.raises(BackupRefusedError, match=r"with the label before-2027\.1"):
        world.backups().load(ROLE, {"nova": "nova"}, label="before-2027.1")


def test_databases_are_replaced_or_loaded_beside(world: World) -> None:
    world.backups().load(ROLE, {"nova": "nova"})
    world.backups().load(ROLE, {"nova": "nova_rehearsal"})
    calls = [c for group in world.bus.published for c in group if c.fun.startswith("backup_dump")]
    assert [(c.fun, c.arg) for c in calls] == [
        ("backup_dump.restore", (LOGICAL, ["nova"])),
        ("backup_dump.load", (LOGICAL, {"nova": "nova_rehearsal"})),
    ]
    with pytest.raises(BackupRefusedError, match="Do it in two commands"):
        world.backups().load(ROLE, {"nova": "nova", "keystone": "x"})
    with pytest.raises(BackupRefusedError, match="it has no glance; it has keystone, nova"):
        world.backups().load(ROLE, {"glance": "glance"}, LOGICAL)
    with pytest.raises(BackupRefusedError, match=r"it is a full bundle of galera.server"):
        world.backups().load(ROLE, {"nova": "nova"}, f"{ROLE}/inf03/f")


def test_a_cluster_is_made_ready_stopped_and_begun_again(world: World) -> None:
    done = world.backups().rebuild(ROLE).to_ret()
    assert world.asked() == [
        ("backup_copy.stage", "inf01"),
        *[("galera_cluster.stop", name) for name in ("inf01", "inf02", "inf03")],
        ("backup_copy.place", "inf01"),
        ("backup_copy.put_aside", "inf02"), ("backup_copy.put_aside", "inf03"),
        ("galera_cluster.bootstrap", "inf01"),
        ("galera_cluster.join", "inf02"), ("galera_cluster.join", "inf03"),
    ]  # fmt: skip
    assert world.kwargs("galera_cluster.bootstrap") == [{"uuid": "u", "seqno": 5}]
    assert done["comment"].startswith("The cluster has the data of 2026-06-01T01:00:00Z.")


def test_nothing_is_stopped_before_the_data_are_ready(world: World) -> None:
    world.fails["backup_copy.stage"] = "it is damaged."
    with pytest.raises(BackupError, match="it is damaged"):
        world.backups().rebuild(ROLE)
    assert world.asked() == [("backup_copy.stage", "inf01")]
    world.down.add("inf02")
    with pytest.raises(BackupRefusedError, match="inf02 does not answer"):
        world.backups().rebuild(ROLE)
    assert world.backups().sources.found[ROLE].nodes == ("inf01", "inf02", "inf03")


def test_other_roles_go_back_to_where_they_came_from(world: World) -> None:
    world.backups().place("pki.ca")
    assert world.asked() == [("backup_source.restore", "cfg01")]
    assert world.kwargs("backup_source.restore") == [{"role": "pki.ca", "replace": False}]


def test_expired_bundles_are_removed_by_the_server(world: World) -> None:
    world.rows.append(row("logical", "old", "2026-01-01T00:00:00Z"))
    policy = run.retention.Policy(last=1, hours=0, daily=0, weekly=0)
    preview = world.backups().expire(policy, test=True).to_ret(test=True)
    assert (preview["result"], world.asked()) == (None, [])
    done = world.backups().expire(policy).to_ret()
    assert set(done["changes"]) == {f"{ROLE}/inf03/old"}
    assert world.asked() == [("backup_store.remove", "cfg01")]


# -- the runner ----------------------------------------------------------------------------------


@pytest.fixture
def ask(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setattr(runner, "_backups", lambda cluster: (world.backups(), {}))
    monkeypatch.setattr(runner, "__context__", {}, raising=False)

    def call(function: str, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = getattr(runner, function)(**kwargs)
        return found

    return call


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"databases": "nova"}, "it must be said whether databases are replaced"),
        ({"databases": "nova", "suffix": "_x", "replace": True}, "it must be said whether"),
        ({"kind": "full"}, "a full bundle replaces the data of the whole cluster"),
        ({"kind": "full", "replace": True, "databases": "nova"}, "a full bundle replaces"),
        ({"kind": "odd"}, "there is no kind odd"),
        ({"point": "soon"}, "soon is no time"),
        ({"databases": "nova", "replace": True, "bundle": "a/b/c"}, "there is no bundle a/b/c"),
        ({"databases": "nova", "replace": True, "point": "2020-01-01"}, "no logical bundle of"),
        ({"role": "nova.api"}, "nova.api has no backup of its own"),
    ],
)
def test_what_is_not_clear_is_refused(
    ask: Callable[..., dict[str, Any]], world: World, kwargs: dict[str, Any], said: str
) -> None:
    ret = ask("restore", **kwargs)
    assert (ret["result"], ret["retcode"], ret["code"]) == (False, 2, "backup-refused")
    assert said in ret["comment"]
    assert world.asked() == []


def test_exit_codes(ask: Callable[..., dict[str, Any]], world: World) -> None:
    assert ask("restore", databases="nova", suffix="_rehearsal").get("retcode", 0) == 0
    assert ask("list_")["bundles"][0]["restores"] is True
    assert ask("status")["result"] is True
    preview = ask("restore", kind="full", replace=True, test=True)
    assert (preview["result"], preview["changes"]["inf02"]) == (None, "joins it")
    world.fails["backup_dump.take"] = "no"
    assert ask("take", roles=ROLE, kinds="logical")["retcode"] == 1
    world.fails["backup_dump.restore"] = "it is damaged."
    ret = ask("restore", databases="nova", replace=True)
    assert (ret["retcode"], ret["code"]) == (1, "backup")
    world.rows = []
    ret = ask("status")
    assert ret["result"] is False
    assert ret["comment"].startswith("galera.server, pki.ca has no bundle.")
