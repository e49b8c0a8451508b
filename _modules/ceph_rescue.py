"""
A monitor that comes back from a bundle or from the object stores
=================================================================

A bundle of ``ceph_backup`` is restored only where nothing newer is left. When the object stores
have moved on since, their own copy of the maps is the truth: :py:func:`harvest` and
:py:func:`rebuild` make a store from that, and the bundle brings the keys.
``docs/how-to/ceph-backup.md`` has the steps.
"""

import contextlib
import os
import shutil
import tempfile
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_rescue"

MONITORS = "/var/lib/ceph/mon"
OBJECTS = "/var/lib/ceph/osd"
# Seconds that a program has: a store may be large.
LIMIT = 600
# Where the store is in a bundle, and what a monitor's directory has besides its database.
_STORE = "store"
_PLAIN = ("keyring", "kv_backend", "min_mon_release")
# Written last: a store that was only harvested has all but this.
_WHOLE = "keyring"


def __virtual__():
    return __virtualname__


def _model(role):
    return __pillar__.get("ceph", {}).get(role) or {}


def _run(*command, what):
    return __salt__["ceph_daemon.run"](*command, what=what, limit=LIMIT)


def _status(store):
    return __salt__["ceph_daemon.ask"](f"osd.{store}", "status")


def _own(place):
    """Give a tree to the daemons' user."""
    for folder, _, files in os.walk(place):
        for path in (folder, *(os.path.join(folder, file) for file in files)):
            shutil.chown(path, "ceph", "ceph")


def newest():
    """
    Return the newest map of object stores that a running one of this host has: the number of its
    epoch, 0 when none runs. They go on with it when all monitors are gone.

    CLI Example:

    .. code-block:: bash

        salt 'osd*' ceph_rescue.newest
    """
    found = [0]
    for store in __salt__["ceph_store.stores"]():
        found.append((_status(store["id"]) or {}).get("newest_map", 0))
    return max(found)


def restore(path, newest_map, replace=False):
    """
    Give this host's monitor the store of a bundle. It is not started: ``salt-run ceph.form`` starts
    all that were restored, together.

    path
        Of the bundle
    newest_map
        The highest number that ``ceph_rescue.newest`` gives on any host of object stores
    replace
        Set a store that is there aside, as ``/var/lib/ceph/mon/.replaced-<name>-<time>``

    Returns a sentence. Raises CommandExecutionError, and nothing was changed: when the bundle is
    damaged, of another cluster, of another release or older than the object stores; when the
    monitor runs or is none of the bundle's; when there is a quorum.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_rescue.restore /var/backups/ceph/ceph-mon-….tar.gz 57
    """
    name = _vacant(replace)
    about = __salt__["ceph_backup.inspect"](path)
    if about["fsid"] != _model("common").get("fsid"):
        raise CommandExecutionError(
            f"{path} is of cluster {about['fsid']}; the model says {_model('common').get('fsid')}."
        )
    if name not in about["members"]:
        raise CommandExecutionError(
            f"{path} knows the monitors {', '.join(about['members'])}, and not {name}."
        )
    runs = __salt__["ceph_backup.release"]()
    if not about["release"] <= runs <= about["release"] + 2:
        raise CommandExecutionError(
            f"{path} is of release {about['release']}; this host has {runs}, which cannot open it."
        )
    if int(newest_map) > about["osdmap"]:
        raise CommandExecutionError(
            f"{path} knows the map of object stores up to {about['osdmap']}, and an object store"
            f" has {newest_map}. Build a store from the object stores (ceph_rescue.harvest); the"
            " bundle has the keys for it."
        )
    work = tempfile.mkdtemp(prefix=".new-", dir=MONITORS)
    try:
        __salt__["ceph_backup.unpack"](path, work)
        return _place(name, f"{work}/{_STORE}", f"has the store of {about['taken']}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _vacant(replace):
    """Name the monitor of this host, which does not run, nor is there a quorum without it."""
    name = __salt__["ceph_daemon.name"]()
    if __salt__["ceph_monitor.status"](name):
        raise CommandExecutionError(f"Monitor {name} runs; nothing is put in its place.")
    quorum = []
    with contextlib.suppress(CommandExecutionError):
        quorum = __salt__["ceph_cluster.command"]("quorum_status")["quorum_names"]
    if quorum:
        raise CommandExecutionError(
            f"Monitors {', '.join(sorted(quorum))} are a quorum, and newer than any bundle: have"
            f" {name} made anew by salt-run ceph.form."
        )
    if os.path.exists(f"{MONITORS}/ceph-{name}/store.db") and not replace:
        raise CommandExecutionError(
            f"Monitor {name} has a store. Start it, or say replace=True to have it set aside."
        )
    return name


def _place(name, source, said):
    """Make a directory the store of this host's monitor."""
    target = f"{MONITORS}/ceph-{name}"
    _own(source)
    if os.path.lexists(target):
        os.rename(target, f"{MONITORS}/.replaced-{name}-{int(time.time())}")
    os.rename(source, target)
    return f"Monitor {name} {said}. Start it with salt-run ceph.form."


def harvest(path):
    """
    Add what the stopped object stores of this host know to a monitor's store in the making. The
    directory is carried from host to host.

    path
        Of the directory; made when it is not there

    Returns a sentence. Raises CommandExecutionError when one of them runs or cannot be read.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_rescue.harvest /var/lib/ceph/rescue
    """
    stores = sorted(store["id"] for store in __salt__["ceph_store.stores"]())
    for number in stores:
        if _status(number):
            raise CommandExecutionError(
                f"osd.{number} runs: stop it first (systemctl stop 'ceph-osd@*')."
            )
    os.makedirs(path, mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}/{_WHOLE}")
    for number in stores:
        _run(
            "ceph-objectstore-tool", "--data-path", f"{OBJECTS}/ceph-{number}", "--no-mon-config",
            "--op", "update-mon-db", "--mon-store-path", path, what=f"Reading osd.{number}",
        )  # fmt: skip
    name = __salt__["ceph_daemon.name"]()
    return f"{path} has what {len(stores)} object stores of {name} know."


def rebuild(path, bundle=None):
    """
    Complete a store that was harvested from all object stores: users, monitors, managers.

    path
        Of the directory, after the last host
    bundle
        Its keys are put in; without one those that the model knows, and the other users' roles have
        to be applied again

    Returns a sentence. Raises CommandExecutionError when the bundle is not this cluster's, or Ceph
    cannot.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_rescue.rebuild /var/lib/ceph/rescue
    """
    if not os.path.isdir(f"{path}/store.db"):
        raise CommandExecutionError(f"{path} holds no store: run ceph_rescue.harvest on all hosts.")
    members = sorted(item["name"] for item in _model("common").get("monitors", []))
    work = tempfile.mkdtemp(prefix=".new-", dir=MONITORS)
    try:
        if bundle:
            about = __salt__["ceph_backup.unpack"](bundle, work)
            if about["fsid"] != _model("common").get("fsid"):
                raise CommandExecutionError(f"{bundle} is of cluster {about['fsid']}.")
        else:
            with open(f"{work}/keyring", "w", encoding="utf-8") as stream:
                stream.write(__salt__["ceph_monitor.keyring"]())
        _run(
            "ceph-monstore-tool", path, "rebuild", "--", "--keyring", f"{work}/keyring",
            "--mon-ids", *members, what="Building the store",
        )  # fmt: skip
        with open(f"{path}/kv_backend", "w", encoding="utf-8") as stream:
            stream.write("rocksdb\n")
        key = __salt__["ceph_cluster.cephx"](_model("mon")["key"])
        text = __salt__["ceph_daemon.keyring"]("mon.", key, {"mon": "allow *"})
        __salt__["ceph_daemon.write"](f"{path}/{_WHOLE}", text)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return f"{path} is a store of {', '.join(members)}. Carry it to each and use ceph_rescue.place."


def place(path, replace=False):
    """
    Make a rebuilt store that of this host's monitor; a copy, so that others can have it too.

    path
        Of the directory that ``ceph_rescue.rebuild`` completed
    replace
        Set a store that is there aside

    Returns a sentence. Raises CommandExecutionError as ``ceph_rescue.restore``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_rescue.place /var/lib/ceph/rescue replace=True
    """
    name = _vacant(replace)
    if not os.path.isfile(f"{path}/{_WHOLE}"):
        raise CommandExecutionError(f"{path} is no whole store: run ceph_rescue.rebuild first.")
    work = tempfile.mkdtemp(prefix=".new-", dir=MONITORS)
    try:
        os.mkdir(f"{work}/{_STORE}", 0o750)
        shutil.copytree(f"{path}/store.db", f"{work}/{_STORE}/store.db")
        for file in _PLAIN:
            if os.path.exists(f"{path}/{file}"):
                shutil.copy(f"{path}/{file}", f"{work}/{_STORE}/{file}")
        return _place(name, f"{work}/{_STORE}", "has the store that was built")
    finally:
        shutil.rmtree(work, ignore_errors=True)
