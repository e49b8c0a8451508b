"""
Object stores of this host that end: stopped, forgotten, their device cleared
=============================================================================

The cluster decides whether a store may go (``ceph_data`` on a monitor); here is what its host does
then. Nothing is cleared that the cluster still counts on.
"""

import hashlib
import os
import shutil
import stat
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_disk"

STORES = "/var/lib/ceph/osd"
# Names of BlueStore's parts in the directory of a store.
_PARTS = ("block", "block.db", "block.wal")
# Bytes at the begin of a device that say what is on it.
_HEAD = 10 * 2**20


def __virtual__():
    return __virtualname__


def _found(store):
    """A store of this host, None when it has none of this number."""
    stores = __salt__["ceph_store.stores"]()
    return next((one for one in stores if one["id"] == int(store)), None)


def _known(store):
    """What the cluster says of a store, None when it does not know the number."""
    return __salt__["ceph_cluster.osd_tree"]().get(f"osd.{int(store)}")


def size(store):
    """
    Return how large the data device of an object store is, in bytes.

    store
        Its number

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_disk.size 0
    """
    try:
        with open(f"{STORES}/ceph-{int(store)}/block", "rb") as stream:
            return stream.seek(0, os.SEEK_END)
    except OSError as err:
        raise CommandExecutionError(
            f"The device of osd.{store} cannot be read: {err.strerror}."
        ) from None


def stop(store=None, timeout=60):
    """
    Stop an object store of this host, now and at boot, and wait until the cluster sees it down.

    store
        Its number; default: all of this host
    timeout
        Seconds

    Returns a sentence. Raises CommandExecutionError when it is not down in time.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_disk.stop 3
    """
    mine = __salt__["ceph_store.stores"]()
    stores = [one for one in mine if store is None or one["id"] == int(store)]
    for one in stores:
        __salt__["ceph_daemon.stop"](one["unit"])
    names = {f"osd.{one['id']}" for one in stores} or {f"osd.{store}"}
    end = time.monotonic() + timeout
    while True:
        tree = __salt__["ceph_cluster.osd_tree"]()
        up = sorted(name for name in names if tree.get(name, {}).get("up"))
        if not up:
            return f"{', '.join(sorted(names)) if stores or store is not None else 'None'}: down."
        if time.monotonic() > end:
            raise CommandExecutionError(
                f"{', '.join(up)} still runs after {timeout} s, here or on another host."
            )
        time.sleep(1)


def forget(store=None, wipe=False):
    """
    Remove what this host has of an object store that was given up or purged.

    Its number is noted, for the store that comes on the same device.

    store
        Its number; default: all of this host
    wipe
        Clear the device too; without it a device that still holds the store is refused

    Returns a sentence. Raises CommandExecutionError when the cluster counts on the store, when it
    runs, or when its device still holds it.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_disk.forget 3
        salt osd01.example.test ceph_disk.forget 3 wipe=True
    """
    mine = __salt__["ceph_store.stores"]()
    stores = [one for one in mine if store is None or one["id"] == int(store)]
    for one in stores:
        _forget(one, wipe)
    named = ", ".join(f"osd.{one['id']}" for one in stores)
    return f"{named} is not on this host any more." if named else "There is nothing to forget."


def _forget(store, wipe):
    number, known = store["id"], _known(store["id"])
    if known is not None and not known["destroyed"]:
        raise CommandExecutionError(
            f"The cluster still counts on osd.{number}: see ceph_data.destroy and ceph_data.purge."
        )
    if __salt__["service.status"](store["unit"]):
        raise CommandExecutionError(f"osd.{number} still runs: stop it first (ceph_disk.stop).")
    place = f"{STORES}/ceph-{number}"
    devices = [f"{place}/{part}" for part in _PARTS if os.path.islink(f"{place}/{part}")]
    for link in devices:
        device = os.path.realpath(link)
        if not os.path.exists(device):
            continue
        if wipe:
            _clear(device)
        elif link.endswith("/block") and _holds(device, store["uuid"]):
            raise CommandExecutionError(
                f"{store['path']} still holds osd.{number}. Change the disk, or say wipe=True when"
                " nothing on it is needed."
            )
    if store["path"] and known is not None:
        __salt__["ceph_daemon.write"](_mark(store["path"]), f"{number}\n", 0o644)
    shutil.rmtree(place)


def _holds(device, uuid):
    found = __salt__["ceph_store.label"](device)
    return bool(found) and found.get("osd_uuid") == uuid


def _clear(device):
    """Have a device say nothing any more; a file is removed."""
    if stat.S_ISREG(os.stat(device).st_mode):
        os.remove(device)
        return
    __salt__["ceph_daemon.run"]("wipefs", "--all", device, what=f"Clearing {device}")
    with open(device, "r+b", buffering=0) as stream:
        stream.write(bytes(_HEAD))
        os.fsync(stream.fileno())


def _mark(path):
    return f"{STORES}/.kept-{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def kept(path, bucket):
    """
    Return the number that a new store on a device takes over; None for a number of its own.

    It is the one that was there before, else the lowest that was given up on this host.

    path
        Device or file, as the model names it
    bucket
        Name of this host in the CRUSH map

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_disk.kept /srv/ceph/store1 osd01
    """
    tree = __salt__["ceph_cluster.osd_tree"]()
    waiting = sorted(
        one["id"]
        for one in tree.values()
        if one["destroyed"] and one["location"].get("host") == bucket
    )
    try:
        with open(_mark(path), encoding="ascii") as stream:
            noted = int(stream.read())
    except (OSError, ValueError):
        noted = None
    if noted in waiting:
        return noted
    return waiting[0] if waiting else None
