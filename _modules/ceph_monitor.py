"""
The Ceph monitor of this host
=============================

What it holds is told without a quorum: a running monitor is asked over its own socket, the store of
a stopped one is opened. A monitor is made in a directory beside and renamed when it is whole, so
there is never half a one. Who may begin a cluster is not decided here: ``salt-run ceph.form`` asks
all hosts first.
"""

import os
import shutil
import struct
import tempfile
import time
import uuid

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_monitor"

STORES = "/var/lib/ceph/mon"
#: States of a monitor that takes part.
SERVING = ("leader", "peon")
# What hosts of object stores may do: make one, look, spare their own host for a while.
HOST_CAPS = {
    "mon": "profile bootstrap-osd, allow r, allow command 'osd set-group',"
    " allow command 'osd unset-group', allow command 'osd crush reweight',"
    " allow command 'config-key set' with key prefix saltern/lease/,"
    " allow command 'config-key rm' with key prefix saltern/lease/,"
    " allow command 'config-key dump' with key prefix saltern/lease/",
    "mgr": "allow r",
}
_ALL = {"mon": "allow *", "mgr": "allow *", "osd": "allow *", "mds": "allow *"}


def __virtual__():
    return __virtualname__


def _pillar(role):
    return __pillar__.get("ceph", {}).get(role) or {}


def _name():
    return __salt__["ceph_daemon.name"]()


def _run(*command, what):
    return __salt__["ceph_daemon.run"](*command, what=what)


def _store(name):
    return f"{STORES}/ceph-{name}"


def status(name=None):
    """
    Ask the monitor of this host what it takes part in, also when there is no quorum.

    name
        Of the monitor; default: the host's

    Returns Ceph's ``mon_status``, None when it does not run.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_monitor.status
    """
    return __salt__["ceph_daemon.ask"](f"mon.{name or _name()}", "mon_status")


def _stored(name):
    """Cluster and epoch of the map that a stopped monitor has; epoch 0 never had a quorum."""
    with tempfile.TemporaryDirectory(prefix="saltern-mon-") as place:
        shutil.chown(place, "ceph", "ceph")
        path = f"{place}/monmap"
        _run(
            "ceph-mon", "-i", name, "--extract-monmap", path, "--no-mon-config",
            "--setuser", "ceph", "--setgroup", "ceph", what=f"The store of monitor {name}",
        )  # fmt: skip
        with open(path, "rb") as stream:
            head = stream.read(26)
    if len(head) < 26:
        raise CommandExecutionError(f"The store of monitor {name} has no map of monitors.")
    # version, compat, length, fsid as it is, epoch: MonMap::encode in src/mon/MonMap.cc
    return str(uuid.UUID(bytes=head[6:22])), struct.unpack("<I", head[22:26])[0]


def facts():
    """
    Say what this host holds of a cluster, whether its monitor runs or not.

    Returns ``{"name", "address", "wanted": fsid of the model, "fsids": {store: fsid}, "fresh",
    "running", "state", "quorum": [names], "members": [names], "object_hosts": [minion ids]}``.
    ``fresh`` is a monitor that was never made, or never was in a quorum. Raises
    CommandExecutionError when a store cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_monitor.facts
    """
    name = _name()
    found = {
        "name": name,
        "address": _pillar("mon").get("address", ""),
        "wanted": _pillar("common").get("fsid", ""),
        "fsids": __salt__["ceph_store.fsids"](),
        "fresh": True,
        "running": False,
        "state": "stopped",
        "quorum": [],
        "members": [],
        "object_hosts": __pillar__.get("topology", {}).get("roles", {}).get("ceph.osd", []),
    }
    seen = status(name)
    if seen:
        mons = seen["monmap"]["mons"]
        by_rank = {item["rank"]: item["name"] for item in mons}
        found.update(
            running=True,
            state=seen["state"],
            quorum=sorted(by_rank[rank] for rank in seen["quorum"]),
            members=sorted(item["name"] for item in mons),
        )
    for other in sorted(os.listdir(STORES)) if os.path.isdir(STORES) else []:
        if not other.startswith("ceph-") or not os.path.exists(f"{STORES}/{other}/store.db"):
            continue
        label = other.removeprefix("ceph-")
        asked = seen["monmap"] if seen and label == name else None
        fsid, epoch = (asked["fsid"], asked["epoch"]) if asked else _stored(label)
        found["fsids"][f"mon.{label}"] = fsid
        if label == name and epoch:
            found["fresh"] = False
    return found


def foreign(fsid):
    """
    Name what this host holds of another cluster than the wanted one.

    fsid
        Of the wanted cluster

    Returns one sentence, empty when there is nothing.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_monitor.foreign 7a3f8f0e-52d1-4b0c-9d61-0f3c2f6c9a11
    """
    others = {what: other for what, other in facts()["fsids"].items() if other != fsid}
    if not others:
        return ""
    named = ", ".join(f"{what} of cluster {other}" for what, other in sorted(others.items()))
    return (
        f"This host holds {named}; the model says {fsid}. Nothing was touched. Correct the model,"
        " or take the other cluster off this host."
    )


def host_caps():
    """
    Return what ``client.saltern``, the key of hosts of object stores, may do.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_monitor.host_caps
    """
    return dict(HOST_CAPS)


def keyring():
    """
    Return the first keys of a cluster as a keyring's text, for a state; it is secret.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_monitor.keyring
    """
    settings = _pillar("mon")
    keys = [("mon.", settings.get("key"), {"mon": "allow *"})]
    keys.append(("client.admin", settings.get("admin_key"), _ALL))
    if settings.get("host_key"):
        keys.append(("client.saltern", settings["host_key"], HOST_CAPS))
    if not all(key for _, key, _ in keys):
        raise CommandExecutionError(
            "ceph:mon:key and ceph:mon:admin_key are missing. Give them in the model, as references"
            " to secrets."
        )
    write, wrap = __salt__["ceph_daemon.keyring"], __salt__["ceph_cluster.cephx"]
    return "".join(write(entity, wrap(key), caps) for entity, key, caps in keys)


def create(members=None):
    """
    Make the store of this host's monitor, once; it does not run yet.

    members
        ``{name: address}`` of all monitors that begin a cluster together; without it the map comes
        from the quorum that there is, and this monitor joins that

    Returns a sentence. Raises CommandExecutionError when the host holds another cluster, the quorum
    does not answer, or Ceph refuses.

    CLI Example:

    .. code-block:: bash

        salt mon03.example.test ceph_monitor.create
    """
    name, fsid = _name(), _pillar("common").get("fsid")
    if not fsid:
        raise CommandExecutionError("ceph:common:fsid is missing: give it in the model.")
    wrong = foreign(fsid)
    if wrong:
        raise CommandExecutionError(wrong)
    if os.path.exists(f"{_store(name)}/store.db"):
        return f"Monitor {name} is there."
    if members:
        vectors = {other: _vector(address) for other, address in members.items()}
    else:
        found = __salt__["ceph_cluster.command"]("mon dump")
        if found["fsid"] != fsid:
            raise CommandExecutionError(
                f"The monitors that answer are of cluster {found['fsid']}; the model says {fsid}."
            )
        vectors = {
            item["name"]: "[{}]".format(
                ",".join(f"{a['type']}:{a['addr']}" for a in item["public_addrs"]["addrvec"])
            )
            for item in found["mons"]
        }
    os.makedirs(STORES, exist_ok=True)
    place = tempfile.mkdtemp(prefix=".new-", dir=STORES)
    try:
        _make(name, fsid, vectors, place)
        os.rename(f"{place}/store", _store(name))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return f"Monitor {name} was made" + (" to begin the cluster." if members else " to join.")


def _vector(address):
    host = f"[{address}]" if ":" in address else address
    return f"[v2:{host}:3300,v1:{host}:6789]"


def _make(name, fsid, vectors, place):
    store, monmap, keys = f"{place}/store", f"{place}/monmap", f"{place}/keyring"
    os.mkdir(store, 0o750)
    # closed to others since mkdtemp made the directory
    with open(keys, "w", encoding="utf-8") as stream:
        stream.write(keyring())
    argv = ["monmaptool", "--create", "--fsid", fsid]
    for other, vector in sorted(vectors.items()):
        argv += ["--addv", other, vector]
    _run(*argv, monmap, what="Making the map of monitors")
    for path in (place, store, monmap, keys):
        shutil.chown(path, "ceph", "ceph")
    _run(
        "ceph-mon", "--mkfs", "-i", name, "--mon-data", store, "--monmap", monmap,
        "--keyring", keys, "--no-mon-config", "--setuser", "ceph", "--setgroup", "ceph",
        what=f"Making monitor {name}",
    )  # fmt: skip


def start(timeout=60):
    """
    Start this host's monitor, now and at boot, and wait until it is in the quorum.

    timeout
        Seconds

    Returns a sentence. Raises CommandExecutionError when it is not in the quorum in time.

    CLI Example:

    .. code-block:: bash

        salt mon03.example.test ceph_monitor.start
    """
    name = _name()
    if not os.path.exists(f"{_store(name)}/store.db"):
        raise CommandExecutionError(f"Monitor {name} was never made: see salt-run ceph.form.")
    unit = f"ceph-mon@{name}"
    __salt__["ceph_daemon.start"](unit)
    end = time.monotonic() + timeout
    while True:
        seen = status(name) or {"state": "stopped"}
        if seen["state"] in SERVING:
            return f"Monitor {name} is {seen['state']}."
        if time.monotonic() > end:
            raise CommandExecutionError(
                f"Monitor {name} is {seen['state']} and not in the quorum after {timeout} s. See"
                f" journalctl -u {unit}, and that the monitors reach each other."
            )
        time.sleep(0.5)


def leave():
    """
    Take this host's monitor out of the cluster for good: out of the map, stopped, its store put
    aside so that it can not come back by itself.

    Returns a sentence. Raises CommandExecutionError when the others would be no majority.

    CLI Example:

    .. code-block:: bash

        salt mon03.example.test ceph_monitor.leave
    """
    name, store = _name(), _store(_name())
    dump = __salt__["ceph_cluster.command"]("mon dump")
    if name in {item["name"] for item in dump["mons"]}:
        left = __salt__["ceph_gate.quorum_without"](name)
        if not left["ok"]:
            raise CommandExecutionError(left["sentence"])
        __salt__["ceph_cluster.command"]("mon remove", arguments={"name": name})
    __salt__["ceph_daemon.stop"](f"ceph-mon@{name}")
    if os.path.isdir(store):
        os.rename(store, f"{STORES}/.left-{name}-{int(time.time())}")
    return f"Monitor {name} left the cluster."
