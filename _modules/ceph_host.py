"""
A host of object stores as a whole: is it up, may it go, does it come back
=========================================================================

``hold`` and ``release`` are the lease of the role ``ceph.osd``. While a host is held its object
stores may be down without the cluster copying their data elsewhere. Who asked for it stands in the
cluster itself (``ceph_cluster.leases``), so whoever comes later can give it back.
"""

import json
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_host"

FLAG = "noout"
_OWNER = "saltern"


def __virtual__():
    return __virtualname__


def bucket():
    """
    Return the host's name in the CRUSH map.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_host.bucket
    """
    osd = __pillar__.get("ceph", {}).get("osd") or {}
    return osd.get("crush", {}).get("host") or __salt__["ceph_daemon.name"]()


def _ids():
    return [store["id"] for store in __salt__["ceph_store.stores"]()]


def osds_up():
    """
    Check that every object store that the model wants is on this host, up and in.

    One that is down, which somebody accepted (``ceph health mute OSD_DOWN``), does not count: the
    cluster itself says then what may stop beside it.

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt 'osd*' ceph_host.osds_up
    """
    wanted = (__pillar__.get("ceph", {}).get("osd") or {}).get("devices", [])
    missing = [one["path"] for one in wanted if not __salt__["ceph_store.find"](one["path"])]
    if missing:
        return {"ok": False, "sentence": f"No object store is on {', '.join(missing)}."}
    try:
        dump = __salt__["ceph_cluster.command"]("osd dump")
        checks = __salt__["ceph_cluster.command"]("status")["health"]["checks"]
        since = __salt__["ceph_map.down"](dump)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    known = {item["osd"]: item for item in dump["osds"]}
    wrong, dead = [], []
    for number in _ids():
        name = f"osd.{number}"
        if number not in known:
            wrong.append(f"{name} is not in the cluster")
        elif name in since:
            dead.append(f"{name} is down" + (f" since {since[name]}" if since[name] else ""))
        elif not known[number]["in"]:
            wrong.append(f"{name} is out")
    if wrong or dead:
        accepted = not wrong and checks.get("OSD_DOWN", {}).get("muted", False)
        told = "; ".join([*wrong, *dead]) + (", which is accepted" if accepted else "")
        return {"ok": accepted, "sentence": f"{told}."}
    return {"ok": True, "sentence": f"{len(_ids())} object stores are up and in."}


def hold(owner=_OWNER):
    """
    Take the lease on this host: its object stores may be down for a while.

    owner
        Who wants it; only the same may release it

    Returns a sentence. Raises CommandExecutionError when data would become unavailable, or when
    another owner holds it.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_host.hold
    """
    name, ids = bucket(), _ids()
    if not ids:
        return f"{name} has no object store."
    found = _lease(name, owner)
    if not found:
        answer = __salt__["ceph_gate.ok_to_stop"](ids)
        if not answer["ok"]:
            raise CommandExecutionError(answer["sentence"])
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        value = json.dumps({"owner": owner, "since": since})
        _command("config-key set", key=_key(name), val=value)
    _command("osd set-group", flags=FLAG, who=[name])
    return f"{name} is held: {FLAG}."


def release(owner=_OWNER):
    """
    Give the lease on this host back; a host that is not held stays as it is.

    owner
        Who holds it

    Returns a sentence. Raises CommandExecutionError when another owner holds it.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_host.release
    """
    name = bucket()
    if not _lease(name, owner):
        return f"{name} is not held."
    _command("osd unset-group", flags=FLAG, who=[name])
    # last: after a crash before this it is released once more
    _command("config-key rm", key=_key(name))
    return f"{name} is released."


def _lease(name, owner):
    found = __salt__["ceph_cluster.leases"]().get(f"{FLAG}/{name}")
    if found and found.get("owner") != owner:
        raise CommandExecutionError(
            f"{name} is held by {found.get('owner')} since {found.get('since')}."
        )
    return found


def _key(name):
    return f"saltern/lease/{FLAG}/{name}"


def _command(prefix, **arguments):
    return __salt__["ceph_cluster.command"](prefix, arguments=arguments)
