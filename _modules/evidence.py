"""
Keep what a host says about its services before something is undone
===================================================================

Logs may hold secrets, so they stay on the host: what leaves it are states of units, versions, paths
and hashes. Kept under ``/var/lib/saltern/evidence/<id>``, readable by root alone.
"""

import hashlib
import os
import re
import subprocess

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "evidence"

# Where it is kept on the host, below the minion's root.
FOLDER = "/var/lib/saltern/evidence"

# Where the release of a service is that runs.
CURRENT = "/opt/openstack/current"

# How much is looked at and kept at most.
_FILES, _BYTES, _LINES = 500, 4 << 20, 500

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9@_.-]*$")


def __virtual__():
    if not hasattr(os, "fchmod"):
        return False, "evidence needs a POSIX host"
    return __virtualname__


def _run(*command):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False
    )
    return done.stdout


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        digest.update(stream.read(_BYTES))
    return digest.hexdigest()


def _state(unit):
    wanted = ("ActiveState", "SubState", "ExecMainStatus", "NRestarts", "ActiveEnterTimestamp")
    text = _run("systemctl", "show", "--property", ",".join(wanted), "--", unit).decode()
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _log(folder, unit):
    path = os.path.join(folder, f"{unit}.log")
    with open(path, "wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(_run("journalctl", "--no-pager", "-n", str(_LINES), "-u", unit)[-_BYTES:])
    return path


def _folder(id):
    root = globals().get("__opts__", {}).get("root_dir") or "/"
    return os.path.join(root, FOLDER.lstrip("/"), id)


def _configuration(service):
    top = os.path.join("/etc", service)
    found = {}
    for folder, below, names in os.walk(top):
        below.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and len(found) < _FILES:
                found[path] = _digest(path)
    return found


def collect(id, units=(), services=()):
    """
    Keep the latest log of some units; return their states, and versions and hashes of services.

    id
        What it is kept under: the id of a rollout
    units
        Names of systemd units
    services
        Names of services: their files below ``/etc/<service>`` are hashed, and it is told which
        release of them runs

    Returns ``units`` (unit to state, and ``log``: where it is kept), ``files`` (path to SHA-256)
    and ``releases`` (service to directory).

    CLI Example:

    .. code-block:: bash

        salt ctl01.demo-core.test evidence.collect r20261122-1 '[keystone-api]' '[keystone]'
    """
    for name in (id, *units, *services):
        if not _NAME.match(str(name)):
            raise SaltInvocationError(f"evidence.collect: {name!r} is no name")
    folder = _folder(id)
    found = {"units": {}, "files": {}, "releases": {}}
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for unit in units:
            found["units"][unit] = {**_state(unit), "log": _log(folder, unit)}
        for service in services:
            found["files"].update(_configuration(service))
            link = os.path.join(CURRENT, service)
            if os.path.exists(link):
                found["releases"][service] = os.path.realpath(link)
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(f"the evidence cannot be kept: {err}") from err
    return found
