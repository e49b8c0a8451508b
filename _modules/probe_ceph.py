"""
Measure whether a Ceph cluster does what its users ask
======================================================

Three more kinds of probe, for :py:mod:`probe`. Each keeps one session with the cluster for as long
as it measures, as a service does, writes something, reads it back, and reads what it had written
there the time before: what was acknowledged and is not there any more is a failed request.

- ``rados``: objects in the pool ``target``, spread over its placement groups;
- ``rbd``: blocks of an image in the pool ``target``, spread over its objects;
- ``s3``: objects in the bucket ``target``, through the gateways; a new connection per request.

Options of the first two: ``user`` (``client.probe``), whose key is in
``/etc/ceph/ceph.<user>.keyring``; of the last: ``file`` (``/etc/ceph/s3.probe.json``, see
:py:mod:`ceph_s3`) and ``ca``. What a session made is removed at its end, what it could not remove
by the first one that begins a day later.

:depends: python3-rados and python3-rbd, which the role ``ceph.common`` installs
"""

import abc
import calendar
import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import socket
import time
import uuid

__virtualname__ = "probe_ceph"

CONF = "/etc/ceph/ceph.conf"
USER = "client.probe"
# Name and namespace of what is written.
SPACE = "saltern-probe"
# Bytes of each write; objects and blocks in turn; bytes of the image, and bits of its objects.
SIZE, TURN = 4096, 64
IMAGE, ORDER = 64 * 2**20, 22
# Seconds after which what nobody removed is removed.
KEPT = 86400
_POOL = re.compile(r"[.A-Za-z0-9_-]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def __virtual__():
    return __virtualname__


@functools.lru_cache(maxsize=1)
def _s3():
    """:py:mod:`ceph_s3` beside this file: the process that measures has no loader."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ceph_s3.py")
    spec = importlib.util.spec_from_file_location("ceph_s3", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class _Session(abc.ABC):
    """Writes, reads back, and remembers what is where."""

    def __init__(self, timeout):
        self.timeout = timeout
        self.owner = socket.gethostname().partition(".")[0]
        self.prefix = f"{SPACE}.{self.owner}.{uuid.uuid4().hex[:12]}"
        self.turn, self.known = 0, {}

    def ask(self):
        """Whether one write and its reading were good, in time."""
        end = time.monotonic() + self.timeout
        place = self.turn % TURN
        self.turn += 1
        # out of it until it is written: nobody knows what a write that failed left behind
        known = self.known.pop(place, None)
        if known is not None and _sum(self.read(place, end)) != known:
            return False
        content = os.urandom(SIZE)
        self.write(place, content, end)
        if self.read(place, end) != content:
            return False
        self.known[place] = _sum(content)
        return time.monotonic() <= end

    @abc.abstractmethod
    def read(self, place, end):
        """Bytes at a place."""

    @abc.abstractmethod
    def write(self, place, content, end):
        """Write bytes at a place."""


def _sum(content):
    return hashlib.sha256(content).digest()


class _Rados(_Session):
    """Objects in a pool, over one connection that stays."""

    def __init__(self, target, timeout, user=USER):
        super().__init__(timeout)
        import rados

        # whole seconds: that is what the library takes
        seconds = max(1, round(timeout))
        conf = {
            "keyring": f"{os.path.dirname(CONF)}/ceph.{user}.keyring",
            "client_mount_timeout": str(seconds),
            "rados_mon_op_timeout": str(seconds),
            "rados_osd_op_timeout": str(seconds),
            # a write is one of the cluster, not of this process's memory
            "rbd_cache": "false",
        }
        self.handle = rados.Rados(name=user, conffile=CONF, conf=conf)
        try:
            self.handle.connect(timeout=seconds)
            self.pool = self.handle.open_ioctx(target)
            self.begin()
        except BaseException:
            self.handle.shutdown()
            raise

    def begin(self):
        """Make what is needed, remove what is old."""
        self.pool.set_namespace(SPACE)
        for one in list(self.pool.list_objects()):
            if one.key.startswith(f"{SPACE}.{self.owner}."):
                with contextlib.suppress(Exception):
                    stamp = self.pool.stat(one.key)[1]
                    if time.time() - time.mktime(stamp) > KEPT:
                        self.pool.remove_object(one.key)

    def read(self, place, end):
        return self.pool.read(f"{self.prefix}.{place}", length=SIZE)

    def write(self, place, content, end):
        self.pool.write_full(f"{self.prefix}.{place}", content)

    def remove(self):
        """Remove what was made."""
        for place in self.known:
            self.pool.remove_object(f"{self.prefix}.{place}")

    def close(self):
        """End the session and remove what it made."""
        try:
            with contextlib.suppress(Exception):
                self.remove()
        finally:
            self.handle.shutdown()


class _Rbd(_Rados):
    """Blocks of an image, in all of its objects in turn."""

    def begin(self):
        import rbd

        self.rbd = rbd.RBD()
        for name in self.rbd.list(self.pool):
            if name.startswith(f"{SPACE}.{self.owner}."):
                with contextlib.suppress(Exception):
                    self._forget(name)
        features = rbd.RBD_FEATURE_LAYERING
        self.rbd.create(
            self.pool, self.prefix, IMAGE, order=ORDER, old_format=False, features=features
        )
        self.image = rbd.Image(self.pool, self.prefix)

    def _forget(self, name):
        import rbd

        with rbd.Image(self.pool, name, read_only=True) as image:
            made = image.create_timestamp()
        # in UTC without saying so
        if time.time() - calendar.timegm(made.timetuple()) > KEPT:
            self.rbd.remove(self.pool, name)

    @staticmethod
    def _offset(place):
        count = IMAGE >> ORDER
        return ((place % count) << ORDER) + place // count * SIZE

    def read(self, place, end):
        return self.image.read(self._offset(place), SIZE)

    def write(self, place, content, end):
        self.image.write(content, self._offset(place))
        self.image.flush()

    def remove(self):
        self.image.close()
        self.rbd.remove(self.pool, self.prefix)


class _S3(_Session):
    """Objects in a bucket, through the gateways."""

    def __init__(self, target, timeout, **options):
        super().__init__(timeout)
        self.client, self.bucket = _s3().Client(**options), target
        # one that is there counts against the user's limit when it is asked for again
        if self.client.ask("HEAD", f"/{target}", timeout=timeout)[0] == 404:
            self._do("PUT", f"/{target}", timeout)

    def _do(self, method, path, left, body=b"", good=(200, 204)):
        status, told = self.client.ask(method, path, body, timeout=left)
        if status not in good:
            raise OSError(f"{method} {path}: status {status}")
        return told

    def _path(self, place):
        return f"/{self.bucket}/{self.prefix}.{place}"

    def read(self, place, end):
        return self._do("GET", self._path(place), end - time.monotonic())

    def write(self, place, content, end):
        self._do("PUT", self._path(place), end - time.monotonic(), content)

    def close(self):
        """Remove what was made."""
        for place in self.known:
            with contextlib.suppress(Exception):
                self._do("DELETE", self._path(place), 1.0)


SESSIONS = {"rados": _Rados, "rbd": _Rbd, "s3": _S3}


def why_not(kind, target, options=None):
    """
    Say why a probe cannot be measured on this host; empty when it can.

    kind, target, options
        As of the probe

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe_ceph.why_not rados probe
    """
    options = dict(options or {})
    allowed = {"file", "ca"} if kind == "s3" else {"user"}
    if set(options) - allowed:
        return f"{', '.join(sorted(set(options) - allowed))} is no option of kind {kind}"
    if not (_BUCKET if kind == "s3" else _POOL).fullmatch(str(target)):
        return f"{target!r} is no name of a {'bucket' if kind == 's3' else 'pool'}"
    if kind == "s3":
        try:
            _s3().Client(**options)
        except Exception as err:  # pylint: disable=broad-except  # it says itself what is wrong
            return str(err).rstrip(".")
        return ""
    for name in ("rados", "rbd") if kind == "rbd" else ("rados",):
        if importlib.util.find_spec(name) is None:
            return f"python3-{name} is missing: apply ceph.common"
    keyring = f"{os.path.dirname(CONF)}/ceph.{options.get('user', USER)}.keyring"
    if not os.path.exists(keyring):
        return f"{keyring} is not there: apply ceph.client"
    return ""


def ready(pool=None, bucket=None, timeout=20):
    """
    Check that this host can use the cluster as a user: an object, an image, and through a gateway.

    pool, bucket
        Where; default: what ``ceph:probe`` in the pillar says, the bucket where there are gateways
    timeout
        Seconds for each

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe_ceph.ready
    """
    told, given = [], __pillar__.get("ceph", {}).get("probe") or {}
    s3 = given.get("s3") or {}
    pool = pool or given.get("pool")
    bucket = bucket or (s3.get("bucket") if s3.get("endpoints") else None)
    for kind, target in (("rados", pool), ("rbd", pool), ("s3", bucket)):
        if not target:
            continue
        wrong = why_not(kind, target) or _once(kind, target, float(timeout))
        if wrong:
            return {"ok": False, "sentence": f"{kind} {target}: {wrong}."}
        told.append(kind)
    return {"ok": True, "sentence": f"Written and read: {', '.join(told) or 'nothing'}."}


def _once(kind, target, timeout):
    """What went wrong with one request, empty when nothing did."""
    try:
        session = SESSIONS[kind](target, timeout)
    except Exception as err:  # pylint: disable=broad-except  # a cluster that refuses is an answer
        return f"no session ({err})".rstrip(".")
    try:
        return "" if session.ask() else "what was read is not what was written, or it took too long"
    except Exception as err:  # pylint: disable=broad-except
        return f"{type(err).__name__}: {err}".rstrip(".")
    finally:
        session.close()
