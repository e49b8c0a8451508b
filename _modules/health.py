"""
Ask a host whether its services really work, and what it is made of
==================================================================

The stage runner asks these over the bus: :py:func:`health.preflight <preflight>` before a
deployment touches a host, :py:func:`health.check <check>` after every stage. A check is data
that comes with the role (``lifecycle:<role>:health`` in its service class)::

    health:
      - {unit: mariadb}
      - {port: 3306}
      - {http: "https://ctl01.example.test:5000/healthcheck", status: 200}
      - {file: /etc/keystone/keystone.conf, mode: "0640", user: root, group: keystone}
      - {call: galera_cluster.healthy, retry: {attempts: 10, interval: 3}}

Nothing is needed beside Salt itself.
"""

import http.client
import logging
import os
import platform
import shutil
import socket
import ssl
import stat
import subprocess
import time
import urllib.parse

from salt.exceptions import SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "health"

# The suite's own CA, put there by pki.host.
CA = "/etc/saltern/pki/ca.crt"

# Seconds one connection may take.
CONNECT_TIMEOUT = 10

# Keys that say how a check is asked, not what.
_MANNER = ("retry", "timeout", "comment", "scope")

# Where a deployment writes, and MiB it needs free there at least.
_DISK = {"/": 2048, "/var": 1024, "/tmp": 256}  # noqa: S108  # looked at, not written to
_MEMORY = 256
_SUPPORTED = (("debian", "12"), ("debian", "13"), ("ubuntu", "22.04"), ("ubuntu", "24.04"))


def __virtual__():
    if not hasattr(os, "statvfs"):
        return False, "health needs a POSIX host"
    return __virtualname__


def _host_address():
    """The host's own address of the model, or the loopback without one."""
    host = (__pillar__ or {}).get("host") or {}
    return host.get("address") or "127.0.0.1"


def _at(address, port):
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _reason(err):
    """The human half of an exception."""
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"certificate refused: {err.verify_message or err}"
    if isinstance(err, TimeoutError):
        return "no answer in time"
    return getattr(err, "strerror", None) or str(err) or type(err).__name__


def _systemctl(verb, unit):
    done = subprocess.run(
        ["systemctl", verb, unit],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    return done.stdout.decode(errors="replace").strip()


def _check_unit(unit, enabled=True, timeout=CONNECT_TIMEOUT):
    del timeout
    try:
        state = _systemctl("is-active", unit)
        if state != "active":
            return "unit-inactive", f"unit {unit} is {state or 'unknown'}, not active"
        if enabled:
            state = _systemctl("is-enabled", unit)
            if state not in ("enabled", "enabled-runtime", "static", "alias", "generated"):
                told = f"unit {unit} is active but {state}: it will not start at boot"
                return "unit-disabled", told
    except (OSError, subprocess.SubprocessError) as err:
        return "not-asked", f"unit {unit} could not be asked for: {_reason(err)}"
    return "ok", f"unit {unit} is active"


def _check_port(port, address=None, timeout=CONNECT_TIMEOUT):
    address = address or _host_address()
    where = _at(address, port)
    try:
        with socket.create_connection((address, int(port)), timeout=timeout):
            return "ok", f"{where} accepts connections"
    except OSError as err:
        return "port-closed", f"{where} accepts no connection: {_reason(err)}"


def _check_http(url, status=200, ca=CA, timeout=CONNECT_TIMEOUT):
    wanted = [int(one) for one in (status if isinstance(status, list) else [status])]
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SaltInvocationError(f"health.check: http needs a full URL, not {url!r}")
    connection = None
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if os.path.exists(ca):
                context.load_verify_locations(ca)
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", path, headers={"User-Agent": "saltern-health"})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as err:
        return "http-unreachable", f"{url} does not answer: {_reason(err)}"
    finally:
        if connection is not None:
            connection.close()
    if answer.status not in wanted:
        expected = " or ".join(str(one) for one in wanted)
        return "http-status", f"{url} answers {answer.status}, not {expected}"
    return "ok", f"{url} answers {answer.status}"


def _check_file(path, mode=None, user=None, group=None, timeout=CONNECT_TIMEOUT):
    del timeout
    import grp
    import pwd

    try:
        info = os.stat(path)
    except OSError as err:
        return "file-missing", f"{path} cannot be read: {_reason(err)}"
    actual = stat.S_IMODE(info.st_mode)
    # YAML reads an unquoted 0640 as the number 416 and a quoted one as text
    if mode is not None and actual != (mode if isinstance(mode, int) else int(str(mode), 8)):
        wanted = f"{mode:04o}" if isinstance(mode, int) else str(mode)
        return "file-differs", f"{path} has mode {actual:04o}, not {wanted}"
    for what, wanted, number, name in (
        ("user", user, info.st_uid, lambda: pwd.getpwuid(info.st_uid).pw_name),
        ("group", group, info.st_gid, lambda: grp.getgrgid(info.st_gid).gr_name),
    ):
        if wanted is None:
            continue
        try:
            owner = name()
        except KeyError:
            owner = str(number)
        if owner != wanted:
            return "file-differs", f"{path} belongs to {what} {owner}, not {wanted}"
    return "ok", f"{path} is as it should be"


def _check_call(fun, args=(), kwargs=None, timeout=CONNECT_TIMEOUT):
    del timeout
    if fun not in __salt__:
        return "call-missing", f"{fun} is not available on this host"
    answer = __salt__[fun](*(args or ()), **(kwargs or {}))
    if not isinstance(answer, dict):
        return ("ok", f"{fun} is content") if answer else ("call-refused", f"{fun} says no")
    sentence = str(answer.get("sentence") or answer.get("comment") or "").rstrip(".")
    good = bool(answer.get("ok", answer.get("result", False)))
    sentence = sentence or (f"{fun} is content" if good else f"{fun} says no")
    if answer.get("code"):
        # of the closed list, with its level beside it
        return str(answer["code"]), sentence, str(answer.get("verdict") or "unknown")
    code = "ok" if good else "call-refused"
    if good and answer.get("verdict") == "warn":
        code = "call-warned"
    return code, sentence


_KINDS = {
    "unit": _check_unit,
    "port": _check_port,
    "http": _check_http,
    "file": _check_file,
    "call": _check_call,
}
# Kinds that are functions of another module: they return {"verdict", "code", "sentence"}.
_MORE = {kind: f"health_host.{kind}" for kind in ("tls", "disk", "clock", "version")}

# What an answer with this code means; every other one but "ok" is a failure.
_VERDICTS = {"ok": "ok", "call-warned": "warn", "call-missing": "unknown", "not-asked": "unknown"}


def _kind(item):
    known = {**_KINDS, **_MORE}
    kinds = [key for key in item if key in known] if isinstance(item, dict) else []
    if len(kinds) != 1:
        raise SaltInvocationError(
            f"health.check: a check names exactly one of {', '.join(sorted(known))}, got {item!r}"
        )
    return kinds[0]


def _ask(item, kind):
    options = {key: value for key, value in item.items() if key != kind and key not in _MANNER}
    if "timeout" in item and (kind in _KINDS or kind == "tls"):
        options["timeout"] = item["timeout"]
    try:
        if kind in _KINDS:
            code, sentence, *verdict = _KINDS[kind](item[kind], **options)
            return (verdict or [_VERDICTS.get(code, "fail")])[0], code, sentence
        if _MORE[kind] not in __salt__:
            return "unknown", "call-missing", f"{_MORE[kind]} is not available on this host"
        answer = __salt__[_MORE[kind]](item[kind], **options)
        return answer["verdict"], answer["code"], answer["sentence"].rstrip(".")
    except SaltInvocationError:
        raise
    except Exception as err:  # pylint: disable=broad-except  # a check must answer, whatever it is
        log.debug("health check %s raised", item, exc_info=True)
        return "unknown", "not-asked", f"{kind} {item[kind]}: {_reason(err)}"


def check(checks):
    """
    Ask every check and answer for each of them.

    Checks that say ``retry`` are asked again until they are content or the attempts are used up;
    the others are asked once. Nothing raises but a malformed check.

    checks
        List of checks, or a mapping of minion ids to such lists, of which each minion answers its
        own: one job asks many minions each something else. A check names one kind and its object,
        options beside it: ``unit`` (``enabled``: also wants it started at boot, default True),
        ``port`` (``address``, default the host's own), ``http`` (``status``: a code or a list,
        ``ca``: trusted beside the system's), ``file`` (``mode``, ``user``, ``group``), ``call``
        (``args``, ``kwargs``; the function returns a truth value or
        ``{"ok": bool, "sentence": str}``, with ``"verdict": "warn"`` where it is content and has
        something to tell, or with ``verdict`` and a ``code`` of its own), and ``tls``, ``disk``,
        ``clock``, ``version`` with the arguments of :py:mod:`health_host`.
        All of them: ``timeout`` of a connection in seconds,
        ``retry: {attempts: N, interval: seconds}``, ``scope``: ``cluster`` for what no node alone
        answers for

    Returns a list of ``{"check": …, "ok": bool, "verdict": "ok" | "warn" | "fail" | "unknown",
    "code": str, "sentence": str}`` in the order asked. ``ok`` is true for ``ok`` and ``warn``;
    ``unknown`` is what could not be asked. The codes are in ``docs/reference/codes.md``.

    CLI Example:

    .. code-block:: bash

        salt 'ctl01*' health.check '[{"unit": "nginx"}, {"port": 443}]'
    """
    if isinstance(checks, dict):
        checks = checks.get(__opts__["id"])
        if checks is None:
            raise SaltInvocationError(f"health.check: no checks for {__opts__['id']}")
    if not isinstance(checks, list | tuple):
        raise SaltInvocationError("health.check: checks must be a list")
    kinds = [_kind(item) for item in checks]
    answers = []
    for item, kind in zip(checks, kinds, strict=True):
        retry = item.get("retry") or {}
        attempts = max(1, int(retry.get("attempts", 1)))
        for attempt in range(attempts):
            if attempt:
                time.sleep(float(retry.get("interval", 1)))
            verdict, code, sentence = _ask(item, kind)
            good = verdict in ("ok", "warn")
            if good:
                break
        if not good and attempts > 1:
            sentence += f" (asked {attempts} times)"
        answers.append(
            {
                "check": item,
                "ok": good,
                "verdict": verdict,
                "code": code,
                "sentence": sentence + ".",
            }
        )
    return answers


def facts():
    """
    Report what matters for a deployment: system, memory, disk, time, Python and Salt.

    Returns ``{"os": id, "os_release": str, "codename": str, "arch": str, "kernel": str,
    "memory": {"total": MiB, "available": MiB}, "disk": {path: MiB free}, "time": seconds since
    the epoch, "virtual": str}``.

    CLI Example:

    .. code-block:: bash

        salt '*' health.facts
    """
    system = _os_release()
    memory = _meminfo()
    return {
        "os": system.get("ID", ""),
        "os_release": system.get("VERSION_ID", ""),
        "codename": system.get("VERSION_CODENAME", ""),
        "arch": platform.machine(),
        "kernel": platform.release(),
        "memory": {
            "total": memory.get("MemTotal", 0) // 1024,
            "available": memory.get("MemAvailable", 0) // 1024,
        },
        "disk": {
            path: shutil.disk_usage(path).free // 2**20 for path in _DISK if os.path.isdir(path)
        },
        "time": time.time(),
        "virtual": __grains__.get("virtual_subtype") or __grains__.get("virtual", ""),
    }


def _os_release(path="/etc/os-release"):
    try:
        with open(path, encoding="utf-8") as stream:
            pairs = (line.strip().partition("=") for line in stream if "=" in line)
            return {key: value.strip("\"'") for key, _, value in pairs}
    except OSError:
        return {}


def _meminfo(path="/proc/meminfo"):
    try:
        with open(path, encoding="ascii") as stream:
            pairs = (line.partition(":") for line in stream)
            return {key: int(value.split()[0]) for key, _, value in pairs if value.split()}
    except (OSError, ValueError):
        return {}


def preflight(disk=None, memory=_MEMORY, supported=_SUPPORTED):
    """
    Tell what on this host would make a deployment fail; nothing is changed.

    disk
        MiB that must be free by path, default ``{"/": 2048, "/var": 1024, "/tmp": 256}``
    memory
        MiB of memory that must be available
    supported
        List of ``[os id, release]`` as in os-release that the formulas know

    Returns :py:func:`facts` and ``findings``, a list of sentences that is empty when all is well.

    CLI Example:

    .. code-block:: bash

        salt '*' health.preflight memory=512
    """
    known = facts()
    findings = []
    if [known["os"], known["os_release"]] not in [list(one) for one in supported]:
        names = ", ".join(" ".join(one) for one in supported)
        findings.append(
            f"{known['os'] or 'an unknown system'} {known['os_release']} is not supported;"
            f" the formulas know {names}."
        )
    for path, wanted in (disk or _DISK).items():
        if os.path.isdir(path):
            free = shutil.disk_usage(path).free // 2**20
            if free < wanted:
                findings.append(f"{path} has {free} MiB free, {wanted} MiB are needed.")
    if known["memory"]["available"] < memory:
        findings.append(
            f"{known['memory']['available']} MiB of memory are available, {memory} MiB are needed."
        )
    return {"facts": known, "findings": findings}
