"""
The process that asks services again and again, and the requests that it makes
==============================================================================

:py:mod:`probe` starts this file as a process of its own and reads what it writes. What is written
has no credentials in it.
"""

import contextlib
import fcntl
import functools
import http.client
import importlib.util
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "probe_process"

_CA = "/etc/saltern/pki/ca.crt"
_CLOUDS = "/etc/openstack/clouds.yaml"
# Bytes of rows after which a measurement ends.
_LARGEST = 64 * 2**20
# Seconds that sessions have to end when it does.
_LAST = 8.0


def __virtual__():
    return __virtualname__


# -- the requests --------------------------------------------------------------------------------


def _where(target):
    """Host and port of ``host:port``, ``[2001:db8::1]:443``."""
    parts = urllib.parse.urlsplit(f"//{target}")
    if not parts.hostname or not parts.port:
        raise ValueError(f"{target!r} is not host:port")
    return parts.hostname, parts.port


def _request(url, timeout, ca, method="GET", body=None, token=None):
    """Status, headers and body of one request over a new connection."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if os.path.exists(ca):
            context.load_verify_locations(ca)
        made = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=timeout, context=context
        )
    else:
        made = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    headers = {"User-Agent": "saltern-probe", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if token is not None:
        headers["X-Auth-Token"] = token
    with contextlib.closing(made):
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        made.request(method, path, body, headers)
        answer = made.getresponse()
        # an answer that breaks off is none
        return answer.status, answer.headers, answer.read()


def _http(target, timeout, status=200, ca=_CA):
    wanted = [int(one) for one in (status if isinstance(status, list) else [status])]
    return _request(target, timeout, ca)[0] in wanted


def _token(target, timeout, cloud="admin", file=_CLOUDS, ca=_CA):
    return _issued(target, timeout, _who(file, cloud)[1], ca)[0] in (200, 201)


def _issued(target, timeout, body, ca):
    return _request(f"{target.rstrip('/')}/auth/tokens", timeout, ca, "POST", body)


def _who(file, cloud):
    """Keystone's URL and the body of a request for a token, out of clouds.yaml."""
    import yaml

    with open(file, encoding="utf-8") as stream:
        clouds = (yaml.safe_load(stream) or {}).get("clouds") or {}
    auth = (clouds.get(cloud) or {}).get("auth") or {}
    if not auth.get("password"):
        raise ValueError(f"{file} has no password of a cloud {cloud!r}")
    domain = {"name": auth.get("user_domain_name", "Default")}
    user = {"name": auth.get("username"), "domain": domain, "password": auth["password"]}
    given = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if auth.get("project_name"):
        domain = {"name": auth.get("project_domain_name", "Default")}
        given["scope"] = {"project": {"name": auth["project_name"], "domain": domain}}
    return auth.get("auth_url"), json.dumps({"auth": given})


class _Api:
    """Requests with a token that is kept: it is the service that is measured, not Keystone."""

    def __init__(self, target, timeout, status=200, cloud="admin", file=_CLOUDS, ca=_CA):
        self.target, self.timeout, self.status, self.ca = target, timeout, status, ca
        self.who, self.token, self.project = _who(file, cloud), None, ""

    def ask(self):
        """Ask once; a token that is refused is replaced for the next time."""
        if self.token is None:
            _, headers, body = _issued(self.who[0], self.timeout, self.who[1], self.ca)
            self.token = headers["X-Subject-Token"]
            self.project = json.loads(body)["token"].get("project", {}).get("id", "")
        url = self.target.replace("{project}", self.project)
        status = _request(url, self.timeout, self.ca, token=self.token)[0]
        if status == 401:
            self.token = None
        return status == self.status

    def close(self):
        """A token ends by itself."""


def _tcp(target, timeout):
    with socket.create_connection(_where(target), timeout=timeout):
        return True


def _icmp(target, timeout):
    family, _, _, _, address = socket.getaddrinfo(target, None, type=socket.SOCK_DGRAM)[0]
    six = family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    ident, number = threading.get_ident() & 0xFFFF, time.monotonic_ns() >> 10 & 0xFFFF
    packet = struct.pack("!BBHHH", 128 if six else 8, 0, 0, ident, number)
    if not six:  # the kernel adds up only those of IPv6
        total = sum(struct.unpack("!4H", packet))
        packet = packet[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + packet[4:]
    end = time.monotonic() + timeout
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.sendto(packet, address)
        while (left := end - time.monotonic()) > 0:
            raw.settimeout(left)
            data = raw.recv(2048)
            data = data if six else data[(data[0] & 15) * 4 :]
            kind, _, _, *told = struct.unpack("!BBHHH", data[:8])
            if kind == (129 if six else 0) and told == [ident, number]:
                return True
    return False


_KINDS = {"http": _http, "token": _token, "tcp": _tcp, "icmp": _icmp}
# Those that ask with credentials of this host.
_NAMED = ("api", "token")
# Those that keep a session, in a file of their own.
_CEPH = ("rados", "rbd", "s3")


@functools.lru_cache(maxsize=1)
def _ceph():
    """:py:mod:`probe_ceph` beside this file: the process has no loader."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe_ceph.py")
    spec = importlib.util.spec_from_file_location("probe_ceph", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class _Requests:
    """What a kind without a session has in the place of one."""

    def __init__(self, spec):
        self.ask = functools.partial(
            _KINDS[spec["kind"]], spec["target"], spec["timeout"], **spec["options"]
        )

    def close(self):
        """Nothing is open."""


def _session(spec):
    if spec["kind"] in _KINDS:
        return _Requests(spec)
    kind = _Api if spec["kind"] == "api" else _ceph().SESSIONS[spec["kind"]]
    return kind(spec["target"], spec["timeout"], **spec["options"])


# -- the process that measures -------------------------------------------------------------------


class _Meter:
    """Counts the requests of one probe by second, in rows ``[name, second, …]``."""

    def __init__(self, name):
        self.name, self.lock = name, threading.Lock()
        self.rows, self.last, self.failing = {}, 0, None
        self.begun = None  # monotonic second of the request under way

    def note(self, begun, ended, wall, good):
        """Count one request; the first two are monotonic seconds, ``wall`` is that of its end."""
        with self.lock:
            second = self.last = max(self.last, int(wall))  # a clock that goes back is not followed
            row = self.rows.setdefault(second, [0, 0, 0, 0])
            if not good and self.failing is None:
                self.failing = begun
            gap = 0 if self.failing is None else ended - self.failing
            if good:
                self.failing = None
            row[0] += 1
            row[1] += not good
            row[2] = max(row[2], round(1000 * (ended - begun)))
            row[3] = max(row[3], round(1000 * gap))

    def take(self, before):
        """Give away the rows of seconds before one; none of them is counted in any more."""
        with self.lock:
            self.last = max(self.last, before)
            found = sorted(second for second in self.rows if second < before)
            return [[self.name, second, *self.rows.pop(second)] for second in found]


def _measure(spec, meter, over):
    session = None
    while not over.is_set():
        meter.begun = begun = time.monotonic()
        good = False
        with contextlib.suppress(Exception):
            session = session or _session(spec)
            good = session.ask()
        ended = time.monotonic()
        meter.note(begun, ended, time.time(), good)
        meter.begun = None
        over.wait(max(0.0, begun + spec["interval"] - ended))
    if session is not None:
        with contextlib.suppress(Exception):
            session.close()


def _finish(threads, meters):
    """Wait for the sessions to end; a request that is stuck even now is one that failed."""
    end = time.monotonic() + _LAST
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for meter in meters:
        if (begun := meter.begun) is not None:
            meter.note(begun, time.monotonic(), time.time(), False)


def _run(folder):
    """Measure until told to stop, unread for too long, or out of space; the process's body."""
    lock = open(os.path.join(folder, "lock"), "a+", encoding="ascii")  # noqa: SIM115  # kept open
    for _ in range(100):  # who looks whether it runs holds the lock for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.05)
    else:
        return
    lock.truncate(0)
    print(os.getpid(), file=lock, flush=True)
    with open(os.path.join(folder, "spec.json"), encoding="utf-8") as stream:
        data = json.load(stream)
    over, meters, threads = threading.Event(), [], []
    for spec in data["probes"]:
        meters.append(_Meter(spec["name"]))
        given = (spec, meters[-1], over)
        threads.append(threading.Thread(target=_measure, args=given, daemon=True))
        threads[-1].start()
    read, stamp = time.monotonic(), None
    with open(os.path.join(folder, "rows"), "a", encoding="utf-8") as rows:
        while not over.is_set():
            time.sleep(1 - time.time() % 1)
            found = _stat(folder, "read")
            if found != stamp:
                read, stamp = time.monotonic(), found
            if (
                _stat(folder, "stop")
                or time.monotonic() - read > data["ttl"]
                or rows.tell() > _LARGEST
            ):
                over.set()
                _finish(threads, meters)
            # whole seconds only, those of all probes at once; at the end what there is
            before = int(time.time()) + over.is_set()
            lines = [row for meter in meters for row in meter.take(before)]
            rows.write("".join(json.dumps(row) + "\n" for row in lines))
            rows.flush()


def _stat(folder, name):
    try:
        return os.stat(os.path.join(folder, name)).st_mtime_ns
    except OSError:
        return None


# -- the functions -------------------------------------------------------------------------------


def once(kind, target, timeout=5, options=None):
    """
    Make one request as a probe would.

    Returns ``{"ok": bool, "sentence": str}``.

    kind, target, options
        As of a probe, see :py:mod:`probe`.
    timeout
        Seconds that it may take.

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe_process.once http https://api.example.test:5000/v3
    """
    (spec,) = checked([{"name": "once", "kind": kind, "target": target, "options": options or {}}])
    spec["timeout"] = float(timeout)
    begun, session = time.monotonic(), None
    try:
        session = _session(spec)
        good = session.ask()
        told = "answers as it should" if good else "answers otherwise than it should"
    except Exception as err:  # pylint: disable=broad-except  # a request that fails is an answer
        good, told = False, f"does not answer: {getattr(err, 'strerror', None) or err}"
    finally:
        if session is not None:
            session.close()
    took = round(1000 * (time.monotonic() - begun))
    return {"ok": good, "sentence": f"{target} {told} ({took} ms)."}


def checked(probes):
    """
    Return probes with their defaults, ready to be measured on this host.

    Raises SaltInvocationError for one that is none, and CommandExecutionError when this host lacks
    what it needs: credentials, a library.

    probes
        List of ``{name, kind, target, options, interval, timeout}``, see :py:mod:`probe`.

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe_process.checked '[{"name": "gw", "kind": "icmp", "target": "192.0.2.1"}]'
    """
    found = []
    for given in probes if isinstance(probes, list | tuple) else [None]:
        spec = {"options": {}, "interval": 0.25, "timeout": 5.0}
        spec.update(given if isinstance(given, dict) else {})
        kinds = sorted({*_KINDS, *_NAMED, *_CEPH})
        if spec.get("kind") not in kinds or not spec.get("name") or not spec.get("target"):
            raise SaltInvocationError(
                f"probe.start: a probe has a name, a target and a kind ({', '.join(kinds)}),"
                f" got {given!r}"
            )
        spec["options"] = {k: v for k, v in spec["options"].items() if k != "title"}
        if spec["kind"] in _NAMED:
            try:
                _who(spec["options"].get("file", _CLOUDS), spec["options"].get("cloud", "admin"))
            except (OSError, ValueError) as err:
                told = f"{err.filename}: {err.strerror}" if isinstance(err, OSError) else err
                raise CommandExecutionError(f"no token can be had on this host: {told}") from None
        if spec["kind"] in _CEPH:
            wrong = _ceph().why_not(spec["kind"], spec["target"], spec["options"])
            if wrong:
                raise CommandExecutionError(f"{spec['name']} cannot be measured here: {wrong}")
        found.append(
            {k: spec[k] for k in ("name", "kind", "target", "options", "interval", "timeout")}
        )
    return found


if __name__ == "__main__":
    if "--detach" in sys.argv[2:]:
        if os.fork():
            os._exit(0)
        os.setsid()
        with open(os.devnull, "r+b") as null:
            for number in range(3):
                os.dup2(null.fileno(), number)
    os.umask(0o077)
    _run(sys.argv[1])
    os._exit(0)  # a thread that is stuck in a library would take the process down badly
