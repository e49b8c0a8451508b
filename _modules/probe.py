"""
Measure from this host, second by second, whether a service answers
===================================================================

A measurement runs in a process of its own: it goes on while the minion and the master restart, and
ends when it is told to, or when nobody has read it for a while. The rollout engine starts one and
reads it all through a rollout; an operator may do the same by hand::

    salt cfg01 probe.start mine '[{"name": "web", "kind": "tcp", "target": "192.0.2.1:443"}]'
    salt cfg01 probe.read mine
    salt cfg01 probe.stop mine

Kinds of a probe, each a new connection every ``interval`` (0.25) seconds, failed after ``timeout``
(5) seconds:

- ``http``: GET of the URL ``target``; options ``status`` (a code or a list, default 200) and ``ca``
  (trusted beside the system's authorities, default the suite's own);
- ``token``: a token of the Keystone v3 at the URL ``target``; options ``cloud`` (entry of
  clouds.yaml, default ``admin``), ``file`` (default ``/etc/openstack/clouds.yaml``), ``ca``;
- ``api``: GET of the URL ``target`` with a token, ``{project}`` in it replaced by the token's; the
  token is kept, so the service alone is measured; options as of ``token``, and ``status`` (a code,
  default 200);
- ``tcp``: a connection to ``target``, ``host:port``;
- ``icmp``: an echo of the host ``target``;
- ``rados``, ``rbd``, ``s3``: what users of a Ceph cluster do, see :py:mod:`probe_ceph`; each keeps
  one session.

What is written has no credentials in it. But for the last three nothing is needed beside Salt.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "probe"

_PROCESS = "probe_process.py"
_FOLDER = "var/lib/saltern/probes"
_SYSTEMD = "/run/systemd/system"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Rows that one reading gives.
_MOST = 4000
# Seconds: for a process to come up or to end; after which what was measured is removed.
_PATIENCE, _KEPT = 15, 7 * 86400


def __virtual__():
    return __virtualname__


def _folder(name):
    if not _NAME.fullmatch(str(name)):
        raise SaltInvocationError(f"probe: {name!r} is no name of a measurement")
    top = os.path.join(__opts__.get("root_dir") or "/", _FOLDER)
    return os.path.join(top, __opts__.get("id") or "minion", str(name))


def _running(folder):
    try:
        with open(os.path.join(folder, "lock"), encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _wait(folder, running):
    """Whether the process is there, and has written which one it is, or is gone, before long."""

    def so():
        if _running(folder) is not running:
            return False
        return not running or os.path.getsize(os.path.join(folder, "lock")) > 0

    end = time.monotonic() + _PATIENCE
    while not (found := so()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _touch(folder, name):
    with open(os.path.join(folder, name), "w", encoding="ascii") as stream:
        stream.write(str(time.time_ns()))


def _launch(folder):
    # -I: the other modules beside this file must not be taken for Python's own
    command = [
        sys.executable,
        "-I",
        os.path.join(os.path.dirname(os.path.abspath(__file__)), _PROCESS),
        folder,
    ]
    if os.path.isdir(_SYSTEMD) and shutil.which("systemd-run"):
        unit = f"saltern-probe-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"
        told = ["--quiet", "--collect", f"--unit={unit}", "--description=Saltern probes"]
        done = subprocess.run(["systemd-run", *told, *command], capture_output=True, check=False)
        if done.returncode == 0:
            return
    subprocess.run([*command, "--detach"], stdin=subprocess.DEVNULL, check=False, timeout=60)


def start(name, probes, ttl=3600):
    """
    Start a measurement; one that runs already with the same probes goes on.

    Returns ``{"running": True, "started": bool}``. Raises CommandExecutionError when the process
    does not come up, or when a probe finds no credentials here.

    name
        What it is called from now on.
    probes
        List of ``{name, kind, target, options, interval, timeout}``, see above.
    ttl
        It ends by itself when nobody has read it for so many seconds.

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe.start mine '[{"name": "gw", "kind": "icmp", "target": "192.0.2.1"}]'
    """
    folder = _folder(name)
    wanted = {"probes": __salt__["probe_process.checked"](probes), "ttl": float(ttl)}
    _tidy(os.path.dirname(folder))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _touch(folder, "read")
    path = os.path.join(folder, "spec.json")
    if _running(folder):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as stream:
            if json.load(stream) == wanted:
                return {"running": True, "started": False}
        _end(folder)
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(folder, "stop"))
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(wanted, stream)
    with open(os.path.join(folder, "lock"), "w", encoding="ascii"):
        pass  # what an earlier process wrote into it
    _launch(folder)
    if not _wait(folder, True):
        raise CommandExecutionError(f"the process of measurement {name} did not come up")
    return {"running": True, "started": True}


def _tidy(top):
    """Remove what nobody has read for days."""
    for folder in os.scandir(top) if os.path.isdir(top) else ():
        path = os.path.join(folder.path, "read")
        stamp = os.stat(path).st_mtime if os.path.exists(path) else 0
        if time.time() - stamp > _KEPT and not _running(folder.path):
            shutil.rmtree(folder.path, ignore_errors=True)


def _end(folder):
    _touch(folder, "stop")
    if not _wait(folder, False):
        with (
            contextlib.suppress(OSError, ValueError),
            open(os.path.join(folder, "lock"), encoding="ascii") as lock,
        ):
            os.kill(int(lock.read()), signal.SIGKILL)
        if not _wait(folder, False):
            raise CommandExecutionError(f"the process of measurement {folder} does not end")


def read(name, since=0):
    """
    Return what was measured, second by second; a measurement that does not exist has no rows.

    Returns ``{"running": bool, "rows": [{"probe", "second", "requests", "failed", "max_ms",
    "gap_ms"}]}``, oldest first, some thousand at once. ``second`` is that of the epoch in which the
    requests ended, ``max_ms`` the slowest, ``gap_ms`` how long the target had been failing.

    name
        What it was started as.
    since
        Only seconds after this one.

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe.read mine since=1795000000
    """
    folder = _folder(name)
    if not os.path.isdir(folder):
        return {"running": False, "rows": []}
    running = _running(folder)  # before the rows: they are complete when it is not
    _touch(folder, "read")
    return {"running": running, "rows": _rows(folder, int(since))}


def _rows(folder, since):
    keys = ("probe", "second", "requests", "failed", "max_ms", "gap_ms")
    found = []
    with (
        contextlib.suppress(FileNotFoundError),
        open(os.path.join(folder, "rows"), encoding="utf-8") as stream,
    ):
        for line in stream:
            if line.endswith("\n"):  # else it is being written
                row = dict(zip(keys, json.loads(line), strict=True))
                if len(found) >= _MOST and row["second"] > found[-1]["second"]:
                    break
                if row["second"] > since:
                    found.append(row)
    return found


def stop(name, since=0):
    """
    End a measurement and return what :py:func:`read` would; what does not run stays so.

    name
        What it was started as.
    since
        Only seconds after this one.

    CLI Example:

    .. code-block:: bash

        salt cfg01 probe.stop mine
    """
    folder = _folder(name)
    if _running(folder):
        _end(folder)
    return read(name, since)
