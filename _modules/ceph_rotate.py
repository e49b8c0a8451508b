"""
New keys for daemons of Ceph on this host
=========================================

A new key is made here, reaches the cluster in the body of a command and the daemon in its own
keyring; it is in no argument, return or log. Keys of clients are secrets of the model: a new
secret, and the workflow ``change``.
"""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_rotate"

MANAGERS = "/var/lib/ceph/mgr"


def __virtual__():
    return __virtualname__


def manager():
    """
    Give the manager of this host a new key and restart it.

    Ended anywhere it may be done again: the last key that was made is the one that counts.

    Returns a sentence. Raises CommandExecutionError when no other manager would be left meanwhile,
    or when it does not come back.

    CLI Example:

    .. code-block:: bash

        salt mon02.example.test ceph_rotate.manager
    """
    name = __salt__["ceph_daemon.name"]()
    dump = _ask("mgr dump")
    others = {dump["active_name"], *(item["name"] for item in dump["standbys"])} - {name, ""}
    if not others:
        raise CommandExecutionError(f"There is no manager beside {name} that could take over.")
    entity = f"mgr.{name}"
    users = {item["entity"]: item for item in _ask("auth ls")["auth_dump"]}
    if entity not in users:
        raise CommandExecutionError(f"The cluster has no user {entity}: apply ceph.mgr first.")
    secret = __salt__["ceph_cluster.cephx"](os.urandom(16).hex())
    keyring = __salt__["ceph_daemon.keyring"]
    _ask("auth import", body=keyring(entity, secret, users[entity]["caps"]))
    path = f"{MANAGERS}/ceph-{name}/keyring"
    __salt__["ceph_daemon.write"](path, keyring(entity, secret), owner="ceph")
    unit = f"ceph-mgr@{name}"
    what = f"{unit} does not start with its new key"
    __salt__["ceph_daemon.run"]("systemctl", "restart", unit, what=what)
    return f"Manager {name} has a new key."


def _ask(prefix, body=""):
    return __salt__["ceph_cluster.command"](prefix, body=body)
