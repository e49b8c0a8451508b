"""One member of a Galera cluster while its packages are replaced: may it go, does it come back.

A member that leaves in order, and comes back before the others have forgotten what it misses, gets
just that (an incremental transfer, IST). Else a whole copy is made for it (SST), which keeps
another member busy; between some series of MariaDB that does not work at all.

Sources:
https://mariadb.com/docs/galera-cluster/galera-management/upgrading-galera-cluster,
https://galeracluster.com/library/documentation/gcache.html
"""

from __future__ import annotations

import glob
import re
import subprocess
import time
import urllib.error
import urllib.request

from salt.exceptions import CommandExecutionError

PACKAGE = "mariadb-server"
SYNCED = "Synced"
#: Programs that read the whole server; who takes a member away disturbs them.
COPIERS = ("mariadb-backup", "mariabackup", "mariadb-dump", "mysqldump")
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
#: Seconds between two looks at how much is written.
SAMPLE = 5
TIMEOUT = 5


def quiet():
    """Check that nobody is in the middle of a copy: no backup, no transfer, no member that joins.

    Asks the own server, and the health check of every other member for its state.

    :returns: ``{ok, sentence}``

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_upkeep.quiet
    """
    copier = _copier()
    if copier:
        return {"ok": False, "sentence": f"{copier} runs on this member: wait until it is done."}
    try:
        state = _status("wsrep_local_state_comment").get("wsrep_local_state_comment", "unknown")
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    busy = [] if state == SYNCED else [f"this member is {state}"]
    for name, address in _peers():
        told = _told(address)
        if told != SYNCED:
            busy.append(f"{name} is {told}")
    if busy:
        return {
            "ok": False,
            "sentence": f"Not all members are {SYNCED}: {'; '.join(busy)}. A donor or joiner is"
            " left in peace.",
        }
    return {"ok": True, "sentence": "All members are Synced, and no copy is made."}


def cache_holds(seconds=900):
    """Check that the write set cache holds what a member misses that is away for a while.

    :param seconds: how long
    :returns: ``{ok, sentence}``

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_upkeep.cache_holds seconds=1800
    """
    try:
        size = _cache_size()
        first, begin = _written(), time.monotonic()
        time.sleep(SAMPLE)
        second, took = _written(), time.monotonic() - begin
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    # what was written on average, or just now where that is more
    rate = max(
        second["bytes"] / max(second["uptime"], 1), (second["bytes"] - first["bytes"]) / took
    )
    holds = size / rate if rate > 0 else float("inf")
    told = "for ever" if holds == float("inf") else f"for {_minutes(holds)}"
    sentence = f"The write set cache of {_mib(size)} MiB holds what is written {told}"
    if holds >= float(seconds):
        return {"ok": True, "sentence": f"{sentence}."}
    return {
        "ok": False,
        "sentence": f"{sentence}, and a member may be away for {_minutes(float(seconds))}: it would"
        " need a whole copy. Raise galera:server:gcache.",
    }


def leave():
    """Stop this member's server in order, so that it can come back with what it missed alone.

    :returns: a sentence with its position
    :raises CommandExecutionError: it does not stop, or left without noting where it was

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_upkeep.leave
    """
    __salt__["galera_cluster.stop"]()
    return left()


def left():
    """Say where this member was when it left the cluster in order.

    :returns: a sentence with its position
    :raises CommandExecutionError: it left without noting it

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_upkeep.left
    """
    saved = __salt__["galera_cluster.facts"]()["grastate"]
    if saved is None or saved["seqno"] < 0:
        raise CommandExecutionError(
            "MariaDB stopped without noting its position, so a whole copy would be made for it:"
            " start it (state.apply galera.server), see journalctl -u mariadb, and go on."
        )
    return f"Left at {saved['uuid']}:{saved['seqno']}."


def current():
    """Check that this member is Synced and runs the version that is installed.

    :returns: a sentence
    :raises CommandExecutionError: it is not, or runs another one

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_upkeep.current
    """
    told = __salt__["galera_cluster.wait_synced"](300)
    runs = str(__salt__["galera_sql.run"]("SELECT VERSION() AS version")[0]["version"])
    version, wanted = runs.partition("-")[0], _upstream(__salt__["pkg.version"](PACKAGE))
    if version != wanted:
        raise CommandExecutionError(
            f"MariaDB {version} runs and {wanted} is installed: restart it."
        )
    return f"MariaDB {version}: {told}"


def outdated():
    """Tell whether the system tables are of an earlier version than the server.

    :returns: True or False
    :raises CommandExecutionError: the server does not answer

    CLI Example:

    .. code-block:: bash

        salt 'inf*' galera_upkeep.outdated
    """
    done = _run(["mariadb-upgrade", "--check-if-upgrade-is-needed"], 60)
    if done.returncode not in (0, 1) or "ERROR" in done.stderr:
        raise CommandExecutionError(f"mariadb-upgrade: {_last(done)}")
    return done.returncode == 0


def upgrade_tables():
    """Bring the system tables of this member up to its version; nothing of it is replicated.

    :returns: a sentence
    :raises CommandExecutionError: a table cannot be upgraded

    CLI Example:

    .. code-block:: bash

        salt inf02.demo-core.test galera_upkeep.upgrade_tables
    """
    done = _run(["mariadb-upgrade", "--skip-write-binlog"], 7200)
    if done.returncode:
        raise CommandExecutionError(f"mariadb-upgrade: {_last(done)}")
    return "The system tables are those of the installed version."


def finalize():
    """Prove that an upgrade of the cluster is complete: all members Synced, tables up to date.

    :returns: a sentence with the protocol that the members agreed on
    :raises CommandExecutionError: something is left to do

    CLI Example:

    .. code-block:: bash

        salt inf01.demo-core.test galera_upkeep.finalize
    """
    found = quiet()
    if not found["ok"]:
        raise CommandExecutionError(found["sentence"])
    told = current()
    if outdated():
        raise CommandExecutionError(
            "The system tables of this member are of an earlier version: state.apply"
            " galera.upgrade.migrate."
        )
    protocol = _status("wsrep_protocol_version").get("wsrep_protocol_version", "unknown")
    return f"{told} The members agreed on protocol {protocol}."


def _peers():
    """Names and addresses of the other members."""
    topology = __pillar__.get("topology") or {}
    mine = (__pillar__.get("host") or {}).get("fqdn") or __grains__["id"]
    nodes = topology.get("nodes") or {}
    return [
        (nodes[one].get("name", one), nodes[one]["address"])
        for one in (topology.get("roles") or {}).get("galera.server") or []
        if one != mine
    ]


def _told(address):
    """State of another member as its health check says it."""
    check = ((__pillar__.get("galera") or {}).get("server") or {}).get("clustercheck") or {}
    url = f"http://{address}:{check.get('port', 9200)}/"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return answer.read(200).decode(errors="replace").strip()
    except urllib.error.HTTPError as err:
        return err.read(200).decode(errors="replace").strip() or f"not well ({err.code})"
    except OSError as err:
        return f"silent on port {check.get('port', 9200)} ({err})"


def _copier():
    """Name of a program that copies the server's data right now."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                first = file.read(4096).split(b"\0")[0].decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        name = first.rpartition("/")[2]
        if name in COPIERS:
            return name
    return ""


def _status(pattern):
    rows = __salt__["galera_sql.run"]("SHOW GLOBAL STATUS LIKE %s", (pattern,))
    return {str(row["Variable_name"]): str(row["Value"]) for row in rows}


def _written():
    found = {**_status("wsrep_re%_bytes"), **_status("Uptime")}
    names = ("wsrep_replicated_bytes", "wsrep_received_bytes")
    return {
        "bytes": sum(int(found.get(name, 0)) for name in names),
        "uptime": int(found.get("Uptime", 0)),
    }


def _cache_size():
    rows = __salt__["galera_sql.run"]("SELECT @@GLOBAL.wsrep_provider_options AS options")
    found = re.search(r"gcache\.size\s*=\s*(\d+)([KMGT]?)", str(rows[0]["options"]))
    if found is None:
        raise CommandExecutionError("Galera does not tell the size of its write set cache.")
    return int(found[1]) * UNITS[found[2]]


def _mib(size):
    return size // UNITS["M"]


def _minutes(seconds):
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _upstream(version):
    found = re.match(r"(?:\d+:)?([0-9]+(?:\.[0-9]+)*)", str(version))
    return found[1] if found else ""


def _last(done):
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "failed"


def _run(command, timeout):
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{command[0]} is not installed: apply galera.server first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {timeout} s.") from err
