"""
The object stores of this host: BlueStore on a disk, a loop device or a sparse file
==================================================================================

A store is found by what is on its device and in ``/var/lib/ceph/osd``, never by a number that
somebody wrote down. Making one can be interrupted anywhere and done again: its identity and its key
are noted before the cluster hears of them.
"""

import glob
import hashlib
import json
import os
import shutil
import stat
import time
import uuid

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_store"

STORES = "/var/lib/ceph/osd"
#: Parts of a store beside its data, and the option of the model that names each.
PARTS = {"block.db": "db", "block.wal": "wal"}
# Seconds that a program has: a device may be slow.
LIMIT = 600
_UNITS = {"M": 2**20, "G": 2**30, "T": 2**40}


def __virtual__():
    return __virtualname__


def _run(*command, what, body=""):
    return __salt__["ceph_daemon.run"](*command, what=what, limit=LIMIT, body=body)


def _text(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def stores():
    """
    Return the object stores that this host has, from their directories.

    Returns a list of ``{"id", "uuid", "fsid", "path": device or file, "ready", "unit"}``; ``path``
    is as the model names it.

    CLI Example:

    .. code-block:: bash

        salt 'osd*' ceph_store.stores
    """
    found = []
    for place in sorted(glob.glob(f"{STORES}/ceph-*")):
        number = place.rpartition("-")[2]
        block = f"{place}/block"
        path = _text(f"{place}/loop") or (os.readlink(block) if os.path.islink(block) else "")
        found.append(
            {
                "id": int(number),
                "uuid": _text(f"{place}/fsid"),
                "fsid": _text(f"{place}/ceph_fsid"),
                "path": path,
                "ready": os.path.exists(f"{place}/ready") and os.path.exists(f"{place}/keyring"),
                "unit": f"ceph-osd@{number}",
            }
        )
    return found


def fsids():
    """
    Return which cluster each object store of this host belongs to: ``{"osd.0": fsid}``.

    CLI Example:

    .. code-block:: bash

        salt 'osd*' ceph_store.fsids
    """
    return {f"osd.{store['id']}": store["fsid"] for store in stores() if store["fsid"]}


def find(path):
    """
    Return the store on a device, as in :py:func:`stores`; None when there is none.

    path
        Device or file, as the model names it

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_store.find /srv/ceph/0
    """
    for store in stores():
        if store["path"] and os.path.realpath(store["path"]) == os.path.realpath(path):
            return store
    return None


def label(path):
    """
    Return what BlueStore wrote at the begin of a device; None when it wrote nothing.

    path
        Device or file

    Returns ``{"osd_uuid", "ceph_fsid", "whoami", "ready", …}`` without the key that is in it.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_store.label /srv/ceph/0
    """
    try:
        with open(path, "rb") as stream:
            if not stream.read(22).startswith(b"bluestore block device"):
                return None
    except FileNotFoundError:
        return None
    except OSError as err:
        raise CommandExecutionError(f"{path} cannot be read: {err.strerror}.") from None
    told = _run(
        "ceph-bluestore-tool", "show-label", "--dev", path, "--no-mon-config",
        what=f"Reading the label of {path}",
    )  # fmt: skip
    (found,) = json.loads(told).values()
    return {key: value for key, value in found.items() if key != "osd_key"}


def may_use(path, kind, fsid, ours=""):
    """
    Tell why a device must not become an object store of this cluster.

    path
        Device or file
    kind
        ``block``, ``loop`` or ``file``
    fsid
        Of the wanted cluster
    ours
        Identity of the store that is being made there

    Returns one sentence, empty when it may.

    CLI Example:

    .. code-block:: bash

        salt 'osd*' ceph_store.may_use /dev/sdb block 7a3f8f0e-52d1-4b0c-9d61-0f3c2f6c9a11
    """
    if kind == "block":
        if not os.path.exists(path) or not stat.S_ISBLK(os.stat(path).st_mode):
            return f"{path} is no block device of this host. Correct the model, or see the disk."
    elif not os.path.exists(path):
        return ""
    elif not stat.S_ISREG(os.stat(path).st_mode):
        return f"{path} is no file. Say `kind: block` for a device."
    found = label(path)
    if found:
        if found.get("ceph_fsid", fsid) != fsid:
            return (
                f"{path} holds an object store of cluster {found['ceph_fsid']}; the model says"
                f" {fsid}. It was not touched."
            )
        if found.get("osd_uuid") != ours and not found.get("ready"):
            return f"{path} holds half an object store. Zap it when nothing on it is needed."
        return ""
    signed = _run("wipefs", "--json", path, what=f"Looking at {path}").strip()
    kinds = [item["type"] for item in json.loads(signed)["signatures"]] if signed else []
    if kinds:
        return f"{path} holds {', '.join(kinds)}. Wipe it when nothing on it is needed."
    return ""


def _bytes(size):
    return int(size[:-1]) * _UNITS[size[-1]]


def _file(path, size):
    """A sparse file; an existing one is only ever made larger."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "ab") as stream:
        if stream.tell() < _bytes(size):
            stream.truncate(_bytes(size))
    os.chmod(path, 0o600)
    shutil.chown(path, "ceph", "ceph")


def make(path, kind="block", size=None, device_class=None, db=None, wal=None):
    """
    Make an object store on a device, or take up one of this cluster that is there. The number of
    one that was given up on this host (``ceph_data.destroy``) is used again.

    path
        Device by a name that stays, or file
    kind
        ``block``, ``loop`` (a file behind a loop device) or ``file``
    size
        Of a file, such as ``8G``
    device_class
        ``hdd``, ``ssd`` or ``nvme``; default: what Ceph sees
    db
        ``{"path", "size"}`` of BlueStore's database, when it is elsewhere; ``size`` makes a file
    wal
        The same of its log

    Returns its number. Raises CommandExecutionError when the device is not free, the cluster cannot
    be asked, or Ceph refuses.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_store.make /srv/ceph/0 kind=file size=8G
    """
    fsid = __pillar__.get("ceph", {}).get("common", {}).get("fsid", "")
    note = f"{STORES}/.making-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    made = json.loads(_text(note) or "{}")
    parts = {"block": {"path": path, "size": size}}
    parts.update({name: spec for name, spec in (("block.db", db), ("block.wal", wal)) if spec})
    for name, spec in parts.items():
        spec["kind"] = kind if name == "block" else "file" if spec.get("size") else "block"
        wrong = may_use(spec["path"], spec["kind"], fsid, made.get("uuid", ""))
        if wrong:
            raise CommandExecutionError(wrong)
    found = label(path)
    if found and found.get("osd_uuid") != made.get("uuid"):
        return _take_up(path, kind, int(found["whoami"]), parts)
    if not made:
        kept = __salt__["ceph_disk.kept"](path, __salt__["ceph_host.bucket"]())
        made = {"uuid": str(uuid.uuid4()), "secret": os.urandom(16).hex(), "id": kept}
        os.makedirs(STORES, exist_ok=True)
        __salt__["ceph_daemon.write"](note, json.dumps(made))
    secret = __salt__["ceph_cluster.cephx"](made["secret"])
    body = {"cephx_secret": secret}
    if device_class:
        body["crush_device_class"] = device_class
    wanted = {key: made[key] for key in ("uuid", "id") if made.get(key) is not None}
    answer = __salt__["ceph_cluster.command"]("osd new", body=json.dumps(body), arguments=wanted)
    number = int(answer["osdid"] if isinstance(answer, dict) else answer)
    place = _place(number, parts)
    keyring = __salt__["ceph_daemon.keyring"](f"osd.{number}", secret)
    __salt__["ceph_daemon.write"](f"{place}/keyring", keyring)
    _own(place)
    _run(
        "ceph-osd", "--no-mon-config", "--mkfs", "-i", str(number), "--osd-uuid", made["uuid"],
        "--osd-objectstore", "bluestore", "--keyfile", "-", "--setuser", "ceph",
        "--setgroup", "ceph", what=f"Making osd.{number} on {path}", body=secret,
    )  # fmt: skip
    _own(place)
    os.remove(note)
    return number


def _place(number, parts):
    """The directory of a store, with links to its devices."""
    place = f"{STORES}/ceph-{number}"
    os.makedirs(place, mode=0o750, exist_ok=True)
    for name, spec in parts.items():
        target = spec["path"]
        if spec["kind"] != "block":
            _file(target, spec["size"])
        if spec["kind"] == "loop":
            __salt__["ceph_daemon.write"](f"{place}/loop", f"{target}\n", 0o644)
            target = _loop(target)
        shutil.chown(os.path.realpath(target), "ceph", "ceph")
        link = f"{place}/{name}"
        if os.path.islink(link) or os.path.exists(link):
            os.remove(link)
        os.symlink(target, link)
    return place


def _loop(path):
    told = _run("losetup", "--json", "--associated", path, what=f"Looking for {path}").strip()
    devices = json.loads(told)["loopdevices"] if told else []
    if devices:
        return devices[0]["name"]
    return _run("losetup", "--find", "--show", path, what=f"A loop device for {path}").strip()


def _own(place):
    shutil.chown(place, "ceph", "ceph")
    for name in os.listdir(place):
        os.chown(f"{place}/{name}", *_ceph(), follow_symlinks=False)


def _ceph():
    import pwd

    entry = pwd.getpwnam("ceph")
    return entry.pw_uid, entry.pw_gid


def _take_up(path, kind, number, parts):
    """Give a store its directory again: the host was made anew, the disk was not."""
    place = _place(number, parts)
    device = os.path.realpath(f"{place}/block")
    _run(
        "ceph-bluestore-tool", "prime-osd-dir", "--dev", device, "--path", place,
        "--no-mon-config", what=f"Taking up osd.{number} on {path}",
    )  # fmt: skip
    _own(place)
    return number


def start(number, timeout=60):
    """
    Start an object store, now and at boot, and wait until the cluster sees it up.

    number
        Of the object store
    timeout
        Seconds

    Returns a sentence. Raises CommandExecutionError when it is not up in time.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_store.start 0
    """
    unit = f"ceph-osd@{number}"
    __salt__["ceph_daemon.start"](unit, LIMIT)
    end = time.monotonic() + timeout
    while True:
        dump = __salt__["ceph_cluster.command"]("osd dump")
        if any(item["osd"] == int(number) and item["up"] for item in dump["osds"]):
            return f"osd.{number} is up."
        if time.monotonic() > end:
            raise CommandExecutionError(
                f"osd.{number} is not up after {timeout} s. See journalctl -u {unit}."
            )
        time.sleep(1)
