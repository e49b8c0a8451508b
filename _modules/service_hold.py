"""
Keep a service stopped, and remember who wanted that
====================================================

A held unit is stopped and cannot be started by anybody: not at boot, not by a state, not by another
unit. (``systemctl mask`` cannot do that for a unit whose file is in ``/etc/systemd/system``, as
those of this suite are.) The hold survives a restart of the host.

As a role's lease::

    drain:
      - call: service_hold.hold
        args: [nova-compute]
        undo: {call: service_hold.release, args: [nova-compute]}

:depends: systemd
"""

import json
import os
import re
import subprocess
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "service_hold"

_MARKERS = "/var/lib/saltern/holds"
_UNITS = "/etc/systemd/system"
_DROP_IN = "50-saltern-hold.conf"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@:_.-]*")
_OWNER = "saltern"


def __virtual__():
    return __virtualname__


def _unit(name):
    if not _NAME.fullmatch(str(name)):
        raise SaltInvocationError(f"service_hold: {name!r} is no name of a unit")
    return name if "." in name else f"{name}.service"


def _systemctl(*words):
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(f"systemctl {' '.join(words)}: {err}") from None
    return done.returncode, (done.stdout or done.stderr).decode(errors="replace").strip()


def _active(unit):
    return _systemctl("is-active", unit)[1]


def _marker(unit):
    return os.path.join(_MARKERS, unit)


def _drop_in(unit):
    return os.path.join(_UNITS, f"{unit}.d", _DROP_IN)


def _read(unit):
    """What is noted about a held unit, None for one that is not held."""
    try:
        with open(_marker(unit), encoding="utf-8") as stream:
            return dict(json.load(stream))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise CommandExecutionError(f"{_marker(unit)} cannot be read: {err}") from None


def _write(path, text):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(f"{path}.new", path)


def _ours(unit, owner):
    found = _read(unit)
    if found and found.get("owner") != owner:
        raise CommandExecutionError(
            f"{unit} is held by {found.get('owner')} since {found.get('since')}"
        )
    return found


def hold(name, owner=_OWNER):
    """
    Stop a unit and let nobody start it; one that is held already stays so.

    Returns a sentence. Raises CommandExecutionError when another owner holds it, or when it does
    not stop.

    name
        The unit.
    owner
        Who wants it; only the same may release it.

    CLI Example:

    .. code-block:: bash

        salt 'cmp001*' service_hold.hold nova-compute
    """
    unit = _unit(name)
    if not _ours(unit, owner):
        # noted first: after a crash it is known whether it ran before
        ran = _active(unit) in ("active", "activating", "reloading")
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        _write(_marker(unit), json.dumps({"owner": owner, "since": since, "ran": ran}))
    _write(_drop_in(unit), f"[Unit]\nConditionPathExists=!{_marker(unit)}\n")
    _systemctl("daemon-reload")
    code, told = _systemctl("stop", unit)
    state = _active(unit)
    if code or state not in ("inactive", "failed", "unknown"):
        raise CommandExecutionError(f"{unit} is {state}, not stopped: {told or 'no reason given'}")
    return f"{unit} is held."


def release(name, owner=_OWNER):
    """
    Let a held unit be started again, and start it if it ran before; one that is not held stays as
    it is.

    Returns a sentence. Raises CommandExecutionError when another owner holds it, or when it does
    not start.

    name
        The unit.
    owner
        Who holds it.

    CLI Example:

    .. code-block:: bash

        salt 'cmp001*' service_hold.release nova-compute
    """
    unit = _unit(name)
    found = _ours(unit, owner)
    if not found:
        return f"{unit} is not held."
    for path in (_drop_in(unit), os.path.dirname(_drop_in(unit))):
        try:
            os.rmdir(path) if os.path.isdir(path) else os.remove(path)
        except OSError:
            continue  # gone already, or others have drop-ins there
    if os.path.exists(_drop_in(unit)):
        raise CommandExecutionError(f"{_drop_in(unit)} cannot be removed")
    _systemctl("daemon-reload")
    if found.get("ran"):
        code, told = _systemctl("start", unit)
        state = _active(unit)
        if code or state != "active":
            raise CommandExecutionError(f"{unit} is {state}, not started: {told or 'no reason'}")
    # last: after a crash before this it is released once more
    os.remove(_marker(unit))
    return f"{unit} is released" + (
        " and runs." if found.get("ran") else "; it did not run before."
    )


def held():
    """
    Return the held units: ``{unit: {"owner": str, "since": time, "ran": bool}}``.

    CLI Example:

    .. code-block:: bash

        salt '*' service_hold.held
    """
    names = sorted(os.listdir(_MARKERS)) if os.path.isdir(_MARKERS) else []
    return {name: _read(name) for name in names if not name.endswith(".new")}
