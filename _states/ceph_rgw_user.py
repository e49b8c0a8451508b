"""Users of the object gateways of a Ceph cluster, with test mode and read-back.

A secret key is in no comment, change or log.
"""

from __future__ import annotations

from salt.exceptions import CommandExecutionError


def present(
    name,
    access_key,
    secret_key,
    display_name=None,
    max_buckets=1000,
    quota_bytes=0,
    quota_objects=0,
):
    """Keep a user with this key alone, these limits, and no capability of an administrator.

    name
        its id
    access_key, secret_key
        its key
    display_name
        for people; default: the id
    max_buckets
        how many it may have
    quota_bytes, quota_objects
        what it may store in all; 0 is no quota
    """
    ret = _ret(name)
    wanted = {
        "display_name": display_name or name,
        "keys": {access_key: __salt__["ceph_rgw.fingerprint"](secret_key)},
        "max_buckets": max_buckets,
        "quota_bytes": quota_bytes,
        "quota_objects": quota_objects,
        "suspended": False,
        "privileged": False,
    }
    try:
        now = __salt__["ceph_rgw.user"](name)
        if now == wanted:
            return ret
        ret["changes"] = _difference(now, wanted)
        verb = "created" if now is None else "altered"
        if __opts__["test"]:
            ret.update(result=None, comment=f"User {name}: would be {verb}.")
            return ret
        __salt__["ceph_rgw.put_user"](
            name,
            wanted["display_name"],
            access_key,
            secret_key,
            max_buckets,
            quota_bytes,
            quota_objects,
        )
        after = __salt__["ceph_rgw.user"](name)
    except CommandExecutionError as err:
        return _unknown(ret, err)
    if after != wanted:
        wrong = ", ".join(sorted(_difference(after, wanted)))
        told = f"written, but read back with a different {wrong}."
        ret.update(result=False, comment=f"User {name}: {told}")
        return ret
    ret["comment"] = f"User {name}: {verb}."
    return ret


def absent(name):
    """Keep a user away; one that still has buckets stays, and is a failure.

    name
        its id
    """
    ret = _ret(name, "is not there")
    try:
        if __salt__["ceph_rgw.user"](name) is None:
            return ret
        if __opts__["test"]:
            ret.update(result=None, changes={name: "removed"}, comment=f"User {name}: would go.")
            return ret
        __salt__["ceph_rgw.remove_user"](name)
        gone = __salt__["ceph_rgw.user"](name) is None
    except CommandExecutionError as err:
        return _unknown(ret, err)
    ret.update(result=gone, changes={name: "removed"} if gone else {})
    ret["comment"] = f"User {name}: {'removed' if gone else 'is still there'}."
    return ret


def _difference(now, wanted):
    """What is to change, without keys."""
    found = {}
    for part, value in wanted.items():
        old = None if now is None else now[part]
        if old == value:
            continue
        if part == "keys":
            found["keys"] = "set" if now is None else "changed"
        else:
            found[part] = {"old": old, "new": value}
    return found


def _ret(name, told="as wanted"):
    return {"name": name, "changes": {}, "result": True, "comment": f"User {name}: {told}."}


def _unknown(ret, err):
    test = __opts__["test"]
    told = f"cannot be told yet. {err}" if test else str(err)
    ret.update(result=None if test else False, changes={}, comment=f"User {ret['name']}: {told}")
    return ret
