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
    ret = _ret(name)
    caps = {service: str(text) for service, text in caps.items()}
    try:
        wanted = {"key": __salt__["ceph_cluster.cephx"](key), "caps": caps}
        now = _user(name)
    except CommandExecutionError as err:
        return _unknown(ret, err)
    if now == wanted:
        return ret
    if now is None or now["key"] != wanted["key"]:
        ret["changes"]["key"] = "set" if now is None else "changed"
    if now is None or now["caps"] != caps:
        ret["changes"]["caps"] = {"old": (now or {}).get("caps"), "new": caps}
    verb = "created" if now is None else "altered"
    if __opts__["test"]:
        ret.update(result=None, comment=f"User {name}: would be {verb}.")
        return ret
    try:
        __salt__["ceph_cluster.command"]("auth import", body=_keyring(name, **wanted))
        after = _user(name)
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=f"User {name}: {err}")
        return ret
    if after != wanted:
        wrong = [part for part in wanted if (after or {}).get(part) != wanted[part]]
        told = f"written, but read back with a different {', '.join(wrong)}."
        ret.update(result=False, comment=f"User {name}: {told}")
        return ret
    ret["comment"] = f"User {name}: {verb}."
    return ret


def absent(name):
    """Keep a user away: whoever holds its key is let in no more.

    name
        the user
    """
    ret = _ret(name, "is not there")
    try:
        if _user(name) is None:
            return ret
        if __opts__["test"]:
            ret.update(result=None, changes={name: "removed"}, comment=f"User {name}: would go.")
            return ret
        __salt__["ceph_cluster.command"]("auth del", arguments={"entity": name})
        gone = _user(name) is None
    except CommandExecutionError as err:
        return _unknown(ret, err)
    ret.update(result=gone, changes={name: "removed"} if gone else {})
    ret["comment"] = f"User {name}: {'removed' if gone else 'is still there'}."
    return ret


def daemon(name, path, caps):
    """Keep the user of a daemon, with a key that the cluster makes, and the daemon's keyring.

    name
        the user, such as ``mgr.mon01``
    path
        the keyring, which belongs to the daemon alone
    caps
        as of :func:`present`
    """
    ret = _ret(name)
    try:
        now = _user(name)
        have = _read(path)
        text = "" if now is None else _keyring(name, now["key"], {})
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
        _write(path, _keyring(name, now["key"], {}))
    except CommandExecutionError as err:
        return _unknown(ret, err)
    if now["caps"] != caps:
        ret.update(result=False, comment=f"User {name}: written, but read back with other caps.")
        return ret
    ret["comment"] = f"User {name}: kept."
    return ret


def _ret(name, told="as wanted"):
    return {"name": name, "changes": {}, "result": True, "comment": f"User {name}: {told}."}


def _unknown(ret, err):
    test = __opts__["test"]
    told = f"cannot be told yet. {err}" if test else str(err)
    ret.update(result=None if test else False, changes={}, comment=f"User {ret['name']}: {told}")
    return ret


def _user(name):
    """``{key, caps}`` of a user, None when there is none."""
    found = __salt__["ceph_cluster.command"]("auth ls")["auth_dump"]
    entry = next((item for item in found if item["entity"] == name), None)
    return None if entry is None else {"key": entry["key"], "caps": dict(entry["caps"])}


def _keyring(name, key, caps):
    lines = [f"[{name}]", f"\tkey = {key}"]
    lines += [f'\tcaps {service} = "{text}"' for service, text in sorted(caps.items())]
    return "\n".join(lines) + "\n"


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
    handle = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    for place in (f"{path}.new", os.path.dirname(path)):
        shutil.chown(place, "ceph", "ceph")
    os.replace(f"{path}.new", path)
