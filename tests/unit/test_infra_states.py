"""States of databases and messaging accounts: idempotent, honest in test mode, never telling."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import galera_sql, readback
from saltern.states import galera_db, rabbitmq_server

SECRET = "correct horse battery"


# --- databases --------------------------------------------------------------------------------


class Server:
    """As much of MariaDB as the states use."""

    def __init__(self) -> None:
        self.databases: dict[str, tuple[str, str]] = {}
        self.users: dict[tuple[str, str], dict[str, str]] = {}
        self.grants: dict[tuple[str, str], dict[str, set[str]]] = {}
        self.written: list[tuple[str, tuple[Any, ...]]] = []
        self.up = True
        self.deaf = False

    def run(self, statement: str, args: tuple[Any, ...] = (), causal: bool = False) -> Any:
        assert causal
        if not self.up:
            raise CommandExecutionError("MariaDB over /run/mysqld/mysqld.sock: refused")
        if statement.startswith("SELECT DEFAULT_CHARACTER_SET_NAME"):
            found = self.databases.get(args[0])
            return [{"charset": found[0], "collation": found[1]}] if found else []
        if statement.startswith("SELECT plugin"):
            return [dict(self.users[args])] if args in self.users else []
        if statement.startswith("SHOW GRANTS"):
            if args not in self.users:
                raise CommandExecutionError("There is no such grant")
            rows = [{"g": f"GRANT USAGE ON *.* TO `{args[0]}`@`{args[1]}`"}]
            for database, rights in self.grants.get(args, {}).items():
                text = "ALL PRIVILEGES" if "ALL" in rights else ", ".join(sorted(rights))
                rows.append({"g": f"GRANT {text} ON `{database}`.* TO `{args[0]}`@`{args[1]}`"})
            return rows
        self.written.append((statement, args))
        if not self.deaf:
            self._write(statement, args)
        return []

    def _write(self, statement: str, args: tuple[Any, ...]) -> None:
        database = re.match(
            r"(?:CREATE|ALTER) DATABASE `(\w+)` CHARACTER SET (\w+) COLLATE (\w+)$", statement
        )
        rights = re.match(r"(GRANT|REVOKE) (.+) ON `(.+)`\.\* (?:TO|FROM) %s@%s$", statement)
        if database:
            self.databases[database[1]] = (database[2], database[3])
        elif re.match(r"(?:CREATE|ALTER) USER %s@%s IDENTIFIED VIA (\w+) USING %s", statement):
            tls = "ANY" if statement.endswith("REQUIRE SSL") else ""
            self.users[args[0], args[1]] = {
                "plugin": "mysql_native_password",
                "hash": args[2],
                "tls": tls,
            }
        elif rights:
            have = self.grants.setdefault(args, {}).setdefault(rights[3], set())
            names = {name.strip() for name in rights[2].split(",")}
            have.update(names) if rights[1] == "GRANT" else have.difference_update(names)
        else:
            raise AssertionError(statement)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    functions = {
        "galera_sql.run": server.run,
        "galera_sql.password_hash": galera_sql.password_hash,
        "galera_sql.identifier": galera_sql.identifier,
        "readback.present": readback.present,
    }
    monkeypatch.setattr(galera_db, "__salt__", functions, raising=False)
    monkeypatch.setattr(galera_db, "__opts__", {"test": False}, raising=False)
    return server


CALLS = [
    lambda: galera_db.database_present("keystone"),
    lambda: galera_db.user_present("keystone", SECRET),
    lambda: galera_db.grants_present("keystone", "keystone"),
]


def test_databases_users_and_grants_come_once(server: Server) -> None:
    for call in CALLS:
        ret = call()
        assert ret["result"] is True
        assert ret["changes"]
    assert server.databases == {"keystone": ("utf8mb3", "utf8mb3_general_ci")}
    assert server.users["keystone", "%"]["tls"] == "ANY"
    assert server.grants["keystone", "%"] == {"keystone": {"ALL"}}
    written = len(server.written)
    for call in CALLS:
        assert (call()["result"], call()["changes"]) == (True, {})
    assert len(server.written) == written


def test_test_mode_writes_nothing(server: Server) -> None:
    galera_db.__opts__["test"] = True
    for call in CALLS:
        assert call()["result"] is None
    assert server.written == []


def test_test_mode_without_a_server_is_no_failure(server: Server) -> None:
    server.up = False
    galera_db.__opts__["test"] = True
    assert [call()["result"] for call in CALLS] == [None] * 3
    galera_db.__opts__["test"] = False
    assert [call()["result"] for call in CALLS] == [False] * 3


def test_the_password_shows_nowhere(server: Server) -> None:
    digest = galera_sql.password_hash(SECRET)
    first = galera_db.user_present("keystone", SECRET)
    second = galera_db.user_present("keystone", SECRET + "2")
    assert second["changes"] == {"hash": "changed"}
    for text in (repr(first), repr(second), repr(server.written)):
        assert SECRET not in text
    for text in (repr(first), repr(second)):
        assert digest not in text
        assert galera_sql.password_hash(SECRET + "2") not in text


def test_an_account_may_do_without_tls(server: Server) -> None:
    galera_db.user_present("nova", SECRET)
    ret = galera_db.user_present("nova", SECRET, require_ssl=False)
    assert ret["changes"] == {"tls": {"old": "ANY", "new": ""}}


def test_privileges_are_exactly_those_asked_for(server: Server) -> None:
    galera_db.user_present("nova", SECRET)
    galera_db.grants_present("nova", "nova_api")
    ret = galera_db.grants_present("nova", "nova_api", privileges=["select", "INSERT"])
    assert ret["result"] is True
    # the underscore is no wildcard
    assert server.grants["nova", "%"] == {r"nova\_api": {"SELECT", "INSERT"}}
    ret = galera_db.grants_present("nova", "nova_api", privileges=["SELECT"])
    assert ret["changes"] == {"privileges": {"old": ["INSERT", "SELECT"], "new": ["SELECT"]}}


def test_what_reads_back_differently_is_a_failure(server: Server) -> None:
    server.deaf = True
    ret = galera_db.database_present("keystone")
    assert ret["result"] is False
    assert "read back with a different charset" in ret["comment"]


@pytest.mark.parametrize("charset", ["utf8; DROP DATABASE x", "", "utf8'"])
def test_a_charset_is_a_name(server: Server, charset: str) -> None:
    ret = galera_db.database_present("keystone", charset=charset)
    assert ret["result"] is False
    assert server.written == []


def test_a_database_name_is_quoted() -> None:
    assert galera_sql.identifier("a`b") == "`a``b`"


# --- messaging --------------------------------------------------------------------------------

USERS = {"nova": {"password": SECRET, "permissions": {"nova": {"configure": "^nova"}}}}
VHOSTS: dict[str, Any] = {"nova": {}}
POLICIES = {"ttl": {"pattern": "^x", "definition": {"message-ttl": 5}}}


class Broker:
    """As much of RabbitMQ's definitions as the states use."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {
            "vhosts": [{"name": "/", "limits": [], "metadata": {"description": "Default"}}],
            "users": [
                {
                    "name": "guest",
                    "password_hash": "x",
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": ["administrator"],
                    "limits": {},
                }
            ],
            "permissions": [],
            "policies": [],
        }
        self.imported: list[dict[str, Any]] = []
        self.deaf = False
        self.late: dict[str, Any] | None = None

    def wake(self) -> None:
        """Finish an import that goes on in the background."""
        if self.late is not None:
            self.data, self.late = self.late, None

    def read(self) -> dict[str, Any]:
        return copy.deepcopy(self.data)

    def write(self, data: dict[str, Any]) -> None:
        self.imported.append(data)
        keys = {
            "vhosts": ("name",),
            "users": ("name",),
            "permissions": ("user", "vhost"),
            "policies": ("vhost", "name"),
        }
        for kind, items in {} if self.deaf else data.items():
            for item in items:
                same = [i for i in self.data[kind] if all(i[k] == item[k] for k in keys[kind])]
                for old in same:
                    self.data[kind].remove(old)
                self.data[kind].append({**(same[0] if same else {}), **item})

    def delete(self, name: str) -> None:
        self.data["users"] = [user for user in self.data["users"] if user["name"] != name]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    functions = {
        "rabbitmq_cluster.definitions": broker.read,
        "rabbitmq_cluster.import_definitions": broker.write,
        "rabbitmq_cluster.delete_user": broker.delete,
    }
    monkeypatch.setattr(rabbitmq_server, "__salt__", functions, raising=False)
    monkeypatch.setattr(rabbitmq_server, "__opts__", {"test": False}, raising=False)
    monkeypatch.setattr(rabbitmq_server.time, "sleep", lambda _: broker.wake())
    return broker


def apply(**more: Any) -> dict[str, Any]:
    wanted = {"vhosts": VHOSTS, "users": USERS, "policies": POLICIES, "absent_users": ["guest"]}
    return rabbitmq_server.definitions("rabbitmq-server", **{**wanted, **more})


def test_definitions_come_once(broker: Broker) -> None:
    ret = apply()
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"] == {
        "vhost nova": "created",
        "user nova": "created",
        "permissions of nova on nova": "created",
        "policy ttl": "created",
        "user guest": "deleted",
    }
    assert [user["name"] for user in broker.data["users"]] == ["nova"]
    assert broker.data["permissions"] == [
        {"user": "nova", "vhost": "nova", "configure": "^nova", "write": ".*", "read": ".*"}
    ]
    assert broker.data["vhosts"][-1]["metadata"]["default_queue_type"] == "quorum"
    assert apply()["changes"] == {}
    assert len(broker.imported) == 1


def test_only_what_differs_is_imported(broker: Broker) -> None:
    apply()
    changed = {"nova": {**USERS["nova"], "password": SECRET + "2"}}
    ret = apply(users=changed)
    assert ret["changes"] == {"user nova": "altered"}
    assert {kind: len(items) for kind, items in broker.imported[-1].items()} == {
        "vhosts": 0,
        "users": 1,
        "permissions": 0,
        "policies": 0,
    }


def test_members_that_write_at_once_write_the_same(broker: Broker) -> None:
    before = broker.read()
    apply()
    first = broker.imported[-1]
    broker.data = before
    apply()
    assert broker.imported[-1] == first


def test_the_queue_type_of_an_existing_vhost_is_altered_and_the_rest_kept(broker: Broker) -> None:
    ret = apply(vhosts={"/": {}})
    assert ret["changes"]["vhost /"] == "altered"
    assert broker.imported[-1]["vhosts"][0]["metadata"] == {
        "description": "Default",
        "default_queue_type": "quorum",
    }


def test_rabbitmq_test_mode_writes_nothing(broker: Broker) -> None:
    rabbitmq_server.__opts__["test"] = True
    ret = apply()
    assert ret["result"] is None
    assert broker.imported == []
    assert len(broker.data["users"]) == 1


def test_rabbitmq_passwords_show_nowhere(broker: Broker) -> None:
    ret = apply()
    assert SECRET not in repr(ret)
    assert SECRET not in repr(broker.imported)
    assert broker.data["users"][0]["password_hash"] not in repr(ret)


def test_rabbitmq_reads_back(broker: Broker) -> None:
    broker.deaf = True
    ret = apply()
    assert ret["result"] is False
    assert "Read back different" in ret["comment"]


def test_an_import_in_the_background_is_waited_for(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(data: dict[str, Any]) -> None:
        before = broker.read()
        broker.write(data)
        broker.data, broker.late = before, broker.data

    monkeypatch.setitem(rabbitmq_server.__salt__, "rabbitmq_cluster.import_definitions", write)
    assert apply(absent_users=[])["result"] is True


def test_the_hash_is_rabbitmqs_own() -> None:
    # computed as rabbit_password:hash/2 does: base64(salt ++ sha256(salt ++ password))
    salt = bytes.fromhex("908dc60a")
    assert (
        rabbitmq_server._salted(salt, "test12")
        == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )


class Peers:
    """Whether this member is new, and whether others are up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fresh: bool, up_after: int) -> None:
        self.asked = 0
        self.time = 0.0

        def ready(peer: str) -> bool:
            self.asked += 1
            return self.asked > up_after

        def sleep(seconds: float) -> None:
            self.time += seconds

        functions = {
            "rabbitmq_cluster.fresh": lambda: fresh,
            "rabbitmq_cluster.peer_ready": ready,
        }
        monkeypatch.setattr(rabbitmq_server, "__salt__", functions, raising=False)
        monkeypatch.setattr(rabbitmq_server, "__opts__", {"test": False}, raising=False)
        monkeypatch.setattr(rabbitmq_server.time, "sleep", sleep)
        monkeypatch.setattr(rabbitmq_server.time, "monotonic", lambda: self.time)


@pytest.mark.parametrize(
    ("first", "peers", "fresh"),
    [
        ("inf01", [], True),  # alone
        ("inf01", ["inf02", "inf03"], True),  # the first itself: not among its peers
        ("inf02", ["inf02", "inf03"], False),  # it ran before
    ],
)
def test_who_may_start_without_asking(
    monkeypatch: pytest.MonkeyPatch, first: str, peers: list[str], fresh: bool
) -> None:
    asked = Peers(monkeypatch, fresh, up_after=99)
    ret = rabbitmq_server.may_start("x", first, peers)
    assert (ret["result"], ret["changes"], asked.asked) == (True, {}, 0)


def test_a_new_member_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Peers(monkeypatch, True, up_after=7)
    ret = rabbitmq_server.may_start("x", "inf01", ["inf01", "inf03"])
    assert (ret["result"], ret["changes"]) == (True, {})
    assert asked.asked == 8


def test_a_new_member_never_begins_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Peers(monkeypatch, True, up_after=10**6)
    ret = rabbitmq_server.may_start("x", "inf01", ["inf01", "inf03"], timeout=30)
    assert ret["result"] is False
    assert "only inf01 may begin" in ret["comment"]
