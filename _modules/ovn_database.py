"""
The two databases of OVN's control plane, each a RAFT cluster
============================================================

Everything is asked of and told to the member on this host, by the programs of Open vSwitch and OVN.
What is configured is in ``/etc/ovn/central.json``. ``ovn_cluster`` and the state of that name use
it.
"""

import json
import os
import re
import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ovn_database"

_CONFIG = "/etc/ovn/central.json"
_DATA, _RUN = "/var/lib/ovn", "/run/ovn"
# Database: short name in files, units and programs.
_SHORT = {"northbound": "nb", "southbound": "sb"}
# Seconds until an election timer must have changed, and between two looks.
_LIMIT, _LOOK = 60, 1


def __virtual__():
    return __virtualname__


def _schema(database):
    return f"OVN_{database.capitalize()}"


def _file(database):
    return f"{_DATA}/ovn{_SHORT[database]}_db.db"


def _schema_file(database):
    return f"/usr/share/ovn/ovn-{_SHORT[database]}.ovsschema"


def _socket(database):
    return f"unix:{_RUN}/ovn{_SHORT[database]}_db.sock"


def _run(*command, timeout=60):
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{command[0]} is not installed: apply ovn.central first."
        ) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {timeout} s.") from err
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or "failed"
        raise CommandExecutionError(f"{command[0]}: {reason[:300]}")
    return done.stdout


def _ctl(database, *command):
    target = f"{_RUN}/ovn{_SHORT[database]}_db.ctl"
    return _run("ovn-appctl", "--timeout=15", "-t", target, *command)


def _client(database, *command):
    program = f"ovn-{_SHORT[database]}ctl"
    where = f"--db={_socket(database)}"
    return _run(program, "--timeout=20", "--no-leader-only", where, *command)


def config():
    """
    Return what the role configured: ``{"address", "members": number, "northbound": {…}, …}``.

    Raises CommandExecutionError when the role was not applied.

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_database.config
    """
    try:
        with open(_CONFIG, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as err:
        raise CommandExecutionError(f"{_CONFIG} is missing: apply ovn.central first.") from err


def address(database):
    """
    Return the address by which members of a cluster know this one, ``ssl:10.0.0.1:6643``.

    database
        ``northbound`` or ``southbound``

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_database.address northbound
    """
    found = config()
    return f"ssl:{found['address']}:{found[database]['raft_port']}"


def parse(text):
    """
    Read what ``cluster/status`` prints.

    text
        Its output

    Returns ``{"cid", "sid", "address", "status", "role", "leader", "timer", "members": {sid:
    address}, "connected": [sid]}``; leader is empty when there is none.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_database.parse 'Role: leader'
    """
    fields = dict(re.findall(r"^([A-Z][A-Za-z ]+): (.*)$", text, re.MULTILINE))
    members = re.findall(r"^\s+(\w+) \(\w+ at ([^)]+)\)", text, re.MULTILINE)
    leader = fields.get("Leader", "unknown")
    sid = fields.get("Server ID", "").split(" ")[0]
    return {
        "cid": fields.get("Cluster ID", "").rpartition("(")[2].rstrip(")"),
        "sid": sid,
        "address": fields.get("Address", ""),
        "status": fields.get("Status", ""),
        "role": fields.get("Role", ""),
        "leader": {"self": sid, "unknown": ""}.get(leader, leader),
        "timer": int(fields.get("Election timer", 0)),
        "members": dict(members),
        # one that is down is in brackets; who has just joined knows only who came to it by name
        "connected": sorted({*re.findall(r"(?<!\()(?:->|<-)(\w+)", fields.get("Connections", ""))}),
    }


def status(database):
    """
    Return what the running server says of its cluster, as :py:func:`parse` does; None when it does
    not answer.

    database
        ``northbound`` or ``southbound``

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_database.status southbound
    """
    try:
        return parse(_ctl(database, "cluster/status", _schema(database)))
    except CommandExecutionError:
        return None


def held(database):
    """
    Return the cluster of the database on this host's disk: ``joining`` for one that was not
    admitted yet, empty for one of no cluster, None when there is none.

    database
        ``northbound`` or ``southbound``

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_database.held northbound
    """
    path = _file(database)
    if not os.path.exists(path):
        return None
    try:
        return _run("ovsdb-tool", "db-cid", path).strip()
    except CommandExecutionError:
        # one that is joining does not know it yet
        try:
            _run("ovsdb-tool", "db-is-clustered", path)
        except CommandExecutionError:
            return ""
        return "joining"


def create(database):
    """
    Make the database on this host's disk, of a new cluster; refused when there is one.

    database
        ``northbound`` or ``southbound``

    Raises CommandExecutionError when it cannot be made.

    CLI Example:

    .. code-block:: bash

        salt-run ovn.form cluster=iaas
    """
    # a timer of a new cluster is set at once; later it is only doubled, step by step
    timer = config()[database]["election_timer"]
    _make(
        database, f"--election-timer={timer}", "create-cluster", "{}", _schema_file(database),
        address(database),
    )  # fmt: skip


def admit(database, members):
    """
    Make the database on this host's disk, which will join a cluster; refused when there is one.

    database
        ``northbound`` or ``southbound``
    members
        Addresses of members that serve, such as ``["ssl:10.0.0.1:6643"]``

    Raises CommandExecutionError when it cannot be made, or nobody is there to join.

    CLI Example:

    .. code-block:: bash

        salt-run ovn.form cluster=iaas
    """
    mine = address(database)
    others = [one for one in members if one != mine]
    if not others:
        raise CommandExecutionError(f"There is no member to join for {database}.")
    _make(database, "join-cluster", "{}", _schema(database), mine, *others)


def _make(database, *command):
    """Under another name first: one that was not written to its end is none."""
    path = _file(database)
    if os.path.exists(path):
        raise CommandExecutionError(f"{path} is there already; nothing was made.")
    os.makedirs(_DATA, exist_ok=True)
    new = f"{path}.new"
    for leftover in (new, f"{_DATA}/.{os.path.basename(new)}.~lock~"):
        if os.path.exists(leftover):
            os.unlink(leftover)
    _run("ovsdb-tool", *(new if word == "{}" else word for word in command))
    os.rename(new, path)


def northd():
    """
    Return what the northd of this host does: ``active``, or ``standby`` while another one is
    active.

    Raises CommandExecutionError when it does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_database.northd
    """
    answer = _run("ovn-appctl", "--timeout=15", "-t", f"{_RUN}/ovn-northd.ctl", "status")
    return answer.strip().removeprefix("Status: ")


def kick(database, sid):
    """
    Take a member that lost its database out of a cluster; the new one joins under another identity.

    database
        ``northbound`` or ``southbound``
    sid
        Of the member that is gone, as the cluster knows it

    Raises CommandExecutionError when this member does not lead, or the cluster refuses.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_database.kick northbound 3f1c
    """
    return _ctl(database, "cluster/kick", _schema(database), sid).strip()


def _target(found, database):
    # everywhere: who has no certificate of the authority gets nowhere
    anywhere = "[::]" if found["address"].startswith("[") else "0.0.0.0"  # noqa: S104
    return f"pssl:{found[database]['port']}:{anywhere}"


def unsettled(database):
    """
    Return the names of the settings of a cluster that differ from the configured ones.

    database
        ``northbound`` or ``southbound``

    CLI Example:

    .. code-block:: bash

        salt 'ntw*' ovn_database.unsettled southbound
    """
    found, seen = config(), status(database)
    wanted = found[database]
    if seen is None:
        return ["server"]
    wrong = [] if seen["timer"] == wanted["election_timer"] else ["election timer"]
    columns = "--columns=target,inactivity_probe"
    try:
        text = _client(database, "--format=json", columns, "list", "Connection")
    except CommandExecutionError:
        return [*wrong, "connection"]
    rows = [
        (row["target"], row["inactivity_probe"]) for row in __salt__["ovs_switch.table"](text)
    ]  # fmt: skip
    same = rows == [(_target(found, database), wanted["inactivity_probe"])]
    return wrong if same else [*wrong, "connection"]


def settle(database):
    """
    Give a cluster its settings: where clients connect, how long they may be silent, and, where this
    member leads, how soon another one is elected.

    database
        ``northbound`` or ``southbound``

    Returns the names of what was set. Raises CommandExecutionError when the cluster refuses.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_database.settle southbound
    """
    found, done = config(), []
    wrong, seen = unsettled(database), status(database)
    if seen is None:
        raise CommandExecutionError(f"The server of {database} does not answer.")
    if "connection" in wrong:
        probe = f"--inactivity-probe={found[database]['inactivity_probe']}"
        _client(database, probe, "set-connection", _target(found, database))
        done.append("connection")
    if "election timer" in wrong and seen["role"] == "leader":
        _elect(database, seen["timer"], found[database]["election_timer"])
        done.append("election timer")
    return done


def _elect(database, now, wanted):
    """The timer is only doubled in one step, and members agree on each."""
    while now != wanted:
        aim = min(wanted, 2 * now)
        _ctl(database, "cluster/change-election-timer", _schema(database), str(aim))
        end = time.monotonic() + _LIMIT
        while now != aim:
            if time.monotonic() > end:
                raise CommandExecutionError(f"The election timer of {database} stays at {now} ms.")
            time.sleep(_LOOK)
            now = (status(database) or {"timer": now})["timer"]


def ask(database, verb, *arguments):
    """
    Return what ``ovsdb-client`` prints when it asks the server on this host.

    database
        ``northbound`` or ``southbound``
    verb
        Such as ``needs-conversion``
    arguments
        ``schema`` and ``file`` stand for the name of the database and for its installed schema

    Raises CommandExecutionError when the server does not answer or refuses.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_database.ask northbound get-schema-version schema
    """
    words = {"schema": _schema(database), "file": _schema_file(database)}
    command = ["ovsdb-client", "-t", "60", verb, _socket(database)]
    return _run(*command, *(words.get(word, word) for word in arguments), timeout=90)
