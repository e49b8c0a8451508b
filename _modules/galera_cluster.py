"""One member of a Galera cluster: what it holds, and the few things it can be told to do.

Decisions are made where all members are known (``salt-run galera.form``, ``galera.recover``);
this module reports and obeys, and checks again on the spot before it does something that could
lose data.
"""

from __future__ import annotations

import os
import re
import subprocess
import time

from salt.exceptions import CommandExecutionError

UNIT = "mariadb"
DATADIR = "/var/lib/mysql"
ZERO_UUID = "00000000-0000-0000-0000-000000000000"
#: What the server reads when it starts.
FILES = (
    "/etc/mysql/mariadb.conf.d/99-galera.cnf",
    "/etc/systemd/system/mariadb.service.d/galera.conf",
    "/etc/saltern/pki/ca.crt",
    "/etc/saltern/pki/host.crt",
)
#: Directories of a data directory in which nobody has put data yet.
SYSTEM_DATABASES = frozenset({"mysql", "performance_schema", "sys", "test", "lost+found"})
#: Accounts that log in by unix socket as the system user of the same name, with no password.
ACCOUNTS = {
    # state transfers read the whole server; mariadb-backup runs as this user
    "mysql": ("RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR"),
    # the health check only reads status variables, which needs no privilege
    "clustercheck": (),
}
SERVING = ("2", "4")
POSITION = re.compile(r"WSREP: Recovered position:\s*([0-9a-f-]{36}):(-?\d+)")


def facts(measure=False):
    """Say what this member holds and what state it is in.

    :param measure: also ask a stopped server that holds data for its last committed position
    :returns: ``{data, databases, grastate, transfer, running, wsrep, recovered, stale}``;
        ``grastate`` is ``{uuid, seqno, safe_to_bootstrap}`` or None, ``wsrep`` the status
        variables or None when the server does not answer, ``recovered`` ``{uuid, seqno}`` or None

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_cluster.facts
    """
    running = _running()
    grastate = _grastate()
    databases = _databases()
    formed = grastate is not None and grastate["uuid"] != ZERO_UUID
    data = bool(databases) or formed
    return {
        "data": data,
        "databases": databases,
        "grastate": grastate,
        "transfer": os.path.exists(f"{DATADIR}/sst_in_progress"),
        "running": running,
        "wsrep": _wsrep() if running else None,
        "recovered": recover_position() if measure and data and not running else None,
        "stale": __salt__["unit_age.newer"](UNIT, FILES),
    }


def recover_position():
    """Ask the data directory of a stopped server for its last committed position.

    :returns: ``{uuid, seqno}``
    :raises CommandExecutionError: the server runs, or its files cannot be read

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_cluster.recover_position
    """
    if _running():
        raise CommandExecutionError("MariaDB runs: its position is only asked when it is stopped.")
    # The log goes to standard error; nothing is listened on and nothing joined.
    done = _run(["mariadbd", "--user=mysql", "--wsrep-recover", "--skip-log-error"], timeout=600)
    found = POSITION.findall(done.stdout + done.stderr)
    if done.returncode or not found:
        raise CommandExecutionError(
            f"mariadbd --wsrep-recover gave no position: {_errors(done.stderr)}"
        )
    uuid, seqno = found[-1]
    return {"uuid": uuid, "seqno": int(seqno)}


def bootstrap(uuid=None, seqno=None, deadline=300):
    """Begin a cluster with this member.

    Without ``uuid`` only a member that holds nothing obeys; with it only one that holds exactly
    this position does.

    :param uuid: history that the member must hold
    :param seqno: last committed transaction that it must hold
    :param deadline: seconds until it must be Primary and Synced
    :returns: a sentence
    :raises CommandExecutionError: it holds something else, or does not come up

    CLI Example:

    .. code-block:: bash

        salt-run galera.form cluster=demo-core
    """
    before = facts()
    if before["wsrep"] and before["wsrep"]["wsrep_cluster_status"] == "Primary":
        return "This member is in a Primary component already."
    if before["data"] != (uuid is not None):
        held = "holds data" if before["data"] else "holds no data"
        raise CommandExecutionError(f"This member {held}: it is not bootstrapped like this.")
    stop()
    if uuid is None:
        # Left by a member that waited for others: a zero uuid, which forbids the bootstrap.
        _remove("grastate.dat")
    else:
        position = recover_position()
        if position != {"uuid": uuid, "seqno": int(seqno)}:
            raise CommandExecutionError(
                f"This member is at {position['uuid']}:{position['seqno']},"
                f" not at {uuid}:{seqno}: it is not bootstrapped."
            )
        _mark_safe()
    # The component it last belonged to is given up for the one that begins here.
    _remove("gvwstate.dat")
    done = _run(["galera_new_cluster"], timeout=deadline + 600)
    if done.returncode:
        raise CommandExecutionError(f"galera_new_cluster failed: {diagnose()}")
    wait_synced(deadline)
    accounts_present()
    return "Bootstrapped."


def join(deadline=1800):
    """Start this member and wait until it is Synced.

    :param deadline: seconds that a full copy of the data may take
    :returns: a sentence
    :raises CommandExecutionError: it does not get there, with the reason

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_cluster.join
    """
    wsrep = _wsrep() if _running() else None
    if wsrep and wsrep["wsrep_on"] != "ON":
        # A server that a package started before it was configured.
        return restart(deadline)
    _systemctl("reset-failed")
    _systemctl("start", "--no-block")
    return wait_synced(deadline)


def restart(deadline=1800):
    """Restart this member and wait until it is Synced again.

    :param deadline: seconds that joining may take
    :returns: a sentence
    :raises CommandExecutionError: it does not get there, with the reason

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_cluster.restart
    """
    _systemctl("restart", "--no-block")
    time.sleep(1)  # until systemd has taken the old process down, its socket still answers
    return wait_synced(deadline)


def stop():
    """Stop this member's server, also one that its unit keeps trying to start.

    :returns: a sentence
    :raises CommandExecutionError: it still runs afterwards

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_cluster.stop
    """
    _systemctl("stop", timeout=900)
    if _running():
        raise CommandExecutionError("MariaDB did not stop: see journalctl -u mariadb.")
    return "Stopped."


def wait_synced(deadline=1800):
    """Wait until this member is Synced (or a donor) in a Primary component.

    :param deadline: seconds
    :returns: a sentence with the size of the cluster
    :raises CommandExecutionError: not in time, or its server gave up twice

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_cluster.wait_synced deadline=60
    """
    end = time.monotonic() + deadline
    failures = int(_show("NRestarts") or 0)
    while time.monotonic() < end:
        state = _show("ActiveState")
        wsrep = _wsrep() if state == "active" else None
        if wsrep and wsrep["wsrep_on"] != "ON":
            raise CommandExecutionError("MariaDB runs without Galera (wsrep_on is off).")
        if wsrep and _serving(wsrep):
            return f"Synced in a cluster of {wsrep['wsrep_cluster_size']}."
        if state in ("failed", "inactive") or int(_show("NRestarts") or 0) >= failures + 2:
            raise CommandExecutionError(f"MariaDB gave up: {diagnose()}")
        time.sleep(1)
    raise CommandExecutionError(f"Not Synced after {deadline} s: {diagnose()}")


def healthy():
    """Check that this member serves in a Primary component that has all its members.

    :returns: ``{ok, sentence}``

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_cluster.healthy
    """
    wsrep = _wsrep()
    if wsrep is None:
        return {"ok": False, "sentence": f"MariaDB does not answer: {diagnose()}"}
    if not _serving(wsrep) or wsrep["wsrep_ready"] != "ON":
        return {
            "ok": False,
            "sentence": f"The component is {wsrep['wsrep_cluster_status']} and this member"
            f" {wsrep['wsrep_local_state_comment']}.",
        }
    members = __pillar__.get("topology", {}).get("roles", {}).get("galera.server", [])
    size = int(wsrep["wsrep_cluster_size"])
    if members and size != len(members):
        return {"ok": False, "sentence": f"{size} of {len(members)} members are in the cluster."}
    return {"ok": True, "sentence": f"Synced in a cluster of {size}."}


def accounts_present():
    """Create the accounts that this cluster itself needs; they have no password.

    :returns: names of the accounts that were created
    :raises CommandExecutionError: the server refuses

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test galera_cluster.accounts_present
    """
    sql = __salt__["galera_sql.run"]
    rows = sql("SELECT User FROM mysql.user WHERE Host = 'localhost'", causal=True)
    there = {row["User"] for row in rows}
    created = [name for name in ACCOUNTS if name not in there]
    for name in created:
        sql(f"CREATE USER IF NOT EXISTS {name}@localhost IDENTIFIED VIA unix_socket")
        if ACCOUNTS[name]:
            sql(f"GRANT {', '.join(ACCOUNTS[name])} ON *.* TO {name}@localhost")
    return created


def diagnose():
    """Say why the server is not up, from its unit and its last errors.

    :returns: one sentence

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_cluster.diagnose
    """
    log = _run(["journalctl", "--unit", UNIT, "--lines=200", "--output=cat", "--no-pager"]).stdout
    unit = f"unit {_show('ActiveState')}/{_show('SubState')}"
    if "failed to reach primary view" in log[log.rfind("Starting MariaDB") + 1 :]:
        return (
            f"{unit}, no Primary component can be reached. If all members are down, run"
            " salt-run galera.recover."
        )
    return f"{unit}, {_errors(log)}"


def _errors(log):
    lines = [line for line in log.splitlines() if "[ERROR]" in line] or log.splitlines()
    text = re.sub(r"^\S+ +\S+ \d+ ", "", lines[-1]).strip() if lines else "no log"
    return f"last error: {text[:300]}"


def _serving(wsrep):
    return wsrep["wsrep_cluster_status"] == "Primary" and wsrep.get("wsrep_local_state") in SERVING


def _running():
    """Tell whether the server runs, or its unit is about to start it again."""
    return _show("ActiveState") not in ("inactive", "failed", "")


def _wsrep():
    """Return the wsrep status variables and ``wsrep_on``; None when the server does not answer."""
    try:
        rows = __salt__["galera_sql.run"]("SHOW GLOBAL STATUS LIKE 'wsrep%'", timeout=5)
        mode = __salt__["galera_sql.run"]("SELECT @@GLOBAL.wsrep_on AS value", timeout=5)
    except CommandExecutionError:
        return None
    keep = (
        "cluster_status cluster_size cluster_state_uuid cluster_conf_id connected ready"
        " last_committed local_state local_state_comment"
    )
    wanted = {f"wsrep_{name}" for name in keep.split()}
    status = {
        row["Variable_name"]: str(row["Value"]) for row in rows if row["Variable_name"] in wanted
    }
    status["wsrep_on"] = "ON" if str(mode[0]["value"]) in ("1", "ON") else "OFF"
    return status


def _grastate():
    try:
        with open(f"{DATADIR}/grastate.dat", encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return None
    values = dict(re.findall(r"^(\w+):\s*(\S+)", text, flags=re.MULTILINE))
    return {
        # a file without these lines was cut off: it promises nothing
        "uuid": values.get("uuid", ZERO_UUID),
        "seqno": int(values.get("seqno", -1)),
        "safe_to_bootstrap": int(values.get("safe_to_bootstrap", 0)),
    }


def _databases():
    """List the databases that are not the server's own."""
    try:
        with os.scandir(DATADIR) as entries:
            found = [
                entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        return []
    return sorted(set(found) - SYSTEM_DATABASES)


def _mark_safe():
    """Allow the bootstrap: the one line of grastate.dat that says so."""
    path = f"{DATADIR}/grastate.dat"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    changed, found = re.subn(
        r"^safe_to_bootstrap:.*$", "safe_to_bootstrap: 1", text, flags=re.MULTILINE
    )
    # in place, so that owner and mode stay
    with open(path, "w", encoding="utf-8") as file:
        file.write(changed if found else text.rstrip("\n") + "\nsafe_to_bootstrap: 1\n")


def _remove(name):
    path = os.path.join(DATADIR, name)
    if os.path.exists(path):
        os.unlink(path)


def _systemctl(verb, *options, timeout=60):
    return _run(["systemctl", verb, *options, UNIT], timeout=timeout)


def _show(what):
    return _run(["systemctl", "show", "--value", f"--property={what}", UNIT]).stdout.strip()


def _run(command, timeout=60):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{command[0]} is not installed: apply galera.server first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {timeout} s.") from err
