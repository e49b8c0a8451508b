"""Users of a Ceph cluster: their keys and what they permit, with test mode and read-back.

A key reaches the cluster in the body of a command. It is in no comment, change or log.
"""

from __future__ import annotations

import os
import shutil

from salt.exceptions import CommandExecutionError


def present(name, key, caps):
    """Keep a user with this key and exactly these rights.

    name
        the user, such as ``client.glance``
    key
        32 hexadecimal digits, or a ready CephX key
    caps
        ``{mon: …, mgr: …, osd: …, mds: …}``; a service that is left out gives no right
    """
    label, test = f"User {name}", __opts__["test"]
    caps = {service: str(text) for service, text in caps.items()}
    try:
        wanted = {"key": __salt__["ceph_cluster.cephx"](key), "caps": caps}
    except CommandExecutionError as err:
        return __salt__["readback.unknown"]({"name": name}, label, err, test)

    def act(now):
        body = __salt__["ceph_daemon.keyring"](name, **wanted)
        __salt__["ceph_cluster.command"]("auth import", body=body)

    return __salt__["readback.present"](
        name, label, wanted, lambda: _user(name), act, test, secret=("key",)
    )


def absent(name):
    """Keep a user away: whoever holds its key is let in no more.

    name
        the user
    """
    return __salt__["readback.absent"](
        name,
        f"User {name}",
        lambda: _user(name),
        lambda: __salt__["ceph_cluster.command"]("auth del", arguments={"entity": name}),
        __opts__["test"],
    )


def daemon(name, path, caps):
    """Keep the user of a daemon, with a key that the cluster makes, and the daemon's keyring.

    name
        the user, such as ``mgr.mon01``
    path
        the keyring, which belongs to the daemon alone
    caps
        as of :func:`present`
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"User {name}: as wanted."}
    keyring = __salt__["ceph_daemon.keyring"]
    try:
        now = _user(name)
        have = _read(path)
        text = "" if now is None else keyring(name, now["key"])
        if now is None or now["caps"] != caps:
            ret["changes"]["caps"] = {"old": (now or {}).get("caps"), "new": caps}
        if now is None or have != text:
            ret["changes"]["key"] = "set" if have is None else "changed"
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            ret.update(result=None, comment=f"User {name}: would be kept.")
            return ret
        pairs = [word for service, right in sorted(caps.items()) for word in (service, right)]
        verb = "auth get-or-create" if now is None else "auth caps"
        __salt__["ceph_cluster.command"](verb, arguments={"entity": name, "caps": pairs})
        now = _user(name)
        _write(path, keyring(name, now["key"]))
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, f"User {name}", err, __opts__["test"])
    if now["caps"] != caps:
        ret.update(result=False, comment=f"User {name}: written, but read back with other caps.")
        return ret
    ret["comment"] = f"User {name}: kept."
    return ret


def _user(name):
    """``{key, caps}`` of a user, None when there is none."""
    found = __salt__["ceph_cluster.command"]("auth ls")["auth_dump"]
    entry = next((item for item in found if item["entity"] == name), None)
    return None if entry is None else {"key": entry["key"], "caps": dict(entry["caps"])}


def _read(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise CommandExecutionError(f"{path} cannot be read: {err.strerror}.") from None


def _write(path, text):
    os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
    shutil.chown(os.path.dirname(path), "ceph", "ceph")
    __salt__["ceph_daemon.write"](path, text, owner="ceph")
