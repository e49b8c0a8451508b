"""A host backs its own databases up over its own nginx, and gets them back."""

from __future__ import annotations

from testinfra.host import Host

from tests.kitchen.ceph.test_ceph import call, refused

ROLE = "galera.server"
HOST = "host.kitchen.test"


def sql(host: Host, statement: str) -> str:
    return str(host.check_output(f"mariadb --batch --skip-column-names --execute={statement!r}"))


def test_the_files_are_closed(host: Host) -> None:
    for path, mode, user in (
        ("/etc/saltern/backup", 0o700, "root"),
        ("/etc/saltern/backup/key", 0o600, "root"),
        ("/etc/saltern/backup/client.json", 0o600, "root"),
        ("/srv/backup", 0o700, "www-data"),
    ):
        assert (host.file(path).user, host.file(path).mode) == (user, mode), path
    assert call(host, "backup_client.healthy")["ok"] is True
    assert call(host, "backup_store.healthy")["ok"] is True


def test_nobody_without_a_certificate_comes_in(host: Host) -> None:
    told = host.run(f"curl -s -o /dev/null -w %{{http_code}} https://{HOST}:8444/")
    assert told.stdout == "400"


def test_databases_come_back_alone(host: Host) -> None:
    sql(
        host,
        "CREATE OR REPLACE TABLE nova.one (i INT PRIMARY KEY); INSERT INTO nova.one VALUES (7)",
    )
    taken = call(host, "backup_dump.take", ROLE)
    position = taken["bundle"]["position"]["wsrep"]
    assert int(position.rpartition(":")[2]) > 0
    sql(host, "DROP TABLE nova.one; CREATE OR REPLACE TABLE nova_api.kept (i INT PRIMARY KEY)")
    done = call(host, "backup_dump.restore", taken["path"], "nova")
    assert sql(host, "SELECT i FROM nova.one") == "7"
    assert sql(host, "SHOW TABLES FROM nova_api") == "kept"
    call(host, "backup_dump.drop", done["before"]["nova"])
    # the member serves again, with everybody else
    assert sql(host, "SHOW STATUS LIKE 'wsrep_local_state_comment'").split("\t")[1] == "Synced"


def test_dumps_are_verified_in_a_server_of_their_own(host: Host) -> None:
    path = call(host, "backup_dump.take", ROLE)["path"]
    assert "are the same" in call(host, "backup_dump.verify", f"[{path}]")["sentence"]


def test_a_chain_of_copies_is_verified(host: Host) -> None:
    first = call(host, "backup_copy.take", ROLE)["path"]
    sql(host, "CREATE OR REPLACE TABLE nova.two (i INT PRIMARY KEY)")
    second = call(host, "backup_copy.take", ROLE, f"base={first}")["path"]
    done = call(host, "backup_copy.verify", f"[{first}, {second}]")
    assert done["position"]
    assert done["databases"]["nova"] >= 1


def test_a_damaged_bundle_is_refused(host: Host) -> None:
    path = call(host, "backup_dump.take", ROLE)["path"]
    host.check_output(f"printf x >> /srv/backup/{path}/nova.zst.gpg")
    assert "larger than" in refused(host, "backup_dump.restore", path, "nova")
    assert path in call(host, "backup_store.check")
    call(host, "backup_store.remove", f"[{path}]")


def test_copies_for_a_rehearsal_lie_in_a_server_of_their_own(host: Host) -> None:
    sql(
        host,
        "CREATE OR REPLACE TABLE nova.kept (i INT PRIMARY KEY); INSERT INTO nova.kept VALUES (7)",
    )
    path = call(host, "backup_dump.take", ROLE)["path"]
    assert call(host, "rehearsal.healthy")["ok"] is True
    # nothing enables it
    assert host.run("systemctl is-enabled saltern-rehearsal").stdout.strip() == "static"
    # twice: the second one finds what the first one left when it was killed
    for name in ("e1", "e2"):
        began = call(host, "rehearsal.begin", name)
    assert began["removed"] == "e1"
    call(host, "rehearsal.load", path, "[nova]")
    assert call(host, "rehearsal.status") == {
        "rehearsal": "e2", "server": True, "databases": ["nova_rehearsal"],
    }  # fmt: skip
    # neither is the copy in the host's own server, nor does that one know of the other
    assert "rehearsal" not in sql(host, "SHOW DATABASES")
    change = "DELETE FROM nova_rehearsal.kept; CREATE TABLE nova_rehearsal.more (i INT)"
    call(host, "rehearsal.query", change)
    done = call(host, "rehearsal.restore", path, "[nova]")
    assert done["databases"].keys() == {"nova"}
    assert call(host, "rehearsal.query", "SELECT i FROM nova_rehearsal.kept") == [["7"]]
    assert ["more"] not in call(host, "rehearsal.query", "SHOW TABLES FROM nova_rehearsal")
    assert sql(host, "SELECT i FROM nova.kept") == "7"


def test_nothing_of_a_rehearsal_has_a_way_out(host: Host) -> None:
    inside = "ip netns exec saltern-rehearsal ip -o route show table all"
    assert {line.split(" dev ")[1].split()[0] for line in host.check_output(inside).splitlines()
            if " dev " in line} <= {"lo"}  # fmt: skip
    assert host.run("ip netns exec saltern-rehearsal curl -m 5 -s https://127.0.0.1:8444/").rc
    pid = host.check_output("systemctl show -P MainPID saltern-rehearsal")
    own = host.check_output("readlink /proc/1/ns/net")
    assert host.check_output(f"readlink /proc/{pid}/ns/net") != own


def test_a_rehearsal_leaves_nothing(host: Host) -> None:
    assert call(host, "rehearsal.end") == "Nothing of a rehearsal is left."
    assert host.file("/var/lib/saltern/rehearsal").listdir() == []
    assert host.run("ip netns list").stdout.strip() == ""
    assert not host.service("saltern-rehearsal").is_running
    assert host.service("mariadb").is_running
