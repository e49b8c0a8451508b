"""
Whether the services of this host reach the Ceph cluster with their own keys
============================================================================

And a known set of data for drills: :py:func:`seed` writes it as a user would, :py:func:`manifest`
tells what is there, before and after an upgrade or a fault::

    salt cfg01 ceph_client.seed
    salt cfg01 ceph_client.manifest
    salt cfg01 ceph_client.unseed

:depends: python3-rados and python3-rbd, which the role ``ceph.common`` installs
"""

import contextlib
import hashlib
import json
import os
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_client"

CONF = "/etc/ceph/ceph.conf"
TIMEOUT = 10
# The set of data: its name, seconds for one step, and pieces of how many bytes of each kind.
DATA, STEP = "saltern-data", 60
OBJECTS, OBJECT = 16, 512 * 2**10
BLOCKS, BLOCK = 32, 2**20
# of the image, written again once there is a snapshot
AGAIN = 8
KEYS, KEY = 16, 2**20


def __virtual__():
    return __virtualname__


@contextlib.contextmanager
def _login(name, timeout, step=None):
    """One user's session, which ends with the block: seconds to log in, and for each step then."""
    import rados

    step = str(step or timeout)
    conf = {
        "keyring": f"/etc/ceph/ceph.{name}.keyring",
        "client_mount_timeout": str(timeout),
        "rados_mon_op_timeout": step,
        "rados_osd_op_timeout": step,
    }
    handle = rados.Rados(name=name, conffile=CONF, conf=conf)
    try:
        handle.connect(timeout=timeout)
        yield handle
    finally:
        handle.shutdown()


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
    try:
        with _login(name, timeout) as handle:
            fsid = handle.get_fsid()
    except rados.Error as err:
        told = f"{name} cannot log in to Ceph: {type(err).__name__}."
        return {"ok": False, "fsid": "", "sentence": told}
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
    try:
        with _login(name, timeout) as handle, handle.open_ioctx(pool) as place:
            place.write_full(thing, content)
            found = place.read(thing, length=len(content))
            place.remove_object(thing)
    except rados.Error as err:
        return f"{name} cannot use pool {pool}: {type(err).__name__}."
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


def seed(number=1, pool="probe", user="client.probe"):
    """
    Write the set of data, 64 MiB in all, in place of one that is there: objects, an image with a
    snapshot that differs from it, and objects in a bucket.

    number
        Another one gives other content
    pool
        Where objects and the image are
    user
        Who writes; the bucket belongs to the user in ``/etc/ceph/s3.probe.json``

    Returns what :py:func:`manifest` is to return from now on. Raises CommandExecutionError when
    something cannot be written.

    CLI Example:

    .. code-block:: bash

        salt --timeout=300 cfg01 ceph_client.seed
    """
    unseed(pool, user)
    found = {"objects": {}, "image": "", "snapshots": {}, "bucket": {}}
    with _data(pool, user) as (place, rbd):
        for name in (f"object-{n:02d}" for n in range(OBJECTS)):
            content = _content(number, name, OBJECT)
            place.write_full(name, content)
            found["objects"][name] = _sum(content)
        place.set_namespace("")
        blocks = [_content(number, f"block-{n}", BLOCK) for n in range(BLOCKS)]
        rbd.RBD().create(place, DATA, BLOCKS * BLOCK)
        with rbd.Image(place, DATA) as image:
            for n, content in enumerate(blocks):
                image.write(content, n * BLOCK)
            image.flush()
            image.create_snap("first")
            found["snapshots"]["first"] = _sum(*blocks)
            blocks[:AGAIN] = [_content(number, f"again-{n}", BLOCK) for n in range(AGAIN)]
            for n, content in enumerate(blocks[:AGAIN]):
                image.write(content, n * BLOCK)
            image.flush()
            found["image"] = _sum(*blocks)
    _s3("PUT", f"/{DATA}")
    for name in (f"key-{n:02d}" for n in range(KEYS)):
        content = _content(number, name, KEY)
        _s3("PUT", f"/{DATA}/{name}", content)
        found["bucket"][name] = _sum(content)
    return _whole(found)


def manifest(pool="probe", user="client.probe"):
    """
    Read all of the set of data that is there, piece by piece, and return its checksums.

    pool, user
        As of :py:func:`seed`

    Returns ``{"objects": {name: SHA-256}, "image": SHA-256, "snapshots": {name: SHA-256},
    "bucket": {key: SHA-256}, "digest": SHA-256 of all that}``; what is not there is left empty.
    Raises CommandExecutionError when something cannot be read.

    CLI Example:

    .. code-block:: bash

        salt --timeout=300 cfg01 ceph_client.manifest
    """
    found = {"objects": {}, "image": "", "snapshots": {}, "bucket": {}}
    with _data(pool, user) as (place, rbd):
        for name in sorted(one.key for one in place.list_objects()):
            # one byte more than there should be shows what has grown
            found["objects"][name] = _sum(place.read(name, length=OBJECT + 1))
        place.set_namespace("")
        if DATA in rbd.RBD().list(place):
            with rbd.Image(place, DATA, read_only=True) as image:
                found["image"] = _image(image)
                names = sorted(one["name"] for one in image.list_snaps())
            for name in names:
                with rbd.Image(place, DATA, snapshot=name, read_only=True) as image:
                    found["snapshots"][name] = _image(image)
    for name in __salt__["ceph_s3.objects"](DATA, timeout=STEP) or ():
        found["bucket"][name] = _sum(_s3("GET", f"/{DATA}/{name}"))
    return _whole(found)


def unseed(pool="probe", user="client.probe"):
    """
    Remove the set of data; what is not there is content.

    pool, user
        As of :py:func:`seed`

    Returns True. Raises CommandExecutionError when something cannot be removed.

    CLI Example:

    .. code-block:: bash

        salt --timeout=300 cfg01 ceph_client.unseed
    """
    with _data(pool, user) as (place, rbd):
        for name in [one.key for one in place.list_objects()]:
            place.remove_object(name)
        place.set_namespace("")
        if DATA in rbd.RBD().list(place):
            with rbd.Image(place, DATA) as image:
                for name in [one["name"] for one in image.list_snaps()]:
                    image.remove_snap(name)
            rbd.RBD().remove(place, DATA)
    found = __salt__["ceph_s3.objects"](DATA, timeout=STEP)
    for name in found or ():
        _s3("DELETE", f"/{DATA}/{name}")
    if found is not None:
        _s3("DELETE", f"/{DATA}")
    return True


@contextlib.contextmanager
def _data(pool, user):
    """The pool, in the namespace of the set of data, and the library of images."""
    try:
        import rados
        import rbd
    except ImportError as err:
        raise CommandExecutionError(f"python3-{err.name} is missing: apply ceph.common.") from None
    try:
        with _login(user, TIMEOUT, STEP) as handle, handle.open_ioctx(pool) as place:
            place.set_namespace(DATA)
            yield place, rbd
    except (rados.Error, rbd.Error) as err:
        told = f"{user} in pool {pool}: {type(err).__name__}: {err}".rstrip(".")
        raise CommandExecutionError(f"{told}.") from None


def _s3(method, path, body=b""):
    found = __salt__["ceph_s3.request"](method, path, body, timeout=STEP)
    if found["status"] not in (200, 204):
        raise CommandExecutionError(f"{method} {path}: the gateway says {found['status']}.")
    return found["body"]


def _content(number, name, size):
    return hashlib.shake_128(f"{number}/{name}".encode()).digest(size)


def _sum(*contents):
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _image(image):
    digest = hashlib.sha256()
    for place in range(0, image.size(), BLOCK):
        digest.update(image.read(place, min(BLOCK, image.size() - place)))
    return digest.hexdigest()


def _whole(found):
    return {**found, "digest": _sum(json.dumps(found, sort_keys=True).encode())}
