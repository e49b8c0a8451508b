"""
Questions about a host that have more answers than yes and no
=============================================================

Kinds of :py:func:`health.check <health.check>`, in a role's lifecycle::

    health:
      - {tls: "ctl01.example.test:5000", days: 7, warn_days: 30}
      - {disk: /var, free: 1024, warn: 4096, inodes: 5}
      - {clock: 0.5}
      - {version: keystone, venv: /opt/openstack/current/keystone, wanted: "27.0.0"}

Each function returns ``{"ok": bool, "verdict": "ok" | "warn" | "fail" | "unknown", "code": str,
"sentence": str}``; the codes are in ``docs/reference/codes.md``. Nothing is needed beside Salt.
"""

import fnmatch
import glob
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse

from salt.exceptions import SaltInvocationError

__virtualname__ = "health_host"

CA = "/etc/saltern/pki/ca.crt"


def __virtual__():
    return __virtualname__


def _answer(verdict, code, sentence):
    good = verdict in ("ok", "warn")
    return {"ok": good, "verdict": verdict, "code": code, "sentence": f"{sentence}."}


def _level(value, fail, warn):
    """Verdict of a number that should not be small."""
    if value < fail:
        return "fail"
    return "warn" if warn is not None and value < warn else "ok"


def _run(*command):
    """Output of a program, None where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def tls(address, days=7, warn_days=30, ca=CA, timeout=10):
    """
    Tell how long the certificate that a service shows is still good for.

    The certificate is verified: one of another authority or for another name is refused.

    address
        ``host:port``
    days
        Fewer left than this fail.
    warn_days
        Fewer left than this warn.
    ca
        Trusted beside the system's authorities, where the file exists.
    timeout
        Seconds that the connection may take.

    CLI Example:

    .. code-block:: bash

        salt 'ctl01*' health_host.tls ctl01.example.test:5000
    """
    parts = urllib.parse.urlsplit(f"//{address}")
    if not parts.hostname or not parts.port:
        raise SaltInvocationError(f"health_host.tls: {address!r} is not host:port")
    context = ssl.create_default_context()
    if os.path.exists(ca):
        context.load_verify_locations(ca)
    try:
        with (
            socket.create_connection((parts.hostname, parts.port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as wrapped,
        ):
            end = ssl.cert_time_to_seconds(wrapped.getpeercert()["notAfter"])
    except ssl.SSLCertVerificationError as err:
        told = err.verify_message or str(err)
        code = "tls-expiring" if "expired" in told else "tls-refused"
        return _answer("fail", code, f"the certificate of {address} is refused: {told}")
    except OSError as err:
        told = "no answer in time" if isinstance(err, TimeoutError) else err.strerror or err
        return _answer("fail", "tls-refused", f"{address} accepts no TLS connection: {told}")
    left = (end - time.time()) / 86400
    verdict = _level(left, float(days), float(warn_days))
    code = "ok" if verdict == "ok" else "tls-expiring"
    return _answer(verdict, code, f"the certificate of {address} is good for {left:.0f} days")


def disk(path, free=1024, warn=None, inodes=5):
    """
    Tell whether a file system has room left, in bytes and in files.

    path
        A directory on it.
    free
        MiB that must be free.
    warn
        Fewer MiB than this warn.
    inodes
        Per cent of its inodes that must be free; a file system without a table of them passes.

    CLI Example:

    .. code-block:: bash

        salt '*' health_host.disk /var free=2048 warn=4096
    """
    try:
        left = shutil.disk_usage(path).free // 2**20
        table = os.statvfs(path)
    except OSError as err:
        return _answer("unknown", "not-asked", f"{path} cannot be asked: {err.strerror}")
    verdict = _level(left, int(free), None if warn is None else int(warn))
    if verdict != "ok":
        return _answer(verdict, "disk-low", f"{path} has {left} MiB free")
    if table.f_files:
        share = 100 * table.f_favail / table.f_files
        verdict = _level(share, float(inodes), 2 * float(inodes))
        if verdict != "ok":
            return _answer(verdict, "inodes-low", f"{path} has {share:.0f} % of its inodes free")
    return _answer("ok", "ok", f"{path} has {left} MiB free")


def clock(limit=0.5):
    """
    Tell whether something keeps the clock right, and how far off it is.

    chrony is asked where it runs, else systemd, which knows only whether the clock is synchronised.
    Nobody to ask is ``unknown``.

    limit
        Seconds that it may be off; more than half of it warns.

    CLI Example:

    .. code-block:: bash

        salt '*' health_host.clock 0.2
    """
    told = _run("chronyc", "-c", "tracking")
    if told is not None:
        # id, name, stratum, time, system time's offset, …, leap status at the end
        fields = told.split(",")
        try:
            off, leap = abs(float(fields[4])), fields[-1]
        except (IndexError, ValueError):
            return _answer("unknown", "not-asked", "chrony does not tell how far off the clock is")
        if leap == "Not synchronised":
            return _answer("fail", "clock-free", "chrony follows no source of time")
        verdict = _level(float(limit) - off, 0, float(limit) / 2)
        code = "ok" if verdict == "ok" else "clock-off"
        return _answer(verdict, code, f"the clock is {off:.6f} s off")
    told = _run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if told not in ("yes", "no"):
        return _answer("unknown", "not-asked", "neither chrony nor systemd tells about the clock")
    if told == "no":
        return _answer("fail", "clock-free", "nothing keeps the clock of this host right")
    return _answer("ok", "ok", "the clock is synchronised")


def version(name, wanted="*", venv=None):
    """
    Tell whether a package of the system, or of a virtual environment, has the wanted version.

    name
        Its name.
    wanted
        The version, or a pattern such as ``2.6.*``.
    venv
        Directory of the virtual environment; default: the system's packages.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' health_host.version keystone wanted=27.0.0 venv=/opt/openstack/current/keystone
    """
    if venv:
        where = f" in {venv}"
        found = _in_venv(str(name), venv)
    elif "pkg.version" in __salt__:
        where = ""
        found = str(__salt__["pkg.version"](name) or "")
    else:
        return _answer("unknown", "call-missing", "pkg.version is not available on this host")
    if not found:
        return _answer("fail", "version-missing", f"{name} is not installed{where}")
    if not fnmatch.fnmatchcase(found, str(wanted)):
        told = f"{name} is {found}{where}, not {wanted}"
        return _answer("fail", "version-differs", told)
    return _answer("ok", "ok", f"{name} is {found}{where}")


def _in_venv(name, venv):
    """Version of a distribution, from its metadata's name: ``python_dateutil-2.9.dist-info``."""
    plain = name.lower().replace("-", "_").replace(".", "_")
    for path in glob.glob(os.path.join(venv, "lib/python3*/site-packages/*.dist-info")):
        found, _, told = os.path.basename(path).removesuffix(".dist-info").rpartition("-")
        if found.lower().replace("-", "_").replace(".", "_") == plain:
            return told
    return ""
