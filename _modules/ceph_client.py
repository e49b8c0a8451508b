"""
Whether the services of this host reach the Ceph cluster with their own keys
============================================================================

:depends: python3-rados, which the role ``ceph.common`` installs
"""

import os
import time

__virtualname__ = "ceph_client"

CONF = "/etc/ceph/ceph.conf"
TIMEOUT = 10


def __virtual__():
    return __virtualname__


def connect(name, timeout=TIMEOUT):
    """
    Log in to the cluster as one user and say which cluster answered.

    name
        Such as ``client.glance``; its key is in ``/etc/ceph/ceph.<name>.keyring``
    timeout
        Seconds

    Returns ``{"ok", "sentence", "fsid"}``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test ceph_client.connect client.glance
    """
    try:
        import rados
    except ImportError:
        return {"ok": False, "fsid": "", "sentence": "python3-rados is missing: apply ceph.common."}
    conf = {
        "keyring": f"/etc/ceph/ceph.{name}.keyring",
        "client_mount_timeout": str(timeout),
        "rados_mon_op_timeout": str(timeout),
    }
    handle = None
    try:
        handle = rados.Rados(name=name, conffile=CONF, conf=conf)
        handle.connect(timeout=timeout)
        fsid = handle.get_fsid()
    except rados.Error as err:
        told = f"{name} cannot log in to Ceph: {type(err).__name__}."
        return {"ok": False, "fsid": "", "sentence": told}
    finally:
        if handle is not None:
            handle.shutdown()
    return {"ok": True, "fsid": fsid, "sentence": f"{name} is logged in to {fsid}."}


def sanity(timeout=TIMEOUT):
    """
    Write an object, read it back and remove it, as each user of this host that has a ``pool`` in
    the pillar (``ceph:client:keyring:<user>:pool``).

    timeout
        Seconds for each step

    Returns ``{"ok", "sentence", "seconds"}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_client.sanity
    """
    begin = time.monotonic()
    users = (__pillar__.get("ceph", {}).get("client") or {}).get("keyring", {})
    told = []
    for name, spec in sorted(users.items()):
        if (spec or {}).get("pool"):
            wrong = _use(name, spec["pool"], timeout)
            if wrong:
                seconds = round(time.monotonic() - begin, 3)
                return {"ok": False, "sentence": wrong, "seconds": seconds}
            told.append(f"{name} wrote to pool {spec['pool']} and read it")
    if not told:
        found = healthy()
        told.append(found["sentence"].rstrip("."))
        if not found["ok"]:
            return {"ok": False, "sentence": found["sentence"], "seconds": 0.0}
    seconds = round(time.monotonic() - begin, 3)
    return {"ok": True, "sentence": f"{'; '.join(told)}.", "seconds": seconds}


def _use(name, pool, timeout):
    """Write, read and remove one object; the sentence of what went wrong, empty when nothing."""
    import rados

    host = __pillar__.get("host", {}).get("name") or __grains__["id"]
    thing, content = f"saltern-sanity-{host}", os.urandom(4096)
    conf = {
        "keyring": f"/etc/ceph/ceph.{name}.keyring",
        "client_mount_timeout": str(timeout),
        "rados_mon_op_timeout": str(timeout),
        "rados_osd_op_timeout": str(timeout),
    }
    handle = None
    try:
        handle = rados.Rados(name=name, conffile=CONF, conf=conf)
        handle.connect(timeout=timeout)
        with handle.open_ioctx(pool) as place:
            place.write_full(thing, content)
            found = place.read(thing, length=len(content))
            place.remove_object(thing)
    except rados.Error as err:
        return f"{name} cannot use pool {pool}: {type(err).__name__}."
    finally:
        if handle is not None:
            handle.shutdown()
    return "" if found == content else f"{name} read something else from pool {pool} than it wrote."


def healthy():
    """
    Check that every key that the model puts on this host is accepted by the right cluster.

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' ceph_client.healthy
    """
    ceph = __pillar__.get("ceph", {})
    wanted = ceph.get("common", {}).get("fsid", "")
    names = sorted((ceph.get("client") or {}).get("keyring", {}))
    for name in names:
        found = connect(name)
        if not found["ok"]:
            return {"ok": False, "sentence": found["sentence"]}
        if found["fsid"] != wanted:
            told = f"{name} reaches cluster {found['fsid']}; the model says {wanted}."
            return {"ok": False, "sentence": told}
    return {"ok": True, "sentence": f"{', '.join(names) or 'No key'}: accepted."}
