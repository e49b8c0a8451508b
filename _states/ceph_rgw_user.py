"""Users of the object gateways of a Ceph cluster, with test mode and read-back.

A secret key is in no comment, change or log.
"""

from __future__ import annotations


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
    wanted = {
        "display_name": display_name or name,
        "keys": {access_key: __salt__["ceph_rgw.fingerprint"](secret_key)},
        "max_buckets": max_buckets,
        "quota_bytes": quota_bytes,
        "quota_objects": quota_objects,
        "suspended": False,
        "privileged": False,
    }

    def look():
        return __salt__["ceph_rgw.user"](name)

    def act(now):
        __salt__["ceph_rgw.put_user"](
            name,
            wanted["display_name"],
            access_key,
            secret_key,
            max_buckets,
            quota_bytes,
            quota_objects,
        )

    return __salt__["readback.present"](
        name, f"User {name}", wanted, look, act, __opts__["test"], secret=("keys",)
    )


def absent(name):
    """Keep a user away; one that still has buckets stays, and is a failure.

    name
        its id
    """
    return __salt__["readback.absent"](
        name,
        f"User {name}",
        lambda: __salt__["ceph_rgw.user"](name),
        lambda: __salt__["ceph_rgw.remove_user"](name),
        __opts__["test"],
    )
