"""
Apply kernel settings to the running kernel, in a container as far as it lets them be set.

:platform: Linux
"""

from __future__ import annotations

import errno
import os

_ROOT = "/proc/sys"
#: systemd writes what kind of container a host is to this file, and only in a container.
_CONTAINER = "/run/systemd/container"


def __virtual__():
    return True if os.path.isdir(_ROOT) else (False, "No /proc/sys on this host")


def _path(key):
    # sysctl(8): with a slash in the key the separators are swapped (net/ipv4/conf/eth0.5/...)
    return os.path.join(_ROOT, key if "/" in key else key.replace(".", "/"))


def _read(path):
    with open(path, encoding="utf-8") as file:
        return " ".join(file.read().split())


def _text(value):
    return str(int(value)) if isinstance(value, bool) else " ".join(str(value).split())


def applied(name, values):
    """
    Set the running kernel's values. A key that a container may not set is skipped and named in
    the comment; on a real machine such a key fails the state. Making them last over a restart
    is the caller's part (a file below ``/etc/sysctl.d``).

    name
        A label of the state, not used otherwise.

    values
        Mapping of sysctl key (``net.core.somaxconn``) to its value: text, number or boolean;
        ``None`` leaves the key alone.

    Source: sysctl(8), proc(5).

    .. code-block:: yaml

        kernel-settings:
          linux_sysctl.applied:
            - values:
                net.ipv4.ip_nonlocal_bind: 1
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    container = os.path.exists(_CONTAINER)
    skipped, failed = [], []
    for key in sorted(key for key in values if values[key] is not None):
        path, wanted = _path(key), _text(values[key])
        try:
            current = _read(path)
        except OSError as error:
            (skipped if container else failed).append(f"{key} ({error.strerror})")
            continue
        if current == wanted:
            continue
        if __opts__["test"]:
            if container and not os.access(path, os.W_OK):
                skipped.append(f"{key} (not writable here)")
            else:
                ret["changes"][key] = {"old": current, "new": wanted}
            continue
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted + "\n")
            now = _read(path)
        except OSError as error:
            # EINVAL is a wrong value, not a container that refuses
            refused = container and error.errno != errno.EINVAL
            (skipped if refused else failed).append(f"{key} ({error.strerror})")
            continue
        if now == wanted:
            ret["changes"][key] = {"old": current, "new": now}
        else:
            failed.append(f"{key} (set to {wanted}, reads {now})")
    parts = []
    if ret["changes"]:
        verb = "Would set" if __opts__["test"] else "Set"
        parts.append(f"{verb} {', '.join(sorted(ret['changes']))}.")
    if skipped:
        parts.append(f"Skipped in this container: {', '.join(skipped)}.")
    if failed:
        parts.append(f"Could not set {', '.join(failed)}.")
    ret["comment"] = " ".join(parts) or "All settings are in place."
    if failed:
        ret["result"] = False
    elif __opts__["test"] and ret["changes"]:
        ret["result"] = None
    return ret
