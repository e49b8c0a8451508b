"""
New keys for daemons of Ceph on this host
=========================================

A new key is made here, reaches the cluster in the body of a command and the daemon in its own
keyring; it is in no argument, return or log. Keys of clients are secrets of the model: a new
secret, and the workflow ``change``.
"""

import os
import shutil
import subprocess

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
    name = __pillar__.get("host", {}).get("name") or __grains__["id"].partition(".")[0]
    dump = _ask("mgr dump")
    others = {dump["active_name"], *(item["name"] for item in dump["standbys"])} - {name, ""}
    if not others:
        raise CommandExecutionError(f"There is no manager beside {name} that could take over.")
    entity = f"mgr.{name}"
    users = {item["entity"]: item for item in _ask("auth ls")["auth_dump"]}
    if entity not in users:
        raise CommandExecutionError(f"The cluster has no user {entity}: apply ceph.mgr first.")
    caps = users[entity]["caps"]
    secret = __salt__["ceph_cluster.cephx"](os.urandom(16).hex())
    head = f"[{entity}]\n\tkey = {secret}\n"
    rights = "".join(f'\tcaps {service} = "{text}"\n' for service, text in sorted(caps.items()))
    _ask("auth import", body=head + rights)
    _write(f"{MANAGERS}/ceph-{name}/keyring", head)
    unit = f"ceph-mgr@{name}"
    done = subprocess.run(
        ["systemctl", "restart", unit], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise CommandExecutionError(f"{unit} does not start with its new key: see journalctl -u.")
    return f"Manager {name} has a new key."


def _ask(prefix, body=""):
    return __salt__["ceph_cluster.command"](prefix, body=body)


def _write(path, text):
    """Write a daemon's keyring, whole or not at all, for it alone."""
    handle = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    shutil.chown(f"{path}.new", "ceph", "ceph")
    os.replace(f"{path}.new", path)
