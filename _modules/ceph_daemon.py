"""
Ceph's programs and daemons on this host
========================================

The other modules of Ceph run programs, start daemons and write keyrings through this one, so all of
them fail with a sentence of the same shape. A secret reaches a program on its standard input; it is
in no argument.
"""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_daemon"

SOCKETS = "/var/run/ceph/ceph-{}.asok"


def __virtual__():
    return __virtualname__


def name():
    """
    Return what the daemons of this host are called: the host's short name.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_daemon.name
    """
    return __pillar__.get("host", {}).get("name") or __grains__["id"].partition(".")[0]


def run(*command, what, limit=120, body=""):
    """
    Run a program and return what it printed.

    command
        Its name and its arguments
    what
        What it is run for, the begin of the sentence when it fails
    limit
        Seconds that it has
    body
        Text for its standard input, such as a key

    Raises CommandExecutionError with the last line that it printed when it fails.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_daemon.run ceph-mon --version what='Asking the release'
    """
    try:
        done = subprocess.run(
            command, input=body, capture_output=True, text=True, check=False, timeout=limit
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(f"{what}: {command[0]}: {err}.") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise CommandExecutionError(f"{what}: {(lines or ['failed'])[-1].strip()[:300]}")
    return done.stdout


def ask(daemon, prefix):
    """
    Ask a running daemon over its own socket, also when there is no quorum.

    daemon
        Kind and name: ``mon.mon01``, ``osd.3``
    prefix
        The command's words: ``mon_status``, ``status``

    Returns the decoded answer, None when nobody listens.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_daemon.ask osd.3 status
    """
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(SOCKETS.format(daemon))
            link.sendall(json.dumps({"prefix": prefix}).encode() + b"\0")
            stream = link.makefile("rb")
            (length,) = struct.unpack(">I", stream.read(4))
            return json.loads(stream.read(length))
    except (OSError, ValueError, struct.error):
        return None


def start(unit, limit=120):
    """
    Start a daemon, now and at boot, also when systemd gave it up before.

    unit
        Such as ``ceph-mon@mon01``
    limit
        Seconds that systemd has

    Returns True. Raises CommandExecutionError when systemd cannot.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_daemon.start ceph-mon@mon01
    """
    target = f"{unit.partition('@')[0]}.target"
    what = f"Enabling {unit}"
    run("systemctl", "enable", "--quiet", target, unit, what=what, limit=limit)
    _forgive(unit)
    run("systemctl", "start", unit, what=f"Starting {unit}", limit=limit)
    return True


def stop(unit, limit=120):
    """
    Stop a daemon, now and at boot.

    unit
        Such as ``ceph-osd@3``
    limit
        Seconds that systemd has

    Returns True. Raises CommandExecutionError when systemd cannot.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_daemon.stop ceph-osd@3
    """
    what = f"Stopping {unit}"
    run("systemctl", "disable", "--quiet", "--now", unit, what=what, limit=limit)
    _forgive(unit)
    return True


def _forgive(unit):
    """Have systemd forget that a unit failed; one that did not is content."""
    with contextlib.suppress(CommandExecutionError):
        run("systemctl", "reset-failed", unit, what=unit)


def keyring(entity, key, caps=None):
    """
    Return a user as a keyring has it.

    entity
        ``client.glance``, ``mgr.mon01``
    key
        Its key, as Ceph writes it
    caps
        What it may do, ``{service: text}``; none: the daemon's own keyring has no use for them

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_daemon.keyring client.glance AQ… '{mon: profile rbd}'
    """
    lines = [f"[{entity}]", f"\tkey = {key}"]
    for service, text in sorted((caps or {}).items()):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'\tcaps {service} = "{quoted}"')
    return "\n".join(lines) + "\n"


def write(path, text, mode=0o600, owner=""):
    """
    Write a file whole or not at all; never can others read what they may not.

    path
        Of the file; its directory is there
    text
        What is in it
    mode
        Who may read it
    owner
        Whose it is besides root's; the group has the same name

    Returns True. Raises OSError when it cannot be written.

    CLI Example:

    .. code-block:: bash

        salt osd01.example.test ceph_daemon.write /var/lib/ceph/note 'one line' owner=ceph
    """
    handle = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if owner:
        shutil.chown(f"{path}.new", owner, owner)
    os.replace(f"{path}.new", path)
    return True
