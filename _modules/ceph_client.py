"""
Whether the services of this host reach the Ceph cluster with their own keys
============================================================================

:depends: python3-rados, which the role ``ceph.common`` installs
"""

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
