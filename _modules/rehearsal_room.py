"""
The room that a rehearsal runs in: a network namespace that leads nowhere
=========================================================================

It has a loopback and nothing else, so that whatever runs in it reaches no host, be its
configuration what it may. Databases are reached through the file system, by a socket. See
:py:mod:`rehearsal`.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "rehearsal_room"

#: Its name, as ``ip netns`` shows it.
NAMESPACE = "saltern-rehearsal"
#: For setns(2): a network namespace.
_NEWNET = 0x40000000


def __virtual__():
    if not os.path.exists("/proc/self/ns/net"):
        return False, "rehearsal_room needs a Linux host"
    return __virtualname__


def make():
    """
    Make the namespace; one that is there is made anew.

    Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_room.make
    """
    remove()
    _ip("netns", "add", NAMESPACE)
    _ip("-n", NAMESPACE, "link", "set", "lo", "up")
    return NAMESPACE


def remove():
    """
    Remove the namespace; one that is not there is no mistake.

    Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_room.remove
    """
    if os.path.exists(f"/run/netns/{NAMESPACE}"):
        _ip("netns", "delete", NAMESPACE)
    return NAMESPACE


@contextlib.contextmanager
def inside():
    """
    Have this thread, and what it starts, in the namespace of the rehearsal for a while.

    Raises CommandExecutionError when the namespace is not there, or leads anywhere.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    try:
        there = os.open(f"/run/netns/{NAMESPACE}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise CommandExecutionError(
            "There is no namespace for a rehearsal on this host. Begin one with rehearse.run."
        ) from None
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        try:
            outside = _routes()
            if outside:
                raise CommandExecutionError(
                    f"The namespace of the rehearsal has a way out ({', '.join(outside)}), so"
                    " nothing is run in it. Begin the rehearsal again."
                )
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)
        os.close(there)


def kill(uid):
    """
    End everything that runs as a user, which must not be root.

    uid
        Its number

    Raises CommandExecutionError when something goes on.

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_room.kill 987
    """
    uid = int(uid)
    if uid <= 0:
        raise CommandExecutionError("Nothing of root is ended: a rehearsal has its own user.")
    for _ in range(100):
        found = [pid for pid in os.listdir("/proc") if pid.isdigit() and _owner(pid) == uid]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)
    raise CommandExecutionError("Processes of the rehearsal cannot be ended.")


def _owner(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as stream:
            told = dict(line.rstrip("\n").partition(":\t")[::2] for line in stream)
    except OSError:
        return None
    return None if told.get("State", "").startswith("Z") else int(told["Uid"].split()[0])


def _enter(handle):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _NEWNET):
        raise CommandExecutionError(
            f"The network namespace cannot be entered: {os.strerror(ctypes.get_errno())}."
        )


def _routes():
    """Interfaces that a route of this thread's namespace leads over, but for the loopback."""
    found = set()
    for name, column in (("route", 0), ("ipv6_route", -1)):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/thread-self/net/{name}") as lines:
            found |= {line.split()[column] for line in lines if not line.startswith("Iface")}
    return sorted(found - {"lo"})


def _ip(*arguments):
    command = ["ip", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"ip {' '.join(arguments)}: {type(err).__name__}.") from None
    if done.returncode:
        raise CommandExecutionError(f"ip {' '.join(arguments)}: {done.stderr.strip()[-300:]}.")
